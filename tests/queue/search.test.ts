/** GET /tasks as a search: part of an id, of a type or of a queue's name, a text, all states, the order of time. */
import { describe, expect, test } from "bun:test"
import { Redis } from "ioredis"
import { type ApiToken, hashOf } from "../../lib/config/tokens.ts"
import { findByTime } from "../../lib/queue/by-time.ts"
import { keyOf, QUEUES } from "../../lib/redis/keys.ts"
import { Scripts } from "../../lib/redis/scripts.ts"
import { localOf } from "../../lib/task/id.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import { countingCalls, testBroker } from "../support/harness.ts"
import { onOneConnection, testRedis } from "../support/redis.ts"
import { answered, type Body, post } from "../support/requests.ts"

/** A broker with a Redis of its own, so that a listing over all queues has only the queues of the test. */
async function own() {
  const redis = await testRedis()
  const broker = await testBroker({}, redis.socket)
  const admin = new Redis(redis.socket)
  const page = async (query: string, cursor?: string) =>
    (await answered(
      broker.call("GET", `/tasks?${query}${cursor === undefined ? "" : `&cursor=${cursor}`}`),
    )) as { tasks: TaskView[]; next?: string }
  return {
    broker,
    socket: redis.socket,
    redis: admin,
    page,
    /** The tasks of all pages, and the number of pages. */
    async all(query: string, most = 1_000) {
      const tasks: TaskView[] = []
      let pages = 0
      for (let cursor: string | undefined; ; ) {
        const { tasks: some, next } = await page(query, cursor)
        tasks.push(...some)
        pages++
        if (next === undefined) return { tasks, ids: tasks.map(({ id }) => id), pages }
        expect(pages).toBeLessThan(most)
        cursor = next
      }
    },
    submit: async (task: object) =>
      (await answered(post(broker, "/submit", { type: "t", ...task }))).task_id as string,
    /** Submits, leases and settles one task. */
    async ended(task: { queue: string }, settle: object = {}) {
      await answered(post(broker, "/submit", { type: "t", max_retries: 0, ...task }))
      const { tasks } = (await answered(post(broker, "/lease", { queues: [task.queue] }))) as {
        tasks: Body[]
      }
      const { id, lease } = tasks[0] as { id: string; lease: string }
      await answered(post(broker, "/ack", { task_id: id, lease, ...settle }))
      return id
    },
    async [Symbol.asyncDispose]() {
      admin.disconnect()
      await broker[Symbol.asyncDispose]()
      await redis[Symbol.asyncDispose]()
    },
  }
}
type Own = Awaited<ReturnType<typeof own>>

/** Dead tasks with a much earlier time would be swept. */
const NOW = Date.now()
const DAY_MS = 86_400_000
const FAILED = { status: "failed", error: "no" }

/** One task in each state, in two queues. */
async function oneInEachState(q: Own) {
  const done = await q.ended({ queue: "a" })
  const dead = await q.ended({ queue: "b" }, FAILED)
  const cancelled = await q.submit({ queue: "b" })
  await answered(post(q.broker, `/cancel/${cancelled}`, undefined))
  const retrying = await q.ended({ queue: "a", max_retries: 1 } as { queue: string }, {
    ...FAILED,
    retry_in_ms: 600_000,
  })
  const scheduled = await q.submit({ queue: "b", delay_ms: 900_000 })
  const processing = await q.submit({ queue: "a" })
  await answered(post(q.broker, "/lease", { queues: ["a"] }))
  const queued = await q.submit({ queue: "b" })
  return { dead, done, cancelled, retrying, scheduled, processing, queued }
}

