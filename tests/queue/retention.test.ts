/** How long and how many ended tasks are kept. */
import { describe, expect, test } from "bun:test"
import { splitId } from "../../lib/task/id.ts"
import { until } from "../support/harness.ts"
import { ServedQueue } from "../support/served-queue.ts"

test("result_ttl_ms says how long a done task is kept", async () => {
  await using q = await ServedQueue.open()
  const kept = await q.leased({ result_ttl_ms: 50_000 })
  await q.ack(kept)
  const { finished_at } = await q.task(kept.id)
  const until = await q.direct.redis.zscore(q.direct.key("done"), splitId(kept.id).localId)
  expect(Number(until)).toBe(finished_at! + 50_000)
  const gone = await q.leased({ result_ttl_ms: 0 })
  await q.ack(gone)
  await q.sweepKeeping({})
  expect((await q.ask("GET", `/status/${gone.id}`)).status).toBe(404)
  expect((await q.task(kept.id)).status).toBe("done")
})

describe("retention", () => {
  /** A queue that only the test sweeps. */
  async function unswept(): Promise<ServedQueue> {
    const q = await ServedQueue.open()
    q.broker.queue.parts.sweeper.close()
    return q
  }
  /** `count` tasks that have ended as `state`. */
  async function ended(
    q: ServedQueue,
    state: "done" | "dead" | "cancelled",
    count: number,
  ): Promise<string[]> {
    await q.ask(
      "POST",
      "/submit",
      Array.from({ length: count }, () => ({ type: "t", queue: q.queue })),
    )
    const tasks = await q.lease(count)
    if (state === "cancelled") for (const { id } of tasks) await q.cancel(id)
    const said = state === "dead" ? { status: "failed", retry: false } : {}
    await q.ask(
      "POST",
      "/ack",
      tasks.map(({ id, lease }) => ({ task_id: id, lease, ...said })),
    )
    return tasks.map(({ id }) => id)
  }
  const size = (q: ServedQueue, state: "done" | "dead" | "cancelled") =>
    state === "done" ? q.direct.doneCount() : q.direct.redis.zcard(q.direct.key(state))
  const listed = (q: ServedQueue, state: "done" | "dead" | "cancelled") =>
    state === "done"
      ? q.direct.redis.lrange(q.direct.key("completed"), 0, -1)
      : q.direct.redis.zrange(q.direct.key(state), "0", "-1")

  test.each(["done", "dead", "cancelled"] as const)(
    "by count, bounded per call, the oldest first: %s",
    async state => {
      await using q = await unswept()
      const ids = await ended(q, state, 25)
      // Their scores look as if they had ended one after the other.
      if (state !== "done")
        for (const [i, id] of ids.entries())
          await q.direct.redis.zadd(q.direct.key(state), Date.now() + i, splitId(id).localId)
      const [more] = await q.sweepKeeping({ keep: 5, keep_dead: 5, limit: 8 })
      expect(more).toBe(1)
      expect(await size(q, state)).toBe(17)
      while ((await q.sweepKeeping({ keep: 5, keep_dead: 5, limit: 8 }))[0] === 1);
      expect((await listed(q, state)).map(local => `${q.queue}:${local}`)).toEqual(ids.slice(20))
      expect((await q.ask("GET", `/status/${ids[0]}`)).status).toBe(404)
    },
  )

  test.each(["done", "dead", "cancelled"] as const)("by age, bounded per call: %s", async state => {
    await using q = await unswept()
    const ids = await ended(q, state, 20)
    for (const id of ids.slice(0, 15))
      if (state === "done") await q.direct.ageDone(id)
      else await q.direct.redis.zadd(q.direct.key(state), 1, splitId(id).localId)
    await q.sweepKeeping({ limit: 10 })
    expect(await size(q, state)).toBe(10)
    await q.sweepKeeping({ limit: 10 })
    expect(await size(q, state)).toBe(5)
    expect((await q.task(ids[15]!)).status).toBe(state)
  })

  test("DONE_RETENTION_COUNT and DEAD_RETENTION_COUNT are enforced by the broker's own sweeps", async () => {
    await using q = await ServedQueue.open({ doneKept: 2, deadKept: 1 })
    await ended(q, "done", 5)
    await ended(q, "cancelled", 4)
    await ended(q, "dead", 3)
    await until(
      "they are trimmed",
      async () =>
        (await size(q, "done")) === 2 && (await size(q, "cancelled")) === 2 && (await size(q, "dead")) === 1,
    )
  })
})
