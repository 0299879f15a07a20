/**
 * `kill -9` in mid-work: of workers, brokers and Redis. What was acknowledged is kept, every task ends, and none
 * is finished twice. A lease that the dead held is moved into the past instead of waited for.
 */
import { expect, setDefaultTimeout, test } from "bun:test"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { runsByWorker } from "../support/handlers.ts"
import { DirectQueue } from "../support/harness.ts"
import { crowd } from "../support/kills.ts"
import { directory, startBroker, startWorker, until } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

setDefaultTimeout(180_000)

test("kill -9 of a worker: another worker does its tasks", async () => {
  await using all = new AsyncDisposableStack()
  const scene = await crowd(all)
  await scene.progress()
  for (let round = 0; round < 2; round++) {
    await scene.worker.kill9()
    await scene.progress(50)
    scene.worker = all.use(await startWorker(scene.brokers[1]!.url, scene.runs, { QUEUES: "processes" }))
    await scene.progress()
  }
  await scene.finish()
})

test("kill -9 of a broker: its clients continue with its replacement", async () => {
  await using all = new AsyncDisposableStack()
  const scene = await crowd(all)
  await scene.progress()
  for (let round = 0; round < 2; round++) {
    const { process, port } = scene.brokers[round]!
    await process.kill9()
    all.use(await startBroker(scene.redis.socket, { PORT: port }))
    await scene.progress()
  }
  await scene.finish()
})

test("kill -9 of Redis: everything that was acknowledged is still there", async () => {
  await using all = new AsyncDisposableStack()
  const scene = await crowd(all)
  await scene.progress()
  for (let round = 0; round < 3; round++) {
    await scene.redis.kill9()
    await scene.redis.restart()
    await scene.progress()
  }
  const { lost } = await scene.finish()
  // The fence was exercised, not only present.
  expect(lost).toBeGreaterThan(0)
})

test("kill -9 of all of them at once: the next start finds every task", async () => {
  await using all = new AsyncDisposableStack()
  const scene = await crowd(all)
  await scene.progress()
  await Promise.all(
    [scene.redis, scene.worker, ...scene.brokers.map(b => b.process)].map(each => each.kill9()),
  )
  await scene.redis.restart()
  for (const { port } of scene.brokers) all.use(await startBroker(scene.redis.socket, { PORT: port }))
  all.use(await startWorker(scene.brokers[0]!.url, scene.runs, { QUEUES: "processes" }))
  await scene.progress()
  await scene.finish()
})

/** A broker and a worker process, for one task at a time. */
async function pair(all: AsyncDisposableStack) {
  const redis = all.use(await testRedis())
  const runs = all.use(await directory())
  const direct = all.use(new DirectQueue(redis.socket, "default"))
  const { url, client } = all.use(await startBroker(redis.socket))
  return {
    direct,
    client,
    // One task at a time, so that a stopped worker has no open long poll that would lease the task again.
    startWorker: async () => all.use(await startWorker(url, runs, { CONCURRENCY: "1" })),
    /** Waits until this many runs have started. */
    begun: (count: number) =>
      until(`${count} runs`, async () => (await runsByWorker(runs.path)).flat().length === count),
    until: (id: string, status: string) =>
      until(`${id} ${status}`, async () => (await client.status(id)).status === status),
    /** The file that lets the tasks of type `hold` end. */
    go: () => writeFile(join(runs.path, "go"), ""),
  }
}

test("the task of a killed worker goes to another, and the lapse counts as a crash", async () => {
  await using all = new AsyncDisposableStack()
  const scene = await pair(all)
  const first = await scene.startWorker()
  const { task_id: id } = await scene.client.submit({ type: "hold" })
  await scene.begun(1)
  await first.kill9()
  await scene.direct.lapse(id)
  await scene.startWorker()
  await scene.begun(2)
  await scene.go()
  await scene.until(id, "done")
  expect(await scene.client.status(id)).toMatchObject({ attempt: 2, crashes: 1, retries: 0, result: "held" })
})

test("a task that kills every worker ends as dead with the reason crashed", async () => {
  await using all = new AsyncDisposableStack()
  const scene = await pair(all)
  const { task_id: id } = await scene.client.submit({ type: "kill", max_crashes: 2 })
  for (let attempt = 1; attempt <= 3; attempt++) {
    const worker = await scene.startWorker()
    expect(await worker.ended()).toBe("SIGKILL")
    expect(await scene.client.status(id)).toMatchObject({ status: "processing", attempt })
    await scene.direct.lapse(id)
  }
  await scene.until(id, "dead")
  const { dlq_size, tasks } = await scene.client.dlq()
  expect(dlq_size).toBe(1)
  expect(tasks[0]).toMatchObject({ id, reason: "crashed", crashes: 3, retries: 0 })
})

test("a worker that wakes after its lease lapsed has its ack refused", async () => {
  await using all = new AsyncDisposableStack()
  const scene = await pair(all)
  const sleeper = await scene.startWorker()
  const { task_id: id } = await scene.client.submit({ type: "hold" })
  await scene.begun(1)
  sleeper.signal("SIGSTOP")
  await scene.direct.lapse(id)
  const [task] = (await scene.client.lease({ wait_ms: 5_000 })).tasks
  expect(task).toMatchObject({ id, attempt: 2 })
  await scene.go()
  sleeper.signal("SIGCONT")
  const refused = await sleeper.logged("The outcome was discarded")
  expect(String(refused.error)).toContain("lease_lost")
  await scene.client.ack({ task_id: id, lease: task!.lease, status: "done", result: "the second's" })
  expect(await scene.client.status(id)).toMatchObject({ status: "done", attempt: 2, result: "the second's" })
})
