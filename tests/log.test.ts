import { describe, expect, test } from "bun:test"
import { join } from "node:path"
import { createLog, type Fields, rateLimited } from "../lib/log.ts"
import { wantsColor } from "../lib/terminal.ts"
import type { LeasedTask } from "../lib/wire/working.ts"
import { FakeBroker } from "./support/fake-broker.ts"
import { DirectQueue, freshName, type TestBroker, TOKEN, testBroker, until } from "./support/harness.ts"
import { sharedRedis } from "./support/redis.ts"

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
const TRACEPARENT = `00-${TRACE}-00f067aa0ba902b7-01`

/** A log that keeps its lines. */
function keptLog(level: "debug" | "info" = "info") {
  const lines: Fields[] = []
  return { lines, log: createLog(level, line => void lines.push(JSON.parse(line)), false) }
}

describe("a line", () => {
  test("begins with the common fields in a fixed order, however they were given", () => {
    const texts: string[] = []
    const fields = { error: "x", trace_id: "t", request_id: "r", by: "b", queue: "q", task_id: "i" }
    createLog("info", line => texts.push(line), false).warn("A task is dead", fields)
    expect(Object.keys(JSON.parse(texts[0]!))).toEqual([
      ...["time", "level", "message", "task_id", "queue", "by", "request_id", "trace_id", "error"],
    ])
    createLog("info", line => texts.push(line), true).warn("A task is dead", fields)
    expect(texts[1]).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} warn {2}A task is dead {2}task_id=i {2}queue=q {2}by=b {2}request_id=r {2}trace_id=t {2}error=x$/,
    )
  })
})

describe("on a terminal", () => {
  const colored = (level: "debug" | "info" | "warn" | "error", message: string, fields: Fields = {}) => {
    const lines: string[] = []
    createLog("debug", line => lines.push(line), true, true)[level](message, fields)
    return lines[0]!
  }

  test("each level has a color, and the message and the names of fields look different", () => {
    const levels = (["debug", "info", "warn", "error"] as const).map(level => {
      const line = colored(level, "A task is dead", { task_id: "i" })
      expect(Bun.stripANSI(line)).toMatch(/^[\d:.]{12} \w{4,5} {1,2}A task is dead {2}task_id=i$/)
      expect(line).toContain("\x1b[1mA task is dead\x1b[0m")
      expect(line).toContain("\x1b[2mtask_id=\x1b[0mi")
      return line.split(level)[0]!.slice(-5)
    })
    expect(new Set(levels).size).toBe(4)
  })

  test("untrusted text adds no escape sequences to those of the colors", () => {
    const hostile = "\x1b[31m\u009b2J\u202e\r\n"
    const line = Bun.stripANSI(colored("warn", hostile, { error: hostile, task_id: hostile }))
    expect(line).toMatch(/^[ -~]+$/)
  })

  test.each([
    [true, {}, true],
    [false, {}, false],
    [true, { NO_COLOR: "1" }, false],
    [true, { NO_COLOR: "" }, true],
    [true, { TERM: "dumb" }, false],
    [false, { FORCE_COLOR: "1" }, true],
    [true, { FORCE_COLOR: "0" }, false],
    [true, { FORCE_COLOR: "1", NO_COLOR: "1" }, true],
    [false, { FORCE_COLOR: "" }, false],
  ])("with a terminal %p and %p, colors are used: %p", (isTTY, env, used) => {
    expect(wantsColor({ isTTY }, env)).toBe(used)
  })
})

/** What a program writes to stderr, through a pipe or a terminal. */
async function written(env: Record<string, string>, onTerminal: boolean): Promise<string> {
  const program = `import { createLog } from ${JSON.stringify(join(import.meta.dir, "../lib/log.ts"))}
    createLog("info").warn("A task is dead", { task_id: "i" })`
  const options = { cmd: [process.execPath, "-e", program], env: { PATH: process.env.PATH ?? "", ...env } }
  if (!onTerminal) return Bun.spawn({ ...options, stderr: "pipe" }).stderr.text()
  let text = ""
  const data = (_: unknown, bytes: Uint8Array) => {
    text += Buffer.from(bytes).toString()
  }
  const child = Bun.spawn({ ...options, terminal: { cols: 80, rows: 24, data } })
  await child.exited
  await until("the line is read", () => text.endsWith("\n"))
  return text
}

test("without a terminal a line is JSON and has no colors, also with FORCE_COLOR", async () => {
  for (const env of [{}, { FORCE_COLOR: "1" }])
    expect(JSON.parse(await written(env, false))).toMatchObject({ message: "A task is dead", task_id: "i" })
})

