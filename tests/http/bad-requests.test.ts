import { expect, test } from "bun:test"
import { connect } from "node:net"
import { DirectQueue, type TestBroker, TOKEN, testBroker } from "../support/harness.ts"
import { sharedRedis } from "../support/redis.ts"
import { answered, type Body, FORGED_LEASE, post, problem, raw, submitted } from "../support/requests.ts"
import { ServedQueue } from "../support/served-queue.ts"

const POSTS = ["/submit", "/lease", "/ack", "/extend"] as const

test.each(POSTS)("POST %s with invalid JSON is 400 bad_json", async path => {
  await using broker = await testBroker()
  const bodies = [
    "",
    "{",
    "{'type':'a'}",
    '{"type":"a"',
    '{"type":"a"} x',
    '{"type":"a",}',
    "NaN",
    "[".repeat(50_000),
    '{"type":"\n"}',
  ]
  for (const body of bodies)
    expect([body.slice(0, 9), await problem(post(broker, path, body))]).toMatchObject([
      body.slice(0, 9),
      { status: 400, code: "bad_json" },
    ])
})

const WORD = "Unexpected word, such as NaN, None or a string without double quotes"
test("a body that is not JSON is answered with what is wrong and what would be right", async () => {
  await using broker = await testBroker()
  for (const [body, fault] of [
    ["", "It is empty"],
    ["  \n", "Unexpected EOF"],
    ['{"type":"a",}', "Property name must be a string literal"],
    ['{"type":NaN}', WORD],
    ['{"type":None}', WORD],
    ["{'type':'a'}", "Single quotes (') are not allowed in JSON"],
    ["type=a", WORD],
    ["<type>", "Unexpected character"],
    ['{"type":"\\d"}', "Invalid escape in a string"],
    ['{"type":"\\ud8"}', "Invalid escape in a string"],
    ['{"type":"a"}\n{"type":"b"}', "Something follows the end of the value"],
    ['{"type":"a"', "Expected '}'"],
    [new Uint8Array([0x22, 0xe4, 0x22]), "It is not UTF-8"],
    ["x".repeat(100_000), WORD],
  ] as const) {
    const headers = { "content-type": "application/json" }
    expect((await problem(broker.call("POST", "/submit", undefined, { body, headers }))).detail).toBe(
      `${fault}. Send one JSON object or an array of them, in UTF-8.`,
    )
  }
})

test.each(POSTS)(
  "POST %s with a body that is not UTF-8 is 400 bad_json, and no character is replaced",
  async path => {
    await using broker = await testBroker()
    for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe4]]) {
      const body = Buffer.concat([Buffer.from('{"type":"'), Buffer.from(bytes), Buffer.from('"}')])
      const answer = broker.call("POST", path, undefined, {
        body,
        headers: { "content-type": "application/json" },
      })
      expect(await problem(answer)).toMatchObject({ status: 400, code: "bad_json" })
    }
  },
)

test.each(POSTS)("POST %s with another media type is 415", async path => {
  await using broker = await testBroker()
  for (const type of [
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/jsonx",
    "text/json",
    "multipart/form-data",
  ])
    expect(await problem(post(broker, path, '{"type":"a"}', { "content-type": type }))).toMatchObject({
      status: 415,
      code: "unsupported_media_type",
    })
  const none = await raw(
    broker,
    `POST ${path} HTTP/1.1\r\nHost: x\r\nX-API-Token: ${TOKEN}\r\nContent-Length: 2\r\n\r\n{}`,
  )
  expect(none).toStartWith("HTTP/1.1 415")
})

test("the media type may have a charset and be in upper case", async () => {
  await using broker = await testBroker()
  for (const type of [
    "application/json; charset=utf-8",
    "application/json;charset=UTF-8",
    "Application/JSON",
    "application/json ;x=y",
  ])
    expect((await post(broker, "/submit", '{"type":"a"}', { "content-type": type })).status).toBe(200)
})

test.each([
  ["a byte over the limit", 4_097],
  ["far over the limit", 40_000],
  ["a hundred times the limit", 409_600],
])("a body %s is 413 with an explanation", async (_, size) => {
  await using broker = await testBroker({ maxBodyBytes: 4_096 })
  const body = `{"type":"${"x".repeat(size - 11)}"}`
  expect(body.length).toBe(size)
  expect(await problem(post(broker, "/submit", body))).toMatchObject({
    status: 413,
    code: "too_large",
    detail: expect.stringMatching(/4096 bytes.*MAX_BODY_BYTES/),
  })
})

