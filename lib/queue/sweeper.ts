/**
 * Decides when to sweep which queue. Every broker sweeps, without a lock: the script is safe to run twice. A broker
 * knows when the next lease lapses or the next delay ends in the queues it serves, and sweeps then. It also checks
 * every queue from time to time, for deadlines that only a broker that died knew. These checks have a fixed budget per
 * second, so that a thousand idle queues cost no more than a few.
 */
const CHECKS_PER_SECOND = 4
const MIN_CHECK_MS = 1_000
/** At its start a broker checks all queues soon, but not thousands at once. */
const FIRST_CHECKS_PER_SECOND = 2_000
const RETRY_MS = 500
/** Bounds a timer; when it fires, a later deadline gets a new one. */
const MAX_TIMER_MS = 60_000

export interface Swept {
  /** Whether more tasks may have to be moved now. */
  more: boolean
  /** Until the next lease lapses or delay ends; undefined if there is none. */
  nextEventMs: number | undefined
}

export class Sweeper {
  /** The queues that are checked from time to time. */
  readonly #checked = new Set<string>()
  /** When to sweep each queue next, by performance.now(). */
  readonly #sweepAt = new Map<string, number>()
  readonly #running = new Set<string>()
  #timer: Timer | undefined
  #wakeAt = Number.POSITIVE_INFINITY
  #isClosed = false

  /** `onStart` gets how many ms late a sweep starts. */
  constructor(
    private readonly sweep: (queue: string) => Promise<Swept>,
    private readonly onStart: (lateMs: number) => void = () => {},
  ) {}

  /** Checks this queue regularly from now on. */
  add(queue: string): void {
    if (this.#checked.has(queue)) return
    this.#checked.add(queue)
    this.sweepIn(
      queue,
      Math.random() * Math.max(MIN_CHECK_MS, (this.#checked.size / FIRST_CHECKS_PER_SECOND) * 1_000),
    )
  }

  /** Sweeps this queue only when something is to happen in it. */
  remove(queue: string): void {
    this.#checked.delete(queue)
  }

  /** Sweeps this queue in `ms`, unless an earlier sweep is scheduled. */
  sweepIn(queue: string, ms: number): void {
    const at = performance.now() + ms
    if (at >= (this.#sweepAt.get(queue) ?? Number.POSITIVE_INFINITY)) return
    this.#sweepAt.set(queue, at)
    if (!this.#running.has(queue)) this.#setTimer(at)
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
  }

  #setTimer(at: number): void {
    if (this.#isClosed || at >= this.#wakeAt) return
    this.#wakeAt = at
    clearTimeout(this.#timer)
    // 1 ms late rather than early: Redis' clock decides what has lapsed. The timer does not keep the process alive.
    const ms = Math.min(Math.max(0, at - performance.now()) + 1, MAX_TIMER_MS)
    this.#timer = setTimeout(() => this.#startDue(), ms).unref()
  }

  #startDue(): void {
    this.#wakeAt = Number.POSITIVE_INFINITY
    const now = performance.now()
    let next = Number.POSITIVE_INFINITY
    for (const [queue, at] of this.#sweepAt) {
      if (this.#running.has(queue)) continue
      if (at <= now) {
        this.onStart(now - at)
        void this.#sweepOne(queue)
      } else next = Math.min(next, at)
    }
    this.#setTimer(next)
  }

  async #sweepOne(queue: string): Promise<void> {
    this.#running.add(queue)
    const jitter = 0.75 + Math.random() / 2
    const checkMs = Math.max(MIN_CHECK_MS, (this.#checked.size / CHECKS_PER_SECOND) * 1_000) * jitter
    if (this.#checked.has(queue)) this.#sweepAt.set(queue, performance.now() + checkMs)
    else this.#sweepAt.delete(queue)
    try {
      const { more, nextEventMs } = await this.sweep(queue)
      if (more) this.sweepIn(queue, 0)
      else if (nextEventMs !== undefined) this.sweepIn(queue, nextEventMs)
    } catch {
      this.sweepIn(queue, RETRY_MS * jitter) // Redis is down, which its connection has logged
    }
    this.#running.delete(queue)
    this.#setTimer(this.#sweepAt.get(queue) ?? Number.POSITIVE_INFINITY)
  }
}
