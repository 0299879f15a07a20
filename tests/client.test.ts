import { describe, expect, test } from "bun:test"
import type { Static, TSchema } from "@sinclair/typebox"
import { BrokerProblem, BrokerUnreachable, Client } from "../lib/client.ts"
import type { AnswerOf, BodyOf, OperationId, ROUTES } from "../lib/wire/routes.ts"
import { readEvents } from "../lib/wire/sse.ts"
import { FakeBroker, problem } from "./support/fake-broker.ts"
import { freshName, TOKEN, testBroker } from "./support/harness.ts"

/** The method of the client for each operation; null for those that only browsers, Prometheus or the original's workers use. */
const METHODS = {
  submitTasks: "submit",
  cancelTask: "cancel",
  changeTask: "changeTask",
  submitAgain: "submitAgain",
  deleteTask: "deleteTask",
  setSchedule: "setSchedule",
  listSchedules: "schedules",
  getSchedule: "schedule",
  deleteSchedule: "deleteSchedule",
  pauseSchedule: "pauseSchedule",
  resumeSchedule: "resumeSchedule",
  runSchedule: "runSchedule",
  previewSchedule: "previewSchedule",
  getTask: "status",
  whyTask: "why",
  leaseOne: null,
  lease: "lease",
  ack: "ack",
  extend: "extend",
  work: "work",
  listTasks: "tasks",
  listDead: "dlq",
  groupDead: "dlqGroups",
  retryDeadTask: "retryDeadTask",
  retryDeadTasks: "retryDeadTasks",
  purgeDeadTasks: "purgeDeadTasks",
  deleteDeadTask: "deleteDeadTask",
  cancelTasks: "cancelTasks",
  startBulk: "startBulk",
  countBulk: "countBulk",
  listBulk: "bulkOperations",
  getBulk: "bulkOperation",
  stopBulk: "stopBulk",
  listQueues: "queues",
  getQueue: "queue",
  pauseQueue: "pauseQueue",
  resumeQueue: "resumeQueue",
  setQueueSettings: "setQueue",
  purgeQueue: "purgeQueue",
  listGroups: "groups",
  getGroup: "group",
  setGroupLimits: "setGroup",
  removeGroupLimits: "unsetGroup",
  pauseGroup: "pauseGroup",
  resumeGroup: "resumeGroup",
  getHistory: "history",
  addMark: "addMark",
  listWorkers: "workers",
  drainWorker: "drainWorker",
  undrainWorker: "drainWorker",
  listenEvents: "events",
  listActions: "actions",
  listBrokers: "brokers",
  audit: "audit",
  metrics: null,
  signIn: null,
  whoAmI: null,
  signOut: null,
  health: "healthz",
  ready: "readyz",
} as const satisfies Record<OperationId, keyof Client | null>

type Methods = typeof METHODS
type MethodOf<Id extends OperationId> = Methods[Id] extends keyof Client ? Client[Methods[Id]] : never
type AnswerTo<Id extends OperationId> = Awaited<
  ReturnType<Extract<MethodOf<Id>, (...args: never[]) => unknown>>
>
type ParametersOf<Id extends OperationId> = Parameters<Extract<MethodOf<Id>, (...args: never[]) => unknown>>
/** A method takes the parameters of the path, and then the body or the query. */
type PlaceOf<Path extends string> = Path extends `${string}:${infer Rest}`
  ? Rest extends `${string}:${string}`
    ? 2
    : 1
  : 0
type TakenBy<Id extends OperationId> = NonNullable<ParametersOf<Id>[PlaceOf<(typeof ROUTES)[Id]["path"]>]>
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false
/** A refused item is an error in the client and a problem on the wire. */
type Unlisted<T> = T extends { settled: unknown } ? Omit<T, "settled" | "extended"> : T
type Compared = { [Id in OperationId]: Methods[Id] extends null ? never : Id }[OperationId]
type Comparison<Id extends Compared> = {
  answer: Id extends "listenEvents" ? true : Same<Unlisted<AnswerTo<Id>>, Unlisted<AnswerOf<Id>>>
  body: [BodyOf<Id>] extends [undefined] ? true : Same<TakenBy<Id>, BodyOf<Id>>
  /** The names of its members; `meta` stands for all `meta.<name>`. */
  query: (typeof ROUTES)[Id] extends { query: infer Query extends TSchema }
    ? Same<Exclude<keyof TakenBy<Id>, "meta">, keyof Static<Query>>
    : true
}
/** Compiles only if each method takes and returns what the declaration of its route says. */
const COMPARED: Record<Compared, { answer: true; body: true; query: true }> = METHODS as unknown as {
  [Id in Compared]: Comparison<Id>
}

