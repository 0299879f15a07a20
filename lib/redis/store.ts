/** Sends scripts and commands to the server that has their key, in every topology. */
import { type Redis, Command as RedisCommand } from "ioredis"
import type { HostPort } from "../config/reader.ts"
import type { Log } from "../log.ts"
import { DURABILITIES } from "../wire/operating.ts"
import { type RedisTarget, type TopologyKind, topologyOf } from "./connection.ts"
import { asRefusal } from "./faults.ts"
import { SCHEMA, SCHEMA_VERSION } from "./keys.ts"
import type { Command } from "./replicated.ts"
import { openTopology, type Server, type Topology } from "./topology.ts"

export interface Script {
  text: string
  sha: string
}

/** Runs scripts. All `keys` are in one slot. `mustReplicate`: a client is told the result, so the writes must not be lost. */
export interface Runner {
  run(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    mustReplicate: boolean,
  ): Promise<unknown>
}

/** Reports the duration of each script in seconds, also if it fails. */
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

/** How many MOVED replies a command follows. */
const MAX_MOVES = 4

export interface RedisState {
  version: string
  maxmemoryPolicy: string
  /** What survives a power cut with the current settings of Redis. */
  durability: (typeof DURABILITIES)[number]
  topology: TopologyKind
  /** How many replicas are connected. In a Cluster: to the master with the fewest. */
  replicas: number
  /** How many replicas must confirm a change before it is answered. */
  waitReplicas: number
}

export class Store implements Runner {
  readonly #topology: Topology
  readonly #onBack = new Set<() => void>()

  /** Connects, and checks the version, the mode and the layout of the data. */
  static async open(target: RedisTarget, log: Log): Promise<Store> {
    const store = new Store(target, log)
    try {
      await store.#topology.connect()
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
    this.#topology = openTopology(target, log, () => {
      for (const listener of this.#onBack) listener()
    })
  }

  /** Calls the listener when an unavailable server is available again or was replaced. */
  onBack(listener: () => void): void {
    this.#onBack.add(listener)
  }

  /** The known nodes of a Cluster. */
  nodes(): readonly HostPort[] {
    return this.#topology.nodes()
  }

  run(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    mustReplicate: boolean,
  ): Promise<unknown> {
    return this.#onOwner(keys[0]!, ({ redis, replicated }) =>
      evaluate(script, keys, args, command =>
        mustReplicate && replicated ? replicated.run(command) : send(redis, command),
      ),
    )
  }

  /** Runs one command. Its first argument is its key. `mustReplicate`: as for scripts. */
  command(command: Command, mustReplicate = false): Promise<unknown> {
    return this.#onOwner(String(command[1]), ({ redis, replicated }) =>
      mustReplicate && replicated ? replicated.run(command) : send(redis, command),
    )
  }

  /** The matching keys of all masters, in batches. A key that is created during the scan may be missing; any may come twice. */
  async *keys(pattern: string, count: number): AsyncGenerator<string[]> {
    for (const { redis } of this.#topology.masters())
      for (let cursor = "0", first = true; first || cursor !== "0"; first = false) {
        const [next, keys] = await redis.scan(cursor, "MATCH", pattern, "COUNT", count).catch(error => {
          throw asRefusal(error)
        })
        cursor = next
        yield keys
      }
  }

  /** The facts for /readyz. Of several masters, the weakest counts. */
  async state(): Promise<RedisState> {
    try {
      const states = await Promise.all(this.#topology.masters().map(({ redis }) => serverState(redis)))
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
          durability => DURABILITIES.indexOf(durability),
        ),
        replicas: worst(state => state.replicas, Number),
        topology: topologyOf(this.target),
        waitReplicas: this.target.waitReplicas ?? 0,
      }
    } catch (error) {
      throw asRefusal(error)
    }
  }

  /** Closes after the commands in flight, but within `ms`. */
  close(ms: number): Promise<void> {
    this.#onBack.clear()
    return this.#topology.close(ms)
  }

  /** Runs `work` on the server that has the key. A server that answers MOVED has run nothing, so it is safe to go on. */
  async #onOwner(key: string, work: (server: Server) => Promise<unknown>): Promise<unknown> {
    for (let moves = 0; ; moves++)
      try {
        return await work(this.#topology.of(key))
      } catch (error) {
        if (moves === MAX_MOVES || !(await this.#topology.moved(error))) throw asRefusal(error)
      }
  }

  /** Refuses servers that are too old for the scripts or hold another layout. Writes the layout number to new ones. */
  async #check(): Promise<void> {
    const info = await this.#topology.masters()[0]!.redis.info("server")
    const mode = line(info, "redis_mode")
    if (mode === "sentinel") throw new Error("This server is a Sentinel: set its address in REDIS_SENTINELS.")
    if (mode === "cluster" && topologyOf(this.target) !== "cluster")
      throw new Error("This server is a node of a Cluster: set its address in REDIS_CLUSTER.")
    const { version } = await this.state()
    if (Number.parseInt(version, 10) < 7)
      throw new Error(`This server is Redis ${version}: 7.0 or newer is required.`)
    // Write it only if it is missing: a broker must also start on a Redis that refuses writes, to finish tasks.
    if ((await this.command(["GET", SCHEMA])) === null) await this.command(["SETNX", SCHEMA, SCHEMA_VERSION])
    const found = await this.command(["GET", SCHEMA])
    if (found !== SCHEMA_VERSION)
      throw new Error(
        `This Redis holds tasks in layout ${found}, but this version reads layout ${SCHEMA_VERSION}: run the version that wrote them, or use another Redis.`,
      )
  }
}

/** Runs scripts on one connection. */
export const onOneConnection = (redis: Redis): Runner => ({
  run: (script, keys, args) => evaluate(script, keys, args, command => send(redis, command)),
})

/** Like `redis.call`, but without three copies of the arguments. */
const send = (redis: Redis, [name, ...args]: Command) =>
  redis.sendCommand(new RedisCommand(name, args, { replyEncoding: "utf8" })) as Promise<unknown>

/** Runs a script by its hash. If Redis does not know it, it has run nothing, and the text is sent. */
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

/** The value of a line of INFO. */
const line = (info: string, name: string) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1]

/** Uses only INFO and CONFIG GET. */
async function serverState(redis: Redis): Promise<ServerState> {
  // INFO is also answered before the connection is usable and while Redis loads its data. GET is not.
  await redis.get(SCHEMA).catch((error: Error) => {
    if (!error.message.startsWith("MOVED")) throw error
  })
  const info = await redis.info()
  // Managed servers may refuse CONFIG. INFO has the policy and whether there is an AOF, but not appendfsync.
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
