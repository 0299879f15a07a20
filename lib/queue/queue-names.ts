/** The names of all queues, in Redis. A queue must be registered before its first task, or it would not be swept. */
import { QUEUES } from "../redis/keys.ts"
import { runShared } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import type { Sweeper } from "./sweeper.ts"

/** How many names are remembered as registered. */
const MAX_REMEMBERED_NAMES = 100_000
const NAMES_PER_CALL = 1_000

export class QueueNames {
  readonly #registered = new Set<string>()
  /** All that this broker has registered, also in a Redis that was replaced since. */
  readonly #known = new Set<string>()

  constructor(
    private readonly store: Store,
    private readonly sweeper: Sweeper,
  ) {}

  isRegistered(queue: string): boolean {
    return this.#registered.has(queue)
  }

  async register(queue: string): Promise<void> {
    await this.store.command(["SADD", QUEUES, queue], true)
    this.#remember(queue)
  }

  /** Registers a queue for an operator, even if the memory of Redis is full. */
  async registerEvenIfFull(queue: string): Promise<void> {
    await runShared(this.store, "queuesRegister", {}, [{ name: queue }])
    this.#remember(queue)
  }

  /** Registers all names again that this broker has registered. */
  async restore(): Promise<void> {
    const names = [...this.#known]
    for (let from = 0; from < names.length; from += NAMES_PER_CALL) {
      const some = names.slice(from, from + NAMES_PER_CALL)
      await runShared(
        this.store,
        "queuesRegister",
        {},
        some.map(name => ({ name })),
      )
      for (const name of some) this.#registered.add(name)
    }
  }

  /** All names, sorted. */
  async list(): Promise<string[]> {
    return ((await this.store.command(["SMEMBERS", QUEUES])) as string[]).sort()
  }

  /** Sweeps the queues that other brokers registered, too. */
  async addAllToSweeper(): Promise<void> {
    for (const queue of await this.list()) this.sweeper.add(queue)
  }

  #remember(queue: string): void {
    for (const names of [this.#registered, this.#known]) {
      if (names.size >= MAX_REMEMBERED_NAMES) names.clear()
      names.add(queue)
    }
    this.sweeper.add(queue)
  }

  /** Another Redis may answer from now on: every name is registered again before its next task. */
  forget(): void {
    this.#registered.clear()
  }
}
