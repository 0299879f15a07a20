/** A steady rate for background work, so that the calls of requests get their turn in between. */
import { pause } from "../pause.ts"

/** How far the work may fall behind and still catch up. Timers of a busy process are late by a few ms. */
const MAX_BEHIND_MS = 10

export class Pace {
  /** When the items so far are paid for, by performance.now(). */
  #paidAt = 0

  constructor(private readonly perSecond: number) {}

  /** Resolves when this many more items may be worked on. */
  async take(items: number): Promise<void> {
    const now = performance.now()
    const startAt = Math.max(this.#paidAt, now - MAX_BEHIND_MS)
    this.#paidAt = startAt + (items / this.perSecond) * 1_000
    if (startAt > now) await pause(startAt - now)
  }
}
