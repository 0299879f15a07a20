/** Bulk operations on tasks that have ended, by a text or a part of an id, and how many tasks match. */
import { describe, expect, test } from "bun:test"
import { localOf } from "../../lib/task/id.ts"
import type { BulkRequest, BulkView } from "../../lib/wire/bulk.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import { bulkUntil, hasEnded, leaseAll, makeDead, readBulk, settle, startBulk } from "../support/bulk.ts"
import { until } from "../support/harness.ts"
import { ServedQueue } from "../support/served-queue.ts"

async function ended(q: ServedQueue, request: BulkRequest): Promise<BulkView> {
  const { bulk_id } = await startBulk(q, request)
  return bulkUntil(q.broker, bulk_id, hasEnded)
}

const depthOf = async (q: ServedQueue) => (await q.broker.queue.parts.control.view(q.queue)).depth

/** Creates tasks that are done and returns their ids. */
async function makeDone(
  q: ServedQueue,
  count: number,
  members: (i: number) => object = () => ({}),
): Promise<string[]> {
  const tasks = Array.from({ length: count }, (_, i) => ({ type: "t", queue: q.queue, ...members(i) }))
  const { body } = await q.ask("POST", "/submit", tasks)
  await settle(q, await leaseAll(q, count), "done")
  return body.map(({ task_id }: { task_id: string }) => task_id)
}

const listed = async (q: ServedQueue, state: string): Promise<TaskView[]> =>
  (await q.ask("GET", `/tasks?state=${state}&queue=${q.queue}&limit=1000`)).body.tasks

describe("submit_again", () => {
  test("submits one task like each one that matches, with its payload and labels, and keeps the originals", async () => {
    await using q = await ServedQueue.open()
    const text = "large ".repeat(100)
    const ids = await makeDone(q, 45, i => ({
      type: i < 40 ? "a" : "b",
      payload: { n: i, ...(i === 7 ? { text } : {}) },
      meta: { team: "mail" },
    }))
    const view = await ended(q, { action: "submit_again", filter: { queue: q.queue, type: "a" } })
    expect(view).toMatchObject({
      state: "finished",
      filter: { queue: q.queue, type: "a", state: "done" },
      progress: { total: 45, seen: 45, done: 40, skipped: 0 },
    })
    expect(view.outcome).toBeUndefined()
    expect(await depthOf(q)).toMatchObject({ queued: 40, done: 45 })
    const copies = await listed(q, "queued")
    expect(copies.map(({ again_of }) => again_of!).sort()).toEqual(ids.slice(0, 40).sort())
    for (const { again_of, payload, meta } of copies) {
      const n = ids.indexOf(again_of!)
      expect([payload, meta]).toEqual([{ n, ...(n === 7 ? { text } : {}) }, { team: "mail" }])
    }
  })

  test("does not submit the tasks that it has submitted, though they end while it runs", async () => {
    await using q = await ServedQueue.open()
    await makeDone(q, 30)
    const { bulk_id } = await startBulk(q, { action: "submit_again", filter: { queue: q.queue }, rate: 40 })
    let done = 0
    const work = async () => {
      const tasks = await leaseAll(q, 30)
      done += tasks.length
      await settle(q, tasks, "done")
    }
    await until("it has ended", async () => {
      await work()
      return hasEnded(await readBulk(q.broker, bulk_id))
    })
    await until("all copies are done", async () => {
      await work()
      return done >= 30
    })
    expect(done).toBe(30)
  })

  test("of named tasks takes those that have ended in the requested state", async () => {
    await using q = await ServedQueue.open()
    const dead = await q.dead()
    const [done] = await makeDone(q, 1)
    const waiting = await q.submit({ delay_ms: 3_600_000 })
    const task_ids = [dead, done!, waiting, `${q.queue}:none`]
    const all = await ended(q, { action: "submit_again", filter: { task_ids, state: "ended" } })
    expect(all.progress).toEqual({ total: 4, seen: 4, done: 2, skipped: 2 })
    const some = await ended(q, { action: "submit_again", filter: { task_ids } })
    expect(some.progress).toMatchObject({ done: 1, skipped: 3 })
    expect((await depthOf(q)).queued).toBe(3)
  })

  test("skips what a full queue refuses", async () => {
    await using q = await ServedQueue.open({ maxQueueDepth: 3 })
    for (let i = 0; i < 5; i++) await makeDone(q, 1)
    const { progress } = await ended(q, { action: "submit_again", filter: { queue: q.queue } })
    expect(progress).toEqual({ total: 5, seen: 5, done: 3, skipped: 2 })
    expect(await depthOf(q)).toMatchObject({ queued: 3, done: 5 })
  })
})

