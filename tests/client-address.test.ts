/** The client's address, proxy and time limits: what it shows, where it connects, and how long it waits. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { Client } from "../lib/client.ts"

const CLIENT = JSON.stringify(join(import.meta.dir, "../lib/client.ts"))
const TOKEN = "a-token"

test("an error shows the broker's address without user and password", async () => {
  const client = new Client({ url: "http://svc:hunter2pw@127.0.0.1:1", token: TOKEN })
  const error = await client.healthz().catch(thrown => thrown)
  expect(error.message).toContain("http://127.0.0.1:1")
  expect(Bun.inspect(error)).not.toContain("hunter2pw")
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

const underProxy = async (url: string) => {
  const script = `import { Client } from ${CLIENT}
    const client = new Client({ url: ${JSON.stringify(url)}, token: "t", timeoutMs: 5000 })
    console.log(await client.healthz().then(() => "answered", error => error.message))`
  const env = { PATH: process.env.PATH, HTTP_PROXY: "http://user:hunter2pw@127.0.0.1:9" }
  return await new Response(Bun.spawn(["bun", "-e", script], { env, stdout: "pipe" }).stdout).text()
}

test("a broker on a loopback address is reached directly although HTTP_PROXY is set", async () => {
  using server = Bun.serve({ port: 0, fetch: () => Response.json({ status: "ok" }) })
  for (const host of ["127.0.0.1", "localhost"])
    expect(await underProxy(`http://${host}:${server.port}`)).toBe("answered\n")
})

test("an error names the proxy that the request went through", async () => {
  expect(await underProxy("http://broker.example:5000")).toContain(
    "the broker at http://broker.example:5000 cannot be reached through the proxy http://127.0.0.1:9",
  )
})
