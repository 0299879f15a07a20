/**
 * The worker: takes tasks from the broker, runs their handlers, and says how they ended.
 *   - All that it and the broker say to each other is POST /work, about once a batch (lib/worker/conversation.ts).
 *   - A finished task frees its slot at once; its ack brings the next task.
 *   - Leases are kept alive while handlers run; a task that is lost or cancelled fires its handler's signal.
 *   - The broker away: it asks again for ever, and what it has in hand goes on.
 *   - SIGTERM or SIGINT: no new tasks; those that run get DRAIN_MS, then their signals fire and they are given
 *     back unblamed. A second signal ends it at once. A broker that says `drain` ends it once its tasks have ended.
 */
import { hostname } from "node:os"
import { Client } from "./lib/client.ts"
import { readWorkerConfig, type WorkerConfig } from "./lib/config/config.ts"
import { type Handlers, loadHandlers, type Outcome } from "./lib/handlers.ts"
import { createLog, type Log, rateLimited } from "./lib/log.ts"
import type { Spans } from "./lib/observe/spans.ts"
import { startSpans } from "./lib/observe/tracing.ts"
import { pause } from "./lib/pause.ts"
import { announce } from "./lib/process/greeting.ts"
import { runProgram } from "./lib/process/help.ts"
import { stopSignal } from "./lib/signals.ts"
import { Conversation, taskFields, type WorkerInfo } from "./lib/worker/conversation.ts"
import type { HeldLease } from "./lib/worker/held-lease.ts"
import { type Delays, Outage } from "./lib/worker/outage.ts"
import { formatError, runHandler } from "./lib/worker/run-handler.ts"
import { Token } from "./lib/worker/token.ts"
import { version } from "./package.json" with { type: "json" }

export interface WorkerOptions {
  client: Pick<Client, "work">
  handlers: Handlers
  log: Log
  spans?: Spans | undefined
  name: string
  /** What /workers is to tell of it. */
  info?: WorkerInfo
  queues: string[]
  concurrency: number
  /** How long running tasks may go on after `stop`. */
  drainMs: number
  /** How long they have after their signals fired, before they are given back all the same. */
  graceMs?: number
  /** How long the last acks may take after that. */
  ackMs?: number
  waitMs?: number
  delays?: Delays
  /** Called when the broker refuses the token. */
  onUnauthorized?: () => void
}

/** The reason of the signals of handlers that are still running when the drain ends. */
export class WorkerStopping extends Error {
  override readonly name = "WorkerStopping"
}

export class Worker {
  readonly #options: WorkerOptions
  readonly #conversation: Conversation
  /** For what may happen to any number of tasks. */
  readonly #limitedLog: Log
  readonly #running = new Set<HeldLease>()
  #stopped: Promise<boolean> | undefined
  #change = Promise.withResolvers<void>()

