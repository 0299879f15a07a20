/** PATCH /tasks/:id, POST /tasks/:id/again and DELETE /tasks/:id. */
import { describe, expect, test } from "bun:test"
import { localOf } from "../../lib/task/id.ts"
import type { TaskChange } from "../../lib/wire/changing.ts"
import type { Submit } from "../../lib/wire/submitting.ts"
import { subscribe } from "../support/event-listener.ts"
import { until } from "../support/harness.ts"
import { type Reply, ServedQueue } from "../support/served-queue.ts"

const HOUR = 3_600_000
const LARGE = { text: "large ".repeat(100) }
const TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

const change = (q: ServedQueue, id: string, members: TaskChange): Promise<Reply> =>
  q.ask("PATCH", `/tasks/${id}`, members)

async function changed(q: ServedQueue, id: string, members: TaskChange): Promise<void> {
  expect(await change(q, id, members)).toMatchObject({
    status: 200,
    body: { status: "changed", task_id: id },
  })
}

/** Fails the first attempt of a task, which then waits for an hour. */
async function retrying(q: ServedQueue, options: Partial<Submit> = {}): Promise<string> {
  const task = await q.leased({ backoff: { kind: "fixed", delay_ms: HOUR, jitter: false }, ...options })
  await q.ack(task, { status: "failed", error: "no" })
  return task.id
}

const leasedIds = async (q: ServedQueue, max: number) => (await q.lease(max)).map(({ id }) => id)

const auditOf = async (q: ServedQueue) => (await q.ask("POST", `/audit?queue=${q.queue}`)).body.found

describe("a change of the start", () => {
  test.each<[string, TaskChange]>([
    ["a delay of 0", { delay_ms: 0 }],
    ["a time that has passed", { run_at: 1_700_000_000_000 }],
  ])("to %s makes a scheduled and a retrying task ready at once", async (_, start) => {
    await using q = await ServedQueue.open()
    const again = await retrying(q)
    const later = await q.submit({ delay_ms: HOUR, expires_in_ms: 2 * HOUR })
    await changed(q, later, start)
    await changed(q, again, start)
    expect(await leasedIds(q, 3)).toEqual([later, again])
  })

  test("to now wakes a worker that waits", async () => {
    await using q = await ServedQueue.open()
    const id = await q.submit({ delay_ms: HOUR })
    const waiting = q.ask("POST", "/lease", { queues: [q.queue], wait_ms: 20_000 })
    await until("the worker waits", () => q.broker.queue.waiting === 1)
    await changed(q, id, { delay_ms: 0 })
    expect((await waiting).body.tasks.map((task: { id: string }) => task.id)).toEqual([id])
  })

  test("to later delays a queued, a scheduled and a retrying task", async () => {
    await using q = await ServedQueue.open()
    const again = await retrying(q)
    const failed = await q.leased()
    await q.ack(failed, { status: "failed" })
    const queued = await q.submit()
    const later = await q.submit({ delay_ms: 1_000 })
    const run_at = Date.now() + 10 * HOUR
    for (const id of [queued, failed.id, later, again]) await changed(q, id, { run_at })
    expect(await q.lease(4)).toEqual([])
    for (const [id, status] of [
      [queued, "scheduled"],
      [later, "scheduled"],
      [failed.id, "retrying"],
      [again, "retrying"],
    ] as const)
      expect(await q.task(id)).toMatchObject({ status, due_at: run_at })
    expect((await q.why(queued)).cause).toBe("delayed")
    await q.becomeDue(queued)
    expect(await leasedIds(q, 4)).toEqual([queued])
  })

  test("to later than the expiry is refused, as the task would die before", async () => {
    await using q = await ServedQueue.open()
    const id = await q.submit({ expires_in_ms: HOUR })
    for (const [field, start] of [
      ["delay_ms", { delay_ms: 2 * HOUR }],
      ["run_at", { run_at: Date.now() + 2 * HOUR }],
    ] as const)
      expect(await change(q, id, start)).toMatchObject({ status: 400, body: { code: "bad_request", field } })
    await changed(q, id, { delay_ms: HOUR / 2 })
    await q.expire(id)
    await q.direct.sweep()
    expect(await q.task(id)).toMatchObject({ status: "dead", reason: "expired" })
  })
})

