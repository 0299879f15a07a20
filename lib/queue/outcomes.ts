/** Records task outcomes: counters, events and log lines. */
import { type Fields, type Log, rateLimited } from "../log.ts"
import type { Activity } from "../observe/activity.ts"
import type { Counters } from "../observe/counters.ts"
import type { EventWriter, Moment } from "../observe/event-writer.ts"
import { joinId, queueOf } from "../task/id.ts"
import { leaseAgeMs } from "../task/lease-token.ts"
import type { Leased, NewTask, Settled, Settlement } from "../task/task.ts"
import type { TaskEventName } from "../wire/events.ts"

const SUBMIT_EVENTS = { queued: "submitted", scheduled: "scheduled" } as const
const SETTLE_EVENTS = {
  acknowledged: "done",
  requeued: "failed",
  moved_to_dlq: "failed",
  released: "released",
  cancelled: "cancelled",
} as const satisfies Record<Settled["code"], TaskEventName>
/** How much of an error a log line contains. */
const MAX_LOGGED_ERROR = 200

/**
 * How an attempt ended. `attempt` is the newest attempt of the task; a repeated ack may be about an earlier one. `reason` is
 * empty or absent unless this has made the task dead. `now` is by the clock of this broker, like the time in a lease.
 */
interface AttemptEnd extends Pick<Settled, "code" | "retries">, Moment {
  reason: string | undefined
  /** Its error must not be published. */
  redact?: "1" | undefined
  now: number
}

export class OutcomeRecorder {
  readonly #log: Log

  constructor(
    private readonly counters: Counters,
    private readonly activity: Activity,
    private readonly events: EventWriter,
    log: Log,
  ) {
    this.#log = rateLimited(log)
  }

  recordSubmitted(
    id: string,
    code: keyof typeof SUBMIT_EVENTS,
    { queue, type }: NewTask,
    at: number,
    facts: Parameters<EventWriter["publishTaskEvent"]>[4] = {},
  ): void {
    this.counters.forQueue(queue).submitted++
    this.activity.recordSubmitted(queue, type)
    // Check `admits` first, here and below: under load most events are not published, and building them is wasted work.
    if (this.events.admits(SUBMIT_EVENTS[code], queue))
      this.events.publishTaskEvent(SUBMIT_EVENTS[code], queue, id, { at, attempt: 0 }, { type, ...facts })
  }

  recordLeased(queue: string, tasks: readonly Leased[]): void {
    const counters = this.counters.forQueue(queue)
    counters.leased += tasks.length
    for (const { id, type, attempt, waitedMs } of tasks) {
      const isFirst = attempt === 1
      if (isFirst) counters.wait.observe(waitedMs / 1_000)
      this.activity.recordLeased(queue, id, parseType(type), isFirst ? waitedMs : undefined)
    }
    if (!this.events.active) return
    for (const { id, type, worker, attempt, startedAt } of tasks)
      if (this.events.admits("leased", queue)) {
        const facts = { type: parseType(type), attempt, ...(worker === "?" ? {} : { worker }) }
        this.events.publishTaskEvent("leased", queue, id, { at: startedAt, attempt }, facts)
      }
  }

  /** Records an attempt that its worker ended. A repeated ack is recorded again. `requester` is added to log lines. */
  recordSettled(
    settlement: Settlement,
    { code, retries, attempt: newest, reason, redact, at, now }: AttemptEnd,
    requester: () => Fields = () => ({}),
  ): void {
    const { id, lease, outcome } = settlement
    const error = outcome === "done" || redact ? undefined : settlement.text || undefined
    const queue = queueOf(id)
    const died = code === "moved_to_dlq" || (code === "released" && Boolean(reason))
    this.#count(queue, id, code, lease, now)
    if (died) {
      this.counters.forQueue(queue).dead++
      this.activity.recordOutcome(queue, id, "dead")
      this.#logDead(id, error, retries, reason || undefined, requester())
    }
    this.activity.forgetType(id)
    if (!this.events.active) return
    const attempt = lease === undefined ? newest : Number.parseInt(lease, 10)
    const moment = { at, attempt }
    if (this.events.admits(SETTLE_EVENTS[code], queue)) {
      const facts = { attempt, ...(error === undefined ? {} : { error }) }
      this.events.publishTaskEvent(SETTLE_EVENTS[code], queue, id, moment, facts)
    }
    if (died) this.#publish("dead", id, moment, { attempt, ...(reason ? { reason } : {}) })
  }

  /** Records tasks whose lease lapsed or whose expiry passed, as found by a lease or a sweep. lua/lease.lua has the format of `timeouts`. */
  recordTimeouts(queue: string, timeouts: readonly string[]): void {
    const counters = this.counters.forQueue(queue)
    for (const line of timeouts) {
      const [event, reason, number, worker, localId, at] = line.split(" ") as [TaskEventName, ...string[]]
      const attempt = Number(number)
      const facts = {
        ...(event === "cancelled" ? {} : { reason }),
        attempt,
        ...(worker === "?" ? {} : { worker }),
      }
      const id = joinId(queue, localId!)
      if (event === "lapsed" || event === "dead") {
        counters[event]++
        this.activity.recordOutcome(queue, id, event)
        const message = event === "lapsed" ? "A lease has lapsed" : "A task is dead"
        this.#log.warn(message, { task_id: id, queue, ...facts })
      }
      if (event !== "lapsed") this.activity.forgetType(id)
      this.#publish(event, id, { at: Number(at), attempt }, facts)
    }
  }

  /** Publishes an event that is neither counted nor logged. */
  publish(event: TaskEventName, id: string, moment: Moment): void {
    this.#publish(event, id, moment)
  }

  #publish(
    event: TaskEventName,
    id: string,
    moment: Moment,
    facts?: Parameters<EventWriter["publishTaskEvent"]>[4],
  ): void {
    const queue = queueOf(id)
    if (this.events.admits(event, queue)) this.events.publishTaskEvent(event, queue, id, moment, facts)
  }

  #count(queue: string, id: string, code: Settled["code"], lease: string | undefined, now: number): void {
    const counters = this.counters.forQueue(queue)
    if (code === "cancelled") return
    if (code === "released") {
      counters.released++
      return
    }
    const outcome = code === "acknowledged" ? "done" : "failed"
    counters[outcome]++
    const ranMs = lease === undefined ? undefined : leaseAgeMs(lease, now)
    this.activity.recordOutcome(queue, id, outcome, ranMs)
    if (ranMs !== undefined) counters.run.observe(ranMs / 1_000)
  }

  #logDead(id: string, text = "", retries: number, reason: string | undefined, requester: Fields): void {
    const error = text.split("\n", 1)[0]!.slice(0, MAX_LOGGED_ERROR) || undefined
    const fields = { task_id: id, queue: queueOf(id), reason, error, retries }
    this.#log.warn("A task is dead", { ...fields, ...requester })
  }
}

/** A type from its JSON text. Invalid text is returned as it is, so that one damaged task does not block others. */
function parseType(type: string): string {
  // Nearly every type is text without escapes, and JSON.parse takes 0.1 µs for it.
  if (type.startsWith('"') && !type.includes("\\")) return type.slice(1, -1)
  try {
    return JSON.parse(type)
  } catch {
    return type
  }
}
