/** Schedules over HTTP: one task per planned time, whatever happens in between. Tests move planned times into the past. */
import { expect, spyOn, test } from "bun:test"
import { createLog } from "../../lib/log.ts"
import { Counters } from "../../lib/observe/counters.ts"
import { ScheduleFiring } from "../../lib/queue/schedule-firing.ts"
import { SCHEDULES_CHANNEL } from "../../lib/redis/keys.ts"
import { MAX_CAUGHT_UP } from "../../lib/task/planned-runs.ts"
import type { Recurrence } from "../../lib/task/recurrence.ts"
import { encodeSchedule, readSchedule, type StoredSchedule, scoreOf } from "../../lib/task/schedule.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import type { ScheduleView } from "../../lib/wire/scheduling.ts"
import { freshName, testBroker, until } from "../support/harness.ts"
import { ServedQueue } from "../support/served-queue.ts"

const HOUR_MS = 3_600_000
/** So long that no planned time comes while a test runs. */
const PERIOD_MS = 100 * 24 * HOUR_MS
const RARE = { every_ms: PERIOD_MS, task: { type: "t" } }

class Scheduled {
  private constructor(
    readonly q: ServedQueue,
    readonly id: string,
    readonly name: string,
  ) {}

  /** A queue with one schedule. */
  static async open(schedule: object = RARE, overrides = {}): Promise<Scheduled> {
    const q = await ServedQueue.open(overrides)
    const name = freshName()
    const scheduled = new Scheduled(q, `${q.queue}:${name}`, name)
    expect((await scheduled.put(schedule)).status).toBe(200)
    return scheduled
  }

  put = (schedule: object) => this.q.ask("PUT", `/schedules/${this.id}`, schedule)
  post = (what: string, body?: object, headers?: Record<string, string>) =>
    this.q.ask("POST", `/schedules/${this.id}/${what}`, body, headers)
  view = async (): Promise<ScheduleView> => (await this.q.ask("GET", `/schedules/${this.id}`)).body

  /** Changes what is stored, without a broker noticing it. */
  async edit(change: (schedule: StoredSchedule) => Partial<StoredSchedule>): Promise<void> {
    const { redis } = this.q.direct
    const stored = readSchedule((await redis.hget(this.q.direct.key("schedules"), this.name))!)!
    const changed = { ...stored, ...change(stored) }
    await redis.hset(this.q.direct.key("schedules"), this.name, encodeSchedule(changed))
    await redis.zadd(this.q.direct.key("planned"), scoreOf(this.name, changed), this.name)
  }

  /** As if the schedule had not run for so many periods. */
  late = (periods: number) => this.edit(({ planned }) => ({ planned: planned - periods * PERIOD_MS }))

  /** Makes every broker look at the queue. */
  notify = () => this.q.direct.redis.publish(SCHEDULES_CHANNEL, this.q.queue)

  /** Sweeps until nothing is due. */
  async sweep(): Promise<void> {
    await this.notify()
    await until("nothing is due", async () => {
      const due = await this.q.direct.redis.zcount(this.q.direct.key("planned"), 0, Date.now())
      return due === 0
    })
  }

  /** The planned times of its tasks, in the order of their creation. */
  async planned(): Promise<number[]> {
    const tasks = (await this.q.ask("GET", `/tasks?state=queued&limit=1000&queue=${this.q.queue}`)).body.tasks
    return tasks.map(({ planned_at }: TaskView) => planned_at)
  }

  [Symbol.asyncDispose] = () => this.q[Symbol.asyncDispose]()
}

test("a time that has come gets one task, which names its schedule, and the next time is planned", async () => {
  await using s = await Scheduled.open({ ...RARE, task: { type: "t", payload: "a", meta: { team: "x" } } })
  const { next_at } = await s.view()
  await s.late(1)
  await s.sweep()
  const at = next_at! - PERIOD_MS
  const { body } = await s.q.ask("GET", `/status/${s.id}-${at}`)
  expect(body).toMatchObject({ payload: "a", meta: { team: "x" }, schedule: s.id, planned_at: at })
  const { why, schedule, planned_at } = await s.q.why(body.id)
  expect({ schedule, planned_at }).toEqual({ schedule: s.id, planned_at: at })
  expect(why).toEndWith(`The schedule ${s.id} created it for ${new Date(at).toISOString()}.`)
  const [leased] = await s.q.lease()
  expect(leased).toMatchObject({ schedule: s.id, planned_at: at })
  expect(await s.view()).toMatchObject({
    next_at,
    fired: 1,
    missed: 0,
    last: { task_id: body.id, planned_at: at, state: "processing" },
  })
})

