/**
 * What a worker and the broker say to each other, all of it by POST /work:
 *   1. What is to be settled, the leases that are due and the free slots go in one request, the exchange. There is
 *      one at a time, and what comes up meanwhile waits for the next: under load, one request for a whole batch.
 *   2. With nothing to say and slots free, one long poll waits for tasks. What then comes up goes in an exchange
 *      beside it, which asks only for slots that the poll cannot fill.
 *   3. An ack is held and repeated until the broker has answered it, which is safe as it names its lease. Refused
 *      for good, as with a result that is too large, its task is acked as failed with that explanation: it would
 *      otherwise sit until its lease lapses and count as a crash.
 *   4. A request that is refused as a whole is cut in half until one item is alone: a bad item, or a batch that
 *      is too big, costs only itself.
 *   5. The broker away, all waits and is said again, for ever; leases lapse by our clock (lib/worker/held-lease.ts).
 */
import { BrokerProblem, type Client, type Worked } from "../client.ts"
import type { Outcome } from "../handlers.ts"
import type { Log } from "../log.ts"
import type { Spans } from "../observe/spans.ts"
import { traceIdOf } from "../wire/traceparent.ts"
import type { Ack, LeasedTask, Settled, Work } from "../wire/working.ts"
import { HeldLease, TaskCancelled } from "./held-lease.ts"
import type { Outage } from "./outage.ts"

const MAX_BATCH = 1_000
/** How often the broker is told what changes never: it may have forgotten. */
const SEND_INFO_EVERY_MS = 60_000
/** With more acks than this unanswered, no new tasks are taken. */
const MAX_UNANSWERED_ACKS = 1_000
/** How long an exchange may take: a third of the shortest lease held, so that there are further tries; within these. */
const MIN_EXCHANGE_MS = 500
const MAX_EXCHANGE_MS = 10_000

export type WorkerInfo = Required<Pick<Work, "instance" | "host" | "version">>

export interface ConversationOptions {
  client: Pick<Client, "work">
  log: Log
  spans?: Spans | undefined
  outage: Outage
  name: string
  /** What the broker tells operators of this worker; by the `instance` it knows one run from the next. */
  info?: WorkerInfo | undefined
  queues: readonly string[]
  waitMs: number
  /** How many tasks could be begun now. */
  freeSlots: () => number
  onLease: (lease: HeldLease) => void
  /** Acks have been answered, or the broker has said `drain`. */
  onChange: () => void
}

/** An attempt that is over: its ack, and its lease, which may have last news to tell. */
interface PendingAck {
  ack: Ack
  lease: HeldLease
}

export class Conversation {
  readonly #options: ConversationOptions
  readonly #leases = new Map<string, HeldLease>()
  #pendingAcks: PendingAck[] = []
  /** How many of both may go in one request. */
  #limit = MAX_BATCH
  #exchanging = false
  #polling = false
  /** How many tasks the requests under way ask for. */
  #requested = 0
  /** By performance.now(): nothing but leases that are due is sent before. */
  #pausedUntil = 0
  #pollAt = 0
  #infoSentAt = Number.NEGATIVE_INFINITY
  #timer: Timer | undefined
  #turn: NodeJS.Immediate | undefined
  readonly #fetching = new AbortController()
  readonly #closed = new AbortController()
  /** The broker has asked this worker to end. */
  isDraining = false

  /** Begins to ask for tasks. */
  constructor(options: ConversationOptions) {
    this.#options = options
    this.#scheduleTurn()
  }

  /** How many acks await an answer. */
  get unansweredAcks(): number {
    return this.#pendingAcks.length
  }

  /** Whether nothing is to be settled, nor may tasks be on their way here. */
  get isIdle(): boolean {
    return this.#pendingAcks.length === 0 && this.#requested === 0
  }

  /** Ends a lease with its ack. A slot may be free now. */
  settle(lease: HeldLease, outcome: Outcome): void {
    const { id, lease: token } = lease.task
    this.#drop(lease)
    lease.close()
    this.#pendingAcks.push({ ack: { task_id: id, lease: token, ...outcome }, lease })
    this.#scheduleTurn()
  }

  /** A slot is free, and there is nothing to say about it. */
  onSlotFreed(): void {
    this.#scheduleTurn()
  }

