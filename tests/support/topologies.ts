/** Redis topologies for tests, on their own ports: a master with replicas and Sentinels, and a Cluster. */
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { Redis } from "ioredis"
import type { HostPort } from "../../lib/config/reader.ts"
import { freePort, Process, until } from "./processes.ts"

const HOST = "127.0.0.1"
/**
 * How long a server must be silent before it counts as down. A Sentinel pings once per second and reconnects after each
 * failover. With a shorter time, a second failover from a healthy master sometimes follows.
 */
const DOWN_AFTER_MS = 1_500
/** The time limit for one command. */
const ANSWER_MS = 3_000

interface TopologyOptions {
  /** `appendfsync`. "no" disables the append-only file, so a restart is empty. */
  aof?: "always" | "everysec" | "no"
  /** The password that servers and Sentinels require. */
  password?: string
  /** How long a server must be silent before it counts as down. */
  downAfterMs?: number
  /** Replicas per master. The default is 2 with Sentinels and 1 in a Cluster. */
  replicas?: number
  /** Servers and Sentinels accept only TLS, with these files. */
  tls?: TlsFiles
  /** What the nodes of a Cluster announce, instead of their address. */
  announce?: "hostname" | "unreachable"
  /** A Cluster goes on without a master that nobody replaces, except for its slots. */
  partial?: boolean
}

/** Paths of PEM files. */
export interface TlsFiles {
  ca: string
  cert: string
  key: string
}

/** The options of a server that accepts only TLS, as arguments or lines of its configuration. */
const tlsOptions = (port: number, { ca, cert, key }: TlsFiles): [string, string][] => [
  ["port", "0"],
  ["tls-port", `${port}`],
  ["tls-cert-file", cert],
  ["tls-key-file", key],
  ["tls-ca-cert-file", ca],
  ["tls-auth-clients", "no"],
  ["tls-replication", "yes"],
]

/** One server process, with methods that make it fail and recover. */
export class RedisNode implements AsyncDisposable {
  #process: Process | undefined