test("a body of exactly the limit is accepted", async () => {
  await using broker = await testBroker({ maxBodyBytes: 4_096 })
  const text = JSON.stringify("x".repeat(4_096 - 28))
  const body = `{"type":"a", "payload":${text}}`.padEnd(4_096)
  expect(body.length).toBe(4_096)
  expect((await post(broker, "/submit", body)).status).toBe(200)
})

test("a body over the limit without Content-Length is 413 as well", async () => {
  await using broker = await testBroker({ maxBodyBytes: 4_096 })
  for (const size of [5_000, 40_000]) {
    const chunk = "x".repeat(size)
    const answer = await raw(
      broker,
      `POST /submit HTTP/1.1\r\nHost: x\r\nX-API-Token: ${TOKEN}\r\nContent-Type: application/json\r\n` +
        `Transfer-Encoding: chunked\r\n\r\n${size.toString(16)}\r\n${chunk}\r\n0\r\n\r\n`,
    )
    expect(answer).toStartWith("HTTP/1.1 413")
    expect(answer).toContain('"code":"too_large"')
  }
})

/** The answer to a client that sends a whole body before it reads, and closes the connection afterwards. */
async function sentWhole(broker: TestBroker, headers: string, body: string): Promise<string> {
  const { hostname, port } = new URL(broker.url)
  const socket = connect(Number(port), hostname)
  const ended = Promise.withResolvers<string>()
  let answer = ""
  socket.on("data", chunk => (answer += chunk)).on("error", ended.reject)
  socket.on("close", () => ended.resolve(answer))
  socket.write(`POST /submit HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n${body}`, error => {
    if (error) ended.reject(error)
  })
  return ended.promise
}

test("a client that closes its connections gets the refusal of a large body, not a broken pipe", async () => {
  await using broker = await testBroker({ maxBodyBytes: 4_096 })
  const size = 8_000_000
  const body = "x".repeat(size)
  const json = "Content-Type: application/json\r\n"
  const token = `X-API-Token: ${TOKEN}\r\n`
  const length = `Content-Length: ${size}\r\n`
  const chunked = `${size.toString(16)}\r\n${body}\r\n0\r\n\r\n`
  const statusOf = async (headers: string, sent: string) =>
    (await sentWhole(broker, headers, sent)).slice(9, 12)
  expect(await statusOf(token + json + length, body)).toBe("413")
  expect(await statusOf(`${token + json}Transfer-Encoding: chunked\r\n`, chunked)).toBe("413")
  expect(await statusOf(token + length, body)).toBe("415")
  expect(await statusOf(json + length, body)).toBe("401")
  // Bodies that were read before the refusal, and one that never arrives.
  for (const text of ["[]", `[${" ".repeat(4_000)}]`])
    expect(await statusOf(`${token + json}Content-Length: ${text.length}\r\n`, text)).toBe("400")
  expect(await statusOf(token + json + length, "")).toBe("413")
})

test("a body over the limit without a token is 401 and does not reveal the limit", async () => {
  await using broker = await testBroker({ maxBodyBytes: 4_096 })
  for (const size of [5_000, 40_000]) {
    const answer = fetch(`${broker.url}/submit`, { method: "POST", body: "x".repeat(size) })
    expect(await problem(answer)).toMatchObject({ status: 401 })
  }
})

const LONG = "x".repeat(65)

