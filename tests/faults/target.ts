/**
 * The Redis of a run and its faults. This file has the single server; Sentinel and Cluster, with their own kinds of
 * faults, are in failover.ts. The rest of a run does not depend on the topology.
 */
import { appendFile, readdir } from "node:fs/promises"
import { dirname, join } from "node:path"
import { Redis } from "ioredis"
import { testRedis } from "../support/redis.ts"
import { type Address, Link } from "./proxy.ts"

/** The drawn values of a Redis fault. */
interface Struck {
  lastsMs: number
  /** From 0 to below 1: selects the victim or variant. */
  which: number
  /** Where clients reach the brokers. */
  brokers: readonly string[]
}

export interface Over {
  /** When the cause was gone, such as when a killed server could be started or another was promoted. */
  at: number
  /** When Redis answered again, after it had loaded its data. */
  backAt?: number
  /** What was not served during the fault although it should have been. */
  unserved?: readonly string[]
  /** Restores all servers once calls succeed. Then the next fault may follow. */
  restore?(): Promise<void>
}

/** One kind of fault. */
export interface TargetFault {
  weight: number
  /** The range from which the duration is drawn. */
  lasts: [min: number, max: number]
  /** Whether another server takes over. */
  failover?: boolean
  /** Injects the fault and resolves when it is over. */
  run(struck: Struck): Promise<Over>
}

export interface Target extends AsyncDisposable {
  readonly name: string
  readonly faults: Readonly<Record<string, TargetFault>>
  /** The connection of one broker: its environment variables, and the link in between, if there is one. */
  reach(name: string): { env: Record<string, string>; link?: Link }
  /** Whether there are such links. */
  readonly linked: boolean
  /** Whether a failover may lose answered writes, because replication in Redis is asynchronous. */
  readonly mayLose: boolean
  /** A connection that bypasses all links, to the server that has this queue, for the final checks. */
  admin(queue: string): Promise<Redis>
  /** A connection to each server that has keys. */
  admins(): Promise<Redis[]>
}

/** A single server with an append-only file and `appendfsync always`, and its faults. */
export async function singleServer(): Promise<Target> {
  const server = await testRedis({
    aof: "always",
    args: [
      "--maxmemory-policy",
      "noeviction",
      "--aof-load-truncated",
      "yes",
      // The file is loaded at each restart, so it is kept short.
      "--auto-aof-rewrite-min-size",
      "16mb",
    ],
  })
  const address: Address = { unix: server.socket }
  const admin = () => {
    const redis = new Redis(server.socket, { maxRetriesPerRequest: 0, enableOfflineQueue: true })
    redis.on("error", () => {}) // each command reports it
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
    admin: async () => admin(),
    admins: async () => [admin()],
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

/**
 * The incomplete record of a write that was interrupted by the crash and never answered. It is appended. Truncating the
 * file instead would lose answered writes, which is a disk failure and not covered by the guarantees.
 */
const HALF_COMMAND = "*4\r\n$4\r\nHSET\r\n$9\r\ncut-short\r\n$5\r\nfie"
/** A script's writes are between MULTI and EXEC. Without the EXEC, Redis ignores all of them. */
const HALF_TRANSACTION = "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$9\r\ncut-short\r\n$1\r\n1\r\n"

async function tailOf(socket: string): Promise<string> {
  const directory = join(dirname(socket), "appendonlydir")
  const increments = (await readdir(directory)).filter(name => name.endsWith(".incr.aof"))
  const number = (name: string) => Number(/\.(\d+)\.incr/.exec(name)![1])
  return join(directory, increments.sort((a, b) => number(b) - number(a))[0]!)
}
