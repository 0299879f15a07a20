/** Spreads attempts over lanes, so that those that overlap are below each other. */
interface Bar {
  from: number
  /** Undefined: it is still running. */
  to: number | undefined
}

/** The lane of each bar, the first that is free when it begins. `bars` are ordered by their begin. */
export function lanesOf(bars: readonly Bar[]): number[] {
  const freeAt: number[] = []
  return bars.map(({ from, to = Number.POSITIVE_INFINITY }) => {
    const free = freeAt.findIndex(at => at <= from)
    const lane = free < 0 ? freeAt.length : free
    freeAt[lane] = to
    return lane
  })
}
