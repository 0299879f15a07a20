/** The dashboard in real Chromium on a real broker. */
import { describe, expect, test } from "bun:test"
import { type ApiToken, hashOf, ROLES, type Role } from "../../lib/config/tokens.ts"
import { ACCESS } from "../../lib/http/access.ts"
import type { RouteName } from "../../lib/wire/routes.ts"
import type { ScheduleView } from "../../lib/wire/scheduling.ts"
import { chromium, type Look, type TestPage } from "../support/browser.ts"
import { freshName, TOKEN, testBroker, until } from "../support/harness.ts"
import { startBroker } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"
import { TestDashboard } from "../support/test-dashboard.ts"

/** The members of the answers that these tests read. */
interface Answer {
  task_id?: string
  status?: string
  payload?: unknown
  dlq_size?: number
  tasks?: { id: string; lease: string }[]
  workers?: { worker: string; state: string }[]
}

const secretOf = (name: string) => `the-token-of-${name}`
const tokenOf = (name: string, roles: Role[], queues?: string[]): ApiToken => ({
  name,
  roles,
  queues,
  hash: hashOf(secretOf(name)),
})

describe("what the broker serves", () => {
  test("the page needs no token and loads nothing from other origins", async () => {
    await using broker = await testBroker()
    const page = await fetch(`${broker.url}/dashboard`)
    const html = await page.text()
    expect(page.status).toBe(200)
    expect(page.headers.get("content-type")).toStartWith("text/html")
    expect(page.headers.get("content-security-policy")).toBe(
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )
    expect(page.headers.get("x-content-type-options")).toBe("nosniff")
    expect(page.headers.get("referrer-policy")).toBe("no-referrer")
    expect(page.headers.get("cache-control")).toBe("no-cache")
    expect(html).not.toMatch(/<script[^>]*>[^<]|<style|\sstyle=|\son\w+=/i)
    const links = linksOf(html)
    expect(links.length).toBeGreaterThan(1)
    for (const link of links) expect(link).toStartWith("/dashboard/")
  })

  test("the first load is under 100 kB compressed, and its assets may be cached forever", async () => {
    await using broker = await testBroker()
    let size = 0
    const load = async (path: string) => {
      const gzip = { headers: { "accept-encoding": "br, gzip" }, decompress: false } as RequestInit
      const answer = await fetch(broker.url + path, gzip)
      expect([path, answer.status, answer.headers.get("content-encoding")]).toEqual([path, 200, "gzip"])
      const bytes = await answer.bytes()
      size += bytes.length
      const plain = await fetch(broker.url + path, { headers: { "accept-encoding": "identity" } })
      expect(plain.headers.get("content-encoding")).toBeNull()
      expect(plain.headers.get("vary")).toBe("accept-encoding")
      const text = await plain.text()
      expect(new TextDecoder().decode(Bun.gunzipSync(Buffer.from(bytes)))).toBe(text)
      return { text, headers: answer.headers }
    }
    for (const link of linksOf((await load("/dashboard")).text)) {
      const { headers } = await load(link)
      expect(headers.get("cache-control")).toBe("public, max-age=31536000, immutable")
      expect(headers.get("content-type")).toMatch(/^text\/(javascript|css)/)
      expect(link).toMatch(/-[a-z0-9]{8}\.(js|css)$/)
    }
    expect(size).toBeWithin(1_000, 100_000)
  })

  test("no other path under /dashboard exists", async () => {
    await using broker = await testBroker()
    for (const path of ["main.tsx", "tsconfig.json", "..%2fpackage.json", "%2e%2e/broker.ts", "a/b"]) {
      const answer = await fetch(`${broker.url}/dashboard/${path}`)
      expect([path, answer.status]).toEqual([path, path.startsWith("%2e") ? 401 : 404])
    }
  })
})

const linksOf = (html: string) =>
  [...html.matchAll(/<(?:script|link) [^>]*(?:src|href)="([^"]*)"/g)]
    .map(([, link]) => link!)
    .filter(link => !link.startsWith("data:"))
    // Relative to the page at /dashboard.
    .map(link => new URL(link, "http://broker/").href.replace("http://broker/", "/"))

