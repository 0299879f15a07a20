/** Done tasks in the list `completed`, beside those in the sorted set `done`: listing, counts, retention, purges and upgrades. */
import { describe, expect, test } from "bun:test"
import { localOf } from "../../lib/task/id.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import { until } from "../support/harness.ts"
import { ServedQueue } from "../support/served-queue.ts"

/** Submits and acks a task. */
async function done(q: ServedQueue, more: object = {}): Promise<string> {
  const task = await q.leased(more)
  await q.ack(task)
  return task.id
}

async function doneTogether(q: ServedQueue, count: number): Promise<string[]> {
  await q.ask("POST", "/submit", Array(count).fill({ type: "t", queue: q.queue }))
  const tasks = await q.lease(count)
  const acks = tasks.map(({ id, lease }) => ({ task_id: id, lease }))
  await q.ask("POST", "/ack", acks)
  return tasks.map(({ id }) => id)
}

/** Stores done tasks as the version before did, which had no list. */
async function storeAsBefore(q: ServedQueue): Promise<void> {
  const { redis } = q.direct
  for (const local of await redis.lrange(q.direct.key("completed"), 0, -1))
    await redis.zadd(
      q.direct.key("done"),
      Number(await q.direct.field(local, "finished")) + 86_400_000,
      local,
    )
  await redis.del(q.direct.key("completed"))
}

/** The ids of all pages of done tasks. `between` runs after each page. */
async function listed(q: ServedQueue, query: string, between = async () => {}): Promise<string[]> {
  const ids: string[] = []
  for (let cursor = "", page = 0; page < 100; page++) {
    const { status, body } = await q.ask("GET", `/tasks?queue=${q.queue}&state=done&${query}${cursor}`)
    expect(status).toBe(200)
    ids.push(...body.tasks.map(({ id }: TaskView) => id))
    if (body.next === undefined) break
    cursor = `&cursor=${body.next}`
    await between()
  }
  return ids
}

const depthOf = async (q: ServedQueue): Promise<number> =>
  (await q.ask("GET", `/queues/${q.queue}`)).body.depth.done

const count = (q: ServedQueue, key: "done" | "completed") =>
  key === "done" ? q.direct.redis.zcard(q.direct.key(key)) : q.direct.redis.llen(q.direct.key(key))

describe("a listing of done tasks has each task once, the newest first", () => {
  test.each(["order=time", "order=queue"])("%s, whichever place holds them", async order => {
    await using q = await ServedQueue.open()
    const ids = await doneTogether(q, 3)
    await storeAsBefore(q)
    ids.push(...(await doneTogether(q, 7)))
    ids.push(await done(q, { result_ttl_ms: 60_000 }))
    ids.push(...(await doneTogether(q, 4)), await done(q))
    expect([await count(q, "done"), await count(q, "completed")]).toEqual([4, 12])
    expect(await depthOf(q)).toBe(16)
    const finished = new Map<string, number>()
    for (const id of ids) finished.set(id, (await q.task(id)).finished_at!)
    for (const limit of [1, 2, 3, 5, 100]) {
      const found = await listed(q, `${order}&limit=${limit}`)
      expect([...found].sort()).toEqual([...ids].sort())
      // A task with a retention of its own is placed by the end of that time.
      const times = found.filter(id => ids.indexOf(id) !== 10).map(id => finished.get(id)!)
      if (order === "order=time") expect(times).toEqual(times.toSorted((a, b) => b - a))
    }
  })

  test.each(["order=time", "order=queue"])("%s, while tasks end and others are deleted", async order => {
    await using q = await ServedQueue.open()
    const ids = await doneTogether(q, 30)
    let pages = 0
    const found = await listed(q, `${order}&limit=4`, async () => {
      await done(q)
      if (pages++ === 2) await q.ask("POST", `/queues/${q.queue}/purge`, { state: "done", limit: 5 })
    })
    const left = (await q.direct.redis.lrange(q.direct.key("completed"), 0, -1)).slice(0, 25)
    expect(new Set(found).size).toBe(found.length)
    expect(left.filter(local => !found.some(id => localOf(id) === local))).toEqual([])
    expect(found.filter(id => !ids.includes(id))).toEqual([])
  })

  test("if the clock of Redis was set back", async () => {
    await using q = await ServedQueue.open()
    const first = await done(q)
    const ahead = await done(q)
    await q.direct.setField(ahead, "finished", Date.now() + 60_000)
    const after = await done(q)
    expect([await count(q, "done"), await count(q, "completed")]).toEqual([1, 2])
    for (const limit of [1, 2, 100])
      expect(await listed(q, `order=time&limit=${limit}`)).toEqual([ahead, after, first])
    expect(await depthOf(q)).toBe(3)
  })
})

