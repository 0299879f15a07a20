/** What health checks, proxies, editors and hostile clients send. */
import { expect, test } from "bun:test"
import { readBrokerConfig, readWorkerConfig } from "../../lib/config/config.ts"
import { MAX_WRONG_TOKENS, WrongTokens } from "../../lib/http/wrong-tokens.ts"
import { createLog } from "../../lib/log.ts"
import { isDeeperThan } from "../../lib/wire/json-text.ts"
import { freshName, TOKEN, testBroker } from "../support/harness.ts"
import { answered, type Body, post, problem, raw, submitted } from "../support/requests.ts"

const AUTH = `X-API-Token: ${TOKEN}\r\n`
const JSON_TYPE = "Content-Type: application/json\r\n"
const statusOf = (text: string) => Number(text.slice(9, 12))

test("HTTP/1.0 without a Host header works on every kind of route", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  const get = async (path: string, headers = AUTH) =>
    statusOf(await raw(broker, `GET ${path} HTTP/1.0\r\n${headers}\r\n`))
  for (const path of ["/healthz", "/readyz", "/dashboard"])
    expect([path, await get(path, "")]).toEqual([path, 200])
  for (const path of ["/queues?limit=5", "/dlq", "/workers", `/queues/${queue}`, "/metrics", "/session"])
    expect([path, await get(path)]).toEqual([path, 200])
  expect(await get("/status/nothing")).toBe(404)
  expect(await get("/nowhere")).toBe(404)
  expect(await get("/nowhere", "")).toBe(401)
  expect(await get("/submit")).toBe(405)
  expect(await get("/dlq", "")).toBe(401)
  const body = JSON.stringify({ type: "a", queue })
  const submitted = await raw(
    broker,
    `POST /submit HTTP/1.0\r\n${AUTH}${JSON_TYPE}Content-Length: ${body.length}\r\n\r\n${body}`,
  )
  expect([statusOf(submitted), submitted]).toEqual([200, expect.stringContaining('"queued"')])
  expect(await get(`/get?queue=${queue}`)).toBe(200)
  const signIn = JSON.stringify({ token: TOKEN })
  expect(
    statusOf(
      await raw(
        broker,
        `POST /session HTTP/1.0\r\n${JSON_TYPE}Content-Length: ${signIn.length}\r\n\r\n${signIn}`,
      ),
    ),
  ).toBe(200)
})

test("HTTP/1.1 without a Host header is 400", async () => {
  await using broker = await testBroker()
  for (const path of ["/readyz", "/dlq"])
    expect(statusOf(await raw(broker, `GET ${path} HTTP/1.1\r\n${AUTH}\r\n`))).toBe(400)
})

test.each(["/queues/optional/pause", "/queues/optional/resume", "/dlq/retry/nothing", "/cancel/nothing"])(
  "POST %s without any bytes of body is a request without a body, whatever its headers say",
  async path => {
    await using broker = await testBroker()
    const right = path.startsWith("/queues") ? 200 : 404
    for (const headers of [
      JSON_TYPE,
      `${JSON_TYPE}Content-Length: 0\r\n`,
      "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n",
      "Content-Length: 0\r\nContent-Encoding: gzip\r\n",
    ])
      expect([
        headers,
        statusOf(await raw(broker, `POST ${path} HTTP/1.1\r\nHost: x\r\n${AUTH}${headers}\r\n`)),
      ]).toEqual([headers, right])
    for (const type of [JSON_TYPE, "Content-Type: text/plain\r\n"]) {
      const chunked = `POST ${path} HTTP/1.1\r\nHost: x\r\n${AUTH}${type}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`
      expect([type, statusOf(await raw(broker, chunked))]).toEqual([type, right])
    }
  },
)

test.each(["/queues/optional/pause", "/dlq/retry/nothing"])("half a body for POST %s is 400", async path => {
  await using broker = await testBroker()
  expect(await problem(post(broker, path, '{"reason": "a'))).toMatchObject({ status: 400, code: "bad_json" })
})

