/** Control of queues: their views, pausing, settings and purging; and dead tasks: filters, groups, retries, deletion. */
import { describe, expect, test } from "bun:test"
import type { BrokerConfig } from "../../lib/config/config.ts"
import { patternOf } from "../../lib/queue/fingerprint.ts"
import { mergedText, tooDeep } from "../../lib/task/merge-patch.ts"
import type { DeadGroup } from "../../lib/wire/dead-letters.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import type { QueueView } from "../../lib/wire/managing.ts"
import type { LeasedTask } from "../../lib/wire/working.ts"
import {
  DirectQueue,
  freshName,
  rarelyCheckingBroker,
  registerAmongMany,
  testBroker,
  until,
} from "../support/harness.ts"
import { checkQueue } from "../support/invariants.ts"
import { sharedRedis } from "../support/redis.ts"
import { ServedQueue } from "../support/served-queue.ts"

const HOUR = 3_600_000
const LARGE = "x".repeat(1_000)

/** A new queue, used by HTTP. At the end its keys must be consistent. */
async function controlledQueue(overrides: Partial<BrokerConfig> = {}, { checkRarely = false } = {}) {
  const { socket } = await sharedRedis()
  const queue = freshName()
  const limits = { depth: overrides.maxQueueDepth ?? 0, bytes: overrides.maxQueueBytes ?? 0 }
  const direct = new DirectQueue(socket, queue, undefined, limits)
  if (checkRarely) await registerAmongMany(direct.redis, queue)
  const startBroker = () => testBroker(overrides, socket)
  const start = () => (checkRarely ? rarelyCheckingBroker(direct.redis, startBroker) : startBroker())
  const broker = await start()
  // biome-ignore lint/suspicious/noExplicitAny: answers of all kinds
  const ask = async (method: string, path: string, body?: unknown): Promise<any> => {
    const answer = await broker.call(method, path, body)
    const parsed = await answer.json()
    if (answer.status !== 200) throw new Error(`${answer.status} ${JSON.stringify(parsed)}`)
    return parsed
  }
  const controlled = {
    broker,
    startAnother: start,
    direct,
    queue,
    ask,
    submit: async (task: object = {}): Promise<string> =>
      (await ask("POST", "/submit", { type: "t", queue, ...task })).task_id,
    lease: async (more: object = {}): Promise<LeasedTask[]> =>
      (await ask("POST", "/lease", { queues: [queue], ...more })).tasks,
    view: (): Promise<QueueView> => ask("GET", `/queues/${queue}`),
    pause: (body: object = {}) => ask("POST", `/queues/${queue}/pause`, body),
    resume: () => ask("POST", `/queues/${queue}/resume`),
    /** A dead task, whose only attempt failed. */
    async dead(task: object = {}, error = "no"): Promise<string> {
      await controlled.submit({ max_retries: 0, ...task })
      const [leased] = await controlled.lease()
      await ask("POST", "/ack", { task_id: leased!.id, lease: leased!.lease, status: "failed", error })
      return leased!.id
    },
    async [Symbol.asyncDispose]() {
      await checkQueue(direct.redis, queue)
      await broker[Symbol.asyncDispose]()
      await direct[Symbol.asyncDispose]()
    },
  }
  return controlled
}
type ControlledQueue = Awaited<ReturnType<typeof controlledQueue>>

/** Submits tasks and brings them into every state. */
async function fill(q: ControlledQueue) {
  await q.dead({ type: "dead" })
  await q.submit({ type: "done" })
  const [done] = await q.lease()
  await q.ask("POST", "/ack", { task_id: done!.id, lease: done!.lease })
  await q.submit({ type: "retrying", unique_key: "retrying" })
  const [retrying] = await q.lease()
  const failed = { task_id: retrying!.id, lease: retrying!.lease, status: "failed", retry_in_ms: HOUR }
  await q.ask("POST", "/ack", failed)
  await q.submit({ delay_ms: HOUR, expires_in_ms: 2 * HOUR, payload: LARGE })
  await q.ask("POST", `/cancel/${await q.submit({ delay_ms: HOUR })}`)
  await q.submit()
  await q.lease()
  await q.submit({ expires_in_ms: HOUR, unique_key: "queued", payload: LARGE })
  await q.submit({ priority: 9 })
}

