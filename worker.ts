/**
 * The worker: leases tasks from the broker, runs their handlers, and acks the outcomes.
 *   - It talks to the broker only by POST /work, about once per batch (lib/worker/conversation.ts).
 *   - A finished task frees its slot at once, and the request with its ack fetches the next task.
 *   - Leases are extended while handlers run. If a lease is lost or its task is cancelled, the handler's signal fires.
 *   - If the broker is unreachable, it retries forever, and running handlers continue.
 *   - On SIGTERM, SIGINT or SIGHUP it takes no new tasks. Running tasks get DRAIN_MS; then their signals fire and they are
 *     released, which does not count as a failure. A second signal ends the worker at once.
 *   - If an operator drains it, it exits when its tasks have ended.
 */
import { hostname } from "node:os"
import { proxyFor, shownUrl } from "./lib/broker-address.ts"
import { Client } from "./lib/client.ts"
import { readWorkerConfig, type WorkerConfig } from "./lib/config/config.ts"
import { type Handlers, loadHandlers, type Outcome } from "./lib/handlers.ts"
import { createLog, type Log, rateLimited } from "./lib/log.ts"
import type { Spans } from "./lib/observe/spans.ts"
import { startSpans } from "./lib/observe/tracing.ts"
import { pause } from "./lib/pause.ts"
import { announce } from "./lib/process/greeting.ts"
import { runProgram } from "./lib/process/help.ts"
import { dropUnreadOutput } from "./lib/process/output.ts"
import { Token } from "./lib/process/token.ts"
import { stopSignal } from "./lib/signals.ts"
import { Conversation, taskFields, type WorkerInfo } from "./lib/worker/conversation.ts"
import type { HeldLease } from "./lib/worker/held-lease.ts"
import { LoopWatch } from "./lib/worker/loop-watch.ts"
import { type Delays, Outage } from "./lib/worker/outage.ts"
import { ownConnections } from "./lib/worker/own-connections.ts"
import { formatError, runHandler } from "./lib/worker/run-handler.ts"
import { version } from "./package.json" with { type: "json" }

export interface WorkerOptions {
  client: Pick<Client, "work">
  handlers: Handlers
  log: Log
  spans?: Spans | undefined
  name: string
  /** What GET /workers shows about it. */
  info?: WorkerInfo
  queues: string[]
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
  onUnauthorized?: () => void
}

/** How many unknown types are remembered, so that each is logged once. */
const MAX_UNKNOWN_TYPES = 1_000

/** The abort reason for handlers that are still running when the drain ends. */
export class WorkerStopping extends Error {
  override readonly name = "WorkerStopping"
}

export class Worker {
  readonly #options: WorkerOptions
  readonly #conversation: Conversation
  /** For messages that many tasks may cause. */
  readonly #limitedLog: Log
  readonly #loopWatch: LoopWatch
  readonly #running = new Set<HeldLease>()
  readonly #unknownTypes = new Set<string>()
  #stopped: Promise<boolean> | undefined
  #change = Promise.withResolvers<void>()

  /** Starts to fetch tasks. */
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
    this.#loopWatch = new LoopWatch(this.#limitedLog)
    this.#conversation = new Conversation({
      client,
      log: this.#limitedLog,
      spans,
      name,
      info: info && { ...info, concurrency },
      queues,
      waitMs,
      outage: new Outage(this.#limitedLog, "No tasks are fetched and acks are held", delays, onUnauthorized),
      freeSlots: () => concurrency - this.#running.size,
      onLease: lease => this.#begin(lease),
      onChange: () => this.#changed(),
    })
  }

  /** Resolves when the broker has asked this worker to drain and no task is running. */
  async drained(): Promise<void> {
    while (!(this.#conversation.isDraining && this.#running.size === 0)) await this.#change.promise
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
    while (!condition() && performance.now() < end) await Promise.race([this.#change.promise, timeUp])
    done.abort()
  }

  #changed(): void {
    this.#change.resolve()
    this.#change = Promise.withResolvers<void>()
  }
}

/** A readable name that is unique enough for a fleet: host-pid-random. */
export const workerName = (): string =>
  `${hostName().slice(0, 40)}-${process.pid}-${Math.random().toString(36).slice(2, 8)}`

const hostName = (): string => hostname().replace(/[^A-Za-z0-9._-]/g, "-")

/** Facts about this run of the worker. The next run has another `instance`. */
export const workerInfo = (): WorkerInfo => ({
  instance: crypto.randomUUID().slice(0, 13),
  host: hostName().slice(0, 64) || "-",
  version,
})

/** Starts a worker from its configuration. Returns undefined if the signal fires before there are handlers and a token. */
export async function startWorker(
  config: WorkerConfig,
  signal: AbortSignal,
  overrides: Partial<WorkerOptions> = {},
): Promise<Worker | undefined> {
  const log = overrides.log ?? createLog(config.logLevel)
  // A module of handlers may never finish loading.
  const handlers = await Promise.race([loadHandlers(config.handlers), aborted(signal)])
  if (handlers === undefined) return undefined
  const token = await Token.find(config, log, signal)
  if (token === undefined) return undefined
  const { brokerUrl, queues, concurrency, drainMs } = config
  const name = config.name ?? workerName()
  // After the handlers' module is loaded, so that its own tracing setup takes precedence.
  const spans = await startSpans(config, "worker", log)
  announce(log, "The worker is ready", {
    name,
    broker: shownUrl(brokerUrl),
    queues,
    concurrency,
    handlers: config.handlers ?? "built in",
    types: [...handlers.keys()],
    log_level: config.logLevel,
  })
  return new Worker({
    client: new Client({
      url: brokerUrl,
      token: () => token.value,
      // Only `fetch` can use a proxy.
      fetch: proxyFor(brokerUrl) === undefined ? ownConnections(brokerUrl) : undefined,
    }),
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

const aborted = (signal: AbortSignal) =>
  new Promise<undefined>(resolve => {
    if (signal.aborted) resolve(undefined)
    signal.addEventListener("abort", () => resolve(undefined))
  })

async function main(): Promise<number> {
  const config = readWorkerConfig()
  const log = createLog(config.logLevel)
  dropUnreadOutput(log)
  const limitedLog = rateLimited(log)
  const stop = stopSignal()
  // A promise that a handler does not await must not end the process, and with it other tasks.
  process.on("unhandledRejection", error =>
    limitedLog.error("A promise rejection in a handler was not handled", { error: formatError(error) }),
  )
  const worker = await startWorker(config, stop, { log })
  if (worker === undefined) return 0
  const stopped = new Promise(resolve => stop.addEventListener("abort", resolve))
  if (!stop.aborted) await Promise.race([stopped, worker.drained()])
  return (await worker.stop()) ? 0 : 1
}

if (import.meta.main) process.exit(await runProgram("worker", process.argv.slice(2), main))
