/**
 * Counts and depths of the last five minutes, for the charts. A second counts as known only if the event stream covered
 * it. Other seconds have the rates of their minute, if a broker recorded it; what nobody counted is a gap in the chart, not a
 * zero.
 */
import type { HistoryPoint } from "../wire/charting.ts"
import { compareEventIds, type EventData } from "../wire/events.ts"
import type { QueueView } from "../wire/managing.ts"

const HISTORY_SECONDS = 300
/** The charts end this long ago, because brokers publish counts with a delay. */
export const CHART_DELAY_SECONDS = 3
const MAX_AGE_SECONDS = HISTORY_SECONDS + 10
/** Counts arrive up to this long after they happened. */
const PUBLISH_DELAY_MS = 1_000
/** A busy broker publishes counts late; then they are of the time since its previous ones, up to this long. */
const MAX_COUNTED_MS = 5_000
/** After a reconnect it takes up to this long until a gap is reported. */
const RECONNECT_MS = 2_000
/** Depths that were read further apart are not connected by a line. */
const MAX_DEPTH_PAUSE_MS = 15_000
/** Brokers read depths once per minute, about this long after it began. */
const DEPTH_READ_MS = 15_000
const MAX_PAST_DEPTH_PAUSE_MS = 100_000

const COUNTS = ["submitted", "done", "failed"] as const
type Counts = Record<(typeof COUNTS)[number], number>
const DEPTHS = ["queued", "delayed", "processing"] as const
type Depths = Record<(typeof DEPTHS)[number], number>
type CountsBySecond = Map<number, Map<string, Counts>>
interface DepthSample {
  at: number
  /** Whether the sample has all queues. */
  all: boolean
  /** Whether a broker read it for the history. */
  past?: boolean
  queues: Map<string, Depths>
}
type QueueNow = Pick<QueueView, "queue" | "depth"> & { rates?: Partial<QueueView["rates"]> }
type Points = [number[], ...(number | null)[][]]

export class History {
  /** Counts per second, by the clock of Redis, and queue. */
  #counts: CountsBySecond = new Map()
  /** The seconds of which all counts have arrived. */
  #known = new Set<number>()
  /** Rates of the last minute, for the seconds without an event stream. */
  #estimates: CountsBySecond = new Map()
  /** Rates per second from the history of the broker, by queue ("": all queues together) and second. */
  readonly #past = new Map<string, Map<number, Counts>>()
  #depths: DepthSample[] = []
  /** The last known second, if the event stream continues there without a gap. */
  #runEnd: number | undefined
  #lastId = ""
  /** When each broker last published counts. */
  readonly #countedAt = new Map<string, number>()
  #skewMs = -Infinity
  #settledAt = 0
  #polledAt: number | undefined

  /** `offsetMs`: how far the broker's clock is ahead of this one, as long as no event tells the time of Redis. */
  constructor(private readonly offsetMs: () => number = () => 0) {}

  /** The query of /events. It asks for the past events that this page has not seen, as far as the broker keeps them. */
  eventsQuery(now = Date.now()): string {
    const after = this.#lastId || `${now - HISTORY_SECONDS * 1_000}-0`
    return `event=counts,paused,resumed,settings,purged,dead&last_event_id=${after}`
  }

