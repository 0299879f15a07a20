/** What GET /workers says about the load of a worker, and its filters. */
import { expect, test } from "bun:test"
import { WORKERS, WORKERS_SEEN } from "../../lib/redis/keys.ts"
import type { WorkersAnswer, WorkerView } from "../../lib/wire/managing.ts"
import type { LeasedTask } from "../../lib/wire/working.ts"
import { until } from "../support/harness.ts"
import { ServedQueue } from "../support/served-queue.ts"

const MINUTE_MS = 60_000

const listed = async (q: ServedQueue, query = ""): Promise<WorkerView[]> =>
  ((await q.ask("GET", `/workers${query}`)).body as WorkersAnswer).workers

const poll = (q: ServedQueue, worker: string, more: object = {}) =>
  q.ask("POST", "/lease", { queues: [q.queue], worker, ...more })

/** Makes it look as if the worker was last seen two minutes ago. */
async function age(q: ServedQueue, worker: string) {
  await q.broker.queue.parts.workers.flush()
  await q.direct.redis.zincrby(WORKERS_SEEN, -2 * MINUTE_MS, worker)
}

test("the concurrency of a worker is the newest that it sent; without one it is absent", async () => {
  await using q = await ServedQueue.open()
  await poll(q, "old")
  await q.ask("POST", "/work", { queues: [q.queue], max: 1, worker: "new", concurrency: 4 })
  await poll(q, "new", { concurrency: 8 })
  await poll(q, "new")
  const workers = await listed(q)
  expect(workers.map(({ worker, concurrency }) => [worker, concurrency])).toEqual([
    ["new", 8],
    ["old", undefined],
  ])
  for (const concurrency of [0, 1.5, "4", 100_001, null])
    expect((await poll(q, "new", { concurrency })).body).toMatchObject({
      code: "bad_request",
      field: "concurrency",
    })
})

test("the rate of a worker counts its acks of the last minute, at all times of a minute", async () => {
  await using q = await ServedQueue.open()
  const { redis } = q.direct
  for (let i = 0; i < 3; i++) await q.submit()
  for (const { id, lease } of await q.lease(3)) await q.ask("POST", "/ack", { task_id: id, lease })
  const seen = async () => (await listed(q))[0]!
  await until("all are counted", async () => (await seen()).done === 3)
  expect((await seen()).per_minute).toBeWithin(1, 4) // the minute may have just begun

  const about = JSON.parse((await redis.hget(WORKERS, "w1"))!)
  const store = (more: object) => redis.hset(WORKERS, "w1", JSON.stringify({ ...about, ...more }))
  const minute = Math.floor(Date.now() / MINUTE_MS)
  const rateOf = async (more: object) => {
    await store(more)
    await poll(q, "w1") // what a broker has just seen is in the next answer
    return (await seen()).per_minute
  }
  expect(await rateOf({ minute: minute - 3, ended: 50, ended_before: 50 })).toBe(0)
  expect(await rateOf({ minute: minute - 1, ended: 1_000_000, ended_before: 0 })).toBeWithin(0, 1_000_001)

  // A count that arrives in the next minute keeps that of the minute before.
  await store({ minute: minute - 1, ended: 40, ended_before: 7 })
  await q.submit()
  const [{ id, lease }] = (await q.lease()) as [LeasedTask, ...LeasedTask[]]
  await q.ask("POST", "/ack", { task_id: id, lease })
  await q.broker.queue.parts.workers.flush()
  const after = JSON.parse((await redis.hget(WORKERS, "w1"))!)
  expect(after).toMatchObject({ ended: 1, ended_before: after.minute === minute ? 40 : 0 })
})

test("workers are listed by name and by state", async () => {
  await using q = await ServedQueue.open()
  await q.submit()
  for (const worker of ["stale", "gone", "live", "drained"]) await poll(q, worker)
  await q.ask("POST", "/workers/drained/drain")
  for (const worker of ["stale", "gone"]) await age(q, worker)
  const named = async (query: string) =>
    (await listed(q, query)).map(({ worker, state }) => `${worker} ${state}`)
  await until("the list is read again", async () => (await named("")).length === 4)
  await until("two are away", async () => (await named("?state=gone,stale")).length === 2)
  expect(await named("?state=gone")).toEqual(["gone gone"])
  expect(await named("?state=stale")).toEqual(["stale stale"])
  expect(await named("?state=live,draining,stale")).toEqual(["drained draining", "live live", "stale stale"])
  expect(await named("?worker=live")).toEqual(["live live"])
  expect(await named("?worker=live&state=gone")).toEqual([])
  expect((await q.ask("GET", "/workers?state=dead")).body).toMatchObject({
    code: "bad_request",
    field: "state.0",
  })
})
