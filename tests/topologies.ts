/** Whole set-ups of Redis for tests, on ports of their own: a master with replicas and Sentinels, and a Cluster. */
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { Redis } from "ioredis"
import type { HostPort } from "../lib/redis.ts"
import { freePort, Process, until } from "./processes.ts"

const HOST = "127.0.0.1"

export interface TopologyOptions {
  /** "no" keeps no file at all, so a restart is empty. */
  aof?: "always" | "everysec" | "no"
  /** What servers and Sentinels ask of who connects. */
  password?: string
  /** How long a server is silent before it counts as down. */
  downAfterMs?: number
}

/** One server process, which can be hurt and brought back. */
export class RedisNode implements AsyncDisposable {
  #process: Process | undefined

  constructor(
    readonly port: number,
    private readonly cmd: readonly string[],
    private readonly password?: string,
  ) {}

  get at(): HostPort {
    return { host: HOST, port: this.port }
  }

  get pid(): number {
    return this.#process!.pid
  }

  async start(args: readonly string[] = []): Promise<this> {
    const process = new Process({ cmd: [...this.cmd, ...args] })
    this.#process = process
    await until(`a server listens on ${this.port}`, async () => {
      if (!process.running) throw new Error(`It ended: ${process.stdout}${process.stderr}`)
      return this.call("PING").then(
        () => true,
        (error: Error) => error.message.startsWith("MASTERDOWN"),
      )
    })
    return this
  }

  /** One command, on a connection of its own. */
  async call(name: string, ...args: (string | number)[]): Promise<unknown> {
    const redis = new Redis({
      ...this.at,
      ...(this.password !== undefined && { password: this.password }),
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
      enableReadyCheck: false,
    })
    redis.on("error", () => {}) // the command says so itself
    try {
      return await redis.call(name, ...args)
    } finally {
      redis.disconnect()
    }
  }

  kill9(): Promise<void> {
    return this.#process!.kill9()
  }

  freeze(): void {
    this.#process!.signal("SIGSTOP")
  }

  thaw(): void {
    this.#process!.signal("SIGCONT")
  }

  /**
   * Starts it again on the same files, after a crash if it runs. A master that was replaced takes itself for one
   * again for ten seconds, until a Sentinel tells it: `replicaOf` says so at once.
   */
  async restart(replicaOf?: RedisNode): Promise<void> {
    await this.kill9()
    await this.start(replicaOf && ["--replicaof", `${HOST} ${replicaOf.port}`])
  }

  async [Symbol.asyncDispose]() {
    await this.#process?.kill9()
  }
}

/** Resolves when so many replicas have all that this master has. */
const inStep = (master: RedisNode, replicas: number): Promise<void> =>
  until(`${replicas} replicas`, async () => Number(await master.call("WAIT", replicas, 500)) >= replicas)

/** Resolves when so many replicas of an empty master confirm at once what is new: not in their first second. */
async function confirming(master: RedisNode, replicas: number): Promise<void> {
  let key = 0
  await until(`${replicas} replicas that confirm`, async () => {
    // In a Cluster it may take some keys to find one of this node's.
    while (!(await master.call("INCR", key).catch(() => false))) key++
    return Number(await master.call("WAIT", replicas, 50)) >= replicas
  })
  await master.call("FLUSHALL")
}

/** A server, not yet started. */
function redisNode(
  dir: string,
  { aof = "no", password }: TopologyOptions,
  args: readonly string[] = [],
): RedisNode {
  const port = freePort()
  const cmd = [
    ...["redis-server", "--dir", dir, "--bind", HOST, "--port", `${port}`, "--save", ""],
    ...["--appendonly", aof === "no" ? "no" : "yes", "--appendfsync", aof, "--appenddirname", `aof-${port}`],
    ...["--dbfilename", `${port}.rdb`, "--repl-diskless-sync-delay", "0", "--maxmemory-policy", "noeviction"],
    ...(password === undefined ? [] : ["--requirepass", password, "--masterauth", password]),
    ...args,
  ]
  return new RedisNode(port, cmd, password)
}

/** A directory, and what stands in it: all ended, then removed. */
async function place() {
  const all = new AsyncDisposableStack()
  const dir = await mkdtemp("/tmp/tq-topology-")
  all.defer(() => rm(dir, { recursive: true, force: true }))
  return { all, dir }
}

export interface SentinelTrio extends AsyncDisposable {
  readonly sentinels: readonly RedisNode[]
  /** The first is the master at the start. */
  readonly servers: readonly RedisNode[]
  /** Whom the Sentinels name now. */
  master(): Promise<RedisNode>
  /** Resolves when they name another than this one. */
  promoted(old: RedisNode): Promise<RedisNode>
  /** Resolves when the master has so many replicas. */
  replicated(replicas: number): Promise<void>
}

