/** The contents of tasks that a token may not see are in no answer: the role `watch`, and tasks submitted with `redact`. */
import { expect, test } from "bun:test"
import type { TSchema } from "@sinclair/typebox"
import { Client } from "../../lib/client.ts"
import { type ApiToken, hashOf, type Role } from "../../lib/config/tokens.ts"
import type { Handler } from "../../lib/handlers.ts"
import { PROSE } from "../../lib/http/openapi/document.ts"
import { createLog } from "../../lib/log.ts"
import { localOf } from "../../lib/task/id.ts"
import type { BulkView } from "../../lib/wire/bulk.ts"
import type { DlqGroupsAnswer } from "../../lib/wire/dead-letters.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import { type OperationId, ROUTES, type Route, rolesOf } from "../../lib/wire/routes.ts"
import type { LeasedTask } from "../../lib/wire/working.ts"
import { TaskRunner } from "../../lib/worker/task-runner.ts"
import { workerInfo } from "../../lib/worker/task-worker.ts"
import { subscribe } from "../support/event-listener.ts"
import { freshName, type TestBroker, TOKEN, testBroker, until } from "../support/harness.ts"
import { sharedRedis } from "../support/redis.ts"
import { ServedQueue } from "../support/served-queue.ts"

/** Neither a number nor hexadecimal, which the patterns of errors leave out. */
const SECRET = "wordofthepayload"
/** Values of query parameters that the schema does not list. A new required parameter needs one. */
const VALUES: Record<string, string> = {
  queue: "",
  limit: "100",
  state: "all",
  to_at: String(Date.now() - 60_000), // a minute may begin between two requests for the history
}

const secretOf = (roles: readonly Role[]) => `the-secret-of-${roles.join("-")}`
const tokenOf = (...roles: Role[]): ApiToken => ({
  name: roles.join("-"),
  roles,
  queues: undefined,
  hash: hashOf(secretOf(roles)),
})

const BLIND: Role[][] = [["watch"]]
/** These may not see tasks that were submitted with `redact`. */
const READERS: Role[][] = [["read"], ["submit"], ["read", "submit", "watch"]]
const SEEING: Role[][] = [
  ["operate", "read"],
  ["work", "watch"],
]
const TOKENS = [...BLIND, ...READERS, ...SEEING].map(roles => tokenOf(...roles))

const ask = async (
  broker: TestBroker,
  roles: readonly Role[],
  method: string,
  path: string,
  body?: unknown,
) => {
  const headers = { "x-api-token": secretOf(roles) }
  const answer = await broker.call(method, path, body, { headers })
  return { status: answer.status, text: await answer.text() }
}

/** Tasks in every state, each with the secret wherever it can have one. Returns their ids by state. */
async function fill(q: ServedQueue, redact: boolean): Promise<Record<string, string>> {
  const payload = { to: SECRET }
  const asked = { redact, payload, group: "g", meta: { team: "a" }, max_retries: 0 }
  const submit = (more: object = {}) => q.submit({ ...asked, ...more })
  const busy = async (more: object = {}): Promise<LeasedTask> => {
    const task = await q.leased({ ...asked, ...more })
    await q.extend(task, { progress: { at: SECRET }, checkpoint: SECRET, log: [`line ${SECRET}`] })
    return task
  }
  const fail = { status: "failed", error: `Error: ${SECRET}\n    at ${SECRET}` }
  const done = await busy()
  await q.ack(done, { result: { answer: SECRET } })
  const dead = await busy()
  await q.ack(dead, fail)
  const cancelled = await busy({ max_retries: 3 })
  await q.ack(cancelled, fail)
  await q.cancel(cancelled.id)
  const retrying = await busy({ max_retries: 3, payload: { to: `${SECRET} `.repeat(50) } })
  await q.ack(retrying, { ...fail, retry_in_ms: 3_600_000 })
  const released = await busy({ max_retries: 3 })
  await q.ack(released, { status: "released", error: SECRET, retry_in_ms: 3_600_000 })
  const processing = await busy()
  const scheduled = await submit({ delay_ms: 3_600_000 })
  const queued = await submit({ payload: { to: `${SECRET} `.repeat(50) } })
  await q.ask("PUT", `/schedules/${q.queue}:s`, { every_ms: 3_600_000, task: { type: "t", payload, redact } })
  await q.ask("PUT", `/schedules/${q.queue}:later`, {
    every_ms: 3_600_000,
    task: { type: "t", payload, redact, delay_ms: undefined },
  })
  const { task_id: fired } = (await q.ask("POST", `/schedules/${q.queue}:s/run`)).body
  const { task_id: again } = (await q.ask("POST", `/tasks/${dead.id}/again`)).body
  // An operator filters by a text that only an operator may know.
  await q.ask("POST", "/dlq/purge", { queue: q.queue, error: `${SECRET} and no other` })
  await q.ask("POST", "/bulk", {
    action: "retry",
    filter: { queue: q.queue, error: `${SECRET} and no other` },
    patch: { to: SECRET },
  })
  await q.ask("POST", "/bulk", {
    action: "submit_again",
    filter: { queue: q.queue, text: `${SECRET} and no other` },
  })
  return {
    done: done.id,
    dead: dead.id,
    cancelled: cancelled.id,
    retrying: retrying.id,
    released: released.id,
    processing: processing.id,
    scheduled,
    queued,
    fired,
    again,
  }
}

