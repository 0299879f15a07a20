/** GET /events: the times of events, and their order within a task, whatever broker publishes them. */
import { expect, test } from "bun:test"
import type { EventData } from "../../lib/wire/events.ts"
import { lease, submit, subscribe } from "../support/event-listener.ts"
import { DirectQueue, freshName, testBroker, until } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"

/** The event names of each task, sorted by `at` and then `order`, and sorted by `order` alone. */
function ordered(events: (EventData & { event: string })[]) {
  const shuffled = events.toSorted(({ event: a }, { event: b }) => (a < b ? -1 : 1))
  const namesOf = (by: (a: EventData, b: EventData) => number) =>
    Object.fromEntries(
      [...Map.groupBy(shuffled.toSorted(by), ({ task_id }) => task_id!)].map(([id, some]) => [
        id,
        some.map(({ event }) => event).join(" "),
      ]),
    )
  return {
    byTime: namesOf((a, b) => a.at - b.at || a.order! - b.order!),
    byOrder: namesOf((a, b) => a.order! - b.order!),
  }
}

test("the events of a task have the times of its transitions and can be sorted, whatever broker publishes them", async () => {
  const queue = freshName()
  await using redis = await testRedis()
  await using here = await testBroker({}, redis.socket)
  await using there = await testBroker({}, redis.socket)
  await using direct = new DirectQueue(redis.socket, queue)
  await using listener = await subscribe(here.url, `queue=${queue}`)
  const brokers = [here, there]
  let calls = 0
  const next = () => brokers[calls++ % 2]!
  const call = (path: string, body?: unknown, method = "POST") => next().call(method, path, body)
  const take = () => lease(next(), queue)
  const ack = async (members: object) => call("/ack", { ...(await take()), ...members })
  const sweeping = () => call("/lease", { queues: [queue] })

  const done = await submit(next(), queue)
  await call("/ack", { task_id: (await take()).task_id }) // without a lease
  const failing = await submit(next(), queue, { max_retries: 1, delay_ms: 60_000 })
  await direct.due(failing)
  const first = { ...(await take()), status: "failed" }
  await call("/ack", first)
  const second = await take()
  await call("/ack", first) // repeated
  await call("/ack", { ...second, status: "released" })
  await ack({ status: "failed" })
  await call(`/dlq/retry/${failing}`)
  await take()
  await call(`/cancel/${failing}`)
  await call(`/cancel/${failing}`) // repeated
  await direct.lapse(failing)
  await sweeping()
  const crashing = await submit(next(), queue, { max_crashes: 0 })
  await take()
  await direct.lapse(crashing)
  await sweeping()
  await call(`/dlq/${crashing}`, undefined, "DELETE")
  const expiring = await submit(next(), queue, { expires_in_ms: 60_000 })
  await ack({ status: "failed", retry_in_ms: 30_000 })
  await direct.expire(expiring)
  await sweeping()
  await call(`/dlq/retry/${expiring}`)
  await call(`/cancel/${expiring}`)

  const lives = {
    [done]: "submitted leased done",
    [failing]:
      "scheduled leased failed failed leased released leased failed dead retried leased cancelling cancelling lapsed cancelled",
    [crashing]: "submitted leased lapsed dead deleted",
    [expiring]: "submitted leased failed dead retried cancelled",
  }
  // Each broker writes its events on its own, so the last event that arrives may be any.
  const total = Object.values(lives).join(" ").split(" ").length
  await until(`${total} events are received`, () => listener.of().length >= total)
  const seen = listener.of()
  const { byTime, byOrder } = ordered(seen)
  expect(byTime).toEqual(lives)
  expect(byOrder).toEqual(byTime)
  // A repetition publishes the same event again.
  for (const [name, order] of [
    ["failed", 13],
    ["cancelling", 42],
  ] as const) {
    const [once, again] = listener
      .of(name)
      .filter(event => event.task_id === failing && event.order === order)
    expect(again).toEqual(once!)
  }
  const timesOf = (id: string, orders: number[]) =>
    orders.map(order => seen.find(event => event.task_id === id && event.order === order)!.at)
  const { createdAt, startedAt, finishedAt } = await here.queue.find(done, "all")
  expect(timesOf(done, [0, 11, 13])).toEqual([createdAt, startedAt!, finishedAt!])
  const { history, ...ended } = await here.queue.find(failing, "all")
  const ends = history.map(line => JSON.parse(line).ended_at)
  // failed, released, failed, lapsed, cancelled
  expect(timesOf(failing, [13, 23, 33, 43, 47])).toEqual([...ends, ended.finishedAt!])
})

test("a repeated release of a task that has died since counts and publishes no second death", async () => {
  const queue = freshName()
  await using redis = await testRedis()
  await using broker = await testBroker({}, redis.socket)
  await using direct = new DirectQueue(redis.socket, queue)
  await using listener = await subscribe(broker.url, `queue=${queue}`)
  const id = await submit(broker, queue, { expires_in_ms: 60_000 })
  const release = { ...(await lease(broker, queue)), status: "released" }
  await broker.call("POST", "/ack", release)
  await direct.expire(id)
  await broker.call("POST", "/lease", { queues: [queue] }) // ends it
  await listener.until("dead")
  const repeated = await broker.call("POST", "/ack", release)
  expect(await repeated.json()).toMatchObject({ status: "released" })
  await broker.call("DELETE", `/dlq/${id}`)
  await listener.until("deleted")
  expect(listener.names()).toEqual(["submitted", "leased", "released", "dead", "released", "deleted"])
  expect(broker.queue.parts.counters.forQueue(queue).dead).toBe(1)
})
