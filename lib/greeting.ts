/** What an operator reads when a broker has started, or cannot. */
import type { RedisAddress } from "./redis.ts"
import type { RedisState } from "./store.ts"

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
export function whereRedisIs(address: RedisAddress): string {
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
