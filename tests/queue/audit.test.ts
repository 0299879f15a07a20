/** The audit: it reports each kind of fault, repairs it on request, and reports nothing in a healthy queue. */
import { describe, expect, test } from "bun:test"
import type { BrokerConfig } from "../../lib/config/config.ts"
import { createLog } from "../../lib/log.ts"
import { TaskQueue } from "../../lib/queue/task-queue.ts"
import { QUEUES } from "../../lib/redis/keys.ts"
import type { AuditAnswer } from "../../lib/wire/operating.ts"
import { DirectQueue, freshName, testBroker, testConfig, until } from "../support/harness.ts"
import { checkQueue, dump } from "../support/invariants.ts"
import { sharedRedis } from "../support/redis.ts"

const LARGE = "x".repeat(1_000)
const LATER = 3_600_000

/** A queue with an audit by HTTP. */
async function audited(overrides: Partial<BrokerConfig> = {}) {
  const { socket } = await sharedRedis()
  const queue = freshName()
  const broker = await testBroker(overrides)
  broker.queue.parts.sweeper.close() // a sweep drops some stray entries itself
  const direct = new DirectQueue(socket, queue)
  const call = async <T>(path: string, body?: unknown) =>
    (await (await broker.call("POST", path, body)).json()) as T
  return {
    broker,
    direct,
    redis: direct.redis,
    socket,
    queue,
    call,
    submit: (task: object = {}) => call<unknown>("/submit", { type: "a", queue, ...task }),
    async submitMany(count: number) {
      for (let left = count; left > 0; left -= 1_000)
        await call("/submit", Array(Math.min(left, 1_000)).fill({ type: "a", queue }))
    },
    async lease(max = 1) {
      const { tasks } = await call<{ tasks: { id: string; lease: string }[] }>("/lease", {
        queues: [queue],
        max,
      })
      return tasks.map(({ id, lease }) => ({ task_id: id, lease }))
    },
    async audit(fix: boolean): Promise<AuditAnswer["found"]> {
      const { complete, found } = await call<AuditAnswer>(`/audit?queue=${queue}&fix=${fix}`)
      expect(complete).toBeTrue()
      return found
    },
    async [Symbol.asyncDispose]() {
      await direct[Symbol.asyncDispose]()
      await broker[Symbol.asyncDispose]()
    },
  }
}
type Audited = Awaited<ReturnType<typeof audited>>

const scheduled = (q: Audited) =>
  q.broker.call("PUT", `/schedules/${q.queue}:s`, { cron: "@yearly", task: { type: "a" } })

/** A task in every state, named after it. */
async function oneOfEach(q: Audited): Promise<void> {
  for (const [task_id, more] of Object.entries({
    done: {},
    dead: { max_retries: 0 },
    retrying: { backoff: { kind: "fixed", delay_ms: LATER, jitter: false } },
    processing: { unique_key: "running", payload: LARGE },
  }))
    await q.submit({ task_id, ...more })
  const [done, dead, retrying] = await q.lease(4)
  await q.call("/ack", done)
  await q.call("/ack", { ...dead, status: "failed" })
  await q.call("/ack", { ...retrying, status: "failed" })
  await q.submit({ task_id: "cancelled" })
  await q.call(`/cancel/${q.queue}:cancelled`)
  await q.submit({ task_id: "scheduled", delay_ms: LATER, payload: LARGE })
  await q.submit({ task_id: "queued", expires_in_ms: LATER, unique_key: "waiting" })
  await q.submit({ task_id: "other", priority: 9 })
}