describe("in the order of time", () => {
  test("ended tasks of several queues are merged, the newest first, on pages of any size", async () => {
    await using q = await own()
    const ids: string[] = []
    for (const queue of ["c", "a", "b", "a", "c", "b", "a"]) ids.push(await q.ended({ queue }, FAILED))
    for (const id of ids) {
      const queue = id.slice(0, 1)
      await q.redis.zadd(keyOf(queue, "dead"), NOW + ids.indexOf(id), localOf(id))
    }
    for (const limit of [1, 2, 3, 7, 100])
      expect([limit, (await q.all(`state=dead&order=time&limit=${limit}`)).ids]).toEqual([
        limit,
        ids.toReversed(),
      ])
    expect((await q.all("state=dead&order=time&queue_part=A&limit=2")).ids).toEqual([
      ids[6]!,
      ids[3]!,
      ids[1]!,
    ])
    // Without an order the listing is what it was: queue by queue.
    expect((await q.all("state=dead&limit=2")).ids.map(id => id[0]!).join("")).toBe("aaabbcc")
  })

  test("scheduled and retrying tasks of several queues are merged, the next due first", async () => {
    await using q = await own()
    const delays = [500, 200, 900, 300, 700, 100]
    const due = new Map<number, string>()
    for (const [i, delay] of delays.entries())
      due.set(delay, await q.submit({ queue: i % 2 ? "a" : "b", delay_ms: delay * 1_000 }))
    const retrying = await q.ended({ queue: "c", max_retries: 9 } as { queue: string }, {
      ...FAILED,
      retry_in_ms: 60_000,
    })
    for (const limit of [1, 4, 100]) {
      const { tasks, ids } = await q.all(`state=scheduled&order=time&limit=${limit}`)
      expect(ids).toEqual(delays.toSorted((a, b) => a - b).map(delay => due.get(delay)!))
      expect(tasks.every(({ due_at = 0, created_at }) => due_at > created_at)).toBe(true)
    }
    expect((await q.all("state=retrying&order=time")).ids).toEqual([retrying])
  })

  test("tasks of the same time appear once each, although their page ends between them", async () => {
    await using q = await own()
    const ids: string[] = []
    for (const queue of ["a", "b", "c"])
      for (let i = 0; i < 4; i++) {
        const id = await q.ended({ queue }, FAILED)
        await q.redis.zadd(keyOf(queue, "dead"), NOW, localOf(id))
        ids.push(id)
      }
    for (const limit of [1, 3, 5]) {
      const listed = await q.all(`state=dead&order=time&limit=${limit}`)
      expect(listed.ids).toHaveLength(12)
      expect(new Set(listed.ids)).toEqual(new Set(ids))
    }
  })

  test("what stays in its state is listed, while others come, end and leave", async () => {
    await using q = await own()
    const dead: string[] = []
    for (let i = 0; i < 40; i++) dead.push(await q.ended({ queue: "abc"[i % 3]! }, FAILED))
    const seen = new Set<string>()
    const gone = new Set<string>()
    for (let cursor: string | undefined, page = 0; page < 100; page++) {
      const { tasks, next } = await q.page("state=dead&order=time&limit=5", cursor)
      for (const { id } of tasks) seen.add(id)
      if (next === undefined) break
      cursor = next
      // The last one listed leaves, and so does one that was not listed yet; others arrive.
      for (const id of [tasks.at(-1)!.id, dead[page]!]) {
        gone.add(id)
        await q.broker.call("DELETE", `/dlq/${id}`)
      }
      await q.ended({ queue: "b" }, FAILED)
    }
    expect(dead.filter(id => !seen.has(id) && !gone.has(id))).toEqual([])
    expect(seen.size).toBeGreaterThan(25)
  })

  test("running tasks whose leases are extended during the listing are not missed", async () => {
    await using q = await own()
    for (let i = 0; i < 9; i++) await q.submit({ queue: "abc"[i % 3]! })
    const { tasks } = (await answered(post(q.broker, "/lease", { queues: ["a", "b", "c"], max: 9 }))) as {
      tasks: { id: string; lease: string }[]
    }
    const seen = new Set<string>()
    for (let cursor: string | undefined, page = 0; page < 30; page++) {
      const answer = await q.page("state=processing&order=time&limit=2", cursor)
      for (const { id } of answer.tasks) seen.add(id)
      if (answer.next === undefined) break
      cursor = answer.next
      const { id, lease } = tasks[page % 9]!
      await answered(post(q.broker, "/extend", { task_id: id, lease, timeout_ms: 600_000 + page }))
    }
    expect(tasks.filter(({ id }) => !seen.has(id))).toEqual([])
  })

  test("all states at once: running, then queued and ended, then delayed tasks, each once", async () => {
    await using q = await own()
    const { dead, done, cancelled, retrying, scheduled, processing, queued } = await oneInEachState(q)
    const expected = [processing, queued, cancelled, dead, done, retrying, scheduled]
    for (const limit of [1, 2, 3, 4, 5, 6, 7, 100])
      expect([limit, (await q.all(`state=all&limit=${limit}`)).ids]).toEqual([limit, expected])
    expect((await q.all("state=all&queue=a")).ids).toEqual([processing, done, retrying])
    for (const [state, id] of Object.entries({
      dead,
      done,
      cancelled,
      retrying,
      scheduled,
      processing,
      queued,
    }))
      expect([state, (await q.all(`state=${state}&order=time`)).ids]).toEqual([state, [id]])
  })

  test("queued and ended tasks are merged, and a full page is the last one if no more follow", async () => {
    await using q = await own()
    const ended = [await q.ended({ queue: "a" }), await q.ended({ queue: "a" })].toReversed()
    expect((await q.all("state=all&limit=2")).pages).toBe(1)
    const queued: string[] = []
    for (const list of [queued, ended, queued]) {
      await Bun.sleep(2) // each in a millisecond of its own
      list.unshift(await (list === ended ? q.ended({ queue: "a" }) : q.submit({ queue: "b" })))
    }
    const expected = [queued[0]!, ended[0]!, queued[1]!, ...ended.slice(1)]
    for (const limit of [1, 2, 3, 4, 5])
      expect([limit, (await q.all(`state=all&limit=${limit}`)).ids]).toEqual([limit, expected])
    expect((await q.all("state=all&limit=5")).pages).toBe(1)
  })

  test("a token that is bound to queues sees only theirs", async () => {
    await using q = await own()
    const ids = await oneInEachState(q)
    const secret = "reader-token-of-a"
    const reader: ApiToken = { name: "reader", roles: ["read"], queues: ["a"], hash: hashOf(secret) }
    await using bound = await testBroker({ tokens: [reader] }, q.socket)
    const ask = (query: string) =>
      bound.call("GET", `/tasks?${query}`, undefined, { headers: { "x-api-token": secret } })
    const found = (await (await ask("state=all")).json()) as { tasks: TaskView[] }
    expect(found.tasks.map(({ queue }) => queue)).toEqual(["a", "a", "a"])
    for (const id of [localOf(ids.queued), ids.queued, localOf(ids.dead).slice(-8)]) {
      const { tasks } = (await (await ask(`state=all&id=${id}`)).json()) as { tasks: TaskView[] }
      expect(tasks).toEqual([])
    }
    expect((await ask("state=all&queue=b&text=x")).status).toBe(403)
  })
})

