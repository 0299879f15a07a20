/** What an operator reads when a broker or a worker has started, or cannot. */
import { join } from "node:path"
import type { BrokerConfig, RedisAddress } from "../config/config.ts"
import type { Log, LogLevel } from "../log.ts"
import type { RedisState } from "../redis/store.ts"

/** What there is to open in a browser, or to point something at. */
const PAGES = ["dashboard", "swagger", "metrics"] as const

/** What a broker tells of itself once it listens. */
export interface Listening {
  url: string
  /** That of all roles; undefined where there are only those of API_TOKENS. */
  token: string | undefined
  /** Where Redis is, and how it is set. */
  redis: RedisState & { at: string }
}

/** Where everything of a broker is. `token`: where the one of all roles comes from. */
export const brokerFacts = (
  url: string,
  redis: RedisState & { at: string },
  token: string,
  level: LogLevel,
) => ({
  url,
  ...Object.fromEntries(PAGES.map(page => [page, `${url}/${page}`])),
  redis: redis.at,
  redis_version: redis.version,
  durability: redis.durability,
  topology: redis.topology,
  replicas: redis.replicas,
  wait_replicas: redis.waitReplicas,
  token,
  log_level: level,
})

/** Where the token is that has all roles, of a broker that has one. */
export function tokenSource({ apiToken, dataDir }: BrokerConfig, token: string | undefined): string {
  if (apiToken !== undefined) return "API_SECRET_TOKEN"
  return token === undefined ? "API_TOKENS" : join(dataDir, "token")
}

/**
 * Logs that this program is ready, and tells its parent process if it has an IPC channel to one. The facts are members
 * of the log line; on a terminal each has a line of its own, which is easier to read.
 */
export function announce(
  log: Log,
  message: string,
  facts: Readonly<Record<string, unknown>>,
  terminal: boolean = process.stderr.isTTY === true,
  // Not in red, which console.error would write in.
  write: (text: string) => void = text => console.error(`\x1b[0m${text}`),
): void {
  log.info(message, terminal ? {} : facts)
  process.send?.({ ready: true })
  if (!terminal || !["debug", "info"].includes(String(facts.log_level))) return
  const width = Math.max(...Object.keys(facts).map(name => name.length))
  const lines = Object.entries(facts).map(([name, fact]) => {
    const text = Array.isArray(fact) ? fact.join(", ") : String(fact)
    // Names of handlers are a stranger's.
    return `  ${name.replaceAll("_", " ").padEnd(width)}  ${text.replace(/\p{C}/gu, "?")}`
  })
  write(lines.join("\n"))
}

/** Lines to paste as they are, for a broker whose token is its own: nobody knows that token yet. */
export function greeting(url: string, token: string): string {
  const asked = `-H 'X-API-Token: ${token}'`
  const submit = (task: object) =>
    `curl -sS ${url}/submit ${asked} -H 'Content-Type: application/json' -d '${JSON.stringify(task)}'`
  return `
Submit a task, which a worker does (bun run worker.ts, where none runs yet):

  ${submit({ type: "echo", payload: { hello: "world" } })}

Submit one and see what came of it:

  curl -sS ${url}/status/$(${submit({ type: "add", payload: [1, 2, 3] })} | cut -d'"' -f8) ${asked}

See and steer it in a browser, with that token: ${url}/dashboard
All requests, to try out in a browser: ${url}/swagger
`
}

/** What this Redis may lose, where its settings let it; what to set is named. */
export function redisWarnings({ durability, maxmemoryPolicy, replicas, waitReplicas }: RedisState): string[] {
  const losses = {
    always: [],
    everysec: ["A power cut may lose what Redis was told in its last second: set appendfsync always"],
    no: ["A power cut may lose what Redis was told in its last half minute: set appendfsync always"],
    none: [
      "Redis keeps no append-only file, so its end may lose tasks: set appendonly yes and appendfsync always",
    ],
    unknown: ["Redis does not say how it writes to disk: make sure of appendonly yes and appendfsync always"],
  }[durability]
  const evictions =
    maxmemoryPolicy === "noeviction"
      ? []
      : [
          "Redis may evict tasks when its memory is full, and /readyz says 503: set maxmemory-policy noeviction",
        ]
  const failovers =
    waitReplicas > replicas
      ? [
          `Redis has ${replicas} replicas connected and WAIT_REPLICAS=${waitReplicas}: nothing is accepted before there are more`,
        ]
      : replicas > 0 && waitReplicas === 0
        ? [
            "A failover may lose what the replicas had not got yet: set WAIT_REPLICAS=1, with two replicas or more",
          ]
        : []
  return [...losses, ...evictions, ...failovers]
}

/** How this machine reaches the broker. */
export function urlOf(host: string, port: number): string {
  if (host === "0.0.0.0" || host === "::") return `http://localhost:${port}`
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`
}

/** Where Redis is, without the password that its address may hold. */
export function redisLocation(address: RedisAddress): string {
  if (!("url" in address))
    return ("sentinels" in address ? address.sentinels : address.cluster)
      .map(({ host, port }) => `${host}:${port}`)
      .join(",")
  if (!/^rediss?:/.test(address.url)) return address.url
  const url = new URL(address.url)
  url.username = ""
  url.password = ""
  url.search = ""
  return url.href
}

/** Why the port could not be had, as what to do about it. */
export function listenError(
  error: unknown,
  host: string,
  port: number,
  variable: "PORT" | "METRICS_PORT" = "PORT",
): Error {
  switch ((error as { code?: string }).code) {
    case "EADDRINUSE":
      return new Error(
        `Port ${port} is in use: end what listens there, or set ${variable} to another` +
          (variable === "PORT" ? " (0: any that is free)" : ""),
      )
    case "EACCES":
      return new Error(`Port ${port} is not for this user: set ${variable} to one of 1024 or more`)
    case "EADDRNOTAVAIL":
    case "EINVAL":
      return new Error(
        `HOST=${host} is not an address of this machine: set it to one, or leave it out for all`,
      )
    default:
      return error instanceof Error ? error : new Error(String(error))
  }
}
