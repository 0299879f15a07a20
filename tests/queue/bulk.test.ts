/** Bulk operations: what they change, count and refuse, and how they stop. Dying brokers: tests/process/bulk.test.ts. */
import { describe, expect, test } from "bun:test"
import { hashOf } from "../../lib/config/tokens.ts"
import { createLog } from "../../lib/log.ts"
import type { LeasedTask } from "../../lib/wire/working.ts"
import { bulkUntil, hasEnded, leaseAll, makeDead, readBulk, settle, startBulk } from "../support/bulk.ts"
import { freshName, testBroker, until } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"
import { answered, submitted } from "../support/requests.ts"
import { ServedQueue } from "../support/served-queue.ts"

describe("a bulk retry", () => {
  test("retries all that match, and counts how many succeeded and how many died again", async () => {
    await using q = await ServedQueue.open()
    await makeDead(q, 30, i => ({ type: i < 20 ? "a" : "b" }))
    const { bulk_id } = await startBulk(q, { action: "retry", filter: { queue: q.queue, type: "a" } })
    const ended = await bulkUntil(q.broker, bulk_id, hasEnded)
    expect(ended).toMatchObject({
      action: "retry",
      author: "API_SECRET_TOKEN",
      state: "finished",
      filter: { queue: q.queue, type: "a", state: "dead" },
      progress: { total: 30, seen: 30, done: 20, skipped: 0 },
      outcome: { succeeded: 0, died_again: 0, other: 0, still_going: 20 },
    })
    expect(ended.ended_at!).toBeGreaterThanOrEqual(ended.started_at)
    const tasks = await leaseAll(q, 20)
    await settle(q, tasks.slice(0, 12), "done")
    await settle(q, tasks.slice(12, 17), "failed")
    await q.ask("POST", `/cancel/${tasks[17]!.id}`)
    await settle(q, tasks.slice(17, 18), "done")
    const view = await bulkUntil(q.broker, bulk_id, ({ outcome }) => outcome!.still_going === 2)
    expect(view.outcome).toEqual({ succeeded: 12, died_again: 5, other: 1, still_going: 2 })
    // The tasks that died again are not retried by the operation.
    expect((await q.ask("GET", `/dlq?queue=${q.queue}`)).body.dlq_size).toBe(15)
  })

  test("of 10,000 tasks takes all of them, in bounded pages", async () => {
    await using q = await ServedQueue.open()
    await makeDead(q, 10_000)
    const { bulk_id } = await startBulk(q, { action: "retry", filter: { queue: q.queue } })
    const ended = await bulkUntil(q.broker, bulk_id, hasEnded)
    expect(ended.progress).toEqual({ total: 10_000, seen: 10_000, done: 10_000, skipped: 0 })
    expect((await q.broker.queue.parts.control.view(q.queue)).depth).toMatchObject({
      queued: 10_000,
      dead: 0,
    })
    await settle(q, await leaseAll(q, 1_000), "done")
    await bulkUntil(q.broker, bulk_id, ({ outcome }) => outcome!.succeeded >= 1_000)
  })

  test("applies the patch to each payload and keeps long numbers", async () => {
    await using q = await ServedQueue.open()
    const ids = await makeDead(q, 45, i => ({ payload: { n: i, pad: "x".repeat(i === 3 ? 1_000 : 1) } }))
    const body = `{"action": "retry", "filter": {"queue": "${q.queue}"}, "patch": {"big": 12345678901234567890, "pad": null}}`
    const { body: started } = await q.ask("POST", "/bulk", body)
    const ended = await bulkUntil(q.broker, started.bulk_id, hasEnded)
    expect(ended.progress).toMatchObject({ done: 45, skipped: 0 })
    const texts = await Promise.all(ids.map(async id => (await q.broker.call("GET", `/status/${id}`)).text()))
    for (const [i, text] of texts.entries())
      expect(text).toContain(`"payload":{"n":${i},"big":12345678901234567890}`)
  })

  test("skips tasks whose unique key another task holds", async () => {
    await using q = await ServedQueue.open()
    await q.dead({ unique_key: "k" })
    await q.dead()
    await q.submit({ unique_key: "k" })
    const { bulk_id } = await startBulk(q, { action: "retry", filter: { queue: q.queue } })
    const ended = await bulkUntil(q.broker, bulk_id, hasEnded)
    expect(ended.progress).toEqual({ total: 2, seen: 2, done: 1, skipped: 1 })
  })

  test("with a limit changes no more tasks than that", async () => {
    await using q = await ServedQueue.open()
    await makeDead(q, 12)
    const { bulk_id } = await startBulk(q, { action: "retry", filter: { queue: q.queue }, limit: 5 })
    expect((await bulkUntil(q.broker, bulk_id, hasEnded)).progress).toMatchObject({ done: 5 })
    expect((await q.ask("GET", `/dlq?queue=${q.queue}`)).body.dlq_size).toBe(7)
  })

  test("with a rate is never ahead of it, at any broker", async () => {
    await using q = await ServedQueue.open()
    await using other = await testBroker({}, q.socket)
    await makeDead(q, 60)
    const { bulk_id, started_at } = await startBulk(q, {
      action: "retry",
      filter: { queue: q.queue },
      rate: 20,
    })
    await until("it has ended", async () => {
      const view = await readBulk(other, bulk_id)
      const now = await q.direct.redis.time()
      const passedMs = Number(now[0]) * 1_000 + Math.ceil(Number(now[1]) / 1_000) - started_at
      // A page has a quarter of a second's tasks.
      expect(view.progress.done).toBeLessThanOrEqual(5 + (passedMs / 1_000) * 20)
      return hasEnded(view)
    })
    expect((await readBulk(other, bulk_id)).progress.done).toBe(60)
  })
})