describe("queued tasks in the order of time", () => {
  /** Their submits, as the tasks say. */
  const timesOf = (tasks: readonly TaskView[]) => tasks.map(({ created_at }) => created_at)
  const descending = (times: readonly number[]) => times.toSorted((a, b) => b - a)
  /** Submits tasks whose submits are `at` ms ago. */
  async function submit(q: Own, tasks: readonly { at: number; queue: string; priority?: number }[]) {
    const request = tasks.map(({ at: _, ...task }) => ({ type: "t", ...task }))
    const answer = (await answered(post(q.broker, "/submit", request))) as unknown as { task_id: string }[]
    const ids = answer.map(({ task_id }) => task_id)
    const keys = ids.map(id => keyOf(id.split(":")[0]!, "task", localOf(id)))
    const texts = await q.redis.mget(keys)
    const created = (text: string, at: number) => text.replace(/^((?:\S+ ){8})\d+/, `$1${NOW - at}`)
    await q.redis.mset(keys.flatMap((key, i) => [key, created(texts[i]!, tasks[i]!.at)]))
    return ids
  }

  test("of several queues and priorities are merged, the newest first, on pages of any size", async () => {
    await using q = await own()
    const tasks = Array.from({ length: 60 }, (_, i) => ({
      at: 1_000 - i,
      queue: "abc"[(i * 7) % 3]!,
      priority: (i * 5) % 10,
    }))
    const ids = await submit(q, tasks)
    for (const limit of [1, 2, 7, 59, 60, 100])
      expect([limit, (await q.all(`state=queued&order=time&limit=${limit}`)).ids]).toEqual([
        limit,
        ids.toReversed(),
      ])
    expect((await q.all("state=queued&order=time&queue_part=B&limit=3")).ids).toEqual(
      ids.filter(id => id.startsWith("b")).toReversed(),
    )
    // Without an order they are listed as they are leased.
    expect((await q.all("state=queued&limit=100")).ids.map(id => id[0]!).join("")).toMatch(/^a+b+c+$/)
  })

  test("of a fast and a slow queue are merged over many pages, and each is listed once", async () => {
    await using q = await own()
    const ids: string[] = []
    for (let from = 0; from < 3_000; from += 1_000)
      ids.push(
        ...(await submit(
          q,
          Array.from({ length: 1_000 }, (_, i) => {
            const at = 3_000 - from - i
            return { at, queue: at % 100 === 0 ? "slow" : "fast" }
          }),
        )),
      )
    for (const limit of [99, 1_000])
      expect((await q.all(`state=queued&order=time&limit=${limit}`)).ids).toEqual(ids.toReversed())
  })

  test("that were given back or became due are listed too, though their lists are not in order", async () => {
    await using q = await own()
    const many = (count: number, at: number) =>
      Array.from({ length: count }, (_, i) => ({ at: at - i, queue: "a" }))
    const old = await submit(q, many(300, 10_000))
    const late = await submit(q, many(300, 90_000)) // at the end of the list, as after a delay
    const fresh = await submit(q, many(300, 1_000))
    const { tasks } = (await answered(post(q.broker, "/lease", { queues: ["a"] }))) as { tasks: Body[] }
    const { id, lease } = tasks[0] as { id: string; lease: string }
    await answered(post(q.broker, "/ack", { task_id: id, lease, status: "released" }))
    const first = await q.page("state=queued&order=time&limit=100")
    expect(first.tasks.map(({ id }) => id)).toEqual(fresh.toReversed().slice(0, 100))
    const { ids } = await q.all("state=queued&order=time&limit=100")
    expect(new Set(ids)).toEqual(new Set([...old, ...late, ...fresh]))
  })

  test("of groups follow, queue by queue, and are listed once", async () => {
    await using q = await own()
    const plain = await submit(q, [
      { at: 9, queue: "a" },
      { at: 8, queue: "b" },
      { at: 7, queue: "a" },
    ])
    const grouped: string[] = []
    for (const queue of ["b", "a", "b"]) grouped.push(await q.submit({ queue, group: "g" }))
    const { ids: all } = await q.all("state=queued")
    const rest = all.filter(id => grouped.includes(id))
    expect(rest.map(id => id[0]!)).toEqual(["a", "b", "b"])
    for (const limit of [1, 2, 4, 6, 100]) {
      const { ids } = await q.all(`state=queued&order=time&limit=${limit}`)
      expect([limit, ids]).toEqual([limit, [...plain.toReversed(), ...rest]])
    }
  })

  test("without those that were cancelled, or whose priority was changed", async () => {
    await using q = await own()
    const ids = await submit(
      q,
      Array.from({ length: 6 }, (_, i) => ({ at: 10 - i, queue: "ab"[i % 2]! })),
    )
    await answered(post(q.broker, `/cancel/${ids[5]}`, undefined))
    await answered(q.broker.call("PATCH", `/tasks/${ids[2]}`, { priority: 9 }))
    const { ids: listed } = await q.all("state=queued&order=time&limit=2")
    expect(listed).toEqual([ids[4]!, ids[3]!, ids[2]!, ids[1]!, ids[0]!])
  })

  test("of 20,000 are listed in bounded steps, the newest first, and none is missing", async () => {
    await using q = await own()
    const sample = await q.submit({ queue: "many" })
    const text = (await q.redis.get(keyOf("many", "task", localOf(sample))))!
    for (let from = 0; from < 20_000; from += 1_000) {
      const names = Array.from({ length: 1_000 }, (_, i) => `filler-${from + i}`)
      const created = (i: number) => text.replace(/^((?:\S+ ){8})\d+/, `$1${NOW - 30_000 + from + i}`)
      await q.redis.mset(names.flatMap((name, i) => [keyOf("many", "task", name), created(i)]))
      await q.redis.rpush(keyOf("many", "ready", "5"), ...names)
    }
    const seen = new Set<string>()
    const times: number[] = []
    for (let cursor: string | undefined, page = 0; page < 100; page++) {
      const { result: answer, calls } = await countingCalls(q.broker, () =>
        q.page("state=queued&order=time&limit=1000", cursor),
      )
      expect([page, calls < 300]).toEqual([page, true])
      if (seen.size < 5_000) times.push(...timesOf(answer.tasks))
      for (const { id } of answer.tasks) seen.add(id)
      cursor = answer.next
      if (cursor === undefined) break
    }
    expect(seen.size).toBe(20_001)
    expect(times).toEqual(descending(times))
  })
})

