/** GET /tasks: filters, pages and states. */
import { describe, expect, test } from "bun:test"
import { Redis } from "ioredis"
import { tasksPage } from "../../lib/queue/listing.ts"
import { QUEUES } from "../../lib/redis/keys.ts"
import { Scripts } from "../../lib/redis/scripts.ts"
import { joinId } from "../../lib/task/id.ts"
import type { DeadGroup } from "../../lib/wire/dead-letters.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import type { LeasedTask } from "../../lib/wire/working.ts"
import { countingCalls, type TestBroker, testBroker } from "../support/harness.ts"
import { onOneConnection, testRedis } from "../support/redis.ts"
import { answered, type Body, post } from "../support/requests.ts"
import { ServedQueue } from "../support/served-queue.ts"

/** The tasks of all pages of a listing, and the number of pages. */
async function pages(q: ServedQueue, query: string) {
  const ids: string[] = []
  let pages = 0
  let cursor = ""
  do {
    const { status, body } = await q.ask("GET", `/tasks?queue=${q.queue}&${query}${cursor}`)
    expect(status).toBe(200)
    ids.push(...body.tasks.map(({ id }: TaskView) => id))
    cursor = body.next === undefined ? "" : `&cursor=${body.next}`
    pages++
  } while (cursor !== "" && pages < 1_000)
  return { ids, pages }
}

describe("tasks", () => {
  test("scheduled and retrying tasks are listed with the next due first, across pages", async () => {
    await using q = await ServedQueue.open()
    const delays = [50, 20, 90, 20, 70, 20, 60]
    const ids: [delay: number, id: string][] = []
    for (const delay of delays) {
      const { body } = await q.ask("POST", "/submit", {
        type: "a",
        queue: q.queue,
        delay_ms: delay * 100_000,
      })
      ids.push([delay, body.task_id])
    }
    const delayOf = new Map(ids.map(([delay, id]) => [id, delay]))
    for (const limit of [1, 2, 3, 100]) {
      const listed = await pages(q, `state=scheduled&limit=${limit}`)
      expect(listed.ids.map(id => delayOf.get(id))).toEqual([20, 20, 20, 50, 60, 70, 90])
      expect(new Set(listed.ids).size).toBe(7)
    }
  })

  test("pages with filters are bounded, and together find all matches among thousands of tasks", async () => {
    await using q = await ServedQueue.open()
    const item = (i: number) => ({
      type: i % 2 ? "odd" : "even",
      queue: q.queue,
      meta: i % 700 === 699 ? { rare: "yes", n: String(i) } : { n: String(i) },
    })
    const ids: string[] = []
    for (let from = 0; from < 2_500; from += 500) {
      const { body } = await q.ask(
        "POST",
        "/submit",
        Array.from({ length: 500 }, (_, i) => item(from + i)),
      )
      ids.push(...body.map(({ task_id }: { task_id: string }) => task_id))
    }
    const rare = [699, 1_399, 2_099].map(i => ids[i]!)
    expect((await pages(q, "state=queued&meta.rare=yes")).ids).toEqual(rare)
    expect((await pages(q, "state=queued&meta.rare=yes&meta.n=1399")).ids).toEqual([ids[1_399]!])
    expect((await pages(q, "state=queued&meta.rare=no")).ids).toEqual([])
    const odd = await pages(q, "state=queued&type=odd&limit=400")
    expect(odd.ids).toEqual(ids.filter((_, i) => i % 2 === 1))
    const all = await pages(q, "state=queued&limit=1000")
    expect([all.ids, all.pages]).toEqual([ids, 3])
    const leased = (await q.lease(1_000)).map(({ id }) => id)
    expect((await pages(q, "state=processing&limit=300")).ids.sort()).toEqual(leased.sort())
    expect((await pages(q, "state=processing&limit=7&meta.rare=yes")).ids).toEqual([rare[0]!])
  })

  test("list queued tasks behind many cancelled ones", async () => {
    await using q = await ServedQueue.open()
    const gone = [await q.submit(), await q.submit(), await q.submit()]
    const stays = [await q.submit(), await q.submit()]
    for (const id of gone) await q.cancel(id)
    expect((await pages(q, "state=queued&limit=1")).ids).toEqual(stays)
    expect((await pages(q, "state=queued&limit=100")).ids).toEqual(stays)
    expect((await pages(q, "state=queued&limit=1&type=t")).ids).toEqual(stays)
    expect((await pages(q, "state=cancelled&limit=2")).ids.sort()).toEqual(gone.sort())
    expect((await q.why(stays[0]!)).state).toBe("queued")
  })

  test("list each state, and refuse an invalid state, cursor or filter", async () => {
    await using q = await ServedQueue.open()
    const scheduled = await q.submit({ delay_ms: 60_000 })
    const retrying = await q.leased()
    await q.ack(retrying, { status: "failed", retry_in_ms: 60_000 })
    const dead = await q.dead()
    const done = await q.leased()
    await q.ack(done)
    const cancelled = await q.submit()
    await q.cancel(cancelled)
    const processing = await q.leased()
    const queued = await q.submit()
    const expected = {
      scheduled,
      retrying: retrying.id,
      dead,
      done: done.id,
      cancelled,
      processing: processing.id,
      queued,
    }
    for (const [state, id] of Object.entries(expected))
      expect((await pages(q, `state=${state}`)).ids).toEqual([id])
    for (const query of [
      "",
      "?state=asleep",
      "?state=queued&cursor=xyz",
      "?state=queued&nope=1",
      "?state=queued&limit=0",
    ])
      expect((await q.ask("GET", `/tasks${query}`)).status).toBe(400)
  })
})

