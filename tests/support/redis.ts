/** Redis servers for tests, each on a Unix socket in its own temporary directory, and scripts on one connection. */
import { mkdtemp } from "node:fs/promises"
import { Redis } from "ioredis"
import { databaseOf, evaluate, type Runner, send } from "../../lib/redis/runner.ts"

interface TestRedisOptions {
  /** `appendfsync`. "no" disables the append-only file, so a restart is empty. */
  aof?: "always" | "everysec" | "no"
  args?: readonly string[]
}

interface TestRedis extends AsyncDisposable {
  readonly socket: string
  /** Changes with each restart. */
  readonly pid: number
  /** Ends it immediately, as a crash would. */
  kill9(): Promise<void>
  /** Starts it again on the same socket and files. If it is running, it is stopped cleanly first. */
  restart(): Promise<void>
}

export async function testRedis({ aof = "no", args = [] }: TestRedisOptions = {}): Promise<TestRedis> {
  // The path must be short: a socket address holds about 100 bytes.
  const dir = await mkdtemp("/tmp/tq-test-")
  const socket = `${dir}/redis.sock`
  // Ends the server even if the tests are killed, because its standard input then closes.
  const warden = Bun.spawn(
    ["sh", "-c", 'while read -r pid; do last=$pid; done; kill -9 $last; rm -rf "$0"', dir],
    {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
    },
  )
  warden.unref()

  const start = async () => {
    const server = Bun.spawn({
      cmd: [
        "redis-server",
        "--dir",
        dir,
        "--unixsocket",
        socket,
        "--port",
        "0",
        "--save",
        "",
        "--appendonly",
        aof === "no" ? "no" : "yes",
        "--appendfsync",
        aof,
        "--logfile",
        `${dir}/redis.log`,
        ...args,
      ],
      stdio: ["ignore", "inherit", "inherit"],
    })
    server.unref()
    warden.stdin.write(`${server.pid}\n`)
    await warden.stdin.flush()
    while (!(await isReady(socket))) {
      if (server.exitCode !== null) throw new Error(await Bun.file(`${dir}/redis.log`).text())
      await Bun.sleep(1)
    }
    return server
  }
  let server = await start()
  const end = async (signal: NodeJS.Signals) => {
    // SIGKILL ends a stopped process too; any other signal would wait for SIGCONT.
    server.kill(signal)
    await server.exited
  }

  return {
    socket,
    get pid() {
      return server.pid
    },
    kill9: () => end("SIGKILL"),
    async restart() {
      await end("SIGTERM")
      server = await start()
    },
    async [Symbol.asyncDispose]() {
      await end("SIGKILL")
      await warden.stdin.end()
      await warden.exited
    },
  }
}

/** Whether it answers PING. Redis listens before it has loaded its data. */
async function isReady(socket: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const connection = await Bun.connect({
    unix: socket,
    socket: {
      open: socket => void socket.write("PING\r\n"),
      data: (_, reply) => resolve(reply.toString() === "+PONG\r\n"),
      close: () => resolve(false),
    },
  }).catch(() => undefined)
  if (connection === undefined) return false
  const ready = await promise
  connection.end()
  return ready
}

let shared: Promise<TestRedis> | undefined

/** The shared server of this test process, flushed at each call. For tests that do not stop or reconfigure it. */
export async function sharedRedis(): Promise<TestRedis> {
  shared ??= testRedis()
  const server = await shared
  const redis = new Redis({ path: server.socket })
  await redis.flushall()
  redis.disconnect()
  return server
}

/** Called once, by the preload, after all tests. */
export async function endSharedRedis(): Promise<void> {
  await (await shared)?.[Symbol.asyncDispose]()
  shared = undefined
}

/** Runs scripts on one connection. */
export const onOneConnection = (redis: Redis): Runner => ({
  database: databaseOf(redis),
  run: (script, keys, args) => evaluate(script, keys, args, command => send(redis, command)),
})
