/** The process of a broker: its ports, its announcement on start, and its stop on a signal. */
import { once } from "node:events"
import type { Server } from "bun"
import { type BrokerConfig, readBrokerConfig } from "../config/config.ts"
import { createLog, type Log } from "../log.ts"
import { pause } from "../pause.ts"
import { stopSignal } from "../signals.ts"
import { runBrokers, stopWithParent } from "./brokers.ts"
import {
  announce,
  brokerFacts,
  greeting,
  type Listening,
  listenError,
  redisWarnings,
  tokenSource,
  urlOf,
} from "./greeting.ts"
import { openFilesWarning, watchOpenFiles } from "./open-files.ts"
import { dropUnreadOutput } from "./output.ts"

/**
 * Bun closes a connection that is silent for this long. It exceeds the 60 s after which common
 * proxies close their own idle connections: if the broker closed first, a proxy could send a request into the closing.
 */
const IDLE_TIMEOUT_S = 75
/** How long closing the connections to Redis may take after the last request has ended. */
const CLOSE_MS = 5_000

export interface RunningBroker extends Listening {
  /** Refuses new work, answers long polls without tasks, lets requests finish for up to `shutdownMs`, then closes. */
  stop(): Promise<void>
}

/** The parts of an Elysia app that a process needs. */
interface App {
  listen(options: object): unknown
  handle(request: Request): Response | Promise<Response>
  server: Server<unknown> | null
}

export function listen(app: App, { host, port }: BrokerConfig, reusePort: boolean): Server<unknown> {
  try {
    app.listen({
      hostname: host,
      port,
      reusePort,
      idleTimeout: IDLE_TIMEOUT_S,
      // Above this limit Bun would answer 413 without a body. The body reader enforces the limit instead.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    })
  } catch (error) {
    throw listenError(error, host, port)
  }
  return app.server!
}

/**
 * Serves GET /metrics on a port of its own. On the main port that several brokers share, a scraper cannot choose which
 * of them answers.
 */
export function listenForMetrics(app: App, hostname: string, port: number, notFound: () => Response) {
  const page = ({ headers }: Request) => app.handle(new Request("http://localhost/metrics", { headers }))
  try {
    return Bun.serve({
      hostname,
      port,
      reusePort: false,
      routes: { "/metrics": { GET: page } },
      fetch: notFound,
    })
  } catch (error) {
    throw listenError(error, hostname, port, "METRICS_PORT")
  }
}

/** Stops accepting connections and waits for the requests in flight, for up to `shutdownMs`. */
export async function stopServer(server: Server<unknown>, shutdownMs: number, log: Log): Promise<void> {
  const stopped = new AbortController()
  await Promise.race([server.stop(), pause(shutdownMs, stopped.signal)])
  stopped.abort()
  if (server.pendingRequests > 0)
    log.warn("Requests were aborted because they did not end within SHUTDOWN_MS", {
      requests: server.pendingRequests,
    })
  await server.stop(true)
}

/** Announces a broker, or all brokers that share a port. */
function announceListening(
  { url, token, redis }: Listening,
  config: BrokerConfig,
  log: Log,
  pids?: number[],
): void {
  const { brokers, host, metricsPort } = config
  const pages = Array.from({ length: brokers }, (_, i) => `${urlOf(host, metricsPort + i)}/metrics`)
  announce(log, "The broker is listening", {
    ...brokerFacts(url, redis, tokenSource(config, token), config.logLevel),
    ...(metricsPort > 0 && { metrics: pages }),
    ...(pids && { brokers: pids }),
  })
  for (const warning of redisWarnings(redis)) log.warn(warning)
  const filesWarning = openFilesWarning()
  if (filesWarning !== undefined) log.warn(filesWarning)
  if (pids !== undefined && metricsPort === 0)
    log.warn("/metrics shows only one of the brokers, and a scraper cannot choose which: set METRICS_PORT")
  if (config.apiToken === undefined && token !== undefined) console.log(greeting(url, token))
}

/** Runs a broker, or several of them, until a signal stops it. Returns the exit code. */
export async function runBroker(
  start: (config: BrokerConfig, log: Log, nth?: number) => Promise<RunningBroker>,
  nth: number | undefined,
): Promise<number> {
  const config = readBrokerConfig()
  const log = createLog(config.logLevel)
  dropUnreadOutput(log)
  if (config.brokers > 1 && nth === undefined)
    return runBrokers(config, log, (first, pids) => announceListening(first, config, log, pids))
  const stop = nth === undefined ? stopSignal() : stopWithParent()
  const broker = await start(config, log, nth).catch((error: Error) =>
    log.error(`The broker cannot start: ${error.message}`),
  )
  if (broker === undefined) return 1
  watchOpenFiles(log)
  const { url, token, redis } = broker
  if (nth === undefined) announceListening(broker, config, log)
  else if (!stop.aborted) process.send!({ url, token, redis } satisfies Listening)
  if (!stop.aborted) await once(stop, "abort")
  log.info("The broker is stopping and accepts no new work", { at_most_ms: config.shutdownMs })
  // Redis may keep the broker from closing its connections.
  setTimeout(() => process.exit(1), config.shutdownMs + CLOSE_MS)
  await broker.stop()
  log.info("The broker has stopped")
  return 0
}
