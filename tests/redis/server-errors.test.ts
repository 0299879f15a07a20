/** What the broker answers and logs while Redis answers but refuses commands. */
import { expect, test } from "bun:test"
import { mkdir } from "node:fs/promises"
import type { Fields, Log } from "../../lib/log.ts"
import { commandConnection, connect } from "../../lib/redis/connection.ts"
import { OutageLog } from "../../lib/redis/outage-log.ts"
import { Store } from "../../lib/redis/store.ts"
import { DirectQueue, freshName, type TestBroker, testBroker, until } from "../support/harness.ts"
import { freePort } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"
import { answered, post, problem, submitted } from "../support/requests.ts"

/** The lines that a broker logs about Redis. */
function recordedLog() {
  const lines: string[] = []
  const add = (message: string, { error = "" }: Fields = {}) => lines.push(`${message} ${error}`.trim())
  const log: Log = { debug: () => {}, info: add, warn: add, error: add }
  return { log, lines: (word: string) => lines.filter(line => line.includes(word)) }
}

const ready = ({ url }: TestBroker) => fetch(`${url}/readyz`)
const becomesReady = (broker: TestBroker) =>
  until("the broker is ready", async () => (await ready(broker)).status === 200)

async function openStore(url: string) {
  const store = await Store.open({ url, timeoutMs: 20_000, name: "tq-broker" }, recordedLog().log)
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close(0) })
}

type Command = (...words: [string, ...string[]]) => Promise<unknown>

/** Makes Redis refuse writes and accept them again, by the first word of the error. */
const REFUSALS: Record<
  string,
  { begin: (call: Command) => Promise<unknown>; end: (call: Command) => Promise<unknown> }
> = {
  MISCONF: {
    async begin(call) {
      const [, dir] = (await call("CONFIG", "GET", "dir")) as [string, string]
      await mkdir(`${dir}/dump.rdb/full`, { recursive: true })
      await call("CONFIG", "SET", "save", "3600 1")
      await call("SET", "a", "1")
      await call("BGSAVE")
      await until("the save has failed", async () => /bgsave_status:err/.test(String(await call("INFO"))))
    },
    end: call => call("CONFIG", "SET", "save", ""),
  },
  NOREPLICAS: {
    begin: call => call("CONFIG", "SET", "min-replicas-to-write", "1"),
    end: call => call("CONFIG", "SET", "min-replicas-to-write", "0"),
  },
  READONLY: {
    begin: call => call("REPLICAOF", "127.0.0.1", "1"),
    end: call => call("REPLICAOF", "NO", "ONE"),
  },
}

test.each(Object.keys(REFUSALS))(
  "while Redis answers %s, /readyz and refused calls repeat its words, and the log says when it begins and ends",
  async word => {
    await using server = await testRedis()
    const { log, lines } = recordedLog()
    await using broker = await testBroker({}, server.socket, log)
    await using direct = new DirectQueue(server.socket)
    await submitted(broker, { type: "a" })
    const call: Command = (name, ...args) => direct.redis.call(name, ...args)
    await REFUSALS[word]!.begin(call)
    const refused = { status: 503, code: "redis_unavailable", detail: expect.stringContaining(`: ${word} `) }
    expect(await problem(post(broker, "/submit", { type: "a" }))).toMatchObject(refused)
    expect(await problem(post(broker, "/submit", { type: "a", queue: freshName() }))).toMatchObject(refused)
    expect(await problem(post(broker, "/lease", {}))).toMatchObject(refused)
    expect(await problem(ready(broker))).toMatchObject(refused)
    await REFUSALS[word]!.end(call)
    await becomesReady(broker)
    await submitted(broker, { type: "a" })
    await until("the log has the end", () => lines("accepts").length > 0)
    expect(lines("Redis refuses")).toEqual([
      expect.stringMatching(new RegExp(`^Redis refuses commands ${word} `)),
    ])
    expect(lines("Redis accepts")).toEqual(["Redis accepts commands again"])
  },
)

