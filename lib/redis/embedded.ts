/**
 * The Redis of a broker that was given no address: `redis-server` (or `valkey-server`) on a Unix socket in the data
 * directory, with every write on disk before its answer. It survives a broker that is killed, and the next broker uses
 * it. If it ends while a broker is connected, that broker starts it again. The last broker that stops shuts it down.
 *
 * Invariant: one server per data directory, because two would destroy the append-only file. A broker that starts or
 * stops the server holds a lock, which the kernel releases when the broker dies.
 */
import { Database } from "bun:sqlite"
import { createHash, randomBytes } from "node:crypto"
import { chmod, lstat, mkdir, open, readFile, realpath, rename, writeFile } from "node:fs/promises"
import { join } from "node:path"
import type { Subprocess } from "bun"
import { Redis } from "ioredis"
import type { Log } from "../log.ts"

/** The name of every connection of a broker. */
export const BROKER_CONNECTION = "tq-broker"
/** The file in the data directory that a broker locks. */
const LOCK = "lock"

export interface EmbeddedRedis {
  readonly socket: string
  /** Whether a server was already running on the socket. */
  readonly adopted: boolean
  /** The API token of this data directory, for a broker without a configured token. The first call creates it. */
  token(): Promise<string>
  /** Shuts the server down and waits for its end, unless another broker is connected. */
  stop(): Promise<void>
}

export async function startEmbeddedRedis(dataDir: string, log: Log): Promise<EmbeddedRedis> {
  const dir = await privateDirectory(dataDir)
  const socket = await socketPath(dir)

  let stopping = false
  let presence: Redis | undefined
  let child: Subprocess | undefined
  /** Connects, and starts the server if there is none. The connection stays open, so that other brokers see this one. */
  const attend = () =>
    locked(dir, async () => {
      if (stopping) return true
      const running = await connect(socket)
      if (running === undefined) [presence, child] = await launch(dir, socket)
      else presence = running
      presence.once("close", () => (revival = revive()))
      return running !== undefined
    })
  const revive = async () => {
    for (let failures = 0; !stopping; failures++)
      try {
        await attend()
        if (failures > 0) log.info("The embedded Redis is running again")
        return
      } catch (error) {
        if (failures === 0)
          log.error("The embedded Redis has ended and could not be started again; the broker keeps trying", {
            error: (error as Error).message,
          })
        await Bun.sleep(1_000)
      }
  }
  let revival: Promise<void> | undefined
  const adopted = await attend()

  return {
    socket,
    adopted,
    token: () => locked(dir, () => ownToken(dir)),
    async stop() {
      stopping = true
      await revival
      presence?.disconnect()
      const ended = await locked(dir, () => endUnlessUsed(socket))
      // This also reaps the process, which the init process of some containers never does.
      if (ended) await child?.exited
    },
  }
}

/** Creates the data directory if it is missing, closes it to other users, and returns its real path. */
async function privateDirectory(path: string): Promise<string> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    const dir = await realpath(path)
    await chmod(dir, 0o700)
    await (await open(join(dir, LOCK), "a")).close() // fails if the broker cannot write there
    return dir
  } catch (error) {
    throw new Error(
      `DATA_DIR must be a directory in which the broker can write, but ${path} is not: ${(error as Error).message}`,
    )
  }
}

/** The socket of the server in this data directory. Fails if there is none, and starts nothing. */
export async function existingSocket(dataDir: string): Promise<string> {
  const none = () => new Error(`no Redis is running in ${dataDir}: start a broker there, or set REDIS_URL`)
  const socket = await socketPath(
    await realpath(dataDir).catch(() => {
      throw none()
    }),
  )
  await lstat(socket).catch(() => {
    throw none()
  })
  return socket
}

/** The socket in this directory, or in a short one if its path has more than 103 bytes, the limit of some systems. */
async function socketPath(dir: string): Promise<string> {
  const socket = join(dir, "redis.sock")
  if (Buffer.byteLength(socket) <= 103) return socket
  const short = `/tmp/tq-${createHash("sha256").update(dir).digest("hex").slice(0, 16)}`
  await mkdir(short, { recursive: true, mode: 0o700 })
  const { uid, mode } = await lstat(short)
  // Any user can create directories in /tmp, and could then run a server in place of Redis.
  if (uid !== process.getuid!() || (mode & 0o170777) !== 0o040700)
    throw new Error(
      `The path of DATA_DIR is too long for a socket, so the broker needs ${short} instead, which must be a directory that belongs to this user and has mode 0700, but is not: remove ${short}, or choose a shorter DATA_DIR`,
    )
  return join(short, "redis.sock")
}

/**
 * Runs `work` under an exclusive lock of SQLite, because Bun has no flock. It excludes other processes, and the kernel
 * releases it when the process ends (sqlite.org/lockingv3.html).
 */
async function locked<T>(dir: string, work: () => Promise<T>): Promise<T> {
  const lock = new Database(join(dir, LOCK))
  try {
    while (!tryLock(lock)) await Bun.sleep(20)
    return await work()
  } finally {
    lock.close()
  }
}

function tryLock(lock: Database): boolean {
  try {
    lock.run("BEGIN EXCLUSIVE")
    return true
  } catch (error) {
    if ((error as { code?: string }).code === "SQLITE_BUSY") return false
    throw error
  }
}

