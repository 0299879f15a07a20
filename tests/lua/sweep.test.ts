/** sweep: lapsed leases, due tasks and retention, also if thousands are due in the same millisecond. */
import { expect, test } from "bun:test"
import { checkQueue } from "../support/invariants.ts"
import { testRedis } from "../support/redis.ts"
import { dump, HOUR, LONG, ScriptQueue, scriptQueue, type TaskOptions } from "../support/script-queue.ts"

test("a lapse counts as a crash and not as a failure, and after max_crashes the task is dead with reason crashed", async () => {
  for (const maxCrashes of [0, 1, 3]) {
    await using queue = await scriptQueue()
    await queue.submit("T", { maxCrashes, maxRetries: 0 })
    for (let crash = 1; crash <= maxCrashes; crash++) {
      await queue.leaseOne()
      await queue.lapse("T")
      await queue.sweep()
      expect([await queue.field("T", "state"), await queue.field("T", "crashes")]).toEqual([
        "queued",
        `${crash}`,
      ])
    }
    await queue.leaseOne()
    await queue.lapse("T")
    await queue.sweep()
    expect([await queue.field("T", "state"), await queue.field("T", "reason")]).toEqual(["dead", "crashed"])
    expect(await queue.field("T", "retries")).toBe("0")
    await checkQueue(queue.redis, queue.name)
  }
})

test("a task past its retention is deleted with its large payload", async () => {
  await using queue = await scriptQueue()
  await queue.submit(["a", "b", "c"], { text: LONG, maxRetries: 0 })
  const [, a, b, c] = await queue.lease(3)
  await queue.settle("a", a!.lease, "done", "1")
  await queue.age("done", "a")
  await queue.settle("b", b!.lease, "failed", "boom")
  await queue.settle("c", c!.lease, "done", "1", HOUR)
  await queue.sweep(1_000, -1)
  expect(Object.keys(await dump(queue.redis, queue.name))).toEqual(["completed", "payload:c", "task:c"])
  await queue.age("done", "c")
  await queue.sweep()
  expect(await dump(queue.redis, queue.name)).toEqual({})
})

test("retention deletes no more than its limit in one call", async () => {
  await using queue = await scriptQueue()
  const ids = Array.from({ length: 1_000 }, (_, i) => `n${i}`)
  await queue.submit(ids, { text: LONG })
  const tasks = await queue.leaseMany(1_000)
  await queue.settleEach(
    HOUR,
    tasks.map(({ id, lease }) => ({ id, lease, outcome: "done", text: "" })),
  )
  for (const left of [700, 400, 100, 0]) {
    await queue.sweep(300, HOUR, -1)
    expect(await queue.doneCount()).toBe(left)
  }
  expect(await dump(queue.redis, queue.name)).toEqual({})
})

/** The duration of each script call in ms, as Redis measured it, longest first. */
async function scriptTimes(queue: ScriptQueue): Promise<number[]> {
  const log = (await queue.redis.slowlog("GET", 10_000)) as [number, number, number, string[]][]
  return log
    .filter(([, , , command]) => /^(evalsha|eval)/i.test(command[0]!))
    .map(([, , micros]) => micros / 1_000)
    .sort((a, b) => b - a)
}

