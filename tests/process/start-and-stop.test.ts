/** Start and stop as the operator sees them: the greeting, the exit, and invalid settings. */
import { expect, setDefaultTimeout, test } from "bun:test"
import { readdir, stat, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { Client } from "../../lib/client.ts"
import { runsByWorker } from "../support/handlers.ts"
import { DirectQueue, TOKEN } from "../support/harness.ts"
import {
  brokerProcess,
  type Directory,
  directory,
  embeddedPid,
  freePort,
  isAlive,
  listening,
  Process,
  ROOT,
  startBroker,
  startWorker,
  until,
  workerProcess,
} from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

setDefaultTimeout(180_000)

const LOCAL = { HOST: "127.0.0.1", PORT: "0" }

/** `bun broker.ts` as in a fresh clone. Only the address is set, so that tests do not collide. */
async function firstStart(dir: Directory) {
  const process = brokerProcess(LOCAL, dir.path)
  try {
    await process.logged("The broker is listening")
    const token = (await Bun.file(join(dir.path, ".data/token")).text()).trim()
    const redisPid = (await embeddedPid(join(dir.path, ".data")))!
    return { ...(await listening(process, token)), token, redisPid }
  } catch (error) {
    await process.kill9()
    throw error
  }
}

async function refusesConnections(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url)
  const socket = await Bun.connect({ hostname, port: Number(port), socket: { data() {} } }).catch(() => null)
  socket?.end()
  return socket === null
}

/** Runs a line in a shell and parses the JSON that it prints. */
async function paste(line: string) {
  const shell = Bun.spawn(["sh", "-c", line], { stdio: ["ignore", "pipe", "inherit"] })
  return JSON.parse(await shell.stdout.text())
}

test("with a configured token the embedded Redis gets no token of its own, which the broker would refuse", async () => {
  await using dir = await directory()
  await using process = brokerProcess({ ...LOCAL, API_SECRET_TOKEN: TOKEN }, dir.path)
  expect(await process.logged("The broker is listening")).toMatchObject({ token: "API_SECRET_TOKEN" })
  expect((await readdir(join(dir.path, ".data"))).includes("token")).toBeFalse()
  expect(await process.stop()).toBe(0)
})

test("without configuration it starts, and the printed commands run a task", async () => {
  await using dir = await directory()
  await using broker = await firstStart(dir)
  await using worker = workerProcess({ BROKER_URL: broker.url }, dir.path)
  await worker.logged("The worker is ready")

  expect((await stat(join(dir.path, ".data/token"))).mode & 0o777).toBe(0o600)
  expect(await broker.process.logged("The broker is listening")).toMatchObject({ durability: "always" })
  expect(broker.process.stdout).toContain(broker.token)
  const [submit, watch, ...others] = broker.process.stdout
    .split("\n")
    .map(line => line.trim())
    .filter(line => line.startsWith("curl"))
  expect(others).toEqual([])
  const { task_id: id } = await paste(submit!)
  await until("the worker has done it", async () => (await broker.client.status(id)).status === "done")
  expect(await broker.client.status(id)).toMatchObject({ type: "echo", result: { hello: "world" } })
  // The worker may still be running the task when the second request arrives.
  expect(["queued", "processing", "done"]).toContain((await paste(watch!)).status)
})

test("Ctrl-C ends the embedded Redis too, and the next start finds the task and the token again", async () => {
  await using dir = await directory()
  await using first = await firstStart(dir)
  const { task_id: id } = await first.client.submit({ type: "echo", payload: "kept" })
  expect(await first.process.stop("SIGINT")).toBe(0)
  expect(isAlive(first.redisPid)).toBeFalse()

  await using second = await firstStart(dir)
  expect(second.token).toBe(first.token)
  expect(await second.client.status(id)).toMatchObject({ status: "queued", payload: "kept" })
  expect(await second.process.stop("SIGINT")).toBe(0)
  expect(isAlive(second.redisPid)).toBeFalse()
})

test("Ctrl-C that arrives twice, as through a shell, does not cut the stop short", async () => {
  await using dir = await directory()
  await using broker = await firstStart(dir)
  broker.process.signal("SIGINT")
  expect(await broker.process.stop("SIGTERM")).toBe(0)
  expect(isAlive(broker.redisPid)).toBeFalse()
})

test("a stop right after work keeps the last counts and logs no warning", async () => {
  await using redis = await testRedis()
  await using first = await startBroker(redis.socket)
  await first.client.submit({ type: "echo" })
  await first.client.lease({ worker: "w1" })
  expect(await first.process.stop("SIGTERM")).toBe(0)
  const said = first.process.log.filter(({ message }) => message.startsWith("Redis is"))
  expect(said).toEqual([])

  await using second = await startBroker(redis.socket)
  const textOf = async (path: string) =>
    (await fetch(`${second.url}${path}`, { headers: { "X-API-Token": TOKEN } })).text()
  expect(JSON.parse(await textOf("/queues/default")).rates.submitted).toBeGreaterThan(0)
  expect(await textOf("/workers")).toContain('"w1"')
})