describe("done tasks that are deleted before their retention is over", () => {
  test.each([
    ["the oldest", [0, 1, 2]],
    ["the newest", [19, 18, 17]],
    ["from the middle, in any order", [9, 4, 12, 10, 11]],
    ["all", Array.from({ length: 20 }, (_, i) => i)],
  ])("%s: the others stay listed and counted", async (_, which) => {
    await using q = await ServedQueue.open()
    const ids = await doneTogether(q, 8)
    for (let i = 0; i < 4; i++) ids.push(await done(q))
    ids.push(...(await doneTogether(q, 8)))
    const own = await done(q, { result_ttl_ms: 60_000 })
    const waiting = await q.submit()
    const gone = which.map(i => ids[i]!)
    const items = [...gone, gone[0]!, "nobody", own, waiting].map(id => ({ id: localOf(id) }))
    const answers = await q.direct.scripts.call("deleteEnded", q.queue, { states: "done", before: "" }, items)
    expect(answers.map(([code]) => code)).toEqual([
      ...gone.map(() => "deleted" as const),
      ...(["unknown", "unknown", "deleted", "kept"] as const),
    ])
    const left = ids.filter(id => !gone.includes(id))
    expect(await depthOf(q)).toBe(left.length)
    expect((await listed(q, "order=time&limit=3")).sort()).toEqual([...left].sort())
    expect((await q.direct.redis.lrange(q.direct.key("completed"), 0, -1)).sort()).toEqual(
      left.map(localOf).sort(),
    )
    expect((await q.task(waiting)).status).toBe("queued")
  })

  test("between two pages: no task that stays is missed", async () => {
    await using q = await ServedQueue.open()
    const ids = await doneTogether(q, 30)
    const deleted = new Set<string>()
    let last: string[] = []
    for (const order of ["order=time", "order=queue"]) {
      const found = new Set<string>()
      for (let cursor = "", page = 0; page < 100; page++) {
        const { body } = await q.ask("GET", `/tasks?queue=${q.queue}&state=done&${order}&limit=4${cursor}`)
        last = body.tasks.map(({ id }: TaskView) => id)
        for (const id of last) found.add(id)
        if (body.next === undefined) break
        cursor = `&cursor=${body.next}`
        if (page % 2 === 0) {
          expect((await q.ask("DELETE", `/tasks/${last.at(-1)}`)).status).toBe(200)
          deleted.add(last.at(-1)!)
        }
      }
      expect(ids.filter(id => !deleted.has(id) && !found.has(id))).toEqual([])
    }
    expect(await depthOf(q)).toBe(30 - deleted.size)
  })
})

test("done tasks of an earlier version are shown, counted, repeated, purged and deleted as before", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased()
  await q.ack(task)
  const others = await doneTogether(q, 6)
  await storeAsBefore(q)
  const newer = await done(q)
  expect(await depthOf(q)).toBe(8)
  expect(await q.task(task.id)).toMatchObject({ status: "done", attempt: 1 })
  expect((await q.ask("POST", "/ack", { task_id: task.id, lease: task.lease })).body.status).toBe(
    "acknowledged",
  )
  expect((await q.ask("POST", `/audit?queue=${q.queue}&fix=true`)).body.found).toEqual([])
  await q.direct.ageDone(others[0]!)
  await q.sweepKeeping({})
  expect((await q.ask("GET", `/status/${others[0]}`)).status).toBe(404)
  // The newest of each place are kept.
  await q.sweepKeeping({ keep: 3 })
  expect(await depthOf(q)).toBe(4)
  expect((await q.task(newer)).status).toBe("done")
  const purged = await q.ask("POST", `/queues/${q.queue}/purge`, { state: "done", limit: 3 })
  expect(purged.body).toMatchObject({ purged: 3, remaining: 1 })
  expect((await q.ask("POST", `/queues/${q.queue}/purge`, { state: "done" })).body).toMatchObject({
    purged: 1,
  })
  expect(await depthOf(q)).toBe(0)
})

test("a retention period that was made shorter also applies to tasks that are done", async () => {
  await using q = await ServedQueue.open()
  const [old, recent] = [await done(q), await done(q)]
  await q.direct.setField(old, "finished", Date.now() - 60_000)
  await q.sweepKeeping({ retention: 120_000 })
  expect((await q.task(old)).status).toBe("done")
  await q.sweepKeeping({ retention: 30_000 })
  expect((await q.ask("GET", `/status/${old}`)).status).toBe(404)
  expect((await q.task(recent)).status).toBe("done")
})

test("retention and purges drop the stray entry of a task that is not done, and keep the task", async () => {
  await using q = await ServedQueue.open()
  for (const drop of [
    () => q.sweepKeeping({ keep: 0 }),
    () => q.ask("POST", `/queues/${q.queue}/purge`, { state: "done" }),
  ]) {
    const id = await q.submit({ payload: "x".repeat(1_000) })
    await q.direct.redis.rpush(q.direct.key("completed"), localOf(id))
    await drop()
    expect(await count(q, "completed")).toBe(0)
    expect(await q.task(id)).toMatchObject({ status: "queued", payload: "x".repeat(1_000) })
  }
})

test.each(["order=queue", "order=time"])(
  "a stray entry hides no task from a listing, and none is listed twice: %s",
  async order => {
    await using q = await ServedQueue.open()
    const ids: string[] = []
    for (let i = 0; i < 15; i++) {
      ids.push(...(await doneTogether(q, 20)))
      await until(
        "the next tasks end later",
        async () => Date.now() > Number(await q.direct.field(localOf(ids.at(-1)!), "finished")),
      )
    }
    // The last entry of a page, and one in the middle of the first steps of a search.
    const strays = [ids[200]!, ids[149]!, ids[150]!]
    for (const id of strays) await q.direct.redis.del(q.direct.key("task", localOf(id)))
    const rest = ids.filter(id => !strays.includes(id))
    const found = await listed(q, `${order}&limit=50`)
    expect(found.toSorted()).toEqual(rest.toSorted())
    const purge = { action: "purge", filter: { task_ids: rest.slice(40, 90), state: "done" } }
    expect((await q.ask("POST", "/bulk", purge)).status).toBe(200)
    await until("they are deleted", async () => (await listed(q, order)).length === rest.length - 50)
    expect(await q.direct.redis.llen(q.direct.key("completed"))).toBe(ids.length - 50)
    for (const id of strays) await q.direct.redis.lrem(q.direct.key("completed"), 1, localOf(id))
  },
)
