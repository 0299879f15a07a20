/** Tokens: their configuration, and which routes and queues they give access to. */
import { expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createBroker } from "../../broker.ts"
import { readBrokerConfig } from "../../lib/config/config.ts"
import type { ConfigError, Env } from "../../lib/config/reader.ts"
import { hashOf, ROLES, type Role } from "../../lib/config/tokens.ts"
import { ACCESS } from "../../lib/http/access.ts"
import { createLog, type Fields } from "../../lib/log.ts"
import type { TaskQueue } from "../../lib/queue/task-queue.ts"
import { freshName, type TestBroker, TOKEN, testBroker, testConfig } from "../support/harness.ts"
import { brokerProcess, listening, workerProcess } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

const REDIS = { REDIS_URL: "redis://h" }
const tokensOf = (env: Env) => readBrokerConfig({ ...REDIS, ...env }).tokens
const secretOf = (name: string) => `the-secret-token-of-${name}`

function problems(env: Env): readonly string[] {
  try {
    readBrokerConfig({ ...REDIS, ...env })
    return []
  } catch (error) {
    return (error as ConfigError).problems
  }
}

test("a token has a name, roles and optional queues, and is kept only as a hash", () => {
  const text = `ci:submit@emails+reports:${secretOf("ci")}, ops:operate+read:sha256:${hashOf(secretOf("ops")).toUpperCase()}`
  const tokens = tokensOf({ API_TOKENS: text })
  expect(tokens).toEqual([
    { name: "ci", roles: ["submit"], queues: ["emails", "reports"], hash: hashOf(secretOf("ci")) },
    { name: "ops", roles: ["operate", "read"], queues: undefined, hash: hashOf(secretOf("ops")) },
  ])
  expect(JSON.stringify(tokens)).not.toContain("the-secret-token")
})

test("a token may contain colons, at signs and plus signs", () => {
  const [token] = tokensOf({ API_TOKENS: "a:work:b:c@d+e:f@emails-16" })
  expect(token).toMatchObject({ queues: undefined, hash: hashOf("b:c@d+e:f@emails-16") })
})

test("tokens may be in a file, one per line, with comments", async () => {
  const path = join(await mkdtemp(join(tmpdir(), "tq-tokens-")), "tokens")
  await Bun.write(
    path,
    `# the old one, until Friday\nci:submit:${secretOf("a")}\n\n  ci:submit:${secretOf("b")}\n`,
  )
  expect(tokensOf({ API_TOKENS_FILE: path }).map(({ name, hash }) => [name, hash])).toEqual([
    ["ci", hashOf(secretOf("a"))],
    ["ci", hashOf(secretOf("b"))],
  ])
  await Bun.write(path, "# nothing\n")
  expect(problems({ API_TOKENS_FILE: path })).toEqual([expect.stringContaining("it contains no entry")])
  await rm(join(path, ".."), { recursive: true })
  expect(problems({ API_TOKENS_FILE: path })[0]).toBe(
    "the file that API_TOKENS_FILE names cannot be read: ENOENT",
  )
  expect(problems({ API_TOKENS_FILE: path, API_TOKENS: "x" })).toContain(
    "API_TOKENS and API_TOKENS_FILE are both set: set only one of them",
  )
})

test("invalid entries are reported in one line, by position and without their tokens", () => {
  const secret = "s3cret-s3cret-s3cret"
  const entries = [
    secret,
    `ci:${secret}`,
    `c i:submit`, // two entries, because white space separates them
    `ci:sbmit:${secret}`,
    `ci:submit@e/mails:${secret}`,
    `ci:submit@:${secret}`,
    "ci:submit:s3cret",
    `ci:submit:sha256:${secret}`,
    `ci:submit:${secret}`,
    `ops:read:${secret}`,
    `root:work:${TOKEN}`,
  ]
  const found = problems({ API_SECRET_TOKEN: TOKEN, API_TOKENS: entries.join() })
  expect(found).toHaveLength(1)
  expect(found[0]).toStartWith("API_TOKENS must contain entries name:role+role:token")
  expect(found[0]).not.toContain("s3cret")
  expect(found[0]!.slice(found[0]!.indexOf("entry 1")).split("; ")).toEqual([
    ...[1, 2, 3].map(place => `entry ${place} does not have this form`),
    "entry 4 does not have this form",
    "entry 5 has a role other than submit, work, operate, read, watch",
    ...["entry 6 does not have this form", "entry 7 does not have this form"],
    ...[8, 9].map(
      place =>
        `entry ${place} must end in a token of at least 16 characters, or in sha256: and 64 hex digits`,
    ),
    "entry 11 has the same token as entry 10",
    "entry 12 has the same token as API_SECRET_TOKEN",
  ])
})

