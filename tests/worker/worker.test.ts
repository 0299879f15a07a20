import { describe, expect, test } from "bun:test"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Client } from "../../lib/client.ts"
import { readWorkerConfig } from "../../lib/config/config.ts"
import { BUILT_IN, type Handler, type HandlerContext } from "../../lib/handlers.ts"
import { createLog } from "../../lib/log.ts"
import type { Ack } from "../../lib/wire/working.ts"
import { TaskRunner, WorkerStopping } from "../../lib/worker/task-runner.ts"
import { workerName } from "../../lib/worker/task-worker.ts"
import { createWorker } from "../../worker.ts"
import { FakeBroker, problem } from "../support/fake-broker.ts"
import { freshName, TOKEN, testBroker, until } from "../support/harness.ts"

/** Ends when its signal fires, with the signal's reason. */
const untilAborted = (signal: AbortSignal) =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))

describe("polling", () => {
  test("one poll at a time asks for as many tasks as there are free slots, and none while all are busy", async () => {
    await using broker = new FakeBroker()
    const gate = Promise.withResolvers<void>()
    for (const turns of [0, 5, 50]) broker.task({ type: "wait", payload: turns })
    const wait: Handler = async turns => {
      await gate.promise
      for (let n = 0; n < Number(turns); n++) await null
    }
    broker.worker({ wait }, { concurrency: 3 })
    await broker.until(() => broker.polls.length === 1 && broker.pollsUnderWay === 0)
    await Bun.sleep(30)
    expect(broker.works).toEqual([{ queues: ["default"], max: 3, wait_ms: 5_000, worker: "tester" }])
    gate.resolve()
    await broker.until(() => broker.polls.length === 3)
    expect(broker.polls[1]).toMatchObject({ settle: [{}, {}, {}], max: 3 })
    expect(broker.polls[2]).toMatchObject({ max: 3, wait_ms: 5_000 })
    for (let n = 0; n < 20; n++) broker.task()
    await broker.until(() => broker.acks.length === 23)
    expect(broker.mostPollsAtOnce).toBe(1)
  })

  test("one request settles what has ended and fetches what comes next", async () => {
    await using broker = new FakeBroker()
    for (let n = 0; n < 8; n++) broker.task()
    broker.worker()
    await broker.until(() => broker.acks.length === 8 && broker.pollsUnderWay === 1)
    expect(broker.works.map(({ settle, max }) => [settle?.length ?? 0, max])).toEqual([
      [0, 4],
      [4, 4],
      [4, 4],
      [0, 4],
    ])
  })

  test("tasks that end during a poll are acked beside it", async () => {
    await using broker = new FakeBroker()
    const gates = [1, 2].map(() => Promise.withResolvers<void>())
    for (const n of [0, 1]) broker.task({ type: "wait", payload: n })
    broker.worker({ wait: n => gates[Number(n)]!.promise }, { concurrency: 5 })
    await broker.until(() => broker.polls.length === 2)
    expect(broker.polls[1]!.max).toBe(3)
    gates[0]!.resolve()
    await broker.until(() => broker.acks.length === 1)
    gates[1]!.resolve()
    await broker.until(() => broker.acks.length === 2)
    expect(broker.works.slice(2).map(({ settle, max }) => [settle?.length, max])).toEqual([
      [1, 1],
      [1, 2],
    ])
    expect([broker.mostPollsAtOnce, broker.pollsUnderWay]).toEqual([1, 1])
  })

  test("tasks that finish together are acked together", async () => {
    await using broker = new FakeBroker()
    for (let n = 0; n < 4; n++) broker.task()
    broker.worker()
    await broker.until(() => broker.acks.length === 4)
    expect(broker.ackBatches.map(batch => batch.length)).toEqual([4])
  })

  test("an unreachable broker is retried until it is back", async () => {
    await using broker = new FakeBroker()
    await broker.stop()
    broker.worker()
    await broker.until(() => broker.lines.some(line => line.includes("leases no tasks")))
    await Bun.sleep(30)
    broker.start()
    broker.task()
    await broker.until(() => broker.acks.length === 1)
    expect(broker.lines.some(line => line.includes("The broker answers again"))).toBe(true)
  })

  test("a refused token is logged once, and retried", async () => {
    await using broker = new FakeBroker()
    let refusals = 0
    broker.on("fetch", () => (++refusals <= 3 ? problem(401, "unauthorized") : undefined))
    broker.task()
    broker.worker()
    await broker.until(() => broker.acks.length === 1)
    expect(broker.lines.filter(line => line.includes("refuses the token of this worker"))).toHaveLength(1)
  })

  test("Retry-After is respected", async () => {
    await using broker = new FakeBroker()
    const asked: number[] = []
    broker.on("fetch", () => {
      asked.push(performance.now())
      return asked.length === 1 ? problem(503, "redis_unavailable", { "Retry-After": "1" }) : undefined
    })
    broker.worker()
    await broker.until(() => asked.length === 2)
    expect(asked[1]! - asked[0]!).toBeGreaterThan(990)
  })
})