test("a connection on which many replies say READONLY is given up once", async () => {
  await using server = await testRedis()
  const target = { url: server.socket, timeoutMs: 20_000, name: "tq-broker" }
  const redis = commandConnection(target, new OutageLog(recordedLog().log))
  await connect(redis)
  await redis.call("REPLICAOF", "127.0.0.1", "1")
  const { stream } = redis
  const before = stream.listenerCount("close")
  await Promise.allSettled(Array.from({ length: 30 }, () => redis.set("a", "b")))
  // Bun warns of more than ten listeners on stderr, in the middle of the log.
  expect(stream.listenerCount("close")).toBeLessThanOrEqual(before + 1)
  redis.disconnect()
})

test("a broker without any calls logs what /readyz finds, once", async () => {
  await using server = await testRedis()
  const { log, lines } = recordedLog()
  await using broker = await testBroker({}, server.socket, log)
  await using direct = new DirectQueue(server.socket)
  await direct.redis.config("SET", "min-replicas-to-write", 1)
  for (let i = 0; i < 3; i++) expect((await ready(broker)).status).toBe(503)
  expect(lines("Redis refuses")).toHaveLength(1)
})

test("with Redis full, /readyz stays 200 and reports that new tasks are refused, and this is logged once", async () => {
  await using server = await testRedis({ args: ["--maxmemory-policy", "noeviction"] })
  const { log, lines } = recordedLog()
  await using broker = await testBroker({}, server.socket, log)
  await using direct = new DirectQueue(server.socket)
  await submitted(broker, { type: "a" })
  expect(await answered(ready(broker))).not.toHaveProperty("degraded")
  await direct.redis.config("SET", "maxmemory", 1)
  expect((await problem(post(broker, "/submit", { type: "a" }))).code).toBe("out_of_memory")
  expect(await answered(ready(broker))).toMatchObject({
    status: "ready",
    degraded: [expect.stringContaining("maxmemory")],
  })
  await direct.redis.config("SET", "maxmemory", 0)
  await until("the log has the end", () => lines("Redis accepts").length > 0)
  expect(lines("Redis refuses")).toEqual([expect.stringContaining("OOM")])
})

test("with Redis full, it is logged once that the schedules of a queue create no tasks", async () => {
  await using server = await testRedis({ args: ["--maxmemory-policy", "noeviction"] })
  const { log, lines } = recordedLog()
  await using broker = await testBroker({}, server.socket, log)
  await using direct = new DirectQueue(server.socket)
  const schedule = { every_ms: 1_000, on_missed: "one", task: { type: "a" } }
  expect((await broker.call("PUT", "/schedules/q:s", schedule)).status).toBe(200)
  await direct.redis.config("SET", "maxmemory", 1)
  const { scheduleFires } = broker.queue.parts.counters
  const isTried = () => until("it has failed three times", () => scheduleFires.failed >= 3)
  await isTried()
  expect(lines("Schedules could not")).toHaveLength(1)
  await direct.redis.config("SET", "maxmemory", 0)
  const fired = scheduleFires.fired
  await until("it fires again", () => scheduleFires.fired > fired)
  scheduleFires.failed = 0
  await direct.redis.config("SET", "maxmemory", 1)
  await isTried()
  expect(lines("Schedules could not")).toHaveLength(2)
})

