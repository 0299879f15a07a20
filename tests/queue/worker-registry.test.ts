/** Workers: how they are listed, counted and drained; and the rates of queues. */
import { describe, expect, test } from "bun:test"
import { Client } from "../../lib/client.ts"
import { type BrokerConfig, type RedisAddress, readBrokerConfig } from "../../lib/config/config.ts"
import type { Handler } from "../../lib/handlers.ts"
import { BUILT_IN } from "../../lib/handlers.ts"
import { createLog } from "../../lib/log.ts"
import { DRAINS_CHANNEL, RATES, WORKERS, WORKERS_DRAINS, WORKERS_SEEN } from "../../lib/redis/keys.ts"
import type { QueueView, WorkersAnswer, WorkerView } from "../../lib/wire/managing.ts"
import { TaskRunner } from "../../lib/worker/task-runner.ts"
import { workerInfo } from "../../lib/worker/task-worker.ts"
import { DirectQueue, freshName, type TestBroker, TOKEN, testBroker, until } from "../support/harness.ts"
import { workerProcess } from "../support/processes.ts"
import { sharedRedis, testRedis } from "../support/redis.ts"

/** Several brokers on one Redis, and direct access to that Redis. */
async function fleet(count = 1, overrides: Partial<BrokerConfig> = {}, socket?: string) {
  const redis = socket ?? (await sharedRedis()).socket
  const brokers: TestBroker[] = []
  for (let i = 0; i < count; i++) brokers.push(await testBroker(overrides, redis as string | RedisAddress))
  const queue = freshName()
  const direct = new DirectQueue(redis, queue)
  const clients = brokers.map(({ url }) => new Client({ url, token: TOKEN, timeoutMs: 20_000 }))
  const all = new AsyncDisposableStack()
  const fleet = {
    brokers,
    direct,
    queue,
    clients,
    broker: brokers[0]!,
    client: clients[0]!,
    /** The product's worker, in this process. It ends with the test. */
    worker(name: string, handlers: Record<string, Handler> = {}, at = 0): TaskRunner {
      const worker = new TaskRunner({
        client: clients[at]!,
        handlers: new Map(Object.entries({ ...BUILT_IN, ...handlers })),
        log: createLog("silent"),
        name,
        info: workerInfo(),
        queues: [queue],
        concurrency: 4,
        drainMs: 5_000,
        delays: { firstMs: 5, capMs: 20 },
      })
      all.defer(async () => void (await worker.stop()))
      return worker
    },
    async seen(name: string, at = 0): Promise<WorkerView | undefined> {
      const { workers } = await clients[at]!.workers({ limit: 1_000 })
      const named = workers.filter(({ worker }) => worker === name)
      return named.sort((a, b) => b.last_seen_at - a.last_seen_at)[0]
    },
    /** Makes it look as if the worker was last seen `ms` ago. */
    async age(name: string, ms: number): Promise<void> {
      for (const { queue } of brokers) await queue.parts.workers.flush()
      const about = JSON.parse((await direct.redis.hget(WORKERS, name))!)
      for (const queue of Object.keys(about.queues)) about.queues[queue] -= ms
      await direct.redis.hset(WORKERS, name, JSON.stringify(about))
      await direct.redis.zincrby(WORKERS_SEEN, -ms, name)
    },
    async [Symbol.asyncDispose]() {
      await all.disposeAsync()
      for (const broker of brokers) await broker[Symbol.asyncDispose]()
      await direct[Symbol.asyncDispose]()
    },
  }
  return fleet
}

/** The `wait_ms` of long polls, also of the worker. A poll that is not woken ends only after this time. */
const POLL_MS = 20_000

const gateOf = () => Promise.withResolvers<void>()
// biome-ignore lint/suspicious/noExplicitAny: answers of all kinds
const json = async (answer: Response | Promise<Response>): Promise<any> => (await answer).json()

