/** The history of queues and types: what brokers write to Redis, and what they read from it. */
import { describe, expect, test } from "bun:test"
import { Point } from "../../lib/observe/history-point.ts"
import { HISTORY, HISTORY_TYPES, keyOf } from "../../lib/redis/keys.ts"
import { type Item, runShared } from "../../lib/redis/scripts.ts"
import { localOf } from "../../lib/task/id.ts"
import { HOUR_MS, HOURS_KEPT_MS, MINUTE_MS, MINUTES_KEPT_MS } from "../../lib/wire/charting.ts"
import { BOUNDS_MS, bucketOf, percentile } from "../../lib/wire/durations.ts"
import type { QueueView } from "../../lib/wire/managing.ts"
import type { LeasedTask } from "../../lib/wire/working.ts"
import { DirectQueue, freshName, type TestBroker, testBroker } from "../support/harness.ts"
import { onOneConnection, sharedRedis } from "../support/redis.ts"

/** All points of a series from the last two hours, added up. */
async function total({ queue }: TestBroker, series: string): Promise<Point> {
  const sum = new Point()
  for (const point of (await minutes(queue, series)).values()) sum.add(point)
  return sum
}

async function minutes(queue: TestBroker["queue"], series: string) {
  const now = Math.floor(Date.now() / MINUTE_MS)
  return (await queue.parts.history.read([series], "m", now - 120, now + 1)).get(series)!
}

async function ask<T>(broker: TestBroker, method: string, path: string, body?: object): Promise<T> {
  return (await (await broker.call(method, path, body)).json()) as T
}

async function submit(broker: TestBroker, queue: string, type: string, more: object = {}): Promise<string> {
  const task = { type, queue, max_retries: 0, ...more }
  return (await ask<{ task_id: string }>(broker, "POST", "/submit", task)).task_id
}

const lease = async (broker: TestBroker, queue: string) =>
  (await ask<{ tasks: LeasedTask[] }>(broker, "POST", "/lease", { queues: [queue], max: 100 })).tasks

const ack = (broker: TestBroker, { id, lease }: { id: string; lease: string }, status = "done") =>
  broker.call("POST", "/ack", { task_id: id, lease, status })

/** Runs history-add for one queue and the first minute of a day long ago. */
async function directHistory() {
  const direct = new DirectQueue((await sharedRedis()).socket)
  const MINUTE = 1440 * 15_000
  let batches = 0
  return {
    queue: direct.name,
    redis: direct.redis,
    add: (
      items: { queue?: string; type?: string; weight?: number; point: string }[],
      { batch = ++batches, minute = MINUTE, broker = direct.name, maxTypes = 2 } = {},
    ) =>
      runShared(
        onOneConnection(direct.redis),
        "historyAdd",
        {
          broker,
          batch,
          minute,
          max_types: maxTypes,
          keep_minutes: MINUTES_KEPT_MS,
          keep_hours: HOURS_KEPT_MS,
        },
        items.map(item => ({ queue: direct.name, type: "", weight: 0, ...item })) as Item<"historyAdd">[],
      ),
    minuteKey: `${HISTORY}m:${MINUTE / 60}:${direct.name}`,
    hourKey: `${HISTORY}h:${MINUTE / 1440}:${direct.name}`,
    typesKey: `${HISTORY_TYPES}m:${MINUTE / 60}:${direct.name}`,
    [Symbol.asyncDispose]: () => direct[Symbol.asyncDispose](),
  }
}

describe("a point", () => {
  test("is the same after it was written and read", () => {
    const point = new Point()
    Object.assign(point, { submitted: 12, done: 7, failed: 3, lapsed: 2, dead: 1, minutes: 60 })
    point.depth = { queued: 5, delayed: 0, processing: 2 }
    for (const ms of [0, 1, 40, 40, 1e12]) point.observe("wait", ms)
    for (const ms of [7, 3_000]) point.observe("run", ms)
    expect(Point.decode(point.encode())).toEqual(point)
    expect(Point.decode(new Point().encode())).toEqual(new Point())
  })

  test("of a busy minute is short enough for the compact form of a hash in most cases", () => {
    const point = new Point()
    Object.assign(point, { submitted: 300, done: 290, failed: 10 })
    for (let ms = 1; ms < 60; ms++) point.observe("run", ms)
    expect(point.encode().length).toBeLessThanOrEqual(64)
  })
})

