/**
 * The names of all queues, in Redis. A queue must be registered before its first task, or it would not be swept. A queue
 * that nobody uses is forgotten:
 *   1. Its sweeps find it without timers and pollers for an hour.
 *   2. A script in the queue's slot confirms that it has no tasks, schedules, settings or recent polls, and deletes its statistics.
 *   3. The name is removed. It is in another slot of a Cluster, so a submit may have come in between.
 *   4. The script is run once more. If the queue is in use, the name is added again.
 * A task that arrives even later does not stay hidden: the broker that stored it knows the name, and compares the names
 * that it knows with those in Redis after the submit and every 10 s.
 */
import { QUEUES } from "../redis/keys.ts"
import { runShared, type Scripts } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import type { Sweeper } from "./sweeper.ts"

const NAMES_PER_CALL = 1_000
/** How long a queue is unused before it is forgotten. */
const UNUSED_MS = 3_600_000

interface NameParts {
  store: Store
  scripts: Scripts
  sweeper: Sweeper
}

export class QueueNames {
  /** The names that Redis was last known to have. */
  readonly #registered = new Set<string>()
  /** The same, also of a Redis that was replaced since. */
  readonly #known = new Set<string>()
  /** Since when sweeps found a queue unused, by performance.now(). */
  readonly #unusedSince = new Map<string, number>()

  /** `unusedMs` is for tests. */
  constructor(
    private readonly parts: NameParts,
    private readonly unusedMs = UNUSED_MS,
  ) {}

  isRegistered(queue: string): boolean {
    return this.#registered.has(queue)
  }

  async register(queue: string): Promise<void> {
    await this.parts.store.command(["SADD", QUEUES, queue], true)
    this.#remember(queue)
  }

  /** Registers a queue for an operator, even if the memory of Redis is full. */
  async registerEvenIfFull(queue: string): Promise<void> {
    await runShared(this.parts.store, "queuesRegister", {}, [{ name: queue }])
    this.#remember(queue)
  }

  /** Registers all names again that this broker knows. */
  async restore(): Promise<void> {
    const names = [...this.#known]
    for (let from = 0; from < names.length; from += NAMES_PER_CALL) {
      const some = names.slice(from, from + NAMES_PER_CALL)
      await runShared(
        this.parts.store,
        "queuesRegister",
        {},
        some.map(name => ({ name })),
      )
      for (const name of some) this.#remember(name)
    }
  }

  /** All names, sorted. */
  async list(): Promise<string[]> {
    return ((await this.parts.store.command(["SMEMBERS", QUEUES])) as string[]).sort()
  }

  /** Those of these queues, or of all, whose names contain `part`, ignoring case; sorted if `queues` are. */
  async select(queues: readonly string[] | undefined, part?: string): Promise<string[]> {
    return (queues ?? (await this.list())).filter(nameMatcher(part))
  }

  /** Learns what other brokers registered and forgot. */
  async refresh(): Promise<void> {
    const listed = new Set(await this.list())
    for (const queue of listed) this.#remember(queue)
    for (const queue of this.#registered.difference(listed)) await this.#registerOrDrop(queue)
  }

  /** Call this at a sweep that found the queue without timers and pollers, or found otherwise. */
  async recordUse(queue: string, isUnused: boolean): Promise<void> {
    const since = this.#unusedSince.get(queue)
    if (!isUnused) this.#unusedSince.delete(queue)
    else if (since === undefined) this.#unusedSince.set(queue, performance.now())
    else if (performance.now() - since >= this.unusedMs) {
      this.#unusedSince.delete(queue)
      if (!(await this.#isUnused(queue))) return
      await this.parts.store.command(["SREM", QUEUES, queue])
      await this.#registerOrDrop(queue)
    }
  }

  /** Another Redis may answer from now on: every name is registered again before its next task. */
  forget(): void {
    this.#registered.clear()
  }

  #remember(queue: string): void {
    this.#registered.add(queue)
    this.#known.add(queue)
    this.parts.sweeper.add(queue)
  }

  /** Registers a queue that Redis does not list, unless nobody uses it. */
  async #registerOrDrop(queue: string): Promise<void> {
    this.#registered.delete(queue)
    if (await this.#isUnused(queue)) {
      this.#known.delete(queue)
      this.parts.sweeper.remove(queue)
    } else await this.registerEvenIfFull(queue)
  }

  async #isUnused(queue: string): Promise<boolean> {
    const answer = await this.parts.scripts.call("forget", queue, { polled: this.unusedMs, fix: 1 })
    return answer === "unused"
  }
}

/** Whether a name contains `part`, ignoring case. */
export function nameMatcher(part = ""): (name: string) => boolean {
  const text = part.toLowerCase()
  return name => name.toLowerCase().includes(text)
}
