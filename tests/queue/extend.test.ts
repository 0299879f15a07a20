/** Extending a lease: progress, checkpoints and log lines. */
import { describe, expect, test } from "bun:test"
import { ServedQueue } from "../support/served-queue.ts"

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
