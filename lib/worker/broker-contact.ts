/**
 * Whether the broker answers a worker: the time of its last answer, and since when a request has waited for one. A worker
 * whose slots are full may have nothing to ask for hours, so a silence without a request is no fault.
 */
import type { Client } from "../client.ts"

/** How long the broker may leave requests without an answer. */
const MAX_SILENCE_MS = 60_000

type Work = Client["work"]

export class BrokerContact {
  /** In milliseconds since 1970. */
  lastAnswerAt: number | undefined
  #inFlight = 0
  /** By `now`: since when a request has waited, across failed requests. */
  #waitingSince: number | undefined

  /** `now` is a clock that only goes forward. */
  constructor(
    private readonly client: { work: Work },
    private readonly now = () => performance.now(),
  ) {}

  get isLost(): boolean {
    return this.#waitingSince !== undefined && this.now() - this.#waitingSince >= MAX_SILENCE_MS
  }

  /** Sends a request of the worker. A refusal counts as no answer: the worker cannot work. */
  work: Work = async (request, options) => {
    this.#waitingSince ??= this.now()
    this.#inFlight++
    try {
      const answer = await this.client.work(request, options)
      this.lastAnswerAt = Date.now()
      this.#waitingSince = this.#inFlight > 1 ? this.now() : undefined
      return answer
    } catch (error) {
      // The worker gave the request up.
      if (options?.signal?.aborted && this.#inFlight === 1) this.#waitingSince = undefined
      throw error
    } finally {
      this.#inFlight--
    }
  }
}
