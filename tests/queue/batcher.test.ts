/** Group commit: which requests share a script call, in which order, and what happens when the call fails. */
import { expect, spyOn, test } from "bun:test"
import type { Refused } from "../../lib/errors.ts"
import { Batcher } from "../../lib/queue/batcher.ts"
import { countingCalls, DirectQueue, testBroker, until } from "../support/harness.ts"
import { sharedRedis } from "../support/redis.ts"

interface Call {
  queue: string
  items: number[]
  answer(): void
  fail(error: Error): void
}

/** A batcher whose calls end when the test ends them. Each item is answered with ten times its value. */
function heldBatcher() {
  const calls: Call[] = []
  const batcher = new Batcher<number, number>((queue, items) => {
    const { promise, resolve, reject } = Promise.withResolvers<number[]>()
    calls.push({ queue, items, answer: () => resolve(items.map(item => item * 10)), fail: reject })
    return promise
  })
  return { calls, batcher }
}

const tick = () => new Promise<void>(resolve => setImmediate(resolve))
const range = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i)

/** Answers all calls, including those that start meanwhile. */
async function answerAll(calls: Call[]): Promise<void> {
  for (let i = 0; i < calls.length; i++) {
    calls[i]!.answer()
    await tick()
    await tick()
  }
}

test("requests of one tick share a call in their order, and each gets its own answers", async () => {
  const { calls, batcher } = heldBatcher()
  const answers = [batcher.run("q", [1]), batcher.run("q", [2, 3]), batcher.run("q", [4])]
  await tick()
  expect(calls.map(({ items }) => items)).toEqual([[1, 2, 3, 4]])
  calls[0]!.answer()
  expect(await Promise.all(answers)).toEqual([[10], [20, 30], [40]])
})

test("no request is answered before its call has ended", async () => {
  const { calls, batcher } = heldBatcher()
  let answered = 0
  const first = batcher.run("q", [1]).then(() => answered++)
  await tick()
  const second = batcher.run("q", [2]).then(() => answered++)
  await tick()
  await Bun.sleep(5)
  expect([calls.length, answered]).toEqual([2, 0])
  calls[1]!.answer()
  await second
  expect(answered).toBe(1)
  calls[0]!.answer()
  await first
})

test("a failed call fails its own requests and no others", async () => {
  const { calls, batcher } = heldBatcher()
  const failing = [batcher.run("q", [1]), batcher.run("q", [2])]
  await tick()
  const good = batcher.run("q", [3])
  await tick()
  calls[0]!.fail(new Error("gone"))
  for (const each of await Promise.allSettled(failing)) expect(each.status).toBe("rejected")
  calls[1]!.answer()
  expect(await good).toEqual([30])
})

test("while calls are in progress, later requests wait and share the next calls in order, at most 300 items each", async () => {
  const { calls, batcher } = heldBatcher()
  const answers = range(0, 1_000).map(item => batcher.run("q", [item]))
  await tick()
  await tick()
  await tick()
  await tick()
  expect(calls.map(({ items }) => items.length)).toEqual([300, 300, 300])
  await answerAll(calls)
  expect(calls.flatMap(({ items }) => items)).toEqual(range(0, 1_000))
  expect((await Promise.all(answers)).flat()).toEqual(range(0, 1_000).map(item => item * 10))
})

test("the items of one request stay together, even if there are more than 300", async () => {
  const { calls, batcher } = heldBatcher()
  const answers = [
    batcher.run("q", range(0, 200)),
    batcher.run("q", range(200, 1_000)),
    batcher.run("q", [1_200]),
  ]
  for (let i = 0; i < 4; i++) await tick()
  await answerAll(calls)
  expect(calls.map(({ items }) => items.length)).toEqual([200, 1_000, 1])
  expect((await Promise.all(answers)).map(each => each.length)).toEqual([200, 1_000, 1])
})

test("a queue whose calls do not end delays no other queue", async () => {
  const { calls, batcher } = heldBatcher()
  const stuck = range(0, 2_000).map(item => batcher.run("slow", [item]))
  await tick()
  const quick = batcher.run("quick", [1])
  await tick()
  calls.find(({ queue }) => queue === "quick")!.answer()
  expect(await quick).toEqual([10])
  await answerAll(calls)
  await Promise.all(stuck)
})

test("beyond 100,000 waiting items requests are refused as overloaded, until there is room again", async () => {
  const { calls, batcher } = heldBatcher()
  const waiting = range(0, 100).map(i => batcher.run(`q${i}`, range(0, 1_000)))
  // Not `rejects`: without the bound the promise never settles, and the test would hang.
  let refusal: Partial<Refused> | undefined
  batcher.run("q", [1]).catch((error: Refused) => (refusal = error))
  await tick()
  expect(refusal).toMatchObject({ reason: "overloaded" })
  await answerAll(calls)
  await Promise.all(waiting)
  const again = batcher.run("q", [1])
  await tick()
  calls.at(-1)!.answer()
  expect(await again).toEqual([10])
})

test("concurrent requests share script calls, and a refused one does not affect the others", async () => {
  await using broker = await testBroker()
  await using direct = new DirectQueue((await sharedRedis()).socket)
  const submit = (task: object) => broker.call("POST", "/submit", { queue: direct.name, type: "t", ...task })
  await submit({ task_id: "taken", payload: 1 })
  using arrived = spyOn(broker.queue, "submit")
  const { result: answers, calls } = await countingCalls(broker, async () => {
    // Redis holds the first calls until the other requests have arrived.
    await direct.redis.client("PAUSE", 50_000, "WRITE")
    const answers = range(0, 60).map(i =>
      submit(i === 30 ? { task_id: "taken", payload: 2 } : { payload: i }),
    )
    await until("all have arrived", () => arrived.mock.calls.length === 60)
    await direct.redis.client("UNPAUSE")
    return Promise.all(answers)
  })
  expect(answers.map(({ status }) => status)).toEqual(range(0, 60).map(i => (i === 30 ? 422 : 200)))
  expect(calls).toBeLessThan(10)
})
