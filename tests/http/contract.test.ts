/** The wire contract of the original system, over a real socket. Its clients must keep working unchanged. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { DirectQueue, type TestBroker, TOKEN, testBroker, until } from "../support/harness.ts"
import { sharedRedis } from "../support/redis.ts"

const clients = join(import.meta.dir, "../clients")

async function json(answer: Response | Promise<Response>): Promise<[number, Record<string, unknown>]> {
  const response = await answer
  return [response.status, (await response.json()) as Record<string, unknown>]
}

async function submit(broker: TestBroker, task: Record<string, unknown> = {}): Promise<string> {
  const [status, body] = await json(broker.call("POST", "/submit", { type: "a", ...task }))
  expect([status, body]).toEqual([200, { status: "queued", task_id: expect.any(String) }])
  return body.task_id as string
}

async function get(broker: TestBroker): Promise<Record<string, unknown>> {
  const [status, body] = await json(broker.call("GET", "/get"))
  expect(status).toBe(200)
  return body
}

const ack = (broker: TestBroker, task_id: unknown, status?: string) =>
  json(broker.call("POST", "/ack", status === undefined ? { task_id } : { task_id, status }))

const status = (broker: TestBroker, id: string) => json(broker.call("GET", `/status/${id}`))

test("a task goes through submit, get and ack to done, with the members of the contract at each step", async () => {
  await using broker = await testBroker()
  const id = await submit(broker, { type: "mail", payload: { to: "a@b.c" } })
  const task = { id, type: "mail", payload: { to: "a@b.c" }, retries: 0, max_retries: 3 }
  expect(await status(broker, id)).toMatchObject([200, { ...task, status: "queued" }])
  expect(await get(broker)).toMatchObject({ ...task, status: "processing" })
  expect(await status(broker, id)).toMatchObject([200, { ...task, status: "processing" }])
  expect(await ack(broker, id, "done")).toEqual([200, { status: "acknowledged", task_id: id }])
  expect(await status(broker, id)).toMatchObject([200, { ...task, status: "done" }])
})

test("the defaults are a payload of {} and a max_retries of 3", async () => {
  await using broker = await testBroker()
  await submit(broker)
  expect(await get(broker)).toMatchObject({ payload: {}, max_retries: 3 })
})

test("get answers 204 without a body if no task is waiting", async () => {
  await using broker = await testBroker()
  const answer = await broker.call("GET", "/get")
  expect([answer.status, await answer.text()]).toEqual([204, ""])
})

test("an ack without a status means done", async () => {
  await using broker = await testBroker()
  const id = await submit(broker)
  await get(broker)
  expect(await ack(broker, id)).toEqual([200, { status: "acknowledged", task_id: id }])
})

test("an ack without a lease works only while the task is leased", async () => {
  await using broker = await testBroker()
  const id = await submit(broker)
  expect(await ack(broker, id)).toMatchObject([409, { code: "not_leased", error: expect.any(String) }])
  await get(broker)
  expect(await ack(broker, id)).toMatchObject([200, { status: "acknowledged" }])
})

test("the queue is first in, first out, and a failed task goes to its end", async () => {
  await using broker = await testBroker()
  const ids = [await submit(broker), await submit(broker), await submit(broker)]
  expect((await get(broker)).id).toBe(ids[0])
  expect(await ack(broker, ids[0], "failed")).toEqual([
    200,
    { status: "requeued", task_id: ids[0]!, retries: 1 },
  ])
  const order = [await get(broker), await get(broker), await get(broker)]
  expect(order.map(task => task.id)).toEqual([ids[1], ids[2], ids[0]])
  expect(order.map(task => task.retries)).toEqual([0, 0, 1])
})

test("max_retries 3 means four attempts without a delay, and then the dead-letter queue", async () => {
  await using broker = await testBroker()
  const id = await submit(broker, { max_retries: 3 })
  const words = []
  for (let attempt = 1; attempt <= 4; attempt++) {
    expect((await get(broker)).retries).toBe(attempt - 1)
    words.push((await ack(broker, id, "failed"))[1])
  }
  expect(words).toEqual([
    ...[1, 2, 3].map(retries => ({ status: "requeued", task_id: id, retries })),
    { status: "moved_to_dlq", task_id: id, retries: 4 },
  ])
  expect((await broker.call("GET", "/get")).status).toBe(204)
  expect(await status(broker, id)).toMatchObject([200, { status: "dead", retries: 4 }])
})

test("the dead-letter queue lists its tasks and size, and retrying a task resets its retries to 0", async () => {
  await using broker = await testBroker()
  expect(await json(broker.call("GET", "/dlq"))).toEqual([200, { dlq_size: 0, tasks: [] }])
  const id = await submit(broker, { max_retries: 0, payload: [1] })
  await get(broker)
  await ack(broker, id, "failed")
  expect(await json(broker.call("GET", "/dlq"))).toMatchObject([
    200,
    {
      dlq_size: 1,
      tasks: [{ id, type: "a", payload: [1], status: "dead", retries: 1, max_retries: 0 }],
    },
  ])
  const retry = () => json(broker.call("POST", `/dlq/retry/${id}`))
  expect(await retry()).toEqual([200, { status: "requeued_from_dlq", task_id: id }])
  expect(await json(broker.call("GET", "/dlq"))).toEqual([200, { dlq_size: 0, tasks: [] }])
  expect(await retry()).toMatchObject([404, { error: "Task not found in DLQ" }])
  expect(await get(broker)).toMatchObject({ id, retries: 0 })
})

test("unknown tasks and invalid requests get the status and the text of the contract", async () => {
  await using broker = await testBroker()
  const unknown = crypto.randomUUID()
  expect(await status(broker, unknown)).toMatchObject([404, { error: "Task not found" }])
  expect(await json(broker.call("POST", `/dlq/retry/${unknown}`))).toMatchObject([
    404,
    { error: "Task not found in DLQ" },
  ])
  expect(await ack(broker, unknown)).toMatchObject([404, { error: "Task not found" }])
  expect(await json(broker.call("POST", "/submit", { payload: {} }))).toMatchObject([
    400,
    { error: expect.stringContaining("type") },
  ])
  expect(await json(broker.call("POST", "/ack", { status: "done" }))).toMatchObject([
    400,
    { error: expect.stringContaining("task_id") },
  ])
  const id = await submit(broker)
  await get(broker)
  expect(await ack(broker, id, "finished")).toMatchObject([400, { error: expect.stringContaining("status") }])
  expect(await status(broker, id)).toMatchObject([200, { status: "processing" }])
})

test("a lapsed lease is handed out again", async () => {
  const { socket } = await sharedRedis()
  await using broker = await testBroker({}, socket)
  await using direct = new DirectQueue(socket, "default")
  const id = await submit(broker)
  await get(broker)
  expect((await broker.call("GET", "/get")).status).toBe(204)
  await direct.lapse(id)
  expect(await get(broker)).toMatchObject({ id, retries: 0 })
})

const ROUTES = [
  ["POST", "/submit"],
  ["GET", "/get"],
  ["POST", "/lease"],
  ["POST", "/ack"],
  ["POST", "/extend"],
  ["GET", "/status/x"],
  ["GET", "/dlq"],
  ["POST", "/dlq/retry/x"],
  ["GET", "/no-such-route"],
] as const

test.each(ROUTES)(
  "%s %s without a valid token is Unauthorized, before the body is read",
  async (method, path) => {
    await using broker = await testBroker()
    const id = await submit(broker)
    const wrong: Record<string, string>[] = [
      { "x-api-token": "" },
      { "x-api-token": "wrong" },
      { "x-api-token": TOKEN.slice(1) },
      { "x-api-token": `${TOKEN}x` },
      { "x-api-token": "wrong", authorization: `Bearer ${TOKEN}` },
      { "x-api-token": "", authorization: "Bearer " },
    ]
    for (const headers of wrong) {
      const body = method === "POST" ? "{not json" : undefined
      const answer = await broker.call(method, path, body, {
        headers: { ...headers, "content-type": "text/plain" },
      })
      expect(await json(answer)).toMatchObject([401, { error: "Unauthorized", code: "unauthorized" }])
    }
    const none = await fetch(broker.url + path, {
      method,
      ...(method === "POST" ? { body: "{not json" } : {}),
    })
    expect(await json(none)).toMatchObject([401, { error: "Unauthorized" }])
    expect(await status(broker, id)).toMatchObject([200, { status: "queued" }])
  },
)

test("the token is also accepted as Authorization: Bearer", async () => {
  await using broker = await testBroker()
  for (const scheme of ["Bearer", "bearer"]) {
    const answer = await fetch(`${broker.url}/dlq`, { headers: { authorization: `${scheme} ${TOKEN}` } })
    expect(answer.status).toBe(200)
  }
})

test("/healthz and /readyz need no token", async () => {
  await using broker = await testBroker()
  expect((await fetch(`${broker.url}/healthz`)).status).toBe(200)
  expect(await json(fetch(`${broker.url}/readyz`))).toMatchObject([
    200,
    { status: "ready", durability: "none", maxmemory_policy: "noeviction" },
  ])
})

test("HEAD does not run the handler of GET, so it leases no task", async () => {
  await using broker = await testBroker()
  const id = await submit(broker)
  await broker.call("HEAD", "/get")
  expect(await status(broker, id)).toMatchObject([200, { status: "queued", attempt: 0 }])
})

/** Runs a client program against this broker and returns its exit code and output. */
async function run(broker: TestBroker, command: string[]) {
  if (Bun.which(command[0]!) === null)
    throw new Error(
      `${command[0]} is needed to run the clients of the contract: apt-get install ${command[0]}`,
    )
  const child = Bun.spawn(command, {
    cwd: clients,
    env: { ...process.env, BROKER_URL: broker.url, API_SECRET_TOKEN: TOKEN },
    stdio: ["ignore", "pipe", "pipe"],
  })
  const [code, out, errors] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()])
  return { code, out, errors }
}

