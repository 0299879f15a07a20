/** The trail of operator actions: every route that operators use is in it, with its author and what it changed. */
import { expect, test } from "bun:test"
import { Redis } from "ioredis"
import { type ApiToken, hashOf, ROLES, type Role } from "../../lib/config/tokens.ts"
import { ACTION_STREAM } from "../../lib/redis/keys.ts"
import { ACTIONS } from "../../lib/wire/action-names.ts"
import type { ActionView } from "../../lib/wire/actions.ts"
import { type OperationId, ROUTES, type Route } from "../../lib/wire/routes.ts"
import { freshName, type TestBroker, testBroker } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"
import { answered, type Body } from "../support/requests.ts"

const SECRET = "payload-that-nobody-may-see"
const secretOf = (name: string) => `the-secret-token-of-${name}`
const tokenOf = (name: string, roles: readonly Role[], queues?: string[]): ApiToken => ({
  name,
  roles,
  queues,
  hash: hashOf(secretOf(name)),
})

type Ask = (method: string, path: string, body?: unknown) => Promise<Body>
const as =
  (broker: TestBroker, name: string): Ask =>
  (method, path, body) =>
    answered(broker.call(method, path, body, { headers: { "x-api-token": secretOf(name) } }))

const listed = async (ask: Ask, query = ""): Promise<ActionView[]> =>
  ((await ask("GET", `/actions${query}`)) as unknown as { actions: ActionView[] }).actions

/** Routes with the role `operate` that change nothing, or only the session of the caller. */
const UNRECORDED: ReadonlySet<string> = new Set<OperationId>(["previewSchedule", "countBulk", "signOut"])

test("every route that needs the role operate and changes something is an action", () => {
  const operated = Object.entries<Route>(ROUTES).filter(
    ([id, { roles, method }]) => roles.includes("operate") && method !== "GET" && !UNRECORDED.has(id),
  )
  expect([...ACTIONS].sort() as string[]).toEqual(operated.map(([id]) => id).sort())
})

/** Does each action once, on fresh tasks, and returns the body of its request. */
async function actEach(broker: TestBroker, queue: string, done: (action: string) => Promise<unknown>) {
  const ask = as(broker, "ops")
  const submit = async (task: object = {}) =>
    String((await ask("POST", "/submit", { type: "t", queue, payload: { secret: SECRET }, ...task })).task_id)
  const die = async () => {
    const id = await submit({ max_retries: 0 })
    const { tasks } = await ask("POST", "/lease", { queues: [queue], worker: "w" })
    const [{ lease }] = tasks as [{ lease: string }]
    await ask("POST", "/ack", { task_id: id, lease, status: "failed", error: "no" })
    return id
  }
  const waiting = await submit({ delay_ms: 3_600_000 })
  const schedule = `${queue}:s`
  const task = { type: "t", payload: { secret: SECRET } }
  const group = `/queues/${queue}/groups/acme`
  const requests: Record<(typeof ACTIONS)[number], () => Promise<unknown>> = {
    changeTask: () => ask("PATCH", `/tasks/${waiting}`, { payload: { secret: SECRET }, priority: 9 }),
    cancelTask: () => ask("POST", `/cancel/${waiting}`),
    submitAgain: () => ask("POST", `/tasks/${waiting}/again`, { payload: { secret: SECRET } }),
    cancelTasks: () => ask("POST", "/cancel", { queue }),
    deleteTask: () => ask("DELETE", `/tasks/${waiting}`),
    setSchedule: () => ask("PUT", `/schedules/${schedule}`, { every_ms: 3_600_000, task }),
    pauseSchedule: () => ask("POST", `/schedules/${schedule}/pause`, { reason: "a move" }),
    resumeSchedule: () => ask("POST", `/schedules/${schedule}/resume`),
    runSchedule: () => ask("POST", `/schedules/${schedule}/run`),
    deleteSchedule: () => ask("DELETE", `/schedules/${schedule}`),
    purgeQueue: () => ask("POST", `/queues/${queue}/purge`, { state: "queued" }),
    retryDeadTask: async () => ask("POST", `/dlq/retry/${await die()}`, { payload: SECRET }),
    retryDeadTasks: () => ask("POST", "/dlq/retry", { queue, error: "no", patch: { a: SECRET } }),
    purgeDeadTasks: () => ask("POST", "/dlq/purge", { queue }),
    deleteDeadTask: async () => {
      await ask("POST", `/queues/${queue}/purge`, { state: "queued" })
      await ask("DELETE", `/dlq/${await die()}`)
    },
    setQueueSettings: () => ask("PUT", `/queues/${queue}/settings`, { concurrency: 3 }),
    startBulk: () =>
      ask("POST", "/bulk", {
        action: "retry",
        filter: { queue },
        canary: true,
        patch: { a: SECRET },
        rate: 1,
      }),
    stopBulk: async () => {
      // The canary of a retry waits for a worker until the operation is stopped.
      await die()
      const { bulk_id } = await ask("POST", "/bulk", { action: "retry", filter: { queue }, canary: true })
      await ask("POST", `/bulk/${bulk_id}/stop`)
    },
    pauseQueue: () => ask("POST", `/queues/${queue}/pause`, { reason: "the mail server is moved" }),
    resumeQueue: () => ask("POST", `/queues/${queue}/resume`),
    setGroupLimits: () => ask("PUT", group, { concurrency: 2 }),
    removeGroupLimits: () => ask("DELETE", group),
    pauseGroup: () => ask("POST", `${group}/pause`, { reason: "late" }),
    resumeGroup: () => ask("POST", `${group}/resume`),
    addMark: () => ask("POST", "/history/marks", { text: "deploy v1.2" }),
    drainWorker: () => ask("POST", "/workers/w/drain"),
    undrainWorker: () => ask("DELETE", "/workers/w/drain"),
    audit: () => ask("POST", `/audit?fix=true&queue=${queue}`),
  }
  for (const [action, send] of Object.entries(requests)) {
    await send()
    await done(action)
  }
}

