/** A worker: worker.ts runs one with the settings of the environment, and programs run one with their own handlers. */
import { hostname } from "node:os"
import { version } from "../../package.json" with { type: "json" }
import { proxyFor } from "../broker-address.ts"
import { Client } from "../client.ts"
import { QUEUE_NAME } from "../config/reader.ts"
import type { Handler, Handlers } from "../handlers.ts"
import { createLog, type Log } from "../log.ts"
import { BrokerContact } from "./broker-contact.ts"
import type { TaskSpans, WorkerInfo } from "./conversation.ts"
import { type HealthAddress, serveHealth } from "./health.ts"
import { ownConnections } from "./own-connections.ts"
import { type RunnerOptions, TaskRunner } from "./task-runner.ts"

export interface WorkerOptions {
  /** The address of the broker. */
  url: string
  /** A function is called before each request, for a token that changes. */
  token: string | (() => string)
  /** One function per task type. */
  handlers: Handlers | Readonly<Record<string, Handler<never, never>>>
  /** The queues to poll, in this order. The default is `default`. */
  queues?: readonly string[]
  /** The maximum number of tasks that run at the same time. The default is 10. */
  concurrency?: number
  /** The name in /status and /workers. The default is the host name, the process id and a random part. */
  name?: string
  /** How long running tasks may continue after `stop`, before they are released. The default is 20,000. */
  drainMs?: number
  /** Where to answer health probes. The default is nowhere. */
  health?: HealthAddress | undefined
  /** The default writes JSON lines to stderr, or readable lines on a terminal. */
  log?: Log
  spans?: TaskSpans | undefined
  /** Called when the broker refuses the token. */
  onUnauthorized?: () => void
}

/** Settings that tests change. */
type Internals = Partial<Pick<RunnerOptions, "client" | "graceMs" | "ackMs" | "waitMs" | "delays">>

export class Worker {
  readonly #options: RunnerOptions
  readonly #health: HealthAddress | undefined
  #runner: TaskRunner | undefined
  #ended: Promise<boolean> | undefined
  readonly #stop = new AbortController()

  constructor(options: WorkerOptions, internals: Internals = {}) {
    checkOptions(options)
    const { url, handlers, queues = ["default"], concurrency = 10, drainMs = 20_000 } = options
    this.#health = options.health
    this.#options = {
      client: new Client({
        url,
        token: options.token,
        // Only `fetch` can use a proxy.
        fetch: proxyFor(url) === undefined ? ownConnections(url) : undefined,
      }),
      handlers: handlers instanceof Map ? handlers : new Map(Object.entries(handlers)),
      log: options.log ?? createLog("info"),
      spans: options.spans,
      name: options.name ?? workerName(),
      info: workerInfo(),
      queues,
      concurrency,
      drainMs,
      onUnauthorized: options.onUnauthorized,
      ...internals,
    }
  }

  /**
   * Leases and runs tasks until `stop` is called or an operator drains the worker. Resolves to whether the broker has
   * answered all acks. A promise rejection that a handler leaves unhandled ends a Node process: handle it there.
   */
  run(): Promise<boolean> {
    this.#ended ??= this.#run()
    return this.#ended
  }

  /** Takes no new tasks, lets running ones finish, and ends `run`. */
  stop(): Promise<boolean> {
    this.#stop.abort()
    return this.#ended ?? Promise.resolve(true)
  }

  async #run(): Promise<boolean> {
    const { signal } = this.#stop
    const contact = new BrokerContact(this.#options.client)
    const inHand = () => this.#runner?.inHand ?? 0
    const server = this.#health === undefined ? undefined : await serveHealth(this.#health, contact, inHand)
    try {
      const runner = new TaskRunner({ ...this.#options, client: contact })
      this.#runner = runner
      const stopped = new Promise<void>(resolve => signal.addEventListener("abort", () => resolve()))
      if (!signal.aborted) await Promise.race([stopped, runner.drained()])
      return await runner.stop()
    } finally {
      server?.close()
    }
  }
}

function checkOptions({ url, token, handlers, queues, concurrency, name, drainMs }: WorkerOptions): void {
  const faults: string[] = []
  if (typeof url !== "string" || !/^https?:/.test(url) || !URL.canParse(url))
    faults.push("url must be an address that begins with http:// or https://")
  if (typeof token !== "function" && (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)))
    faults.push("token must be printable ASCII without spaces, or a function that returns it")
  const entries: [unknown, unknown][] =
    handlers instanceof Map ? [...handlers] : Object.entries(handlers ?? {})
  if (entries.length === 0 || !entries.every(([, handler]) => typeof handler === "function"))
    faults.push("handlers must map task types to functions, for example { greet: payload => payload }")
  if (queues !== undefined && (queues.length === 0 || queues.length > 100 || !queues.every(isName)))
    faults.push(
      'queues must be 1 to 100 names of 1 to 64 characters from A-Z a-z 0-9 . _ -, but not "." or ".."',
    )
  if (name !== undefined && !isName(name))
    faults.push('name must have 1 to 64 characters from A-Z a-z 0-9 . _ -, but not be "." or ".."')
  if (
    concurrency !== undefined &&
    !(Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= 1_000)
  )
    faults.push("concurrency must be a whole number from 1 to 1000")
  if (drainMs !== undefined && !(drainMs >= 0 && drainMs < 2 ** 31))
    faults.push("drainMs must be a number of ms from 0 to 2147483647")
  if (faults.length > 0) throw new TypeError(faults.join("; "))
}

const isName = (name: unknown) => typeof name === "string" && QUEUE_NAME.test(name)

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