describe("a worker is listed", () => {
  test("with its host and version, its leased tasks and its counts", async () => {
    await using f = await fleet()
    const gate = gateOf()
    f.worker("ours", { wait: () => gate.promise })
    const { task_id } = await f.client.submit({ type: "wait", queue: f.queue })
    await f.client.submitMany([
      ...Array.from({ length: 3 }, () => ({ type: "echo", queue: f.queue })),
      { type: "fail", queue: f.queue, max_retries: 1 },
    ])
    await until("all but one are settled", async () => (await f.seen("ours"))?.failed === 2)
    const { version } = JSON.parse(await Bun.file(`${import.meta.dir}/../../package.json`).text())
    const { host } = workerInfo()
    const before = await f.seen("ours")
    expect(before).toEqual({
      instance: expect.any(String),
      worker: "ours",
      state: "live",
      host,
      version,
      queues: [f.queue],
      concurrency: 4,
      per_minute: expect.any(Number),
      first_seen_at: expect.any(Number),
      last_seen_at: expect.any(Number),
      in_hand: 1,
      tasks: [task_id],
      done: 3,
      failed: 2,
    })
    expect(Math.abs(Date.now() - before!.first_seen_at)).toBeLessThan(60_000)
    gate.resolve()
    await until("it is done", async () => (await f.seen("ours"))?.done === 4)
    expect(await f.seen("ours")).toMatchObject({ in_hand: 0, tasks: [], state: "live" })
  })

  test("if it only leases and acks, with or without a lease in its acks", async () => {
    await using f = await fleet()
    await f.client.submitMany(Array.from({ length: 4 }, () => ({ type: "t", queue: f.queue })))
    const body = { queues: [f.queue], max: 2, worker: "curl", host: "box", version: "1.2+3" }
    const { tasks } = await f.client.lease(body)
    const got = await json(f.broker.call("GET", `/get?queue=${f.queue}&worker=old`))
    expect(await f.seen("curl")).toMatchObject({
      in_hand: 2,
      tasks: expect.arrayContaining(tasks.map(({ id }) => id)),
      host: "box",
      version: "1.2+3",
    })
    await f.client.ack({ task_id: tasks[0]!.id, lease: tasks[0]!.lease })
    await f.client.ack({ task_id: tasks[1]!.id, status: "failed" })
    await f.client.ack({ task_id: got.id })
    expect(await f.seen("curl")).toMatchObject({ in_hand: 0, done: 1, failed: 1, state: "live" })
    expect(await f.seen("old")).toMatchObject({ done: 1, failed: 0 })
    // A client that sends no name is not listed.
    await f.client.lease({ queues: [f.queue] })
    expect((await f.client.workers()).workers.map(({ worker }) => worker)).toEqual(["curl", "old"])
  })

  test("once, with its counts at all brokers", async () => {
    await using f = await fleet(2)
    await f.client.submitMany(Array.from({ length: 5 }, () => ({ type: "t", queue: f.queue })))
    for (const [i, client] of f.clients.entries()) {
      const { tasks } = await client.work({ worker: "two", queues: [f.queue], max: 2, instance: "i" })
      // Acked at the other broker.
      const settle = tasks.map(({ id, lease }) => ({ task_id: id, lease }))
      await f.clients[1 - i]!.work({ worker: "two", instance: "i", settle })
    }
    for (const { queue } of f.brokers) await queue.parts.workers.flush()
    expect((await f.client.workers()).workers).toHaveLength(1)
    await until("both see it", async () => (await f.seen("two", 1))?.done === 4)
    expect(await f.seen("two")).toMatchObject({ done: 4, in_hand: 0 })
  })

  test("page by page, by name, and with `queue` only if it polled that queue", async () => {
    await using f = await fleet()
    const names = Array.from({ length: 5 }, (_, i) => `w${i}`)
    for (const worker of names) await f.client.lease({ queues: [f.queue], worker })
    await f.client.lease({ queues: [f.queue, `${f.queue}.2`], worker: "w2" })
    const pages: string[][] = []
    let cursor: string | undefined
    do {
      const page: WorkersAnswer = await f.client.workers({ limit: 2, ...(cursor ? { cursor } : {}) })
      pages.push(page.workers.map(({ worker }) => worker))
      cursor = page.next
    } while (cursor !== undefined)
    expect(pages).toEqual([["w0", "w1"], ["w2", "w3"], ["w4"]])
    const { workers } = await f.client.workers({ queue: `${f.queue}.2` })
    expect(workers).toMatchObject([{ worker: "w2", queues: [`${f.queue}.2`] }])
  })

  test("as stale if it went silent with tasks, and as gone once their leases have lapsed", async () => {
    await using f = await fleet()
    const { task_id } = await f.client.submit({ type: "t", queue: f.queue, timeout_ms: 3_600_000 })
    await f.client.lease({ queues: [f.queue], worker: "frozen" })
    expect(await f.seen("frozen")).toMatchObject({ state: "live", in_hand: 1 })
    await f.age("frozen", 61_000)
    await until("it is stale", async () => (await f.seen("frozen"))?.state === "stale")
    expect(await f.seen("frozen")).toMatchObject({ in_hand: 1, tasks: [task_id] })
    await f.direct.lapse(task_id)
    expect(await f.seen("frozen")).toMatchObject({ state: "gone", in_hand: 0, tasks: [] })
    await f.client.lease({ queues: [f.queue], worker: "frozen" })
    expect(await f.seen("frozen")).toMatchObject({ state: "live" })
  })

  test("as gone although the clock of Redis was set back after it was seen", async () => {
    await using f = await fleet()
    for (const worker of ["gone", "alive"]) await f.client.lease({ queues: [f.queue], worker })
    for (const worker of ["gone", "alive"]) await f.age(worker, -3_600_000)
    const about = async (worker: string) => JSON.parse((await f.direct.redis.hget(WORKERS, worker))!)
    await f.client.lease({ queues: [`${f.queue}.2`], worker: "alive" })
    expect((await f.seen("gone"))!.last_seen_at).toBeLessThanOrEqual(Date.now())
    expect((await about("alive")).queues[f.queue]).toBeLessThanOrEqual(Date.now())
    await f.direct.redis.zincrby(WORKERS_SEEN, -61_000, "gone")
    await until("it has gone", async () => (await f.seen("gone"))?.state === "gone")
    expect((await f.client.queue(f.queue)).workers).toEqual({ count: 1, names: ["alive"] })
  })

  test("for a day after it was seen; of all workers the newest 10,000 are listed", async () => {
    await using f = await fleet()
    const see = (worker: string) => f.client.lease({ queues: [f.queue], worker })
    await see("yesterday")
    await f.client.drainWorker("yesterday")
    await f.age("yesterday", 86_500_000)
    const crowd = Array.from({ length: 10_000 }, (_, i) => `crowd${i}`)
    await f.direct.redis.zadd(WORKERS_SEEN, ...crowd.flatMap((name, i) => [Date.now() - 1e6 + i, name]))
    const about = JSON.stringify({ first: 1, done: 0, failed: 0, queues: {} })
    await f.direct.redis.hset(WORKERS, ...crowd.flatMap(name => [name, about]))
    await see("today")
    expect((await f.client.workers({ cursor: "toda" })).workers).toMatchObject([{ worker: "today" }])
    expect(await f.direct.redis.zcard(WORKERS_SEEN)).toBe(10_000)
    expect(await f.direct.redis.hlen(WORKERS)).toBe(10_000)
    expect(await f.direct.redis.hmget(WORKERS, "yesterday", "crowd0", "today")).toEqual([
      null,
      null,
      expect.any(String),
    ])
    expect(await f.direct.redis.hlen(WORKERS_DRAINS)).toBe(0)
  })

  test("after an outage of Redis that lost all data, with what was counted during the outage", async () => {
    await using redis = await testRedis()
    await using f = await fleet(1, {}, redis.socket)
    await f.client.submit({ type: "t", queue: f.queue })
    const { tasks } = await f.client.work({ worker: "w", queues: [f.queue], max: 1 })
    const settle = tasks.map(({ id, lease }) => ({ task_id: id, lease }))
    await f.client.work({ worker: "w", settle })
    await redis.kill9()
    await f.broker.queue.parts.workers.flush()
    await redis.restart() // empty
    await until("the worker is listed again", () => f.seen("w").catch(() => undefined))
    expect(await f.seen("w")).toMatchObject({ done: 1, queues: [f.queue] })
  })

  test("with the time when it was seen, however long Redis was unavailable after that", async () => {
    await using redis = await testRedis()
    await using f = await fleet(1, {}, redis.socket)
    await f.client.work({ worker: "w", queues: [f.queue], max: 1 })
    const before = Date.now()
    await redis.kill9()
    await until("some time has passed", () => Date.now() > before + 1_000)
    await f.broker.queue.parts.workers.flush()
    await redis.restart()
    await until("the worker is listed again", () => f.seen("w").catch(() => undefined))
    expect((await f.seen("w"))!.last_seen_at).toBeLessThan(before + 800) // the clock of Redis is known to a few ms
  })

  test("at no cost if no worker polls, and in few commands if many do", async () => {
    await using redis = await testRedis()
    await using f = await fleet(1, {}, redis.socket)
    const written = async () => {
      const stats = await f.direct.redis.info("commandstats")
      return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1] ?? 0)
    }
    for (let i = 0; i < 300; i++) f.broker.queue.parts.workers.recordRequest({ worker: `w${i}` }, ["a", "b"])
    await f.broker.queue.parts.workers.flush()
    const before = await written()
    for (let round = 0; round < 10; round++)
      for (let i = 0; i < 300; i++)
        f.broker.queue.parts.workers.recordRequest({ worker: `w${i}` }, ["a", "b"])
    await f.broker.queue.parts.workers.flush()
    expect(await written()).toBe(before + 3)
    await f.broker.queue.parts.workers.flush()
    expect(await written()).toBe(before + 3)
  })

  test.each([
    ["POST", "/lease", { worker: "<script>" }],
    ["POST", "/work", { worker: "a b" }],
    ["POST", "/work", { worker: "w", host: "\u001b[31m" }],
    ["POST", "/work", { worker: "w", version: "x".repeat(33) }],
    ["POST", "/lease", { worker: "w", instance: "" }],
    ["GET", `/get?worker=${"x".repeat(65)}`, undefined],
    ["GET", "/workers?cursor=a%2Fb", undefined],
    ["GET", "/workers?limit=0", undefined],
    ["GET", "/workers?queue=%2e%2e%2f", undefined],
    ["POST", "/workers/%3Cb%3E/drain", undefined],
    ["POST", "/workers/a%2Fb/drain", undefined],
    ["DELETE", `/workers/${"x".repeat(65)}/drain`, undefined],
  ] as const)("and an invalid name is refused: %s %s %j", async (method, path, body) => {
    await using f = await fleet()
    const answer = await f.broker.call(method, path, body)
    expect([answer.status, (await json(answer)).code]).toEqual([400, "bad_request"])
    expect((await f.client.workers()).workers).toEqual([])
  })

  test("even if its name or its queue is that of a member of Object", async () => {
    await using f = await fleet()
    for (const worker of ["__proto__", "constructor", "1"])
      await f.client.lease({ queues: ["__proto__", "1"], worker })
    expect((await f.client.workers()).workers).toMatchObject([
      { worker: "1", queues: ["1", "__proto__"] },
      { worker: "__proto__", queues: ["1", "__proto__"] },
      { worker: "constructor", queues: ["1", "__proto__"] },
    ])
    expect((await f.client.queue("__proto__")).workers.count).toBe(3)
    expect(await f.client.drainWorker("__proto__")).toMatchObject({ status: "draining" })
    expect(await f.client.lease({ worker: "constructor" })).toEqual({ tasks: [] })
  })
})

