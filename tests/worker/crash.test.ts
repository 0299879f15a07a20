/**
 * `kill -9` in mid-work: of workers, brokers and Redis. What was acknowledged is kept, every task ends, and none
 * is finished twice. A lease that the dead held is moved into the past instead of waited for.
 */
import { expect, setDefaultTimeout, test } from "bun:test"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { BrokerProblem, BrokerUnreachable, type Client } from "../../lib/client.ts"
import type { Submit } from "../../lib/wire/submitting.ts"
import { runsByWorker } from "../support/handlers.ts"
import { DirectQueue } from "../support/harness.ts"
import { directory, startBroker, startWorker, until } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

setDefaultTimeout(60_000)

/** Repeats a request until the broker gives a final answer, as clients should. */
async function persist<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call()
    } catch (error) {
      const again = error instanceof BrokerUnreachable || (error instanceof BrokerProblem && error.retryable)
      if (!again) throw error
      await Bun.sleep(5)
    }
  }
}

/** Workers in this process that record the broker's answers. */
class Recorder {
  /** Per task, the lease of each ack that was answered `acknowledged`. */
  readonly accepted = new Map<string, string[]>()
  lost = 0
  inHand = 0
  #stopped = false
  readonly #loops: Promise<void>[]

  constructor(
    readonly clients: readonly Client[],
    readonly direct: DirectQueue,
    workers = 6,
  ) {
    this.#loops = Array.from({ length: workers }, (_, i) => this.#work(clients[i % clients.length]!))
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#loops)
  }

  async #work(client: Client): Promise<void> {
    while (!this.#stopped) {
      const { tasks } = await persist(() =>
        client.lease({ queues: [this.direct.name], max: 10, wait_ms: 20 }, { timeoutMs: 2_000 }),
      )
      this.inHand += tasks.length
      for (const { id, lease } of tasks) {
        // Now and then a late ack: the lease has lapsed while the task ran.
        if (Math.random() < 0.05) await this.direct.lapse(id).catch(() => {})
        await Bun.sleep(Math.random() * 3)
        try {
          const { status } = await persist(() => client.ack({ task_id: id, lease, status: "done" }))
          if (status === "acknowledged") this.accepted.set(id, [...(this.accepted.get(id) ?? []), lease])
        } catch (error) {
          if (!(error instanceof BrokerProblem) || error.code !== "lease_lost") throw error
          this.lost++
        }
      }
      this.inHand -= tasks.length
    }
  }
}

/** Submits tasks until it is stopped, and records which were acknowledged. */
class Submitter {
  readonly ids: string[] = []
  #stopped = false
  readonly #loop: Promise<void>

  constructor(
    readonly clients: readonly Client[],
    readonly task: Submit,
  ) {
    this.#loop = this.#work()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#loop
  }

  async #work(): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      const client = this.clients[n % this.clients.length]!
      const batch = Array.from({ length: 20 }, () => this.task)
      for (const answer of await persist(() => client.submitMany(batch, { timeoutMs: 2_000 }))) {
        if (answer instanceof BrokerProblem) throw answer
        this.ids.push(answer.task_id)
      }
      // Slow enough that tasks are running when it stops.
      await Bun.sleep(10)
    }
  }
}

const MAX_CRASHES = 1_000

/** Redis with an AOF, two brokers, recording workers in this process, and one worker in its own process. */
async function crowd(all: AsyncDisposableStack) {
  const use = <T extends AsyncDisposable>(what: T) => all.use(what)
  const redis = use(await testRedis({ aof: "always" }))
  const runs = use(await directory())
  const direct = use(new DirectQueue(redis.socket, "recorded"))
  const processes = use(new DirectQueue(redis.socket, "processes"))
  for (const { redis } of [direct, processes]) redis.on("error", () => {})
  const brokers = [use(await startBroker(redis.socket)), use(await startBroker(redis.socket))]
  const clients = brokers.map(({ client }) => client)
  const worker = use(await startWorker(brokers[0]!.url, runs, { QUEUES: processes.name }))
  const recorder = new Recorder(clients, direct)
  const submitters = [direct, processes].map(
    ({ name }) =>
      new Submitter(clients, {
        type: "record",
        queue: name,
        max_crashes: MAX_CRASHES,
        payload: "x".repeat(100),
      }),
  )

  return {
    redis,
    brokers,
    runs,
    worker,
    /** Waits until this many more tasks were submitted and some more have finished. */
    async progress(tasks = 300) {
      const from = submitters.map(({ ids }) => ids.length)
      const finished = recorder.accepted.size
      const grown = () => submitters.every(({ ids }, i) => ids.length >= from[i]! + tasks)
      await until("more tasks submitted and done", () => grown() && recorder.accepted.size > finished + 50)
    },
    /** Lets everything finish, then checks the invariants. */
    async finish() {
      for (const submitter of submitters) await submitter.stop()
      for (const each of [direct, processes])
        await until(`all tasks of ${each.name} done`, async () => {
          await lapseAll(each)
          return (await unfinished(each)) === 0
        })
      await recorder.stop()

      const [recorded, processed] = submitters.map(({ ids }) => ids) as [string[], string[]]
      expect(new Set(recorded).size).toBe(recorded.length)
      for (const ids of [recorded, processed]) await allDone(clients, ids)
      // For each task exactly one lease was acknowledged, and Redis has the task done by that lease.
      for (const [id, leases] of recorder.accepted) {
        expect(new Set(leases).size).toBe(1)
        expect([await direct.field(id, "state"), await direct.field(id, "lease")]).toEqual([
          "done",
          leases[0]!,
        ])
      }
      for (const id of recorded) expect(recorder.accepted.has(id)).toBeTrue()
      const ran = new Set((await runsByWorker(runs.path)).flat())
      for (const id of processed) expect(ran.has(id)).toBeTrue()
      return { submitted: recorded.length + processed.length, lost: recorder.lost }
    },
  }
}

/** Lapses all leases, so that tasks of dead workers run again. A worker that still runs one gets lease_lost. */
async function lapseAll(direct: DirectQueue): Promise<void> {
  const leases = direct.key("leases")
  const ids = await direct.redis.zrange(leases, "0", "-1")
  await Promise.all(ids.map(id => direct.redis.zadd(leases, "XX", 1, id)))
  await Bun.sleep(100)
}

async function unfinished(direct: DirectQueue): Promise<number> {
  const ready = Array.from({ length: 10 }, (_, priority) =>
    direct.redis.llen(direct.key("ready", `${priority}`)),
  )
  const sets = (["leases", "due", "dead"] as const).map(name => direct.redis.zcard(direct.key(name)))
  const counts = await Promise.all([...ready, ...sets])
  return counts.reduce((sum, count) => sum + count, 0)
}

async function allDone(clients: readonly Client[], ids: readonly string[]): Promise<void> {
  for (let from = 0; from < ids.length; from += 100) {
    const tasks = await Promise.all(
      ids.slice(from, from + 100).map((id, i) => clients[i % clients.length]!.status(id)),
    )
    for (const { status } of tasks) expect(status).toBe("done")
  }
}

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
  const refused = await sleeper.logged("The outcome was dropped")
  expect(String(refused.error)).toContain("lease_lost")
  await scene.client.ack({ task_id: id, lease: task!.lease, status: "done", result: "the second's" })
  expect(await scene.client.status(id)).toMatchObject({ status: "done", attempt: 2, result: "the second's" })
})
