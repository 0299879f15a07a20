/** Payloads, results, types and error texts come back exactly as they were sent. */
import { expect, test } from "bun:test"
import { DirectQueue, testBroker } from "../support/harness.ts"
import { checkQueue } from "../support/invariants.ts"
import { sharedRedis } from "../support/redis.ts"
import { answered, type Body, hasMember, post, problem, submitted } from "../support/requests.ts"

/** JSON texts that JSON.parse and JSON.stringify would change. */
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
  "[".repeat(94) + "]".repeat(94),
  `${'{"a":'.repeat(94)}1${"}".repeat(94)}`,
]

test("payloads come back byte for byte by /get, /lease, /status and /dlq, and results by /status", async () => {
  await using broker = await testBroker()
  for (const text of TEXTS) {
    const short = text.slice(0, 60)
    const id = await submitted(broker, `{"type":"a","payload":${text},"max_retries":0}`)
    const seen: [string, boolean][] = []
    const see = async (where: string, member: string, answer: Promise<Response>) =>
      seen.push([where, hasMember(await (await answer).text(), member, text)])
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

test("the payload is found if its name is escaped or between other members, and the last of two is used", async () => {
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
      expect([i, hasMember(status, "payload", `${text},"status"`)]).toEqual([i, true])
    }
})

test("a type is returned unchanged or refused", async () => {
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

/** Text that could break the record of a task, or the reply of a lease, whose parts are separated by 0x1F. */
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

test("no text breaks the record of a task: every part is returned unchanged, from a batch as well", async () => {
  const { socket } = await sharedRedis()
  await using broker = await testBroker({}, socket)
  await using direct = new DirectQueue(socket)
  const { name: queue, redis } = direct
  // A lone surrogate is valid in JSON. In other texts, such as an error, it is replaced.
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

  // Half of the tasks report progress and are released. All must come back unchanged and in order.
  for (const { id, lease, type } of first.slice(HOSTILE.length) as Record<string, string>[]) {
    const update = `{"task_id":"${id}","lease":"${lease}","progress":${jsonOf(type!)},"checkpoint":${jsonOf(type!)}`
    expect((await post(broker, "/extend", `${update},"log":${JSON.stringify([type, "next"])}}`)).status).toBe(
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

  // The plain tasks are done and the others fail with these texts, all in one call.
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
          status: "dead",
          error: text,
          progress: json,
          checkpoint: json,
          log: [text.replaceAll("\n", " "), "next"],
          attempts: [{ outcome: "released" }, { outcome: "failed", error: text }],
        },
      ])
  }
})

test("the name of a worker cannot contain text that would break the record of a task", async () => {
  await using broker = await testBroker()
  for (const worker of ["", " ", "a b", "a\n", "\x1f", "?", '"', "é", "\ud800", "x".repeat(65)])
    for (const [path, body] of [
      ["/lease", { worker }],
      ["/work", { worker, max: 1 }],
    ] as const)
      expect(await problem(post(broker, path, body))).toMatchObject({ status: 400, field: "worker" })
})

test("an error text is kept up to 8,192 characters and never ends within a character", async () => {
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