describe("a listing while tasks leave the head of the queue", () => {
  test.each(["leased", "leased, and some released", "purged"])("shows all tasks that stay: %s", async how => {
    await using q = await ServedQueue.open()
    const { body } = await q.ask("POST", "/submit", Array(220).fill({ type: "t", queue: q.queue }))
    const seen = new Set<string>()
    const left = new Set<string>()
    for (let cursor = "", page = 0; page < 100; page++) {
      const path = `/tasks?queue=${q.queue}&state=queued&limit=20${cursor}`
      const { tasks, next } = (await q.ask("GET", path)).body
      for (const { id } of tasks) seen.add(id)
      if (next === undefined) break
      cursor = `&cursor=${next}`
      if (how === "purged") await q.ask("POST", `/queues/${q.queue}/purge`, { state: "queued", limit: 15 })
      else {
        const leased = await q.lease(15)
        for (const { id } of leased) left.add(id)
        if (how !== "leased") await q.ack(leased[0]!, { status: "released" })
      }
    }
    const queued = await q.direct.redis.lrange(q.direct.key("ready", "5"), 0, -1)
    const stayed = queued.map(id => joinId(q.queue, id)).filter(id => !left.has(id))
    expect([body.length, stayed.length > 20]).toEqual([220, true])
    expect(stayed.filter(id => !seen.has(id))).toEqual([])
  })
})

/** A broker with its own Redis, which counts its commands and bytes. */
async function counted() {
  const redis = await testRedis()
  const broker = await testBroker({ maxBodyBytes: 10_000_000 }, redis.socket)
  const admin = new Redis(redis.socket)
  return {
    broker,
    redis: admin,
    async sent(run: () => Promise<unknown>): Promise<number> {
      const total = async () => Number(/total_net_output_bytes:(\d+)/.exec(await admin.info("stats"))![1])
      const before = await total()
      await run()
      return (await total()) - before
    },
    async [Symbol.asyncDispose]() {
      admin.disconnect()
      await broker[Symbol.asyncDispose]()
      await redis[Symbol.asyncDispose]()
    },
  }
}

/** The sizes of all pages in tasks and bytes. */
async function sizesOf(broker: TestBroker, path: string, member = "tasks") {
  const sizes: { tasks: number; bytes: number }[] = []
  for (let cursor = ""; ; ) {
    const text = await (await broker.call("GET", path + cursor)).text()
    const page = JSON.parse(text)
    sizes.push({ tasks: page[member].length, bytes: text.length })
    if (page.next === undefined) return sizes
    cursor = `&cursor=${page.next}`
  }
}

