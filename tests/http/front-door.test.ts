/** What every request passes: routes and methods, the reasons for 401, and the reading of bodies. */
import { expect, test } from "bun:test"
import { Elysia } from "elysia"
import { bodyReader } from "../../lib/http/body.ts"
import { methodFinder } from "../../lib/http/front-door.ts"
import { freshName, testBroker } from "../support/harness.ts"
import { answered, post, problem, submitted } from "../support/requests.ts"

const ANONYMOUS = { headers: { "x-api-token": "" } }
const WRONG = { headers: { "x-api-token": "a-token-that-is-wrong" } }

test("GET / redirects to the dashboard without a token", async () => {
  await using broker = await testBroker()
  const answer = await fetch(`${broker.url}/`, { redirect: "manual" })
  expect([answer.status, answer.headers.get("location")]).toEqual([302, "dashboard"])
  expect((await fetch(`${broker.url}/`)).headers.get("content-type")).toStartWith("text/html")
})

test.each([
  ["GET", "/submit", "POST"],
  ["PUT", "/submit", "POST"],
  ["POST", "/get", "GET"],
  ["OPTIONS", "/work", "POST"],
  ["DELETE", "/status/x", "GET"],
  ["GET", "/dlq/retry/x", "POST"],
  ["PUT", "/dlq/retry", "POST, DELETE"],
  ["GET", "/workers/w/drain", "POST, DELETE"],
  ["DELETE", "/queues/q/settings", "PUT"],
  ["POST", "/", "GET"],
  ["HEAD", "/submit", "POST"],
  ["HEAD", "/get", "GET"],
  ["HEAD", "/status/x", "GET"],
])("%s %s is 405 and allows %s, but 401 without a valid token", async (method, path, allow) => {
  await using broker = await testBroker()
  const answer = await broker.call(method, path)
  expect([answer.status, answer.headers.get("allow")]).toEqual([405, allow])
  if (method !== "HEAD") expect(await problem(answer)).toMatchObject({ code: "method_not_allowed" })
  for (const init of [ANONYMOUS, WRONG]) {
    const refused = await broker.call(method, path, undefined, init)
    const status = path === "/" ? 405 : 401
    expect([refused.status, refused.headers.get("allow")]).toEqual([status, status === 405 ? allow : null])
  }
})

test("HEAD of a public page is answered, and HEAD of /get leases nothing", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  await submitted(broker, { type: "a", queue })
  expect((await fetch(`${broker.url}/healthz`, { method: "HEAD" })).status).toBe(200)
  expect((await broker.call("HEAD", `/get?queue=${queue}`)).status).toBe(405)
  expect((await broker.call("GET", `/get?queue=${queue}`)).status).toBe(200)
})

test("a public path has its methods without a token", async () => {
  await using broker = await testBroker()
  const answer = await fetch(`${broker.url}/healthz`, { method: "POST" })
  expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET"])
  expect(await problem(answer)).toMatchObject({ code: "method_not_allowed", status: 405 })
})

test("methods are found by whole segments", () => {
  const methods = methodFinder([
    { method: "GET", path: "/a/:id" },
    { method: "POST", path: "/a/:id/b" },
    { method: "GET", path: "/files/*" },
  ])
  expect(methods("/a/x")).toEqual(["GET"])
  expect(methods("/a/x/b/")).toEqual(["POST"])
  expect(methods("/a/x/c")).toEqual([])
  expect(methods("/a/")).toEqual([])
  expect(methods("/files/x/y.js")).toEqual(["GET"])
})

test("401 says whether the token is missing or wrong, or the session has expired", async () => {
  await using broker = await testBroker()
  const detail = async (headers: Record<string, string>) => {
    const found = await problem(fetch(`${broker.url}/queues`, { headers }))
    expect(found).toMatchObject({ status: 401, error: "Unauthorized", code: "unauthorized" })
    return String(found.detail)
  }
  expect(await detail({})).toContain("has no token")
  expect(await detail({ "x-api-token": "wrong" })).toContain("does not know this token")
  expect(await detail({ authorization: "Bearer wrong" })).toContain("does not know this token")
  expect(await detail({ cookie: "tq_session=abc.def" })).toContain("expired or is invalid")
})

