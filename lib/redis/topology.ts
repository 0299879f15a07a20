/**
 * Which server has which key. All but Clusters have one server. Of a Cluster every node is connected to, the
 * replicas too, so that one that is promoted serves at once; and its table of slots is read:
 *   1. at the start, and every second, from any node that answers: a failover is known a second after it was;
 *   2. from a MOVED answer, for that slot.
 * This is not ioredis' own Cluster, which has queues and retries of its own, and may send a write twice.
 */
import type { Redis } from "ioredis"
import type { HostPort } from "../config/reader.ts"
import type { Log } from "../log.ts"
import { commandConnection, connect, type RedisTarget } from "./connection.ts"
import { ReplicatedWrites } from "./replicated.ts"

export interface Server {
  /** For reads, and for writes that nobody is told of. */
  redis: Redis
  /** For all other writes, where they must be replicated. */
  replicated: ReplicatedWrites | undefined
  /** Connects, or says why not. */
  connect(): Promise<void>
  /** Behind what is under way, but not longer than `ms`. */
  close(ms: number): Promise<void>
}

export interface Servers {
  of(key: string): Server
  /** All that hold keys. */
  masters(): Server[]
  /** All that are known. */
  nodes(): HostPort[]
  /** Connects, or says why not. */
  connect(): Promise<void>
  /** Learns from an error that a key is elsewhere; answers whether it does. Nothing has run then. */
  moved(error: unknown): Promise<boolean>
  close(ms: number): Promise<void>
}

/** `onBack`: a server that was away is there, or another has taken its place. */
export const serversOf = (target: RedisTarget, log: Log, onBack: () => void): Servers =>
  "cluster" in target ? new Cluster(target, log, onBack) : oneServer(target, log, onBack)

function server(target: RedisTarget, log: Log, onBack: () => void, at?: HostPort): Server {
  const { timeoutMs, waitReplicas = 0, name } = target
  const redis = commandConnection(target, log, at)
  redis.on("ready", onBack)
  const second =
    waitReplicas > 0 ? commandConnection({ ...target, name: `${name}-writes` }, log, at) : undefined
  // Who waits for tasks, and whose last try failed, looks again.
  second?.on("ready", onBack)
  const replicated = second && new ReplicatedWrites(second, waitReplicas, Math.ceil(timeoutMs / 2), onBack)
  return {
    redis,
    replicated,
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

function oneServer(target: RedisTarget, log: Log, onBack: () => void): Servers {
  const only = server(target, log, onBack)
  return {
    of: () => only,
    masters: () => [only],
    nodes: () => [],
    connect: () => only.connect(),
    moved: async () => false,
    close: ms => only.close(ms),
  }
}

interface Node extends Server, HostPort {
  /** Its first connection. */
  opened: Promise<void>
}

const REFRESH_MS = 1_000
/** A node that takes longer is not waited for: another is asked the next time. */
const ANSWER_MS = 500

export class Cluster implements Servers {
  /** By `host:port`. */
  readonly #known = new Map<string, Node>()
  /** Who has each slot. */
  #owners: (string | undefined)[] = []
  #refreshing = false
  #timer: Timer | undefined
  #closed = false

  constructor(
    private readonly target: RedisTarget & { cluster: readonly HostPort[] },
    private readonly log: Log,
    private readonly onBack: () => void,
  ) {}

  of(key: string): Server {
    const owner = this.#known.get(this.#owners[slotOf(key)] ?? "")
    if (owner === undefined) throw new Error("CLUSTERDOWN No node is known to have this key's slot")
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
    // Any of them will do; the others are tried again by themselves.
    await Promise.any(seeds.map(({ opened }) => opened)).catch((error: AggregateError) => {
      throw error.errors[0]
    })
    await this.#refresh().catch((error: Error) => {
      throw new Error(
        `Redis cannot be used as a Cluster: ${error.message} (name a single server in REDIS_URL)`,
      )
    })
    if (this.#owners.length === 0) throw new Error("Redis cannot be used as a Cluster: nobody has any slots")
    await Promise.allSettled([...this.#known.values()].map(({ opened }) => opened))
    this.#timer = setInterval(() => void this.#refresh().catch(() => {}), REFRESH_MS).unref()
  }

  async moved(error: unknown): Promise<boolean> {
    const found = error instanceof Error && /^MOVED (\d+) (\S*):(\d+)$/.exec(error.message)
    if (!found) return false
    const [, slot, host, port] = found
    if (host === "") return false
    const node = this.#node({ host: host!, port: Number(port) })
    this.#owners[Number(slot)] = nameOf(node)
    await node.opened.catch(() => {})
    return true
  }

  async close(ms: number): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    await Promise.all([...this.#known.values()].map(node => node.close(ms)))
  }

  #node(at: HostPort): Node {
    const known = this.#known.get(nameOf(at))
    if (known !== undefined) return known
    const made = server(this.target, this.log, this.onBack, at)
    const node = { ...made, ...at, opened: made.connect() }
    node.opened.catch(() => {}) // tried again by itself
    this.#known.set(nameOf(at), node)
    return node
  }

  async #refresh(): Promise<void> {
    if (this.#refreshing) return
    this.#refreshing = true
    try {
      const answering = [...this.#known.values()].filter(({ redis }) => redis.status === "ready")
      // Not always the same: one may be frozen, or alone in its part of the network.
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
    const listed = new Set(this.target.cluster.map(nameOf))
    for (const [first, last, ...nodes] of ranges) {
      // A node that does not know its own address has none: it is the one that was asked.
      const names = nodes.map(([host, port]) => nameOf(this.#node({ host: host || from, port })))
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

const nameOf = ({ host, port }: HostPort): string => `${host}:${port}`

const SLOTS = 16_384

/** CRC16 (XMODEM) of the hash tag, or of the whole key where it has none. */
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