async function measured(): Promise<{ queue: ScriptQueue } & AsyncDisposable> {
  const server = await testRedis({ args: ["--slowlog-log-slower-than", "0", "--slowlog-max-len", "10000"] })
  const queue = new ScriptQueue(server.socket)
  return {
    queue,
    async [Symbol.asyncDispose]() {
      await queue[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}

const submitMany = async (queue: ScriptQueue, count: number, wishes: TaskOptions = {}) => {
  for (let from = 0; from < count; from += 1_000)
    await queue.submit(
      Array.from({ length: Math.min(1_000, count - from) }, (_, i) => `n${from + i}`),
      wishes,
    )
}

/** Leases 100 tasks per call until there are none, and returns their ids. */
async function drain(queue: ScriptQueue, limit: number): Promise<string[]> {
  const leased: string[] = []
  for (;;) {
    const [, ...tasks] = await queue.lease(100, limit)
    if (tasks.length === 0) return leased
    leased.push(...tasks.map(({ id }) => id))
  }
}

/** A script that moves 300 tasks takes 2 to 5 ms; all 5,000 would take over 50. A busy machine interrupts some. */
function expectShort(times: number[]) {
  expect(times.length).toBeGreaterThan(10)
  expect(times[Math.floor(times.length / 2)]!).toBeLessThan(25)
}

test("5,000 tasks due at one instant become ready in small steps, and all are leased", async () => {
  await using server = await measured()
  const { queue } = server
  await submitMany(queue, 5_000, { delay: HOUR })
  const ids = await queue.redis.zrange(queue.key("due"), "0", "-1")
  await queue.redis.zadd(queue.key("due"), "XX", ...ids.flatMap(id => [1, id]))
  await queue.redis.slowlog("RESET")
  expect((await queue.sweep(300))[0]).toBe(1)
  expect(await queue.redis.zcard(queue.key("due"))).toBe(4_700)
  await queue.lease(1, 300)
  expect(await queue.redis.zcard(queue.key("due"))).toBe(4_400)
  const leased = await drain(queue, 300)
  expect(new Set(leased).size).toBe(4_999)
  expectShort(await scriptTimes(queue))
  await checkQueue(queue.redis, queue.name)
})

test("5,000 leases that lapse at one instant are swept in small steps, and all tasks are leased again", async () => {
  await using server = await measured()
  const { queue } = server
  await submitMany(queue, 5_000)
  expect(await drain(queue, 300)).toHaveLength(5_000)
  await queue.redis.zadd(
    queue.key("leases"),
    "XX",
    ...Array.from({ length: 5_000 }, (_, i) => [1, `n${i}`]).flat(),
  )
  await queue.redis.slowlog("RESET")
  expect((await queue.sweep(300))[0]).toBe(1)
  expect(await queue.redis.zcard(queue.key("leases"))).toBe(4_700)
  const leased = await drain(queue, 300)
  expect(new Set(leased).size).toBe(5_000)
  expectShort(await scriptTimes(queue))
  await checkQueue(queue.redis, queue.name)
})

test("a lease call bounds the tasks that timers move, leases fewer in return, and answers that there is more", async () => {
  await using server = await measured()
  const { queue } = server
  await submitMany(queue, 700)
  const [, ...lapsing] = await queue.lease(150)
  await queue.redis.zadd(queue.key("leases"), "XX", ...lapsing.flatMap(({ id }) => [1, id]))
  for (const { id } of lapsing.slice(0, 80)) await queue.redis.zadd(queue.key("due"), 1, `of-no-task-${id}`)
  const [nextEvent, ...first] = await queue.lease(400, 100)
  expect([nextEvent, first.length]).toEqual([0, 100])
  expect(await queue.redis.zcard(queue.key("leases"))).toBe(50 + 100)
  const [, ...second] = await queue.lease(400, 100)
  expect(second).toHaveLength(100)
  expect(await queue.redis.zcard(queue.key("due"))).toBe(30)
  const [, ...third] = await queue.lease(400, 100)
  expect(third).toHaveLength(300 - 2 * 30)
})

test("20,000 tasks due at one time fit into one call with the largest limit", async () => {
  await using queue = await scriptQueue()
  await submitMany(queue, 20_000, { delay: HOUR })
  await queue.redis.eval(
    "for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('ZADD', KEYS[1], 1, id) end",
    1,
    queue.key("due"),
  )
  expect((await queue.sweep(20_000))[0]).toBe(1)
  expect(await queue.redis.llen(queue.key("ready", "5"))).toBe(20_000)
  expect(await queue.leaseMany(1_000)).toHaveLength(1_000)
})

test("sweeps drop any number of stale ids, and none of a task that waits", async () => {
  await using queue = await scriptQueue()
  const ids = Array.from({ length: 700 }, (_, i) => `t${i}`)
  await queue.submit(ids)
  await queue.submit(
    ids.map(id => `g${id}`),
    { group: "g", priority: 9 },
  )
  await queue.submit("last")
  // The last one first, so that no cancel but the last of a list finds a stale id at its head. Each then drops up to 300.
  for (const id of [...ids].reverse()) await queue.cancel(id)
  for (const id of [...ids].reverse()) await queue.cancel(`g${id}`)
  const calls = []
  do calls.push((await queue.sweep())[0])
  while (calls.at(-1) === 1 && calls.length < 10)
  expect(calls).toEqual([1, 0])
  expect(
    Object.keys(await dump(queue.redis, queue.name)).filter(key => /^(ready|group|firsts|waiting)/.test(key)),
  ).toEqual(["ready:5"])
  expect((await queue.lease(2)).slice(1)).toMatchObject([{ id: "last" }])
  await checkQueue(queue.redis, queue.name)
})
