/** The whole life of one task over HTTP: each trap by its name, each option by its effect. */
import { describe, expect, setDefaultTimeout, test } from "bun:test"
import { Redis } from "ioredis"
import type { BrokerConfig } from "../../lib/config/config.ts"
import { endedChannel, QUEUES, wakeChannel } from "../../lib/redis/keys.ts"
import { splitId } from "../../lib/task/id.ts"
import type { Attempt, TaskView, WhyAnswer } from "../../lib/wire/inspecting.ts"
import type { Submit } from "../../lib/wire/submitting.ts"
import type { LeasedTask, WorkAnswer } from "../../lib/wire/working.ts"
import { Bench, freshName, type TestBroker, testBroker, until } from "../support/harness.ts"
import { checkQueue } from "../support/invariants.ts"
import { sharedRedis } from "../support/redis.ts"

setDefaultTimeout(60_000)

const DAY_MS = 86_400_000
const TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
const OTHER_TRACE = "00-11111111111111111111111111111111-2222222222222222-00"
const FORGED = `1.${"x".repeat(22)}`

interface Reply {
  status: number
  headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: each test says what it expects
  body: any
}

/** One queue, a broker (or two) that serves it, and the words that the tests use. */
class Life implements AsyncDisposable {
  private constructor(
    readonly socket: string,
    readonly broker: TestBroker,
    readonly bench: Bench,
  ) {}

  static async begin(overrides: Partial<BrokerConfig> = {}): Promise<Life> {
    const { socket } = await sharedRedis()
    return new Life(socket, await testBroker(overrides, socket), new Bench(socket))
  }

  get queue(): string {
    return this.bench.name
  }

  async ask(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Reply> {
    const response = await this.broker.call(method, path, body, { headers })
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      body: text === "" ? undefined : JSON.parse(text),
    }
  }

  /** One task; answers its id. */
  async submit(asked: Partial<Submit> = {}): Promise<string> {
    const { status, body } = await this.ask("POST", "/submit", { type: "t", queue: this.queue, ...asked })
    expect([status, body]).toEqual([200, expect.anything()])
    return body.task_id
  }

  async lease(max = 1): Promise<LeasedTask[]> {
    return (await this.ask("POST", "/lease", { queues: [this.queue], max, worker: "w1" })).body.tasks
  }

  /** A task in the hands of a worker. */
  async leased(asked: Partial<Submit> = {}): Promise<LeasedTask> {
    await this.submit(asked)
    const [task] = await this.lease()
    return task!
  }

  ack({ id, lease }: { id: string; lease?: string }, said: object = {}): Promise<Reply> {
    return this.ask("POST", "/ack", { task_id: id, ...(lease === undefined ? {} : { lease }), ...said })
  }

  extend({ id, lease }: { id: string; lease: string }, told: object = {}): Promise<Reply> {
    return this.ask("POST", "/extend", { task_id: id, lease, ...told })
  }

  cancel = (id: string) => this.ask("POST", `/cancel/${id}`)

  /** The task as /status shows it. */
  async task(id: string): Promise<TaskView & { attempts: Attempt[] }> {
    return (await this.ask("GET", `/status/${id}`)).body
  }

  why = async (id: string): Promise<WhyAnswer> => (await this.ask("GET", `/why/${id}`)).body

  async work(asked: object): Promise<WorkAnswer & { settled: Reply["body"][]; extended: Reply["body"][] }> {
    return (await this.ask("POST", "/work", { queues: [this.queue], ...asked })).body
  }

  /** The lease lapses, and a sweep takes the task back. */
  async crash(id: string): Promise<void> {
    await this.bench.lapse(id)
    await this.bench.sweep()
  }

  /** Its delay is over, and a sweep finds it. */
  async becomeDue(id: string): Promise<void> {
    await this.bench.due(id)
    await this.bench.sweep()
  }

  /** The time has come after which it must not start. */
  async expire(id: string): Promise<void> {
    await this.bench.expire(id)
  }

  /** A task that is dead, its one attempt failed. */
  async dead(asked: Partial<Submit> = {}): Promise<string> {
    const task = await this.leased({ max_retries: 0, ...asked })
    expect((await this.ack(task, { status: "failed", error: "no" })).body.status).toBe("moved_to_dlq")
    return task.id
  }

  sweepKeeping(keep: { limit?: number; keep?: number; keep_dead?: number; dead_retention?: number }) {
    const bounds = { limit: 1_000, retention: DAY_MS, dead_retention: DAY_MS, keep: 1e9, keep_dead: 1e9 }
    return this.bench.scripts.call("sweep", this.queue, { ...bounds, ...keep, polled: 0 })
  }

  async [Symbol.asyncDispose]() {
    await checkQueue(this.bench.redis, this.queue)
    await this.broker[Symbol.asyncDispose]()
    await this.bench[Symbol.asyncDispose]()
  }
}