test("an external Redis requires API_SECRET_TOKEN or API_TOKENS", () => {
  expect(problems({})).toHaveLength(1)
  expect(problems({ API_TOKENS: `ci:submit:${secretOf("ci")}` })).toEqual([])
})

/** A broker with one token per role, and one token with all roles that is bound to two queues. */
async function brokerFor(queue: string, log = createLog("silent")): Promise<TestBroker> {
  const roles = ROLES.map(role => `${role}er:${role}:${secretOf(role)}`)
  const bound = `bound:${ROLES.join("+")}@${queue}+${queue}.2:${secretOf("bound")}`
  return testBroker({ tokens: tokensOf({ API_TOKENS: [...roles, bound].join() }) }, undefined, log)
}

const as = (name: string) => ({ headers: { "x-api-token": secretOf(name) } })

test("the access table has exactly the routes of the app", () => {
  const { routes } = createBroker({} as TaskQueue, testConfig(), TOKEN, createLog("silent"))
  const names = routes.map(({ method, path }) => `${method} ${path}`)
  expect(names.filter(name => !/\/(swagger|dashboard|$)/.test(name)).sort()).toEqual(
    Object.keys(ACCESS).sort(),
  )
})

test.each(Object.entries<readonly Role[]>(ACCESS))(
  "%s requires one of the roles in the table",
  async (route, roles) => {
    await using broker = await brokerFor("none")
    const [method, path] = route.replace(":id", "no-such-task").split(" ") as [string, string]
    const ask = (init: RequestInit) =>
      // An invalid query and body, so that an allowed request does nothing, such as leasing a task.
      broker.call(method, `${path}?no-such-member=1`, method === "POST" ? "{" : undefined, init)
    for (const role of ROLES) {
      const answer = await ask(as(role))
      const text = await answer.text()
      const { code, detail } = (text.startsWith("{") ? JSON.parse(text) : {}) as Record<string, string>
      const forbidden = roles.length > 0 && !roles.includes(role)
      expect([role, code === "forbidden", answer.status === 403]).toEqual([role, forbidden, forbidden])
      if (forbidden)
        expect(detail).toBe(
          `This request needs the role ${roles.join(" or ")}. The token ${role}er has only the role ${role}.`,
        )
    }
    expect((await ask({})).status).not.toBe(403)
  },
)

test("the role is checked before the body is read", async () => {
  await using broker = await brokerFor("none")
  const answer = await broker.call("POST", "/submit", "{not json", {
    headers: { ...as("read").headers, "content-type": "text/plain" },
  })
  expect(answer.status).toBe(403)
})

test("two tokens with the same name are both valid until one is removed", async () => {
  const API_TOKENS = `ci:read:${secretOf("old")},ci:read:${secretOf("new")}`
  await using broker = await testBroker({ tokens: tokensOf({ API_TOKENS }) })
  for (const name of ["old", "new"])
    expect((await broker.call("GET", "/dlq", undefined, as(name))).status).toBe(200)
  await using later = await testBroker({ tokens: tokensOf({ API_TOKENS: API_TOKENS.split(",")[1] }) })
  expect((await later.call("GET", "/dlq", undefined, as("old"))).status).toBe(401)
  expect((await later.call("GET", "/dlq", undefined, as("new"))).status).toBe(200)
})

test("without API_SECRET_TOKEN no token has all roles", async () => {
  const app = createBroker(
    {} as TaskQueue,
    testConfig({ tokens: tokensOf({ API_TOKENS: `ci:read:${secretOf("ci")}` }) }),
    undefined,
    createLog("silent"),
  )
  for (const token of ["", "undefined", TOKEN]) {
    const request = new Request("http://h/dlq", { headers: { "x-api-token": token } })
    expect((await app.handle(request)).status).toBe(401)
  }
})