describe("a drained worker", () => {
  test("finishes its tasks and ends", async () => {
    await using f = await fleet()
    const gate = gateOf()
    const worker = f.worker("busy", { wait: () => gate.promise })
    const { task_id } = await f.client.submit({ type: "wait", queue: f.queue })
    await until("it has it", async () => (await f.seen("busy"))?.in_hand === 1)
    const drained = await f.client.drainWorker("busy")
    expect(drained).toEqual({ status: "draining", worker: "busy", draining_since: expect.any(Number) })
    expect(await f.client.drainWorker("busy")).toEqual(drained)
    expect(await f.seen("busy")).toMatchObject({
      state: "draining",
      in_hand: 1,
      draining_since: drained.draining_since,
    })
    // It leases no more tasks, although it has free slots.
    const later = await f.client.submit({ type: "echo", queue: f.queue })
    gate.resolve()
    await worker.drained()
    expect(await worker.stop()).toBe(true)
    expect(await f.client.status(task_id)).toMatchObject({ status: "done" })
    expect(await f.client.status(later.task_id)).toMatchObject({ status: "queued", attempt: 0 })
  })

  test("exits with code 0, and works again after a restart", async () => {
    await using f = await fleet()
    const env = {
      BROKER_URL: f.broker.url,
      API_SECRET_TOKEN: TOKEN,
      QUEUES: f.queue,
      WORKER_NAME: "again",
    }
    await using first = workerProcess(env)
    const slow = await f.client.submit({ type: "sleep", payload: { ms: 1_500 }, queue: f.queue })
    await until("it runs", async () => (await f.seen("again"))?.in_hand === 1)
    await f.client.drainWorker("again")
    expect(await first.ended()).toBe(0)
    expect(await f.client.status(slow.task_id)).toMatchObject({ status: "done" })
    await using _second = workerProcess(env)
    const { task_id } = await f.client.submit({ type: "add", payload: [1, 2], queue: f.queue })
    expect(await f.client.status(task_id, { wait_ms: 20_000 })).toMatchObject({ status: "done", result: 3 })
    expect(await f.seen("again")).toMatchObject({ state: "live" })
    expect(await f.seen("again")).not.toHaveProperty("draining_since")
  }, 180_000)

  test("that waits at another broker learns of it at once", async () => {
    await using f = await fleet(2)
    const worker = f.worker("waits", {}, 1)
    await until("it waits", () => f.brokers[1]!.queue.waiting === 1)
    const others = [
      f.clients[1]!.lease({ queues: [f.queue], wait_ms: POLL_MS, worker: "other" }),
      f.broker.call("GET", `/get?queue=${f.queue}&wait_ms=${POLL_MS}&worker=old`),
    ]
    await until("they wait", () => f.brokers[0]!.queue.waiting + f.brokers[1]!.queue.waiting === 3)
    await f.brokers[1]!.queue.parts.workers.flush()
    const from = performance.now()
    await f.client.drainWorker("waits")
    await worker.drained()
    expect(performance.now() - from).toBeLessThan(POLL_MS * 0.75)
    await worker.stop()
    // The other workers keep waiting.
    expect(f.brokers[0]!.queue.waiting + f.brokers[1]!.queue.waiting).toBe(2)
    for (const name of ["other", "old"]) await f.client.drainWorker(name)
    const [lease, got] = await Promise.all(others)
    expect(lease).toEqual({ tasks: [], drain: true })
    expect((got as Response).status).toBe(204)
    expect(performance.now() - from).toBeLessThan(POLL_MS * 0.75)
  })

  test("gets no tasks until the drain is withdrawn, if it sends no instance", async () => {
    await using f = await fleet()
    const lease = () => f.client.lease({ queues: [f.queue], worker: "plain" })
    await lease()
    await f.client.drainWorker("plain")
    await f.client.submit({ type: "t", queue: f.queue })
    expect(await lease()).toEqual({ tasks: [], drain: true })
    expect(await f.client.work({ worker: "plain", settle: [] })).toMatchObject({ drain: true })
    // The drain does not apply to another worker.
    expect(await f.client.work({ worker: "plain2", max: 0 })).toMatchObject({ drain: false })
    for (let i = 0; i < 2; i++)
      expect(await f.client.drainWorker("plain", false)).toEqual({ status: "drain_ended", worker: "plain" })
    expect((await lease()).tasks).toHaveLength(1)
  })

  test("learns of it from a broker that starts later, or that missed the message", async () => {
    await using f = await fleet()
    await f.client.work({ worker: "w", instance: "one" })
    await f.client.drainWorker("w")
    await using late = await testBroker({}, f.direct.redis.options.path!)
    const mustDrain = async (instance: string) =>
      (await json(late.call("POST", "/work", { worker: "w", instance }))).drain
    await until("it knows", () => mustDrain("one"))
    expect(await mustDrain("two")).toBe(false)
    // Withdrawn without a message, as if the message was lost.
    await f.direct.redis.hdel(WORKERS_DRAINS, "w one")
    expect(await mustDrain("one")).toBe(true)
    await f.direct.redis.call("CLIENT", "KILL", "TYPE", "pubsub")
    await until("it has looked again", async () => !(await mustDrain("one")))
    expect((await f.direct.redis.pubsub("NUMSUB", DRAINS_CHANNEL))[1]).toBeGreaterThan(0)
  })

  test("must have been seen before, or the drain is refused", async () => {
    await using f = await fleet()
    for (const method of ["POST", "DELETE"]) {
      const answer = await f.broker.call(method, "/workers/nobody/drain")
      expect([answer.status, (await json(answer)).code]).toEqual([404, "worker_not_found"])
    }
    expect(await f.direct.redis.exists(WORKERS_DRAINS)).toBe(0)
  })
})