describe("traps", () => {
  test("an ack after the lapse, while another holds the task, is refused though the state is the same", async () => {
    await using q = await Life.begin()
    const first = await q.leased()
    await q.crash(first.id)
    const [second] = await q.lease()
    expect(second).toMatchObject({ id: first.id, attempt: 2 })
    const { status, body } = await q.ack(first)
    expect(status).toBe(409)
    expect(body).toMatchObject({ code: "lease_lost", state: "processing", attempt: 2 })
    expect((await q.extend(first)).body.code).toBe("lease_lost")
    expect((await q.ack(second!, { result: 2 })).body.status).toBe("acknowledged")
    expect(await q.task(first.id)).toMatchObject({ status: "done", result: 2, crashes: 1, retries: 0 })
  })

  test("cancel during backoff stops the retry", async () => {
    await using q = await Life.begin()
    const task = await q.leased({ backoff: { kind: "fixed", delay_ms: 60_000 } })
    expect((await q.ack(task, { status: "failed" })).body.status).toBe("requeued")
    expect((await q.task(task.id)).status).toBe("retrying")
    expect((await q.cancel(task.id)).body).toEqual({ status: "cancelled", task_id: task.id })
    await q.becomeDue(task.id)
    expect(await q.lease()).toEqual([])
    expect((await q.task(task.id)).status).toBe("cancelled")
  })

  test("extend does not re-queue", async () => {
    await using q = await Life.begin()
    const task = await q.leased()
    expect((await q.extend(task, { timeout_ms: 60_000 })).body.status).toBe("ok")
    await q.bench.sweep()
    expect(await q.lease()).toEqual([])
    expect(await q.task(task.id)).toMatchObject({ status: "processing", attempt: 1 })
  })

  test("a timed-out task cannot be taken again by the stale path: its lease neither extends nor settles it", async () => {
    await using q = await Life.begin()
    const task = await q.leased({ max_crashes: 0 })
    await q.crash(task.id)
    expect((await q.extend(task)).body).toMatchObject({ code: "lease_lost", state: "dead" })
    for (const status of ["done", "failed", "released"])
      expect((await q.ack(task, { status })).body).toMatchObject({ code: "lease_lost", state: "dead" })
    expect((await q.ack({ id: task.id })).body).toMatchObject({ code: "not_leased", state: "dead" })
    expect(await q.lease()).toEqual([])
  })

  test("a crash is not billed as a failure: with no retries allowed the task survives it", async () => {
    await using q = await Life.begin()
    const task = await q.leased({ max_retries: 0, max_crashes: 1 })
    await q.crash(task.id)
    expect(await q.task(task.id)).toMatchObject({ status: "queued", retries: 0, crashes: 1 })
    const [again] = await q.lease()
    expect((await q.ack(again!, { status: "failed" })).body.status).toBe("moved_to_dlq")
    expect((await q.task(task.id)).reason).toBe("failed")
  })

  test.each<[string, (q: Life) => Promise<void>]>([
    [
      "cancelled",
      async q => {
        await q.cancel(await q.submit({ unique_key: "k" }))
      },
    ],
    [
      "done",
      async q => {
        await q.ack(await q.leased({ unique_key: "k" }))
      },
    ],
    ["dead of a failure", async q => void (await q.dead({ unique_key: "k" }))],
    ["dead of a crash", async q => q.crash((await q.leased({ unique_key: "k", max_crashes: 0 })).id)],
    [
      "expired",
      async q => {
        await q.expire(await q.submit({ unique_key: "k", expires_in_ms: 60_000 }))
        await q.bench.sweep()
      },
    ],
    [
      "cancelled while it ran",
      async q => {
        const task = await q.leased({ unique_key: "k" })
        await q.cancel(task.id)
        await q.ack(task)
      },
    ],
  ])("a unique key is free again the moment its task is %s", async (_, end) => {
    await using q = await Life.begin()
    await end(q)
    const { body } = await q.ask("POST", "/submit", { type: "t", queue: q.queue, unique_key: "k" })
    expect(body).toEqual({ status: "queued", task_id: expect.any(String) })
  })

  test("a unique key stays taken while its task waits, backs off or runs", async () => {
    await using q = await Life.begin()
    const asked = { type: "t", queue: q.queue, unique_key: "k" }
    const id = await q.submit({ ...asked, delay_ms: 60_000, backoff: { kind: "fixed", delay_ms: 60_000 } })
    const duplicate = { status: "duplicate", task_id: id, duplicate: true }
    const again = async () => (await q.ask("POST", "/submit", asked)).body
    expect(await again()).toEqual(duplicate)
    await q.becomeDue(id)
    expect(await again()).toEqual(duplicate)
    const [task] = await q.lease()
    expect(await again()).toEqual(duplicate)
    await q.ack(task!, { status: "failed" })
    expect((await q.task(id)).status).toBe("retrying")
    expect(await again()).toEqual(duplicate)
  })

  test("who waits is woken when the lease of another lapses", async () => {
    await using q = await Life.begin()
    const task = await q.leased({ timeout_ms: 200 })
    const [again] = (await q.ask("POST", "/lease", { queues: [q.queue], wait_ms: 10_000 })).body.tasks
    expect(again).toMatchObject({ id: task.id, attempt: 2 })
  })

  test("an extension that shortens the lease is heard of by the broker's clock, too", async () => {
    await using q = await Life.begin()
    const task = await q.leased()
    const from = performance.now()
    const waiting = q.ask("POST", "/lease", { queues: [q.queue], wait_ms: 10_000 })
    await q.extend(task, { timeout_ms: 100 })
    expect((await waiting).body.tasks[0]).toMatchObject({ id: task.id, attempt: 2 })
    expect(performance.now() - from).toBeLessThan(5_000)
  })

  test("two brokers that sweep at once take each task back once", async () => {
    await using q = await Life.begin()
    await using other = new Bench(q.socket, q.queue)
    const body = Array.from({ length: 200 }, () => ({ type: "t", queue: q.queue }))
    await q.ask("POST", "/submit", body)
    const tasks = await q.lease(200)
    expect(tasks).toHaveLength(200)
    for (const { id } of tasks) await q.bench.lapse(id)
    await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? other : q.bench).sweep(30)))
    const ready = await q.bench.redis.lrange(q.bench.key("ready", "5"), 0, -1)
    expect(ready.sort()).toEqual(tasks.map(({ id }) => splitId(id).local).sort())
    for (const { id } of tasks.slice(0, 20)) expect((await q.task(id)).crashes).toBe(1)
  })

  test("a submit repeated after a lost reply makes one task, by task_id", async () => {
    await using q = await Life.begin()
    const asked = { type: "t", queue: q.queue, task_id: "mine", payload: { a: 1 } }
    const first = await q.ask("POST", "/submit", asked)
    expect(first.body).toEqual({ status: "queued", task_id: `${q.queue}:mine` })
    expect(first.headers.get("idempotency-replayed")).toBeNull()
    // The order of members says nothing.
    const again = await q.ask("POST", "/submit", {
      payload: { a: 1 },
      task_id: "mine",
      queue: q.queue,
      type: "t",
    })
    expect(again.body).toEqual({ ...first.body, replayed: true })
    expect(again.headers.get("idempotency-replayed")).toBe("true")
    const other = await q.ask("POST", "/submit", { ...asked, payload: { a: 2 } })
    expect([other.status, other.body.code]).toEqual([422, "key_reused"])
    expect(await q.lease(10)).toHaveLength(1)
  })

  test("a submit repeated after a lost reply makes one task, by Idempotency-Key", async () => {
    await using q = await Life.begin()
    const send = (key: string, type = "t") =>
      q.ask("POST", "/submit", { type, queue: q.queue }, { "Idempotency-Key": key })
    const first = await send("abc")
    expect(first.headers.get("idempotency-replayed")).toBeNull()
    const again = await send('"abc"')
    expect(again.body).toEqual({ ...first.body, replayed: true })
    expect(again.headers.get("idempotency-replayed")).toBe("true")
    expect((await send("abc", "another")).status).toBe(422)
    expect((await send("abd")).body.task_id).not.toBe(first.body.task_id)
    expect((await send("two words")).status).toBe(400)
    expect(await q.lease(10)).toHaveLength(2)
    const both = { type: "t", queue: q.queue, task_id: "x" }
    expect((await q.ask("POST", "/submit", both, { "Idempotency-Key": "y" })).status).toBe(400)
  })

  test.each(["task_id", "Idempotency-Key"])(
    "an array repeated after a lost reply makes no task twice, by %s",
    async by => {
      await using q = await Life.begin()
      const items = [1, 2, 3].map(n => ({
        ...{ type: "t", queue: q.queue, payload: n },
        ...(by === "task_id" ? { task_id: `i${n}` } : {}),
      }))
      const headers: Record<string, string> = by === "task_id" ? {} : { "Idempotency-Key": "batch" }
      const first = await q.ask("POST", "/submit", items, headers)
      const changed = items.map((item, i) => (i === 1 ? { ...item, payload: "changed" } : item))
      const again = await q.ask("POST", "/submit", changed, headers)
      expect(again.status).toBe(200)
      expect(again.body[0]).toEqual({ ...first.body[0], replayed: true })
      expect(again.body[1]).toMatchObject({ status: 422, code: "key_reused" })
      expect(again.body[2]).toEqual({ ...first.body[2], replayed: true })
      expect(await q.lease(10)).toHaveLength(3)
    },
  )

  test("the record of a submit outlives its task", async () => {
    await using q = await Life.begin()
    const asked = { type: "t", queue: q.queue, task_id: "gone", result_ttl_ms: 0 }
    const { body: first } = await q.ask("POST", "/submit", asked)
    await q.ack((await q.lease())[0]!)
    await q.sweepKeeping({})
    expect((await q.ask("POST", "/submit", asked)).body).toEqual({ ...first, replayed: true })
    expect(await q.lease()).toEqual([])
    const status = await q.ask("GET", `/status/${first.task_id}`)
    expect([status.status, status.body.code]).toEqual([410, "task_gone"])
    expect((await q.ask("GET", `/status/${q.queue}:never`)).status).toBe(404)
  })
})

