/**
 * Notices that the event loop was blocked, and logs which task did it. Handlers share the loop with the worker: while one
 * computes without a pause, no lease is extended and nothing is acked. Only a check that comes too late can tell, so a
 * loop that is blocked for ever is not logged here; the broker then logs that the leases have lapsed.
 */
import type { Log } from "../log.ts"
import type { LeasedTask } from "../wire/working.ts"
import { taskFields } from "./conversation.ts"

const CHECK_MS = 250
/** A lease is extended after a third of its time, so it may lapse if the loop is blocked for the rest. */
const DANGEROUS_PART = 2 / 3
const MAX_TYPES = 10

export class LoopWatch {
  readonly #running = new Set<LeasedTask>()
  /** The tasks that ran since the last check, and for how many ms their handlers ran until they first awaited something. */
  #suspects = new Map<LeasedTask, number>()
  #checkedAt = 0
  #timer: Timer | undefined

  constructor(private readonly log: Log) {}

  /** Starts a task. */
  async run<T>(task: LeasedTask, start: () => Promise<T>): Promise<T> {
    this.#running.add(task)
    this.#suspects.set(task, 0)
    if (this.#timer === undefined) {
      this.#checkedAt = performance.now()
      this.#timer = setInterval(() => this.#check(), CHECK_MS).unref()
    }
    const from = performance.now()
    try {
      const outcome = start()
      this.#suspects.set(task, performance.now() - from)
      return await outcome
    } finally {
      this.#running.delete(task)
    }
  }

  #check(): void {
    const now = performance.now()
    const blockedMs = now - this.#checkedAt - CHECK_MS
    const suspects = this.#suspects
    this.#checkedAt = now
    this.#suspects = new Map([...this.#running].map(task => [task, 0]))
    if (this.#running.size === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
    }
    const shortestLeaseMs = Math.min(...[...suspects.keys()].map(task => task.timeout_ms))
    if (blockedMs >= shortestLeaseMs * DANGEROUS_PART) this.#report(blockedMs, suspects)
  }

  #report(blockedMs: number, suspects: ReadonlyMap<LeasedTask, number>): void {
    const certain = [...suspects].filter(([, ms]) => ms > blockedMs / 2).map(([task]) => task)
    const tasks = certain.length > 0 ? certain : [...suspects.keys()]
    const [task] = tasks
    const types = [...new Set(tasks.map(({ type }) => type))].slice(0, MAX_TYPES)
    this.log.warn(
      "A handler blocked the event loop, or the process was suspended, so leases may have lapsed",
      {
        ...(tasks.length === 1 ? taskFields(task!) : types.length === 1 ? { type: types[0] } : { types }),
        blocked_ms: Math.round(blockedMs),
      },
    )
  }
}