test("each JSON route for programs has a method of the client", () => {
  for (const [id, method] of Object.entries(METHODS))
    if (method !== null) expect(Client.prototype, id).toHaveProperty(method)
  expect<unknown>(COMPARED).toBe(METHODS)
})

describe("a stream of events", () => {
  const read = async (...chunks: string[]) => {
    const events = readEvents(
      (async function* () {
        for (const chunk of chunks) yield new TextEncoder().encode(chunk)
      })(),
    )
    return await Array.fromAsync(events)
  }
  const text = "id: 1\nevent: done\ndata: {}\n\n: a comment\n\nretry: 50\ndata: a\ndata: b\n\ndata: cut off\n"

  test.each([
    ["LF", "\n"],
    ["CRLF", "\r\n"],
    ["CR", "\r"],
  ])("may end its lines in %s, and break anywhere", async (_, end) => {
    const sent = text.replaceAll("\n", end)
    const expected = [
      { id: "1", event: "done", data: "{}", retryMs: undefined },
      { id: "1", event: "message", data: "", retryMs: undefined },
      { id: "1", event: "message", data: "a\nb", retryMs: 50 },
    ]
    expect(await read(sent)).toEqual(expected)
    expect(await read(...sent)).toEqual(expected)
    for (let at = 1; at < sent.length; at++)
      expect(await read(sent.slice(0, at), sent.slice(at))).toEqual(expected)
  })

  test("ignores a retry that is not a number and an id that contains NUL", async () => {
    expect(await read("retry: soon\nid: a\0\ndata: x\n\n")).toEqual([
      { id: undefined, event: "message", data: "x", retryMs: undefined },
    ])
  })
})

describe("the client", () => {
  test("a problem has the facts that a caller needs to decide what to do", async () => {
    await using broker = new FakeBroker()
    broker.on("/ack", () => problem(503, "redis_unavailable", { "Retry-After": "3" }))
    const client = new Client({ url: `${broker.url}/`, token: "secret" })
    const error: BrokerProblem = await client.ack({ task_id: "a" }).then(
      () => undefined as never,
      error => error,
    )
    expect(error).toBeInstanceOf(BrokerProblem)
    expect(error).toMatchObject({
      status: 503,
      code: "redis_unavailable",
      retryable: true,
      retryAfterMs: 3_000,
    })
  })

  test.each([
    ["no connection", async (broker: FakeBroker) => broker.stop()],
    [
      "no answer in time",
      async (broker: FakeBroker) => broker.on("/ack", () => Bun.sleep(300).then(() => undefined)),
    ],
    [
      "a page that is not JSON",
      async (broker: FakeBroker) => broker.on("/ack", () => new Response("<html>")),
    ],
  ])("%s is a broker unreachable", async (_, prepare) => {
    await using broker = new FakeBroker()
    await prepare(broker)
    const client = new Client({ url: broker.url, token: "secret", timeoutMs: 50 })
    await expect(client.ack({ task_id: "a" })).rejects.toBeInstanceOf(BrokerUnreachable)
  })

  test("an aborted call throws the reason of its signal", async () => {
    await using broker = new FakeBroker()
    const leave = new AbortController()
    const client = new Client({ url: broker.url, token: "secret" })
    const poll = client.lease({ wait_ms: 5_000 }, { signal: leave.signal })
    await broker.until(() => broker.pollsUnderWay === 1)
    leave.abort(new Error("enough"))
    await expect(poll).rejects.toThrow("enough")
    await broker.until(() => broker.pollsAborted === 1)
  })
})