test("on a terminal a line has colors, and none with NO_COLOR", async () => {
  expect(await written({ TERM: "xterm" }, true)).toContain("\x1b[33mwarn \x1b[0m")
  expect(await written({ TERM: "xterm", NO_COLOR: "1" }, true)).toMatch(/^[\n\r -~]+$/)
})

describe("repeating lines", () => {
  test("are limited per second and message, and then one line reports how many were omitted", async () => {
    const { lines, log } = keptLog("debug")
    const often = rateLimited(log, 3, 20)
    for (let i = 0; i < 50; i++) often.warn("A", { i })
    for (let i = 0; i < 2; i++) often.warn("B")
    often.error("A")
    for (let i = 0; i < 10; i++) often.debug("D")
    const of = (message: string) => lines.filter(line => line.message === message)
    expect([of("A").length, of("B").length, of("D").length]).toEqual([4, 2, 10])
    await until("the second is over", () => of("Log lines were omitted").length > 0)
    expect(of("Log lines were omitted")).toEqual([
      expect.objectContaining({ level: "warn", of: "A", omitted: 47 }),
    ])
    for (let i = 0; i < 5; i++) often.warn("A")
    expect(of("A").length).toBe(4 + 3)
  })
})

describe("a request", () => {
  const broker = async (use: (broker: TestBroker, lines: Fields[], queue: string) => Promise<void>) => {
    const { lines, log } = keptLog()
    await using broker = await testBroker({}, undefined, log)
    await use(broker, lines, freshName())
  }

  test("with an id gets that id in every answer", () =>
    broker(async ({ call }, _, queue) => {
      const headers = { "x-request-id": "mine/1.a-B:=@+" }
      const ask = async (method: string, path: string, body?: unknown, more = {}) => {
        const answer = await call(method, path, body, { headers: { ...headers, ...more } })
        return [answer.status, answer.headers.get("x-request-id")]
      }
      const id = headers["x-request-id"]
      expect(await ask("POST", "/submit", { type: "a", queue })).toEqual([200, id])
      expect(await ask("GET", `/get?queue=${queue}x`)).toEqual([204, id])
      expect(await ask("POST", "/submit", { queue })).toEqual([400, id])
      expect(await ask("GET", "/nowhere")).toEqual([404, id])
      expect(await ask("GET", "/queues", undefined, { "x-api-token": "wrong" })).toEqual([401, id])
      expect(await ask("GET", "/healthz")).toEqual([200, id])
    }))

  test("without an id gets one only if something about it is logged or refused", () =>
    broker(async ({ call }, _, queue) => {
      const submitted = await call("POST", "/submit", { type: "a", queue })
      expect(submitted.headers.get("x-request-id")).toBeNull()
      const names = new Set<string | null>()
      for (let i = 0; i < 2; i++) names.add((await call("POST", "/submit", {})).headers.get("x-request-id"))
      expect(names.size).toBe(2)
      for (const name of names) expect(name).toMatch(/^[a-z0-9]{1,6}-[a-z0-9]+$/)
    }))

  test.each([
    ["spaces", "a b"],
    ["quotes", 'a"b'],
    ["too long", "a".repeat(129)],
    ["escapes", "a%1b[31m\u00e9"],
  ])("with a name of %s gets another", (_, given) =>
    broker(async ({ call }) => {
      const answer = await call("GET", "/nowhere", undefined, { headers: { "x-request-id": given } })
      expect(answer.headers.get("x-request-id")).toMatch(/^[a-z0-9]{1,6}-[a-z0-9]+$/)
    }),
  )

  test("is logged with its id, the name of the token and the trace", () =>
    broker(async ({ call }, lines, queue) => {
      const { task_id } = (await (await call("POST", "/submit", { type: "a", queue })).json()) as {
        task_id: string
      }
      const answer = await call("POST", `/cancel/${task_id}`, undefined, {
        headers: { traceparent: TRACEPARENT },
      })
      expect(lines).toEqual([
        expect.objectContaining({
          message: "The cancellation of a task was requested",
          task_id,
          by: "API_SECRET_TOKEN",
          request_id: answer.headers.get("x-request-id")!,
          trace_id: TRACE,
        }),
      ])
    }))

  test("that hits a fault of the broker has its id in the problem and in the log", async () => {
    const { lines, log } = keptLog()
    await using broker = await testBroker({}, undefined, log)
    broker.queue.cancel = () => {
      throw new Error("broken inside")
    }
    const answer = await broker.call("POST", "/cancel/a")
    const problem = (await answer.json()) as { request_id: string }
    expect(answer.status).toBe(500)
    expect(problem.request_id).toBe(answer.headers.get("x-request-id")!)
    expect(lines[0]).toMatchObject({
      level: "error",
      message: "A request failed",
      route: "POST /cancel/a",
      request_id: problem.request_id,
      error: expect.stringContaining("broken inside"),
    })
    expect(JSON.stringify(problem)).not.toContain("broken inside")
  })
})