describe("a queue is shown", () => {
  test("with the number of its tasks per state, and how long the first has waited", async () => {
    await using q = await controlledQueue()
    expect(await q.view()).toEqual({
      queue: q.queue,
      depth: { queued: 0, delayed: 0, processing: 0, done: 0, dead: 0, cancelled: 0, open: 0 },
      delayed: { scheduled: 0, retrying: 0 },
      queued_by_priority: {},
      paused: false,
      settings: {},
      workers: { count: 0, names: [] },
      rates: { submitted: 0, leased: 0, done: 0, failed: 0, released: 0, lapsed: 0, dead: 0 },
      recent: expect.objectContaining({ submitted_per_s: 0, failed_per_s: 0, dead: 0 }),
      attention: [],
    })
    await fill(q)
    const view = await q.view()
    expect(view).toMatchObject({
      depth: { queued: 2, delayed: 2, processing: 1, done: 1, dead: 1, cancelled: 1, open: 3 },
      queued_by_priority: { 5: 1, 9: 1 },
      polled_at: expect.any(Number),
    })
    expect(view.oldest_waiting_ms).toBeWithin(0, 50_000)
    await q.submit({ delay_ms: 50_000 })
    expect((await q.view()).depth).toMatchObject({ delayed: 3, open: 4 }) // due within a minute
  })

  test("with the age of the longest waiting task, ignoring the ids of cancelled tasks", async () => {
    await using q = await controlledQueue()
    for (let i = 0; i < 3; i++) await q.ask("POST", `/cancel/${await q.submit()}`)
    expect(await q.view()).toMatchObject({ depth: { queued: 0 }, queued_by_priority: {} })
    expect(await q.view()).not.toHaveProperty("oldest_waiting_ms")
    const id = await q.submit()
    await q.submit({ priority: 9 })
    // Until the next sweep, stale ids may stand at the head.
    await q.direct.redis.lpush(`${q.direct.key("ready")}5`, "left-1", "left-2", "left-3")
    await q.direct.setField(id, "created", Date.now() - 60_000)
    expect((await q.view()).oldest_waiting_ms).toBeWithin(59_000, 120_000)
  })

  test("in the list of all queues, page by page", async () => {
    await using q = await controlledQueue()
    const names = Array.from({ length: 3 }, (_, i) => `${q.queue}.${i}`)
    for (const queue of names) await q.submit({ queue })
    const first = await q.ask("GET", `/queues?limit=2&cursor=${q.queue}`)
    expect(first.queues.map(({ queue }: QueueView) => queue)).toEqual(names.slice(0, 2))
    expect(first.next).toBe(names[1])
    const second = await q.ask("GET", `/queues?limit=2&cursor=${first.next}`)
    expect(second.queues[0]).toMatchObject({ queue: names[2], depth: { queued: 1 } })
    const all = await q.ask("GET", "/queues?limit=1000")
    expect(all.queues.length).toBeGreaterThan(2)
    expect(all).not.toHaveProperty("next")
  })
})

test("one queue says how many of its delayed tasks are scheduled and how many wait for a retry, up to 1,000", async () => {
  await using q = await ServedQueue.open()
  const delayedOf = async () => (await q.ask("GET", `/queues/${q.queue}`)).body.delayed
  expect(await delayedOf()).toEqual({ scheduled: 0, retrying: 0 })
  for (const retry_in_ms of [60_000, 70_000]) await q.ack(await q.leased(), { status: "failed", retry_in_ms })
  await q.ack(await q.leased(), { status: "released", retry_in_ms: 60_000 })
  const tasks = Array.from({ length: 997 }, () => ({ type: "t", queue: q.queue, delay_ms: 3_600_000 }))
  await q.ask("POST", "/submit", tasks)
  expect(await delayedOf()).toEqual({ scheduled: 997, retrying: 3 })
  await q.submit({ delay_ms: 3_600_000 })
  expect(await delayedOf()).toBeUndefined()
  const { queues } = (await q.ask("GET", `/queues?queue_part=${q.queue}`)).body
  for (const view of queues) expect(view).not.toHaveProperty("delayed")
})

