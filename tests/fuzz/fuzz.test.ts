/** A short run of `bun run fuzz`. A long run takes minutes. */
import { expect, setDefaultTimeout, test } from "bun:test"
import { TOKEN, testBroker } from "../support/harness.ts"
import { Document } from "./document.ts"
import { judge } from "./judge.ts"
import { fuzz } from "./run.ts"

// The run takes about 5 s, and longer on a busy machine.
setDefaultTimeout(300_000)

test("valid, changed and broken requests are answered as documented, and only accepted tasks are stored", async () => {
  const { failures, answers, codes, compared } = await fuzz({
    requests: 3_000,
    seed: 20_261_124,
    round: 1_000,
  })
  expect(failures).toEqual([])
  // The run has covered all kinds of requests and answers.
  expect(Object.keys(answers).sort()).toEqual(
    ["valid", "values", "text", "headers", "path", "pipelined", "wild"].sort(),
  )
  expect(answers.valid!["200"]).toBeGreaterThan(500)
  for (const code of [
    "bad_request",
    "bad_json",
    "unauthorized",
    "not_found",
    "method_not_allowed",
    "task_not_found",
    "lease_lost",
  ])
    expect(codes[code], code).toBeGreaterThan(0)
  expect(compared).toBeGreaterThan(100)
})

test("every kind of wrong answer is detected", async () => {
  await using broker = await testBroker()
  const document = new Document((await (await fetch(`${broker.url}/swagger/json`)).json()) as never, 1)
  const route = document.routes.find(({ name }) => name === "POST /submit")!
  const wrong = (
    status: number,
    body: unknown,
    type = status < 400 ? "json" : "problem+json",
    whole = true,
  ) =>
    judge(
      document,
      { kind: "valid", bytes: Buffer.alloc(0), methods: ["POST"], whole, ...(whole ? { route } : {}) },
      {
        status,
        headers: new Map([["content-type", `application/${type}`]]),
        body: Buffer.from(typeof body === "string" ? body : JSON.stringify(body)),
      },
    ).wrong
  const problem = (code: string, more: object = {}, status = 400) => ({
    error: "no",
    code,
    status,
    title: "No",
    ...more,
  })
  expect(wrong(200, { status: "queued", task_id: "a" })).toBeUndefined()
  expect(wrong(400, problem("bad_request"))).toBeUndefined()
  expect(wrong(200, { status: "queued" })).toContain("does not fit")
  expect(wrong(200, { status: "queued", task_id: TOKEN })).toContain("token")
  expect(wrong(200, [problem("internal")])).toContain("An item")
  expect(wrong(204, { status: "queued" })).toContain("does not list 204")
  expect(wrong(400, problem("bad_request", { detail: "fz<7>" }))).toContain("repeats")
  expect(wrong(400, problem("bad_request", { detail: "Error\n    at x" }))).toContain("internals")
  expect(wrong(400, problem("bad_request", { detail: "WRONGTYPE Operation against a key" }))).toContain(
    "internals",
  )
  expect(wrong(400, problem("bad_request", {}, 409))).toContain("`status`")
  expect(wrong(400, problem("no_such_code"))).toContain("not a valid problem")
  expect(wrong(404, problem("task_not_found", {}, 404))).toContain("does not list 404")
  expect(wrong(400, { message: "no" })).toContain("not a valid problem")
  expect(wrong(400, problem("bad_request"), "json")).toContain("not problem+json")
  expect(wrong(500, problem("internal", {}, 500))).toContain("500")
  expect(wrong(503, problem("redis_unavailable", {}, 503))).toContain("503")
  // An empty answer by Bun itself is allowed only for a request that is not valid HTTP.
  expect([wrong(400, "", "json"), wrong(400, "", "json", false)]).toEqual(["400 without a body", undefined])
})