  /** Begins to ask for tasks. */
  constructor(options: WorkerOptions) {
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
    this.#conversation = new Conversation({
      client,
      log: this.#limitedLog,
      spans,
      name,
      info,
      queues,
      waitMs,
      outage: new Outage(log, "No tasks are fetched and acks are held", delays, onUnauthorized),
      freeSlots: () => concurrency - this.#running.size,
      onLease: lease => this.#begin(lease),
      onChange: () => this.#changed(),
    })
  }

  /** Resolves when the broker has asked this worker to end, and nothing runs any more. */
  async drained(): Promise<void> {
    while (!(this.#conversation.isDraining && this.#running.size === 0)) await this.#change.promise
  }

  /** Takes no new tasks, drains, and answers whether the broker knows how each task ended. */
  stop(): Promise<boolean> {
    this.#stopped ??= this.#drain()
    return this.#stopped
  }

  #begin(lease: HeldLease): void {
    this.#running.add(lease)
    // The answer and the stop crossed: given back before its handler has begun.
    if (this.#stopped !== undefined) this.#finish(lease, { status: "released" })
    else void this.#run(lease)
  }

  async #run(lease: HeldLease): Promise<void> {
    const { task, signal } = lease
    const { handlers, log, name, spans } = this.#options
    const fields = { ...taskFields(task), worker: name }
    log.debug("A task has started", fields)
    const run = (traceparent: string | undefined) =>
      runHandler(handlers, task.payload, {
        task,
        signal,
        traceparent,
        progress: value => lease.progress(value),
        checkpoint: value => lease.checkpoint(value),
        log: message => {
          const line = String(message)
          log.info(line, fields)
          lease.log(line)
        },
      })
    const outcome =
      spans === undefined ? await run(task.traceparent) : await spans.traceHandler(task, name, signal, run)
    if (outcome.status === "failed" && !signal.aborted)
      this.#limitedLog.warn("An attempt failed", { ...fields, error: outcome.error })
    this.#finish(lease, outcome)
  }

  /** Frees the slot, and sends the outcome where the lease still stands and nothing was sent before. */
  #finish(lease: HeldLease, outcome: Outcome): void {
    if (!this.#running.delete(lease)) return
    if (lease.lost !== undefined) this.#conversation.onSlotFreed()
    // Told to let go, a handler may have left half-way, whatever it gave back: the task is not done, nor to blame.
    else this.#conversation.settle(lease, lease.signal.aborted ? { status: "released" } : outcome)
    this.#changed()
  }

  /**
   *   1. The poll is aborted first, so that the broker gives back what it leased for it meanwhile.
   *   2. Running tasks get their time, and their leases are kept alive.
   *   3. Then their signals fire, and they get a moment to let go, so that no two workers are in one task.
   *   4. Whoever does not let go is given back all the same: waiting for the lease to lapse would blame the task.
   */
  async #drain(): Promise<boolean> {
    const { log, drainMs, graceMs = 1_000, ackMs = 5_000 } = this.#options
    log.info("The worker is stopping and takes no new tasks", {
      running: this.#running.size,
      drain_ms: drainMs,
    })
    this.#conversation.stopFetching()
    await this.#waitUntil(() => this.#running.size === 0, drainMs)
    const reason = new WorkerStopping("the worker stops, and the time to drain is over")
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

  /** Waits until it holds, or the time is up. */
  async #waitUntil(holds: () => boolean, ms: number): Promise<void> {
    const end = performance.now() + ms
    const over = new AbortController()
    const timeUp = pause(ms, over.signal)
    while (!holds() && performance.now() < end) await Promise.race([this.#change.promise, timeUp])
    over.abort()
  }

  #changed(): void {
    this.#change.resolve()
    this.#change = Promise.withResolvers<void>()
  }
}

/** Unique enough for a fleet, and readable: host-pid-random. */
export const workerName = (): string =>
  `${hostName().slice(0, 40)}-${process.pid}-${Math.random().toString(36).slice(2, 8)}`

const hostName = (): string => hostname().replace(/[^A-Za-z0-9._-]/g, "-")

/** Of this run of the worker: the next one has another instance. */
export const workerInfo = (): WorkerInfo => ({
  instance: crypto.randomUUID().slice(0, 13),
  host: hostName().slice(0, 64) || "-",
  version,
})

/** A worker as the configuration has it, or undefined where the signal fires before there is a token. */
export async function startWorker(
  config: WorkerConfig,
  signal: AbortSignal,
  overrides: Partial<WorkerOptions> = {},
): Promise<Worker | undefined> {
  const log = overrides.log ?? createLog(config.logLevel)
  const handlers = await loadHandlers(config.handlers)
  const token = await Token.find(config, log, signal)
  if (token === undefined) return undefined
  const { brokerUrl, queues, concurrency, drainMs } = config
  const name = config.name ?? workerName()
  // After the handlers' module, so that what it has set up for itself stands.
  const spans = await startSpans(config, "worker", log)
  announce(log, "The worker is ready", {
    ...{ name, broker: brokerUrl, queues, concurrency },
    ...{ handlers: config.handlers ?? "built in", types: [...handlers.keys()], log_level: config.logLevel },
  })
  return new Worker({
    client: new Client({ url: brokerUrl, token: () => token.value }),
    handlers,
    log,
    spans,
    name,
    info: workerInfo(),
    queues,
    concurrency,
    drainMs,
    onUnauthorized: () => void token.refresh(),
    ...overrides,
  })
}

async function main(): Promise<number> {
  const config = readWorkerConfig()
  const log = createLog(config.logLevel)
  const stop = stopSignal()
  // A promise that a handler let go of must not take the other tasks of this process with it.
  process.on("unhandledRejection", error =>
    log.error("A promise rejection in a handler was not handled", { error: formatError(error) }),
  )
  const worker = await startWorker(config, stop, { log })
  if (worker === undefined) return 0
  const told = new Promise(resolve => stop.addEventListener("abort", resolve))
  if (!stop.aborted) await Promise.race([told, worker.drained()])
  return (await worker.stop()) ? 0 : 1
}

if (import.meta.main) process.exit(await runProgram("worker", process.argv.slice(2), main))
