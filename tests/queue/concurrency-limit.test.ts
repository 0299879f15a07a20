/** A queue with a concurrency limit: when an attempt ends, waiting clients are notified at once. */
import { describe, expect, test } from "bun:test"
import { QUEUES, wakeChannel } from "../../lib/redis/keys.ts"
import type { LeasedTask } from "../../lib/wire/working.ts"
import { DirectQueue, freshName, type TestBroker, testBroker, until } from "../support/harness.ts"
import { sharedRedis, testRedis } from "../support/redis.ts"

/** A queue by HTTP, and the messages on its channel. No sweep runs during these tests that could send one. */
async function limited(settings: object = { concurrency: 1 }) {
  const direct = new DirectQueue((await sharedRedis()).socket)
  const broker = await testBroker()
  const queue = direct.name
  const listener = direct.redis.duplicate()
  const messages: string[] = []
  listener.on("message", (_, message) => messages.push(message))
  await listener.subscribe(wakeChannel(queue))
  // biome-ignore lint/suspicious/noExplicitAny: answers of all kinds
  const ask = async (method: string, path: string, body: unknown): Promise<any> => {
    const answer = await broker.call(method, path, body)
    expect(answer.status).toBe(200)
    return answer.json()
  }
  const lease = async (): Promise<LeasedTask[]> => (await ask("POST", "/lease", { queues: [queue] })).tasks
  await ask("PUT", `/queues/${queue}/settings`, settings)
  return {
    direct,
    queue,
    ask,
    lease,
    submit: (task: object = {}) => ask("POST", "/submit", { type: "t", queue, ...task }),
    /** Runs `what` and returns the number of tasks that it announced on the channel. */
    async announcedBy(what: () => Promise<unknown>): Promise<number> {
      const marked = async (mark: string) => {
        await direct.redis.publish(wakeChannel(queue), mark)
        await until("the mark has arrived", () => messages.at(-1) === mark)
      }
      await marked("from here")
      const from = messages.length
      await what()
      await marked("to here")
      return messages.slice(from, -1).reduce((sum, count) => sum + Number(count), 0)
    },
    async [Symbol.asyncDispose]() {
      listener.disconnect()
      await broker[Symbol.asyncDispose]()
      await direct[Symbol.asyncDispose]()
    },
  }
}

describe("if a limit holds tasks back, waiting clients are notified when an attempt", () => {
  const ENDS: Record<string, [task: object, ack: object]> = {
    "is done": [{}, {}],
    "is done with a result": [{}, { result: 1 }],
    "fails and is tried later": [{ backoff: { kind: "fixed", delay_ms: 60_000 } }, { status: "failed" }],
    "fails for good": [{ max_retries: 0 }, { status: "failed" }],
  }
  for (const [end, [task, ack]] of Object.entries(ENDS))
    for (const path of ["/ack", "/work"])
      test(`${end}, by ${path}`, async () => {
        await using q = await limited()
        await q.submit(task)
        await q.submit()
        const [{ id: task_id, lease }] = (await q.lease()) as [LeasedTask]
        expect(await q.lease()).toEqual([])
        const settled = { task_id, lease, ...ack }
        expect(
          await q.announcedBy(() => q.ask("POST", path, path === "/ack" ? settled : { settle: [settled] })),
        ).toBe(1)
        expect(await q.lease()).toHaveLength(1)
      })

  test("is released, or ends as cancelled", async () => {
    await using q = await limited({ concurrency: 2 })
    await q.submit()
    await q.submit()
    const [a] = await q.lease()
    const [b] = await q.lease()
    // Another task can be leased when the worker has acked the cancelled one, and not before.
    expect(await q.announcedBy(() => q.ask("POST", `/cancel/${b!.id}`, undefined))).toBe(0)
    expect(await q.announcedBy(() => q.ask("POST", "/ack", { task_id: b!.id, lease: b!.lease }))).toBe(1)
    const released = { task_id: a!.id, lease: a!.lease, status: "released" }
    expect(await q.announcedBy(() => q.ask("POST", "/ack", released))).toBeGreaterThan(0)
  })
})

test("a sweep that ends a lapsed lease reports that tasks wait for the freed lease", async () => {
  await using q = await limited()
  await q.submit({ max_crashes: 0 })
  await q.submit()
  const [held] = await q.lease()
  await q.direct.lapse(held!.id)
  // The task is dead, so no task became ready. The answer `waiting` makes the sweeping broker lease again.
  const [, waiting] = await q.direct.sweep()
  expect(waiting).toBe(1)
  expect(await q.lease()).toHaveLength(1)
})

test("without a limit, the end of an attempt notifies nobody", async () => {
  await using q = await limited({})
  await q.submit()
  const [task] = await q.lease()
  const ack = { task_id: task!.id, lease: task!.lease }
  expect(await q.announcedBy(() => q.ask("POST", "/ack", ack))).toBe(0)
})

test("a client that waits at another broker gets the next task when a lease is settled or lapses, although no sweep is scheduled soon", async () => {
  await using server = await testRedis()
  await using direct = new DirectQueue(server.socket, freshName())
  await direct.redis.sadd(QUEUES, ...Array.from({ length: 400 }, (_, i) => `other${i}`))
  await using a = await testBroker({}, server.socket)
  await using b = await testBroker({}, server.socket)
  const queue = direct.name
  // biome-ignore lint/suspicious/noExplicitAny: answers of all kinds
  const ask = async (broker: TestBroker, method: string, path: string, body: object): Promise<any> =>
    (await broker.call(method, path, body)).json()
  const lease = (broker: TestBroker, wait_ms = 0): Promise<{ tasks: LeasedTask[] }> =>
    ask(broker, "POST", "/lease", { queues: [queue], wait_ms })
  await ask(a, "PUT", `/queues/${queue}/settings`, { concurrency: 1 })
  expect(await lease(b)).toEqual({ tasks: [] }) // from now on this broker knows the queue
  const ids: string[] = []
  for (const task of [{}, { max_crashes: 0, timeout_ms: 100 }, {}])
    ids.push((await ask(a, "POST", "/submit", { type: "t", queue, ...task })).task_id)
  // Each broker checks the queue within a second, and then only after more than a minute.
  await Bun.sleep(1_100)

  const [first] = (await lease(a)).tasks
  const waiting = lease(b, 20_000)
  await until("it waits", async () => (await direct.redis.pubsub("NUMSUB", wakeChannel(queue)))[1] === 1)
  await ask(a, "POST", "/ack", { task_id: first!.id, lease: first!.lease })
  expect((await waiting).tasks.map(({ id }) => id)).toEqual([ids[1]!])

  // The second task is neither acked nor extended: its lease lapses, and it is dead.
  const { tasks: third } = await lease(a, 20_000)
  expect(third.map(({ id }) => id)).toEqual([ids[2]!])
})
