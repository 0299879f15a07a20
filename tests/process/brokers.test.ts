/** BROKERS=n: several processes on one port act as one broker; and METRICS_PORT. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { readBrokerConfig } from "../../lib/config/config.ts"
import type { ConfigError, Env } from "../../lib/config/reader.ts"
import { Connection, post } from "../bench/http.ts"
import { DirectQueue, TOKEN } from "../support/harness.ts"
import {
  brokerProcess,
  directory,
  embeddedPid,
  freePort,
  isAlive,
  Process,
  ROOT,
  startBroker,
  until,
} from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

const HEADERS = { "x-api-token": TOKEN }
/** With this many connections, the probability that one of two processes gets none is 1 in 30,000. */
const MANY = 16

const two = () => {
  const ports = freePort(3)
  return { HOST: "127.0.0.1", PORT: `${ports}`, BROKERS: "2", METRICS_PORT: `${ports + 1}` }
}

const pidsOf = async (parent: Process) => (await parent.logged("The broker is listening")).brokers as number[]

const gone = (pids: readonly number[]) => until("all are gone", () => !pids.some(isAlive))

/** The environment of two processes on one port with one Redis. */
async function startTwo(all: AsyncDisposableStack) {
  const redis = all.use(await testRedis())
  const env = two()
  const broker = all.use(await startBroker(redis.socket, env))
  const pages = [1, 2].map(i => `http://127.0.0.1:${Number(env.PORT) + i}/metrics`)
  return { ...broker, redis, env, pages, pids: await pidsOf(broker.process) }
}

/** Sends a request on a new connection, which the kernel gives to either process. */
const ask = (url: string, init: RequestInit = {}) =>
  fetch(url, { keepalive: false, ...init, headers: { ...HEADERS, connection: "close", ...init.headers } })

/** A connection to each of the two processes. Their counters show which process has which connection. */
async function connectionToEach(all: AsyncDisposableStack, { url, pages }: { url: string; pages: string[] }) {
  const connections = await Promise.all(
    Array.from({ length: MANY }, async (_, i) => {
      const connection = await Connection.open(url)
      all.defer(() => connection.close())
      await connection.send(post("/submit", TOKEN, `{"type":"t","queue":"by-${i}"}`))
      return connection
    }),
  )
  return Promise.all(
    pages.map(async page => {
      const text = await (await ask(page)).text()
      const counted = [...text.matchAll(/^tq_task_events_total\{queue="by-(\d+)",event="submitted"\} 1$/gm)]
      return counted.map(([, i]) => connections[Number(i)]!)
    }),
  )
}

test("two processes share the connections, and tasks submitted at one are finished at the other", async () => {
  await using all = new AsyncDisposableStack()
  const broker = await startTwo(all)
  const [first, second] = await connectionToEach(all, broker)
  expect(first!.length + second!.length).toBe(MANY)
  for (const [one, other] of [
    [first![0]!, second![0]!],
    [second![0]!, first![0]!],
  ] as const) {
    const leased = one.send(post("/lease", TOKEN, '{"queues":["far"],"wait_ms":20000}'))
    const { task_id } = JSON.parse(await other.send(post("/submit", TOKEN, '{"type":"t","queue":"far"}')))
    const [task] = JSON.parse(await leased).tasks
    expect(task.id).toBe(task_id)
    await other.send(post("/ack", TOKEN, JSON.stringify({ task_id, lease: task.lease })))
    expect(await broker.client.status(task_id)).toMatchObject({ status: "done" })
  }
})

test("sessions, the dashboard and events work the same at every process", async () => {
  await using all = new AsyncDisposableStack()
  const broker = await startTwo(all)
  const { url } = broker
  const [first, second] = await connectionToEach(all, broker)

  const signedIn = await ask(`${url}/session`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token: TOKEN }),
  })
  const cookie = signedIn.headers.get("set-cookie")!.split(";")[0]!
  const page = await (await ask(`${url}/dashboard`)).text()
  const script = /src="(dashboard\/[^"]+\.js)"/.exec(page)![1]!
  const statuses = Array.from({ length: MANY }, async () => [
    (await fetch(`${url}/session`, { keepalive: false, headers: { cookie, connection: "close" } })).status,
    (await ask(`${url}/${script}`)).status,
  ])
  expect(await Promise.all(statuses)).toEqual(Array(MANY).fill([200, 200]))

  const leaving = new AbortController()
  all.defer(() => leaving.abort())
  const events = (await ask(`${url}/events?queue=heard`, { signal: leaving.signal })).body!
  const submit = (i: number) => post("/submit", TOKEN, `{"type":"t","queue":"heard","task_id":"heard-${i}"}`)
  await first![0]!.send(submit(1))
  await second![0]!.send(submit(2))
  let heard = ""
  for await (const chunk of events.pipeThrough(new TextDecoderStream() as never)) {
    heard += chunk
    if (heard.includes("heard-1") && heard.includes("heard-2")) break
  }
})