describe("a canary", () => {
  const retryWithCanary = (q: ServedQueue) =>
    startBulk(q, { action: "retry", filter: { queue: q.queue }, canary: true })
  const waits = ({ state }: { state: string }) => state === "waiting_for_canary"

  test("that is done lets the others follow", async () => {
    await using q = await ServedQueue.open()
    await makeDead(q, 8)
    const { bulk_id } = await retryWithCanary(q)
    const waiting = await bulkUntil(q.broker, bulk_id, waits)
    expect(waiting.progress).toMatchObject({ done: 1 })
    const [task, ...more] = await q.lease(10)
    expect(more).toEqual([])
    expect(waiting.canary!.task_id).toBe(task!.id)
    await q.ack(task!)
    const ended = await bulkUntil(q.broker, bulk_id, hasEnded)
    expect(ended).toMatchObject({ state: "finished", canary: { state: "done" }, progress: { done: 8 } })
    await bulkUntil(q.broker, bulk_id, ({ outcome }) => outcome!.succeeded === 1)
  })

  test("that dies again stops the operation, with its error as the cause, and the others stay dead", async () => {
    await using q = await ServedQueue.open()
    await makeDead(q, 8)
    const { bulk_id } = await retryWithCanary(q)
    await bulkUntil(q.broker, bulk_id, waits)
    const [task] = await q.lease()
    await q.ack(task!, { status: "failed", error: "still no route\n at line 1" })
    const ended = await bulkUntil(q.broker, bulk_id, hasEnded)
    expect(ended).toMatchObject({
      state: "stopped",
      cause: `The canary ${task!.id} died again: still no route.`,
      canary: { state: "dead" },
      progress: { done: 1 },
    })
    await bulkUntil(q.broker, bulk_id, ({ outcome }) => outcome!.died_again === 1)
    expect((await q.ask("GET", `/dlq?queue=${q.queue}`)).body.dlq_size).toBe(8)
  })

  test.each(["cancelled", "deleted"])("that is %s stops the operation", async how => {
    await using q = await ServedQueue.open()
    await makeDead(q, 3)
    const { bulk_id } = await retryWithCanary(q)
    const { canary } = await bulkUntil(q.broker, bulk_id, waits)
    if (how === "cancelled") await q.cancel(canary!.task_id)
    else await q.ask("POST", `/queues/${q.queue}/purge`, { state: "queued" })
    const ended = await bulkUntil(q.broker, bulk_id, hasEnded)
    expect(ended).toMatchObject({ state: "stopped", cause: expect.stringContaining(how) })
  })

  test("that cannot be retried is replaced by the next task", async () => {
    await using q = await ServedQueue.open()
    await q.dead()
    await q.dead({ unique_key: "k" }) // the newest, which comes first
    await q.submit({ unique_key: "k", delay_ms: 60_000 })
    const { bulk_id } = await retryWithCanary(q)
    const { progress } = await bulkUntil(q.broker, bulk_id, waits)
    expect(progress).toMatchObject({ done: 1, skipped: 1 })
    await q.ack((await q.lease())[0]!)
    expect(await bulkUntil(q.broker, bulk_id, hasEnded)).toMatchObject({ state: "finished" })
  })

  test("keeps an operation waiting until it is stopped", async () => {
    await using q = await ServedQueue.open()
    await makeDead(q, 3)
    const { bulk_id } = await retryWithCanary(q)
    await bulkUntil(q.broker, bulk_id, waits)
    expect((await q.ask("POST", `/bulk/${bulk_id}/stop`)).body).toEqual({ status: "stopping", bulk_id })
    const ended = await bulkUntil(q.broker, bulk_id, hasEnded)
    expect(ended).toMatchObject({ state: "stopped", stopped_by: "API_SECRET_TOKEN", progress: { done: 1 } })
    expect((await q.ask("POST", `/bulk/${bulk_id}/stop`)).body).toEqual({ status: "ended", bulk_id })
  })
})