test("the payload is stored exactly as it was sent, whatever its numbers, spaces and line ends", async () => {
  await using q = await ServedQueue.open()
  const payload = '{"n": 12345678901234567890,\n "f": 1.0, "task": {"payload": 2}}'
  const body = `{"every_ms": 1000, "task": {"type": "t", "payload": ${payload}}}`
  const put = (text: string) => q.broker.call("PUT", `/schedules/${q.queue}:s`, text)
  expect(await (await put(body)).json()).toMatchObject({ changed: true })
  expect(await (await put(body)).json()).toMatchObject({ changed: false })
  const view = await (await q.broker.call("GET", `/schedules/${q.queue}:s`)).text()
  expect(view).toContain(`"payload":${payload}`)
  await q.ask("POST", `/schedules/${q.queue}:s/run`)
  const leased = await (await q.broker.call("POST", "/lease", { queues: [q.queue] })).text()
  expect(leased).toContain(`"payload":${payload}`)
})

test.each([
  ["one", [-1]],
  ["none", []],
  ["all", [-3, -2, -1]],
] as const)(
  "three times that passed without a broker get with `%s` the tasks of %j",
  async (on_missed, passed) => {
    await using s = await Scheduled.open({ ...RARE, on_missed })
    const { next_at } = await s.view()
    await s.late(3)
    await s.sweep()
    expect(await s.planned()).toEqual(passed.map(periods => next_at! + periods * PERIOD_MS))
    expect(await s.view()).toMatchObject({
      next_at,
      fired: passed.length,
      missed: on_missed === "all" ? 0 : 3 - passed.length,
    })
  },
)

test.each(["one", "none", "all"])(
  "with `%s`, one time that is late but whose successor has not come is made up for",
  async on_missed => {
    await using s = await Scheduled.open({ ...RARE, on_missed })
    await s.late(1)
    await s.sweep()
    expect(await s.view()).toMatchObject({ fired: 1, missed: 0 })
  },
)

test("after a long time, `all` makes up for the newest 100 times, and counts the others as missed", async () => {
  await using s = await Scheduled.open({ ...RARE, on_missed: "all" })
  const ends_at = Date.parse("2024-01-01T00:00Z")
  await s.edit(({ definition }) => ({
    definition: { ...definition, every_ms: HOUR_MS, ends_at },
    planned: ends_at - 4_999 * HOUR_MS,
  }))
  await s.sweep()
  expect(await s.view()).toMatchObject({ next: [], fired: MAX_CAUGHT_UP, missed: 5_000 - MAX_CAUGHT_UP })
  const planned = await s.planned()
  expect(planned).toHaveLength(MAX_CAUGHT_UP)
  expect(planned[0]).toBe(ends_at - 99 * HOUR_MS)
})

test("the same PUT, 100 times from 10 clients, keeps the next time, and one of them has created the schedule", async () => {
  await using q = await ServedQueue.open()
  const put = () => q.ask("PUT", `/schedules/${q.queue}:s`, { ...RARE, jitter_ms: 1_000 })
  const answers = (
    await Promise.all(Array.from({ length: 10 }, () => Array.fromAsync({ length: 10 }, () => put())))
  ).flat()
  expect(answers.filter(({ status }) => status !== 200)).toEqual([])
  expect(new Set(answers.map(({ body }) => body.next_at)).size).toBe(1)
  expect(answers.filter(({ body }) => body.changed)).toHaveLength(1)
})

test("another task keeps the next time, other times do not; counts stay", async () => {
  await using s = await Scheduled.open({ cron: "0 12 * * *", task: { type: "t" } })
  await s.post("run")
  const { next_at } = await s.view()
  expect((await s.put({ cron: "0 12 * * *", task: { type: "other" } })).body).toMatchObject({
    changed: true,
    next_at,
  })
  const { body } = await s.put({ cron: "30 12 * * *", task: { type: "other" } })
  expect(Math.abs(body.next_at - next_at!) % (24 * HOUR_MS)).toBeOneOf([HOUR_MS / 2, 23.5 * HOUR_MS])
  expect(await s.view()).toMatchObject({ fired: 1, task: { type: "other" } })
})