test.each(["SIGTERM", "SIGHUP"] as const)(
  "%s answers long polls without tasks, and the broker exits with 0",
  async signal => {
    await using redis = await testRedis()
    await using direct = new DirectQueue(redis.socket)
    await using broker = await startBroker(redis.socket)
    const headers = { "X-API-Token": TOKEN }
    const one = fetch(`${broker.url}/get?queue=poll-one&wait_ms=20000`, { headers })
    const many = broker.client.lease({ queues: ["poll-many"], wait_ms: 20_000 })
    // While a request waits, the broker subscribes to the channel of its queue.
    const channels = () => direct.redis.pubsub("CHANNELS", "tq:{poll-*}:wake")
    await until("both wait", async () => (await channels()).length === 2)
    expect(await broker.process.stop(signal)).toBe(0)
    expect((await one).status).toBe(204)
    expect(await many).toEqual({ tasks: [] })
  },
)

/** A submit that has reached Redis, which holds its answer back until it is released. */
async function heldSubmit(all: AsyncDisposableStack, env: Record<string, string> = {}) {
  const redis = all.use(await testRedis())
  const direct = all.use(new DirectQueue(redis.socket))
  const broker = all.use(await startBroker(redis.socket, { REDIS_TIMEOUT_MS: "20000", ...env }))
  await broker.client.submit({ type: "echo" })
  await direct.redis.client("PAUSE", 60_000, "WRITE")
  const submitted = broker.client.submit({ type: "echo" }).then(
    ({ status }) => status as string,
    (error: Error) => error.name,
  )
  const isHeld = async () => (await direct.redis.info("clients")).includes("blocked_clients:1")
  await until("the submit has reached Redis", isHeld)
  return { redis, broker, submitted, goOn: () => direct.redis.client("UNPAUSE") }
}

test("SIGTERM lets requests finish and refuses new connections", async () => {
  await using all = new AsyncDisposableStack()
  const { broker, submitted, goOn } = await heldSubmit(all)
  broker.process.signal("SIGTERM")
  await until("no new connections", () => refusesConnections(broker.url))
  expect(broker.process.running).toBeTrue()
  await goOn()
  expect(await submitted).toBe("queued")
  expect(await broker.process.ended()).toBe(0)
})

test("a request that does not end is aborted after SHUTDOWN_MS, even if Redis is frozen", async () => {
  await using all = new AsyncDisposableStack()
  const { redis, broker, submitted } = await heldSubmit(all, { SHUTDOWN_MS: "100" })
  process.kill(redis.pid, "SIGSTOP")
  const from = performance.now()
  expect(await broker.process.stop("SIGTERM")).toBe(0)
  expect(performance.now() - from).toBeWithin(100, 9_000) // the default of SHUTDOWN_MS is 10 s
  expect(await submitted).toBe("BrokerUnreachable")
  expect(await broker.process.logged("Requests were aborted")).toMatchObject({ level: "warn", requests: 1 })
})

test("a start with invalid values names all of them and exits with 1", async () => {
  const bad = { LOG_LEVEL: "loud", API_SECRET_TOKEN: "two words" }
  await using broker = brokerProcess({ ...bad, PORT: "70000", MAX_RETRIES: "-1", REDIS_URL: "localhost" })
  await using worker = workerProcess({ ...bad, CONCURRENCY: "0", QUEUES: "a b", BROKER_URL: "localhost" })
  const expected: [Process, string[]][] = [
    [broker, ["LOG_LEVEL", "API_SECRET_TOKEN", "PORT", "MAX_RETRIES", "REDIS_URL"]],
    [worker, ["LOG_LEVEL", "API_SECRET_TOKEN", "CONCURRENCY", "QUEUES", "BROKER_URL"]],
  ]
  for (const [process, names] of expected) {
    expect(await process.ended()).toBe(1)
    const lines = process.stderr.trim().split("\n")
    expect(lines.shift()).toBe("The configuration cannot be used:")
    expect(lines.map(line => line.trim().split(" ")[0]!).sort()).toEqual(names.sort())
  }
})

test("REDIS_URL without a token is refused with what to do", async () => {
  await using broker = brokerProcess({ ...LOCAL, REDIS_URL: "redis://127.0.0.1:1" })
  expect(await broker.ended()).toBe(1)
  expect(broker.stderr).toContain("API_SECRET_TOKEN or API_TOKENS must be set")
  expect(broker.stderr).toContain("openssl rand -hex 32")
})

