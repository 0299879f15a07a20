/** Bulk operations in the dashboard, in real Chromium: dialogs, their page, and selecting tasks in lists. */
import { describe, expect, test } from "bun:test"
import type { HTTPRequest } from "puppeteer-core"
import type { BulkView } from "../../lib/wire/bulk.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import type { QueueView } from "../../lib/wire/managing.ts"
import type { Submit } from "../../lib/wire/submitting.ts"
import { chromium, type TestPage } from "../support/browser.ts"
import { bulkUntil, hasEnded, leaseAll, makeDead, settle } from "../support/bulk.ts"
import { TOKEN, until } from "../support/harness.ts"
import { ServedQueue } from "../support/served-queue.ts"
import { sharedBrowser } from "../support/shared-browser.ts"
import { LEASE_MS } from "../support/test-dashboard.ts"

describe.skipIf(chromium === undefined)("in Chromium", () => {
  const browser = sharedBrowser()
  let q: ServedQueue

  const open = () => ServedQueue.open({ visibilityTimeoutMs: LEASE_MS })
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
    await using queue = await open()
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
    await using queue = await open()
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

  test("a dialog shows the progress of what it has started also while the page is held", async () => {
    await using queue = await open()
    q = queue
    await makeDead(q, 5)
    await using page = await signedIn(`#/dead?queue=${q.queue}`)
    await page.click("button", /^Hold the page/)
    await page.reads("Held")
    await page.click("button", "Retry all")
    await page.find("button", "Retry 5")
    await page.submitDialog()
    await page.reads("waiting for canary")
    await settle(q, await q.lease(), "done")
    await page.reads("5 tasks retried (finished)")
    await page.click("button", "Close")
    // The list shows what the action has changed.
    await page.reads("No dead tasks")
  })

  test("the retry of a running operation is stopped from the page of bulk operations", async () => {
    await using queue = await open()
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
    await until("nothing is left to stop", async () => !(await page.seen("button", /^Stop: /)))
  })

  test("selected tasks are cancelled, and then all that match", async () => {
    await using queue = await open()
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
    await using queue = await open()
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

  /** Opens the dialog of each action of the selection, and returns what it counts or, if it is sent, starts. */
  async function ordersOf(
    page: TestPage,
    isSent: boolean,
    among = ".selection .grow ~ button",
  ): Promise<Record<string, object>> {
    const orders: Record<string, object> = {}
    let order: Record<string, unknown> | undefined
    const note = (request: HTTPRequest) => {
      const { pathname } = new URL(request.url())
      if (request.method() === "POST" && pathname === (isSent ? "/bulk" : "/bulk/count"))
        order = JSON.parse(request.postData()!)
    }
    page.page.on("request", note)
    const buttons = (await page.page.evaluate(
      `[...document.querySelectorAll(${JSON.stringify(among)})].map(of => of.ariaLabel ?? of.innerText.trim())`,
    )) as string[]
    for (const name of buttons) {
      order = undefined
      await page.click("button", name)
      await page.find("dialog")
      if (isSent) await page.submitDialog()
      await until(`the request of ${name}`, () => order)
      const { action, filter } = order as unknown as { action: string; filter: { task_ids?: string[] } }
      orders[name] = { action, ...filter, ...(filter.task_ids && { task_ids: filter.task_ids.toSorted() }) }
      if (isSent) await page.find("alert", /It went wrong/)
      await page.click("button", "Back")
      await until("the dialog is closed", async () => !(await page.seen("dialog")))
    }
    page.page.off("request", note)
    return orders
  }
  /** Every state that a task can have, each with one task. */
  async function oneTaskOfEachState(members: Partial<Submit>) {
    const submitted = { max_retries: 3, ...members }
    const [done, retrying, processing] = [
      await q.leased(submitted),
      await q.leased(submitted),
      await q.leased(submitted),
    ]
    await q.ack(done)
    await q.ack(retrying, { status: "failed", error: "no", retry_in_ms: 3_600_000 })
    const dead = await q.dead(members)
    const cancelled = await q.submit(submitted)
    await q.cancel(cancelled)
    const scheduled = await q.submit({ ...submitted, delay_ms: 3_600_000 })
    const queued = await q.submit(submitted)
    return {
      done: done.id,
      retrying: retrying.id,
      processing: processing.id,
      dead,
      cancelled,
      scheduled,
      queued,
    }
  }

  test("each action of everything that matches takes the state and all filters of the list", async () => {
    await using queue = await open()
    q = queue
    await oneTaskOfEachState({ type: "mail", group: "acme", meta: { team: "a" }, payload: { to: "Ada" } })
    const filter = { queue: q.queue, type_part: "mai", group: "acme", meta: { team: "a" }, text: "ada" }
    const query = new URLSearchParams({ ...filter, meta: "team=a" })
    const cancel = (state: string) => ({ action: "cancel", ...filter, state })
    const ended = (state: string) => ({
      "Run again all matching": { action: "submit_again", ...filter, state },
      "Purge all matching": { action: "purge", ...filter, state },
    })
    const delayed = (state: string) => ({
      "Run now all matching": { action: "start_now", ...filter, state },
      "Cancel all matching": cancel(state),
    })
    const expected = {
      all: {
        "Retry all dead": { action: "retry", ...filter, state: "dead" },
        "Run now all delayed": { action: "start_now", ...filter, state: "delayed" },
        "Cancel all waiting or running": cancel("any"),
        "Run again all ended": { action: "submit_again", ...filter, state: "ended" },
        "Purge all ended": { action: "purge", ...filter, state: "ended" },
      },
      queued: { "Cancel all matching": cancel("queued") },
      processing: { "Cancel all matching": cancel("processing") },
      delayed: delayed("delayed"),
      scheduled: delayed("scheduled"),
      retrying: delayed("retrying"),
      dead: { "Retry all matching": { action: "retry", ...filter, state: "dead" }, ...ended("dead") },
      done: ended("done"),
      cancelled: ended("cancelled"),
    }
    await using page = await signedIn(`#/tasks?state=all&${query}`)
    for (const [state, orders] of Object.entries(expected)) {
      await page.page.goto(`${q.broker.url}/dashboard#/tasks?state=${state}&${query}`)
      await page.find("table", `Tasks: ${state}`)
      await page.click("button", "Select everything that matches")
      expect([state, await ordersOf(page, false)]).toEqual([state, orders])
    }
    const parts = { queue_part: q.queue.slice(1), type: "mail" }
    await page.page.goto(`${q.broker.url}/dashboard#/tasks?state=queued&${new URLSearchParams(parts)}`)
    await page.click("button", "Select everything that matches")
    expect(await ordersOf(page, false)).toEqual({
      "Cancel all matching": { action: "cancel", ...parts, state: "queued" },
    })
  })

  test("each action on dead letters takes all filters of the view, and those on a group only its tasks", async () => {
    await using queue = await open()
    q = queue
    await makeDead(q, 2)
    const { groups } = (await q.ask("GET", `/dlq/groups?queue=${q.queue}`)).body
    const day = 86_400_000
    const filter = { queue: q.queue, type: "t", reason: "failed", error: "no route", newer_than_ms: day }
    const { newer_than_ms: _, ...inUrl } = filter
    const query = new URLSearchParams({ ...inUrl, age: `newer_than_ms:${day}` })
    await using page = await signedIn(`#/dead?${query}`)
    await page.find("table", "Dead tasks by error")
    const orders = (names: Record<string, string>, of: object) =>
      Object.fromEntries(Object.entries(names).map(([name, action]) => [name, { action, ...of }]))
    const group = { ...filter, fingerprint: groups[0].fingerprint }
    expect(await ordersOf(page, false, ".title .buttons button, td .buttons button")).toEqual({
      ...orders({ "Retry all": "retry", "Purge all": "purge" }, filter),
      ...orders({ "Retry: no route to 10.0.0.1": "retry", "Purge: no route to 10.0.0.1": "purge" }, group),
    })
    await page.click("link", "no route to 10.0.0.1")
    await page.click("button", "Select everything that matches")
    expect(await ordersOf(page, false)).toEqual(
      orders(
        {
          "Retry all matching": "retry",
          "Run again all matching": "submit_again",
          "Purge all matching": "purge",
        },
        { ...group, state: "dead" },
      ),
    )
  })

  test("each action of selected tasks takes those whose state it fits, and an error is shown", async () => {
    await using queue = await open()
    q = queue
    const { done, retrying, processing, dead, cancelled, scheduled, queued } = await oneTaskOfEachState({})
    await using page = await signedIn(`#/tasks?state=all&queue=${q.queue}`, { expect: /400/ })
    await page.page.setRequestInterception(true)
    page.page.on("request", request => {
      if (!request.url().endsWith("/bulk") || request.method() !== "POST") return void request.continue()
      const body = JSON.stringify({ error: "It went wrong" })
      void request.respond({ status: 400, contentType: "application/json", body })
    })
    await page.click("checkbox", "Select this page")
    const ids = (...of: string[]) => ({ task_ids: of.toSorted() })
    expect(await ordersOf(page, true)).toEqual({
      "Retry 1": { action: "retry", ...ids(dead) },
      "Run now 2": { action: "start_now", ...ids(retrying, scheduled) },
      "Cancel 4": { action: "cancel", ...ids(queued, processing, retrying, scheduled) },
      "Run again 3": { action: "submit_again", ...ids(done, dead, cancelled), state: "ended" },
      "Purge 3": { action: "purge", ...ids(done, dead, cancelled), state: "ended" },
    })
    await page.click("checkbox", `Select ${dead}`)
    expect(Object.keys(await ordersOf(page, true))).toEqual([
      "Run now 2",
      "Cancel 4",
      "Run again 2",
      "Purge 2",
    ])
    await page.click("button", "Select everything that matches")
    await page.click("checkbox", `Select ${dead}`)
    expect(await ordersOf(page, true)).toEqual({})
  })

  test("while the rows of another filter are shown, everything that matches cannot be selected", async () => {
    await using queue = await open()
    q = queue
    await q.submit({ type: "shown" })
    await q.submit({ type: "wanted" })
    await using page = await signedIn(`#/tasks?state=queued&queue=${q.queue}&type=shown`)
    await page.find("button", "Select everything that matches")
    const held: (() => Promise<void>)[] = []
    await page.page.setRequestInterception(true)
    page.page.on("request", request => {
      if (request.url().includes("type=wanted")) held.push(() => request.continue())
      else void request.continue()
    })
    await page.page.goto(`${q.broker.url}/dashboard#/tasks?state=queued&queue=${q.queue}&type=wanted`)
    await until("the rows are loaded", () => held.length > 0)
    await page.find("cell", "shown")
    expect(await page.seen("button", "Select everything that matches")).toBeUndefined()
    for (const answer of held) await answer()
    await page.find("cell", "wanted")
    await page.find("button", "Select everything that matches")
  })

  test("the dialog sends what was entered, and the same key again after an error", async () => {
    await using queue = await open()
    q = queue
    const [first] = await makeDead(q, 3)
    await using page = await signedIn(`#/dead?queue=${q.queue}`, { expect: /400/ })
    const sent: [body: string | undefined, key: string | undefined][] = []
    await page.page.setRequestInterception(true)
    page.page.on("request", request => {
      if (!request.url().endsWith("/bulk") || request.method() !== "POST") return void request.continue()
      sent.push([request.postData(), request.headers()["idempotency-key"]])
      void request.respond({ status: 400, contentType: "application/json", body: "{}" })
    })
    await page.click("button", "Retry all")
    await page.find("button", "Retry 3")
    await page.fill("At most", "2")
    await page.find("button", "Retry 2")
    await page.fill("Per second", "7")
    await page.fill("Reason", " the route is back ")
    await page.click("checkbox", /Canary/)
    await page.fill("Patch", '{"n": 1')
    await page.submitDialog()
    await page.find("alert", /The patch is not valid JSON/)
    expect(sent).toEqual([])
    await page.fill("Patch", '{"n": 12345678901234567890}')
    for (const count of [1, 2]) {
      await page.submitDialog()
      await until("it is sent", () => sent.length === count)
      await page.find("alert", /The broker answered 400/)
    }
    const body = `{"action":"retry","filter":{"queue":"${q.queue}"},"limit":2,"rate":7,"reason":"the route is back","patch":{"n": 12345678901234567890}}`
    expect(sent).toEqual([
      [body, expect.stringMatching(/^dashboard-/)],
      [body, sent[0]![1]],
    ])
    // One task needs no canary.
    await page.page.goto(`${q.broker.url}/dashboard#/tasks?queue=${q.queue}&state=dead`)
    await page.click("checkbox", `Select ${first}`)
    await page.click("button", "Retry 1")
    expect(await (await page.find("checkbox", /Canary/)).value<boolean>("this.checked")).toBeFalse()
  })

  test("a selected dead task that another operator retried, and that is done meanwhile, is not deleted", async () => {
    await using queue = await open()
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
    await using queue = await open()
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
    await using queue = await open()
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
    await using queue = await open()
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
    await using queue = await open()
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