describe("with a real broker", () => {
  test("1,000 instant tasks in 50 slots take about one request per batch", async () => {
    await using broker = await testBroker()
    const queue = freshName()
    const client = new Client({ url: broker.url, token: TOKEN })
    await client.submitMany(Array.from({ length: 1_000 }, (_, n) => ({ type: "echo", queue, payload: n })))
    let requests = 0
    let [settled, fetched] = [0, 0]
    const counting: Pick<Client, "work"> = {
      async work(request, options) {
        requests++
        const answer = await client.work(request, options)
        settled += answer.settled.length
        fetched += answer.tasks.length
        return answer
      },
    }
    const worker = new TaskRunner({
      client: counting,
      handlers: new Map(Object.entries(BUILT_IN)),
      log: createLog("silent"),
      name: "counted",
      queues: [queue],
      concurrency: 50,
      drainMs: 1_000,
    })
    await until("all are settled", () => settled === 1_000)
    expect(await worker.stop()).toBe(true)
    expect(fetched).toBe(1_000)
    expect(requests).toBeLessThan(40)
  })

  test("a task reports progress, is cancelled, and ends as cancelled", async () => {
    await using broker = await testBroker()
    const queue = freshName()
    const client = new Client({ url: broker.url, token: TOKEN })
    const { task_id } = await client.submit({ type: "long", queue, timeout_ms: 2_000 })
    const worker = new TaskRunner({
      client,
      handlers: new Map([
        [
          "long",
          async (_: unknown, { progress, log, checkpoint, signal }: HandlerContext) => {
            log("begun")
            progress({ done: 1, of: 3 })
            await checkpoint({ at: 1 })
            await untilAborted(signal)
          },
        ],
      ]),
      log: createLog("silent"),
      name: "teller",
      queues: [queue],
      concurrency: 2,
      drainMs: 1_000,
    })
    await until(
      "the checkpoint is stored",
      async () => (await client.status(task_id)).checkpoint !== undefined,
    )
    expect(await client.status(task_id)).toMatchObject({
      progress: { done: 1, of: 3 },
      checkpoint: { at: 1 },
      log: ["begun"],
    })
    expect(await client.cancel(task_id)).toEqual({ status: "cancelling", task_id })
    expect((await client.status(task_id, { wait_ms: 20_000 })).status).toBe("cancelled")
    expect(await worker.stop()).toBe(true)
  })
})