test("an unreachable Redis is logged with the reason and without a stack", async () => {
  await using broker = brokerProcess({ ...LOCAL, REDIS_URL: "redis://127.0.0.1:1", API_SECRET_TOKEN: TOKEN })
  expect(await broker.ended()).toBe(1)
  const line = await broker.logged("cannot start")
  expect(line.message).toContain("ECONNREFUSED 127.0.0.1:1")
  expect(broker.stderr).not.toContain("    at ")
})

test("a port in use is logged in one line, and no Redis is left behind", async () => {
  await using dir = await directory()
  using taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } })
  await using broker = brokerProcess({ ...LOCAL, PORT: `${taken.port}` }, dir.path)
  expect(await broker.ended()).toBe(1)
  expect(broker.log).toHaveLength(1)
  expect(broker.log[0]!.message).toContain(`Port ${taken.port} is in use`)
  expect(broker.stdout).toBe("")
  expect(await embeddedPid(join(dir.path, ".data"))).toBeUndefined()
})

test.each(["x86_64-conda-linux-gnu", "localhost:5000", "tcp://10.0.0.1:80", "127.0.0.1/8", "192.0.2.1"])(
  "HOST=%s, which is no address of this machine, is logged in one line that says what to set",
  async HOST => {
    await using redis = await testRedis()
    for (const BROKERS of ["1", "2"]) {
      const settings = { API_SECRET_TOKEN: TOKEN, REDIS_URL: redis.socket, PORT: `${freePort()}`, BROKERS }
      await using broker = brokerProcess({ ...settings, HOST })
      expect(await broker.ended()).toBe(1)
      expect(broker.log.map(({ message }) => message)).toEqual([
        expect.stringContaining(`HOST=${HOST} is not an address of this machine: set one of its addresses`),
      ])
    }
  },
)

test("the variables that Kubernetes sets for Services keep neither broker nor worker from starting", async () => {
  await using redis = await testRedis()
  await using runs = await directory()
  const names = ["REDIS", "BROKER", "WORKER", "METRICS", "HEALTH", "BUN", "NODE", "QUEUES", "HANDLERS"]
  const links = Object.assign(
    { PORT: "tcp://10.96.0.12:80" },
    ...names.map(name => ({
      [`${name}_SERVICE_HOST`]: "10.96.0.12",
      [`${name}_SERVICE_PORT`]: "6379",
      [`${name}_PORT`]: "tcp://10.96.0.12:6379",
      [`${name}_PORT_6379_TCP`]: "tcp://10.96.0.12:6379",
      [`${name}_PORT_6379_TCP_PROTO`]: "tcp",
      [`${name}_PORT_6379_TCP_PORT`]: "6379",
      [`${name}_PORT_6379_TCP_ADDR`]: "10.96.0.12",
    })),
  )
  await using broker = await startBroker(redis.socket, { ...links, PORT: "0" })
  await using worker = await startWorker(broker.url, runs, links)
  const { task_id } = await broker.client.submit({ type: "echo", payload: 7 })
  expect(await broker.client.status(task_id, { wait_ms: 20_000 })).toMatchObject({ result: 7 })
  expect([await worker.stop(), await broker.process.stop()]).toEqual([0, 0])
})

test("a broker without free file descriptors says so, and accepts connections again when some are free", async () => {
  await using redis = await testRedis()
  const env = { HOST: "127.0.0.1", PORT: "0", API_SECRET_TOKEN: TOKEN, REDIS_URL: redis.socket }
  await using broker = new Process({
    cmd: ["sh", "-c", 'ulimit -n 60; exec "$@"', "sh", process.execPath, join(ROOT, "broker.ts")],
    env,
  })
  const { url } = await broker.logged("The broker is listening")
  expect(await broker.logged("only 60 open files")).toMatchObject({ level: "warn" })
  const { hostname, port } = new URL(String(url))
  const connect = () => Bun.connect({ hostname, port: Number(port), socket: { data() {} } })
  const sockets = await Promise.all(Array.from({ length: 120 }, connect))
  expect(await broker.logged("The broker accepts no connections until others close")).toMatchObject({
    level: "error",
    limit: 60,
  })
  for (const socket of sockets) socket.terminate()
  await broker.logged("Connections are accepted again")
  expect((await fetch(`${url}/healthz`)).status).toBe(200)
})

test("REDIS_HOST of the original system is supported", async () => {
  const port = `${freePort()}`
  await using _redis = await testRedis({ args: ["--port", port, "--bind", "127.0.0.1"] })
  await using broker = brokerProcess({
    ...LOCAL,
    REDIS_HOST: "127.0.0.1",
    REDIS_PORT: port,
    API_SECRET_TOKEN: TOKEN,
  })
  const { client, process } = await listening(broker, TOKEN)
  expect((await client.submit({ type: "echo" })).status).toBe("queued")
  expect(await process.logged("The broker is listening")).toMatchObject({
    redis: `redis://127.0.0.1:${port}`,
  })
  // This Redis writes nothing to disk, so a warning is expected.
  expect((await process.logged("appendonly yes")).level).toBe("warn")
  // A configured token is not printed.
  expect(process.stdout + process.stderr).not.toContain(TOKEN)
})

