/** Connections to Redis, set so that no command runs twice and none waits for ever. */
import { type RedisOptions as AllOptions, Redis } from "ioredis"
import { SCHEMA, SCHEMA_VERSION } from "./keys.ts"
import type { Log } from "./log.ts"

type RedisOptions = Omit<AllOptions, "replyMapping">

export interface RedisTarget {
  /** `redis://`, `rediss://`, `unix:///path`, or a bare `/path` of a Unix socket. */
  url: string
  timeoutMs: number
  /** What CLIENT LIST shows. */
  name: string
}

/**
 * ioredis sends a command again when its reply was lost, and waits without end in a black hole: both are
 * turned off. A command that timed out may still run, which is why every script is safe to repeat.
 */
function options({ timeoutMs, name }: RedisTarget): RedisOptions {
  return {
    connectionName: name,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: false,
    enableAutoPipelining: true,
    connectTimeout: timeoutMs,
    commandTimeout: timeoutMs,
    retryStrategy: attempt => Math.min(50 * attempt, 500) + Math.random() * 50,
    reconnectOnError: error => (error.message.startsWith("READONLY") ? 1 : false),
    lazyConnect: true,
  }
}

function connection(target: RedisTarget, extra: RedisOptions, log: Log): Redis {
  const all: RedisOptions = { ...options(target), ...extra }
  const path = target.url.replace(/^unix:\/\//, "")
  const redis = path.startsWith("/") ? new Redis({ ...all, path }) : new Redis(target.url, all)
  let told = false
  redis.on("error", error => {
    if (!told) log.warn("Redis is away", { error: error.message })
    told = true
  })
  redis.on("ready", () => {
    if (told) log.info("Redis is back")
    told = false
  })
  return redis
}

/** For commands and scripts. A dead socket is dropped after twice the time limit. */
export const commandConnection = (target: RedisTarget, log: Log) =>
  connection(target, { socketTimeout: target.timeoutMs * 2 }, log)

/** For hints. It may be silent for hours, so it has no socket limit; keep-alives find a dead peer. */
export const hintConnection = (target: RedisTarget, log: Log) =>
  connection(target, { enableAutoPipelining: false, autoResubscribe: false }, log)

/** Connects, or says why not: ioredis itself rejects with no more than "Connection is closed". */
export async function connect(redis: Redis): Promise<void> {
  let why: Error | undefined
  redis.once("error", error => (why = error))
  await redis.connect().catch((error: Error) => {
    throw new Error(`Redis cannot be used: ${(why ?? error).message}`, { cause: error })
  })
}

/** Refuses a server too old for the scripts, and one whose keys another version has laid out; marks a new one. */
export async function checkServer(redis: Redis): Promise<void> {
  const { version } = await redisState(redis)
  if (Number.parseInt(version, 10) < 7)
    throw new Error(`Redis here is ${version}: the scripts need 7.0 or newer.`)
  // Written only where it is missing: a broker must start, to finish tasks, on a Redis that takes no writes.
  if ((await redis.get(SCHEMA)) === null) await redis.setnx(SCHEMA, SCHEMA_VERSION)
  const found = await redis.get(SCHEMA)
  if (found !== SCHEMA_VERSION)
    throw new Error(
      `This Redis holds tasks in layout ${found}, and this version reads layout ${SCHEMA_VERSION}: run the version that wrote it, or another Redis.`,
    )
}

export interface RedisState {
  version: string
  maxmemoryPolicy: string
  /** What survives a power cut, as Redis is set now. */
  durability: "always" | "everysec" | "no" | "none" | "unknown"
}

/** What an operator must know of this server; it asks only INFO and CONFIG GET. */
export async function redisState(redis: Redis): Promise<RedisState> {
  // INFO alone is answered before the connection can be used, and all the while Redis reads its data at start.
  await redis.get(SCHEMA)
  const info = await redis.info()
  const found = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1]
  // Managed servers may refuse CONFIG: INFO tells the policy and whether there is an AOF, not its fsync.
  const fsync = await redis.config("GET", "appendfsync").then(
    reply => (reply as string[])[1],
    () => "unknown",
  )
  const durability = found("aof_enabled") === "1" ? (fsync as RedisState["durability"]) : "none"
  return {
    version: found("redis_version") ?? "unknown",
    maxmemoryPolicy: found("maxmemory_policy") ?? "unknown",
    durability,
  }
}