describe("a paused queue", () => {
  test("accepts submits, hands out nothing and reports the reason, until it is resumed", async () => {
    await using q = await controlledQueue()
    const before = await q.submit()
    const { paused_at } = await q.pause({ reason: "the mail server moves" })
    const after = await q.submit()
    expect(await q.lease({ max: 10 })).toEqual([])
    expect(await q.view()).toMatchObject({ paused: true, paused_at, pause_reason: "the mail server moves" })
    const why = await q.ask("GET", `/why/${after}`)
    expect(why).toMatchObject({ cause: "paused", ahead: 1, pause_reason: "the mail server moves", paused_at })
    expect(why.why).toContain(": the mail server moves")
    expect(await q.resume()).toEqual({ status: "resumed", queue: q.queue })
    expect((await q.lease({ max: 10 })).map(({ id }) => id)).toEqual([before, after])
    expect(await q.view()).toMatchObject({ paused: false })
    expect(await q.view()).not.toHaveProperty("pause_reason")
  })

  test("is paused without a body", async () => {
    await using q = await controlledQueue()
    expect(await q.ask("POST", `/queues/${q.queue}/pause`)).toMatchObject({ status: "paused" })
    const bad = await q.broker.call("POST", `/queues/${q.queue}/pause`, '{"reason":', {})
    expect(bad.status).toBe(400)
  })

  test("may be paused and resumed twice", async () => {
    await using q = await controlledQueue()
    await q.submit()
    const { paused_at } = await q.pause({ reason: "one" })
    await Bun.sleep(2)
    expect(await q.pause()).toEqual({ status: "paused", queue: q.queue, paused_at })
    const view = await q.view()
    expect(view).toMatchObject({ paused_at })
    expect(view).not.toHaveProperty("pause_reason")
    await q.resume()
    await q.resume()
    expect(await q.lease()).toHaveLength(1)
  })

  test("keeps long polls of every broker waiting, and wakes them at once when it is resumed", async () => {
    await using q = await controlledQueue({}, { checkRarely: true })
    await using other = await q.startAnother()
    await q.pause()
    await q.submit()
    await q.submit()
    const polls = [q.broker, other].map(async broker => {
      const answer = await broker.call("POST", "/lease", { queues: [q.queue], wait_ms: 20_000 })
      return (await answer.json()) as { tasks: LeasedTask[] }
    })
    const early = await Promise.race([...polls, Bun.sleep(300)])
    expect(early).toBeUndefined()
    await q.resume()
    expect((await Promise.all(polls)).map(({ tasks }) => tasks.length)).toEqual([1, 1])
  })

  test("accepts acks, extends and retries, and its lapsed leases end", async () => {
    await using q = await controlledQueue()
    await q.submit()
    await q.submit()
    const [first, second] = await q.lease({ max: 2 })
    await q.pause()
    expect(await q.ask("POST", "/extend", { task_id: first!.id, lease: first!.lease })).toMatchObject({
      status: "ok",
    })
    await q.ask("POST", "/ack", { task_id: first!.id, lease: first!.lease })
    await q.direct.lapse(second!.id)
    expect(await q.lease()).toEqual([])
    expect((await q.view()).depth).toMatchObject({ queued: 1, processing: 0, done: 1 })
  })
})