test.each(["SIGTERM", "SIGHUP"] as const)(
  "%s answers all long polls, and all processes exit with 0",
  async signal => {
    await using all = new AsyncDisposableStack()
    const { process, pids, url, redis } = await startTwo(all)
    const direct = all.use(new DirectQueue(redis.socket))
    const polls = Array.from({ length: MANY }, (_, i) => ask(`${url}/get?queue=poll-${i}&wait_ms=20000`))
    const channels = () => direct.redis.pubsub("CHANNELS", "tq:{poll-*}:wake")
    await until("all wait", async () => (await channels()).length === MANY)
    expect(await process.stop(signal)).toBe(0)
    expect((await Promise.all(polls)).map(({ status }) => status)).toEqual(Array(MANY).fill(204))
    expect(pids.filter(isAlive)).toEqual([])
    expect(process.stdout).toBe("")
  },
)

test("with an embedded Redis the greeting is printed once, and the brokers stop it, even if their parent is killed", async () => {
  await using dir = await directory()
  await using parent = brokerProcess(two(), dir.path)
  const pids = await pidsOf(parent)
  const redisPid = (await embeddedPid(join(dir.path, ".data")))!
  await until("the greeting is printed", () => parent.stdout.includes("/swagger"))
  expect(parent.stdout.split("Submit a task").length).toBe(2)
  expect([...pids, redisPid].every(isAlive)).toBeTrue()
  await parent.kill9()
  await gone([...pids, redisPid])
})

test("a parent that is killed while its brokers start leaves no process behind", async () => {
  await using redis = await testRedis()
  await using direct = new DirectQueue(redis.socket)
  const names = async () => String(await direct.redis.client("LIST"))
  await using parent = brokerProcess({ ...two(), API_SECRET_TOKEN: TOKEN, REDIS_URL: redis.socket })
  await until("the first has reached Redis", async () => (await names()).includes("name=tq-broker"))
  await parent.kill9()
  await until("none is there", async () => !(await names()).includes("name=tq-broker"))
})

test("a killed process is replaced, and the others answer in the meantime", async () => {
  await using all = new AsyncDisposableStack()
  const { process: parent, pids, url, pages } = await startTwo(all)
  process.kill(pids[1]!, "SIGKILL")
  expect(await parent.logged("ended unexpectedly")).toMatchObject({
    level: "error",
    nth: 1,
    pid: pids[1],
    ended_with: "SIGKILL",
  })
  expect((await ask(`${url}/readyz`)).status).toBe(200)
  const next = await parent.logged("A broker process is listening")
  expect(next).toMatchObject({ level: "info", nth: 1 })
  expect((await ask(pages[1]!)).status).toBe(200)
  // It is replaced again.
  process.kill(Number(next.pid), "SIGKILL")
  const listens = () => parent.log.filter(({ message }) => message === "A broker process is listening")
  await until("a third one listens", () => listens().length === 2)
  expect(await parent.stop()).toBe(0)
  await gone([...pids, ...listens().map(({ pid }) => Number(pid))])
})

test("a second signal also ends a frozen process", async () => {
  await using all = new AsyncDisposableStack()
  const { process: parent, pids } = await startTwo(all)
  process.kill(pids[0]!, "SIGSTOP")
  all.defer(() => void (isAlive(pids[0]!) && process.kill(pids[0]!, "SIGKILL")))
  // Signals within the first half second count as one.
  await until("it has ended", () => {
    parent.signal("SIGTERM")
    return !parent.running
  })
  expect(await parent.ended()).toBe(1)
  await gone(pids)
})

test("a port in use is refused in one line, whether its owner shares it or not", async () => {
  await using all = new AsyncDisposableStack()
  const { env, redis } = await startTwo(all)
  using taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } })
  for (const port of [env.PORT, `${taken.port}`]) {
    const given = { ...two(), PORT: port, API_SECRET_TOKEN: TOKEN, REDIS_URL: redis.socket }
    await using broker = brokerProcess(given)
    expect(await broker.ended()).toBe(1)
    expect(broker.log.map(({ message }) => message)).toEqual([
      expect.stringContaining(`Port ${port} is in use`),
    ])
  }
})

test("if the first process cannot start, that is logged once; if another cannot, all exit with 1", async () => {
  await using nowhere = brokerProcess({
    ...two(),
    API_SECRET_TOKEN: TOKEN,
    REDIS_URL: "redis://127.0.0.1:1",
  })
  expect(await nowhere.ended()).toBe(1)
  expect(nowhere.log.filter(({ message }) => message.includes("cannot start"))).toHaveLength(1)

  await using redis = await testRedis()
  await using direct = new DirectQueue(redis.socket)
  const env = two()
  const port = Number(env.METRICS_PORT) + 1
  using _taken = Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } })
  await using broker = brokerProcess({ ...env, API_SECRET_TOKEN: TOKEN, REDIS_URL: redis.socket })
  expect(await broker.ended()).toBe(1)
  expect((await broker.logged("cannot start")).message).toContain(`set METRICS_PORT to another`)
  expect(broker.log.some(({ message }) => message === "The broker is listening")).toBeFalse()
  expect(String(await direct.redis.client("LIST"))).not.toContain("name=tq-broker")
})

