/**
 * The long poll: which requests wait for tasks, in order of arrival, and which tasks each gets. It uses no blocking
 * Redis command and no busy polling: a waiting request costs nothing until a message says that tasks became ready.
 *   1. A new waiter joins the line of each of its queues at once, so that no message misses it, and then tries its
 *      queues in their order. Only one line at a time may serve it (`queueIndex`, `isBusy`), so it is never served twice.
 *   2. A line has one lease call in progress, for as many tasks as were notified and its waiters can take. Slots go
 *      round: every waiter gets a first task before any gets a second. Only while tasks are plentiful (`plentiful`),
 *      waiters are served whole, in order, and a second call may start while the tasks of the first are written: Redis
 *      and the broker then work in parallel instead of in turn.
 *   3. If more tasks were notified than waiters were free, because other lines held some, the line remembers the number
 *      (`unclaimed`) and asks for them when a waiter becomes free. Without this a wake-up would be lost.
 *   4. A call that leased as much as one call may, in number or bytes, says so (`hasMore`). Waiters that got nothing of it
 *      try again at once. The others are answered with what they have, so the bytes of an answer are bounded too.
 *   5. Tasks leased for a client that has disconnected are released, which publishes a wake-up for the next waiter.
 */
import { atTickEnd } from "../redis/tick.ts"
import type { Leased } from "../task/task.ts"

const MAX_SLOTS = 1_000
/** In one call while tasks are plentiful: as many as the script leases in one go, about 2 ms. */
const MAX_SLOTS_WHEN_PLENTIFUL = 300
/** A waiter that has this much looks for no more, so no answer has much more than twice as much. */
export const MAX_ANSWER_BYTES = 4_194_304
const MAX_CALLS = 2
/** Tasks are plentiful once a call leased this many. A second call starts only for as many, or both would be small. */
const PLENTY = 100
/** How many tasks may have become ready before a subscription is active: as many as one sweep moves. */
const MAX_MISSED = 200

export interface Demand {
  queues: readonly string[]
  max: number
  waitMs: number
  worker: string
  /** What the worker reports of itself. `instance` is one run of it: a later run under the same name has another. */
  instance?: string | undefined
  /** A short name for the queues to which its token is bound; "" if it is bound to none. Names count only among workers with the same binding. */
  binding?: string | undefined
  host?: string | undefined
  version?: string | undefined
  concurrency?: number | undefined
  /** Fires when the client disconnects. */
  signal?: AbortSignal
}

/** A request that waits for tasks. */
class Waiter {
  /** The index of the queue that it tries now; undefined once it has tried all and waits for messages. */
  queueIndex: number | undefined = 0
  /** The queues whose last lease call for it failed; undefined: none ever did. */
  failed: Set<string> | undefined
  /** A lease call in progress has slots for it. */
  isBusy = false
  hasEnded = false
  /** Its time is over, and it ends when it is not busy. */
  isLate: boolean
  readonly tasks: Leased[] = []

  constructor(
    readonly demand: Demand,
    /** Answers the request. Only the first call has an effect. */
    readonly end: (error?: unknown) => void,
    /** Call this when it has tried all its queues. It may end the waiter. */
    readonly startWaiting: () => void,
  ) {
    this.isLate = demand.waitMs === 0
  }

  get openSlots(): number {
    return this.demand.max - this.tasks.length
  }

  get hasRoom(): boolean {
    return this.openSlots > 0 && sizeOf(this.tasks) < MAX_ANSWER_BYTES
  }

  /** Whether the line of this queue may include it in a call now. */
  isFreeFor(queue: string): boolean {
    return (
      !this.hasEnded &&
      !this.isBusy &&
      (this.queueIndex === undefined || this.demand.queues[this.queueIndex] === queue)
    )
  }
}

