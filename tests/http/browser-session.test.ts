/** Sessions: a token is exchanged for a cookie, which gives exactly the same access. */
import { expect, test } from "bun:test"
import { createCipheriv, createHash, createHmac, randomBytes } from "node:crypto"
import { connect } from "node:net"
import { type ApiToken, hashOf, ROLES } from "../../lib/config/tokens.ts"
import { Sessions } from "../../lib/http/browser-session.ts"
import { createLog, type Fields } from "../../lib/log.ts"
import { freshName, type TestBroker, testBroker } from "../support/harness.ts"

const SECRET = 'the secret of=the operator; with "marks" and ä'
const token = (secret: string, more: Partial<ApiToken> = {}): ApiToken => ({
  name: "ops",
  roles: ["operate", "read"],
  queues: undefined,
  hash: hashOf(secret),
  ...more,
})
const withCookie = (value: string) => new Headers({ cookie: `other=1; tq_session=${value}` })

interface View {
  name: string
  roles: string[]
  queues?: string[]
  csrf: string
  expires_at: number
}

/** A minimal browser: it keeps the cookie and the answer of /session. */
class Browser {
  readonly headers: Record<string, string> = {}
  view!: View
  setCookie = ""

  constructor(readonly broker: TestBroker) {}

  ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(this.broker.url + path, {
      method,
      headers: { ...this.headers, "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  }

  async signIn(secret: string, headers: Record<string, string> = {}): Promise<this> {
    const answer = await this.ask("POST", "/session", { token: secret }, headers)
    expect(answer.status).toBe(200)
    this.view = (await answer.json()) as View
    this.setCookie = answer.headers.get("set-cookie")!
    this.headers.cookie = this.setCookie.split(";")[0]!
    return this
  }

  change(method: string, path: string, body?: unknown): Promise<Response> {
    return this.ask(method, path, body, { "x-csrf-token": this.view.csrf })
  }
}

const brokerWith = (...tokens: ApiToken[]) => testBroker({ tokens })
const refusal = async (answer: Promise<Response>) => {
  const { status, code, detail } = (await (await answer).json()) as Record<string, unknown>
  return { status, code, detail: String(detail) }
}

test("signing in returns the roles and sets a cookie that scripts and other sites cannot use", async () => {
  await using broker = await brokerWith(token(SECRET, { queues: ["mail"] }))
  const before = Date.now()
  const browser = await new Browser(broker).signIn(SECRET)
  expect(browser.view).toEqual({
    name: "ops",
    roles: ["operate", "read"],
    queues: ["mail"],
    csrf: expect.stringMatching(/^[\w-]{43}$/),
    expires_at: expect.any(Number),
  })
  expect(browser.view.expires_at - before).toBeWithin(43_200_000, 43_260_000)
  expect(browser.setCookie).toMatch(/^tq_session=[\w.-]+; Path=\/; Max-Age=43200; HttpOnly; SameSite=Strict$/)
  expect((await (await browser.ask("GET", "/session")).json()) as View).toEqual(browser.view)
})

test("the cookie is Secure if the browser connected over TLS", async () => {
  await using broker = await brokerWith(token(SECRET))
  for (const [forwarded, secure] of [
    ["https", true],
    ["HTTPS, http", true],
    ["http", false],
  ] as const) {
    const { setCookie } = await new Browser(broker).signIn(SECRET, { "x-forwarded-proto": forwarded })
    expect([forwarded, setCookie.endsWith("; Secure")]).toEqual([forwarded, secure])
    expect([forwarded, setCookie.startsWith("__Host-tq_session=")]).toEqual([forwarded, secure])
  }
})

test("over TLS a cookie that another host set does not replace the session", async () => {
  await using broker = await brokerWith(token(SECRET))
  const { setCookie } = await new Browser(broker).signIn(SECRET, { "x-forwarded-proto": "https" })
  const own = setCookie.split(";")[0]!
  for (const cookie of [`tq_session=foreign.cookie; ${own}`, `${own}; tq_session=foreign.cookie`])
    expect((await fetch(`${broker.url}/session`, { headers: { cookie } })).status).toBe(200)
})

test("the cookie gives the access of its token on every kind of route, with its roles and queues", async () => {
  const mine = freshName()
  await using broker = await brokerWith(
    token(SECRET, { roles: ["submit", "operate", "read"], queues: [mine] }),
  )
  const browser = await new Browser(broker).signIn(SECRET)
  expect((await browser.change("POST", "/submit", { type: "a", queue: mine })).status).toBe(200)
  expect((await browser.ask("GET", `/tasks?state=queued&queue=${mine}`)).status).toBe(200)
  expect((await browser.change("POST", `/queues/${mine}/pause`, {})).status).toBe(200)
  expect((await browser.change("PUT", `/queues/${mine}/settings`, {})).status).toBe(200)
  expect((await browser.change("DELETE", "/dlq/none")).status).toBe(403)
  expect(await refusal(browser.change("POST", "/lease", {}))).toMatchObject({ status: 403 })
  expect(await refusal(browser.ask("GET", "/queues/other"))).toMatchObject({ status: 403 })
})

test("every change requires the CSRF token, and so does GET /get, which leases a task", async () => {
  await using broker = await brokerWith(token(SECRET, { roles: ROLES }))
  const browser = await new Browser(broker).signIn(SECRET)
  const other = await new Browser(broker).signIn(SECRET)
  const queue = freshName()
  const asked = [
    ["POST", "/submit", { type: "a", queue }],
    ["PUT", `/queues/${queue}/settings`, {}],
    ["DELETE", "/dlq/none", undefined],
    ["DELETE", "/session", undefined],
    ["GET", `/get?queue=${queue}`, undefined],
    ["GET", `/\\..\\get?queue=${queue}`, undefined],
  ] as const
  for (const [method, path, body] of asked)
    for (const csrf of [undefined, "", other.view.csrf, `${browser.view.csrf}x`, "ä".repeat(43)]) {
      const headers = csrf === undefined ? {} : { "x-csrf-token": encodeURIComponent(csrf) }
      const { status, code, detail } = await refusal(browser.ask(method, path, body, headers))
      expect({ path, status, code }).toEqual({ path, status: 403, code: "forbidden" })
      expect(detail).toContain("X-CSRF-Token")
    }
  expect((await browser.change("GET", `/get?queue=${queue}`)).status).toBe(204)
  // Another page cannot send a token in a header, so no CSRF token is required.
  const direct = { headers: { "x-api-token": SECRET, cookie: browser.headers.cookie! } }
  expect((await broker.call("POST", "/submit", { type: "a", queue }, direct)).status).toBe(200)
})

test("no spelling of a path avoids the CSRF check", async () => {
  await using broker = await brokerWith(token(SECRET, { roles: ROLES }))
  const browser = await new Browser(broker).signIn(SECRET)
  const spoken = (path: string, headers: string) => {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const socket = connect(Number(new URL(broker.url).port), "127.0.0.1", () =>
      // fetch would normalize the path.
      socket.write(`POST ${path} HTTP/1.1\r\nHost: a\r\nCookie: ${browser.headers.cookie}\r\n${headers}\r\n`),
    )
    socket.on("data", data => resolve(String(data))).on("error", reject)
    return promise.finally(() => socket.end())
  }
  for (const path of ["/cancel/..\\healthz", "/cancel/..\\session", "/cancel/..\\dashboard", "/cancel/x"]) {
    expect(await spoken(path, "")).toContain("X-CSRF-Token")
    expect(await spoken(path, `X-CSRF-Token: ${browser.view.csrf}\r\n`)).toMatch(/bad_request|task_not_found/)
  }
})

test("a page of another origin is refused, even on another port of the same host", async () => {
  await using broker = await brokerWith(token(SECRET))
  const browser = await new Browser(broker).signIn(SECRET)
  const { host } = new URL(broker.url)
  const foreign: Record<string, string>[] = [
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site", origin: broker.url },
    { origin: "http://127.0.0.1:1" },
    { origin: "null" },
    { origin: "https://evil.example" },
  ]
  const ours: Record<string, string>[] = [
    { "sec-fetch-site": "same-origin" },
    { "sec-fetch-site": "none" },
    { origin: broker.url },
    { origin: `https://${host}` },
    { origin: "https://queue.example", "x-forwarded-host": "queue.example" },
  ]
  for (const headers of foreign) {
    const csrf = { ...headers, "x-csrf-token": browser.view.csrf }
    for (const answer of [
      browser.ask("GET", "/queues", undefined, headers),
      browser.ask("GET", "/session", undefined, headers),
      browser.ask("POST", "/queues/a/pause", undefined, csrf),
      browser.ask("POST", "/session", { token: SECRET }, headers),
    ])
      expect(await refusal(answer)).toMatchObject({ status: 403, detail: expect.stringContaining("origin") })
  }
  for (const headers of ours) {
    expect((await browser.ask("GET", "/queues", undefined, headers)).status).toBe(200)
    expect((await browser.ask("POST", "/session", { token: SECRET }, headers)).status).toBe(200)
  }
})

test("a wrong token gets 401 and is neither repeated nor logged", async () => {
  const lines: [string, Fields | undefined][] = []
  const write = (message: string, fields?: Fields) => void lines.push([message, fields])
  const log = { ...createLog("silent"), info: write, warn: write, error: write }
  await using broker = await testBroker({ tokens: [token(SECRET)] }, undefined, log)
  const browser = new Browser(broker)
  const marker = "a-wrong-token-that-shows"
  for (const [body, status] of [
    [{ token: marker }, 401],
    [{ token: "" }, 400],
    [{ token: [marker] }, 400],
    [{ token: SECRET, [marker.replaceAll("-", " ")]: 1 }, 400],
    [{}, 400],
    [[{ token: SECRET }], 400],
    [{ token: marker.repeat(100) }, 400],
    [{ token: marker.repeat(1_000) }, 413],
  ] as const) {
    const answer = await browser.ask("POST", "/session", body)
    expect([body, answer.status]).toEqual([body, status])
    expect(answer.headers.has("set-cookie")).toBe(false)
    expect(await answer.text()).not.toContain(marker)
  }
  expect(JSON.stringify(lines)).not.toContain(marker)
  for (const [message] of lines) expect(message).toBe("An address sent a token that the broker does not know")
  await browser.signIn(SECRET)
  expect(lines.slice(1)).toMatchObject([["A session was opened", { by: "ops" }]])
})

test("without credentials GET /session answers 204, and with an expired cookie 401", async () => {
  await using broker = await brokerWith(token(SECRET))
  const browser = new Browser(broker)
  expect((await browser.ask("GET", "/session")).status).toBe(204)
  expect((await browser.ask("DELETE", "/session")).status).toBe(401)
  await browser.signIn(SECRET)
  const [value] = /[^=]+$/.exec(browser.headers.cookie!)!
  const another = value[20] === "A" ? "B" : "A"
  for (const cookie of [
    value.slice(0, -4),
    `${value.slice(0, 20)}${another}${value.slice(21)}`,
    "x",
    "a.b",
  ]) {
    browser.headers.cookie = `tq_session=${cookie}`
    expect([cookie, (await browser.ask("GET", "/session")).status]).toEqual([cookie, 401])
    expect((await browser.ask("GET", "/queues")).status).toBe(401)
  }
})

test("a token in a header takes precedence over the cookie, even if it is wrong", async () => {
  await using broker = await brokerWith(token(SECRET), token("another", { name: "ci", roles: ["submit"] }))
  const browser = await new Browser(broker).signIn(SECRET)
  const me = async (headers: Record<string, string>) => browser.ask("GET", "/session", undefined, headers)
  expect(await (await me({ "x-api-token": "another" })).json()).toEqual({ name: "ci", roles: ["submit"] })
  expect((await me({ "x-api-token": "wrong" })).status).toBe(401)
  expect((await me({ authorization: "Bearer wrong" })).status).toBe(401)
  // Basic authentication of a proxy is not a token.
  expect((await me({ authorization: "Basic eDp5" })).status).toBe(200)
})

test("signing out deletes the cookie", async () => {
  await using broker = await brokerWith(token(SECRET))
  const browser = await new Browser(broker).signIn(SECRET)
  const answer = await browser.change("DELETE", "/session")
  expect(await answer.json()).toEqual({ status: "ended" })
  expect(answer.headers.getSetCookie()).toEqual([
    "tq_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict",
    "__Host-tq_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure",
  ])
})

test("signing out deletes the cookie even if the session has expired", async () => {
  await using broker = await brokerWith(token(SECRET))
  const browser = new Browser(broker)
  const leave = (headers: Record<string, string> = {}) =>
    browser.ask("DELETE", "/session", undefined, headers)
  const over = new Sessions([token(SECRET)]).open(SECRET, Date.now() - 43_200_001)!.value
  const unknown = new Sessions([token("taken out")]).open("taken out")!.value
  for (const value of [over, unknown, "x"]) {
    browser.headers.cookie = `tq_session=${value}`
    expect((await browser.ask("GET", "/session")).status).toBe(401)
    const answer = await leave()
    expect([answer.status, await answer.json()]).toEqual([200, { status: "ended" }])
    expect(answer.headers.get("set-cookie")).toStartWith("tq_session=; Path=/; Max-Age=0;")
    expect(await refusal(leave({ origin: "https://evil.example" }))).toMatchObject({ status: 403 })
    // It gives no other access, and a token in a header must still be valid.
    expect((await browser.ask("DELETE", "/dlq/none")).status).toBe(401)
    expect((await leave({ "x-api-token": "wrong" })).status).toBe(401)
  }
})

test("every broker that has the token accepts the cookie, and no other broker does", async () => {
  await using first = await brokerWith(token(SECRET))
  const browser = await new Browser(first).signIn(SECRET)
  const at = async (...tokens: ApiToken[]) => {
    await using broker = await brokerWith(...tokens)
    return (await fetch(`${broker.url}/queues`, { headers: browser.headers })).status
  }
  expect(await at(token("another"), token(SECRET, { name: "renamed" }))).toBe(200)
  expect(await at(token("another"))).toBe(401)
})

test("a session ends after 12 hours", () => {
  const sessions = new Sessions([token(SECRET)])
  const { value, expiresAt } = sessions.open(SECRET, 1_000)!
  expect(expiresAt).toBe(1_000 + 43_200_000)
  expect(sessions.of(withCookie(value), expiresAt - 1)).toMatchObject({ expiresAt })
  expect(sessions.of(withCookie(value), expiresAt)).toBeUndefined()
})

test("cookies are unique, contain neither the token nor its hash, and are rejected if changed", () => {
  const sessions = new Sessions([token(SECRET), token("another")])
  const values = [1, 2].map(() => sessions.open(SECRET, 0)!.value)
  expect(new Set(values).size).toBe(2)
  const [value] = values as [string]
  const hash = createHash("sha256").update(SECRET).digest()
  const bytes = value.split(".").map(part => Buffer.from(part, "base64url").toString("latin1"))
  for (const secret of [SECRET, hash.toString("latin1").slice(0, 6), hash.toString("hex").slice(0, 12)])
    for (const part of [...bytes, value]) expect(part).not.toContain(secret)
  const [name, sealed] = value.split(".") as [string, string]
  const [other] = sessions.open("another", 0)!.value.split(".") as [string]
  expect(sessions.of(withCookie(`${name}.${sealed}`), 1)).toBeDefined()
  expect(sessions.of(withCookie(`${other}.${sealed}`), 1)).toBeUndefined()
  for (let at = 0; at < sealed.length - 1; at += 7) {
    const changed = sealed.slice(0, at) + (sealed[at] === "A" ? "B" : "A") + sealed.slice(at + 1)
    expect(sessions.of(withCookie(`${name}.${changed}`), 1)).toBeUndefined()
  }
})

/** A cookie as an attacker could make it with the hash of a token and this code. */
function forged(hash: string, secret: string, expiresAt: number): string {
  const made = (purpose: string) => createHmac("sha256", Buffer.from(hash, "hex")).update(purpose).digest()
  const name = made("session name ").toString("base64url").slice(0, 12)
  const nonce = randomBytes(12)
  const cipher = createCipheriv("aes-256-gcm", made("session key "), nonce).setAAD(Buffer.from(name))
  const sealed = [nonce, cipher.update(`${expiresAt} ${secret}`), cipher.final(), cipher.getAuthTag()]
  return `${name}.${Buffer.concat(sealed).toString("base64url")}`
}

test("the hash of a token, as it is in the configuration, is not enough to make a session", () => {
  const hash = hashOf(SECRET)
  const sessions = new Sessions([token(SECRET)])
  expect(sessions.of(withCookie(forged(hash, SECRET, 9)), 1)).toBeDefined()
  for (const guess of ["", hash, SECRET.toUpperCase(), `${SECRET} `])
    expect(sessions.of(withCookie(forged(hash, guess, 9)), 1)).toBeUndefined()
  for (const expiry of [1, Number.NaN])
    expect(sessions.of(withCookie(forged(hash, SECRET, expiry)), 1)).toBeUndefined()
})
