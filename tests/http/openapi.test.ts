/** The document at /swagger/json against an independent validator, the routes, and the broker's real answers. */
import { afterAll, beforeAll, expect, test } from "bun:test"
import { Validator } from "@seriousme/openapi-schema-validator"
import { Ajv, type ValidateFunction } from "ajv"
import { createBroker } from "../../broker.ts"
import { readBrokerConfig } from "../../lib/config/config.ts"
import { PROSE } from "../../lib/http/openapi/document.ts"
import { createLog } from "../../lib/log.ts"
import type { TaskQueue } from "../../lib/queue/task-queue.ts"
import { CODES, type Code, PROBLEMS } from "../../lib/wire/problem.ts"
import { type OperationId, problemsOf, ROUTES, routeName } from "../../lib/wire/routes.ts"
import { freshName, type TestBroker, TOKEN, testBroker, testConfig, until } from "../support/harness.ts"

interface Media {
  schema: Record<string, unknown>
  examples: Record<string, { value: unknown }>
}
type Content = Record<string, Media>
interface Operation {
  operationId: string
  summary?: string
  description?: string
  tags?: string[]
  security?: Record<string, string[]>[]
  parameters?: { name: string; in: string; description: string; example?: unknown; schema: object }[]
  requestBody?: { content: Content }
  responses: Record<string, { description: string; content?: Content; headers?: Record<string, object> }>
}
interface Document {
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, object> }
}

const SUBMITTER = "a-token-that-only-submits"
let broker: TestBroker
let document: Document
let ajv: Ajv
beforeAll(async () => {
  const { tokens } = readBrokerConfig({ API_TOKENS: `ci:submit:${SUBMITTER}` })
  broker = await testBroker({ tokens })
  document = (await (await fetch(`${broker.url}/swagger/json`)).json()) as Document
  ajv = new Ajv({ strict: false }).addSchema(document, "document")
})
afterAll(() => broker[Symbol.asyncDispose]())

const operations = () =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path}`,
      method: method.toUpperCase(),
      path,
      operation,
    })),
  )

const compiled = new Map<string, ValidateFunction>()
/** How a value violates a schema of the document; undefined if it fits. */
function misfit(schema: object, value: unknown): string | undefined {
  const text = JSON.stringify(schema).replaceAll('"#/components', '"document#/components')
  const fits = compiled.get(text) ?? ajv.compile(JSON.parse(text))
  compiled.set(text, fits)
  return fits(value) ? undefined : ajv.errorsText(fits.errors)
}

interface Body {
  code?: string
  tasks?: { id: string; lease: string }[]
}
const json = async (answer: Response) => ({ status: answer.status, body: (await answer.json()) as Body })

/** A task that this test has leased, in a queue that no other test uses. */
async function leased(more: { queue?: string; [name: string]: unknown } = {}) {
  const { queue = freshName() } = more
  await broker.call("POST", "/submit", { type: "example", queue, max_retries: 0, ...more })
  const { body } = await json(await broker.call("POST", "/lease", { queues: [queue] }))
  const { id, lease } = body.tasks![0]!
  return { task_id: id, lease }
}

test("the document is valid OpenAPI", async () => {
  const { valid, errors } = await new Validator().validate({ ...document })
  expect({ valid, errors }).toEqual({ valid: true, errors: undefined })
})

test("it has every route of the app, and no other", () => {
  const app = createBroker({} as TaskQueue, testConfig(), TOKEN, createLog("silent"))
  const routes = app.routes
    .filter(({ path }) => !/^\/(swagger|dashboard|$)/.test(path))
    .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, "{$1}")}`)
  expect(routes.length).toBeGreaterThan(13)
  expect(
    operations()
      .map(({ name }) => name)
      .sort(),
  ).toEqual(routes.sort())
})