test("each action is in the trail, with its author, its queue and no payload", async () => {
  await using redis = await testRedis()
  await using broker = await testBroker({ tokens: [tokenOf("ops", ROLES)] }, redis.socket)
  const ask = as(broker, "ops")
  const queue = freshName()
  await actEach(broker, queue, async action => {
    const [newest] = await listed(ask, "?limit=1")
    expect(newest).toMatchObject({ action, by: "ops", request_id: expect.any(String) })
    expect(newest!.queues).toEqual(action === "addMark" ? undefined : [queue])
  })
  const all = await listed(ask)
  expect(JSON.stringify(all)).not.toContain(SECRET)
  expect(JSON.stringify(all)).not.toContain(secretOf("ops"))
  const detailsOf = (action: string) => all.find(entry => entry.action === action)
  expect(detailsOf("pauseQueue")).toMatchObject({ details: { reason: "the mail server is moved" } })
  expect(detailsOf("setQueueSettings")!.details).toEqual({ before: {}, after: { concurrency: 3 } })
  expect(detailsOf("setGroupLimits")!.details).toEqual({ after: { concurrency: 2 } })
  expect(detailsOf("removeGroupLimits")!.details).toEqual({ before: { concurrency: 2 } })
  expect(detailsOf("setSchedule")!.details).toEqual({ after: { every_ms: 3_600_000, type: "t" } })
  expect(detailsOf("retryDeadTask")!.details).toEqual({ payload_changed: true })
  expect(detailsOf("retryDeadTasks")!.details).toEqual({
    error: "no",
    limit: 100,
    payload_changed: true,
    requeued: 0,
    skipped: 0,
  })
  expect(detailsOf("audit")!.details).toEqual({ complete: true, found: 0, mended: 0 })
  expect(detailsOf("drainWorker")).toMatchObject({ worker: "w" })
})

test("what changes nothing is not in the trail", async () => {
  await using redis = await testRedis()
  const tokens = [tokenOf("ops", ROLES), tokenOf("program", ["submit"])]
  await using broker = await testBroker({ tokens }, redis.socket)
  const ask = as(broker, "ops")
  const schedule = { every_ms: 3_600_000, task: { type: "t" } }
  await ask("PUT", "/schedules/q:s", schedule)
  await ask("PUT", "/schedules/q:s", schedule)
  await ask("POST", "/queues/q/purge", { state: "queued", dry_run: true })
  await ask("POST", "/dlq/retry", { dry_run: true })
  await ask("POST", "/audit")
  expect((await broker.call("POST", "/cancel/q:unknown")).status).toBe(404)
  expect((await broker.call("POST", "/dlq/purge", { cursor: "A" })).status).toBe(400)
  const { task_id } = await ask("POST", "/submit", { type: "t", queue: "q" })
  await as(broker, "program")("POST", `/cancel/${task_id}`)
  expect((await listed(ask)).map(({ action }) => action)).toEqual(["setSchedule"])
  await as(broker, "program")("DELETE", "/schedules/q:s")
  expect((await listed(ask)).map(({ action, by }) => [action, by])).toEqual([
    ["deleteSchedule", "program"],
    ["setSchedule", "ops"],
  ])
})