test("after the clock was set back, a time that has run does not run again, also not by new times", async () => {
  await using s = await Scheduled.open()
  const { next_at } = await s.view()
  // As if the clock had been ahead by a period: the next time has run.
  await s.edit(({ planned }) => ({ last: planned, planned: planned + PERIOD_MS, fired: 1 }))
  await s.sweep()
  expect(await s.planned()).toEqual([])
  const { body } = await s.put({ ...RARE, every_ms: PERIOD_MS / 2 })
  expect(body.next_at).toBe(next_at! + PERIOD_MS / 2)
  await s.post("pause")
  expect((await s.post("resume")).body.next_at).toBe(next_at! + PERIOD_MS / 2)
})

test("a time that is due when the times are replaced follows the new times, and gets one task at most", async () => {
  await using s = await Scheduled.open()
  const { next_at } = await s.view()
  await s.late(1)
  const due = next_at! - PERIOD_MS
  // Both the old and the new schedule have the time that is due.
  await s.put({ ...RARE, every_ms: PERIOD_MS / 2, on_missed: "all" })
  await s.sweep()
  expect((await s.planned()).filter(at => at === due)).toHaveLength(1)
})

test("a run by hand does not make new times pass over one that is due", async () => {
  // The jitter keeps the due time from running while the test runs.
  await using s = await Scheduled.open({ ...RARE, jitter_ms: 24 * HOUR_MS })
  const due = Math.floor(Date.now() / 1_000) * 1_000 - 1_000
  await s.edit(() => ({ planned: due }))
  await s.post("run")
  expect((await s.put({ every_ms: 1_000, task: { type: "t" } })).body.next_at).toBe(due)
  await s.post("pause")
})

test("a new cron that races with runs leaves one task per time, of the old or the new one", async () => {
  await using s = await Scheduled.open({ every_ms: 1_000, task: { type: "old" } })
  for (let i = 0; i < 40; i++) {
    await s.edit(({ planned }) => ({ planned: planned - 1_000 }))
    await s.notify()
    await s.put({ every_ms: i % 2 === 0 ? 2_000 : 1_000, task: { type: i % 2 === 0 ? "new" : "old" } })
  }
  await s.sweep()
  const planned = await s.planned()
  expect(new Set(planned).size).toBe(planned.length)
})

test("brokers that find the same schedule due create one task", async () => {
  await using s = await Scheduled.open()
  await using _other = await testBroker({}, s.q.socket)
  for (let i = 0; i < 20; i++) {
    await s.late(1)
    await s.sweep()
    await s.q.ask("POST", `/queues/${s.q.queue}/purge`, { state: "queued" }) // so that no id is taken
  }
  expect(await s.view()).toMatchObject({ fired: 20, missed: 0 })
})

test("more schedules than one read returns are due at one instant, and each creates one task", async () => {
  await using s = await Scheduled.open()
  await s.late(1)
  const { redis } = s.q.direct
  const text = (await redis.hget(s.q.direct.key("schedules"), s.name))!
  const { planned } = readSchedule(text)!
  const names = Array.from({ length: 119 }, (_, i) => `s${i}`)
  await redis.hset(s.q.direct.key("schedules"), Object.fromEntries(names.map(name => [name, text])))
  await redis.zadd(s.q.direct.key("planned"), ...names.flatMap(name => [planned, name]))
  await s.sweep()
  expect(await s.planned()).toEqual(Array.from({ length: 120 }, () => planned))
})

/** Fires 50 schedules that are due. `answer`: what the script answers for the runs with these indexes. */
async function fireFifty(
  answer: (at: number) => string,
  times: (i: number) => Recurrence = () => ({ every_ms: 1_000 }),
  now = 2_500,
) {
  const textOf = (i: number) =>
    encodeSchedule({
      version: 1,
      planned: 1_000,
      fired: 0,
      missed: 0,
      skipped: 0,
      last: 0,
      paused: 0,
      pauseReason: "",
      definition: { ...times(i), task: { type: "t" } },
      payload: "1",
    })
  const names = Array.from({ length: 50 }, (_, i) => `s${i}`)
  /** How many runs each call had. */
  const calls: number[] = []
  let fired = 0
  const scripts = {
    async call(script: string, _queue: string, _args: object, items: readonly object[] = []) {
      if (script === "schedulesDue")
        return fired === 0 ? [now, names, names.map((_, i) => textOf(i))] : [now, [], []]
      calls.push(items.length)
      return items.map(() => [answer(fired++), "", now, null])
    },
  }
  const parts = {
    scripts,
    counters: new Counters(),
    defaults: { of: () => undefined },
    events: { publishQueueEvent() {} },
    log: createLog("silent"),
    options: {},
  }
  // biome-ignore lint/suspicious/noExplicitAny: only what a call that creates nothing uses
  const wait = await new ScheduleFiring(parts as any).fireDue("q")
  return { calls, wait }
}