describe("by id", () => {
  test("a whole id is found in any queue and state, with or without the queue, ignoring case", async () => {
    await using q = await own()
    for (const [state, id] of Object.entries(await oneInEachState(q)))
      for (const text of [id, localOf(id)]) {
        const { tasks } = await q.page(`state=all&id=${text}`)
        expect([state, tasks.map(({ id }) => id)]).toEqual([state, [id]])
        expect(tasks[0]).toMatchObject({ status: state, queue: id[0]! })
      }
  })

  test("the first or last characters are enough, in any state", async () => {
    await using q = await own()
    const ids = await oneInEachState(q)
    for (const [state, id] of Object.entries(ids)) {
      const { ids: bySuffix } = await q.all(`state=all&id=${id.slice(-6).toLowerCase()}`)
      expect([state, bySuffix]).toEqual([state, [id]])
      const { ids: byMiddle } = await q.all(`state=all&id=${localOf(id).slice(9, 18)}`)
      expect([state, byMiddle]).toEqual([state, [id]])
      const { ids: byPrefix } = await q.all(`state=all&id=${localOf(id).slice(0, 6)}&limit=3`)
      expect(new Set(byPrefix)).toEqual(new Set(Object.values(ids)))
      expect((await q.all(`state=${state}&id=${id.slice(-6)}`)).ids).toEqual([id])
    }
    expect((await q.all("state=all&id=nowhere")).ids).toEqual([])
  })

  test("one among 30,000 ended and 3,000 queued tasks is found in bounded steps", async () => {
    await using q = await own()
    const [sample] = [await q.ended({ queue: "many" }, FAILED)]
    const text = (await q.redis.get(keyOf("many", "task", localOf(sample))))!
    const fill = async (count: number, add: (ids: string[]) => Promise<unknown>) => {
      for (let from = 0; from < count; from += 1_000) {
        const ids = Array.from({ length: 1_000 }, (_, i) => `filler-${from + i}`)
        await add(ids)
      }
    }
    await fill(30_000, ids => q.redis.zadd(keyOf("many", "dead"), ...ids.flatMap((id, i) => [NOW + i, id])))
    await q.redis.zadd(keyOf("many", "dead"), NOW - 1, localOf(sample))
    expect(text).toStartWith("dead ")
    const { result, calls } = await countingCalls(q.broker, () => q.all(`state=all&id=${sample.slice(-7)}`))
    const { ids, pages } = result
    expect(ids).toEqual([sample])
    expect(pages).toBeGreaterThan(1) // "look further"
    expect(pages).toBeLessThan(5)
    expect(calls).toBeLessThan(150)
    const queued = await q.submit({ queue: "many" })
    await fill(3_000, ids => q.redis.lpush(keyOf("many", "ready", "5"), ...ids))
    expect((await q.all(`state=queued&id=${queued.slice(-7)}`)).ids).toEqual([queued])
  })

  test("matches of many queues are in the order of time, although some queues are read further than others", async () => {
    await using q = await own()
    const queues = Array.from({ length: 150 }, (_, i) => `q${String(i).padStart(3, "0")}`)
    await q.redis.sadd(QUEUES, ...queues)
    const [first, last] = [queues[0]!, queues.at(-1)!]
    const planted: string[] = []
    // From the newest: one match in the last queue, 1,500 others in the first, a match there, and another in the last.
    for (const [queue, at] of [
      [last, NOW],
      [first, NOW - 2_000],
      [last, NOW - 3_000],
    ] as const) {
      const id = await q.ended({ queue, task_id: `match-${planted.length}` } as { queue: string }, FAILED)
      await q.redis.zadd(keyOf(queue, "dead"), at, localOf(id))
      planted.push(id)
    }
    const others = Array.from({ length: 1_500 }, (_, i) => [NOW - 1 - i, `other-${i}`]).flat()
    await q.redis.zadd(keyOf(first, "dead"), ...others)
    for (const limit of [1, 2, 100])
      expect([limit, (await q.all(`state=dead&id=match&limit=${limit}`)).ids]).toEqual([limit, planted])
  })

  test("the same id in many queues is found in each", async () => {
    await using q = await own()
    const queues = Array.from({ length: 25 }, (_, i) => `q${String(i).padStart(2, "0")}`)
    for (const queue of queues) await q.submit({ queue, task_id: "order-1" })
    const { ids } = await q.all("state=all&id=order-1")
    expect(new Set(ids)).toEqual(new Set(queues.map(queue => `${queue}:order-1`)))
    expect((await q.all("state=all&id=q07:order-1")).ids.at(0)).toBe("q07:order-1")
  })
})

