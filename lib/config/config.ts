/**
 * The configuration of a broker, a worker, `top` and `inspect`. The readers are pure, except that API_TOKENS_FILE names a
 * file: the same variables give the same frozen object, or one ConfigError that lists every invalid variable and what
 * would be valid. Only lib/broker-address.ts and lib/terminal.ts also read the environment, for proxies and colors.
 * Durations end in `Ms`, sizes in `Bytes`.
 */
import { LOG_LEVELS } from "../log.ts"
import type { Backoff } from "../wire/fields.ts"
import { readInstallation } from "./installation.ts"
import { type AddressMap, type Env, type HostPort, type OnRead, QUEUE_NAME, Reader } from "./reader.ts"
import { type RedisTls, readRedisTls } from "./redis-tls.ts"
import { faultOfRedisUrl } from "./redis-url.ts"
import { readTokens } from "./tokens.ts"
import { readTraces } from "./traces.ts"

export type BrokerConfig = ReturnType<typeof readBrokerConfig>

/** Reads the configuration of a broker. Without an address of Redis the broker runs an embedded one in `dataDir`. */
export function readBrokerConfig(env: Env = process.env, onRead: OnRead = () => {}) {
  const read = new Reader(env, onRead)
  const redis = readRedis(read)
  const apiToken = read.token()
  const tokens = readTokens(read, apiToken)
  if (
    redisAddress(redis) !== undefined &&
    [read.text("API_SECRET_TOKEN"), tokens].every(given => given === undefined)
  )
    read.fault(
      "API_SECRET_TOKEN or API_TOKENS must be set with an external Redis (REDIS_URL, REDIS_HOST, REDIS_SENTINELS or " +
        "REDIS_CLUSTER). To create a token: openssl rand -hex 32",
      undefined,
    )
  return read.finish({
    host: read.text("HOST", "0.0.0.0"),
    ...readPorts(read),
    ...redis,
    apiToken,
    tokens: tokens ?? [],
    visibilityTimeoutMs: read.integer("VISIBILITY_TIMEOUT_MS", 30_000, 100, 86_400_000),
    maxRetries: read.integer("MAX_RETRIES", 3, 0, 1_000),
    maxCrashes: read.integer("MAX_CRASHES", 3, 0, 1_000),
    doneRetentionMs: read.integer("DONE_RETENTION_MS", 86_400_000, 0, 31_536_000_000),
    deadRetentionMs: read.integer("DEAD_RETENTION_MS", 1_209_600_000, 0, 31_536_000_000),
    doneKept: read.integer("DONE_RETENTION_COUNT", 100_000, 0, 1_000_000_000),
    deadKept: read.integer("DEAD_RETENTION_COUNT", 1_000_000, 0, 1_000_000_000),
    idempotencyTtlMs: read.integer("IDEMPOTENCY_TTL_MS", 86_400_000, 1_000, 31_536_000_000),
    maxQueueDepth: read.integer("MAX_QUEUE_DEPTH", 0, 0, 1_000_000_000),
    maxQueueBytes: read.integer("MAX_QUEUE_BYTES", 0, 0, 1_000_000_000_000),
    auditIntervalMs: read.integer("AUDIT_INTERVAL_MS", 3_600_000, 0, 604_800_000),
    backoff: readBackoff(read),
    maxBodyBytes: read.integer("MAX_BODY_BYTES", 1_048_576, 1_024, 67_108_864),
    installation: readInstallation(read),
    publicPath: readPublicPath(read),
    metricsPublic: read.word("METRICS_PUBLIC", ["true", "false"], "false") === "true",
    traceUrl: readTraceUrl(read),
    shutdownMs: read.integer("SHUTDOWN_MS", 10_000, 0, 600_000),
    logLevel: read.word("LOG_LEVEL", LOG_LEVELS, "info"),
    ...readTraces(read),
  })
}

/** TRACE_URL: a link to a trace. Only these protocols: the dashboard shows it as a link. */
function readTraceUrl(read: Reader): string | undefined {
  const value = read.url("TRACE_URL", ["http:", "https:"])
  if (value === undefined || value.includes("{trace_id}")) return value
  return read.fault("TRACE_URL must contain {trace_id}, which is replaced by the id of the trace", undefined)
}

