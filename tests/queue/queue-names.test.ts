/** Which queues are registered: a queue that nobody uses is forgotten, and one that was never registered leaves nothing. */
import { describe, expect, test } from "bun:test"
import { createLog } from "../../lib/log.ts"
import { QueueNames } from "../../lib/queue/queue-names.ts"
import { QUEUES } from "../../lib/redis/keys.ts"
import { Scripts } from "../../lib/redis/scripts.ts"
import { Store } from "../../lib/redis/store.ts"
import { testBroker } from "../support/harness.ts"
import { sharedRedis } from "../support/redis.ts"
import { answered, post } from "../support/requests.ts"
import { HOUR, ScriptQueue } from "../support/script-queue.ts"

const DAY = 24 * HOUR

/** A queue, and the names as one broker knows them. `beforeRemoval` runs just before a name is removed. */
async function named(beforeRemoval = async (_: ScriptQueue): Promise<unknown> => undefined) {
  const { socket } = await sharedRedis()
  const queue = new ScriptQueue(socket)
  const store = await Store.open({ url: socket, timeoutMs: 5_000, name: "tq-test" }, createLog("silent"))
  const swept = new Set<string>()
  const watched = {
    run: store.run.bind(store),
    command: async (...call: Parameters<Store["command"]>) => {
      if (call[0][0] === "SREM") await beforeRemoval(queue)
      return store.command(...call)
    },
  }
  const sweeper = { add: (name: string) => swept.add(name), remove: (name: string) => swept.delete(name) }
  const namesOf = (unusedMs: number) =>
    new QueueNames({ store: watched, scripts: new Scripts(store), sweeper } as never, unusedMs)
  const names = namesOf(0)
  await names.register(queue.name)
  return {
    queue,
    names,
    namesOf,
    swept,
    /** Two sweeps find the queue without timers and pollers. */
    async sweepTwice(by = names) {
      await by.recordUse(queue.name, true)
      await by.recordUse(queue.name, true)
    },
    isListed: async () => (await queue.redis.sismember(QUEUES, queue.name)) === 1,
    keys: () => queue.redis.keys(`tq:{${queue.name}}:*`),
    async [Symbol.asyncDispose]() {
      await queue[Symbol.asyncDispose]()
      await store.close(0)
    },
  }
}

describe("a queue", () => {
  test.each<[string, (queue: ScriptQueue) => Promise<unknown>]>([
    ["never had a task", async () => {}],
    ["was polled long ago", queue => queue.redis.hset(queue.key("stats"), "polled", Date.now() - DAY)],
    [
      "has ids of cancelled tasks in its ready list",
      async queue => {
        await queue.submit(["A", "B"])
        for (const id of ["A", "B"]) await queue.cancel(id, -1)
        await queue.sweep()
      },
    ],
  ])("that %s is forgotten, with its keys, and registered again by its next task", async (_, use) => {
    await using it = await named()
    await use(it.queue)
    await it.names.recordUse(it.queue.name, true)
    expect(await it.isListed()).toBeTrue()
    await it.names.recordUse(it.queue.name, true)
    expect([await it.isListed(), await it.keys(), [...it.swept]]).toEqual([false, [], []])
    expect(it.names.isRegistered(it.queue.name)).toBeFalse()
    await it.names.register(it.queue.name)
    expect([await it.isListed(), [...it.swept]]).toEqual([true, [it.queue.name]])
  })

  test.each<[string, (queue: ScriptQueue) => Promise<unknown>]>([
    ["a queued task", queue => queue.submit("A")],
    ["a scheduled task", queue => queue.submit("A", { delay: HOUR })],
    ["a leased task", queue => queue.submit("A").then(() => queue.lease())],
    ["a cancelled task", queue => queue.submit("A").then(() => queue.cancel("A"))],
    [
      "a done task",
      async queue => {
        await queue.submit("A")
        await queue.settle("A", (await queue.leaseOne()).lease, "done")
      },
    ],
    [
      "a dead task",
      async queue => {
        await queue.submit("A", { maxRetries: 0 })
        await queue.settle("A", (await queue.leaseOne()).lease, "failed")
      },
    ],
    ["a schedule", queue => queue.redis.zadd(queue.key("planned"), Date.now() + HOUR, "daily")],
    ["settings of a group", queue => queue.redis.hset(`tq:{${queue.name}}:overrides`, "acme", "{}")],
    ["a task of a group", queue => queue.redis.zadd(`tq:{${queue.name}}:waiting`, 1, "5acme")],
    ["settings", queue => queue.scripts.call("pause", queue.name, { on: 1, reason: "" })],
  ])("with %s stays registered", async (_, use) => {
    await using it = await named()
    await use(it.queue)
    await it.queue.redis.hset(it.queue.key("stats"), "polled", 1)
    await it.sweepTwice()
    expect([await it.isListed(), await it.queue.redis.exists(it.queue.key("stats"))]).toEqual([true, 1])
  })

  test("that was polled within the hour, or used between two sweeps, stays registered", async () => {
    await using it = await named()
    await it.queue.lease()
    const patient = it.namesOf(HOUR)
    await patient.register(it.queue.name)
    await it.sweepTwice(patient)
    expect(await it.isListed()).toBeTrue()
    await it.names.recordUse(it.queue.name, true)
    await it.names.recordUse(it.queue.name, false)
    await it.names.recordUse(it.queue.name, true)
    expect(await it.isListed()).toBeTrue()
  })

  test("that gets a task while it is being forgotten stays registered", async () => {
    await using it = await named(queue => queue.submit("A"))
    await it.sweepTwice()
    expect([await it.isListed(), it.names.isRegistered(it.queue.name)]).toEqual([true, true])
  })

  test("that gets a task from a broker that did not know that it is forgotten is registered by that broker", async () => {
    await using it = await named()
    const other = it.namesOf(0)
    await other.refresh()
    await it.sweepTwice()
    expect([await it.isListed(), other.isRegistered(it.queue.name)]).toEqual([false, true])
    await it.queue.submit("A")
    await other.refresh()
    expect([await it.isListed(), other.isRegistered(it.queue.name)]).toEqual([true, true])
  })

  test("that is forgotten is no longer known to other brokers, and leaves no statistics that they wrote meanwhile", async () => {
    await using it = await named()
    const other = it.namesOf(0)
    await other.refresh()
    await it.sweepTwice()
    await it.queue.redis.hset(it.queue.key("stats"), "polled", Date.now() - DAY)
    await other.refresh()
    expect([other.isRegistered(it.queue.name), await it.isListed(), await it.keys()]).toEqual([
      false,
      false,
      [],
    ])
  })
})

