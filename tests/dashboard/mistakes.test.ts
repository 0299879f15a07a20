/** What an operator gets wrong in forms and addresses: the page says what would be right, and loses nothing. */
import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test"
import type { QueueView } from "../../lib/wire/managing.ts"
import { chromium, TestBrowser, type TestPage } from "../support/browser.ts"
import { freshName, type TestBroker, TOKEN, testBroker, until } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"
import { answered, post } from "../support/requests.ts"

setDefaultTimeout(60_000)

describe.skipIf(chromium === undefined)("in Chromium", () => {
  let browser: TestBrowser
  let redis: Awaited<ReturnType<typeof testRedis>>
  let broker: TestBroker
  beforeAll(async () => {
    ;[browser, redis] = await Promise.all([TestBrowser.start(), testRedis()])
    broker = await testBroker({}, redis.socket)
  })
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]()
    await broker?.[Symbol.asyncDispose]()
    await redis?.[Symbol.asyncDispose]()
  })
  afterEach(() => expect(browser.faults.splice(0)).toEqual([]))

  const signedIn = (hash: string, look = {}): Promise<TestPage> =>
    browser.signedIn(broker.url, hash, TOKEN, look)
  const submit = (queue: string, more: object = {}) =>
    answered(post(broker, "/submit", { type: "mail", queue, ...more }))
  const settingsOf = async (queue: string) =>
    ((await (await broker.call("GET", `/queues/${queue}`)).json()) as QueueView).settings
  const save = (page: TestPage) =>
    page.page.evaluate("[...document.querySelectorAll('dialog[open] button')].at(-1).click()")
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
    await save(page)
    await until("the field is shown", () => thresholdsOpen(page))
    await page.fill("A task waits for (s)", "0")
    await save(page)
    await page.reads('must be a whole number from 1 to 2678400000 (default 300000), or "off"')
    expect(await page.seen("dialog")).toBeDefined()
    await page.fill("A task waits for (s)", "OFF")
    await save(page)
    await until("the dialog is closed", async () => (await page.seen("dialog")) === undefined)
    expect(await settingsOf(queue)).toEqual({ attention: { oldest_wait_ms: "off" } })
  })

  test("a burst without a rate is not dropped in silence, and a rate in another form is shown and kept", async () => {
    const queue = freshName()
    const rate = [
      { limit: 100, per_ms: 60_000, burst: 100 },
      { limit: 5, per_ms: 1_000, burst: 5 },
    ]
    await answered(broker.call("PUT", `/queues/${queue}/settings`, { rate }))
    await using page = await signedIn(`#/queues/${queue}`)
    await page.click("button", "Limits")
    await page.find("dialog")
    await page.reads("Starts are limited to 100 per 1 min, burst 100; 5 per second, burst 5.")
    await page.fill("Burst", "7")
    await save(page)
    await page.reads("A burst needs a number of starts per second")
    await page.fill("Burst", "")
    await page.fill("Max running", "3")
    await save(page)
    await until("the dialog is closed", async () => (await page.seen("dialog")) === undefined)
    expect(await settingsOf(queue)).toMatchObject({ concurrency: 3, rate })
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
    await save(page)
    await page.find("button", `Resume group ${groups[2]}`)
    // A message may cover the link.
    await (await page.find("link", groups[1]!)).focus()
    await page.page.keyboard.press("Enter")
    await until(
      "the tasks of the group",
      () => new URLSearchParams(page.page.url().split("?")[1]).get("group") === groups[1],
    )
  })
})
