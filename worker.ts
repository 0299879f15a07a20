/**
 * The worker as a program: leases tasks from the broker, runs their handlers, and acks the outcomes
 * (lib/worker/task-worker.ts), with the settings of the environment.
 *   - On SIGTERM, SIGINT or SIGHUP it takes no new tasks. Running tasks get DRAIN_MS; then their signals fire and they are
 *     released. A second signal ends the worker at once.
 *   - If an operator drains it, it exits when its tasks have ended.
 */
import { shownUrl } from "./lib/broker-address.ts"
import { readWorkerConfig, type WorkerConfig } from "./lib/config/config.ts"
import { loadHandlers } from "./lib/handlers.ts"
import { createLog, type Log, rateLimited } from "./lib/log.ts"
import { startSpans } from "./lib/observe/tracing.ts"
import { announce, listenError } from "./lib/process/greeting.ts"
import { runProgram } from "./lib/process/help.ts"
import { dropUnreadOutput } from "./lib/process/output.ts"
import { Token } from "./lib/process/token.ts"
import { stopSignal } from "./lib/signals.ts"
import { formatError } from "./lib/worker/run-handler.ts"
import { Worker, workerName } from "./lib/worker/task-worker.ts"

type WorkerParameters = ConstructorParameters<typeof Worker>

/** Creates a worker from its configuration. Returns undefined if the signal fires before there are handlers and a token. */
export async function createWorker(
  config: WorkerConfig,
  log: Log,
  signal: AbortSignal,
  overrides: Partial<WorkerParameters[0]> = {},
  internals?: WorkerParameters[1],
): Promise<Worker | undefined> {
  // A module of handlers may never finish loading.
  const handlers = await Promise.race([loadHandlers(config.handlers), aborted(signal)])
  if (handlers === undefined) return undefined
  const token = await Token.find(config, log, signal)
  if (token === undefined) return undefined
  const { brokerUrl, queues, concurrency, drainMs, healthPort, host } = config
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
  const options = {
    url: brokerUrl,
    token: () => token.value,
    handlers,
    log,
    spans,
    name,
    queues,
    concurrency,
    drainMs,
    health: healthPort === 0 ? undefined : { port: healthPort, host },
    onUnauthorized: () => void token.refresh(),
  }
  return new Worker({ ...options, ...overrides }, internals)
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
  const worker = await createWorker(config, log, stop)
  if (worker === undefined) return 0
  const ended = worker.run()
  if (stop.aborted) void worker.stop()
  stop.addEventListener("abort", () => void worker.stop())
  try {
    return (await ended) ? 0 : 1
  } catch (error) {
    // Only the port of the health probes can fail.
    log.error(
      `The worker cannot start: ${listenError(error, config.host, config.healthPort, "HEALTH_PORT").message}`,
    )
    return 1
  }
}

if (import.meta.main) process.exit(await runProgram("worker", process.argv.slice(2), main))