/** The paths of a route, with the names of what exists. */
function pathsOf(path: string, q: ServedQueue, ids: readonly string[], bulk = "none"): string[] {
  const names: Record<string, readonly string[]> = {
    id: ids,
    queue: [q.queue],
    schedule: [`${q.queue}:s`],
    group: ["g"],
    bulk: [bulk],
    worker: ["w1"],
  }
  return path
    .split("/")
    .reduce<string[]>(
      (paths, part) => {
        const found = part.startsWith(":") ? names[part.slice(1)] : [part]
        if (found === undefined)
          throw new Error(`This test has no value for the parameter ${part} of ${path}`)
        return paths.flatMap(before => found.map(name => `${before}/${name}`))
      },
      [""],
    )
    .map(found => found.slice(1))
}

const isText = (schema: TSchema) => schema.type === "string" && schema.pattern === undefined
const wordsOf = (schema: TSchema): string[] =>
  (schema.anyOf ?? schema.items?.anyOf ?? []).flatMap((one: TSchema) =>
    one.const === undefined ? [] : [one.const],
  )

/** The queries of a route: every word of every parameter, and for parameters that are texts, this one. */
function queriesOf({ query }: Route, queue: string, text: string): string[] {
  if (query === undefined) return [""]
  const properties = Object.entries<TSchema>(query.properties)
  const usual = properties.flatMap(([name, schema]) => {
    const value = name === "queue" ? queue : (VALUES[name] ?? wordsOf(schema)[0])
    if (value === undefined && query.required?.includes(name))
      throw new Error(`This test needs a value for the query parameter ${name}`)
    const isUsual = query.required?.includes(name) || name in VALUES
    return isUsual ? [[name, value!] as const] : []
  })
  const queries = properties.flatMap(([name, schema]) =>
    [...wordsOf(schema), ...(isText(schema) ? [text] : [])].map(value => ({
      ...Object.fromEntries(usual),
      [name]: value,
    })),
  )
  return [Object.fromEntries(usual), ...queries].map(one => `?${new URLSearchParams(one)}`)
}

/** Sends all requests without a body that these roles may send, and returns the answers by request. */
async function readAll(q: ServedQueue, roles: readonly Role[], ids: readonly string[], text: string) {
  const answers = new Map<string, string>()
  const { operations } = (await q.ask("GET", "/bulk")).body
  const [{ bulk_id: bulk }] = operations.filter(({ filter }: BulkView) => filter.queue === q.queue)
  for (const [id, route] of Object.entries<Route>(ROUTES)) {
    if (route.method !== "GET" || !rolesOf(route).some(role => roles.includes(role))) continue
    if (id === "listenEvents" || id === "leaseOne") continue
    let answered = 0
    for (const path of pathsOf(route.path, q, ids, bulk))
      for (const query of queriesOf(route, q.queue, text)) {
        const { status, text: found } = await ask(q.broker, roles, "GET", path + query)
        if (status === 200) answered++
        answers.set(`${path}${query}`.replace(text, "<text>"), found.replace(/\b\d{13}\b/g, "TIME"))
      }
    expect([id, answered > 0]).toEqual([id, true])
  }
  return answers
}

