import { describe, expect, test } from "bun:test"
import type { Handler } from "../lib/handlers.ts"
import { LeaseLost } from "../lib/keeper.ts"
import type { Extend } from "../lib/models.ts"
import { FakeBroker, problem } from "./fake-broker.ts"

/** Ends when its signal fires, with the signal's reason. */
const untilTold = (signal: AbortSignal) =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))

describe("leases", () => {
  test("leases of running tasks are extended together, for as long as the handlers run", async () => {
    await using broker = new FakeBroker()
    const gate = Promise.withResolvers<void>()
    const signals: AbortSignal[] = []
    const tasks = [1, 2, 3].map(() => broker.task({ type: "wait", timeout_ms: 300 }))
    const wait: Handler = (_, { signal }) => {
      signals.push(signal)
      return gate.promise
    }
    broker.worker({ wait })
    await broker.until(() => broker.extendBatches.length >= 4)
    expect(broker.extendBatches[0]).toEqual(tasks.map(({ id, lease }) => ({ task_id: id, lease })))
    expect(signals.some(signal => signal.aborted)).toBe(false)
    gate.resolve()
    await broker.until(() => broker.acks.length === 3)
    const before = broker.extendBatches.length
    await Bun.sleep(150)
    expect(broker.extendBatches.length).toBe(before)
  })

  test("a handler whose lease is lost hears of it, its result is dropped, and the others go on", async () => {
    await using broker = new FakeBroker()
    const [lost, kept] = [1, 2].map(() => broker.task({ type: "wait", timeout_ms: 150 }))
    const gate = Promise.withResolvers<void>()
    const reasons: unknown[] = []
    broker.on("/extend", (batch: Extend[]) =>
      Response.json(
        batch.map(({ task_id }) =>
          task_id === lost!.id
            ? { error: "lost", code: "lease_lost", status: 409, title: "lost" }
            : { status: "ok", task_id, lease_expires_at: 0 },
        ),
      ),
    )
    const worker = broker.worker({
      wait: async (_, { signal }) => {
        signal.addEventListener("abort", () => reasons.push(signal.reason))
        if (signal.aborted) return
        await Promise.race([gate.promise, untilTold(signal).catch(() => {})])
        return "made"
      },
    })
    await broker.until(() => reasons.length === 1)
    expect(reasons[0]).toBeInstanceOf(LeaseLost)
    gate.resolve()
    expect(await worker.stop()).toBe(true)
    expect(broker.acks.map(ack => ack.task_id)).toEqual([kept!.id])
  })

  test.each([
    ["refuses to answer", () => problem(503, "redis_unavailable", { "Retry-After": "60" })],
    ["hangs", () => Bun.sleep(1_000).then(() => undefined)],
  ])("a lease lapses by the worker's own clock where the broker %s", async (_, script) => {
    await using broker = new FakeBroker()
    broker.on("/extend", script)
    const begun = performance.now()
    let firedAt = 0
    broker.task({ type: "wait", timeout_ms: 200 })
    broker.worker({
      wait: (_, { signal }) => untilTold(signal).catch(() => (firedAt = performance.now())),
    })
    await broker.until(() => firedAt > 0)
    expect(firedAt - begun).toBeWithin(199, 900)
    expect(broker.acks).toEqual([])
  })

  test("a failed try to extend is made good before the lease lapses, whatever Retry-After says", async () => {
    await using broker = new FakeBroker()
    let tries = 0
    broker.on("/extend", () =>
      ++tries === 1 ? problem(503, "redis_unavailable", { "Retry-After": "60" }) : undefined,
    )
    broker.task({ type: "nap", timeout_ms: 400 })
    broker.worker({ nap: () => Bun.sleep(600) })
    await broker.until(() => broker.acks.length === 1)
    expect(broker.acks[0]!.status).toBe("done")
  })
})