describe("acks", () => {
  test("an ack is repeated unchanged until an unreachable broker is back and answers it", async () => {
    await using broker = new FakeBroker()
    const seen: Ack[] = []
    broker.on("settle", (batch: Ack[]) => {
      seen.push(...batch)
      return seen.length < 4 ? problem(503, "redis_unavailable") : undefined
    })
    const task = broker.task({ payload: 1 })
    broker.worker()
    await broker.until(() => broker.acks.length === 1)
    const ack: Ack = { task_id: task.id, lease: task.lease, status: "done", result: 1 }
    expect(seen).toEqual([ack, ack, ack, ack])
  })

  test("an ack survives a broker that dies and comes back", async () => {
    await using broker = new FakeBroker()
    const gate = Promise.withResolvers<string>()
    broker.task({ type: "wait" })
    broker.worker({ wait: () => gate.promise }, { concurrency: 1 })
    await broker.until(() => broker.polls.length === 1 && broker.pollsUnderWay === 0)
    await broker.stop()
    gate.resolve("kept")
    await broker.until(() => broker.lines.some(line => line.includes("keeps its acks")))
    broker.start()
    await broker.until(() => broker.acks.length === 1)
    expect(broker.acks[0]!.result).toBe("kept")
  })

  test("a late ack is logged and dropped, and the others are kept", async () => {
    await using broker = new FakeBroker()
    const [late, good] = [broker.task(), broker.task()]
    let requests = 0
    broker.on("settle", (batch: Ack[]) => {
      requests++
      return batch.map(({ task_id }) =>
        task_id === late.id
          ? { error: "lost", code: "lease_lost", status: 409, title: "lost", task_id }
          : { status: "acknowledged", task_id },
      )
    })
    const worker = broker.worker()
    await broker.until(() =>
      broker.lines.some(line => line.includes("The outcome was discarded") && line.includes(late.id)),
    )
    expect(await worker.stop()).toBe(true)
    expect(requests).toBe(1)
    expect(broker.lines.some(line => line.includes("An attempt was settled") && line.includes(good.id))).toBe(
      true,
    )
  })

  test.each([
    ["the broker", () => problem(413, "too_large")],
    ["the HTTP server before it reads them", () => new Response(null, { status: 413 })],
  ])(
    "a batch too big for %s is halved, and a result too big by itself fails its task",
    async (_, refusal) => {
      await using broker = new FakeBroker()
      broker.on("settle", (batch: Ack[]) => (JSON.stringify(batch).length > 1_000 ? refusal() : undefined))
      for (const size of [400, 400, 5_000, 400]) broker.task({ payload: "x".repeat(size) })
      broker.worker()
      await broker.until(() => broker.acks.length === 4)
      const byId = broker.acks.toSorted((a, b) => a.task_id.localeCompare(b.task_id))
      expect(byId.map(ack => ack.status)).toEqual(["done", "done", "failed", "done"])
      expect(byId[2]!.error).toContain("the handler's result is too large for the broker")
      expect(byId[2]!.lease).toBeDefined()
    },
  )
})

