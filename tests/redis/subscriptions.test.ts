/** The pub/sub side: what a broker does when its second connection, and only that one, is away. */
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
  const heard: string[] = []
  let gaps = 0
  const hints = new Subscriptions(
    redis,
    (channel, message) => heard.push(`${channel} ${message}`),
    () => gaps++,
  )
  await redis.connect()
  return {
    ...{ redis, hints, heard, gaps: () => gaps, other: new Redis(socket) },
    async [Symbol.asyncDispose]() {
      hints.close()
      this.other.disconnect()
    },
  }
}

/** Asks for a channel while the connection is away, and gives what came of it. */
async function refusal({ redis, hints }: Awaited<ReturnType<typeof connected>>): Promise<unknown> {
  redis.disconnect(true)
  await until("the connection is away", async () => redis.status !== "ready")
  return hints.subscribe("c").then(
    () => undefined,
    error => error,
  )
}

test("a subscription that fails is told as Redis being away, and may be asked for again", async () => {
  await using _ = await connected()
  expect(await refusal(_)).toMatchObject({ name: "Refused", reason: "redis_unavailable" })
  await until("the connection is back", async () => _.redis.status === "ready")
  await _.hints.subscribe("c")
  await _.other.publish("c", "1")
  await until("it is heard", async () => _.heard.includes("c 1"))
})

test("who could not subscribe while the connection was away is told of the gap once it is back", async () => {
  await using _ = await connected()
  const before = _.gaps()
  await refusal(_)
  expect(_.gaps()).toBe(before)
  await until("the gap is told", async () => _.gaps() > before)
})

test("after a gap all channels are subscribed to again, and the gap is told", async () => {
  await using _ = await connected()
  await _.hints.subscribe("c")
  const before = _.gaps()
  _.redis.disconnect(true)
  await until("the gap is told", async () => _.gaps() > before)
  await _.other.publish("c", "2")
  await until("it is heard", async () => _.heard.includes("c 2"))
})