describe("percentiles", () => {
  test("are within the range that holds the true value", () => {
    const values = Array.from({ length: 10_000 }, (_, i) => 1 + Math.floor(((i * 7_919) % 10_000) ** 1.5))
    const point = new Point()
    for (const ms of values) point.observe("run", ms)
    const sorted = values.toSorted((a, b) => a - b)
    for (const share of [0.5, 0.95, 0.99]) {
      const bucket = bucketOf(sorted[share * sorted.length - 1]!)
      expect(percentile(point.run, share)!).toBeWithin(BOUNDS_MS[bucket - 1]!, BOUNDS_MS[bucket]! + 1)
    }
  })

  test("of nothing are unknown; of equal values and of huge ones they are near these", () => {
    expect(percentile([], 0.5)).toBeUndefined()
    const point = new Point()
    for (let i = 0; i < 5; i++) point.observe("wait", 300)
    expect(percentile(point.wait, 0.99)!).toBeWithin(281, 451)
    point.observe("run", 1e15)
    expect(percentile(point.run, 0.5)).toBe(BOUNDS_MS.at(-1))
  })

  test("of histograms that were added are those of all their values", () => {
    const [a, b, both] = [new Point(), new Point(), new Point()]
    for (let ms = 1; ms < 2_000; ms += 3) {
      const half = ms % 2 === 0 ? a : b
      half.observe("wait", ms)
      both.observe("wait", ms)
    }
    a.add(b)
    expect(a.wait).toEqual(both.wait)
  })
})

describe("history-add.lua", () => {
  test("adds counts and histograms, and keeps the largest depth", async () => {
    await using history = await directHistory()
    await history.add([{ point: "s5d1q9y0p3|A2C1|D1" }])
    await history.add([{ point: "d4f1q4y1p3|A1B1|" }], { broker: "another" })
    expect(await history.redis.hgetall(history.minuteKey)).toEqual({ 0: "s5d5q9y1p3f1|A3C1B1|D1" })
    expect(await history.redis.hgetall(history.hourKey)).toEqual({ 0: "s5d5q9y1p3f1|A3C1B1|D1" })
  })

  test("adds a repeated call once", async () => {
    await using history = await directHistory()
    await history.add([{ point: "s1||" }], { batch: 7 })
    await history.add([{ point: "s1||" }], { batch: 7 })
    expect(await history.redis.hgetall(history.minuteKey)).toEqual({ 0: "s1||" })
    await history.add([{ point: "s1||" }], { batch: 8 })
    expect(await history.redis.hgetall(history.minuteKey)).toEqual({ 0: "s2||" })
  })

  test("tells the first call about a minute, and counts the minutes of an hour", async () => {
    await using history = await directHistory()
    const minute = Date.now() + 1_440 * Math.floor(Math.random() * 1e6) // far in the future
    const day = Math.floor(minute / 1440)
    const add = (at: number) => history.add([{ queue: "", point: "||" }], { minute: at })
    const first = minute - (minute % 60)
    expect([await add(first), await add(first), await add(first + 1)]).toEqual([1, 0, 1])
    expect(await history.redis.hvals(`${HISTORY}h:${day}:`)).toEqual(["m2||"])
  })

  test("keeps the points of the busiest types", async () => {
    await using history = await directHistory()
    const { redis, minuteKey, hourKey, typesKey } = history
    await history.add([
      { type: "a", weight: 5, point: "s5||" },
      { type: "b", weight: 3, point: "s3|A3|" },
      { type: "c", weight: 3, point: "s3|A1|" },
    ])
    const kept = async (key: string) =>
      (await redis.keys(`${key}:*`)).map(found => found.slice(key.length + 1)).sort()
    expect(await kept(minuteKey)).toEqual(["a", "b"])
    // A busier type takes the place of the least busy one.
    await history.add([{ type: "d", weight: 4, point: "s4||B1" }])
    expect(await kept(minuteKey)).toEqual(["a", "d"])
    expect(await kept(hourKey)).toEqual(["a", "d"])
    expect(await redis.hgetall(`${minuteKey}:d`)).toEqual({ 0: "s4||B1" })
    expect(await redis.zrange(typesKey, "0", "-1")).toEqual(["d", "a"])
  })

  test("lets every key expire", async () => {
    await using history = await directHistory()
    await history.add([{ point: "s5||" }, { type: "a", weight: 5, point: "s5||" }])
    const { redis, minuteKey, hourKey, typesKey } = history
    for (const key of [minuteKey, `${minuteKey}:a`, typesKey])
      expect(await redis.pttl(key)).toBeWithin(MINUTES_KEPT_MS - HOUR_MS, MINUTES_KEPT_MS + 1)
    for (const key of [hourKey, `${hourKey}:a`])
      expect(await redis.pttl(key)).toBeWithin(HOURS_KEPT_MS - HOUR_MS, HOURS_KEPT_MS + 1)
    const keys = await redis.keys(`tq:history*${history.queue}*`)
    for (const key of keys) expect([key, await redis.pttl(key)]).toEqual([key, expect.any(Number)])
    for (const key of keys) expect(await redis.pttl(key)).toBeGreaterThan(0)
  })
})

