/**
 * Tracks an outage of the broker: how long the worker waits before the next try, and the log lines. The worker retries
 * forever. It logs when an outage begins, changes and ends, not at every try. Waits grow exponentially and have jitter,
 * so that a fleet of workers does not reconnect at the same moment.
 */
import { BrokerProblem } from "../client.ts"
import type { Log } from "../log.ts"

const MAX_RETRY_AFTER_MS = 60_000

export interface Delays {
  firstMs: number
  capMs: number
}

export class Outage {
  #failures = 0
  #lastMessage = ""

  constructor(
    private readonly log: Log,
    /** What the outage prevents, as the beginning of a log message. */
    private readonly effect: string,
    private readonly delays: Delays = { firstMs: 100, capMs: 5_000 },
    /** Called when the broker refuses the token, to look for a new one. */
    private readonly onUnauthorized: () => void = () => {},
  ) {}

  /** Records a failure and returns how many ms to wait. */
  recordFailure(error: Error): number {
    this.#log(error)
    const { firstMs, capMs } = this.delays
    const unauthorized = error instanceof BrokerProblem && error.status === 401
    if (unauthorized) this.onUnauthorized()
    const ceiling = unauthorized ? capMs : Math.min(capMs, firstMs * 2 ** Math.min(this.#failures, 20))
    this.#failures++
    const retryAfterMs = error instanceof BrokerProblem ? (error.retryAfterMs ?? 0) : 0
    const jitter = 0.5 + Math.random() / 2
    return retryAfterMs > 0
      ? Math.min(retryAfterMs, MAX_RETRY_AFTER_MS) + ceiling * (jitter - 0.5)
      : ceiling * jitter
  }

  recordSuccess(): void {
    if (this.#failures === 0) return
    this.log.info("The broker answers again", { failures: this.#failures })
    this.#failures = 0
    this.#lastMessage = ""
  }

  #log(error: Error): void {
    if (error.message === this.#lastMessage) return
    this.#lastMessage = error.message
    if (error instanceof BrokerProblem && error.status === 401)
      this.log.error(
        `${this.effect}: the broker refuses the token of this worker. Set its API_SECRET_TOKEN to a token that the broker knows`,
        {
          error: error.message,
        },
      )
    else this.log.warn(`${this.effect} until the broker answers`, { error: error.message })
  }
}