describe("the broker logs", () => {
  test("at most ten lines per second and kind about actions of clients and operators", async () => {
    const { lines, log } = keptLog()
    await using broker = await testBroker({}, undefined, log)
    const queue = freshName()
    const submit = async () =>
      ((await (await broker.call("POST", "/submit", { type: "a", queue })).json()) as { task_id: string })
        .task_id
    const [waiting, dead] = [await submit(), await submit()]
    await broker.call("POST", `/lease`, { queues: [queue], worker: queue })
    const actions: [method: string, path: string, body?: object][] = [
      ["POST", `/cancel/${waiting}`],
      ["POST", `/dlq/retry/${dead}`],
      ["DELETE", `/dlq/${dead}`],
      ["POST", `/queues/${queue}/pause`],
      ["POST", `/queues/${queue}/resume`],
      ["PUT", `/queues/${queue}/settings`, {}],
      ["POST", `/queues/${queue}/purge`, { state: "done" }],
      ["POST", "/dlq/retry", { queue }],
      ["POST", "/dlq/purge", { queue }],
      ["POST", `/workers/${queue}/drain`],
      ["DELETE", `/workers/${queue}/drain`],
      ["POST", `/audit?queue=${queue}`],
      ["POST", "/session", { token: TOKEN }],
    ]
    broker.queue.parts.dead.retry = broker.queue.parts.dead.delete = async () => {}
    broker.queue.audit = async () => ({ complete: true, looked: {} as never, found: [] })
    for (const [method, path, body] of actions) {
      lines.length = 0
      const answers = await Promise.all(Array.from({ length: 100 }, () => broker.call(method, path, body)))
      expect([path, ...new Set(answers.map(({ status }) => status))]).toEqual([path, 200])
      const counts = new Map<unknown, number>()
      for (const { message } of lines) counts.set(message, (counts.get(message) ?? 0) + 1)
      expect([path, counts.size > 0]).toEqual([path, true])
      // 10, or more if the 100 requests take more than a second.
      for (const [message, count] of counts) expect([message, count > 60]).toEqual([message, false])
    }
  })

  test("that a task is dead, with the reason and the worker", async () => {
    const { lines, log } = keptLog()
    await using broker = await testBroker({}, undefined, log)
    const queue = freshName()
    const dead = async (path: "/ack" | "/work") => {
      await broker.call("POST", "/submit", { type: "a", queue, max_retries: 0 })
      const { tasks } = (await (await broker.call("POST", "/lease", { queues: [queue] })).json()) as {
        tasks: LeasedTask[]
      }
      const { id: task_id, lease } = tasks[0]!
      const ack = { task_id, lease, status: "failed", error: `${"no room ".repeat(100)}\n  at stack` }
      const body = path === "/ack" ? ack : { worker: "w-7", settle: [ack] }
      const headers = { traceparent: TRACEPARENT, "x-request-id": `of${path}` }
      await broker.call("POST", path, body, { headers })
      return task_id
    }
    const about = { queue, by: "API_SECRET_TOKEN", trace_id: TRACE, level: "warn", message: "A task is dead" }
    const task_id = await dead("/ack")
    expect(lines[0]).toMatchObject({ ...about, task_id, reason: "failed", request_id: "of/ack" })
    expect(String(lines[0]!.error)).toStartWith("no room")
    expect(String(lines[0]!.error).length).toBe(200)
    await dead("/work")
    expect(lines[1]).toMatchObject({ ...about, worker: "w-7", request_id: "of/work" })
  })

  test("that leases have lapsed, and that tasks died of it", async () => {
    const { lines, log } = keptLog()
    const { socket } = await sharedRedis()
    await using broker = await testBroker({}, undefined, log)
    await using direct = new DirectQueue(socket)
    const queue = direct.name
    await broker.call(
      "POST",
      "/submit",
      [0, 1].map(max_crashes => ({ type: "a", queue, max_crashes })),
    )
    const leased = await broker.call("POST", "/lease", { queues: [queue], max: 2 })
    for (const { id } of ((await leased.json()) as { tasks: LeasedTask[] }).tasks) await direct.lapse(id)
    await broker.call("POST", "/lease", { queues: [queue], max: 2 })
    const logged = (message: string) => lines.filter(line => line.message === message)
    await until("both are logged", () => logged("A lease has lapsed").length === 2)
    expect(logged("A task is dead")).toMatchObject([{ reason: "crashed", attempt: 1 }])
    for (const { task_id } of lines) expect(task_id).toStartWith(queue)
    for (const line of lines) expect(line).toMatchObject({ level: "warn", queue })
  })

  test("the task's own reason if a failure would be retried after its expiry", async () => {
    const { lines, log } = keptLog()
    await using broker = await testBroker({}, undefined, log)
    const queue = freshName()
    const ask = async (path: string, body: object) => (await broker.call("POST", path, body)).json()
    await ask("/submit", { type: "a", queue, expires_in_ms: 60_000 })
    const { tasks } = (await ask("/lease", { queues: [queue] })) as { tasks: LeasedTask[] }
    const { id: task_id, lease } = tasks[0]!
    await ask("/ack", { task_id, lease, status: "failed", retry_in_ms: 120_000 })
    expect(lines).toMatchObject([{ message: "A task is dead", task_id, reason: "expired" }])
  })

  test("a bulk operation when it is requested and when it is interrupted", async () => {
    const { lines, log } = keptLog()
    await using broker = await testBroker({}, undefined, log)
    const queue = freshName()
    const { dead } = broker.queue.parts
    const broken = () => Promise.reject(new Error("half-way"))
    const asks: [path: string, body: object, what: string, done: string][] = [
      ["/dlq/retry", {}, "Retrying dead tasks", "Dead tasks were retried"],
      ["/dlq/purge", {}, "Deleting dead tasks", "Dead tasks were deleted"],
      [`/queues/${queue}/purge`, { state: "dead" }, "Purging a queue", "A queue was purged"],
    ]
    for (const [path, body, what, done] of asks) {
      const whole = path.startsWith("/dlq") ? { ...body, queue } : body
      await broker.call("POST", path, { ...whole, dry_run: true })
      expect(lines).toEqual([])
      await broker.call("POST", path, whole)
      const about = { queue, by: "API_SECRET_TOKEN", request_id: expect.any(String) }
      expect(lines.splice(0)).toMatchObject([
        { ...about, message: `${what} was requested` },
        { ...about, message: done },
      ])
    }
    dead.retryAll = dead.purge = broker.queue.parts.control.purge = broken
    for (const [path, body, what] of asks) {
      const whole = path.startsWith("/dlq") ? { ...body, queue } : body
      expect((await broker.call("POST", path, whole)).status).toBe(500)
      const [asked, off] = lines.splice(0)
      expect(asked).toMatchObject({ message: `${what} was requested` })
      expect(off).toMatchObject({ level: "warn", queue, error: expect.stringContaining("half-way") })
      expect(String(off!.message)).toStartWith(`${what} was interrupted`)
      expect(off!.request_id).toBe(asked!.request_id)
    }
  })
})