test("with Redis full, operators pause, resume, limit, cancel, drain, purge and retry", async () => {
  await using server = await testRedis({ args: ["--maxmemory-policy", "noeviction"] })
  await using broker = await testBroker({}, server.socket)
  await using direct = new DirectQueue(server.socket)
  const [waiting, failing] = [
    await submitted(broker, { type: "a", queue: "q" }),
    await submitted(broker, { type: "a", queue: "dying", max_retries: 0 }),
  ]
  await post(broker, "/lease", { queues: ["dying"], worker: "w" })
  await post(broker, "/ack", { task_id: failing, status: "failed" })
  await until("the worker is known", async () => {
    const { workers } = (await answered(broker.call("GET", "/workers"))) as { workers: unknown[] }
    return workers.length === 1
  })
  await direct.redis.config("SET", "maxmemory", 1)
  const status = async (method: string, path: string, body?: unknown) =>
    (await broker.call(method, path, body)).status
  // One broker knows the queue; for the other it is new.
  await using second = await testBroker({}, server.socket)
  for (const queue of ["q", "new"]) {
    expect(await status("POST", `/queues/${queue}/pause`, { reason: "memory" })).toBe(200)
    expect(await status("POST", `/queues/${queue}/resume`)).toBe(200)
    const settings = { concurrency: 2, rate: { per_second: 5 }, defaults: { priority: 3 } }
    expect(await status("PUT", `/queues/${queue}/settings`, settings)).toBe(200)
    expect((await second.call("POST", `/queues/${queue}/pause`)).status).toBe(200)
    expect((await second.call("PUT", `/queues/${queue}/settings`, {})).status).toBe(200)
  }
  expect(await status("POST", `/cancel/${waiting}`)).toBe(200)
  expect(await status("POST", "/workers/w/drain")).toBe(200)
  expect(await status("DELETE", "/workers/w/drain")).toBe(200)
  expect(await status("POST", `/dlq/retry/${failing}`)).toBe(200)
  expect(await status("POST", "/queues/dying/purge", { state: "queued" })).toBe(200)
  expect(await status("GET", "/queues")).toBe(200)
  expect(await status("POST", "/audit?fix=true")).toBe(200)
  expect((await problem(post(broker, "/submit", { type: "a", queue: "q" }))).code).toBe("out_of_memory")
  expect((await problem(post(broker, "/submit", { type: "a", queue: "other" }))).code).toBe("out_of_memory")
})

test("a Redis that takes no more clients is reported in its words", async () => {
  const port = freePort()
  await using server = await testRedis({ args: ["--port", `${port}`] })
  await using direct = new DirectQueue(server.socket)
  await direct.redis.config("SET", "maxclients", 1)
  const started = await testBroker({}, { url: `redis://127.0.0.1:${port}` }).then(
    () => "it started",
    (error: Error) => error.message,
  )
  expect(started).toContain("max number of clients")
  await direct.redis.config("SET", "maxclients", 100)
  const { log, lines } = recordedLog()
  await using broker = await testBroker({}, { url: `redis://127.0.0.1:${port}` }, log)
  await direct.redis.config("SET", "maxclients", 1)
  await direct.redis.call("CLIENT", "KILL", "SKIPME", "yes")
  await until("/readyz says it", async () => {
    const { detail } = (await (await ready(broker)).json()) as { detail?: string }
    return detail?.includes("max number of clients")
  })
  expect((await problem(post(broker, "/submit", { type: "a" }))).detail).toContain("max number of clients")
  await direct.redis.config("SET", "maxclients", 100)
  await becomesReady(broker)
  // The second connection may be refused only after the first is up again: then that is another outage.
  expect(lines("Redis is unavailable").length).toBeWithin(1, 3)
})

test("a flood of /readyz costs Redis a few commands", async () => {
  await using server = await testRedis()
  await using broker = await testBroker({}, server.socket)
  await using direct = new DirectQueue(server.socket)
  const evals = async () =>
    Number(/cmdstat_eval:calls=(\d+)/.exec(await direct.redis.info("commandstats"))?.[1] ?? 0)
  const before = await evals()
  const began = performance.now()
  for (let i = 0; i < 20; i++) await Promise.all(Array.from({ length: 20 }, () => ready(broker)))
  const seconds = Math.ceil((performance.now() - began) / 1_000)
  expect((await evals()) - before).toBeLessThanOrEqual(5 * (seconds + 1))
})

test("while a script blocks Redis, /readyz and refused calls say BUSY, and so does the log", async () => {
  await using server = await testRedis({ args: ["--busy-reply-threshold", "100"] })
  const { log, lines } = recordedLog()
  await using broker = await testBroker({}, server.socket, log)
  await using direct = new DirectQueue(server.socket)
  await using other = new DirectQueue(server.socket)
  await submitted(broker, { type: "a" })
  const endless = direct.redis.eval("while true do end", 0).catch(() => {})
  await until("Redis is busy", async () => String(await other.redis.ping().catch(String)).includes("BUSY"))
  const refused = { status: 503, code: "redis_unavailable", detail: expect.stringContaining(": BUSY ") }
  expect(await problem(ready(broker))).toMatchObject(refused)
  expect(await problem(post(broker, "/submit", { type: "a" }))).toMatchObject(refused)
  await other.redis.script("KILL")
  await endless
  await becomesReady(broker)
  await until("the log has the end", () => lines("Redis accepts").length > 0)
  expect(lines("Redis refuses")).toEqual([expect.stringMatching(/ BUSY /)])
})