describe("a hint goes out wherever work becomes ready:", () => {
  type Case = [string, (q: Life) => Promise<() => Promise<unknown>>]
  test.each<Case>([
    ["submit", async q => () => q.submit()],
    [
      "a delay that is over",
      async q => {
        const id = await q.submit({ delay_ms: 60_000 })
        return () => q.becomeDue(id)
      },
    ],
    [
      "a failure without backoff",
      async q => {
        const task = await q.leased()
        return () => q.ack(task, { status: "failed" })
      },
    ],
    [
      "a backoff that is over",
      async q => {
        const task = await q.leased({ backoff: { kind: "fixed", delay_ms: 60_000 } })
        await q.ack(task, { status: "failed" })
        return () => q.becomeDue(task.id)
      },
    ],
    [
      "a release",
      async q => {
        const task = await q.leased()
        return () => q.ack(task, { status: "released" })
      },
    ],
    [
      "a lapse",
      async q => {
        const task = await q.leased()
        return () => q.crash(task.id)
      },
    ],
    [
      "a redrive",
      async q => {
        const id = await q.dead()
        return () => q.ask("POST", `/dlq/retry/${id}`)
      },
    ],
  ])("%s", async (_, prepare) => {
    await using q = await Life.begin()
    const becomeReady = await prepare(q)
    const heard: string[] = []
    const listener = new Redis(q.socket)
    listener.on("message", (_, count) => heard.push(count))
    await listener.subscribe(wakeChannel(q.queue))
    await becomeReady()
    await until("the hint is heard", () => heard.length > 0)
    listener.disconnect()
    expect(heard).toEqual(["1"])
  })
})

test("delays, lapses and expiries come on time also where thousands of queues wait for their turn", async () => {
  await using q = await Life.begin()
  await q.bench.redis.sadd(QUEUES, ...Array.from({ length: 5_000 }, (_, i) => `other${i}`))
  await using broker = await testBroker({}, q.socket)
  const queue = freshName()
  const ask = async (path: string, body: object): Promise<Reply["body"]> =>
    (await broker.call("POST", path, body)).json()
  const submit = (asked: object) => ask("/submit", { type: "t", queue, ...asked })
  const lease = (wait_ms = 0) => ask("/lease", { queues: [queue], wait_ms })
  const waits = async () => {
    const waiting = lease(10_000)
    await until(
      "it waits",
      async () => (await q.bench.redis.pubsub("CHANNELS", wakeChannel(queue))).length > 0,
    )
    return waiting
  }
  // The first look at a queue comes within a second; the next would come in about twenty minutes.
  await submit({})
  await Bun.sleep(1_100)

  const [task] = (await lease()).tasks
  const retried = waits()
  await Bun.sleep(20)
  await ask("/ack", { task_id: task.id, lease: task.lease, status: "failed", retry_in_ms: 100 })
  const [second] = (await retried).tasks
  expect(second).toMatchObject({ id: task.id, attempt: 2 })

  const lapsed = waits()
  await Bun.sleep(20)
  await ask("/extend", { task_id: task.id, lease: second.lease, timeout_ms: 100 })
  const [third] = (await lapsed).tasks
  expect(third).toMatchObject({ id: task.id, attempt: 3 })

  const scheduled = waits()
  const { task_id } = await submit({ delay_ms: 100 })
  expect((await scheduled).tasks).toMatchObject([{ id: task_id }])

  const { task_id: expiring } = await submit({ expires_in_ms: 100, delay_ms: 60_000 })
  const answer = await broker.call("GET", `/status/${expiring}?wait_ms=10000`)
  expect(await answer.json()).toMatchObject({ status: "dead", reason: "expired" })
})

test("a task is found behind thousands that were cancelled, without one long script", async () => {
  await using q = await Life.begin()
  const batch = Array.from({ length: 1_000 }, () => ({ type: "t", queue: q.queue }))
  for (let i = 0; i < 3; i++) {
    const { body } = await q.ask("POST", "/submit", batch)
    const items = body.map(({ task_id }: { task_id: string }) => ({ id: splitId(task_id).local }))
    await q.bench.scripts.call("cancel", q.queue, { retention: DAY_MS }, items)
  }
  const id = await q.submit()
  const tokens = "x".repeat(22)
  const asked = { limit: 300, retention: DAY_MS, tokens }
  expect(await q.bench.scripts.call("lease", q.queue, asked, [{ worker: "?", slots: 1 }])).toEqual([
    0,
    [],
    0,
    0,
  ])
  expect((await q.lease()).map(task => task.id)).toEqual([id])
})

