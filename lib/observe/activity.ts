/**
 * What this broker has done since its last entry in the history, per queue and task type. An ack carries no type, so the
 * types of leased tasks are remembered; if another broker leased the task, its type is read from Redis later
 * (history-writer.ts).
 */
import { Point } from "./history-point.ts"

/** How many queues and, in all of them together, types are told apart between two entries. */
const MAX_QUEUES = 1_000
const MAX_TYPES = 2_000
/** How many leased tasks have their type in memory: 200 bytes each. */
const MAX_REMEMBERED = 20_000
/** How many tasks are looked up between two entries. If there are more, each looked-up task stands for several. */
const MAX_UNKNOWN = 2_000

export interface QueueActivity {
  whole: Point
  /** What is missing here is of types beyond MAX_TYPES, or of tasks that were deleted before their type was read. */
  types: Map<string, Point>
}

type Outcome = "done" | "failed" | "lapsed" | "dead"

/** What happened to a task of unknown type. */
export interface UnknownOutcome {
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
    const of = this.#of(queue)
    of.whole.submitted++
    const ofType = this.#ofType(of, type)
    if (ofType !== undefined) ofType.submitted++
  }

  /** `waitedMs`: from the submit to the first lease; undefined for a later lease. */
  recordLeased(queue: string, id: string, type: string, waitedMs: number | undefined): void {
    this.#typeOf.set(id, type)
    if (this.#typeOf.size > MAX_REMEMBERED) this.#typeOf.delete(this.#typeOf.keys().next().value!)
    if (waitedMs === undefined) return
    const of = this.#of(queue)
    of.whole.observe("wait", waitedMs)
    this.#ofType(of, type)?.observe("wait", waitedMs)
  }

  recordOutcome(queue: string, id: string, outcome: Outcome, ranMs?: number): void {
    const of = this.#of(queue)
    addOutcome(of.whole, outcome, ranMs)
    const type = this.#typeOf.get(id)
    const ofType = type === undefined ? undefined : this.#ofType(of, type)
    if (type === undefined) this.#addUnknown({ queue, id, outcome, ranMs })
    else if (ofType !== undefined) addOutcome(ofType, outcome, ranMs)
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

  /** Beyond MAX_QUEUES the activity of the name "", which counts only for all queues together. */
  #of(queue: string): QueueActivity {
    const found = this.#queues.get(queue)
    if (found !== undefined) return found
    if (queue !== "" && this.#queues.size >= MAX_QUEUES) return this.#of("")
    const of = { whole: new Point(), types: new Map() }
    this.#queues.set(queue, of)
    return of
  }

  #ofType(of: QueueActivity, type: string): Point | undefined {
    const found = of.types.get(type)
    if (found !== undefined) return found
    if (this.#types >= MAX_TYPES) return undefined
    this.#types++
    const point = new Point()
    of.types.set(type, point)
    return point
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
