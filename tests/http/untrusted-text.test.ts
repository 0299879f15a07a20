/** Untrusted text is displayed harmlessly: HTML, scripts, terminal escapes, bidirectional marks, a megabyte. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { Client } from "../../lib/client.ts"
import { createLog } from "../../lib/log.ts"
import { renderScreen, type ScreenState } from "../../lib/process/top-screen.ts"
import { TaskRunner } from "../../lib/worker/task-runner.ts"
import { freshName, type TestBroker, TOKEN, testBroker, until } from "../support/harness.ts"
import { sharedRedis } from "../support/redis.ts"

const HOSTILE =
  "</pre><script>alert(1)</script>\"'\\\x1b[2J\x1b]0;owned\x07\r\n\u009b31m\u202etxt\u2066\u2028\0\x7f"
const MEGABYTE = `${HOSTILE}${"x".repeat(1_000_000)}`

/** Characters that a terminal interprets: control characters and bidirectional marks. */
const OBEYED = /[[\p{Cc}--\n]\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/v

/** Every line that the broker logs, in both formats: JSON and terminal. */
function logs() {
  const lines: string[] = []
  const forms = [false, true].map(terminal => createLog("debug", line => lines.push(line), terminal))
  const at = (level: "debug" | "info" | "warn" | "error") => (message: string, fields?: object) => {
    for (const form of forms) form[level](message, fields as never)
  }
  return { lines, log: { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") } }
}

/** Each is one line of bounded length without special characters. Every second line is JSON. */
function expectHarmless(lines: readonly string[]): void {
  expect(lines.length).toBeGreaterThan(0)
  for (const [i, line] of lines.entries()) {
    expect(line).not.toMatch(OBEYED)
    expect(line).not.toContain("\n")
    expect(line.length).toBeLessThan(70_000)
    if (i % 2 === 0) expect(JSON.parse(line)).toMatchObject({ message: expect.any(String) })
  }
}

/** A paused queue with one dead task, in which every free text is hostile. */
async function poisoned(broker: TestBroker, text: string): Promise<{ queue: string; id: string }> {
  const queue = freshName()
  const short = text.slice(0, 100)
  const submit = { type: short, queue, payload: { [text]: text }, max_retries: 0, meta: { team: short } }
  const { task_id: id } = (await (await broker.call("POST", "/submit", submit)).json()) as { task_id: string }
  const { lease } = (await (await broker.call("GET", `/get?queue=${queue}`)).json()) as { lease: string }
  const extend = { task_id: id, lease, progress: short, checkpoint: short, log: [short] }
  expect((await broker.call("POST", "/extend", extend)).status).toBe(200)
  const ack = { task_id: id, lease, status: "failed", error: text.slice(0, 500_000) }
  expect((await broker.call("POST", "/ack", ack)).status).toBe(200)
  expect((await broker.call("POST", `/queues/${queue}/pause`, { reason: short })).status).toBe(200)
  return { queue, id }
}

async function hostileBroker(log = createLog("silent")): Promise<TestBroker> {
  return testBroker({ maxBodyBytes: 8_388_608 }, (await sharedRedis()).socket, log)
}

test("every answer with hostile text has a JSON media type and contains no control character", async () => {
  await using broker = await hostileBroker()
  for (const text of [HOSTILE, MEGABYTE]) {
    const { queue, id } = await poisoned(broker, text)
    const waits = await broker.call("POST", "/submit", { type: text.slice(0, 100), queue })
    const { task_id } = (await waits.json()) as { task_id: string }
    const paths = [
      ...[`/status/${id}`, `/why/${id}`, `/why/${task_id}`, `/tasks?state=dead&queue=${queue}`],
      ...[`/dlq?queue=${queue}`, `/dlq/groups?queue=${queue}`, "/queues", `/queues/${queue}`],
    ]
    for (const path of paths) {
      const answer = await broker.call("GET", path)
      expect([path, answer.status, answer.headers.get("content-type")]).toEqual([
        path,
        200,
        "application/json",
      ])
      expect(answer.headers.get("x-content-type-options")).toBe("nosniff")
      const body = await answer.text()
      expect([...body].filter(character => character < " ")).toEqual([])
      JSON.parse(body)
    }
    const task = (await (await broker.call("GET", `/status/${id}`)).json()) as Record<string, string>
    expect(task.payload as unknown).toEqual({ [text]: text })
    expect(text).toStartWith(task.error!.slice(0, 100))
    expect(task.error!.length).toBeLessThanOrEqual(8_192)
    const why = (await (await broker.call("GET", `/why/${task_id}`)).json()) as Record<string, string>
    expect(why).toMatchObject({ cause: "paused", pause_reason: text.slice(0, 100) })
  }
})

test("a refusal repeats nothing of a hostile request, wherever the text was", async () => {
  await using broker = await hostileBroker()
  const encoded = encodeURIComponent(HOSTILE.slice(0, 60))
  const answers = await Promise.all([
    ...["GET /status/", "GET /why/", "POST /cancel/", "GET /queues/", "GET /tasks?state=", "GET /"].map(
      route => broker.call(...(`${route}${encoded}`.split(" ") as [string, string])),
    ),
    broker.call("POST", "/submit", { type: "a", queue: HOSTILE }),
    broker.call("POST", "/submit", { type: "a", [HOSTILE]: 1 }),
    broker.call("POST", "/lease", { worker: HOSTILE }),
    broker.call("POST", "/lease", { queues: [MEGABYTE] }),
    broker.call("POST", "/submit", HOSTILE),
    broker.call("POST", "/submit", "{}", { headers: { "content-type": "<script>alert(1)</script>" } }),
    broker.call(
      "POST",
      "/submit",
      { type: "a" },
      { headers: { "x-api-token": "<script>alert(1)</script>" } },
    ),
  ])
  for (const answer of answers) {
    const text = await answer.text()
    expect([answer.status >= 400 && answer.status < 500, answer.status]).toEqual([true, answer.status])
    expect(answer.headers.get("content-type")).toBe("application/problem+json")
    expect(answer.headers.get("x-content-type-options")).toBe("nosniff")
    expect(text).not.toMatch(OBEYED)
    expect(text).not.toContain("<script>")
    expect(text.length).toBeLessThan(1_000)
  }
})

test("the log of a broker has one harmless line per event, in both formats", async () => {
  const { lines, log } = logs()
  await using broker = await hostileBroker(log)
  const { queue, id } = await poisoned(broker, HOSTILE)
  for (const [method, path, body] of [
    ["POST", `/dlq/retry/${id}`, undefined],
    ["POST", `/cancel/${id}`, undefined],
    ["POST", `/queues/${queue}/resume`, undefined],
    ["POST", "/dlq/retry", { queue, error: HOSTILE }],
    ["POST", "/dlq/purge", { queue, type: HOSTILE.slice(0, 100) }],
  ] as const)
    expect((await broker.call(method, path, body)).status).toBe(200)
  // An internal error may contain any text.
  broker.queue.parts.control.view = () => Promise.reject(new Error(MEGABYTE))
  const fault = await broker.call("GET", `/queues/${queue}`)
  expect([fault.status, (await fault.text()).includes("script")]).toEqual([500, false])
  expect(lines.join("\n")).toContain("<script>")
  expectHarmless(lines)
})

test("the log of a worker is harmless, whatever the types, errors and log lines of handlers contain", async () => {
  const { lines, log } = logs()
  await using broker = await hostileBroker()
  const queue = freshName()
  const type = HOSTILE.slice(0, 100)
  const worker = new TaskRunner({
    client: new Client({ url: broker.url, token: TOKEN }),
    log,
    name: "w",
    queues: [queue],
    concurrency: 5,
    drainMs: 0,
    waitMs: 50,
    handlers: new Map([
      [
        type,
        (_: unknown, context: { log(line: string): void }) => {
          context.log(HOSTILE)
          throw new Error(MEGABYTE)
        },
      ],
    ]) as never,
  })
  for (const of of [type, "<script>"])
    await broker.call("POST", "/submit", { type: of, queue, max_retries: 0 })
  const count = (message: string) => lines.filter(line => line.includes(message)).length
  // Each line is there in both formats.
  await until("both are logged", () => count("An attempt failed") === 2 && count("unknown type") === 2)
  expect(await worker.stop()).toBe(true)
  expectHarmless(lines)
})

test("/metrics contains no untrusted text but the names of queues as labels, however many there are", async () => {
  await using broker = await hostileBroker()
  const { queue } = await poisoned(broker, HOSTILE)
  const size = async () => {
    const lines = (await (await broker.call("GET", "/metrics")).text()).split("\n")
    return lines.filter(line => line.includes(`queue="${queue}"`)).length
  }
  const before = await size()
  const tasks = Array.from({ length: 200 }, (_, i) => ({ type: `${HOSTILE.slice(0, 80)}${i}`, queue }))
  await broker.call("POST", "/submit", tasks)
  for (const worker of ["a", "b", "c"]) await broker.call("POST", "/lease", { queues: [queue], worker })
  // After the second for which a page is cached.
  broker.queue.parts.counters.forQueue(queue).submitted++
  await until("a new page is made", async () =>
    (await (await broker.call("GET", "/metrics")).text()).includes(`queue="${queue}",event="submitted"} 202`),
  )
  expect(await size()).toBe(before)
  const answer = await broker.call("GET", "/metrics")
  expect(answer.headers.get("x-content-type-options")).toBe("nosniff")
  const page = await answer.text()
  expect(page).not.toContain("script>")
  expect(page).not.toMatch(OBEYED)
})

test("/swagger is the same page whatever the request contains, and allows only its own scripts", async () => {
  await using broker = await hostileBroker()
  const page = async (query: string, headers = {}) => {
    const answer = await fetch(`${broker.url}/swagger${query}`, { headers })
    return [answer.status, answer.headers.get("content-security-policy"), await answer.text()] as const
  }
  const plain = await page("")
  const asked = `?url=${encodeURIComponent("https://evil.example/x.json")}&q=${encodeURIComponent(HOSTILE)}`
  expect(await page(asked, { "x-forwarded-host": "<script>", referer: "<script>" })).toEqual(plain)
  expect(plain[1]).toContain("script-src 'self'")
  expect(plain[2]).not.toMatch(/<script(?![^>]* src=)/)
})

test("top displays hostile text within its lines and columns", async () => {
  await using broker = await hostileBroker()
  for (const text of [HOSTILE, MEGABYTE]) {
    const { queue } = await poisoned(broker, text)
    const ask = async (path: string) => (await (await broker.call("GET", path)).json()) as never
    const { queues } = (await ask("/queues")) as Pick<ScreenState, "queues">
    const { groups } = (await ask(`/dlq/groups?queue=${queue}`)) as Pick<ScreenState, "groups">
    for (const seen of [{ queues }, { queues, groups, fault: text, said: text }]) {
      const lines = renderScreen({ url: broker.url, selected: queue, ...seen }, { columns: 80, rows: 24 })
      expect(lines).toHaveLength(24)
      for (const line of lines) {
        expect(line).not.toMatch(OBEYED)
        expect(Bun.stringWidth(line)).toBeLessThanOrEqual(80)
      }
      expect(lines.join()).toContain("</pre><script>")
    }
  }
})

test("top displays the answers of a hostile broker harmlessly", async () => {
  await using evil = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: () =>
      Response.json(
        { error: HOSTILE, code: "internal", status: 500, title: HOSTILE, detail: MEGABYTE },
        { status: 500 },
      ),
  })
  const env = { PATH: process.env.PATH ?? "", BROKER_URL: evil.url.href, API_SECRET_TOKEN: TOKEN }
  const command = [process.execPath, join(import.meta.dir, "../../lib/process/top.ts")]
  const child = Bun.spawn(command, { env, stdout: "pipe", stderr: "pipe" })
  const said = await child.stderr.text()
  expect([await child.exited, await child.stdout.text()]).toEqual([1, ""])
  expect(said).toContain("</pre><script>")
  expect(said.trimEnd()).not.toMatch(OBEYED)
  expect(said.length).toBeLessThan(1_000)
})