describe("submit:", () => {
  test("run_at and delay_ms say when a task is ready, and do not go together", async () => {
    await using q = await Life.begin()
    const at = Date.now() + 60_000
    const { body } = await q.ask("POST", "/submit", { type: "t", queue: q.queue, run_at: at })
    expect(body.status).toBe("scheduled")
    expect(await q.task(body.task_id)).toMatchObject({ status: "scheduled", due_at: at })
    expect(await q.lease()).toEqual([])
    await q.becomeDue(body.task_id)
    expect((await q.lease())[0]!.id).toBe(body.task_id)
    expect((await q.ask("POST", "/submit", { type: "t", run_at: at, delay_ms: 1 })).status).toBe(400)
    const past = await q.ask("POST", "/submit", { type: "t", queue: q.queue, run_at: 1 })
    expect(past.body.status).toBe("queued")
  })

  test("max_runtime_ms is the hard end of an attempt, however often its lease is extended", async () => {
    await using q = await Life.begin()
    const task = await q.leased({ max_runtime_ms: 60_000, timeout_ms: 30_000, max_crashes: 0 })
    expect(task.max_runtime_ms).toBe(60_000)
    const started = (await q.task(task.id)).started_at!
    const { body } = await q.extend(task, { timeout_ms: DAY_MS })
    expect(body).toMatchObject({ status: "ok", lease_expires_at: started + 60_000 })
    await q.bench.setField(task.id, "started", started - 60_000)
    await q.crash(task.id)
    const dead = await q.task(task.id)
    expect(dead).toMatchObject({ status: "dead", reason: "timed_out", crashes: 1, retries: 0 })
    expect(dead.attempts).toMatchObject([{ attempt: 1, outcome: "timed_out", worker: "w1" }])
  })

  test("a lease is never longer than max_runtime_ms", async () => {
    await using q = await Life.begin()
    const task = await q.leased({ max_runtime_ms: 1_000, timeout_ms: 30_000 })
    expect(task.lease_expires_at).toBe((await q.task(task.id)).started_at! + 1_000)
  })

  test.each<[string, Partial<Submit>, (q: Life) => Promise<void>]>([
    ["ready", {}, async () => {}],
    ["delayed", { delay_ms: 60_000 }, async () => {}],
    [
      "backing off",
      { backoff: { kind: "fixed", delay_ms: 1_000 } },
      async q => {
        const [task] = await q.lease()
        await q.ack(task!, { status: "failed" })
      },
    ],
  ])("expires_in_ms ends a task that is %s, and nobody gets it", async (_, asked, prepare) => {
    await using q = await Life.begin()
    const id = await q.submit({ ...asked, expires_in_ms: 30_000 })
    await prepare(q)
    const ended = q.ask("GET", `/status/${id}?wait_ms=10000`)
    await until("somebody waits for its end", async () => (await q.bench.field(id, "watched")) === "1")
    await q.expire(id)
    await q.bench.due(id)
    expect(await q.lease()).toEqual([])
    expect((await ended).body).toMatchObject({ status: "dead", reason: "expired" })
  })

  test("a retry that would start too late is not waited for", async () => {
    await using q = await Life.begin()
    const task = await q.leased({
      expires_in_ms: 30_000,
      backoff: { kind: "fixed", delay_ms: 60_000, jitter: false },
    })
    await q.ack(task, { status: "failed", error: "boom" })
    expect(await q.task(task.id)).toMatchObject({
      status: "dead",
      reason: "expired",
      retries: 1,
      error: "boom",
    })
  })

  test("a task that has started in time may run beyond its expiry", async () => {
    await using q = await Life.begin()
    const task = await q.leased({ expires_in_ms: 30_000 })
    await q.expire(task.id)
    await q.bench.sweep()
    expect((await q.ack(task)).body.status).toBe("acknowledged")
  })

  /** The backoff after each of `count` failures, in ms. */
  async function delays(q: Life, backoff: Submit["backoff"], count: number): Promise<number[]> {
    const id = await q.submit({ max_retries: 100, ...(backoff === undefined ? {} : { backoff }) })
    const found: number[] = []
    for (let i = 0; i < count; i++) {
      const [task] = await q.lease()
      await q.ack(task!, { status: "failed" })
      const { due_at, attempts } = await q.task(id)
      found.push(due_at === undefined ? 0 : due_at - attempts.at(-1)!.ended_at!)
      if (due_at !== undefined) await q.becomeDue(id)
    }
    return found
  }

  test.each<[string, Submit["backoff"], number[]]>([
    ["fixed", { kind: "fixed", delay_ms: 5_000, jitter: false }, [5_000, 5_000, 5_000]],
    ["exponential", { kind: "exponential", delay_ms: 1_000, jitter: false }, [1_000, 2_000, 4_000, 8_000]],
    [
      "exponential with a maximum",
      { kind: "exponential", delay_ms: 1_000, max_ms: 3_000, jitter: false },
      [1_000, 2_000, 3_000, 3_000],
    ],
    ["none unless asked", undefined, [0, 0]],
  ])("backoff: %s", async (_, backoff, expected) => {
    await using q = await Life.begin()
    expect(await delays(q, backoff, expected.length)).toEqual(expected)
  })

  test("backoff has full jitter: anything from nought to the delay, and not always the same", async () => {
    await using q = await Life.begin()
    const found = await delays(q, { kind: "fixed", delay_ms: 1_000_000 }, 30)
    for (const delay of found) expect(delay).toBeWithin(0, 1_000_001)
    expect(new Set(found).size).toBeGreaterThan(20)
    expect(Math.max(...found) - Math.min(...found)).toBeGreaterThan(300_000)
  })

  test("BACKOFF_* is what tasks get that do not say, and crashes wait as failures do", async () => {
    await using q = await Life.begin({ backoff: { kind: "fixed", delay_ms: 7_000, jitter: false } })
    expect(await delays(q, undefined, 1)).toEqual([7_000])
    await q.lease()
    expect(await delays(q, { kind: "fixed", delay_ms: 9_000, jitter: false }, 1)).toEqual([9_000])
    await q.lease()
    const task = await q.leased()
    await q.crash(task.id)
    expect(await q.task(task.id)).toMatchObject({ status: "retrying", crashes: 1 })
  })

  test("result_ttl_ms says how long a done task is kept", async () => {
    await using q = await Life.begin()
    const kept = await q.leased({ result_ttl_ms: 5_000 })
    await q.ack(kept)
    const { finished_at } = await q.task(kept.id)
    const until = await q.bench.redis.zscore(q.bench.key("done"), splitId(kept.id).local)
    expect(Number(until)).toBe(finished_at! + 5_000)
    const gone = await q.leased({ result_ttl_ms: 0 })
    await q.ack(gone)
    await q.sweepKeeping({})
    expect((await q.ask("GET", `/status/${gone.id}`)).status).toBe(404)
    expect((await q.task(kept.id)).status).toBe("done")
  })

  test("meta comes back to worker and caller, and is bounded", async () => {
    await using q = await Life.begin()
    const meta = { tenant: "a b ✓", "x.y": "" }
    const task = await q.leased({ meta })
    expect(task.meta).toEqual(meta)
    expect((await q.task(task.id)).meta).toEqual(meta)
    const bad: unknown[] = [
      { "": "x" },
      { "a b": "x" },
      { a: 1 },
      { a: "x".repeat(129) },
      Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, "v"])),
    ]
    for (const meta of bad) expect((await q.ask("POST", "/submit", { type: "t", meta })).status).toBe(400)
  })

  test("the trace context of the request, or of the body, reaches the worker", async () => {
    await using q = await Life.begin()
    const send = (body: object, headers: Record<string, string> = {}) =>
      q.ask("POST", "/submit", { type: "t", queue: q.queue, ...body }, headers)
    await send({}, { traceparent: TRACE, tracestate: "a=1" })
    await send({ traceparent: OTHER_TRACE, tracestate: "b=2" }, { traceparent: TRACE, tracestate: "a=1" })
    await send({}, { traceparent: "not one" })
    const [header, body, neither] = await q.lease(3)
    expect(header).toMatchObject({ traceparent: TRACE, tracestate: "a=1" })
    expect(body).toMatchObject({ traceparent: OTHER_TRACE, tracestate: "b=2" })
    expect(neither!.traceparent).toBeUndefined()
  })

  test("on_duplicate replaces the payload of one that waits, from small to large and back", async () => {
    await using q = await Life.begin()
    const large = { text: "large ".repeat(100) }
    const send = async (payload: unknown, more: object = {}) =>
      (
        await q.ask("POST", "/submit", {
          ...{ type: "t", queue: q.queue, unique_key: "k", on_duplicate: "replace", payload },
          ...more,
        })
      ).body
    const { task_id } = await send("small")
    for (const payload of [large, "small again", large, [1, 2]]) {
      expect(await send(payload)).toEqual({ status: "duplicate", task_id, duplicate: true, replaced: true })
      expect((await q.task(task_id)).payload).toEqual(payload)
      await checkQueue(q.bench.redis, q.queue)
    }
    expect(await send("kept", { on_duplicate: "keep" })).not.toHaveProperty("replaced")
    const [task] = await q.lease()
    expect(task!.payload).toEqual([1, 2])
    // One that runs keeps what it runs with.
    expect(await send("too late")).toEqual({ status: "duplicate", task_id, duplicate: true })
    expect((await q.task(task_id)).payload).toEqual([1, 2])
  })

  test("on_duplicate starts the delay of a scheduled one again: debounce", async () => {
    await using q = await Life.begin()
    const asked = { type: "t", queue: q.queue, unique_key: "k", on_duplicate: "replace" as const }
    const id = await q.submit({ ...asked, delay_ms: 10_000 })
    const before = (await q.task(id)).due_at!
    await q.submit({ ...asked, delay_ms: 60_000 })
    expect((await q.task(id)).due_at! - before).toBeGreaterThan(49_000)
    expect((await q.ask("POST", "/submit", { type: "t", on_duplicate: "replace" })).status).toBe(400)
  })
})

