/**
 * Adds what this broker has done to the history in Redis:
 *   1. At each quarter of a minute, by the clock of Redis, it takes what it has counted (activity.ts), so that a point covers
 *      exactly its minute.
 *   2. A random time later, so that brokers do not write together, it reads the types that it does not know, and writes.
 *      A call that fails is repeated with the same number, so it is added once.
 *   3. The broker that writes a minute first adds the depths of all queues.
 * Every broker adds at least an empty point for all queues: minutes without one are those in which no broker ran.
 */
import { randomBytes } from "node:crypto"
import type { RedisClock } from "../redis/clock.ts"
import { type Item, runShared, type Scripts } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import { localOf } from "../task/id.ts"
import { HOUR_MS, HOURS_KEPT_MS, MAX_TYPES, MINUTE_MS, MINUTES_KEPT_MS } from "../wire/charting.ts"
import { type Activity, addOutcome, type QueueActivity } from "./activity.ts"
import type { Depth } from "./depths.ts"
import { Point } from "./history-point.ts"

const TAKE_MS = 15_000
/** A timer may fire a little before its time by the clock of Redis. */
const LATE_MS = 5
const SPREAD_MS = 4_000
/** A hash expires this long after its last new point, which may be its first one. */
const KEEP = { keep_minutes: MINUTES_KEPT_MS + HOUR_MS, keep_hours: HOURS_KEPT_MS + 24 * HOUR_MS }
/** Points per script call: about 1 ms of Redis' time. */
const MAX_POINTS_PER_CALL = 50
const MAX_LOOKED_UP_PER_CALL = 200

interface WriterParts {
  store: Store
  scripts: Scripts
  activity: Activity
  clock: RedisClock
}

interface Taken extends ReturnType<Activity["take"]> {
  minute: number
}

interface AddCall {
  minute: number
  batch: number
  items: Item<"historyAdd">[]
}

export class HistoryWriter {
  readonly #broker = randomBytes(4).toString("hex")
  #takenAt: number
  #taken: Taken | undefined
  /** Calls that Redis has not confirmed, in order. */
  #calls: AddCall[] = []
  #batch = 0
  #lastWrite: Promise<unknown> = Promise.resolve()
  #timer: Timer | undefined

  /** `readDepths` reads the depths of the queues. */
  constructor(
    private readonly parts: WriterParts,
    private readonly readDepths: () => Promise<readonly Depth[]>,
  ) {
    this.#takenAt = parts.clock.now()
  }

  start(): void {
    this.#takenAt = this.parts.clock.now()
    this.#waitForQuarter()
  }

