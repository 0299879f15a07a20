/**
 * Acks on their way to the broker. Those that come while a request is under way go together in the next one.
 * An ack is held and repeated until the broker has answered it, which is safe as it names its lease.
 *   - Answered with lease_lost or the like: another worker has the task, or it is settled. Dropped, and logged.
 *   - Refused for good (a result that is too large): the task is acked as failed with that explanation, as it
 *     would otherwise sit until its lease lapses and count as a crash.
 */
import type { BrokerProblem, Client } from "./client.ts"
import { inHalves, isFinal } from "./halves.ts"
import { saysLost } from "./keeper.ts"
import type { Log } from "./log.ts"
import type { Ack, Settled } from "./models.ts"
import { type Outage, pause } from "./outage.ts"

const MAX_BATCH = 1_000

export class Acks {
  #held: Ack[] = []
  #sending: Promise<void> | undefined
  readonly #closed = new AbortController()

  constructor(
    private readonly client: Pick<Client, "ackMany">,
    private readonly log: Log,
    private readonly outage: Outage,
    /** Called when acks have been answered, so that there is room for more. */
    private readonly answered: () => void = () => {},
  ) {}

  /** How many await an answer. */
  get size(): number {
    return this.#held.length
  }

  push(ack: Ack): void {
    this.#held.push(ack)
    this.#sending ??= this.#send()
  }

  /** Resolves when all have been answered, or given up by `close`. */
  async settled(): Promise<void> {
    await this.#sending
  }

  /** Gives up those that have not been answered. */
  close(): void {
    this.#closed.abort()
  }

  async #send(): Promise<void> {
    const { signal } = this.#closed
    // Those that finish in the same turn of the event loop go together.
    await new Promise(setImmediate)
    while (this.#held.length > 0 && !signal.aborted) {
      const batch = this.#held.slice(0, MAX_BATCH)
      const answers = await inHalves(batch, acks => this.client.ackMany(acks, { signal }))
      if (signal.aborted) break
      const again: Ack[] = []
      let failure: Error | undefined
      answers.forEach((answer, index) => {
        const next = this.#judge(batch[index]!, answer)
        if (next !== undefined) again.push(next)
        if (next !== undefined && answer instanceof Error && !isFinal(answer)) failure = answer
      })
      this.#held = [...this.#held.slice(batch.length), ...again]
      this.answered()
      if (failure === undefined) this.outage.over()
      else await pause(this.outage.failed(failure), signal)
    }
    this.#sending = undefined
  }

  /** What to send next for this task, if anything. */
  #judge(ack: Ack, answer: Settled | Error): Ack | undefined {
    const { task_id, status } = ack
    if (!(answer instanceof Error)) {
      const fields = { task_id, retries: answer.retries }
      if (answer.status === "moved_to_dlq") this.log.warn("task is dead", fields)
      else this.log.debug(`task ${answer.status}`, fields)
      return undefined
    }
    if (!isFinal(answer)) return ack
    const fields = { task_id, status, error: answer.message }
    if (!saysLost(answer) && status === "done") {
      this.log.error("result refused: the task counts as failed", fields)
      const { result: _, ...rest } = ack
      return { ...rest, status: "failed", error: refusedResult(answer) }
    }
    if (saysLost(answer)) this.log.warn("outcome dropped: the lease was lost", fields)
    else this.log.error("ack refused", fields)
    return undefined
  }
}

const refusedResult = (problem: BrokerProblem): string =>
  problem.status === 413
    ? `the handler's result is too large for the broker: ${problem.message}`
    : `the broker refused the handler's result: ${problem.message}`