interface Line {
  /** In order of arrival. */
  waiters: Set<Waiter>
  /** Waiters whose turn it is to try this queue. */
  newcomers: Set<Waiter>
  /** How many tasks may be ready. */
  notified: number
  callsInFlight: number
  /** A call starts at the end of the tick. */
  isScheduled: boolean
  /** The last call filled all its slots, at least PLENTY. */
  plentiful: boolean
  /** Tasks that may be ready, and that no free waiter could take. */
  unclaimed: number
}

/** How many tasks a worker takes in a call. */
export interface Slots {
  worker: string
  count: number
}

/** The slots that are left when `taken` tasks have gone round. */
export function slotsAfter(slots: readonly Slots[], taken: number): Slots[] {
  const left = slots.map(slot => ({ ...slot }))
  let next = 0
  for (let i = 0; i < taken; next = (next + 1) % left.length) {
    if (left[next]!.count === 0) continue
    left[next]!.count--
    i++
  }
  return [...left.slice(next), ...left.slice(0, next)].filter(({ count }) => count > 0)
}

/** About how much memory tasks take. */
export const sizeOf = (tasks: readonly Leased[]): number =>
  tasks.reduce((sum, { payload, checkpoint = "" }) => sum + payload.length + checkpoint.length, 0)

export interface LeasedSome {
  tasks: Leased[]
  /** There are fewer tasks than slots, but more may be ready. */
  hasMore: boolean
}

export interface TaskSource {
  /** Leases up to `count` tasks for each worker, going round: each gets a first before any gets a second. */
  lease(queue: string, slots: readonly Slots[]): Promise<LeasedSome>
  /** Returns tasks to their queue without counting a failure. Never rejects. */
  release(tasks: Leased[]): Promise<unknown>
  /** Subscribes to messages about this queue. `onListening` runs once the subscription is active, unless it was before. */
  listen(queue: string, onListening: () => void): void
}

export class LongPoll {
  readonly #lines = new Map<string, Line>()
  readonly #waiters = new Set<Waiter>()
  #isClosed = false

  constructor(private readonly source: TaskSource) {}

  /** How many requests wait now. */
  get size(): number {
    return this.#waiters.size
  }