  /** `id` is the newest id of the stream. After a reconnect events may arrive again; each is counted once. */
  addEvent(name: string, data: EventData, id: string, now = Date.now()): void {
    if (name === "gap") this.#runEnd = undefined
    if (name === "listening") {
      this.#settledAt = now + RECONNECT_MS
      this.#runEnd ??= Math.floor(Number.parseInt(id, 10) / 1_000)
    }
    if (name !== "counts" || compareEventIds(id, this.#lastId) <= 0) return
    this.#lastId = id
    this.#skewMs = Math.max(this.#skewMs, data.at - now)
    const broker = `${data.broker}`
    const since = this.#countedAt.get(broker) ?? 0
    const begin = since > data.at - MAX_COUNTED_MS && since < data.at ? since : data.at - PUBLISH_DELAY_MS
    this.#countedAt.set(broker, data.at)
    for (const [second, share] of sharesOf(begin, data.at))
      for (const [queue, of] of Object.entries(data.queues ?? {}))
        if (typeof of !== "number") add(this.#counts, second, queue, countsOf(of, share))
    this.#extendRun(Math.floor(data.at / 1_000) - 1)
    this.#forgetOld(now)
  }

  /** The event stream is open, and at this time the broker was alive: it had no other counts to publish. */
  addNews(at: number): void {
    if (at < this.#settledAt) return
    this.#extendRun(this.#second(at - PUBLISH_DELAY_MS))
    this.#forgetOld(at)
  }

  /** Adds the depths of these queues. Without an event stream the rates stand in for counts. */
  addQueues(queues: readonly QueueNow[], { all, streaming }: { all: boolean; streaming: boolean }): void {
    const now = Date.now()
    const depths = queues.map(({ queue, depth }) => [queue, depth] as const)
    this.#depths.push({ at: now + this.#aheadMs(), all, queues: new Map(depths) })
    this.#forgetOld(now)
    const since = this.#polledAt === undefined ? undefined : this.#second(this.#polledAt) + 1
    this.#polledAt = streaming ? undefined : now
    if (streaming || since === undefined) return
    for (let second = Math.max(since, this.#second(now) - 10); second <= this.#second(now); second++)
      for (const { queue, rates } of queues) if (rates) add(this.#estimates, second, queue, countsOf(rates))
  }

  /** Fills the time before this page was open with complete minutes of the broker's history. */
  addPast(points: readonly HistoryPoint[], queue = ""): void {
    const rates = new Map<number, Counts>()
    for (const { at, recorded_ms, depth, ...of } of points) {
      for (let second = 0; second < 60 && recorded_ms > 0; second++)
        rates.set(at / 1_000 + second, countsOf(of, 1_000 / recorded_ms))
      const readAt = at + DEPTH_READ_MS
      const hasDepth = this.#depths.some(
        ({ at, all, queues }) =>
          (queue === "" ? all : queues.has(queue)) && Math.abs(at - readAt) < MAX_DEPTH_PAUSE_MS,
      )
      if (depth && !hasDepth)
        this.#depths.push({
          at: readAt,
          all: queue === "",
          past: true,
          queues: new Map([[queue, depth]]),
        })
    }
    this.#past.set(queue, rates)
    this.#depths.sort((a, b) => a.at - b.at)
    this.#forgetOld(Date.now())
  }

  /** The time by the clock of Redis, as far as it is known. */
  now(): number {
    return Date.now() + this.#aheadMs()
  }

  /** Seconds, and for each of COUNTS how many there were in each; null if unknown. */
  throughput(queue?: string, seconds = HISTORY_SECONDS, now = Date.now()): Points {
    const end = this.#second(now) - CHART_DELAY_SECONDS
    const times = Array.from({ length: seconds }, (_, i) => end - seconds + 1 + i)
    return [times, ...COUNTS.map(what => times.map(time => this.#countAt(time, queue, what)))]
  }

  /** Times in seconds, and for each of DEPTHS how many tasks there were; null in a pause between samples. */
  depth(queue?: string): Points {
    const points: Points = [[], ...DEPTHS.map(() => [])]
    const addPoint = (at: number, values: (number | null)[]) =>
      [at / 1_000, ...values].forEach((value, i) => {
        points[i]!.push(value as number)
      })
    let last = Infinity
    let lastIsPast = false
    for (const { at, all, queues, past = false } of this.#depths) {
      // A response about a single queue does not give the total of all queues.
      if (queue === undefined ? !all : !queues.has(queue)) continue
      if (at - last > (past || lastIsPast ? MAX_PAST_DEPTH_PAUSE_MS : MAX_DEPTH_PAUSE_MS))
        addPoint(
          last + 1,
          DEPTHS.map(() => null),
        )
      const counted = queue === undefined ? [...queues.values()] : [queues.get(queue)!]
      addPoint(
        at,
        DEPTHS.map(what => counted.reduce((sum, depths) => sum + depths[what], 0)),
      )
      last = at
      lastIsPast = past
    }
    return points
  }

  /** As text, so that a reload of the page continues the charts. */
  save(): string {
    return JSON.stringify({
      counts: [...this.#counts].map(([second, queues]) => [second, [...queues]]),
      known: [...this.#known],
      depths: this.#depths.map(sample => ({ ...sample, queues: [...sample.queues] })),
      runEnd: this.#runEnd,
      lastId: this.#lastId,
    })
  }

  restore(text: string, now = Date.now()): void {
    const saved = JSON.parse(text)
    this.#counts = new Map(saved.counts.map(([second, queues]: [number, []]) => [second, new Map(queues)]))
    this.#known = new Set(saved.known)
    this.#depths = saved.depths.map((sample: { queues: [] }) => ({
      ...sample,
      queues: new Map(sample.queues),
    }))
    this.#runEnd = saved.runEnd
    this.#lastId = saved.lastId
    this.#forgetOld(now)
  }

  clear(): void {
    this.restore('{"counts": [], "known": [], "depths": [], "lastId": ""}')
    this.#estimates.clear()
    this.#past.clear()
  }

  /** The second by the clock of Redis at a time by the clock of this browser. */
  #second(at: number): number {
    return Math.floor((at + this.#aheadMs()) / 1_000)
  }

  #aheadMs(): number {
    return this.#skewMs === -Infinity ? this.offsetMs() : this.#skewMs
  }

  #countAt(second: number, queue: string | undefined, what: (typeof COUNTS)[number]): number | null {
    const isKnown = this.#known.has(second)
    const queues = (isKnown ? this.#counts : this.#estimates).get(second)
    if (queues === undefined) return isKnown ? 0 : (this.#past.get(queue ?? "")?.get(second)?.[what] ?? null)
    if (queue !== undefined) return queues.get(queue)?.[what] ?? 0
    let sum = 0
    for (const counts of queues.values()) sum += counts[what]
    return sum
  }

  #extendRun(end: number): void {
    const from = Math.max(this.#runEnd ?? end - 1, end - MAX_AGE_SECONDS)
    for (let second = from + 1; second <= end; second++) this.#known.add(second)
    this.#runEnd = Math.max(this.#runEnd ?? end, end)
  }

  #forgetOld(now: number): void {
    const oldest = this.#second(now) - MAX_AGE_SECONDS
    for (const map of [this.#counts, this.#estimates, this.#known])
      for (const second of map.keys()) if (second < oldest) map.delete(second)
    const first = this.#depths.findIndex(({ at }) => at >= now + this.#aheadMs() - HISTORY_SECONDS * 1_000)
    this.#depths.splice(0, first < 0 ? this.#depths.length : first)
  }
}

function countsOf(of: Partial<Record<"lapsed" | (typeof COUNTS)[number], number>>, share = 1): Counts {
  const { submitted = 0, done = 0, failed = 0, lapsed = 0 } = of
  return { submitted: submitted * share, done: done * share, failed: (failed + lapsed) * share }
}

/** The seconds between two times in ms, and which share of that time is in each. */
function sharesOf(from: number, to: number): [second: number, share: number][] {
  const shares: [number, number][] = []
  for (let second = Math.floor(from / 1_000); second * 1_000 < to; second++) {
    const overlap = Math.min(to, (second + 1) * 1_000) - Math.max(from, second * 1_000)
    shares.push([second, overlap / (to - from)])
  }
  return shares
}

function add(bySecond: CountsBySecond, second: number, queue: string, of: Counts): void {
  const queues = bySecond.get(second) ?? new Map<string, Counts>()
  bySecond.set(second, queues)
  const before = queues.get(queue)
  queues.set(queue, {
    submitted: of.submitted + (before?.submitted ?? 0),
    done: of.done + (before?.done ?? 0),
    failed: of.failed + (before?.failed ?? 0),
  })
}