/** A broker, and a worker process that runs a task of type `hold`. */
async function holding(all: AsyncDisposableStack, env: Record<string, string>) {
  const redis = all.use(await testRedis())
  const runs = all.use(await directory())
  const { url, client } = all.use(await startBroker(redis.socket))
  const worker = all.use(await startWorker(url, runs, env))
  const { task_id: id } = await client.submit({ type: "hold" })
  await until("the run has begun", async () => (await runsByWorker(runs.path)).length === 1)
  return { client, worker, id, go: () => writeFile(join(runs.path, "go"), "") }
}

for (const signal of ["SIGTERM", "SIGHUP"] as const) {
  test(`a worker finishes its task on ${signal}`, async () => {
    await using all = new AsyncDisposableStack()
    const { client, worker, id, go } = await holding(all, {})
    worker.signal(signal)
    await worker.logged("The worker is stopping")
    await go()
    expect(await worker.ended()).toBe(0)
    expect(await client.status(id)).toMatchObject({ status: "done", result: "held", attempt: 1, crashes: 0 })
  })

  test(`a worker on ${signal} releases tasks that do not end within DRAIN_MS, without counting a failure`, async () => {
    await using all = new AsyncDisposableStack()
    const { client, worker, id } = await holding(all, { DRAIN_MS: "50" })
    expect(await worker.stop(signal)).toBe(0)
    expect(await client.status(id)).toMatchObject({ status: "queued", releases: 1, retries: 0, crashes: 0 })
  })
}

test("a broker and a worker that ignore SIGHUP from the start, as under nohup, go on", async () => {
  await using redis = await testRedis()
  const ignoring = (file: string, env: Record<string, string>) =>
    new Process({
      cmd: ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", process.execPath, join(ROOT, file)],
      env,
    })
  const secret = { API_SECRET_TOKEN: TOKEN }
  await using broker = await listening(
    ignoring("broker.ts", { ...LOCAL, ...secret, REDIS_URL: redis.socket }),
    TOKEN,
  )
  await using worker = ignoring("worker.ts", { ...secret, BROKER_URL: broker.url })
  await worker.logged("The worker is ready")
  for (const process of [broker.process, worker]) process.signal("SIGHUP")
  const { task_id } = await broker.client.submit({ type: "echo", payload: 7 })
  expect(await broker.client.status(task_id, { wait_ms: 20_000 })).toMatchObject({ result: 7 })
  expect([await worker.stop(), await broker.process.stop()]).toEqual([0, 0])
})

for (const signal of ["SIGINT", "SIGTERM"] as const)
  test(`bun run start runs tasks, and ${signal} stops everything after the running task is done`, async () => {
    await using dir = await directory()
    const port = `${freePort()}`
    const url = `http://127.0.0.1:${port}`
    await using start = new Process({
      cmd: [process.execPath, "run", "start"],
      env: {
        HOST: "127.0.0.1",
        PORT: port,
        BROKER_URL: url,
        DATA_DIR: join(dir.path, ".data"),
        HANDLERS: join(import.meta.dir, "../support/handlers.ts"),
        RUNS: dir.path,
      },
      cwd: ROOT,
      ownGroup: true,
    })
    await start.logged("The broker is listening")
    const { name } = await start.logged("The worker is ready")
    const redisPid = (await embeddedPid(join(dir.path, ".data")))!
    const token = (await Bun.file(join(dir.path, ".data/token")).text()).trim()
    const client = new Client({ url, token })
    const { task_id: id } = await client.submit({ type: "hold" })
    await until("the run has begun", async () => (await runsByWorker(dir.path)).length === 1)

    // To the whole foreground process group, like a terminal does on Ctrl-C.
    if (signal === "SIGINT") process.kill(-start.pid, signal)
    else start.signal(signal)
    await start.logged("The worker is stopping")
    await writeFile(join(dir.path, "go"), "")
    expect(await start.ended()).toBe(0)
    expect(await refusesConnections(url)).toBeTrue()
    expect(isAlive(redisPid)).toBeFalse()
    expect(isAlive(Number(String(name).split("-").at(-2)))).toBeFalse()

    await using again = brokerProcess({ ...LOCAL, DATA_DIR: join(dir.path, ".data") })
    const next = await listening(again, token)
    expect(await next.client.status(id)).toMatchObject({ status: "done", attempt: 1 })
    await next.process.stop()
  })
