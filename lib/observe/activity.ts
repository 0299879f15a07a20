/**
 * What this broker has done since its last entry in the history, per queue and task type. An ack carries no type, so the
 * types of leased tasks are remembered; if another broker leased the task, its type is read from Redis later
 * (history-writer.ts).
 */
import { Point } from "./history-point.ts"

/** How many queues and, in all of them together, types are counted separately between two entries. */
const MAX_QUEUES = 1_000
const MAX_TYPES = 2_000
/** How many leased tasks have their type in memory: 200 bytes each. */
const MAX_REMEMBERED = 20_000
/** How many tasks are looked up between two entries. If there are more, each looked-up task stands for several. */
const MAX_UNKNOWN = 2_000

export interface QueueActivity {
  types: Map<string, Point>
  /** What happened to tasks of unknown types, and of types beyond MAX_TYPES. */
  untyped: Point
}

type Outcome = "done" | "failed" | "lapsed" | "dead"

/** What happened to a task of unknown type. */
interface UnknownOutcome {
  queue: string
  id: string
  outcome: Outcome
  ranMs: number | undefined
}

export class Activity {
  #queues = new Map<string, QueueActivity>()
  #types = 0
  #unknown: UnknownOutcome[] = []
  #unknownSeen = 0
  /** One of so many outcomes of unknown type is kept. */
  #stride = 1
  /** By task id, oldest first. */
  readonly #typeOf = new Map<string, string>()

  recordSubmitted(queue: string, type: string): void {
    this.#of(queue, type).submitted++
  }

  /** `waitedMs`: from the submit to the first lease; undefined for a later lease. */
  recordLeased(queue: string, id: string, type: string, waitedMs: number | undefined): void {
    this.#typeOf.set(id, type)
    if (this.#typeOf.size > MAX_REMEMBERED) this.#typeOf.delete(this.#typeOf.keys().next().value!)
    if (waitedMs !== undefined) this.#of(queue, type).observe("wait", waitedMs)
  }

  recordOutcome(queue: string, id: string, outcome: Outcome, ranMs?: number): void {
    const type = this.#typeOf.get(id)
    addOutcome(this.#of(queue, type), outcome, ranMs)
    if (type === undefined) this.#addUnknown({ queue, id, outcome, ranMs })
  }

  /** The attempt of a task is over. Call it after its outcomes. */
  forgetType(id: string): void {
    this.#typeOf.delete(id)
  }

  /** What happened since the last call. `stride`: how many outcomes each of `unknown` stands for. */
  take(): { queues: Map<string, QueueActivity>; unknown: UnknownOutcome[]; stride: number } {
    const taken = { queues: this.#queues, unknown: this.#unknown, stride: this.#stride }
    this.#queues = new Map()
    this.#types = 0
    this.#unknown = []
    this.#unknownSeen = 0
    this.#stride = 1
    return taken
  }

  /** The point that counts a type of a queue. */
  #of(queue: string, type: string | undefined): Point {
    const { types, untyped } = this.#queues.get(queue) ?? this.#add(queue)
    if (type === undefined) return untyped
    const found = types.get(type)
    if (found !== undefined) return found
    if (this.#types >= MAX_TYPES) return untyped
    this.#types++
    const point = new Point()
    types.set(type, point)
    return point
  }

  /** Beyond MAX_QUEUES it is the activity of the name "", which counts only for all queues together. */
  #add(queue: string): QueueActivity {
    const key = queue !== "" && this.#queues.size >= MAX_QUEUES ? "" : queue
    const activity = this.#queues.get(key) ?? { types: new Map(), untyped: new Point() }
    this.#queues.set(key, activity)
    return activity
  }

  #addUnknown(outcome: UnknownOutcome): void {
    if (this.#unknownSeen++ % this.#stride !== 0) return
    this.#unknown.push(outcome)
    if (this.#unknown.length < MAX_UNKNOWN) return
    this.#unknown = this.#unknown.filter((_, i) => i % 2 === 0)
    this.#stride *= 2
  }
}

export function addOutcome(point: Point, outcome: Outcome, ranMs: number | undefined, times = 1): void {
  point[outcome] += times
  if (ranMs !== undefined) point.observe("run", ranMs, times)
}
