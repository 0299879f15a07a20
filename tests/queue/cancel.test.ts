/** Cancelling a task in each of its states. */
import { describe, expect, test } from "bun:test"
import type { Submit } from "../../lib/wire/submitting.ts"
import { testBroker } from "../support/harness.ts"
import { sharedRedis } from "../support/redis.ts"
import { ScriptQueue } from "../support/script-queue.ts"
import { DAY_MS, ServedQueue } from "../support/served-queue.ts"

test("cancel during backoff stops the retry", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased({ backoff: { kind: "fixed", delay_ms: 60_000 } })
  expect((await q.ack(task, { status: "failed" })).body.status).toBe("requeued")
  expect((await q.task(task.id)).status).toBe("retrying")
  expect((await q.cancel(task.id)).body).toEqual({ status: "cancelled", task_id: task.id })
  await q.becomeDue(task.id)
  expect(await q.lease()).toEqual([])
  expect((await q.task(task.id)).status).toBe("cancelled")
})

test("a task behind thousands of cancelled ones is leased without a long script call", async () => {
  const { socket } = await sharedRedis()
  await using queue = new ScriptQueue(socket)
  const ids = Array.from({ length: 3_000 }, (_, i) => `${i}`)
  await queue.submit(ids)
  const items = ids.map(id => ({ id }))
  for (let from = 0; from < items.length; from += 1_000)
    await queue.scripts.call("cancel", queue.name, { retention: DAY_MS }, items.slice(from, from + 1_000))
  await queue.submit("last")
  // 0: call again. A broker that ran already could have dropped the cancelled ones in a sweep.
  expect(await queue.lease()).toEqual([0])
  await using broker = await testBroker({}, socket)
  const answer = await broker.call("POST", "/lease", { queues: [queue.name] })
  expect(await answer.json()).toMatchObject({ tasks: [{ id: `${queue.name}:last` }] })
})

describe("cancel", () => {
  test.each<[string, Partial<Submit>]>([
    ["scheduled", { delay_ms: 60_000 }],
    ["queued", {}],
    ["expiring", { expires_in_ms: 60_000 }],
  ])("ends a task that is %s at once, and gives the same answer again", async (_, asked) => {
    await using q = await ServedQueue.open()
    const id = await q.submit(asked)
    for (let i = 0; i < 2; i++)
      expect((await q.cancel(id)).body).toEqual({ status: "cancelled", task_id: id })
    expect(await q.lease()).toEqual([])
    expect(await q.task(id)).toMatchObject({
      status: "cancelled",
      finished_at: expect.any(Number),
      attempts: [],
    })
  })

  test("is refused if the task has ended or does not exist", async () => {
    await using q = await ServedQueue.open()
    const done = await q.leased()
    await q.ack(done)
    const dead = await q.dead()
    expect(await q.cancel(done.id)).toMatchObject({
      status: 409,
      body: { code: "already_ended", state: "done" },
    })
    expect(await q.cancel(dead)).toMatchObject({
      status: 409,
      body: { code: "already_ended", state: "dead" },
    })
    expect((await q.cancel(`${q.queue}:nobody`)).status).toBe(404)
    expect((await q.cancel("not an id")).status).toBe(400)
  })

  test("reaches the worker of a running task with its next extend or /work", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased()
    expect((await q.cancel(task.id)).body).toEqual({ status: "cancelling", task_id: task.id })
    expect((await q.cancel(task.id)).body.status).toBe("cancelling")
    expect(await q.task(task.id)).toMatchObject({
      status: "processing",
      cancel_requested_at: expect.any(Number),
    })
    expect((await q.extend(task)).body).toMatchObject({ status: "cancelled", task_id: task.id })
    const answer = await q.work({ extend: [{ task_id: task.id, lease: task.lease }] })
    expect(answer.cancelled).toEqual([task.id])
    expect(answer.lost).toEqual([])
    expect(answer.extended[0]).toMatchObject({ status: "cancelled" })
  })

  test.each(["done", "failed", "released"])(
    "makes the worker's ack %s end the task as cancelled, also if the ack is repeated",
    async status => {
      await using q = await ServedQueue.open()
      const task = await q.leased({ backoff: { kind: "fixed", delay_ms: 60_000 } })
      await q.cancel(task.id)
      for (let i = 0; i < 2; i++)
        expect((await q.ack(task, { status })).body).toEqual({ status: "cancelled", task_id: task.id })
      const ended = await q.task(task.id)
      expect(ended).toMatchObject({ status: "cancelled", retries: 0 })
      expect(ended.attempts).toMatchObject([{ attempt: 1, outcome: "cancelled" }])
      expect(await q.lease()).toEqual([])
    },
  )

  test("ends a task whose worker never acks when its lease lapses", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased()
    await q.cancel(task.id)
    await q.crash(task.id)
    expect((await q.task(task.id)).status).toBe("cancelled")
    expect(await q.lease()).toEqual([])
    expect((await q.ack(task)).status).toBe(409)
  })
})
