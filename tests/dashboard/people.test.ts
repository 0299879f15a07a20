/** The views about people and machines: actions of operators, workers, brokers. */
import { describe, expect, test } from "bun:test"
import { Redis } from "ioredis"
import { WORKERS_SEEN } from "../../lib/redis/keys.ts"
import { chromium } from "../support/browser.ts"
import { freshName, TOKEN, testBroker, until } from "../support/harness.ts"
import { TestDashboard } from "../support/test-dashboard.ts"

describe.skipIf(chromium === undefined)("in Chromium", () => {
  const dashboard = new TestDashboard()
  const { browser, signedIn, goTo, call } = dashboard

  test("the page of actions shows who changed what, and the page of a queue links to it", async () => {
    const queue = freshName()
    await call("PUT", `/queues/${queue}/settings`, { concurrency: 3 })
    await call("PUT", `/queues/${queue}/settings`, { concurrency: 5 })
    await call("POST", `/queues/${queue}/pause`, { reason: "the mail server is moved" })
    await call("POST", "/queues/another/pause")
    await call("POST", "/lease", { queues: [queue], worker: "w-of-actions" })
    await call("POST", "/workers/w-of-actions/drain")
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
    await goTo(page, "#/actions?action=setQueueSettings")
    await until("the filter applies", async () => !(await page.text()).includes("the mail server is moved"))
    await page.reads("concurrency: none → 3")
    await goTo(page, "#/actions?action=drainWorker")
    await page.click("link", "w-of-actions")
    await page.find("heading", "w-of-actions")
    await call("DELETE", "/workers/w-of-actions/drain")
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

  test("workers show their load, are sorted and filtered, and those that are gone are folded away", async () => {
    const queue = freshName()
    for (let i = 0; i < 3; i++) await call("POST", "/submit", { type: "t", queue })
    await call("POST", "/lease", { queues: [queue], worker: "busy", max: 3, concurrency: 4 })
    await call("POST", "/lease", { queues: [queue], worker: "idle", concurrency: 2 })
    await call("POST", "/lease", { queues: [queue], worker: "old" })
    await call("POST", "/lease", { queues: [queue], worker: "away" })
    await dashboard.broker.queue.parts.workers.flush()
    const direct = new Redis(dashboard.socket)
    await direct.zincrby(WORKERS_SEEN, -120_000, "away")
    direct.disconnect()

    await using page = await signedIn(`#/workers?queue=${queue}&order=running`)
    await page.reads(/busy.*\n?.*live/)
    await until("the one that is gone is not listed", async () => !(await page.text()).includes("away"))
    const rows = (await page.page.evaluate(
      "[...document.querySelectorAll('table[aria-label=Workers] tbody tr')].map(row => row.innerText.replace(/\\s+/g, ' '))",
    )) as string[]
    expect(rows.map(row => row.split(" ")[0])).toEqual(["busy", "idle", "old"])
    expect(rows[0]).toContain(" 3 of 4 ")
    expect(rows[1]).toContain(" 0 of 2 ")
    expect(rows[2]).toContain(" 0 of – ")
    await page.find("meter", "75 % of busy used")
    await (await page.find("main")).value("this.querySelector('summary').click()")
    await page.reads("away")
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.picture("workers-load")
    await goTo(page, "#/workers?state=draining")
    await page.reads("No workers")
  })

  test("brokers are listed below the workers, with the facts of Redis and why it is not ready", async () => {
    await using other = await testBroker({}, dashboard.socket)
    await using page = await signedIn("#/workers")
    await page.find("table", "Brokers")
    const { broker: own } = dashboard.broker.queue.parts.brokers
    await page.reads(new RegExp(`${own} this one`))
    expect(await page.text()).toContain(other.queue.parts.brokers.broker)
    await page.reads(/Redis memory\s+[\d.]+ MB, no limit/)
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.picture("brokers")
    const direct = new Redis(dashboard.socket)
    await direct.config("SET", "maxmemory-policy", "allkeys-lru")
    page.expectFaults(/503/)
    await page.page.reload()
    await page.reads("Set maxmemory-policy to noeviction")
    await page.find("table", "Brokers")
    await direct.config("SET", "maxmemory-policy", "noeviction")
    direct.disconnect()
  })

  test("the page of a worker shows its running tasks and its recent attempts", async () => {
    const queue = freshName()
    await using page = await signedIn("#/workers/mason")
    await page.reads("No worker of this name")
    await call("POST", "/submit", { type: "build", queue, task_id: "running" })
    await call("POST", "/submit", { type: "build", queue, task_id: "broken", max_retries: 0 })
    await call("POST", "/submit", { type: "build", queue, task_id: "built" })
    await call("POST", "/lease", { queues: [queue], worker: "mason", max: 3, concurrency: 4 })
    await call("POST", "/ack", { task_id: `${queue}:broken`, status: "failed", error: "no bricks\nat wall" })
    await call("POST", "/ack", { task_id: `${queue}:built` })
    // An attempt of another worker is not one of this one.
    await call("POST", "/submit", { type: "build", queue })
    await call("POST", "/lease", { queues: [queue], worker: "carpenter" })
    await page.find("table", "Recent attempts")
    await page.reads("no bricks")
    await page.find("image", /^3 attempts over .*, at most 3 at a time$/)
    const bars = (await page.page.evaluate(
      "[...document.querySelectorAll('.lanes rect')].map(bar => [bar.getAttribute('class'), bar.getAttribute('y'), bar.getBoundingClientRect().width])",
    )) as [string, string, number][]
    expect(bars.map(([, y]) => y)).toEqual(["0", "12", "24"])
    expect(bars.map(([of]) => of).sort()).toEqual([
      "attempt-bar done",
      "attempt-bar failed",
      "attempt-bar processing",
    ])
    const running = bars.find(([of]) => of.endsWith("processing"))![2]
    for (const [of, , width] of bars) if (!of.endsWith("processing")) expect(width).toBeLessThan(running)
    const rows = (await page.page.evaluate(
      "[...document.querySelectorAll('[aria-label=\"Recent attempts\"] tbody tr')].map(row => row.innerText.replace(/\\s+/g, ' '))",
    )) as string[]
    expect(rows.map(row => row.split(" ").slice(0, 3))).toEqual([
      [`${queue}:built`, "build", "done"],
      [`${queue}:broken`, "build", "failed"],
      [`${queue}:running`, "build", "processing"],
    ])
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.picture("worker")
    await page.click("button", "Drain mason")
    await page.find("dialog")
    await page.click("button", "Drain")
    await page.find("button", "Cancel drain: mason")
    // A further page ends the session of this one, whose next request would be refused.
    await page[Symbol.asyncDispose]()
    await using phone = await signedIn("#/workers/mason", { width: 390, height: 844, dark: true })
    await phone.find("image", /^3 attempts over/)
    expect([await phone.overflow(), await phone.barriers()]).toEqual([0, []])
    await phone.picture("worker-phone")
  })

  test("a held page shows nothing new until one continues, but loads what one asks for", async () => {
    const queue = freshName()
    await call("POST", "/submit", { type: "t", queue, task_id: "first" })
    await using page = await signedIn(`#/tasks?queue=${queue}`)
    await page.reads(`${queue}:first`)
    await page.click("button", /^Hold the page/)
    await page.reads("Held")
    /** Without Hold, the event would make the view load again within 1.2 s. */
    const isSkipped = async (name: string) => {
      await call("POST", "/submit", { type: "t", queue, task_id: name })
      await page.page.evaluate(`new Promise(resolve => {
        const source = new EventSource("/events?queue=${queue}&last_event_id=1-0")
        source.addEventListener("submitted", ({ data }) => data.includes("${name}") && (source.close(), resolve()))
      })`)
      await Bun.sleep(2_000)
      expect(await page.text()).not.toContain(`${queue}:${name}`)
    }
    await isSkipped("second")
    await page.page.keyboard.press("r")
    await page.reads(`${queue}:second`)
    await isSkipped("third")
    await page.click("button", /^Continue/)
    await page.reads(`${queue}:third`)
    await page.reads("Live")
    await page.page.keyboard.press("h")
    await page.reads("Held")
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.picture("held")
    // A view that is opened while the page is held is filled.
    await goTo(page, `#/events?queue=${queue}`)
    await page.reads(`${queue}:third`)
    await page.fill("Text contains", ":second")
    await until("others are filtered out", async () => !(await page.text()).includes(`${queue}:third`))
    await page.reads(`${queue}:second`)
    // So is one whose first request fails.
    page.expectFaults(/503/)
    let isAway = true
    await page.page.setRequestInterception(true)
    page.page.on("request", request => {
      if (!isAway || !request.url().includes("/workers?")) return void request.continue()
      isAway = false
      void request.respond({ status: 503, contentType: "application/json", body: "{}" })
    })
    await goTo(page, `#/workers?queue=${queue}`)
    await page.reads("No workers")
  })

  test("events are listed once, also after the tab was hidden", async () => {
    const queue = freshName()
    await using page = await signedIn(`#/events?queue=${queue}`)
    await page.listens()
    await call("POST", "/submit", { type: "t", queue, task_id: "first" })
    const show = (isShown: boolean) =>
      page.page.evaluate(
        `Object.defineProperty(document, "hidden", { configurable: true, value: ${!isShown} }); document.dispatchEvent(new Event("visibilitychange"))`,
      )
    const rows = () =>
      page.page.evaluate("[...document.querySelectorAll('tbody a.id')].map(link => link.title)")
    await page.reads(`${queue}:first`)
    await show(false)
    await show(true)
    await call("POST", "/submit", { type: "t", queue, task_id: "second" })
    await page.reads(`${queue}:second`)
    expect(await rows()).toEqual([`${queue}:second`, `${queue}:first`])
  })

  test("views are saved under a name with their filters, survive a reload, and are removed", async () => {
    const queue = freshName()
    await using page = await signedIn(`#/tasks?queue=${queue}&state=retrying`, { width: 390, height: 844 })
    const save = async (name: string) => {
      await page.click("button", "Settings")
      await (await page.find("textbox", "Name of this view")).focus()
      await page.page.keyboard.type(name)
      await page.page.keyboard.press("Enter")
      await page.find("link", name)
      await page.page.keyboard.press("Escape")
    }
    await save("stuck <b>mail</b>")
    await goTo(page, "#/workers")
    await page.page.reload()
    await save("workers")
    await page.click("button", "Settings")
    await page.picture("saved-views")
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.click("link", "stuck <b>mail</b>")
    await page.find("heading", "Tasks")
    expect(await page.page.evaluate("location.hash")).toBe(`#/tasks?queue=${queue}&state=retrying`)
    if (!(await page.seen("textbox", "Name of this view"))) await page.click("button", "Settings")
    for (const name of ["stuck <b>mail</b>", "workers"]) await page.click("button", `Remove the view ${name}`)
    expect(await page.page.evaluate("localStorage.getItem('views')")).toBe("[]")
    await page.page.evaluate("localStorage.removeItem('views')")
  })

  test("the theme and the way of showing times are kept in the browser", async () => {
    const queue = freshName()
    await call("POST", `/queues/${queue}/pause`)
    await using page = await signedIn(`#/actions?queue=${queue}`)
    const color = () => page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    const kept = () => page.page.evaluate("JSON.stringify(localStorage)")
    const choose = async (label: string, value: string) => {
      await page.click("button", "Settings")
      const field = await page.find("combobox", label)
      await field.value(
        `(this.value = ${JSON.stringify(value)}, this.dispatchEvent(new Event("change", { bubbles: true })))`,
      )
      await page.page.keyboard.press("Escape")
    }
    await page.reads(/ago|now/)
    expect([await color(), await kept()]).toEqual(["rgb(247, 247, 246)", "{}"])
    await choose("Theme", "dark")
    await choose("Times", "UTC")
    await page.reads(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/)
    expect(await color()).toBe("rgb(16, 17, 19)")
    await page.page.reload()
    await page.reads(/\d\d:\d\d:\d\d UTC/)
    expect([await color(), await kept()]).toEqual(["rgb(16, 17, 19)", '{"theme":"dark","times":"UTC"}'])
    await page.click("button", "Settings")
    await page.find("combobox", "Theme")
    expect(await page.barriers()).toEqual([])
    await page.picture("settings")
    await page.page.keyboard.press("Escape")
    await choose("Theme", "system")
    await choose("Times", "relative")
    await page.reads(/ago|now/)
    expect(await color()).toBe("rgb(247, 247, 246)")
  })

  test("shortcuts open views, rows and the list of shortcuts, but not while one types", async () => {
    const queue = freshName()
    for (const task_id of ["one", "two"]) await call("POST", "/submit", { type: "t", queue, task_id })
    await using page = await signedIn("#/queues")
    const { keyboard } = page.page
    const type = async (...keys: string[]) => {
      for (const key of keys) await keyboard.press(key as "a")
    }
    await type("?")
    await page.find("dialog", "Keyboard shortcuts")
    expect(await page.barriers()).toEqual([])
    await page.picture("shortcuts")
    await type("g", "t") // the dialog is open
    await type("Escape")
    await until("the dialog is closed", async () => !(await page.seen("dialog")))
    await page.find("heading", "Queues")
    await type("g", "w")
    await page.find("heading", "Workers")
    await type("g", "?", "Escape", "t") // another key in between
    await page.find("heading", "Workers")
    await type("/", "g", "q")
    const search = await page.find("searchbox")
    expect(await search.value<string>("this.value")).toBe("gq")
    await page.find("heading", "Workers")

    await goTo(page, `#/tasks?state=queued&queue=${queue}`)
    await page.find("link", /:one$/)
    await page.find("link", /:two$/)
    await page.page.evaluate("document.activeElement.blur()")
    const focused = () => page.page.evaluate("document.activeElement.innerText.trim()") as Promise<string>
    const seen: string[] = []
    for (const key of ["j", "j", "k"]) {
      await type(key)
      seen.push(await focused())
    }
    expect([seen[2], seen.slice(0, 2).sort()]).toEqual([seen[0]!, [`${queue}:one`, `${queue}:two`]])
    const loaded = page.page.waitForRequest(request => request.url().includes("/tasks?"))
    await type("r")
    await loaded
    await type("Enter")
    await page.find("heading", seen[0]!)
  })

  test("the name and the color of the installation are shown, also at sign-in", async () => {
    const name = 'EU "prod" <1> $&'
    await using named = await testBroker({ installation: { name, color: "red" } }, dashboard.socket)
    await using page = await browser.page({ width: 390, height: 844 })
    await page.page.goto(`${named.url}/dashboard`)
    await page.find("heading", name)
    expect(await page.page.title()).toBe(name)
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.picture("installation-login")
    for (const [color, dark] of ["red", "orange", "green", "blue", "purple", "gray"].flatMap(
      color =>
        [
          [color, false],
          [color, true],
        ] as const,
    )) {
      await using view = await browser.signedIn(named.url, "#/workers", TOKEN, { dark })
      await view.page.evaluate(`document.documentElement.dataset.installation = "${color}"`)
      await view.reads(name)
      await until("the title is set", async () => (await view.page.title()) === `Workers · ${name}`)
      expect([color, dark, await view.overflow(), await view.barriers()]).toEqual([color, dark, 0, []])
      if (color === "red") await view.picture(`installation-${dark}`)
    }
  })
})
