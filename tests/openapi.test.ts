/** The document at /swagger/json against an independent validator, the routes, and the broker's real answers. */
import { afterAll, beforeAll, expect, test } from "bun:test"
import { Validator } from "@seriousme/openapi-schema-validator"
import { Ajv } from "ajv"
import { createBroker } from "../broker.ts"
import { createLog } from "../lib/log.ts"
import { CODES } from "../lib/models.ts"
import type { TaskQueue } from "../lib/queue.ts"
import { type TestBroker, TOKEN, testBroker, testConfig } from "./harness.ts"

interface Media {
  schema: Record<string, unknown>
  examples: Record<string, { value: unknown }>
}
type Content = Record<string, Media>
interface Operation {
  summary?: string
  description?: string
  tags?: string[]
  security?: unknown[]
  parameters?: { name: string; in: string; description: string; example?: unknown; schema: object }[]
  requestBody?: { content: Content }
  responses: Record<string, { description: string; content?: Content }>
}
interface Document {
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, object> }
}

let broker: TestBroker
let document: Document
let ajv: Ajv
beforeAll(async () => {
  broker = await testBroker()
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

/** What is wrong with a value by a schema of the document, if anything. */
function misfit(schema: object, value: unknown): string | undefined {
  const text = JSON.stringify(schema).replaceAll('"#/components', '"document#/components')
  return ajv.validate(JSON.parse(text), value) ? undefined : ajv.errorsText()
}

interface Body {
  code?: string
  tasks?: { id: string; lease: string }[]
}
const json = async (answer: Response) => ({ status: answer.status, body: (await answer.json()) as Body })

/** A task in our hands, of a queue that no other test uses. */
async function leased(type = "example"): Promise<{ task_id: string; lease: string }> {
  const queue = `openapi-${Math.random().toString(36).slice(2)}`
  await broker.call("POST", "/submit", { type, queue, max_retries: 0 })
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
    .filter(({ path }) => !path.startsWith("/swagger"))
    .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, "{$1}")}`)
  expect(routes.length).toBeGreaterThan(9)
  expect(
    operations()
      .map(({ name }) => name)
      .sort(),
  ).toEqual(routes.sort())
})

test("every route says what it is for, what it takes and what it may answer", () => {
  for (const { name, path, method, operation } of operations()) {
    const open = operation.security?.length === 0
    const statuses = ["200", "500"]
    if (!open) statuses.push("401", "503")
    if (method === "POST" && !path.startsWith("/dlq")) statuses.push("400", "413", "415")
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
        expect(type).toBe(Number(status) < 400 ? "application/json" : "application/problem+json")
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

test("every code of a problem stands under some route", () => {
  const shown = operations().flatMap(({ operation }) =>
    Object.values(operation.responses).flatMap(({ content }) =>
      Object.keys(content?.["application/problem+json"]?.examples ?? {}),
    ),
  )
  // Of no route, as there is none there.
  expect([...new Set([...shown, "not_found"])].sort()).toEqual([...CODES].sort())
})

test("every example of a body is taken by the broker, whose answer fits the schema", async () => {
  for (const { name, path, operation } of operations()) {
    const { schema: answerSchema } = operation.responses["200"]!.content!["application/json"]!
    for (const [example, { value }] of Object.entries(
      operation.requestBody?.content["application/json"]?.examples ?? {},
    )) {
      // The task and the lease in an example are nobody's: real ones take their place.
      const real = async (item: Record<string, unknown>) => {
        if (!("task_id" in item)) return item
        const { task_id, lease } = await leased()
        return { ...item, task_id, ...("lease" in item ? { lease } : {}) }
      }
      const body = Array.isArray(value)
        ? await Promise.all(value.map(real))
        : await real(value as Record<string, unknown>)
      const { status, body: answer } = await json(await broker.call("POST", path, body))
      expect(status, `${name} ${example}: ${JSON.stringify(answer)}`).toBe(200)
      expect(misfit(answerSchema, answer), `${name} ${example}`).toBeUndefined()
      for (const one of [answer].flat()) expect(one, `${name} ${example}`).not.toHaveProperty("error")
    }
  }
})

test("what routes without a body answer fits their schemas, with the parameters of their examples", async () => {
  await broker.call("POST", "/submit", { type: "example" })
  const dead = await leased()
  await broker.call("POST", "/ack", { ...dead, status: "failed", error: "for the list" })
  for (const { name, method, path, operation } of operations()) {
    if (operation.requestBody) continue
    const query = new URLSearchParams()
    for (const parameter of operation.parameters ?? [])
      if (parameter.in === "query" && parameter.example !== undefined)
        query.set(parameter.name, String(parameter.example))
    if (path === "/dlq") query.delete("queue")
    const { status, body } = await json(
      await broker.call(method, `${path.replace("{id}", dead.task_id)}?${query}`),
    )
    expect(status, `${name}: ${JSON.stringify(body)}`).toBe(200)
    expect(
      misfit(operation.responses["200"]!.content!["application/json"]!.schema, body),
      name,
    ).toBeUndefined()
    if (path === "/dlq") expect(body.tasks!.map(({ id }) => id)).toContain(dead.task_id)
  }
})

test("refusals fit the schema of a problem and stand in the document", async () => {
  const { task_id, lease } = await leased()
  const done = { task_id, lease }
  await broker.call("POST", "/ack", done)
  const other = { ...done, lease: `${lease.slice(0, -1)}${lease.endsWith("A") ? "B" : "A"}` }
  const text = { headers: { "content-type": "text/plain" } }
  const cases: [
    method: string,
    path: string,
    body: unknown,
    status: number,
    code: string,
    init?: RequestInit,
  ][] = [
    ["POST", "/submit", { type: "a" }, 401, "unauthorized", { headers: { "x-api-token": "no" } }],
    ["POST", "/submit", "{", 400, "bad_json"],
    ["POST", "/submit", {}, 400, "bad_request"],
    ["POST", "/submit", "{}", 415, "unsupported_media_type", text],
    ["POST", "/submit", { type: "a", payload: "x".repeat(1_100_000) }, 413, "too_large"],
    ["GET", "/get?wait_ms=x", undefined, 400, "bad_request"],
    ["POST", "/lease", { max: 0 }, 400, "bad_request"],
    ["POST", "/ack", other, 409, "lease_lost"],
    ["POST", "/ack", { task_id, status: "failed" }, 409, "not_leased"],
    ["POST", "/ack", { task_id: "none" }, 404, "task_not_found"],
    ["POST", "/extend", done, 409, "lease_lost"],
    ["POST", "/extend", { ...done, task_id: "none" }, 404, "task_not_found"],
    ["GET", "/status/none", undefined, 404, "task_not_found"],
    ["GET", "/status/%20", undefined, 400, "bad_request"],
    ["GET", "/dlq?cursor=x", undefined, 400, "bad_request"],
    ["POST", "/dlq/retry/none", undefined, 404, "not_in_dlq"],
  ]
  for (const [method, path, body, status, code, init] of cases) {
    const answer = await json(await broker.call(method, path, body, init))
    expect({ status: answer.status, code: answer.body.code }, `${method} ${path}`).toEqual({ status, code })
    const [, documented] = Object.entries(document.paths).find(([template]) =>
      new RegExp(`^${template.replace(/\{.*\}/, "[^/]+")}$`).test(path.split("?")[0]!),
    )!
    const media = documented[method.toLowerCase()]!.responses[status]!.content!["application/problem+json"]!
    expect(Object.keys(media.examples)).toContain(code)
    expect(misfit(media.schema, answer.body), `${method} ${path}`).toBeUndefined()
  }
})

test("the page needs no token and nothing from elsewhere, and has nothing inline", async () => {
  const page = await fetch(`${broker.url}/swagger`)
  const html = await page.text()
  expect(page.status).toBe(200)
  expect(page.headers.get("content-security-policy")).toContain("script-src 'self'; style-src 'self';")
  const links = [...html.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, link]) => link!)
  expect(links).toContain("/swagger/ui.js")
  expect(html).not.toMatch(/<script[^>]*>[^<]/)
  for (const link of links.filter(link => !link.startsWith("data:"))) {
    expect(link).toStartWith("/swagger/")
    const asset = await fetch(broker.url + link)
    expect(asset.status, link).toBe(200)
    expect(asset.headers.get("content-type"), link).toMatch(/^(text\/(javascript|css)|application\/json)/)
    expect((await asset.text()).length, link).toBeGreaterThan(100)
  }
})