describe("the settings of a queue", () => {
  const many = (q: ControlledQueue, count: number) =>
    q.ask("POST", "/submit", Array(count).fill({ type: "t", queue: q.queue }))
  const set = (q: ControlledQueue, settings: object): Promise<QueueView> =>
    q.ask("PUT", `/queues/${q.queue}/settings`, settings)

  test("apply to tasks whose submits do not set them, at every broker", async () => {
    await using q = await controlledQueue()
    await using other = await testBroker()
    const defaults = {
      priority: 7,
      max_retries: 5,
      max_crashes: 1,
      timeout_ms: 60_000,
      max_runtime_ms: 90_000,
      backoff: { kind: "fixed", delay_ms: 60_000 },
      result_ttl_ms: 1_000,
    }
    const set = await q.ask("PUT", `/queues/${q.queue}/settings`, { concurrency: 9, defaults })
    expect(set.settings).toEqual({ concurrency: 9, defaults })
    const got = async (id: string) => q.ask("GET", `/status/${id}`)
    const { backoff: _, result_ttl_ms: __, ...plain } = defaults
    expect(await got(await q.submit())).toMatchObject(plain)
    expect(await got(await q.submit({ max_retries: 0, priority: 1 }))).toMatchObject({
      ...plain,
      max_retries: 0,
      priority: 1,
    })
    const there = async () => {
      const answer = await other.call("POST", "/submit", { type: "t", queue: q.queue })
      return got(((await answer.json()) as { task_id: string }).task_id)
    }
    await until("the other broker knows the defaults", async () => (await there()).max_retries === 5)
    // The backoff is that of the queue.
    const [leased] = await q.lease()
    const { task_id, lease } = { task_id: leased!.id, lease: leased!.lease }
    await q.ask("POST", "/ack", { task_id, lease, status: "failed" })
    expect((await got(task_id)).status).toBe("retrying")
    expect((await q.ask("PUT", `/queues/${q.queue}/settings`, {})).settings).toEqual({})
    expect(await got(await q.submit())).toMatchObject({ priority: 5, max_retries: 3 })
    await until("the other broker knows that they are removed", async () => (await there()).max_retries === 3)
    for (const wrong of [{}, { max_retries: -1 }, { queue: "a" }, { backoff: { kind: "none" } }]) {
      const refused = await q.broker.call("PUT", `/queues/${q.queue}/settings`, { defaults: wrong })
      expect([wrong, refused.status]).toEqual([wrong, 400])
    }
  })

  test("limit how many of its tasks run at a time", async () => {
    await using q = await controlledQueue({}, { checkRarely: true })
    await many(q, 5)
    expect((await set(q, { concurrency: 2 })).settings).toEqual({ concurrency: 2 })
    const [first, second, ...more] = await q.lease({ max: 5 })
    expect([second?.lease.length, more.length]).toEqual([24, 0])
    expect(await q.lease()).toEqual([])
    const { tasks } = await q.ask("GET", `/tasks?state=queued&queue=${q.queue}`)
    const why = await q.ask("GET", `/why/${tasks[1].id}`)
    expect(why).toMatchObject({ cause: "limited", ahead: 1 })
    // A waiting client gets a task as soon as a lease ends, by an ack or a lapse.
    const waiting = q.lease({ wait_ms: 10_000 })
    await until("it waits", () => q.broker.queue.waiting === 1)
    await q.ask("POST", "/ack", { task_id: first!.id, lease: first!.lease })
    expect(await waiting).toHaveLength(1)
    await q.direct.lapse(second!.id)
    expect(await q.lease({ max: 5 })).toHaveLength(1)
    expect((await set(q, { concurrency: 1 })).depth.processing).toBe(2)
    expect(await q.lease()).toEqual([])
    expect((await set(q, {})).settings).toEqual({})
    expect(await q.lease({ max: 5 })).toHaveLength(2)
  })

  test("limit how fast its tasks are handed out", async () => {
    await using q = await controlledQueue({}, { checkRarely: true })
    await many(q, 100)
    const { settings } = await set(q, { rate: { per_second: 1, burst: 3 } })
    expect(settings).toEqual({ rate: { per_second: 1, burst: 3 } })
    expect(await q.lease({ max: 10 })).toHaveLength(3)
    expect(await q.lease({ max: 10 })).toHaveLength(0)
    // Setting the same rate again does not fill the bucket. Time does, up to the burst.
    await set(q, { rate: { per_second: 1, burst: 3 } })
    expect(await q.lease({ max: 10 })).toHaveLength(0)
    const past = (ms: number) => q.direct.redis.hincrby(q.direct.key("stats"), "filled", -ms)
    await past(2_000)
    expect(await q.lease({ max: 10 })).toHaveLength(2)
    await past(60_000)
    expect(await q.lease({ max: 10 })).toHaveLength(3)
    expect((await set(q, { rate: { per_second: 50 } })).settings.rate).toEqual({ per_second: 50, burst: 50 })
    expect(await q.lease({ max: 50 })).toHaveLength(50)
    expect((await q.lease({ wait_ms: 10_000 })).length).toBe(1)
  })

  test("limit how fast tasks are handed out as before after the clock of Redis was set back or forward", async () => {
    await using q = await controlledQueue({}, { checkRarely: true })
    const { task_id } = (await many(q, 100)).at(-1)!
    await set(q, { rate: { per_second: 1, burst: 3 } })
    const stats = q.direct.key("stats")
    /** The same as setting the clock of Redis forward by `ms`; a negative number sets it back. */
    const step = (ms: number) => q.direct.redis.hincrby(stats, "filled", -ms)
    expect(await q.lease({ max: 1 })).toHaveLength(1)
    await step(-3_600_000)
    expect((await q.ask("GET", `/why/${task_id}`)).cause).toBe("waiting")
    expect(await q.lease({ max: 10 })).toHaveLength(2)
    // It is empty, and gains tokens from now on, although no task was handed out.
    await step(-3_600_000)
    expect(await q.lease({ max: 10 })).toHaveLength(0)
    expect(Number(await q.direct.redis.hget(stats, "filled"))).toBeLessThanOrEqual(Date.now())
    await step(2_000)
    expect(await q.lease({ max: 10 })).toHaveLength(2)
    await step(-5_000)
    expect(await q.lease({ wait_ms: 10_000 })).toHaveLength(1)
    await step(3_600_000)
    expect(await q.lease({ max: 10 })).toHaveLength(3)
  })

  test("allow more tasks per lease than one script call hands out", async () => {
    await using q = await controlledQueue()
    await many(q, 700)
    await set(q, { concurrency: 650 })
    expect(await q.lease({ max: 700 })).toHaveLength(650)
    await set(q, { concurrency: 1_000, rate: { per_second: 1, burst: 20 } })
    expect(await q.lease({ max: 700 })).toHaveLength(20)
  })
})

