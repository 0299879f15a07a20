/** The views about people and machines: actions of operators, workers, brokers. */
import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test"
import { chromium, type Look, TestBrowser, type TestPage } from "../support/browser.ts"
import { freshName, type TestBroker, TOKEN, testBroker, until } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"

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

  const signedIn = (hash: string, look: Look = {}): Promise<TestPage> =>
    browser.signedIn(broker.url, hash, TOKEN, look)
  const call = async (method: string, path: string, body?: unknown) => {
    const answer = await broker.call(method, path, body)
    if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`)
  }

  test("the page of actions shows who changed what, and the page of a queue links to it", async () => {
    const queue = freshName()
    await call("PUT", `/queues/${queue}/settings`, { concurrency: 3 })
    await call("PUT", `/queues/${queue}/settings`, { concurrency: 5 })
    await call("POST", `/queues/${queue}/pause`, { reason: "the mail server is moved" })
    await call("POST", "/queues/another/pause")
    await using page = await signedIn(`#/queues/${queue}`)
    await (await page.find("main")).value(
      "[...this.querySelectorAll('a')].find(a => a.innerText === 'Actions').click()",
    )
    await page.find("heading", "Actions")
    await page.reads("reason: the mail server is moved")
    const text = await page.text()
    expect(text).toContain("API_SECRET_TOKEN")
    expect(text).toContain("concurrency: 3 → 5")
    expect(text).not.toContain("another")
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.picture("actions")
    await page.page.goto(`${broker.url}/dashboard#/actions?action=setQueueSettings`)
    await until("the filter applies", async () => !(await page.text()).includes("the mail server is moved"))
    await page.reads("concurrency: none → 3")
  })

  test("the page of actions fits a phone", async () => {
    await call("POST", "/queues/phone/pause", {
      reason: "a reason that is much longer than a phone is wide, so it is cut off",
    })
    await using page = await signedIn("#/actions", { width: 390, height: 844, dark: true })
    await page.reads("a reason that")
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.picture("actions-phone")
  })
})
