/** The embedded Redis: how brokers start, share, restart and stop it, and when they refuse to. */
import { expect, test } from "bun:test"
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { Redis } from "ioredis"
import { createLog, type Fields } from "../../lib/log.ts"
import { BROKER_CONNECTION, type EmbeddedRedis, startEmbeddedRedis } from "../../lib/redis/embedded.ts"
import { until } from "../support/harness.ts"

const SILENT = createLog("silent")

/** A data directory for one test. The brokers that the test started there are stopped at its end. */
async function dataDir(name = "data") {
  const root = await mkdtemp("/tmp/tq-embedded-")
  const path = join(root, name)
  const started: EmbeddedRedis[] = []
  return {
    path,
    async start() {
      const embedded = await startEmbeddedRedis(path, SILENT)
      started.push(embedded)
      return embedded
    },
    async [Symbol.asyncDispose]() {
      for (const embedded of started) await embedded.stop()
      for (const { socket } of started)
        if (!socket.startsWith(root)) await rm(dirname(socket), { recursive: true, force: true })
      await rm(root, { recursive: true })
    },
  }
}

async function client(socket: string, connectionName = "test", enableReadyCheck = true) {
  const redis = new Redis({ path: socket, connectionName, enableReadyCheck, retryStrategy: () => 20 })
  redis.on("error", () => {})
  return Object.assign(redis, { [Symbol.asyncDispose]: async () => redis.disconnect() })
}

async function pidOf(socket: string): Promise<number> {
  await using redis = await client(socket)
  return Number(/process_id:(\d+)/.exec(await redis.info("server"))![1])
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Waits until the process is gone. A server that has exited is listed until its parent, which is this process, reaps it. */
async function exited(pid: number): Promise<void> {
  while (isAlive(pid)) await Bun.sleep(1)
}

const mode = async (path: string) => (await stat(path)).mode & 0o777

/** Starts the embedded Redis from another process, which stops when its standard input closes. */
function otherProcess(path: string, env: Record<string, string> = {}) {
  const script = `
    import { startEmbeddedRedis } from ${JSON.stringify(join(import.meta.dir, "../../lib/redis/embedded.ts"))}
    try {
      const { adopted, token, stop } = await startEmbeddedRedis(${JSON.stringify(path)}, console)
      console.log(JSON.stringify({ adopted, token: await token() }))
      for await (const _ of Bun.stdin.stream()) {}
      await stop()
      process.exit(0)
    } catch (error) {
      console.log(JSON.stringify({ error: error.message }))
      process.exit(1)
    }`
  const child = Bun.spawn([process.execPath, "-e", script], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ...env },
  })
  const line = async () => {
    let text = ""
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk
      if (text.endsWith("\n")) break
    }
    return JSON.parse(text) as { adopted?: boolean; token?: string; error?: string }
  }
  return { child, first: line() }
}

test("the server listens on a socket in the data directory and syncs every write to disk", async () => {
  await using data = await dataDir("with a space")
  const { socket, adopted } = await data.start()
  expect(socket).toBe(join(data.path, "redis.sock"))
  expect(adopted).toBeFalse()
  await using redis = await client(socket)
  for (const [name, value] of [
    ["appendonly", "yes"],
    ["appendfsync", "always"],
    ["save", ""],
    ["maxmemory-policy", "noeviction"],
    ["port", "0"],
  ] as const)
    expect(await redis.config("GET", name)).toEqual([name, value])
})

test("only the user who started it can read the data directory, the socket and the token", async () => {
  await using data = await dataDir()
  await mkdir(data.path, { mode: 0o755 })
  const { socket, ...embedded } = await data.start()
  expect(await Bun.file(join(data.path, "token")).exists()).toBeFalse()
  const token = await embedded.token()
  expect(token).toMatch(/^[\w-]{43}$/)
  expect((await Bun.file(join(data.path, "token")).text()).trim()).toBe(token)
  expect(await mode(join(data.path, "token"))).toBe(0o600)
  expect(await mode(data.path)).toBe(0o700)
  expect(await mode(socket)).toBe(0o700)
})

