/** Connections to Redis. No command is sent twice, and none waits without a limit. */
import { createConnection } from "node:net"
import { connect as connectTls } from "node:tls"
import { AbstractConnector, type RedisOptions as AllOptions, Redis } from "ioredis"
import type { RedisAddress } from "../config/config.ts"
import { addressOf, type HostPort } from "../config/reader.ts"
import type { RedisTls } from "../config/redis-tls.ts"
import { doWithoutInfo, QuietSentinels, reconnectOnce, revive, sentinelError } from "./ioredis-fixes.ts"
import type { OutageLog } from "./outage-log.ts"
import { writePerTick } from "./tick.ts"
import { explainTls } from "./tls.ts"

type RedisOptions = Omit<AllOptions, "replyMapping">
export type RedisTarget = RedisAddress & {
  /** Unless the URL contains them. */
  username?: string | undefined
  password?: string | undefined
  timeoutMs: number
  /** Shown by CLIENT LIST. */
  name: string
  /** How many replicas must confirm a write before it is answered. */
  waitReplicas?: number
}

export type TopologyKind = "single" | "sentinel" | "cluster"

export const topologyOf = (address: RedisAddress): TopologyKind =>
  "url" in address ? "single" : "sentinels" in address ? "sentinel" : "cluster"

/** Time limit of a Sentinel. One of them often runs on the machine that has just failed. */
const SENTINEL_MS = 500
/** How often the subscription connection is checked. Without events it would be silent for hours. */
const PING_MS = 1_000

/** The server is a replica now, so another may be the master under the same address. The last two are errors of WAIT. */
const IS_REPLICA = /^(READONLY|UNBLOCKED|ERR WAIT cannot be used with replica)/

/**
 * By default ioredis repeats a command whose reply was lost, and waits without a limit if packets are dropped. Both are
 * turned off. A command that timed out may still run, so every script is safe to repeat.
 *
 * If a connection is silent for the time limit of one command, it is closed, and all its commands fail. Until a new
 * connection is ready, commands fail at once. So only one round of calls waits for a frozen server, and the new
 * connection finds the server that has replaced it.
 */
function options({ timeoutMs, name, ...target }: RedisTarget): RedisOptions {
  return {
    ...(target.username !== undefined && { username: target.username }),
    ...(target.password !== undefined && { password: target.password }),
    ...(target.tls !== undefined && { tls: target.tls }),
    connectionName: name,
    // 0 also rejects the commands in flight when a connection closes. Otherwise, with autoResendUnfulfilledCommands off,
    // ioredis 6.0.0 leaves them pending until commandTimeout (github.com/redis/ioredis/issues/2193).
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: false,
    connectTimeout: timeoutMs,
    commandTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    // A frozen server does not close its side, so do not wait for it.
    disconnectTimeout: 100,
    // While Redis loads its data, retry soon. The estimate that Redis gives is at least one second.
    maxLoadingRetryTime: 100,
    retryStrategy: attempt => Math.min(50 * attempt, 500) + Math.random() * 50,
    reconnectOnError: error => (IS_REPLICA.test(error.message) ? 1 : false),
    lazyConnect: true,
  } as RedisOptions
}

function connection(target: RedisTarget, extra: RedisOptions, outages: OutageLog, at = ""): Redis {
  const redis = dial(target, { ...options(target), ...extra })
  redis.on("error", error => outages.down(redis, at, words(redis, error)))
  redis.on("ready", () => {
    wereReady.add(redis)
    outages.up(redis, at)
  })
  noteRefusals(redis, words => outages.down(redis, at, words))
  doWithoutInfo(redis)
  reconnectOnce(redis)
  revive(redis)
  writePerTick(redis)
  return redis
}

/** Connections that have been usable before. */
const wereReady = new WeakSet<Redis>()

/** Why a connection failed, for operators. */
function words(redis: Redis, error: Error): string {
  const refusal = refusals.get(redis)
  if (refusal !== undefined) return refusal.message
  const place = { tls: redis.options.tls, wasReady: wereReady.has(redis) }
  const cause = sentinelError(redis)
  return cause !== undefined && /sentinels are unreachable/.test(error.message)
    ? `All sentinels are unreachable: ${explainTls(cause, place)}`
    : explainTls(error, place)
}

/** The errors with which servers refused connections. ioredis reports only that a connection was closed, or nothing. */
const refusals = new WeakMap<Redis, Error>()
const REFUSAL = /^-((?:ERR max number of clients|LOADING|BUSY|NOAUTH|WRONGPASS|MASTERDOWN)\b.*?)\r?$/m

