/**
 * When to sweep which queue. Every broker sweeps, without a lock: the script is safe to run twice. A broker
 * knows when the next lease lapses or delay ends in the queues it serves, and sweeps then; and it looks at
 * every queue now and then, for what a broker that died knew. Those looks have a fixed budget a second, so
 * that a thousand idle queues cost no more than a few.
 */
const LOOKS_PER_SECOND = 4
const MIN_LOOK_MS = 1_000
const RETRY_MS = 500

export interface Swept {
  /** Whether there may be more to move at once. */
  more: boolean
  /** Until the next lease lapses or delay ends; undefined where neither is set. */
  nextEventMs: number | undefined
}

export class Sweeper {
  readonly #due = new Map<string, number>()
  readonly #running = new Set<string>()
  #timer: Timer | undefined
  #wakeAt = Number.POSITIVE_INFINITY
  #closed = false

  /** `began`: a sweep has begun so many ms late. */
  constructor(
    private readonly sweep: (queue: string) => Promise<Swept>,
    private readonly began: (lateMs: number) => void = () => {},
  ) {}

  /** A queue that exists: it is looked at now and then from now on. */
  know(queue: string): void {
    if (!this.#due.has(queue)) this.in(queue, Math.random() * MIN_LOOK_MS)
  }

  /** Something happens in this queue in `ms`: it is swept then, or earlier where that is set already. */
  in(queue: string, ms: number): void {
    const at = performance.now() + ms
    if (at >= (this.#due.get(queue) ?? Number.POSITIVE_INFINITY)) return
    this.#due.set(queue, at)
    if (!this.#running.has(queue)) this.#arm(at)
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #arm(at: number): void {
    if (this.#closed || at >= this.#wakeAt) return
    this.#wakeAt = at
    clearTimeout(this.#timer)
    // A little late and never early: Redis' clock decides what has lapsed. The timer keeps no process alive.
    this.#timer = setTimeout(
      () => this.#run(),
      Math.min(Math.max(0, at - performance.now()) + 1, 60_000),
    ).unref()
  }

  #run(): void {
    this.#wakeAt = Number.POSITIVE_INFINITY
    const now = performance.now()
    let next = Number.POSITIVE_INFINITY
    for (const [queue, at] of this.#due) {
      if (this.#running.has(queue)) continue
      if (at <= now) {
        this.began(now - at)
        void this.#one(queue)
      } else next = Math.min(next, at)
    }
    this.#arm(next)
  }

  async #one(queue: string): Promise<void> {
    this.#running.add(queue)
    const jitter = 0.75 + Math.random() / 2
    const look = Math.max(MIN_LOOK_MS, (this.#due.size / LOOKS_PER_SECOND) * 1_000) * jitter
    this.#due.set(queue, performance.now() + look)
    try {
      const { more, nextEventMs } = await this.sweep(queue)
      if (more) this.in(queue, 0)
      else if (nextEventMs !== undefined) this.in(queue, nextEventMs)
    } catch {
      this.in(queue, RETRY_MS * jitter) // Redis is away, which its connection has told
    }
    this.#running.delete(queue)
    this.#arm(this.#due.get(queue)!)
  }
}
