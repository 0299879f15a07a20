/** Groups: turns, limits and order of the tasks of one queue, at the level of the scripts. */
import { expect, test } from "bun:test"
import { GROUP_KEYS, readKey } from "../../lib/redis/keys.ts"
import { checkQueue, dump } from "../support/invariants.ts"
import { HOUR, type ScriptQueue, scriptQueue } from "../support/script-queue.ts"

const settings = (queue: ScriptQueue, groups: object | "") =>
  queue.scripts.call("settings", queue.name, {
    concurrency: "",
    per_second: "",
    burst: "",
    rates: "",
    group_limits: groups === "" ? "" : JSON.stringify(groups),
  })

const ids = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}${i}`)

async function submitMany(queue: ScriptQueue, group: string | undefined, prefix: string, count: number) {
  for (let from = 0; from < count; from += 300)
    await queue.submit(ids(prefix, count).slice(from, from + 300), group === undefined ? {} : { group })
}

const leasedIds = async (queue: ScriptQueue, count: number) =>
  (await queue.lease(count)).slice(1).map(task => (task as { id: string }).id)

test("groups.lua spells the keys that lib/redis/keys.ts declares, and they have these types", async () => {
  const source = await Bun.file(new URL("../../lib/lua/groups.lua", import.meta.url)).text()
  const spelled = [...source.matchAll(/base \.\. "([a-z]+):?"/g)].map(([, name]) => name!)
  expect(spelled.sort()).toEqual(Object.keys(GROUP_KEYS).sort())
  await using queue = await scriptQueue()
  const value = JSON.stringify({ rates: [{ limit: 1, per_ms: HOUR, burst: 2 }] })
  await queue.scripts.call("setGroup", queue.name, { group: "a", change: "limits", value })
  await queue.submit(["a0", "a1", "a2", "a3"], { group: "a" })
  const task = await queue.leaseOne()
  await queue.leaseOne()
  await queue.settleEach(HOUR, [
    { id: task.id, lease: task.lease, outcome: "failed", text: "", retry: "=9999" },
  ])
  const found = new Map<string, string>()
  for (const key of await queue.redis.keys(`tq:{${queue.name}}:*`))
    found.set(readKey(key)!.name, await queue.redis.type(key))
  for (const [name, { type }] of Object.entries(GROUP_KEYS))
    expect([name, found.get(name)]).toEqual([name, type])
})

test("a task of one group does not wait for the backlog of another", async () => {
  await using queue = await scriptQueue()
  await submitMany(queue, "a", "a", 100_000)
  await queue.submit("b0", { group: "b" })
  expect(await leasedIds(queue, 2)).toEqual(["a0", "b0"])
  await checkQueue(queue.redis, queue.name)
}, 60_000)

test("groups with a backlog get the same number of leases, in batches of any size", async () => {
  await using queue = await scriptQueue()
  for (let g = 0; g < 100; g++) await submitMany(queue, `g${g}`, `g${g}-`, 105 + (g % 7) * 20)
  const counts = new Map<string, number>()
  let leased = 0
  for (let i = 0; leased < 10_000; i++) {
    for (const id of await leasedIds(queue, [1, 7, 300][i % 3]!)) {
      const group = id.split("-")[0]!
      counts.set(group, (counts.get(group) ?? 0) + 1)
      leased++
    }
    const all = [...counts.values()]
    const least = counts.size < 100 ? 0 : Math.min(...all)
    expect(Math.max(...all) - least).toBeLessThanOrEqual(1)
  }
  await checkQueue(queue.redis, queue.name)
}, 60_000)

test("a group at its limit leaves the line, and comes back when a slot is free", async () => {
  await using queue = await scriptQueue()
  await settings(queue, { concurrency: 2 })
  await submitMany(queue, "a", "a", 1_000)
  await queue.submit("b0", { group: "b" })
  const [, ...first] = await queue.lease(300)
  expect(first.map(({ id }) => id).sort()).toEqual(["a0", "a1", "b0"])
  expect(await leasedIds(queue, 10)).toEqual([])
  expect(await queue.ready()).toEqual([])
  await checkQueue(queue.redis, queue.name)
  const a0 = first.find(({ id }) => id === "a0")!
  await queue.settle("a0", a0.lease, "done")
  expect(await queue.ready()).toEqual(["=a"])
  await checkQueue(queue.redis, queue.name)
  expect(await leasedIds(queue, 10)).toEqual(["a2"])
  await queue.lapse("a1")
  expect(await leasedIds(queue, 10)).toEqual(["a3"])
  const stale = first.find(({ id }) => id === "a1")!
  await queue.settle("a1", stale.lease, "done")
  expect(await leasedIds(queue, 10)).toEqual([])
  await checkQueue(queue.redis, queue.name)
})

test("strict order: a task keeps its group until it has ended", async () => {
  await using queue = await scriptQueue()
  await settings(queue, { order: "strict" })
  await queue.submit(["a0", "a1", "a2"], { group: "a", maxRetries: 1 })
  let task = await queue.leaseOne()
  expect(task.id).toBe("a0")
  expect(await leasedIds(queue, 10)).toEqual([])
  await queue.settle("a0", task.lease, "failed", "e")
  await checkQueue(queue.redis, queue.name)
  task = await queue.leaseOne()
  expect(task.id).toBe("a0")
  await queue.settle("a0", task.lease, "failed", "e")
  task = await queue.leaseOne()
  expect(task.id).toBe("a1")
  await queue.settleEach(HOUR, [{ id: "a1", lease: task.lease, outcome: "failed", text: "", retry: HOUR }])
  expect(await leasedIds(queue, 10)).toEqual([])
  await checkQueue(queue.redis, queue.name)
  await queue.cancel("a1")
  await checkQueue(queue.redis, queue.name)
  expect((await queue.leaseOne()).id).toBe("a2")
})

test("a blocking dead task holds its group until it is retried or deleted", async () => {
  await using queue = await scriptQueue()
  await settings(queue, { order: "strict", on_dead: "block" })
  await queue.submit(["a0", "a1", "a2"], { group: "a", maxRetries: 0 })
  let task = await queue.leaseOne()
  await queue.settle("a0", task.lease, "failed", "e")
  expect(await leasedIds(queue, 10)).toEqual([])
  await checkQueue(queue.redis, queue.name)
  await queue.retryDead("a0")
  await checkQueue(queue.redis, queue.name)
  task = await queue.leaseOne()
  expect(task.id).toBe("a0")
  await queue.settle("a0", task.lease, "failed", "e")
  await queue.deleteDead("a0")
  await checkQueue(queue.redis, queue.name)
  task = await queue.leaseOne()
  expect(task.id).toBe("a1")
  await queue.settle("a1", task.lease, "failed", "e")
  await queue.age("dead", "a1")
  await queue.sweep(10, 1)
  await checkQueue(queue.redis, queue.name)
  expect((await queue.leaseOne()).id).toBe("a2")
})

test("a rate holds a group until the next token, and other groups go on", async () => {
  await using queue = await scriptQueue()
  await settings(queue, { rates: [{ limit: 1, per_ms: HOUR, burst: 2 }] })
  await submitMany(queue, "a", "a", 10)
  await submitMany(queue, "b", "b", 1)
  expect((await leasedIds(queue, 10)).sort()).toEqual(["a0", "a1", "b0"])
  await checkQueue(queue.redis, queue.name)
  const until = Number(await queue.redis.zscore(queue.key("expiring"), "=5a"))
  expect(until - Date.now()).toBeWithin(HOUR - 60_000, HOUR + 60_000)
  await queue.redis.del(queue.key("pace", "a"))
  await queue.redis.zadd(queue.key("expiring"), 1, "=5a")
  expect(await leasedIds(queue, 10)).toEqual(["a2", "a3"])
})

test.each(["lease", "sweep"] as const)(
  "a group that its rate holds waits no longer if the clock of Redis is set back: %s",
  async find => {
    await using queue = await scriptQueue()
    await settings(queue, { rates: [{ limit: 1, per_ms: 2_000, burst: 2 }] })
    await queue.submit(ids("a", 4), { group: "a" })
    expect(await leasedIds(queue, 9)).toEqual(["a0", "a1"])
    // What an hour back looks like: all times are that much later.
    const base = `tq:{${queue.name}}:`
    const [filled, tokens] = (await queue.redis.get(`${base}pace:a`))!.split(" ")
    await queue.redis.set(`${base}pace:a`, `${Number(filled) + HOUR} ${tokens}`)
    await queue.redis.zincrby(queue.key("expiring"), HOUR, "=5a")
    await queue.redis.hincrby(queue.key("stats"), "polled", HOUR)
    if (find === "lease") await queue.lease()
    else await queue.sweep()
    const heldUntil = Number(await queue.redis.zscore(queue.key("expiring"), "=5a"))
    expect(heldUntil).toBeWithin(Date.now() - 60_000, Date.now() + 2_001)
    await checkQueue(queue.redis, queue.name)
  },
)

test("a worker may hold the group of a task that it gives back", async () => {
  await using queue = await scriptQueue()
  await queue.submit(["a0", "a1"], { group: "a" })
  await queue.submit("b0", { group: "b" })
  const task = await queue.leaseOne()
  await queue.settleEach(HOUR, [
    { id: "a0", lease: task.lease, outcome: "released", text: "", retry: "=60000" },
  ])
  expect(await leasedIds(queue, 10)).toEqual(["b0"])
  await checkQueue(queue.redis, queue.name)
  await queue.redis.del(queue.key("asked", "a"), queue.key("asked"))
  await queue.redis.zadd(queue.key("expiring"), 1, "=5a")
  expect(await leasedIds(queue, 10)).toEqual(["a0", "a1"])
})

test("a paused group waits until it is resumed", async () => {
  await using queue = await scriptQueue()
  await queue.submit(["a0", "a1"], { group: "a" })
  await queue.scripts.call("setGroup", queue.name, { group: "a", change: "pause", value: "why" })
  expect(await leasedIds(queue, 10)).toEqual([])
  await checkQueue(queue.redis, queue.name)
  await queue.scripts.call("setGroup", queue.name, { group: "a", change: "resume", value: "" })
  expect(await queue.redis.exists(queue.key("overrides"))).toBe(0)
  expect(await leasedIds(queue, 10)).toEqual(["a0", "a1"])
})

test("any name is a group, and no key is left when all tasks have ended", async () => {
  await using queue = await scriptQueue()
  const names = [
    "*",
    "=",
    ":",
    "}",
    "{}",
    "😀",
    " a b ",
    "x".repeat(128),
    "5",
    "[",
    "(",
    "-inf",
    "a=b",
    " =x",
  ]
  for (const [i, group] of names.entries()) await queue.submit([`a${i}`, `b${i}`], { group })
  await checkQueue(queue.redis, queue.name)
  const [, ...tasks] = await queue.lease(100)
  expect(tasks.map(({ id }) => id)).toEqual(
    [...names.keys()].map(i => `a${i}`).concat([...names.keys()].map(i => `b${i}`)),
  )
  expect(tasks[1]!.group).toBe("=")
  await checkQueue(queue.redis, queue.name)
  for (const { id, lease } of tasks) await queue.settle(id, lease, "done")
  await queue.purge("done", 100)
  const { stats, ...rest } = await dump(queue.redis, queue.name)
  expect(rest).toEqual({})
})

test("purging deletes waiting tasks of groups, in line or held", async () => {
  await using queue = await scriptQueue()
  await settings(queue, { concurrency: 1 })
  await submitMany(queue, "a", "a", 5)
  await submitMany(queue, "b", "b", 5)
  await submitMany(queue, undefined, "c", 5)
  await queue.leaseOne()
  await queue.leaseOne()
  await queue.leaseOne()
  await queue.lease(1)
  await checkQueue(queue.redis, queue.name)
  expect(await queue.purge("5", 3)).toBe(3)
  await checkQueue(queue.redis, queue.name)
  expect(await queue.purge("5", 100)).toBe(0)
  expect(await queue.purge("held", 5)).toBe(5)
  await checkQueue(queue.redis, queue.name)
  expect(await queue.purge("held", 5)).toBe(3)
  await checkQueue(queue.redis, queue.name)
})
