/** Bulk operations while the broker that works on them is killed or frozen. */
import { expect, test } from "bun:test"
import type { BulkView } from "../../lib/wire/bulk.ts"
import { DirectQueue, until } from "../support/harness.ts"
import { type RunningBroker, startBroker } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

const QUEUE = "q"

async function makeDead({ client }: RunningBroker, count: number): Promise<void> {
  for (let from = 0; from < count; from += 1_000)
    await client.submitMany(Array(1_000).fill({ type: "t", queue: QUEUE, max_retries: 0 }))
  await failAll({ client }, count)
}

/** Leases all tasks and lets them fail. */
async function failAll({ client }: Pick<RunningBroker, "client">, count: number): Promise<void> {
  for (let failed = 0; failed < count; ) {
    const { tasks } = await client.lease({ queues: [QUEUE], max: 1_000 })
    if (tasks.length === 0) throw new Error(`Only ${failed} tasks`)
    await client.ackMany(tasks.map(({ id, lease }) => ({ task_id: id, lease, status: "failed" as const })))
    failed += tasks.length
  }
}

async function viewUntil(
  of: RunningBroker,
  id: string,
  holds: (view: BulkView) => boolean,
): Promise<BulkView> {
  let view: BulkView | undefined
  await until("the operation is as expected", async () => {
    view = await of.client.bulkOperation(id)
    return holds(view)
  })
  return view!
}

/** Waits until the tasks of a page are being changed. */
async function pageInHand({ socket }: { socket: string }, id: string): Promise<void> {
  await using direct = new DirectQueue(socket)
  const read = () => direct.redis.hmget(`tq:bulk{b}:operation:${id}`, "page", "ended")
  await until("a page is in hand", async () => (await read()).some(Boolean))
}

const retryAll = ({ client }: RunningBroker) =>
  client.startBulk({ action: "retry", filter: { queue: QUEUE }, reason: "a fault run" })

test("the broker that works on 10,000 retries is killed, and another one finishes with the right counts", async () => {
  const TASKS = 10_000
  await using redis = await testRedis()
  await using survivor = await startBroker(redis.socket)
  await makeDead(survivor, TASKS)
  await using victim = await startBroker(redis.socket)
  const { bulk_id } = await retryAll(victim)
  await pageInHand(redis, bulk_id)
  await victim.process.kill9()
  const ended = await viewUntil(survivor, bulk_id, ({ ended_at }) => ended_at !== undefined)
  expect(ended).toMatchObject({
    state: "finished",
    progress: { total: TASKS, done: TASKS, skipped: 0 },
    outcome: { succeeded: 0, died_again: 0, other: 0, still_going: TASKS },
  })
  expect((await survivor.client.queue(QUEUE)).depth).toMatchObject({ queued: TASKS, dead: 0 })
  await failAll(survivor, TASKS)
  const followed = await viewUntil(survivor, bulk_id, ({ outcome }) => outcome!.still_going === 0)
  expect(followed.outcome).toEqual({ succeeded: 0, died_again: TASKS, other: 0, still_going: 0 })
})

test("the broker that submits 1,000 tasks again is killed, and another one submits each of them once", async () => {
  const TASKS = 1_000
  await using redis = await testRedis()
  await using survivor = await startBroker(redis.socket)
  await makeDead(survivor, TASKS)
  await using victim = await startBroker(redis.socket)
  const filter = { queue: QUEUE, state: "dead" } as const
  const { bulk_id } = await victim.client.startBulk({ action: "submit_again", filter })
  await pageInHand(redis, bulk_id)
  await victim.process.kill9()
  const ended = await viewUntil(survivor, bulk_id, ({ ended_at }) => ended_at !== undefined)
  expect(ended).toMatchObject({ state: "finished", progress: { total: TASKS, done: TASKS, skipped: 0 } })
  const { tasks } = await survivor.client.tasks({ state: "queued", queue: QUEUE, limit: TASKS })
  expect(new Set(tasks.map(({ again_of }) => again_of)).size).toBe(TASKS)
  expect((await survivor.client.queue(QUEUE)).depth).toMatchObject({ queued: TASKS, dead: TASKS })
})

test("a broker that was frozen meanwhile retries no task again that has died again", async () => {
  const TASKS = 3_000
  await using redis = await testRedis()
  await using survivor = await startBroker(redis.socket)
  await makeDead(survivor, TASKS)
  await using frozen = await startBroker(redis.socket)
  const { bulk_id } = await retryAll(frozen)
  await pageInHand(redis, bulk_id)
  frozen.process.signal("SIGSTOP")
  try {
    const ended = await viewUntil(survivor, bulk_id, ({ ended_at }) => ended_at !== undefined)
    expect(ended.progress).toMatchObject({ done: TASKS, skipped: 0 })
    await failAll(survivor, TASKS)
  } finally {
    frozen.process.signal("SIGCONT")
  }
  await frozen.client.healthz({ timeoutMs: 30_000 })
  const { outcome, progress } = await viewUntil(survivor, bulk_id, view => view.outcome!.still_going === 0)
  expect([outcome!.died_again, progress.done]).toEqual([TASKS, TASKS])
  expect((await survivor.client.queue(QUEUE)).depth).toMatchObject({ queued: 0, dead: TASKS })
})

test("a broker that stops in good order hands its operation to another one", async () => {
  const TASKS = 3_000
  await using redis = await testRedis()
  await using survivor = await startBroker(redis.socket)
  await makeDead(survivor, TASKS)
  await using leaving = await startBroker(redis.socket)
  const { bulk_id } = await leaving.client.startBulk({
    action: "retry",
    filter: { queue: QUEUE },
    rate: 1_000,
    limit: 2_000,
  })
  await viewUntil(survivor, bulk_id, ({ progress }) => progress.done > 0)
  expect(await leaving.process.stop()).toBe(0)
  const ended = await viewUntil(survivor, bulk_id, ({ ended_at }) => ended_at !== undefined)
  expect(ended).toMatchObject({ state: "finished", progress: { done: 2_000, skipped: 0 } })
})