test("every route that the broker serves is declared, with its operation id, and no other", () => {
  const declared = Object.entries(ROUTES).map(([id, route]) => `${id} ${routeName(route)}`)
  const served = operations().map(
    ({ method, path, operation }) =>
      `${operation.operationId} ${method} ${path.replace(/\{(\w+)\}/g, ":$1")}`,
  )
  expect(served.sort()).toEqual(declared.sort())
  expect(new Set(Object.values(ROUTES).map(routeName)).size).toBe(declared.length)
})

test("a session authenticates every operation that a token does, with the CSRF header if it changes something", () => {
  for (const { name, operation } of operations()) {
    const schemes = operation.security!.map(one => Object.keys(one).sort().join())
    const changes = !name.startsWith("GET ") || name === "GET /get"
    expect(schemes.includes("token"), name).toBe(schemes.includes(changes ? "csrf,session" : "session"))
    expect(schemes.includes("session") && changes, name).toBe(false)
  }
})

test("the schemas of the document carry no keyword that OpenAPI 3.0 does not have", () => {
  expect(JSON.stringify(document)).not.toMatch(/"(const|patternProperties|contentMediaType)":/)
})

test("prose and facts exist only for problems that the route declares", () => {
  for (const [id, { problems = {}, advice = {} }] of Object.entries(PROSE)) {
    const codes = problemsOf(ROUTES[id as OperationId])
    for (const code of Object.keys(problems) as Code[]) expect(codes, id).toContain(code)
    for (const status of Object.keys(advice))
      expect(
        codes.map(code => PROBLEMS[code].status),
        id,
      ).toContain(Number(status))
  }
})

test("every route says what it is for, what it takes and what it may answer", () => {
  for (const { name, operation } of operations()) {
    const open =
      operation.security!.length === 0 || operation.security!.some(one => Object.keys(one).length === 0)
    const statuses = ["200", "500"]
    if (!open) statuses.push("401", "403")
    if (operation.requestBody) statuses.push("413", "415")
    // These two work while Redis is unavailable or do not use it.
    if (!open && !["GET /metrics", "DELETE /session"].includes(name)) statuses.push("503")
    if (!open && (operation.parameters || operation.requestBody)) statuses.push("400")
    for (const status of statuses) expect(`${name}: ${Object.keys(operation.responses)}`).toContain(status)
    expect(operation.summary?.length, name).toBeGreaterThan(5)
    expect(operation.description?.length, name).toBeGreaterThan(20)
    expect(operation.tags, name).toHaveLength(1)
    for (const parameter of operation.parameters ?? [])
      expect(parameter.description, `${name} ${parameter.name}`).toBeTruthy()
    for (const [status, { description, content }] of Object.entries(operation.responses)) {
      expect(description, `${name} ${status}`).toBeTruthy()
      expect(content !== undefined, `${name} ${status} has an example`).toBe(status !== "204")
      for (const [type, { examples }] of Object.entries(content ?? {})) {
        const good =
          { "GET /metrics": "text/plain", "GET /events": "text/event-stream" }[name] ?? "application/json"
        expect(type).toBe(Number(status) < 400 ? good : "application/problem+json")
        expect(Object.keys(examples).length, `${name} ${status}`).toBeGreaterThan(0)
      }
    }
  }
})

test("every example fits its schema", () => {
  expect(misfit({ $ref: "#/components/schemas/Submit" }, { payload: 1 })).toContain("type")
  for (const { name, operation } of operations()) {
    const parts = [operation.requestBody, ...Object.values(operation.responses)]
    for (const { schema, examples } of parts.flatMap(part => Object.values(part?.content ?? {})))
      for (const [example, { value }] of Object.entries(examples))
        expect(misfit(schema, value), `${name} ${example}`).toBeUndefined()
    for (const { name: parameter, schema, example } of operation.parameters ?? [])
      if (example !== undefined) expect(misfit(schema, example), `${name} ${parameter}`).toBeUndefined()
  }
})

test("the example of an outage says of a change, and of nothing else, that it may have taken effect", () => {
  for (const { name, method, operation } of operations()) {
    const example =
      operation.responses[503]?.content?.["application/problem+json"]?.examples.redis_unavailable
    if (example === undefined) continue
    const { detail } = example.value as { detail: string }
    expect([name, detail.includes("may have taken effect")]).toEqual([name, method !== "GET"])
  }
})

