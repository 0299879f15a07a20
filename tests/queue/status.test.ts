import { describe, expect, test } from "bun:test"
import { endedChannel } from "../../lib/redis/keys.ts"
import type { LeasedTask } from "../../lib/wire/working.ts"
import { DirectQueue, testBroker, until } from "../support/harness.ts"
import { sharedRedis } from "../support/redis.ts"
import { submitted } from "../support/requests.ts"
import { ServedQueue } from "../support/served-queue.ts"

describe("status", () => {
  test("answers on another broker as soon as the task has ended", async () => {
    await using q = await ServedQueue.open()
    await using other = await testBroker({}, q.socket)
    const ends: [string, (task: LeasedTask) => Promise<unknown>][] = [
      ["done", task => q.ack(task, { result: 1 })],
      ["dead", task => q.ack(task, { status: "failed", retry: false })],
      [
        "cancelled",
        async task => {
          await q.cancel(task.id)
          await q.ack(task)
        },
      ],
    ]
    for (const [state, end] of ends) {
      const task = await q.leased()
      const from = performance.now()
      const waiting = other.call("GET", `/status/${task.id}?wait_ms=20000`).then(answer => answer.json())
      await until(
        "the other listens",
        async () => (await q.direct.redis.pubsub("CHANNELS", endedChannel(q.queue))).length > 0,
      )
      await end(task)
      expect(await waiting).toMatchObject({ status: state })
      expect(performance.now() - from).toBeLessThan(15_000)
      await until(
        "nobody listens",
        async () => (await q.direct.redis.pubsub("CHANNELS", endedChannel(q.queue))).length === 0,
      )
    }
  })

  test("many clients may wait for the same task, and for others of its queue", async () => {
    await using q = await ServedQueue.open()
    await q.submit()
    await q.submit()
    const [one, two] = await q.lease(2)
    const wait = (id: string) => q.ask("GET", `/status/${id}?wait_ms=20000`)
    const first = [wait(one!.id), wait(one!.id)]
    const second = wait(two!.id)
    const watched = async ({ id }: LeasedTask) => (await q.direct.field(id, "watched")) === "1"
    await until("all wait", async () => (await watched(one!)) && (await watched(two!)))
    await q.ack(one!)
    for (const { body } of await Promise.all(first)) expect(body.status).toBe("done")
    await q.ack(two!)
    expect((await second).body.status).toBe("done")
  })

  test("answers with the current task if it does not end in time, and at once if it has ended or does not exist", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased()
    expect((await q.ask("GET", `/status/${task.id}?wait_ms=20`)).body.status).toBe("processing")
    await q.ack(task)
    const from = performance.now()
    expect((await q.ask("GET", `/status/${task.id}?wait_ms=20000`)).body.status).toBe("done")
    expect((await q.ask("GET", `/status/${q.queue}:never?wait_ms=20000`)).status).toBe(404)
    expect(performance.now() - from).toBeLessThan(15_000)
  })

  test("shows the last attempts, limited in number and size", async () => {
    await using q = await ServedQueue.open()
    const id = await q.submit({ max_retries: 100 })
    const fail = async () => {
      const [task] = await q.lease()
      await q.ack(task!, { status: "failed", error: `é${"x".repeat(9_000)}` })
    }
    for (let i = 0; i < 15; i++) await fail()
    await q.lease()
    const { attempts, error } = await q.task(id)
    expect(attempts.map(({ attempt }) => attempt)).toEqual([6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
    for (const { outcome, error, worker, started_at, ended_at } of attempts.slice(0, -1)) {
      expect([outcome, worker]).toEqual(["failed", "w1"])
      expect(error!.length).toBeWithin(400, 501)
      expect(ended_at!).toBeGreaterThanOrEqual(started_at)
    }
    expect(attempts.at(-1)).toMatchObject({ attempt: 16, outcome: "processing" })
    expect(error).toHaveLength(8_192)
  })

  test("shows the outcome of each attempt", async () => {
    await using q = await ServedQueue.open()
    const id = await q.submit()
    await q.ack((await q.lease())[0]!, { status: "failed", error: "boom" })
    await q.lease()
    await q.crash(id)
    await q.ack((await q.lease())[0]!, { status: "released" })
    await q.ack((await q.lease())[0]!)
    const { attempts } = await q.task(id)
    expect(attempts.map(({ outcome }) => outcome)).toEqual(["failed", "crashed", "released", "done"])
    expect(attempts[0]!.error).toBe("boom")
  })
})

test("an id with the name of the default queue is the same id, and a client that waits with it is answered", async () => {
  const { socket } = await sharedRedis()
  await using broker = await testBroker({}, socket)
  await using direct = new DirectQueue(socket, "default")
  const id = await submitted(broker, { type: "t", delay_ms: 60_000 })
  const began = performance.now()
  const ended = broker.call("GET", `/status/default:${id}?wait_ms=20000`)
  await until("it waits", async () => (await direct.field(id, "watched")) === "1")
  await broker.call("POST", `/cancel/default:${id}`)
  expect(await (await ended).json()).toMatchObject({ id, status: "cancelled" })
  expect(performance.now() - began).toBeLessThan(15_000)
})