const MB = 1_000_000
const large = "x".repeat(0.9 * MB)

describe("a page is bounded in bytes, and holds at least one task", () => {
  const add = (sizes: { tasks: number }[]) => sizes.reduce((sum, { tasks }) => sum + tasks, 0)

  test("with large payloads, which a filter does not read", async () => {
    await using q = await counted()
    for (let i = 0; i < 12; i++) await post(q.broker, "/submit", { type: i % 4 ? "a" : "b", payload: large })
    for (const query of ["", "&type=a", "&limit=12"]) {
      const sizes = await sizesOf(q.broker, `/tasks?state=queued${query}`)
      expect(add(sizes)).toBe(query === "&type=a" ? 9 : 12)
      for (const { tasks, bytes } of sizes) {
        expect(tasks).toBeGreaterThan(0)
        expect(bytes).toBeLessThan(5.5 * MB)
      }
    }
    expect(await q.sent(() => sizesOf(q.broker, "/tasks?state=queued&type=none"))).toBeLessThan(0.5 * MB)
    for (const bytes of [6, 7, 8])
      await post(q.broker, "/submit", { type: "huge", payload: "y".repeat(bytes * MB) })
    const huge = await sizesOf(q.broker, "/tasks?state=queued&type=huge")
    expect(huge.map(({ tasks }) => tasks)).toEqual([1, 1, 1])
  })

  test("with large results, which a purge does not read", async () => {
    await using q = await counted()
    await post(q.broker, "/submit", Array(12).fill({ type: "a" }))
    const { tasks } = (await answered(post(q.broker, "/lease", { max: 12 }))) as { tasks: Body[] }
    for (const { id, lease } of tasks) await post(q.broker, "/ack", { task_id: id, lease, result: large })
    for (const query of ["", "&type=a"]) {
      const sizes = await sizesOf(q.broker, `/tasks?state=done${query}`)
      expect(add(sizes)).toBe(12)
      for (const { bytes } of sizes) expect(bytes).toBeLessThan(5.5 * MB)
    }
    const audit = await answered(post(q.broker, "/audit?fix=true", undefined))
    expect(audit).toMatchObject({ complete: true, found: [], looked: { tasks: 12, entries: 12 } })
    expect(await answered(post(q.broker, "/queues/default/purge", { state: "done" }))).toEqual({
      purged: 12,
      remaining: 0,
    })
  })

  test("for dead tasks too, and counting, grouping, retrying and deleting them reads no payloads", async () => {
    await using q = await counted()
    for (let i = 0; i < 12; i++)
      await post(q.broker, "/submit", { type: "a", payload: { n: i, large }, max_retries: 0 })
    for (let i = 0; i < 12; i++) {
      const { tasks } = (await answered(post(q.broker, "/lease", {}))) as { tasks: Body[] }
      await post(q.broker, "/ack", {
        task_id: tasks[0]!.id,
        lease: tasks[0]!.lease,
        status: "failed",
        error: "no",
      })
    }
    for (const query of ["?", "?type=a", "?error=no&limit=12"]) {
      const sizes = await sizesOf(q.broker, `/dlq${query}`)
      expect(add(sizes)).toBe(12)
      for (const { bytes } of sizes) expect(bytes).toBeLessThan(5.5 * MB)
    }
    const reads = q.sent(async () => {
      const { groups } = (await answered(q.broker.call("GET", "/dlq/groups"))) as { groups: DeadGroup[] }
      expect(groups).toMatchObject([{ type: "a", count: 12 }])
      const why = await answered(q.broker.call("GET", `/why/${groups[0]!.sample.task_id}`))
      expect(why).toMatchObject({ state: "dead" })
      expect(await answered(post(q.broker, "/dlq/retry", { dry_run: true }))).toMatchObject({ requeued: 12 })
      expect(await answered(post(q.broker, "/dlq/purge", { limit: 2 }))).toMatchObject({ purged: 2 })
      expect(await answered(post(q.broker, "/dlq/retry", { limit: 2 }))).toMatchObject({ requeued: 2 })
    })
    expect(await reads).toBeLessThan(0.5 * MB)
    let patched = 0
    for (let cursor = {}, calls = 0; calls < 9; calls++) {
      const page = await answered(post(q.broker, "/dlq/retry", { patch: { more: 1 }, ...cursor }))
      patched += page.requeued as number
      if (page.next === undefined) break
      cursor = { cursor: page.next }
    }
    expect(patched).toBe(8)
    const { tasks } = (await answered(post(q.broker, "/lease", { max: 3 }))) as { tasks: LeasedTask[] }
    expect(tasks.map(({ payload }) => (payload as { large: string }).large)).toEqual([large, large, large])
  })
})