test("a broker that finds another one ahead leaves the queue to it for a moment", async () => {
  const { calls, wait } = await fireFifty(() => "stale")
  expect(calls).toHaveLength(1)
  expect(wait).toBeWithin(1, 1_000)
})

test("of two brokers whose calls overlap, the one that lost the greater part leaves the queue to the other", async () => {
  const losing = (stale: number) => fireFifty(at => (at < stale ? "stale" : "missed"))
  const [less, half] = [await losing(4), await losing(5)]
  expect(less.wait).toBe(0)
  expect(half.calls).toEqual([10])
  expect(half.wait).toBeGreaterThan(0)
})

test("the runs of one instant are divided into calls of at least ten, so that requests get their turn in between", async () => {
  const { calls } = await fireFifty(() => "missed")
  expect(calls.reduce((sum, count) => sum + count)).toBe(50)
  expect(calls[0]).toBe(10)
  expect(Math.min(...calls.slice(0, -1))).toBeGreaterThanOrEqual(10)
})

test("requests get their turn while the times that many schedules have missed are computed", async () => {
  let others = 0
  const timer = setInterval(() => others++, 0)
  const hours = Array.from({ length: 24 }, (_, hour) => hour)
  const crons = Array.from({ length: 10 }, (_, i) => `* ${[...hours.slice(i), ...hours.slice(0, i)]} * * *`)
  const before: number[] = []
  await fireFifty(
    () => {
      before.push(others)
      return "stale"
    },
    i => ({ cron: crons[i % crons.length]! }),
    1_764_000_000_000,
  )
  clearInterval(timer)
  expect(before[0]).toBeGreaterThan(0) // without a pause, 20,000 times are computed before the first call
})

test("a broker that has set no schedule fires it when the one that did is gone", async () => {
  await using q = await ServedQueue.open()
  const other = await testBroker({}, q.socket)
  await other.call("PUT", `/schedules/${q.queue}:s`, { every_ms: 1_000, task: { type: "t" } })
  await other[Symbol.asyncDispose]()
  await until(
    "it has fired twice",
    async () => (await q.ask("GET", `/schedules/${q.queue}:s`)).body.fired >= 2,
  )
  await q.ask("DELETE", `/schedules/${q.queue}:s`)
})

test("with `skip` a run creates nothing while the newest task has not ended", async () => {
  await using s = await Scheduled.open({ ...RARE, on_overlap: "skip" })
  const { body } = await s.post("run")
  const [task] = await s.q.lease()
  await s.late(1)
  await s.sweep()
  expect(await s.view()).toMatchObject({ fired: 1, skipped: 1, missed: 0, last: { state: "processing" } })
  expect((await s.post("run")).body).toEqual({ status: "skipped", task_id: body.task_id })
  await s.q.ack(task!)
  await s.late(1)
  await s.sweep()
  expect(await s.view()).toMatchObject({ fired: 2, skipped: 1, last: { state: "queued" } })
})

test("with `cancel` a run cancels the newest task if it has not ended", async () => {
  await using s = await Scheduled.open({ ...RARE, on_overlap: "cancel" })
  const { body: waiting } = await s.post("run")
  const { body: running } = await s.post("run")
  expect((await s.q.task(waiting.task_id)).status).toBe("cancelled")
  const [leased] = await s.q.lease()
  expect(leased!.id).toBe(running.task_id)
  await s.late(1)
  await s.sweep()
  expect((await s.q.task(running.task_id)).cancel_requested_at).toBeNumber()
  expect((await s.q.ack(leased!)).body.status).toBe("cancelled")
  expect(await s.view()).toMatchObject({ fired: 3, last: { state: "queued" } })
})

test("a run creates no task while another one holds the unique key, and counts as skipped", async () => {
  await using s = await Scheduled.open({ ...RARE, task: { type: "t", unique_key: "k" } })
  const holder = await s.q.submit({ unique_key: "k" })
  await s.late(1)
  await s.sweep()
  expect(await s.view()).toMatchObject({ fired: 0, skipped: 1 })
  expect((await s.post("run")).body).toEqual({ status: "duplicate", task_id: holder })
})

