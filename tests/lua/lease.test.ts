/** lease: which tasks it hands out, to which worker, and in which order. */
import { expect, test } from "bun:test"
import { newTokens } from "../../lib/task/lease-token.ts"
import { checkQueue } from "../support/invariants.ts"
import { HOUR, scriptQueue, submitAndLease } from "../support/script-queue.ts"

test("the time of the last poll is stored, to the second", async () => {
  await using queue = await scriptQueue()
  const polled = () => queue.redis.hget(queue.key("stats"), "polled")
  await queue.sweep()
  expect(await polled()).toBeNull()
  await queue.lease()
  const first = await polled()
  expect(Number(first)).toBeGreaterThan(1e12)
  await queue.redis.hset(queue.key("stats"), "polled", Number(first) - 300)
  await queue.lease()
  expect(Number(await polled())).toBe(Number(first) - 300)
  await queue.redis.hset(queue.key("stats"), "polled", Number(first) - 1_000)
  await queue.lease()
  expect(Number(await polled())).toBeGreaterThanOrEqual(Number(first))
})

test("tasks are dealt to the workers in turn: every worker gets a first before any gets a second", async () => {
  await using queue = await scriptQueue()
  await queue.submit(["a", "b", "c", "d", "e", "f", "g"])
  const workers = [
    { worker: "one", slots: 3 },
    { worker: "?", slots: 1 },
    { worker: "two", slots: 2 },
  ]
  const [, ...tasks] = await queue.leaseEach({ limit: 9, retention: HOUR, tokens: newTokens(6) }, ...workers)
  expect(tasks.map(({ id }) => id)).toEqual(["a", "b", "c", "d", "e", "f"])
  const names = await Promise.all(tasks.map(({ id }) => queue.field(id, "worker")))
  expect(names).toEqual(["one", null, "two", "one", "two", "one"])
  expect(new Set(tasks.map(({ lease }) => lease)).size).toBe(6)
  await checkQueue(queue.redis, queue.name)
})

test("tasks of a higher priority are leased first, and those of one priority in their order", async () => {
  await using queue = await scriptQueue()
  for (const priority of [0, 9, 5, 9, 0, 3]) await queue.submit(`p${priority}-${Math.random()}`, { priority })
  const [, ...tasks] = await queue.lease(10)
  expect(tasks.map(({ id }) => id.slice(0, 2))).toEqual(["p9", "p9", "p5", "p3", "p0", "p0"])
  await using other = await scriptQueue()
  await other.submit(Array.from({ length: 500 }, (_, i) => `n${i}`))
  const [, ...first] = await other.lease(200)
  const [, ...rest] = await other.lease(1_000)
  expect([...first, ...rest].map(({ id }) => id)).toEqual(Array.from({ length: 500 }, (_, i) => `n${i}`))
})

test("lease ends lapsed leases and makes due tasks ready before it leases tasks", async () => {
  await using queue = await scriptQueue()
  await queue.submit("lapsed", { priority: 9 })
  await queue.submit("later", { delay: HOUR })
  await queue.leaseOne()
  await queue.lapse("lapsed")
  await queue.due("later")
  const [next, ...tasks] = await queue.lease(5)
  expect(tasks.map(({ id }) => id).sort()).toEqual(["lapsed", "later"])
  expect(next).toBeWithin(20_000, 30_001)
})

test("a stale id in a ready list is dropped and not leased", async () => {
  await using queue = await scriptQueue()
  const lease = await submitAndLease(queue)
  await queue.redis.rpush(queue.key("ready", "5"), "T", "never-was")
  await queue.submit("U")
  const [, ...tasks] = await queue.lease(5)
  expect(tasks.map(({ id }) => id)).toEqual(["U"])
  expect((await queue.settle("T", lease, "done"))[0]).toBe("acknowledged")
  await checkQueue(queue.redis, queue.name)
})

test("sweep and lease answer when the next lease lapses or delay ends", async () => {
  await using queue = await scriptQueue()
  expect((await queue.sweep())[2]).toBe(-1)
  await queue.submit("T", { timeoutMs: 50_000 })
  expect(await queue.sweep()).toEqual([0, 1, -1])
  await queue.leaseOne()
  expect((await queue.sweep())[2]).toBeWithin(45_000, 50_001)
  await queue.submit("U", { delay: 10_000 })
  expect((await queue.sweep())[2]).toBeWithin(5_000, 10_001)
})