describe("purge", () => {
  test.each(["done", "cancelled"] as const)("deletes the %s tasks that match, and no others", async state => {
    await using q = await ServedQueue.open()
    const tasks = Array.from({ length: 700 }, (_, i) => ({ type: i % 2 ? "a" : "b", queue: q.queue }))
    await q.ask("POST", "/submit", tasks)
    if (state === "done") await settle(q, await leaseAll(q, 700), "done")
    else await q.ask("POST", "/cancel", { queue: q.queue, limit: 1_000 })
    await q.dead({ type: "a" })
    const { progress } = await ended(q, { action: "purge", filter: { queue: q.queue, type: "a", state } })
    expect(progress).toEqual({ total: 700, seen: 700, done: 350, skipped: 0 })
    expect(await depthOf(q)).toMatchObject({ [state]: 350, dead: 1 })
    expect((await listed(q, state)).every(({ type }) => type === "b")).toBeTrue()
  })

  test("of ended tasks deletes those in all three states, but neither waiting nor running ones", async () => {
    await using q = await ServedQueue.open()
    await makeDone(q, 2)
    await q.dead()
    await q.cancel(await q.submit())
    await q.leased()
    await q.submit()
    const { progress } = await ended(q, { action: "purge", filter: { queue: q.queue, state: "ended" } })
    expect(progress).toEqual({ total: 4, seen: 4, done: 4, skipped: 0 })
    expect(await depthOf(q)).toMatchObject({ done: 0, dead: 0, cancelled: 0, processing: 1, queued: 1 })
  })

  test("of named tasks deletes only those in the requested state", async () => {
    await using q = await ServedQueue.open()
    const dead = await q.dead()
    const [done] = await makeDone(q, 1)
    const waiting = await q.submit()
    const task_ids = [dead, done!, waiting]
    const first = await ended(q, { action: "purge", filter: { task_ids } })
    expect(first.progress).toMatchObject({ done: 1, skipped: 2 })
    expect(await depthOf(q)).toMatchObject({ done: 1, dead: 0, queued: 1 })
    const second = await ended(q, { action: "purge", filter: { task_ids, state: "ended" } })
    expect([second.filter, second.progress]).toMatchObject([{}, { done: 1, skipped: 2 }])
    expect(await depthOf(q)).toMatchObject({ done: 0, queued: 1 })
  })
})

describe("a filter", () => {
  test("by a part of the id, ignoring case, selects exactly what the list shows", async () => {
    await using q = await ServedQueue.open()
    for (const name of ["Order-1", "order-2", "other"]) await q.submit({ task_id: name, delay_ms: 3_600_000 })
    // The name of the queue is no part of the id.
    for (const id_part of ["RDER", q.queue])
      await ended(q, { action: "cancel", filter: { queue: q.queue, id_part } })
    expect((await listed(q, "cancelled")).map(({ id }) => localOf(id)).sort()).toEqual(["Order-1", "order-2"])
  })

  test("by a text selects the tasks that have it in the payload or the error, large ones too", async () => {
    await using q = await ServedQueue.open()
    await makeDead(q, 30, i => ({
      payload: { to: i % 3 === 0 ? "Zoë" : "Eve", pad: i % 2 ? "x".repeat(1_000) : "" },
    }))
    const filter = { queue: q.queue, text: "zoë" }
    expect((await ended(q, { action: "retry", filter, limit: 4 })).progress).toMatchObject({ done: 4 })
    const rest = await ended(q, { action: "retry", filter })
    expect(rest).toMatchObject({ filter, progress: { total: 26, seen: 26, done: 6, skipped: 0 } })
    const queued = await listed(q, "queued")
    expect(queued.map(({ payload }) => (payload as { to: string }).to)).toEqual(Array(10).fill("Zoë"))
    const error = { queue: q.queue, text: "NO ROUTE" }
    expect((await ended(q, { action: "purge", filter: error })).progress).toMatchObject({ done: 20 })
  })

  test("by a text with a rate takes small pages, and counts each task once", async () => {
    await using q = await ServedQueue.open()
    await makeDone(q, 40, i => ({ payload: i % 2 ? "yes" : "no" }))
    const filter = { queue: q.queue, state: "done", text: "yes" } as const
    const { progress } = await ended(q, { action: "submit_again", filter, rate: 40 })
    expect(progress).toEqual({ total: 40, seen: 40, done: 20, skipped: 0 })
  })

  test.each<[why: string, order: Partial<BulkRequest>, length: number]>([
    ["as they hold enough tasks", { action: "retry", rate: 40 }, 1],
    ["as payloads are large", { action: "retry" }, 900_000],
    // The tasks end in one ms. So when the last one of a page is deleted, the others of this ms are looked at again.
    ["before tasks of the same ms", { action: "purge", rate: 40 }, 1],
  ])("by a text and a type counts each task once, if pages end %s", async (_, order, length) => {
    await using q = await ServedQueue.open()
    const isRetry = order.action === "retry"
    for (let i = 0; i < 20; i++) {
      await q.submit({ type: "b", payload: "yes", max_retries: 0 })
      await q.submit({ type: "a", payload: `yes${"x".repeat(length)}`, max_retries: 0 })
    }
    await settle(q, await leaseAll(q, 40), isRetry ? "failed" : "done")
    const filter = { queue: q.queue, state: isRetry ? "dead" : "done", type: "a", text: "yes" } as const
    const { progress } = await ended(q, { action: "retry", ...order, filter })
    expect(progress).toEqual({ total: 40, seen: 40, done: 20, skipped: 0 })
  })
})