describe("a purge", () => {
  for (const [state, count] of Object.entries({ queued: 2, delayed: 2, done: 1, dead: 1, cancelled: 1 }))
    test(`deletes ${state} tasks with all their keys, and nothing else`, async () => {
      await using q = await controlledQueue({ maxQueueBytes: 1_000_000 })
      await fill(q)
      const { depth } = await q.view()
      expect(depth[state as "queued"]).toBe(count)
      const dry = await q.ask("POST", `/queues/${q.queue}/purge`, { state, dry_run: true })
      expect(dry).toEqual({ purged: count, remaining: 0 })
      expect((await q.view()).depth).toEqual(depth)
      const purged = await q.ask("POST", `/queues/${q.queue}/purge`, { state })
      expect(purged).toEqual({ purged: count, remaining: 0 })
      expect((await q.view()).depth).toEqual({
        ...depth,
        [state]: 0,
        open: depth.open - (state === "queued" ? count : 0),
      })
      await checkQueue(q.direct.redis, q.queue)
      // Its unique key is free.
      if (state === "queued" || state === "delayed") {
        const unique_key = state === "queued" ? "queued" : "retrying"
        const again = await q.ask("POST", "/submit", { type: "t", queue: q.queue, unique_key })
        expect(again.status).toBe("queued")
      }
      expect(await q.ask("POST", `/audit?queue=${q.queue}`)).toMatchObject({ found: [] })
    })

  test("deletes up to its limit per call, the lowest priority and the oldest first", async () => {
    await using q = await controlledQueue()
    const tasks = [...Array(500).fill({ priority: 5 }), ...Array(500).fill({ priority: 1 })]
    const all = tasks.map(task => ({ type: "t", queue: q.queue, ...task }))
    const ids = (await q.ask("POST", "/submit", all)).map(({ task_id }: { task_id: string }) => task_id)
    const purge = (limit: number) => q.ask("POST", `/queues/${q.queue}/purge`, { state: "queued", limit })
    expect(await purge(450)).toEqual({ purged: 450, remaining: 550 })
    expect((await q.view()).queued_by_priority).toEqual({ 1: 50, 5: 500 })
    expect(await purge(51)).toEqual({ purged: 51, remaining: 499 })
    expect((await q.lease())[0]!.id).toBe(ids[1])
    expect(await purge(10_000)).toEqual({ purged: 498, remaining: 0 })
    expect(await purge(10_000)).toEqual({ purged: 0, remaining: 0 })
  })

  test("skips stale ids, and tasks of another state whose id is in the list", async () => {
    await using q = await controlledQueue()
    const cancelled = await q.submit({ task_id: "a" })
    await q.ask("POST", `/cancel/${cancelled}`)
    await q.submit({ task_id: "b", priority: 9 })
    await q.lease()
    // A stale id of a task that is now leased.
    await q.direct.redis.rpush(q.direct.key("ready", "5"), "b")
    const purged = await q.ask("POST", `/queues/${q.queue}/purge`, { state: "queued" })
    expect(purged).toEqual({ purged: 0, remaining: 0 })
    expect((await q.view()).depth).toMatchObject({ processing: 1, cancelled: 1 })
  })

  test("answers 404 at once to a client that waits for the end of a purged task", async () => {
    await using q = await controlledQueue()
    const id = await q.submit({ delay_ms: HOUR })
    const asked = q.broker.call("GET", `/status/${id}?wait_ms=10000`)
    for (let marked = false; !marked; ) marked = (await q.direct.field(id, "watched")) !== null
    await q.ask("POST", `/queues/${q.queue}/purge`, { state: "delayed" })
    expect((await asked).status).toBe(404)
  })
})

