/** How much one answer hands out if the tasks are large: a few MB, and the rest at once to the next request. */
import { expect, test } from "bun:test"
import { MAX_ANSWER_BYTES } from "../../lib/queue/long-poll.ts"
import { encodeNewTask } from "../../lib/task/record.ts"
import { DirectQueue, freshName, type TestBroker, testBroker, until } from "../support/harness.ts"
import { checkQueue } from "../support/invariants.ts"
import { sharedRedis } from "../support/redis.ts"

const MEGABYTE = 1_000_000

/** A queue with tasks of this size, whose ids are their numbers. None may crash. */
async function filled(socket: string, count: number, bytes = MEGABYTE): Promise<DirectQueue> {
  const name = freshName()
  const direct = new DirectQueue(socket, name)
  const policy = { priority: 5, maxRetries: 0, maxCrashes: 0, timeoutMs: 30_000 }
  const payload = JSON.stringify("x".repeat(bytes - 2))
  const task = encodeNewTask({ queue: name, type: "a", payload, policy })
  for (let i = 0; i < count; i++) await direct.submitEach(60_000, [{ id: `${i}`, ...task }])
  return direct
}

type Answer = { tasks: { id: string; payload: string; lease: string }[] }

async function ask(broker: TestBroker, path: string, body: object) {
  const answer = await broker.call("POST", path, body)
  const text = await answer.text()
  expect([answer.status, answer.status === 200 ? "" : text]).toEqual([200, ""])
  return { bytes: text.length, tasks: (JSON.parse(text) as Answer).tasks }
}

const ids = (tasks: Answer["tasks"]) => tasks.map(({ id }) => Number(id.split(":")[1]))
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

test.each(["/lease", "/work"])(
  "%s of far more than Redis can say in time hands out a few MB at a time, each task once, in order, none dead",
  async path => {
    const COUNT = 60
    const { socket } = await sharedRedis()
    await using direct = await filled(socket, COUNT)
    await using broker = await testBroker({}, socket)
    const got: number[] = []
    for (let calls = 0; got.length < COUNT; calls++) {
      expect(calls).toBeLessThan(COUNT)
      const { bytes, tasks } = await ask(broker, path, { queues: [direct.name], max: 400 })
      // No request finds nothing while tasks are ready.
      expect(tasks.length).toBeGreaterThan(0)
      expect(bytes).toBeLessThan(2.1 * MAX_ANSWER_BYTES)
      got.push(...ids(tasks))
      await ask(broker, "/work", { settle: tasks.map(({ id, lease }) => ({ task_id: id, lease })) })
    }
    expect(got).toEqual(upTo(COUNT))
    expect(await direct.redis.zcard(direct.key("dead"))).toBe(0)
    await checkQueue(direct.redis, direct.name)
  },
)

test("a task that alone is larger than the bound is handed out, one at a time", async () => {
  const { socket } = await sharedRedis()
  await using direct = await filled(socket, 3, 10 * MEGABYTE)
  await using broker = await testBroker({}, socket)
  for (const i of upTo(3))
    expect(ids((await ask(broker, "/lease", { queues: [direct.name], max: 10 })).tasks)).toEqual([i])
})

test("many workers that poll at once each get a task at once, though one script call cannot hand out all", async () => {
  const COUNT = 30
  const { socket } = await sharedRedis()
  await using direct = await filled(socket, COUNT)
  await using broker = await testBroker({}, socket)
  const polls = upTo(COUNT).map(() => ask(broker, "/lease", { queues: [direct.name], max: 1, wait_ms: 0 }))
  expect((await Promise.all(polls)).flatMap(({ tasks }) => ids(tasks)).sort((a, b) => a - b)).toEqual(
    upTo(COUNT),
  )
})

test("workers that wait share tasks of many MB that come at once, without another look", async () => {
  const COUNT = 12
  const { socket } = await sharedRedis()
  await using direct = await filled(socket, COUNT)
  await using broker = await testBroker({}, socket)
  await direct.redis.hset(direct.key("settings"), "paused", "1")
  const polls = upTo(COUNT).map(() =>
    ask(broker, "/lease", { queues: ["empty", direct.name], max: 1, wait_ms: 20_000 }),
  )
  await until("all wait", () => broker.queue.waiting === COUNT)
  await until(
    "the broker listens",
    async () => ((await direct.redis.pubsub("NUMSUB", direct.key("wake"))) as [string, number])[1] > 0,
  )
  await direct.redis.hdel(direct.key("settings"), "paused")
  await direct.redis.publish(direct.key("wake"), String(COUNT))
  const got = (await Promise.all(polls)).flatMap(({ tasks }) => ids(tasks))
  expect(got.sort((a, b) => a - b)).toEqual(upTo(COUNT))
})

test("a poll of several queues stops at the queue where its answer has enough", async () => {
  const { socket } = await sharedRedis()
  await using all = new AsyncDisposableStack()
  const names: string[] = []
  for (let i = 0; i < 4; i++) names.push(all.use(await filled(socket, 5)).name)
  await using broker = await testBroker({}, socket)
  const { bytes, tasks } = await ask(broker, "/lease", { queues: names, max: 1_000 })
  expect(tasks.length).toBeGreaterThanOrEqual(5)
  expect(bytes).toBeLessThan(3.1 * MAX_ANSWER_BYTES)
})
