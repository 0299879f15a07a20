/**
 * What the tasks of a queue get where their submits do not say: one hash for all queues, which every broker has in
 * memory, so that a submit asks nobody. Who sets some tells the others; those that did not hear it learn it soon.
 */
import { DEFAULTS } from "../redis/keys.ts"
import type { Command } from "../redis/replicated.ts"
import type { TaskDefaults } from "../wire/queue-settings.ts"

type Run = (command: Command, told?: boolean) => Promise<unknown>

export class QueueDefaults {
  #known: ReadonlyMap<string, TaskDefaults> = new Map()

  constructor(private readonly command: Run) {}

  of(queue: string): TaskDefaults | undefined {
    return this.#known.get(queue)
  }

  /** Safe to repeat; undefined: none any more. */
  async set(queue: string, defaults: TaskDefaults | undefined): Promise<void> {
    if (defaults === undefined) await this.command(["HDEL", DEFAULTS, queue], true)
    else await this.command(["HSET", DEFAULTS, queue, JSON.stringify(defaults)], true)
    await this.learn()
    await this.command(["PUBLISH", DEFAULTS, queue])
  }

  async learn(): Promise<void> {
    const pairs = (await this.command(["HGETALL", DEFAULTS])) as string[]
    const known = new Map<string, TaskDefaults>()
    for (let i = 0; i < pairs.length; i += 2) {
      const defaults = read(pairs[i + 1]!)
      if (defaults !== undefined) known.set(pairs[i]!, defaults)
    }
    this.#known = known
  }
}

/** What is spoilt, as nothing here writes it, is none: it must not keep submits from their queue. */
function read(text: string): TaskDefaults | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null ? (value as TaskDefaults) : undefined
  } catch {
    return undefined
  }
}
