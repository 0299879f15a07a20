/** The overview of the dashboard: what needs attention comes first, in order and in words, over any number of queues. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { Redis } from "ioredis"
import { QUEUES } from "../../lib/redis/keys.ts"
import type { QueueView } from "../../lib/wire/managing.ts"
import { chromium, type TestPage } from "../support/browser.ts"
import { freshName, until } from "../support/harness.ts"
import { TestDashboard } from "../support/test-dashboard.ts"

describe.skipIf(chromium === undefined)("in Chromium", () => {
  const dashboard = new TestDashboard()
  let admin: Redis
  beforeAll(() => {
    admin = new Redis(dashboard.socket)
  })
  afterAll(() => admin?.disconnect())

  const { signedIn, goTo, call } = dashboard
  const submit = (queue: string, more: object = {}) =>
    call("POST", "/submit", { type: "mail", queue, ...more })
  const firstQueue = (page: TestPage) =>
    page.page.evaluate("document.querySelector('tbody a')?.innerText") as Promise<string>
  const hashOf = (page: TestPage) => page.page.evaluate("location.hash") as Promise<string>

  test("1,500 queues: the one without workers is first and says why; figures, order and page are in the address", async () => {
    const names = Array.from({ length: 1_500 }, (_, i) => `tenant-${String(i).padStart(4, "0")}`)
    await admin.sadd(QUEUES, ...names)
    await submit("tenant-1400")
    await submit("tenant-0700", { delay_ms: 3_600_000 })
    await using page = await signedIn("#/queues", { width: 1_440 })
    await page.find("region", "Needs attention")
    await page.reads("No worker has ever polled it, and 1 task waits.")
    expect(await firstQueue(page)).toBe("tenant-1400")
    await page.reads("0 of 1,500") // paused
    expect(await page.page.evaluate("document.querySelectorAll('tbody tr').length")).toBe(100)
    expect(await page.overflow()).toBe(0)
    expect(await page.barriers()).toEqual([])
    await page.picture("attention")
    await page.page.setViewport({ width: 1_010, height: 900 })
    expect(await page.overflow()).toBe(0)
    await page.page.setViewport({ width: 1_440, height: 900 })

    await page.click("button", "Next page")
    await until("the second page", async () => (await firstQueue(page)) === "tenant-0099")
    expect(await hashOf(page)).toContain("page=")
    await page.page.reload()
    await until("the second page is back", async () => (await firstQueue(page)) === "tenant-0099")
    await page.click("button", "Delayed")
    await until(
      "the queue with a delayed task is first",
      async () => (await firstQueue(page)) === "tenant-0700",
    )
    expect(await hashOf(page)).toBe("#/queues?order=delayed")
    await page.fill("Name contains", "TENANT-149")
    await until("ten are listed", async () => (await page.text()).includes("tenant-1499"))
    expect(await page.page.evaluate("document.querySelectorAll('tbody tr').length")).toBe(10)
    // The strip does not depend on the filter.
    await page.find("region", "Needs attention")
  })

  test("the strip leads to the view that helps, and disappears when all is well", async () => {
    const queue = freshName()
    await submit(queue, { max_retries: 0 })
    await using page = await signedIn(`#/queues/${queue}`)
    await page.find("region", "Needs attention")
    await page.click("link", "No workers")
    await until("the workers of the queue", async () => (await hashOf(page)) === `#/workers?queue=${queue}`)
    const { tasks } = await call<{ tasks: { id: string; lease: string }[] }>("POST", "/lease", {
      queues: [queue],
      worker: "w",
    })
    await goTo(page, `#/queues/${queue}`)
    await page.find("heading", queue)
    await until("no trouble", async () => !(await page.text()).includes("No worker has"))
    const [{ id, lease }] = tasks as [(typeof tasks)[0]]
    await call("POST", "/ack", { task_id: id, lease, status: "failed", error: "no" })
    await page.reads("1 task died in the last 24 hours.")
  })

  test("thresholds are edited in the dialog of limits, and survive a save of other limits", async () => {
    const queue = freshName()
    await submit(queue)
    const settings = async () => (await call<QueueView>("GET", `/queues/${queue}`)).settings
    await using page = await signedIn(`#/queues/${queue}`)
    const save = async () => {
      await page.submitDialog()
      await until("the dialog is closed", async () => (await page.seen("dialog")) === undefined)
    }
    await page.click("button", "Limits")
    await page.find("dialog")
    await page.page.evaluate("document.querySelector('details.thresholds').open = true")
    await page.fill("A task waits for (s)", "900")
    await page.fill("Tasks that died in 24 hours", "off")
    await save()
    expect(await settings()).toEqual({ attention: { oldest_wait_ms: 900_000, dead: "off" } })
    // Another operator changes a setting while this dialog is open.
    await page.click("button", "Limits")
    await page.find("dialog")
    const put = { ...(await settings()), groups: { concurrency: 3 } }
    await call("PUT", `/queues/${queue}/settings`, put)
    await page.fill("Max running", "7")
    await save()
    expect(await settings()).toEqual({
      concurrency: 7,
      groups: { concurrency: 3 },
      attention: { oldest_wait_ms: 900_000, dead: "off" },
    })
    await page.page.reload()
    await page.click("button", "Limits")
    await page.fill("A task waits for (s)", "")
    await page.fill("Tasks that died in 24 hours", "")
    await save()
    expect(await settings()).toEqual({ concurrency: 7, groups: { concurrency: 3 } })
  })

  test("a schedule whose run is late says so, in the list and on its page", async () => {
    const queue = freshName()
    const id = `${queue}:s`
    const { next_at } = await call<{ next_at: number }>("PUT", `/schedules/${id}`, {
      every_ms: 9_000_000,
      task: { type: "t" },
    })
    await using page = await signedIn(`#/schedules?queue=${queue}`)
    await page.reads(/\bin \d/)
    expect(await page.text()).not.toContain("due ")
    // As if it had found no room for an hour, and would be tried again later.
    const key = `tq:{${queue}}:schedules`
    await admin.hset(
      key,
      "s",
      (await admin.hget(key, "s"))!.replace(`${next_at}`, `${Date.now() - 3_600_000}`),
    )
    await page.reads(/\bdue 1 h ago/)
    await page.click("link", id)
    await page.find("region", "Late")
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await call("DELETE", `/schedules/${id}`)
  })
})
