/**
 * Waiting for tasks to end, on whichever broker they do. Who waits marks the task, and only a marked task's
 * end is published: it costs nothing where nobody waits.
 *   1. Subscribe to the queue's `ended` channel first, then mark the task: an end in between is not missed,
 *      for the mark answers that it has ended.
 *   2. After a gap in the subscription all marks are made again, which tells what ended in the gap.
 */
interface Hooks {
  subscribe(queue: string): Promise<unknown>
  unsubscribe(queue: string): void
  /** Marks the task. Answers whether it is still to end. */
  mark(id: string): Promise<boolean>
  queueOf(id: string): string
}

export class EndWatch {
  readonly #waiting = new Map<string, Set<() => void>>()
  readonly #channels = new Map<string, number>()

  constructor(private readonly hooks: Hooks) {}

  /** Resolves when the task has ended, or after `waitMs`, or when the client leaves. */
  async waitFor(id: string, waitMs: number, signal?: AbortSignal): Promise<void> {
    const queue = this.hooks.queueOf(id)
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, waitMs)
    signal?.addEventListener("abort", () => resolve())
    const waiters = this.#waiting.get(id) ?? new Set()
    this.#waiting.set(id, waiters.add(resolve))
    this.#channels.set(queue, (this.#channels.get(queue) ?? 0) + 1)
    try {
      await this.hooks.subscribe(queue)
      if (await this.hooks.mark(id)) await promise
    } finally {
      clearTimeout(timer)
      waiters.delete(resolve)
      if (waiters.size === 0) this.#waiting.delete(id)
      const others = this.#channels.get(queue)! - 1
      if (others > 0) this.#channels.set(queue, others)
      else {
        this.#channels.delete(queue)
        this.hooks.unsubscribe(queue)
      }
    }
  }

  /** This task has ended. */
  ended(id: string): void {
    for (const resolve of this.#waiting.get(id) ?? []) resolve()
  }

  /** After a gap in which ends may have been published to nobody here. */
  async lookAgain(): Promise<void> {
    // Where a mark fails Redis is away: after that comes another gap.
    for (const id of this.#waiting.keys()) if (!(await this.hooks.mark(id).catch(() => true))) this.ended(id)
  }

  close(): void {
    for (const id of this.#waiting.keys()) this.ended(id)
  }
}
