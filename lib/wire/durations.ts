/**
 * Histograms of durations that can be added: of minutes, brokers and queues. Number i of a histogram counts the durations
 * up to BOUNDS_MS[i] and above the bound before it; the last number counts those above all bounds.
 */

/** Each bound is 1.6 times the one before it, up to nine days, so a percentile is off by less than 60 %. */
const FACTOR = 1.6
const BOUNDS = 44
export const BOUNDS_MS: readonly number[] = Array.from({ length: BOUNDS }, (_, i) => Math.round(FACTOR ** i))

/** Where a histogram counts this duration. */
export function bucketOf(ms: number): number {
  let low = 0
  let high = BOUNDS
  while (low < high) {
    const middle = (low + high) >> 1
    if (ms <= BOUNDS_MS[middle]!) high = middle
    else low = middle + 1
  }
  return low
}

/** The duration that this share of all durations does not exceed, interpolated; undefined for an empty histogram. */
export function percentile(counts: readonly number[], share: number): number | undefined {
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (total === 0) return undefined
  let left = share * total
  for (const [i, count] of counts.entries()) {
    if (count === 0 || count < left) {
      left -= count
      continue
    }
    const from = BOUNDS_MS[i - 1] ?? 0
    const to = BOUNDS_MS[i] ?? from
    return Math.round(from + (to - from) * (left / count))
  }
  return BOUNDS_MS.at(-1)
}

/** Undefined for an empty histogram. */
export function percentilesOf(
  counts: readonly number[],
): { p50: number; p95: number; p99: number } | undefined {
  const p50 = percentile(counts, 0.5)
  if (p50 === undefined) return undefined
  return { p50, p95: percentile(counts, 0.95)!, p99: percentile(counts, 0.99)! }
}