describe("ack failed", () => {
  test("with retry: false goes to the dead-letter queue at once", async () => {
    await using q = await Life.begin()
    const task = await q.leased({ max_retries: 100, backoff: { kind: "fixed", delay_ms: 1_000 } })
    const said = { status: "failed", retry: false, error: "bad address" }
    const first = await q.ack(task, said)
    expect(first.body).toEqual({ status: "moved_to_dlq", task_id: task.id, retries: 1 })
    expect((await q.ack(task, said)).body).toEqual(first.body)
    expect(await q.task(task.id)).toMatchObject({ status: "dead", reason: "failed", error: "bad address" })
  })

  test("with retry_in_ms waits that long instead of its backoff, or not at all", async () => {
    await using q = await Life.begin()
    const task = await q.leased({ backoff: { kind: "fixed", delay_ms: 1_000 } })
    await q.ack(task, { status: "failed", retry_in_ms: 45_000 })
    const { due_at, attempts } = await q.task(task.id)
    expect(due_at! - attempts[0]!.ended_at!).toBe(45_000)
    await q.becomeDue(task.id)
    const [again] = await q.lease()
    await q.ack(again!, { status: "failed", retry_in_ms: 0 })
    expect((await q.task(task.id)).status).toBe("queued")
  })

  test("says what does not go together", async () => {
    await using q = await Life.begin()
    const task = await q.leased()
    for (const said of [
      { status: "done", retry: false },
      { status: "released", retry_in_ms: 1 },
      { status: "failed", retry: false, retry_in_ms: 1 },
      { status: "failed", result: 1 },
      { status: "done", error: "x" },
    ])
      expect((await q.ack(task, said)).status).toBe(400)
  })
})

describe("extend", () => {
  test("keeps progress, checkpoint and the newest lines of the log", async () => {
    await using q = await Life.begin()
    const task = await q.leased()
    const first = Array.from({ length: 15 }, (_, i) => `line ${i}`)
    await q.extend(task, { progress: { done: 3, of: 10 }, checkpoint: { at: 7 }, log: first })
    await q.extend(task, { log: ["two\nlines", ...first.slice(1, 10)] })
    const shown = await q.task(task.id)
    expect(shown).toMatchObject({ progress: { done: 3, of: 10 }, checkpoint: { at: 7 } })
    expect(shown.log).toEqual([...first.slice(5), "two lines", ...first.slice(1, 10)])
  })

  test("gives the checkpoint to the next attempt, whatever ended the one before", async () => {
    await using q = await Life.begin()
    const first = await q.leased()
    expect(first).not.toHaveProperty("checkpoint")
    await q.extend(first, { checkpoint: { page: 1 } })
    await q.crash(first.id)
    const [second] = await q.lease()
    expect(second!.checkpoint).toEqual({ page: 1 })
    await q.extend(second!, { checkpoint: 12345 })
    await q.extend(second!, { progress: 1 })
    await q.ack(second!, { status: "failed" })
    const [third] = await q.lease()
    expect(third!.checkpoint).toBe(12345)
    await q.ack(third!, { status: "released" })
    expect((await q.lease())[0]!.checkpoint).toBe(12345)
  })

  test("refuses what is too large, and takes what just fits", async () => {
    await using q = await Life.begin()
    const task = await q.leased()
    const text = (bytes: number) => "x".repeat(bytes - 2)
    const cases: [object, string | undefined][] = [
      [{ progress: text(1_024) }, undefined],
      [{ progress: text(1_025) }, "progress"],
      [{ checkpoint: text(16_384) }, undefined],
      [{ checkpoint: text(16_385) }, "checkpoint"],
      [{ checkpoint: "✓".repeat(5_500) }, "checkpoint"],
      [{ log: Array.from({ length: 20 }, () => "x".repeat(500)) }, undefined],
      [{ log: Array.from({ length: 21 }, () => "x") }, "log"],
      [{ log: ["x".repeat(501)] }, "log.0"],
      [{ log: [] }, "log"],
    ]
    for (const [told, field] of cases) {
      const { status, body } = await q.extend(task, told)
      expect([status, body.field]).toEqual(field === undefined ? [200, undefined] : [400, field])
    }
  })
})