/** The members that the answers in this file may have. */
interface Answer extends Array<{ status?: string; code?: string; detail?: string }> {
  tasks: { id: string; lease: string; queue: string }[]
  dlq_size: number
  groups: { count: number }[]
  queues: { queue: string }[]
  purged: number
  requeued: number
}

/** The answer to a request with the bound token. */
async function bound(broker: TestBroker, method: string, path: string, body?: unknown) {
  const answer = await broker.call(method, path, body, as("bound"))
  return { status: answer.status, body: answer.status === 204 ? undefined : await answer.json() } as {
    status: number
    body: Answer
  }
}
const FORBIDDEN = { status: 403, body: { code: "forbidden" } }

test("a bound token submits, leases, extends and acks only in its queues, and each item of a batch is checked independently", async () => {
  const [mine, other] = [freshName(), freshName()]
  await using broker = await brokerFor(mine)
  const submit = await bound(broker, "POST", "/submit", [
    { type: "a", queue: mine },
    { type: "a", queue: other },
    { queue: mine },
    { type: "a" },
    { type: "a", queue: `${mine}.2` },
  ])
  expect(submit.body.map(item => item.code ?? item.status)).toEqual([
    "queued",
    "forbidden",
    "bad_request",
    "forbidden",
    "queued",
  ])
  expect(submit.body[1]!.detail).toBe(
    `This request concerns the queue ${other}. The token bound is bound to the queues ${mine} and ${mine}.2.`,
  )
  expect(await bound(broker, "POST", "/submit", { type: "a", queue: other })).toMatchObject(FORBIDDEN)

  await broker.call("POST", "/submit", { type: "a", queue: other })
  const held = await (await broker.call("POST", "/lease", { queues: [other] })).json()
  const { id, lease } = (held as Answer).tasks[0]!
  for (const [path, body] of [
    ["/lease", {}],
    ["/lease", { queues: [mine, other] }],
    ["/work", { queues: [other], max: 1 }],
    ["/work", { max: 1 }],
    ["/ack", { task_id: id, lease }],
    ["/ack", { task_id: "without-a-queue" }],
    ["/extend", { task_id: id, lease }],
  ] as const)
    expect(await bound(broker, "POST", path, body), path).toMatchObject(FORBIDDEN)
  expect(await bound(broker, "GET", "/get")).toMatchObject(FORBIDDEN)
  expect(await bound(broker, "GET", `/get?queue=${mine},${other}`)).toMatchObject(FORBIDDEN)

  const own = (await bound(broker, "POST", "/lease", { queues: [mine] })).body.tasks[0]!
  const ack = { task_id: own.id, lease: own.lease }
  const work = await bound(broker, "POST", "/work", {
    extend: [{ task_id: id, lease }, ack],
    settle: [{ task_id: id, lease }, ack],
    queues: [`${mine}.2`],
    max: 1,
  })
  expect(work).toMatchObject({
    status: 200,
    body: {
      extended: [{ code: "forbidden" }, { status: "ok" }],
      settled: [{ code: "forbidden" }, { status: "acknowledged" }],
      lost: [],
      tasks: [{ queue: `${mine}.2` }],
    },
  })
  // The task in the other queue has not changed.
  expect(await (await broker.call("GET", `/status/${id}`)).json()).toMatchObject({ status: "processing" })
})

