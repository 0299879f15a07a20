/** Requests with an array: each item is answered in its own place. */
import { expect, test } from "bun:test"
import { freshName, testBroker } from "../support/harness.ts"
import { type Body, FORGED_LEASE, hasMember, post, problem } from "../support/requests.ts"

test("an invalid item of a batch is answered in its place and does not affect the others", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  const body = `[{"type":"a","payload":1.0},{},{"type":"b","payload":2.0,"queue":"${queue}"},7,{"type":"c","priority":10},null,[],{"type":"d","payload":3.0}]`
  const answer = await post(broker, "/submit", body)
  expect(answer.status).toBe(200)
  const items = (await answer.json()) as Body[]
  expect(items).toMatchObject([
    { status: "queued" },
    { status: 400, code: "bad_request", field: "type" },
    { status: "queued" },
    { status: 400 },
    { status: 400, field: "priority" },
    { status: 400 },
    { status: 400 },
    { status: "queued" },
  ])
  for (const [i, payload] of [
    [0, "1.0"],
    [2, "2.0"],
    [7, "3.0"],
  ] as const) {
    const text = await (await broker.call("GET", `/status/${items[i]!.task_id}`)).text()
    expect(hasMember(text, "payload", payload)).toBeTrue()
  }
  const [first, second] = [items[0]!, items[2]!].map(item => item.task_id as string)
  await post(broker, "/lease", { queues: ["default", queue], max: 10 })
  const acks = await post(broker, "/ack", [
    { task_id: second, result: 1 },
    { task_id: "nothing" },
    { task_id: first, lease: FORGED_LEASE },
    { status: "done" },
    { task_id: first, status: "failed" },
    { task_id: first, status: "failed" },
  ])
  expect(await acks.json()).toMatchObject([
    { status: "acknowledged", task_id: second },
    { status: 404, code: "task_not_found", task_id: "nothing" },
    { status: 409, code: "lease_lost", task_id: first },
    { status: 400, field: "task_id" },
    { status: "requeued", task_id: first, retries: 1 },
    { status: "requeued", task_id: first, retries: 1 },
  ])
})

test.each(["/submit", "/ack", "/extend"])(
  "POST %s takes 1,000 items at once, and neither 1,001 nor none",
  async path => {
    await using broker = await testBroker()
    const item = path === "/submit" ? { type: "a" } : { task_id: "a", lease: FORGED_LEASE }
    const many = await post(broker, path, Array(1_000).fill(item))
    expect(many.status).toBe(200)
    expect(await many.json()).toHaveLength(1_000)
    for (const items of [Array(1_001).fill(item), []])
      expect(await problem(post(broker, path, items))).toMatchObject({
        status: 400,
        code: "bad_request",
        error: expect.stringContaining("1000"),
      })
    // A batch of one is answered as a batch.
    expect(await (await post(broker, path, [item])).json()).toHaveLength(1)
  },
)
