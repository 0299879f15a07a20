/**
 * Which server has which key. A single server and Sentinels have one. In a Cluster the broker connects to every node,
 * including replicas, so that a promoted one can serve at once. It reads the table of slots:
 *   1. at the start and every second, from any node that answers, so a failover is noticed within a second;
 *   2. from a MOVED reply, for that slot.
 * The Cluster class of ioredis is not used: it has queues and retries of its own, so a write may be sent twice
 * (`maxRedirections` and `retryDelayOnFailover` in its options). According to a report that was closed without a fix, it also
 * keeps sending commands to an unreachable master until the system closes the connection
 * (github.com/redis/ioredis/issues/559).
 */
import type { Redis } from "ioredis"
import { addressOf, type HostPort } from "../config/reader.ts"
import { commandConnection, connect, type RedisTarget, whyUnavailable } from "./connection.ts"
import type { OutageLog } from "./outage-log.ts"
import { ReplicatedWrites } from "./replicated.ts"
import { databaseOf } from "./runner.ts"

export interface Server {
  /** For reads, and for writes whose result no client gets. */
  redis: Redis
  /** For all other writes, if they must be replicated. */
  replicated: ReplicatedWrites | undefined
  /** `host:port` of a node of a Cluster. */
  at: string | undefined
  /** What is known of the cause, if the connection is not usable now. */
  whyUnavailable(): Error | undefined
  /** Connects, or fails with the reason. */
  connect(): Promise<void>
  /** Closes after the commands in flight, but within `ms`. */
  close(ms: number): Promise<void>
}

export interface Topology {
  /** The number of the database; 0 in a Cluster. */
  readonly database: number
  of(key: string): Server
  /** The servers that hold keys. */
  masters(): Server[]
  /** All known nodes of a Cluster. */
  nodes(): HostPort[]
  /** Connects, or fails with the reason. */
  connect(): Promise<void>
  /** Whether an error says that the key has moved; if so, its new place is now known, and nothing has run. */
  moved(error: unknown): Promise<boolean>
  close(ms: number): Promise<void>
}

/** `onBack` is called when an unavailable server is available again or was replaced. */
export const openTopology = (target: RedisTarget, outages: OutageLog, onBack: () => void): Topology =>
  "cluster" in target ? new Cluster(target, outages, onBack) : oneServer(target, outages, onBack)

function server(target: RedisTarget, outages: OutageLog, onBack: () => void, at?: HostPort): Server {
  const { timeoutMs, waitReplicas = 0, name } = target
  const redis = commandConnection(target, outages, at)
  redis.on("ready", onBack)
  const second =
    waitReplicas > 0 ? commandConnection({ ...target, name: `${name}-writes` }, outages, at) : undefined
  // Long polls whose last lease call failed try again.
  second?.on("ready", onBack)
  const replicated = second && new ReplicatedWrites(second, waitReplicas, Math.ceil(timeoutMs / 2), onBack)
  return {
    redis,
    replicated,
    at: at && addressOf(at),
    whyUnavailable: () => whyUnavailable(redis),
    async connect() {
      await Promise.all([redis, ...(second ? [second] : [])].map(connect))
    },
    async close(ms) {
      await Promise.race([Promise.allSettled([redis.quit(), replicated?.close()]), Bun.sleep(ms)])
      redis.disconnect()
      second?.disconnect()
    },
  }
}

function oneServer(target: RedisTarget, outages: OutageLog, onBack: () => void): Topology {
  const only = server(target, outages, onBack)
  return {
    database: databaseOf(only.redis),
    of: () => only,
    masters: () => [only],
    nodes: () => [],
    connect: () => only.connect(),
    moved: async () => false,
    close: ms => only.close(ms),
  }
}

interface Node extends Server, HostPort {
  /** Resolves when its first connection is ready. */
  opened: Promise<void>
}

const REFRESH_MS = 1_000
/** Time limit for the table of slots. After it, another node is asked at the next refresh. */
const ANSWER_MS = 500

class Cluster implements Topology {
  readonly database = 0
  /** Nodes by `host:port`. */
  readonly #known = new Map<string, Node>()
  /** The name of the master of each slot. */
  #owners: (string | undefined)[] = []
  #refreshing = false
  #timer: Timer | undefined
  #closed = false

  constructor(
    private readonly target: RedisTarget & { cluster: readonly HostPort[] },
    private readonly outages: OutageLog,
    private readonly onBack: () => void,
  ) {}