const DAMAGE: [what: string, kind: string, mends: boolean, damage: (q: Audited) => Promise<unknown>][] = [
  [
    "a queued task in no ready list",
    "not_listed",
    true,
    q => q.redis.lrem(q.direct.key("ready", "5"), 0, "queued"),
  ],
  ["a processing task without a lease entry", "no_lease", true, q => q.redis.del(q.direct.key("leases"))],
  ["a scheduled task that is not due", "no_due", true, q => q.redis.zrem(q.direct.key("due"), "scheduled")],
  ["a retrying task that is not due", "no_due", true, q => q.redis.zrem(q.direct.key("due"), "retrying")],
  ["a done task in no index", "no_index", true, q => q.redis.del(q.direct.key("completed"))],
  [
    "a done task with a result_ttl_ms in no index",
    "no_index",
    true,
    async q => {
      await q.redis.del(q.direct.key("completed"))
      await q.direct.setField("done", "policy", "5 3 3 30000 0 0 60000")
    },
  ],
  ["a dead task in no index", "no_index", true, q => q.redis.del(q.direct.key("dead"))],
  ["a cancelled task in no index", "no_index", true, q => q.redis.del(q.direct.key("cancelled"))],
  [
    "a task with an expiry that is missing from the expiring set",
    "no_expiry",
    true,
    q => q.redis.del(q.direct.key("expiring")),
  ],
  [
    "a task that has lost its unique key",
    "no_owner",
    true,
    q => q.redis.del(q.direct.key("unique", "waiting")),
  ],
  [
    "a task whose payload is lost",
    "no_payload",
    false,
    q => q.redis.del(q.direct.key("payload", "scheduled")),
  ],
  ["a record that cannot be read", "unreadable", false, q => q.redis.set(q.direct.key("task", "mad"), "mad")],
  [
    "a schedule that is not planned",
    "no_plan",
    true,
    async q => {
      await scheduled(q)
      await q.redis.del(q.direct.key("planned"))
    },
  ],
  [
    "a schedule that would never run",
    "no_plan",
    true,
    async q => {
      await scheduled(q)
      await q.redis.zadd(q.direct.key("planned"), "+inf", "s")
    },
  ],
  [
    "a planned time without a schedule",
    "stray_entry",
    true,
    q => q.redis.zadd(q.direct.key("planned"), 9e12, "nobody"),
  ],
  ["an entry without a task", "stray_entry", true, q => q.redis.zadd(q.direct.key("done"), 9e12, "nobody")],
  [
    "an entry without a task in the list of done tasks",
    "stray_entry",
    true,
    q => q.redis.lpush(q.direct.key("completed"), "nobody"),
  ],
  [
    "an entry of a task that is not done in the list of done tasks",
    "stray_entry",
    true,
    q => q.redis.lpush(q.direct.key("completed"), "queued"),
  ],
  [
    "a done task that is listed twice",
    "stray_entry",
    true,
    q => q.redis.zadd(q.direct.key("done"), 9e12, "done"),
  ],
  [
    "an entry of a task that is in another state",
    "stray_entry",
    true,
    q => q.redis.zadd(q.direct.key("leases"), 9e12, "done"),
  ],
  [
    "an expiry entry of a task without an expiry",
    "stray_entry",
    true,
    q => q.redis.zadd(q.direct.key("expiring"), 9e12, "other"),
  ],
  [
    "a payload without a task",
    "stray_payload",
    true,
    q => q.redis.set(q.direct.key("payload", "nobody"), "1"),
  ],
  ["a second payload", "stray_payload", true, q => q.redis.set(q.direct.key("payload", "other"), "1")],
  ["a unique key without a task", "stray_key", true, q => q.redis.set(q.direct.key("unique", "k"), "nobody")],
  [
    "a unique key of a task that has ended",
    "stray_key",
    true,
    q => q.redis.set(q.direct.key("unique", "k"), "done"),
  ],
  ["a queue that is not registered", "not_registered", true, q => q.redis.srem(QUEUES, q.queue)],
]

describe("the audit finds and repairs", () => {
  test.each(DAMAGE)("%s", async (_, kind, mends, damage) => {
    await using q = await audited()
    await oneOfEach(q)
    await checkQueue(q.redis, q.queue)
    expect(await q.audit(true)).toEqual([])
    await damage(q)
    const before = await dump(q.redis, q.queue)
    const reported = await q.audit(false)
    expect(reported).toMatchObject([{ kind, count: 1, mended: 0 }])
    expect(await dump(q.redis, q.queue)).toEqual(before)
    expect(await q.audit(true)).toEqual([{ ...reported[0]!, mended: mends ? 1 : 0 }])
    if (!mends) return
    expect(await q.audit(false)).toEqual([])
    // A lost lease has lapsed and a lost delay is over; the next sweep processes them.
    await checkQueue(q.redis, q.queue)
  })
})

/** A group with a leased task, one with a waiting task, and one at its limit, whose turn is held. */
async function threeGroups(q: Audited): Promise<void> {
  await q.submit({ task_id: "of-a", group: "a", priority: 9 })
  await q.submit({ task_id: "first", group: "c", priority: 9 })
  await q.submit({ task_id: "second", group: "c", priority: 9 })
  await q.direct.scripts.call("setGroup", q.queue, {
    group: "c",
    change: "limits",
    value: JSON.stringify({ concurrency: 1 }),
  })
  await q.lease(3)
  await q.submit({ task_id: "of-b", group: "b" })
}

