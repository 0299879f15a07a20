/** A crowd of brokers and workers for tests that kill some of them, and what must hold in the end. */
import { expect } from "bun:test"
import { BrokerProblem, BrokerUnreachable, type Client } from "../../lib/client.ts"
import type { Submit } from "../../lib/wire/submitting.ts"
import { runsByWorker } from "./handlers.ts"
import { DirectQueue } from "./harness.ts"
import { directory, startBroker, startWorker, until } from "./processes.ts"
import { testRedis } from "./redis.ts"

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

/**
 * Redis with an AOF, two brokers, recording workers in this process, and one worker in its own process, which `start`
 * starts.
 */
export async function crowd(all: AsyncDisposableStack, start = startWorker) {
  const use = <T extends AsyncDisposable>(what: T) => all.use(what)
  const redis = use(await testRedis({ aof: "always" }))
  const runs = use(await directory())
  const direct = use(new DirectQueue(redis.socket, "recorded"))
  const processes = use(new DirectQueue(redis.socket, "processes"))
  for (const { redis } of [direct, processes]) redis.on("error", () => {})
  const brokers = [use(await startBroker(redis.socket)), use(await startBroker(redis.socket))]
  const clients = brokers.map(({ client }) => client)
  const worker = use(await start(brokers[0]!.url, runs, { QUEUES: processes.name }))
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
