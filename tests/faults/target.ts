/**
 * The Redis that a run has its brokers on, and the faults it can suffer: one server here, Sentinel and Cluster in
 * failover.ts, with kinds of their own. Nothing else of a run knows the difference.
 */
import { appendFile, readdir } from "node:fs/promises"
import { dirname, join } from "node:path"
import { Redis } from "ioredis"
import { testRedis } from "../support/redis.ts"
import { type Address, Link } from "./proxy.ts"

/** What a fault of Redis is given by its draw. */
export interface Struck {
  lastsMs: number
  /** From 0 to below 1: which of several ways. */
  which: number
}

export interface Over {
  /** When the cause was gone: as when a killed server could be started, or another was promoted. */
  at: number
  /** When Redis, which was away, answered again: its data is read by then. */
  backAt?: number
  /** Brings all back that is still away, once calls come through: after that the next fault may follow. */
  restore?(): Promise<void>
}

/** One kind of fault. */
export interface TargetFault {
  weight: number
  /** How long it lasts, drawn from these. */
  lasts: [min: number, max: number]
  /** Whether another server takes over. */
  failover?: boolean
  /** Does it, and resolves when it is over. */
  run(struck: Struck): Promise<Over>
}

export interface Target extends AsyncDisposable {
  readonly name: string
  readonly faults: Readonly<Record<string, TargetFault>>
  /** A way to it for one broker: what its environment says, and the link on that way, where there is one to break. */
  reach(name: string): { env: Record<string, string>; link?: Link }
  /** Whether there are such links. */
  readonly linked: boolean
  /** A failover may lose what was answered, as Redis' replication is asynchronous. */
  readonly mayLose: boolean
  /** Leases that too few replicas have confirmed are taken back, and not counted. */
  readonly uncounted: boolean
  /** A connection past all links, for checks when all is over, to the server that has this queue. */
  admin(queue: string): Promise<Redis>
  /** One to each server that has keys. */
  admins(): Promise<Redis[]>
}

/** A server with an AOF, `appendfsync always`, and everything that one server can suffer. */
export async function singleServer(): Promise<Target> {
  const server = await testRedis({
    aof: "always",
    args: [
      "--maxmemory-policy",
      "noeviction",
      "--aof-load-truncated",
      "yes",
      // The file is read at each restart: it is kept short.
      "--auto-aof-rewrite-min-size",
      "16mb",
    ],
  })
  const address: Address = { unix: server.socket }
  const admin = () => {
    const redis = new Redis(server.socket, { maxRetriesPerRequest: 0, enableOfflineQueue: true })
    redis.on("error", () => {}) // each command says so itself
    return redis
  }
  const restarted = async () => {
    const at = Date.now()
    await server.restart()
    return { at, backAt: Date.now() }
  }
  const command = async (run: (redis: Redis) => Promise<unknown>) => {
    const redis = admin()
    try {
      await run(redis)
      return { at: Date.now() }
    } finally {
      redis.disconnect()
    }
  }

  return {
    name: "one Redis with appendfsync always",
    faults: {
      "redis killed": {
        weight: 5,
        lasts: [0, 300],
        async run({ lastsMs }) {
          await server.kill9()
          await Bun.sleep(lastsMs)
          return restarted()
        },
      },
      "redis restarted": { weight: 2, lasts: [0, 0], run: restarted },
      "redis restarted, its AOF cut in mid-record": {
        weight: 3,
        lasts: [0, 300],
        async run({ lastsMs, which }) {
          await server.kill9()
          await appendFile(await tailOf(server.socket), which < 0.5 ? HALF_COMMAND : HALF_TRANSACTION)
          await Bun.sleep(lastsMs)
          return restarted()
        },
      },
      "redis frozen": {
        weight: 4,
        lasts: [300, 3_000],
        async run({ lastsMs }) {
          process.kill(server.pid, "SIGSTOP")
          await Bun.sleep(lastsMs)
          process.kill(server.pid, "SIGCONT")
          return { at: Date.now() }
        },
      },
      "scripts flushed": { weight: 4, lasts: [0, 0], run: () => command(redis => redis.script("FLUSH")) },
      "memory full": {
        weight: 4,
        lasts: [500, 1_500],
        run: ({ lastsMs }) =>
          command(async redis => {
            const used = Number(/^used_memory:(\d+)/m.exec(await redis.info("memory"))![1])
            await redis.config("SET", "maxmemory", used + 64 * 1_024)
            await Bun.sleep(lastsMs)
            await redis.config("SET", "maxmemory", 0)
          }),
      },
    },
    linked: true,
    reach(name) {
      const link = new Link(name, address)
      return { link, env: { REDIS_URL: `redis://127.0.0.1:${link.port}` } }
    },
    mayLose: false,
    uncounted: false,
    admin: async () => admin(),
    admins: async () => [admin()],
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

/**
 * What Redis was writing when it died: of a write nobody was answered. It is put behind what is there: to cut off
 * what stands there would lose answered writes, which is a disk's failure and not among those survived.
 */
const HALF_COMMAND = "*4\r\n$4\r\nHSET\r\n$9\r\ncut-short\r\n$5\r\nfie"
/** A script's writes stand between MULTI and EXEC: without the EXEC none of them counts. */
const HALF_TRANSACTION = "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$9\r\ncut-short\r\n$1\r\n1\r\n"

async function tailOf(socket: string): Promise<string> {
  const directory = join(dirname(socket), "appendonlydir")
  const increments = (await readdir(directory)).filter(name => name.endsWith(".incr.aof"))
  const number = (name: string) => Number(/\.(\d+)\.incr/.exec(name)![1])
  return join(directory, increments.sort((a, b) => number(b) - number(a))[0]!)
}
