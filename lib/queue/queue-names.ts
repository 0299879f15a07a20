/** The names of all queues, in Redis. A queue must be registered before its first task, or it would not be swept. */
import { QUEUES } from "../redis/keys.ts"
import type { Store } from "../redis/store.ts"
import type { Sweeper } from "./sweeper.ts"

/** How many names are remembered as registered. */
const MAX_REMEMBERED_NAMES = 100_000

export class QueueNames {
  readonly #registered = new Set<string>()

  constructor(
    private readonly store: Store,
    private readonly sweeper: Sweeper,
  ) {}

  isRegistered(queue: string): boolean {
    return this.#registered.has(queue)
  }

  async register(queue: string): Promise<void> {
    await this.store.command(["SADD", QUEUES, queue], true)
    if (this.#registered.size >= MAX_REMEMBERED_NAMES) this.#registered.clear()
    this.#registered.add(queue)
    this.sweeper.add(queue)
  }

  /** All names, sorted. */
  async list(): Promise<string[]> {
    return ((await this.store.command(["SMEMBERS", QUEUES])) as string[]).sort()
  }

  /** Sweeps the queues that other brokers registered, too. */
  async addAllToSweeper(): Promise<void> {
    for (const queue of await this.list()) this.sweeper.add(queue)
  }

  /** Another Redis may answer from now on: every name is registered again before its next task. */
  forget(): void {
    this.#registered.clear()
  }
}