test("another priority moves a task to the end of that priority; any other change keeps its place", async () => {
  await using q = await ServedQueue.open()
  const [a, b, c, urgent] = [
    await q.submit(),
    await q.submit(),
    await q.submit(),
    await q.submit({ priority: 9 }),
  ]
  await changed(q, c, { priority: 9 })
  await changed(q, a, { priority: 5, payload: 1, meta: { a: "b" }, delay_ms: 0 })
  expect((await q.task(c)).priority).toBe(9)
  expect(await auditOf(q)).toEqual([])
  expect(await leasedIds(q, 4)).toEqual([urgent, c, a, b])
})

test("a new payload replaces the old one of any size, with its progress and checkpoint", async () => {
  await using q = await ServedQueue.open()
  const id = await retrying(q, { payload: LARGE })
  await changed(q, id, { delay_ms: 0 })
  const [task] = await q.lease()
  await q.extend(task!, { progress: 0.5, checkpoint: { line: 4 } })
  await q.ack(task!, { status: "failed" })
  await changed(q, id, { payload: null })
  expect(await q.direct.redis.exists(q.direct.key("payload", localOf(id)))).toBe(0)
  const { payload, progress, checkpoint, retries } = await q.task(id)
  expect({ payload, progress, checkpoint, retries }).toEqual({ payload: null, retries: 2 } as never)
  // Exactly as it was sent.
  await changed(q, id, JSON.parse('{"delay_ms": 0}'))
  await q.broker.call(
    "PATCH",
    `/tasks/${id}`,
    `{"payload": {"n": 12345678901234567890, "f": 1.0, "t": "${"x".repeat(400)}"}}`,
  )
  const text = await (await q.broker.call("POST", "/lease", { queues: [q.queue] })).text()
  expect(text).toContain('"payload":{"n": 12345678901234567890, "f": 1.0, "t": "xxx')
  expect(await auditOf(q)).toEqual([])
})

test("a larger payload is refused if the queue has no room for it, and the bytes stay right", async () => {
  await using q = await ServedQueue.open({ maxQueueBytes: 1_000 })
  const id = await q.submit({ payload: "x".repeat(700) })
  expect(await change(q, id, { payload: "y".repeat(1_100), priority: 9 })).toMatchObject({
    status: 429,
    body: { code: "queue_full" },
  })
  expect(await q.task(id)).toMatchObject({ payload: "x".repeat(700), priority: 5 })
  await changed(q, id, { payload: "y".repeat(900) })
  await changed(q, id, { payload: 1 })
  await changed(q, id, { payload: "y".repeat(800) })
  await q.cancel(id)
  expect(await q.direct.redis.hget(q.direct.key("stats"), "bytes")).toBe("0")
})

test("labels are replaced as a whole, and the trace context of the task stays", async () => {
  await using q = await ServedQueue.open()
  const id = await q.submit({ meta: { team: "a", region: 'x"},{' }, traceparent: TRACE, unique_key: "u" })
  await changed(q, id, { meta: { team: "b" } })
  expect(await q.task(id)).toMatchObject({ meta: { team: "b" }, traceparent: TRACE, unique_key: "u" })
  const listed = await q.ask("GET", `/tasks?state=queued&queue=${q.queue}&meta.team=b`)
  expect(listed.body.tasks).toHaveLength(1)
  await changed(q, id, { meta: {} })
  expect(await q.task(id)).not.toHaveProperty("meta")
  // The unique key is still held.
  expect((await q.ask("POST", "/submit", { type: "t", queue: q.queue, unique_key: "u" })).body.task_id).toBe(
    id,
  )
})

test("changes of labels at the same time undo no other change", async () => {
  await using q = await ServedQueue.open()
  const id = await q.submit({ traceparent: TRACE })
  await Promise.all([1, 2, 3, 4].map(n => changed(q, id, { meta: { [`n${n}`]: "1" } })))
  const { meta, traceparent } = await q.task(id)
  expect([Object.keys(meta!).length, traceparent]).toEqual([1, TRACE])
})

test("a running, an ended and an unknown task are refused and stay as they are", async () => {
  await using q = await ServedQueue.open()
  const running = await q.leased()
  const dead = await q.dead()
  const cancelled = await q.submit()
  await q.cancel(cancelled)
  for (const id of [running.id, dead, cancelled]) {
    const before = await q.task(id)
    for (const members of [{ payload: 1 }, { priority: 1 }, { delay_ms: 0 }, { meta: { a: "b" } }])
      expect(await change(q, id, members)).toMatchObject({ status: 409, body: { code: "not_waiting" } })
    expect(await q.task(id)).toEqual(before)
  }
  for (const members of [{ priority: 1 }, { meta: { a: "b" } }])
    expect(await change(q, `${q.queue}:none`, members)).toMatchObject({ status: 404 })
})

