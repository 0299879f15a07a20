/** A lease that lapses: the task returns or dies, and the ack of a late worker is refused. */
import { expect, test } from "bun:test"
import { splitId } from "../../lib/task/id.ts"
import { DirectQueue } from "../support/harness.ts"
import { DAY_MS, ServedQueue } from "../support/served-queue.ts"

test("an ack after the lapse is refused while another worker holds the task, although the state is the same", async () => {
  await using q = await ServedQueue.open()
  const first = await q.leased()
  await q.crash(first.id)
  const [second] = await q.lease()
  expect(second).toMatchObject({ id: first.id, attempt: 2 })
  const { status, body } = await q.ack(first)
  expect(status).toBe(409)
  expect(body).toMatchObject({ code: "lease_lost", state: "processing", attempt: 2 })
  expect((await q.extend(first)).body.code).toBe("lease_lost")
  expect((await q.ack(second!, { result: 2 })).body.status).toBe("acknowledged")
  expect(await q.task(first.id)).toMatchObject({ status: "done", result: 2, crashes: 1, retries: 0 })
})

test("a lapsed lease can neither extend nor settle its task", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased({ max_crashes: 0 })
  await q.crash(task.id)
  expect((await q.extend(task)).body).toMatchObject({ code: "lease_lost", state: "dead" })
  for (const status of ["done", "failed", "released"])
    expect((await q.ack(task, { status })).body).toMatchObject({ code: "lease_lost", state: "dead" })
  expect((await q.ack({ id: task.id })).body).toMatchObject({ code: "not_leased", state: "dead" })
  expect(await q.lease()).toEqual([])
})

test("a crash does not count as a failure: a task without retries survives it", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased({ max_retries: 0, max_crashes: 1 })
  await q.crash(task.id)
  expect(await q.task(task.id)).toMatchObject({ status: "queued", retries: 0, crashes: 1 })
  const [again] = await q.lease()
  expect((await q.ack(again!, { status: "failed" })).body.status).toBe("moved_to_dlq")
  expect((await q.task(task.id)).reason).toBe("failed")
})

test("two brokers that sweep at once requeue each task once", async () => {
  await using q = await ServedQueue.open()
  await using other = new DirectQueue(q.socket, q.queue)
  const body = Array.from({ length: 200 }, () => ({ type: "t", queue: q.queue }))
  await q.ask("POST", "/submit", body)
  const tasks = await q.lease(200)
  expect(tasks).toHaveLength(200)
  for (const { id } of tasks) await q.direct.lapse(id)
  await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? other : q.direct).sweep(30)))
  const ready = await q.direct.redis.lrange(q.direct.key("ready", "5"), 0, -1)
  expect(ready.sort()).toEqual(tasks.map(({ id }) => splitId(id).localId).sort())
  for (const { id } of tasks.slice(0, 20)) expect((await q.task(id)).crashes).toBe(1)
})

test("max_runtime_ms ends an attempt, however often its lease is extended", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased({ max_runtime_ms: 60_000, timeout_ms: 30_000, max_crashes: 0 })
  expect(task.max_runtime_ms).toBe(60_000)
  const started = (await q.task(task.id)).started_at!
  const { body } = await q.extend(task, { timeout_ms: DAY_MS })
  expect(body).toMatchObject({ status: "ok", lease_expires_at: started + 60_000 })
  await q.direct.setField(task.id, "started", started - 60_000)
  await q.crash(task.id)
  const dead = await q.task(task.id)
  expect(dead).toMatchObject({ status: "dead", reason: "timed_out", crashes: 1, retries: 0 })
  expect(dead.attempts).toMatchObject([{ attempt: 1, outcome: "timed_out", worker: "w1" }])
})

test("a lease is never longer than max_runtime_ms", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased({ max_runtime_ms: 1_000, timeout_ms: 30_000 })
  expect(task.lease_expires_at).toBe((await q.task(task.id)).started_at! + 1_000)
})