const GROUP_DAMAGE: [what: string, kind: string, damage: (q: Audited) => Promise<unknown>][] = [
  [
    "a queued task that is not in the list of its group",
    "not_listed",
    async q => {
      await q.redis.lset(q.direct.key("group", "9c"), 0, "stale")
    },
  ],
  [
    "a queued task that is not the first of its group",
    "not_listed",
    q => q.redis.hset(q.direct.key("firsts"), "5b", "second"),
  ],
  ["a group that is not in line", "no_turn", q => q.redis.lrem(q.direct.key("ready", "5"), 0, "=b")],
  ["a held turn that is lost", "no_turn", q => q.redis.zrem(q.direct.key("expiring"), "=9c")],
  ["a group that is in line twice", "stray_turn", q => q.redis.lpush(q.direct.key("ready", "5"), "=b")],
  ["a held group that is in line", "stray_turn", q => q.redis.rpush(q.direct.key("ready", "9"), "=c")],
  ["a turn of a group without tasks", "stray_turn", q => q.redis.rpush(q.direct.key("ready", "5"), "=x")],
  [
    "a held turn of a group without tasks",
    "stray_turn",
    q => q.redis.zadd(q.direct.key("expiring"), 9e12, "=5x"),
  ],
  [
    "a leased task without a slot of its group",
    "no_slot",
    q => q.redis.zrem(q.direct.key("busy"), "a\nof-a"),
  ],
  ["a slot of no task", "stray_slot", q => q.redis.zadd(q.direct.key("busy"), 0, "a\nnobody")],
  ["a slot of a waiting task", "stray_slot", q => q.redis.zadd(q.direct.key("busy"), 0, "c\nsecond")],
  ["a wrong length of a group's list", "wrong_count", q => q.redis.zadd(q.direct.key("waiting"), 7, "9c")],
  ["a length without a list", "wrong_count", q => q.redis.zadd(q.direct.key("waiting"), 7, "5b")],
  ["a length of a list that is gone", "wrong_count", q => q.redis.zadd(q.direct.key("waiting"), 7, "5x")],
  ["a wrong count of grouped tasks", "wrong_count", q => q.redis.hset(q.direct.key("stats"), "grouped5", 7)],
]

test("the audit keeps a turn that it saw in line and that is held by now", async () => {
  await using q = await audited()
  await threeGroups(q)
  const before = await dump(q.redis, q.queue)
  const args = { began: 0, fix: 1, retention: 0 }
  const seen = [{ what: "group", id: "9c", more: "1" }]
  const [, , , checked, ...faults] = await q.direct.scripts.call("auditQueue", q.queue, args, seen)
  expect([checked, ...faults]).toEqual([1])
  expect(await dump(q.redis, q.queue)).toEqual(before)
})

test("the audit removes all stray entries of a long list in one pass, in calls that search a bounded number of entries", async () => {
  await using q = await audited()
  const completed = q.direct.key("completed")
  await q.submit({ task_id: "done" })
  await q.call("/ack", await q.lease())
  // Entries of a done task are not stray.
  const many = Array<string>(30_000).fill("done")
  for (let i = 0; i < 2; i++) await q.redis.rpush(completed, ...many)
  const strays = ["nobody-1", "nobody-2", "nobody-3"]
  await q.redis.rpush(completed, ...strays)
  const args = { began: 0, fix: 0, retention: 0 }
  const items = strays.map(id => ({ what: "completed", id, more: "" }))
  const [, , , checked, ...faults] = await q.direct.scripts.call("auditQueue", q.queue, args, items)
  expect([checked, faults.length]).toEqual([2, 2])
  expect(await q.audit(true)).toMatchObject([{ kind: "stray_entry", count: 3, mended: 3 }])
  expect(await q.redis.llen(completed)).toBe(60_001)
})

test("a call of the audit looks for turns in a bounded number of entries", async () => {
  await using q = await audited()
  await threeGroups(q)
  const many = Array<string>(30_000).fill("nobody")
  for (let i = 0; i < 2; i++) await q.redis.rpush(q.direct.key("ready", "5"), ...many)
  const args = { began: 0, fix: 0, retention: 0 }
  const items = ["b", "b", "b", "b"].map(group => ({ what: "group", id: `5${group}`, more: "0" }))
  const [, , , checked, ...faults] = await q.direct.scripts.call("auditQueue", q.queue, args, items)
  expect([checked, ...faults]).toEqual([2])
})

