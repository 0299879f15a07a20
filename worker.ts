/**
 * The poller: leases tasks from the broker, runs their handlers, and says how they ended.
 *   - One long poll per process, for as many tasks as there are free slots; none while all slots are busy.
 *   - A finished task frees its slot at once; its ack follows, with those that finished about the same time.
 *   - Leases are kept alive while handlers run (lib/keeper.ts); acks are repeated until answered (lib/acks.ts).
 *   - The broker away: it asks again for ever, and what it has in hand goes on.
 *   - SIGTERM or SIGINT: no new tasks; those that run get DRAIN_MS, then their signals fire and they are given
 *     back unblamed. A second signal ends it at once.
 */
import { hostname } from "node:os"
import { Acks } from "./lib/acks.ts"
import { Client } from "./lib/client.ts"
import { ConfigError, readWorkerConfig, type WorkerConfig } from "./lib/config.ts"
import { type Handlers, loadHandlers } from "./lib/handlers.ts"
import { type HeldLease, LeaseKeeper, LeaseLost } from "./lib/keeper.ts"
import { createLog, type Log } from "./lib/log.ts"
import type { LeasedTask } from "./lib/models.ts"
import { type Delays, Outage, pause } from "./lib/outage.ts"
import { errorText, type Outcome, outcomeOf } from "./lib/outcome.ts"
import { stopSignal } from "./lib/signals.ts"
import { Token } from "./lib/token.ts"

/** With more acks than this unanswered, no new tasks are taken. */
const MAX_UNANSWERED = 1_000

export interface WorkerOptions {
  client: Pick<Client, "lease" | "ackMany" | "extendMany">
  handlers: Handlers
  log: Log
  name: string
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
  refused?: () => void
}

/** The reason of the signals of handlers that are still running when the drain ends. */
export class WorkerStopping extends Error {
  override readonly name = "WorkerStopping"
}

interface Running {
  readonly task: LeasedTask
  readonly lease: HeldLease
  readonly abort: AbortController
  settled: boolean
}

export class Worker {
  readonly #options: WorkerOptions
  readonly #keeper: LeaseKeeper
  readonly #acks: Acks
  readonly #running = new Set<Running>()
  readonly #stop = new AbortController()
  readonly #polling: Promise<void>
  #stopped: Promise<boolean> | undefined
  #change = Promise.withResolvers<void>()

  /** Begins to poll. */
  constructor(options: WorkerOptions) {
    this.#options = options
    const { client, log } = options
    this.#keeper = new LeaseKeeper(client, this.#outage("leases are not extended"))
    this.#acks = new Acks(client, log, this.#outage("acks are held"), () => this.#changed())
    this.#polling = this.#poll()
  }

  /** Takes no new tasks, drains, and answers whether the broker knows how each task ended. */
  stop(): Promise<boolean> {
    this.#stopped ??= this.#drain()
    return this.#stopped
  }