if (chromium === undefined)
  console.warn(
    "Chromium is not installed, so the tests in the browser are skipped: `.ci/setup test` installs it",
  )

describe.skipIf(chromium === undefined)("in Chromium", () => {
  const queue = freshName()
  const dashboard = new TestDashboard({
    tokens: [
      tokenOf("reader", ["read"]),
      tokenOf("operator", ["read", "operate"]),
      tokenOf("submitter", ["read", "submit"]),
      tokenOf("worker", ["work"]),
      ...ROLES.map(role => tokenOf(`only-${role}`, [role])),
      tokenOf("bound", ["read", "operate", "submit"], [queue]),
    ],
  })
  const { browser } = dashboard

  async function opened(hash = "", look: Look = {}, url = dashboard.broker.url): Promise<TestPage> {
    const page = await browser.page(look)
    await page.page.goto(`${url}/dashboard${hash}`)
    return page
  }

  async function signIn(page: TestPage, token: string): Promise<void> {
    await page.fill("Token", token)
    await page.page.keyboard.press("Enter")
    await page.find("button", "Sign out")
  }

  /** A page that is already signed in, at the view that the hash names. */
  const signedIn = (
    hash = "",
    token = TOKEN,
    look: Look = {},
    url = dashboard.broker.url,
  ): Promise<TestPage> => browser.signedIn(url, hash, token, look)

  const call = dashboard.call<Answer>
  const submitted = async (task: object): Promise<string> =>
    (await call("POST", "/submit", { type: "mail", queue, ...task })).task_id!
  const leased = async (of = queue) => {
    const { tasks } = await call("POST", "/lease", { queues: [of], worker: "worker-1" })
    const { id: task_id, lease } = tasks![0]!
    return { task_id, lease }
  }
  /** Submits a task whose only attempt fails. */
  async function dead(error: string, task: { queue?: string } = {}): Promise<string> {
    await submitted({ max_retries: 0, ...task })
    const held = await leased(task.queue)
    await call("POST", "/ack", { ...held, status: "failed", error })
    return held.task_id
  }

  test("a wrong token is refused with a message, and scripts cannot read the right one", async () => {
    await using page = await opened()
    page.expectFaults(/401/)
    await page.fill("Token", "wrong")
    await page.click("button", "Sign in")
    await page.find("alert", /token/i)
    expect(await page.barriers()).toEqual([])
    await page.picture("login-refused")
    await signIn(page, TOKEN)
    const kept = "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
    expect(await page.page.evaluate(kept)).not.toContain(TOKEN)
    expect(await page.page.evaluate(kept)).toStartWith('[{},{},"",')
    await page.page.reload()
    await page.find("button", "Sign out")
    await page.click("button", "Sign out")
    await page.find("textbox", "Token")
    await page.page.reload()
    await page.find("textbox", "Token")
  })

  test("users without the role operate see no button that changes something", async () => {
    const id = await dead("said no")
    const changing = [
      "Pause",
      "Retry",
      "Edit and retry",
      "Delete",
      "Retry all",
      "Drain",
      "Cancel",
      "Purge all",
    ]
    for (const [name, hash, there] of [
      ["reader", `#/queues/${queue}`, []],
      ["operator", `#/queues/${queue}`, ["Pause"]],
      ["reader", `#/tasks/${id}`, []],
      ["submitter", `#/tasks/${id}`, []],
      ["operator", `#/tasks/${id}`, ["Retry", "Edit and retry", "Delete"]],
      ["bound", `#/tasks/${id}`, ["Retry", "Edit and retry", "Delete"]],
    ] as const) {
      await using page = await signedIn(hash, secretOf(name))
      await page.reads(name)
      await page.find("heading", new RegExp(hash.slice(hash.lastIndexOf("/") + 1)))
      for (const button of there) await page.find("button", button)
      const others = changing.filter(button => !(there as readonly string[]).includes(button))
      for (const button of others) {
        const found = await page.seen("button", button)
        expect([name, hash, button, found && !(await found.value("this.disabled"))]).toEqual([
          ...[name, hash, button],
          undefined,
        ])
      }
    }
  })

  test("a user without the role read sees which role is needed", async () => {
    await using page = await opened()
    page.expectFaults(/403/)
    await page.fill("Token", secretOf("worker"))
    await page.click("button", "Sign in")
    await page.reads(/the role read/)
  })

  test.each(ROLES)("a user with only the role %s sees the views of that role and no others", async role => {
    const name = `only-${role}`
    const seesContents = role !== "watch"
    const worker = freshName()
    const gone = await dead("said no")
    const waiting = await submitted({ delay_ms: 3_600_000 })
    // Each view, the route it requests, and what it shows to users who may use that route.
    const places: [
      hash: string,
      route: RouteName,
      shown: string,
      buttons: Partial<Record<Role, string[]>>,
    ][] = [
      ["#/queues", "GET /queues", queue, {}],
      [`#/queues/${queue}`, "GET /queues/:queue", "processing", {}],
      [`#/tasks?queue=${queue}&state=scheduled`, "GET /tasks", waiting, {}],
      [`#/tasks/${waiting}`, "GET /status/:id", "scheduled", { submit: ["Run now", "Edit", "Cancel"] }],
      [
        `#/tasks/${gone}`,
        "GET /status/:id",
        seesContents ? "said no" : "Your token may not see",
        { submit: ["Run again"] },
      ],
      [`#/dead?queue=${queue}`, "GET /dlq/groups", seesContents ? "said no" : "mail", {}],
      [
        "#/schedules",
        "GET /schedules",
        "No schedules",
        { submit: ["New schedule"], operate: ["New schedule"] },
      ],
      ["#/workers", "GET /workers", worker, {}],
      ["#/events", "GET /events", "Hold", {}],
      ["#/actions", "GET /actions", "No actions", {}],
      ["#/bulk", "GET /bulk", "No bulk operations", {}],
    ]
    for (const [hash, route, shown, buttons] of places) {
      const needed: readonly Role[] = ACCESS[route]
      const may = needed.includes(role)
      // The browser logs a refused request as an error. No other error may appear.
      const look = may ? {} : { expect: /^Failed to load resource: .* status of 403/ }
      await call("POST", "/lease", { queues: [freshName()], worker }) // it must have polled within a minute
      await using page = await signedIn(hash, secretOf(name), look)
      await page.reads(may ? shown : `This request needs the role ${needed.join(" or ")}`)
      await until("the view has loaded", async () => !(await page.seen("status", "Loading")))
      expect([hash, (await page.text()).includes("read only")]).toEqual([hash, role === "read"])
      const inMain =
        "[...document.querySelectorAll('main button:not(.chip, .sort, .fold, .spans *)')].map(button => button.innerText.trim())"
      const found = (await page.page.evaluate(inMain)) as string[]
      const harmless = may ? ["Copy", "Copy id", "Copy as curl", "Save", "Hold"] : ["Submit task"]
      expect([hash, found.filter(button => !harmless.includes(button))]).toEqual([hash, buttons[role] ?? []])
      expect([hash, await page.overflow(), await page.barriers()]).toEqual([hash, 0, []])
      await page.picture(`${name}-${hash.slice(2).split(/[?/]/)[0]}`)
      await page.click("button", "Sign out")
      await page.find("textbox", "Token")
    }
  })

  test("a user with only the role submit cancels a task and sees the result", async () => {
    const id = await submitted({ delay_ms: 3_600_000 })
    await using page = await signedIn(`#/tasks/${id}`, secretOf("only-submit"))
    await page.click("button", "Cancel")
    await page.submitDialog()
    await page.find("status", /cancelled/)
    await until("the button goes", async () => !(await page.seen("button", "Cancel")))
    expect((await call("GET", `/status/${id}`)).status).toBe("cancelled")
  })

  test("tasks of other clients appear without a reload", async () => {
    const fresh = freshName()
    await using page = await signedIn("#/queues")
    await submitted({ queue: fresh })
    await page.find("link", fresh)
    await page.click("link", fresh)
    await page.find("heading", fresh)
    expect(await page.barriers()).toEqual([])
    // Not a second page: the browser has one cookie jar, so a new sign-in ends the session of this page.
    await page.page.goto(`${dashboard.broker.url}/dashboard#/tasks?queue=${fresh}&state=queued`)
    await page.find("heading", "Tasks")
    const id = await submitted({ queue: fresh })
    await page.find("link", new RegExp(id))
    expect(await page.barriers()).toEqual([])
  })

  test("a task is cancelled and shows its new state", async () => {
    const id = await submitted({ payload: { to: "ada@example.org" }, delay_ms: 3_600_000 })
    await using page = await signedIn(`#/tasks/${id}`)
    await page.reads("ada@example.org")
    await page.find("region", "Why")
    expect(await page.barriers()).toEqual([])
    await page.picture("task")
    await page.click("button", "Cancel")
    await page.find("dialog")
    await page.page.keyboard.press("Escape")
    await until("the dialog closes", async () => !(await page.seen("dialog")))
    expect((await call("GET", `/status/${id}`)).status).toBe("scheduled")
    await page.click("button", "Cancel")
    await page.submitDialog()
    await page.reads("cancelled")
    expect((await call("GET", `/status/${id}`)).status).toBe("cancelled")
  })

  test("a schedule is created with a preview, run, paused with a reason, resumed, edited and deleted", async () => {
    const id = `${freshName()}:report`
    const stored = () => call("GET", `/schedules/${id}`) as Promise<Partial<ScheduleView>>
    await using page = await signedIn("#/schedules")
    await page.click("button", "New schedule")
    await page.fill("Id", id)
    await page.fill("Expression", "30 2 * * *")
    await page.fill("Time zone", "America/New_York")
    await page.reads(/02:30 GMT-[45]/)
    page.expectFaults(/400|404/) // 404: before it saves, it asks whether there is one
    await page.fill("Expression", "0 0 30 2 *")
    await page.reads("no day of any year matches")
    await page.fill("Expression", "30 2 * * *")
    await page.reads(/02:30 GMT-[45]/)
    expect(await page.barriers()).toEqual([])
    await page.picture("schedule-new")
    await page.submitDialog()
    await page.find("link", id)
    expect(await stored()).toMatchObject({ cron: "30 2 * * *", time_zone: "America/New_York" })
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.picture("schedules")
    await page.fill("Id contains", "another")
    await page.reads("No matching schedules")
    await page.fill("Id contains", id.toUpperCase())
    await page.find("link", id)
    await page.click("button", "New schedule")
    await page.fill("Id", id)
    await page.fill("Expression", "0 1 * * *")
    await page.submitDialog()
    await page.reads(`There is already a schedule ${id}`)
    expect(await stored()).toMatchObject({ cron: "30 2 * * *" })
    await page.page.keyboard.press("Escape")

    await page.click("link", id)
    await page.find("heading", id)
    await page.find("table", "Next runs")
    await page.click("button", "Run now")
    await until("it has run", async () => (await stored()).fired === 1)
    await page.click("button", "Pause")
    await page.fill("Reason", "the office is closed")
    await page.submitDialog()
    await page.reads("the office is closed")
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.picture("schedule-paused")
    await page.click("button", "Resume")
    await until("it is resumed", async () => (await stored()).paused === false)
    await page.click("button", "Edit")
    await page.fill("Task", '{"type": "echo", "payload": 12345678901234567890}')
    await page.submitDialog()
    await page.reads("12345678901234567890")
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.picture("schedule")
    await page.click("link", "all that are kept")
    await page.reads((await stored()).last!.task_id)
    await page.page.goBack()
    await page.click("button", "Delete")
    await page.submitDialog()
    await page.reads("No schedules")
    expect((await dashboard.broker.call("GET", `/schedules/${id}`)).status).toBe(404)
  })

  test("a schedule whose payload a token may not see cannot be edited with it, which would lose the payload", async () => {
    const id = `${freshName()}:secret`
    const task = { type: "t", payload: "s3cret", redact: true }
    await call("PUT", `/schedules/${id}`, { every_ms: 9_000_000, task })
    await using page = await signedIn(`#/schedules/${id}`, secretOf("submitter"))
    await page.find("button", "Run now")
    await page.reads("every 150 min")
    await page.find("region", "Hidden")
    expect(await page.seen("button", "Edit")).toBeUndefined()
    await call("DELETE", `/schedules/${id}`)
  })

  test("a queue is paused with a reason and resumed", async () => {
    const held = freshName()
    await submitted({ queue: held })
    await using page = await signedIn(`#/queues/${held}`)
    await page.click("button", "Pause")
    await page.fill("Reason", "the mail server is being moved")
    await page.submitDialog()
    await page.reads("the mail server is being moved")
    expect(await call("GET", `/queues/${held}`)).toMatchObject({ paused: true })
    expect(await page.barriers()).toEqual([])
    await page.picture("queue-paused")
    await page.click("button", "Resume")
    await page.find("button", "Pause")
    expect(await call("GET", `/queues/${held}`)).toMatchObject({ paused: false })
  })

  test("the groups of a queue show why they are held, and one is paused, resumed and limited", async () => {
    const grouped = freshName()
    await call("PUT", `/queues/${grouped}/settings`, { groups: { concurrency: 1, order: "strict" } })
    for (let i = 0; i < 12; i++) await submitted({ queue: grouped, group: "acme" })
    await submitted({ queue: grouped, group: "<b>small</b> tenant" })
    const { task_id } = await leased(grouped)
    await using page = await signedIn(`#/queues/${grouped}`)
    await page.reads("an earlier task has not ended")
    await page.reads(task_id)
    await page.reads("<b>small</b> tenant")
    await page.reads("each group: 1 running, strict order")
    await page.click("button", "Pause group acme")
    await page.fill("Reason", "the tenant has asked for it")
    await page.submitDialog()
    await page.reads("the tenant has asked for it")
    const view = () => call("GET", `/queues/${grouped}/groups/acme`)
    expect(await view()).toMatchObject({ pause_reason: "the tenant has asked for it" })
    await page.click("button", "Resume group acme")
    await page.find("button", "Pause group acme")
    await page.click("button", "Group limits: acme")
    await page.fill("Max running", "5")
    await page.submitDialog()
    await page.reads("5 running")
    expect(await view()).toMatchObject({ limits: { concurrency: 5 } })
    expect(await page.barriers()).toEqual([])
    await page.picture("queue-groups")
  })

  test("a worker is drained", async () => {
    const name = freshName()
    await call("POST", "/lease", { queues: [freshName()], worker: name })
    await using page = await signedIn("#/workers")
    await page.reads(name)
    expect(await page.barriers()).toEqual([])
    await page.picture("workers")
    // Workers of other tests are listed as well.
    await page.page.evaluate(
      `[...document.querySelectorAll("tr")].find(row => row.innerText.includes("${name}")).querySelector("button").click()`,
    )
    await page.submitDialog()
    await until("it drains", async () => {
      const { workers } = await call("GET", "/workers")
      return workers!.some(({ worker, state }) => worker === name && state === "draining")
    })
    await page.reads("draining")
  })

  test("dead tasks are grouped by error and retried with a patch and a canary", async () => {
    const failing = freshName()
    const ids: string[] = []
    for (const port of [1, 2, 3])
      ids.push(await dead(`connection to port ${port} refused`, { queue: failing }))
    await using page = await signedIn(`#/dead?queue=${failing}`)
    await page.reads("refused")
    await page.reads("3")
    expect(await page.barriers()).toEqual([])
    await page.picture("dead-letters")
    await page.click("button", /^Retry: /)
    await page.fill("Patch", '{"server": "mail2.example.org"}')
    expect(await (await page.find("checkbox", /canary/i)).value<boolean>("this.checked")).toBeTrue()
    await page.picture("dead-retry")
    expect(await page.barriers()).toEqual([])
    await page.submitDialog()
    // Leases the canary in place of a worker.
    let first: { task_id: string; lease: string } | undefined
    await until("the canary is there", async () => {
      first = await leased(failing).catch(() => undefined)
      return first
    })
    expect((await call("GET", `/dlq?queue=${failing}`)).dlq_size).toBe(2)
    await call("POST", "/ack", first)
    await until("the others follow", async () => {
      return (await call("GET", `/dlq?queue=${failing}`)).dlq_size === 0
    })
    await page.reads("3 tasks retried")
    const { payload } = await call("GET", `/status/${ids[0]}`)
    expect(payload).toEqual({ server: "mail2.example.org" })
  })

  test("a dead task is edited and retried", async () => {
    const id = await dead("no such user")
    await using page = await signedIn(`#/tasks/${id}`)
    await page.reads("no such user")
    await page.click("button", "Edit and retry")
    const field = await page.find("textbox", "Payload")
    expect(await field.value<string>("this.value")).toBe("{}")
    await page.fill("Payload", '{"to": ')
    await page.submitDialog()
    await page.find("alert", /json/i)
    await page.fill("Payload", '{"to": "grace"}')
    await page.submitDialog()
    await page.reads("queued again")
    expect(await call("GET", `/status/${id}`)).toMatchObject({ status: "queued", payload: { to: "grace" } })
  })

  // The page of events only listens.
  test.each([
    ["#/queues", "Queues"],
    ["#/events", "Events"],
  ])(
    "a session ends with a message when its token is removed, and continues in the same view: %s",
    async (hash, heading) => {
      await using redis = await testRedis()
      let app = await startBroker(redis.socket, { API_TOKENS: `ops:read+operate:${secretOf("operator")}` })
      const { port, url } = app
      await using page = await signedIn(hash, secretOf("operator"), {}, url)
      page.expectFaults(/Failed to load|ERR_|401|EventSource/)
      await app[Symbol.asyncDispose]()
      await page.find("status", /cannot be reached|reconnecting/i)
      await page.picture("broker-away")
      app = await startBroker(redis.socket, { PORT: port })
      await using _ = app
      await page.reads(/session has ended/i)
      await signIn(page, TOKEN)
      await page.find("heading", heading)
    },
  )

  test("the page reports a broker that is down, and reconnects after its restart", async () => {
    await using redis = await testRedis()
    const first = await startBroker(redis.socket)
    await using page = await signedIn("#/queues", TOKEN, {}, first.url)
    await page.find("status", /live/i)
    page.expectFaults(/Failed to load|ERR_|EventSource/)
    await first.process.kill9()
    await page.find("status", /cannot be reached|reconnecting/i)
    await using second = await startBroker(redis.socket, { PORT: first.port })
    await second.client.submit({ type: "a", queue: "after-the-restart" })
    await page.find("link", "after-the-restart")
    await page.find("status", /live/i)
  })

  test("empty views explain how to begin", async () => {
    await using redis = await testRedis()
    await using empty = await testBroker({ publicPath: "/prefix" }, redis.socket)
    const url = `${empty.url}/prefix`
    await using page = await signedIn("#/queues", TOKEN, {}, url)
    await page.reads("curl")
    await page.reads(`${url}/submit`)
    // Also without the variable, on the machine of a broker that created its token.
    await page.reads(`\${API_SECRET_TOKEN:-$(cat .data/token)}`)
    await page.find("button", "Submit task")
    expect(await page.barriers()).toEqual([])
    await page.picture("empty")
    for (const [hash, words] of [
      ["#/dead", /no dead tasks/i],
      ["#/tasks", /no tasks/i],
      ["#/workers", /no workers/i],
    ] as const) {
      await page.page.goto(`${url}/dashboard${hash}`)
      await page.reads(words)
    }
  })

  /** Bell, escape, and two characters that change the text direction. */
  const UNSEEN = ["\u0007", "\u001b", "\u202e", "\u2066"]
  const HOSTILE = `<img src=x onerror="alert(1)"></script><script>alert(2)</script>${UNSEEN.join("gnp.exe")}{{7*7}}`

  test("untrusted texts are shown literally and have no effect", async () => {
    const nasty = freshName()
    const id = await dead(HOSTILE, {
      queue: nasty,
      type: HOSTILE.slice(0, 100),
      payload: { [HOSTILE]: HOSTILE, many: UNSEEN.join("").repeat(300) },
      meta: { team: HOSTILE.slice(0, 100) },
    } as { queue: string })
    await call("POST", `/queues/${nasty}/pause`, { reason: HOSTILE.slice(0, 100) })
    for (const hash of [
      `#/tasks/${id}`,
      `#/dead?queue=${nasty}`,
      `#/queues/${nasty}`,
      `#/tasks?queue=${nasty}&state=dead`,
      `#/tasks/${encodeURIComponent(HOSTILE)}`,
      `#/queues/${encodeURIComponent(HOSTILE)}`,
    ]) {
      await using page = await signedIn(hash, TOKEN, { expect: /status of 40[04]/ })
      if (!hash.includes("%")) await page.reads("<img src=x onerror=")
      else await page.find("alert")
      const text = await page.text()
      // A direction override changes all text after it, and a copied escape may reach a terminal.
      expect([hash, UNSEEN.some(mark => text.includes(mark))]).toEqual([hash, false])
      expect(await page.page.evaluate("document.querySelectorAll('#app img, #app script').length")).toBe(0)
      expect(await page.overflow()).toBe(0)
    }
  })

  test("a payload of one megabyte does not block the page", async () => {
    const id = await submitted({ payload: { text: "<b>".repeat(340_000) }, delay_ms: 3_600_000 })
    await using page = await signedIn(`#/tasks/${id}`)
    await page.reads("<b><b><b>")
    // The whole payload is in the page as data, but only its beginning is laid out.
    expect((await page.text()).length).toBeLessThan(100_000)
    await page.click("link", "Queues")
    await page.find("heading", "Queues")
  })

  test("the keyboard reaches everything, and the focus is visible", async () => {
    await using page = await opened()
    const field = await page.find("textbox", "Token")
    await until("the field has the focus", () => field.value("this === document.activeElement"))
    await page.page.keyboard.type(TOKEN)
    await page.page.keyboard.press("Enter")
    await page.find("heading", "Queues")
    const reached: string[] = []
    for (let i = 0; i < 20 && !reached.includes("Sign out"); i++) {
      await page.page.keyboard.press("Tab")
      const active =
        "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim()"
      reached.push((await page.page.evaluate(active)) as string)
      const ring = "getComputedStyle(document.activeElement).outlineStyle + document.activeElement.tagName"
      expect(await page.page.evaluate(ring)).not.toMatch(/^none(?!BODY)/)
    }
    for (const name of ["Queues", "Tasks", "Dead letters", "Workers", "Sign out"])
      expect(reached.some(text => text.startsWith(name))).toBe(true)
  })

  // evidence.test.ts looks at every view behind the sign-in.
  test.each([
    ["light", {}],
    ["dark", { dark: true }],
    ["phone", { width: 360, height: 740 }],
  ] as const)("the sign-in is accessible and fits the screen: %s", async (name, look) => {
    await using page = await opened("", look)
    await page.find("textbox", "Token")
    expect([await page.overflow(), await page.barriers()]).toEqual([0, []])
    await page.picture(`${name}-login`)
    const [background] = (await page.page.evaluate(
      "[getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).reduce((a, b) => a + +b, 0)]",
    )) as [number]
    expect(background > 380).toBe(!("dark" in look))
  })
})
