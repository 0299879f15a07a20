/** GET /brokers: which brokers share a Redis. */
import { expect, test } from "bun:test"
import { Redis } from "ioredis"
import { BROKERS } from "../../lib/redis/keys.ts"
import type { BrokersAnswer } from "../../lib/wire/brokers.ts"
import { version } from "../../package.json" with { type: "json" }
import { type TestBroker, testBroker, until } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"

const listed = async (broker: TestBroker): Promise<BrokersAnswer> =>
  (await broker.call("GET", "/brokers")).json() as Promise<BrokersAnswer>
const idsOf = ({ brokers }: BrokersAnswer) => brokers.map(({ broker }) => broker)

test("every broker is listed at all of them, until it stops", async () => {
  await using redis = await testRedis()
  await using first = await testBroker({}, redis.socket)
  const second = await testBroker({}, redis.socket)
  const [a, b] = [await listed(first), await listed(second)]
  expect(a.broker).not.toBe(b.broker)
  await until("both list both", async () => idsOf(await listed(first)).includes(b.broker))
  expect(idsOf(b).sort()).toEqual([a.broker, b.broker].sort())
  const { seen_at, started_at, ...facts } = b.brokers.find(({ broker }) => broker === b.broker)!
  expect(facts).toEqual({ broker: b.broker, host: expect.any(String), pid: process.pid, version })
  expect(seen_at).toBeGreaterThanOrEqual(started_at)
  expect(b.redis_memory).toEqual({ used_bytes: expect.any(Number), max_bytes: 0 })
  expect(b.redis_memory.used_bytes).toBeGreaterThan(100_000)
  await second[Symbol.asyncDispose]()
  expect(idsOf(await listed(first))).toEqual([a.broker])
})

test("a broker that was killed is not listed after 30 s, whatever its clock was", async () => {
  await using redis = await testRedis()
  await using broker = await testBroker({}, redis.socket)
  const own = (await listed(broker)).broker
  const direct = new Redis(redis.socket)
  const about = (name: string) => JSON.stringify({ broker: name, host: "h", pid: 1, version, started_at: 1 })
  const now = Date.now()
  await direct.zadd(
    BROKERS,
    now - 31_000,
    about("killed"),
    now - 5_000,
    about("live"),
    now + 600_000,
    about("ahead"),
  )
  expect(idsOf(await listed(broker))).toEqual(["live", own])
  expect(await direct.zcard(BROKERS)).toBe(2)
  expect(await direct.pttl(BROKERS)).toBeWithin(1, 30_001)
  direct.disconnect()
})

test("the list is bounded", async () => {
  await using redis = await testRedis()
  await using broker = await testBroker({}, redis.socket)
  const direct = new Redis(redis.socket)
  const now = Date.now()
  const many = Array.from({ length: 1_100 }, (_, i) => [
    now,
    JSON.stringify({ broker: `b${i}`, started_at: i }),
  ])
  await direct.zadd(BROKERS, ...many.flat().map(String))
  for (let i = 0; i < 2; i++) await broker.queue.parts.brokers.note()
  expect(await direct.zcard(BROKERS)).toBe(1_000)
  expect(idsOf(await listed(broker))).toContain(broker.queue.parts.brokers.broker)
  direct.disconnect()
})