/** Sends each request that changes something with the first example of its body, for each task. */
async function changeAll(q: ServedQueue, roles: readonly Role[], ids: readonly string[]) {
  for (const [id, route] of Object.entries<Route>(ROUTES)) {
    if (route.method === "GET" || !rolesOf(route).some(role => roles.includes(role))) continue
    const { body } = PROSE[id as OperationId] as { body?: Record<string, unknown> }
    for (const path of pathsOf(route.path, q, ids)) {
      const { text } = await ask(q.broker, roles, route.method, path, body && Object.values(body)[0])
      expect(text, `${id} for ${roles}`).not.toContain(SECRET)
    }
  }
}

const cases: [string, Role[], boolean][] = [
  ...BLIND.flatMap(roles =>
    [false, true].map(redact => [roles.join(" and "), roles, redact] as [string, Role[], boolean]),
  ),
  ...READERS.map(roles => [roles.join(" and "), roles, true] as [string, Role[], boolean]),
]

test.each(cases)(
  "no answer to a token with the role %s has the contents of a task; redact: %#",
  async (_, roles, redact) => {
    await using q = await ServedQueue.open({ tokens: TOKENS })
    const mayListen = rolesOf(ROUTES.listenEvents).some(role => roles.includes(role))
    const listener = mayListen ? roles : SEEING[0]!
    const events = await subscribe(q.broker.url, `queue=${q.queue}`, { "x-api-token": secretOf(listener) })
    const ids = Object.values(await fill(q, redact))
    await events.until("schedule_set", 2)
    await events.until("dead")
    // The errors of redacted tasks are not published at all.
    expect(events.names()).toContain("failed")
    expect(events.text).not.toContain(SECRET)
    await events.leave()

    const found = await readAll(q, roles, ids, SECRET)
    for (const [request, text] of found) expect(text, request).not.toContain(SECRET)
    // What a text finds reveals nothing.
    const others = await readAll(q, roles, ids, "notaskhasthis")
    for (const [request, text] of found)
      if (request.includes("<text>")) expect(text, request).toBe(others.get(request)!)
    for (const id of ids) {
      const { text } = await ask(q.broker, roles, "GET", `/status/${id}`)
      const task = JSON.parse(text) as TaskView
      expect(task).toMatchObject({ hidden: true, payload: null, type: "t" })
      expect(task.redact).toBe(redact ? true : undefined)
      for (const name of ["result", "error", "progress", "checkpoint", "log", "log_at"])
        expect(task).not.toHaveProperty(name)
    }
    await changeAll(q, roles, ids)
  },
)

test("fingerprints of errors that are hidden select nothing", async () => {
  await using q = await ServedQueue.open({ tokens: TOKENS })
  await fill(q, false)
  const groups = async (roles: readonly Role[], filter = "") => {
    const { text } = await ask(q.broker, roles, "GET", `/dlq/groups?queue=${q.queue}${filter}`)
    return (JSON.parse(text) as DlqGroupsAnswer).groups
  }
  const [seen] = await groups(["read"])
  expect(seen).toMatchObject({ count: 1, error: expect.stringContaining(SECRET) })
  const [hidden] = await groups(["watch"])
  expect(hidden).toMatchObject({ count: 1, error: "", sample: { task_id: seen!.sample.task_id } })
  expect(await groups(["watch"], `&fingerprint=${seen!.fingerprint}`)).toEqual([])
  expect(await groups(["watch"], `&fingerprint=${hidden!.fingerprint}`)).toHaveLength(1)
})