  of(key: string): Server {
    const owner = this.#known.get(this.#owners[slotOf(key)] ?? "")
    if (owner === undefined) throw new Error("CLUSTERDOWN No known node has the slot of this key")
    return owner
  }

  masters(): Server[] {
    return [...new Set(this.#owners)].flatMap(name => this.#known.get(name ?? "") ?? [])
  }

  nodes(): HostPort[] {
    return [...this.target.cluster, ...this.#known.values()]
  }

  async connect(): Promise<void> {
    const seeds = this.target.cluster.map(at => this.#node(at))
    // One is enough; connections to the others are retried in the background.
    await Promise.any(seeds.map(({ opened }) => opened)).catch((error: AggregateError) => {
      throw error.errors[0]
    })
    await this.#refresh().catch((error: Error) => {
      throw new Error(
        `Redis cannot be used as a Cluster: ${error.message} (for a single server, set REDIS_URL instead of REDIS_CLUSTER)`,
      )
    })
    if (this.#owners.length === 0)
      throw new Error(
        "Redis cannot be used as a Cluster: no node has any slots. Assign them, for example with redis-cli --cluster create",
      )
    await Promise.allSettled([...this.#known.values()].map(({ opened }) => opened))
    this.#timer = setInterval(() => void this.#refresh().catch(() => {}), REFRESH_MS).unref()
  }

  async moved(error: unknown): Promise<boolean> {
    const found = error instanceof Error && /^MOVED (\d+) (\S*):(\d+)$/.exec(error.message)
    if (!found) return false
    const [, slot, host, port] = found
    if (host === "") return false
    const node = this.#announced({ host: host!, port: Number(port) })
    this.#owners[Number(slot)] = addressOf(node)
    await node.opened.catch(() => {})
    return true
  }

  async close(ms: number): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    await Promise.all([...this.#known.values()].map(node => node.close(ms)))
  }

  /** The node that announces this address. */
  #announced(at: HostPort): Node {
    return this.#node(this.target.natMap?.[addressOf(at)] ?? at)
  }

  #node(at: HostPort): Node {
    const known = this.#known.get(addressOf(at))
    if (known !== undefined) return known
    const opened = server(this.target, this.outages, this.onBack, at)
    const node = { ...opened, ...at, opened: opened.connect() }
    node.opened.catch(() => {}) // retried in the background
    this.#known.set(addressOf(at), node)
    return node
  }

  async #refresh(): Promise<void> {
    if (this.#refreshing) return
    this.#refreshing = true
    try {
      const answering = [...this.#known.values()].filter(({ redis }) => redis.status === "ready")
      // Choose at random: one node may be frozen or cut off from the others.
      const asked = answering[Math.floor(Math.random() * answering.length)]
      if (asked === undefined) return
      const reply = await Promise.race([asked.redis.cluster("SLOTS"), Bun.sleep(ANSWER_MS)])
      if (Array.isArray(reply)) this.#learn(asked.host, reply as SlotRange[])
    } finally {
      this.#refreshing = false
    }
  }

  #learn(from: string, ranges: SlotRange[]): void {
    if (this.#closed || ranges.length === 0) return
    const owners: (string | undefined)[] = new Array(SLOTS)
    const listed = new Set(this.target.cluster.map(addressOf))
    for (const [first, last, ...nodes] of ranges) {
      // A node that does not know its own address reports none. Then it is the node that was asked.
      const names = nodes.map(([host, port]) => addressOf(this.#announced({ host: host || from, port })))
      for (const name of names) listed.add(name)
      owners.fill(names[0], first, last + 1)
    }
    const changed = owners.some((owner, slot) => owner !== this.#owners[slot])
    this.#owners = owners
    for (const [name, node] of this.#known) {
      if (listed.has(name)) continue
      this.#known.delete(name)
      void node.close(0)
    }
    if (changed) this.onBack()
  }
}

type SlotRange = [
  first: number,
  last: number,
  ...nodes: [host: string | null, port: number, ...rest: unknown[]][],
]

const SLOTS = 16_384

/** CRC16 (XMODEM) of the hash tag, or of the whole key if it has none (Redis Cluster specification, "Key distribution model"). */
export function slotOf(key: string): number {
  const open = key.indexOf("{")
  const close = key.indexOf("}", open + 1)
  const hashed = open >= 0 && close > open + 1 ? key.slice(open + 1, close) : key
  let crc = 0
  for (const byte of Buffer.from(hashed)) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++)
      crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff
  }
  return crc % SLOTS
}
