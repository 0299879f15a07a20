/** Subscriptions while their connection is lost and the other connection is not. */
import { expect, test } from "bun:test"
import { Redis } from "ioredis"
import { Subscriptions } from "../../lib/redis/subscriptions.ts"
import { until } from "../support/harness.ts"
import { sharedRedis } from "../support/redis.ts"

async function connected() {
  const { socket } = await sharedRedis()
  const options = { path: socket, lazyConnect: true, enableOfflineQueue: false, autoResubscribe: false }
  const redis = new Redis({ ...options, retryStrategy: () => 10 })
  redis.on("error", () => {})
  const messages: string[] = []
  let gaps = 0
  const subscriptions = new Subscriptions(
    redis,
    (channel, message) => messages.push(`${channel} ${message}`),
    () => gaps++,
  )
  await redis.connect()
  return {
    redis,
    subscriptions,
    messages,
    gaps: () => gaps,
    other: new Redis(socket),
    async [Symbol.asyncDispose]() {
      subscriptions.close()
      this.other.disconnect()
    },
  }
}

/** Subscribes to a channel while the connection is lost. Returns the error; undefined if there was none. */
async function refusal({ redis, subscriptions }: Awaited<ReturnType<typeof connected>>): Promise<unknown> {
  redis.disconnect(true)
  await until("the connection is lost", async () => redis.status !== "ready")
  return subscriptions.subscribe("c").then(
    () => undefined,
    error => error,
  )
}

test("a subscription that fails is refused as redis_unavailable, and can be repeated", async () => {
  await using connection = await connected()
  expect(await refusal(connection)).toMatchObject({ name: "Refused", reason: "redis_unavailable" })
  await until("the connection is ready again", async () => connection.redis.status === "ready")
  await connection.subscriptions.subscribe("c")
  await connection.other.publish("c", "1")
  await until("the message arrives", async () => connection.messages.includes("c 1"))
})

test("after a failed subscription, a gap is reported once the connection is ready again", async () => {
  await using connection = await connected()
  const before = connection.gaps()
  await refusal(connection)
  expect(connection.gaps()).toBe(before)
  await until("the gap is reported", async () => connection.gaps() > before)
})

test("after a gap, all channels are subscribed again and the gap is reported", async () => {
  await using connection = await connected()
  await connection.subscriptions.subscribe("c")
  const before = connection.gaps()
  connection.redis.disconnect(true)
  await until("the gap is reported", async () => connection.gaps() > before)
  await connection.other.publish("c", "2")
  await until("the message arrives", async () => connection.messages.includes("c 2"))
})
