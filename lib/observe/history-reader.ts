/** Reads the history from Redis; history-writer.ts writes it. */
import type { RedisClock } from "../redis/clock.ts"
import { historyTypes } from "../redis/keys.ts"
import { runShared } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import { MINUTE_MS, type Recent } from "../wire/charting.ts"
import { percentilesOf } from "../wire/durations.ts"
import { Point } from "./history-point.ts"

/** How many points one call looks for: about 1 ms of Redis' time. */
const MAX_POINTS_PER_CALL = 2_000
/** The points in one hash. */
const BLOCK = { m: 60, h: 24 } as const
type Level = keyof typeof BLOCK
/** What `recent` covers, and the current minute. */
const RECENT_MINUTES = 10

/** The points of a series by number: of the minute or hour since 1970. */
type Points = Map<number, Point>

/** The series of all queues together. */
export const ALL_QUEUES = ""

export class HistoryReader {
  constructor(
    private readonly store: Store,
    private readonly clock: RedisClock,
  ) {}

  /** The points of each series from the minute or hour `from` to `to`. */
  async read(
    series: readonly string[],
    level: Level,
    from: number,
    to: number,
  ): Promise<Map<string, Points>> {
    const points = new Map<string, Points>(series.map(one => [one, new Map()]))
    const length = Math.min(to - from + 1, MAX_POINTS_PER_CALL)
    const seriesPerCall = Math.max(1, Math.floor(MAX_POINTS_PER_CALL / length))
    for (let at = from; at <= to; at += length)
      for (let i = 0; i < series.length; i += seriesPerCall) {
        const some = series.slice(i, i + seriesPerCall)
        const span = { level, from: at, to: Math.min(to, at + length - 1), size: BLOCK[level] }
        const found = await runShared(
          this.store,
          "historyRead",
          span,
          some.map(series => ({ series })),
        )
        some.forEach((one, k) => {
          const numbers = found[k]!
          for (let n = 0; n < numbers.length; n += 2)
            points.get(one)!.set(Number(numbers[n]), Point.decode(String(numbers[n + 1])))
        })
      }
    return points
  }

  /** By the clock of Redis, which numbers the points. */
  now(): number {
    return this.clock.now()
  }

  /** The types of a queue that have points near these minutes or hours, and how busy they were. */
  async types(queue: string, level: Level, from: number, to: number): Promise<Map<string, number>> {
    const [first, last] = [Math.floor(from / BLOCK[level]), Math.floor(to / BLOCK[level])]
    const blocks = Array.from({ length: last - first + 1 }, (_, i) => first + i)
    const found = await Promise.all(
      blocks.map(block =>
        this.store.command(["ZRANGE", historyTypes(level, block, queue), 0, -1, "WITHSCORES"]),
      ),
    )
    const weights = new Map<string, number>()
    for (const [type, weight] of (found as [type: string, weight: string][][]).flat())
      weights.set(type, (weights.get(type) ?? 0) + Number(weight))
    return weights
  }

  /** The last ten minutes of each queue, including the current, incomplete one. */
  async recent(queues: readonly string[]): Promise<Map<string, Recent>> {
    const now = this.clock.now()
    const last = Math.floor(now / MINUTE_MS)
    const from = last - RECENT_MINUTES
    const points = await this.read([ALL_QUEUES, ...queues], "m", from, last)
    const known = points.get(ALL_QUEUES)!
    // The first minute only tells how deep the queues were.
    const minutes = [...known.keys()].filter(minute => minute > from)
    const ms = minutes.length * MINUTE_MS - (known.has(last) ? MINUTE_MS - (now % MINUTE_MS) : 0)
    return new Map(
      queues.map(queue => {
        const of = points.get(queue)!
        const sum = new Point()
        for (const minute of minutes) {
          const point = of.get(minute)
          if (point !== undefined) sum.add(point)
        }
        const before = known.get(from)?.depth && (of.get(from)?.depth ?? NO_DEPTH)
        return [queue, recentOf(sum, ms, before)]
      }),
    )
  }
}

const NO_DEPTH = { queued: 0, delayed: 0, processing: 0 }

function recentOf(sum: Point, ms: number, before: Recent["depth_before"]): Recent {
  const wait = percentilesOf(sum.wait)
  const run = percentilesOf(sum.run)
  const perSecond = (count: number) => (ms > 0 ? Math.round((count * 1e6) / ms) / 1_000 : 0)
  return {
    submitted_per_s: perSecond(sum.submitted),
    done_per_s: perSecond(sum.done),
    failed_per_s: perSecond(sum.failed),
    lapsed_per_s: perSecond(sum.lapsed),
    dead_per_s: perSecond(sum.dead),
    done: sum.done,
    failed: sum.failed,
    lapsed: sum.lapsed,
    dead: sum.dead,
    ...(wait && { wait_ms: wait }),
    ...(run && { run_ms: run }),
    ...(before && { depth_before: before }),
  }
}
