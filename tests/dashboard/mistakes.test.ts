/** What an operator gets wrong in forms and addresses: the page says what would be right, and loses nothing. */
import { describe, expect, test } from "bun:test"
import type { QueueView } from "../../lib/wire/managing.ts"
import { chromium, type TestPage } from "../support/browser.ts"
import { freshName, TOKEN, testBroker, until } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"
import { TestDashboard } from "../support/test-dashboard.ts"

interface Tasks {
  tasks: { id: string; lease: string }[]
}

describe.skipIf(chromium === undefined)("in Chromium", () => {
  const dashboard = new TestDashboard()
  const { signedIn, goTo, call } = dashboard
  const submit = (queue: string, more: object = {}) =>
    call("POST", "/submit", { type: "mail", queue, ...more })
  const settingsOf = async (queue: string) => (await call<QueueView>("GET", `/queues/${queue}`)).settings
  const thresholdsOpen = (page: TestPage, open?: boolean) =>
    page.page.evaluate(
      `(() => { const of = document.querySelector('details.thresholds'); if (${open} !== undefined) of.open = ${open}; return of.open })()`,
    ) as Promise<boolean>

  test("a wrong threshold in a folded part of the form is shown, not refused in silence", async () => {
    const queue = freshName()
    await submit(queue)
    await using page = await signedIn(`#/queues/${queue}`, { expect: /400/ })
    await page.click("button", "Limits")
    await page.find("dialog")
    await thresholdsOpen(page, true)
    await page.fill("A task waits for (s)", "never")
    await thresholdsOpen(page, false)
    await page.submitDialog()
    await until("the field is shown", () => thresholdsOpen(page))
    await page.fill("A task waits for (s)", "0")
    await page.submitDialog()
    await page.reads('must be a whole number from 1 to 2678400000 (default 300000), or "off"')
    expect(await page.seen("dialog")).toBeDefined()
    await page.fill("A task waits for (s)", "OFF")
    await page.submitDialog()
    await until("the dialog is closed", async () => (await page.seen("dialog")) === undefined)
    expect(await settingsOf(queue)).toEqual({ attention: { oldest_wait_ms: "off" } })
  })

  test("a burst without a rate is not dropped in silence, and a rate in another form is shown and kept", async () => {
    const queue = freshName()
    const rate = [
      { limit: 100, per_ms: 60_000, burst: 100 },
      { limit: 5, per_ms: 1_000, burst: 5 },
    ]
    await call("PUT", `/queues/${queue}/settings`, { rate })
    await using page = await signedIn(`#/queues/${queue}`)
    await page.click("button", "Limits")
    await page.find("dialog")
    await page.reads("Starts are limited to 100 per 1 min, burst 100; 5 per second, burst 5.")
    await page.fill("Burst", "7")
    await page.submitDialog()
    await page.reads("A burst needs a number of starts per second")
    await page.fill("Burst", "")
    await page.fill("Max running", "3")
    await page.submitDialog()
    await until("the dialog is closed", async () => (await page.seen("dialog")) === undefined)
    expect(await settingsOf(queue)).toMatchObject({ concurrency: 3, rate })
  })

  test("a long name is not cut in the middle of a character", async () => {
    const queue = freshName()
    for (const first of ["", "a"])
      await submit(queue, { type: first + "\u{1f600}".repeat(60), max_retries: 0 })
    const { tasks } = await call<Tasks>("POST", "/lease", { queues: [queue], max: 2 })
    for (const { id, lease } of tasks)
      await call("POST", "/ack", { task_id: id, lease, status: "failed", error: "no" })
    await using page = await signedIn(`#/dead?queue=${queue}`)
    await page.reads("a\u{1f600}")
    expect(await page.text()).not.toContain("\\ud83d")
  })

  test("each button of a row says what it is for, also in groups with odd names", async () => {
    const queue = freshName()
    const groups = ["g".repeat(128), "\u{1f600}".repeat(64), "a/b:*%2F?#", "  "]
    for (const group of groups) await submit(queue, { group })
    await using page = await signedIn(`#/queues/${queue}`)
    for (const group of groups.slice(0, 3)) await page.find("button", `Pause group ${group}`)
    await page.find("button", 'Pause group " "')
    // A name that is cut off can be read in full.
    const titles = "[...document.querySelectorAll('table[aria-label=Groups] tbody a')].map(a => a.title)"
    expect(((await page.page.evaluate(titles)) as string[]).sort()).toEqual(groups.toSorted())
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.click("button", `Pause group ${groups[2]}`)
    await page.find("dialog")
    await page.submitDialog()
    await page.find("button", `Resume group ${groups[2]}`)
    // A message may cover the link.
    await (await page.find("link", groups[1]!)).focus()
    await page.page.keyboard.press("Enter")
    await until(
      "the tasks of the group",
      () => new URLSearchParams(page.page.url().split("?")[1]).get("group") === groups[1],
    )
  })

  const buttons = (page: TestPage) =>
    page.page.evaluate("[...document.querySelectorAll('main button')].map(of => of.innerText)") as Promise<
      string[]
    >

  test("an address with a wrong value says what would be right, and the view can be left by its own means", async () => {
    await submit(freshName())
    await using page = await signedIn("#/queues?order=nonsense&span=nonsense", { expect: /400/ })
    // An order or a span that does not exist is the default.
    await page.find("table", "Queues")
    await goTo(page, "#/queues?page=nonsense")
    await page.reads("`cursor` must be the `next` of the previous page")
    await page.click("button", "Previous page")
    await page.find("table", "Queues")
    await goTo(page, `#/queues?name=${encodeURIComponent("\u{1f600}")}`)
    await page.reads("`queue_part` must be")
    await page.fill("Name contains", "t")
    await page.find("table", "Queues")
    for (const hash of ["#/queues/..", "#/queues/.", "#/workers/..", "#/schedules/..", "#/tasks/.."]) {
      await goTo(page, hash)
      await page.find("alert")
      expect([hash, (await page.text()).includes("Unexpected token")]).toEqual([hash, false])
      expect((await buttons(page)).filter(name => /Pause|Purge|Drain|Delete|Cancel/.test(name))).toEqual([])
    }
  })

  test("an event stream that the broker refuses says why", async () => {
    await using page = await signedIn("#/events?event=nonsense", { expect: /400/ })
    await page.find("alert", /must be one of/)
    await goTo(page, "#/events?queue=*")
    await page.find("alert", /1 to 64 characters/)
    await page.fill("Queue", "emails")
    await page.reads("No events yet")
  })

  test("dead tasks are found by parts of the names of their type and queue", async () => {
    const queue = `${freshName()}-Invoices`
    for (const type of ["Invoice.created", "welcome"]) await submit(queue, { type, max_retries: 0 })
    const { tasks } = await call<Tasks>("POST", "/lease", { queues: [queue], max: 2 })
    for (const { id, lease } of tasks)
      await call("POST", "/ack", { task_id: id, lease, status: "failed", error: "no" })
    await using page = await signedIn("#/dead?type_part=voice&queue_part=-inv")
    await page.find("cell", "Invoice.created")
    await page.click("button", "Retry all")
    await page.find("button", "Retry 1")
  })

  test("a group among many is found by the filter of its tasks", async () => {
    const queue = freshName()
    await call(
      "POST",
      "/submit",
      Array.from({ length: 30 }, (_, i) => ({ type: "t", queue, group: `tenant ${i}` })),
    )
    await using page = await signedIn(`#/queues/${queue}`)
    await page.find("button", /^Pause group tenant/)
    const groups = () =>
      page.page.evaluate("document.querySelectorAll('table[aria-label=Groups] tbody tr').length")
    expect(await groups()).toBe(10)
    await page.fill("Group", "tenant 13")
    await page.find("button", "Pause group tenant 13")
    await until("only that", async () => (await groups()) === 1)
  })

  test("a page of a list is in the address, and another filter begins at its first page", async () => {
    const [queue, other] = [freshName(), freshName()]
    await call("POST", `/queues/${other}/pause`, { reason: "the only one" })
    for (let i = 0; i < 60; i++) await call("POST", `/queues/${queue}/pause`, {})
    await using page = await signedIn("#/actions")
    const rows = () => page.page.evaluate("document.querySelectorAll('tbody tr').length")
    await until("a full page", async () => (await rows()) === 50)
    await page.click("button", "Next page")
    await until("the second page", async () => Number(await rows()) < 50)
    const onSecond = await rows()
    await page.page.reload()
    await page.reads("page 2")
    await until("the second page again", async () => (await rows()) === onSecond)
    await page.fill("Queue", other)
    await page.reads("the only one")
    await until("one action", async () => (await rows()) === 1)
    expect(await page.page.evaluate("location.hash")).toBe(`#/actions?queue=${other}`)
  })

  test("a part of the name of a queue leads to the queue in each view that filters by queue", async () => {
    const queue = `${freshName()}-similar`
    await submit(queue)
    await using page = await signedIn("#/queues")
    for (const view of ["actions", "schedules", "workers", "dead", "events"]) {
      await goTo(page, `#/${view}?queue=${queue.slice(0, -1)}`)
      await page.page.reload()
      await page.click("button", queue)
      await until(view, async () => page.page.url().endsWith(`#/${view}?queue=${queue}`))
    }
  })

  test("a queue that has only a schedule or limits of a group is not shown as unknown", async () => {
    const [scheduled, limited] = [freshName(), freshName()]
    await call("PUT", `/schedules/${scheduled}:nightly`, {
      cron: "0 3 * * *",
      task: { type: "t" },
    })
    await call("PUT", `/queues/${limited}/groups/acme`, { concurrency: 1 })
    await using page = await signedIn(`#/queues/${scheduled}`)
    await page.find("button", "Limits")
    await goTo(page, `#/queues/${limited}`)
    await page.find("button", "Limits")
  })

  test("while Redis does not answer, a view that only reads says that it tries again, and does", async () => {
    await using away = await testRedis()
    await using reader = await testBroker({ redisTimeoutMs: 500 }, away.socket)
    await using page = await dashboard.browser.signedIn(reader.url, "#/queues", TOKEN, { expect: /503/ })
    await page.reads("No task has been submitted yet")
    process.kill(away.pid, "SIGSTOP")
    try {
      await page.page.goto(`${reader.url}/dashboard#/actions`)
      await page.reads("The page retries automatically.")
      await page.find("status", /cannot reach Redis/)
      expect(await page.text()).not.toContain("may have taken effect")
    } finally {
      process.kill(away.pid, "SIGCONT")
    }
    await page.reads("No actions")
    await page.find("status", /live/i)
  })

  test("a dialog that was closed while its request runs shows the error as a notice, and leaves other dialogs open", async () => {
    const queue = freshName()
    await submit(queue)
    await using page = await signedIn(`#/queues/${queue}`, { expect: /500/ })
    const held: (() => Promise<void>)[] = []
    await page.page.setRequestInterception(true)
    page.page.on("request", request => {
      if (request.method() !== "POST" || !request.url().endsWith("/pause")) return void request.continue()
      const status = held.length === 0 ? 500 : 200
      const body = JSON.stringify(status === 500 ? { error: "It went wrong" } : {})
      held.push(() => request.respond({ status, contentType: "application/json", body }))
    })
    for (const answered of [1, 2]) {
      await page.click("button", "Pause")
      await page.submitDialog()
      await until("it is sent", () => held.length === answered)
      await page.page.keyboard.press("Escape")
      await until("the dialog is closed", async () => (await page.seen("dialog")) === undefined)
      if (answered === 1) {
        await held[0]!()
        await page.reads("It went wrong")
      }
    }
    await page.click("button", "Limits")
    await page.fill("Max running", "7")
    await held[1]!()
    await page.reads("is paused")
    expect(await page.seen("dialog")).toBeDefined()
  })

  test("an error of a button stays until it is dismissed, and says if the action may have been performed", async () => {
    const queue = freshName()
    await submit(queue, { max_retries: 0 })
    const { tasks } = await call<Tasks>("POST", "/lease", { queues: [queue] })
    const [{ id, lease }] = tasks as [Tasks["tasks"][0]]
    await call("POST", "/ack", { task_id: id, lease, status: "failed", error: "no" })
    await using page = await signedIn("#/queues", { expect: /ERR_FAILED/ })
    // Notices of what was done disappear at once.
    await page.page.evaluateOnNewDocument(`{
      const { setTimeout } = globalThis
      globalThis.setTimeout = (run, ms, ...more) => setTimeout(run, ms === 6_000 ? 0 : ms, ...more)
    }`)
    await page.page.reload()
    await goTo(page, `#/tasks/${id}`)
    await page.find("button", "Retry")
    let isAway = true
    await page.page.setRequestInterception(true)
    page.page.on("request", request => {
      if (isAway && request.method() === "POST") void request.abort()
      else void request.continue()
    })
    await page.click("button", "Retry")
    await page.reads("The action may have been performed.")
    isAway = false
    await page.click("button", "Retry")
    await until("the task is queued", async () => !(await page.seen("button", "Retry")))
    expect(await page.text()).not.toContain("queued again")
    expect(await page.text()).toContain("The action may have been performed.")
    await page.click("button", "Dismiss")
    await until("it is dismissed", async () => !(await page.text()).includes("may have been performed"))
  })

  test("a filter that is refused does not show the rows of the one before", async () => {
    const queue = freshName()
    await submit(queue)
    await using page = await signedIn(`#/tasks?queue=${queue}`, { expect: /400/ })
    await page.find("table", "Tasks: all")
    await goTo(page, `#/tasks?queue=${queue}&id=${encodeURIComponent("\u{1f600}")}`)
    await page.find("alert")
    // The alert may be that of the counts, whose request is refused before that of the rows.
    await until("the rows are gone", async () => (await page.seen("table", "Tasks: all")) === undefined)
  })

  test("a filter by a group that does not exist shows no group", async () => {
    const queue = freshName()
    await submit(queue)
    await using page = await signedIn(`#/queues/${queue}?group=nobody`)
    await page.reads("nobody")
    await page.page.waitForNetworkIdle()
    expect(await page.seen("heading", "Groups")).toBeUndefined()
  })

  test("another filter of workers begins both of their lists again", async () => {
    const queue = freshName()
    await submit(queue)
    await using page = await signedIn("#/workers?page=zz&gone_page=yy")
    await page.fill("Queue", queue)
    await until("the filter is in the URL", async () =>
      String(await page.page.evaluate("location.hash")).endsWith(`?queue=${queue}`),
    )
  })
})