test("a paused schedule says why, runs only by hand, and goes on from now when it is resumed", async () => {
  await using s = await Scheduled.open()
  const { next_at } = await s.view()
  const { body } = await s.post("pause", { reason: "holiday" })
  expect(body).toMatchObject({ status: "paused", schedule: s.id })
  expect(await s.post("pause", { reason: "longer" })).toMatchObject({ body: { paused_at: body.paused_at } })
  const view = await s.view()
  expect(view).toMatchObject({ paused: true, paused_at: body.paused_at, pause_reason: "longer", next: [] })
  expect(view.next_at).toBeUndefined()
  expect((await s.post("run")).body.status).toBe("queued")
  expect((await s.put({ ...RARE, task: { type: "u" } })).body).toEqual({ schedule: s.id, changed: true })
  expect((await s.post("resume")).body).toEqual({ status: "resumed", schedule: s.id, next_at })
  expect((await s.post("resume")).body).toEqual({ status: "resumed", schedule: s.id, next_at })
  expect(await s.view()).toMatchObject({ paused: false, fired: 1, missed: 0, next_at })
})

test.each(["skip", "cancel"])(
  "a repeated run by hand with an Idempotency-Key neither reports nor cancels its own task as the previous one: %s",
  async on_overlap => {
    await using s = await Scheduled.open({ ...RARE, on_overlap })
    const run = () => s.post("run", undefined, { "idempotency-key": "once" })
    const first = await run()
    expect(first.body).toMatchObject({ status: "queued" })
    expect((await run()).body).toEqual(first.body)
    expect((await s.q.ask("GET", `/status/${first.body.task_id}`)).body.status).toBe("queued")
  },
)

test("while its queue is paused a schedule creates tasks, and why they wait is told in whole sentences", async () => {
  await using s = await Scheduled.open()
  await s.q.ask("POST", `/queues/${s.q.queue}/pause`, { reason: "a move" })
  await s.late(1)
  await s.sweep()
  const { why } = await s.q.why((await s.view()).last!.task_id)
  expect(why).toContain(`: a move. The schedule ${s.id} created it for `)
})

test("a run by hand is repeated safely with an Idempotency-Key", async () => {
  await using s = await Scheduled.open()
  const key = { "idempotency-key": "once" }
  const [first, second, third] = [
    await s.post("run", undefined, key),
    await s.post("run", undefined, key),
    await s.post("run"),
  ]
  expect(second!.body).toEqual(first!.body)
  expect(third!.body.task_id).not.toBe(first!.body.task_id)
  expect(await s.view()).toMatchObject({ fired: 2 })
  const other = await s.q.broker.call("POST", "/submit", { type: "t", queue: s.q.queue }, { headers: key })
  expect(other.status).toBe(422)
})

test("a repeated run by hand gets the answer of the first one, also if another task held the unique key", async () => {
  await using s = await Scheduled.open({ ...RARE, task: { type: "t", unique_key: freshName() } })
  const first = (await s.post("run")).body
  const key = { "Idempotency-Key": freshName() }
  const asked = (await s.post("run", undefined, key)).body
  expect(asked).toEqual({ status: "duplicate", task_id: first.task_id })
  const [task] = await s.q.lease()
  await s.q.ack(task!)
  expect((await s.post("run", undefined, key)).body).toEqual(asked)
})

test("runs by hand within one millisecond create a task each", async () => {
  await using s = await Scheduled.open()
  const runs = await Promise.all(Array.from({ length: 20 }, () => s.post("run")))
  expect(new Set(runs.map(({ body }) => body.task_id)).size).toBe(20)
  expect(await s.view()).toMatchObject({ fired: 20 })
})

test("a full queue keeps its schedule due, and the task is created when there is room", async () => {
  await using s = await Scheduled.open(RARE, { maxQueueDepth: 1 })
  const id = await s.q.submit()
  await s.late(1)
  await s.notify()
  await until("it was tried", () => s.q.broker.queue.parts.counters.scheduleFires.full > 0)
  expect((await s.post("run")).status).toBe(429)
  expect(await s.view()).toMatchObject({ fired: 0, missed: 0, skipped: 0 })
  const [task] = await s.q.lease()
  expect(task!.id).toBe(id)
  await until("it has fired", async () => (await s.view()).fired === 1)
})