describe("cancel", () => {
  test.each<[string, Partial<Submit>]>([
    ["scheduled", { delay_ms: 60_000 }],
    ["queued", {}],
    ["expiring", { expires_in_ms: 60_000 }],
  ])("ends a task at once that is %s, and says the same again", async (_, asked) => {
    await using q = await Life.begin()
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

  test("is refused where the task has ended or never was", async () => {
    await using q = await Life.begin()
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

  test("is heard by the worker of a running task at its extend and at its /work", async () => {
    await using q = await Life.begin()
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
    "makes the ack %s of its worker end it as cancelled, also where it is repeated",
    async status => {
      await using q = await Life.begin()
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

  test("ends at the lapse a task whose worker never answers", async () => {
    await using q = await Life.begin()
    const task = await q.leased()
    await q.cancel(task.id)
    await q.crash(task.id)
    expect((await q.task(task.id)).status).toBe("cancelled")
    expect(await q.lease()).toEqual([])
    expect((await q.ack(task)).status).toBe(409)
  })
})

describe("status", () => {
  test("answers on another broker as soon as the task has ended", async () => {
    await using q = await Life.begin()
    await using other = await testBroker({}, q.socket)
    const ends: [string, (task: LeasedTask) => Promise<unknown>][] = [
      ["done", task => q.ack(task, { result: 1 })],
      ["dead", task => q.ack(task, { status: "failed", retry: false })],
      [
        "cancelled",
        async task => {
          await q.cancel(task.id)
          await q.ack(task)
        },
      ],
    ]
    for (const [state, end] of ends) {
      const task = await q.leased()
      const from = performance.now()
      const waiting = other.call("GET", `/status/${task.id}?wait_ms=20000`).then(answer => answer.json())
      await until(
        "the other listens",
        async () => (await q.bench.redis.pubsub("CHANNELS", endedChannel(q.queue))).length > 0,
      )
      await end(task)
      expect(await waiting).toMatchObject({ status: state })
      expect(performance.now() - from).toBeLessThan(2_000)
      await until(
        "nobody listens",
        async () => (await q.bench.redis.pubsub("CHANNELS", endedChannel(q.queue))).length === 0,
      )
    }
  })

  test("many may wait for the same end, and for others of the queue", async () => {
    await using q = await Life.begin()
    await q.submit()
    await q.submit()
    const [one, two] = await q.lease(2)
    const wait = (id: string) => q.ask("GET", `/status/${id}?wait_ms=10000`)
    const first = [wait(one!.id), wait(one!.id)]
    const second = wait(two!.id)
    const watched = async ({ id }: LeasedTask) => (await q.bench.field(id, "watched")) === "1"
    await until("all wait", async () => (await watched(one!)) && (await watched(two!)))
    await q.ack(one!)
    for (const { body } of await Promise.all(first)) expect(body.status).toBe("done")
    await q.ack(two!)
    expect((await second).body.status).toBe("done")
  })

  test("shows the task as it is where it does not end in time, and at once where it has ended or never was", async () => {
    await using q = await Life.begin()
    const task = await q.leased()
    expect((await q.ask("GET", `/status/${task.id}?wait_ms=20`)).body.status).toBe("processing")
    await q.ack(task)
    const from = performance.now()
    expect((await q.ask("GET", `/status/${task.id}?wait_ms=20000`)).body.status).toBe("done")
    expect((await q.ask("GET", `/status/${q.queue}:never?wait_ms=20000`)).status).toBe(404)
    expect(performance.now() - from).toBeLessThan(2_000)
  })

  test("remembers the last attempts, bounded in number and size", async () => {
    await using q = await Life.begin()
    const id = await q.submit({ max_retries: 100 })
    const fail = async () => {
      const [task] = await q.lease()
      await q.ack(task!, { status: "failed", error: `é${"x".repeat(9_000)}` })
    }
    for (let i = 0; i < 15; i++) await fail()
    await q.lease()
    const { attempts, error } = await q.task(id)
    expect(attempts.map(({ attempt }) => attempt)).toEqual([6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
    for (const { outcome, error, worker, started_at, ended_at } of attempts.slice(0, -1)) {
      expect([outcome, worker]).toEqual(["failed", "w1"])
      expect(error!.length).toBeWithin(400, 501)
      expect(ended_at!).toBeGreaterThanOrEqual(started_at)
    }
    expect(attempts.at(-1)).toMatchObject({ attempt: 16, outcome: "processing" })
    expect(error).toHaveLength(8_192)
  })

  test("tells of each attempt how it ended", async () => {
    await using q = await Life.begin()
    const id = await q.submit()
    await q.ack((await q.lease())[0]!, { status: "failed", error: "boom" })
    await q.lease()
    await q.crash(id)
    await q.ack((await q.lease())[0]!, { status: "released" })
    await q.ack((await q.lease())[0]!)
    const { attempts } = await q.task(id)
    expect(attempts.map(({ outcome }) => outcome)).toEqual(["failed", "crashed", "released", "done"])
    expect(attempts[0]!.error).toBe("boom")
  })
})

describe("why", () => {
  test("tells the cause of every state", async () => {
    await using q = await Life.begin()
    const { bench } = q
    const delayed = await q.submit({ delay_ms: 60_000 })
    expect(await q.why(delayed)).toMatchObject({
      cause: "delayed",
      state: "scheduled",
      due_at: expect.any(Number),
    })
    const urgent = await q.submit({ priority: 9 })
    await q.submit()
    const last = await q.submit()
    expect(await q.why(last)).toMatchObject({ cause: "no_workers", state: "queued", ahead: 2 })
    const [first] = await q.lease()
    expect(first!.id).toBe(urgent)
    const waiting = await q.why(last)
    expect(waiting).toMatchObject({ cause: "waiting", ahead: 1, polled_at: expect.any(Number) })
    expect(waiting.why).toContain("1 go first")
    await bench.redis.hset(bench.key("stats"), "polled", Date.now() - 120_000)
    const alone = await q.why(last)
    expect(alone.cause).toBe("no_workers")
    expect(alone.why).toContain("for 120.")
    expect(await q.why(urgent)).toMatchObject({
      cause: "running",
      worker: "w1",
      lease_expires_at: expect.any(Number),
    })
    await q.cancel(urgent)
    expect((await q.why(urgent)).cause).toBe("cancelling")
    await q.ack(first!)
    expect(await q.why(urgent)).toMatchObject({ cause: "ended", state: "cancelled" })
    const [second] = await q.lease()
    await q.ack(second!, { status: "failed", retry_in_ms: 60_000 })
    expect(await q.why(second!.id)).toMatchObject({ cause: "backing_off", state: "retrying" })
    expect((await q.ask("GET", `/why/${q.queue}:never`)).status).toBe(404)
  })

  test("sees a worker that waits at this very moment", async () => {
    await using q = await Life.begin()
    const waiting = q.ask("POST", "/lease", { queues: [q.queue], wait_ms: 500 })
    await until("it waits", () => q.broker.queue.waiting === 1)
    const id = await q.submit({ delay_ms: 1 })
    expect((await waiting).body.tasks[0].id).toBe(id)
    await bringBack(q, id)
    expect((await q.why(id)).cause).toBe("waiting")
  })
  const bringBack = (q: Life, id: string) => q.ack({ id }, { status: "released" })
})

describe("tasks", () => {
  /** All pages of a listing, and how many there were. */
  async function pages(q: Life, query: string) {
    const ids: string[] = []
    let pages = 0
    let cursor = ""
    do {
      const { status, body } = await q.ask("GET", `/tasks?queue=${q.queue}&${query}${cursor}`)
      expect(status).toBe(200)
      ids.push(...body.tasks.map(({ id }: TaskView) => id))
      cursor = body.next === undefined ? "" : `&cursor=${body.next}`
      pages++
    } while (cursor !== "" && pages < 1_000)
    return { ids, pages }
  }

  test("pages with filters are bounded, and find all that match among thousands", async () => {
    await using q = await Life.begin()
    const item = (i: number) => ({
      ...{ type: i % 2 ? "odd" : "even", queue: q.queue },
      meta: i % 700 === 699 ? { rare: "yes", n: String(i) } : { n: String(i) },
    })
    const ids: string[] = []
    for (let from = 0; from < 2_500; from += 500) {
      const { body } = await q.ask(
        "POST",
        "/submit",
        Array.from({ length: 500 }, (_, i) => item(from + i)),
      )
      ids.push(...body.map(({ task_id }: { task_id: string }) => task_id))
    }
    const rare = [699, 1_399, 2_099].map(i => ids[i]!)
    expect((await pages(q, "state=queued&meta.rare=yes")).ids).toEqual(rare)
    expect((await pages(q, "state=queued&meta.rare=yes&meta.n=1399")).ids).toEqual([ids[1_399]!])
    expect((await pages(q, "state=queued&meta.rare=no")).ids).toEqual([])
    const odd = await pages(q, "state=queued&type=odd&limit=400")
    expect(odd.ids).toEqual(ids.filter((_, i) => i % 2 === 1))
    const all = await pages(q, "state=queued&limit=1000")
    expect([all.ids, all.pages]).toEqual([ids, 3])
    const leased = (await q.lease(1_000)).map(({ id }) => id)
    expect((await pages(q, "state=processing&limit=300")).ids.sort()).toEqual(leased.sort())
    expect((await pages(q, "state=processing&limit=7&meta.rare=yes")).ids).toEqual([rare[0]!])
  })

  test("list what waits also behind many that were cancelled", async () => {
    await using q = await Life.begin()
    const gone = [await q.submit(), await q.submit(), await q.submit()]
    const stays = [await q.submit(), await q.submit()]
    for (const id of gone) await q.cancel(id)
    expect((await pages(q, "state=queued&limit=1")).ids).toEqual(stays)
    expect((await pages(q, "state=queued&limit=100")).ids).toEqual(stays)
    expect((await pages(q, "state=queued&limit=1&type=t")).ids).toEqual(stays)
    expect((await pages(q, "state=cancelled&limit=2")).ids.sort()).toEqual(gone.sort())
    expect((await q.why(stays[0]!)).state).toBe("queued")
  })

  test("list each state, and refuse what is no state, no cursor or no filter", async () => {
    await using q = await Life.begin()
    const scheduled = await q.submit({ delay_ms: 60_000 })
    const retrying = await q.leased()
    await q.ack(retrying, { status: "failed", retry_in_ms: 60_000 })
    const dead = await q.dead()
    const done = await q.leased()
    await q.ack(done)
    const cancelled = await q.submit()
    await q.cancel(cancelled)
    const processing = await q.leased()
    const queued = await q.submit()
    const expected = {
      scheduled,
      retrying: retrying.id,
      dead,
      done: done.id,
      cancelled,
      processing: processing.id,
      queued,
    }
    for (const [state, id] of Object.entries(expected))
      expect((await pages(q, `state=${state}`)).ids).toEqual([id])
    for (const query of [
      "",
      "?state=asleep",
      "?state=queued&cursor=xyz",
      "?state=queued&nope=1",
      "?state=queued&limit=0",
    ])
      expect((await q.ask("GET", `/tasks${query}`)).status).toBe(400)
  })
})

describe("retention", () => {
  /** `count` tasks that have ended as `state`. */
  async function ended(q: Life, state: "done" | "dead" | "cancelled", count: number): Promise<string[]> {
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
  const size = (q: Life, state: "done" | "dead" | "cancelled") => q.bench.redis.zcard(q.bench.key(state))

  test.each(["done", "dead", "cancelled"] as const)(
    "by count, bounded per call, the oldest first: %s",
    async state => {
      await using q = await Life.begin()
      const ids = await ended(q, state, 25)
      // Ended one after the other, as far as their scores tell.
      for (const [i, id] of ids.entries())
        await q.bench.redis.zadd(q.bench.key(state), Date.now() + i, splitId(id).local)
      const [more] = await q.sweepKeeping({ keep: 5, keep_dead: 5, limit: 8 })
      expect(more).toBe(1)
      expect(await size(q, state)).toBe(17)
      while ((await q.sweepKeeping({ keep: 5, keep_dead: 5, limit: 8 }))[0] === 1);
      expect(
        (await q.bench.redis.zrange(q.bench.key(state), "0", "-1")).map(local => `${q.queue}:${local}`),
      ).toEqual(ids.slice(20))
      expect((await q.ask("GET", `/status/${ids[0]}`)).status).toBe(404)
    },
  )

  test.each(["done", "dead", "cancelled"] as const)("by age, bounded per call: %s", async state => {
    await using q = await Life.begin()
    const ids = await ended(q, state, 20)
    for (const id of ids.slice(0, 15)) await q.bench.redis.zadd(q.bench.key(state), 1, splitId(id).local)
    await q.sweepKeeping({ limit: 10 })
    expect(await size(q, state)).toBe(10)
    await q.sweepKeeping({ limit: 10 })
    expect(await size(q, state)).toBe(5)
    expect((await q.task(ids[15]!)).status).toBe(state)
  })

  test("DONE_RETENTION_COUNT and DEAD_RETENTION_COUNT are kept by the broker itself", async () => {
    await using q = await Life.begin({ doneKept: 2, deadKept: 1 })
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

describe("redrive", () => {
  test("is refused while another task holds the unique key, and takes the key again when it is free", async () => {
    await using q = await Life.begin()
    const id = await q.dead({ unique_key: "k" })
    const other = await q.leased({ unique_key: "k" })
    const { status, body } = await q.ask("POST", `/dlq/retry/${id}`)
    expect([status, body.code]).toEqual([409, "key_taken"])
    expect((await q.task(id)).status).toBe("dead")
    await q.ack(other)
    expect((await q.ask("POST", `/dlq/retry/${id}`)).body.status).toBe("requeued_from_dlq")
    const { body: again } = await q.ask("POST", "/submit", { type: "t", queue: q.queue, unique_key: "k" })
    expect(again).toMatchObject({ duplicate: true, task_id: id })
  })

  test("may change the payload, to the letter, and otherwise leaves it, whatever else is sent", async () => {
    await using q = await Life.begin()
    const id = await q.dead({ payload: { to: "ada" } })
    const edited = `{"payload": {"to": "grace", "n": 12345678901234567890}}`
    expect((await q.ask("POST", `/dlq/retry/${id}`, edited)).status).toBe(200)
    expect(await (await q.broker.call("GET", `/status/${id}`)).text()).toContain(
      `"payload":{"to": "grace", "n": 12345678901234567890}`,
    )
    await q.ask("POST", `/cancel/${id}`) // or it would be leased before the next
    for (const [body, type] of [
      [undefined, "application/json"],
      ["anything", "text/plain"],
      ["{}", "application/json"],
    ] as const) {
      const other = await q.dead({ payload: { to: "ada" } })
      const headers = { "content-type": type }
      expect((await q.broker.call("POST", `/dlq/retry/${other}`, body, { headers })).status).toBe(200)
      expect(await q.task(other)).toMatchObject({ status: "queued", payload: { to: "ada" } })
      await q.ask("POST", `/cancel/${other}`)
    }
    const kept = await q.dead({ payload: { to: "ada" } })
    for (const body of ["{", { paylod: 1 }, [{ payload: 1 }]])
      expect((await q.ask("POST", `/dlq/retry/${kept}`, body)).status).toBe(400)
    expect(await q.task(kept)).toMatchObject({ status: "dead", payload: { to: "ada" } })
  })

  test("gives an expired task a life without its old expiry, and a crashed one its budgets back", async () => {
    await using q = await Life.begin()
    const expired = await q.submit({ expires_in_ms: 60_000 })
    await q.expire(expired)
    await q.bench.sweep()
    expect((await q.task(expired)).reason).toBe("expired")
    expect((await q.ask("POST", `/dlq/retry/${expired}`)).status).toBe(200)
    const [task] = await q.lease()
    expect(task).toMatchObject({ id: expired, attempt: 1 })
    await q.ack(task!)
    const crashed = await q.leased({ max_crashes: 0 })
    await q.crash(crashed.id)
    await q.ask("POST", `/dlq/retry/${crashed.id}`)
    expect(await q.task(crashed.id)).toMatchObject({ status: "queued", crashes: 0, retries: 0, attempt: 1 })
    expect((await q.ack(crashed)).body.code).toBe("lease_lost")
    expect((await q.lease())[0]).toMatchObject({ id: crashed.id, attempt: 2 })
  })
})

describe("work", () => {
  test("settles, extends and leases in one call, and answers in order with bad items in between", async () => {
    await using q = await Life.begin()
    await q.ask(
      "POST",
      "/submit",
      Array.from({ length: 8 }, (_, n) => ({ type: "t", queue: q.queue, payload: n })),
    )
    const [a, b, c, d, e] = await q.lease(5)
    await q.cancel(d!.id)
    const lease = ({ id, lease }: LeasedTask) => ({ task_id: id, lease })
    const answer = await q.work({
      worker: "w2",
      max: 2,
      settle: [
        { ...lease(a!), result: [1.5, "✓"] },
        { task_id: a!.id, nope: 1 },
        { task_id: `${q.queue}:never`, lease: FORGED },
        "not an ack",
        { ...lease(b!), status: "failed", error: "boom", retry: false },
        { task_id: e!.id, lease: FORGED },
      ],
      extend: [
        lease(c!),
        { task_id: c!.id },
        { ...lease(d!), progress: 1 },
        { task_id: e!.id, lease: FORGED },
        { task_id: `${q.queue}:never`, lease: FORGED },
        { ...lease(e!), checkpoint: "x".repeat(20_000) },
      ],
    })
    expect(answer.settled).toMatchObject([
      { status: "acknowledged", task_id: a!.id },
      { status: 400, code: "bad_request", field: "nope" },
      { status: 404, code: "task_not_found" },
      { status: 400, code: "bad_request" },
      { status: "moved_to_dlq", task_id: b!.id, retries: 1 },
      { status: 409, code: "lease_lost" },
    ])
    expect(answer.extended).toMatchObject([
      { status: "ok", task_id: c!.id },
      { status: 400, field: "lease" },
      { status: "cancelled", task_id: d!.id },
      { status: 409, code: "lease_lost" },
      { status: 404, code: "task_not_found" },
      { status: 400, field: "checkpoint" },
    ])
    expect(answer.lost).toEqual([e!.id, `${q.queue}:never`])
    expect(answer.cancelled).toEqual([d!.id])
    expect(answer.tasks.map(({ payload }) => payload)).toEqual([5, 6])
    expect(answer.drain).toBeFalse()
    expect((await q.task(a!.id)).result).toEqual([1.5, "✓"])
    expect((await q.task(answer.tasks[0]!.id)).worker).toBe("w2")
    expect(await q.task(d!.id)).toMatchObject({ progress: 1 })
  })

  test("waits for tasks only where it has nothing else to tell", async () => {
    await using q = await Life.begin()
    const task = await q.leased()
    const from = performance.now()
    const answer = await q.work({
      max: 1,
      wait_ms: 10_000,
      extend: [{ task_id: task.id, lease: task.lease }],
    })
    expect(answer.tasks).toEqual([])
    expect(performance.now() - from).toBeLessThan(2_000)
    const waiting = q.work({ max: 1, wait_ms: 10_000 })
    await until("it waits", () => q.broker.queue.waiting === 1)
    const id = await q.submit()
    expect((await waiting).tasks).toMatchObject([{ id }])
  })

  test("with nothing in it answers with nothing", async () => {
    await using q = await Life.begin()
    await q.submit()
    const { status, body } = await q.ask("POST", "/work", {})
    expect(status).toBe(200)
    expect(body).toEqual({ tasks: [], settled: [], extended: [], lost: [], cancelled: [], drain: false })
  })

  test("refuses lists that are none, and too many items", async () => {
    await using q = await Life.begin()
    for (const body of [{ settle: {} }, { extend: "x" }, { settle: null }, [], "x", { max: 1_001 }])
      expect((await q.ask("POST", "/work", JSON.stringify(body))).status).toBe(400)
    const settle = Array.from({ length: 1_001 }, () => ({ task_id: "x" }))
    expect((await q.ask("POST", "/work", { settle })).status).toBe(400)
  })
})

test("members that a route does not know are refused by name", async () => {
  await using q = await Life.begin()
  const { id, lease } = await q.leased()
  const requests: [method: string, path: string, body?: object][] = [
    ["POST", "/submit", { type: "t", dealy_ms: 1 }],
    ["POST", "/submit", { type: "t", backoff: { kind: "fixed", delay_ms: 1, jiter: true } }],
    ["POST", "/ack", { task_id: id, retry_in: 1 }],
    ["POST", "/extend", { task_id: id, lease, chekpoint: 1 }],
    ["POST", "/lease", { queue: "x" }],
    ["POST", "/work", { setle: [] }],
    ["GET", `/status/${id}?wait=1`],
    ["GET", "/tasks?state=queued&typ=x"],
  ]
  for (const [method, path, body] of requests) {
    const { status, body: problem } = await q.ask(method, path, body)
    expect([path, status, problem.code]).toEqual([path, 400, "bad_request"])
    expect(["dealy_ms", "jiter", "retry_in", "chekpoint", "queue", "setle", "wait", "typ"]).toContain(
      problem.field,
    )
  }
})
