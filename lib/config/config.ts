/**
 * All configuration, read once. `readBrokerConfig(env)` and `readWorkerConfig(env)` are pure but for the file that
 * API_TOKENS_FILE names: the same variables give the same frozen object, or one ConfigError that lists every bad
 * variable with what would be right. No other file reads the environment. Durations end in `Ms`; sizes in `Bytes`.
 */

import { readFileSync } from "node:fs"
import { LOG_LEVELS } from "../log.ts"
import type { Backoff } from "../wire/submitting.ts"
import { type ApiToken, hashOf, ROLES, type Role } from "./tokens.ts"
import type { Variable } from "./variables.ts"

export type Env = Readonly<Record<string, string | undefined>>

/** What is wrong with the environment, one line a variable. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`The configuration cannot be used:\n${problems.map(problem => `  ${problem}`).join("\n")}`)
    this.name = "ConfigError"
  }
}

export const QUEUE_NAME = /^[A-Za-z0-9._-]{1,64}$/
/** Hears of each variable that is read, maybe more than once, and what counts where it is not set. */
export type OnRead = (name: Variable, fallback?: string | number) => void

/** Takes variables one by one and gathers what is wrong with them, so that all is told at once. */
class Reader {
  readonly problems: string[] = []
  constructor(
    private readonly env: Env,
    private readonly heard: OnRead,
  ) {}

  /** An empty variable counts as one that is not set: Compose and shells pass those. */
  text(name: Variable, fallback: string): string
  text(name: Variable): string | undefined
  text(name: Variable, fallback?: string): string | undefined {
    this.heard(name, fallback)
    const value = this.env[name]
    return value === undefined || value === "" ? fallback : value
  }

  integer(name: Variable, fallback: number, min: number, max: number): number {
    this.heard(name, fallback)
    const value = this.text(name)
    if (value === undefined) return fallback
    const number = Number(value)
    if (/^\d+$/.test(value) && number >= min && number <= max) return number
    return this.fault(`${name} must be a whole number from ${min} to ${max}`, fallback)
  }

  ratio(name: Variable, fallback: number): number {
    this.heard(name, fallback)
    const value = this.text(name)
    if (value === undefined) return fallback
    if (/^(0(\.\d+)?|1(\.0+)?)$/.test(value)) return Number(value)
    return this.fault(`${name} must be a number from 0 to 1`, fallback)
  }

  word<T extends string>(name: Variable, words: readonly T[], fallback: T): T {
    this.heard(name, fallback)
    const value = this.text(name)
    if (value === undefined) return fallback
    if ((words as readonly string[]).includes(value)) return value as T
    return this.fault(`${name} must be one of ${words.join(", ")}`, fallback)
  }

  url(name: Variable, protocols: readonly string[], fallback: string): string
  url(name: Variable, protocols: readonly string[]): string | undefined
  url(name: Variable, protocols: readonly string[], fallback?: string): string | undefined {
    this.heard(name, fallback)
    const value = this.text(name)
    if (value === undefined) return fallback
    if (URL.canParse(value) && protocols.includes(new URL(value).protocol)) return value
    return this.fault(
      `${name} must be an address that begins with ${protocols.map(p => `${p}//`).join(" or ")}`,
      fallback,
    )
  }

  /** `host:port,…`; a port that is left out is `port`. */
  nodes(name: Variable, port: number): HostPort[] | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const nodes = value
      .split(",")
      .map(node => /^(\[[\da-fA-F:]+\]|[\w.-]+)(?::(\d{1,5}))?$/.exec(node.trim()))
    if (nodes.some(node => node === null || Number(node[2] ?? port) > 65_535 || node[2] === "0"))
      return this.fault(`${name} must be addresses as host:port, divided by commas`, undefined)
    return nodes.map(node => ({ host: node![1]!.replace(/[[\]]/g, ""), port: Number(node![2] ?? port) }))
  }

  token(): string | undefined {
    const value = this.text("API_SECRET_TOKEN")
    if (value === undefined || /^[\x21-\x7e]+$/.test(value)) return value
    return this.fault(
      "API_SECRET_TOKEN must be printable ASCII without spaces, as it is sent in a header",
      undefined,
    )
  }

  /** What stands in the variable, or in the file that `<name>_FILE` names, as secrets are mounted. */
  textOrFile(name: "API_TOKENS"): string | undefined {
    const text = this.text(name)
    const path = this.text(`${name}_FILE`)
    if (path === undefined) return text
    if (text !== undefined)
      return this.fault(`${name} and ${name}_FILE are both set: set only one of them`, undefined)
    try {
      return readFileSync(path, "utf8")
    } catch (error) {
      return this.fault(`${name}_FILE cannot be read: ${(error as NodeJS.ErrnoException).code}`, undefined)
    }
  }

  fault<T>(problem: string, fallback: T): T {
    this.problems.push(problem)
    return fallback
  }

  finish<T extends object>(config: T): Readonly<T> {
    if (this.problems.length > 0) throw new ConfigError(this.problems)
    return Object.freeze(config)
  }
}

