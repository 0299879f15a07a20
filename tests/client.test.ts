import { describe, expect, test } from "bun:test"
import { BrokerProblem, BrokerUnreachable, Client } from "../lib/client.ts"
import { FakeBroker, problem } from "./fake-broker.ts"

describe("the client", () => {
  test("a problem carries what a caller needs to decide", async () => {
    await using broker = new FakeBroker()
    broker.on("/ack", () => problem(503, "redis_unavailable", { "Retry-After": "3" }))
    const client = new Client({ url: `${broker.url}/`, token: "secret" })
    const error: BrokerProblem = await client.ack({ task_id: "a" }).then(
      () => undefined as never,
      error => error,
    )
    expect(error).toBeInstanceOf(BrokerProblem)
    expect(error).toMatchObject({
      status: 503,
      code: "redis_unavailable",
      retryable: true,
      retryAfterMs: 3_000,
    })
  })

  test.each([
    ["no connection", async (broker: FakeBroker) => broker.stop()],
    [
      "no answer in time",
      async (broker: FakeBroker) => broker.on("/ack", () => Bun.sleep(300).then(() => undefined)),
    ],
    [
      "a page that is not JSON",
      async (broker: FakeBroker) => broker.on("/ack", () => new Response("<html>")),
    ],
  ])("%s is a broker unreachable", async (_, prepare) => {
    await using broker = new FakeBroker()
    await prepare(broker)
    const client = new Client({ url: broker.url, token: "secret", timeoutMs: 50 })
    await expect(client.ack({ task_id: "a" })).rejects.toBeInstanceOf(BrokerUnreachable)
  })

  test("a caller that leaves gets its own reason", async () => {
    await using broker = new FakeBroker()
    const leave = new AbortController()
    const client = new Client({ url: broker.url, token: "secret" })
    const poll = client.lease({ wait_ms: 5_000 }, { signal: leave.signal })
    await broker.until(() => broker.pollsUnderWay === 1)
    leave.abort(new Error("enough"))
    await expect(poll).rejects.toThrow("enough")
    await broker.until(() => broker.pollsAborted === 1)
  })
})
