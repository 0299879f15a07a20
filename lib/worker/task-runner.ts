/**
 * Runs the tasks of a worker: fetches them, runs their handlers, acks the outcomes, and drains.
 *   - It talks to the broker only by POST /work, about once per batch (conversation.ts).
 *   - A finished task frees its slot at once, and the request with its ack fetches the next task.
 *   - Leases are extended while handlers run. If a lease is lost or its task is cancelled, the handler's signal fires.
 *   - If the broker is unreachable, it retries forever, and running handlers continue.
 *   - When it is stopped, it takes no new tasks. Running tasks get `drainMs`; then their signals fire and they are released,
 *     which does not count as a failure.
 */
import type { Client } from "../client.ts"
import type { Handlers, Outcome } from "../handlers.ts"
import { type Log, rateLimited } from "../log.ts"
import { pause } from "../pause.ts"
import { Conversation, type TaskSpans, taskFields, type WorkerInfo } from "./conversation.ts"
import type { HeldLease } from "./held-lease.ts"
import { LoopWatch } from "./loop-watch.ts"
import { type Delays, Outage } from "./outage.ts"
import { formatError, runHandler } from "./run-handler.ts"

export interface RunnerOptions {
  client: Pick<Client, "work">
  handlers: Handlers
  log: Log
  spans?: TaskSpans | undefined
  name: string
  /** What GET /workers shows about it. */
  info?: WorkerInfo
  queues: readonly string[]
  concurrency: number
  /** How long running tasks may continue after `stop`. */
  drainMs: number
  /** How long handlers may continue after their signals have fired, before their tasks are released anyway. */
  graceMs?: number
  /** How long to wait for the last acks after that. */
  ackMs?: number
  waitMs?: number
  delays?: Delays
  /** Called when the broker refuses the token. */
  onUnauthorized?: (() => void) | undefined
}

/** How many unknown types are remembered, so that each is logged once. */
const MAX_UNKNOWN_TYPES = 1_000

/** The abort reason for handlers that are still running when the drain ends. */
export class WorkerStopping extends Error {
  override readonly name = "WorkerStopping"
}

export class TaskRunner {
  readonly #options: RunnerOptions
  readonly #conversation: Conversation
  /** For messages that many tasks may cause. */
  readonly #limitedLog: Log
  readonly #loopWatch: LoopWatch
  readonly #running = new Set<HeldLease>()
  readonly #unknownTypes = new Set<string>()
  #stopped: Promise<boolean> | undefined
  #resolveChange = () => {}
  #change = this.#nextChange()