test("a token that is bound to queues sees only their actions, and no other queue in them", async () => {
  await using redis = await testRedis()
  const tokens = [
    tokenOf("ops", ROLES),
    tokenOf("a", ["read", "operate"], ["a"]),
    tokenOf("both", ["operate"], ["b", "a"]),
  ]
  await using broker = await testBroker({ tokens }, redis.socket)
  const ask = as(broker, "ops")
  for (const queue of ["a", "b"]) await ask("POST", `/queues/${queue}/pause`)
  await ask("POST", "/dlq/purge", {})
  await as(broker, "both")("POST", "/dlq/purge", {})
  const bound = await listed(as(broker, "a"))
  expect(bound.map(({ action, by, queues }) => [action, by, queues])).toEqual([
    ["purgeDeadTasks", "both", ["a"]],
    ["pauseQueue", "ops", ["a"]],
  ])
  expect(await listed(as(broker, "a"), "?queue=a")).toEqual(bound)
  const refused = await broker.call("GET", "/actions?queue=b", undefined, {
    headers: { "x-api-token": secretOf("a") },
  })
  expect(refused.status).toBe(403)
  const all = await listed(ask)
  expect(all.map(({ queues }) => queues)).toEqual([["a", "b"], undefined, ["b"], ["a"]])
  expect((await listed(ask, "?by=both")).map(({ by }) => by)).toEqual(["both"])
  expect((await listed(ask, "?action=pauseQueue&queue=b")).map(({ queues }) => queues)).toEqual([["b"]])
})

test("the trail keeps the newest 1,000 actions, and a page continues after the previous one", async () => {
  await using redis = await testRedis()
  await using broker = await testBroker({ tokens: [tokenOf("ops", ROLES)] }, redis.socket)
  const ask = as(broker, "ops")
  for (let i = 0; i < 1_003; i++)
    await broker.queue.parts.trail.add({ by: i % 2 ? "odd" : "even", action: "audit", details: { i } })
  const numbers = async (query: string) => (await listed(ask, query)).map(({ details }) => details.i)
  expect(await numbers("?limit=1000")).toEqual(Array.from({ length: 1_000 }, (_, i) => 1_002 - i))
  const seen: unknown[] = []
  for (let cursor = ""; ; ) {
    const page = await ask("GET", `/actions?limit=150&by=odd${cursor}`)
    seen.push(...(page.actions as ActionView[]).map(({ details }) => details.i))
    if (page.next === undefined) break
    cursor = `&cursor=${page.next}`
  }
  expect(seen).toEqual(Array.from({ length: 500 }, (_, i) => 1_001 - 2 * i))
  await broker.queue.parts.trail.add({ by: "ops", action: "audit", details: { text: "x".repeat(5_000) } })
  expect((await listed(ask, "?limit=1"))[0]!.details).toEqual({ omitted: true })
})

test("an action that cannot be recorded is done, and the log says so", async () => {
  await using redis = await testRedis()
  const lines: string[] = []
  const note = (message: string) => void lines.push(message)
  const log = { debug: note, info: note, warn: note, error: note }
  await using broker = await testBroker({ tokens: [tokenOf("ops", ROLES)] }, redis.socket, log)
  const ask = as(broker, "ops")
  const direct = new Redis(redis.socket)
  await direct.set(ACTION_STREAM, "not a stream")
  expect(await ask("POST", "/queues/q/pause")).toMatchObject({ status: "paused" })
  expect(lines).toContain("An action could not be recorded, so GET /actions does not list it")
  expect(await ask("GET", "/queues/q")).toMatchObject({ paused: true })
  direct.disconnect()
})