describe("the audit finds and repairs in groups", () => {
  test.each(GROUP_DAMAGE)("%s", async (_, kind, damage) => {
    await using q = await audited()
    await threeGroups(q)
    await checkQueue(q.redis, q.queue)
    expect(await q.audit(true)).toEqual([])
    await damage(q)
    const before = await dump(q.redis, q.queue)
    const reported = await q.audit(false)
    expect(reported).toMatchObject([{ kind, count: 1, mended: 0 }])
    expect(await dump(q.redis, q.queue)).toEqual(before)
    const [repaired, ...others] = await q.audit(true)
    expect(repaired).toEqual({ ...reported[0]!, mended: 1 })
    // The counts follow from lists and turns, so they are corrected last.
    for (const other of others) expect(other).toMatchObject({ kind: "wrong_count", mended: 1 })
    expect(await q.audit(false)).toEqual([])
    await checkQueue(q.redis, q.queue)
  })
})

test("a queue that is polled but never had a task has no keys, and the audit removes those of older versions", async () => {
  await using q = await audited()
  await q.lease()
  expect(await q.redis.sismember(QUEUES, q.queue)).toBe(0)
  expect(await q.redis.keys(`*{${q.queue}}*`)).toEqual([])
  expect(await q.audit(true)).toEqual([])
  // What an older version wrote at each poll.
  await q.redis.hset(q.direct.key("stats"), "polled", Date.now())
  expect(await q.audit(false)).toEqual([{ kind: "stray_key", count: 1, mended: 0, sample: q.queue }])
  expect(await q.audit(true)).toEqual([{ kind: "stray_key", count: 1, mended: 1, sample: q.queue }])
  expect(await q.redis.keys(`*{${q.queue}}*`)).toEqual([])
})

test("the statistics of a queue whose name is lost stay with its tasks and its settings, and the name returns", async () => {
  await using q = await audited()
  const names: [queue: string, kept: string][] = []
  for (const kept of ["task", "settings"]) {
    const queue = `${q.queue}-${kept}`
    if (kept === "task") await q.call("/submit", { type: "a", queue })
    else await q.call(`/queues/${queue}/pause`)
    await q.redis.hset(`tq:{${queue}}:stats`, "polled", 1)
    await q.redis.srem(QUEUES, queue)
    names.push([queue, kept])
  }
  for (const [queue] of names) {
    await q.call(`/audit?queue=${queue}&fix=true`)
    expect(await q.redis.exists(`tq:{${queue}}:stats`)).toBe(1)
    expect(await q.redis.sismember(QUEUES, queue)).toBe(1)
  }
})

test("a processing task without a lease entry counts as lapsed", async () => {
  await using q = await audited()
  await q.submit({ task_id: "a" })
  await q.lease()
  await q.redis.del(q.direct.key("leases"))
  await q.audit(true)
  await q.direct.sweep()
  expect([await q.direct.field("a", "state"), await q.direct.field("a", "crashes")]).toEqual(["queued", "1"])
})

test("one task missing from its ready list among 5,000 is found and added again", async () => {
  await using q = await audited()
  await q.submitMany(5_000)
  const list = q.direct.key("ready", "5")
  const missing = (await q.redis.lindex(list, 2_345))!
  await q.redis.lrem(list, 1, missing)
  const sample = `${q.queue}:${missing}`
  expect(await q.audit(false)).toEqual([{ kind: "not_listed", count: 1, mended: 0, sample }])
  expect(await q.audit(true)).toEqual([{ kind: "not_listed", count: 1, mended: 1, sample }])
  expect(await q.redis.lindex(list, -1)).toBe(missing)
  expect(await q.redis.llen(list)).toBe(5_000)
  await checkQueue(q.redis, q.queue)
})

test("after a restore of task records only, all tasks are queued again in the order of their creation", async () => {
  await using q = await audited()
  await q.submitMany(2_000)
  const list = q.direct.key("ready", "5")
  const ids = await q.redis.lrange(list, 0, -1)
  await q.redis.del(list, QUEUES)
  const found = await q.audit(true)
  expect(found.map(({ kind }) => kind)).toEqual(["not_registered", "not_listed"])
  expect(await q.redis.lrange(list, 0, -1)).toEqual(ids.sort())
  await checkQueue(q.redis, q.queue)
})