describe("a listing over thousands of queues", () => {
  const names = Array.from({ length: 2_500 }, (_, i) => `tenant-${String(i).padStart(5, "0")}`)
  const some = [names[3]!, names[1_400]!, names[2_499]!]

  test("takes few calls, ends a page after 1,000 queues, and finds everything", async () => {
    await using q = await counted()
    await q.redis.sadd(QUEUES, ...names)
    for (const queue of some) {
      await post(q.broker, "/submit", Array(3).fill({ type: "a", queue, max_retries: 0 }))
      const { tasks } = (await answered(
        post(q.broker, "/lease", { queues: [queue], max: 2, worker: "w" }),
      )) as { tasks: Body[] }
      await post(q.broker, "/ack", { task_id: tasks[0]!.id, lease: tasks[0]!.lease, status: "failed" })
    }
    for (const [path, most] of [
      ["/dlq", 60],
      ["/dlq/groups", 30],
      ["/tasks?state=queued", 30],
      ["/tasks?state=dead&type=none", 30],
      ["/queues?limit=1000", 40],
      ["/workers", 20],
      ["/queues", 20],
    ] as const) {
      const { calls } = await countingCalls(q.broker, () => answered(q.broker.call("GET", path)))
      expect([path, calls < most]).toEqual([path, true])
    }
    const seen: unknown[] = []
    let last = 0
    for (let cursor = "", page = 1; ; page++) {
      const body = await answered(q.broker.call("GET", `/dlq?limit=50${cursor}`))
      expect(body.dlq_size).toBe(3)
      seen.push(...(body.tasks as Body[]).map(({ queue }) => queue))
      last = page
      if (body.next === undefined) break
      cursor = `&cursor=${body.next}`
    }
    expect([seen, last]).toEqual([some, 3])
    expect((await sizesOf(q.broker, "/tasks?state=queued&limit=1")).map(({ tasks }) => tasks)).toEqual([
      1, 1, 1,
    ])
    expect(await answered(q.broker.call("GET", "/workers"))).toMatchObject({
      workers: [{ worker: "w", in_hand: 3, queues: some }],
    })
  })

  test("gives the same pages in a Cluster, where each call reads one queue", async () => {
    await using q = await counted()
    const all = names.slice(0, 1_020)
    for (const queue of [all[0]!, all[7]!, all[8]!, all[1_010]!])
      await post(
        q.broker,
        "/submit",
        [1, 2, 3, 4].map(priority => ({ type: "a", queue, priority, payload: "x".repeat(300 * priority) })),
      )
    const listAll = async (oneSlot: boolean, limit: number) => {
      const scripts = new Scripts(onOneConnection(q.redis), undefined, { oneSlot })
      const tasks: string[] = []
      const pages: number[] = []
      for (let cursor: string | undefined; ; ) {
        const page = await tasksPage(scripts, { queues: all, state: "queued", limit, cursor, sight: "all" })
        tasks.push(...page.tasks.map(({ id, payload }) => `${id} ${payload.length}`))
        pages.push(page.tasks.length)
        if (page.next === undefined) return { tasks, pages }
        cursor = page.next
      }
    }
    for (const limit of [1, 3, 5, 100]) {
      const together = await listAll(true, limit)
      expect(together.tasks).toHaveLength(16)
      expect(await listAll(false, limit)).toEqual(together)
    }
  })
})