test.each([
  "what is this?",
  "processing 0 ",
  'queued 0 none 0 ? 0 0 0 0\n5 3 3 1000\n\n"a"\n1',
  'queued 0 0 0 ?\n5 3 3 1000\n\n"a"\n1',
  'scheduled 0 0 0 ?\n5 3 3 1000 0 5\n\n"a"\n1',
])(
  "a text that is not a task does not block other tasks from being leased, settled or swept: %j",
  async text => {
    await using queue = await scriptQueue()
    await queue.submit(["A", "B"])
    const [, a] = await queue.lease()
    await queue.redis.set(queue.key("task", "X"), text)
    for (const set of ["leases", "due", "expiring"] as const) await queue.redis.zadd(queue.key(set), 1, "X")
    await queue.redis.lpush(queue.key("ready", "5"), "X")
    const answers = await queue.settleEach(HOUR, [
      { id: "X", lease: "", outcome: "done", text: "" },
      { id: "A", lease: a!.lease, outcome: "done", text: "" },
    ])
    expect(answers.map(([code]) => code)).toEqual(["unknown", "acknowledged"])
    await queue.sweep()
    expect((await queue.leaseOne()).id).toBe("B")
    expect(await queue.redis.exists(queue.key("leases"))).toBe(1)
    expect(await queue.redis.zscore(queue.key("leases"), "X")).toBeNull()
  },
)

test("one call hands out at most 4 MB, and puts the rest back in its order", async () => {
  await using queue = await scriptQueue()
  const text = (bytes: number) => JSON.stringify("x".repeat(bytes - 2))
  for (let i = 0; i < 10; i++) await queue.submit(`n${i}`, { text: text(1_000_000) })
  await queue.submit(["s1", "s2"])
  await queue.submit("first", { priority: 6 })
  const leaseAll = async () => {
    const [nextEvent, ...tasks] = await queue.lease(20)
    return { nextEvent, ids: tasks.map(({ id }) => id) }
  }
  expect(await leaseAll()).toEqual({ nextEvent: 0, ids: ["first", "n0", "n1", "n2", "n3"] })
  expect(await queue.ready()).toEqual(["n4", "n5", "n6", "n7", "n8", "n9", "s1", "s2"])
  await checkQueue(queue.redis, queue.name)
  expect(await leaseAll()).toEqual({ nextEvent: 0, ids: ["n4", "n5", "n6", "n7"] })
  expect(await leaseAll()).toMatchObject({ ids: ["n8", "n9", "s1", "s2"] })
  await checkQueue(queue.redis, queue.name)
})

test("the texts of tasks count as well: what checkpoints make large is bounded", async () => {
  await using queue = await scriptQueue()
  const ids = Array.from({ length: 300 }, (_, i) => `n${i}`)
  await queue.submit(ids)
  const leased = await queue.leaseMany(300)
  const checkpoint = JSON.stringify("x".repeat(16_000))
  const items = leased.map(({ id, lease }) => ({ id, lease, timeout: "", progress: "", checkpoint, log: "" }))
  await queue.scripts.call("extend", queue.name, {}, items)
  await queue.settleEach(
    HOUR,
    leased.map(({ id, lease }) => ({ id, lease, outcome: "failed", text: "" })),
  )
  const [nextEvent, ...again] = await queue.lease(300)
  expect(nextEvent).toBe(0)
  expect(again.length).toBeWithin(200, 262)
  const [, ...rest] = await queue.lease(300)
  expect([...again, ...rest].map(({ id }) => id)).toEqual(ids)
})

test("a task of more than 4 MB is handed out alone", async () => {
  await using queue = await scriptQueue()
  await queue.submit(["a", "b"], { text: JSON.stringify("x".repeat(5_000_000)) })
  await queue.submit("c")
  for (const id of ["a", "b"]) {
    const [nextEvent, ...tasks] = await queue.lease(5)
    expect([nextEvent, tasks.map(task => task.id)]).toEqual([0, [id]])
  }
  expect((await queue.leaseOne()).id).toBe("c")
})