describe("by parts of names and by text", () => {
  test("a part of the type and of the queue's name, ignoring case", async () => {
    await using q = await own()
    const email = await q.submit({ type: "send.Email", queue: "outgoing-mails" })
    await q.submit({ type: "send.sms", queue: "outgoing-mails" })
    await q.submit({ type: "send.email", queue: "other" })
    expect((await q.all("state=queued&type_part=EMAIL&queue_part=Mail")).ids).toEqual([email])
    expect((await q.all("state=queued&type_part=mail")).ids).toHaveLength(2)
    expect((await q.all("state=queued&type=email")).ids).toEqual([])
    expect((await q.all("state=queued&queue_part=nothing")).ids).toEqual([])
  })

  test("a text in the payload or the error of one queue, in every state, small or large, with escapes", async () => {
    await using q = await own()
    const queue = "texts"
    const large = "x".repeat(5_000)
    const byPayload = await q.submit({
      queue,
      payload: { customer: "Ångström & Söhne", note: 'says "hello"' },
    })
    const byLarge = await q.submit({ queue, payload: { large, customer: "needle-1" } })
    await q.submit({ queue, payload: { large } })
    const byError = await q.ended(
      { queue: "errors" },
      { status: "failed", error: 'cannot open "db"\nat line 7' },
    )
    expect((await q.all(`state=all&queue=${queue}&text=${encodeURIComponent("ÅNGSTRÖM")}`)).ids).toEqual([
      byPayload,
    ])
    expect((await q.all(`state=all&queue=${queue}&text=${encodeURIComponent('says "hello"')}`)).ids).toEqual([
      byPayload,
    ])
    expect((await q.all(`state=queued&queue=${queue}&text=needle`)).ids).toEqual([byLarge])
    expect((await q.all(`state=all&queue=errors&text=${encodeURIComponent('open "DB"')}`)).ids).toEqual([
      byError,
    ])
    expect((await q.all(`state=dead&order=time&queue=errors&text=line%207`)).ids).toEqual([byError])
    expect((await q.all(`state=all&queue=${queue}&text=nowhere`)).ids).toEqual([])
    expect((await q.broker.call("GET", "/tasks?state=all&text=needle")).status).toBe(400)
  })

  test("a rare text among many tasks is found page by page, and no page skips a match", async () => {
    await using q = await own()
    const task = (i: number) => ({
      type: "t",
      queue: "many",
      payload: { n: i % 500 === 7 ? "rare" : "usual" },
    })
    const ids: string[] = []
    for (let from = 0; from < 2_500; from += 500) {
      const body = (await answered(
        post(
          q.broker,
          "/submit",
          Array.from({ length: 500 }, (_, i) => task(from + i)),
        ),
      )) as unknown as Body[]
      ids.push(...body.map(({ task_id }) => task_id as string))
    }
    const rare = [7, 507, 1_007, 1_507, 2_007].map(i => ids[i]!)
    for (const limit of [1, 2, 100])
      for (const state of ["queued", "all"]) {
        const found = await q.all(`state=${state}&queue=many&text=rare&limit=${limit}`)
        const expected = state === "all" ? rare.toReversed() : rare
        expect([limit, state, found.ids]).toEqual([limit, state, expected])
      }
  })
})

