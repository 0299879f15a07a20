/** MAX_QUEUE_DEPTH and MAX_QUEUE_BYTES: what a full queue refuses, and what it still accepts. */
import { expect, test } from "bun:test"
import type { BrokerConfig } from "../../lib/config/config.ts"
import { encodeNewTask } from "../../lib/task/record.ts"
import { DirectQueue, freshName, testBroker } from "../support/harness.ts"
import { bytesHeld, bytesRecorded, checkQueue, dump, sorted } from "../support/invariants.ts"
import { sharedRedis } from "../support/redis.ts"

type Answer = { status: string | number; code?: string; detail?: string; task_id: string; lease: string }

/** A queue of a broker with limits. */
async function limited(limits: Partial<BrokerConfig>) {
  const { socket } = await sharedRedis()
  const queue = freshName()
  const broker = await testBroker({ maxRetries: 0, ...limits })
  const direct = new DirectQueue(socket, queue)
  const call = async <T>(path: string, body: unknown, init?: RequestInit) =>
    (await (await broker.call("POST", path, body, init)).json()) as T
  return {
    broker,
    direct,
    call,
    queue,
    submit: (...tasks: object[]) =>
      call<Answer[]>(
        "/submit",
        tasks.map(task => ({ type: "a", queue, ...task })),
      ).then(answers => answers.map(({ status, code }) => code ?? status)),
    async lease(max = 1) {
      const { tasks } = await call<{ tasks: { id: string; lease: string }[] }>("/lease", {
        queues: [queue],
        max,
      })
      return tasks.map(({ id, lease }) => ({ task_id: id, lease }))
    },
    async bytes() {
      const content = await dump(direct.redis, queue)
      expect(bytesRecorded(content) ?? 0).toBe(bytesHeld(sorted(content)))
      return bytesRecorded(content)
    },
    async [Symbol.asyncDispose]() {
      await checkQueue(direct.redis, queue)
      await direct[Symbol.asyncDispose]()
      await broker[Symbol.asyncDispose]()
    },
  }
}

test("tasks that were cancelled or have expired take no room in a queue that nobody polls, not even in groups", async () => {
  await using q = await limited({ maxQueueDepth: 4 })
  await q.call(`/queues/${q.queue}/pause`, {})
  const tasks = [
    { task_id: "a" },
    { task_id: "b", priority: 9 },
    { task_id: "c", group: "g" },
    { task_id: "d", group: "g" },
  ]
  const queued = ["queued", "queued", "queued", "queued"]
  const view = async () =>
    (await (await q.broker.call("GET", `/queues/${q.queue}`)).json()) as {
      depth: { queued: number; open: number }
      attention: { kind: string }[]
    }
  expect([...(await q.submit(...tasks)), ...(await q.submit({}))]).toEqual([...queued, "queue_full"])
  expect(await q.call("/cancel", { queue: q.queue })).toMatchObject({ cancelled: 4 })
  expect((await view()).depth).toMatchObject({ queued: 0, open: 0 })

  const expiring = tasks.map(({ task_id, ...task }) => ({
    ...task,
    task_id: `x${task_id}`,
    expires_in_ms: 60_000,
  }))
  expect([...(await q.submit(...expiring)), ...(await q.submit({}))]).toEqual([...queued, "queue_full"])
  for (const { task_id } of expiring) await q.direct.expire(task_id)
  await q.direct.sweep()
  await q.call(`/queues/${q.queue}/resume`, {})
  const { depth, attention } = await view()
  expect(depth).toMatchObject({ queued: 0, dead: 4, open: 0 })
  expect(attention.map(({ kind }) => kind)).toEqual(["dead"])

  // What stands behind a task that waits is dropped once that task has left.
  expect(await q.submit({ task_id: "first" }, { task_id: "second" }, { task_id: "third" })).toEqual(
    queued.slice(1),
  )
  await q.call(`/cancel/${q.queue}:second`, undefined)
  expect((await view()).depth.queued).toBe(3)
  expect(await q.lease()).toMatchObject([{ task_id: `${q.queue}:first` }])
  await q.direct.sweep()
  expect((await view()).depth.queued).toBe(1)
})

test("a full queue refuses each further item until tasks are leased", async () => {
  await using q = await limited({ maxQueueDepth: 3 })
  expect(await q.submit({}, { delay_ms: 60_000 }, {}, {}, { priority: 9 })).toEqual([
    ...["queued", "scheduled", "queued"],
    ...["queue_full", "queue_full"],
  ])
  const [first] = await q.lease()
  expect(await q.submit({}, {})).toEqual(["queued", "queue_full"])
  expect(await q.call("/ack", first)).toMatchObject({ status: "acknowledged" })
  expect(await q.submit({})).toEqual(["queue_full"])
})

test("a refusal names what is full, what to do and when", async () => {
  await using q = await limited({ maxQueueDepth: 1 })
  await q.submit({})
  const answer = await q.broker.call("POST", "/submit", { type: "a", queue: q.queue })
  expect([answer.status, answer.headers.get("retry-after")]).toEqual([429, "1"])
  const { code, detail } = (await answer.json()) as Answer
  expect(code).toBe("queue_full")
  expect(detail).toContain(
    `The queue ${q.queue} is full: it has as many waiting tasks as MAX_QUEUE_DEPTH=1 allows.`,
  )
})

