/**
 * Rates per queue over the last minute, summed over all brokers. Every two seconds each broker adds what it has counted
 * (counters.ts) to the current slice of time in Redis. Slices expire.
 */
import { Flusher } from "../redis/flusher.ts"
import { runShared } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import { EVENTS } from "../wire/events.ts"
import type { Rates as RatesOf } from "../wire/managing.ts"
import { type Counters, MAX_QUEUES, OTHER } from "./counters.ts"

const FLUSH_MS = 2_000
const SLICE_MS = 5_000
/** One minute, including the current, incomplete slice. */
const SLICES = 12
const KEEP_MS = 2 * SLICES * SLICE_MS
/** Number of queues per script call. It takes well below 1 ms of Redis' time. */
const MAX_QUEUES_PER_CALL = 200

export class Rates {
  /** The counts that Redis already has, per queue. */
  readonly #flushed = new Map<string, readonly number[]>()
  readonly #flusher = new Flusher(() => this.#write(), FLUSH_MS)

  constructor(
    private readonly store: Store,
    private readonly counters: Counters,
  ) {}

  /** The rates of each of these queues per second, over the last minute. */
  async read(queues: readonly string[]): Promise<Map<string, RatesOf>> {
    await this.flush()
    const rates = new Map<string, RatesOf>()
    for (let from = 0; from < queues.length; from += MAX_QUEUES_PER_CALL) {
      const group = queues.slice(from, from + MAX_QUEUES_PER_CALL)
      const [ms, ...sums] = await runShared(
        this.store,
        "ratesRead",
        { slice: SLICE_MS, slices: SLICES },
        group.map(queue => ({ queue })),
      )
      group.forEach((queue, i) => {
        const counts = sums[i]!.split(" ")
        const perSecond = EVENTS.map((event, i) => [event, perSecondOf(Number(counts[i] ?? 0), ms)])
        rates.set(queue, Object.fromEntries(perSecond))
      })
    }
    return rates
  }

  /** Adds the counts since the last flush; counts that could not be written are added by the next one. */
  flush(): Promise<unknown> {
    return this.#flusher.flush()
  }

  close(): Promise<unknown> {
    return this.#flusher.close()
  }

  async #write(): Promise<void> {
    const changes: { queue: string; counts: number[]; added: number[] }[] = []
    for (const [queue, of] of this.counters.queues) {
      // Beyond MAX_QUEUES this entry counts many queues together.
      if (queue === OTHER && this.counters.queues.size > MAX_QUEUES) continue
      const before = this.#flushed.get(queue)
      const counts = EVENTS.map(event => of[event])
      const added = counts.map((count, i) => count - (before?.[i] ?? 0))
      if (added.some(count => count > 0)) changes.push({ queue, counts, added })
    }
    for (let from = 0; from < changes.length; from += MAX_QUEUES_PER_CALL) {
      const group = changes.slice(from, from + MAX_QUEUES_PER_CALL)
      const items = group.map(({ queue, added }) => ({ queue, counts: added.join(" ") }))
      try {
        await runShared(this.store, "ratesAdd", { slice: SLICE_MS, retention: KEEP_MS }, items)
      } catch {
        return
      }
      for (const { queue, counts } of group) this.#flushed.set(queue, counts)
    }
  }
}

const perSecondOf = (count: number, ms: number): number => Math.round((count * 1e6) / ms) / 1_000