test("a request whose script an operator kills gets 503, and may be repeated", async () => {
  await using server = await testRedis({ args: ["--busy-reply-threshold", "100"] })
  await using store = await openStore(server.socket)
  await using other = new DirectQueue(server.socket)
  await other.redis.ping()
  const text = "#!lua\nwhile true do redis.call('GET', KEYS[1]) end"
  const sha = new Bun.CryptoHasher("sha1").update(text).digest("hex")
  const running = store.run({ text, sha }, ["a"], [], false).catch(error => error)
  await until("it is killed", () =>
    other.redis.script("KILL").then(
      () => true,
      () => false,
    ),
  )
  expect(await running).toMatchObject({
    reason: "redis_unavailable",
    facts: { detail: expect.stringContaining("This request changed nothing") },
  })
})

test("a change that waits for replicas while its Redis becomes one gets 503, and the broker connects again", async () => {
  const port = freePort()
  await using server = await testRedis({ args: ["--port", `${port}`] })
  await using replica = await testRedis({ args: ["--replicaof", "127.0.0.1", `${port}`] })
  await using direct = new DirectQueue(server.socket)
  const { redis } = direct
  const isReplicated = async () => Number(await redis.call("WAIT", 1, 100)) === 1
  await until("the replica is connected", isReplicated)
  const { log, lines } = recordedLog()
  await using broker = await testBroker({ waitReplicas: 1, redisTimeoutMs: 4_000 }, server.socket, log)
  await submitted(broker, { type: "a" })
  const writes = async () =>
    /id=(\d+) .*name=tq-broker-writes/.exec(String(await redis.call("CLIENT", "LIST")))?.[1]
  const isWaiting = async () => (await redis.info("clients")).includes("blocked_clients:1")
  const demote = () => redis.call("REPLICAOF", "127.0.0.1", "1")

  process.kill(replica.pid, "SIGSTOP")
  const waiting = post(broker, "/submit", { type: "b" })
  await until("it waits", isWaiting)
  await demote()
  expect(await problem(waiting)).toMatchObject({
    status: 503,
    code: "redis_unavailable",
    detail: expect.stringContaining("may have taken effect"),
  })
  expect(lines("A request failed")).toEqual([])

  await redis.call("REPLICAOF", "NO", "ONE")
  const code = async () => (await problem(post(broker, "/submit", { type: "c" }))).code
  await until("too few replicas confirm", async () => (await code()) === "not_replicated")
  // The broker sends no changes now, so only its WAIT finds out that this is no master.
  const before = await writes()
  await demote()
  await until("it has connected again", async () => ![undefined, before].includes(await writes()))
})

test("while Redis loads its data, /readyz and refused calls say so", async () => {
  await using server = await testRedis({ aof: "always", args: ["--key-load-delay", "200"] })
  await using broker = await testBroker({}, server.socket)
  {
    // While it loads, Redis answers others once per 1,024 commands.
    await using direct = new DirectQueue(server.socket)
    await Promise.all(Array.from({ length: 15_000 }, (_, i) => direct.redis.set("a", i)))
  }
  await server.kill9()
  const details = new Set<unknown>()
  let isBack = false
  const restarted = server.restart().then(() => (isBack = true))
  while (!isBack) {
    details.add(((await (await ready(broker)).json()) as { detail?: string }).detail)
    details.add(((await (await post(broker, "/lease", {})).json()) as { detail?: string }).detail)
    await Bun.sleep(20)
  }
  await restarted
  expect([...details].filter(detail => String(detail).includes(": LOADING "))).not.toEqual([])
})

test("while Redis does not answer, nothing is said about its data", async () => {
  await using server = await testRedis()
  await using broker = await testBroker({ redisTimeoutMs: 200 }, server.socket)
  process.kill(server.pid, "SIGSTOP")
  try {
    for (let i = 0; i < 5; i++) {
      expect((await problem(post(broker, "/submit", { type: "a" }))).detail).toContain("could not be reached")
      await Bun.sleep(50)
    }
  } finally {
    process.kill(server.pid, "SIGCONT")
  }
  await becomesReady(broker)
})
