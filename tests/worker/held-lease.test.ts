import { describe, expect, test } from "bun:test"
import { Client } from "../../lib/client.ts"
import type { Handler, HandlerContext } from "../../lib/handlers.ts"
import type { Extend } from "../../lib/wire/working.ts"
import { LeaseLost, TaskCancelled } from "../../lib/worker/held-lease.ts"
import { FakeBroker, problem } from "../support/fake-broker.ts"

/** The time limit of tasks that are extended twice, every third of it. The process may be late by as much. */
const EXTENDED_MS = 3_000

/** How long a broker that hangs takes to answer. */
const HANG_MS = 8_000

/** Ends when its signal fires, with the signal's reason. */
const untilAborted = (signal: AbortSignal) =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))

describe("leases", () => {
  test("leases of running tasks are extended together, as long as the handlers run", async () => {
    await using broker = new FakeBroker()
    const gate = Promise.withResolvers<void>()
    const signals: AbortSignal[] = []
    const tasks = [1, 2, 3].map(() => broker.task({ type: "wait", timeout_ms: EXTENDED_MS }))
    const wait: Handler = (_, { signal }) => {
      signals.push(signal)
      return gate.promise
    }
    broker.worker({ wait })
    await broker.until(() => broker.extendBatches.length >= 2)
    expect(broker.extendBatches[0]).toEqual(tasks.map(({ id, lease }) => ({ task_id: id, lease })))
    expect(signals.some(signal => signal.aborted)).toBe(false)
    gate.resolve()
    await broker.until(() => broker.acks.length === 3)
    const before = broker.extendBatches.length
    await Bun.sleep(EXTENDED_MS / 3 + 100)
    expect(broker.extendBatches.length).toBe(before)
  })

  test("a handler whose lease is lost is aborted, its result is dropped, and the others continue", async () => {
    await using broker = new FakeBroker()
    const [lost, kept] = [1, 2].map(() => broker.task({ type: "wait", timeout_ms: 1_500 }))
    const gate = Promise.withResolvers<void>()
    const reasons: unknown[] = []
    broker.on("extend", (batch: Extend[]) =>
      batch.map(({ task_id }) =>
        task_id === lost!.id
          ? { error: "lost", code: "lease_lost", status: 409, title: "lost" }
          : { status: "ok", task_id, lease_expires_at: 0 },
      ),
    )
    const worker = broker.worker({
      wait: async (_, { signal }) => {
        signal.addEventListener("abort", () => reasons.push(signal.reason))
        if (signal.aborted) return
        await Promise.race([gate.promise, untilAborted(signal).catch(() => {})])
        return "made"
      },
    })
    await broker.until(() => reasons.length === 1)
    expect(reasons[0]).toBeInstanceOf(LeaseLost)
    gate.resolve()
    expect(await worker.stop()).toBe(true)
    expect(broker.acks.map(ack => ack.task_id)).toEqual([kept!.id])
  })

  test.each([
    ["refuses to answer", () => problem(503, "redis_unavailable", { "Retry-After": "60" })],
    ["hangs", () => Bun.sleep(HANG_MS).then(() => undefined)],
  ])("a lease lapses by the worker's own clock if the broker %s", async (_, script) => {
    await using broker = new FakeBroker()
    broker.on("extend", script)
    const begun = performance.now()
    let firedAt = 0
    broker.task({ type: "wait", timeout_ms: 200 })
    broker.worker(
      { wait: (_, { signal }) => untilAborted(signal).catch(() => (firedAt = performance.now())) },
      { client: new Client({ url: broker.url, token: "secret", timeoutMs: 60_000 }) },
    )
    await broker.until(() => firedAt > 0)
    // A worker that waited for the answer, or for the 60 s of Retry-After, would be later.
    expect(firedAt - begun).toBeWithin(199, HANG_MS - 1_000)
    expect(broker.acks).toEqual([])
  })

  test("a failed extend is retried before the lease lapses, whatever Retry-After says", async () => {
    await using broker = new FakeBroker()
    let tries = 0
    broker.on("extend", () =>
      ++tries === 1 ? problem(503, "redis_unavailable", { "Retry-After": "60" }) : undefined,
    )
    broker.task({ type: "nap", timeout_ms: 6_000 })
    broker.worker({
      nap: async () => {
        while (tries < 2) await Bun.sleep(5)
      },
    })
    await broker.until(() => broker.acks.length === 1)
    expect(broker.acks[0]!.status).toBe("done")
  })
})

