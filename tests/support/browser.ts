/**
 * Drives a real Chromium as a user does: by roles, names and keys. Errors on the page's console, which include violations
 * of its security policy, are collected so that a test can fail on them.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import axe from "axe-core"
import puppeteer, { type Browser, type CDPSession, type Page } from "puppeteer-core"
import { until } from "./harness.ts"

/** The path of Chromium, if it is installed. Ubuntu's `chromium-browser` only points to a snap. */
export const chromium = ["chromium", "google-chrome", "chrome"]
  .map(name => Bun.which(name))
  .find(path => path !== null)

export interface Look {
  width?: number
  height?: number
  dark?: boolean
  /** How far the clock of the browser is off. */
  clockMs?: number
  /** Console errors that the test expects. */
  expect?: RegExp
}

export class TestBrowser implements AsyncDisposable {
  /** Errors on the consoles of all pages. Each test must check that the list is empty. */
  readonly faults: string[] = []

  /** Chromium starts with the first page. */
  #started: Promise<Browser> | undefined
  #profile = ""

  async #start(): Promise<Browser> {
    if (chromium === undefined) throw new Error("Chromium is not installed: `.ci/setup test` installs it")
    this.#profile = await mkdtemp(join(tmpdir(), "tq-chromium-"))
    return puppeteer.launch({
      executablePath: chromium,
      userDataDir: this.#profile,
      // The sandbox does not work for root in a container, and the browser opens only our own pages.
      args: [
        "--process-per-site",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-extensions",
      ],
      timeout: 30_000,
    })
  }

  get #browser(): Promise<Browser> {
    this.#started ??= this.#start()
    return this.#started
  }

  /** Opens a page and deletes all cookies. (A browser context per page would need a process and a second each.) */
  async page(look: Look = {}): Promise<TestPage> {
    const browser = await this.#browser
    const page = await browser.newPage()
    await browser.deleteCookie(...(await browser.cookies()))
    await page.setViewport({ width: look.width ?? 1_200, height: look.height ?? 900 })
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: look.dark ? "dark" : "light" },
      // axe and the pictures would catch animations halfway.
      { name: "prefers-reduced-motion", value: "reduce" },
    ])
    if (look.clockMs) await page.evaluateOnNewDocument(shiftClock, look.clockMs)
    const testPage = new TestPage(page, await page.createCDPSession(), this.faults)
    if (look.expect) testPage.expectFaults(look.expect)
    return testPage
  }

  /** A page of a broker's dashboard that is already signed in, at the view that the hash names. */
  async signedIn(url: string, hash: string, token: string, look: Look = {}): Promise<TestPage> {
    const answer = await fetch(`${url}/session`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token }),
    })
    const [name, value] = answer.headers.get("set-cookie")!.split(";")[0]!.split("=") as [string, string]
    const page = await this.page(look)
    await (await this.#browser).setCookie({ name, value, domain: "127.0.0.1", path: "/", httpOnly: true })
    await page.page.goto(`${url}/dashboard${hash}`)
    await page.find("button", "Sign out")
    return page
  }

  async [Symbol.asyncDispose]() {
    const browser = await this.#started
    if (browser === undefined) return
    const child = browser.process()
    await browser.close().catch(() => child?.kill("SIGKILL"))
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Runs in the page. */
function shiftClock(ms: number) {
  const Real = Date
  globalThis.Date = new Proxy(Real, {
    construct: (_, args) => new Real(...((args.length === 0 ? [Real.now() + ms] : args) as [number])),
    get: (_, name) => (name === "now" ? () => Real.now() + ms : Reflect.get(Real, name)),
  })
}

/** Runs in the page, with the element as `this`: keeps the events of a click from all other elements. */
const GUARD_CLICK = `(() => {
  const names = ["pointerdown", "mousedown", "pointerup", "mouseup", "click"]
  let missed = false
  const guard = event => {
    if (event.composedPath().includes(this)) {
      if (event.type === "click") globalThis.removeEventListener("click", guard, true) // a label causes another one
      return
    }
    missed = true
    event.preventDefault()
    event.stopImmediatePropagation()
  }
  for (const name of names) addEventListener(name, guard, true)
  globalThis.endGuard = () => {
    for (const name of names) removeEventListener(name, guard, true)
    return missed
  }
})()`

/** A visible element. */
class Found {
  constructor(
    readonly page: Page,
    readonly session: CDPSession,
    readonly backendNodeId: number,
  ) {}

  async #middle(): Promise<[x: number, y: number] | undefined> {
    const { quads } = await this.session.send("DOM.getContentQuads", { backendNodeId: this.backendNodeId })
    const [quad] = quads
    return quad && [(quad[0]! + quad[4]!) / 2, (quad[1]! + quad[5]!) / 2]
  }

  visible(): Promise<boolean> {
    return this.#middle().then(
      middle => middle !== undefined,
      () => false,
    )
  }

  /**
   * Clicks. Returns false if the element was moved, covered or removed meanwhile: what is in its place does not get the
   * click.
   */
  async click(): Promise<boolean> {
    try {
      await this.session.send("DOM.scrollIntoViewIfNeeded", { backendNodeId: this.backendNodeId })
      await this.value(GUARD_CLICK)
    } catch {
      return false
    }
    const middle = await this.#middle().catch(() => undefined)
    if (middle !== undefined) await this.page.mouse.click(...middle)
    // A page that the click has opened has no guard.
    const missed = await this.page.evaluate("globalThis.endGuard?.()").catch(() => false)
    return middle !== undefined && missed !== true
  }

  focus(): Promise<unknown> {
    return this.session.send("DOM.focus", { backendNodeId: this.backendNodeId })
  }

  /** The value of a JavaScript expression over `this`. */
  async value<T>(expression: string): Promise<T> {
    const { object } = await this.session.send("DOM.resolveNode", { backendNodeId: this.backendNodeId })
    const { result } = await this.session.send("Runtime.callFunctionOn", {
      objectId: object.objectId!,
      functionDeclaration: `function () { return ${expression} }`,
      returnByValue: true,
    })
    return result.value as T
  }
}