test("in a full queue `cancel` gives the place of a waiting task to the new one", async () => {
  await using s = await Scheduled.open({ ...RARE, on_overlap: "cancel" }, { maxQueueDepth: 2 })
  await s.q.submit()
  const runs: string[] = []
  for (let i = 0; i < 5; i++) {
    const { status, body } = await s.post("run")
    expect([status, body.status]).toEqual([200, "queued"])
    runs.push(body.task_id)
  }
  const { body } = await s.q.ask("GET", `/queues/${s.q.queue}`)
  expect(body.depth).toMatchObject({ queued: 2, cancelled: 4 }) // the ready list has no entries of cancelled tasks
  expect(await s.q.task(runs.at(-1)!)).toMatchObject({ status: "queued" })
})

test("in a full queue `cancel` does not cancel a running task until the new one has room", async () => {
  await using s = await Scheduled.open({ ...RARE, on_overlap: "cancel" }, { maxQueueDepth: 1 })
  await s.post("run")
  const [running] = await s.q.lease()
  await s.q.submit()
  expect((await s.post("run")).body.code).toBe("queue_full")
  await s.late(1)
  await s.notify()
  await until("it was tried", () => s.q.broker.queue.parts.counters.scheduleFires.full > 0)
  expect(await s.q.task(running!.id)).not.toHaveProperty("cancel_requested_at")
  await s.q.lease()
  await until("it has fired", async () => (await s.view()).fired === 2)
  expect((await s.q.extend(running!)).body.status).toBe("cancelled")
})

test("in a full group `cancel` gives the place of a waiting task to the new one, also several times in one call", async () => {
  const task = { type: "t", group: "g", expires_in_ms: 60_000 }
  await using s = await Scheduled.open({ ...RARE, task, on_overlap: "cancel", on_missed: "all" })
  const groups = { groups: { max_waiting: 1 } }
  expect((await s.q.ask("PUT", `/queues/${s.q.queue}/settings`, groups)).status).toBe(200)
  await s.post("run")
  expect((await s.post("run")).body.status).toBe("queued")
  await s.late(4)
  await s.sweep()
  expect(await s.view()).toMatchObject({ fired: 6, skipped: 0, last: { state: "queued" } })
  const { direct } = s.q
  expect(await direct.redis.zcard(direct.key("expiring"))).toBe(1)
  const leased = await s.q.lease(10)
  expect(leased).toHaveLength(1)
})

test("`cancel` exceeds no limit with a place or bytes that the newest task does not occupy", async () => {
  const task = { type: "t", group: "a", payload: "x", backoff: { kind: "fixed", delay_ms: 600_000 } }
  await using s = await Scheduled.open({ ...RARE, task, on_overlap: "cancel" }, { maxQueueBytes: 1_000 })
  const groups = { groups: { max_waiting: 1 } }
  expect((await s.q.ask("PUT", `/queues/${s.q.queue}/settings`, groups)).status).toBe(200)
  await s.post("run")
  const [backsOff] = await s.q.lease()
  await s.q.ack(backsOff!, { status: "failed" })
  await s.q.submit({ group: "a" })
  expect((await s.post("run")).body.code).toBe("group_full") // a task that backs off has no place in its group
  await s.q.submit({ group: "b" })
  await s.put({ ...RARE, task: { ...task, group: "b" }, on_overlap: "cancel" })
  expect((await s.post("run")).body.code).toBe("group_full") // the place of the newest task is in another group
  await s.put({ ...RARE, task: { ...task, group: "c", payload: "x".repeat(5_000) }, on_overlap: "cancel" })
  expect((await s.post("run")).body.code).toBe("queue_full")
  expect(await s.q.task(backsOff!.id)).toMatchObject({ status: "retrying" })
})

test("a task that a run by hand cancels has an event", async () => {
  await using s = await Scheduled.open({ ...RARE, on_overlap: "cancel" })
  const { task_id } = (await s.post("run")).body
  const publish = spyOn(s.q.broker.queue.parts.outcomes, "publish")
  await s.post("run")
  expect(publish.mock.calls.map(([event, id]) => [event, id])).toEqual([["cancelled", task_id]])
})