test("a bound token sees only its queues, and drains only workers that poll no other queue", async () => {
  const [mine, other] = [freshName(), freshName()]
  const { tokens } = readBrokerConfig({ API_TOKENS: `team:read+operate@${mine}:the-token-of-the-team` })
  await using f = await fleet(1, { tokens })
  const ask = (method: string, path: string) =>
    f.broker.call(method, path, undefined, { headers: { "x-api-token": "the-token-of-the-team" } })
  await f.client.submitMany([
    { type: "t", queue: mine },
    { type: "t", queue: other },
  ])
  const { tasks } = await f.client.lease({ queues: [mine, other], max: 2, worker: "both" })
  await f.client.lease({ queues: [other], worker: "theirs" })
  await f.client.lease({ queues: [mine], worker: "ours" })
  await f.client.work({ worker: "none" })
  const { workers } = (await json(ask("GET", "/workers"))) as WorkersAnswer
  const own = tasks.filter(({ queue }) => queue === mine).map(({ id }) => id)
  expect(workers).toMatchObject([
    { worker: "both", queues: [mine], in_hand: 1, tasks: own },
    { worker: "ours", queues: [mine], in_hand: 0 },
  ])
  expect((await ask("GET", `/workers?queue=${other}`)).status).toBe(403)
  for (const worker of ["both", "theirs", "none"])
    for (const method of ["POST", "DELETE"])
      expect([worker, (await ask(method, `/workers/${worker}/drain`)).status]).toEqual([worker, 403])
  expect((await ask("POST", "/workers/ours/drain")).status).toBe(200)
})