describe("the client with a real broker", () => {
  test("every call", async () => {
    await using broker = await testBroker()
    const queue = freshName()
    const client = new Client({ url: broker.url, token: TOKEN })
    expect(await client.healthz()).toEqual({ status: "ok" })
    expect(await client.readyz()).toMatchObject({ status: "ready" })

    const mail = { type: "mail", queue, meta: { to: "a", for: "b" }, max_retries: 0 }
    const first = await client.submit(mail, { idempotencyKey: `k-${queue}` })
    expect(await client.submit(mail, { idempotencyKey: `k-${queue}` })).toEqual({ ...first, replayed: true })
    const [other, refused] = await client.submitMany([{ type: "mail", queue }, { type: "" }])
    expect(refused).toBeInstanceOf(BrokerProblem)
    const queued = await client.tasks({ queue, state: "queued", type: "mail", meta: { to: "a", for: "b" } })
    expect(queued.tasks.map(task => task.id)).toEqual([first.task_id])
    const page = await client.tasks({ queue, state: "queued", limit: 1 })
    const { tasks } = await client.tasks({ queue, state: "queued", limit: 1, cursor: page.next! })
    expect(new Set([...page.tasks, ...tasks].map(task => task.id)).size).toBe(2)
    expect((await client.why(first.task_id)).state).toBe("queued")
    expect(await client.cancel((other as { task_id: string }).task_id)).toMatchObject({ status: "cancelled" })

    const work = await client.work({ queues: [queue], max: 5, worker: "w" })
    const { id: task_id, lease } = work.tasks[0]!
    expect(task_id).toBe(first.task_id)
    const answer = await client.work({
      extend: [{ task_id, lease, progress: 1 }],
      settle: [
        { task_id, lease, status: "failed", error: "no" },
        { task_id: "none", lease },
      ],
    })
    expect(answer.extended).toMatchObject([{ status: "ok", task_id }])
    expect(answer.settled).toMatchObject([{ status: "moved_to_dlq", task_id }, { code: "task_not_found" }])
    expect(answer.settled[1]).toBeInstanceOf(BrokerProblem)
    expect(await client.status(task_id, { wait_ms: 1_000 })).toMatchObject({ status: "dead", progress: 1 })
    expect((await client.dlq({ queue })).dlq_size).toBe(1)
    expect(await client.retryDeadTask(task_id, { payload: "a better one" })).toEqual({
      status: "requeued_from_dlq",
      task_id,
    })
    const again = (await client.lease({ queues: [queue] })).tasks[0]!
    expect(again.payload).toBe("a better one")
    expect(await client.extend({ task_id, lease: again.lease })).toMatchObject({ status: "ok" })
    expect(await client.ack({ task_id, lease: again.lease })).toMatchObject({ status: "acknowledged" })
  })

  test("every call of an operator", async () => {
    await using broker = await testBroker()
    const queue = freshName()
    const client = new Client({ url: broker.url, token: TOKEN })
    await client.submitMany(Array.from({ length: 4 }, () => ({ type: "t", queue, max_retries: 0 })))
    expect(await client.pauseQueue(queue, { reason: "a move" })).toMatchObject({ status: "paused", queue })
    expect(await client.queue(queue)).toMatchObject({ paused: true, depth: { queued: 4 } })
    expect(await client.resumeQueue(queue)).toEqual({ status: "resumed", queue })
    expect((await client.setQueue(queue, { concurrency: 9 })).settings).toEqual({ concurrency: 9 })
    const { queues } = await client.queues({ limit: 1_000 })
    expect(queues.map(view => view.queue)).toContain(queue)

    const { tasks } = await client.lease({ queues: [queue], max: 3, worker: "w" })
    const failed = tasks.map(({ id, lease }) => ({
      task_id: id,
      lease,
      status: "failed" as const,
      error: "no",
    }))
    await client.ackMany(failed)
    const { groups } = await client.dlqGroups({ queue, reason: "failed" })
    expect(groups).toMatchObject([{ count: 3, error: "no" }])
    const { fingerprint } = groups[0]!
    expect((await client.dlq({ queue, fingerprint, limit: 2 })).tasks).toHaveLength(2)
    expect(await client.retryDeadTasks({ queue, fingerprint, limit: 1 })).toMatchObject({ requeued: 1 })
    const [left] = (await client.dlq({ queue })).tasks
    expect(await client.deleteDeadTask(left!.id)).toEqual({ status: "deleted_from_dlq", task_id: left!.id })
    expect((await client.purgeDeadTasks({ queue })).purged).toBe(1)
    expect(await client.purgeQueue(queue, { state: "queued" })).toEqual({ purged: 2, remaining: 0 })

    const filter = { queue, state: ["live", "draining"] } as const
    expect((await client.workers(filter)).workers).toMatchObject([{ worker: "w", failed: 3 }])
    expect(await client.drainWorker("w")).toMatchObject({ status: "draining" })
    expect(await client.history({ queue, types: true })).toMatchObject({ types: expect.any(Array) })
    expect(await client.audit({ queue, fix: false })).toMatchObject({ complete: true })
    expect(await client.drainWorker("w", false)).toEqual({ status: "drain_ended", worker: "w" })
  })
})
