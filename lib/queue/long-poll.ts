/**
 * The long poll: who waits for tasks, in arrival order, and who gets which. No blocking Redis command and no
 * busy polling: a waiter costs nothing until a hint says that tasks became ready.
 *   1. A new waiter joins the line of each of its queues at once, so that no hint can pass it by, and tries
 *      its queues in their order. Only one line at a time holds it (`turn`, `busy`), so it is never served twice.
 *   2. A line makes one lease call at a time, for as many tasks as were hinted and as its waiters can take;
 *      slots go round: everybody in the line gets a first task before anybody gets a second. Only while there is
 *      more than anybody asks for (`rich`), waiters are served whole, in order, and a second call may go out while
 *      the tasks of the first are written: Redis and the broker then work side by side and not in turn.
 *   3. A line that had more tasks than free waiters, as some are held elsewhere, remembers how many (`missed`) and
 *      looks again when one is free:
 *      this is the lost wake-up that would otherwise hide here.
 *   4. Tasks leased for a waiter whose client has left go back unblamed, which hints again and wakes the next.
 */
import type { Leased } from "../task/task.ts"
import { atTickEnd } from "../tick.ts"

const MAX_SLOTS = 1_000
/** Of a call while there is plenty: as many as the script hands out in one go, some 2 ms. */
const RICH_SLOTS = 300
const MAX_CALLS = 2
/** There is plenty once a call has handed out so many; and a second goes out only for as many, or both would be small. */
const PLENTY = 100

export interface Demand {
  queues: readonly string[]
  max: number
  waitMs: number
  worker: string
  /** What the worker tells of itself: its run, which a later one under its name is not, its machine and its version. */
  instance?: string | undefined
  host?: string | undefined
  version?: string | undefined
  /** Fires when the client leaves. */
  signal?: AbortSignal
}

/** One request that waits. `#end` is the only way out, and it can be gone once. */
class Waiter {
  /** The index of the queue it tries; undefined once it has tried all and waits for hints. */
  turn: number | undefined = 0
  /** A lease call under way has slots for it. */
  busy = false
  ended = false
  /** It has waited long enough, and ends as soon as it is not busy. */
  late: boolean
  readonly tasks: Leased[] = []

  constructor(
    readonly demand: Demand,
    readonly end: (error?: unknown) => void,
    /** It has tried all its queues, and begins to wait. It may be gone then. */
    readonly settleDown: () => void,
  ) {
    this.late = demand.waitMs === 0
  }

  get open(): number {
    return this.demand.max - this.tasks.length
  }

  /** Whether a line may take it into a call now. */
  free(queue: string): boolean {
    return !this.ended && !this.busy && (this.turn === undefined || this.demand.queues[this.turn] === queue)
  }
}

interface Line {
  /** In arrival order. */
  waiters: Set<Waiter>
  /** Those whose turn it is to try this queue. */
  fresh: Set<Waiter>
  /** How many tasks may be there for the taking. */
  hinted: number
  /** Calls that are under way. */
  calls: number
  /** One is about to begin. */
  scheduled: boolean
  /** The last call filled all its slots, and they were many. */
  rich: boolean
  /** Tasks that may be there, and that nobody could be asked to take. */
  missed: number
}

/** How many tasks a worker takes in a call. */
export interface Slots {
  worker: string
  count: number
}

/** What is left of these once `taken` tasks have gone round. */
export function slotsAfter(slots: readonly Slots[], taken: number): Slots[] {
  const left = slots.map(slot => ({ ...slot }))
  let turn = 0
  for (let i = 0; i < taken; turn = (turn + 1) % left.length) {
    if (left[turn]!.count === 0) continue
    left[turn]!.count--
    i++
  }
  return [...left.slice(turn), ...left.slice(0, turn)].filter(({ count }) => count > 0)
}

export interface Source {
  /** Leases up to `count` tasks for each, going round: everybody gets a first before anybody gets a second. */
  lease(queue: string, slots: readonly Slots[]): Promise<Leased[]>
  /** Gives tasks back unblamed. */
  release(tasks: Leased[]): Promise<unknown>
  /** The first waiter of this queue waits for hints. */
  listen(queue: string): void
}

export class LongPoll {
  readonly #lines = new Map<string, Line>()
  readonly #waiters = new Set<Waiter>()
  #closed = false

