/** Redis as the queue sees it: scripts and commands by the key they are about, wherever that key is. */
import { type Redis, Command as RedisCommand } from "ioredis"
import type { HostPort } from "../config/reader.ts"
import type { Log } from "../log.ts"
import { type RedisTarget, type Topology, topologyOf } from "./connection.ts"
import { asRefusal } from "./faults.ts"
import { SCHEMA, SCHEMA_VERSION } from "./keys.ts"
import type { Command } from "./replicated.ts"
import { type Server, type Servers, serversOf } from "./topology.ts"

export interface Script {
  text: string
  sha: string
}

/** Runs scripts. All `keys` are in one slot. `mustReplicate`: a caller is answered, so the writes must not be lost. */
export interface Runner {
  run(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    mustReplicate: boolean,
  ): Promise<unknown>
}

/** Tells how long each script took, in seconds, be it refused or not. */
export const timed = (runner: Runner, took: (seconds: number) => void): Runner => ({
  async run(...call) {
    const from = performance.now()
    try {
      return await runner.run(...call)
    } finally {
      took((performance.now() - from) / 1_000)
    }
  },
})

/** How often a command may be sent to where its key is said to have moved. */
const MAX_MOVES = 4

const DURABILITIES = ["none", "no", "unknown", "everysec", "always"] as const

export interface RedisState {
  version: string
  maxmemoryPolicy: string
  /** What survives a power cut, as Redis is set now. */
  durability: (typeof DURABILITIES)[number]
  topology: Topology
  /** How many replicas are connected. Of a Cluster: to the master that has fewest. */
  replicas: number
  /** How many replicas a change must have reached before it is answered. */
  waitReplicas: number
}

export class Store implements Runner {
  readonly #servers: Servers
  readonly #onBack = new Set<() => void>()

  /** Connects, and checks that this Redis is one to work on. */
  static async open(target: RedisTarget, log: Log): Promise<Store> {
    const store = new Store(target, log)
    try {
      await store.#servers.connect()
      await store.#check()
    } catch (error) {
      await store.close(0)
      throw error
    }
    return store
  }