/** A body, its invalid member, and a part of the text that says what is valid. */
const WRONG: Record<(typeof POSTS)[number], [Body, string, string][]> = {
  "/submit": [
    [{}, "type", "missing"],
    [{ payload: { type: "a" } }, "type", "missing"],
    ...[1, null, {}, [], true, "", "x".repeat(201)].map((type): [Body, string, string] => [
      { type },
      "type",
      "1 to 200 characters",
    ]),
    ...["", "a b", "a:b", "a/b", "{a}", "ä", LONG, 1, null, ["a"]].map((queue): [Body, string, string] => [
      { type: "a", queue },
      "queue",
      "A-Z a-z 0-9",
    ]),
    ...[-1, 10, 1.5, "5", null, true].map((priority): [Body, string, string] => [
      { type: "a", priority },
      "priority",
      "from 0 to 9",
    ]),
    ...[-1, 1_001, 0.5, "3", null].map((max_retries): [Body, string, string] => [
      { type: "a", max_retries },
      "max_retries",
      "from 0 to 1000",
    ]),
    ...[-1, 1_001, "3"].map((max_crashes): [Body, string, string] => [
      { type: "a", max_crashes },
      "max_crashes",
      "from 0 to 1000",
    ]),
    ...[0, 99, 86_400_001, -30_000, "30000"].map((timeout_ms): [Body, string, string] => [
      { type: "a", timeout_ms },
      "timeout_ms",
      "from 100 to 86400000",
    ]),
    ...[-1, 1e15, "1"].map((delay_ms): [Body, string, string] => [
      { type: "a", delay_ms },
      "delay_ms",
      "from 0 to",
    ]),
    [{ type: "a", max_retrys: 3 }, "max_retrys", "max_retries"],
    [{ type: "a", id: "mine" }, "id", "did you mean `task_id`"],
  ],
  "/lease": [
    [{ queues: [] }, "queues", "1 to 100"],
    [{ queues: "a" }, "queues", "list"],
    [{ queues: ["a", "b c"] }, "queues.1", "A-Z a-z 0-9"],
    [{ queues: Array.from({ length: 101 }, (_, i) => `q${i}`) }, "queues", "1 to 100"],
    ...[0, 1_001, 1.5, "1"].map((max): [Body, string, string] => [{ max }, "max", "from 1 to 1000"]),
    ...[-1, 20_001, "5"].map((wait_ms): [Body, string, string] => [
      { wait_ms },
      "wait_ms",
      "from 0 to 20000",
    ]),
    ...["", "a b", LONG, 5].map((worker): [Body, string, string] => [{ worker }, "worker", "A-Z a-z 0-9"]),
    [{ queue: "a" }, "queue", "queues"],
  ],
  "/ack": [
    [{}, "task_id", "missing"],
    ...[1, null, "", "a b", "a:b:c", ":a", "a:", "../x", LONG, `${LONG}:a`].map(
      (task_id): [Body, string, string] => [{ task_id }, "task_id", "/submit"],
    ),
    ...["ok", "", "Done", null, 1].map((status): [Body, string, string] => [
      { task_id: "a", status },
      "status",
      '"done", "failed", "released"',
    ]),
    ...["", "1", "x.y", `${FORGED_LEASE}x`, `-${FORGED_LEASE}`, null, 1].map(
      (lease): [Body, string, string] => [{ task_id: "a", lease }, "lease", "lease"],
    ),
    [{ task_id: "a", status: "failed", error: 5 }, "error", "string"],
    [{ task_id: "a", status: "done", error: "x" }, "error", "`status: failed` or `status: released`"],
    [{ task_id: "a", status: "failed", result: 1 }, "result", "`status: done`"],
    [{ task_id: "a", status: "released", result: 1 }, "result", "`status: done`"],
    [{ task_id: "a", id: "a" }, "id", "task_id"],
  ],
  "/extend": [
    [{}, "task_id", "missing"],
    [{ task_id: "a" }, "lease", "missing"],
    [{ task_id: "a", lease: "b" }, "lease", "lease"],
    [{ task_id: "a", lease: FORGED_LEASE, timeout_ms: 99 }, "timeout_ms", "from 100 to"],
    [{ task_id: "a", lease: FORGED_LEASE, seconds: 9 }, "seconds", "timeout_ms"],
  ],
}

test.each(POSTS)("POST %s names the invalid member and says what would be valid", async path => {
  await using broker = await testBroker()
  for (const [body, field, right] of WRONG[path]) {
    const found = await problem(post(broker, path, body))
    expect([body, found]).toMatchObject([body, { status: 400, code: "bad_request", field }])
    expect(`${found.error}`).toContain(right)
    expect(found.detail).toBe(found.error)
  }
  expect((await broker.call("GET", "/get")).status).toBe(204)
})

