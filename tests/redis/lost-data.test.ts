/** What brokers do when the data of Redis is gone while they run. */
import { expect, test } from "bun:test"
import { DATA_ID, QUEUES, SCHEMA, SCHEMA_VERSION } from "../../lib/redis/keys.ts"
import { DirectQueue, testBroker, until } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"
import { answered, type Body, post, submitted } from "../support/requests.ts"

test.each(["FLUSHALL", "FLUSHDB"] as const)(
  "after %s, brokers register again the queues that they know, and the layout",
  async command => {
    await using server = await testRedis()
    await using broker = await testBroker({}, server.socket)
    await using second = await testBroker({}, server.socket)
    await using direct = new DirectQueue(server.socket)
    const { redis } = direct
    await submitted(broker, { type: "a", queue: "mail" })
    await submitted(second, { type: "a", queue: "post" })
    await redis.call(command)
    // Each broker believes that its queue is registered.
    await submitted(broker, { type: "a", queue: "mail", max_retries: 0 })
    await until(
      "the names are back",
      async () => (await redis.smembers(QUEUES)).sort().join() === "mail,post",
    )
    expect(await redis.get(SCHEMA)).toBe(SCHEMA_VERSION)
    expect(await redis.exists(DATA_ID)).toBe(1)
    const { tasks } = (await answered(post(second, "/lease", { queues: ["mail"] }))) as { tasks: Body[] }
    await post(second, "/ack", { task_id: tasks[0]!.id, lease: tasks[0]!.lease, status: "failed" })
    expect(await answered(second.call("GET", "/dlq"))).toMatchObject({ dlq_size: 1 })
  },
)

test("if an empty Redis takes the place of another, brokers register again the queues that they know", async () => {
  await using server = await testRedis()
  await using broker = await testBroker({}, server.socket)
  await submitted(broker, { type: "a", queue: "mail" })
  await server.restart()
  await using direct = new DirectQueue(server.socket)
  await until("the name is back", async () => (await direct.redis.smembers(QUEUES)).join() === "mail")
  expect(await direct.redis.get(SCHEMA)).toBe(SCHEMA_VERSION)
})

test("data that the broker cannot use is reported once", async () => {
  await using server = await testRedis()
  await using direct = new DirectQueue(server.socket)
  const { redis } = direct
  const lines: string[] = []
  const note = (message: string) => lines.push(message)
  await using _broker = await testBroker({}, server.socket, {
    debug() {},
    info() {},
    warn: note,
    error: note,
  })
  await redis.mset(SCHEMA, "999", DATA_ID, "other")
  const reads = async () => Number(/cmdstat_get:calls=(\d+)/.exec(await redis.info("commandstats"))?.[1])
  const before = await reads()
  await until("it is checked three times, with three reads each", async () => (await reads()) >= before + 9)
  expect(lines).toEqual(["Redis was replaced by one that cannot be used"])
})

test("after SCRIPT FLUSH every call works", async () => {
  await using server = await testRedis()
  await using broker = await testBroker({}, server.socket)
  await using direct = new DirectQueue(server.socket)
  const flush = () => direct.redis.script("FLUSH")
  await flush()
  const id = await submitted(broker, { type: "a", queue: "mail" })
  await flush()
  const { tasks } = (await answered(post(broker, "/lease", { queues: ["mail"] }))) as { tasks: Body[] }
  await flush()
  expect((await fetch(`${broker.url}/readyz`)).status).toBe(200)
  expect((await post(broker, "/ack", { task_id: id, lease: tasks[0]!.lease })).status).toBe(200)
})
