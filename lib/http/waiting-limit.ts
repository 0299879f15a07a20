/** Limits how many requests wait at the same time. */
import { Refused } from "../errors.ts"

export type LimitWaiting = <T>(waitMs: number, run: () => Promise<T>) => Promise<T>

/** Runs operations that may wait. While `max` of them are waiting, others are refused; those with a `waitMs` of 0 are not. */
export function waitingLimit(max: number): LimitWaiting {
  let waiting = 0
  return async (waitMs, run) => {
    if (waitMs === 0) return run()
    if (waiting >= max)
      throw new Refused("overloaded", {
        detail: `${max} requests are already waiting at this broker. Send the request again later, with a wait_ms of 0, or to another broker.`,
      })
    waiting++
    try {
      return await run()
    } finally {
      waiting--
    }
  }
}
