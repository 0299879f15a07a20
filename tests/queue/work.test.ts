/** POST /work: settle, extend and lease in one request. */
import { describe, expect, test } from "bun:test"
import type { LeasedTask } from "../../lib/wire/working.ts"
import { until } from "../support/harness.ts"
import { FORGED_LEASE } from "../support/requests.ts"
import { ServedQueue } from "../support/served-queue.ts"

describe("work", () => {
  test("settles, extends and leases in one call, and answers in order with bad items in between", async () => {
    await using q = await ServedQueue.open()
    await q.ask(
      "POST",
      "/submit",
      Array.from({ length: 8 }, (_, n) => ({ type: "t", queue: q.queue, payload: n })),
    )
    const [a, b, c, d, e] = await q.lease(5)
    await q.cancel(d!.id)
    const lease = ({ id, lease }: LeasedTask) => ({ task_id: id, lease })
    const answer = await q.work({
      worker: "w2",
      max: 2,
      settle: [
        { ...lease(a!), result: [1.5, "✓"] },
        { task_id: a!.id, nope: 1 },
        { task_id: `${q.queue}:never`, lease: FORGED_LEASE },
        "not an ack",
        { ...lease(b!), status: "failed", error: "boom", retry: false },
        { task_id: e!.id, lease: FORGED_LEASE },
      ],
      extend: [
        lease(c!),
        { task_id: c!.id },
        { ...lease(d!), progress: 1 },
        { task_id: e!.id, lease: FORGED_LEASE },
        { task_id: `${q.queue}:never`, lease: FORGED_LEASE },
        { ...lease(e!), checkpoint: "x".repeat(20_000) },
      ],
    })
    expect(answer.settled).toMatchObject([
      { status: "acknowledged", task_id: a!.id },
      { status: 400, code: "bad_request", field: "nope" },
      { status: 404, code: "task_not_found" },
      { status: 400, code: "bad_request" },
      { status: "moved_to_dlq", task_id: b!.id, retries: 1 },
      { status: 409, code: "lease_lost" },
    ])
    expect(answer.extended).toMatchObject([
      { status: "ok", task_id: c!.id },
      { status: 400, field: "lease" },
      { status: "cancelled", task_id: d!.id },
      { status: 409, code: "lease_lost" },
      { status: 404, code: "task_not_found" },
      { status: 400, field: "checkpoint" },
    ])
    expect(answer.lost).toEqual([e!.id, `${q.queue}:never`])
    expect(answer.cancelled).toEqual([d!.id])
    expect(answer.tasks.map(({ payload }) => payload)).toEqual([5, 6])
    expect(answer.drain).toBeFalse()
    expect((await q.task(a!.id)).result).toEqual([1.5, "✓"])
    expect((await q.task(answer.tasks[0]!.id)).worker).toBe("w2")
    expect(await q.task(d!.id)).toMatchObject({ progress: 1 })
  })

  test("waits for tasks only if it has no other answers", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased()
    const from = performance.now()
    const answer = await q.work({
      max: 1,
      wait_ms: 20_000,
      extend: [{ task_id: task.id, lease: task.lease }],
    })
    expect(answer.tasks).toEqual([])
    expect(performance.now() - from).toBeLessThan(15_000)
    const waiting = q.work({ max: 1, wait_ms: 20_000 })
    await until("it waits", () => q.broker.queue.waiting === 1)
    const id = await q.submit()
    expect((await waiting).tasks).toMatchObject([{ id }])
  })

  test("with an empty body has an empty answer", async () => {
    await using q = await ServedQueue.open()
    await q.submit()
    const { status, body } = await q.ask("POST", "/work", {})
    expect(status).toBe(200)
    expect(body).toEqual({ tasks: [], settled: [], extended: [], lost: [], cancelled: [], drain: false })
  })

  test("refuses members that are not lists, and lists that are too long", async () => {
    await using q = await ServedQueue.open()
    for (const body of [{ settle: {} }, { extend: "x" }, { settle: null }, [], "x", { max: 1_001 }])
      expect((await q.ask("POST", "/work", JSON.stringify(body))).status).toBe(400)
    const settle = Array.from({ length: 1_001 }, () => ({ task_id: "x" }))
    const { status, body } = await q.ask("POST", "/work", { settle })
    expect([status, body.field]).toEqual([400, "settle"])
  })
})
