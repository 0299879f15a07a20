/**
 * How fast things happen in each queue, at all brokers together. Each adds what it has counted (counters.ts) every few
 * seconds, for the queues where something happened, to the slice of time that it is; slices expire.
 */
import { Flusher } from "../redis/flusher.ts"
import { runShared } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import { EVENTS } from "../wire/events.ts"
import type { Rates as RatesOf } from "../wire/managing.ts"
import { type Counters, MAX_QUEUES, OTHER } from "./counters.ts"

const FLUSH_MS = 2_000
const SLICE_MS = 5_000
/** A minute, with the one that is not over. */
const SLICES = 12
const KEEP_MS = 2 * SLICES * SLICE_MS
/** Queues in one call: well below 1 ms of Redis' time. */
const MAX_QUEUES_PER_CALL = 200

export class Rates {
  /** What was told so far, of each queue. */
  readonly #flushed = new Map<string, readonly number[]>()
  readonly #flusher = new Flusher(() => this.#write(), FLUSH_MS)

  constructor(
    private readonly store: Store,
    private readonly counters: Counters,
  ) {}

  /** Of each of these queues, per second over the last minute. */
  async read(queues: readonly string[]): Promise<Map<string, RatesOf>> {
    await this.flush()
    const rates = new Map<string, RatesOf>()
    for (let from = 0; from < queues.length; from += MAX_QUEUES_PER_CALL) {
      const some = queues.slice(from, from + MAX_QUEUES_PER_CALL)
      const [ms, ...sums] = await runShared(
        this.store,
        "ratesRead",
        { slice: SLICE_MS, slices: SLICES },
        some.map(queue => ({ queue })),
      )
      some.forEach((queue, i) => {
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
    const news: { queue: string; counts: number[]; more: number[] }[] = []
    for (const [queue, of] of this.counters.queues) {
      // Past that many it is not one queue that is counted there.
      if (queue === OTHER && this.counters.queues.size > MAX_QUEUES) continue
      const before = this.#flushed.get(queue)
      const counts = EVENTS.map(event => of[event])
      const more = counts.map((count, i) => count - (before?.[i] ?? 0))
      if (more.some(count => count > 0)) news.push({ queue, counts, more })
    }
    for (let from = 0; from < news.length; from += MAX_QUEUES_PER_CALL) {
      const some = news.slice(from, from + MAX_QUEUES_PER_CALL)
      const items = some.map(({ queue, more }) => ({ queue, counts: more.join(" ") }))
      try {
        await runShared(this.store, "ratesAdd", { slice: SLICE_MS, retention: KEEP_MS }, items)
      } catch {
        return
      }
      for (const { queue, counts } of some) this.#flushed.set(queue, counts)
    }
  }
}

const perSecondOf = (count: number, ms: number): number => Math.round((count * 1e6) / ms) / 1_000