describe("cancelled", () => {
  test.each([
    ["gives its result all the same", () => "half a result"],
    ["throws the abort reason", ({ signal }: HandlerContext) => signal.throwIfAborted()],
  ])("a handler that hears of it and %s is acked as released", async (_, end) => {
    await using broker = new FakeBroker()
    const task = broker.task({ type: "wait", timeout_ms: 1_500 })
    broker.says.cancelled.push(task.id)
    const reasons: unknown[] = []
    broker.worker({
      wait: async (_, context) => {
        await untilAborted(context.signal).catch(reason => reasons.push(reason))
        return end(context)
      },
    })
    await broker.until(() => broker.acks.length === 1)
    expect(reasons).toEqual([expect.any(TaskCancelled)])
    expect(broker.acks).toEqual([{ task_id: task.id, lease: task.lease, status: "released" }])
  })

  test("a handler that ignores its signal keeps its lease until it ends", async () => {
    await using broker = new FakeBroker()
    const gate = Promise.withResolvers<void>()
    broker.on("extend", (batch: Extend[]) =>
      batch.map(({ task_id }) => ({ status: "cancelled", task_id, lease_expires_at: 0 })),
    )
    broker.task({ type: "wait", timeout_ms: EXTENDED_MS })
    broker.worker({ wait: () => gate.promise })
    await broker.until(() => broker.extendBatches.length >= 2)
    gate.resolve()
    await broker.until(() => broker.acks.length === 1)
  })
})

test("an attempt ends with its max_runtime_ms, however often its lease is extended", async () => {
  await using broker = new FakeBroker()
  const begun = performance.now()
  let reason: unknown
  broker.task({ type: "wait", timeout_ms: 4_000, max_runtime_ms: 2_000 })
  broker.worker({ wait: (_, { signal }) => untilAborted(signal).catch(error => (reason = error)) })
  await broker.until(() => reason !== undefined)
  expect(performance.now() - begun).toBeGreaterThan(1_999)
  expect(broker.extendBatches.length).toBeGreaterThan(0)
  expect(reason).toBeInstanceOf(LeaseLost)
  expect(String(reason)).toContain("max_runtime_ms")
  expect(broker.acks).toEqual([])
})

