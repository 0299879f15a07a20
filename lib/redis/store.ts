/** Sends scripts and commands to the server that has their key, in every topology. */
import { randomUUID } from "node:crypto"
import type { HostPort } from "../config/reader.ts"
import { Refused } from "../errors.ts"
import type { Log } from "../log.ts"
import { RedisClock } from "./clock.ts"
import { type RedisTarget, topologyOf } from "./connection.ts"
import { channelIn, DATA_ID, SCHEMA, SCHEMA_VERSION } from "./keys.ts"
import { OutageLog } from "./outage-log.ts"
import { combineStates, type MasterFault, type RedisState } from "./redis-state.ts"
import { RefusalLog } from "./refusal-log.ts"
import { type Command, evaluate, type Runner, type Script, send } from "./runner.ts"
import { asRefusal, isStateOfServer, refusalBy } from "./server-errors.ts"
import { keyOn, line, type ServerState, serverState, UNKNOWN } from "./server-state.ts"
import { SharedAnswer } from "./shared-answer.ts"
import { openTopology, type Server, type Topology } from "./topology.ts"

/** How many MOVED replies a command follows. */
const MAX_MOVES = 4

export class Store implements Runner {
  readonly outages: OutageLog
  readonly clock = new RedisClock()
  readonly #topology: Topology
  readonly #onBack = new Set<() => void>()
  readonly #refusals: RefusalLog
  readonly #checks: (() => Promise<string | undefined>)[] = []
  readonly #state = new SharedAnswer(() => this.#readState())