/** Reads the replies of each connection until it is ready. If Redis closes one that it refuses, ioredis emits no error. */
function noteRefusals(redis: Redis, onRefusal: (words: string) => void): void {
  const read = (reply: Buffer) => {
    const text = reply.toString()
    const words = /^loading:1\r?$/m.test(text) ? LOADING : REFUSAL.exec(text)?.[1]
    if (words === undefined) return
    refusals.set(redis, new Error(words))
    onRefusal(words)
  }
  redis.on("connect", () => redis.stream.on("data", read))
  redis.on("ready", () => {
    redis.stream.off("data", read)
    refusals.delete(redis)
  })
  redis.on("error", ({ code }: NodeJS.ErrnoException) => {
    if (code === "ECONNREFUSED" || code === "ENOENT") refusals.delete(redis) // now there is no server
  })
}

export const LOADING = "LOADING Redis is loading the dataset in memory"

/** The error with which Redis refused this connection; undefined if it is usable, or if there was no error. */
export const whyUnavailable = (redis: Redis): Error | undefined => refusals.get(redis)

function dial(target: RedisTarget, all: RedisOptions): Redis {
  if ("sentinels" in target)
    return new Redis({
      ...all,
      sentinels: target.sentinels.map(({ host, port }) => ({ host, port })),
      name: target.master,
      sentinelUsername: target.sentinelUsername!,
      sentinelPassword: target.sentinelPassword!,
      ...(target.tls !== undefined && { sentinelTLS: target.tls, enableTLSForSentinelMode: true }),
      ...(target.natMap !== undefined && { natMap: { ...target.natMap } }),
      sentinelCommandTimeout: SENTINEL_MS,
      sentinelRetryStrategy: attempt => Math.min(50 * attempt, 500),
      // ioredis would subscribe again, and a failure there is an uncaught error that ends the process.
      sentinelReconnectStrategy: () => null,
      // Without it, a master that was replaced but still answers is noticed only at the first READONLY.
      failoverDetector: true,
      Connector: QuietSentinels as NonNullable<AllOptions["Connector"]>,
    })
  if ("cluster" in target) return new Redis(all)
  const path = target.url.replace(/^unix:\/\//, "")
  return new Redis(path, all)
}

/** A connection for commands and scripts. `at`: to this node of a Cluster. */
export const commandConnection = (target: RedisTarget, outages: OutageLog, at?: HostPort) =>
  connection(target, at ?? {}, outages, at && addressOf(at))

/**
 * A connection for subscriptions. In a Cluster it is to any node, because a message published on one node reaches the
 * subscribers of all. (Sharded pub/sub avoids that traffic, but needs a connection to each node.)
 */
export function subscriptionConnection(
  target: RedisTarget,
  outages: OutageLog,
  nodes: () => readonly HostPort[],
): Redis {
  const extra: RedisOptions = { autoResubscribe: false }
  const redis = connection(
    { ...target, name: `${target.name}-subscriptions` },
    "cluster" in target ? { ...extra, Connector: roundConnector(nodes, target.tls) } : extra,
    outages,
    "cluster" in target ? "subscriptions" : "",
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

/** Connects to another node each time. */
function roundConnector(nodes: () => readonly HostPort[], tls: RedisTls | undefined) {
  let turn = Math.floor(Math.random() * 1_000)
  return class extends AbstractConnector {
    constructor(options: unknown) {
      super((options as { disconnectTimeout: number }).disconnectTimeout)
    }
    async connect() {
      this.connecting = true
      const all = nodes()
      const { host, port } = all[turn++ % all.length]!
      this.stream = tls === undefined ? createConnection({ host, port }) : connectTls({ host, port, ...tls })
      this.stream.once("error", error => (this.firstError = error))
      return this.stream
    }
  }
}

/** Connects, or fails at the first error: with Sentinels ioredis would try for ever. */
export async function connect(redis: Redis): Promise<void> {
  const failed = Promise.withResolvers<never>()
  // The event has the cause. The promise fails later, and only with "Connection is closed".
  redis.once("error", failed.reject)
  try {
    await Promise.race([redis.connect(), failed.promise])
  } catch (error) {
    throw new Error(`Redis cannot be used: ${words(redis, error as Error)}`, { cause: error })
  } finally {
    redis.off("error", failed.reject)
  }
}
