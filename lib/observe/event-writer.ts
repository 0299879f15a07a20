/**
 * Events, written: what this broker does to tasks and queues, told to those who listen, at whichever broker
 * (lib/observe/event-feed.ts reads them). Where nobody listens it costs one look at a boolean, and nothing is written.
 *   1. A broker with listeners keeps the key LISTENING alive and publishes so; the key outlives the last of them
 *      by a minute, so that one who comes again finds what happened meanwhile.
 *   2. Every broker then puts what happens through it into the stream, some times a second, within a budget: what
 *      is beyond it is counted, and told as `skipped`. What is rare, as a task that dies, has a budget of its own.
 *   3. Once a second it writes how many of what it has counted in that second: a flood is told by numbers.
 *   4. Where writing begins anew the stream says `gap`. So who reads on from an id hears of whatever may be missing.
 */
import { randomBytes } from "node:crypto"
import { LISTENING } from "../redis/keys.ts"
import { type Item, runShared } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import { EVENTS, type EventData, type EventName } from "../wire/events.ts"
import { type Counters, MAX_QUEUES, OTHER, type QueueCounters } from "./counters.ts"

const FLUSH_MS = 50
const SECOND_MS = 1_000
/** What a broker tells one by one in a second: of what every task goes through, and of all else. */
const ROUTINE: ReadonlySet<EventName> = new Set(["submitted", "scheduled", "leased", "done"])
const ROUTINE_PER_SECOND = 400
const OTHERS_PER_SECOND = 200
/** The stream keeps the newest so many events (250 bytes each), none older than five minutes. */
const MAX_EVENTS = 10_000
const RETENTION_MS = 300_000
/** Of so many queues, the busiest, the numbers are told. */
const MAX_QUEUES_PER_EVENT = 100
const ERROR_CHARACTERS = 200

type Facts = Omit<EventData, "at" | "queue" | "task_id">
type Counts = Record<(typeof EVENTS)[number], number>

export class EventWriter {
  /** What tells this broker's numbers from others'. */
  readonly #broker = randomBytes(4).toString("hex")
  #on = false
  #until = 0
  #closed = false
  #routine = 0
  #others = 0
  /** Events that the next flush writes. */
  #buffer: Item<"eventsAppend">[] = []
  /** What was to be written, and was not. */
  #lost = false
  #skipped = new Map<string, number>()
  #counted = new Map<string, Counts>()
  #second: Timer | undefined
  #flushing: Timer | undefined

  constructor(
    private readonly store: Pick<Store, "command" | "run">,
    private readonly counters: Counters,
  ) {}

  /** Whether somebody listens, as far as is known here. */
  get active(): boolean {
    return this.#on
  }

  /** Somebody listens, for so many ms from now at least. */
  keepActive(ms: number): void {
    if (this.#closed) return
    this.#until = Math.max(this.#until, performance.now() + ms)
    if (this.#on) return
    this.#on = true
    this.#refill()
    this.#counted = new Map([...this.counters.queues].map(([queue, of]) => [queue, countsOf(of)]))
    this.#second = setInterval(() => this.#tick(), SECOND_MS).unref()
  }

  /** Asks whether somebody listens. `late`: it may have been said, and not been heard here. */
  async checkListeners(late: boolean): Promise<void> {
    const ms = Number(await this.store.command(["PTTL", LISTENING]))
    if (ms <= 0) return
    const missed = late && !this.#on
    this.keepActive(ms)
    if (missed) this.#write("gap", "", "", {})
  }

  /** Whether somebody is to be told of this, one by one. What is beyond the budget is counted here. */
  admits(event: EventName, queue: string): boolean {
    if (!this.#on) return false
    if (ROUTINE.has(event) ? this.#routine-- > 0 : this.#others-- > 0) return true
    this.#skip(queue)
    return false
  }

  /** Of a task. Ask `wants` first. */
  publishTaskEvent(event: EventName, queue: string, id: string, { error, ...facts }: Facts = {}): void {
    const cut = error ? { error: error.slice(0, ERROR_CHARACTERS).toWellFormed() } : {}
    this.#write(event, queue, id, { ...facts, ...cut })
  }

  /** Of a queue. */
  publishQueueEvent(event: EventName, queue: string, facts: Facts = {}): void {
    if (this.admits(event, queue)) this.#write(event, queue, "", facts)
  }

  /** Writes what is still to be written. */
  async close(): Promise<void> {
    if (this.#on) this.#tick()
    this.#closed = true
    this.#end()
    await this.#flush()
  }

  #skip(queue: string): void {
    this.#skipped.set(queue, (this.#skipped.get(queue) ?? 0) + 1)
  }

  #refill(): void {
    this.#routine = ROUTINE_PER_SECOND
    this.#others = OTHERS_PER_SECOND
  }

  #end(): void {
    this.#on = false
    clearInterval(this.#second)
  }

  #write(event: EventName, queue: string, id: string, facts: Facts): void {
    const data = { ...(queue && { queue }), ...(id && { task_id: id }), ...facts }
    this.#buffer.push({ event, queue, task: id, data: JSON.stringify(data) })
    this.#flushing ??= setTimeout(() => void this.#flush(), FLUSH_MS).unref()
  }

  async #flush(): Promise<void> {
    clearTimeout(this.#flushing)
    this.#flushing = undefined
    const events = this.#buffer.splice(0)
    if (events.length === 0) return
    try {
      const bounds = { max_events: MAX_EVENTS, retention: RETENTION_MS }
      await runShared(this.store, "eventsAppend", bounds, events)
    } catch {
      this.#lost = true // Redis is away or full
    }
  }

  #tick(): void {
    this.#refill()
    if (this.#lost) this.#write("gap", "", "", {})
    this.#lost = false
    const counts = this.#newCounts()
    if (counts.length > 0) this.#write("counts", "", "", this.#byQueue(counts))
    if (this.#skipped.size > 0) this.#write("skipped", "", "", this.#byQueue([...this.#skipped]))
    this.#skipped.clear()
    if (performance.now() > this.#until) this.#end()
  }

  #byQueue(numbers: [queue: string, of: number | Partial<Counts>][]): Facts {
    const total = (of: number | Partial<Counts>) =>
      typeof of === "number" ? of : Object.values(of).reduce((sum, count) => sum + count, 0)
    const busiest = numbers.sort(([, a], [, b]) => total(b) - total(a)).slice(0, MAX_QUEUES_PER_EVENT)
    const others = numbers.length > busiest.length || this.counters.queues.size >= MAX_QUEUES
    return { broker: this.#broker, queues: Object.fromEntries(busiest), ...(others && { others }) }
  }

  /** What was counted since the last time, of each queue where that is anything. */
  #newCounts(): [queue: string, counts: Partial<Counts>][] {
    const changed: [string, Partial<Counts>][] = []
    for (const [queue, of] of this.counters.queues) {
      // Those that are counted together belong to nobody.
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

const countsOf = ({ submitted, leased, done, failed, released, lapsed, dead }: QueueCounters): Counts => ({
  ...{ submitted, leased, done, failed, released, lapsed, dead },
})
