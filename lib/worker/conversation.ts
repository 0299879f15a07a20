/**
 * The requests between a worker and the broker. All of them are POST /work:
 *   1. Acks, leases that are due to be extended and free slots go together in one request, the exchange. Only one is in
 *      flight at a time, and everything that comes up during it waits for the next. So under load one request carries a
 *      whole batch.
 *   2. If there is nothing to send and slots are free, one long poll waits for tasks. Acks that come up during it go in an
 *      exchange beside it, which asks for tasks only if the poll cannot fill the slots.
 *   3. An ack is kept and repeated until the broker has answered it. That is safe because it names its lease. If the
 *      broker refuses a result for good, for example because it is too large, the worker acks the task as failed with
 *      that explanation. Otherwise its lease would lapse, which counts as a crash.
 *   4. A request that is refused as a whole is halved until one item is alone. So a bad item, or a batch that is too
 *      large, affects only itself.
 *   5. While the broker is unreachable, everything is kept and retried forever. Leases lapse by the worker's clock
 *      (lib/worker/held-lease.ts).
 */
import { BrokerProblem, type Client, type Worked } from "../client.ts"
import type { Outcome } from "../handlers.ts"
import type { Log } from "../log.ts"
import { traceIdOf } from "../wire/traceparent.ts"
import type { Ack, LeasedTask, Settled, Work } from "../wire/working.ts"
import { HeldLease, TaskCancelled } from "./held-lease.ts"
import type { Outage } from "./outage.ts"

const MAX_BATCH = 1_000
/** How often the constant facts about the worker are repeated, because the broker may have forgotten them. */
const SEND_INFO_EVERY_MS = 60_000
/** With this many unanswered acks, the worker fetches no new tasks. */
const MAX_UNANSWERED_ACKS = 1_000
/** The time limit of an exchange is a third of the shortest lease held, so that it can be retried, within these bounds. */
const MIN_EXCHANGE_MS = 500
const MAX_EXCHANGE_MS = 10_000

export type WorkerInfo = Required<Pick<Work, "instance" | "host" | "version">>

/** Traces handlers and acks. lib/observe/spans.ts is one. */
export interface TaskSpans {
  traceHandler(
    task: LeasedTask,
    worker: string,
    signal: AbortSignal,
    run: (traceparent: string) => Promise<Outcome>,
  ): Promise<Outcome>
  traceAckRequest<T>(
    tasks: readonly LeasedTask[],
    worker: string,
    run: (traceparent: string | undefined) => Promise<T>,
  ): Promise<T>
  close(): Promise<void>
}

interface ConversationOptions {
  client: Pick<Client, "work">
  log: Log
  spans?: TaskSpans | undefined
  outage: Outage
  name: string
  /** What GET /workers shows about this worker. The `instance` distinguishes this run from the next. */
  info?: (WorkerInfo & Pick<Work, "concurrency">) | undefined
  queues: readonly string[]
  waitMs: number
  /** How many tasks could start now. */
  freeSlots: () => number
  onLease: (lease: HeldLease) => void
  /** Called when acks were answered or the broker asked for a drain. */
  onChange: () => void
}

/** The ack of an attempt that is over, and its lease, which may have a last update to send. */
interface PendingAck {
  ack: Ack
  lease: HeldLease
}

export class Conversation {
  readonly #options: ConversationOptions
  readonly #leases = new Map<string, HeldLease>()
  #pendingAcks: PendingAck[] = []
  /** How many acks and extensions together may go in one request. */
  #limit = MAX_BATCH
  #exchanging = false
  #polling = false
  /** How many tasks the requests in flight ask for. */
  #requested = 0
  /** By performance.now(). Until then only leases that are due are sent. */
  #pausedUntil = 0
  #pollAt = 0
  #infoSentAt = Number.NEGATIVE_INFINITY
  #timer: Timer | undefined
  #turn: NodeJS.Immediate | undefined
  readonly #fetching = new AbortController()
  readonly #closed = new AbortController()
  /** Whether the broker has asked this worker to drain. */
  isDraining = false

  /** Starts to fetch tasks. */
  constructor(options: ConversationOptions) {
    this.#options = options
    this.#scheduleTurn()
  }

  /** The number of acks without an answer. */
  get unansweredAcks(): number {
    return this.#pendingAcks.length
  }

  /** Whether no ack is pending and no request in flight can bring tasks. */
  get isIdle(): boolean {
    return this.#pendingAcks.length === 0 && this.#requested === 0
  }