describe("dead tasks", () => {
  const ids = ({ tasks }: { tasks: TaskView[] }) => tasks.map(({ id }) => id)

  test("are found by type, reason, error and age", async () => {
    await using q = await controlledQueue()
    const [a, b] = [await q.dead({ type: "a" }, "no mailbox 7"), await q.dead({ type: "b" }, "no mailbox 8")]
    await q.submit({ type: "b", max_crashes: 0 })
    const [task] = await q.lease()
    await q.direct.lapse(task!.id)
    await q.direct.sweep()
    const old = await q.dead({ type: "old" }, "")
    await q.direct.setField(old, "finished", Date.now() - HOUR)
    const found = async (filter: string) => ids(await q.ask("GET", `/dlq?queue=${q.queue}&${filter}`)).sort()
    expect(await found("")).toEqual([a, b, task!.id, old].sort())
    expect(await found("type=b")).toEqual([b, task!.id].sort())
    expect(await found("type=b&reason=crashed")).toEqual([task!.id])
    expect(await found("error=mailbox%207")).toEqual([a])
    expect(await found(`older_than_ms=${HOUR / 2}`)).toEqual([old])
    expect(await found(`newer_than_ms=${HOUR / 2}`)).toEqual([a, b, task!.id].sort())
    const { dlq_size, next } = await q.ask("GET", `/dlq?queue=${q.queue}&type=b&limit=1`)
    expect([dlq_size, next]).toEqual([4, expect.any(String)])
    expect(await found(`type=b&limit=1&cursor=${next}`)).toEqual([b])
  })

  test("are grouped by error, and a group is a filter", async () => {
    await using q = await controlledQueue()
    const groups = async (): Promise<DeadGroup[]> =>
      (await q.ask("GET", `/dlq/groups?queue=${q.queue}`)).groups
    expect(await groups()).toEqual([])
    await q.dead({ type: "mail" }, "550: no mailbox 'a@b'")
    const last = await q.dead({ type: "mail", payload: LARGE }, "551: no mailbox 'c@d'")
    const other = await q.dead({ type: "mail" }, "timeout")
    const third = await q.dead({ type: "sms" }, "timeout")
    const [first, ...rest] = await groups()
    expect(first).toEqual({
      fingerprint: expect.any(String),
      type: "mail",
      reason: "failed",
      count: 2,
      error: "<n>: no mailbox <text>",
      first_at: expect.any(Number),
      last_at: expect.any(Number),
      sample: { task_id: last, error: "551: no mailbox 'c@d'" },
    })
    expect(first!.last_at).toBeGreaterThanOrEqual(first!.first_at)
    expect(rest.map(({ sample }) => sample.task_id).sort()).toEqual([other, third].sort())
    const { fingerprint } = first!
    const shown = await q.ask("GET", `/dlq?fingerprint=${fingerprint}`)
    expect([ids(shown).length, shown.tasks[0].payload]).toEqual([2, LARGE])
    expect(await q.ask("POST", "/dlq/purge", { fingerprint, dry_run: true })).toEqual({ purged: 2 })
    expect(await q.ask("POST", "/dlq/purge", { fingerprint })).toEqual({ purged: 2 })
    expect((await q.view()).depth.dead).toBe(2)
  })

  test("of many pages are all reached by the cursor", async () => {
    await using q = await controlledQueue()
    const batch = Array(600).fill({ type: q.queue, queue: q.queue, max_retries: 0 })
    for (let i = 0; i < 2; i++) await q.ask("POST", "/submit", batch)
    const tasks = [...(await q.lease({ max: 1_000 })), ...(await q.lease({ max: 1_000 }))]
    for (let from = 0; from < tasks.length; from += 600) {
      const acks = tasks.slice(from, from + 600)
      const said = acks.map(({ id, lease }) => ({ task_id: id, lease, status: "failed", error: "no" }))
      await q.ask("POST", "/ack", said)
    }
    let counted = 0
    let cursor = ""
    do {
      const { groups, next = "" } = await q.ask(
        "GET",
        `/dlq/groups?type=${q.queue}${cursor && `&cursor=${cursor}`}`,
      )
      for (const { count } of groups) counted += count
      cursor = next
    } while (cursor !== "")
    expect(counted).toBe(1_200)
    const filter = { type: q.queue, limit: 1_000 }
    const first = await q.ask("POST", "/dlq/retry", filter)
    expect(first).toEqual({ requeued: 1_000, skipped: 0, next: expect.any(String) })
    const second = await q.ask("POST", "/dlq/purge", { ...filter, cursor: first.next })
    expect(second).toEqual({ purged: 200 })
    expect((await q.view()).depth).toMatchObject({ queued: 1_000, dead: 0 })
  })

  test("can be deleted one by one", async () => {
    await using q = await controlledQueue()
    const id = await q.dead({ payload: LARGE })
    expect(await q.ask("DELETE", `/dlq/${id}`)).toEqual({ status: "deleted_from_dlq", task_id: id })
    for (const gone of [id, await q.submit()])
      expect((await q.broker.call("DELETE", `/dlq/${gone}`)).status).toBe(404)
    expect((await q.broker.call("GET", `/status/${id}`)).status).toBe(404)
  })

  test("are retried in bulk with their history, and those that cannot be retried are skipped", async () => {
    await using q = await controlledQueue()
    const id = await q.dead({}, "boom")
    const held = await q.dead({ unique_key: "u" })
    await q.submit({ unique_key: "u" })
    const queue = q.queue
    expect(await q.ask("POST", "/dlq/retry", { queue, dry_run: true })).toEqual({ requeued: 2, skipped: 0 })
    expect((await q.view()).depth.dead).toBe(2)
    expect(await q.ask("POST", "/dlq/retry", { queue })).toEqual({ requeued: 1, skipped: 1 })
    expect(ids(await q.ask("GET", `/dlq?queue=${queue}`))).toEqual([held])
    const task = await q.ask("GET", `/status/${id}`)
    expect(task).toMatchObject({ status: "queued", retries: 0, attempts: [{ attempt: 1, error: "boom" }] })
  })

  test("can be retried with a patch of their payloads, small and large", async () => {
    await using q = await controlledQueue({ maxQueueBytes: 1_000_000 })
    await q.dead({ payload: { to: "a", port: 25, much: LARGE } })
    await q.dead({ payload: { to: "b", port: 25 } })
    await q.dead({ payload: "text" })
    const queue = q.queue
    const retried = await q.ask("POST", "/dlq/retry", { queue, patch: { port: null, much: "less" } })
    expect(retried).toEqual({ requeued: 3, skipped: 0 })
    await checkQueue(q.direct.redis, queue)
    const payloads = (await q.lease({ max: 3 })).map(({ payload }) => payload)
    expect(payloads).toEqual([{ much: "less" }, { to: "b", much: "less" }, { to: "a", much: "less" }])
    const again = await q.dead({ payload: 1, priority: 9 })
    await q.ask("POST", "/dlq/retry", { queue, patch: { much: LARGE } })
    expect((await q.ask("GET", `/status/${again}`)).payload).toEqual({ much: LARGE })
    await checkQueue(q.direct.redis, queue)
  })

  test("keep every member that the patch does not name, to the character and however deep", async () => {
    await using q = await controlledQueue()
    // As deep as a body may be: 96 levels, two of which are the body and the payload.
    const deep = `${"[".repeat(94)}${"]".repeat(94)}`
    const kept = `"n": 12345678901234567890, "f": 1.0 , "deep":${deep}`
    await q.ask(
      "POST",
      "/submit",
      `{"type":"t","queue":"${q.queue}","max_retries":0,"payload":{${kept},"x":1}}`,
    )
    const [task] = await q.lease()
    await q.ask("POST", "/ack", { task_id: task!.id, lease: task!.lease, status: "failed" })
    await q.ask("POST", "/dlq/retry", `{"queue":"${q.queue}","patch":{"x":null,"y":{"z":2.50}}}`)
    const answer = await q.broker.call("GET", `/status/${task!.id}`)
    expect(await answer.text()).toContain(`{"n":12345678901234567890,"f":1.0,"deep":${deep},"y":{"z":2.50}}`)
  })

  test("are retried after a canary, and only once it is done", async () => {
    await using q = await controlledQueue()
    const queue = q.queue
    for (let i = 0; i < 3; i++) await q.dead({ payload: i })
    const retry = { queue, canary: true }
    const first = await q.ask("POST", "/dlq/retry", retry)
    expect(first).toMatchObject({ requeued: 1, skipped: 0, canary: { state: "queued" } })
    const [canary] = await q.lease()
    expect([canary!.id, canary!.payload]).toEqual([first.canary.task_id, 2])
    // It dies again, and the others stay dead.
    await q.ask("POST", "/ack", {
      task_id: canary!.id,
      lease: canary!.lease,
      status: "failed",
      error: "still",
    })
    expect((await q.view()).depth.dead).toBe(3)
    const asked = q.ask("POST", "/dlq/retry", { ...retry, wait_ms: 10_000 })
    const [second] = await q.lease({ wait_ms: 10_000 })
    await q.ask("POST", "/ack", { task_id: second!.id, lease: second!.lease })
    expect(await asked).toEqual({ requeued: 3, skipped: 0, canary: { task_id: second!.id, state: "done" } })
    expect((await q.view()).depth).toMatchObject({ queued: 2, dead: 0, done: 1 })
  })

  test("are retried at the requested rate, in calls of at most 10 s", async () => {
    await using q = await controlledQueue()
    const { queue } = q
    for (let i = 0; i < 12; i++) await q.dead()
    const dry = await q.ask("POST", "/dlq/retry", { queue, rate: 1, dry_run: true })
    expect(dry).toEqual({ requeued: 10, skipped: 0, next: expect.any(String) })
    const began = performance.now()
    expect(await q.ask("POST", "/dlq/retry", { queue, rate: 40, limit: 9 })).toMatchObject({ requeued: 9 })
    // Four at once, four more after 100 ms, and the last one after 200 ms.
    expect(performance.now() - began).toBeGreaterThan(195)
    // If the client disconnects, the rest stay dead.
    const leaving = new AbortController()
    const left = q.broker
      .call("POST", "/dlq/retry", { queue, rate: 1 }, { signal: leaving.signal })
      .catch(() => {})
    await until("one is back", async () => (await q.view()).depth.dead < 3)
    leaving.abort()
    await left
    const { depth } = await q.view()
    await Bun.sleep(1_300) // enough time for another retry
    expect((await q.view()).depth).toEqual(depth)
  })
})

