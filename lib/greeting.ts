/** What an operator reads when a broker has started, or cannot. */
import type { RedisState } from "./redis.ts"

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

All requests, to try out in a browser: ${url}/swagger
`
}

/** What this Redis may lose, where its settings let it; what to set is named. */
export function redisWarnings({ durability, maxmemoryPolicy }: RedisState): string[] {
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
  return [...losses, ...evictions]
}

/** How this machine reaches the broker. */
export function urlOf(host: string, port: number): string {
  if (host === "0.0.0.0" || host === "::") return `http://localhost:${port}`
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`
}

/** Where Redis is, without the password that its address may hold. */
export function withoutPassword(redisUrl: string): string {
  if (!/^rediss?:/.test(redisUrl)) return redisUrl
  const url = new URL(redisUrl)
  url.username = ""
  url.password = ""
  url.search = ""
  return url.href
}

/** Why the port could not be had, as what to do about it. */
export function cannotListen(error: unknown, host: string, port: number): Error {
  switch ((error as { code?: string }).code) {
    case "EADDRINUSE":
      return new Error(
        `Port ${port} is in use: end what listens there, or set PORT to another (0: any that is free)`,
      )
    case "EACCES":
      return new Error(`Port ${port} is not for this user: set PORT to one of 1024 or more`)
    case "EADDRNOTAVAIL":
    case "EINVAL":
      return new Error(
        `HOST=${host} is not an address of this machine: set it to one, or leave it out for all`,
      )
    default:
      return error instanceof Error ? error : new Error(String(error))
  }
}
