/** What the broker answers while Redis is full, down, frozen, loading or misconfigured. */
import { expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { connect, createServer, type Socket } from "node:net"
import { wakeChannel } from "../../lib/redis/keys.ts"
import { DirectQueue, freshName, testBroker, until } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"
import { answered, type Body, FORGED_LEASE, post, problem, submitted } from "../support/requests.ts"

test("with Redis full, submit is refused while leases are taken, extended, failed, released and acknowledged", async () => {
  await using server = await testRedis({ args: ["--maxmemory", "6mb", "--maxmemory-policy", "noeviction"] })
  await using broker = await testBroker({}, server.socket)
  await using direct = new DirectQueue(server.socket, "default")
  const big = { type: "a", payload: "x".repeat(20_000) }
  const fill = async (task: Body) => {
    for (let i = 0; i < 5_000; i++) {
      const answer = await post(broker, "/submit", task)
      if (answer.status !== 200) return problem(answer)
    }
    throw new Error("Redis did not fill up")
  }
  expect(await fill(big)).toMatchObject({ status: 503, code: "out_of_memory" })
  // Well below the memory in use, so that a buffer which Redis frees during the test does not make room.
  await direct.redis.config("SET", "maxmemory", "2mb")
  for (const queue of ["default", freshName()])
    expect(await problem(post(broker, "/submit", { type: "a", queue }))).toMatchObject({
      code: "out_of_memory",
    })
  const { tasks } = (await answered(post(broker, "/lease", { max: 4, worker: "w" }))) as { tasks: Body[] }
  expect(tasks).toHaveLength(4)
  const [done, failed, released, kept] = tasks.map(({ id, lease }) => ({ task_id: id, lease }))
  expect((await post(broker, "/extend", kept)).status).toBe(200)
  expect((await post(broker, "/ack", { ...done, result: "y".repeat(1_000) })).status).toBe(200)
  expect((await post(broker, "/ack", { ...failed, status: "failed", error: "z".repeat(1_000) })).status).toBe(
    200,
  )
  expect((await post(broker, "/ack", { ...released, status: "released" })).status).toBe(200)
  expect((await broker.call("GET", `/status/${kept!.task_id}`)).status).toBe(200)
  expect((await broker.call("GET", "/dlq")).status).toBe(200)
  expect((await fetch(`${broker.url}/readyz`)).status).toBe(200)
  {
    // A broker that starts now must still be able to finish the tasks that fill the memory.
    await using second = await testBroker({}, server.socket)
    expect((await post(second, "/ack", { ...kept, status: "done" })).status).toBe(200)
  }
  await direct.redis.config("SET", "maxmemory", "0")
  expect((await post(broker, "/submit", big)).status).toBe(200)
})

test("while Redis is down, every route answers 503 within the time limit; all work again after its restart", async () => {
  await using server = await testRedis({ aof: "always" })
  await using broker = await testBroker({ redisTimeoutMs: 500 }, server.socket)
  const id = await submitted(broker, { type: "a" })
  await server.kill9()
  const began = performance.now()
  const answers = await Promise.all([
    problem(post(broker, "/submit", { type: "a" })),
    problem(post(broker, "/submit", [{ type: "a", queue: freshName() }])),
    problem(broker.call("GET", "/get?wait_ms=5000")),
    problem(post(broker, "/lease", { queues: ["a", "b"] })),
    problem(post(broker, "/ack", { task_id: id })),
    problem(post(broker, "/extend", { task_id: id, lease: FORGED_LEASE })),
    problem(broker.call("GET", `/status/${id}`)),
    problem(broker.call("GET", "/dlq")),
    problem(broker.call("POST", `/dlq/retry/${id}`)),
    problem(fetch(`${broker.url}/readyz`)),
  ])
  expect(performance.now() - began).toBeLessThan(15_000) // the time limit of other tests is 20 s
  for (const answer of answers) expect(answer).toMatchObject({ status: 503, code: "redis_unavailable" })
  // Only a request that changes something may have taken effect.
  expect(answers.map(({ detail }) => String(detail).includes("The request may have taken effect"))).toEqual([
    ...[true, true, false, true, true, true],
    ...[false, false, true, false],
  ])
  expect((await fetch(`${broker.url}/healthz`)).status).toBe(200)
  await server.restart()
  await until("the broker is ready", async () => (await fetch(`${broker.url}/readyz`)).status === 200)
  expect(await answered(broker.call("GET", "/get"))).toMatchObject({ id })
  expect((await post(broker, "/ack", { task_id: id })).status).toBe(200)
  await submitted(broker, { type: "a", queue: freshName() })
})

test("if Redis hangs, a submit gets 503 within the time limit and is stored only once", async () => {
  await using server = await testRedis()
  await using broker = await testBroker({ redisTimeoutMs: 300 }, server.socket)
  await using patient = await testBroker({ redisTimeoutMs: 20_000 }, server.socket)
  await submitted(broker, { type: "before" })
  process.kill(server.pid, "SIGSTOP")
  try {
    let patientAnswered = false
    void patient.call("GET", "/status/unknown").then(() => (patientAnswered = true))
    const began = performance.now()
    expect(await problem(post(broker, "/submit", { type: "lost" }))).toMatchObject({
      status: 503,
      code: "redis_unavailable",
    })
    expect(performance.now() - began).toBeGreaterThan(250)
    expect(patientAnswered).toBe(false)
  } finally {
    process.kill(server.pid, "SIGCONT")
  }
  await until("the broker is ready", async () => (await fetch(`${broker.url}/readyz`)).status === 200)
  await submitted(broker, { type: "after" })
  const { tasks } = (await answered(post(broker, "/lease", { max: 10 }))) as { tasks: Body[] }
  // Redis ran the command after it was resumed. The broker must not have sent it twice.
  expect(tasks.map(task => task.type)).toEqual(["before", "lost", "after"])
})

/** A proxy between a broker and Redis. While `dropReplies` is set, it forwards commands and closes the connection at the first reply. */
async function replyDroppingProxy(socket: string) {
  const dir = await mkdtemp("/tmp/tq-proxy-")
  const ends = new Set<Socket>()
  const state = { dropReplies: false }
  const server = createServer(near => {
    const far = connect(socket)
    const cut = () => {
      near.destroy()
      far.destroy()
    }
    for (const end of [near, far]) ends.add(end.on("error", cut).on("close", cut))
    near.on("data", data => far.write(data))
    far.on("data", data => (state.dropReplies ? cut() : near.write(data)))
  })
  await new Promise<void>(resolve => server.listen(`${dir}/redis.sock`, resolve))
  return Object.assign(state, {
    socket: `${dir}/redis.sock`,
    async [Symbol.asyncDispose]() {
      server.close()
      for (const end of ends) end.destroy()
      await rm(dir, { recursive: true })
    },
  })
}

test("a submit whose reply is lost gets 503, and the broker does not repeat it", async () => {
  await using server = await testRedis()
  await using proxy = await replyDroppingProxy(server.socket)
  await using broker = await testBroker({ redisTimeoutMs: 1_000 }, proxy.socket)
  await submitted(broker, { type: "before" })
  proxy.dropReplies = true
  const lost = problem(post(broker, "/submit", { type: "lost" }))
  expect(await lost).toMatchObject({ status: 503, code: "redis_unavailable" })
  proxy.dropReplies = false
  await until("the broker is ready", async () => (await fetch(`${broker.url}/readyz`)).status === 200)
  await submitted(broker, { type: "after" })
  const { tasks } = (await answered(post(broker, "/lease", { max: 10 }))) as { tasks: Body[] }
  expect(tasks.map(task => task.type)).toEqual(["before", "lost", "after"])
})

test("an ack whose reply was lost gets the original answer when the worker repeats it", async () => {
  await using server = await testRedis()
  await using proxy = await replyDroppingProxy(server.socket)
  await using broker = await testBroker({ redisTimeoutMs: 1_000 }, proxy.socket)
  const id = await submitted(broker, { type: "a" })
  const { lease } = await answered(broker.call("GET", "/get"))
  proxy.dropReplies = true
  const failed = () => post(broker, "/ack", { task_id: id, lease, status: "failed" })
  expect(await problem(failed())).toMatchObject({ status: 503, code: "redis_unavailable" })
  proxy.dropReplies = false
  await until("the broker is ready", async () => (await fetch(`${broker.url}/readyz`)).status === 200)
  expect(await answered(failed())).toEqual({ status: "requeued", task_id: id, retries: 1 })
})

test("a long poll that began before an outage of Redis gets a task after it", async () => {
  await using server = await testRedis({ aof: "always" })
  await using broker = await testBroker({ redisTimeoutMs: 500 }, server.socket)
  const waiting = answered(broker.call("GET", "/get?wait_ms=15000"))
  await until("the request waits", () => broker.queue.waiting === 1)
  {
    await using direct = new DirectQueue(server.socket)
    const { redis } = direct
    const channel = wakeChannel("default")
    await until(
      "the broker is subscribed",
      async () => (await redis.pubsub("CHANNELS", channel)).length === 1,
    )
  }
  await server.kill9()
  await server.restart()
  await until("the broker is ready", async () => (await fetch(`${broker.url}/readyz`)).status === 200)
  const id = await submitted(broker, { type: "a" })
  expect(await waiting).toMatchObject({ id })
})

test("/readyz answers 503 while Redis loads its data, and 200 only once submits work", async () => {
  await using server = await testRedis({ aof: "always", args: ["--key-load-delay", "200"] })
  await using broker = await testBroker({ redisTimeoutMs: 500 }, server.socket)
  const tasks = Array(1_000).fill({ type: "a" })
  for (let i = 0; i < 3; i++) await (await post(broker, "/submit", tasks)).json()
  await server.kill9()
  let restarted = false
  const restarting = server.restart().then(() => {
    restarted = true
  })
  const ready = async () => (await fetch(`${broker.url}/readyz`)).status === 200
  while (!restarted) {
    // Sequential: a broker that was ready a moment ago must accept a submit.
    if (await ready()) expect((await post(broker, "/submit", { type: "a" })).status).toBe(200)
  }
  await restarting
  await until("the broker is ready", ready)
  expect((await post(broker, "/submit", { type: "a" })).status).toBe(200)
})

test("/readyz answers 503 while Redis may evict tasks, and reports the durability of writes", async () => {
  await using server = await testRedis({ aof: "everysec" })
  await using broker = await testBroker({}, server.socket)
  await using direct = new DirectQueue(server.socket)
  const ready = () => fetch(`${broker.url}/readyz`)
  expect(await answered(ready())).toMatchObject({ status: "ready", durability: "everysec" })
  await direct.redis.config("SET", "maxmemory-policy", "allkeys-lru")
  expect(await problem(ready())).toMatchObject({
    status: 503,
    code: "not_ready",
    detail: expect.stringContaining("noeviction"),
  })
  await direct.redis.config("SET", "maxmemory-policy", "noeviction")
  await direct.redis.config("SET", "appendfsync", "always")
  expect(await answered(ready())).toMatchObject({ durability: "always" })
})