test("bun run start stops all of them", async () => {
  await using dir = await directory()
  const env = two()
  await using start = new Process({
    cmd: [process.execPath, "run", "start"],
    env: { ...env, BROKER_URL: `http://127.0.0.1:${env.PORT}`, DATA_DIR: join(dir.path, ".data") },
    cwd: ROOT,
    ownGroup: true,
  })
  const pids = await pidsOf(start)
  await start.logged("The worker is ready")
  expect(await start.stop("SIGTERM")).toBe(0)
  expect(pids.filter(isAlive)).toEqual([])
})

test("METRICS_PORT serves only GET /metrics, with the access rules of the main port", async () => {
  await using redis = await testRedis()
  const port = freePort()
  const url = `http://127.0.0.1:${port}`
  await using broker = await startBroker(redis.socket, { METRICS_PORT: `${port}` })
  expect(await broker.process.logged("The broker is listening")).toMatchObject({
    metrics: [`${url}/metrics`],
  })
  expect((await fetch(`${url}/metrics`)).status).toBe(401)
  const page = await fetch(`${url}/metrics`, { headers: HEADERS })
  expect([page.status, (await page.text()).includes("tq_redis_up 1")]).toEqual([200, true])
  expect((await fetch(`${url}/metrics`, { headers: HEADERS, method: "POST" })).status).toBe(404)
  expect((await fetch(`${url}/queues`, { headers: HEADERS })).status).toBe(404)
  // A Host header cannot direct the request to another page.
  const host = `${url.slice(7)}/queues?`
  expect(await (await fetch(`${url}/metrics`, { headers: { ...HEADERS, host } })).text()).toStartWith(
    "# HELP",
  )
  expect(await broker.process.stop()).toBe(0)
})

test("several brokers without METRICS_PORT log a warning, and METRICS_PUBLIC applies to the metrics port", async () => {
  await using redis = await testRedis()
  await using silent = await startBroker(redis.socket, { ...two(), METRICS_PORT: "" })
  expect((await silent.process.logged("set METRICS_PORT")).level).toBe("warn")
  const env = two()
  await using open = await startBroker(redis.socket, { ...env, METRICS_PUBLIC: "true" })
  for (const i of [1, 2])
    expect((await fetch(`http://127.0.0.1:${Number(env.PORT) + i}/metrics`)).status).toBe(200)
  for (const { process } of [silent, open]) expect(await process.stop()).toBe(0)
})

test("the argument --nth is refused without a parent", async () => {
  await using child = new Process({ cmd: [process.execPath, join(ROOT, "broker.ts"), "--nth", "0"] })
  expect(await child.ended()).toBe(2)
  expect(child.stderr).toStartWith('broker: unknown argument "--nth"')
})

test("settings that several brokers cannot share are refused with an explanation", () => {
  const problems = (env: Env) => {
    try {
      return [readBrokerConfig(env).brokers]
    } catch (error) {
      return (error as ConfigError).problems
    }
  }
  expect(problems({ BROKERS: "64", METRICS_PORT: "65472" })).toEqual([64])
  for (const bad of ["0", "65", "two", "-1", "1.5"])
    expect(problems({ BROKERS: bad })).toEqual(["BROKERS must be a whole number from 1 to 64"])
  expect(problems({ METRICS_PORT: "65536" })).toEqual(["METRICS_PORT must be a whole number from 0 to 65535"])
  expect(problems({ BROKERS: "2", PORT: "0" })).toEqual([
    "BROKERS above 1 requires a fixed PORT: with 0 each process would get a different port",
  ])
  expect(problems({ BROKERS: "64", METRICS_PORT: "65473" })).toEqual([
    "METRICS_PORT is too high: with BROKERS=64 the last process would need port 65536",
  ])
  expect(problems({ BROKERS: "2", PORT: "5001", METRICS_PORT: "5000" })).toEqual([
    "PORT must not be one of the ports of the metrics, 5000 to 5001: change PORT or METRICS_PORT",
  ])
  expect(problems({ BROKERS: "2", PORT: "5002", METRICS_PORT: "5000" })).toEqual([2])
  expect(problems({ PORT: "5000", METRICS_PORT: "5000" })).toHaveLength(1)
  const platform = Object.getOwnPropertyDescriptor(process, "platform")!
  Object.defineProperty(process, "platform", { value: "darwin" })
  try {
    expect(problems({ BROKERS: "2" })[0]).toStartWith("BROKERS above 1 requires Linux")
    expect(problems({ BROKERS: "1" })).toEqual([1])
  } finally {
    Object.defineProperty(process, "platform", platform)
  }
})
