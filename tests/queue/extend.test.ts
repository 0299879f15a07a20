/** Extending a lease: progress, checkpoints and log lines. */
import { describe, expect, test } from "bun:test"
import { localOf } from "../../lib/task/id.ts"
import { ServedQueue } from "../support/served-queue.ts"

test("each log line has the time at which it arrived, and lines of earlier versions have none", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased()
  const before = Date.now()
  for (let i = 0; i < 3; i++) await q.extend(task, { log: [`a${i}`, `b${i}`] })
  const { log, log_at } = await q.task(task.id)
  expect(log).toEqual(["a0", "b0", "a1", "b1", "a2", "b2"])
  expect(log_at).toHaveLength(6)
  expect(log_at).toEqual(log_at!.toSorted())
  expect([log_at![0], log_at![5]]).toEqual([log_at![1], log_at![4]])
  expect(log_at![0]!).toBeWithin(before - 1_000, Date.now() + 1_000)
  await q.extend(task, { log: Array.from({ length: 18 }, (_, i) => `c${i}`) })
  const later = await q.task(task.id)
  expect([later.log!.length, later.log_at!.length, later.log![0]]).toEqual([20, 20, "a2"])
  // A record of an earlier version.
  const key = q.direct.key("task", localOf(task.id))
  const stored = (await q.direct.redis.get(key))!
  await q.direct.redis.set(key, stored.replace(/"logged":"[^"]*",?/, "").replace(",}", "}"))
  expect(await q.task(task.id)).not.toHaveProperty("log_at")
  await q.extend(task, { log: ["new"] })
  const mixed = await q.task(task.id)
  expect([mixed.log!.at(-1), mixed.log!.length, mixed.log_at!.length]).toEqual(["new", 20, 1])
})

test("an extend does not queue the task again", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased()
  expect((await q.extend(task, { timeout_ms: 60_000 })).body.status).toBe("ok")
  await q.direct.sweep()
  expect(await q.lease()).toEqual([])
  expect(await q.task(task.id)).toMatchObject({ status: "processing", attempt: 1 })
})

describe("extend", () => {
  test("keeps progress, checkpoint and the newest lines of the log", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased()
    const first = Array.from({ length: 15 }, (_, i) => `line ${i}`)
    await q.extend(task, { progress: { done: 3, of: 10 }, checkpoint: { at: 7 }, log: first })
    await q.extend(task, { log: ["two\nlines", ...first.slice(1, 10)] })
    const shown = await q.task(task.id)
    expect(shown).toMatchObject({ progress: { done: 3, of: 10 }, checkpoint: { at: 7 } })
    expect(shown.log).toEqual([...first.slice(5), "two lines", ...first.slice(1, 10)])
  })

  test("gives the checkpoint to the next attempt, whatever ended the one before", async () => {
    await using q = await ServedQueue.open()
    const first = await q.leased()
    expect(first).not.toHaveProperty("checkpoint")
    await q.extend(first, { checkpoint: { page: 1 } })
    await q.crash(first.id)
    const [second] = await q.lease()
    expect(second!.checkpoint).toEqual({ page: 1 })
    await q.extend(second!, { checkpoint: 12345 })
    await q.extend(second!, { progress: 1 })
    await q.ack(second!, { status: "failed" })
    const [third] = await q.lease()
    expect(third!.checkpoint).toBe(12345)
    await q.ack(third!, { status: "released" })
    expect((await q.lease())[0]!.checkpoint).toBe(12345)
  })

  test("refuses values that are too large, and accepts those at the limit", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased()
    const text = (bytes: number) => "x".repeat(bytes - 2)
    const cases: [object, string | undefined][] = [
      [{ progress: text(1_024) }, undefined],
      [{ progress: text(1_025) }, "progress"],
      [{ checkpoint: text(16_384) }, undefined],
      [{ checkpoint: text(16_385) }, "checkpoint"],
      [{ checkpoint: "✓".repeat(5_500) }, "checkpoint"],
      [{ log: Array.from({ length: 20 }, () => "x".repeat(500)) }, undefined],
      [{ log: Array.from({ length: 21 }, () => "x") }, "log"],
      [{ log: ["x".repeat(501)] }, "log.0"],
      [{ log: [] }, "log"],
    ]
    for (const [told, field] of cases) {
      const { status, body } = await q.extend(task, told)
      expect([status, body.field]).toEqual(field === undefined ? [200, undefined] : [400, field])
    }
  })
})