test.each([
  ["/get?queue=a%20b", "queue.0", "A-Z"],
  ["/get?queue=a,,b", "queue.1", "A-Z"],
  ["/get?queue=", "queue.0", "A-Z"],
  ["/get?wait_ms=20001", "wait_ms", "from 0 to 20000"],
  ["/get?wait_ms=-1", "wait_ms", "from 0 to 20000"],
  ["/get?wait_ms=1e3", "wait_ms", "from 0 to 20000"],
  ["/get?wait_ms=", "wait_ms", "from 0 to 20000"],
  ["/get?wait_ms=1&wait_ms=2", "wait_ms", "more than once"],
  ["/get?worker=a%00b", "worker", "A-Z"],
  ["/get?wait=1", "wait", "wait_ms"],
  ["/get?__proto__=1", "__proto__", "wait_ms"],
  ["/dlq?limit=0", "limit", "from 1 to 1000"],
  ["/dlq?limit=1001", "limit", "from 1 to 1000"],
  ["/dlq?queue=a/b", "queue", "A-Z"],
  ["/dlq?cursor=abc", "cursor", "next"],
  ["/dlq?cursor=..", "cursor", "next"],
  ["/status/a%20b", "task_id", "/submit"],
  ["/status/a%2Fb", "task_id", "/submit"],
  ["/status/a%00b", "task_id", "/submit"],
  ["/status/%ff", "task_id", "/submit"],
  ["/status/%zz", "task_id", "/submit"],
  ["/status/a:b:c", "task_id", "/submit"],
  [`/status/${LONG}`, "task_id", "/submit"],
  ["/status/%7Ba%7D:x", "task_id", "/submit"],
])("GET %s is 400 and names %s", async (path, field, right) => {
  await using broker = await testBroker()
  const found = await problem(broker.call("GET", path))
  expect(found).toMatchObject({ status: 400, code: "bad_request", field })
  expect(`${found.error}`).toContain(right)
})

test("a body that is neither an object nor an array of objects is 400", async () => {
  await using broker = await testBroker()
  for (const path of POSTS)
    for (const body of ["null", "1", '"a"', "true"])
      expect(await problem(post(broker, path, body))).toMatchObject({ status: 400, code: "bad_request" })
})

test("an unknown path is 404", async () => {
  await using broker = await testBroker()
  for (const [method, path] of [
    ["GET", "/status/"],
    ["GET", "/status/a/b"],
    ["GET", "/.env"],
  ] as const)
    expect(await problem(broker.call(method, path))).toMatchObject({ status: 404, code: "not_found" })
})

test("an unknown task is 404 on every route, and a task in the wrong state is refused with its state", async () => {
  await using broker = await testBroker()
  for (const id of ["nothing", "unknown-queue:nothing", crypto.randomUUID()]) {
    expect(await problem(broker.call("GET", `/status/${id}`))).toMatchObject({
      status: 404,
      code: "task_not_found",
    })
    expect(await problem(broker.call("POST", `/dlq/retry/${id}`))).toMatchObject({
      status: 404,
      code: "not_in_dlq",
    })
    expect(await problem(post(broker, "/ack", { task_id: id }))).toMatchObject({
      status: 404,
      code: "task_not_found",
    })
    expect(await problem(post(broker, "/ack", { task_id: id, lease: FORGED_LEASE }))).toMatchObject({
      status: 404,
    })
    expect(await problem(post(broker, "/extend", { task_id: id, lease: FORGED_LEASE }))).toMatchObject({
      status: 404,
    })
  }
  const id = await submitted(broker, { type: "a" })
  expect(await problem(broker.call("POST", `/dlq/retry/${id}`))).toMatchObject({
    status: 404,
    code: "not_in_dlq",
  })
  expect(await problem(post(broker, "/ack", { task_id: id }))).toMatchObject({
    status: 409,
    code: "not_leased",
    state: "queued",
  })
})

test("a stale lease is 409 and names the newest attempt", async () => {
  const { socket } = await sharedRedis()
  await using broker = await testBroker({}, socket)
  await using direct = new DirectQueue(socket, "default")
  const id = await submitted(broker, { type: "a" })
  const first = await answered(broker.call("GET", "/get"))
  await direct.lapse(id)
  const second = await answered(broker.call("GET", "/get"))
  expect([first.attempt, second.attempt]).toEqual([1, 2])
  const stale = { task_id: id, lease: first.lease }
  for (const answer of [post(broker, "/ack", stale), post(broker, "/extend", stale)])
    expect(await problem(answer)).toMatchObject({
      status: 409,
      code: "lease_lost",
      task_id: id,
      state: "processing",
      attempt: 2,
    })
  expect((await post(broker, "/ack", { task_id: id, lease: second.lease })).status).toBe(200)
  expect(await problem(post(broker, "/ack", stale))).toMatchObject({ code: "lease_lost", state: "done" })
})

