/** What needs attention: a table of situations, each with its opposite, and the same planted in Redis. */
import { describe, expect, test } from "bun:test"
import { attentionOf, type Watched } from "../../lib/queue/attention.ts"
import { localOf } from "../../lib/task/id.ts"
import { ATTENTION_DEFAULTS, ATTENTION_KINDS, type AttentionKind } from "../../lib/wire/attention.ts"
import type { Attention, QueueView } from "../../lib/wire/managing.ts"
import { AttentionSettings } from "../../lib/wire/queue-settings.ts"
import { table } from "../support/documents.ts"
import { until } from "../support/harness.ts"
import { scriptQueue } from "../support/script-queue.ts"
import { ServedQueue } from "../support/served-queue.ts"

const NOW = 1_800_000_000_000
const MINUTE = 60_000
const HOUR = 60 * MINUTE

const HEALTHY: Watched = {
  queue: "mail",
  now: NOW,
  depth: { queued: 3, delayed: 0, processing: 2, done: 9, dead: 0, cancelled: 0, open: 5 },
  queued_by_priority: { 5: 3 },
  oldest_waiting_ms: 1_000,
  polled_at: NOW - 5_000,
  paused: false,
  settings: {},
  recent: {
    submitted_per_s: 1,
    done_per_s: 1,
    failed_per_s: 0,
    lapsed_per_s: 0,
    dead_per_s: 0,
    done: 600,
    failed: 0,
    lapsed: 0,
    dead: 0,
    depth_before: { queued: 3, delayed: 0, processing: 2 },
  },
  deadLately: { count: 0, since: 0 },
}

const depth = (queued: number) => ({ depth: { ...HEALTHY.depth, queued } })
const recent = (more: Partial<Watched["recent"]>) => ({ recent: { ...HEALTHY.recent, ...more } })
const before = (queued: number) => recent({ depth_before: { queued, delayed: 0, processing: 0 } })
const { polled_at: _, ...neverPolled } = HEALTHY