/** The port, the number of brokers that share it, and the port of the metrics of each. */
function readPorts(read: Reader) {
  const port = read.integer("PORT", 5000, 0, 65_535)
  const brokers = read.integer("BROKERS", 1, 1, 64)
  const metricsPort = read.integer("METRICS_PORT", 0, 0, 65_535)
  const last = metricsPort + brokers - 1
  if (brokers > 1 && port === 0)
    read.fault(
      "BROKERS above 1 requires a fixed PORT: with 0 each process would get a different port",
      undefined,
    )
  if (brokers > 1 && process.platform !== "linux")
    read.fault(
      "BROKERS above 1 requires Linux, which distributes connections over processes on one port",
      undefined,
    )
  if (metricsPort > 0 && last > 65_535)
    read.fault(
      `METRICS_PORT is too high: with BROKERS=${brokers} the last process would need port ${last}`,
      undefined,
    )
  if (metricsPort > 0 && port >= metricsPort && port <= last)
    read.fault(
      `PORT must not be ${brokers === 1 ? "the port" : "one of the ports"} of the metrics, ${brokers === 1 ? last : `${metricsPort} to ${last}`}: change PORT or METRICS_PORT`,
      undefined,
    )
  return { port, brokers, metricsPort }
}

/** PUBLIC_PATH without a slash at its end; undefined if it is unset or /. */
function readPublicPath(read: Reader): string | undefined {
  const path = read.text("PUBLIC_PATH")?.replace(/\/$/, "") || undefined
  if (path === undefined || /^(\/[\w.~-]+)+$/.test(path)) return path
  return read.fault("PUBLIC_PATH must be a path such as /queue, of letters, digits, . _ ~ - and /", undefined)
}

/** How to reach Redis, and where a broker keeps its own if it is given none. */
function readRedis(read: Reader) {
  const redisUrl = readRedisUrl(read)
  const redisHost = read.text("REDIS_HOST")
  const isHostUsed = redisHost !== undefined && redisUrl === undefined
  const redisPort = read.integer("REDIS_PORT", 6379, 1, 65_535, isHostUsed)
  const redisSentinels = read.nodes("REDIS_SENTINELS", 26_379)
  const redisCluster = read.nodes("REDIS_CLUSTER", 6_379)
  const redisPassword = read.text("REDIS_PASSWORD")
  const redisUsername = read.text("REDIS_USERNAME")
  const waitReplicas = read.integer("WAIT_REPLICAS", 0, 0, 10)
  const given = (["REDIS_URL", "REDIS_SENTINELS", "REDIS_CLUSTER"] as const).filter(
    name => read.text(name) !== undefined,
  )
  if (given.length > 1) read.fault(`${given.join(" and ")} are set: set only one of them`, undefined)
  if (redisHost !== undefined && given.length > 0 && given[0] !== "REDIS_URL")
    read.fault(`${given[0]} and REDIS_HOST are both set: set only one of them`, undefined)
  const own = given.length === 0 && redisHost === undefined
  const redisTls = readRedisTls(read, own)
  const hostUrl = isHostUsed ? urlOfHost(redisHost, redisPort, redisTls !== undefined) : undefined
  if (isHostUsed && hostUrl === undefined)
    read.fault(
      "REDIS_HOST must be the name or the address of a host, without redis:// and without a port",
      undefined,
    )
  if ((redisPassword ?? redisUsername) !== undefined && (own || given[0] === "REDIS_URL"))
    read.fault(
      "REDIS_USERNAME and REDIS_PASSWORD require REDIS_HOST, REDIS_SENTINELS or REDIS_CLUSTER; with REDIS_URL, write " +
        "them in the address: redis://user:password@host",
      undefined,
    )
  if (waitReplicas > 0 && own)
    read.fault("WAIT_REPLICAS requires a Redis with replicas: the embedded Redis has none", undefined)
  return {
    redisUrl: hostUrl ?? redisUrl,
    redisSentinels,
    redisMasterName: read.text("REDIS_MASTER_NAME", "mymaster"),
    redisSentinelUsername: read.text("REDIS_SENTINEL_USERNAME"),
    redisSentinelPassword: read.text("REDIS_SENTINEL_PASSWORD"),
    redisCluster,
    redisTls,
    redisNatMap: read.addressMap("REDIS_NAT_MAP"),
    redisUsername,
    redisPassword,
    waitReplicas,
    redisTimeoutMs: read.integer("REDIS_TIMEOUT_MS", 2_000, 50, 60_000),
    dataDir: read.text("DATA_DIR", ".data"),
  }
}

/** The URL of a host that may be an IPv6 address; undefined if it is no host. */
function urlOfHost(host: string, port: number, isTls: boolean): string | undefined {
  const isIpv6 = /^[\da-fA-F]*:[\da-fA-F:.]+$/.test(host)
  const url = `${isTls ? "rediss" : "redis"}://${isIpv6 ? `[${host}]` : host}:${port}`
  return /^([\w.-]+|[\da-fA-F:.[\]]+)$/.test(host) && URL.canParse(url) ? url : undefined
}