test("a failed task that waits is retrying, with and without a backoff, and counts as queued", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  const ids = [
    await submitted(broker, { type: "a", queue }),
    await submitted(broker, {
      type: "a",
      queue,
      backoff: { kind: "fixed", delay_ms: 60_000, jitter: false },
    }),
    await submitted(broker, { type: "a", queue }),
  ]
  const status = async (id: string) => (await answered(broker.call("GET", `/status/${id}`))).status
  expect(await status(ids[0]!)).toBe("queued")
  const { tasks } = (await answered(post(broker, "/lease", { queues: [queue], max: 2 }))) as {
    tasks: { id: string; lease: string }[]
  }
  for (const { id, lease } of tasks) await post(broker, "/ack", { task_id: id, lease, status: "failed" })
  expect(await Promise.all(ids.map(status))).toEqual(["retrying", "retrying", "queued"])

  const list = async (path: string) =>
    ((await answered(broker.call("GET", path))).tasks as { id: string; status: string }[]).map(
      task => [task.id, task.status] as const,
    )
  expect((await list(`/tasks?state=queued&queue=${queue}`)).toSorted()).toEqual(
    [[ids[0]!, "retrying"] as const, [ids[2]!, "queued"] as const].toSorted(),
  )
  expect(await answered(broker.call("GET", `/why/${ids[0]}`))).toMatchObject({ state: "retrying" })
  expect(await answered(broker.call("GET", `/queues/${queue}`))).toMatchObject({
    depth: { queued: 2, delayed: 1 },
  })
})

test("the client gets all faults of a body, including those of combined members", async () => {
  await using broker = await testBroker()
  const schema = await problem(post(broker, "/submit", { type: "", priority: 10, maxRetries: 1 }))
  expect(schema.error).toBe((schema.errors as { detail: string }[])[0]!.detail)
  expect((schema.errors as { field: string }[]).map(({ field }) => field).sort()).toEqual([
    "maxRetries",
    "priority",
    "type",
  ])
  const together = { type: "a", delay_ms: 1, run_at: 1_000_000_000_000, on_duplicate: "keep" }
  expect(await problem(post(broker, "/submit", together))).toMatchObject({
    field: "delay_ms",
    errors: [{ field: "delay_ms" }, { field: "on_duplicate" }],
  })
  const ack = { task_id: "a", status: "released", result: 1, error: "e", retry: true }
  expect(await problem(post(broker, "/ack", ack))).toMatchObject({
    errors: [{ field: "result" }, { field: "retry" }],
  })
})

test("only a single submit that repeats another has the header Idempotency-Replayed", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  const submit = (body: unknown, key: string) =>
    post(broker, "/submit", body, { "idempotency-key": `${queue}-${key}` })
  const header = async (body: unknown, key: string) =>
    (await submit(body, key)).headers.get("idempotency-replayed")
  const task = { type: "a", queue, payload: { replayed: true } }
  expect(await header(task, "one")).toBeNull()
  expect(await header(task, "one")).toBe("true")
  expect(await header([task], "many")).toBeNull()
  expect(await header([task], "many")).toBeNull()
})

test('with `parse: "none"` Elysia leaves the body to a handler that names it', async () => {
  const read = bodyReader(1_024)
  const named = ({ request, body }: { request: Request; body: unknown }) =>
    read(request).then(({ text }) => Response.json({ text, parsed: body !== undefined }))
  const app = new Elysia().post("/ours", named, { parse: "none" }).post("/theirs", named)
  const send = async (path: string) => {
    const init = { method: "POST", body: '{"a":1}', headers: { "content-type": "application/json" } }
    return (await app.handle(new Request(`http://localhost${path}`, init))).text()
  }
  expect(JSON.parse(await send("/ours"))).toEqual({ text: '{"a":1}', parsed: false })
  // Without the option the body has already been read, so this test notices if the option loses its effect.
  expect(await send("/theirs")).not.toContain("text")
})
