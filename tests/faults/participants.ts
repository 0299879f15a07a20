/** The participants of a run: brokers behind links, and workers and clients, which are replaced when they die. */
import { join } from "node:path"
import { listening, Process, ROOT } from "../support/processes.ts"
import { CLOCK_OFF_MS, type ClientPart, PART, type Progress, TOKEN, type WorkerPart } from "./parts.ts"
import { Link } from "./proxy.ts"
import type { Target } from "./target.ts"

export interface RunContext {
  target: Target
  directory: string
  seed: number
  /** The planted bug that its processes load. */
  planted: string | undefined
}

const PRELOAD = join(import.meta.dir, "planted", "preload.ts")
const WRONG_CLOCK = join(ROOT, "tests/support/wrong-clock.ts")

/** A file that exists once a process has loaded the planted bug. */
export const plantedSign = (directory: string) => join(directory, "planted")

function launch(
  { planted, directory }: RunContext,
  file: string,
  env: Record<string, string>,
  onMessage?: (message: never) => void,
) {
  const preloads = [
    ...(planted === undefined ? [] : [PRELOAD]),
    ...(env.CLOCK_OFF_MS === undefined ? [] : [WRONG_CLOCK]),
  ]
  return new Process({
    cmd: [process.execPath, ...preloads.flatMap(path => ["--preload", path]), join(ROOT, file)],
    env: {
      ...env,
      ...(planted === undefined ? {} : { PLANTED: planted, PLANTED_SIGN: plantedSign(directory) }),
    },
    ...(onMessage === undefined ? {} : { onMessage: onMessage as (message: unknown) => void }),
  })
}

/** A broker, its own link to Redis, and the links through which clients and workers reach it. */
export class BrokerSeat implements AsyncDisposable {
  readonly redis: Link | undefined
  readonly clients: Link
  readonly workers: Link
  readonly #redis: Record<string, string>
  #process: Process | undefined
  /** Its own address, which bypasses the links. */
  url = ""

  constructor(
    readonly runContext: RunContext,
    readonly index: number,
    readonly env: Record<string, string> = {},
  ) {
    const { link, env: redis } = runContext.target.reach(`broker ${index} to Redis`)
    this.redis = link
    this.#redis = redis
    const nowhere = { hostname: "127.0.0.1", port: 1 }
    this.clients = new Link(`clients to broker ${index}`, nowhere)
    this.workers = new Link(`workers to broker ${index}`, nowhere)
  }

  get running(): boolean {
    return this.#process?.running ?? false
  }

  /** Starts it. While Redis is down it is restarted again and again, as a supervisor would do. */
  async start(): Promise<void> {
    for (let tries = 1; ; tries++) {
      const started = launch(this.runContext, "broker.ts", {
        API_SECRET_TOKEN: TOKEN,
        ...this.#redis,
        REDIS_TIMEOUT_MS: "600",
        HOST: "127.0.0.1",
        PORT: "0",
        ...(this.index % 2 === 0 ? {} : { CLOCK_OFF_MS: `${CLOCK_OFF_MS}` }),
        // Cancelled and dead tasks are listed at the end. Done tasks are deleted after their retention.
        DONE_RETENTION_COUNT: "10000000",
        DEAD_RETENTION_COUNT: "10000000",
        ...this.env,
      })
      this.#process = started
      try {
        const { url, port } = await listening(started, TOKEN)
        this.url = url
        for (const link of [this.clients, this.workers])
          link.target = { hostname: "127.0.0.1", port: Number(port) }
        return
      } catch (error) {
        if (tries === 100) throw error
        await Bun.sleep(50)
      }
    }
  }

  async kill9(): Promise<void> {
    await this.#process?.kill9()
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.signal(signal)
  }

  stop() {
    return this.#process?.stop()
  }

  async [Symbol.asyncDispose]() {
    await this.kill9()
    for (const link of [this.redis, this.clients, this.workers]) link?.[Symbol.dispose]()
  }
}