/** A master, two replicas and three Sentinels that watch over them as `mymaster`. */
export async function sentinelTrio(options: TopologyOptions = {}): Promise<SentinelTrio> {
  const { all, dir } = await place()
  try {
    const first = redisNode(dir, options)
    const replicaOf = ["--replicaof", `${HOST} ${first.port}`]
    const servers = [first, redisNode(dir, options, replicaOf), redisNode(dir, options, replicaOf)]
    for (const each of servers) all.use(each)
    await first.start()
    await Promise.all(servers.slice(1).map(each => each.start()))
    await confirming(first, 2)

    // Told of each other at the start, as they would take seconds to find out.
    const ids = [1, 2, 3].map(n => `${n}`.repeat(40))
    const ports = ids.map(freePort)
    const known = (mine: number) => [
      ...servers.slice(1).map(({ port }) => `sentinel known-replica mymaster ${HOST} ${port}`),
      ...ports.flatMap((port, i) =>
        i === mine ? [] : [`sentinel known-sentinel mymaster ${HOST} ${port} ${ids[i]}`],
      ),
    ]
    const { password } = options
    const secrets =
      password === undefined
        ? []
        : [
            `requirepass ${password}`,
            `sentinel sentinel-pass ${password}`,
            `sentinel auth-pass mymaster ${password}`,
          ]
    const sentinels = await Promise.all(
      ports.map(async (port, i) => {
        const path = `${dir}/sentinel-${port}.conf`
        const lines = [
          `bind ${HOST}`,
          `port ${port}`,
          `dir ${dir}`,
          `sentinel myid ${ids[i]}`,
          `sentinel monitor mymaster ${HOST} ${first.port} 2`,
          `sentinel down-after-milliseconds mymaster ${options.downAfterMs ?? 700}`,
          "sentinel failover-timeout mymaster 5000",
          "sentinel parallel-syncs mymaster 2",
          ...secrets,
          ...known(i),
        ]
        await writeFile(path, `${lines.join("\n")}\n`)
        return all.use(new RedisNode(port, ["redis-server", path, "--sentinel"], password)).start()
      }),
    )
    const quorum = (each: RedisNode) =>
      each.call("SENTINEL", "CKQUORUM", "mymaster").then(
        () => true,
        () => false,
      )
    await until("a quorum", async () => (await Promise.all(sentinels.map(quorum))).every(Boolean))

    const master = async () => {
      const named = await Promise.any(
        sentinels.map(each => each.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")),
      )
      return servers.find(({ port }) => `${port}` === (named as string[])[1])!
    }
    return {
      ...{ servers, sentinels, master },
      async promoted(old) {
        let now = old
        await until("another master", async () => {
          now = await master()
          return now !== old
        })
        return now
      },
      replicated: async replicas => inStep(await master(), replicas),
      [Symbol.asyncDispose]: () => all.disposeAsync(),
    }
  } catch (error) {
    await all.disposeAsync()
    throw error
  }
}

export interface RedisCluster extends AsyncDisposable {
  /** Three masters, then a replica of each in the same order. */
  readonly nodes: readonly RedisNode[]
  /** Who has this slot, as a node says that is not `but`. */
  owner(slot: number, but?: RedisNode): Promise<RedisNode | undefined>
  /** Resolves when another than this one has the slot. */
  promoted(old: RedisNode, slot: number): Promise<RedisNode>
}

/** A Cluster of three masters with a replica each. */
export async function redisCluster(options: TopologyOptions = {}): Promise<RedisCluster> {
  const { all, dir } = await place()
  try {
    const buses = Array.from({ length: 6 }, freePort)
    const nodes = buses.map(bus =>
      redisNode(dir, options, [
        ...[
          "--cluster-enabled",
          "yes",
          "--cluster-config-file",
          `nodes-${bus}.conf`,
          "--cluster-port",
          `${bus}`,
        ],
        ...["--cluster-node-timeout", `${options.downAfterMs ?? 1_000}`, "--cluster-announce-ip", HOST],
      ]),
    )
    await Promise.all(nodes.map(each => all.use(each).start()))
    const ids = await Promise.all(nodes.map(async each => String(await each.call("CLUSTER", "MYID"))))
    await Promise.all(nodes.map((each, i) => each.call("CLUSTER", "SET-CONFIG-EPOCH", i + 1)))
    await Promise.all(
      [0, 1, 2].map(i =>
        nodes[i]!.call(
          "CLUSTER",
          "ADDSLOTSRANGE",
          Math.ceil((i * 16_384) / 3),
          Math.ceil(((i + 1) * 16_384) / 3) - 1,
        ),
      ),
    )
    for (const [i, each] of nodes.entries())
      if (i > 0) await nodes[0]!.call("CLUSTER", "MEET", HOST, each.port, buses[i]!)
    const says = (each: RedisNode, what: string) =>
      each.call("CLUSTER", "INFO").then(info => String(info).includes(what))
    const everyone = (what: string) =>
      until(`every node says ${what}`, async () =>
        (await Promise.all(nodes.map(each => says(each, what)))).every(Boolean),
      )
    await everyone("cluster_known_nodes:6\r")
    for (const i of [0, 1, 2])
      await until("a replica", () =>
        nodes[i + 3]!.call("CLUSTER", "REPLICATE", ids[i]!).then(
          () => true,
          () => false,
        ),
      )
    await everyone("cluster_state:ok")
    await Promise.all(nodes.slice(0, 3).map(each => confirming(each, 1)))
    const owner = async (slot: number, but?: RedisNode) => {
      const table = await Promise.any(
        nodes.filter(each => each !== but).map(each => each.call("CLUSTER", "SLOTS")),
      )
      const range = (table as [number, number, [string, number]][]).find(
        ([from, to]) => slot >= from && slot <= to,
      )
      return nodes.find(({ port }) => port === range?.[2][1])
    }
    return {
      ...{ nodes, owner },
      async promoted(old, slot) {
        let now: RedisNode | undefined
        await until("another master", async () => {
          now = await owner(slot, old)
          return now !== undefined && now !== old
        })
        return now!
      },
      [Symbol.asyncDispose]: () => all.disposeAsync(),
    }
  } catch (error) {
    await all.disposeAsync()
    throw error
  }
}
