/**
 * Publishes what this broker does to tasks and queues to a Redis stream; lib/observe/event-feed.ts reads it. If no client
 * listens, an event costs one check of a boolean, and nothing is written.
 *   1. A broker with clients of /events keeps the key LISTENING alive and announces it by pub/sub. The key outlives the
 *      last client by a minute, so that a client that reconnects gets the events in between.
 *   2. While the key exists, every broker appends its events to the stream, every 50 ms, within a budget per second. The
 *      excess is counted and published as `skipped`. Rare events, such as a dead task, have a budget of their own.
 *   3. Once per second a broker publishes how many events of each kind it has counted, so that a flood still shows in
 *      numbers.
 *   4. When writing starts after a pause, the stream gets a `gap`. So a client that resumes from an id learns that
 *      events may be missing.
 */
import { randomBytes } from "node:crypto"
import { LISTENING } from "../redis/keys.ts"
import { type Item, runShared } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import { EVENTS, type EventData, type EventName, orderOf, type TaskEventName } from "../wire/events.ts"
import { type Counters, MAX_QUEUES, OTHER, type QueueCounters } from "./counters.ts"

const FLUSH_MS = 50
const SECOND_MS = 1_000
/** Events that every task goes through. Per second a broker publishes so many of these, and so many others. */
const ROUTINE: ReadonlySet<EventName> = new Set(["submitted", "scheduled", "leased", "done"])
const ROUTINE_PER_SECOND = 400
const OTHERS_PER_SECOND = 200
/** The stream keeps at most this many events, at about 250 bytes each, and none older than five minutes. */
const MAX_EVENTS = 10_000
const RETENTION_MS = 300_000
/** `counts` and `skipped` cover this many of the busiest queues. */
const MAX_QUEUES_PER_EVENT = 100
const ERROR_CHARACTERS = 200

/** When something happened to a task, by the clock of Redis, and in which attempt; 0: before the first. */
export interface Moment {
  at: number
  attempt: number
}

type Facts = Omit<EventData, "at" | "queue" | "task_id" | "order">
type Counts = Record<(typeof EVENTS)[number], number>

export class EventWriter {
  /** Identifies this broker in `counts` and `skipped`. */
  readonly broker = randomBytes(4).toString("hex")
  #active = false
  #activeUntil = 0
  #closed = false
  /** What is left of this second's budgets. */
  #routineLeft = 0
  #othersLeft = 0
  /** Events that the next flush writes. */
  #buffer: Item<"eventsAppend">[] = []
  /** Whether events could not be written. */
  #lost = false
  #skipped = new Map<string, number>()
  /** The counts that were published last, per queue. */
  #counted = new Map<string, Counts>()
  #tickTimer: Timer | undefined
  #flushTimer: Timer | undefined

  constructor(
    private readonly store: Pick<Store, "command" | "run">,
    private readonly counters: Counters,
  ) {}

  /** Whether a client listens, as far as this broker knows. */
  get active(): boolean {
    return this.#active
  }

