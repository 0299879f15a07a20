/** What the dashboard shows is what the broker has, in real Chromium. */
import { describe, expect, test } from "bun:test"
import type { GroupView } from "../../lib/wire/grouping.ts"
import type { QueueView } from "../../lib/wire/managing.ts"
import { chromium } from "../support/browser.ts"
import { freshName, TOKEN, until } from "../support/harness.ts"
import { startBroker } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"
import { TestDashboard } from "../support/test-dashboard.ts"

describe.skipIf(chromium === undefined)("in Chromium", () => {
  const dashboard = new TestDashboard()
  const { browser, signedIn, goTo, call } = dashboard
  let queue: string
  const submit = async (task: object = {}): Promise<string> =>
    (await call<{ task_id: string }>("POST", "/submit", { type: "mail", queue, ...task })).task_id
  const lease = async () => {
    const { tasks } = await call<{ tasks: { id: string; lease: string }[] }>("POST", "/lease", {
      queues: [queue],
      worker: "worker-7",
    })
    return { task_id: tasks[0]!.id, lease: tasks[0]!.lease }
  }
  const fail = async (error: string, retry: { retry_in_ms?: number } = {}) =>
    call("POST", "/ack", { ...(await lease()), status: "failed", error, ...retry })
  const view = () => call<QueueView>("GET", `/queues/${queue}`)

  test("saving the limits of a queue keeps its other settings", async () => {
    queue = freshName()
    const settings = {
      concurrency: 4,
      rate: { per_second: 9, burst: 20 },
      defaults: { max_retries: 2, timeout_ms: 61_000 },
      groups: { concurrency: 3 },
    }
    await call("PUT", `/queues/${queue}/settings`, settings)
    await using page = await signedIn(`#/queues/${queue}`)
    await page.click("button", "Limits")
    await page.submitDialog()
    await page.find("status", /saved/)
    expect((await view()).settings).toEqual(settings)
  })

  test("saving the limits of a group keeps those that another operator sets meanwhile", async () => {
    queue = freshName()
    await submit({ group: "acme" })
    const path = `/queues/${queue}/groups/acme`
    const limits = async () => (await call<GroupView>("GET", path)).limits
    await call("PUT", path, { concurrency: 4, on_dead: "skip" })
    await using page = await signedIn(`#/queues/${queue}`)
    const edit = async (field: string, value: string) => {
      await page.click("button", "Group limits: acme")
      await page.find("dialog")
      await call("PUT", path, { ...(await limits()), max_waiting: 1_000 })
      await page.fill(field, value)
      await page.submitDialog()
      await until("the dialog is closed", async () => (await page.seen("dialog")) === undefined)
    }
    await edit("Max running", "5")
    expect(await limits()).toEqual({ concurrency: 5, on_dead: "skip", max_waiting: 1_000 })
    await edit("Max running", "")
    expect(await limits()).toEqual({ on_dead: "skip", max_waiting: 1_000 })
    await call("PUT", path, { max_waiting: 1_000 })
    await page.page.reload()
    await edit("Waiting", "")
    expect(await limits()).toBeUndefined()
  })

  test("saving one limit of a queue keeps another that was changed meanwhile", async () => {
    queue = freshName()
    await call("PUT", `/queues/${queue}/settings`, { concurrency: 4, rate: { per_second: 9 } })
    await using page = await signedIn(`#/queues/${queue}`)
    for (const [field, value, meanwhile, after] of [
      ["Max starts per second", "2", { concurrency: 6, rate: { per_second: 9 } }, 6],
      ["Max running", "3", { concurrency: 6, rate: { per_second: 5 } }, 3],
    ] as const) {
      await page.click("button", "Limits")
      await page.find("dialog")
      await call("PUT", `/queues/${queue}/settings`, meanwhile)
      await page.fill(field, value)
      await page.submitDialog()
      await until("the dialog is closed", async () => (await page.seen("dialog")) === undefined)
      const rate = { per_second: after === 6 ? 2 : 5 }
      expect((await view()).settings).toMatchObject({ concurrency: after, rate })
    }
  })

  test("saving a schedule without a change keeps all of it", async () => {
    const bounds = { starts_at: 4_000_000_000_000, ends_at: 4_100_000_000_000, jitter_ms: 5_000 }
    const policies = { on_missed: "all", on_overlap: "cancel" }
    const task = { type: "report", payload: [1] }
    for (const times of [
      { cron: "0 3 * * *", time_zone: "Asia/Tokyo" },
      { cron: "1 2 * * *" },
      { every_ms: 90_000 },
    ]) {
      const path = `/schedules/${freshName()}:nightly`
      await call("PUT", path, { ...times, ...bounds, ...policies, task })
      const stored = async () => {
        const { updated_at, ...schedule } = await call<Record<string, unknown>>("GET", path)
        return schedule
      }
      const before = await stored()
      await using page = await signedIn(`#${path}`)
      await page.page.emulateTimezone("America/New_York")
      await page.click("button", "Edit")
      await page.submitDialog()
      await page.find("status", /is saved/)
      // Without a time zone, an expression is in UTC.
      expect(await stored()).toEqual({ ...before, ...("cron" in times && { time_zone: "UTC", ...times }) })
    }
  })

  test("a run of a schedule that created no task is not shown as queued", async () => {
    const path = `/schedules/${freshName()}:nightly`
    await call("PUT", path, { cron: "0 3 * * *", on_overlap: "skip", task: { type: "report" } })
    await using page = await signedIn(`#${path}`)
    await page.click("button", "Run now")
    await page.find("status", /The task is queued/)
    await page.click("button", "Run now")
    await page.find("status", /No task was created: the previous one has not ended/)
  })

  test("a running task offers only a cancel, once, and says that it ends with its attempt", async () => {
    queue = freshName()
    const id = await submit()
    const held = await lease()
    await using page = await signedIn(`#/tasks/${id}`)
    const buttons = () =>
      page.page.evaluate(
        "[...document.querySelectorAll('.title .buttons > button')].filter(of => !of.disabled).map(of => of.innerText.trim())",
      )
    await page.find("button", "Cancel")
    expect(await buttons()).toEqual(["Copy id", "Copy as curl", "Cancel"])
    await page.click("button", "Cancel")
    await page.reads("The task is running.")
    await page.submitDialog()
    await page.find("status", /The task is being cancelled/)
    await until(
      "it cannot be cancelled again",
      async () => !((await buttons()) as string[]).includes("Cancel"),
    )
    await call("POST", "/ack", held)
  })

  test("a queue opens with the tasks that it has, and a purge begins with them and deletes the chosen state only", async () => {
    queue = freshName()
    const cancelled = await submit()
    await call("POST", `/cancel/${cancelled}`)
    await submit({ max_retries: 0 })
    await fail("said no")
    await using page = await signedIn(`#/queues/${queue}`)
    await page.find("table", "Tasks: dead")
    await page.click("button", "Purge")
    await page.reads("dead (1)")
    const state = await page.find("combobox", "State")
    expect(await state.value<string>("this.value")).toBe("dead")
    await page.page.select("dialog select", "cancelled")
    await page.find("button", "Purge 1")
    await page.submitDialog()
    await page.find("status", /1 task purged/)
    expect((await view()).depth).toMatchObject({ dead: 1, cancelled: 0 })
  })

  test("a purge deletes all that its dry run found", async () => {
    queue = freshName()
    for (let i = 0; i < 3; i++) await submit()
    await using page = await signedIn(`#/queues/${queue}`)
    await page.click("button", "Purge")
    await page.find("button", "Purge 3")
    await page.submitDialog()
    await page.find("status", /3 tasks purged/)
    expect((await view()).depth.queued).toBe(0)
  })

  test("the number of delayed tasks leads to these tasks, scheduled or retrying", async () => {
    queue = freshName()
    await submit({ backoff: { kind: "fixed", delay_ms: 300_000 } })
    await fail("not yet")
    const scheduled = await submit({ delay_ms: 300_000 })
    await using page = await signedIn("#/queues")
    await page.find("link", queue)
    await page.page.evaluate(`document.querySelector('a[href$="/${queue}?state=delayed"]').click()`)
    await page.find("table", "Tasks: delayed")
    await page.reads("not yet")
    await page.reads(scheduled)
    await page.reads("1 scheduled, 1 retrying")
    await page.picture("queue-delayed")
  })

  test("a task that is done shows its result first, and no error of an earlier attempt as its own", async () => {
    queue = freshName()
    const id = await submit({ payload: "the payload", max_retries: 2 })
    await fail("the first attempt failed", { retry_in_ms: 0 })
    await using page = await signedIn(`#/tasks?queue=${queue}&state=processing`)
    const held = await lease()
    await page.find("link", new RegExp(id))
    await page.reads("worker-7")
    expect(await page.text()).not.toContain("the first attempt failed")
    await call("POST", "/ack", { ...held, result: "the result" })
    await goTo(page, `#/tasks/${encodeURIComponent(id)}`)
    await page.reads("the result")
    const text = await page.text()
    expect(text.indexOf("the result")).toBeLessThan(text.indexOf("the payload"))
    expect(await page.seen("region", "Error of the task")).toBeUndefined()
    // The attempt has it.
    expect(text).toContain("the first attempt failed")
    expect(text).toContain("1 failure, 2 retries allowed")
  })

  test("a queue that nobody knows is not shown as an empty queue", async () => {
    await using page = await signedIn(`#/queues/${freshName()}`)
    await page.reads("Nothing is known about this queue")
    for (const name of ["Pause", "Limits", "Purge"]) expect(await page.seen("button", name)).toBeUndefined()
  })

  test("a broker that hangs is noticed within seconds, and so is its return", async () => {
    await using redis = await testRedis()
    await using app = await startBroker(redis.socket)
    await using page = await browser.signedIn(app.url, "#/queues", TOKEN)
    await page.find("status", /^live$/i)
    app.process.signal("SIGSTOP")
    await page.find("status", /no news for \d+ s/i)
    app.process.signal("SIGCONT")
    await page.find("status", /^live$/i)
  })

  test("rows of tasks have one line, whatever the length of names and errors", async () => {
    queue = freshName().padEnd(40, "-long")
    for (let i = 0; i < 20; i++) {
      await submit({ type: "a-type-of-forty-characters-and-a-few-more", max_retries: 0 })
      await fail(`${"a long error ".repeat(30)}\n    at handler (/app/handlers.ts:8:207)`)
    }
    await using page = await signedIn(`#/tasks?queue=${queue}&state=dead`, { width: 1_440 })
    await page.find("table", "Tasks: dead")
    const heights =
      "[...document.querySelectorAll('tbody tr')].map(row => row.getBoundingClientRect().height)"
    expect(Math.max(...((await page.page.evaluate(heights)) as number[]))).toBeLessThan(42)
    expect(await page.text()).not.toContain("handlers.ts")
    expect(await page.overflow()).toBe(0)
    await page.picture("long-names")
  })

  test("the order and the filter of the queues are in the address", async () => {
    queue = `${freshName()}-sorted-b`
    await submit()
    queue = `${queue.slice(0, -1)}a`
    await submit()
    await submit()
    await using page = await signedIn("#/queues?name=-sorted-")
    await page.find("link", queue)
    await page.click("button", "Queued")
    const first = () => page.page.evaluate("document.querySelector('tbody a').innerText")
    await page.page.reload()
    await page.find("link", queue)
    expect(await first()).toBe(queue)
    expect(await page.page.evaluate("location.hash")).toBe("#/queues?name=-sorted-&order=queued")
  })
})