test("every code of a problem is in the answers of some route", () => {
  const shown = operations().flatMap(({ operation }) =>
    Object.values(operation.responses).flatMap(({ content }) =>
      Object.keys(content?.["application/problem+json"]?.examples ?? {}),
    ),
  )
  // These two are answered on paths without a matching route.
  expect([...new Set([...shown, "not_found", "method_not_allowed"])].sort()).toEqual([...CODES].sort())
})

/** Replaces the task and the lease of an example by real ones, also in the lists of /work. */
async function withRealTasks(value: unknown): Promise<unknown> {
  if (Array.isArray(value)) return Promise.all(value.map(withRealTasks))
  const item = value as Record<string, unknown>
  if ("token" in item) return { token: TOKEN }
  const { settle, extend } = item
  if (settle !== undefined || extend !== undefined)
    return {
      ...item,
      ...(settle ? { settle: await withRealTasks(settle) } : {}),
      ...(extend ? { extend: await withRealTasks(extend) } : {}),
    }
  if (!("task_id" in item) || "type" in item) return item
  const { task_id, lease } = await leased()
  return { ...item, task_id, ...("lease" in item ? { lease } : {}) }
}

/** With a queue and a schedule of no other test, or what is done to them would disturb it. */
async function inQueue(path: string): Promise<string> {
  const schedule = `${freshName()}:report`
  if (path.includes("{schedule}"))
    await broker.call("PUT", `/schedules/${schedule}`, { cron: "@daily", task: { type: "report" } })
  return path.replace("{queue}", freshName()).replace("{schedule}", schedule)
}

/** A task that the route accepts: a waiting one, or a dead one. */
async function given(method: string): Promise<string> {
  if (method === "PATCH") {
    const { body } = await json(await broker.call("POST", "/submit", { type: "echo", queue: freshName() }))
    return (body as { task_id: string }).task_id
  }
  const { task_id, lease } = await leased()
  await broker.call("POST", "/ack", { task_id, lease, status: "failed" })
  return task_id
}

test("the broker accepts every example of a body, and its answer fits the schema", async () => {
  for (const { name, method, path, operation } of operations()) {
    const answerSchema = operation.responses["200"]!.content!["application/json"]?.schema ?? {}
    for (const [example, { value }] of Object.entries(
      operation.requestBody?.content["application/json"]?.examples ?? {},
    )) {
      const body = await withRealTasks(value)
      const at = path.includes("{id}") ? path.replace("{id}", await given(method)) : await inQueue(path)
      const { status, body: answer } = await json(await broker.call(method, at, body))
      expect(status, `${name} ${example}: ${JSON.stringify(answer)}`).toBe(200)
      expect(misfit(answerSchema, answer), `${name} ${example}`).toBeUndefined()
      // It refused no item.
      expect(JSON.stringify(answer), `${name} ${example}`).not.toContain('"code"')
    }
  }
})