test("a body without a change, or with members that contradict each other or are wrong, is refused", async () => {
  await using q = await ServedQueue.open()
  const id = await q.submit()
  const cases: [object, RegExp][] = [
    [{}, /at least one of payload, priority, run_at, delay_ms, meta/],
    [{ run_at: 1_700_000_000_000, delay_ms: 0 }, /cannot be combined/],
    [{ priority: 10 }, /whole number from 0 to 9/],
    [{ type: "other" }, /Unknown member/],
    [{ run_at: 1_700_000_000 }, /seconds/],
    [[{ priority: 1 }], /must be an object/],
  ]
  for (const [body, detail] of cases)
    expect(await q.ask("PATCH", `/tasks/${id}`, body)).toMatchObject({
      status: 400,
      body: { code: "bad_request", detail: expect.stringMatching(detail) },
    })
  expect((await q.ask("PUT", `/tasks/${id}`, {})).headers.get("allow")).toBe("PATCH, DELETE")
})

describe("in a group with strict order", () => {
  const open = async () => {
    const q = await ServedQueue.open()
    await q.ask("PUT", `/queues/${q.queue}/settings`, { groups: { order: "strict" } })
    return q
  }

  test("a task that waits for its retry keeps its turn if its priority changes or it runs now", async () => {
    await using q = await open()
    const id = await retrying(q, { group: "g" })
    const next = await q.submit({ group: "g" })
    await changed(q, id, { priority: 7 })
    await q.submit({ group: "g", priority: 7 })
    expect(await q.lease(3)).toEqual([])
    await changed(q, id, { delay_ms: 0 })
    await changed(q, id, { priority: 5 })
    const [first] = await q.lease(3)
    expect(first!.id).toBe(id)
    await q.ack(first!)
    expect((await leasedIds(q, 1))[0]).not.toBe(next)
    expect(await auditOf(q)).toEqual([])
  })

  test("a queued task that is delayed leaves its place, and the group goes on", async () => {
    await using q = await open()
    const [a, b] = [await q.submit({ group: "g" }), await q.submit({ group: "g" })]
    await changed(q, a, { delay_ms: HOUR })
    const [first] = await q.lease(2)
    expect(first!.id).toBe(b)
    await changed(q, a, { delay_ms: 0 })
    expect(await q.lease(2)).toEqual([])
    await q.ack(first!)
    expect(await leasedIds(q, 2)).toEqual([a])
  })

  test("on_duplicate: replace with another priority keeps the slot of a task that will be retried", async () => {
    await using q = await open()
    const task = await q.leased({ group: "g", unique_key: "u" })
    await q.ack(task, { status: "failed" })
    await q.submit({ group: "g", priority: 7 })
    await q.submit({ group: "g", priority: 7, unique_key: "u", on_duplicate: "replace" })
    expect(await leasedIds(q, 2)).toEqual([task.id])
  })
})

test("a change is published as an event", async () => {
  await using q = await ServedQueue.open()
  const events = await subscribe(q.broker.url, `queue=${q.queue}&event=changed`)
  const id = await q.submit({ delay_ms: HOUR })
  await changed(q, id, { delay_ms: 0 })
  await events.until("changed")
  expect(events.of("changed")).toMatchObject([{ task_id: id, order: 6 }])
  await events.leave()
})