/** A worker that is replaced when it dies. The new process repeats the acks that were not answered. */
export class WorkerSeat implements AsyncDisposable {
  readonly files: string[] = []
  #process: Process | undefined
  #filling: Promise<void> | undefined
  #closed = false
  /** How many were killed by their own tasks. */
  ownDeaths = 0
  #expected = false

  constructor(
    readonly runContext: RunContext,
    readonly index: number,
    readonly part: Omit<WorkerPart, "history" | "inherits" | "name" | "seed">,
  ) {}

  get running(): boolean {
    return this.#filling === undefined && (this.#process?.running ?? false)
  }

  /** Resolves once the worker has recorded the acks that it takes over. From then on it may be killed. */
  start(): Promise<void> {
    this.#filling ??= this.#fill().finally(() => (this.#filling = undefined))
    return this.#filling
  }

  async #fill(): Promise<void> {
    const { directory, seed } = this.runContext
    const name = `worker-${this.index}-${this.files.length}`
    const history = join(directory, `${name}.ndjson`)
    const part: WorkerPart = { ...this.part, seed, name, history, inherits: this.files.slice(-1) }
    const ready = Promise.withResolvers<void>()
    const started = launch(
      this.runContext,
      "tests/faults/worker.ts",
      { [PART]: JSON.stringify(part) },
      ready.resolve,
    )
    this.files.push(history)
    this.#process = started
    this.#expected = false
    void started.ended().then(how => {
      ready.reject(new Error(`${name} ended with ${how} during its start: ${started.stderr}`))
      if (this.#expected || this.#closed) return
      if (how !== "SIGKILL") console.error(`${name} ended with ${how}: ${started.stderr}`)
      this.ownDeaths++
      void this.start()
    })
    await ready.promise
  }

  async kill9(): Promise<void> {
    // Wait until it has recorded the acks that it takes over.
    while (this.#filling !== undefined) await this.#filling
    this.#expected = true
    await this.#process?.kill9()
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.signal(signal)
  }

  /** Stops it, or kills it if that takes too long. */
  async stop(): Promise<void> {
    this.#closed = true
    await this.#filling
    const late = setTimeout(() => void this.kill9(), 15_000)
    await this.#process?.stop()
    clearTimeout(late)
  }

  async [Symbol.asyncDispose]() {
    this.#closed = true
    await this.#filling?.catch(() => {})
    await this.#process?.kill9()
  }
}

/** A client that is replaced when it is killed. The new process continues where the history of the old one ends. */
export class ClientSeat implements AsyncDisposable {
  readonly file: string
  #process: Process
  #progress: Progress = { made: 0, finished: false }
  #allowed = 0
  #replacing = false

  constructor(
    readonly runContext: RunContext,
    readonly part: Omit<ClientPart, "history" | "seed">,
  ) {
    this.file = join(runContext.directory, `client-${part.index}.ndjson`)
    this.#process = this.#launch()
  }

  #launch(): Process {
    const whole: ClientPart = { ...this.part, seed: this.runContext.seed, history: this.file }
    const started = launch(
      this.runContext,
      "tests/faults/client.ts",
      { [PART]: JSON.stringify(whole) },
      // The client asks when it is ready to receive the answer.
      (progress: Progress | "ready") => {
        if (progress === "ready") started.send({ allowed: this.#allowed })
        else this.#progress = progress
      },
    )
    return started
  }

  async kill9(): Promise<void> {
    this.#replacing = true
    await this.#process.kill9()
    if (!this.finished) this.#process = this.#launch()
    this.#replacing = false
  }

  get made(): number {
    return this.#progress.made
  }

  get finished(): boolean {
    return this.#progress.finished
  }

  /** Throws if the client ended before it had finished. */
  check(): void {
    if (!this.#process.running && !this.#replacing && !this.finished)
      throw new Error(`client ${this.part.index} has ended: ${this.#process.stderr}`)
  }

  allow(tasks: number): void {
    this.#allowed = tasks
    this.#process.send({ allowed: tasks })
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.signal(signal)
  }

  async [Symbol.asyncDispose]() {
    await this.#process.kill9()
  }
}