  constructor(
    readonly port: number,
    private readonly cmd: readonly string[],
    private readonly password?: string,
    private readonly tls?: TlsFiles,
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

  /** Sends one command on a new connection. Times out quickly, because a frozen server does not answer. */
  async call(name: string, ...args: (string | number)[]): Promise<unknown> {
    const redis = new Redis({
      ...this.at,
      ...(this.password !== undefined && { password: this.password }),
      ...(this.tls !== undefined && { tls: { rejectUnauthorized: false } }),
      retryStrategy: () => null,
      connectTimeout: ANSWER_MS,
      commandTimeout: ANSWER_MS,
      maxRetriesPerRequest: 0,
      enableReadyCheck: false,
    })
    redis.on("error", () => {}) // the command reports it
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

  /** Disconnects its replicas and the Sentinels and rejects them from now on. Clients do not notice. */
  async cutOff(from: readonly (typeof INSIDERS)[number][] = INSIDERS): Promise<void> {
    for (const name of from) await this.call("ACL", "SETUSER", name, "off")
    for (const name of from) await this.call("CLIENT", "KILL", "USER", name)
  }

  /** Cuts this replica off from its master for good. */
  async leave(master: RedisNode): Promise<void> {
    await this.call("CONFIG", "SET", "masteruser", "nobody")
    const link = String(await this.call("CLIENT", "LIST", "TYPE", "master"))
    await master.call("CLIENT", "KILL", "ADDR", / laddr=(\S+)/.exec(link)![1]!)
  }

  async letIn(): Promise<void> {
    for (const name of INSIDERS) await this.call("ACL", "SETUSER", name, "on")
  }

  /** Returns nothing if the server does not answer. */
  async role(): Promise<"master" | "in step" | "behind" | "none"> {
    const [role, , , link] = (await this.call("ROLE").catch(() => ["none"])) as string[]
    if (role === "slave") return link === "connected" ? "in step" : "behind"
    return role === "master" ? "master" : "none"
  }

  /**
   * Starts it again on the same files; if it is running, it is killed first. A replaced master acts as a master again for
   * ten seconds, until a Sentinel demotes it. `replicaOf` demotes it at once.
   */
  async restart(replicaOf?: RedisNode): Promise<void> {
    await this.kill9()
    await this.start(replicaOf && ["--replicaof", `${HOST} ${replicaOf.port}`])
  }

  async [Symbol.asyncDispose]() {
    await this.#process?.kill9()
  }
}

/** Resolves when this many replicas have all data of the master, which is looked up at each try. */
const inStep = (master: () => Promise<RedisNode>, replicas: number): Promise<void> =>
  until(`${replicas} replicas`, async () => {
    const reached = await (await master()).call("WAIT", replicas, 500).catch(() => 0)
    return Number(reached) >= replicas
  })

/** Sentinels demote a server that wrongly considers itself a master after ten seconds. */
const WHOLE_MS = 60_000

/** Whether this many of the nodes are masters and all others are their replicas. */
async function inPlace(nodes: readonly RedisNode[], masters: number): Promise<boolean> {
  const roles = await Promise.all(nodes.map(each => each.role()))
  const count = (role: string) => roles.filter(each => each === role).length
  return count("master") === masters && count("in step") === nodes.length - masters
}

/** Resolves when this many replicas of an empty master confirm a write at once, which takes them about a second. */
async function confirming(master: RedisNode, replicas: number): Promise<void> {
  let key = 0
  await until(`${replicas} replicas that confirm`, async () => {
    // In a Cluster, several keys may have to be tried to find one that this node owns.
    while (!(await master.call("INCR", key).catch(() => false))) key++
    return Number(await master.call("WAIT", replicas, 50)) >= replicas
  })
  await master.call("FLUSHALL")
}

/**
 * The users that replicas and Sentinels log in as if there is a password, so that a master can be cut off from them
 * while its clients still reach it.
 */
const INSIDERS = ["replica", "sentinel"] as const

/** A server that is not started yet. */
function redisNode(
  dir: string,
  { aof = "no", password, tls }: TopologyOptions,
  args: readonly string[] = [],
): RedisNode {
  const port = freePort()
  const cmd = [
    "redis-server",
    "--dir",
    dir,
    "--bind",
    HOST,
    ...(tls === undefined ? [["port", `${port}`]] : tlsOptions(port, tls)).flatMap(([name, value]) => [
      `--${name}`,
      value!,
    ]),
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
  return new RedisNode(port, cmd, password, tls)
}

/** A directory and the servers in it. Disposal ends the servers, then removes the directory. */
async function place() {
  const all = new AsyncDisposableStack()
  const dir = await mkdtemp("/tmp/tq-topology-")
  all.defer(() => rm(dir, { recursive: true, force: true }))
  return { all, dir }
}

export interface SentinelTrio extends AsyncDisposable {
  readonly sentinels: readonly RedisNode[]
  /** The first server is the master at the start. */
  readonly servers: readonly RedisNode[]
  /** The master that all Sentinels name. After a failover they learn of it one after the other. */
  master(): Promise<RedisNode>
  /** Resolves when all Sentinels name another master than this one. */
  promoted(old: RedisNode): Promise<RedisNode>
  /** Resolves when this many replicas are in sync with the master. */
  replicated(replicas: number): Promise<void>
  /** Resolves when all servers are up in their roles and the Sentinels know it. Then a failover can follow. */
  whole(): Promise<void>
}

/** A master, two replicas and three Sentinels that monitor them as `mymaster`. */
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

    // Introduce the Sentinels to each other: discovery would take seconds.
    const ids = [1, 2, 3].map(n => `${n}`.repeat(40))
    const ports = ids.map(() => freePort())
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
          ...(options.tls === undefined
            ? [`port ${port}`]
            : tlsOptions(port, options.tls).map(option => option.join(" "))),
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
        return all
          .use(new RedisNode(port, ["redis-server", path, "--sentinel"], password, options.tls))
          .start()
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
  /** Three masters, then one replica of each in the same order, and so on. */
  readonly nodes: readonly RedisNode[]
  /** The owner of this slot, according to a node other than `but`. */
  owner(slot: number, but?: RedisNode): Promise<RedisNode | undefined>
  /** Resolves when another node than this one owns the slot. */
  promoted(old: RedisNode, slot: number): Promise<RedisNode>
  /** The replicas of this master. */
  replicasOf(master: RedisNode): Promise<RedisNode[]>
  /** Resolves when all nodes are up in their roles. Then a failover can follow. */
  whole(): Promise<void>
}

/** A Cluster of three masters with one or more replicas each. */
export async function redisCluster(options: TopologyOptions = {}): Promise<RedisCluster> {
  const { all, dir } = await place()
  try {
    const { replicas = 1 } = options
    const count = 3 + 3 * replicas
    const buses = Array.from({ length: count }, () => freePort())
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
        ...(options.announce === "hostname"
          ? ["--cluster-announce-hostname", "localhost", "--cluster-preferred-endpoint-type", "hostname"]
          : []),
        ...(options.announce === "unreachable"
          ? ["--cluster-announce-hostname", "inside.invalid", "--cluster-preferred-endpoint-type", "hostname"]
          : []),
        ...(options.tls === undefined ? [] : ["--tls-cluster", "yes"]),
        // A replica stays with its master, even if another master has lost all its replicas.
        "--cluster-allow-replica-migration",
        "no",
        "--cluster-require-full-coverage",
        options.partial ? "no" : "yes",
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
        // A replaced master must know that before its slots are queried.
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

/** The owners of all slots, as one node sees them. */
const mastersIn = (slots: unknown): string =>
  (slots as [number, number, [string, number]][])
    .map(([from, to, [, port]]) => `${from}-${to} ${port}`)
    .sort()
    .join(", ")