const SITUATIONS: [situation: string, queue: Watched, found: Partial<Attention>[]][] = [
  ["a healthy queue", HEALTHY, []],
  ["an empty queue that nobody polls", { ...neverPolled, ...depth(0) }, []],
  [
    "tasks and never a poll",
    neverPolled,
    [
      {
        kind: "no_workers",
        since_at: NOW - 1_000,
        threshold: MINUTE,
        why: "No worker has ever polled it, and 3 tasks wait.",
      },
    ],
  ],
  [
    "tasks and no poll for two minutes",
    { ...HEALTHY, ...depth(1), polled_at: NOW - 2 * MINUTE },
    [
      {
        kind: "no_workers",
        since_at: NOW - 2 * MINUTE,
        value: 2 * MINUTE,
        why: "No worker has polled it for 2 min, and 1 task waits.",
      },
    ],
  ],
  ["a poll just within a minute", { ...HEALTHY, polled_at: NOW - MINUTE + 1 }, []],
  ["no poll for a day, and only running tasks", { ...HEALTHY, ...depth(0), polled_at: NOW - 24 * HOUR }, []],
  [
    "a paused queue without polls",
    { ...HEALTHY, paused: true, paused_at: NOW - 1_000, polled_at: NOW - HOUR },
    [],
  ],
  [
    "a task that waits for six minutes",
    { ...HEALTHY, oldest_waiting_ms: 6 * MINUTE },
    [
      {
        kind: "waiting",
        value: 6 * MINUTE,
        since_at: NOW - 6 * MINUTE,
        why: "The oldest task has waited for 6 min.",
      },
    ],
  ],
  ["a task that waits for five minutes", { ...HEALTHY, oldest_waiting_ms: 5 * MINUTE }, []],
  [
    "the same in a paused queue",
    { ...HEALTHY, oldest_waiting_ms: HOUR, paused: true, paused_at: NOW - 9 },
    [],
  ],
  [
    "a run that is two hours late",
    { ...HEALTHY, nextRunAt: NOW - 2 * HOUR },
    [
      {
        kind: "schedule_late",
        since_at: NOW - 2 * HOUR,
        value: 2 * HOUR,
        why: "A run of a schedule is 2 h late.",
      },
    ],
  ],
  [
    "runs that have found no room for six minutes, and one that is due now",
    { ...HEALTHY, nextRunAt: NOW - 100, fullSince: NOW - 6 * MINUTE },
    [
      {
        kind: "schedule_late",
        since_at: NOW - 6 * MINUTE,
        value: 6 * MINUTE,
        why: "Runs of schedules have found no room for 6 min: the queue or a group is full.",
      },
    ],
  ],
  ["runs that have found no room for a minute", { ...HEALTHY, fullSince: NOW - MINUTE }, []],
  ["a run that is due now", { ...HEALTHY, nextRunAt: NOW - 100 }, []],
  ["a run tomorrow", { ...HEALTHY, nextRunAt: NOW + 24 * HOUR }, []],
  [
    "one lease that lapsed",
    { ...HEALTHY, ...recent({ lapsed: 1 }) },
    [{ kind: "lapsing", value: 1, threshold: 1 }],
  ],
  [
    "one attempt of nine fails",
    { ...HEALTHY, ...recent({ done: 80, failed: 10 }) },
    [
      {
        kind: "failing",
        value: 11.1,
        threshold: 10,
        why: "10 of 90 attempts failed in the last ten minutes (11.1 %).",
      },
    ],
  ],
  ["one attempt of ten fails", { ...HEALTHY, ...recent({ done: 90, failed: 10 }) }, []],
  ["four of four attempts fail", { ...HEALTHY, ...recent({ done: 0, failed: 4 }) }, []],
  [
    "five of five attempts fail",
    { ...HEALTHY, ...recent({ done: 0, failed: 5 }) },
    [{ kind: "failing", value: 100 }],
  ],
  ["no attempts", { ...HEALTHY, ...recent({ done: 0, failed: 0 }) }, []],
  [
    "a backlog that grew by a hundred",
    { ...HEALTHY, ...depth(103), ...before(3) },
    [
      {
        kind: "growing",
        value: 100,
        threshold: 100,
        why: "The backlog grew from 3 to 103 tasks in ten minutes.",
      },
    ],
  ],
  ["a backlog that grew by 99", { ...HEALTHY, ...depth(102), ...before(3) }, []],
  ["a large backlog that grew by a hundred", { ...HEALTHY, ...depth(10_100), ...before(10_000) }, []],
  [
    "a large backlog that grew by a tenth",
    { ...HEALTHY, ...depth(11_000), ...before(10_000) },
    [{ kind: "growing", value: 1_000 }],
  ],
  ["a backlog that shrinks", { ...HEALTHY, ...depth(5), ...before(5_000) }, []],
  [
    "a large backlog of unknown past",
    { ...HEALTHY, ...depth(9_000), recent: { ...HEALTHY.recent, depth_before: undefined } as never },
    [],
  ],
  [
    "two tasks that died today",
    { ...HEALTHY, deadLately: { count: 2, since: NOW - HOUR } },
    [
      {
        kind: "dead",
        value: 2,
        since_at: NOW - HOUR,
        threshold: 1,
        why: "2 tasks died in the last 24 hours.",
      },
    ],
  ],
  ["a pause of 59 minutes", { ...HEALTHY, paused: true, paused_at: NOW - 59 * MINUTE }, []],
  [
    "a pause of three hours",
    { ...HEALTHY, paused: true, paused_at: NOW - 3 * HOUR, pause_reason: "maintenance" },
    [
      {
        kind: "paused",
        since_at: NOW - 3 * HOUR,
        value: 3 * HOUR,
        why: "It has been paused for 3 h: maintenance",
      },
    ],
  ],
]