test("the answers of routes without a body fit their schemas, with the parameters of the examples", async () => {
  await broker.call("POST", "/submit", { type: "echo" })
  await broker.call("POST", "/submit", { type: "echo", meta: { team: "mail" }, priority: 0 })
  const dead = await leased()
  await broker.call("POST", "/ack", { ...dead, status: "failed", error: "for the list" })
  const doomed = await leased()
  await broker.call("POST", "/ack", { ...doomed, status: "failed" })
  const ended = await leased()
  await broker.call("POST", "/ack", ended)
  const { task_id: running } = await leased()
  await broker.call("POST", "/lease", { queues: ["mail"], worker: "host-1" })
  const started = await broker.call("POST", "/bulk", { action: "purge", filter: { type: "none" } })
  const { bulk_id: bulk } = (await started.json()) as { bulk_id: string }
  for (const { name, method, path, operation } of operations()) {
    // Neither answer is JSON, and the event stream does not end.
    if (
      (operation.requestBody && (!path.includes("{id}") || method === "PATCH")) ||
      path === "/metrics" ||
      path === "/events"
    )
      continue
    const query = new URLSearchParams()
    for (const { in: place, name: parameter, example } of operation.parameters ?? []) {
      if (place !== "query" || example === undefined) continue
      // The members of an object are separate parameters of the query.
      const members =
        typeof example === "object" && !Array.isArray(example) ? example! : { [parameter]: example }
      for (const [member, value] of Object.entries(members)) query.set(member, String(value))
    }
    if (path === "/dlq") query.delete("queue")
    const deleted = path.startsWith("/dlq") ? doomed.task_id : ended.task_id
    const id = path.startsWith("/cancel") ? running : method === "DELETE" ? deleted : dead.task_id
    const { status, body } = await json(
      await broker.call(
        method,
        `${(await inQueue(path)).replace("{id}", id).replace("{worker}", "host-1").replace("{bulk}", bulk)}?${query}`,
      ),
    )
    expect(status, `${name}: ${JSON.stringify(body)}`).toBe(200)
    expect(
      misfit(operation.responses["200"]!.content!["application/json"]!.schema, body),
      name,
    ).toBeUndefined()
    if (path === "/dlq") expect(body.tasks!.map(({ id }) => id)).toContain(dead.task_id)
    if (path === "/tasks") expect(body.tasks).toHaveLength(1)
  }
})

test("tasks in every state fit the schemas of /status and /why", async () => {
  const answers = async (id: string, status: string, cause: string) => {
    for (const [route, word, of] of [
      ["status", "status", status],
      ["why", "cause", cause],
    ] as const) {
      const { body } = await json(await broker.call("GET", `/${route}/${id}`))
      const { schema } =
        document.paths[`/${route}/{id}`]!.get!.responses["200"]!.content!["application/json"]!
      expect(body).toMatchObject({ [word]: of })
      expect(misfit(schema, body), `${route} ${status}`).toBeUndefined()
    }
  }
  const submitted = async (task: object) => {
    const { body } = await json(
      await broker.call("POST", "/submit", { type: "a", queue: freshName(), ...task }),
    )
    return (body as { task_id: string }).task_id
  }
  const rich = { meta: { a: "b" }, unique_key: "openapi", expires_in_ms: 120_000, max_runtime_ms: 60_000 }
  await answers(await submitted({}), "queued", "no_workers")
  const queue = freshName()
  await broker.call("POST", `/queues/${queue}/pause`, { reason: "a test" })
  await answers(await submitted({ queue }), "queued", "paused")
  const scheduled = await submitted({ ...rich, delay_ms: 60_000 })
  await answers(scheduled, "scheduled", "delayed")
  await broker.call("POST", `/cancel/${scheduled}`)
  await answers(scheduled, "cancelled", "ended")
  const failing = await leased({ ...rich, max_retries: 1 })
  await broker.call("POST", "/extend", { ...failing, progress: 0.5, checkpoint: { at: 1 }, log: ["half"] })
  await answers(failing.task_id, "processing", "running")
  await broker.call("POST", "/ack", { ...failing, status: "failed", error: "no", retry_in_ms: 60_000 })
  await answers(failing.task_id, "retrying", "backing_off")
  const running = await leased()
  await broker.call("POST", `/cancel/${running.task_id}`)
  await answers(running.task_id, "processing", "cancelling")
  await broker.call("POST", "/ack", running)
  await answers(running.task_id, "cancelled", "ended")
})

test("a replay has the header that the document declares", async () => {
  const headers = { "idempotency-key": `"${freshName()}"` }
  const queue = freshName()
  const ask = () => broker.call("POST", "/submit", { type: "a", queue }, { headers })
  const first = await ask()
  const again = await ask()
  expect([first, again].map(answer => answer.headers.get("idempotency-replayed"))).toEqual([null, "true"])
  expect((await again.json()) as object).toEqual({ ...((await first.json()) as object), replayed: true })
  const { responses, parameters } = document.paths["/submit"]!.post!
  expect(responses["200"]!.headers).toHaveProperty("Idempotency-Replayed")
  const { example, schema } = parameters!.find(({ name }) => name === "Idempotency-Key")!
  expect(misfit(schema, example)).toBeUndefined()
  expect(misfit(schema, headers["idempotency-key"])).toBeUndefined()
})