test.each(SEEING)("a token with the roles %s and %s sees the contents of every task", async (...roles) => {
  await using q = await ServedQueue.open({ tokens: TOKENS })
  const ids = await fill(q, true)
  for (const [state, id] of Object.entries(ids)) {
    const { text } = await ask(q.broker, roles, "GET", `/status/${id}`)
    const task = JSON.parse(text) as TaskView
    expect([state, JSON.stringify(task.payload).includes(SECRET)]).toEqual([state, true])
    expect(task).toMatchObject({ redact: true })
    expect(task).not.toHaveProperty("hidden")
  }
  const text = async (path: string) => (await ask(q.broker, roles, "GET", path)).text
  expect(await text(`/status/${ids.done}`)).toContain(`"result":{"answer":"${SECRET}"}`)
  expect(await text(`/why/${ids.retrying}`)).toContain(SECRET)
  expect(await text(`/dlq?queue=${q.queue}&error=${SECRET}`)).toContain(localOf(ids.dead!))
  expect(await text(`/schedules/${q.queue}:s`)).toContain(SECRET)
})

test("workers get a redacted task with its payload, its checkpoint and the mark", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased({ redact: true, payload: SECRET })
  expect(task).toMatchObject({ payload: SECRET, redact: true })
  await q.extend(task, { checkpoint: SECRET })
  await q.ack(task, { status: "released" })
  expect((await q.lease())[0]).toMatchObject({ payload: SECRET, checkpoint: SECRET, redact: true })
  expect(await q.leased()).not.toHaveProperty("redact")
})

test("a task stays redacted if it is replaced, changed, retried or submitted again", async () => {
  await using q = await ServedQueue.open({ tokens: TOKENS })
  const isHidden = async (id: string) =>
    (JSON.parse((await ask(q.broker, ["read"], "GET", `/status/${id}`)).text) as TaskView).hidden
  const dead = await q.dead({ redact: true })
  await q.ask("POST", `/dlq/retry/${dead}`, { payload: SECRET })
  expect(await isHidden(dead)).toBe(true)
  const id = await q.submit({ redact: true, unique_key: "u", payload: SECRET })
  await q.submit({ unique_key: "u", on_duplicate: "replace", payload: SECRET })
  expect(await isHidden(id)).toBe(true)
  await q.ask("PATCH", `/tasks/${id}`, { payload: { to: SECRET }, meta: { a: "b" } })
  expect(await isHidden(id)).toBe(true)
  await q.cancel(id)
  const { task_id } = (await q.ask("POST", `/tasks/${id}/again`, { payload: SECRET })).body
  expect(await isHidden(task_id)).toBe(true)
  // A replacement may also hide a task that was not.
  const open = await q.submit({ unique_key: "v", payload: 1 })
  expect(await isHidden(open)).toBeUndefined()
  await q.submit({ unique_key: "v", on_duplicate: "replace", redact: true, payload: SECRET })
  expect(await isHidden(open)).toBe(true)
})

test("neither broker nor worker logs errors and lines of a redacted task", async () => {
  const lines: string[] = []
  const log = createLog("debug", line => void lines.push(line), false)
  const { socket } = await sharedRedis()
  await using broker = await testBroker({}, socket, log)
  const queue = freshName()
  const submit = async (redact: boolean) => {
    const body = { type: "secret", queue, redact, payload: SECRET, max_retries: 0 }
    return ((await (await broker.call("POST", "/submit", body)).json()) as { task_id: string }).task_id
  }
  const fail: Handler = (payload, context) => {
    context.log(`I have ${payload}`)
    throw new Error(String(payload))
  }
  const worker = new TaskRunner({
    client: new Client({ url: broker.url, token: TOKEN }),
    handlers: new Map([["secret", fail]]),
    log,
    spans: undefined,
    name: "w",
    info: workerInfo(),
    queues: [queue],
    concurrency: 1,
    drainMs: 1_000,
  })
  const died = (id: string) => () => lines.some(line => line.includes("A task is dead") && line.includes(id))
  await until("it is dead", died(await submit(true)))
  expect(lines.join("\n")).not.toContain(SECRET)
  await until("the other is dead", died(await submit(false)))
  expect(lines.filter(line => line.includes(SECRET))).toHaveLength(3)
  await worker.stop()
})

test("the role watch may send what the role read may send", () => {
  for (const [id, route] of Object.entries<Route>(ROUTES))
    expect([id, rolesOf(route).includes("watch")]).toEqual([id, route.roles.includes("read")])
})