test("a wrong byte count is corrected, and removed if there is no limit", async () => {
  await using q = await audited({ maxQueueBytes: 1_000_000 })
  await oneOfEach(q)
  expect(await q.audit(false)).toEqual([])
  await q.redis.hincrby(q.direct.key("stats"), "bytes", 5)
  const wrong = { kind: "wrong_bytes", count: 1, sample: q.queue } as const
  expect(await q.audit(false)).toEqual([{ ...wrong, mended: 0 }])
  expect(await q.audit(true)).toEqual([{ ...wrong, mended: 1 }])
  await checkQueue(q.redis, q.queue)
  await q.redis.hdel(q.direct.key("stats"), "bytes")
  expect(await q.audit(true)).toEqual([{ ...wrong, mended: 1 }])
  await checkQueue(q.redis, q.queue)
  await using unlimited = await testBroker()
  await unlimited.call("POST", `/audit?queue=${q.queue}&fix=true`)
  expect(await q.redis.hexists(q.direct.key("stats"), "bytes")).toBe(0)
})

test("a healthy queue under load has no faults", async () => {
  await using q = await audited({ maxQueueBytes: 1_000_000_000, maxRetries: 1 })
  await q.submitMany(1_000)
  const outcomes = ["done", "done", "failed", "released"]
  const client = async () => {
    for (let i = 0; i < 40; i++) {
      const more = [
        {},
        { delay_ms: 2 },
        { expires_in_ms: 3 },
        { unique_key: `k${i % 7}` },
        { payload: LARGE },
      ]
      await q.call(
        "/submit",
        Array.from({ length: 20 }, (_, n) => ({ type: "a", queue: q.queue, ...more[(i + n) % more.length] })),
      )
      const acks = (await q.lease(20)).map((ack, n) => ({ ...ack, status: outcomes[(i + n) % 4] }))
      if (acks.length > 0) await q.call("/ack", acks)
    }
  }
  let over = false
  const clients = Promise.all(Array.from({ length: 3 }, client)).finally(() => (over = true))
  const found: unknown[] = []
  for (let pass = 0; !over; pass++) found.push(...(await q.audit(pass % 2 === 0)))
  await clients
  expect(found).toEqual([])
  expect(await q.audit(false)).toEqual([])
  await checkQueue(q.redis, q.queue)
})

test("a task whose payload is lost has the payload null and does not affect other tasks", async () => {
  await using q = await audited()
  await q.submit({ task_id: "a", payload: LARGE })
  await q.submit({ task_id: "b", payload: 1 })
  await q.redis.del(q.direct.key("payload", "a"))
  const lease = q.call<{ tasks: { payload: unknown }[] }>("/lease", { queues: [q.queue], max: 2 })
  expect((await lease).tasks.map(({ payload }) => payload)).toEqual([null, 1])
  const status = await q.broker.call("GET", `/status/${q.queue}:a`)
  expect(await status.json()).toMatchObject({ payload: null, status: "processing" })
})

test("a broker audits periodically and logs what it repairs", async () => {
  await using q = await audited()
  await q.submitMany(3)
  await q.redis.del(q.direct.key("ready", "5"))
  const warnings: unknown[] = []
  const log = { ...createLog("silent"), warn: (...warning: unknown[]) => warnings.push(warning) }
  const other = await TaskQueue.open({
    ...testConfig({ auditIntervalMs: 20 }),
    redis: { url: q.socket, timeoutMs: 2_000, name: "other" },
    log,
  })
  await until("it has warned", () => warnings.length > 0)
  await other.close()
  const sample = expect.stringContaining(`${q.queue}:`)
  expect(warnings).toEqual([["The audit found faults", { kind: "not_listed", count: 3, mended: 3, sample }]])
  await checkQueue(q.redis, q.queue)
})

test("an audit covers all queues, reports whether it was complete, and refuses a bad query", async () => {
  await using q = await audited()
  await oneOfEach(q)
  const { looked } = await q.call<AuditAnswer>("/audit")
  expect(looked).toEqual({ queues: 1, tasks: 8, payloads: 2, unique_keys: 2, entries: 7 })
  const hurried = await q.broker.queue.audit({ fix: true }, AbortSignal.abort())
  // It does not even finish the page of keys in hand, which may belong to a thousand queues.
  expect(hurried).toMatchObject({ complete: false, looked: { queues: 0 }, found: [] })
  expect(await q.call("/audit?fix=yes")).toMatchObject({ code: "bad_request", field: "fix" })
})