describe("again", () => {
  const RICH = {
    type: "report",
    payload: { n: 1 },
    priority: 7,
    max_retries: 0,
    max_crashes: 2,
    timeout_ms: 40_000,
    max_runtime_ms: 50_000,
    expires_in_ms: HOUR,
    result_ttl_ms: 60_000,
    backoff: { kind: "exponential", delay_ms: 100, max_ms: 5_000, jitter: false },
    group: "g",
    meta: { team: "a" },
    unique_key: "u",
    traceparent: TRACE,
  } satisfies Partial<Submit>
  const again = (q: ServedQueue, id: string, body?: object, headers?: Record<string, string>) =>
    q.ask("POST", `/tasks/${id}/again`, body, headers)

  test.each<[string, (q: ServedQueue) => Promise<string>]>([
    [
      "done",
      async q => {
        const task = await q.leased(RICH)
        await q.ack(task, { result: 1 })
        return task.id
      },
    ],
    ["dead", q => q.dead(RICH)],
    [
      "cancelled",
      async q => {
        const id = await q.submit(RICH)
        await q.cancel(id)
        return id
      },
    ],
  ])("submits a task like one that is %s", async (status, end) => {
    await using q = await ServedQueue.open()
    const id = await end(q)
    const { status: code, body } = await again(q, id)
    expect([code, body]).toEqual([200, { status: "queued", task_id: expect.any(String), again_of: id }])
    const original = await q.task(id)
    expect(original.status).toBe(status as "done")
    const copy = await q.task(body.task_id)
    const { unique_key, traceparent, expires_in_ms, ...same } = RICH
    expect(copy).toMatchObject({ ...same, queue: q.queue, status: "queued", again_of: id, attempt: 0 })
    expect(copy.expires_at! - copy.created_at).toBe(expires_in_ms)
    expect(copy).not.toHaveProperty("unique_key")
    expect(copy).not.toHaveProperty("traceparent")
    const [leased] = await q.lease()
    expect(leased).toMatchObject({ id: body.task_id, payload: RICH.payload, again_of: id })
  })

  test("takes another payload and a start, and large payloads", async () => {
    await using q = await ServedQueue.open()
    const id = await q.dead({ payload: LARGE })
    const same = await again(q, id)
    expect((await q.task(same.body.task_id)).payload).toEqual(LARGE)
    const other = await again(q, id, { payload: [1], delay_ms: HOUR })
    expect(other.body.status).toBe("scheduled")
    expect(await q.task(other.body.task_id)).toMatchObject({ payload: [1], status: "scheduled" })
    expect(await again(q, id, { run_at: Date.now() + HOUR, delay_ms: 1 })).toMatchObject({ status: 400 })
  })

  test("with an Idempotency-Key creates one task, and refuses the key for another request", async () => {
    await using q = await ServedQueue.open()
    const id = await q.dead()
    const key = { "Idempotency-Key": "k1" }
    const first = await again(q, id, {}, key)
    const second = await again(q, id, {}, key)
    expect(second.headers.get("idempotency-replayed")).toBe("true")
    expect(second.body).toEqual({ ...first.body, replayed: true })
    expect(await again(q, id, { payload: 2 }, key)).toMatchObject({
      status: 422,
      body: { code: "key_reused" },
    })
    expect(await again(q, await q.dead(), {}, key)).toMatchObject({ status: 422 })
  })

  test("is refused for a task that has not ended or does not exist", async () => {
    await using q = await ServedQueue.open()
    const running = await q.leased()
    const waiting = await q.submit()
    expect(await again(q, running.id)).toMatchObject({
      status: 409,
      body: { code: "not_ended", state: "processing" },
    })
    expect(await again(q, waiting)).toMatchObject({
      status: 409,
      body: { code: "not_ended", state: "queued" },
    })
    expect(await again(q, `${q.queue}:none`)).toMatchObject({ status: 404 })
  })
})

describe("DELETE /tasks/:id", () => {
  test.each<[string, (q: ServedQueue) => Promise<string>]>([
    [
      "done",
      async q => {
        const task = await q.leased({ payload: LARGE })
        await q.ack(task, { result: LARGE })
        return task.id
      },
    ],
    ["dead", q => q.dead({ group: "g" })],
    [
      "cancelled",
      async q => {
        const id = await q.submit({ delay_ms: HOUR })
        await q.cancel(id)
        return id
      },
    ],
  ])("deletes a task that is %s, and publishes it", async (_, end) => {
    await using q = await ServedQueue.open()
    const id = await end(q)
    const other = await q.dead()
    await using events = await subscribe(q.broker.url, `queue=${q.queue}&event=deleted`)
    expect(await q.ask("DELETE", `/tasks/${id}`)).toMatchObject({
      status: 200,
      body: { status: "deleted", task_id: id },
    })
    await events.until("deleted")
    expect(events.of("deleted")).toMatchObject([{ task_id: id }])
    expect(await q.ask("GET", `/status/${id}`)).toMatchObject({ status: 404 })
    expect(await q.ask("DELETE", `/tasks/${id}`)).toMatchObject({
      status: 404,
      body: { code: "task_not_found" },
    })
    expect((await q.task(other)).status).toBe("dead")
  })

  test("refuses a task that waits or runs, and changes nothing", async () => {
    await using q = await ServedQueue.open()
    const running = await q.leased()
    const waiting = await q.submit()
    for (const [id, state] of [
      [running.id, "processing"],
      [waiting, "queued"],
    ] as const) {
      expect(await q.ask("DELETE", `/tasks/${id}`)).toMatchObject({
        status: 409,
        body: { code: "not_ended", state },
      })
      expect((await q.task(id)).status).toBe(state)
    }
  })
})