test("while Redis is full a schedule is refused, and a due one waits and fires afterwards", async () => {
  await using s = await Scheduled.open()
  const { redis } = s.q.direct
  const { failed } = s.q.broker.queue.parts.counters.scheduleFires
  try {
    await redis.config("SET", "maxmemory", 1)
    const refused = await s.q.ask("PUT", `/schedules/${s.q.queue}:other`, RARE)
    expect(refused).toMatchObject({ status: 503, body: { code: "out_of_memory" } })
    expect((await s.post("pause")).status).toBe(200)
    expect((await s.post("resume")).status).toBe(200)
    await redis.config("SET", "maxmemory", 0)
    await s.late(1)
    await redis.config("SET", "maxmemory", 1)
    await s.notify()
    await until("it was tried", () => s.q.broker.queue.parts.counters.scheduleFires.failed > failed)
    expect((await s.post("run")).body.code).toBe("out_of_memory")
  } finally {
    await redis.config("SET", "maxmemory", 0)
  }
  await until("it has fired", async () => (await s.view()).fired === 1)
  expect(await s.view()).toMatchObject({ fired: 1, missed: 0 })
})

test("a schedule ends with `ends_at`, and does not begin before `starts_at`", async () => {
  const starts_at = 40 * PERIOD_MS * 6
  await using s = await Scheduled.open({ ...RARE, starts_at, ends_at: starts_at + PERIOD_MS })
  expect(await s.view()).toMatchObject({ next_at: starts_at, next: [starts_at, starts_at + PERIOD_MS] })
  const ends_at = 200 * PERIOD_MS
  await s.edit(({ definition }) => ({
    definition: { ...definition, starts_at: 1, ends_at },
    planned: ends_at,
  }))
  await s.sweep()
  const ended = await s.view()
  expect(ended).toMatchObject({ fired: 1, paused: false, next: [], last: { planned_at: ends_at } })
  expect(ended.next_at).toBeUndefined()
})

test("a jitter delays a run by less than its bound, and by the same time at each broker", async () => {
  await using s = await Scheduled.open({ ...RARE, jitter_ms: 60_000 })
  const { next_at } = await s.view()
  const score = async () => Number(await s.q.direct.redis.zscore(s.q.direct.key("planned"), s.name))
  const first = await score()
  expect(first - next_at!).toBeWithin(0, 60_001)
  await s.post("pause")
  await s.post("resume")
  expect(await score()).toBe(first)
  await s.edit(({ planned }) => ({ planned: planned - 2 * PERIOD_MS }))
  await s.sweep()
  expect((await s.planned()).every(at => at % PERIOD_MS === 0)).toBe(true)
})

test("a schedule whose next time cannot be computed is paused with the reason, and others run", async () => {
  await using s = await Scheduled.open()
  await s.edit(({ definition, planned }) => ({
    definition: { ...definition, cron: "0 0 * * *", time_zone: "Mars/X" },
    planned: planned - PERIOD_MS,
  }))
  await s.q.ask("PUT", `/schedules/${s.q.queue}:good`, { every_ms: 1_000, task: { type: "t" } })
  await until(
    "the other has fired",
    async () => (await s.q.ask("GET", `/schedules/${s.q.queue}:good`)).body.fired > 0,
  )
  await until("it is paused", async () => (await s.view()).paused)
  expect((await s.view()).pause_reason).toStartWith("Its next time cannot be computed: ")
  await s.q.ask("DELETE", `/schedules/${s.q.queue}:good`)
})

test("purging a queue keeps its schedules; a deleted one leaves no key, and its tasks remain", async () => {
  await using s = await Scheduled.open()
  const { body } = await s.post("run")
  await s.q.ask("POST", `/queues/${s.q.queue}/purge`, { state: "queued" })
  expect(await s.view()).toMatchObject({ fired: 1, last: { task_id: body.task_id } })
  expect((await s.view()).last!.state).toBeUndefined()
  const { body: kept } = await s.post("run")
  expect((await s.q.ask("DELETE", `/schedules/${s.id}`)).body).toEqual({ status: "deleted", schedule: s.id })
  expect((await s.q.ask("DELETE", `/schedules/${s.id}`)).body).toMatchObject({ code: "schedule_not_found" })
  expect(await s.q.direct.redis.exists(s.q.direct.key("schedules"), s.q.direct.key("planned"))).toBe(0)
  expect((await s.q.task(kept.task_id)).status).toBe("queued")
})

