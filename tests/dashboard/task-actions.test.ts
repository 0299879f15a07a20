/** What the dashboard does with one task, and how it shows its life, in real Chromium. */
import { beforeEach, describe, expect, test } from "bun:test"
import { type ApiToken, hashOf, type Role } from "../../lib/config/tokens.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import { chromium, type Look, type TestPage } from "../support/browser.ts"
import { freshName, TOKEN, until } from "../support/harness.ts"
import { TestDashboard } from "../support/test-dashboard.ts"

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
const secretOf = (role: Role) => `the-token-with-only-${role}`
const tokenOf = (role: Role): ApiToken => ({
  name: role,
  roles: [role],
  queues: undefined,
  hash: hashOf(secretOf(role)),
})

describe.skipIf(chromium === undefined)("in Chromium", () => {
  /** Another one in each test: the lease of a task that a test leaves running ends during a later test. */
  let queue: string
  beforeEach(() => {
    queue = freshName()
  })
  const dashboard = new TestDashboard({
    tokens: [tokenOf("read"), tokenOf("watch")],
    traceUrl: "https://jaeger.example/trace/{trace_id}?uiEmbed=v0",
  })
  const { signedIn, goTo, call } = dashboard

  const submit = async (task: object = {}): Promise<string> =>
    (await call<{ task_id: string }>("POST", "/submit", { type: "mail", queue, ...task })).task_id
  const status = (id: string) => call<TaskView>("GET", `/status/${id}`)
  const lease = async () => {
    const { tasks } = await call<{ tasks: { id: string; lease: string }[] }>("POST", "/lease", {
      queues: [queue],
      worker: "worker-7",
    })
    return { task_id: tasks[0]!.id, lease: tasks[0]!.lease }
  }
  const isClean = async (page: TestPage) =>
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])

  test("a scheduled task is edited and run now", async () => {
    const id = await submit({ delay_ms: 3_600_000, payload: { n: 1 }, meta: { team: "a" } })
    await using page = await signedIn(`#/tasks/${id}`)
    await page.reads(/Due\s+in (1 h|59 min)/)
    await page.click("button", "Edit")
    await page.fill("Payload", '{"n": 12345678901234567890')
    await page.submitDialog()
    await page.find("alert", /not valid JSON/)
    await page.fill("Payload", '{"n": 12345678901234567890}')
    await page.fill("Labels", "team=b\nregion=eu")
    await page.page.select("dialog select", "9")
    await isClean(page)
    await page.picture("task-edit")
    await page.submitDialog()
    await page.reads("12345678901234567890")
    expect(await status(id)).toMatchObject({ priority: 9, meta: { team: "b", region: "eu" } })
    await page.click("button", "Run now")
    await until("it is queued", async () => (await status(id)).status === "queued")
    await until("the button goes", async () => !(await page.seen("button", "Run now")))
  })

  test("an edit sends only what was changed in its dialog, also if others change the task meanwhile", async () => {
    const id = await submit({ delay_ms: 3_600_000, payload: { n: 1 }, meta: { team: "a" } })
    await using page = await signedIn(`#/tasks/${id}`)
    await page.click("button", "Edit")
    await page.submitDialog()
    await page.find("alert", /Nothing has been changed/)
    await call("PATCH", `/tasks/${id}`, { payload: { n: 2 }, meta: { team: "b" }, priority: 8 })
    await page.reads('"n": 2')
    const start = "2099-01-02T03:04:05"
    await page.page.evaluate(`{
      const field = document.querySelector("dialog input[type=datetime-local]")
      field.value = ${JSON.stringify(start)}
      field.dispatchEvent(new Event("input", { bubbles: true }))
    }`)
    await page.submitDialog()
    await page.find("status", /The task is changed/)
    const { payload, meta, priority, due_at } = await status(id)
    expect({ payload, meta, priority }).toEqual({ payload: { n: 2 }, meta: { team: "b" }, priority: 8 })
    expect(due_at).toBe(new Date(start).getTime())
  })

  test("a second click while the request of the first one runs does not submit a second task", async () => {
    const id = await submit()
    await call("POST", "/ack", await lease())
    await using page = await signedIn(`#/tasks/${id}`)
    const sent: (() => Promise<void>)[] = []
    await page.page.setRequestInterception(true)
    page.page.on("request", request => {
      if (request.method() === "POST") sent.push(() => request.continue())
      else void request.continue()
    })
    const twice = async (act: () => Promise<void>) => {
      const before = sent.length
      await act()
      await until("it is sent", () => sent.length > before)
      await act()
      await sent[before]!()
      await page.find("heading", new RegExp(`^${queue}:(?!${id.split(":")[1]})`))
      expect(sent.length).toBe(before + 1)
    }
    await twice(() => page.click("button", "Run again"))
    await goTo(page, `#/queues/${queue}`)
    await page.click("button", "Submit task")
    await page.fill("Type", "mail")
    await twice(() => page.submitDialog())
  })

  test("a page that is told to reload while it loads does so afterwards", async () => {
    const id = await submit({ delay_ms: 3_600_000 })
    await using page = await signedIn(`#/tasks/${id}`)
    // Only the button may cause the reload: neither the next poll after 10 s nor the event of the change does.
    await page.page.evaluateOnNewDocument(`{
      const { setTimeout } = globalThis
      globalThis.setTimeout = (run, ms, ...more) => ms === 10_000 ? 0 : setTimeout(run, ms, ...more)
    }`)
    // An answer from before the change arrives after it: the page is loading when the button asks for a reload.
    const body = await (await dashboard.broker.call("GET", `/status/${id}`)).text()
    const held: (() => Promise<void>)[] = []
    let holds = false
    await page.page.setRequestInterception(true)
    page.page.on("request", request => {
      if (request.url().includes("/events?task=")) return
      if (holds && request.method() === "GET" && request.url().includes("/status/"))
        held.push(() => request.respond({ status: 200, contentType: "application/json", body }))
      else void request.continue()
    })
    await page.page.reload()
    await page.find("button", "Run now")
    await page.listens()
    holds = true
    await page.page.keyboard.press("r")
    await until("the page loads", () => held.length > 0)
    await page.click("button", "Run now")
    await until("it is queued", async () => (await status(id)).status === "queued")
    await page.find("status", /ready to run/)
    holds = false
    for (const answer of held) await answer()
    await until("the button goes", async () => !(await page.seen("button", "Run now")))
  })

  test("a task is submitted with a form, and run again when it has ended", async () => {
    await using page = await signedIn(`#/queues/${queue}`)
    await page.click("button", "Submit task")
    await page.fill("Type", "report")
    await page.fill("Payload", "[1.0]")
    await page.fill("Group", "acme")
    await page.fill("Labels", "team=a")
    await isClean(page)
    await page.picture("task-submit")
    await page.submitDialog()
    await page.find("heading", new RegExp(`^${queue}:`))
    const held = await lease()
    expect(await status(held.task_id)).toMatchObject({ type: "report", group: "acme", meta: { team: "a" } })
    await call("POST", "/ack", { ...held, result: { pages: 3 } })
    await page.click("button", "Run again")
    await page.reads("Copy of")
    const again = await lease()
    expect(await status(again.task_id)).toMatchObject({ again_of: held.task_id, group: "acme" })
    expect(await page.page.evaluate("JSON.stringify(localStorage)")).not.toContain("report")
  })

  test.each<[string, Look]>([
    ["light", { width: 1_440 }],
    ["dark", { width: 1_440, dark: true }],
    ["phone", { width: 390 }],
    ["phone-dark", { width: 390, dark: true }],
  ])(
    "a page shows the life of a task, its log with times, its first error line and its trace: %s",
    async (name, look) => {
      const id = await submit({ traceparent: `00-${TRACE}-00f067aa0ba902b7-01`, max_retries: 3 })
      const first = await lease()
      await call("POST", "/extend", {
        ...first,
        log: ["400 of 1000 lines"],
        progress: { done: 400, of: 1000 },
      })
      const stack = "TypeError: no mailbox\ncaused by Error: 550\n    at send (mail.ts:8:20)"
      await call("POST", "/ack", { ...first, status: "failed", error: stack })
      await call("POST", `/queues/${queue}/pause`, { reason: "mail server moves" })
      await Bun.sleep(5) // a pause within a millisecond has no duration
      await call("POST", `/queues/${queue}/resume`)
      const second = await lease()
      await call("POST", "/extend", { ...second, log: ["again from line 400"] })
      await call("POST", "/ack", { ...second, status: "failed", error: stack, retry_in_ms: 3_600_000 })
      await using page = await signedIn(`#/tasks/${id}`, look)
      const timeline = await page.find("region", "Timeline")
      const text = await timeline.value<string>("this.innerText")
      for (const part of [
        "created",
        "before its first attempt",
        "for its start time, a worker or a limit",
        "1 failed",
        "after a failure, for ",
        "after a failure; now: waits for its retry, until ",
      ])
        expect(text.replace(/\s+/g, " ")).toContain(part)
      await page.reads(/its queue was paused for \d+ m?s of it, by API_SECRET_TOKEN: mail server moves/)
      expect(await page.page.evaluate("document.querySelectorAll('.timeline .bar').length")).toBe(5)
      const error = await page.find("region", "Error of the task")
      expect(await error.value<string>("this.innerText")).not.toContain("mail.ts")
      const log = await page.find("region", "Log of the task")
      expect(await log.value<string>("this.innerText")).toMatch(
        /^attempt 1, worker-7\n\S+ \d\d:\d\d:\d\d {2}400 of 1000 lines\n+attempt 2, worker-7\n.* {2}again from line 400$/m,
      )
      const attempts = await page.find("table", "Attempts")
      expect(await attempts.value<string>("this.innerText")).toMatch(
        /TypeError: no mailbox[\s\S]*as in attempt 1/,
      )
      const link = await page.find("link", "Open trace")
      expect(await link.value<string>("this.href")).toBe(`https://jaeger.example/trace/${TRACE}?uiEmbed=v0`)
      await isClean(page)
      await page.picture(`task-life-${name}`)
      for (const part of [".folded", ".attempts"]) {
        expect(await page.text()).not.toContain("at send (mail.ts:8:20)")
        await page.page.evaluate(`document.querySelector('${part} summary').click()`)
        await page.reads("at send (mail.ts:8:20)")
        expect(await page.overflow()).toBe(0)
        await page.picture(`task-life-open${part}-${name}`)
        await page.page.evaluate(`document.querySelector('${part} summary').click()`)
      }
    },
  )

  test("a task is copied as an id and as a curl command without a token", async () => {
    const id = await submit({ payload: { text: "it's" }, delay_ms: 3_600_000 })
    await using page = await signedIn(`#/tasks/${id}`)
    await page.page.evaluate(
      "globalThis.copied = []; navigator.clipboard.writeText = async text => void copied.push(text)",
    )
    await page.click("button", "Copy id")
    await page.click("button", "Copy as curl")
    await until("both are copied", async () => (await page.page.evaluate("copied.length")) === 2)
    const [copiedId, command] = (await page.page.evaluate("copied")) as string[]
    expect(copiedId).toBe(id)
    expect(command).toStartWith(
      `curl -sS '${dashboard.broker.url}/submit' -H "X-API-Token: \${API_SECRET_TOKEN:-$(cat .data/token)}"`,
    )
    expect(command).toContain(`"payload":{"text":"it'\\''s"}`)
    expect(command).not.toContain(TOKEN)
  })

  test("a token that may not see the contents of a task gets a page that says so", async () => {
    const id = await submit({ payload: { secret: "s3cret" }, redact: true, delay_ms: 3_600_000 })
    for (const role of ["read", "watch"] as const) {
      await using page = await signedIn(`#/tasks/${id}`, {}, secretOf(role))
      await page.reads("Your token may not see the contents")
      expect(await page.text()).not.toContain("s3cret")
      expect(await page.seen("button", "Copy as curl")).toBeUndefined()
      expect(await page.seen("region", "Payload of the task")).toBeUndefined()
      await page.picture(`task-hidden-${role}`)
    }
  })
})