  /** Asks for no more tasks. The poll is aborted, so that the broker gives back what it leased for it meanwhile. */
  stopFetching(): void {
    this.#fetching.abort()
  }

  /** Gives up what has not been answered. */
  close(): void {
    this.stopFetching()
    this.#closed.abort()
    clearTimeout(this.#timer)
  }

  /** At the end of this turn of the event loop, so that all that ends in it goes together. */
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
      const quiet = now < this.#pausedUntil
      const leases = [...this.#leases.values()]
      const due = leases.some(({ extendAt, updateAt }) => extendAt <= now || (updateAt <= now && !quiet))
      if (due || (this.#pendingAcks.length > 0 && !quiet))
        void this.#exchange(
          // With those that are due go those that soon will be.
          leases.filter(
            ({ extendAt, updateAt, task }) => extendAt <= now + task.timeout_ms / 12 || updateAt <= now,
          ),
          quiet ? 0 : this.#wanted,
        )
      else if (!quiet && !this.#polling && now >= this.#pollAt && this.#wanted > 0)
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
    const self = this.#workerInfo(sentAt)
    this.#polling = true
    this.#requested += max
    try {
      const request = { ...self, worker: name, queues: [...queues], max, wait_ms }
      const answer = await client.work(request, { signal })
      this.#recordSuccess()
      this.#applyAnswer(answer)
      // A broker that is shutting down sends its waiters home early: no reason to storm the next one.
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
    const leaving = this.#pendingAcks.slice(0, limit - leases.length)
    const extended = [
      ...leases,
      ...leaving.map(({ lease }) => lease).filter(lease => lease.updateAt < Number.POSITIVE_INFINITY),
    ]
    // Alone, an item comes without the demand for tasks, so that a refusal can only be its own.
    const max = limit === 1 ? 0 : Math.max(0, wanted)
    const request = {
      ...this.#workerInfo(performance.now()),
      worker: name,
      settle: leaving.map(({ ack }) => ack),
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
            leaving.map(({ lease }) => lease.task),
            name,
            send,
          ))
      this.#limit = leaving.length < this.#pendingAcks.length ? Math.min(limit * 2, MAX_BATCH) : MAX_BATCH
      const late = extended.flatMap((lease, i) => {
        const error = this.#applyExtended(lease, answer.extended[i]!, sentAt)
        return error === undefined ? [] : { lease, error }
      })
      const failures = [...late.map(({ error }) => error), ...this.#applySettled(leaving, answer.settled)]
      if (failures.length === 0) this.#recordSuccess()
      else
        this.#recordFailure(
          failures[0]!,
          late.map(({ lease }) => lease),
        )
      this.#applyAnswer(answer)
    } catch (thrown) {
      const error = toError(thrown)
      if (this.#closed.signal.aborted) for (const lease of extended) lease.dropUpdate(error)
      else if (!refusesBody(error)) this.#recordFailure(error, extended)
      else if (limit > 1) {
        for (const lease of extended) lease.retryUpdate(0)
        this.#limit = Math.max(1, Math.ceil((leases.length + leaving.length) / 2))
      } else this.#refusedAlone(error, extended, leaving)
    }
    this.#exchanging = false
    this.#requested -= max
    this.#options.onChange()
    this.#scheduleTurn()
  }

  /** One item, alone in its request, was refused with it: the news that came along may be why, or it itself is. */
  #refusedAlone(error: BrokerProblem, extended: readonly HeldLease[], leaving: readonly PendingAck[]): void {
    const [lease] = extended
    if (lease?.hasSentUpdate) this.#updateRefused(lease, error)
    else if (leaving.length > 0) this.#applySettled(leaving, [error])
    else this.#recordFailure(error, extended)
  }

  /** Part of each request; most have no more than the instance. */
  #workerInfo(now: number): Partial<WorkerInfo> {
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
    this.#infoSentAt = Number.NEGATIVE_INFINITY // perhaps not told
    this.#pausedUntil = Math.max(this.#pausedUntil, performance.now() + againMs)
    for (const lease of extended) lease.retryUpdate(againMs)
  }

  /** What any answer may bring. */
  #applyAnswer({ tasks, cancelled, drain }: Worked): void {
    for (const id of cancelled) this.#cancel(this.#leases.get(id))
    for (const task of tasks) this.#begin(task)
    if (!drain) return
    this.isDraining = true
    this.stopFetching()
  }