test("a bulk operation that is stopped changes no further tasks", async () => {
  await using q = await ServedQueue.open()
  await makeDead(q, 100)
  const { bulk_id } = await startBulk(q, { action: "retry", filter: { queue: q.queue }, rate: 4 })
  await bulkUntil(q.broker, bulk_id, ({ progress }) => progress.done > 0)
  await q.ask("POST", `/bulk/${bulk_id}/stop`)
  const { progress, state } = await bulkUntil(q.broker, bulk_id, hasEnded)
  expect(state).toBe("stopped")
  expect(progress.done).toBeLessThan(100)
  const { depth } = await q.broker.queue.parts.control.view(q.queue)
  expect(depth).toMatchObject({ queued: progress.done, dead: 100 - progress.done })
})

describe("other actions", () => {
  test("purge deletes the dead tasks that match", async () => {
    await using q = await ServedQueue.open()
    await makeDead(q, 20, i => ({ type: i % 2 === 0 ? "a" : "b" }))
    const { bulk_id } = await startBulk(q, { action: "purge", filter: { queue: q.queue, type: "a" } })
    const ended = await bulkUntil(q.broker, bulk_id, hasEnded)
    expect(ended).toMatchObject({
      state: "finished",
      progress: { total: 20, seen: 20, done: 10, skipped: 0 },
    })
    expect(ended.outcome).toBeUndefined()
    expect((await q.ask("GET", `/dlq?queue=${q.queue}`)).body.dlq_size).toBe(10)
  })

  test.each(["queued", "delayed", "done", "cancelled"] as const)(
    "purge empties a queue of its %s tasks",
    async state => {
      await using q = await ServedQueue.open()
      const delay = state === "delayed" ? { delay_ms: 60_000 } : {}
      const tasks = Array.from({ length: 700 }, (_, i) => ({
        type: "t",
        queue: q.queue,
        priority: i % 10,
        ...delay,
      }))
      await q.ask("POST", "/submit", tasks)
      if (state === "done") await settle(q, await leaseAll(q, 700), "done")
      if (state === "cancelled") await q.ask("POST", "/cancel", { queue: q.queue, limit: 1_000 })
      const { bulk_id } = await startBulk(q, { action: "purge", filter: { queue: q.queue, state } })
      const ended = await bulkUntil(q.broker, bulk_id, hasEnded)
      expect(ended.progress).toEqual({ total: 700, seen: 700, done: 700, skipped: 0 })
      expect((await q.broker.queue.parts.control.view(q.queue)).depth[state]).toBe(0)
    },
  )

  test("cancel ends the waiting tasks that match, and those submitted later stay", async () => {
    await using q = await ServedQueue.open()
    const tasks = Array.from({ length: 1_200 }, (_, i) => ({
      type: "t",
      queue: q.queue,
      priority: i % 10,
      ...(i % 3 === 0 ? { delay_ms: 60_000 } : i % 3 === 1 ? { group: `g${i % 7}` } : {}),
    }))
    await q.ask("POST", "/submit", tasks.slice(0, 1_000))
    await q.ask("POST", "/submit", tasks.slice(1_000))
    const running = await q.lease()
    const later = await q.submit()
    await q.direct.setField(later, "created", Date.now() + 3_600_000)
    const { bulk_id } = await startBulk(q, { action: "cancel", filter: { queue: q.queue } })
    const ended = await bulkUntil(q.broker, bulk_id, hasEnded)
    expect(ended.progress).toMatchObject({ done: 1_199, skipped: 0 })
    expect((await q.task(running[0]!.id)).cancel_requested_at).toBeUndefined()
    expect((await q.broker.queue.parts.control.view(q.queue)).depth.cancelled).toBe(1_199)
    expect((await q.task(later)).status).toBe("queued")
  })

  test("start_now makes delayed tasks ready, each once", async () => {
    await using q = await ServedQueue.open()
    const scheduled = await q.submit({ delay_ms: 60_000 })
    const task = await q.leased({ backoff: { kind: "fixed", delay_ms: 60_000 } })
    await q.ack(task, { status: "failed" })
    const { bulk_id } = await startBulk(q, { action: "start_now", filter: { queue: q.queue } })
    expect((await bulkUntil(q.broker, bulk_id, hasEnded)).progress).toEqual({
      total: 2,
      seen: 2,
      done: 2,
      skipped: 0,
    })
    const leased = await q.lease(5)
    expect(leased.map(({ id }) => id).sort()).toEqual([scheduled, task.id].sort())
    expect(leased.find(({ id }) => id === task.id)).toMatchObject({ attempt: 2, retries: 1 })
  })

  test("selected tasks are changed, and those in another state are skipped", async () => {
    await using q = await ServedQueue.open()
    const [one, two] = await makeDead(q, 3)
    const waiting = await q.submit()
    const { bulk_id, filter, selected } = await startBulk(q, {
      action: "retry",
      filter: { task_ids: [one!, two!, waiting, `${q.queue}:none`] },
    })
    expect([filter, selected]).toEqual([{}, 4])
    const ended = await bulkUntil(q.broker, bulk_id, hasEnded)
    expect(ended.progress).toEqual({ total: 4, seen: 4, done: 2, skipped: 2 })
  })
})