describe("a queue needs attention", () => {
  test.each(SITUATIONS)("or not: %s", (_situation, queue, found) => {
    expect(attentionOf(queue)).toEqual(found.map(entry => expect.objectContaining(entry)))
  })

  /** Everything is wrong, except what the pause hides. */
  const WRONG: Watched = {
    ...HEALTHY,
    ...depth(5_000),
    polled_at: NOW - HOUR,
    oldest_waiting_ms: HOUR,
    recent: {
      ...HEALTHY.recent,
      done: 1,
      failed: 50,
      lapsed: 7,
      depth_before: { queued: 9, delayed: 0, processing: 0 },
    },
    deadLately: { count: 4, since: NOW - HOUR },
    nextRunAt: NOW - HOUR,
  }
  const kindsOf = (queue: Watched) => attentionOf(queue).map(({ kind }) => kind)
  const ALL: AttentionKind[] = [
    "no_workers",
    "waiting",
    "schedule_late",
    "lapsing",
    "failing",
    "growing",
    "dead",
  ]

  test("with several kinds, the worst first", () => {
    expect(kindsOf(WRONG)).toEqual(ALL)
    expect(kindsOf({ ...WRONG, paused: true, paused_at: NOW - 2 * HOUR })).toEqual([
      ...(["schedule_late", "lapsing", "failing", "dead", "paused"] as const),
    ])
  })

  test.each([
    ["no_workers", "idle_poll_ms", HOUR + 1],
    ["waiting", "oldest_wait_ms", HOUR],
    ["schedule_late", "schedule_late_ms", HOUR],
    ["lapsing", "lapses", 8],
    ["failing", "failure_percent", 99],
    ["growing", "growth", 4_992],
    ["dead", "dead", 5],
  ] as const)("but a queue may have a threshold of its own, or none, for %s", (kind, name, more) => {
    const without = ALL.filter(of => of !== kind)
    expect(kindsOf({ ...WRONG, settings: { attention: { [name]: more } } })).toEqual(without)
    expect(kindsOf({ ...WRONG, settings: { attention: { [name]: "off" } } })).toEqual(without)
    expect(kindsOf({ ...WRONG, settings: { attention: { [name]: 1 } } })).toEqual(ALL)
  })
})