describe("several workers of one name", () => {
  test("are all listed, with their instances, and counted", async () => {
    await using f = await fleet()
    for (const instance of ["a", "b", ""])
      await f.client.lease({ queues: [f.queue], worker: "mailer", ...(instance && { instance }) })
    const { task_id } = await f.client.submit({ type: "t", queue: f.queue })
    const { tasks } = await f.client.lease({ queues: [f.queue], worker: "mailer", instance: "b" })
    await f.client.ack({ task_id: tasks[0]!.id, lease: tasks[0]!.lease })
    const { workers } = await f.client.workers()
    expect(workers.map(({ worker, instance, done }) => [worker, instance, done])).toEqual([
      ["mailer", undefined, 0],
      ["mailer", "a", 0],
      ["mailer", "b", 1],
    ])
    expect(task_id).toBe(tasks[0]!.id)
    expect((await f.client.queue(f.queue)).workers).toEqual({ count: 3, names: ["mailer"] })
    const first = await f.client.workers({ limit: 2 })
    const second = await f.client.workers({ limit: 2, cursor: first.next! })
    expect([...first.workers, ...second.workers]).toEqual(workers)
  })

  test("are all drained, at whatever broker they wait, and one that starts later is not", async () => {
    await using f = await fleet(2)
    const workers = [f.worker("mailer", {}, 0), f.worker("mailer", {}, 1), f.worker("mailer", {}, 1)]
    await until("all wait", () => f.brokers[0]!.queue.waiting === 1 && f.brokers[1]!.queue.waiting === 2)
    for (const { queue } of f.brokers) await queue.parts.workers.flush()
    await f.client.drainWorker("mailer")
    await Promise.all(workers.map(worker => worker.drained()))
    const ask = async (instance: string) => (await f.client.work({ worker: "mailer", instance })).drain
    expect(await ask("later")).toBe(false)
    const { workers: listed } = await f.client.workers()
    expect(listed.map(({ state }) => String(state)).sort()).toEqual([
      "draining",
      "draining",
      "draining",
      "live",
    ])
    await f.client.drainWorker("mailer", false)
    expect((await f.client.workers()).workers.every(({ state }) => state === "live")).toBe(true)
  })

  test("are listed once if the others are earlier runs that have gone", async () => {
    await using f = await fleet()
    for (const instance of ["one", "two"])
      await f.client.lease({ queues: [f.queue], worker: "again", instance })
    await f.age("again one", 61_000)
    await f.age("again two", 3_600_000)
    await until("one is listed", async () => (await f.client.workers()).workers.length === 1)
    expect(await f.seen("again")).toMatchObject({ instance: "one", state: "gone" })
    await f.client.lease({ queues: [f.queue], worker: "again", instance: "three" })
    expect((await f.client.workers()).workers).toMatchObject([{ instance: "three", state: "live" }])
  })

  for (const instance of [undefined, "known"])
    test(`can be drained by the operators of their own queues (instance: ${instance})`, async () => {
      const [mine, other] = [freshName(), freshName()]
      const { tokens } = readBrokerConfig({
        API_TOKENS:
          `mine:work@${mine}:the-token-of-my-workers,other:work@${other}:the-token-of-others,` +
          `ops:read+operate@${mine}:the-token-of-the-operator,wide:work@${mine}+${other}:the-token-of-both`,
      })
      await using f = await fleet(1, { tokens })
      const ask = async (token: string, method: string, path: string, body?: object) => {
        const answer = await f.broker.call(method, path, body, { headers: { "x-api-token": token } })
        return { status: answer.status, body: await json(answer) }
      }
      const poll = (token: string, queue: string) =>
        ask(token, "POST", "/lease", { queues: [queue], worker: "mailer", ...(instance && { instance }) })
      const drains = async (token: string, queue: string) => (await poll(token, queue)).body.drain === true
      await poll("the-token-of-my-workers", mine)
      await poll("the-token-of-others", other)
      await poll("the-token-of-both", other)

      expect((await ask("the-token-of-the-operator", "POST", "/workers/mailer/drain")).status).toBe(200)
      expect(await drains("the-token-of-my-workers", mine)).toBe(true)
      expect(await drains("the-token-of-others", other)).toBe(false)
      expect(await drains("the-token-of-both", other)).toBe(false)
      const { workers } = (await ask("the-token-of-the-operator", "GET", "/workers")).body as WorkersAnswer
      expect(workers).toMatchObject([{ worker: "mailer", state: "draining", queues: [mine] }])
      expect((await ask("the-token-of-the-operator", "DELETE", "/workers/mailer/drain")).status).toBe(200)
      expect(await drains("the-token-of-my-workers", mine)).toBe(false)

      await f.client.drainWorker("mailer")
      expect(await drains("the-token-of-my-workers", mine)).toBe(true)
      expect(await drains("the-token-of-others", other)).toBe(true)
      expect((await f.client.workers()).workers).toHaveLength(3)
    })
})