test("a server that is killed is restarted with its data while a broker is running", async () => {
  await using data = await dataDir()
  const { socket } = await data.start()
  await using redis = await client(socket)
  await redis.set("kept", "yes")
  const pid = await pidOf(socket)
  process.kill(pid, "SIGKILL")
  while ((await pidOf(socket).catch(() => pid)) === pid) await Bun.sleep(10)
  expect(await redis.get("kept")).toBe("yes")
})

test("after a broker and its server are killed together, the next broker has their data and token", async () => {
  await using data = await dataDir()
  const { child, first } = otherProcess(data.path)
  const { token } = await first
  const socket = join(data.path, "redis.sock")
  {
    await using redis = await client(socket)
    await redis.set("kept", "yes")
  }
  const pid = await pidOf(socket)
  child.kill("SIGKILL")
  await child.exited
  process.kill(pid, "SIGKILL")
  const again = await data.start()
  expect(again.adopted).toBeFalse()
  expect(await again.token()).toBe(token!)
  await using redis = await client(socket)
  expect(await redis.get("kept")).toBe("yes")
})

test("the next broker uses the server of a broker that was killed", async () => {
  await using data = await dataDir()
  const { child, first } = otherProcess(data.path)
  expect((await first).adopted).toBeFalse()
  const pid = await pidOf(join(data.path, "redis.sock"))
  child.kill("SIGKILL")
  await child.exited
  const again = await data.start()
  expect(again.adopted).toBeTrue()
  expect(await pidOf(again.socket)).toBe(pid)
})

test("the last broker to stop shuts the server down", async () => {
  await using data = await dataDir()
  const first = await data.start()
  const second = await data.start()
  expect(second.adopted).toBeTrue()
  const pid = await pidOf(first.socket)
  await first.stop()
  expect(await pidOf(first.socket)).toBe(pid)
  await second.stop()
  await exited(pid)
})

test("a broker that is connected with REDIS_URL keeps the server running; other clients do not", async () => {
  await using data = await dataDir()
  const first = await data.start()
  await using other = await client(first.socket, BROKER_CONNECTION)
  await using _visitor = await client(first.socket, "redis-cli")
  await other.ping()
  const pid = await pidOf(first.socket)
  await first.stop()
  expect(isAlive(pid)).toBeTrue()
  other.disconnect()
  await (await data.start()).stop()
  await exited(pid)
})

test("brokers that start at the same time share one server and one token", async () => {
  await using data = await dataDir()
  const others = [1, 2, 3].map(() => otherProcess(data.path))
  const own = await Promise.all([data.start(), data.start()])
  const ours = own.map(async ({ adopted, token }) => ({ adopted, token: await token() }))
  const answers = await Promise.all([...ours, ...others.map(({ first }) => first)])
  expect(answers.filter(({ adopted }) => adopted === false)).toHaveLength(1)
  expect(new Set(answers.map(({ token }) => token)).size).toBe(1)
  const pid = await pidOf(own[0].socket)
  for (const { child } of others) await child.stdin.end()
  expect(await Promise.all(others.map(({ child }) => child.exited))).toEqual([0, 0, 0])
  expect(await pidOf(own[0].socket)).toBe(pid)
})

