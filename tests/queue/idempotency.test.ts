/** A repeated submit creates no second task, by task_id or by Idempotency-Key. */
import { expect, test } from "bun:test"
import { ServedQueue } from "../support/served-queue.ts"

test("a submit repeated after a lost reply creates one task, by task_id", async () => {
  await using q = await ServedQueue.open()
  const asked = { type: "t", queue: q.queue, task_id: "mine", payload: { a: 1 } }
  const first = await q.ask("POST", "/submit", asked)
  expect(first.body).toEqual({ status: "queued", task_id: `${q.queue}:mine` })
  expect(first.headers.get("idempotency-replayed")).toBeNull()
  // The order of members does not matter.
  const again = await q.ask("POST", "/submit", {
    payload: { a: 1 },
    task_id: "mine",
    queue: q.queue,
    type: "t",
  })
  expect(again.body).toEqual({ ...first.body, replayed: true })
  expect(again.headers.get("idempotency-replayed")).toBe("true")
  const other = await q.ask("POST", "/submit", { ...asked, payload: { a: 2 } })
  expect([other.status, other.body.code]).toEqual([422, "key_reused"])
  expect(await q.lease(10)).toHaveLength(1)
})

test("a submit repeated after a lost reply creates one task, by Idempotency-Key", async () => {
  await using q = await ServedQueue.open()
  const send = (key: string, type = "t") =>
    q.ask("POST", "/submit", { type, queue: q.queue }, { "Idempotency-Key": key })
  const first = await send("abc")
  expect(first.headers.get("idempotency-replayed")).toBeNull()
  const again = await send('"abc"')
  expect(again.body).toEqual({ ...first.body, replayed: true })
  expect(again.headers.get("idempotency-replayed")).toBe("true")
  expect((await send("abc", "another")).status).toBe(422)
  expect((await send("abd")).body.task_id).not.toBe(first.body.task_id)
  expect((await send("two words")).status).toBe(400)
  expect(await q.lease(10)).toHaveLength(2)
  const both = { type: "t", queue: q.queue, task_id: "x" }
  expect((await q.ask("POST", "/submit", both, { "Idempotency-Key": "y" })).status).toBe(400)
})

test.each(["task_id", "Idempotency-Key"])(
  "an array repeated after a lost reply creates no task twice, by %s",
  async by => {
    await using q = await ServedQueue.open()
    const items = [1, 2, 3].map(n => ({
      type: "t",
      queue: q.queue,
      payload: n,
      ...(by === "task_id" ? { task_id: `i${n}` } : {}),
    }))
    const headers: Record<string, string> = by === "task_id" ? {} : { "Idempotency-Key": "batch" }
    const first = await q.ask("POST", "/submit", items, headers)
    const changed = items.map((item, i) => (i === 1 ? { ...item, payload: "changed" } : item))
    const again = await q.ask("POST", "/submit", changed, headers)
    expect(again.status).toBe(200)
    expect(again.body[0]).toEqual({ ...first.body[0], replayed: true })
    expect(again.body[1]).toMatchObject({ status: 422, code: "key_reused" })
    expect(again.body[2]).toEqual({ ...first.body[2], replayed: true })
    expect(await q.lease(10)).toHaveLength(3)
  },
)

test("the idempotency record outlives its task", async () => {
  await using q = await ServedQueue.open()
  const asked = { type: "t", queue: q.queue, task_id: "gone", result_ttl_ms: 0 }
  const { body: first } = await q.ask("POST", "/submit", asked)
  await q.ack((await q.lease())[0]!)
  await q.sweepKeeping({})
  expect((await q.ask("POST", "/submit", asked)).body).toEqual({ ...first, replayed: true })
  expect(await q.lease()).toEqual([])
  const status = await q.ask("GET", `/status/${first.task_id}`)
  expect([status.status, status.body.code]).toEqual([410, "task_gone"])
  expect((await q.ask("GET", `/status/${q.queue}:never`)).status).toBe(404)
})