describe("the worker logs", () => {
  const loggedBy = (broker: FakeBroker, message: string) =>
    broker.lines.map(line => JSON.parse(line)).find(line => line.message === message)

  test("that an attempt has failed, with its trace, and leaves the death of its task to the broker", async () => {
    await using broker = new FakeBroker()
    const { id } = broker.task({ type: "fail", queue: "q", attempt: 2, traceparent: TRACEPARENT })
    broker.on("settle", (batch: { task_id: string }[]) =>
      batch.map(({ task_id }) => ({ status: "moved_to_dlq", task_id, retries: 3 })),
    )
    broker.worker()
    await broker.until(() => loggedBy(broker, "An attempt was settled") !== undefined)
    const about = { task_id: id, queue: "q", type: "fail", attempt: 2, trace_id: TRACE }
    expect(loggedBy(broker, "An attempt failed")).toMatchObject({ ...about, worker: "tester", level: "warn" })
    expect(loggedBy(broker, "An attempt was settled")).toMatchObject({
      ...about,
      status: "moved_to_dlq",
      retries: 3,
      level: "debug",
    })
    expect(broker.lines.filter(line => /dead/.test(line))).toEqual([])
  })

  test("that a task was lost", async () => {
    await using broker = new FakeBroker()
    const { id } = broker.task({ type: "sleep", payload: { ms: 60_000 }, timeout_ms: 100 })
    broker.on("extend", () => Bun.sleep(1_000).then(() => undefined))
    broker.worker()
    await broker.until(() => loggedBy(broker, "The lease of a task was lost") !== undefined)
    expect(loggedBy(broker, "The lease of a task was lost")).toMatchObject({
      task_id: id,
      why: "the broker did not extend it in time",
    })
  })

  test("thousands of failing tasks with only a few lines per second", async () => {
    await using broker = new FakeBroker()
    for (let i = 0; i < 500; i++) broker.task({ type: "fail" })
    const began = performance.now()
    broker.worker({}, { concurrency: 100 })
    await broker.until(() => broker.acks.length === 500)
    const failed = broker.lines.filter(line => line.includes('"message":"An attempt failed"'))
    const seconds = Math.ceil((performance.now() - began) / 1_000)
    expect(failed.length).toBeWithin(1, 10 * (seconds + 1) + 1)
  })
})