  /** Returns tasks as soon as there are any, or none after `waitMs`. Fails if no queue can be read. */
  wait(demand: Demand): Promise<Leased[]> {
    const { signal, queues, waitMs } = demand
    if (this.#isClosed || signal?.aborted) return Promise.resolve([])
    const { promise, resolve, reject } = Promise.withResolvers<Leased[]>()
    const onAbort = () => end()
    const end = (error?: unknown) => {
      if (waiter.hasEnded) return
      waiter.hasEnded = true
      if (timer !== undefined) {
        clearTimeout(timer)
        signal?.removeEventListener("abort", onAbort)
      }
      this.#waiters.delete(waiter)
      for (const queue of queues) this.#leaveLine(queue, waiter)
      if (signal?.aborted) {
        this.#release(waiter.tasks)
        resolve([])
      } else if (error !== undefined && waiter.tasks.length === 0) reject(error)
      else resolve(waiter.tasks)
    }
    const endsAt = performance.now() + waitMs
    let timer: Timer | undefined
    // The timer and the listener are created only when there is something to wait for: most polls are answered at once,
    // and the two cost as much as a try. Bun warns of negative times on stderr, in the middle of the log.
    const startWaiting = () => {
      if (timer !== undefined) return
      if (signal?.aborted) return end()
      timer = setTimeout(
        () => {
          waiter.isLate = true
          if (!waiter.isBusy) end()
        },
        Math.max(0, endsAt - performance.now()),
      )
      signal?.addEventListener("abort", onAbort)
    }
    const waiter = new Waiter(demand, end, startWaiting)
    this.#waiters.add(waiter)
    for (const queue of queues) this.#lineOf(queue).waiters.add(waiter)
    this.#tryQueue(waiter, queues[0]!)
    return promise
  }

  /** `count` tasks of this queue may be ready: wakes as many waiters, the oldest first. */
  notify(queue: string, count: number): void {
    const line = this.#lines.get(queue)
    if (line === undefined) return
    line.notified += count
    const mayCallAgain = line.plentiful && line.callsInFlight < MAX_CALLS && line.notified >= PLENTY
    if (line.isScheduled || (line.callsInFlight > 0 && !mayCallAgain)) return
    line.isScheduled = true
    // At the end of the tick, so that all requests of this tick share one call.
    atTickEnd(() => {
      line.isScheduled = false
      void this.#call(queue, line)
    })
  }

  /** Looks for tasks in all queues that have waiters. Call this after a gap in which messages may have been missed. */
  notifyAll(): void {
    for (const queue of this.#lines.keys()) this.notify(queue, MAX_SLOTS)
  }

  hasWaiters(queue: string): boolean {
    return this.#lines.has(queue)
  }

  /** Answers the waiters that match now, each with the tasks that it has. */
  dismiss(matches: (demand: Demand) => boolean): void {
    for (const waiter of this.#waiters)
      if (matches(waiter.demand)) {
        waiter.isLate = true
        if (!waiter.isBusy) waiter.end()
      }
  }

  /** Answers all waiters now. Later requests get no tasks. */
  close(): void {
    this.#isClosed = true
    this.dismiss(() => true)
  }

  async #call(queue: string, line: Line): Promise<void> {
    const wanted = line.notified
    const slots = this.#fillSlots(queue, line)
    const isPlentiful = line.plentiful && slots.length > 0
    if (isPlentiful) line.notified -= slots.length
    else {
      if (slots.length < wanted && [...line.waiters].some(waiter => !waiter.isFreeFor(queue)))
        line.unclaimed = Math.max(line.unclaimed, wanted - slots.length)
      line.notified = 0
    }
    // If a slot stays empty, newcomers without a slot have tried this queue as well: older waiters go first.
    const held = new Set(isPlentiful ? slots : [...slots, ...line.newcomers])
    for (const waiter of held) {
      waiter.isBusy = true
      line.newcomers.delete(waiter)
    }
    line.callsInFlight++
    if (isPlentiful) this.notify(queue, 0)
    let leased = 0
    let mayHaveMore = true
    try {
      if (slots.length > 0) {
        const counts = new Map<Waiter, number>()
        for (const waiter of slots) counts.set(waiter, (counts.get(waiter) ?? 0) + 1)
        const slotsByWorker = [...counts].map(([{ demand }, count]) => ({ worker: demand.worker, count }))
        const { tasks, hasMore } = await this.source.lease(queue, slotsByWorker)
        leased = tasks.length
        mayHaveMore = hasMore || leased === slots.length
        this.#distribute(tasks, slots)
        if (!mayHaveMore) line.unclaimed = 0
        line.plentiful = leased === slots.length && leased >= PLENTY
      }
      const served = new Set(slots.slice(0, leased))
      for (const waiter of held) waiter.failed?.delete(queue)
      for (const waiter of held)
        if (!mayHaveMore || served.has(waiter)) this.#continue(waiter)
        else this.#tryAgain(waiter, queue)
    } catch (error) {
      line.plentiful = false // or the oldest waiters would be retried again and again before the newcomers
      for (const waiter of held) this.#recordFailure(waiter, queue, error)
    }
    line.callsInFlight--
    // Newcomers without a slot must try this queue, even if others took the tasks that were notified for them.
    if (isPlentiful)
      for (const waiter of line.newcomers) line.notified = Math.max(line.notified, waiter.openSlots)
    else if (leased > 0 && mayHaveMore) line.notified += Math.max(0, wanted - leased)
    if (line.waiters.size > 0) {
      if (line.notified > 0) this.notify(queue, 0)
    } else if (line.callsInFlight === 0 && !line.isScheduled) this.#lines.delete(queue)
  }

  /**
   * Returns the waiter of each slot, going round the line until the notified tasks, the slots of a call or the open
   * slots of the waiters are used up. While tasks are plentiful it goes round only the first waiters that can take all.
   */
  #fillSlots(queue: string, line: Line): Waiter[] {
    const limit = Math.min(line.notified, line.plentiful ? MAX_SLOTS_WHEN_PLENTIFUL : MAX_SLOTS)
    const free: Waiter[] = []
    let openSlots = 0
    for (const waiter of line.waiters) {
      if ((line.plentiful ? openSlots : free.length) >= limit) break
      if (!waiter.isFreeFor(queue)) continue
      free.push(waiter)
      openSlots += waiter.openSlots
    }
    const slots: Waiter[] = []
    for (let round = 0; slots.length < limit; round++) {
      const before = slots.length
      for (const waiter of free) if (round < waiter.openSlots && slots.length < limit) slots.push(waiter)
      if (slots.length === before) break
    }
    return slots
  }

  #distribute(tasks: Leased[], slots: Waiter[]): void {
    const orphans: Leased[] = []
    tasks.forEach((task, i) => {
      const waiter = slots[i]!
      if (waiter.hasEnded) orphans.push(task)
      else waiter.tasks.push(task)
    })
    this.#release(orphans)
  }