/** A connection to the running server; undefined if none is listening. Waits while a server loads its data. */
async function connect(socket: string): Promise<Redis | undefined> {
  // A server that listens is never replaced, even if it does not answer: two servers would destroy the data.
  for (let silences = 0; ; silences++) {
    const redis = new Redis({
      path: socket,
      connectionName: BROKER_CONNECTION,
      lazyConnect: true,
      enableReadyCheck: false,
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      commandTimeout: 2_000,
    })
    let refusal: NodeJS.ErrnoException | undefined
    redis.on("error", error => (refusal = error))
    try {
      await redis.connect()
      await redis.ping()
      return redis
    } catch (error) {
      redis.disconnect()
      if (refusal?.code === "ENOENT" || refusal?.code === "ECONNREFUSED") return undefined
      if (String(error).includes("LOADING")) silences = 0
      else if (silences === 10)
        throw new Error(
          `Redis on ${socket} accepts connections but does not answer: stop that process, and start the broker again`,
          { cause: error },
        )
      await Bun.sleep(100)
    }
  }
}

async function launch(dir: string, socket: string): Promise<[Redis, Subprocess]> {
  const program = findServer()
  await waitForOldServer(dir, socket)
  const logPath = join(dir, "redis.log")
  const log = await open(logPath, "a", 0o600)
  const { size } = await log.stat()
  // Detached, so that Ctrl-C in the terminal does not stop Redis before the broker.
  const server = Bun.spawn({
    cmd: [
      program,
      "--dir",
      dir,
      "--unixsocket",
      socket,
      "--unixsocketperm",
      "700",
      "--port",
      "0",
      "--appendonly",
      "yes",
      "--appendfsync",
      "always",
      "--save",
      "",
      "--maxmemory-policy",
      "noeviction",
      "--pidfile",
      join(dir, "redis.pid"),
      "--loglevel",
      "warning",
    ],
    stdio: ["ignore", log.fd, log.fd],
    detached: true,
  })
  server.unref()
  await log.close()
  while (server.exitCode === null && server.signalCode === null) {
    const redis = await connect(socket)
    if (redis !== undefined) return [redis, server]
    await Bun.sleep(10)
  }
  const written = (await readFile(logPath)).subarray(size).toString()
  const { signalCode, exitCode } = server
  const reason = lastLines(written) || `it ended with ${signalCode ?? `exit code ${exitCode}`}`
  throw new Error(`${program} did not start: ${reason} (more in ${logPath})`)
}

/** The last lines of Redis' log, without process id, time and warnings about the machine. */
const lastLines = (text: string): string =>
  text
    .trim()
    .split("\n")
    .map(line => line.replace(/^\d+:\w \d+ \w+ \d+ [\d:.]+ \S /, "").trim())
    .filter(line => !/^(warning\b|oO0|Redis version=|Configuration loaded|Server initialized)/i.test(line))
    .slice(-3)
    .join("; ")

function findServer(): string {
  const versions: string[] = []
  for (const name of ["redis-server", "valkey-server"]) {
    const path = Bun.which(name)
    if (path === null) continue
    const [, version, major] =
      /\bv=((\d+)\S*)/.exec(Bun.spawnSync([path, "--version"]).stdout.toString()) ?? []
    if (Number(major) >= 7) return path
    versions.push(`${path} is ${version ?? "of an unknown version"}`)
  }
  if (versions.length > 0) throw new Error(`Redis 7.0 or newer is required: ${versions.join(" and ")}`)
  throw new Error(
    "redis-server is not installed: install it (apt-get install redis-server, brew install redis), or set REDIS_URL",
  )
}

/** A server without a socket (it is shutting down, or the file was deleted) may still write to the directory. */
async function waitForOldServer(dir: string, socket: string): Promise<void> {
  const pid = Number(await readFile(join(dir, "redis.pid"), "utf8").catch(() => ""))
  for (let tries = 0; pid > 0 && (await commandLine(pid)).includes(socket); tries++) {
    if (tries === 50)
      throw new Error(
        `A Redis server (process ${pid}) is using ${dir} but has lost its socket: stop it (kill ${pid})`,
      )
    await Bun.sleep(100)
  }
}

/** The command line of a process. Redis shows its socket in it; a process id alone may belong to another process by now. */
const commandLine = (pid: number) =>
  readFile(`/proc/${pid}/cmdline`, "utf8").catch(() =>
    Bun.which("ps") ? Bun.spawnSync(["ps", "-ww", "-o", "command=", "-p", `${pid}`]).stdout.toString() : "",
  )

async function ownToken(dir: string): Promise<string> {
  const path = join(dir, "token")
  const found = (await readFile(path, "utf8").catch(() => "")).trim()
  if (found !== "") {
    await chmod(path, 0o600)
    return found
  }
  const token = randomBytes(32).toString("base64url")
  // Write to another name and rename, so that a worker never reads half of it.
  await writeFile(`${path}.new`, `${token}\n`, { mode: 0o600 })
  await rename(`${path}.new`, path)
  return token
}

/** Whether the server has ended. */
async function endUnlessUsed(socket: string): Promise<boolean> {
  const redis = await connect(socket)
  if (redis === undefined) return true
  const brokers = async () =>
    String(await redis.client("LIST")).split(`name=${BROKER_CONNECTION} `).length - 1
  // One is this connection. Redis may still list connections of this broker that were just closed.
  for (let tries = 0; (await brokers()) > 1; tries++) {
    if (tries === 25) {
      redis.disconnect()
      return false
    }
    await Bun.sleep(20)
  }
  const pid = Number(/^process_id:(\d+)/m.exec(await redis.info("server"))?.[1])
  await redis.shutdown().catch(() => undefined)
  redis.disconnect()
  while ((await commandLine(pid)).includes(socket)) await Bun.sleep(5)
  return true
}