test("the order of time is the same in a Cluster, where each call reads one queue", async () => {
  await using q = await own()
  for (let i = 0; i < 12; i++) await q.ended({ queue: "Cab"[i % 3]! }, i % 2 ? FAILED : {})
  for (const queue of ["a", "b", "C"]) await q.submit({ queue, delay_ms: 3_600_000 })
  const queues = ["C", "a", "b", "none"]
  const listAll = async (oneSlot: boolean, limit: number, idPart?: string) => {
    const scripts = new Scripts(onOneConnection(q.redis), undefined, { oneSlot })
    const ids: string[] = []
    for (let cursor: string | undefined; ; ) {
      const filter = {
        queues,
        state: "all",
        limit,
        cursor,
        idPart,
        sight: "all",
        doneRetentionMs: DAY_MS,
      } as const
      const page = await findByTime(scripts, filter)
      ids.push(...page.found.map(({ task }) => task.id))
      if (page.next === undefined) return ids
      cursor = page.next
    }
  }
  for (const limit of [1, 2, 7, 100])
    for (const idPart of [undefined, "0"]) {
      const together = await listAll(true, limit, idPart)
      expect(together.length).toBe(15)
      expect(await listAll(false, limit, idPart)).toEqual(together)
    }
})

test("a search over 2,500 queues takes few calls per page and finds everything", async () => {
  await using q = await own()
  const names = Array.from({ length: 2_500 }, (_, i) => `tenant-${String(i).padStart(5, "0")}`)
  const ids: string[] = []
  for (const queue of [names[3]!, names[1_400]!, names[2_499]!]) ids.push(await q.ended({ queue }, FAILED))
  await q.redis.sadd(QUEUES, ...names)
  for (const query of [
    "state=dead&order=time",
    "state=all",
    `state=all&id=${localOf(ids[2]!)}`,
    `state=all&id=${ids[1]!.slice(-6)}`,
  ]) {
    const found = new Set<string>()
    for (let cursor: string | undefined, page = 0; page < 30; page++) {
      const { result: answer, calls } = await countingCalls(q.broker, () => q.page(query, cursor))
      expect([query, page, calls < 50]).toEqual([query, page, true])
      for (const { id } of answer.tasks) found.add(id)
      cursor = answer.next
      if (cursor === undefined) break
    }
    const expected = query.includes("id=") ? [ids[query.includes(localOf(ids[2]!)) ? 2 : 1]!] : ids
    expect([query, found]).toEqual([query, new Set(expected)])
  }
})

test("an unknown order, state, part or cursor is refused with what would be right", async () => {
  await using q = await own()
  for (const [query, field] of [
    ["state=dead&order=size", "order"],
    ["state=asleep", "state"],
    ["state=all&cursor=xyz", "cursor"],
    ["state=all&id=a%20b", "id"],
    ["state=all&id=a:b:c", "id"],
    ["state=all&queue_part=a/b", "queue_part"],
    ["state=all&type_part=", "type_part"],
    ["state=all&queue=a&text=", "text"],
    ["state=queued&text=x", "text"],
  ] as const) {
    const answer = await q.broker.call("GET", `/tasks?${query}`)
    expect([query, answer.status, await answer.json()]).toEqual([
      query,
      400,
      expect.objectContaining({ code: "bad_request", field, detail: expect.any(String) }),
    ])
  }
})