test.each([".", ".."])("the name %s is refused for queues, tasks and workers", async name => {
  await using broker = await testBroker()
  const refused = async (path: string, body: Body, field: string) =>
    expect(await problem(post(broker, path, body))).toMatchObject({ status: 400, code: "bad_request", field })
  await refused("/submit", { type: "a", queue: name }, "queue")
  await refused("/submit", { type: "a", task_id: name }, "task_id")
  await refused("/lease", { queues: [name] }, "queues.0")
  await refused("/lease", { worker: name }, "worker")
  await refused("/work", { worker: name }, "worker")
  const settings = "{}"
  const put = await raw(
    broker,
    `PUT /queues/${name}/settings HTTP/1.1\r\nHost: x\r\n${AUTH}${JSON_TYPE}Content-Length: 2\r\n\r\n${settings}`,
  )
  expect([400, 404]).toContain(statusOf(put))
  expect(() => readWorkerConfig({ QUEUES: `a,${name}` })).toThrow("QUEUES")
  expect(() => readWorkerConfig({ WORKER_NAME: name })).toThrow("WORKER_NAME")
  expect(() => readBrokerConfig({ API_TOKENS: `a:work@${name}:${"x".repeat(20)}` })).toThrow("API_TOKENS")
  for (const valid of ["...", ".a", "a.", "..a"])
    expect((await post(broker, "/submit", { type: "a", queue: valid, task_id: valid })).status).toBe(200)
})

test.each(["gzip", "br", "deflate", "zstd", "gzip, br"])(
  "a body with Content-Encoding %s is 415 and names it",
  async encoding => {
    await using broker = await testBroker()
    const body = JSON.stringify({ type: "a" })
    for (const path of ["/submit", "/lease", "/queues/q/pause"])
      expect(await problem(post(broker, path, body, { "content-encoding": encoding }))).toMatchObject({
        status: 415,
        code: "unsupported_media_type",
        detail: expect.stringContaining(encoding),
      })
    for (const none of ["identity", "utf-8", "UTF8"])
      expect((await post(broker, "/submit", body, { "content-encoding": none })).status).toBe(200)
  },
)

test("a run_at in seconds is refused, and the refusal mentions seconds", async () => {
  await using broker = await testBroker()
  for (const run_at of [0, 1, 1_795_937_200, 999_999_999_999])
    expect(await problem(post(broker, "/submit", { type: "a", run_at }))).toMatchObject({
      status: 400,
      field: "run_at",
      detail: expect.stringMatching(/milliseconds since 1970.*seconds\?/),
    })
  expect((await post(broker, "/submit", { type: "a", run_at: 1_000_000_000_000 })).status).toBe(200)
})

test("a byte order mark before a JSON body is skipped", async () => {
  await using broker = await testBroker()
  for (const [path, body] of [
    ["/submit", '{"type":"a","payload":[1.0]}'],
    ["/lease", "{}"],
    ["/queues/bom/pause", "{}"],
  ] as const)
    expect([path, (await post(broker, path, `\uFEFF${body}`)).status]).toEqual([path, 200])
})

test("a byte order mark at the start of API_TOKENS_FILE is skipped", async () => {
  const path = `/tmp/${freshName()}`
  await Bun.write(path, `\uFEFF# a remark\r\nmailer:work:${"x".repeat(20)}\r\n`)
  const { tokens } = readBrokerConfig({ API_TOKENS_FILE: path })
  await Bun.file(path).delete()
  expect(tokens).toMatchObject([{ name: "mailer", roles: ["work"] }])
})

test("an empty X-API-Token beside a Bearer token is ignored", async () => {
  await using broker = await testBroker()
  const bearer = { authorization: `Bearer ${TOKEN}`, "x-api-token": "" }
  expect((await fetch(`${broker.url}/dlq`, { headers: bearer })).status).toBe(200)
  expect((await fetch(`${broker.url}/dlq`, { headers: { "x-api-token": "" } })).status).toBe(401)
})