  /** Moves a waiter on after a call that held it: it ends with its tasks, tries its next queue, or starts to wait. */
  #continue(waiter: Waiter): void {
    waiter.isBusy = false
    if (waiter.hasEnded) return
    const { queues } = waiter.demand
    if (waiter.queueIndex !== undefined && waiter.queueIndex + 1 < queues.length && waiter.hasRoom) {
      waiter.queueIndex++
      this.#tryQueue(waiter, queues[waiter.queueIndex]!)
      return
    }
    waiter.queueIndex = undefined
    if (waiter.tasks.length > 0 || waiter.isLate || this.#isClosed) {
      waiter.end()
      return
    }
    waiter.startWaiting()
    if (waiter.hasEnded) return
    for (const queue of queues) {
      // Messages from before the subscription were not delivered, so look again once it is active.
      this.source.listen(queue, () => this.notify(queue, MAX_MISSED))
      const line = this.#lineOf(queue)
      if (line.unclaimed === 0) continue
      const count = Math.min(line.unclaimed, waiter.openSlots)
      line.unclaimed -= count
      this.notify(queue, count)
    }
  }

  /** Others took what a call leased, and more tasks may be ready. */
  #tryAgain(waiter: Waiter, queue: string): void {
    waiter.isBusy = false
    if (waiter.hasEnded) return
    if (waiter.queueIndex !== undefined) this.#tryQueue(waiter, queue)
    else if (waiter.isLate) waiter.end()
    else this.notify(queue, waiter.openSlots)
  }

  /**
   * A waiter that has tried all its queues stays, and is served when Redis is back. Others go on, because their next queue
   * may be on another node of a Cluster, and get the error if none of their queues could be read.
   */
  #recordFailure(waiter: Waiter, queue: string, error: unknown): void {
    waiter.failed ??= new Set()
    waiter.failed.add(queue)
    waiter.isBusy = false
    if (waiter.queueIndex === undefined && !waiter.isLate) return
    if (waiter.failed.size === waiter.demand.queues.length) waiter.end(error)
    else this.#continue(waiter)
  }

  #tryQueue(waiter: Waiter, queue: string): void {
    this.#lineOf(queue).newcomers.add(waiter)
    this.notify(queue, waiter.openSlots)
  }

  #release(tasks: Leased[]): void {
    if (tasks.length > 0) void this.source.release(tasks)
  }

  #lineOf(queue: string): Line {
    let line = this.#lines.get(queue)
    if (line === undefined) {
      line = {
        waiters: new Set(),
        newcomers: new Set(),
        notified: 0,
        callsInFlight: 0,
        isScheduled: false,
        plentiful: false,
        unclaimed: 0,
      }
      this.#lines.set(queue, line)
    }
    return line
  }

  #leaveLine(queue: string, waiter: Waiter): void {
    const line = this.#lines.get(queue)
    line?.waiters.delete(waiter)
    line?.newcomers.delete(waiter)
    if (line?.waiters.size === 0 && line.callsInFlight === 0 && !line.isScheduled) this.#lines.delete(queue)
  }
}
