/** What an operator reads when a broker or a worker has started, or why it cannot start. */
import { join } from "node:path"
import type { BrokerConfig, RedisAddress } from "../config/config.ts"
import type { Log, LogLevel } from "../log.ts"
import type { RedisState } from "../redis/redis-state.ts"
import { paint, wantsColor, writeError } from "../terminal.ts"

/** Pages whose addresses the first log line contains. */
const PAGES = ["dashboard", "swagger", "metrics"] as const

/** What a broker reports when it listens. */
export interface Listening {
  url: string
  /** The token with all roles; undefined if there are only those of API_TOKENS. */
  token: string | undefined
  /** The address of Redis and its settings. */
  redis: RedisState & { at: string }
}

/** The fields of the first log line. `token` is the source of the token with all roles, not the token. */
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

/** The source of the broker's tokens: the variable, or the file with the token that the broker created. */
export function tokenSource({ apiToken, dataDir }: BrokerConfig, token: string | undefined): string {
  if (apiToken !== undefined) return "API_SECRET_TOKEN"
  return token === undefined ? "API_TOKENS" : join(dataDir, "token")
}

/** What a program tells its parent process when it is ready. A worker has no URL. */
export interface ReadyMessage {
  ready: true
  url?: string
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
  write: (text: string) => void = writeError,
  colored: boolean = terminal && wantsColor(process.stderr),
): void {
  log.info(message, terminal ? {} : facts)
  process.send?.({
    ready: true,
    ...(typeof facts.url === "string" && { url: facts.url }),
  } satisfies ReadyMessage)
  if (!terminal || !["debug", "info"].includes(String(facts.log_level))) return
  const width = Math.max(...Object.keys(facts).map(name => name.length))
  const lines = Object.entries(facts).map(([name, fact]) => {
    const text = Array.isArray(fact) ? fact.join(", ") : String(fact)
    const label = name.replaceAll("_", " ").padEnd(width)
    // Names of handlers are untrusted text.
    return `  ${colored ? paint("dim", label) : label}  ${text.replace(/\p{C}/gu, "?")}`
  })
  write(lines.join("\n"))
}

/** Commands to paste, for a broker that has created its own token: the operator does not know it yet. */
export function greeting(url: string, token: string): string {
  const header = `-H 'X-API-Token: ${token}'`
  const submit = (task: object) =>
    `curl -sS ${url}/submit ${header} -H 'Content-Type: application/json' -d '${JSON.stringify(task)}'`
  return `
Submit a task (start a worker with: bun run worker.ts):

  ${submit({ type: "echo", payload: { hello: "world" } })}

Submit another and show its status:

  curl -sS ${url}/status/$(${submit({ type: "add", payload: [1, 2, 3] })} | cut -d'"' -f8) ${header}

Dashboard: ${url}/dashboard (sign in with the token in the commands above)
API documentation: ${url}/swagger
`
}

/** Warnings about settings of Redis that can lose tasks, each with what to set. */
export function redisWarnings({ durability, maxmemoryPolicy, replicas, waitReplicas }: RedisState): string[] {
  const losses = {
    always: [],
    everysec: ["A power failure may lose the last second of writes to Redis: set appendfsync always"],
    no: ["A power failure may lose the last 30 seconds of writes to Redis: set appendfsync always"],
    none: [
      "Redis writes no append-only file, so a restart may lose tasks: set appendonly yes and appendfsync always",
    ],
    unknown: [
      "Redis does not report how it writes to disk: make sure that it has appendonly yes and appendfsync always",
    ],
  }[durability]
  const evictions =
    maxmemoryPolicy === "noeviction"
      ? []
      : maxmemoryPolicy === "unknown"
        ? ["Redis does not report its maxmemory-policy: make sure that it is noeviction"]
        : [
            "Redis may evict tasks when its memory is full, so /readyz answers 503: set maxmemory-policy noeviction",
          ]
  const failovers =
    waitReplicas > replicas
      ? [
          `Connected replicas: ${replicas}, fewer than WAIT_REPLICAS=${waitReplicas}: no changes are accepted until more connect`,
        ]
      : replicas > 0 && waitReplicas === 0
        ? [
            "A failover may lose changes that no replica had received: set WAIT_REPLICAS=1 and run two or more replicas",
          ]
        : []
  return [...losses, ...evictions, ...failovers]
}

/** The broker's address, as seen from this machine. */
export function urlOf(host: string, port: number): string {
  if (host === "0.0.0.0" || host === "::") return `http://localhost:${port}`
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`
}

/** The address of Redis without user name and password. */
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

/** An error that says why the port cannot be opened and what to do. */
export function listenError(
  error: unknown,
  host: string,
  port: number,
  variable: "PORT" | "METRICS_PORT" | "HEALTH_PORT" = "PORT",
): Error {
  const { code } = error as { code?: string }
  const isShortage = code === "EMFILE" || code === "ENFILE"
  // If the host is wrong, the code may be any, even EADDRINUSE.
  if (!isShortage && !canListenOn(host))
    return new Error(
      `HOST=${host} is not an address of this machine: set one of its addresses, or unset it to listen on all. ` +
        "Some programs, such as conda, set HOST to something else",
    )
  switch (code) {
    case "EADDRINUSE":
      return new Error(
        `Port ${port} is in use: stop the process that listens there, or set ${variable} to another port` +
          (variable === "PORT" ? " (0: any free port)" : ""),
      )
    case "EACCES":
      return new Error(`This user may not open port ${port}: set ${variable} to 1024 or more`)
    default:
      return error instanceof Error ? error : new Error(String(error))
  }
}

function canListenOn(hostname: string): boolean {
  try {
    void Bun.serve({ hostname, port: 0, fetch: () => new Response() }).stop(true)
    return true
  } catch {
    return false
  }
}