export type BrokerConfig = ReturnType<typeof readBrokerConfig>

/** What a broker reads. With no address of a Redis it runs the machine's own redis-server in `dataDir`. */
export function readBrokerConfig(env: Env = process.env, heard: OnRead = () => {}) {
  const read = new Reader(env, heard)
  const redisHost = read.text("REDIS_HOST")
  const redisPort = read.integer("REDIS_PORT", 6379, 1, 65_535)
  const redisUrl =
    readRedisUrl(read) ?? (redisHost === undefined ? undefined : `redis://${redisHost}:${redisPort}`)
  const redisSentinels = read.nodes("REDIS_SENTINELS", 26_379)
  const redisCluster = read.nodes("REDIS_CLUSTER", 6_379)
  const redisPassword = read.text("REDIS_PASSWORD")
  const redisUsername = read.text("REDIS_USERNAME")
  const waitReplicas = read.integer("WAIT_REPLICAS", 0, 0, 10)
  const given = (["REDIS_URL", "REDIS_SENTINELS", "REDIS_CLUSTER"] as const).filter(
    name => read.text(name) !== undefined,
  )
  if (given.length > 1)
    read.fault(`${given.join(" and ")} name different servers: set only one of them`, undefined)
  if (redisHost !== undefined && given.length > 0 && given[0] !== "REDIS_URL")
    read.fault(`${given[0]} and REDIS_HOST name different servers: set only one of them`, undefined)
  const own = given.length === 0 && redisHost === undefined
  if ((redisPassword ?? redisUsername) !== undefined && (own || given[0] === "REDIS_URL"))
    read.fault(
      "REDIS_USERNAME and REDIS_PASSWORD go with REDIS_HOST, REDIS_SENTINELS or REDIS_CLUSTER; with REDIS_URL they " +
        "stand in the address, as redis://user:password@host",
      undefined,
    )
  if (waitReplicas > 0 && own)
    read.fault("WAIT_REPLICAS needs a Redis with replicas: the broker's own has none", undefined)
  const apiToken = read.token()
  const tokens = readTokens(read, apiToken)
  if (!own && [read.text("API_SECRET_TOKEN"), tokens].every(given => given === undefined))
    read.fault(
      "API_SECRET_TOKEN must be set where REDIS_URL, REDIS_HOST, REDIS_SENTINELS or REDIS_CLUSTER is: every request " +
        "carries it in X-API-Token (make one: openssl rand -hex 32); or API_TOKENS",
      undefined,
    )
  return read.finish({
    host: read.text("HOST", "0.0.0.0"),
    ...readPorts(read),
    redisUrl,
    redisSentinels,
    redisMasterName: read.text("REDIS_MASTER_NAME", "mymaster"),
    redisSentinelPassword: read.text("REDIS_SENTINEL_PASSWORD"),
    redisCluster,
    redisUsername,
    redisPassword,
    waitReplicas,
    redisTimeoutMs: read.integer("REDIS_TIMEOUT_MS", 2_000, 50, 60_000),
    apiToken,
    tokens: tokens ?? [],
    dataDir: read.text("DATA_DIR", ".data"),
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
    metricsPublic: read.word("METRICS_PUBLIC", ["true", "false"], "false") === "true",
    shutdownMs: read.integer("SHUTDOWN_MS", 10_000, 0, 600_000),
    logLevel: read.word("LOG_LEVEL", LOG_LEVELS, "info"),
    ...readTraces(read),
  })
}