  /** A client listens for at least so many ms from now. */
  keepActive(ms: number): void {
    if (this.#closed) return
    this.#activeUntil = Math.max(this.#activeUntil, performance.now() + ms)
    if (this.#active) return
    this.#active = true
    this.#refill()
    this.#counted = new Map([...this.counters.queues].map(([queue, of]) => [queue, countsOf(of)]))
    this.#tickTimer = setInterval(() => this.#tick(), SECOND_MS).unref()
  }

  /** Asks Redis whether a client listens. `late` means that this broker may have missed the announcement. */
  async checkListeners(late: boolean): Promise<void> {
    const ms = Number(await this.store.command(["PTTL", LISTENING]))
    if (ms <= 0) return
    const missed = late && !this.#active
    this.keepActive(ms)
    if (missed) this.#append("gap", "", "", {})
  }

  /** Whether to publish this event individually. Counts the events beyond the budget. */
  admits(event: EventName, queue: string): boolean {
    if (!this.#active) return false
    if (ROUTINE.has(event) ? this.#routineLeft-- > 0 : this.#othersLeft-- > 0) return true
    this.#skip(queue)
    return false
  }

  /** Publishes an event of a task. Call `admits` first. */
  publishTaskEvent(
    event: TaskEventName,
    queue: string,
    id: string,
    { at, attempt }: Moment,
    { error, ...facts }: Facts = {},
  ): void {
    const cut = error ? { error: error.slice(0, ERROR_CHARACTERS).toWellFormed() } : {}
    const data = { at, queue, task_id: id, order: orderOf(event, attempt), ...facts, ...cut }
    this.#append(event, queue, id, data)
  }

  /** Publishes an event of a queue, if the budget admits it. */
  publishQueueEvent(event: EventName, queue: string, facts: Facts = {}): void {
    if (this.admits(event, queue)) this.#append(event, queue, "", { queue, ...facts })
  }

  /** Writes the remaining events. */
  async close(): Promise<void> {
    if (this.#active) this.#tick()
    this.#closed = true
    this.#deactivate()
    await this.#flush()
  }

  #skip(queue: string): void {
    this.#skipped.set(queue, (this.#skipped.get(queue) ?? 0) + 1)
  }

  #refill(): void {
    this.#routineLeft = ROUTINE_PER_SECOND
    this.#othersLeft = OTHERS_PER_SECOND
  }

  #deactivate(): void {
    this.#active = false
    clearInterval(this.#tickTimer)
  }

  /** If `data` has no time, the feed adds the time of the entry. */
  #append(event: EventName, queue: string, id: string, data: Partial<EventData>): void {
    this.#buffer.push({ event, queue, task: id, data: JSON.stringify(data) })
    this.#flushTimer ??= setTimeout(() => void this.#flush(), FLUSH_MS).unref()
  }

  async #flush(): Promise<void> {
    clearTimeout(this.#flushTimer)
    this.#flushTimer = undefined
    const events = this.#buffer.splice(0)
    if (events.length === 0) return
    try {
      const bounds = { max_events: MAX_EVENTS, retention: RETENTION_MS }
      await runShared(this.store, "eventsAppend", bounds, events)
    } catch {
      this.#lost = true // Redis is unreachable or full
    }
  }

  #tick(): void {
    this.#refill()
    if (this.#lost) this.#append("gap", "", "", {})
    this.#lost = false
    const counts = this.#newCounts()
    if (counts.length > 0) this.#append("counts", "", "", this.#byQueue(counts))
    if (this.#skipped.size > 0) this.#append("skipped", "", "", this.#byQueue([...this.#skipped]))
    this.#skipped.clear()
    if (performance.now() > this.#activeUntil) this.#deactivate()
  }

  #byQueue(numbers: [queue: string, of: number | Partial<Counts>][]): Facts {
    const total = (of: number | Partial<Counts>) =>
      typeof of === "number" ? of : Object.values(of).reduce((sum, count) => sum + count, 0)
    const busiest = numbers.sort(([, a], [, b]) => total(b) - total(a)).slice(0, MAX_QUEUES_PER_EVENT)
    const others = numbers.length > busiest.length || this.counters.queues.size >= MAX_QUEUES
    return { broker: this.broker, queues: Object.fromEntries(busiest), ...(others && { others }) }
  }

  /** The counts since the last call, for each queue that has any. */
  #newCounts(): [queue: string, counts: Partial<Counts>][] {
    const changed: [string, Partial<Counts>][] = []
    for (const [queue, of] of this.counters.queues) {
      // Beyond MAX_QUEUES this entry counts many queues together.
      if (queue === OTHER && this.counters.queues.size >= MAX_QUEUES) continue
      const before = this.#counted.get(queue)
      const counts: Partial<Counts> = {}
      let any = false
      for (const event of EVENTS) {
        const count = of[event] - (before?.[event] ?? 0)
        if (count === 0) continue
        counts[event] = count
        any = true
      }
      if (!any) continue
      this.#counted.set(queue, countsOf(of))
      changed.push([queue, counts])
    }
    return changed
  }
}

const countsOf = (counters: QueueCounters) =>
  Object.fromEntries(EVENTS.map(event => [event, counters[event]])) as Counts