  /** Starts to fetch tasks. */
  constructor(options: RunnerOptions) {
    this.#options = options
    const {
      client,
      log,
      spans,
      name,
      info,
      queues,
      concurrency,
      waitMs = 20_000,
      delays,
      onUnauthorized,
    } = options
    this.#limitedLog = rateLimited(log)
    this.#loopWatch = new LoopWatch(this.#limitedLog)
    this.#conversation = new Conversation({
      client,
      log: this.#limitedLog,
      spans,
      name,
      info: info && { ...info, concurrency },
      queues,
      waitMs,
      outage: new Outage(
        this.#limitedLog,
        "The worker leases no tasks and keeps its acks",
        delays,
        onUnauthorized,
      ),
      freeSlots: () => concurrency - this.#running.size,
      onLease: lease => this.#begin(lease),
      onChange: () => this.#changed(),
    })
  }

  /** The number of tasks that it is running. */
  get inHand(): number {
    return this.#running.size
  }

  /** Resolves when the broker has asked this worker to drain and no task is running. */
  async drained(): Promise<void> {
    while (!(this.#conversation.isDraining && this.#running.size === 0)) await this.#change
  }

  /** Takes no new tasks and drains. Resolves to whether the broker has answered all acks. */
  stop(): Promise<boolean> {
    this.#stopped ??= this.#drain()
    return this.#stopped
  }

  #begin(lease: HeldLease): void {
    this.#running.add(lease)
    // The task arrived after the stop. Release it before its handler starts.
    if (this.#stopped !== undefined) this.#finish(lease, { status: "released" })
    else void this.#run(lease)
  }

  async #run(lease: HeldLease): Promise<void> {
    const { task, signal } = lease
    const { handlers, log, name, spans } = this.#options
    const fields = { ...taskFields(task), worker: name }
    log.debug("A task has started", fields)
    /** What a handler only reports must not fail its task. */
    const report = (what: string, send: () => void) => {
      try {
        send()
      } catch (error) {
        this.#limitedLog.warn(`${what} of a task was not stored`, { ...fields, error: formatError(error, 0) })
      }
    }
    const run = (traceparent: string | undefined) =>
      runHandler(handlers, task.payload, {
        task,
        signal,
        traceparent,
        progress: value => report("The progress", () => lease.progress(value)),
        checkpoint: value => lease.checkpoint(value),
        log: message =>
          report("A log line", () => {
            const line = String(message)
            if (!task.redact) log.info(line, fields)
            lease.log(line)
          }),
      })
    const outcome = await this.#loopWatch.run(task, () =>
      spans === undefined ? run(task.traceparent) : spans.traceHandler(task, name, signal, run),
    )
    if (outcome.status === "failed" && !signal.aborted)
      this.#limitedLog.warn("An attempt failed", {
        ...fields,
        error: task.redact ? undefined : outcome.error,
      })
    if (outcome.status === "released") this.#warnOfUnknownType(task.type, outcome.error)
    this.#finish(lease, outcome)
  }

  /** Logs one line per type. */
  #warnOfUnknownType(type: string, error: string | undefined): void {
    if (this.#unknownTypes.has(type)) return
    if (this.#unknownTypes.size < MAX_UNKNOWN_TYPES) this.#unknownTypes.add(type)
    this.#limitedLog.warn("Tasks of an unknown type are released", { type, error })
  }

  /** Frees the slot, and acks the outcome unless the lease is lost or the task was acked before. */
  #finish(lease: HeldLease, outcome: Outcome): void {
    if (!this.#running.delete(lease)) return
    if (lease.lost !== undefined) this.#conversation.onSlotFreed()
    // An aborted handler may have stopped half-way, whatever it returned. So the task is neither done nor failed.
    else this.#conversation.settle(lease, lease.signal.aborted ? { status: "released" } : outcome)
    this.#changed()
  }

  /**
   *   1. Abort the poll, so that the broker releases what it has just leased for it.
   *   2. Let running tasks finish within the drain time. Their leases are still extended.
   *   3. Fire the signals of those that remain, and give the handlers a moment to stop, so that no two workers run the
   *      same task.
   *   4. Release the tasks of handlers that do not stop. A lease that lapses would count as a crash.
   */
  async #drain(): Promise<boolean> {
    const { log, drainMs, graceMs = 1_000, ackMs = 5_000 } = this.#options
    log.info("The worker is stopping and takes no new tasks", {
      running: this.#running.size,
      drain_ms: drainMs,
    })
    this.#conversation.stopFetching()
    await this.#waitUntil(() => this.#running.size === 0, drainMs)
    const reason = new WorkerStopping("the worker is stopping and DRAIN_MS has passed")
    for (const lease of this.#running) lease.abort(reason)
    await this.#waitUntil(() => this.#running.size === 0, graceMs)
    for (const lease of this.#running) {
      if (lease.lost === undefined)
        log.warn("A handler ignored its abort signal; its task is released", taskFields(lease.task))
      this.#finish(lease, { status: "released" })
    }
    await this.#waitUntil(() => this.#conversation.isIdle, ackMs)
    const { unansweredAcks } = this.#conversation
    this.#conversation.close()
    await this.#options.spans?.close()
    if (unansweredAcks > 0)
      log.error("The worker has stopped, and some acks were not answered", { unanswered: unansweredAcks })
    else log.info("The worker has stopped")
    return unansweredAcks === 0
  }

  /** Waits until the condition holds, for at most `ms`. */
  async #waitUntil(condition: () => boolean, ms: number): Promise<void> {
    const end = performance.now() + ms
    const done = new AbortController()
    const timeUp = pause(ms, done.signal)
    while (!condition() && performance.now() < end) await Promise.race([this.#change, timeUp])
    done.abort()
  }

  #changed(): void {
    this.#resolveChange()
    this.#change = this.#nextChange()
  }

  #nextChange(): Promise<void> {
    return new Promise(resolve => {
      this.#resolveChange = resolve
    })
  }
}