describe("GET /queues reports", () => {
  const view = async (q: ServedQueue): Promise<QueueView> => (await q.ask("GET", `/queues/${q.queue}`)).body
  const kinds = async (q: ServedQueue) => (await view(q)).attention.map(({ kind }) => kind)

  test("a queue with tasks that no worker has ever polled, until one does", async () => {
    await using q = await ServedQueue.open()
    expect(await kinds(q)).toEqual([])
    await q.submit()
    expect((await view(q)).attention).toEqual([
      {
        kind: "no_workers",
        since_at: expect.any(Number),
        threshold: 60_000,
        why: "No worker has ever polled it, and 1 task waits.",
      },
    ])
    await q.submit()
    await q.lease()
    expect(await kinds(q)).toEqual([])
    await q.direct.redis.hset(q.direct.key("stats"), "polled", Date.now() - 120_000)
    expect(await kinds(q)).toEqual(["no_workers"])
  })

  test("a task that waits too long, by the threshold of the queue, which a change of other settings keeps", async () => {
    await using q = await ServedQueue.open()
    await q.leased()
    const id = await q.submit()
    await q.direct.setField(id, "created", Date.now() - 10 * MINUTE)
    expect(await kinds(q)).toEqual(["waiting"])
    const settings = { attention: { oldest_wait_ms: 20 * MINUTE, dead: "off" }, concurrency: 7 }
    const { body } = await q.ask("PUT", `/queues/${q.queue}/settings`, settings)
    expect(body).toMatchObject({ settings, attention: [] })
    expect((await view(q)).settings).toEqual(settings as never)
    await q.ask("PUT", `/queues/${q.queue}/settings`, {})
    expect((await view(q)).settings).toEqual({})
    expect(await kinds(q)).toEqual(["waiting"])
  })

  test("dead tasks of the last 24 hours only", async () => {
    await using q = await ServedQueue.open()
    const ids = [await q.dead(), await q.dead(), await q.dead()]
    const [old, , newest] = ids as [string, string, string]
    await q.direct.redis.zadd(q.direct.key("dead"), Date.now() - 25 * HOUR, localOf(old))
    const [entry] = (await view(q)).attention
    expect(entry).toMatchObject({ kind: "dead", value: 2 })
    expect(entry!.since_at).toBeWithin(Date.now() - MINUTE, Date.now() + MINUTE)
    await q.ask("POST", `/dlq/retry/${newest}`)
    await q.lease()
    expect((await view(q)).attention).toEqual([expect.objectContaining({ kind: "dead", value: 1 })])
  })

  test("failing attempts and lapsed leases of the last ten minutes", async () => {
    await using q = await ServedQueue.open()
    for (let i = 0; i < 6; i++) {
      const task = await q.leased({ max_retries: 9 })
      await q.ack(task, { status: "failed", retry_in_ms: HOUR })
    }
    await q.broker.queue.parts.historyWriter.flush()
    expect(await kinds(q)).toEqual(["failing"])
    const { id } = await q.leased()
    await q.direct.lapse(id)
    await q.leased() // which also ends the lease that lapsed
    await q.broker.queue.parts.historyWriter.flush()
    expect(await kinds(q)).toEqual(["lapsing", "failing"])
  })

  test("the earliest run of a schedule, unless all are paused", async () => {
    await using queue = await scriptQueue()
    const nextRun = async () =>
      (await queue.scripts.call("queueState", queue.name, { queues: queue.name }))[0]![12]
    expect(await nextRun()).toBe("")
    await queue.redis.zadd(queue.key("planned"), "+inf", "paused")
    expect(await nextRun()).toBe("")
    await queue.redis.zadd(queue.key("planned"), NOW, "nightly", NOW + 1, "weekly")
    expect(await nextRun()).toBe(String(NOW))
  })

  test("a schedule that finds no room, until it does", async () => {
    await using q = await ServedQueue.open({ maxQueueDepth: 1 })
    await q.ask("PUT", `/queues/${q.queue}/settings`, { attention: { schedule_late_ms: 1 } })
    await q.submit()
    await q.ask("PUT", `/schedules/${q.queue}:s`, { every_ms: 1_000, task: { type: "t" } })
    const why = async () => (await view(q)).attention.find(({ kind }) => kind === "schedule_late")?.why
    await until("it is reported", async () =>
      (await why())?.startsWith("Runs of schedules have found no room"),
    )
    await q.lease()
    await until("it has fired", async () => (await q.ask("GET", `/schedules/${q.queue}:s`)).body.fired > 0)
    await q.ask("POST", `/schedules/${q.queue}:s/pause`)
    await q.direct.redis.hincrby(q.direct.key("stats"), "full_at", -MINUTE)
    expect(await why()).toBeUndefined()
  })

  test("a pause of over an hour", async () => {
    await using q = await ServedQueue.open()
    await q.ask("POST", `/queues/${q.queue}/pause`, { reason: "moving" })
    expect(await kinds(q)).toEqual([])
    await q.direct.redis.hset(q.direct.key("settings"), "paused", Date.now() - 2 * HOUR)
    expect((await view(q)).attention).toMatchObject([
      { kind: "paused", why: "It has been paused for 2 h: moving" },
    ])
    await q.ask("POST", `/queues/${q.queue}/resume`)
    expect(await kinds(q)).toEqual([])
  })

  test("nothing about thresholds that are not valid: they are refused, and nothing changes", async () => {
    await using q = await ServedQueue.open()
    for (const [attention, field] of [
      [{ dead: 0 }, "attention.dead"],
      [{ dead: -1 }, "attention.dead"],
      [{ dead: 1.5 }, "attention.dead"],
      [{ dead: null }, "attention.dead"],
      [{ dead: "none" }, "attention.dead"],
      [{ dead: "1" }, "attention.dead"],
      [{ failure_percent: 101 }, "attention.failure_percent"],
      [{ oldest_wait: 1 }, "attention.oldest_wait"],
      [{}, "attention"],
      [7, "attention"],
    ] as const) {
      const { status, body } = await q.ask("PUT", `/queues/${q.queue}/settings`, { attention })
      expect([attention, status, body]).toEqual([
        attention,
        400,
        expect.objectContaining({ code: "bad_request", field, detail: expect.any(String) }),
      ])
    }
    expect((await view(q)).settings).toEqual({})
  })
})

test("the document has every kind and threshold with its default, and so has the schema", async () => {
  const rows = await table(
    "lib/http/attention.md",
    "| kind | the queue needs attention if | threshold | default |",
  )
  expect(rows.map(([kind]) => kind)).toEqual(ATTENTION_KINDS.map(kind => `\`${kind}\``))
  expect(rows.map(([, , name, value]) => [name, value])).toEqual(
    Object.entries(ATTENTION_DEFAULTS).map(([name, value]) => [`\`${name}\``, String(value)]),
  )
  expect(Object.keys(AttentionSettings.properties)).toEqual(Object.keys(ATTENTION_DEFAULTS))
})
