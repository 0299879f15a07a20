/**
 * The defaults of each queue: what its tasks get if their submit does not say. They are one hash for all queues, which
 * every broker keeps in memory, so that a submit needs no extra read. A broker that changes them publishes that; every
 * broker also reads them at start, after a gap in its subscriptions, and every 10 s.
 */
import { DEFAULTS } from "../redis/keys.ts"
import { runShared } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import type { TaskDefaults } from "../wire/queue-settings.ts"

export class QueueDefaults {
  #byQueue: ReadonlyMap<string, TaskDefaults> = new Map()

  constructor(private readonly store: Store) {}

  of(queue: string): TaskDefaults | undefined {
    return this.#byQueue.get(queue)
  }

  /** Safe to repeat. `undefined` removes the defaults. */
  async set(queue: string, defaults: TaskDefaults | undefined): Promise<void> {
    const text = defaults === undefined ? "" : JSON.stringify(defaults)
    await runShared(this.store, "defaultsSet", { queue, text })
    await this.refresh()
    await this.store.publish(DEFAULTS, queue)
  }

  async refresh(): Promise<void> {
    const pairs = (await this.store.command(["HGETALL", DEFAULTS])) as string[]
    const byQueue = new Map<string, TaskDefaults>()
    for (let i = 0; i < pairs.length; i += 2) {
      const defaults = parse(pairs[i + 1]!)
      if (defaults !== undefined) byQueue.set(pairs[i]!, defaults)
    }
    this.#byQueue = byQueue
  }
}

/** A value that no broker wrote counts as none: it must not make submits fail. */
function parse(text: string): TaskDefaults | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null ? (value as TaskDefaults) : undefined
  } catch {
    return undefined
  }
}