  constructor(private readonly source: Source) {}

  /** How many requests wait now. */
  get size(): number {
    return this.#waiters.size
  }

  /** Tasks as soon as there are any, or none after `waitMs`. Fails where Redis is away on the first try. */
  wait(demand: Demand): Promise<Leased[]> {
    const { signal, queues, waitMs } = demand
    if (this.#closed || signal?.aborted) return Promise.resolve([])
    const { promise, resolve, reject } = Promise.withResolvers<Leased[]>()
    const leave = () => end()
    const end = (error?: unknown) => {
      if (waiter.ended) return
      waiter.ended = true
      if (timer !== undefined) {
        clearTimeout(timer)
        signal?.removeEventListener("abort", leave)
      }
      this.#waiters.delete(waiter)
      for (const queue of queues) this.#leave(queue, waiter)
      if (signal?.aborted) resolve(this.#giveBack(waiter.tasks))
      else if (error !== undefined && waiter.tasks.length === 0) reject(error)
      else resolve(waiter.tasks)
    }
    const until = performance.now() + waitMs
    let timer: Timer | undefined
    // Not before there is something to wait for: most find tasks, and a timer and a listener cost as much as a try.
    // The time may be over by then, and of a negative one Bun warns in plain text, in the midst of the log.
    const settleDown = () => {
      if (timer !== undefined) return
      if (signal?.aborted) return end()
      timer = setTimeout(
        () => {
          waiter.late = true
          if (!waiter.busy) end()
        },
        Math.max(0, until - performance.now()),
      )
      signal?.addEventListener("abort", leave)
    }
    const waiter = new Waiter(demand, end, settleDown)
    this.#waiters.add(waiter)
    for (const queue of queues) this.#line(queue).waiters.add(waiter)
    this.#try(waiter, queues[0]!)
    return promise
  }

  /** `count` tasks of this queue may be ready: wakes as many waiters, the oldest first. */
  hint(queue: string, count: number): void {
    const line = this.#lines.get(queue)
    if (line === undefined) return
    line.hinted += count
    const another = line.rich && line.calls < MAX_CALLS && line.hinted >= PLENTY
    if (line.scheduled || (line.calls > 0 && !another)) return
    line.scheduled = true
    // So that all who came in this tick share one call.
    atTickEnd(() => {
      line.scheduled = false
      void this.#call(queue, line)
    })
  }

  /** Looks again on behalf of everybody: after a gap in which hints may have been lost. */
  hintAll(): void {
    for (const queue of this.#lines.keys()) this.hint(queue, MAX_SLOTS)
  }

  waitsFor(queue: string): boolean {
    return this.#lines.has(queue)
  }

  /** Ends the waiting of these, with what each has. */
  dismiss(whose: (demand: Demand) => boolean): void {
    for (const waiter of this.#waiters)
      if (whose(waiter.demand)) {
        waiter.late = true
        if (!waiter.busy) waiter.end()
      }
  }

  /** Ends all waiting, with what each has: on shutdown. Later calls get nothing at once. */
  close(): void {
    this.#closed = true
    this.dismiss(() => true)
  }

  async #call(queue: string, line: Line): Promise<void> {
    const wanted = line.hinted
    const slots = this.#slots(queue, line)
    const rich = line.rich && slots.length > 0
    if (rich) line.hinted -= slots.length
    else {
      if (slots.length < wanted && [...line.waiters].some(waiter => !waiter.free(queue)))
        line.missed = Math.max(line.missed, wanted - slots.length)
      line.hinted = 0
    }
    // Who came earlier goes first. Who has just come and got no slot has tried all the same once a slot stays empty.
    const held = new Set(rich ? slots : [...slots, ...line.fresh])
    for (const waiter of held) {
      waiter.busy = true
      line.fresh.delete(waiter)
    }
    line.calls++
    if (rich) this.hint(queue, 0)
    let got = 0
    try {
      if (slots.length > 0) {
        const counts = new Map<Waiter, number>()
        for (const waiter of slots) counts.set(waiter, (counts.get(waiter) ?? 0) + 1)
        const asked = [...counts].map(([waiter, count]) => ({ worker: waiter.demand.worker, count }))
        const tasks = await this.source.lease(queue, asked)
        got = tasks.length
        this.#handOut(tasks, slots)
        if (got < slots.length) line.missed = 0
        line.rich = got === slots.length && got >= PLENTY
      }
      const slotted = new Set(slots)
      for (const waiter of held)
        if (got < slots.length || slotted.has(waiter)) this.#next(waiter)
        else {
          waiter.busy = false
          if (!waiter.ended) this.#try(waiter, queue)
        }
    } catch (error) {
      line.rich = false // or those who wait for long would be tried over and over before who has just come
      // Who has waited for long stays and is served when Redis is back; who has just come is told.
      for (const waiter of held) {
        waiter.busy = false
        if (waiter.turn !== undefined || waiter.late) waiter.end(error)
      }
    }
    line.calls--
    // Who was passed by has still to try, whoever took what was hinted for it.
    if (rich) for (const waiter of line.fresh) line.hinted = Math.max(line.hinted, waiter.open)
    // Where all slots were filled there may be more, and hints may have come meanwhile.
    else if (got > 0 && got === slots.length) line.hinted += Math.max(0, wanted - got)
    if (line.waiters.size > 0) {
      if (line.hinted > 0) this.hint(queue, 0)
    } else if (line.calls === 0 && !line.scheduled) this.#lines.delete(queue)
  }

  /**
   * One entry a task that may be taken, going round the line until hints, room or demand are used up; while there is
   * plenty, round the first of them that can take all of it.
   */
  #slots(queue: string, line: Line): Waiter[] {
    const room = Math.min(line.hinted, line.rich ? RICH_SLOTS : MAX_SLOTS)
    const free: Waiter[] = []
    let open = 0
    for (const waiter of line.waiters) {
      if ((line.rich ? open : free.length) >= room) break
      if (!waiter.free(queue)) continue
      free.push(waiter)
      open += waiter.open
    }
    const slots: Waiter[] = []
    for (let round = 0; slots.length < room; round++) {
      const before = slots.length
      for (const waiter of free) if (round < waiter.open && slots.length < room) slots.push(waiter)
      if (slots.length === before) break
    }
    return slots
  }

  #handOut(tasks: Leased[], slots: Waiter[]): void {
    const orphans: Leased[] = []
    tasks.forEach((task, i) => {
      const waiter = slots[i]!
      if (waiter.ended) orphans.push(task)
      else waiter.tasks.push(task)
    })
    this.#giveBack(orphans)
  }

  /** What a waiter does once a call that held it is over: take what it has, try its next queue, or wait. */
  #next(waiter: Waiter): void {
    waiter.busy = false
    if (waiter.ended) return
    const { queues } = waiter.demand
    if (waiter.turn !== undefined && waiter.open > 0 && waiter.turn + 1 < queues.length) {
      waiter.turn++
      this.#try(waiter, queues[waiter.turn]!)
      return
    }
    waiter.turn = undefined
    if (waiter.tasks.length > 0 || waiter.late || this.#closed) {
      waiter.end()
      return
    }
    waiter.settleDown()
    if (waiter.ended) return
    for (const queue of queues) {
      this.source.listen(queue)
      const line = this.#line(queue)
      if (line.missed === 0) continue
      const count = Math.min(line.missed, waiter.open)
      line.missed -= count
      this.hint(queue, count)
    }
  }

  #try(waiter: Waiter, queue: string): void {
    this.#line(queue).fresh.add(waiter)
    this.hint(queue, waiter.open)
  }

  #giveBack(tasks: Leased[]): Leased[] {
    // Where Redis is away the lease lapses instead.
    if (tasks.length > 0) this.source.release(tasks).catch(() => {})
    return []
  }

  #line(queue: string): Line {
    let line = this.#lines.get(queue)
    if (line === undefined) {
      line = {
        waiters: new Set(),
        fresh: new Set(),
        hinted: 0,
        calls: 0,
        scheduled: false,
        rich: false,
        missed: 0,
      }
      this.#lines.set(queue, line)
    }
    return line
  }

  #leave(queue: string, waiter: Waiter): void {
    const line = this.#lines.get(queue)
    line?.waiters.delete(waiter)
    line?.fresh.delete(waiter)
    if (line?.waiters.size === 0 && line.calls === 0 && !line.scheduled) this.#lines.delete(queue)
  }
}
