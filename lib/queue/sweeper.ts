/**
 * Decides when to sweep which queue. Every broker sweeps, without a lock: the script is safe to run twice. A broker
 * knows when the next lease lapses or the next delay ends in the queues it serves, and sweeps then. It also checks
 * every queue from time to time, for deadlines that only a broker that died knew. These checks have a fixed budget per
 * second, so that a thousand idle queues cost no more than a few.
 *
 * Many queues may be due at one instant. Only a few sweeps run at a time, so that the calls of requests get their turn in
 * between. The queue that has been due the longest is swept next.
 *
 * While Redis is down all sweeps fail, and a broker may know of thousands of queues. So their retries share a budget too.
 * The first that succeeds shows that Redis, or its node of a Cluster, is back, and the others follow at once.
 */
import { pause } from "../pause.ts"

const CHECKS_PER_SECOND = 4
const MIN_CHECK_MS = 1_000
/** At its start a broker checks all queues soon, but not thousands at once. */
const FIRST_CHECKS_PER_SECOND = 2_000
const RETRY_MS = 500
/** How many failed sweeps are retried: 5,000 per second took most of a core. */
const RETRIES_PER_SECOND = 100
/** How many sweeps run at a time. If each moves ten tasks, they take about 1 ms of Redis' time together; with 200 tasks, 16 ms. */
const MAX_AT_ONCE = 8
/** A sweep that takes longer frees its place: its node of a Cluster may be down, and those of other queues up. */
const MAX_HELD_MS = 20
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
  /** The queues whose last sweep failed. */
  readonly #failed = new Set<string>()
  /** The queues that are due and wait for a place, in the order of their deadlines. */
  readonly #due = new Set<string>()
  #freePlaces = MAX_AT_ONCE
  #timer: Timer | undefined
  #wakeAt = Number.POSITIVE_INFINITY
  #isClosed = false

  /** `onStart` gets how many ms late a sweep starts. `maxHeldMs` is for tests. */
  constructor(
    private readonly sweep: (queue: string) => Promise<Swept>,
    private readonly onStart: (lateMs: number) => void = () => {},
    private readonly maxHeldMs = MAX_HELD_MS,
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
    this.#timer = setTimeout(() => this.#collectDue(), ms).unref()
  }

  /** Adds the queues that are due now behind those that wait already. */
  #collectDue(): void {
    this.#wakeAt = Number.POSITIVE_INFINITY
    const now = performance.now()
    const due: { queue: string; at: number }[] = []
    let next = Number.POSITIVE_INFINITY
    for (const [queue, at] of this.#sweepAt) {
      if (this.#running.has(queue) || this.#due.has(queue)) continue
      if (at <= now) due.push({ queue, at })
      else next = Math.min(next, at)
    }
    for (const { queue } of due.sort((a, b) => a.at - b.at)) this.#due.add(queue)
    this.#setTimer(next)
    this.#startDue()
  }

  /** Starts sweeps while places are free. A sweep holds its place until it ends, but not longer than `maxHeldMs`. */
  #startDue(): void {
    for (const queue of this.#due) {
      if (this.#freePlaces === 0 || this.#isClosed) return
      this.#due.delete(queue)
      this.#freePlaces--
      this.onStart(performance.now() - this.#sweepAt.get(queue)!)
      void Promise.race([this.#sweepOne(queue), pause(this.maxHeldMs)]).then(() => {
        this.#freePlaces++
        this.#startDue()
      })
    }
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
      if (this.#failed.delete(queue)) this.#retryFailed()
    } catch {
      // Redis is down, which its connection has logged.
      this.#failed.add(queue)
      this.sweepIn(queue, Math.max(RETRY_MS, (this.#failed.size / RETRIES_PER_SECOND) * 1_000) * jitter)
    }
    this.#running.delete(queue)
    this.#setTimer(this.#sweepAt.get(queue) ?? Number.POSITIVE_INFINITY)
  }

  #retryFailed(): void {
    for (const queue of this.#failed) this.sweepIn(queue, 0)
    this.#failed.clear()
  }
}