  #outage(what: string): Outage {
    const { log, delays, refused } = this.#options
    return new Outage(log, what, delays, refused)
  }

  async #poll(): Promise<void> {
    const { client, queues, name, concurrency, waitMs = 20_000 } = this.#options
    const { signal } = this.#stop
    const outage = this.#outage("no tasks are fetched")
    while (!signal.aborted) {
      const free = Math.min(concurrency - this.#running.size, MAX_UNANSWERED - this.#acks.size)
      if (free <= 0) {
        await this.#change.promise
        // Whoever else finishes in this turn of the event loop: else the next poll asks for one task only.
        await new Promise(setImmediate)
        continue
      }
      const sentAt = performance.now()
      try {
        const { tasks } = await client.lease({ queues, max: free, wait_ms: waitMs, worker: name }, { signal })
        outage.over()
        for (const task of tasks) this.#start(task)
        // A broker that is shutting down sends its waiters home early: no reason to storm the next one.
        const early = tasks.length === 0 && performance.now() - sentAt < Math.max(waitMs / 2, 100)
        if (early) await pause(250 + Math.random() * 500, signal)
      } catch (error) {
        if (!signal.aborted) await pause(outage.failed(asError(error)), signal)
      }
    }
  }

  #start(task: LeasedTask): void {
    const abort = new AbortController()
    const lease = this.#keeper.hold(task, reason => {
      this.#options.log.warn(reason.message, { task_id: task.id, type: task.type, attempt: task.attempt })
      abort.abort(reason)
    })
    const running: Running = { task, lease, abort, settled: false }
    this.#running.add(running)
    // The answer and the stop crossed: given back before its handler has begun.
    if (this.#stop.signal.aborted) this.#finish(running, { status: "released" })
    else void this.#run(running)
  }

  async #run(running: Running): Promise<void> {
    const { task, abort } = running
    const { handlers, log } = this.#options
    const fields = { task_id: task.id, type: task.type, attempt: task.attempt }
    log.debug("task begins", fields)
    const outcome = await outcomeOf(handlers, task.payload, {
      task,
      signal: abort.signal,
      log: message => log.info(String(message), fields),
    })
    if (outcome.status === "failed" && !abort.signal.aborted)
      log.warn("task failed", { ...fields, error: outcome.error })
    this.#finish(running, outcome)
  }

  /** Frees the slot, and sends the outcome where the lease still stands and nothing was sent before. */
  #finish(running: Running, outcome: Outcome): void {
    this.#running.delete(running)
    this.#keeper.drop(running.lease)
    this.#changed()
    if (running.settled) return
    running.settled = true
    const { task, abort } = running
    if (abort.signal.reason instanceof LeaseLost) return
    // Told to stop, a handler may have left half-way, whatever it gave back: the task is not done, nor to blame.
    const ack = abort.signal.aborted ? ({ status: "released" } as const) : outcome
    this.#acks.push({ task_id: task.id, lease: task.lease, ...ack })
  }

  /**
   *   1. The poll is aborted first, so that the broker gives back what it leased for it meanwhile.
   *   2. Running tasks get their time, and their leases are kept alive.
   *   3. Then their signals fire, and they get a moment to let go, so that no two workers are in one task.
   *   4. Whoever does not let go is given back all the same: waiting for the lease to lapse would blame the task.
   */
  async #drain(): Promise<boolean> {
    const { log, drainMs, graceMs = 1_000, ackMs = 5_000 } = this.#options
    log.info("stopping: no new tasks", { running: this.#running.size, drain_ms: drainMs })
    this.#stop.abort()
    this.#changed()
    await this.#polling
    await this.#idle(drainMs)
    const reason = new WorkerStopping("the worker stops, and the time to drain is over")
    for (const { abort } of this.#running) abort.abort(reason)
    await this.#idle(graceMs)
    for (const running of [...this.#running]) {
      log.warn("handler does not heed its signal", { task_id: running.task.id, type: running.task.type })
      this.#finish(running, { status: "released" })
    }
    const end = new AbortController()
    await Promise.race([this.#acks.settled(), pause(ackMs, end.signal)])
    end.abort()
    const unanswered = this.#acks.size
    this.#acks.close()
    if (unanswered > 0) log.error("stopped with acks that the broker did not answer", { unanswered })
    else log.info("stopped")
    return unanswered === 0
  }

  /** Waits until nothing runs, or the time is up. */
  async #idle(ms: number): Promise<void> {
    const end = performance.now() + ms
    const over = new AbortController()
    const timeUp = pause(ms, over.signal)
    while (this.#running.size > 0 && performance.now() < end)
      await Promise.race([this.#change.promise, timeUp])
    over.abort()
  }

  #changed(): void {
    this.#change.resolve()
    this.#change = Promise.withResolvers<void>()
  }
}

const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)))

/** Unique enough for a fleet, and readable: host-pid-random. */
export function workerName(): string {
  const host = hostname()
    .replace(/[^A-Za-z0-9._-]/g, "-")
    .slice(0, 40)
  return `${host}-${process.pid}-${Math.random().toString(36).slice(2, 8)}`
}

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
  log.info("worker begins", { name, broker: brokerUrl, queues, concurrency, types: [...handlers.keys()] })
  return new Worker({
    client: new Client({ url: brokerUrl, token: () => token.value }),
    handlers,
    log,
    name,
    queues,
    concurrency,
    drainMs,
    refused: () => void token.refresh(),
    ...overrides,
  })
}

async function main(): Promise<number> {
  const config = readWorkerConfig(process.env)
  const log = createLog(config.logLevel)
  const stop = stopSignal()
  // A promise that a handler let go of must not take the other tasks of this process with it.
  process.on("unhandledRejection", error =>
    log.error("unhandled rejection, in a handler", { error: errorText(error) }),
  )
  const worker = await startWorker(config, stop, { log })
  if (worker === undefined) return 0
  if (!stop.aborted) await new Promise(resolve => stop.addEventListener("abort", resolve))
  return (await worker.stop()) ? 0 : 1
}

if (import.meta.main) {
  try {
    process.exit(await main())
  } catch (error) {
    console.error(error instanceof ConfigError ? error.message : error)
    process.exit(1)
  }
}