  private constructor(
    private readonly target: RedisTarget,
    log: Log,
  ) {
    this.#servers = serversOf(target, log, () => {
      for (const listener of this.#onBack) listener()
    })
  }

  /** Runs when a server that was away is there again, or another has taken its place. */
  onBack(listener: () => void): void {
    this.#onBack.add(listener)
  }

  /** All nodes of a Cluster that are known now. */
  nodes(): readonly HostPort[] {
    return this.#servers.nodes()
  }

  run(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    mustReplicate: boolean,
  ): Promise<unknown> {
    return this.#at(keys[0]!, ({ redis, replicated }) =>
      evaluate(script, keys, args, command =>
        mustReplicate && replicated ? replicated.run(command) : send(redis, command),
      ),
    )
  }

  /** One command, about the key that is its first argument. `mustReplicate`: as for scripts. */
  command(command: Command, mustReplicate = false): Promise<unknown> {
    return this.#at(String(command[1]), ({ redis, replicated }) =>
      mustReplicate && replicated ? replicated.run(command) : send(redis, command),
    )
  }

  /** The keys that match, of every master, some at a time. One that comes meanwhile may be missed, any may come twice. */
  async *keys(pattern: string, count: number): AsyncGenerator<string[]> {
    for (const { redis } of this.#servers.masters())
      for (let cursor = "0", first = true; first || cursor !== "0"; first = false) {
        const [next, keys] = await redis.scan(cursor, "MATCH", pattern, "COUNT", count).catch(error => {
          throw asRefusal(error)
        })
        cursor = next
        yield keys
      }
  }

  /** What an operator must know: of several masters the weakest counts. */
  async state(): Promise<RedisState> {
    try {
      const states = await Promise.all(this.#servers.masters().map(({ redis }) => serverState(redis)))
      if (states.length === 0) throw new Error("CLUSTERDOWN No node is known to have any slot")
      const worst = <T>(of: (state: ServerState) => T, rank: (value: T) => number) =>
        states.map(of).reduce((a, b) => (rank(b) < rank(a) ? b : a))
      return {
        version: worst(
          state => state.version,
          version => Number.parseFloat(version),
        ),
        maxmemoryPolicy: worst(
          state => state.maxmemoryPolicy,
          policy => (policy === "noeviction" ? 1 : 0),
        ),
        durability: worst(
          state => state.durability,
          word => DURABILITIES.indexOf(word),
        ),
        replicas: worst(state => state.replicas, Number),
        topology: topologyOf(this.target),
        waitReplicas: this.target.waitReplicas ?? 0,
      }
    } catch (error) {
      throw asRefusal(error)
    }
  }

  /** Behind what is under way, but not longer than `ms`. */
  close(ms: number): Promise<void> {
    this.#onBack.clear()
    return this.#servers.close(ms)
  }

  /** Does this where the key is. A server that says MOVED has run nothing, so it is safe to ask the next. */
  async #at(key: string, work: (server: Server) => Promise<unknown>): Promise<unknown> {
    for (let moves = 0; ; moves++)
      try {
        return await work(this.#servers.of(key))
      } catch (error) {
        if (moves === MAX_MOVES || !(await this.#servers.moved(error))) throw asRefusal(error)
      }
  }

  /** Refuses servers too old for the scripts, or with keys that another version has laid out; marks new ones. */
  async #check(): Promise<void> {
    const info = await this.#servers.masters()[0]!.redis.info("server")
    const mode = line(info, "redis_mode")
    if (mode === "sentinel") throw new Error("This is a Sentinel: name it in REDIS_SENTINELS.")
    if (mode === "cluster" && topologyOf(this.target) !== "cluster")
      throw new Error("This Redis is a node of a Cluster: name it in REDIS_CLUSTER.")
    const { version } = await this.state()
    if (Number.parseInt(version, 10) < 7)
      throw new Error(`Redis here is ${version}: the scripts need 7.0 or newer.`)
    // Written only where it is missing: a broker must start, to finish tasks, on a Redis that takes no writes.
    if ((await this.command(["GET", SCHEMA])) === null) await this.command(["SETNX", SCHEMA, SCHEMA_VERSION])
    const found = await this.command(["GET", SCHEMA])
    if (found !== SCHEMA_VERSION)
      throw new Error(
        `This Redis holds tasks in layout ${found}, and this version reads layout ${SCHEMA_VERSION}: run the version that wrote it, or another Redis.`,
      )
  }
}

/** Runs scripts on this one connection. */
export const onOneConnection = (redis: Redis): Runner => ({
  run: (script, keys, args) => evaluate(script, keys, args, command => send(redis, command)),
})

/** As `redis.call` does, which copies the arguments three times more. */
const send = (redis: Redis, [name, ...args]: Command) =>
  redis.sendCommand(new RedisCommand(name, args, { replyEncoding: "utf8" })) as Promise<unknown>

/** By its hash; with its text where Redis does not know it (yet, or any more), which has run nothing then. */
async function evaluate(
  script: Script,
  keys: readonly string[],
  args: readonly (string | number)[],
  run: (command: Command) => Promise<unknown>,
): Promise<unknown> {
  try {
    return await run(["EVALSHA", script.sha, keys.length, ...keys, ...args])
  } catch (error) {
    if (!(error instanceof Error && error.message.startsWith("NOSCRIPT"))) throw error
    return await run(["EVAL", script.text, keys.length, ...keys, ...args])
  }
}

type ServerState = Omit<RedisState, "topology" | "waitReplicas">

/** A line of what INFO answered. */
const line = (info: string, name: string) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1]

/** Asks only INFO and CONFIG GET. */
async function serverState(redis: Redis): Promise<ServerState> {
  // INFO alone is answered before the connection can be used, and all the while Redis reads its data at start.
  await redis.get(SCHEMA).catch((error: Error) => {
    if (!error.message.startsWith("MOVED")) throw error
  })
  const info = await redis.info()
  // Managed servers may refuse CONFIG: INFO tells the policy and whether there is an AOF, not its fsync.
  const fsync = await redis.config("GET", "appendfsync").then(
    reply => (reply as string[])[1],
    () => "unknown",
  )
  return {
    version: line(info, "redis_version") ?? "unknown",
    maxmemoryPolicy: line(info, "maxmemory_policy") ?? "unknown",
    durability: line(info, "aof_enabled") === "1" ? (fsync as RedisState["durability"]) : "none",
    replicas: info.match(/^slave\d+:.*state=online/gm)?.length ?? 0,
  }
}