describe("POST /bulk/count", () => {
  test.each<[BulkRequest["action"], object, number]>([
    ["retry", { type: "a" }, 2],
    ["purge", {}, 3],
    ["purge", { state: "done" }, 4],
    ["purge", { state: "done", type: "a" }, 2],
    ["purge", { state: "queued" }, 5],
    ["purge", { state: "ended", type: "a" }, 4],
    ["cancel", { state: "any", type: "a" }, 3],
    ["start_now", {}, 1],
    ["submit_again", { text: '"n":1' }, 1],
  ])("says how many tasks %s with %j would change", async (action, members, matching) => {
    await using q = await ServedQueue.open()
    await makeDead(q, 3, i => ({ type: i < 2 ? "a" : "b" }))
    await makeDone(q, 4, i => ({ type: i < 2 ? "a" : "b", payload: { n: i } }))
    for (let i = 0; i < 5; i++) await q.submit({ type: i < 2 ? "a" : "b" })
    await q.submit({ type: "a", delay_ms: 3_600_000 })
    const filter = { queue: q.queue, ...members }
    const { status, body } = await q.ask("POST", "/bulk/count", { action, filter })
    expect([status, body]).toEqual([200, { matching }])
    // Nothing was changed, and the operation then changes as many.
    expect(await depthOf(q)).toMatchObject({ dead: 3, done: 4, queued: 5, delayed: 1 })
    expect((await ended(q, { action, filter })).progress.done).toBe(matching)
  })

  test("counts no id whose task has left the lists of a group", async () => {
    await using q = await ServedQueue.open()
    const tasks = Array.from({ length: 5 }, () => ({ type: "t", queue: q.queue, group: "g" }))
    const { body } = await q.ask("POST", "/submit", tasks)
    for (const { task_id } of body.slice(1, 4)) await q.ask("POST", `/cancel/${task_id}`)
    const request = { action: "purge", filter: { queue: q.queue, state: "queued" } } as const
    expect((await q.ask("POST", "/bulk/count", request)).body).toMatchObject({ matching: 2 })
    expect((await ended(q, request)).progress).toMatchObject({ done: 2 })
  })

  test("counts page by page", async () => {
    await using q = await ServedQueue.open()
    await makeDone(q, 1_000)
    await makeDone(q, 500)
    let count = 0
    let cursor: string | undefined
    do {
      const filter = { queue: q.queue, type_part: "T" }
      const { body } = await q.ask("POST", "/bulk/count", { action: "submit_again", filter, cursor })
      count += body.matching
      cursor = body.next
    } while (cursor !== undefined)
    expect(count).toBe(1_500)
  })

  test.each([
    [{ action: "submit_again", filter: { task_ids: ["a"] } }, "filter.task_ids"],
    [{ action: "submit_again", filter: { text: "a" } }, "filter.text"],
    [{ action: "cancel", filter: { state: "ended" } }, "filter.state"],
    [{ action: "purge", filter: {}, limit: 1 }, "limit"],
  ])("%j is refused with the name of the member", async (body, field) => {
    await using q = await ServedQueue.open()
    expect(await q.ask("POST", "/bulk/count", body)).toMatchObject({ status: 400, body: { field } })
  })
})
