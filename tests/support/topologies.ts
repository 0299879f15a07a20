/** Whole set-ups of Redis for tests, on ports of their own: a master with replicas and Sentinels, and a Cluster. */
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { Redis } from "ioredis"
import type { HostPort } from "../../lib/config/config.ts"
import { freePort, Process, until } from "./processes.ts"

const HOST = "127.0.0.1"
/**
 * A Sentinel pings once a second, and after each failover it connects anew: where a server counts as down any sooner,
 * one failover is at times followed by a second from a master that is well.
 */
const DOWN_AFTER_MS = 1_500
/** How long a server may take to answer one command. */
const ANSWER_MS = 3_000

export interface TopologyOptions {
  /** "no" keeps no file at all, so a restart is empty. */
  aof?: "always" | "everysec" | "no"
  /** What servers and Sentinels ask of who connects. */
  password?: string
  /** How long a server is silent before it counts as down. */
  downAfterMs?: number
  /** Of each master; 2 with Sentinels and 1 in a Cluster, where it is not said. */
  replicas?: number
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

  /** One command, on a connection of its own. Whoever is frozen does not answer: it is given up soon. */
  async call(name: string, ...args: (string | number)[]): Promise<unknown> {
    const redis = new Redis({
      ...this.at,
      ...(this.password !== undefined && { password: this.password }),
      retryStrategy: () => null,
      connectTimeout: ANSWER_MS,
      commandTimeout: ANSWER_MS,
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

  /** Throws out its replicas and the Sentinels, and lets them in no more: its clients notice nothing. */
  async cutOff(from: readonly (typeof INSIDERS)[number][] = INSIDERS): Promise<void> {
    for (const name of from) await this.call("ACL", "SETUSER", name, "off")
    for (const name of from) await this.call("CLIENT", "KILL", "USER", name)
  }

  /** As a replica: hears no more of this master, and cannot come back to it. */
  async leave(master: RedisNode): Promise<void> {
    await this.call("CONFIG", "SET", "masteruser", "nobody")
    const link = String(await this.call("CLIENT", "LIST", "TYPE", "master"))
    await master.call("CLIENT", "KILL", "ADDR", / laddr=(\S+)/.exec(link)![1]!)
  }

  async letIn(): Promise<void> {
    for (const name of INSIDERS) await this.call("ACL", "SETUSER", name, "on")
  }

  /** Of a server that cannot be asked: none. */
  async role(): Promise<"master" | "in step" | "behind" | "none"> {
    const [role, , , link] = (await this.call("ROLE").catch(() => ["none"])) as string[]
    if (role === "slave") return link === "connected" ? "in step" : "behind"
    return role === "master" ? "master" : "none"
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

/** Resolves when so many replicas have all that the master has: who that is, is asked each time. */
const inStep = (master: () => Promise<RedisNode>, replicas: number): Promise<void> =>
  until(`${replicas} replicas`, async () => {
    const reached = await (await master()).call("WAIT", replicas, 500).catch(() => 0)
    return Number(reached) >= replicas
  })

/** A server that takes itself for a master is told otherwise by Sentinels after ten seconds. */
const WHOLE_MS = 60_000

/** Whether there are so many masters among these, and all others are their replicas. */
async function inPlace(nodes: readonly RedisNode[], masters: number): Promise<boolean> {
  const roles = await Promise.all(nodes.map(each => each.role()))
  const count = (role: string) => roles.filter(each => each === role).length
  return count("master") === masters && count("in step") === nodes.length - masters
}

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

/**
 * Whom replicas and Sentinels log in as where there is a password, so that a master can be cut off from either while
 * its clients still reach it.
 */
const INSIDERS = ["replica", "sentinel"] as const

/** A server, not yet started. */
function redisNode(
  dir: string,
  { aof = "no", password }: TopologyOptions,
  args: readonly string[] = [],
): RedisNode {
  const port = freePort()
  const cmd = [
    "redis-server",
    "--dir",
    dir,
    "--bind",
    HOST,
    "--port",
    `${port}`,
    "--save",
    "",
    "--appendonly",
    aof === "no" ? "no" : "yes",
    "--appendfsync",
    aof,
    "--appenddirname",
    `aof-${port}`,
    "--dbfilename",
    `${port}.rdb`,
    "--repl-diskless-sync-delay",
    "0",
    "--maxmemory-policy",
    "noeviction",
    ...(password === undefined
      ? []
      : [
          "--requirepass",
          password,
          "--masteruser",
          "replica",
          "--masterauth",
          password,
          ...INSIDERS.flatMap(name => ["--user", name, "on", `>${password}`, "~*", "&*", "+@all"]),
        ]),
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
  /** Whom all Sentinels name: after a failover they hear of it one after the other. */
  master(): Promise<RedisNode>
  /** Resolves when all name another than this one. */
  promoted(old: RedisNode): Promise<RedisNode>
  /** Resolves when the master has so many replicas. */
  replicated(replicas: number): Promise<void>
  /** Resolves when all servers are up, each in its place, and the Sentinels see it so: a failover can follow. */
  whole(): Promise<void>
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
            "sentinel auth-user mymaster sentinel",
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
          `sentinel down-after-milliseconds mymaster ${options.downAfterMs ?? DOWN_AFTER_MS}`,
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

    const named = async () => {
      const ports = await Promise.all(
        sentinels.map(each =>
          each.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster").then(
            at => (at as string[])[1],
            () => undefined,
          ),
        ),
      )
      return servers.find(({ port }) => ports.every(each => each === `${port}`))
    }
    const master = async (but?: RedisNode) => {
      let now: RedisNode | undefined
      await until("all Sentinels name the same master", async () => {
        now = await named()
        return now !== undefined && now !== but
      })
      return now!
    }
    return {
      servers,
      sentinels,
      master: () => master(),
      promoted: old => master(old),
      replicated: replicas => inStep(() => master(), replicas),
      async whole() {
        const seen = async (each: RedisNode) => {
          const replicas = (await each.call("SENTINEL", "REPLICAS", "mymaster")) as string[][]
          const flags = replicas.map(fields => fields[fields.indexOf("flags") + 1])
          return flags.length === servers.length - 1 && flags.every(flag => flag === "slave")
        }
        await until("the servers are in their places", () => inPlace(servers, 1), WHOLE_MS)
        await inStep(() => master(), servers.length - 1)
        await until("the Sentinels see them", async () =>
          (await Promise.all(sentinels.map(seen))).every(Boolean),
        )
      },
      [Symbol.asyncDispose]: () => all.disposeAsync(),
    }
  } catch (error) {
    await all.disposeAsync()
    throw error
  }
}

export interface RedisCluster extends AsyncDisposable {
  /** Three masters, then a replica of each in the same order, and again. */
  readonly nodes: readonly RedisNode[]
  /** Who has this slot, as a node says that is not `but`. */
  owner(slot: number, but?: RedisNode): Promise<RedisNode | undefined>
  /** Resolves when another than this one has the slot. */
  promoted(old: RedisNode, slot: number): Promise<RedisNode>
  /** The replicas of this master. */
  replicasOf(master: RedisNode): Promise<RedisNode[]>
  /** Resolves when all nodes are up, each in its place: a failover can follow. */
  whole(): Promise<void>
}

/** A Cluster of three masters with a replica each, or more. */
export async function redisCluster(options: TopologyOptions = {}): Promise<RedisCluster> {
  const { all, dir } = await place()
  try {
    const { replicas = 1 } = options
    const count = 3 + 3 * replicas
    const buses = Array.from({ length: count }, freePort)
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
        "--cluster-node-timeout",
        `${options.downAfterMs ?? 1_000}`,
        "--cluster-announce-ip",
        HOST,
        // A replica stays with its master, also where another has lost its own.
        "--cluster-allow-replica-migration",
        "no",
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
    await everyone(`cluster_known_nodes:${count}\r`)
    for (const [i, each] of nodes.slice(3).entries())
      await until("a replica", () =>
        each.call("CLUSTER", "REPLICATE", ids[i % 3]!).then(
          () => true,
          () => false,
        ),
      )
    await everyone("cluster_state:ok")
    await Promise.all(nodes.slice(0, 3).map(each => confirming(each, replicas)))
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
      nodes,
      owner,
      async promoted(old, slot) {
        let now: RedisNode | undefined
        await until("another master", async () => {
          now = await owner(slot, old)
          return now !== undefined && now !== old
        })
        return now!
      },
      async replicasOf(master) {
        const id = String(await master.call("CLUSTER", "MYID"))
        const lines = (await master.call("CLUSTER", "REPLICAS", id)) as string[]
        return nodes.filter(({ port }) => lines.some(line => line.includes(`:${port}@`)))
      },
      async whole() {
        await until("the nodes are in their places", () => inPlace(nodes, 3), WHOLE_MS)
        await everyone("cluster_state:ok")
        // Who was replaced must know it before its slots are asked for.
        const views = () => Promise.all(nodes.map(each => each.call("CLUSTER", "SLOTS").then(mastersIn)))
        await until("the nodes agree", async () => new Set(await views()).size === 1)
      },
      [Symbol.asyncDispose]: () => all.disposeAsync(),
    }
  } catch (error) {
    await all.disposeAsync()
    throw error
  }
}

/** Who has which slots, as one node sees it. */
const mastersIn = (slots: unknown): string =>
  (slots as [number, number, [string, number]][])
    .map(([from, to, [, port]]) => `${from}-${to} ${port}`)
    .sort()
    .join(", ")