async function fits(name: string, found: Found, wanted: string | RegExp | undefined): Promise<boolean> {
  if (wanted === undefined) return true
  if (typeof wanted === "string") return name === wanted
  return wanted.test(name) || wanted.test(await found.value<string>("this.innerText ?? ''"))
}

export class TestPage implements AsyncDisposable {
  #expected: RegExp | undefined

  constructor(
    readonly page: Page,
    readonly session: CDPSession,
    readonly faults: string[],
  ) {
    page.setDefaultTimeout(30_000)
    page.on("console", message => {
      if (message.type() === "error") this.#fault(`${message.text()} (${message.location().url ?? ""})`)
    })
    page.on("pageerror", error => this.#fault(String(error)))
    page.on("dialog", dialog => {
      this.#fault(`The page opened a dialog: ${dialog.message()}`)
      void dialog.dismiss()
    })
  }

  #fault(text: string) {
    if (!this.#expected?.test(text)) this.faults.push(text)
  }

  /** Ignores console errors that match, such as those of a broker that is down or a session that has ended. */
  expectFaults(like: RegExp): void {
    this.#expected = like
  }

  /** Waits for a visible element by its role and its accessible name or text. */
  async find(role: string, name?: string | RegExp): Promise<Found> {
    let found: Found | undefined
    await this.#until(`there is ${role} ${name ?? ""} on the page`, async () => {
      found = await this.seen(role, name)
      return found
    })
    return found!
  }

  /** Returns such an element if it is visible now. */
  async seen(role: string, name?: string | RegExp): Promise<Found | undefined> {
    const { session, page } = this
    try {
      const { root } = await session.send("DOM.getDocument", { depth: 0 })
      const { nodes } = await session.send("Accessibility.queryAXTree", { nodeId: root.nodeId, role })
      for (const node of nodes) {
        const found = new Found(page, session, node.backendDOMNodeId!)
        if (node.ignored || !(await fits(node.name?.value ?? "", found, name))) continue
        if (await found.visible()) return found
      }
    } catch {
      // The page changed during the query.
    }
    return undefined
  }

  async #until(what: string, holds: () => unknown): Promise<void> {
    await until(what, holds).catch(async error => {
      const text = await this.text().catch(String)
      throw new Error(`${error.message}; it says:\n${text}\n${this.faults.join("\n")}`)
    })
  }

  async click(role: string, name?: string | RegExp): Promise<void> {
    await this.#until(`${role} ${name ?? ""} is clicked`, async () => (await this.find(role, name)).click())
  }

  /** Presses the last button of the open dialog, which carries out its action. */
  async submitDialog(): Promise<void> {
    await this.find("dialog")
    await this.page.evaluate("[...document.querySelectorAll('dialog[open] button')].at(-1).click()")
  }

  /** Replaces the text of a field. */
  async fill(name: string, text: string): Promise<void> {
    let field: Found | undefined
    await this.#until(`there is a text field ${name} on the page`, async () => {
      // A field with suggestions is a combobox.
      for (const role of ["textbox", "searchbox", "combobox", "spinbutton"])
        field ??= await this.seen(role, name)
      return field
    })
    await field!.focus()
    const { keyboard } = this.page
    await keyboard.down("Control")
    await keyboard.press("a")
    await keyboard.up("Control")
    if (text === "") await keyboard.press("Delete")
    else await keyboard.sendCharacter(text)
  }

  /** The visible text of the page. */
  text(): Promise<string> {
    return this.page.evaluate("document.body.innerText") as Promise<string>
  }

  async reads(like: string | RegExp): Promise<void> {
    const holds = (text: string) => (typeof like === "string" ? text.includes(like) : like.test(text))
    await this.#until(`the page says ${like}`, async () => holds(await this.text()))
  }

  /** Waits until the page is updated by events. */
  async listens(): Promise<void> {
    const isOpen = "document.querySelector('.connection')?.title === 'Updated by events'"
    await this.#until("the page listens to events", () => this.page.evaluate(isOpen))
  }

  /** How many pixels the page can be scrolled sideways. It should be 0. */
  overflow(): Promise<number> {
    return this.page.evaluate(
      // Negative if space is reserved for a scroll bar.
      "Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth)",
    ) as Promise<number>
  }

  /** The accessibility violations that axe-core rates serious or critical. */
  async barriers(): Promise<string[]> {
    await this.page.evaluate(axe.source)
    const { violations } = (await this.page.evaluate(
      "axe.run(document, { resultTypes: ['violations'] })",
    )) as axe.AxeResults
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join(" | ")}`)
  }

  /** Saves a picture of the page to the folder in SCREENSHOTS, if it is set. */
  async picture(name: string): Promise<void> {
    const folder = process.env.SCREENSHOTS
    if (!folder) return
    await mkdir(folder, { recursive: true })
    await this.page.screenshot({ path: join(folder, `${name}.png`) as `${string}.png`, fullPage: true })
  }

  async [Symbol.asyncDispose]() {
    await this.page.close().catch(() => {})
  }
}
