/** Group commit: who shares a call, in which order, and who is told what when it fails. */
import { expect, test } from "bun:test"
import type { Refused } from "../../lib/errors.ts"
import { Batcher } from "../../lib/queue/batcher.ts"
import { DirectQueue, testBroker } from "../support/harness.ts"
import { sharedRedis } from "../support/redis.ts"

interface Call {
  queue: string
  items: number[]
  answer(): void
  fail(error: Error): void
}

/** A group whose calls end when the test says so; each item is answered with ten times itself. */
function held() {
  const calls: Call[] = []
  const group = new Batcher<number, number>((queue, items) => {
    const { promise, resolve, reject } = Promise.withResolvers<number[]>()
    calls.push({ queue, items, answer: () => resolve(items.map(item => item * 10)), fail: reject })
    return promise
  })
  return { calls, group }
}

const tick = () => new Promise<void>(resolve => setImmediate(resolve))
const range = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i)

/** Answers whatever is under way until nothing is. */
async function answerAll(calls: Call[]): Promise<void> {
  for (let i = 0; i < calls.length; i++) {
    calls[i]!.answer()
    await tick()
    await tick()
  }
}

test("what comes in one tick shares a call, in the order in which it came, and each gets its own answers", async () => {
  const { calls, group } = held()
  const answers = [group.run("q", [1]), group.run("q", [2, 3]), group.run("q", [4])]
  await tick()
  expect(calls.map(({ items }) => items)).toEqual([[1, 2, 3, 4]])
  calls[0]!.answer()
  expect(await Promise.all(answers)).toEqual([[10], [20, 30], [40]])
})

test("nobody is answered before the call that carries it has ended", async () => {
  const { calls, group } = held()
  let answered = 0
  const first = group.run("q", [1]).then(() => answered++)
  await tick()
  const second = group.run("q", [2]).then(() => answered++)
  await tick()
  await Bun.sleep(5)
  expect([calls.length, answered]).toEqual([2, 0])
  calls[1]!.answer()
  await second
  expect(answered).toBe(1)
  calls[0]!.answer()
  await first
})

test("a call that fails is told to those whom it carried, and to no others", async () => {
  const { calls, group } = held()
  const failing = [group.run("q", [1]), group.run("q", [2])]
  await tick()
  const good = group.run("q", [3])
  await tick()
  calls[0]!.fail(new Error("gone"))
  for (const each of await Promise.allSettled(failing)) expect(each.status).toBe("rejected")
  calls[1]!.answer()
  expect(await good).toEqual([30])
})

test("while calls are under way the rest waits and shares the next ones, no more than 300 items each, first come first served", async () => {
  const { calls, group } = held()
  const answers = range(0, 1_000).map(item => group.run("q", [item]))
  await tick()
  await tick()
  await tick()
  await tick()
  expect(calls.map(({ items }) => items.length)).toEqual([300, 300, 300])
  await answerAll(calls)
  expect(calls.flatMap(({ items }) => items)).toEqual(range(0, 1_000))
  expect((await Promise.all(answers)).flat()).toEqual(range(0, 1_000).map(item => item * 10))
})

test("the items of one request stay together, also where they are more", async () => {
  const { calls, group } = held()
  const answers = [group.run("q", range(0, 200)), group.run("q", range(200, 1_000)), group.run("q", [1_200])]
  for (let i = 0; i < 4; i++) await tick()
  await answerAll(calls)
  expect(calls.map(({ items }) => items.length)).toEqual([200, 1_000, 1])
  expect((await Promise.all(answers)).map(each => each.length)).toEqual([200, 1_000, 1])
})

test("a queue whose calls do not end holds up no other", async () => {
  const { calls, group } = held()
  const stuck = range(0, 2_000).map(item => group.run("slow", [item]))
  await tick()
  const quick = group.run("quick", [1])
  await tick()
  calls.find(({ queue }) => queue === "quick")!.answer()
  expect(await quick).toEqual([10])
  await answerAll(calls)
  await Promise.all(stuck)
})

test("past 100,000 items that wait, callers are told to come again, and are served once there is room", async () => {
  const { calls, group } = held()
  const waiting = range(0, 100).map(i => group.run(`q${i}`, range(0, 1_000)))
  // Not `rejects`: with the bound gone it is never settled, and that would wait for ever.
  let refusal: Partial<Refused> | undefined
  group.run("q", [1]).catch((error: Refused) => (refusal = error))
  await tick()
  expect(refusal).toMatchObject({ reason: "overloaded" })
  await answerAll(calls)
  await Promise.all(waiting)
  const again = group.run("q", [1])
  await tick()
  calls.at(-1)!.answer()
  expect(await again).toEqual([10])
})

test("requests that come together share script calls, and one that is refused sinks no other", async () => {
  await using broker = await testBroker()
  await using direct = new DirectQueue((await sharedRedis()).socket)
  const submit = (task: object) => broker.call("POST", "/submit", { queue: direct.name, type: "t", ...task })
  await submit({ task_id: "taken", payload: 1 })
  const calls = async () =>
    [...(await direct.redis.info("commandstats")).matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)].reduce(
      (sum, [, count]) => sum + Number(count),
      0,
    )
  const before = await calls()
  const answers = await Promise.all(
    range(0, 60).map(i => submit(i === 30 ? { task_id: "taken", payload: 2 } : { payload: i })),
  )
  expect(answers.map(({ status }) => status)).toEqual(range(0, 60).map(i => (i === 30 ? 422 : 200)))
  expect((await calls()) - before).toBeLessThan(40)
})
