/** Groups: turns, limits and order of the tasks of one queue, at the level of the scripts. */
import { expect, test } from "bun:test"
import type { Redis } from "ioredis"
import { GROUP_KEYS, readKey } from "../../lib/redis/keys.ts"
import type { Runner } from "../../lib/redis/runner.ts"
import { prepareScript } from "../../lib/redis/scripts.ts"
import { until } from "../support/harness.ts"
import { checkQueue, dump } from "../support/invariants.ts"
import { onOneConnection, sharedRedis } from "../support/redis.ts"
import { HOUR, ScriptQueue, scriptQueue } from "../support/script-queue.ts"

const settings = (queue: ScriptQueue, groups: object | "") =>
  queue.scripts.call("settings", queue.name, {
    concurrency: "",
    per_second: "",
    burst: "",
    rates: "",
    group_limits: groups === "" ? "" : JSON.stringify(groups),
    attention: "",
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
  await queue.submit("b0", { group: "b" })
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
}, 180_000)

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
}, 180_000)

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

test("groups whose slots one call frees get their turns in the order of its items, with and without results", async () => {
  for (const results of [
    ["", "", ""],
    ['"r"', "", '"r"'],
    ["", '"r"', ""],
  ]) {
    await using queue = await scriptQueue()
    await settings(queue, { concurrency: 1 })
    const names = ["c", "a", "b"]
    for (const group of names) await queue.submit([`${group}0`, `${group}1`], { group })
    const leases = new Map<string, string>()
    for (let i = 0; i < names.length; i++) {
      const { id, lease } = await queue.leaseOne()
      leases.set(id, lease)
    }
    const ended = names.toReversed().map(group => `${group}0`)
    const items = ended.map((id, i) => ({
      id,
      lease: leases.get(id)!,
      outcome: "done" as const,
      text: results[i]!,
    }))
    await queue.settleEach(HOUR, items)
    expect([results, await queue.ready()]).toEqual([results, ["=b", "=a", "=c"]])
    await checkQueue(queue.redis, queue.name)
  }
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
  await queue.deleteEnded("a0")
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

test("what an earlier version has stored, with every task of a group in its list, is served in order", async () => {
  await using queue = await scriptQueue()
  await queue.submit(["a0", "a1"], { group: "a" })
  await queue.submit("b0", { group: "b" })
  for (const [entry, first] of Object.entries(await queue.redis.hgetall(queue.key("firsts")))) {
    const length = await queue.redis.lpush(queue.key("group", entry), first)
    await queue.redis.zadd(queue.key("waiting"), length, entry)
  }
  await queue.redis.del(queue.key("firsts"))
  await checkQueue(queue.redis, queue.name)
  await queue.submit("b1", { group: "b" })
  await checkQueue(queue.redis, queue.name)
  expect(await leasedIds(queue, 3)).toEqual(["a0", "b0", "a1"])
  await queue.submit("a2", { group: "a" })
  await checkQueue(queue.redis, queue.name)
  expect(await leasedIds(queue, 3)).toEqual(["b1", "a2"])
})

test("a released task is the next one of its group, though others have come since", async () => {
  await using queue = await scriptQueue()
  await queue.submit("a0", { group: "a" })
  const task = await queue.leaseOne()
  await queue.submit("a1", { group: "a" })
  await queue.submit("a2", { group: "a" })
  await queue.settleEach(HOUR, [{ id: "a0", lease: task.lease, outcome: "released", text: "", retry: "" }])
  await checkQueue(queue.redis, queue.name)
  expect(await leasedIds(queue, 3)).toEqual(["a0", "a1", "a2"])
})

test("strict order: a group at two priorities runs the task that has the slot, whichever turn comes first", async () => {
  await using queue = await scriptQueue()
  await settings(queue, { order: "strict" })
  await queue.submit(["a0", "a1"], { group: "a", priority: 5 })
  const task = await queue.leaseOne()
  await queue.submit("a9", { group: "a", priority: 9 })
  await queue.settle("a0", task.lease, "failed", "e")
  expect(await leasedIds(queue, 3)).toEqual(["a0"])
  await checkQueue(queue.redis, queue.name)
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
    "\u2028",
  ]
  for (const [i, group] of names.entries()) await queue.submit([`a${i}`, `b${i}`], { group })
  await checkQueue(queue.redis, queue.name)
  const [, ...tasks] = await queue.lease(100)
  expect(tasks.map(({ id }) => id)).toEqual(
    [...names.keys()].map(i => `a${i}`).concat([...names.keys()].map(i => `b${i}`)),
  )
  expect(tasks[1]!.group).toBe("=")
  for (const name of names)
    expect(readKey(queue.key("group", `5${name}`))).toEqual({
      queue: queue.name,
      name: "group",
      id: `5${name}`,
    })
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

test("a freed slot wakes waiting clients at once, and a submit to a group at its limit wakes nobody", async () => {
  await using queue = await scriptQueue()
  await settings(queue, { concurrency: 1 })
  await queue.submit(["a0", "a1"], { group: "a" })
  const task = await queue.leaseOne()
  await queue.lease()
  const heard: string[] = []
  const listener = queue.redis.duplicate()
  listener.on("message", (_, message) => heard.push(message))
  await listener.subscribe(queue.key("wake"))
  await queue.submit("a2", { group: "a" })
  await queue.settle(task.id, task.lease, "done")
  await until("the hint has arrived", () => heard.length > 0)
  expect(heard).toEqual(["1"])
  listener.disconnect()
})

test("strict order: whatever happens to them, the tasks of a group end in the order of their submits", async () => {
  for (const on_dead of ["skip", "block"] as const) {
    await using queue = await scriptQueue()
    await settings(queue, { order: "strict", on_dead })
    const all = ids("t", 40)
    for (const id of all) await queue.submit(id, { group: "a", maxRetries: 1, maxCrashes: 1, priority: 5 })
    const ended: string[] = []
    const retried = new Set<string>()
    for (let step = 0; ended.length < all.length; step++) {
      const [, task, ...more] = await queue.lease(9)
      expect(more).toEqual([])
      if (task === undefined) {
        // A task backs off, or is dead and blocks its group.
        const id = all[ended.length]!
        if ((await queue.field(id, "state")) === "dead") {
          await (step % 2 ? queue.retryDead(id) : queue.deleteEnded(id))
          if (step % 2 === 0) ended.push(id)
          else retried.add(id)
        } else if (step % 5 === 0) {
          await queue.cancel(id)
          ended.push(id)
        } else await queue.due(id)
        continue
      }
      expect(task.id).toBe(all[ended.length]!)
      const end = async (outcome: "done" | "failed" | "released", retry = "") =>
        (await queue.settleEach(HOUR, [{ id: task.id, lease: task.lease, outcome, text: "", retry }]))[0]!
      const choice = (step * 7 + ended.length) % 6
      if (choice === 0) {
        await queue.lapse(task.id)
        await queue.sweep()
      } else if (choice === 1) await end("failed", `${HOUR}`)
      else if (choice === 2) await end("failed")
      else if (choice === 3) await end("released", step % 2 ? `${HOUR}` : "")
      else await end("done")
      const state = await queue.field(task.id, "state")
      if (state === "done" || (state === "dead" && on_dead === "skip")) ended.push(task.id)
      await checkQueue(queue.redis, queue.name)
    }
    expect(ended).toEqual(all)
  }
})

test("no window of a rate has more leases than its limit and its burst, and no rate of a list is exceeded", async () => {
  let at = 1_764_000_000_000
  const clocked = (redis: Redis): Runner => {
    const runner = onOneConnection(redis)
    return {
      run: (script, ...rest) => {
        const time = `{ "${Math.floor(at / 1_000)}", "${(at % 1_000) * 1_000}" }`
        return runner.run(prepareScript(script.text.replace('redis.call("TIME")', time)), ...rest)
      },
    }
  }
  await using queue = new ScriptQueue((await sharedRedis()).socket, undefined, clocked)
  const rates = [
    { limit: 10, per_ms: 1_000, burst: 5 },
    { limit: 60, per_ms: 10_000, burst: 20 },
  ]
  await settings(queue, { rates })
  for (const group of ["a", "b"]) await submitMany(queue, group, group, 300)
  const leased: { group: string; at: number }[] = []
  for (let step = 0; step < 600; step++) {
    at += [3, 50, 117, 20, 1][step % 5]!
    for (const id of await leasedIds(queue, 7)) leased.push({ group: id[0]!, at })
  }
  for (const group of ["a", "b"]) {
    const times = leased.filter(lease => lease.group === group).map(({ at }) => at)
    for (const { limit, per_ms, burst } of rates)
      for (const from of times)
        expect(times.filter(time => time >= from && time < from + per_ms).length).toBeLessThanOrEqual(
          limit + burst,
        )
    // The slower rate decides: about 6 per second.
    const seconds = (at - 1_764_000_000_000) / 1_000
    expect(times.length).toBeWithin(6 * seconds - 10, 6 * seconds + 30)
  }
}, 180_000)

test("a call that is full of bytes returns the tasks of groups to where they were, and each group gets its turn", async () => {
  await using queue = await scriptQueue()
  const text = `"${"x".repeat(1_500_000)}"`
  for (const group of ["a", "b", "c", "d"]) await queue.submit([`${group}0`, `${group}1`], { group, text })
  await queue.submit(["e0", "e1"], { text })
  const seen: string[] = []
  for (let call = 0; seen.length < 10 && call < 10; call++) {
    seen.push(...(await leasedIds(queue, 9)))
    await checkQueue(queue.redis, queue.name)
  }
  expect(
    seen
      .slice(0, 6)
      .map(id => id[0])
      .toSorted(),
  ).toEqual(["a", "b", "c", "d", "e", "e"])
  expect(seen.toSorted()).toEqual(["a", "b", "c", "d", "e"].flatMap(name => [`${name}0`, `${name}1`]))
})

test("a task of more than 4 MB that is handed out alone leaves the turns of groups in line", async () => {
  await using queue = await scriptQueue()
  await queue.submit("large", { text: JSON.stringify("x".repeat(5_000_000)) })
  await queue.submit(["a0", "a1"], { group: "a" })
  expect(await leasedIds(queue, 10)).toEqual(["large"])
  await checkQueue(queue.redis, queue.name)
  expect(await leasedIds(queue, 10)).toEqual(["a0", "a1"])
})

test("a second turn of a group is dropped when the group has no tasks left, and no lease looks for them again", async () => {
  await using queue = await scriptQueue()
  await queue.submit(["a", "b", "c", "d"], { group: "g" })
  await queue.submit(["e", "f", "h"], { group: "k" })
  await queue.redis.rpush(queue.key("ready", "5"), "=g")
  const leased: string[] = []
  for (const count of [2, 3, 5]) leased.push(...(await leasedIds(queue, count)))
  expect(leased.sort()).toEqual(["a", "b", "c", "d", "e", "f", "h"])
  const [event, ...more] = await queue.lease(5)
  expect([event === 0, more]).toEqual([false, []])
  expect([await queue.ready(), await queue.redis.zcard(queue.key("waiting"))]).toEqual([[], 0])
})

test("a listing of groups with one task ends although the last group of each page has left", async () => {
  await using queue = await scriptQueue()
  const names = ids("g", 400)
  for (const name of names) await queue.submit(name, { group: name })
  const seen = new Set<string>()
  let [score, name, pages] = ["", "", 0]
  do {
    const page = { part: "firsts", score, name, limit: 100 }
    const [, nextScore, nextName, ...states] = await queue.scripts.call("groupStates", queue.name, page)
    for (const [group] of states) seen.add(group)
    if (nextName !== "") await queue.redis.hdel(queue.key("firsts"), nextName)
    await queue.submit(`new${pages}`, { group: `new${pages}` })
    score = nextScore
    name = nextName
    pages++
  } while (score !== "" && pages < 20)
  expect(pages).toBeLessThan(8)
  expect(names.filter(each => !seen.has(each))).toEqual([])
})
