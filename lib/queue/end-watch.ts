/**
 * Waits for tasks to end, at whichever broker they end. A waiting request marks its task, and only the end of a marked
 * task is published, so this costs nothing if no request waits.
 *   1. Subscribe to the queue's `ended` channel first, then mark the task. An end in between is not missed, because
 *      marking a task reports that it has ended.
 *   2. After a gap in the subscription, mark all tasks again, which reports those that ended during the gap.
 */
import { endedChannel } from "../redis/keys.ts"
import type { Scripts } from "../redis/scripts.ts"
import type { Subscriptions } from "../redis/subscriptions.ts"
import { splitId } from "../task/id.ts"

export class EndWatch {
  readonly #waiters = new Map<string, Set<() => void>>()
  readonly #waitersPerQueue = new Map<string, number>()

  constructor(
    private readonly scripts: Scripts,
    private readonly subscriptions: Subscriptions,
  ) {}

  /** Resolves when the task has ended, after `waitMs`, or when the client disconnects. */
  async waitFor(id: string, waitMs: number, signal?: AbortSignal): Promise<void> {
    const { queue } = splitId(id)
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, waitMs)
    signal?.addEventListener("abort", () => resolve())
    const waiters = this.#waiters.get(id) ?? new Set()
    this.#waiters.set(id, waiters.add(resolve))
    this.#waitersPerQueue.set(queue, (this.#waitersPerQueue.get(queue) ?? 0) + 1)
    try {
      await this.subscriptions.subscribe(endedChannel(queue))
      if (await this.#mark(id)) await promise
    } finally {
      clearTimeout(timer)
      waiters.delete(resolve)
      if (waiters.size === 0) this.#waiters.delete(id)
      const others = this.#waitersPerQueue.get(queue)! - 1
      if (others > 0) this.#waitersPerQueue.set(queue, others)
      else {
        this.#waitersPerQueue.delete(queue)
        this.subscriptions.unsubscribe(endedChannel(queue))
      }
    }
  }

  /** Answers the requests that wait for this task. */
  ended(id: string): void {
    for (const resolve of this.#waiters.get(id) ?? []) resolve()
  }

  /** Call this after a gap in which messages may have been missed. */
  async markAgain(): Promise<void> {
    // If a mark fails Redis is down, and another gap follows.
    for (const id of this.#waiters.keys()) if (!(await this.#mark(id).catch(() => true))) this.ended(id)
  }

  close(): void {
    for (const id of this.#waiters.keys()) this.ended(id)
  }

  /** Has the task's end published, and returns whether the task has still to end. */
  async #mark(id: string): Promise<boolean> {
    const { queue, localId } = splitId(id)
    return (await this.scripts.callOne("watch", queue, {}, { id: localId })) === "watched"
  }
}
