/** Bad input and what it gets; good input and that it comes back as it was; Redis full, away, or set wrongly. */
import { expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { connect, createServer, type Socket } from "node:net"
import { bodyReader } from "../../lib/http/answer.ts"
import { wakeChannel } from "../../lib/redis/keys.ts"
import { CODES } from "../../lib/wire/problem.ts"
import { Bench, freshName, type TestBroker, TOKEN, testBroker, until } from "../support/harness.ts"
import { checkQueue } from "../support/invariants.ts"
import { sharedRedis, testRedis } from "../support/redis.ts"

type Body = Record<string, unknown>

/** An error as every client may rely on it: its status, and the members that say what is wrong. */
async function problem(answer: Response | Promise<Response>): Promise<Body & { code: string }> {
  const response = await answer
  expect(response.headers.get("content-type")).toBe("application/problem+json")
  const body = (await response.json()) as Body & { code: string }
  expect(body.status).toBe(response.status)
  expect(body.error).toBeString()
  expect(body.title).toBeString()
  expect(CODES as readonly string[]).toContain(body.code)
  if (response.status === 503) expect(response.headers.get("retry-after")).toMatch(/^[1-9]\d*$/)
  return body
}

const post = (broker: TestBroker, path: string, body: unknown, headers: Record<string, string> = {}) =>
  broker.call("POST", path, body, { headers })

const answered = async (answer: Promise<Response>) => (await (await answer).json()) as Body

async function submitted(broker: TestBroker, task: unknown): Promise<string> {
  const answer = await post(broker, "/submit", task)
  if (answer.status !== 200) throw new Error(await answer.text())
  return ((await answer.json()) as { task_id: string }).task_id
}

/** What the socket says to exactly these bytes, for requests that fetch would not send. */
function raw(broker: TestBroker, bytes: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  let text = ""
  const socket = connect(Number(new URL(broker.url).port), "127.0.0.1", () => socket.write(bytes))
  socket.setTimeout(2_000, () => socket.destroy(new Error(`no answer to ${JSON.stringify(bytes)}`)))
  socket.on("data", data => {
    text += data
    socket.end()
  })
  socket.on("error", reject)
  socket.on("close", () => resolve(text))
  return promise
}

const POSTS = ["/submit", "/lease", "/ack", "/extend"] as const

test.each(POSTS)("POST %s with what is not JSON is 400 bad_json", async path => {
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

test.each(POSTS)(
  "POST %s in what is not UTF-8 is 400 bad_json, and nothing is replaced in silence",
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

test.each(POSTS)("POST %s of another media type is 415", async path => {
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

test("the media type may carry a charset and stand in capitals", async () => {
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
    ...{ status: 413, code: "too_large" },
    detail: expect.stringMatching(/4096 bytes.*MAX_BODY_BYTES/),
  })
})

test("a body of exactly the limit is taken", async () => {
  await using broker = await testBroker({ maxBodyBytes: 4_096 })
  const text = JSON.stringify("x".repeat(4_096 - 28))
  const body = `{"type":"a", "payload":${text}}`.padEnd(4_096)
  expect(body.length).toBe(4_096)
  expect((await post(broker, "/submit", body)).status).toBe(200)
})

test("a body over the limit that does not tell its length is 413 as well", async () => {
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

test("a body over the limit and no token is 401: strangers learn nothing of the limit", async () => {
  await using broker = await testBroker({ maxBodyBytes: 4_096 })
  for (const size of [5_000, 40_000]) {
    const answer = fetch(`${broker.url}/submit`, { method: "POST", body: "x".repeat(size) })
    expect(await problem(answer)).toMatchObject({ status: 401 })
  }
})

const LEASE = `1.${"x".repeat(22)}`
const LONG = "x".repeat(65)
/** A body, the member that is wrong, and a word of what would be right. */
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
    [{ type: "a", id: "mine" }, "id", "known are"],
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
    ...["", "1", "x.y", `${LEASE}x`, `-${LEASE}`, null, 1].map((lease): [Body, string, string] => [
      { task_id: "a", lease },
      "lease",
      "lease",
    ]),
    [{ task_id: "a", status: "failed", error: 5 }, "error", "string"],
    [{ task_id: "a", status: "done", error: "x" }, "error", "`status: failed`"],
    [{ task_id: "a", status: "failed", result: 1 }, "result", "`status: done`"],
    [{ task_id: "a", status: "released", result: 1 }, "result", "`status: done`"],
    [{ task_id: "a", id: "a" }, "id", "task_id"],
  ],
  "/extend": [
    [{}, "task_id", "missing"],
    [{ task_id: "a" }, "lease", "missing"],
    [{ task_id: "a", lease: "b" }, "lease", "lease"],
    [{ task_id: "a", lease: LEASE, timeout_ms: 99 }, "timeout_ms", "from 100 to"],
    [{ task_id: "a", lease: LEASE, seconds: 9 }, "seconds", "timeout_ms"],
  ],
}

test.each(POSTS)("POST %s names the member that is wrong and says what would be right", async path => {
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
  ["/get?wait_ms=1&wait_ms=2", "wait_ms", "twice"],
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

test("a body that is neither an object nor a list of them is 400 and says so", async () => {
  await using broker = await testBroker()
  for (const path of POSTS)
    for (const body of ["null", "1", '"a"', "true"])
      expect(await problem(post(broker, path, body))).toMatchObject({ status: 400, code: "bad_request" })
})

test("no route, another method and a hidden path are 404", async () => {
  await using broker = await testBroker()
  for (const [method, path] of [
    ["GET", "/"],
    ["GET", "/submit"],
    ["POST", "/get"],
    ["PUT", "/submit"],
    ["DELETE", "/status/x"],
    ["GET", "/status/"],
    ["GET", "/status/a/b"],
    ["GET", "/dlq/retry/x"],
    ["GET", "/.env"],
  ] as const)
    expect(await problem(broker.call(method, path))).toMatchObject({ status: 404, code: "not_found" })
})

test("an unknown task is 404 wherever it is named, a known one in another state says why not", async () => {
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
    expect(await problem(post(broker, "/ack", { task_id: id, lease: LEASE }))).toMatchObject({ status: 404 })
    expect(await problem(post(broker, "/extend", { task_id: id, lease: LEASE }))).toMatchObject({
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

test("a stale lease is 409 and says who holds the task now", async () => {
  const { socket } = await sharedRedis()
  await using broker = await testBroker({}, socket)
  await using bench = new Bench(socket, "default")
  const id = await submitted(broker, { type: "a" })
  const first = await answered(broker.call("GET", "/get"))
  await bench.lapse(id)
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

test("a Host that is no host, or none, is refused without being called our fault", async () => {
  await using broker = await testBroker()
  for (const host of ["a b", "a/swagger", "a/healthz?", "x:99999", "a@b", ""]) {
    const answer = await raw(broker, `GET /dlq HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    expect([host, answer.slice(9, 12)]).toEqual([host, "400"])
  }
})

test("no spelling of a path gets past the token", async () => {
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
      // Where it truly is /healthz, it may answer as that; and that there is no such route is no secret.
      if (answer.endsWith('{"status":"ok"}') || answer.includes('"code":"not_found"')) continue
      expect([path + end, answer.slice(9, 12)]).toEqual([path + end, "401"])
    }
})

test("an error repeats nothing of the request, its headers or the token, and shows nothing of the inside", async () => {
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
      { task_id: "a", lease: LEASE, error: marker },
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

/** JSON texts that a parse and a stringify would not give back as they were. */
const TEXTS = [
  "12345678901234567890",
  "1.0",
  "-0",
  "1e400",
  "1E+2",
  "0.1000000000000000055511151231257827",
  "{}",
  "[]",
  "null",
  "false",
  '""',
  '{"a":{},"b":[],"c":[{}],"d":{"e":[]}}',
  '{"__proto__":{"polluted":true},"constructor":{"prototype":1}}',
  '{"a":1,"a":2}',
  '{"b":1,"a":2,"10":3,"9":4}',
  '"\\ud800 lone, \\udc00 lone, \\ud83d\\ude00 whole, \\u0000 \\u001f"',
  '{"\\ud800":1}',
  '"\\/ \\b\\f\\n\\r\\t \\" \\\\"',
  '"é 漢 😀 \u2028 \u007f"',
  '{ "spaced" : [ 1 ,\n\t2 ] }',
  '{"p\\u0061yload":1,"payload":"inner"}',
  '"]}, \\"payload\\": 1"',
  `"${"long ".repeat(1_000)}"`,
  "[".repeat(5_000) + "]".repeat(5_000),
  `${'{"a":'.repeat(5_000)}1${"}".repeat(5_000)}`,
]

/** The text of the payload, or result, in an answer's text: our answers have it behind its name and before what follows. */
const holds = (text: string, member: string, value: string) => text.includes(`"${member}":${value}`)

test("payloads come back byte for byte by /get, /lease, /status and /dlq, and results by /status", async () => {
  await using broker = await testBroker()
  for (const text of TEXTS) {
    const short = text.slice(0, 60)
    const id = await submitted(broker, `{"type":"a","payload":${text},"max_retries":0}`)
    const seen: [string, boolean][] = []
    const see = async (where: string, member: string, answer: Promise<Response>) =>
      seen.push([where, holds(await (await answer).text(), member, text)])
    await see("status", "payload", broker.call("GET", `/status/${id}`))
    await see("get", "payload", broker.call("GET", "/get"))
    await post(broker, "/ack", { task_id: id, status: "released" })
    await see("lease", "payload", post(broker, "/lease", {}))
    await post(broker, "/ack", { task_id: id, status: "failed" })
    await see("dlq", "payload", broker.call("GET", "/dlq"))
    await broker.call("POST", `/dlq/retry/${id}`)
    await see("get again", "payload", broker.call("GET", "/get"))
    expect((await post(broker, "/ack", `{"task_id":"${id}","result":${text}}`)).status).toBe(200)
    await see("status", "result", broker.call("GET", `/status/${id}`))
    expect([short, seen.filter(([, same]) => !same)]).toEqual([short, []])
  }
})

test("the payload is found behind an escaped name, between others, and the last of two counts", async () => {
  await using broker = await testBroker()
  const cases: [string, string][] = [
    ['{"p\\u0061yload": 1.0 , "type":"a"}', "1.0"],
    ['{"payload":1,"type":"a","\\u0070ayload":[2.0]}', "[2.0]"],
    ['{"type":"payload","payload":"payload"}', '"payload"'],
    ['{\n"type" : "a\\\\" ,\r\n\t"payload" :\n{ "x" : 1 }\n}', '{ "x" : 1 }'],
    ['{"type":"a\\"","payload":{"payload":1e2}}', '{"payload":1e2}'],
    ['{"type":"a"}', "{}"],
  ]
  const one = await Promise.all(cases.map(([body]) => submitted(broker, body)))
  const answer = await post(broker, "/submit", `[ ${cases.map(([body]) => body).join(" ,\n")} ]`)
  const many = ((await answer.json()) as { task_id: string }[]).map(({ task_id }) => task_id)
  for (const ids of [one, many])
    for (const [i, [, text]] of cases.entries()) {
      const status = await (await broker.call("GET", `/status/${ids[i]}`)).text()
      expect([i, holds(status, "payload", `${text},"status"`)]).toEqual([i, true])
    }
})

test("a type comes back as it was, or is refused", async () => {
  await using broker = await testBroker()
  for (const type of ["a", "é漢😀", 'a"b\\', " ", "\u0000", "\u2028", "__proto__", "x".repeat(200)]) {
    await submitted(broker, { type })
    expect((await answered(broker.call("GET", "/get"))).type).toBe(type)
  }
  expect(await problem(post(broker, "/submit", '{"type":"\\ud800"}'))).toMatchObject({
    status: 400,
    field: "type",
  })
})

/** What might break a text of lines, words and JSON, or the answer of a lease, whose parts 0x1F divides. */
const HOSTILE = [
  String.fromCharCode(...Array(33).keys(), 127, 128, 159, 0x2028, 0x2029, 0xfeff, 0xfffd),
  "\n",
  "\n\n\n\n\n",
  "\x1f",
  "T\x1f1\x1fprocessing\x1f\x1f",
  '"',
  '\\"\\n\\u000a\\u001f\\',
  'queued 0 0 0 ? 0 0 0 1\n5 3 3 30000\n\n"a"\n1',
  '{"result":"1"}\n"b"\n',
  "]] %s %1 %n $1 $& \\0",
  "é漢😀",
]

test("no text of a task's breaks it: whatever its parts say comes back as it was, from a batch too", async () => {
  const { socket } = await sharedRedis()
  await using broker = await testBroker({}, socket)
  await using bench = new Bench(socket)
  const { name: queue, redis } = bench
  // A lone surrogate may stand in JSON; in a text that is not JSON it is replaced, as an error's test says.
  const jsonOf = (text: string) =>
    `{"${"long ".repeat(text.length % 3 ? 0 : 60)}":\n[${JSON.stringify(text)}, "\\ud800"]\n}`
  const plain = HOSTILE.map(
    type => `{"type":${JSON.stringify(type)},"queue":"${queue}","payload":${jsonOf(type)}}`,
  )
  const rare = HOSTILE.map(text => {
    const asked = JSON.stringify({ type: text, queue, meta: { a: text, b: "\ud800" }, max_retries: 0 })
    return `${asked.slice(0, -1)},"payload":${jsonOf(text)}}`
  })
  expect((await post(broker, "/submit", `[${[...plain, ...rare]}]`)).status).toBe(200)
  await checkQueue(redis, queue)
  const lease = async () => {
    const answer = await answered(post(broker, "/lease", { queues: [queue], max: 100, worker: "w" }))
    return answer.tasks as Body[]
  }
  const first = await lease()
  const texts = [...HOSTILE, ...HOSTILE]
  const isAs = (text: string, i: number) => ({
    type: text,
    payload: JSON.parse(jsonOf(text)),
    ...(i < HOSTILE.length ? {} : { meta: { a: text, b: "\ud800" } }),
  })
  expect(first).toMatchObject(texts.map((text, i) => ({ ...isAs(text, i), attempt: 1 })))

  // Half of them tell how far they are and are given back, and all of those must be as they were, and where they were.
  for (const { id, lease, type } of first.slice(HOSTILE.length) as Record<string, string>[]) {
    const told = `{"task_id":"${id}","lease":"${lease}","progress":${jsonOf(type!)},"checkpoint":${jsonOf(type!)}`
    expect((await post(broker, "/extend", `${told},"log":${JSON.stringify([type, "next"])}}`)).status).toBe(
      200,
    )
  }
  await checkQueue(redis, queue)
  const release = first
    .slice(HOSTILE.length)
    .map(({ id, lease }) => ({ task_id: id, lease, status: "released" }))
  expect((await post(broker, "/ack", release)).status).toBe(200)
  const second = await lease()
  expect(second).toMatchObject(
    HOSTILE.map((text, i) => ({
      ...isAs(text, HOSTILE.length + i),
      attempt: 2,
      checkpoint: JSON.parse(jsonOf(text)),
    })),
  )

  // The plain ones are done, and the others fail with these words, all in one call.
  const done = first.slice(0, HOSTILE.length).map(({ id, lease, type }) => {
    return `{"task_id":"${id}","lease":"${lease}","result":${jsonOf(type as string)}}`
  })
  const failed = second.map(({ id, lease, type }) =>
    JSON.stringify({ task_id: id, lease, status: "failed", error: type }),
  )
  const answers = await (await post(broker, "/ack", `[${[...done, ...failed]}]`)).json()
  expect(answers).toMatchObject(
    texts.map((_, i) => ({ status: i < HOSTILE.length ? "acknowledged" : "moved_to_dlq" })),
  )
  await checkQueue(redis, queue)
  for (const [i, { id }] of first.entries()) {
    const text = texts[i]!
    const view = await answered(broker.call("GET", `/status/${id}`))
    const json = JSON.parse(jsonOf(text))
    expect([i, view]).toMatchObject([i, { ...isAs(text, i), worker: "w" }])
    if (i < HOSTILE.length) expect([i, view]).toMatchObject([i, { status: "done", result: json }])
    else
      expect([i, view]).toMatchObject([
        i,
        {
          ...{ status: "dead", error: text, progress: json, checkpoint: json },
          log: [text.replaceAll("\n", " "), "next"],
          attempts: [{ outcome: "released" }, { outcome: "failed", error: text }],
        },
      ])
  }
})

test("a worker's name cannot hold what would break a task's text", async () => {
  await using broker = await testBroker()
  for (const worker of ["", " ", "a b", "a\n", "\x1f", "?", '"', "é", "\ud800", "x".repeat(65)])
    for (const [path, body] of [
      ["/lease", { worker }],
      ["/work", { worker, max: 1 }],
    ] as const)
      expect(await problem(post(broker, path, body))).toMatchObject({ status: 400, field: "worker" })
})

test("an error text is kept up to 8,192 characters, whole characters only", async () => {
  await using broker = await testBroker()
  for (const [sent, kept] of [
    ["boom", "boom"],
    ["x".repeat(9_000), "x".repeat(8_192)],
    [`${"x".repeat(8_191)}😀`, `${"x".repeat(8_191)}\ufffd`],
    ["\ud800", "\ufffd"],
  ] as const) {
    const id = await submitted(broker, { type: "a", max_retries: 0 })
    await broker.call("GET", "/get")
    await post(broker, "/ack", { task_id: id, status: "failed", error: sent })
    expect((await answered(broker.call("GET", `/status/${id}`))).error).toBe(kept)
  }
})

test("a result of null is a result", async () => {
  await using broker = await testBroker()
  const id = await submitted(broker, { type: "a" })
  await broker.call("GET", "/get")
  await post(broker, "/ack", { task_id: id, result: null })
  expect(await answered(broker.call("GET", `/status/${id}`))).toMatchObject({ result: null })
})

test("a bad item of a batch gets its own answer in its own place and sinks no other", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  const body = `[{"type":"a","payload":1.0},{},{"type":"b","payload":2.0,"queue":"${queue}"},7,{"type":"c","priority":10},null,[],{"type":"d","payload":3.0}]`
  const answer = await post(broker, "/submit", body)
  expect(answer.status).toBe(200)
  const items = (await answer.json()) as Body[]
  expect(items).toMatchObject([
    { status: "queued" },
    { status: 400, code: "bad_request", field: "type" },
    { status: "queued" },
    { status: 400 },
    { status: 400, field: "priority" },
    { status: 400 },
    { status: 400 },
    { status: "queued" },
  ])
  for (const [i, payload] of [
    [0, "1.0"],
    [2, "2.0"],
    [7, "3.0"],
  ] as const) {
    const text = await (await broker.call("GET", `/status/${items[i]!.task_id}`)).text()
    expect(holds(text, "payload", payload)).toBeTrue()
  }
  const [first, second] = [items[0]!, items[2]!].map(item => item.task_id as string)
  await post(broker, "/lease", { queues: ["default", queue], max: 10 })
  const acks = await post(broker, "/ack", [
    { task_id: second, result: 1 },
    { task_id: "nothing" },
    { task_id: first, lease: LEASE },
    { status: "done" },
    { task_id: first, status: "failed" },
    { task_id: first, status: "failed" },
  ])
  expect(await acks.json()).toMatchObject([
    { status: "acknowledged", task_id: second },
    { status: 404, code: "task_not_found", task_id: "nothing" },
    { status: 409, code: "lease_lost", task_id: first },
    { status: 400, field: "task_id" },
    { status: "requeued", task_id: first, retries: 1 },
    { status: "requeued", task_id: first, retries: 1 },
  ])
})

test.each(["/submit", "/ack", "/extend"])(
  "POST %s takes 1,000 items at once, and neither 1,001 nor none",
  async path => {
    await using broker = await testBroker()
    const item = path === "/submit" ? { type: "a" } : { task_id: "a", lease: LEASE }
    const many = await post(broker, path, Array(1_000).fill(item))
    expect(many.status).toBe(200)
    expect(await many.json()).toHaveLength(1_000)
    for (const items of [Array(1_001).fill(item), []])
      expect(await problem(post(broker, path, items))).toMatchObject({
        status: 400,
        code: "bad_request",
        error: expect.stringContaining("1000"),
      })
    // A batch of one is answered as a batch.
    expect(await (await post(broker, path, [item])).json()).toHaveLength(1)
  },
)

test("pages of the dead-letter queue follow one another, across queues, until the last, which names no next", async () => {
  await using broker = await testBroker()
  const queues = [freshName(), freshName(), freshName()]
  const dead = new Set<string>()
  for (const queue of queues) {
    const answer = await post(broker, "/submit", Array(4).fill({ type: "a", queue, max_retries: 0 }))
    const ids = ((await answer.json()) as { task_id: string }[]).map(({ task_id }) => task_id)
    await post(broker, "/lease", { queues: [queue], max: 4 })
    await post(
      broker,
      "/ack",
      ids.map(task_id => ({ task_id, status: "failed" })),
    )
    for (const id of ids) dead.add(id)
  }
  // A queue after all others in which nothing is dead.
  await submitted(broker, { type: "a", queue: "zzz" })
  for (const limit of [1, 3, 4, 5, 8, 12, 100]) {
    const seen: string[] = []
    let pages = 0
    for (let cursor = ""; ; ) {
      const page = await answered(broker.call("GET", `/dlq?limit=${limit}${cursor && `&cursor=${cursor}`}`))
      expect(page.dlq_size).toBe(12)
      seen.push(...(page.tasks as Body[]).map(task => task.id as string))
      pages++
      if (page.next === undefined) break
      cursor = page.next as string
    }
    expect([limit, seen.length, new Set(seen).size]).toEqual([limit, 12, 12])
    expect(seen.every(id => dead.has(id))).toBeTrue()
    expect([limit, pages]).toEqual([limit, Math.ceil(12 / limit)])
  }
  const one = await answered(broker.call("GET", `/dlq?queue=${queues[1]}&limit=4`))
  expect(one).toMatchObject({ dlq_size: 4 })
  expect(one.next).toBeUndefined()
})

test("with Redis full, submit is refused while leases are taken, extended, failed, released and acknowledged", async () => {
  await using server = await testRedis({ args: ["--maxmemory", "6mb", "--maxmemory-policy", "noeviction"] })
  await using broker = await testBroker({}, server.socket)
  await using bench = new Bench(server.socket, "default")
  const big = { type: "a", payload: "x".repeat(20_000) }
  const fill = async (task: Body) => {
    for (let i = 0; i < 5_000; i++) {
      const answer = await post(broker, "/submit", task)
      if (answer.status !== 200) return problem(answer)
    }
    throw new Error("Redis did not fill up")
  }
  expect(await fill(big)).toMatchObject({ status: 503, code: "out_of_memory" })
  // Well under what is used: no buffer that is freed in between makes room.
  await bench.redis.config("SET", "maxmemory", "2mb")
  for (const queue of ["default", freshName()])
    expect(await problem(post(broker, "/submit", { type: "a", queue }))).toMatchObject({
      code: "out_of_memory",
    })
  const { tasks } = (await answered(post(broker, "/lease", { max: 4, worker: "w" }))) as { tasks: Body[] }
  expect(tasks).toHaveLength(4)
  const [done, failed, released, kept] = tasks.map(({ id, lease }) => ({ task_id: id, lease }))
  expect((await post(broker, "/extend", kept)).status).toBe(200)
  expect((await post(broker, "/ack", { ...done, result: "y".repeat(1_000) })).status).toBe(200)
  expect((await post(broker, "/ack", { ...failed, status: "failed", error: "z".repeat(1_000) })).status).toBe(
    200,
  )
  expect((await post(broker, "/ack", { ...released, status: "released" })).status).toBe(200)
  expect((await broker.call("GET", `/status/${kept!.task_id}`)).status).toBe(200)
  expect((await broker.call("GET", "/dlq")).status).toBe(200)
  expect((await fetch(`${broker.url}/readyz`)).status).toBe(200)
  {
    // A broker that starts now must still be able to finish the tasks that fill the memory.
    await using second = await testBroker({}, server.socket)
    expect((await post(second, "/ack", { ...kept, status: "done" })).status).toBe(200)
  }
  await bench.redis.config("SET", "maxmemory", "0")
  expect((await post(broker, "/submit", big)).status).toBe(200)
})

test("with Redis away every route says 503 in time, and all goes on when it is back", async () => {
  await using server = await testRedis({ aof: "always" })
  await using broker = await testBroker({ redisTimeoutMs: 500 }, server.socket)
  const id = await submitted(broker, { type: "a" })
  await server.kill9()
  const began = performance.now()
  const answers = await Promise.all([
    problem(post(broker, "/submit", { type: "a" })),
    problem(post(broker, "/submit", [{ type: "a", queue: freshName() }])),
    problem(broker.call("GET", "/get?wait_ms=5000")),
    problem(post(broker, "/lease", { queues: ["a", "b"] })),
    problem(post(broker, "/ack", { task_id: id })),
    problem(post(broker, "/extend", { task_id: id, lease: LEASE })),
    problem(broker.call("GET", `/status/${id}`)),
    problem(broker.call("GET", "/dlq")),
    problem(broker.call("POST", `/dlq/retry/${id}`)),
    problem(fetch(`${broker.url}/readyz`)),
  ])
  expect(performance.now() - began).toBeLessThan(1_500)
  for (const answer of answers) expect(answer).toMatchObject({ status: 503, code: "redis_unavailable" })
  expect((await fetch(`${broker.url}/healthz`)).status).toBe(200)
  await server.restart()
  await until("the broker is ready", async () => (await fetch(`${broker.url}/readyz`)).status === 200)
  expect(await answered(broker.call("GET", "/get"))).toMatchObject({ id })
  expect((await post(broker, "/ack", { task_id: id })).status).toBe(200)
  await submitted(broker, { type: "a", queue: freshName() })
})

test("a Redis that hangs is 503 within the time limit, and a submit whose reply was lost stands once", async () => {
  await using server = await testRedis()
  await using broker = await testBroker({ redisTimeoutMs: 300 }, server.socket)
  await submitted(broker, { type: "before" })
  process.kill(server.pid, "SIGSTOP")
  try {
    const began = performance.now()
    expect(await problem(post(broker, "/submit", { type: "lost" }))).toMatchObject({
      status: 503,
      code: "redis_unavailable",
    })
    expect(performance.now() - began).toBeWithin(250, 1_200)
  } finally {
    process.kill(server.pid, "SIGCONT")
  }
  await until("the broker is ready", async () => (await fetch(`${broker.url}/readyz`)).status === 200)
  await submitted(broker, { type: "after" })
  const { tasks } = (await answered(post(broker, "/lease", { max: 10 }))) as { tasks: Body[] }
  // It was sent, so it may stand; sent twice it must not be.
  expect(tasks.map(task => task.type)).toEqual(["before", "lost", "after"])
})

/** Stands between a broker and Redis. While `deaf`, it passes requests on and cuts the connection at the first reply. */
async function between(socket: string) {
  const dir = await mkdtemp("/tmp/tq-between-")
  const ends = new Set<Socket>()
  const state = { deaf: false }
  const server = createServer(near => {
    const far = connect(socket)
    const cut = () => {
      near.destroy()
      far.destroy()
    }
    for (const end of [near, far]) ends.add(end.on("error", cut).on("close", cut))
    near.on("data", data => far.write(data))
    far.on("data", data => (state.deaf ? cut() : near.write(data)))
  })
  await new Promise<void>(resolve => server.listen(`${dir}/redis.sock`, resolve))
  return Object.assign(state, {
    socket: `${dir}/redis.sock`,
    async [Symbol.asyncDispose]() {
      server.close()
      for (const end of ends) end.destroy()
      await rm(dir, { recursive: true })
    },
  })
}

test("a submit whose reply is cut off is 503 and not sent again by the broker: the client decides", async () => {
  await using server = await testRedis()
  await using wire = await between(server.socket)
  await using broker = await testBroker({ redisTimeoutMs: 1_000 }, wire.socket)
  await submitted(broker, { type: "before" })
  wire.deaf = true
  const lost = problem(post(broker, "/submit", { type: "lost" }))
  expect(await lost).toMatchObject({ status: 503, code: "redis_unavailable" })
  wire.deaf = false
  await until("the broker is ready", async () => (await fetch(`${broker.url}/readyz`)).status === 200)
  await submitted(broker, { type: "after" })
  const { tasks } = (await answered(post(broker, "/lease", { max: 10 }))) as { tasks: Body[] }
  expect(tasks.map(task => task.type)).toEqual(["before", "lost", "after"])
})

test("an ack whose reply is cut off is answered the same when it is repeated", async () => {
  await using server = await testRedis()
  await using wire = await between(server.socket)
  await using broker = await testBroker({ redisTimeoutMs: 1_000 }, wire.socket)
  const id = await submitted(broker, { type: "a" })
  const { lease } = await answered(broker.call("GET", "/get"))
  wire.deaf = true
  const failed = () => post(broker, "/ack", { task_id: id, lease, status: "failed" })
  expect(await problem(failed())).toMatchObject({ status: 503, code: "redis_unavailable" })
  wire.deaf = false
  await until("the broker is ready", async () => (await fetch(`${broker.url}/readyz`)).status === 200)
  expect(await answered(failed())).toEqual({ status: "requeued", task_id: id, retries: 1 })
})

test("a waiter that waited when Redis went is served when it is back", async () => {
  await using server = await testRedis({ aof: "always" })
  await using broker = await testBroker({ redisTimeoutMs: 500 }, server.socket)
  const waiting = answered(broker.call("GET", "/get?wait_ms=15000"))
  await until("it waits", () => broker.queue.waiting === 1)
  {
    await using bench = new Bench(server.socket)
    const { redis } = bench
    const channel = wakeChannel("default")
    await until("it listens", async () => (await redis.pubsub("CHANNELS", channel)).length === 1)
  }
  await server.kill9()
  await server.restart()
  await until("the broker is ready", async () => (await fetch(`${broker.url}/readyz`)).status === 200)
  const id = await submitted(broker, { type: "a" })
  expect(await waiting).toMatchObject({ id })
})

test("/readyz is 503 while Redis reads its data, and 200 only when a submit works", async () => {
  await using server = await testRedis({ aof: "always", args: ["--key-load-delay", "200"] })
  await using broker = await testBroker({ redisTimeoutMs: 500 }, server.socket)
  const tasks = Array(1_000).fill({ type: "a" })
  for (let i = 0; i < 3; i++) await (await post(broker, "/submit", tasks)).json()
  await server.kill9()
  let restarted = false
  const restarting = server.restart().then(() => {
    restarted = true
  })
  const ready = async () => (await fetch(`${broker.url}/readyz`)).status === 200
  while (!restarted) {
    // One after the other: what was ready must still be.
    if (await ready()) expect((await post(broker, "/submit", { type: "a" })).status).toBe(200)
  }
  await restarting
  await until("the broker is ready", ready)
  expect((await post(broker, "/submit", { type: "a" })).status).toBe(200)
})

test("/readyz is 503 while Redis may evict tasks, and tells how safe writes are", async () => {
  await using server = await testRedis({ aof: "everysec" })
  await using broker = await testBroker({}, server.socket)
  await using bench = new Bench(server.socket)
  const ready = () => fetch(`${broker.url}/readyz`)
  expect(await answered(ready())).toMatchObject({ status: "ready", durability: "everysec" })
  await bench.redis.config("SET", "maxmemory-policy", "allkeys-lru")
  expect(await problem(ready())).toMatchObject({
    status: 503,
    code: "not_ready",
    detail: expect.stringContaining("noeviction"),
  })
  await bench.redis.config("SET", "maxmemory-policy", "noeviction")
  await bench.redis.config("SET", "appendfsync", "always")
  expect(await answered(ready())).toMatchObject({ durability: "always" })
})

test("an id that names the default queue is the same id, and a wait for its end is woken", async () => {
  await using broker = await testBroker()
  const id = await submitted(broker, { type: "t", delay_ms: 60_000 })
  const began = performance.now()
  const ended = broker.call("GET", `/status/default:${id}?wait_ms=10000`)
  await Bun.sleep(50)
  await broker.call("POST", `/cancel/default:${id}`)
  expect(await (await ended).json()).toMatchObject({ id, status: "cancelled" })
  expect(performance.now() - began).toBeLessThan(5_000)
})

test("a length that is told twice does not switch off the bound of what is held", async () => {
  const read = bodyReader(1_048_576)
  const request = (size: number, length: string) =>
    ({
      headers: new Headers({ "content-type": "application/json", "content-length": length }),
      arrayBuffer: async () => Buffer.from(`"${"a".repeat(size)}"`),
      get body() {
        return new Response(`"${"a".repeat(size)}"`).body
      },
    }) as unknown as Request
  ;(await read(request(0, "2, 2")))[Symbol.dispose]()
  const held = []
  const fill = async () => {
    for (let i = 0; i < 80; i++) held.push(await read(request(1_000_000, "1000002")))
  }
  await expect(fill()).rejects.toMatchObject({ reason: "overloaded" })
})
