/** Bulk operations in the dashboard, in real Chromium: dialogs, their page, and selecting tasks in lists. */
import { describe, expect, setDefaultTimeout, test } from "bun:test"
import type { BulkView } from "../../lib/wire/bulk.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import type { QueueView } from "../../lib/wire/managing.ts"
import { chromium, type TestPage } from "../support/browser.ts"
import { bulkUntil, hasEnded, leaseAll, makeDead, settle } from "../support/bulk.ts"
import { TOKEN, until } from "../support/harness.ts"
import { ServedQueue } from "../support/served-queue.ts"
import { sharedBrowser } from "../support/shared-browser.ts"

// The preload sets the timeout only for the first of several files.
setDefaultTimeout(60_000)

describe.skipIf(chromium === undefined)("in Chromium", () => {
  const browser = sharedBrowser()
  let q: ServedQueue

  const signedIn = (hash: string, look = {}): Promise<TestPage> =>
    browser.signedIn(q.broker.url, hash, TOKEN, look)
  const operations = async () => (await q.ask("GET", "/bulk")).body.operations as BulkView[]
  const depth = async () => ((await q.ask("GET", `/queues/${q.queue}`)).body as QueueView).depth
  /** Opens the page again, as after a closed tab. */
  const reopen = async (page: TestPage, hash: string) => {
    await page[Symbol.asyncDispose]()
    return signedIn(hash)
  }

  test("a retry is started, goes on when the tab is closed, and is finished when it is opened again", async () => {
    await using queue = await ServedQueue.open()
    q = queue
    await makeDead(q, 30)
    let page = await signedIn(`#/dead?queue=${q.queue}`)
    try {
      await page.click("button", "Retry all")
      await page.find("button", "Retry 30")
      expect(await (await page.find("checkbox", /Canary/)).value<boolean>("this.checked")).toBeTrue()
      await page.fill("Reason", "the route is back")
      expect(await page.barriers()).toEqual([])
      await page.picture("bulk-retry")
      await page.submitDialog()
      await page.reads("waiting for canary")
      await page.find("button", "Stop")
      await page.picture("bulk-running")
      expect(await page.barriers()).toEqual([])
      page = await reopen(page, "#/bulk")
      await page.reads("1 task retried")
      await page.reads("the route is back")
      await page.picture("bulk-list")
      expect(await page.barriers()).toEqual([])
      page = await reopen(page, "#/queues")
      await settle(q, await q.lease(), "done")
      const [{ bulk_id }] = (await operations()) as [BulkView]
      expect(await bulkUntil(q.broker, bulk_id, hasEnded)).toMatchObject({ state: "finished" })
      const tasks = await leaseAll(q, 29)
      await settle(q, tasks.slice(0, 20), "done")
      await settle(q, tasks.slice(20), "failed")
      page = await reopen(page, "#/bulk")
      await page.reads("30 tasks retried")
      await page.reads("21 succeeded, 9 died again")
      await page.reads("API_SECRET_TOKEN")
      expect(await page.overflow()).toBe(0)
    } finally {
      await page[Symbol.asyncDispose]()
    }
  })

  test("a canary that dies again is shown with its error, and the list behind the dialog is up to date", async () => {
    await using queue = await ServedQueue.open()
    q = queue
    await makeDead(q, 5)
    await using page = await signedIn(`#/dead?queue=${q.queue}`)
    await page.click("button", "Retry all")
    await page.find("button", "Retry 5")
    await page.submitDialog()
    await page.reads("waiting for canary")
    await q.ack((await q.lease())[0]!, { status: "failed", error: "the route is still closed" })
    await page.reads(/died again: the route is still closed/)
    await page.reads("stopped")
    await page.click("button", "Close")
    // Its error forms another group.
    await page.find("link", "the route is still closed")
  })

  test("the retry of a running operation is stopped from the page of bulk operations", async () => {
    await using queue = await ServedQueue.open()
    q = queue
    await makeDead(q, 4)
    const { body } = await q.ask("POST", "/bulk", {
      action: "retry",
      filter: { queue: q.queue },
      canary: true,
    })
    await using page = await signedIn("#/bulk")
    await page.click("button", /^Stop: /)
    await bulkUntil(q.broker, body.bulk_id, hasEnded)
    await page.reads("stopped by API_SECRET_TOKEN")
  })

  test("selected tasks are cancelled, and then all that match", async () => {
    await using queue = await ServedQueue.open()
    q = queue
    const ids = [await q.submit(), await q.submit(), await q.submit({ type: "other" })]
    for (let i = 0; i < 30; i++) await q.submit({ type: "many" })
    await using page = await signedIn(`#/queues/${q.queue}?state=queued&type=t`)
    await page.click("checkbox", `Select ${ids[0]}`)
    await page.picture("selection")
    expect(await page.barriers()).toEqual([])
    await page.click("button", "Cancel 1")
    await page.submitDialog()
    await page.reads("1 task cancelled")
    await page.click("button", "Close")
    expect((await q.task(ids[0]!)).status).toBe("cancelled")
    await until("the list is loaded again", async () => !(await page.seen("checkbox", `Select ${ids[0]}`)))
    expect((await q.task(ids[1]!)).status).toBe("queued")

    await page.page.goto(`${q.broker.url}/dashboard#/queues/${q.queue}?state=queued&type=many`)
    await page.click("button", "Select everything that matches")
    await page.click("button", "Cancel all matching")
    await page.find("button", "Cancel 30")
    await page.submitDialog()
    await page.reads("30 tasks cancelled")
    await page.click("button", "Close")
    expect((await depth()).cancelled).toBe(31)
    expect((await q.task(ids[2]!)).status).toBe("queued")
  })

  test("a page of dead tasks is selected and retried, and delayed tasks are run now", async () => {
    await using queue = await ServedQueue.open()
    q = queue
    await makeDead(q, 3)
    await using page = await signedIn(`#/tasks?queue=${q.queue}&state=dead`)
    await page.click("checkbox", "Select this page")
    await page.find("button", "Purge 3")
    await page.click("button", "Retry 3")
    await page.click("checkbox", /Canary/)
    await page.submitDialog()
    await page.reads("3 tasks retried")
    await page.click("button", "Close")
    await page.reads("No dead tasks")
    expect((await depth()).queued).toBe(3)

    await q.submit({ delay_ms: 3_600_000 })
    await page.page.goto(`${q.broker.url}/dashboard#/queues/${q.queue}?state=delayed`)
    await page.click("button", "Select everything that matches")
    await page.click("button", "Run now all matching")
    await page.submitDialog()
    await page.reads("1 task made ready")
    expect((await depth()).delayed).toBe(0)
  })

  test("a selected dead task that another operator retried, and that is done meanwhile, is not deleted", async () => {
    await using queue = await ServedQueue.open()
    q = queue
    const [retried, deleted] = await makeDead(q, 2)
    await using page = await signedIn(`#/tasks?queue=${q.queue}&state=dead`)
    await page.click("checkbox", "Select this page")
    await q.ask("POST", `/dlq/retry/${retried}`)
    await settle(q, await q.lease(), "done")
    await page.click("button", "Purge 2")
    await page.submitDialog()
    await page.reads("1 task purged, 1 skipped")
    expect((await q.task(retried!)).status).toBe("done")
    expect((await q.ask("GET", `/status/${deleted}`)).status).toBe(404)
  })

  test("in the list of all states, everything that matches a text is selected, and each action takes the tasks that it fits", async () => {
    await using queue = await ServedQueue.open()
    q = queue
    for (const name of ["Ada", "Bob"]) {
      await q.dead({ payload: { to: name } })
      await q.ack(await q.leased({ payload: { to: name } }))
      await q.cancel(await q.submit({ payload: { to: name }, delay_ms: 3_600_000 }))
      await q.submit({ payload: { to: name }, delay_ms: 3_600_000 })
    }
    await using page = await signedIn(`#/queues/${q.queue}?state=all&text=ada`)
    const tasks = async (): Promise<TaskView[]> =>
      (await q.ask("GET", `/tasks?state=all&queue=${q.queue}`)).body.tasks
    const counts = async () => {
      const byState = Map.groupBy(await tasks(), ({ status }) => status)
      return Object.fromEntries([...byState].map(([state, { length }]) => [state, length]))
    }
    const act = async (button: string, confirmed: string, result: string) => {
      await page.click("button", "Select everything that matches")
      await page.click("button", button)
      await page.find("button", confirmed)
      await page.submitDialog()
      await page.reads(result)
      await page.click("button", "Close")
    }
    await page.click("button", "Select everything that matches")
    await page.reads("Everything that matches is selected")
    await page.picture("selection-everything")
    expect(await page.barriers()).toEqual([])
    await page.click("button", "Clear selection")
    await act("Run again all ended", "Run again 3", "3 tasks submitted again")
    expect(await counts()).toMatchObject({ queued: 3, dead: 2, done: 2, cancelled: 2, scheduled: 2 })
    await act("Run now all delayed", "Run now 1", "1 task made ready")
    expect(await counts()).toMatchObject({ queued: 4, scheduled: 1 })
    await act("Cancel all waiting or running", "Cancel 4", "4 tasks cancelled")
    expect(await counts()).toMatchObject({ scheduled: 1, cancelled: 6 })
    await act("Purge all ended", "Purge 7", "7 tasks purged")
    expect(await counts()).toEqual({ dead: 1, done: 1, cancelled: 1, scheduled: 1 })
    expect((await tasks()).map(({ payload }) => payload)).toEqual(Array(4).fill({ to: "Bob" }))
  })

  test("everything with a part of an id is selected, but not beside a task with exactly that id", async () => {
    await using queue = await ServedQueue.open()
    q = queue
    for (const task_id of ["order-1", "order-12", "other"]) await q.submit({ task_id, delay_ms: 3_600_000 })
    await using page = await signedIn(`#/tasks?state=all&id=${q.queue}:order-1`)
    await page.find("checkbox", `Select ${q.queue}:order-1`)
    expect(await page.seen("button", "Select everything that matches")).toBeUndefined()
    await page.page.goto(`${q.broker.url}/dashboard#/tasks?state=all&id=${q.queue}:RDER-`)
    await page.click("button", "Select everything that matches")
    await page.click("button", "Cancel all waiting or running")
    await page.find("button", "Cancel 2")
    await page.submitDialog()
    await page.reads("2 tasks cancelled")
    expect((await q.task(`${q.queue}:other`)).status).toBe("scheduled")
  })

  test("done and cancelled tasks are run again and deleted, one and many", async () => {
    await using queue = await ServedQueue.open()
    q = queue
    const [first, second] = [await q.leased(), await q.leased()]
    for (const task of [first, second]) await q.ack(task)
    const cancelled = await q.submit()
    await q.cancel(cancelled)
    await using page = await signedIn(`#/queues/${q.queue}?state=done`)
    await page.click("checkbox", `Select ${first.id}`)
    await page.find("button", "Purge 1")
    await page.click("button", "Run again 1")
    await page.submitDialog()
    await page.reads("1 task submitted again")
    await page.click("button", "Close")
    expect(await q.lease()).toMatchObject([{ again_of: first.id }])
    await page.click("checkbox", "Select this page")
    await page.click("button", "Purge 2")
    await page.submitDialog()
    await page.reads("2 tasks purged")
    await page.click("button", "Close")
    await page.reads("No done tasks")
    expect((await q.ask("GET", `/status/${first.id}`)).status).toBe(404)

    await page.page.goto(`${q.broker.url}/dashboard#/queues/${q.queue}?state=cancelled`)
    await page.click("button", "Select everything that matches")
    await page.click("button", "Run again all matching")
    await page.find("button", "Run again 1")
    await page.submitDialog()
    await page.reads("1 task submitted again")
    expect(await depth()).toMatchObject({ queued: 1, cancelled: 1 })

    await page.page.goto(`${q.broker.url}/dashboard#/tasks/${cancelled}`)
    page.expectFaults(/404/)
    await page.click("button", "Delete")
    await page.submitDialog()
    await page.reads("No task has this id")
    expect((await depth()).cancelled).toBe(0)
  })

  test("the list and the dialog fit a phone in dark mode", async () => {
    await using queue = await ServedQueue.open()
    q = queue
    await makeDead(q, 3)
    await q.ask("POST", "/bulk", {
      action: "retry",
      filter: { queue: q.queue },
      canary: true,
      reason: "again",
    })
    await using page = await signedIn("#/bulk", { width: 390, height: 844, dark: true })
    await page.reads("waiting for canary")
    expect(await page.overflow()).toBe(0)
    expect(await page.barriers()).toEqual([])
    await page.picture("bulk-phone")
    // The two lines of a row say what was chosen.
    const isCutOff = `(() => {
      const text = [...document.querySelectorAll("tbody [title]")].find(of => of.title.includes("${q.queue}"))
      return text.getBoundingClientRect().bottom > text.closest("tr").getBoundingClientRect().bottom
    })()`
    expect(await page.page.evaluate(isCutOff)).toBe(false)
    await page.page.goto(`${q.broker.url}/dashboard#/tasks?queue=${q.queue}&state=dead`)
    await page.click("checkbox", "Select this page")
    await page.picture("selection-phone")
    expect(await page.overflow()).toBe(0)
    expect(await page.barriers()).toEqual([])
    await page.page.goto(`${q.broker.url}/dashboard#/tasks?queue=${q.queue}`)
    await page.click("button", "Select everything that matches")
    await page.picture("selection-everything-phone")
    expect(await page.overflow()).toBe(0)
    expect(await page.barriers()).toEqual([])
    await page.page.goto(`${q.broker.url}/dashboard#/tasks?queue=${q.queue}&state=dead`)
    await page.click("checkbox", "Select this page")
    await page.click("button", /^Retry \d/)
    await page.find("dialog")
    await page.picture("bulk-dialog-phone")
    expect(await page.overflow()).toBe(0)
  })
})
