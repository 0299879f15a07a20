/** Connections to Redis, set so that no command runs twice and none waits for ever. */
import { createConnection, type Socket } from "node:net"
import {
  AbstractConnector,
  type RedisOptions as AllOptions,
  Redis,
  type SentinelConnectionOptions,
  SentinelConnector,
} from "ioredis"
import type { RedisAddress } from "../config/config.ts"
import type { HostPort } from "../config/reader.ts"
import type { Log } from "../log.ts"
import { atTickEnd } from "../tick.ts"

type RedisOptions = Omit<AllOptions, "replyMapping">
export type RedisTarget = RedisAddress & {
  /** Where no `url` has its own. */
  username?: string | undefined
  password?: string | undefined
  timeoutMs: number
  /** What CLIENT LIST shows. */
  name: string
  /** A write counts once so many replicas have it. */
  waitReplicas?: number
}

export type Topology = "single" | "sentinel" | "cluster"

export const topologyOf = (address: RedisAddress): Topology =>
  "url" in address ? "single" : "sentinels" in address ? "sentinel" : "cluster"

/** How long a Sentinel may take to answer. It often stands on the machine that has just failed. */
const SENTINEL_MS = 500
/** How often the connection for hints is tried: it is silent for hours where nothing happens. */
const PING_MS = 1_000
const REVIVE_MS = 100

/**
 * ioredis sends a command again when its reply was lost, and waits without end in a black hole: both are
 * turned off. A command that timed out may still run, which is why every script is safe to repeat.
 *
 * A connection that is silent for as long as one command may take is dropped, and with it all commands under
 * way; until a server answers on a new one, commands fail at once. So one call waits for a frozen server, and
 * not each of those behind it once more; and the new connection finds the server that has taken its place.
 */
function options({ timeoutMs, name, ...target }: RedisTarget): RedisOptions {
  return {
    ...(target.username !== undefined && { username: target.username }),
    ...(target.password !== undefined && { password: target.password }),
    connectionName: name,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: false,
    connectTimeout: timeoutMs,
    commandTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    // A frozen server does not close its side: it is not waited for.
    disconnectTimeout: 100,
    // One that reads its data is asked again soon: its own guess of how long that takes is a second at least.
    maxLoadingRetryTime: 100,
    retryStrategy: attempt => Math.min(50 * attempt, 500) + Math.random() * 50,
    reconnectOnError: error => (error.message.startsWith("READONLY") ? 1 : false),
    lazyConnect: true,
  } as RedisOptions
}

function connection(target: RedisTarget, extra: RedisOptions, log: Log): Redis {
  const redis = dial(target, { ...options(target), ...extra })
  let told = false
  redis.on("error", error => {
    if (!told) log.warn("Redis is away", { error: error.message })
    told = true
  })
  redis.on("ready", () => {
    if (told) log.info("Redis is back")
    told = false
  })
  revive(redis)
  inOneWrite(redis)
  return redis
}

/**
 * What is sent in one tick leaves in one write. ioredis' own pipelining does so too, but has one pipeline under way
 * at a time: Redis would idle while answers are written, and the broker's groups would wait behind each other.
 */
function inOneWrite(redis: Redis): void {
  const send = redis.sendCommand.bind(redis)
  redis.sendCommand = (command, stream) => {
    const socket = redis.stream as Socket | undefined
    if (socket?.writableCorked === 0) {
      socket.cork()
      atTickEnd(() => socket.uncork())
    }
    return send(command, stream)
  }
}

/** ioredis gives a connection up for good where it is disturbed while it connects, by whatever: it begins anew. */
function revive(redis: Redis): void {
  let left = false
  const disconnect = redis.disconnect.bind(redis)
  redis.disconnect = (again = false) => {
    left ||= !again
    disconnect(again)
  }
  redis.on("end", () => {
    const timer = setTimeout(() => {
      if (!left && redis.status === "end") redis.connect().catch(() => {})
    }, REVIVE_MS)
    timer.unref()
  })
}

