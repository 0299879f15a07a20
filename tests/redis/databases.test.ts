/** Brokers on two databases of one Redis do not hear each other. */
import { expect, test } from "bun:test"
import { Redis } from "ioredis"
import { LISTENING, SCHEDULES_CHANNEL } from "../../lib/redis/keys.ts"
import { testBroker, until } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"
import { answered, type Body, post, submitted } from "../support/requests.ts"

test("a message of one database wakes no broker of another, and all of its own", async () => {
  await using server = await testRedis()
  const open = (database: number) => testBroker({}, `unix://${server.socket}?db=${database}`)
  await using zero = await open(0)
  await using one = await open(1)
  await using other = await open(1)
  const task = { type: "a", task_id: "order-1", queue: "o" }
  for (const broker of [zero, one]) await submitted(broker, task)

  const waits = one.call("GET", "/status/o:order-1?wait_ms=20000")
  const polls = one.call("GET", "/get?queue=p&wait_ms=20000&worker=w")
  let hasEnded = false
  for (const each of [waits, polls]) void each.then(() => (hasEnded = true))
  const listener = new Redis(server.socket)
  await until("both wait", async () => {
    const channels = await listener.pubsub("CHANNELS", "tq:{*@1")
    return channels.includes("tq:{o}:ended@1") && channels.includes("tq:{p}:wake@1")
  })
  const channels: string[] = []
  await listener.psubscribe("*")
  listener.on("pmessage", (_, channel: string) => channels.push(channel))

  // In database 0 the same task ends, and a task of the same queue becomes ready.
  const { tasks } = (await answered(post(zero, "/lease", { queues: ["o"] }))) as { tasks: Body[] }
  await post(zero, "/ack", { task_id: "o:order-1", lease: tasks[0]!.lease })
  await submitted(zero, { type: "a", queue: "p" })
  await until("the message was published", () => channels.includes("tq:{p}:wake"))
  expect(hasEnded).toBe(false)

  // The other broker of database 1 reaches both.
  const { tasks: own } = (await answered(post(other, "/lease", { queues: ["o"] }))) as { tasks: Body[] }
  await post(other, "/ack", { task_id: "o:order-1", lease: own[0]!.lease })
  expect(await answered(waits)).toMatchObject({ id: "o:order-1", status: "done" })
  await submitted(other, { type: "b", queue: "p" })
  expect(await answered(polls)).toMatchObject({ type: "b" })

  channels.length = 0
  expect((await other.call("PUT", "/queues/p/settings", { defaults: { priority: 7 } })).status).toBe(200)
  await until(
    "the worker is drained",
    async () => (await other.call("POST", "/workers/w/drain")).status === 200,
  )
  const schedule = { every_ms: 60_000, task: { type: "c" } }
  expect((await other.call("PUT", "/schedules/p:s", schedule)).status).toBe(200)
  const stream = await other.call("GET", "/events")
  await until("all were published", () => channels.length >= 4)
  expect(channels.every(channel => channel.endsWith("@1"))).toBe(true)
  expect(channels).toContain(`${LISTENING}@1`)
  expect(channels).toContain(`${SCHEDULES_CHANNEL}@1`)
  await until("the other broker knows it", () => one.queue.parts.defaults.of("p")?.priority === 7)
  expect(zero.queue.parts.defaults.of("p")).toBeUndefined()
  await stream.body!.cancel()
  listener.disconnect()
})
