/** Counts requests with tokens that the broker does not know, and slows down addresses that send many. */
import { Refused } from "../errors.ts"
import type { Log } from "../log.ts"

/** The refusal of a token that the broker does not know. */
export class WrongToken extends Refused {
  constructor() {
    super("unauthorized", {
      detail:
        "The broker does not know this token. Send the API_SECRET_TOKEN of the broker, or one of its API_TOKENS.",
    })
  }
}

const WINDOW_MS = 60_000
export const MAX_WRONG_TOKENS = 100
const MAX_ADDRESSES = 10_000

/**
 * The number of wrong tokens per address and minute. Only refused requests are counted and answered 429, so a valid
 * token is never blocked, even from an address that many clients share behind a proxy.
 */
export class WrongTokens {
  readonly #counts = new Map<string, number>()
  #windowEndsAt = 0

  constructor(private readonly log: Log) {}

  /** Counts a wrong token from an address, and returns the refusal to answer with. */
  count(address: string, now = performance.now()): Refused {
    if (now >= this.#windowEndsAt) {
      this.#counts.clear()
      this.#windowEndsAt = now + WINDOW_MS
    }
    const count = (this.#counts.get(address) ?? 0) + 1
    if (count === 1 && this.#counts.size >= MAX_ADDRESSES)
      this.#counts.delete(this.#counts.keys().next().value!)
    this.#counts.set(address, count)
    if (count === 1 || count === MAX_WRONG_TOKENS + 1)
      this.log.warn("An address sent a token that the broker does not know", {
        address,
        in_this_minute: count,
      })
    return count > MAX_WRONG_TOKENS ? new Refused("too_many_attempts") : new WrongToken()
  }
}
