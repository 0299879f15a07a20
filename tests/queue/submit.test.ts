/** Options of submit that the task carries: start time, meta and trace context. */
import { expect, test } from "bun:test"
import { ServedQueue } from "../support/served-queue.ts"

const TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
const OTHER_TRACE = "00-11111111111111111111111111111111-2222222222222222-00"

test("run_at and delay_ms set when a task is ready, and cannot be combined", async () => {
  await using q = await ServedQueue.open()
  const at = Date.now() + 60_000
  const { body } = await q.ask("POST", "/submit", { type: "t", queue: q.queue, run_at: at })
  expect(body.status).toBe("scheduled")
  expect(await q.task(body.task_id)).toMatchObject({ status: "scheduled", due_at: at })
  expect(await q.lease()).toEqual([])
  await q.becomeDue(body.task_id)
  expect((await q.lease())[0]!.id).toBe(body.task_id)
  expect((await q.ask("POST", "/submit", { type: "t", run_at: at, delay_ms: 1 })).status).toBe(400)
  const past = await q.ask("POST", "/submit", { type: "t", queue: q.queue, run_at: 1_000_000_000_000 })
  expect(past.body.status).toBe("queued")
})

test("meta is returned to workers and clients, and is limited", async () => {
  await using q = await ServedQueue.open()
  const meta = { tenant: "a b ✓", "x.y": "" }
  const task = await q.leased({ meta })
  expect(task.meta).toEqual(meta)
  expect((await q.task(task.id)).meta).toEqual(meta)
  const bad: unknown[] = [
    { "": "x" },
    { "a b": "x" },
    { a: 1 },
    { a: "x".repeat(129) },
    Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, "v"])),
  ]
  for (const meta of bad) expect((await q.ask("POST", "/submit", { type: "t", meta })).status).toBe(400)
})

test("the trace context of the request, or of the body, reaches the worker", async () => {
  await using q = await ServedQueue.open()
  const send = (body: object, headers: Record<string, string> = {}) =>
    q.ask("POST", "/submit", { type: "t", queue: q.queue, ...body }, headers)
  await send({}, { traceparent: TRACE, tracestate: "a=1" })
  await send({ traceparent: OTHER_TRACE, tracestate: "b=2" }, { traceparent: TRACE, tracestate: "a=1" })
  await send({}, { traceparent: "not one" })
  const [header, body, neither] = await q.lease(3)
  expect(header).toMatchObject({ traceparent: TRACE, tracestate: "a=1" })
  expect(body).toMatchObject({ traceparent: OTHER_TRACE, tracestate: "b=2" })
  expect(neither!.traceparent).toBeUndefined()
})
