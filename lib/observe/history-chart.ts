/** Charts of the history: its points added up over steps of time, queues and types. */
import { historySeries } from "../redis/keys.ts"
import {
  type HistoryPoint,
  type HistoryTotal,
  HOUR_MS,
  MAX_TYPES,
  MINUTE_MS,
  type TypeTotal,
} from "../wire/charting.ts"
import { percentilesOf } from "../wire/durations.ts"
import { type DepthCounts, Point } from "./history-point.ts"
import { ALL_QUEUES, type HistoryReader } from "./history-reader.ts"

/** How many series are held in memory at the same time. */
const SERIES_AT_ONCE = 20

/** `fromMs` and `toMs` are multiples of `stepMs`, which is in whole minutes below an hour and in whole hours above. */
interface Span {
  fromMs: number
  toMs: number
  stepMs: number
}

interface Step {
  recordedMs: number
  sum: Point
}

export class HistoryChart {
  readonly #level: "m" | "h"
  readonly #unitMs: number
  readonly #first: number
  readonly #last: number

  constructor(
    private readonly reader: HistoryReader,
    private readonly span: Span,
    private readonly now: number,
  ) {
    this.#level = span.stepMs < HOUR_MS ? "m" : "h"
    this.#unitMs = this.#level === "m" ? MINUTE_MS : HOUR_MS
    this.#first = span.fromMs / this.#unitMs
    this.#last = span.toMs / this.#unitMs - 1
  }

  /** The points of these queues together, of one type of them, or (undefined) of all queues, and their total. */
  async points(
    queues: readonly string[] | undefined,
    type?: string,
  ): Promise<{ points: HistoryPoint[]; total: Point }> {
    const all = (await this.#read([ALL_QUEUES])).get(ALL_QUEUES)!
    const steps = new Map<number, Step>()
    const depths = new Map<number, DepthCounts>()
    const current = Math.floor(this.now / this.#unitMs)
    for (const [number, { minutes, depth }] of [...all].sort(([a], [b]) => a - b)) {
      const step = steps.get(this.#stepOf(number)) ?? { recordedMs: 0, sum: new Point() }
      steps.set(this.#stepOf(number), step)
      step.recordedMs += (this.#level === "m" ? 1 : minutes) * MINUTE_MS
      if (number === current) step.recordedMs -= MINUTE_MS - (this.now % MINUTE_MS)
      if (depth && type === undefined) depths.set(number, { queued: 0, delayed: 0, processing: 0 })
    }
    const total = new Point()
    const series = queues?.map(queue => historySeries(queue, type)) ?? [ALL_QUEUES]
    for (let from = 0; from < series.length; from += SERIES_AT_ONCE)
      for (const points of (await this.#read(series.slice(from, from + SERIES_AT_ONCE))).values())
        for (const [number, point] of points) {
          steps.get(this.#stepOf(number))?.sum.add(point)
          total.add(point)
          const sum = depths.get(number)
          if (sum && point.depth) for (const name of DEPTHS) sum[name] += point.depth[name]
        }
    for (const [number, depth] of depths) {
      const { sum } = steps.get(this.#stepOf(number))!
      sum.depth ??= { queued: 0, delayed: 0, processing: 0 }
      for (const name of DEPTHS) sum.depth[name] = Math.max(sum.depth[name], depth[name])
    }
    return {
      points: Array.from(steps, ([at, { recordedMs, sum }]) => ({
        at,
        recorded_ms: Math.max(0, recordedMs),
        ...totalOf(sum),
        ...(sum.depth && { depth: sum.depth }),
      })),
      total,
    }
  }

  /** The totals of the busiest types of a queue, and of all others if there are any. `whole`: the total of the queue. */
  async types(queue: string, whole: Point): Promise<{ types: TypeTotal[]; other?: HistoryTotal }> {
    const weights = await this.reader.types(queue, this.#level, this.#first, this.#last)
    const busiest = [...weights].sort(([, a], [, b]) => b - a).slice(0, MAX_TYPES)
    const names = busiest.map(([type]) => type)
    const found: [type: string, total: Point][] = []
    const other = whole.copy()
    for (let from = 0; from < names.length; from += SERIES_AT_ONCE) {
      const some = names.slice(from, from + SERIES_AT_ONCE)
      const series = await this.#read(some.map(type => historySeries(queue, type)))
      for (const type of some) {
        const total = new Point()
        for (const point of series.get(historySeries(queue, type))!.values()) total.add(point)
        if (total.isEmpty) continue
        found.push([type, total])
        other.subtract(total)
      }
    }
    found.sort(([, a], [, b]) => b.weight - a.weight)
    const types = found.map(([type, total]) => ({ type, ...totalOf(total) }))
    return other.isEmpty ? { types } : { types, other: totalOf(other) }
  }

  #read(series: readonly string[]) {
    return this.reader.read(series, this.#level, this.#first, this.#last)
  }

  /** When the step of a minute or hour begins. */
  #stepOf(number: number): number {
    return Math.floor((number * this.#unitMs) / this.span.stepMs) * this.span.stepMs
  }
}

const DEPTHS = ["queued", "delayed", "processing"] as const

export function totalOf({ submitted, done, failed, lapsed, dead, wait, run }: Point): HistoryTotal {
  const [waits, runs] = [percentilesOf(wait), percentilesOf(run)]
  return {
    submitted,
    done,
    failed,
    lapsed,
    dead,
    ...(waits && { wait_ms: waits }),
    ...(runs && { run_ms: runs }),
  }
}