test("a bound token inspects, cancels, retries, audits and lists only its queues", async () => {
  const [mine, other] = [freshName(), freshName()]
  await using broker = await brokerFor(mine)
  const kill = async (queue: string) => {
    await broker.call("POST", "/submit", { type: "a", queue, max_retries: 0 })
    const { id } = (await (await broker.call("GET", `/get?queue=${queue}`)).json()) as { id: string }
    await broker.call("POST", "/ack", { task_id: id, status: "failed" })
    return id
  }
  const [own, second, foreign] = [await kill(mine), await kill(`${mine}.2`), await kill(other)]
  for (const [method, path] of [
    ["GET", `/status/${foreign}`],
    ["GET", `/why/${foreign}`],
    ["POST", `/cancel/${foreign}`],
    ["POST", `/dlq/retry/${foreign}`],
    ["GET", `/dlq?queue=${other}`],
    ["GET", `/tasks?state=dead&queue=${other}`],
    ["DELETE", `/dlq/${foreign}`],
    ["GET", `/dlq/groups?queue=${other}`],
    ["GET", `/queues/${other}`],
    ["POST", `/queues/${other}/pause`],
    ["POST", `/queues/${other}/resume`],
    ["PUT", `/queues/${other}/settings`],
    ["POST", `/queues/${other}/purge`],
    ["GET", `/workers?queue=${other}`],
    ["POST", `/audit?queue=${other}`],
    ["POST", "/audit"],
  ] as const)
    expect(await bound(broker, method, path), path).toMatchObject(FORBIDDEN)

  const ids = async (path: string) => (await bound(broker, "GET", path)).body.tasks.map(task => task.id)
  expect(await ids("/dlq")).toEqual([own, second])
  expect((await bound(broker, "GET", "/dlq")).body.dlq_size).toBe(2)
  expect(await ids("/tasks?state=dead")).toEqual([own, second])
  expect(await ids(`/dlq?queue=${mine}`)).toEqual([own])
  // The cursor of another token reveals no other queue.
  const { next } = (await (await broker.call("GET", "/tasks?state=dead&limit=1")).json()) as { next: string }
  for (const id of await ids(`/tasks?state=dead&cursor=${next}`)) expect([own, second]).toContain(id)

  for (const path of ["/dlq/retry", "/dlq/purge"])
    expect(await bound(broker, "POST", path, { queue: other, dry_run: true }), path).toMatchObject(FORBIDDEN)
  const { groups } = (await bound(broker, "GET", "/dlq/groups")).body
  expect(groups.reduce((sum, { count }) => sum + count, 0)).toBe(2)
  expect((await bound(broker, "POST", "/dlq/purge", { dry_run: true })).body.purged).toBe(2)
  expect((await bound(broker, "POST", "/dlq/retry", { dry_run: true })).body.requeued).toBe(2)
  const { queues } = (await bound(broker, "GET", "/queues")).body
  expect(queues.map(({ queue }) => queue)).toEqual([mine, `${mine}.2`])
  expect((await bound(broker, "GET", `/queues?cursor=${mine}&limit=1`)).body.queues).toHaveLength(1)

  expect(await bound(broker, "GET", `/status/${own}`)).toMatchObject({ status: 200 })
  expect(await bound(broker, "GET", `/why/${own}`)).toMatchObject({ status: 200 })
  expect(await bound(broker, "POST", `/dlq/retry/${own}`)).toMatchObject({ status: 200 })
  expect(await bound(broker, "POST", `/cancel/${own}`)).toMatchObject({ status: 200 })
  expect(await bound(broker, "POST", `/audit?queue=${mine}`)).toMatchObject({ status: 200 })
})