/** PORT, how many brokers share it, and where each of them alone tells its metrics. */
function readPorts(read: Reader) {
  const port = read.integer("PORT", 5000, 0, 65_535)
  const brokers = read.integer("BROKERS", 1, 1, 64)
  const metricsPort = read.integer("METRICS_PORT", 0, 0, 65_535)
  const last = metricsPort + brokers - 1
  if (brokers > 1 && port === 0)
    read.fault("BROKERS above 1 needs a PORT: with 0 each of them would get another", undefined)
  if (brokers > 1 && process.platform !== "linux")
    read.fault("BROKERS above 1 needs Linux, which spreads connections over processes on one port", undefined)
  if (metricsPort > 0 && last > 65_535)
    read.fault(
      `METRICS_PORT must leave room for a port each: BROKERS=${brokers} would take them to ${last}`,
      undefined,
    )
  if (metricsPort > 0 && port >= metricsPort && port <= last)
    read.fault(`METRICS_PORT and PORT must differ: the metrics take ${metricsPort} to ${last}`, undefined)
  return { port, brokers, metricsPort }
}

/** Where Redis is; undefined: nowhere yet, the broker is to run its own. */
export function redisAddress(config: BrokerConfig): RedisAddress | undefined {
  const { redisUrl, redisSentinels, redisCluster, redisMasterName, redisSentinelPassword } = config
  if (redisSentinels !== undefined)
    return { sentinels: redisSentinels, master: redisMasterName, sentinelPassword: redisSentinelPassword }
  if (redisCluster !== undefined) return { cluster: redisCluster }
  return redisUrl === undefined ? undefined : { url: redisUrl }
}

/** What `top` reads: how to reach a broker, as a worker does. */
export function readTopConfig(env: Env = process.env, heard: OnRead = () => {}) {
  const read = new Reader(env, heard)
  return read.finish(readReach(read))
}

const readReach = (read: Reader) => ({
  brokerUrl: read.url("BROKER_URL", ["http:", "https:"], "http://localhost:5000"),
  apiToken: read.token(),
  dataDir: read.text("DATA_DIR", ".data"),
})

export type WorkerConfig = ReturnType<typeof readWorkerConfig>

/** What a worker reads. `apiToken` undefined: it takes the one that a broker on this machine left in `dataDir`. */
export function readWorkerConfig(env: Env = process.env, heard: OnRead = () => {}) {
  const read = new Reader(env, heard)
  const queues = read
    .text("QUEUES", "default")
    .split(",")
    .map(name => name.trim())
  if (queues.length > 100 || !queues.every(name => QUEUE_NAME.test(name)))
    read.fault(
      "QUEUES must be 1 to 100 names divided by commas, each of 1 to 64 characters out of A-Z a-z 0-9 . _ -",
      [],
    )
  const name = read.text("WORKER_NAME")
  if (name !== undefined && !QUEUE_NAME.test(name))
    read.fault("WORKER_NAME must have 1 to 64 characters out of A-Z a-z 0-9 . _ -", undefined)
  return read.finish({
    ...readReach(read),
    queues,
    name,
    concurrency: read.integer("CONCURRENCY", 10, 1, 1_000),
    handlers: read.text("HANDLERS"),
    drainMs: read.integer("DRAIN_MS", 20_000, 0, 600_000),
    logLevel: read.word("LOG_LEVEL", LOG_LEVELS, "info"),
    ...readTraces(read),
  })
}

/** REDIS_URL: `redis://`, `rediss://` (TLS), or a Unix socket as `unix:///path` or a bare `/path`. */
function readRedisUrl(read: Reader): string | undefined {
  const value = read.text("REDIS_URL")
  if (value?.startsWith("/")) return value
  return read.url("REDIS_URL", ["redis:", "rediss:", "unix:"])
}

/** By the first colons, so that the token may have any of its own. */
const TOKEN_ENTRY = /^([A-Za-z0-9._-]{1,64}):([a-z+]+)(?:@([A-Za-z0-9._+-]+))?:([\x21-\x7e]+)$/
const MIN_TOKEN_LENGTH = 16

