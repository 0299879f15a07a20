/** The client's address, proxy and time limits: what it shows, where it connects, and how long it waits. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { shownUrl } from "../lib/broker-address.ts"
import { Client } from "../lib/client.ts"
import { pause } from "../lib/pause.ts"
import { ownConnections } from "../lib/worker/own-connections.ts"

const CLIENT = JSON.stringify(join(import.meta.dir, "../lib/client.ts"))
const TOKEN = "a-token"

test("an error shows the broker's address without user and password", async () => {
  const client = new Client({ url: "http://svc:hunter2pw@127.0.0.1:1", token: TOKEN })
  const error = await client.healthz().catch(thrown => thrown)
  expect(error.message).toContain("http://127.0.0.1:1")
  expect(Bun.inspect(error)).not.toContain("hunter2pw")
})

test("no spelling of an address shows its user, password, query or fragment", () => {
  for (const address of [
    "http://svc:hunter2pw@host:1/p",
    " http://svc:hunter2pw@host:1/p",
    "HTTP://hunter2pw@host:1/p",
    "http://svc:a/hunter2pw@host:1/p",
    "http://svc:1/hunter2pw@host:1/p",
    "http://svc:a?hunter2pw@host:1/p",
    "http://svc:a#hunter2pw@host:1/p",
    "http://svc:a@hunter2pw@host:1/p",
    "http:svc:hunter2pw@host:1/p",
    "svc:hunter2pw@host:1/p",
    "http://host:1/p?token=hunter2pw",
    "http://host:1/p#hunter2pw",
  ])
    expect(shownUrl(address).toLowerCase()).toMatch(/^(http:\/\/)?host:1\/p$/)
})

test("a refusal that does not come from a broker names the address, without its password", async () => {
  using server = Bun.serve({ port: 0, fetch: () => new Response("<html>", { status: 403 }) })
  const address = `http://svc:hunter2pw@localhost:${server.port}`
  const error = await new Client({ url: address, token: TOKEN }).lease().catch(thrown => thrown)
  expect(error.message).toBe(
    `Forbidden (403 unknown): this answer of http://localhost:${server.port} does not come from a broker`,
  )
})

test("the refusal of a server that redirects says where to, and the redirect is not followed", async () => {
  let requests = 0
  const statuses = [301, 302, 303, 307, 308]
  using server = Bun.serve({
    port: 0,
    fetch: () => {
      const headers = { location: "https://user:hunter2pw@queue.example/work?token=hunter2pw" }
      return new Response("<html>", { status: statuses[requests++]!, headers })
    },
  })
  const client = new Client({ url: server.url.href, token: TOKEN })
  const own = new Client({ url: server.url.href, token: TOKEN, fetch: ownConnections(server.url.href) })
  for (const [i, status] of statuses.entries()) {
    const error = await (i % 2 ? client : own).lease().catch(thrown => thrown)
    expect(error.message).toContain(
      `(${status} unknown): the server redirects to https://queue.example/work,`,
    )
    expect(error.retryable).toBe(false)
  }
  expect(requests).toBe(statuses.length)
})

test("a time limit above the range of timers waits, and one of 0 or less is refused", async () => {
  using server = Bun.serve({
    port: 0,
    fetch: async () => {
      await Bun.sleep(100)
      return Response.json({ status: "ok" })
    },
  })
  const url = server.url.href
  for (const timeoutMs of [3_000_000_000, Number.POSITIVE_INFINITY, 2 ** 31]) {
    await new Client({ url, token: TOKEN, timeoutMs }).healthz()
    await new Client({ url, token: TOKEN }).healthz({ timeoutMs })
  }
  for (const timeoutMs of [0, -1, Number.NaN]) {
    expect(() => new Client({ url, token: TOKEN, timeoutMs })).toThrow("timeoutMs must be")
    await expect(new Client({ url, token: TOKEN }).healthz({ timeoutMs })).rejects.toThrow(
      "timeoutMs must be",
    )
  }
})

test("a pause above the range of timers waits", async () => {
  const end = new AbortController()
  let over = false
  const waiting = pause(3_000_000_000, end.signal).then(() => {
    over = true
  })
  await Bun.sleep(20)
  expect(over).toBe(false)
  end.abort()
  await waiting
})

const underProxy = async (url: string, variable = "HTTP_PROXY") => {
  const script = `import { Client } from ${CLIENT}
    const client = new Client({ url: ${JSON.stringify(url)}, token: "t", timeoutMs: 20000 })
    console.log(await client.healthz().then(() => "answered", error => error.message))`
  const env = { PATH: process.env.PATH, [variable]: "http://user:hunter2pw@127.0.0.1:9" }
  return await new Response(Bun.spawn(["bun", "-e", script], { env, stdout: "pipe" }).stdout).text()
}

test("a broker on a loopback address is reached directly although a proxy is set", async () => {
  using server = Bun.serve({ port: 0, fetch: () => Response.json({ status: "ok" }) })
  for (const host of ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"])
    expect(await underProxy(`http://${host}:${server.port}`)).toBe("answered\n")
  for (const variable of ["http_proxy", "ALL_PROXY", "all_proxy"])
    expect(await underProxy(`http://localhost:${server.port}`, variable)).toBe("answered\n")
})

test("an error names the proxy that the request went through", async () => {
  expect(await underProxy("http://broker.example:5000")).toContain(
    "the broker at http://broker.example:5000 cannot be reached through the proxy http://127.0.0.1:9",
  )
  expect(await underProxy("https://broker.example", "ALL_PROXY")).toContain(
    "through the proxy http://127.0.0.1:9",
  )
})