test("refusals fit the schema of a problem and are in the document", async () => {
  const { task_id, lease } = await leased()
  const done = { task_id, lease }
  await broker.call("POST", "/ack", done)
  const other = { ...done, lease: `${lease.slice(0, -1)}${lease.endsWith("A") ? "B" : "A"}` }
  const text = { headers: { "content-type": "text/plain" } }
  const known = freshName()
  await broker.call("POST", "/submit", { type: "a", task_id: known, result_ttl_ms: 0, queue: known })
  const { body: held } = await json(await broker.call("POST", "/lease", { queues: [known] }))
  await broker.call("POST", "/ack", { task_id: `${known}:${known}`, lease: held.tasks![0]!.lease })
  // Makes the broker sweep the queue.
  await broker.call("POST", "/submit", { type: "a", queue: known, delay_ms: 1 })
  await until("the task is deleted", async () => {
    const { status } = await broker.call("GET", `/status/${known}:${known}`)
    return status !== 200
  })
  const { body: bare } = await json(await broker.call("POST", "/submit", { type: "a" }))
  const { task_id: taken } = bare as { task_id: string }
  const unique = { unique_key: known, queue: freshName() }
  const dead = await leased(unique)
  await broker.call("POST", "/ack", { ...dead, status: "failed" })
  await broker.call("POST", "/submit", { type: "a", ...unique })
  const cases: [
    method: string,
    path: string,
    body: unknown,
    status: number,
    code: string,
    init?: RequestInit,
  ][] = [
    ["POST", "/submit", { type: "a" }, 401, "unauthorized", { headers: { "x-api-token": "no" } }],
    ["GET", "/tasks?state=dead", undefined, 403, "forbidden", { headers: { "x-api-token": SUBMITTER } }],
    ["POST", "/submit", "{", 400, "bad_json"],
    ["POST", "/submit", {}, 400, "bad_request"],
    ["POST", "/submit", "{}", 415, "unsupported_media_type", text],
    ["POST", "/submit", { type: "a", payload: "x".repeat(1_100_000) }, 413, "too_large"],
    ["POST", "/submit", { type: "a", task_id: taken }, 409, "task_exists"],
    ["POST", "/submit", { type: "b", task_id: known, queue: known }, 422, "key_reused"],
    ["GET", "/get?wait_ms=x", undefined, 400, "bad_request"],
    ["POST", "/lease", { max: 0 }, 400, "bad_request"],
    ["POST", "/ack", other, 409, "lease_lost"],
    ["POST", "/ack", { task_id, status: "failed" }, 409, "not_leased"],
    ["POST", "/ack", { task_id: "none" }, 404, "task_not_found"],
    ["POST", "/extend", done, 409, "lease_lost"],
    ["POST", "/extend", { ...done, task_id: "none" }, 404, "task_not_found"],
    ["GET", "/status/none", undefined, 404, "task_not_found"],
    ["GET", "/status/%20", undefined, 400, "bad_request"],
    ["GET", `/status/${known}:${known}`, undefined, 410, "task_gone"],
    ["GET", "/why/none", undefined, 404, "task_not_found"],
    ["GET", `/why/${known}:${known}`, undefined, 410, "task_gone"],
    ["GET", "/tasks", undefined, 400, "bad_request"],
    ["POST", "/work", { max: -1 }, 400, "bad_request"],
    ["POST", "/cancel/none", undefined, 404, "task_not_found"],
    ["POST", `/cancel/${task_id}`, undefined, 409, "already_ended"],
    ["PATCH", "/tasks/none", { priority: 1 }, 404, "task_not_found"],
    ["PATCH", `/tasks/${task_id}`, { priority: 1 }, 409, "not_waiting"],
    ["PATCH", `/tasks/${taken}`, {}, 400, "bad_request"],
    ["POST", "/tasks/none/again", undefined, 404, "task_not_found"],
    ["POST", `/tasks/${known}:${known}/again`, undefined, 410, "task_gone"],
    ["POST", `/tasks/${taken}/again`, undefined, 409, "not_ended"],
    ["DELETE", "/tasks/none", undefined, 404, "task_not_found"],
    ["DELETE", `/tasks/${known}:${known}`, undefined, 410, "task_gone"],
    ["DELETE", `/tasks/${taken}`, undefined, 409, "not_ended"],
    ["POST", `/dlq/retry/${dead.task_id}`, undefined, 409, "key_taken"],
    ["GET", "/dlq?cursor=x", undefined, 400, "bad_request"],
    ["POST", "/dlq/retry/none", undefined, 404, "not_in_dlq"],
    ["DELETE", "/dlq/none", undefined, 404, "not_in_dlq"],
    ["DELETE", "/dlq/%20", undefined, 400, "bad_request"],
    ["GET", "/dlq/groups?reason=x", undefined, 400, "bad_request"],
    ["POST", "/dlq/purge", { limit: 0 }, 400, "bad_request"],
    ["POST", "/dlq/retry", { wait_ms: 1 }, 400, "bad_request"],
    ["POST", "/dlq/retry", { canary: true, dry_run: true }, 400, "bad_request"],
    ["POST", "/dlq/retry", { patch: "x".repeat(20_000) }, 400, "bad_request"],
    ["GET", "/events?event=born", undefined, 400, "bad_request"],
    ["GET", "/queues?limit=0", undefined, 400, "bad_request"],
    ["GET", "/queues/%20", undefined, 400, "bad_request"],
    ["POST", "/queues/%20/pause", {}, 400, "bad_request"],
    ["POST", `/queues/${known}/pause`, { reason: "" }, 400, "bad_request"],
    ["POST", "/queues/%20/resume", undefined, 400, "bad_request"],
    ["PUT", `/queues/${known}/settings`, { concurrency: 0 }, 400, "bad_request"],
    ["POST", `/queues/${known}/purge`, { state: "processing" }, 400, "bad_request"],
    ["POST", "/session", {}, 400, "bad_request"],
    ["POST", "/session", { token: "no" }, 401, "unauthorized"],
    ["GET", "/session", undefined, 401, "unauthorized", { headers: { "x-api-token": "no" } }],
  ]
  for (const [method, path, body, status, code, init] of cases) {
    const answer = await json(await broker.call(method, path, body, init))
    expect({ status: answer.status, code: answer.body.code }, `${method} ${path}`).toEqual({ status, code })
    const [, documented] = Object.entries(document.paths).find(
      ([template, methods]) =>
        method.toLowerCase() in methods &&
        new RegExp(`^${template.replace(/\{.*\}/, "[^/]+")}$`).test(path.split("?")[0]!),
    )!
    const media = documented[method.toLowerCase()]!.responses[status]!.content!["application/problem+json"]!
    expect(Object.keys(media.examples)).toContain(code)
    expect(misfit(media.schema, answer.body), `${method} ${path}`).toBeUndefined()
  }
})

test("the page needs no token, loads nothing from other origins, and has no inline scripts or styles", async () => {
  const page = await fetch(`${broker.url}/swagger`)
  const html = await page.text()
  expect(page.status).toBe(200)
  expect(page.headers.get("content-security-policy")).toContain("script-src 'self'; style-src 'self';")
  const links = [...html.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, link]) => link!)
  expect(links).toContain("swagger/ui.js")
  expect(html).not.toMatch(/<script[^>]*>[^<]/)
  for (const link of links.filter(link => !link.startsWith("data:"))) {
    expect(link).toStartWith("swagger/")
    const asset = await fetch(`${broker.url}/${link}`)
    expect(asset.status, link).toBe(200)
    expect(asset.headers.get("content-type"), link).toMatch(/^(text\/(javascript|css)|application\/json)/)
    expect((await asset.text()).length, link).toBeGreaterThan(100)
  }
})