test("a broker waits while the server loads its data", async () => {
  await using data = await dataDir()
  const first = await data.start()
  {
    await using redis = await client(first.socket)
    for (let n = 0; n < 10_000; n++) redis.set(`key${n}`, n)
    expect(await redis.dbsize()).toBe(10_000)
  }
  await first.stop()
  // The same files, loaded slowly: a delay of 100 µs per command.
  const slow = ["--appendonly", "yes", "--save", "", "--port", "0", "--key-load-delay", "100"]
  const server = Bun.spawn(["redis-server", "--dir", data.path, "--unixsocket", first.socket, ...slow], {
    stdio: ["ignore", "ignore", "ignore"],
  })
  await using early = await client(first.socket, "early", false)
  const answer = () => early.get("key1").catch((error: Error) => error.message)
  while (!(await answer())?.startsWith("LOADING")) await Bun.sleep(1)
  const again = await data.start()
  expect(again.adopted).toBeTrue()
  await using redis = await client(again.socket)
  expect(await redis.dbsize()).toBe(10_000)
  await again.stop()
  expect(await server.exited).toBe(0)
})

test("no second server is started on the files of a server whose socket was deleted", async () => {
  await using data = await dataDir()
  const { child, first } = otherProcess(data.path)
  await first
  const socket = join(data.path, "redis.sock")
  const pid = await pidOf(socket)
  child.kill("SIGKILL")
  await rm(socket)
  await expect(data.start()).rejects.toThrow(`process ${pid}`)
  process.kill(pid, "SIGKILL")
})

test("if the path of the socket would be too long, the socket is in a directory in /tmp", async () => {
  await using data = await dataDir("deep-".repeat(30))
  const { socket } = await data.start()
  expect(socket).toMatch(/^\/tmp\/tq-[0-9a-f]{16}\/redis\.sock$/)
  expect(await mode(dirname(socket))).toBe(0o700)
  expect((await data.start()).adopted).toBeTrue()
})

test("a data directory in which the broker cannot write is refused by the name of its variable", async () => {
  await using data = await dataDir()
  await writeFile(data.path, "a file")
  for (const path of [data.path, "/proc/data", "/proc/self"])
    await expect(startEmbeddedRedis(path, SILENT)).rejects.toThrow(
      `DATA_DIR must be a directory in which the broker can write, but ${path} is not: E`,
    )
})

test("without redis-server, the error says in one line what to install", async () => {
  await using data = await dataDir()
  const { error } = await otherProcess(data.path, { PATH: "/nowhere" }).first
  expect(error).toContain("apt-get install redis-server")
  expect(error).toContain("brew install redis")
  expect(error).not.toContain("\n")
})

test("a Redis older than 7.0 is refused, with its path and version", async () => {
  await using data = await dataDir()
  await mkdir(data.path)
  const old = join(data.path, "redis-server")
  await writeFile(old, "#!/bin/sh\necho 'Redis server v=6.2.14 sha=00000000:0'\n", { mode: 0o755 })
  const { error } = await otherProcess(data.path, { PATH: data.path }).first
  expect(error).toBe(`Redis 7.0 or newer is required: ${old} is 6.2.14`)
})

test("if the embedded Redis has ended and cannot be started again, the log says why, once", async () => {
  await using data = await dataDir()
  const lines: string[] = []
  const add = (message: string, { error = "" }: Fields = {}) => lines.push(`${message}: ${error}`)
  const embedded = await startEmbeddedRedis(data.path, { debug: add, info: add, warn: add, error: add })
  const pid = await pidOf(embedded.socket)
  const aof = join(data.path, "appendonlydir")
  const [incremental] = (await readdir(aof)).filter(name => name.includes(".incr."))
  const path = join(aof, incremental!)
  const before = await Bun.file(path).bytes()
  await writeFile(path, "*1\r\nno append-only file")
  process.kill(pid, "SIGKILL")
  await exited(pid)
  const found = (word: string) => lines.filter(line => line.includes(word))
  await until("two tries to start it", async () => {
    const log = await Bun.file(join(data.path, "redis.log")).text()
    return log.split("Bad file format").length > 2
  })
  expect(found("could not be started again")).toEqual([expect.stringContaining("Bad file format")])
  expect(found("could not be started again")[0]).not.toContain("\n")
  await writeFile(path, before)
  await until("it runs again", () => found("running again").length === 1)
  expect(lines).toHaveLength(2)
  await embedded.stop()
})