test("a filter that matches nothing ends at once with nothing done", async () => {
  await using q = await ServedQueue.open()
  await makeDead(q, 3)
  for (const filter of [{ queue: q.queue, type: "none" }, { queue: freshName() }]) {
    const { bulk_id } = await startBulk(q, { action: "retry", filter })
    const ended = await bulkUntil(q.broker, bulk_id, hasEnded)
    expect(ended).toMatchObject({ state: "finished", progress: { done: 0, skipped: 0 } })
  }
})

test.each<[object, string]>([
  [{}, "action"],
  [{ action: "retry" }, "filter"],
  [{ action: "delete", filter: {} }, "action"],
  [{ action: "retry", filter: { state: "queued" } }, "filter.state"],
  [{ action: "cancel", filter: { state: "done" } }, "filter.state"],
  [{ action: "cancel", filter: { fingerprint: "0123456789abcdef" } }, "filter.fingerprint"],
  [{ action: "cancel", filter: { reason: "failed" } }, "filter.reason"],
  [{ action: "purge", filter: { state: "queued" } }, "filter.queue"],
  [{ action: "purge", filter: { queue: "a", state: "queued", type: "t" } }, "filter.type"],
  [{ action: "retry", filter: { task_ids: ["a"], queue: "a" } }, "filter.task_ids"],
  [{ action: "retry", filter: { task_ids: ["a"], state: "dead" } }, "filter.task_ids"],
  [{ action: "purge", filter: { task_ids: ["a"], state: "queued" } }, "filter.queue"],
  [{ action: "submit_again", filter: { state: "queued" } }, "filter.state"],
  [{ action: "cancel", filter: { text: "a" } }, "filter.text"],
  [{ action: "cancel", filter: { id_part: "a b" } }, "filter.id_part"],
  [{ action: "retry", filter: { task_ids: [] } }, "filter.task_ids"],
  [{ action: "cancel", filter: {}, patch: {} }, "patch"],
  [{ action: "purge", filter: {}, canary: true }, "canary"],
  [{ action: "retry", filter: {}, rate: 0 }, "rate"],
  [{ action: "retry", filter: {}, patch: "x".repeat(20_000) }, "patch"],
  [{ action: "retry", filter: {}, typ: "x" }, "typ"],
])("%j is refused with the name of the member", async (body, field) => {
  await using broker = await testBroker()
  const answer = await broker.call("POST", "/bulk", body)
  expect([answer.status, (await answer.json()) as object]).toMatchObject([
    400,
    { code: "bad_request", field },
  ])
  expect(await answered(broker.call("GET", "/bulk"))).toEqual({ operations: [] })
})

