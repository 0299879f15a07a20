/** Many tasks through many processes without faults: each is run exactly once and done. */
import { expect, test } from "bun:test"
import { BrokerProblem } from "../../lib/client.ts"
import { runsByWorker } from "../support/handlers.ts"
import { DirectQueue } from "../support/harness.ts"
import { directory, startBroker, startWorker, until } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

const TASKS = 20_000
const BATCH = 500

test("20,000 tasks through 3 brokers and 8 worker processes are run once each", async () => {
  await using all = new AsyncDisposableStack()
  const redis = all.use(await testRedis({ aof: "always" }))
  const runs = all.use(await directory())
  const direct = all.use(new DirectQueue(redis.socket, "many"))
  const brokers = await Promise.all([1, 2, 3].map(async () => all.use(await startBroker(redis.socket))))
  const workers = await Promise.all(
    Array.from({ length: 8 }, async (_, i) =>
      all.use(await startWorker(brokers[i % 3]!.url, runs, { QUEUES: "many", CONCURRENCY: "100" })),
    ),
  )

  const started = performance.now()
  const ids: string[] = []
  const batches = Array.from({ length: TASKS / BATCH }, (_, i) => i)
  await Promise.all(
    brokers.map(async ({ client }) => {
      for (let batch = batches.pop(); batch !== undefined; batch = batches.pop()) {
        const answers = await client.submitMany(
          Array.from({ length: BATCH }, (_, i) => ({ type: "record", queue: "many", payload: { batch, i } })),
        )
        for (const answer of answers) {
          if (answer instanceof BrokerProblem) throw answer
          ids.push(answer.task_id)
        }
      }
    }),
  )
  const submitted = performance.now()
  await until("all done", async () => (await direct.doneCount()) === TASKS, 50_000)
  const done = performance.now()

  const ran = (await runsByWorker(runs.path)).flat()
  expect(new Set(ids).size).toBe(TASKS)
  expect(ran.length).toBe(TASKS)
  expect(new Set(ran)).toEqual(new Set(ids))
  expect((await runsByWorker(runs.path)).length).toBe(workers.length)
  expect(await direct.redis.zcard(direct.key("leases"))).toBe(0)
  for (const { client } of brokers) {
    expect(await client.dlq()).toEqual({ dlq_size: 0, tasks: [] })
    for (const id of ids.filter((_, i) => i % 500 === 0))
      expect(await client.status(id)).toMatchObject({ status: "done", attempt: 1, retries: 0, crashes: 0 })
  }
  for (const worker of workers) expect(await worker.stop()).toBe(0)
  for (const { process } of brokers) expect(await process.stop()).toBe(0)
  const seconds = (from: number, to: number) => `${((to - from) / 1_000).toFixed(1)} s`
  console.log(`submitted in ${seconds(started, submitted)}, all done after ${seconds(started, done)}`)
}, 180_000)