test("the log names the token behind every operator action, and never contains its secret", async () => {
  const lines: Fields[] = []
  const log = createLog("info", line => void lines.push(JSON.parse(line)), false)
  const queue = freshName()
  await using broker = await brokerFor(queue, log)
  await broker.call("POST", "/submit", { type: "a", queue, max_retries: 0 })
  const { id } = (await (await broker.call("GET", `/get?queue=${queue}`)).json()) as { id: string }
  await broker.call("POST", "/ack", { task_id: id, status: "failed" })
  await broker.call("POST", `/dlq/retry/${id}`, undefined, as("operate"))
  await broker.call("POST", `/cancel/${id}`)
  await broker.call("POST", `/cancel/${id}x`) // refused, so not logged
  await broker.call("POST", `/audit?queue=${queue}`, undefined, as("bound"))
  const ask = async (method: string, path: string, body?: object) =>
    expect((await broker.call(method, path, body, as("bound"))).status, path).toBe(200)
  await ask("POST", `/queues/${queue}/pause`, { reason: "a move" })
  await ask("POST", `/queues/${queue}/resume`)
  await ask("PUT", `/queues/${queue}/settings`, { concurrency: 3 })
  await ask("POST", `/queues/${queue}/purge`, { state: "cancelled", dry_run: true })
  await ask("POST", `/queues/${queue}/purge`, { state: "cancelled" })
  const dead: string[] = []
  for (let i = 0; i < 2; i++) {
    await broker.call("POST", "/submit", { type: "a", queue, max_retries: 0 })
    const got = (await (await broker.call("GET", `/get?queue=${queue}`)).json()) as { id: string }
    await broker.call("POST", "/ack", { task_id: got.id, status: "failed" })
    dead.push(got.id)
  }
  await ask("DELETE", `/dlq/${dead[0]}`)
  await ask("POST", "/dlq/retry", { dry_run: true })
  await ask("POST", "/dlq/purge", { queue, dry_run: true })
  await ask("POST", "/dlq/retry", { queue, limit: 1 })
  await ask("POST", "/dlq/purge", {})
  await ask("POST", "/lease", { queues: [queue], worker: "w" })
  await ask("POST", "/workers/w/drain")
  await ask("DELETE", "/workers/w/drain")
  for (const { request_id } of lines) expect(request_id).toBeString()
  const failures = { queue, reason: "failed", retries: 1, by: "API_SECRET_TOKEN" }
  const limit = { limit: 100, by: "bound" }
  expect(lines.map(({ time: _, level: __, request_id: ___, ...line }) => line)).toEqual([
    { message: "A task is dead", task_id: id, ...failures },
    { message: "A dead task was retried", task_id: id, by: "operateer" },
    {
      message: "The cancellation of a task was requested",
      task_id: id,
      status: "cancelled",
      by: "API_SECRET_TOKEN",
    },
    { message: "An audit was requested", queue, fix: false, by: "bound" },
    { message: "A queue was paused", queue, reason: "a move", by: "bound" },
    { message: "A queue was resumed", queue, by: "bound" },
    {
      message: "The settings of a queue were changed",
      queue,
      before: {},
      after: { concurrency: 3 },
      by: "bound",
    },
    { message: "Purging a queue was requested", queue, state: "cancelled", ...limit, limit: 1_000 },
    {
      message: "A queue was purged",
      queue,
      state: "cancelled",
      ...limit,
      limit: 1_000,
      purged: 1,
      remaining: 0,
    },
    ...dead.map(task_id => ({ message: "A task is dead", task_id, ...failures })),
    { message: "A dead task was deleted", task_id: dead[0], by: "bound" },
    { message: "Retrying dead tasks was requested", queue, ...limit, limit: 1 },
    { message: "Dead tasks were retried", queue, requeued: 1, skipped: 0, ...limit, limit: 1 },
    { message: "Deleting dead tasks was requested", ...limit },
    { message: "Dead tasks were deleted", purged: 0, ...limit },
    { message: "A worker was told to drain", worker: "w", by: "bound" },
    { message: "The drain of a worker was cancelled", worker: "w", by: "bound" },
  ])
  expect(JSON.stringify(lines)).not.toContain("the-secret-token")
})

test("a broker starts with only API_TOKENS, and a worker with the role work processes its tasks", async () => {
  await using redis = await testRedis()
  const API_TOKENS = `ci:submit@mail:${secretOf("ci")} mailer:work@mail:sha256:${hashOf(secretOf("mailer"))}`
  const process = brokerProcess({ REDIS_URL: redis.socket, HOST: "127.0.0.1", PORT: "0", API_TOKENS })
  await using broker = await listening(process, secretOf("ci"))
  const { task_id } = await broker.client.submit({ type: "add", payload: [1, 2], queue: "mail" })
  await using worker = workerProcess({
    BROKER_URL: broker.url,
    API_SECRET_TOKEN: secretOf("mailer"),
    QUEUES: "mail",
  })
  await worker.logged("The worker is ready")
  expect(await broker.client.status(task_id, { wait_ms: 10_000 })).toMatchObject({
    status: "done",
    result: 3,
  })
  expect(process.stdout + process.stderr).not.toContain("the-secret-token")
})