test("a token that is bound to queues starts, sees and stops only operations on its queues", async () => {
  const [own, other] = [freshName(), freshName()]
  const token = (name: string, roles: ("operate" | "read")[]) => ({
    name,
    roles,
    queues: [own],
    hash: hashOf(name),
  })
  await using broker = await testBroker({
    tokens: [token("bound", ["operate", "read"]), token("reader", ["read"])],
  })
  const as = (name: string) => ({ headers: { "x-api-token": name } })
  const start = (filter: object, name?: string) =>
    broker.call("POST", "/bulk", { action: "cancel", filter }, name ? as(name) : {})
  for (const queue of [own, other]) await submitted(broker, { type: "t", queue })
  const everything = await answered(start({ queue: other }))
  const all = await answered(start({}))
  await bulkUntil(broker, String(all.bulk_id), hasEnded)
  for (const queue of [own, other]) await submitted(broker, { type: "t", queue })
  const mine = await answered(start({}, "bound"))
  await bulkUntil(broker, String(mine.bulk_id), hasEnded)
  expect(await readBulk(broker, String(mine.bulk_id))).toMatchObject({
    author: "bound",
    progress: { done: 1 },
  })
  const left = await answered(broker.call("GET", `/tasks?state=queued&queue=${other}`))
  expect(left.tasks).toHaveLength(1)

  const seen = (await answered(broker.call("GET", "/bulk", undefined, as("bound")))) as {
    operations?: unknown
  }
  expect(seen.operations).toMatchObject([{ bulk_id: mine.bulk_id }])
  for (const { bulk_id } of [everything, all]) {
    expect((await broker.call("GET", `/bulk/${bulk_id}`, undefined, as("bound"))).status).toBe(404)
    expect((await broker.call("POST", `/bulk/${bulk_id}/stop`, undefined, as("bound"))).status).toBe(404)
  }
  expect((await start({ queue: other }, "bound")).status).toBe(403)
  expect((await start({ task_ids: [`${other}:x`] }, "bound")).status).toBe(403)
  expect((await start({}, "reader")).status).toBe(403)
  expect((await broker.call("GET", `/bulk/${mine.bulk_id}`, undefined, as("reader"))).status).toBe(200)
  expect((await broker.call("GET", "/bulk/nobody")).status).toBe(404)
})