  #begin(task: LeasedTask): void {
    const before = this.#leases.get(task.id)
    if (before !== undefined) this.#lose(before, `attempt ${task.attempt} has it now`)
    const lease = new HeldLease(task, () => this.#scheduleTurn())
    this.#leases.set(task.id, lease)
    this.#options.onLease(lease)
  }

  #drop(lease: HeldLease): void {
    if (this.#leases.get(lease.task.id) === lease) this.#leases.delete(lease.task.id)
  }

  #cancel(lease: HeldLease | undefined): void {
    lease?.abort(new TaskCancelled(`task ${lease.task.id} is cancelled`))
  }

  #lose(lease: HeldLease, why: string): void {
    this.#drop(lease)
    lease.lose(why)
    this.#options.log.warn("The lease of a task was lost", { ...taskFields(lease.task), why })
  }

  /** Answers with what is worth another try. */
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
    this.#updateRefused(lease, answer)
    return undefined
  }

  #updateRefused(lease: HeldLease, error: BrokerProblem): void {
    this.#options.log.error("An update of a task was refused", {
      ...taskFields(lease.task),
      error: error.message,
    })
    lease.dropUpdate(error)
    lease.retryUpdate(0)
  }

  /** Keeps what is to be sent again, and answers with what is worth another try. */
  #applySettled(leaving: readonly PendingAck[], answers: Worked["settled"]): Error[] {
    const again: PendingAck[] = []
    const failures: Error[] = []
    leaving.forEach(({ ack, lease }, i) => {
      const answer = answers[i]!
      const next = this.#nextAck(ack, lease.task, answer)
      if (next !== undefined) again.push({ ack: next, lease })
      else lease.dropUpdate(new Error("not stored: the attempt is over"))
      if (next === ack) failures.push(answer as BrokerProblem)
    })
    this.#pendingAcks = [...this.#pendingAcks.slice(leaving.length), ...again]
    return failures
  }

  /** What to send next for this task, if anything. */
  #nextAck(ack: Ack, task: LeasedTask, answer: Settled | BrokerProblem): Ack | undefined {
    const { log } = this.#options
    const { status } = ack
    if (!(answer instanceof BrokerProblem)) {
      const fields = { ...taskFields(task), retries: answer.retries }
      if (answer.status === "moved_to_dlq") log.warn("The task is dead", fields)
      else log.debug(`The task is ${answer.status}`, fields)
      return undefined
    }
    if (!isFinal(answer)) return ack
    const fields = { ...taskFields(task), status, error: answer.message }
    if (!isLeaseLost(answer) && status === "done") {
      log.error("The result was refused, so the task counts as failed", fields)
      const { result: _, ...rest } = ack
      return { ...rest, status: "failed", error: refusedResultText(answer) }
    }
    if (isLeaseLost(answer)) log.warn("The outcome was dropped because the lease was lost", fields)
    else log.error("An ack was refused", fields)
    return undefined
  }
}

/** What a line of the log says of a task. */
export const taskFields = ({ id, queue, type, attempt, traceparent }: LeasedTask) => ({
  ...{ task_id: id, queue, type, attempt },
  trace_id: traceIdOf(traceparent),
})

const LEASE_LOST_CODES: ReadonlySet<string> = new Set([
  "lease_lost",
  "not_leased",
  "task_not_found",
  "task_gone",
])
const isLeaseLost = (error: BrokerProblem): boolean => LEASE_LOST_CODES.has(error.code)

/** Whether the same item can only be answered in the same way again. */
const isFinal = (error: BrokerProblem): boolean => !error.retryable && error.status < 500

/** What the broker, or a proxy or HTTP server before it, says of a body that it does not like. */
const BAD_BODY_STATUSES: ReadonlySet<number> = new Set([400, 403, 413, 422])
const refusesBody = (error: Error): error is BrokerProblem =>
  error instanceof BrokerProblem && BAD_BODY_STATUSES.has(error.status)

const refusedResultText = (problem: BrokerProblem): string =>
  problem.status === 413
    ? `the handler's result is too large for the broker: ${problem.message}`
    : `the broker refused the handler's result: ${problem.message}`

const toError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)))