describe("stopping", () => {
  test("a worker that stops aborts its poll and lets running tasks end", async () => {
    await using broker = new FakeBroker()
    const gate = Promise.withResolvers<string>()
    broker.task({ type: "wait" })
    const worker = broker.worker({ wait: () => gate.promise })
    await broker.until(() => broker.polls.length === 2)
    const stopped = worker.stop()
    await broker.until(() => broker.pollsAborted === 1)
    gate.resolve("ended")
    expect(await stopped).toBe(true)
    expect(broker.acks.map(ack => [ack.status, ack.result])).toEqual([["done", "ended"]])
    expect(broker.polls).toHaveLength(2)
  })

  test("tasks that outlast the drain are aborted and released without a failure", async () => {
    await using broker = new FakeBroker()
    const reasons: unknown[] = []
    for (const type of ["heeds", "swallows", "ignores"]) broker.task({ type })
    const stopped = (signal: AbortSignal) => untilAborted(signal).catch(reason => void reasons.push(reason))
    const worker = broker.worker(
      {
        heeds: (_, { signal }) => untilAborted(signal),
        swallows: async (_, { signal }) => {
          await stopped(signal)
          return "half a result"
        },
        ignores: () => new Promise(() => {}),
      },
      { drainMs: 20 },
    )
    await broker.until(() => broker.polls.length === 2)
    // A worker that waited for the handler that ignores its signal would never stop.
    expect(await worker.stop()).toBe(true)
    expect(reasons).toEqual([expect.any(WorkerStopping)])
    expect(broker.acks.map(ack => ack.status)).toEqual(["released", "released", "released"])
    expect(broker.acks.some(ack => "result" in ack || "error" in ack)).toBe(false)
  })

  test("a worker that stops without its broker logs how many acks were not answered", async () => {
    await using broker = new FakeBroker()
    broker.on("settle", () => problem(503, "redis_unavailable"))
    broker.task()
    const worker = broker.worker({}, { ackMs: 50 })
    await broker.until(() => broker.lines.some(line => line.includes("keeps its acks")))
    expect(await worker.stop()).toBe(false)
    expect(broker.lines.some(line => line.includes('"unanswered":1'))).toBe(true)
  })

  test("SIGTERM ends the process with 0 after the drain, and a second SIGTERM at once", async () => {
    await using broker = new FakeBroker()
    const env = { ...process.env, BROKER_URL: broker.url, API_SECRET_TOKEN: "secret", DRAIN_MS: "60000" }
    const spawn = () =>
      Bun.spawn([process.execPath, "worker.ts"], { env, stderr: "pipe", cwd: join(import.meta.dir, "../..") })
    await using clean = spawn()
    await broker.until(() => broker.pollsUnderWay === 1)
    clean.kill("SIGTERM")
    expect(await clean.exited).toBe(0)
    await using hurried = spawn()
    await broker.until(() => broker.pollsUnderWay === 1)
    broker.task({ type: "sleep", payload: { ms: 60_000 } })
    await broker.until(() => broker.polls.length === 3)
    hurried.kill("SIGINT")
    hurried.kill("SIGTERM")
    await broker.until(() => broker.pollsAborted === 2)
    await Bun.sleep(600)
    expect(hurried.exitCode).toBeNull()
    hurried.kill("SIGINT")
    expect(await hurried.exited).toBe(1)
  })
})

describe("drained by the broker", () => {
  test("a worker finishes its tasks, takes no more, and is drained", async () => {
    await using broker = new FakeBroker()
    const gate = Promise.withResolvers<void>()
    broker.task({ type: "wait" })
    const worker = broker.worker({ wait: () => gate.promise })
    let drained = false
    void worker.drained().then(() => (drained = true))
    await broker.until(() => broker.polls.length === 2)
    broker.says.drain = true
    broker.task()
    await broker.until(() => broker.pollsUnderWay === 0)
    const polls = broker.polls.length
    await Bun.sleep(20)
    expect(drained).toBe(false)
    gate.resolve()
    await broker.until(() => drained)
    expect(await worker.stop()).toBe(true)
    expect(broker.polls.length).toBe(polls)
    expect(broker.acks).toHaveLength(2)
  })
})

describe("starting", () => {
  test("a worker waits for the token of a broker on its machine, and reads a new one when it is refused", async () => {
    await using broker = new FakeBroker()
    const dir = await mkdtemp(join(tmpdir(), "worker-"))
    try {
      broker.on("/work", (_, request: Request) =>
        request.headers.get("X-API-Token") === "new" ? undefined : problem(401, "unauthorized"),
      )
      const lines: string[] = []
      const log = createLog(
        "info",
        line => {
          lines.push(line)
          if (line.includes("Waiting for")) void writeFile(join(dir, "token"), "old\n")
          if (line.includes("refuses the token of this worker")) void writeFile(join(dir, "token"), "new\n")
        },
        false,
      )
      const config = readWorkerConfig({ BROKER_URL: broker.url, DATA_DIR: dir })
      const worker = await createWorker(
        config,
        log,
        new AbortController().signal,
        {},
        { delays: { firstMs: 5, capMs: 10 } },
      )
      void worker!.run()
      await broker.until(() => broker.polls.length === 1)
      expect(lines[0]).toContain("set API_SECRET_TOKEN")
      expect(await worker!.stop()).toBe(true)
      expect(broker.tokens.at(0)).toBe("old")
      expect(broker.tokens.at(-1)).toBe("new")
    } finally {
      await rm(dir, { recursive: true })
    }
  })

  test("the name that a worker creates is valid for the broker", () => {
    expect(workerName()).toMatch(/^[A-Za-z0-9._-]{1,64}$/)
  })
})
