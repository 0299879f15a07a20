/** GET /why: the reason why a task does not run. */
import { describe, expect, test } from "bun:test"
import { until } from "../support/harness.ts"
import { ServedQueue } from "../support/served-queue.ts"

describe("why", () => {
  test("gives the cause for every state", async () => {
    await using q = await ServedQueue.open()
    const { direct } = q
    const delayed = await q.submit({ delay_ms: 60_000 })
    expect(await q.why(delayed)).toMatchObject({
      cause: "delayed",
      state: "scheduled",
      due_at: expect.any(Number),
    })
    const urgent = await q.submit({ priority: 9 })
    await q.submit()
    const last = await q.submit()
    expect(await q.why(last)).toMatchObject({ cause: "no_workers", state: "queued", ahead: 2 })
    const [first] = await q.lease()
    expect(first!.id).toBe(urgent)
    const waiting = await q.why(last)
    expect(waiting).toMatchObject({ cause: "waiting", ahead: 1, polled_at: expect.any(Number) })
    expect(waiting.why).toContain("1 task goes first")
    await direct.redis.hset(direct.key("stats"), "polled", Date.now() - 120_000)
    const alone = await q.why(last)
    expect(alone.cause).toBe("no_workers")
    expect(alone.why).toContain("for 120.")
    expect(await q.why(urgent)).toMatchObject({
      cause: "running",
      worker: "w1",
      lease_expires_at: expect.any(Number),
    })
    await q.cancel(urgent)
    expect((await q.why(urgent)).cause).toBe("cancelling")
    await q.ack(first!)
    expect(await q.why(urgent)).toMatchObject({ cause: "ended", state: "cancelled" })
    const [second] = await q.lease()
    await q.ack(second!, { status: "failed", retry_in_ms: 60_000 })
    expect(await q.why(second!.id)).toMatchObject({ cause: "backing_off", state: "retrying" })
    expect((await q.ask("GET", `/why/${q.queue}:never`)).status).toBe(404)
  })

  test("says that no worker polls although the clock of Redis was set back after the last poll", async () => {
    await using q = await ServedQueue.open()
    await q.submit()
    const id = await q.submit()
    const { redis } = q.direct
    const key = q.direct.key("stats")
    const polledAt = async () => Number(await redis.hget(key, "polled"))
    for (const poll of [() => q.direct.sweep(), () => q.lease()]) {
      await redis.hset(key, "polled", Date.now() + 3_600_000)
      await poll()
      expect(await polledAt()).toBeLessThanOrEqual(Date.now())
    }
    await redis.hset(key, "polled", (await polledAt()) - 120_000)
    expect((await q.why(id)).cause).toBe("no_workers")
  })

  test("counts a worker that is waiting now as polling", async () => {
    await using q = await ServedQueue.open()
    const waiting = q.ask("POST", "/lease", { queues: [q.queue], wait_ms: 20_000 })
    await until("it waits", () => q.broker.queue.waiting === 1)
    const id = await q.submit({ delay_ms: 1 })
    expect((await waiting).body.tasks[0].id).toBe(id)
    await bringBack(q, id)
    expect((await q.why(id)).cause).toBe("waiting")
  })
  const bringBack = (q: ServedQueue, id: string) => q.ack({ id }, { status: "released" })
})