  /** Writes what has happened until now. What cannot be written is written later. */
  flush(): Promise<unknown> {
    return this.#inTurn(async () => {
      await this.#write()
      this.#take()
      await this.#write()
    })
  }

  /** Stops the timer and writes for the last time. */
  close(): Promise<unknown> {
    clearTimeout(this.#timer)
    return this.flush()
  }

  #waitForQuarter(): void {
    const wait = TAKE_MS - (this.parts.clock.now() % TAKE_MS) + LATE_MS
    this.#timer = setTimeout(() => {
      this.#take()
      this.#timer = setTimeout(() => {
        void this.#inTurn(() => this.#write())
        this.#waitForQuarter()
      }, Math.random() * SPREAD_MS).unref()
    }, wait).unref()
  }

  #inTurn(write: () => Promise<void>): Promise<unknown> {
    this.#lastWrite = this.#lastWrite.then(write).catch(() => {})
    return this.#lastWrite
  }

  /** While something is not written yet, the activity keeps counting and is taken later. */
  #take(): void {
    const now = this.parts.clock.now()
    const since = Math.max(this.#takenAt, now - TAKE_MS)
    this.#takenAt = now
    if (this.#taken !== undefined || this.#calls.length > 0) return
    this.#taken = { ...this.parts.activity.take(), minute: Math.floor(since / MINUTE_MS) }
  }

  async #write(): Promise<void> {
    if (this.#taken !== undefined) {
      const { queues, minute } = this.#taken
      const wholes = wholesOf(queues)
      await this.#addTypes(this.#taken)
      this.#taken = undefined
      this.#plan(minute, itemsOf(queues, wholes))
    }
    while (this.#calls.length > 0) {
      const { minute, batch, items } = this.#calls[0]!
      const bounds = { broker: this.#broker, batch, minute, max_types: MAX_TYPES, ...KEEP }
      const isFirst = await runShared(this.parts.store, "historyAdd", bounds, items)
      this.#calls.shift()
      if (isFirst === 1) this.#plan(minute, await this.#depthItems().catch(() => []))
    }
  }

  #plan(minute: number, items: Item<"historyAdd">[]): void {
    for (let from = 0; from < items.length; from += MAX_POINTS_PER_CALL)
      this.#calls.push({
        minute,
        batch: ++this.#batch,
        items: items.slice(from, from + MAX_POINTS_PER_CALL),
      })
  }

  /** Finds the types of tasks that other brokers leased. */
  async #addTypes({ queues, unknown, stride }: Taken): Promise<void> {
    const { scripts } = this.parts
    const sorted = unknown.toSorted((a, b) => (a.queue < b.queue ? -1 : 1))
    const groups = scripts.queuesPerCall > 1 ? [sorted] : Map.groupBy(sorted, ({ queue }) => queue).values()
    for (const group of groups)
      for (let from = 0; from < group.length; from += MAX_LOOKED_UP_PER_CALL) {
        const some = group.slice(from, from + MAX_LOOKED_UP_PER_CALL)
        const items = some.map(({ queue, id }) => ({ queue, id: localOf(id) }))
        const types = await scripts.call("taskTypes", some[0]!.queue, {}, items).catch(() => [])
        some.forEach(({ queue, outcome, ranMs }, i) => {
          const of = queues.get(queue)
          const type = readType(types[i])
          if (of === undefined || type === undefined) return
          const point = of.types.get(type) ?? new Point()
          of.types.set(type, point)
          addOutcome(point, outcome, ranMs, stride)
        })
      }
  }

  /** The depths of each queue that has tasks, and their sums. */
  async #depthItems(): Promise<Item<"historyAdd">[]> {
    const all = new Point()
    all.depth = { queued: 0, delayed: 0, processing: 0 }
    const items: Item<"historyAdd">[] = []
    for (const { queue, counts } of await this.readDepths()) {
      const [queued = 0, delayed = 0, processing = 0] = counts
      if (queued + delayed + processing === 0) continue
      const point = new Point()
      point.depth = { queued, delayed, processing }
      all.depth.queued += queued
      all.depth.delayed += delayed
      all.depth.processing += processing
      items.push(itemOf(queue, "", point))
    }
    return [itemOf("", "", all), ...items]
  }
}

type Activities = ReadonlyMap<string, QueueActivity>

/** What happened to each queue, whatever the type. */
function wholesOf(queues: Activities): ReadonlyMap<string, Point> {
  const wholes = new Map<string, Point>()
  for (const [queue, { types, untyped }] of queues) {
    const whole = untyped.copy()
    for (const point of types.values()) whole.add(point)
    wholes.set(queue, whole)
  }
  return wholes
}

/** The point of all queues comes first: it tells whether this is the first call about its minute. */
function itemsOf(queues: Activities, wholes: ReadonlyMap<string, Point>): Item<"historyAdd">[] {
  const all = new Point()
  const items: Item<"historyAdd">[] = []
  for (const [queue, { types }] of queues) {
    const whole = wholes.get(queue)!
    all.add(whole)
    if (queue === "") continue
    items.push(itemOf(queue, "", whole))
    const busiest = [...types].sort(([, a], [, b]) => b.weight - a.weight).slice(0, MAX_TYPES)
    for (const [type, point] of busiest) items.push(itemOf(queue, type, point))
  }
  return [itemOf("", "", all), ...items]
}

const itemOf = (queue: string, type: string, point: Point): Item<"historyAdd"> => ({
  queue,
  type,
  weight: point.weight,
  point: point.encode(),
})

/** A type from its JSON text. */
function readType(text = ""): string | undefined {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