function dial(target: RedisTarget, all: RedisOptions): Redis {
  if ("sentinels" in target)
    return new Redis({
      ...all,
      sentinels: target.sentinels.map(({ host, port }) => ({ host, port })),
      name: target.master,
      sentinelPassword: target.sentinelPassword!,
      sentinelCommandTimeout: SENTINEL_MS,
      sentinelRetryStrategy: attempt => Math.min(50 * attempt, 500),
      // It would subscribe again with nobody to catch where that fails, which ends the process.
      sentinelReconnectStrategy: () => null,
      // Else a master that was replaced while it still answers would be noticed at the first READONLY.
      failoverDetector: true,
      Connector: QuietSentinels as NonNullable<AllOptions["Connector"]>,
    })
  if ("cluster" in target) return new Redis(all)
  const path = target.url.replace(/^unix:\/\//, "")
  return path.startsWith("/") ? new Redis({ ...all, path }) : new Redis(target.url, all)
}

/**
 * Two faults of ioredis 6.0 mended. It has no listener for errors of the Sentinels that it hears of failovers
 * from, and so prints each. And such news that comes while it connects anew already, breaks that off for good:
 * the connection ends and never comes back. So nobody listens for news meanwhile.
 */
class QuietSentinels extends SentinelConnector {
  constructor(options: SentinelConnectionOptions) {
    super(options)
    const inside = inner(this)
    const dial = inside.connectToSentinel.bind(this)
    inside.connectToSentinel = (...args) => dial(...args).on("error", () => {})
  }

  override connect(...args: Parameters<SentinelConnector["connect"]>) {
    const inside = inner(this)
    inside.failoverDetector?.cleanup()
    // Done with: each further time would leave listeners on its sockets, of which Bun warns.
    inside.failoverDetector = null
    return super.connect(...args)
  }
}

const inner = (connector: SentinelConnector) =>
  connector as unknown as {
    connectToSentinel(...args: unknown[]): Redis
    failoverDetector: { cleanup(): void } | null
  }

/** For commands and scripts. `at`: this node of a Cluster. */
export const commandConnection = (target: RedisTarget, log: Log, at?: HostPort) =>
  connection(target, at ?? {}, log)

/**
 * For hints, on one node of a Cluster, whichever answers: what is published on one is heard on all. (Sharded
 * pub/sub would spare the other nodes that, and need a connection to each.)
 */
export function hintConnection(target: RedisTarget, log: Log, nodes: () => readonly HostPort[]): Redis {
  const extra: RedisOptions = { autoResubscribe: false }
  const redis = connection(
    { ...target, name: `${target.name}-hints` },
    "cluster" in target ? { ...extra, Connector: roundConnector(nodes) } : extra,
    log,
  )
  const ping = setInterval(() => {
    if (redis.status === "ready") redis.ping().catch(() => {})
  }, PING_MS).unref()
  const { disconnect } = redis
  redis.disconnect = again => {
    if (!again) clearInterval(ping)
    disconnect(again)
  }
  return redis
}

/** Connects to the next node each time. */
function roundConnector(nodes: () => readonly HostPort[]) {
  let turn = Math.floor(Math.random() * 1_000)
  return class extends AbstractConnector {
    constructor(options: unknown) {
      super((options as { disconnectTimeout: number }).disconnectTimeout)
    }
    async connect() {
      this.connecting = true
      const all = nodes()
      const { host, port } = all[turn++ % all.length]!
      this.stream = createConnection({ host, port })
      this.stream.once("error", error => (this.firstError = error))
      return this.stream
    }
  }
}

/** Connects, or says why not, at the first failure: with Sentinels ioredis would go on trying for ever. */
export async function connect(redis: Redis): Promise<void> {
  const failed = Promise.withResolvers<never>()
  // Comes before its promise fails, with no more than "Connection is closed".
  redis.once("error", failed.reject)
  try {
    await Promise.race([redis.connect(), failed.promise])
  } catch (error) {
    throw new Error(`Redis cannot be used: ${(error as Error).message}`, { cause: error })
  } finally {
    redis.off("error", failed.reject)
  }
}