test("an invalid or missing Host header is a bad request, not an internal error", async () => {
  await using broker = await testBroker()
  for (const host of ["a b", "a/swagger", "a/healthz?", "x:99999", "a@b", ""]) {
    const answer = await raw(broker, `GET /dlq HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    expect([host, answer.slice(9, 12)]).toEqual([host, "400"])
  }
})

test("no spelling of a path avoids authentication", async () => {
  await using broker = await testBroker()
  const ends = [
    "\\..\\healthz",
    "\\..\\..\\healthz",
    "/../healthz",
    "/%2e%2e/healthz",
    "?/healthz",
    "#/healthz",
  ]
  for (const path of [
    "/dlq",
    "/get",
    "/status/x",
    "/status/..",
    "/status/.",
    "/swagger/../dlq",
    "/healthz/../dlq",
    "//dlq",
  ])
    for (const end of ["", ...ends]) {
      const answer = await raw(broker, `GET ${path}${end} HTTP/1.1\r\nHost: a\r\n\r\n`)
      // A spelling that is /healthz may answer as that. A 404 reveals nothing.
      if (answer.endsWith('{"status":"ok"}') || answer.includes('"code":"not_found"')) continue
      expect([path + end, answer.slice(9, 12)]).toEqual([path + end, "401"])
    }
})

test("an error repeats nothing of the request, its headers or the token, and reveals no internals", async () => {
  await using broker = await testBroker()
  const marker = "Mark<er>"
  const headers = { "x-marker": marker, cookie: marker, "user-agent": marker, referer: marker }
  const texts: string[] = []
  const say = async (answer: Response | Promise<Response>) => {
    const response = await answer
    expect(response.status).toBeGreaterThanOrEqual(400)
    texts.push(JSON.stringify([...response.headers]) + (await response.text()))
  }
  const at = encodeURIComponent(marker)
  for (const path of POSTS)
    for (const body of [
      marker,
      `"${marker}"`,
      { [marker]: 1 },
      { type: marker.repeat(100), payload: marker },
      { type: "a", [marker]: marker },
      { type: "a", payload: marker, queue: marker },
      { type: "a", payload: marker, priority: marker },
      { queues: [marker] },
      { task_id: marker, lease: marker, result: marker },
      { task_id: "a", status: marker },
      { task_id: "a", lease: FORGED_LEASE, error: marker },
      { task_id: "a", status: "failed", lease: marker, error: marker },
    ])
      await say(post(broker, path, body, headers))
  for (const path of [
    `/${at}`,
    `/status/${at}`,
    `/get?queue=${at}`,
    `/get?${at}=1`,
    `/get?wait_ms=${at}`,
    `/dlq?cursor=${at}`,
  ])
    await say(broker.call("GET", path, undefined, { headers }))
  await say(broker.call("POST", `/dlq/retry/${at}`, undefined, { headers }))
  await say(broker.call("GET", "/dlq", undefined, { headers: { ...headers, "x-api-token": marker } }))
  await say(post(broker, "/submit", marker, { ...headers, "content-type": "text/plain" }))
  for (const text of texts) {
    expect(text).not.toContain("Mark")
    expect(text).not.toContain(TOKEN)
    expect(text).not.toMatch(/\.ts\b|node_modules|\bat \w+ \(|ioredis|elysia|EVALSHA|tq:\{/i)
  }
})

test("a filter in the query of a request for many tasks is refused, and no task is changed", async () => {
  await using q = await ServedQueue.open()
  const { id, lease } = await q.leased()
  await q.ask("POST", "/ack", { task_id: id, lease, status: "failed", retry: false })
  for (const path of ["/dlq/purge", "/dlq/retry", "/cancel", "/bulk"])
    for (const query of ["queue=other", "dry_run=true"]) {
      const { status, body } = await q.ask("POST", `${path}?${query}`, {})
      expect([path, status, body.detail]).toEqual([
        path,
        400,
        "This request has no query. Send its members in the body.",
      ])
    }
  expect((await q.ask("DELETE", `/tasks/${id}?dry_run=true`)).status).toBe(400)
  expect((await q.ask("GET", `/status/${id}`)).body.status).toBe("dead")
  expect((await q.ask("POST", "/audit?fix=false")).status).toBe(200)
})

test("unknown members are refused by name", async () => {
  await using q = await ServedQueue.open()
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
    expect(["dealy_ms", "backoff.jiter", "retry_in", "chekpoint", "queue", "setle", "wait", "typ"]).toContain(
      problem.field,
    )
  }
})
