/** Unique keys: at most one live task per key, and what on_duplicate does to it. */
import { expect, test } from "bun:test"
import { checkQueue } from "../support/invariants.ts"
import { ServedQueue } from "../support/served-queue.ts"

test.each<[string, (q: ServedQueue) => Promise<void>]>([
  [
    "cancelled",
    async q => {
      await q.cancel(await q.submit({ unique_key: "k" }))
    },
  ],
  [
    "done",
    async q => {
      await q.ack(await q.leased({ unique_key: "k" }))
    },
  ],
  ["dead of a failure", async q => void (await q.dead({ unique_key: "k" }))],
  ["dead of a crash", async q => q.crash((await q.leased({ unique_key: "k", max_crashes: 0 })).id)],
  [
    "expired",
    async q => {
      await q.expire(await q.submit({ unique_key: "k", expires_in_ms: 60_000 }))
      await q.direct.sweep()
    },
  ],
  [
    "cancelled while it ran",
    async q => {
      const task = await q.leased({ unique_key: "k" })
      await q.cancel(task.id)
      await q.ack(task)
    },
  ],
])("a unique key is free again the moment its task is %s", async (_, end) => {
  await using q = await ServedQueue.open()
  await end(q)
  const { body } = await q.ask("POST", "/submit", { type: "t", queue: q.queue, unique_key: "k" })
  expect(body).toEqual({ status: "queued", task_id: expect.any(String) })
})

test("a unique key stays taken while its task waits, backs off or runs", async () => {
  await using q = await ServedQueue.open()
  const asked = { type: "t", queue: q.queue, unique_key: "k" }
  const id = await q.submit({ ...asked, delay_ms: 60_000, backoff: { kind: "fixed", delay_ms: 60_000 } })
  const duplicate = { status: "duplicate", task_id: id, duplicate: true }
  const again = async () => (await q.ask("POST", "/submit", asked)).body
  expect(await again()).toEqual(duplicate)
  await q.becomeDue(id)
  expect(await again()).toEqual(duplicate)
  const [task] = await q.lease()
  expect(await again()).toEqual(duplicate)
  await q.ack(task!, { status: "failed" })
  expect((await q.task(id)).status).toBe("retrying")
  expect(await again()).toEqual(duplicate)
})

test("on_duplicate replaces the payload of one that waits, from small to large and back", async () => {
  await using q = await ServedQueue.open()
  const large = { text: "large ".repeat(100) }
  const send = async (payload: unknown, more: object = {}) =>
    (
      await q.ask("POST", "/submit", {
        ...{ type: "t", queue: q.queue, unique_key: "k", on_duplicate: "replace", payload },
        ...more,
      })
    ).body
  const { task_id } = await send("small")
  for (const payload of [large, "small again", large, [1, 2]]) {
    expect(await send(payload)).toEqual({ status: "duplicate", task_id, duplicate: true, replaced: true })
    expect((await q.task(task_id)).payload).toEqual(payload)
    await checkQueue(q.direct.redis, q.queue)
  }
  expect(await send("kept", { on_duplicate: "keep" })).not.toHaveProperty("replaced")
  const [task] = await q.lease()
  expect(task!.payload).toEqual([1, 2])
  // One that runs keeps what it runs with.
  expect(await send("too late")).toEqual({ status: "duplicate", task_id, duplicate: true })
  expect((await q.task(task_id)).payload).toEqual([1, 2])
})

test("on_duplicate starts the delay of a scheduled one again: debounce", async () => {
  await using q = await ServedQueue.open()
  const asked = { type: "t", queue: q.queue, unique_key: "k", on_duplicate: "replace" as const }
  const id = await q.submit({ ...asked, delay_ms: 10_000 })
  const before = (await q.task(id)).due_at!
  await q.submit({ ...asked, delay_ms: 60_000 })
  expect((await q.task(id)).due_at! - before).toBeGreaterThan(49_000)
  expect((await q.ask("POST", "/submit", { type: "t", on_duplicate: "replace" })).status).toBe(400)
})