/**
 * API_TOKENS: `name:role+role@queue+queue:token`, divided by commas or white space; a line that begins with # is a
 * remark. What is wrong is told by the entry's place, as any part of it may be the token. undefined: not set.
 */
function readTokens(read: Reader, apiToken: string | undefined): ApiToken[] | undefined {
  const text = read.textOrFile("API_TOKENS")
  if (text === undefined) return undefined
  const entries = text
    .replace(/^[ \t]*#.*$/gm, "")
    .split(/[\s,]+/)
    .filter(entry => entry !== "")
  const faults = entries.length > 0 ? [] : ["there is none"]
  const places = new Map(apiToken === undefined ? [] : [[hashOf(apiToken), "API_SECRET_TOKEN"]])
  const tokens = entries.flatMap((entry, i): ApiToken[] => {
    const place = `entry ${i + 1}`
    const fault = (what: string) => {
      faults.push(`${place} ${what}`)
      return []
    }
    const [, name, roleList, queueList, secret] = TOKEN_ENTRY.exec(entry) ?? []
    if (name === undefined) return fault("has not these parts")
    const roles = roleList!.split("+")
    if (!roles.every(role => (ROLES as readonly string[]).includes(role)))
      return fault(`has a role that is none of ${ROLES.join(", ")}`)
    const queues = queueList?.split("+")
    if (queues?.some(queue => !QUEUE_NAME.test(queue))) return fault("has a queue that is no queue's name")
    const hash = /^sha256:([\da-f]{64})$/i.exec(secret!)?.[1]?.toLowerCase()
    if (hash === undefined && (secret!.startsWith("sha256:") || secret!.length < MIN_TOKEN_LENGTH))
      return fault(`ends neither in ${MIN_TOKEN_LENGTH} characters or more nor in sha256: and 64 hex digits`)
    const token = { name, roles: roles as Role[], queues, hash: hash ?? hashOf(secret!) }
    const same = places.get(token.hash)
    if (same !== undefined) return fault(`has the token of ${same}`)
    places.set(token.hash, place)
    return [token]
  })
  if (faults.length === 0) return tokens
  return read.fault(
    `API_TOKENS must be entries as name:role+role:token or name:role+role@queue+queue:token, divided by commas: ${faults.join("; ")}`,
    [],
  )
}

/** OTEL_*, by OpenTelemetry's names: its exporter reads the rest of them, as its headers and time limit, by itself. */
const readTraces = (read: Reader) => ({
  otelExporterOtlpEndpoint: read.url("OTEL_EXPORTER_OTLP_ENDPOINT", ["http:", "https:"]),
  otelServiceName: read.text("OTEL_SERVICE_NAME"),
  otelTracesSampler: read.word("OTEL_TRACES_SAMPLER", SAMPLERS, "parentbased_always_on"),
  otelTracesSamplerArg: read.ratio("OTEL_TRACES_SAMPLER_ARG", 1),
})

/** BACKOFF_*: what a failed task waits where it does not say itself; undefined: nothing. */
function readBackoff(read: Reader): Backoff | undefined {
  const kind = read.word("BACKOFF_KIND", ["none", "fixed", "exponential"], "none")
  const delay_ms = read.integer("BACKOFF_DELAY_MS", 1_000, 1, 2_592_000_000)
  const max_ms = read.integer("BACKOFF_MAX_MS", 3_600_000, 1, 2_592_000_000)
  const jitter = read.word("BACKOFF_JITTER", ["true", "false"], "true") === "true"
  return kind === "none" ? undefined : { kind, delay_ms, max_ms, jitter }
}

export const SAMPLERS = [
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
  "always_on",
  "always_off",
  "traceidratio",
] as const

export interface HostPort {
  host: string
  port: number
}

/** One server, the master that Sentinels name, or the nodes of a Cluster. */
export type RedisAddress =
  /** `redis://`, `rediss://`, `unix:///path`, or a bare `/path` of a Unix socket. */
  | { url: string }
  | { sentinels: readonly HostPort[]; master: string; sentinelPassword?: string | undefined }
  /** Some of the nodes: the others are learnt from them. */
  | { cluster: readonly HostPort[] }
