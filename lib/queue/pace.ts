/** A steady rate for background work, so that the calls of requests get their turn in between. */
import { pause } from "../pause.ts"

/** Work that is at most this late catches up, as timers of a busy process are late. Work after a longer time starts anew. */
const MAX_BEHIND_MS = 100

export class Pace {
  /** When the next items may be worked on, by performance.now(). */
  #nextAt = Number.NEGATIVE_INFINITY

  constructor(private readonly perSecond: number) {}

  /** Resolves when this many more items may be worked on. */
  async take(items: number): Promise<void> {
    const waitMs = this.reserve(items, performance.now())
    if (waitMs > 0) await pause(waitMs)
  }

  /** In how many ms this many more items may be worked on. */
  reserve(items: number, now: number): number {
    const startAt = this.#startAt(now)
    this.#nextAt = startAt + (items / this.perSecond) * 1_000
    return startAt - now
  }

  /** How many items may be worked on without waiting, because work is late. */
  behind(now: number): number {
    return Math.floor((Math.max(0, now - this.#startAt(now)) / 1_000) * this.perSecond)
  }

  #startAt(now: number): number {
    return this.#nextAt < now - MAX_BEHIND_MS ? now : this.#nextAt
  }
}