test("a full queue answers repeats and duplicates, and a refused item may be sent again", async () => {
  await using q = await limited({ maxQueueDepth: 2 })
  expect(await q.submit({ task_id: "a" }, { unique_key: "u" }, { task_id: "b" })).toEqual([
    ...["queued", "queued", "queue_full"],
  ])
  expect(
    await q.submit({ task_id: "a" }, { unique_key: "u" }, { unique_key: "u", on_duplicate: "replace" }),
  ).toEqual(["queued", "duplicate", "duplicate"])
  expect(await q.submit({ task_id: "a", payload: 1 }, { unique_key: "v" })).toEqual([
    "key_reused",
    "queue_full",
  ])
  await q.lease()
  expect(await q.submit({ task_id: "b" }, { unique_key: "v" })).toEqual(["queued", "queue_full"])
})

test("failing, releasing, extending, cancelling and retrying work in a full queue", async () => {
  await using q = await limited({ maxQueueDepth: 2, maxQueueBytes: 20 })
  expect(await q.submit({}, {})).toEqual(["queued", "queued"])
  const [one, other] = await q.lease(2)
  expect(await q.submit({}, {}, {})).toEqual(["queued", "queue_full", "queue_full"])
  expect(await q.call("/extend", one)).toMatchObject({ status: "ok" })
  expect(await q.call("/ack", { ...one, status: "released" })).toMatchObject({ status: "released" })
  expect(await q.call("/ack", { ...other, status: "failed" })).toMatchObject({ status: "moved_to_dlq" })
  expect(await q.call(`/dlq/retry/${other!.task_id}`, {})).toMatchObject({ status: "requeued_from_dlq" })
  expect(await q.submit({})).toEqual(["queue_full"])
  expect(await q.call(`/cancel/${other!.task_id}`, {})).toMatchObject({ status: "cancelled" })
  await q.bytes()
})

test("the bytes of a queue are those of the tasks that have not ended, including large payloads", async () => {
  const large = "x".repeat(1_000)
  await using q = await limited({ maxQueueBytes: 2_500 })
  expect(
    await q.submit({ payload: large }, { payload: large }, { payload: large }, { payload: "é" }),
  ).toEqual([...["queued", "queued", "queue_full", "queued"]])
  const each = 3 + 1 + 1_002 // `"a"`, a line end, and the payload in quotes
  expect(await q.bytes()).toBe(2 * each + 3 + 1 + 4)
  const [first, second] = await q.lease(2)
  expect(await q.submit({ payload: large })).toEqual(["queue_full"])
  await q.call("/ack", { ...first, result: large })
  expect(await q.bytes()).toBe(each + 8)
  await q.call("/ack", { ...second, status: "failed" })
  expect(await q.bytes()).toBe(8)
  await q.call(`/dlq/retry/${second!.task_id}`, {})
  expect(await q.bytes()).toBe(each + 8)
  expect(await q.submit({ payload: large, unique_key: "u", delay_ms: 60_000 })).toEqual(["scheduled"])
  expect(await q.submit({ unique_key: "u", on_duplicate: "replace" })).toEqual(["duplicate"])
  expect(await q.bytes()).toBe(each + 8 + 3 + 1 + 2)
})

test("a replacement counts with its own type and payload, and is refused if it does not fit", async () => {
  await using q = await limited({ maxQueueBytes: 1_000 })
  const replace = { unique_key: "u", on_duplicate: "replace" }
  expect(await q.submit({ payload: 1, unique_key: "u" }, { payload: "x".repeat(500) })).toEqual([
    ...["queued", "queued"],
  ])
  const other = 3 + 1 + 502
  expect(await q.bytes()).toBe(other + 5)
  expect(await q.submit({ type: "abcdef", payload: 1, ...replace })).toEqual(["duplicate"])
  expect(await q.bytes()).toBe(other + 10)
  expect(await q.submit({ payload: "y".repeat(400), ...replace })).toEqual(["duplicate"])
  expect(await q.bytes()).toBe(other + 3 + 1 + 402)
  // An item that is refused changes nothing.
  const items = [{ payload: "y".repeat(600), ...replace }, { type: "b", payload: 2, ...replace }, {}]
  expect(await q.submit(...items)).toEqual(["queue_full", "duplicate", "queued"])
  expect(await q.bytes()).toBe(other + 5 + 6)
  const [task] = await q.lease()
  expect(await q.call(`/cancel/${task!.task_id}`, {})).toMatchObject({ status: "cancelling" })
})

test("bytes are not counted without a limit", async () => {
  await using q = await limited({ maxQueueDepth: 10 })
  await q.submit({}, {})
  expect(bytesRecorded(await dump(q.direct.redis, q.queue))).toBeUndefined()
})

test("without limits a submit runs no further Redis commands", async () => {
  await using direct = new DirectQueue((await sharedRedis()).socket)
  const policy = { priority: 5, maxRetries: 0, maxCrashes: 0, timeoutMs: 30_000 }
  const item = encodeNewTask({ queue: direct.name, type: "a", payload: "{}", policy })
  await direct.submitEach(1_000, [{ id: "1", ...item }])
  await direct.redis.config("RESETSTAT")
  await direct.submitEach(1_000, [
    { id: "2", ...item },
    { id: "3", ...item },
  ])
  const stats = await direct.redis.info("commandstats")
  expect([...stats.matchAll(/^cmdstat_([a-z]+):/gm)].map(([, name]) => name).sort()).toEqual([
    ...["evalsha", "msetnx", "publish", "rpush", "time"],
  ])
})
