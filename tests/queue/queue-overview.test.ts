/** GET /queues in an order other than names: pages, totals and what needs attention, over any number of queues. */
import { describe, expect, test } from "bun:test"
import { Redis } from "ioredis"
import { type ApiToken, hashOf } from "../../lib/config/tokens.ts"
import { keyOf, QUEUES } from "../../lib/redis/keys.ts"
import type { QueuesAnswer } from "../../lib/wire/managing.ts"
import { countingCalls, testBroker } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"
import { answered, type Body, post } from "../support/requests.ts"

/** A broker with a Redis of its own, so that there are no other queues. */
async function own() {
  const redis = await testRedis()
  const broker = await testBroker({}, redis.socket)
  const admin = new Redis(redis.socket)
  const page = async (query: string) =>
    (await answered(broker.call("GET", `/queues?${query}`))) as unknown as QueuesAnswer
  return {
    broker,
    socket: redis.socket,
    redis: admin,
    page,
    async names(query: string) {
      const names: string[] = []
      for (let cursor = ""; ; ) {
        const { queues, next } = await page(`${query}${cursor}`)
        names.push(...queues.map(({ queue }) => queue))
        if (next === undefined) return names
        cursor = `&cursor=${next}`
      }
    },
    submit: (queue: string, count: number, more: object = {}) =>
      answered(post(broker, "/submit", Array(count).fill({ type: "t", queue, ...more }))),
    lease: async (queue: string, max = 1) =>
      ((await answered(post(broker, "/lease", { queues: [queue], max, worker: "w" }))) as { tasks: Body[] })
        .tasks,
    async [Symbol.asyncDispose]() {
      admin.disconnect()
      await broker[Symbol.asyncDispose]()
      await redis[Symbol.asyncDispose]()
    },
  }
}

/** b needs workers, d has a dead task, and a, c and e are healthy. */
async function planted() {
  const q = await own()
  const one = { max_retries: 0 }
  await q.submit("a", 4)
  await q.lease("a", 1)
  await q.submit("b", 2)
  await q.submit("c", 1)
  await q.lease("c", 1)
  await q.submit("d", 2, one)
  const [task] = await q.lease("d", 1)
  await post(q.broker, "/ack", { task_id: task!.id, lease: task!.lease, status: "failed" })
  await q.submit("e", 3, { delay_ms: 3_600_000 })
  return q
}

describe("queues are ordered", () => {
  test("with those that need attention first, by the worst kind, then by name", async () => {
    await using q = await planted()
    for (const limit of [1, 2, 100])
      expect([limit, await q.names(`order=attention&limit=${limit}`)]).toEqual([
        limit,
        ["b", "d", "a", "c", "e"],
      ])
    const { worst, totals } = await q.page("order=name&limit=1")
    expect(worst).toMatchObject([
      { queue: "b", attention: [{ kind: "no_workers" }] },
      { queue: "d", attention: [{ kind: "dead" }] },
    ])
    expect(totals).toMatchObject({
      queues: 5,
      paused: 0,
      attention: 2,
      depth: { queued: 6, delayed: 3, processing: 2, done: 0, dead: 1, cancelled: 0 },
      oldest_queue: expect.stringMatching(/^[abd]$/),
    })
  })

  test.each([
    ["queued", ["a", "b", "d", "c", "e"]],
    ["delayed", ["e", "a", "b", "c", "d"]],
    ["processing", ["a", "c", "b", "d", "e"]],
    ["dead", ["d", "a", "b", "c", "e"]],
    ["workers", ["a", "c", "d", "b", "e"]],
    ["name", ["a", "b", "c", "d", "e"]],
  ] as const)("by %s, the highest first, then by name", async (order, names) => {
    await using q = await planted()
    // `workers` reports polls a few seconds late unless they are written now.
    await q.broker.queue.parts.workers.flush()
    for (const limit of [2, 100])
      expect([limit, await q.names(`order=${order}&limit=${limit}`)]).toEqual([limit, [...names]])
  })

  test("and without an order they are listed by name, without totals", async () => {
    await using q = await planted()
    const plain = await q.page("limit=2")
    expect(Object.keys(plain).sort()).toEqual(["next", "queues"])
    expect(plain.next).toBe("b")
    expect(await q.names("limit=2")).toEqual(["a", "b", "c", "d", "e"])
    await q.submit("Emails", 1)
    expect(await q.names("queue_part=MAIL")).toEqual(["Emails"])
    expect(await q.names("queue_part=mail&order=queued")).toEqual(["Emails"])
    expect((await q.page("queue_part=mail&order=queued")).totals?.queues).toBe(6)
  })

  test("and a token that is bound to queues sees only those, also in the totals", async () => {
    const secret = "reader-token-of-a-and-d"
    const reader: ApiToken = { name: "reader", roles: ["read"], queues: ["d", "a"], hash: hashOf(secret) }
    await using q = await planted()
    await using bound = await testBroker({ tokens: [reader] }, q.socket)
    const answer = await bound.call("GET", "/queues?order=attention", undefined, {
      headers: { "x-api-token": secret },
    })
    const { queues, totals, worst } = (await answer.json()) as QueuesAnswer
    expect(queues.map(({ queue }) => queue)).toEqual(["d", "a"])
    expect(worst?.map(({ queue }) => queue)).toEqual(["d"])
    expect(totals).toMatchObject({ queues: 2, attention: 1, depth: { queued: 4, dead: 1 } })
  })
})

test("2,500 queues are read in few calls, at most once in a while, and every page is complete", async () => {
  await using q = await planted()
  const names = Array.from({ length: 2_500 }, (_, i) => `tenant-${String(i).padStart(5, "0")}`)
  await q.redis.sadd(QUEUES, ...names)
  await q.redis.rpush(keyOf(names[2_400]!, "ready", "5"), "gone")
  const { result: first, calls } = await countingCalls(q.broker, () => q.page("order=attention&limit=100"))
  expect(first.queues.slice(0, 3).map(({ queue }) => queue)).toEqual(["b", names[2_400]!, "d"])
  expect(first.totals).toMatchObject({ queues: 2_505, attention: 3 })
  expect(calls).toBeLessThan(50)
  const second = await q.page(`order=attention&limit=100&cursor=${first.next}`)
  expect(second.queues.map(({ queue }) => queue)).toEqual(names.slice(94, 194))
  const all = await q.names("order=attention&limit=1000")
  expect([all.length, new Set(all).size]).toEqual([2_505, 2_505])
})

test("an unknown order or a cursor of nothing is refused with what would be right", async () => {
  await using q = await own()
  for (const [query, field] of [
    ["order=size", "order"],
    ["order=attention&cursor=abc", "cursor"],
    ["order=attention&cursor=a/b", "cursor"],
    ["queue_part=a/b", "queue_part"],
    ["order=queued&limit=0", "limit"],
  ] as const) {
    const answer = await q.broker.call("GET", `/queues?${query}`)
    expect([query, answer.status, await answer.json()]).toEqual([
      query,
      400,
      expect.objectContaining({ code: "bad_request", field, detail: expect.any(String) }),
    ])
  }
})
