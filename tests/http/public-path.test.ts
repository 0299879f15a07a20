/** PUBLIC_PATH: the broker behind a proxy that serves it under a prefix, and removes the prefix or passes it on. */
import { expect, setDefaultTimeout, test } from "bun:test"
import { readBrokerConfig } from "../../lib/config/config.ts"
import { chromium } from "../support/browser.ts"
import { TOKEN, testBroker, until } from "../support/harness.ts"
import { sharedBrowser } from "../support/shared-browser.ts"

setDefaultTimeout(180_000)

const headers = { "x-api-token": TOKEN, "content-type": "application/json" }

test("PUBLIC_PATH is a path", () => {
  const read = (PUBLIC_PATH: string) => readBrokerConfig({ PUBLIC_PATH }).publicPath
  expect(["/queue", "/a/b-c.d/", "/", ""].map(read)).toEqual(["/queue", "/a/b-c.d", undefined, undefined])
  for (const wrong of ["queue", "/a b", "/a?b", "https://example.com/queue", "//", "/*"])
    expect(() => read(wrong)).toThrow("PUBLIC_PATH must be a path such as /queue")
})

test("requests with the prefix and without are the same", async () => {
  await using broker = await testBroker({ publicPath: "/queue" })
  for (const base of [broker.url, `${broker.url}/queue`]) {
    expect((await fetch(`${base}/healthz`)).status).toBe(200)
    expect((await fetch(`${base}/queues`)).status).toBe(401)
    const submitted = await fetch(`${base}/submit`, {
      method: "POST",
      headers,
      body: '{"type": "t", "payload": "ä"}',
    })
    expect(submitted.status).toBe(200)
    const leased = await fetch(`${base}/get?queue=default`, { headers })
    expect(await leased.json()).toMatchObject({ type: "t", payload: "ä" })
    expect((await fetch(`${base}/get`, { method: "HEAD", headers })).status).toBe(405)
    expect((await fetch(`${base}/nothing`, { headers })).status).toBe(404)
    const bad = await fetch(`${base}/submit`, { method: "POST", headers, body: "{" })
    expect([bad.status, ((await bad.json()) as { code: string }).code]).toEqual([400, "bad_json"])
  }
  expect((await fetch(`${broker.url}/queuex/healthz`, { headers })).status).toBe(404)
})

test("a health check of HTTP/1.0 without a Host header is answered under the prefix", async () => {
  await using broker = await testBroker({ publicPath: "/queue" })
  const answer = Promise.withResolvers<string>()
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: Number(new URL(broker.url).port),
    socket: {
      open: socket => void socket.write("GET /queue/healthz HTTP/1.0\r\n\r\n"),
      data: (_, text) => answer.resolve(text.toString()),
      close: () => answer.resolve("closed"),
    },
  })
  expect(await answer.promise).toMatch(/^HTTP\/1\.\d 200 /)
  socket.end()
})

test("redirects lead to pages under the prefix", async () => {
  await using broker = await testBroker({ publicPath: "/queue" })
  for (const [path, page] of [
    ["/", "/dashboard"],
    ["/queue", "/queue/dashboard"],
    ["/queue/", "/queue/dashboard"],
    ["/dashboard/", "/dashboard"],
    ["/queue/swagger/", "/queue/swagger"],
    ["/queue/dashboard/?from=mail", "/queue/dashboard"],
    ["/queue/dashboard?next=/", "/queue/dashboard"],
  ]) {
    const answer = await fetch(broker.url + path)
    expect([answer.status, new URL(answer.url).pathname]).toEqual([200, page!])
  }
})

test("the task of a client that leaves a long poll under the prefix returns to its queue", async () => {
  await using broker = await testBroker({ publicPath: "/queue" })
  const leaving = new AbortController()
  const body = '{"wait_ms": 20000, "worker": "leaver"}'
  const poll = fetch(`${broker.url}/queue/lease`, { method: "POST", headers, body, signal: leaving.signal })
  const workers = async () =>
    ((await (await fetch(`${broker.url}/workers`, { headers })).json()) as { workers: unknown[] }).workers
  await until("it polls", async () => (await workers()).length === 1)
  leaving.abort()
  await poll.catch(() => {})
  await broker.call("POST", "/submit", { type: "t" })
  await until("another gets the task", async () => {
    const answer = await broker.call("POST", "/lease", {})
    return ((await answer.json()) as { tasks: unknown[] }).tasks.length === 1
  })
})

/** A proxy that serves a broker under /queue. */
function proxyOf(url: string, passesPrefix: boolean) {
  return Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async request => {
      const { pathname, search } = new URL(request.url)
      if (!pathname.startsWith("/queue/")) return new Response("another program", { status: 404 })
      const path = passesPrefix ? pathname : pathname.slice("/queue".length)
      const { method } = request
      const answer = await fetch(url + path + search, {
        method,
        headers: request.headers,
        body: method === "GET" ? undefined : await request.text(),
        redirect: "manual",
        decompress: false,
        signal: request.signal,
      } as RequestInit)
      return answer
    },
  })
}

const browser = sharedBrowser()

test.skipIf(chromium === undefined).each([
  ["removes", false],
  ["passes on", true],
])("the dashboard and Swagger work behind a proxy that %s the prefix", async (_, passesPrefix) => {
  await using broker = await testBroker({ publicPath: "/queue" })
  await broker.call("POST", "/submit", { type: "t", queue: "mail" })
  using proxy = proxyOf(broker.url, passesPrefix)
  const url = `http://127.0.0.1:${proxy.port}/queue`
  {
    await using page = await browser.signedIn(url, "#/", TOKEN)
    await page.find("link", "mail")
    await page.page.goto(`${url}/dashboard#/queues/mail`)
    await page.find("button", "Pause")
    await page.page.goto(`${url}/dashboard/#/workers`)
    await page.find("button", "Sign out")
  }
  {
    await using page = await browser.page()
    await page.page.goto(`${url}/swagger`)
    await page.find("heading", /Task queue/)
    const text = await page.page.evaluate(async () => (await fetch("swagger/json")).text())
    expect(JSON.parse(text).servers[0].url).toBe("/queue")
  }
})
