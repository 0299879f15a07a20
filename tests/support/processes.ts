/** Brokers and workers as real processes. Each is ended by its process id when its test ends, also if the test fails. */
import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Client } from "../../lib/client.ts"
import { TOKEN } from "./harness.ts"

export { until } from "./harness.ts"

export const ROOT = join(import.meta.dir, "../..")

type Env = Record<string, string>
type LogLine = { message: string; level: string } & Record<string, unknown>

/** Ends the process if the tests themselves are killed (Linux). */
const LEASH = Bun.which("setpriv") === null ? [] : ["setpriv", "--pdeathsig", "KILL"]

interface Launch {
  cmd: string[]
  /** The whole environment of the process, apart from PATH and HOME. */
  env?: Env
  /** The working directory. In the root of the repository, Bun would read its .env file. */
  cwd?: string
  /** Runs it in its own process group, as a terminal does. */
  ownGroup?: boolean
  /** Receives what the process sends by `process.send`. */
  onMessage?: (message: unknown) => void
}

export class Process implements AsyncDisposable {
  stdout = ""
  stderr = ""
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">
  readonly #ended: Promise<unknown>
  #changed = Promise.withResolvers<void>()

  constructor({ cmd, env = {}, cwd = tmpdir(), ownGroup = false, onMessage }: Launch) {
    this.#child = Bun.spawn([...LEASH, ...cmd], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? tmpdir(), ...env },
      cwd,
      detached: ownGroup,
      ...(onMessage === undefined ? {} : { ipc: onMessage }),
    })
    const { stdout, stderr, exited } = this.#child
    this.#ended = Promise.all([
      exited,
      this.#collect(stdout, text => (this.stdout += text)),
      this.#collect(stderr, text => (this.stderr += text)),
    ]).finally(() => this.#change())
  }

  get pid(): number {
    return this.#child.pid
  }

  /** Its log lines so far. Lines that are not JSON are skipped. */
  get log(): LogLine[] {
    return this.stderr
      .slice(0, this.stderr.lastIndexOf("\n") + 1)
      .split("\n")
      .filter(line => line.startsWith("{"))
      .map(line => JSON.parse(line))
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Waits for the log line with this message and returns it. */
  async logged(message: string): Promise<LogLine> {
    for (;;) {
      const change = this.#changed.promise
      const found = this.log.find(line => line.message.includes(message))
      if (found !== undefined) return found
      if (!this.running) {
        await this.#ended
        const late = this.log.find(line => line.message.includes(message))
        if (late !== undefined) return late
        throw new Error(`It ended before it logged "${message}":\n${this.stdout}${this.stderr}`)
      }
      // Looks again from time to time: on a busy machine the change was not noticed, although the line was there.
      await Promise.race([change, this.#ended, Bun.sleep(100)])
    }
  }

  /** Sends a message to a process that was launched with `onMessage`. Does nothing if it has ended. */
  send(message: object): void {
    if (this.running) this.#child.send(message)
  }

  /** Sends a signal and does not wait. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Waits for its end and output. Returns its exit code, or the signal that ended it. */
  async ended(): Promise<number | NodeJS.Signals> {
    await this.#ended
    return this.#child.signalCode ?? this.#child.exitCode!
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | NodeJS.Signals> {
    this.signal(signal)
    return this.ended()
  }

  /** Ends it as a crash would, without a chance to clean up. */
  async kill9(): Promise<void> {
    await this.stop("SIGKILL")
  }

  async [Symbol.asyncDispose]() {
    await this.kill9()
  }

  async #collect(stream: ReadableStream<Uint8Array>, add: (text: string) => void) {
    for await (const text of stream.pipeThrough(new TextDecoderStream() as never)) {
      add(text as unknown as string)
      this.#change()
    }
  }

  #change(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers<void>()
  }
}

const bun = (file: string) => [process.execPath, join(ROOT, file)]

export const brokerProcess = (env: Env, cwd?: string) =>
  new Process({ cmd: bun("broker.ts"), env, ...(cwd !== undefined && { cwd }) })

export const workerProcess = (env: Env, cwd?: string) =>
  new Process({ cmd: bun("worker.ts"), env, ...(cwd !== undefined && { cwd }) })

export interface RunningBroker extends AsyncDisposable {
  process: Process
  url: string
  port: string
  client: Client
}

/** Starts a broker on its own port, with the Redis at this socket. */
export async function startBroker(socket: string, env: Env = {}): Promise<RunningBroker> {
  const token = { API_SECRET_TOKEN: TOKEN, REDIS_URL: socket }
  return listening(
    brokerProcess({ ...token, HOST: "127.0.0.1", PORT: "0", REDIS_TIMEOUT_MS: "20000", ...env }),
    TOKEN,
  )
}

/** Waits until the broker listens, and kills it if it does not. */
export async function listening(process: Process, token: string): Promise<RunningBroker> {
  try {
    const url = String((await process.logged("The broker is listening")).url)
    const client = new Client({ url, token })
    return {
      process,
      url,
      client,
      port: new URL(url).port,
      [Symbol.asyncDispose]: () => process[Symbol.asyncDispose](),
    }
  } catch (error) {
    await process.kill9()
    throw error
  }
}

/** Starts a worker with the handlers in handlers.ts, which record their runs in the directory `runs`. */
export async function startWorker(url: string, runs: Directory, env: Env = {}): Promise<Process> {
  const worker = workerProcess({
    BROKER_URL: url,
    API_SECRET_TOKEN: TOKEN,
    HANDLERS: join(import.meta.dir, "handlers.ts"),
    RUNS: runs.path,
    ...env,
  })
  try {
    await worker.logged("The worker is ready")
    return worker
  } catch (error) {
    await worker.kill9()
    throw error
  }
}

export interface Directory extends AsyncDisposable {
  path: string
}

/** A temporary directory. Disposal also ends a Redis that a killed broker left running in it. */
export async function directory(): Promise<Directory> {
  const path = await mkdtemp("/tmp/tq-run-")
  return {
    path,
    async [Symbol.asyncDispose]() {
      const pid = await embeddedPid(join(path, ".data"))
      if (pid !== undefined && isAlive(pid)) process.kill(pid, "SIGKILL")
      await rm(path, { recursive: true, force: true })
    },
  }
}

/** The process id of the Redis that a broker runs in this data directory. */
export async function embeddedPid(dataDir: string): Promise<number | undefined> {
  const text = await readFile(join(dataDir, "redis.pid"), "utf8").catch(() => "")
  return text === "" ? undefined : Number(text)
}

/** Whether the process is running. A zombie, whose parent has not reaped it yet, is not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  const { stdout } = Bun.spawnSync(["ps", "-o", "state=", "-p", `${pid}`])
  return !["", "Z"].includes(stdout.toString().trim().slice(0, 1))
}

/**
 * Finds `count` consecutive free ports and returns the first, for programs that cannot listen on port 0. They are outside
 * the range that the system assigns to connections and to listeners on port 0, so that another process is unlikely to
 * take them before they are used, or while a server that is restarted on the same port is down.
 */
export function freePort(count = 1): number {
  for (;;) {
    const first = 10_000 + Math.floor(Math.random() * 20_000)
    try {
      for (let port = first; port < first + count; port++)
        Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } }).stop(true)
      return first
    } catch {
      // One of the ports is taken: try other ports.
    }
  }
}