describe("brokers", () => {
  test("add up what they do, per queue and type, whichever of them handles an ack", async () => {
    const { socket } = await sharedRedis()
    await using a = await testBroker({}, socket)
    await using b = await testBroker({}, socket)
    const queue = freshName()
    for (const type of ["mail", "mail", "sms"]) await submit(a, queue, type)
    await submit(b, queue, "sms")
    const [first, second, third, fourth] = await lease(a, queue)
    await ack(a, first!)
    await ack(b, second!)
    await ack(b, third!, "failed")
    await ack(a, fourth!, "failed")
    await Promise.all([a.queue.parts.historyWriter.flush(), b.queue.parts.historyWriter.flush()])
    const sum = await total(a, queue)
    expect(sum).toMatchObject({ submitted: 4, done: 2, failed: 2, dead: 2, lapsed: 0 })
    expect(await total(b, queue)).toEqual(sum)
    const all = (counts: number[]) => counts.reduce((sum, count) => sum + count, 0)
    expect([all(sum.wait), all(sum.run)]).toEqual([4, 4])
    expect(await total(a, `${queue}:mail`)).toMatchObject({ submitted: 2, done: 2, failed: 0, dead: 0 })
    const sms = await total(a, `${queue}:sms`)
    expect(sms).toMatchObject({ submitted: 2, done: 0, failed: 2, dead: 2 })
    expect([all(sms.wait), all(sms.run)]).toEqual([2, 2])
  })

  test("count a lapsed lease and an expired task under their types", async () => {
    const { socket } = await sharedRedis()
    await using broker = await testBroker({}, socket)
    const queue = freshName()
    await using direct = new DirectQueue(socket, queue)
    await submit(broker, queue, "import", { max_crashes: 0 })
    const [task] = await lease(broker, queue)
    await direct.lapse(task!.id)
    await submit(broker, queue, "report", { expires_in_ms: 3_600_000 }).then(id => direct.expire(id))
    await lease(broker, queue)
    await broker.queue.parts.historyWriter.flush()
    expect(await total(broker, `${queue}:import`)).toMatchObject({ submitted: 1, lapsed: 1, dead: 1 })
    expect(await total(broker, `${queue}:report`)).toMatchObject({ submitted: 1, lapsed: 0, dead: 1 })
    expect(await total(broker, queue)).toMatchObject({ submitted: 2, lapsed: 1, dead: 2 })
  })

  test("count an ack of a task that was deleted before its type was read under no type", async () => {
    const { socket } = await sharedRedis()
    await using a = await testBroker({}, socket)
    await using b = await testBroker({}, socket)
    const queue = freshName()
    await using direct = new DirectQueue(socket, queue)
    await submit(a, queue, "mail")
    const [task] = await lease(a, queue)
    await ack(b, task!)
    await direct.redis.del(keyOf(queue, "task", localOf(task!.id)))
    await a.queue.parts.historyWriter.flush()
    await b.queue.parts.historyWriter.flush()
    expect(await total(a, queue)).toMatchObject({ submitted: 1, done: 1 })
    expect(await total(a, `${queue}:mail`)).toMatchObject({ submitted: 1, done: 0 })
  })

  test("lose nothing when they stop, and go on adding after a restart", async () => {
    const queue = freshName()
    const { socket } = await sharedRedis()
    for (let run = 0; run < 2; run++) {
      await using broker = await testBroker({}, socket)
      for (let i = 0; i < 3; i++) await submit(broker, queue, "mail")
    }
    await using broker = await testBroker({}, socket)
    expect(await total(broker, queue)).toMatchObject({ submitted: 6 })
    expect(await total(broker, `${queue}:mail`)).toMatchObject({ submitted: 6 })
  })

  test("keep the counts that they could not write, and add them once", async () => {
    const { socket } = await sharedRedis()
    await using broker = await testBroker({}, socket)
    await using direct = new DirectQueue(socket)
    const { redis, name: queue } = direct
    await submit(broker, queue, "mail")
    const now = Math.floor(Date.now() / MINUTE_MS)
    // A key of a wrong type makes the calls of this minute and the next fail.
    const blocked = [now, now + 1].map(minute => `${HISTORY}m:${Math.floor(minute / 60)}:${queue}`)
    for (const key of blocked) await redis.set(key, "x")
    await broker.queue.parts.historyWriter.flush()
    await submit(broker, queue, "mail")
    await broker.queue.parts.historyWriter.flush()
    await redis.del(...blocked)
    await broker.queue.parts.historyWriter.flush()
    await broker.queue.parts.historyWriter.flush()
    expect(await total(broker, queue)).toMatchObject({ submitted: 2 })
  })

  test("write a point for all queues in each minute in which they run, with the depths of queues", async () => {
    const { socket } = await sharedRedis()
    const queue = freshName()
    {
      await using broker = await testBroker({}, socket)
      await submit(broker, queue, "mail")
      await submit(broker, queue, "mail", { delay_ms: 60_000 })
    } // it stops, and writes its first points
    await using broker = await testBroker({}, socket)
    const all = await minutes(broker.queue, "")
    const now = Math.floor(Date.now() / MINUTE_MS)
    for (const minute of all.keys()) expect(minute).toBeWithin(now - 1, now + 1)
    expect((await total(broker, "")).submitted).toBe(2)
    const depths = (points: Iterable<Point>) => [...points].map(({ depth }) => depth)
    const depth = { queued: 1, delayed: 1, processing: 0 }
    expect(depths(all.values())).toContainEqual(depth)
    expect(depths((await minutes(broker.queue, queue)).values())).toContainEqual(depth)
  })
})

test("a queue is shown with its last ten minutes", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  const view = () => ask<QueueView>(broker, "GET", `/queues/${queue}`)
  expect((await view()).recent).toMatchObject({ submitted_per_s: 0, failed_per_s: 0, dead: 0 })
  expect((await view()).recent).not.toHaveProperty("wait_ms")
  for (let i = 0; i < 4; i++) await submit(broker, queue, "mail")
  for (const task of await lease(broker, queue)) await ack(broker, task, "failed")
  await broker.queue.parts.historyWriter.flush()
  const { recent } = await view()
  expect(recent).toMatchObject({ done_per_s: 0, dead: 4, wait_ms: expect.anything() })
  expect(recent.submitted_per_s).toBeGreaterThan(0)
  expect(recent.failed_per_s).toBe(recent.submitted_per_s)
  expect(recent.run_ms!.p50).toBeWithin(0, 60_000)
  expect(recent.run_ms!.p99).toBeGreaterThanOrEqual(recent.run_ms!.p50)
})