test("a slash at the end of a path is accepted, whatever the host is, and avoids no check", async () => {
  const reader = "r".repeat(20)
  await using broker = await testBroker({
    tokens: readBrokerConfig({ API_TOKENS: `reader:read:${reader}` }).tokens,
  })
  const ask = async (token: string, path: string, body: string) => {
    const headers = { "x-api-token": token, "content-type": "application/json" }
    return (await fetch(broker.url + path, { method: "POST", headers, body })).status
  }
  for (const [path, body] of [
    ["/submit/", '{"type":"a"}'],
    ["/lease/", "{}"],
    ["/queues/slash/pause/", "{}"],
  ] as const) {
    const statuses = [
      await ask(TOKEN, path, body),
      await ask("wrong", path, body),
      await ask(reader, path, body),
    ]
    expect([path, ...statuses]).toEqual([path, 200, 401, 403])
  }
  // Elysia takes a host of less than four characters for a part of the path, unless it is told not to.
  for (const host of ["q", "mq", "queue"]) {
    const headers = { host, "x-api-token": TOKEN }
    expect((await fetch(`${broker.url}/healthz/`, { headers })).status).toBe(200)
    expect((await fetch(`${broker.url}/queues/slash/`, { headers })).status).toBe(200)
  }
})

test("an empty id behind the path for one task changes no other tasks", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  const waiting = await submitted(broker, { type: "a", queue })
  const dead = await submitted(broker, { type: "a", queue, task_id: "dead", priority: 9 })
  const { tasks } = (await answered(post(broker, "/lease", { queues: [queue] }))) as { tasks: Body[] }
  await post(broker, "/ack", { task_id: dead, lease: tasks[0]!.lease, status: "failed", retry: false })
  for (const path of ["/cancel/", "/cancel/?", "/dlq/retry/", "/dlq/retry/?"])
    for (const [headers, body] of [
      [JSON_TYPE, "{}"],
      [JSON_TYPE, `{"queue":"${queue}"}`],
      ["", ""],
    ] as const) {
      const length = `Content-Length: ${body.length}\r\n`
      const answer = await raw(
        broker,
        `POST ${path} HTTP/1.1\r\nHost: x\r\n${AUTH}${headers}${length}\r\n${body}`,
      )
      expect([path, body, statusOf(answer), answer.includes("The id of the task is missing")]).toEqual([
        path,
        body,
        400,
        true,
      ])
    }
  const stateOf = async (id: string) => (await answered(broker.call("GET", `/status/${id}`))).status
  expect([await stateOf(waiting), await stateOf(dead)]).toEqual(["queued", "dead"])
  expect((await post(broker, "/cancel", { queue })).status).toBe(200)
  expect(await stateOf(waiting)).toBe("cancelled")
})

test("after many wrong tokens an address gets 429, and valid tokens are not blocked", async () => {
  await using broker = await testBroker()
  const ask = (token: string) => fetch(`${broker.url}/dlq`, { headers: { "x-api-token": token } })
  for (let i = 0; i < MAX_WRONG_TOKENS; i++) expect((await ask(`wrong-${i}`)).status).toBe(401)
  const refusal = await ask("wrong")
  expect(refusal.headers.get("retry-after")).not.toBeNull()
  expect(await problem(refusal)).toMatchObject({ status: 429, code: "too_many_attempts" })
  const signIn = fetch(`${broker.url}/session`, {
    method: "POST",
    body: '{"token":"wrong"}',
    headers: { "content-type": "application/json" },
  })
  expect(await problem(signIn)).toMatchObject({ status: 429 })
  expect((await ask(TOKEN)).status).toBe(200)
})

test("wrong tokens are logged twice a minute per address, and forgotten after it", () => {
  const lines: string[] = []
  const wrongTokens = new WrongTokens(createLog("info", line => lines.push(line)))
  const reasons = Array.from({ length: 300 }, () => wrongTokens.count("192.0.2.1", 1_000).reason)
  expect(reasons.filter(reason => reason === "unauthorized")).toHaveLength(MAX_WRONG_TOKENS)
  expect(wrongTokens.count("192.0.2.2", 1_000).reason).toBe("unauthorized")
  expect(lines.filter(line => line.includes("192.0.2.1"))).toHaveLength(2)
  expect(wrongTokens.count("192.0.2.1", 61_001).reason).toBe("unauthorized")
})