describe("updates of a handler", () => {
  test("a checkpoint is sent at once, and its promise resolves when the broker has it", async () => {
    await using broker = new FakeBroker()
    const { id, lease } = broker.task({ type: "long", checkpoint: { at: 6 } })
    broker.on("extend", () => (tries++ === 0 ? problem(503, "redis_unavailable") : undefined))
    let tries = 0
    broker.worker({
      long: async (_, { task, progress, log, checkpoint }) => {
        const { at } = task.checkpoint as { at: number }
        progress(0.5)
        log("half\nway")
        await checkpoint({ at: at + 1 })
        return broker.extendBatches.length
      },
    })
    await broker.until(() => broker.acks.length === 1)
    const update = { task_id: id, lease, progress: 0.5, checkpoint: { at: 7 }, log: ["half\nway"] }
    expect(broker.extendBatches).toEqual([[update]])
    expect(broker.acks[0]!.result).toBe(1)
  })

  test("progress and log lines are sent together, within a second or with the ack", async () => {
    await using broker = new FakeBroker()
    for (const ms of [0, 1_200]) broker.task({ type: "busy", payload: ms })
    broker.worker({
      busy: async (ms, { progress, log }) => {
        for (let n = 1; n <= 100; n++) {
          progress({ n })
          log(`line ${n} ${"x".repeat(600)}`)
          if (n % 10 === 0) await Bun.sleep(1)
        }
        await Bun.sleep(Number(ms))
      },
    })
    await broker.until(() => broker.acks.length === 2)
    const extending = broker.works.filter(work => work.extend?.length)
    expect(extending.map(({ settle, extend }) => [settle!.length, extend!.length])).toEqual([
      [1, 1],
      [0, 1],
    ])
    for (const { extend } of extending) {
      const { progress, log } = extend![0]!
      expect(progress).toEqual({ n: 100 })
      expect(log!.map(line => line.length)).toEqual(new Array(20).fill(500))
      expect(log!.at(-1)).toStartWith("line 100 x")
    }
  })

  test("a checkpoint that cannot be stored rejects: too large, lease lost, or attempt over", async () => {
    await using broker = new FakeBroker()
    const errors: unknown[] = []
    let after: (() => Promise<void>) | undefined
    broker.task({ type: "big" })
    broker.task({ type: "lost" })
    broker.on("extend", () => [{ error: "lost", code: "lease_lost", status: 409, title: "lost" }])
    broker.worker({
      big: async (_, { checkpoint }) => {
        after = () => checkpoint(1)
        await checkpoint("x".repeat(20_000)).catch(error => errors.push(error))
      },
      lost: async (_, { checkpoint }) => {
        await checkpoint(1).catch(error => errors.push(error))
      },
    })
    await broker.until(() => errors.length === 2 && broker.acks.length === 1)
    expect(errors).toEqual([expect.any(RangeError), expect.any(LeaseLost)])
    await expect(after!()).rejects.toThrow("the attempt is over")
  })

  test("progress and log lines that cannot be stored are logged, and the task goes on", async () => {
    await using broker = new FakeBroker()
    const cycle: unknown[] = []
    cycle.push(cycle)
    const values = {
      large: { rows: "x".repeat(2_000) },
      bigint: 1n,
      cycle,
      nothing: undefined,
      symbol: Symbol("s"),
      throwing: {
        toJSON() {
          throw new Error("no")
        },
      },
    }
    for (const type of Object.keys(values)) broker.task({ type })
    broker.task({ type: "log" })
    const handlers = Object.entries(values).map(([type, value]): [string, Handler] => [
      type,
      (_, { progress }) => {
        progress({ kept: type })
        progress(value)
        return "made"
      },
    ])
    const log: Handler = (_, context) => {
      context.log(Object.create(null))
      return "made"
    }
    broker.worker({ ...Object.fromEntries(handlers), log })
    await broker.until(() => broker.acks.length === 7)
    expect(broker.acks.map(({ status, result }) => [status, result])).toEqual(Array(7).fill(["done", "made"]))
    const warnings = broker.lines.map(line => JSON.parse(line)).filter(({ level }) => level === "warn")
    expect(warnings.map(({ type }) => type).sort()).toEqual([...Object.keys(values), "log"].sort())
    for (const { message, task_id, error } of warnings) {
      expect(message).toMatch(/^(The progress|A log line) of a task was not stored$/)
      expect([task_id, error]).toEqual([expect.any(String), expect.any(String)])
    }
    const sent = broker.extendBatches.flat().map(({ progress }) => progress)
    expect(sent).toContainEqual({ kept: "large" })
  })

  test("an update that the broker refuses affects neither the lease nor the result", async () => {
    await using broker = new FakeBroker()
    broker.on("extend", (batch: Extend[]) =>
      batch.some(item => "checkpoint" in item) ? problem(400, "bad_request") : undefined,
    )
    broker.task({ type: "it" })
    broker.task()
    broker.worker({
      it: async (_, { checkpoint }) => {
        await checkpoint(1).catch(() => {})
        return "made"
      },
    })
    await broker.until(() => broker.acks.length === 2)
    expect(broker.acks.map(ack => ack.status)).toEqual(["done", "done"])
  })
})