test.each([
  ["", 30_000],
  [", including a lapsed lease", 700],
])(
  "a Python client of the original system finds the contract unchanged%s",
  async (_, visibilityTimeoutMs) => {
    await using broker = await testBroker({ visibilityTimeoutMs })
    const short = visibilityTimeoutMs < 1_000 ? ["--visibility", `${visibilityTimeoutMs / 1_000}`] : []
    const ended = await run(broker, ["python3", "contract.py", ...short])
    expect(ended).toEqual({ code: 0, out: "contract kept\n", errors: "" })
  },
)

test("a Python worker of the original system completes its tasks, and the failing one goes to the dead-letter queue", async () => {
  await using broker = await testBroker()
  const good = [await submit(broker), await submit(broker, { payload: { n: 1 } })]
  const bad = await submit(broker, { type: "fail", max_retries: 1 })
  const ended = await run(broker, ["python3", "worker.py", "--tasks", "4", "--pause", "0.05"])
  expect(ended).toMatchObject({ code: 0, errors: "" })
  for (const id of good) expect(await status(broker, id)).toMatchObject([200, { status: "done" }])
  expect(await status(broker, bad)).toMatchObject([200, { status: "dead", retries: 2 }])
})

test("a bash worker of fifteen lines waits for tasks and completes them", async () => {
  await using broker = await testBroker()
  const first = await submit(broker, { payload: { text: "loud" } })
  const running = run(broker, ["bash", "worker.sh", "2"])
  await until("the first is done", async () => (await status(broker, first))[1].status === "done")
  await until("the worker waits", () => broker.queue.waiting === 1)
  const second = await submit(broker, { payload: { text: "louder" } })
  expect(await running).toMatchObject({ code: 0, errors: "" })
  expect(await status(broker, first)).toMatchObject([200, { result: "LOUD" }])
  expect(await status(broker, second)).toMatchObject([200, { status: "done", result: "LOUDER" }])
})