test("the pattern of an error contains no parts that vary between occurrences", () => {
  for (const [error, pattern] of [
    ["read ECONNRESET after 1234 ms", "read ECONNRESET after <n> ms"],
    ["it can't open \"/tmp/a b\" or 'c'", "it can't open <text> or <text>"],
    ["order 0197f3a4-1b2c-7d3e-8f40-123456789abc is gone", "order <uuid> is gone"],
    ["at 0xDEADbeef, commit 9fceb02d0ae5", "at <hex>, commit <hex>"],
    ["10.0.0.7:5432 refused", "<n>:<n> refused"],
    ["the facade is defaced", "the facade is defaced"],
    [undefined, ""],
  ] as const)
    expect(patternOf(error)).toBe(pattern)
})

test("a merge patch gives the results of RFC 7396", () => {
  // Appendix A of the RFC: the original, the patch, the result.
  for (const [target, patch, result] of [
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [
      ["a", "b"],
      ["c", "d"],
      ["c", "d"],
    ],
    [{ a: "b" }, ["c"], ["c"]],
    [{ a: "foo" }, null, null],
    [{ a: "foo" }, "bar", "bar"],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: "b", c: null }, { a: "b" }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])
    expect(JSON.parse(mergedText(JSON.stringify(target), JSON.stringify(patch)))).toEqual(result)
  const nested = (levels: number) => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`
  expect(mergedText('{ "__proto__" : {"a": 1}, "b\\n":[ ] }', '{"__proto__":{"b":2}}')).toBe(
    '{"__proto__":{"a":1,"b":2},"b\\n":[ ]}',
  )
  expect(mergedText("[1]", nested(20))).toBe(nested(20))
  expect([20, 21].map(levels => tooDeep(JSON.parse(nested(levels))))).toEqual([false, true])
})