type RedisConfig = ReturnType<typeof readRedis>

/** Reads the configuration of `inspect`: the settings of a broker that are about Redis. */
export function readInspectConfig(env: Env = process.env, onRead: OnRead = () => {}) {
  const read = new Reader(env, onRead)
  return read.finish(readRedis(read))
}

/** The address of Redis; undefined: the broker runs its own. */
export function redisAddress(config: RedisConfig): RedisAddress | undefined {
  const { redisUrl, redisSentinels, redisCluster, redisTls: tls, redisNatMap: natMap } = config
  if (redisSentinels !== undefined)
    return {
      sentinels: redisSentinels,
      master: config.redisMasterName,
      sentinelUsername: config.redisSentinelUsername,
      sentinelPassword: config.redisSentinelPassword,
      tls,
      natMap,
    }
  if (redisCluster !== undefined) return { cluster: redisCluster, tls, natMap }
  return redisUrl === undefined ? undefined : { url: redisUrl, tls }
}

/** Reads the configuration of `top`: how to reach a broker. */
export function readTopConfig(env: Env = process.env, onRead: OnRead = () => {}) {
  const read = new Reader(env, onRead)
  return read.finish(readConnection(read))
}

const readConnection = (read: Reader) => ({
  brokerUrl: read.url("BROKER_URL", ["http:", "https:"], "http://localhost:5000"),
  apiToken: read.token(),
  dataDir: read.text("DATA_DIR", ".data"),
})

export type WorkerConfig = ReturnType<typeof readWorkerConfig>

/** Reads the configuration of a worker. Without `apiToken` it uses the token that a broker wrote to `dataDir`. */
export function readWorkerConfig(env: Env = process.env, onRead: OnRead = () => {}) {
  const read = new Reader(env, onRead)
  const queues = read
    .text("QUEUES", "default")
    .split(",")
    .map(name => name.trim())
  if (queues.length > 100 || !queues.every(name => QUEUE_NAME.test(name)))
    read.fault(
      'QUEUES must be 1 to 100 names separated by commas, each of 1 to 64 characters from A-Z a-z 0-9 . _ -, but not "." or ".." alone',
      [],
    )
  const name = read.text("WORKER_NAME")
  if (name !== undefined && !QUEUE_NAME.test(name))
    read.fault(
      'WORKER_NAME must have 1 to 64 characters from A-Z a-z 0-9 . _ -, and must not be "." or ".."',
      undefined,
    )
  return read.finish({
    ...readConnection(read),
    queues,
    name,
    concurrency: read.integer("CONCURRENCY", 10, 1, 1_000),
    handlers: read.text("HANDLERS"),
    drainMs: read.integer("DRAIN_MS", 20_000, 0, 600_000),
    healthPort: read.integer("HEALTH_PORT", 0, 0, 65_535),
    host: read.text("HOST", "0.0.0.0"),
    logLevel: read.word("LOG_LEVEL", LOG_LEVELS, "info"),
    ...readTraces(read),
  })
}

/** REDIS_URL: `redis://`, `rediss://` (TLS), or a Unix socket as `unix:///path` or a bare `/path`. */
function readRedisUrl(read: Reader): string | undefined {
  const value = read.text("REDIS_URL")
  const fault = value && faultOfRedisUrl(value)
  return fault ? read.fault(`REDIS_URL ${fault}`, undefined) : value
}

/** BACKOFF_*: the backoff of tasks that set none; undefined: no backoff. */
function readBackoff(read: Reader): Backoff | undefined {
  const kind = read.word("BACKOFF_KIND", ["none", "fixed", "exponential"], "none")
  const delay_ms = read.integer("BACKOFF_DELAY_MS", 1_000, 1, 2_592_000_000)
  const max_ms = read.integer("BACKOFF_MAX_MS", 3_600_000, 1, 2_592_000_000)
  const jitter = read.word("BACKOFF_JITTER", ["true", "false"], "true") === "true"
  return kind === "none" ? undefined : { kind, delay_ms, max_ms, jitter }
}

/** One server, the master that Sentinels name, or the nodes of a Cluster. */
export type RedisAddress = RedisPlace & {
  tls?: RedisTls | undefined
  /** With Sentinels or a Cluster. */
  natMap?: AddressMap | undefined
}

type RedisPlace =
  /** `redis://`, `rediss://`, `unix:///path`, or a bare `/path` of a Unix socket. */
  | { url: string }
  | {
      sentinels: readonly HostPort[]
      master: string
      sentinelUsername?: string | undefined
      sentinelPassword?: string | undefined
    }
  /** Some of the nodes. The client learns the others from them. */
  | { cluster: readonly HostPort[] }