test("a repeated request with the same key starts one operation, and another body is refused", async () => {
  await using q = await ServedQueue.open()
  await makeDead(q, 2)
  const body = { action: "retry", filter: { queue: q.queue } }
  const ask = (of: object) => q.ask("POST", "/bulk", of, { "idempotency-key": "once" })
  const first = await ask(body)
  const second = await ask(body)
  expect(second.body.bulk_id).toBe(first.body.bulk_id)
  expect([first, second].map(({ headers }) => headers.get("idempotency-replayed"))).toEqual([null, "true"])
  expect(await ask({ ...body, limit: 1 })).toMatchObject({ status: 422, body: { code: "key_reused" } })
})

test("the newest 50 operations are kept, and those that have not ended always", async () => {
  await using q = await ServedQueue.open()
  await makeDead(q, 2)
  const waiting = await startBulk(q, { action: "retry", filter: { queue: q.queue }, canary: true })
  await bulkUntil(q.broker, waiting.bulk_id, ({ state }) => state === "waiting_for_canary")
  let last = waiting
  for (let i = 0; i < 55; i++) {
    last = await startBulk(q, { action: "purge", filter: { queue: q.queue, type: "none" } })
    await bulkUntil(q.broker, last.bulk_id, hasEnded)
  }
  const { operations } = (await q.ask("GET", "/bulk")).body
  expect(operations).toHaveLength(50)
  expect(operations[0].bulk_id).toBe(last.bulk_id)
  expect(operations.at(-1).bulk_id).toBe(waiting.bulk_id)
  await q.ask("POST", `/bulk/${waiting.bulk_id}/stop`)
  await bulkUntil(q.broker, waiting.bulk_id, hasEnded)
  const kept = await q.direct.redis.keys("tq:bulk{b}:operation:*")
  expect(kept).toHaveLength(50)
})

test("start, stop and end are logged with the operator, and published", async () => {
  const lines: Record<string, unknown>[] = []
  const log = createLog("info", line => lines.push(JSON.parse(line)), false)
  await using redis = await testRedis()
  await using broker = await testBroker({}, redis.socket, log)
  const queue = freshName()
  const leaving = new AbortController()
  const events = await broker.call("GET", `/events?queue=${queue}`, undefined, { signal: leaving.signal })
  let heard = ""
  // The canary waits for a worker, so the operation has not ended when it is stopped.
  await submitted(broker, { type: "t", queue, max_retries: 0 })
  const { tasks } = await answered(broker.call("POST", "/lease", { queues: [queue] }))
  const [{ id: task_id, lease }] = tasks as [LeasedTask]
  await broker.call("POST", "/ack", { task_id, lease, status: "failed" })
  const body = { action: "retry", filter: { queue }, canary: true, reason: "the route is back" }
  const { bulk_id } = await answered(broker.call("POST", "/bulk", body))
  await broker.call("POST", `/bulk/${bulk_id}/stop`)
  for await (const chunk of events.body!.pipeThrough(new TextDecoderStream() as never)) {
    heard += chunk
    if (heard.includes("bulk_ended")) break
  }
  leaving.abort()
  const about = `"queue":"${queue}","bulk_id":"${bulk_id}","action":"retry"`
  expect(heard).toContain(`${about},"by":"API_SECRET_TOKEN"`)
  expect(heard).toContain(`${about},"state":"`)
  const own = lines.filter(line => line.bulk_id === bulk_id)
  expect(own.find(({ message }) => message === "A bulk operation was started")).toMatchObject({
    by: "API_SECRET_TOKEN",
    action: "retry",
    reason: "the route is back",
  })
  expect(own.find(({ message }) => message === "A bulk operation was told to stop")).toMatchObject({
    by: "API_SECRET_TOKEN",
  })
  expect(own.find(({ message }) => message === "A bulk operation has ended")).toMatchObject({
    stopped_by: "API_SECRET_TOKEN",
  })
})
