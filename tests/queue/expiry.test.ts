/** expires_in_ms: a task that has not started in time is dead. */
import { expect, test } from "bun:test"
import type { Submit } from "../../lib/wire/submitting.ts"
import { until } from "../support/harness.ts"
import { ServedQueue } from "../support/served-queue.ts"

test.each<[string, Partial<Submit>, (q: ServedQueue) => Promise<void>]>([
  ["ready", {}, async () => {}],
  ["delayed", { delay_ms: 60_000 }, async () => {}],
  [
    "backing off",
    { backoff: { kind: "fixed", delay_ms: 1_000 } },
    async q => {
      const [task] = await q.lease()
      await q.ack(task!, { status: "failed" })
    },
  ],
])("expires_in_ms ends a task that is %s, and it is not handed out", async (_, asked, prepare) => {
  await using q = await ServedQueue.open()
  const id = await q.submit({ ...asked, expires_in_ms: 30_000 })
  await prepare(q)
  const ended = q.ask("GET", `/status/${id}?wait_ms=10000`)
  await until("somebody waits for its end", async () => (await q.direct.field(id, "watched")) === "1")
  await q.expire(id)
  await q.direct.due(id)
  expect(await q.lease()).toEqual([])
  expect((await ended).body).toMatchObject({ status: "dead", reason: "expired" })
})

test("a task whose retry would start after its expiry is dead at once", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased({
    expires_in_ms: 30_000,
    backoff: { kind: "fixed", delay_ms: 60_000, jitter: false },
  })
  await q.ack(task, { status: "failed", error: "boom" })
  expect(await q.task(task.id)).toMatchObject({
    status: "dead",
    reason: "expired",
    retries: 1,
    error: "boom",
  })
})

test("a task that has started in time may run beyond its expiry", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased({ expires_in_ms: 30_000 })
  await q.expire(task.id)
  await q.direct.sweep()
  expect((await q.ack(task)).body.status).toBe("acknowledged")
})