test("the key of an array item cannot be the key of another request", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  const submit = async (key: string, body: unknown) =>
    (await post(broker, "/submit", body, { "idempotency-key": key })).json()
  const task = { type: "a", queue }
  const [first] = (await submit("order", [task])) as Body[]
  for (const key of ["order/0", "order:0", "order.0", "order-0", "order|0", "order,0", "order0"]) {
    const single = (await submit(key, task)) as Body
    expect([key, single.replayed, single.task_id === first!.task_id]).toEqual([key, undefined, false])
  }
  expect(await submit("order", [task])).toMatchObject([{ replayed: true, task_id: first!.task_id }])
})

const nested = (depth: number, open = "[", close = "]") => open.repeat(depth) + close.repeat(depth)

test("JSON that nests too deeply is 400 on every route with a body", async () => {
  await using broker = await testBroker()
  for (const deep of [nested(200), nested(100_000), `${'{"a":'.repeat(200)}1${"}".repeat(200)}`]) {
    for (const [path, body] of [
      ["/submit", `{"type":"a","payload":${deep}}`],
      ["/submit", `[{"type":"a","payload":${deep}}]`],
      ["/ack", `{"task_id":"a","result":${deep}}`],
      ["/extend", `{"task_id":"a","progress":${deep}}`],
      ["/work", `{"settle":[{"task_id":"a","result":${deep}}]}`],
      ["/dlq/retry/a", `{"patch":${deep}}`],
    ] as const)
      expect(await problem(post(broker, path, body))).toMatchObject({
        status: 400,
        code: "bad_request",
        detail: expect.stringContaining("96"),
      })
  }
  for (const [body, depth] of [
    [(payload: string) => `{"type":"a","payload":${payload}}`, 95],
    [(payload: string) => `[{"type":"a","payload":${payload}}]`, 94],
  ] as const) {
    expect((await post(broker, "/submit", body(nested(depth)))).status).toBe(200)
    expect((await post(broker, "/submit", body(nested(depth + 1)))).status).toBe(400)
  }
  const text = JSON.stringify({ type: "a", payload: '[{"\\'.repeat(1_000) })
  expect((await post(broker, "/submit", text)).status).toBe(200)
})

test("the depth of JSON is that of its deepest value, and brackets in strings do not count", () => {
  for (const depth of [1, 5, 6, 50])
    for (const text of [nested(depth), ` [${nested(depth - 1)}, 1, "${"[".repeat(99)}\\"["] `])
      expect([text, isDeeperThan(text, 5)]).toEqual([text, depth > 5])
  expect(isDeeperThan(`[${"[],{},".repeat(50)}1]`, 2)).toBe(false)
})

test("one token cannot take all event streams", async () => {
  await using broker = await testBroker({
    tokens: readBrokerConfig({ API_TOKENS: `reader:read:${"r".repeat(20)}` }).tokens,
  })
  const stop = new AbortController()
  const listen = (token: string) =>
    fetch(`${broker.url}/events`, { headers: { "x-api-token": token }, signal: stop.signal })
  const streams = await Promise.all(Array.from({ length: 50 }, () => listen("r".repeat(20))))
  expect(streams.every(({ status }) => status === 200)).toBeTrue()
  expect(await problem(listen("r".repeat(20)))).toMatchObject({
    status: 503,
    code: "overloaded",
    detail: expect.stringContaining("The token reader"),
  })
  expect((await listen(TOKEN)).status).toBe(200)
  stop.abort()
})

test("an answer gives the id and the lease of a task before its type and payload", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  const submit = () =>
    post(broker, "/submit", { type: '"lease":"x"', queue, payload: { lease: "12 months", id: "c7" } })
  const firstOf = (text: string, member: string) => new RegExp(`"${member}":"([^"]*)"`).exec(text)?.[1]
  for (const ask of [
    () => broker.call("GET", `/get?queue=${queue}`),
    () => post(broker, "/lease", { queues: [queue] }),
    () => post(broker, "/work", { queues: [queue], max: 1 }),
  ]) {
    await submit()
    const text = await (await ask()).text()
    const ack = { task_id: firstOf(text, "id"), lease: firstOf(text, "lease") }
    expect((await post(broker, "/ack", ack)).status).toBe(200)
  }
})