  /** Queues the ack of a lease. A slot may be free now. */
  settle(lease: HeldLease, outcome: Outcome): void {
    const { id, lease: token } = lease.task
    this.#drop(lease)
    lease.close()
    this.#pendingAcks.push({ ack: { task_id: id, lease: token, ...outcome }, lease })
    this.#scheduleTurn()
  }

  /** Called when a slot is free and there is no ack to send. */
  onSlotFreed(): void {
    this.#scheduleTurn()
  }

  /** Fetches no more tasks. Aborts the poll, so that the broker releases what it has just leased for it. */
  stopFetching(): void {
    this.#fetching.abort()
  }

  /** Gives up everything that was not answered. */
  close(): void {
    this.stopFetching()
    this.#closed.abort()
    clearTimeout(this.#timer)
  }

  /** Runs at the end of this turn of the event loop, so that everything that ends in it goes into one request. */
  #scheduleTurn(): void {
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined
      this.#takeTurn()
    })
  }

  #takeTurn(): void {
    clearTimeout(this.#timer)
    if (this.#closed.signal.aborted) return
    const now = performance.now()
    for (const lease of this.#leases.values()) if (lease.lapsesAt <= now) this.#lose(lease, lease.lapseReason)
    if (!this.#exchanging) {
      const paused = now < this.#pausedUntil
      const leases = [...this.#leases.values()]
      const due = leases.some(({ extendAt, updateAt }) => extendAt <= now || (updateAt <= now && !paused))
      if (due || (this.#pendingAcks.length > 0 && !paused))
        void this.#exchange(
          // Leases that will be due soon go along.
          leases.filter(
            ({ extendAt, updateAt, task }) => extendAt <= now + task.timeout_ms / 12 || updateAt <= now,
          ),
          paused ? 0 : this.#wanted,
        )
      else if (!paused && !this.#polling && now >= this.#pollAt && this.#wanted > 0)
        void this.#poll(this.#wanted)
    }
    this.#wakeUp()
  }

  #wakeUp(): void {
    let at = Number.POSITIVE_INFINITY
    for (const { lapsesAt, extendAt, updateAt } of this.#leases.values()) {
      at = Math.min(at, lapsesAt)
      if (!this.#exchanging) at = Math.min(at, extendAt, Math.max(updateAt, this.#pausedUntil))
    }
    if (!this.#exchanging && this.#pendingAcks.length > 0) at = Math.min(at, this.#pausedUntil)
    if (!this.#exchanging && !this.#polling && this.#wanted > 0)
      at = Math.min(at, Math.max(this.#pausedUntil, this.#pollAt))
    if (at === Number.POSITIVE_INFINITY) return
    this.#timer = setTimeout(() => this.#takeTurn(), Math.max(0, Math.ceil(at - performance.now())))
  }

  /** How many tasks to ask for. */
  get #wanted(): number {
    if (this.#fetching.signal.aborted) return 0
    return Math.min(
      this.#options.freeSlots() - this.#requested,
      MAX_UNANSWERED_ACKS - this.#pendingAcks.length,
      MAX_BATCH,
    )
  }

  async #poll(max: number): Promise<void> {
    const { client, name, queues, waitMs: wait_ms } = this.#options
    const { signal } = this.#fetching
    const sentAt = performance.now()
    const info = this.#workerInfo(sentAt)
    this.#polling = true
    this.#requested += max
    try {
      const request = { ...info, worker: name, queues: [...queues], max, wait_ms }
      const answer = await client.work(request, { signal })
      this.#recordSuccess()
      this.#applyAnswer(answer)
      // A broker that shuts down answers long polls early. Wait a moment, so as not to flood the next one.
      const early = answer.tasks.length === 0 && performance.now() - sentAt < Math.max(wait_ms / 2, 100)
      if (early) this.#pollAt = performance.now() + 250 + Math.random() * 500
    } catch (error) {
      if (!signal.aborted) this.#recordFailure(toError(error))
    }
    this.#polling = false
    this.#requested -= max
    this.#options.onChange()
    this.#scheduleTurn()
  }

  async #exchange(due: readonly HeldLease[], wanted: number): Promise<void> {
    const { client, name, queues, spans } = this.#options
    const limit = this.#limit
    const leases = due.slice(0, limit)
    const acks = this.#pendingAcks.slice(0, limit - leases.length)
    const extended = [
      ...leases,
      ...acks.map(({ lease }) => lease).filter(lease => lease.updateAt < Number.POSITIVE_INFINITY),
    ]
    // A single item is sent without a request for tasks, so that a refusal can only concern that item.
    const max = limit === 1 ? 0 : Math.max(0, wanted)
    const request = {
      ...this.#workerInfo(performance.now()),
      worker: name,
      settle: acks.map(({ ack }) => ack),
      extend: extended.map(lease => lease.takeExtension()),
      ...(max > 0 ? { queues: [...queues], max } : {}),
    }
    let timeoutMs = MAX_EXCHANGE_MS
    for (const { task } of this.#leases.values()) timeoutMs = Math.min(timeoutMs, task.timeout_ms / 3)
    timeoutMs = Math.max(timeoutMs, MIN_EXCHANGE_MS)
    const sentAt = performance.now()
    this.#exchanging = true
    this.#requested += max
    try {
      const send = (traceparent?: string) =>
        client.work(request, { timeoutMs, signal: this.#closed.signal, traceparent })
      const answer = await (spans === undefined
        ? send()
        : spans.traceAckRequest(
            acks.map(({ lease }) => lease.task),
            name,
            send,
          ))
      this.#limit = acks.length < this.#pendingAcks.length ? Math.min(limit * 2, MAX_BATCH) : MAX_BATCH
      const retried = extended.flatMap((lease, i) => {
        const error = this.#applyExtended(lease, answer.extended[i]!, sentAt)
        return error === undefined ? [] : { lease, error }
      })
      const failures = [...retried.map(({ error }) => error), ...this.#applySettled(acks, answer.settled)]
      if (failures.length === 0) this.#recordSuccess()
      else
        this.#recordFailure(
          failures[0]!,
          retried.map(({ lease }) => lease),
        )
      this.#applyAnswer(answer)
    } catch (thrown) {
      const error = toError(thrown)
      if (this.#closed.signal.aborted) for (const lease of extended) lease.dropUpdate(error)
      else if (!refusesBody(error)) this.#recordFailure(error, extended)
      else if (limit > 1) {
        for (const lease of extended) lease.retryUpdate(0)
        this.#limit = Math.max(1, Math.ceil((leases.length + acks.length) / 2))
      } else this.#refuseSingle(error, extended, acks)
    }
    this.#exchanging = false
    this.#requested -= max
    this.#options.onChange()
    this.#scheduleTurn()
  }

  /** A request with a single item was refused. The cause is its update, if it carried one, or else the item itself. */
  #refuseSingle(error: BrokerProblem, extended: readonly HeldLease[], acks: readonly PendingAck[]): void {
    const [lease] = extended
    if (lease?.hasSentUpdate) this.#refuseUpdate(lease, error)
    else if (acks.length > 0) this.#applySettled(acks, [error])
    else this.#recordFailure(error, extended)
  }

  /** The facts about this worker in a request. Most requests contain only the instance. */
  #workerInfo(now: number): Partial<WorkerInfo> & Pick<Work, "concurrency"> {
    const { info } = this.#options
    if (info === undefined) return {}
    if (now - this.#infoSentAt < SEND_INFO_EVERY_MS) return { instance: info.instance }
    this.#infoSentAt = now
    return info
  }

  #recordSuccess(): void {
    this.#options.outage.recordSuccess()
    this.#pausedUntil = 0
  }

  #recordFailure(error: Error, extended: readonly HeldLease[] = []): void {
    const againMs = this.#options.outage.recordFailure(error)
    this.#infoSentAt = Number.NEGATIVE_INFINITY // the broker may not have received it
    this.#pausedUntil = Math.max(this.#pausedUntil, performance.now() + againMs)
    for (const lease of extended) lease.retryUpdate(againMs)
  }

  /** Applies the parts that every answer may have. */
  #applyAnswer({ tasks, cancelled, drain }: Worked): void {
    for (const id of cancelled) this.#cancel(this.#leases.get(id))
    for (const task of tasks) this.#begin(task)
    if (!drain) return
    this.isDraining = true
    this.stopFetching()
  }

  #begin(task: LeasedTask): void {
    const before = this.#leases.get(task.id)
    if (before !== undefined) this.#lose(before, `attempt ${task.attempt} of the task has started`)
    const lease = new HeldLease(task, () => this.#scheduleTurn())
    this.#leases.set(task.id, lease)
    this.#options.onLease(lease)
  }

  #drop(lease: HeldLease): void {
    if (this.#leases.get(lease.task.id) === lease) this.#leases.delete(lease.task.id)
  }

  #cancel(lease: HeldLease | undefined): void {
    lease?.abort(new TaskCancelled(`task ${lease.task.id} was cancelled`))
  }

  #lose(lease: HeldLease, why: string): void {
    this.#drop(lease)
    lease.lose(why)
    this.#options.log.warn("The lease of a task was lost", { ...taskFields(lease.task), why })
  }

  /** Returns an error if the extension should be retried. */
  #applyExtended(lease: HeldLease, answer: Worked["extended"][number], sentAt: number): Error | undefined {
    const { id } = lease.task
    if (!(answer instanceof BrokerProblem)) {
      lease.markExtended(sentAt)
      if (answer.status === "cancelled") this.#cancel(lease)
      return undefined
    }
    if (isLeaseLost(answer)) {
      if (this.#leases.get(id) === lease) this.#lose(lease, answer.message)
      else lease.dropUpdate(answer)
      return undefined
    }
    if (!lease.hasSentUpdate || !isFinal(answer)) return answer
    this.#refuseUpdate(lease, answer)
    return undefined
  }

  #refuseUpdate(lease: HeldLease, error: BrokerProblem): void {
    this.#options.log.error("The progress, checkpoint or log lines of a task were refused", {
      ...taskFields(lease.task),
      error: error.message,
    })
    lease.dropUpdate(error)
    lease.retryUpdate(0)
  }

  /** Keeps the acks that must be sent again. Returns the errors of those that should be retried unchanged. */
  #applySettled(acks: readonly PendingAck[], answers: Worked["settled"]): Error[] {
    const again: PendingAck[] = []
    const failures: Error[] = []
    acks.forEach(({ ack, lease }, i) => {
      const answer = answers[i]!
      const next = this.#nextAck(ack, lease.task, answer)
      if (next !== undefined) again.push({ ack: next, lease })
      else lease.dropUpdate(new Error("not stored: the attempt is over"))
      if (next === ack) failures.push(answer as BrokerProblem)
    })
    this.#pendingAcks = [...this.#pendingAcks.slice(acks.length), ...again]
    return failures
  }

  /** The ack to send next for this task; undefined if none. */
  #nextAck(ack: Ack, task: LeasedTask, answer: Settled | BrokerProblem): Ack | undefined {
    const { log } = this.#options
    const { status } = ack
    if (!(answer instanceof BrokerProblem)) {
      // Also if the task is dead now: the broker logs every death, those without a worker too.
      log.debug("An attempt was settled", {
        ...taskFields(task),
        status: answer.status,
        retries: answer.retries,
      })
      return undefined
    }
    if (!isFinal(answer)) return ack
    const fields = { ...taskFields(task), status, error: answer.message }
    if (!isLeaseLost(answer) && status === "done") {
      log.error("The result was refused, so the task counts as failed", fields)
      const { result: _, ...rest } = ack
      return { ...rest, status: "failed", error: refusedResultText(answer) }
    }
    if (isLeaseLost(answer)) log.warn("The outcome was discarded because the lease was lost", fields)
    else log.error("An ack was refused", fields)
    return undefined
  }
}

/** The log fields of a task. */
export const taskFields = ({ id, queue, type, attempt, traceparent }: LeasedTask) => ({
  task_id: id,
  queue,
  type,
  attempt,
  trace_id: traceIdOf(traceparent),
})

const LEASE_LOST_CODES: ReadonlySet<string> = new Set([
  "lease_lost",
  "not_leased",
  "task_not_found",
  "task_gone",
])
const isLeaseLost = (error: BrokerProblem): boolean => LEASE_LOST_CODES.has(error.code)

/** Whether sending the same item again would get the same answer. */
const isFinal = (error: BrokerProblem): boolean => !error.retryable && error.status < 500

/** The statuses with which the broker, or a proxy in front of it, refuses a body. */
const BAD_BODY_STATUSES: ReadonlySet<number> = new Set([400, 403, 413, 422])
const refusesBody = (error: Error): error is BrokerProblem =>
  error instanceof BrokerProblem && BAD_BODY_STATUSES.has(error.status)

const refusedResultText = (problem: BrokerProblem): string =>
  problem.status === 413
    ? `the handler's result is too large for the broker: ${problem.message}`
    : `the broker refused the handler's result: ${problem.message}`

const toError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)))