  /** Connects, and checks the version, the mode and the layout of the data. */
  static async open(target: RedisTarget, log: Log): Promise<Store> {
    const store = new Store(target, log)
    try {
      await store.#topology.connect()
      await store.#check().catch(async error => {
        if (error instanceof Refused) await store.requireRights() // its error may be more specific
        throw error
      })
      await store.readClock().catch(() => {}) // the caller tells what this Redis lacks
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
    this.#refusals = new RefusalLog(log)
    this.outages = new OutageLog(log)
    this.#topology = openTopology(target, this.outages, () => {
      for (const listener of this.#onBack) listener()
    })
  }

  get database(): number {
    return this.#topology.database
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

  /** Publishes a hint to the brokers on this database. It never fails, because they also look without it after a while. */
  async publish(channel: string, message: string | number): Promise<void> {
    await this.command(["PUBLISH", channelIn(channel, this.database), message]).catch(() => {})
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

  /** The clock of the first master stands for all. */
  readClock(): Promise<void> {
    return this.clock.read(() => this.#topology.masters()[0]!.redis.time())
  }

  /** The facts for /readyz. Many callers share an answer. */
  state(): Promise<RedisState> {
    return this.#state.get()
  }

  /** Logs refusals from now on. Before that, they end the start of the broker, which logs them. */
  logRefusals(): void {
    this.#refusals.start()
  }

  /** Adds a check to `state`. It resolves to the missing right; undefined if there is none. */
  alsoCheck(check: () => Promise<string | undefined>): void {
    this.#checks.push(check)
  }

  /** Fails with one sentence if the Redis user lacks rights that a broker needs. */
  async requireRights(): Promise<void> {
    const { refused } = await this.state()
    if (refused?.code === "not_ready") throw new Error(refused.detail)
  }

  /** Closes after the commands in flight, but within `ms`. */
  close(ms: number): Promise<void> {
    this.#onBack.clear()
    this.#refusals.close()
    return this.#topology.close(ms)
  }

  /** Runs `work` on the server that has the key. A server that answers MOVED has run nothing, so it is safe to go on. */
  async #onOwner(key: string, work: (server: Server) => Promise<unknown>): Promise<unknown> {
    for (let moves = 0; ; moves++) {
      let server: Server | undefined
      try {
        server = this.#topology.of(key)
        return await work(server)
      } catch (error) {
        if (moves < MAX_MOVES && (await this.#topology.moved(error))) continue
        throw asRefusal(this.#cause(server, error), server?.at !== undefined)
      }
    }
  }

  /** Logs what the error of a call reveals about its server. Returns the error, or its cause if that is known. */
  #cause(server: Server | undefined, error: unknown): unknown {
    this.#state.doubt()
    if (server === undefined || !(error instanceof Error)) return error
    if (isStateOfServer(error)) this.#logRefusal(server, error)
    else if (refusalBy(error) !== undefined) void this.state().catch(() => {}) // this logs missing rights
    return this.#whyUnavailable(server, error) ?? error
  }

  /** ioredis reconnects after READONLY, because another server may be the master now. Until then it fails calls without sending them. */
  #whyUnavailable(server: Server, error: Error): Error | undefined {
    const refused = this.#refusals.errorOf(server)
    const isConnecting = error.message.includes("isn't writeable") && refused?.message.startsWith("READONLY")
    return server.whyUnavailable() ?? (isConnecting ? refused : undefined)
  }

  #logRefusal(server: Server, error: Error): void {
    this.#refusals.refused(server, error, server.at, async () => {
      // Another node of the Cluster has taken its place.
      if (!this.#topology.masters().includes(server)) return true
      const { refusal } = await this.#stateOf(server)
      return refusal === undefined
    })
  }

  #stateOf(server: Server): Promise<ServerState> {
    const key = keyOn(server, key => this.#topology.of(key))
    return serverState(server.redis, key, (this.target.waitReplicas ?? 0) > 0)
  }

  async #readState(): Promise<RedisState> {
    const masters = this.#topology.masters()
    if (masters.length === 0) throw asRefusal(new Error("CLUSTERDOWN No node is known to have any slot"))
    const states: ServerState[] = []
    const faults: MasterFault[] = []
    await Promise.all(
      masters.map(async server => {
        const { at } = server
        try {
          const state = await this.#stateOf(server)
          states.push(state)
          if (state.refusal === undefined) return
          this.#logRefusal(server, state.refusal)
          faults.push({ error: state.refusal, at })
        } catch (error) {
          if (isStateOfServer(error as Error)) this.#logRefusal(server, error as Error)
          faults.push({ error: this.#whyUnavailable(server, error as Error) ?? (error as Error), at })
        }
      }),
    )
    if (states.length === 0) throw asRefusal(faults[0]!.error)
    const missing = await Promise.all(this.#checks.map(check => check()))
    const rights = new Set(missing.filter(right => right !== undefined))
    return combineStates(this.target, masters.length, states, faults, rights)
  }

  /** Refuses servers that are too old for the scripts or hold another layout. Writes the layout number to new ones. */
  async #check(): Promise<void> {
    const { redis } = this.#topology.of(SCHEMA)
    const info = await redis.info("server").catch((error: Error) => {
      throw asRefusal(error)
    })
    const mode = line(info, "redis_mode")
    if (mode === "sentinel") throw new Error("This server is a Sentinel: set its address in REDIS_SENTINELS.")
    if (mode === "cluster" && topologyOf(this.target) !== "cluster")
      throw new Error("This server is a node of a Cluster: set its address in REDIS_CLUSTER.")
    const version = line(info, "redis_version") ?? UNKNOWN
    if (Number.parseInt(version, 10) < 7)
      throw new Error(`This server is Redis ${version}: 7.0 or newer is required.`)
    await this.markLayout()
  }

  /** The id of the data, which is created in new data. */
  async dataId(): Promise<string> {
    const found = await this.command(["GET", DATA_ID])
    if (found !== null) return String(found)
    await this.command(["SETNX", DATA_ID, randomUUID()])
    return String(await this.command(["GET", DATA_ID]))
  }

  /** Writes the layout number if there is none. Fails if the data has another layout. */
  async markLayout(): Promise<void> {
    // Write it only if it is missing: a broker must also start on a Redis that refuses writes, to finish tasks.
    if ((await this.command(["GET", SCHEMA])) === null) await this.command(["SETNX", SCHEMA, SCHEMA_VERSION])
    const found = await this.command(["GET", SCHEMA])
    if (found !== SCHEMA_VERSION)
      throw new Error(
        `This Redis holds tasks in layout ${found}, but this version reads layout ${SCHEMA_VERSION}: run the version that wrote them, or use another Redis.`,
      )
  }
}