test("a queue is registered again if it was forgotten between the look-up and the write of its first task", async () => {
  await using it = await named()
  await using broker = await testBroker()
  const { name, redis } = it.queue
  await post(broker, "/submit", { type: "a", queue: name, task_id: "first" })
  // Another broker forgot it, and this one learns of that just after it has looked.
  await redis.srem(QUEUES, name)
  const { names } = broker.queue.parts
  const isRegistered = names.isRegistered.bind(names)
  names.isRegistered = queue => {
    const found = isRegistered(queue)
    names.forget()
    return found
  }
  const submit = await post(broker, "/submit", { type: "a", queue: name, task_id: "second" })
  expect(submit.status).toBe(200)
  expect(await redis.sismember(QUEUES, name)).toBe(1)
})

test("requests about queues that nobody registered write nothing and start no sweeps", async () => {
  await using it = await named()
  await using broker = await testBroker()
  const { redis } = it.queue
  const made = Array.from({ length: 50 }, (_, i) => `made-up-${process.pid}-${i}`)
  const [one, ...others] = made
  await answered(post(broker, "/lease", { queues: made }))
  await answered(post(broker, "/work", { queues: made, max: 3, worker: "w", wait_ms: 5 }))
  await broker.call("GET", `/get?queue=${made.join()}&worker=w`)
  const lease = `1.${"x".repeat(22)}`
  for (const queue of others.slice(0, 5)) {
    await post(broker, "/extend", { task_id: `${queue}:a`, lease, timeout_ms: 1_000 })
    await post(broker, "/ack", { task_id: `${queue}:a`, lease, status: "failed" })
    await post(broker, `/cancel/${queue}:a`, undefined)
    await post(broker, `/dlq/retry/${queue}:a`, undefined)
    await post(broker, `/queues/${queue}/resume`, undefined)
    await post(broker, `/queues/${queue}/purge`, { state: "done" })
    await broker.call("GET", `/status/${queue}:a?wait_ms=1`)
    await broker.call("GET", `/why/${queue}:a`)
    await broker.call("GET", `/queues/${queue}`)
    await broker.call("GET", `/tasks?state=queued&queue=${queue}`)
    await post(broker, `/audit?fix=true&queue=${queue}`, undefined)
  }
  expect(await redis.keys("tq:{made-up*")).toEqual([])
  const listed = await redis.smembers(QUEUES)
  expect(made.filter(name => listed.includes(name))).toEqual([])
  // An operator may set up a queue before its first task.
  await post(broker, `/queues/${one}/pause`, undefined)
  expect(await redis.sismember(QUEUES, one!)).toBe(1)
})