test("a run that was computed before the schedule was deleted or set again creates nothing", async () => {
  await using s = await Scheduled.open()
  const fire = async (version: number) => {
    const { planned } = readSchedule(
      (await s.q.direct.redis.hget(s.q.direct.key("schedules"), s.name)) ?? "",
    ) ?? {
      planned: 0,
    }
    const answers = await s.q.direct.scripts.call("scheduleFire", s.q.queue, { retention: 1, ttl: 1 }, [
      {
        name: s.name,
        version,
        planned_at: planned,
        next_at: 0,
        score: "+inf",
        missed: 0,
        at: 1,
        overlap: "allow",
        body: '5 3 3 30000\n\n"t"\n{}',
        large: "",
        options: "{}",
      },
    ])
    return typeof answers === "number" ? answers : answers[0]![0]
  }
  expect(await fire(1)).toBe("stale")
  await s.q.ask("DELETE", `/schedules/${s.id}`)
  expect(await fire(1)).toBe("stale")
  expect(await s.planned()).toEqual([])
})

test("a schedule of the default queue has the same id with and without the name of the queue", async () => {
  await using q = await ServedQueue.open()
  const name = freshName()
  const { body } = await q.ask("PUT", `/schedules/default:${name}`, RARE)
  expect(body.schedule).toBe(name)
  expect((await q.ask("GET", `/schedules/${name}`)).body).toMatchObject({ schedule: name, queue: "default" })
  expect((await q.ask("DELETE", `/schedules/default:${name}`)).status).toBe(200)
})

test.each([
  [{ cron: "0 0 30 2 *", task: { type: "t" } }, "cron"],
  [{ cron: "0 0 0 1 1 *", task: { type: "t" } }, "cron"],
  [{ cron: "61 * * * *", task: { type: "t" } }, "cron"],
  [{ cron: "@reboot", task: { type: "t" } }, "cron"],
  [{ task: { type: "t" } }, "cron"],
  [{ ...RARE, cron: "* * * * *" }, "cron"],
  [{ cron: "* * * * *", time_zone: "Mars/X", task: { type: "t" } }, "time_zone"],
  [{ cron: "* * * * *", time_zone: "+02:00", task: { type: "t" } }, "time_zone"],
  [{ ...RARE, time_zone: "UTC" }, "time_zone"],
  [{ ...RARE, every_ms: 999 }, "every_ms"],
  [{ ...RARE, starts_at: 1_800_000_000_000, ends_at: 1_799_999_999_999 }, "ends_at"],
  [{ ...RARE, starts_at: 1_800_000_000 }, "starts_at"],
  [{ ...RARE, every_ms: HOUR_MS, jitter_ms: HOUR_MS }, "jitter_ms"],
  [{ ...RARE, on_missed: "some" }, "on_missed"],
  [{ ...RARE, on_overlap: "wait" }, "on_overlap"],
  [{ every_ms: 1_000 }, "task"],
  [{ every_ms: 1_000, task: {} }, "task.type"],
  [{ every_ms: 1_000, task: { type: "t", queue: "q" } }, "task.queue"],
  [{ every_ms: 1_000, task: { type: "t", task_id: "x" } }, "task.task_id"],
  [{ every_ms: 1_000, task: { type: "t", delay_ms: 1 } }, "task.delay_ms"],
  [{ every_ms: 1_000, task: { type: "t", run_at: 1_800_000_000_000 } }, "task.run_at"],
  [{ every_ms: 1_000, task: { type: "t", on_duplicate: "keep" } }, "task.on_duplicate"],
  [{ every_ms: 1_000, task: { type: "t", payload: "x".repeat(65_536) } }, "task"],
])("%j is refused, and the refusal names %s", async (schedule, field) => {
  await using q = await ServedQueue.open()
  const { status, body } = await q.ask("PUT", `/schedules/${q.queue}:s`, schedule)
  expect([status, body]).toEqual([400, expect.objectContaining({ code: "bad_request", field })])
  expect((await q.ask("GET", `/schedules/${q.queue}:s`)).status).toBe(404)
})

test("a preview answers the next ten times, also across a change of the clock, and stores nothing", async () => {
  await using q = await ServedQueue.open()
  const { body } = await q.ask("POST", "/schedules/preview", {
    cron: "30 2 * * *",
    time_zone: "America/New_York",
    from_at: Date.parse("2026-03-07T12:00Z"),
  })
  expect(body.next).toHaveLength(10)
  expect(body.next.slice(0, 2).map((at: number) => new Date(at).toISOString())).toEqual([
    "2026-03-08T07:30:00.000Z",
    "2026-03-09T06:30:00.000Z",
  ])
  const refused = await q.ask("POST", "/schedules/preview", { cron: "0 0 30 2 *" })
  expect(refused.body).toMatchObject({ code: "bad_request", field: "cron" })
})
