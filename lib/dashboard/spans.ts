/** The spans of time that charts can show, and how the answer of GET /history becomes lines of a chart. */
import type { HistoryAnswer, HistoryPoint } from "../wire/charting.ts"

const MINUTE = 60
const HOUR = 3_600
const DAY = 86_400

/** Times and intervals are in seconds, as charts need them. */
export interface Span {
  /** The value in the URL. */
  name: string
  label: string
  seconds: number
  /** The `step` of GET /history. */
  step: string
  /** The time between two labels of the time axis; on a narrow screen every second one is drawn. */
  labels: number
  pollMs: number
}

export const SPANS: readonly [Span, ...Span[]] = [
  { name: "5m", label: "5 min", seconds: 5 * MINUTE, step: "1m", labels: MINUTE, pollMs: 15_000 },
  { name: "1h", label: "1 h", seconds: HOUR, step: "1m", labels: 10 * MINUTE, pollMs: 15_000 },
  { name: "24h", label: "24 h", seconds: DAY, step: "5m", labels: 3 * HOUR, pollMs: 60_000 },
  { name: "30d", label: "30 d", seconds: 30 * DAY, step: "3h", labels: 5 * DAY, pollMs: 300_000 },
]

export const spanOf = (query: URLSearchParams): Span =>
  SPANS.find(({ name }) => name === query.get("span")) ?? SPANS[0]

/** Brokers write their counts up to this long after they happened. */
const LATE_MS = 20_000
/** A step that is not over is shown once its lateness distorts it by less than 4 %. */
const SHOWN_FROM_MS = 600_000

/** The points that are complete. */
export const completePoints = ({ points, step_ms, to_at }: HistoryAnswer): HistoryPoint[] =>
  points.filter(({ at, recorded_ms }) => at + step_ms <= to_at - LATE_MS || recorded_ms >= SHOWN_FROM_MS)

export type Points = [number[], ...(number | null)[][]]

/** A line for each of `lines`, with null in the steps that have no point or no value. */
export function linesOf(
  answer: HistoryAnswer | undefined,
  lines: readonly ((point: HistoryPoint) => number | undefined)[],
): Points {
  const times: number[] = []
  const values = lines.map((): (number | null)[] => [])
  if (answer === undefined) return [times, ...values]
  const byTime = new Map(completePoints(answer).map(point => [point.at, point]))
  const last = Math.max(...byTime.keys())
  for (let at = answer.from_at; at <= last; at += answer.step_ms) {
    const point = byTime.get(at)
    times.push(at / 1_000)
    lines.forEach((line, i) => {
      values[i]!.push((point && line(point)) ?? null)
    })
  }
  return [times, ...values]
}

export const perSecond = (count: number, { recorded_ms }: HistoryPoint): number | undefined =>
  recorded_ms > 0 ? (count * 1_000) / recorded_ms : undefined

/**
 * The labels of a time axis: at full multiples of the time that people see, away from the edge. `zone`: "UTC", or undefined for
 * that of the browser.
 */
export function labelsOf(
  { seconds, labels }: Span,
  [begin, end]: [number, number],
  zone: string | undefined,
  narrow: boolean,
): number[] {
  const every = narrow && seconds > 5 * MINUTE ? 2 * labels : labels
  const offset = zone === "UTC" ? 0 : new Date(begin * 1_000).getTimezoneOffset() * MINUTE
  const first = Math.ceil((begin + seconds * 0.06 - offset) / every) * every + offset
  const found: number[] = []
  for (let at = first; at <= end; at += every) found.push(at)
  return found
}

export const labelText = ({ seconds }: Span, at: number, zone: string | undefined): string =>
  seconds > DAY ? dayOf(at, zone) : minuteOf(at, zone)

/** The time under the pointer. */
export function pointText({ seconds }: Span, at: number, zone: string | undefined): string {
  if (seconds <= 5 * MINUTE) return clockOf(at, zone)
  return seconds >= DAY ? `${dayOf(at, zone)} ${minuteOf(at, zone)}` : minuteOf(at, zone)
}

const dayOf = (at: number, timeZone: string | undefined) =>
  new Date(at * 1_000).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone })
const clockOf = (at: number, timeZone: string | undefined) =>
  new Date(at * 1_000).toLocaleTimeString("en-GB", { timeZone })
const minuteOf = (at: number, zone: string | undefined) => clockOf(at, zone).slice(0, 5)
