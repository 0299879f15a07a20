/** Waiting clients are woken by everything that makes a task ready, and at the right time. */
import { describe, expect, test } from "bun:test"
import { Redis } from "ioredis"
import { Counters } from "../../lib/observe/counters.ts"
import { batchSubmits } from "../../lib/queue/batched-calls.ts"
import { QUEUES, wakeChannel } from "../../lib/redis/keys.ts"
import { newTask } from "../../lib/task/new-task.ts"
import { freshName, testBroker, until } from "../support/harness.ts"
import { type Reply, ServedQueue } from "../support/served-queue.ts"

test("a waiting client is woken when the lease of another worker lapses", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased({ timeout_ms: 200 })
  const [again] = (await q.ask("POST", "/lease", { queues: [q.queue], wait_ms: 20_000 })).body.tasks
  expect(again).toMatchObject({ id: task.id, attempt: 2 })
})

test("an extend that shortens a lease makes the broker sweep earlier", async () => {
  await using q = await ServedQueue.open()
  const task = await q.leased()
  const from = performance.now()
  const waiting = q.ask("POST", "/lease", { queues: [q.queue], wait_ms: 20_000 })
  await q.extend(task, { timeout_ms: 100 })
  expect((await waiting).body.tasks[0]).toMatchObject({ id: task.id, attempt: 2 })
  expect(performance.now() - from).toBeLessThan(15_000)
})

describe("waiting clients are notified when a task becomes ready by", () => {
  type Case = [string, (q: ServedQueue) => Promise<() => Promise<unknown>>]
  test.each<Case>([
    ["submit", async q => () => q.submit()],
    [
      "a delay that is over",
      async q => {
        const id = await q.submit({ delay_ms: 60_000 })
        return () => q.becomeDue(id)
      },
    ],
    [
      "a failure without backoff",
      async q => {
        const task = await q.leased()
        return () => q.ack(task, { status: "failed" })
      },
    ],
    [
      "a backoff that is over",
      async q => {
        const task = await q.leased({ backoff: { kind: "fixed", delay_ms: 60_000 } })
        await q.ack(task, { status: "failed" })
        return () => q.becomeDue(task.id)
      },
    ],
    [
      "a release",
      async q => {
        const task = await q.leased()
        return () => q.ack(task, { status: "released" })
      },
    ],
    [
      "a lapse",
      async q => {
        const task = await q.leased()
        return () => q.crash(task.id)
      },
    ],
    [
      "a retry of a dead task",
      async q => {
        const id = await q.dead()
        return () => q.ask("POST", `/dlq/retry/${id}`)
      },
    ],
  ])("%s", async (_, prepare) => {
    await using q = await ServedQueue.open()
    const becomeReady = await prepare(q)
    const heard: string[] = []
    const listener = new Redis(q.socket)
    listener.on("message", (_, count) => heard.push(count))
    await listener.subscribe(wakeChannel(q.queue))
    await becomeReady()
    await until("the hint is heard", () => heard.length > 0)
    listener.disconnect()
    expect(heard).toEqual(["1"])
  })
})

test("a broker looks for tasks for its waiting clients as soon as it has sent a submit, and not for scheduled ones", async () => {
  const looked: [string, number][] = []
  const reply = Promise.withResolvers<number>()
  const scripts = { call: () => reply.promise }
  const submits = batchSubmits(
    scripts as never,
    { isRegistered: () => true } as never,
    new Counters(),
    1_000,
    (queue, count) => looked.push([queue, count]),
  )
  const task = newTask("q", { type: "t" }, "{}", "", undefined, {
    maxRetries: 3,
    maxCrashes: 3,
    visibilityTimeoutMs: 30_000,
  })
  const items = ["a", "b", "c"].map(localId => ({ localId, task }))
  items[1] = { localId: "b", task: { ...task, when: "+1000" } }
  const answers = submits.run("q", items)
  await until("the submit was sent", () => looked.length > 0)
  expect(looked).toEqual([["q", 2]])
  reply.resolve(5)
  expect(await answers).toEqual(["a", "b", "c"].map(id => ["queued", id, 5]))
})

test("delays, lapses and expiries are processed on time among thousands of queues", async () => {
  await using q = await ServedQueue.open()
  await q.direct.redis.sadd(QUEUES, ...Array.from({ length: 5_000 }, (_, i) => `other${i}`))
  await using broker = await testBroker({}, q.socket)
  const queue = freshName()
  const ask = async (path: string, body: object): Promise<Reply["body"]> =>
    (await broker.call("POST", path, body)).json()
  const submit = (asked: object) => ask("/submit", { type: "t", queue, ...asked })
  const lease = (wait_ms = 0) => ask("/lease", { queues: [queue], wait_ms })
  const waits = async () => {
    const waiting = lease(20_000)
    await until(
      "it waits",
      async () => (await q.direct.redis.pubsub("CHANNELS", wakeChannel(queue))).length > 0,
    )
    return { answer: waiting }
  }
  // A broker checks a queue within a second, and then only after about twenty minutes.
  await submit({})
  await Bun.sleep(1_100)

  const [task] = (await lease()).tasks
  const retried = await waits()
  await ask("/ack", { task_id: task.id, lease: task.lease, status: "failed", retry_in_ms: 100 })
  const [second] = (await retried.answer).tasks
  expect(second).toMatchObject({ id: task.id, attempt: 2 })

  const lapsed = await waits()
  await ask("/extend", { task_id: task.id, lease: second.lease, timeout_ms: 100 })
  const [third] = (await lapsed.answer).tasks
  expect(third).toMatchObject({ id: task.id, attempt: 3 })

  const scheduled = await waits()
  const { task_id } = await submit({ delay_ms: 100 })
  expect((await scheduled.answer).tasks).toMatchObject([{ id: task_id }])

  const { task_id: expiring } = await submit({ expires_in_ms: 100, delay_ms: 60_000 })
  const answer = await broker.call("GET", `/status/${expiring}?wait_ms=10000`)
  expect(await answer.json()).toMatchObject({ status: "dead", reason: "expired" })
})