describe("a queue is shown", () => {
  test("with the workers that polled it in the last minute", async () => {
    await using f = await fleet(2)
    for (let i = 0; i < 22; i++)
      await f.clients[i % 2]!.lease({ queues: [f.queue], worker: `w${String(i).padStart(2, "0")}` })
    await f.client.lease({ queues: [`${f.queue}.2`], worker: "other" })
    await f.client.lease({ queues: [f.queue] })
    for (const { queue } of f.brokers) await queue.parts.workers.flush()
    const view = await f.client.queue(f.queue)
    expect(view.workers.count).toBe(22)
    expect(view.workers.names).toHaveLength(20)
    expect(view.workers.names[0]).toBe("w00")
    await f.age("w00", 61_000)
    await until("it has gone", async () => (await f.client.queue(f.queue)).workers.count === 21)
    await f.client.submit({ type: "t", queue: f.queue })
    const listed = (await f.client.queues()).queues.find(({ queue }) => queue === f.queue)
    expect(listed!.workers).toEqual((await f.client.queue(f.queue)).workers)
  })

  test("with its rates, summed over all brokers", async () => {
    await using f = await fleet(2)
    const many = (count: number) => Array.from({ length: count }, () => ({ type: "t", queue: f.queue }))
    await f.clients[0]!.submitMany(many(300))
    await f.clients[1]!.submitMany(many(300))
    const { tasks } = await f.clients[1]!.lease({ queues: [f.queue], max: 120 })
    await f.clients[1]!.ackMany(
      tasks.map(({ id, lease }, i) => ({ task_id: id, lease, status: i < 60 ? "done" : "failed" })),
    )
    // The other broker writes its counts within seconds.
    const rates = async () => (await f.client.queue(f.queue)).rates
    await until("both brokers have written their counts", async () => (await rates()).done > 0)
    const expected = { submitted: 600, leased: 120, done: 60, failed: 60, released: 0, lapsed: 0, dead: 0 }
    // The rates cover the last 55 to 60 s.
    for (const [event, rate] of Object.entries(await rates()) as [keyof QueueView["rates"], number][])
      expect([event, rate]).toEqual([event, expect.closeTo(expected[event] / 57.5, 0)])
    const { submitted } = await rates()
    expect(submitted).toBeWithin(600 / 60 - 0.1, 600 / 55 + 0.1)
    expect((await f.client.queue(freshName())).rates).toMatchObject({ submitted: 0, dead: 0 })
  })

  test("with rates that exclude past slices of time, which expire", async () => {
    await using f = await fleet()
    await f.client.submit({ type: "t", queue: f.queue })
    expect((await f.client.queue(f.queue)).rates.submitted).toBeGreaterThan(0)
    const keys = await f.direct.redis.keys(`${RATES.replace("{", "\\{")}*`)
    expect(keys.length).toBeGreaterThan(0)
    for (const key of keys) {
      expect(await f.direct.redis.pttl(key)).toBeWithin(60_000, 120_001)
      const slice = Number(key.slice(RATES.length))
      await f.direct.redis.rename(key, `${RATES}${slice - 12}`)
    }
    expect((await f.client.queue(f.queue)).rates.submitted).toBe(0)
  })
})
