/** What a broker finds that takes over a bulk operation, and what the one that lost it can still do. */
import { expect, test } from "bun:test"
import { runShared } from "../../lib/redis/scripts.ts"
import { joinId } from "../../lib/task/id.ts"
import { bulkUntil, hasEnded } from "../support/bulk.ts"
import { freshName, testBroker } from "../support/harness.ts"
import { onOneConnection, testRedis } from "../support/redis.ts"
import { ScriptQueue } from "../support/script-queue.ts"

const BOUNDS = { kept: 50, most: 20 }
const ABOUT = { filter: {}, author: "ada", print: "", total: 20, canary: false }

/** A queue of its own Redis, before a broker runs. */
async function opened() {
  const redis = await testRedis()
  const queue = new ScriptQueue(redis.socket)
  const runner = onOneConnection(queue.redis)
  return {
    redis,
    queue,
    runner,
    async [Symbol.asyncDispose]() {
      await queue[Symbol.asyncDispose]()
      await redis[Symbol.asyncDispose]()
    },
  }
}

async function makeDead(queue: ScriptQueue, ids: string[]): Promise<void> {
  await queue.submit(ids, { maxRetries: 0 })
  for (const task of await queue.leaseMany(ids.length))
    await queue.settle(task.id, task.lease, "failed", "no")
}

/** An operation whose broker died with this page in hand. */
async function begun(
  { runner, queue }: Awaited<ReturnType<typeof opened>>,
  about: object,
  ids: readonly string[],
): Promise<string> {
  const id = "B1"
  const page = { ids: ids.map(local => joinId(queue.name, local)), seen: ids.length, hasGroups: false }
  await runShared(runner, "bulkStart", {
    id,
    about: JSON.stringify({ ...ABOUT, ...about }),
    selected: "",
    progress: JSON.stringify({ seen: 10, done: 7, skipped: 3 }),
    ...BOUNDS,
  })
  await queue.redis.hset(`tq:bulk{b}:operation:${id}`, "page", JSON.stringify(page))
  return id
}

test("a page of retries that a dead broker had begun is counted once, and no task is retried twice", async () => {
  await using o = await opened()
  const { queue, redis } = o
  const ids = ["retried", "running", "again", "untouched", "deleted"]
  await makeDead(queue, ids)
  const id = await begun(o, { action: "retry", state: "dead" }, ids)
  await Bun.sleep(2) // the next death is in a later millisecond than the start
  for (const local of ["again", "running", "retried"]) await queue.retryDead(local)
  const { lease } = await queue.leaseOne()
  await queue.settle("again", lease, "failed", "no")
  await queue.leaseOne()
  await queue.deleteEnded("deleted")

  await using broker = await testBroker({}, redis.socket)
  const { progress, outcome } = await bulkUntil(broker, id, hasEnded)
  expect(progress).toEqual({ total: 20, seen: 15, done: 12, skipped: 3 })
  expect(await queue.field("again", "state")).toBe("dead")
  expect(await queue.field("running", "state")).toBe("processing")
  for (const local of ["retried", "untouched"]) expect(await queue.field(local, "state")).toBe("queued")
  expect(outcome!.still_going + outcome!.died_again + outcome!.other).toBe(5)
  await bulkUntil(broker, id, view => view.outcome!.died_again === 1 && view.outcome!.other === 1)
})

test.each([
  ["purge", "dead", (queue, id) => queue.deleteEnded(id)],
  ["cancel", "waiting", (queue, id) => queue.cancel(id)],
  ["start_now", "delayed", (queue, id) => queue.change(id, { when: "+0" })],
] as [action: string, state: string, go: (queue: ScriptQueue, id: string) => Promise<unknown>][])(
  "a page of the action %s that was begun is counted once",
  async (action, state, go) => {
    await using o = await opened()
    const { queue, redis } = o
    const ids = ["one", "two", "three"]
    if (action === "purge") await makeDead(queue, ids)
    else await queue.submit(ids, { delay: 3_600_000 })
    const id = await begun(o, { action, state }, ids)
    await go(queue, "two")
    await using broker = await testBroker({}, redis.socket)
    const { progress } = await bulkUntil(broker, id, hasEnded)
    expect(progress).toEqual({ total: 20, seen: 13, done: 10, skipped: 3 })
  },
)

test("a page of tasks to submit again that was begun submits each of them once", async () => {
  await using o = await opened()
  const { queue, redis } = o
  const ids = ["one", "two", "three"]
  await makeDead(queue, ids)
  const id = await begun(o, { action: "submit_again", state: "dead" }, ids)
  const page = await queue.redis.hget(`tq:bulk{b}:operation:${id}`, "page")
  const copies = () => queue.redis.llen(queue.key("ready") + 5)
  {
    await using broker = await testBroker({}, redis.socket)
    expect((await bulkUntil(broker, id, hasEnded)).progress).toMatchObject({ done: 10, skipped: 3 })
    expect(await copies()).toBe(3)
  }
  // As if the broker had died before it stored what it had done.
  await queue.redis.hdel(`tq:bulk{b}:operation:${id}`, "ended")
  await queue.redis.hset(`tq:bulk{b}:operation:${id}`, { page: page!, state: "running" })
  await queue.redis.zadd("tq:bulk{b}:due", 0, id)
  await using broker = await testBroker({}, redis.socket)
  expect((await bulkUntil(broker, id, ({ progress }) => progress.done === 13)).progress.skipped).toBe(3)
  expect(await copies()).toBe(3)
})

test("a cancel that has found tasks of groups looks again, for those that workers moved meanwhile", async () => {
  await using o = await opened()
  const { queue, redis, runner } = o
  for (const group of ["a", "b"]) await queue.submit([`${group}1`, `${group}2`], { group })
  const { id: running } = await queue.leaseOne()
  // The listing is behind the last group, and these tasks have come there since.
  const cursor = Buffer.from("zzz end  ").toString("base64url")
  const about = { ...ABOUT, action: "cancel", state: "any", queues: [queue.name] }
  const progress = { seen: 10, done: 7, skipped: 0, hasGroups: true, cursor }
  const texts = { about: JSON.stringify(about), progress: JSON.stringify(progress) }
  await runShared(runner, "bulkStart", { id: "B1", selected: "", ...texts, ...BOUNDS })
  await using broker = await testBroker({}, redis.socket)
  const ended = await bulkUntil(broker, "B1", hasEnded)
  expect(ended).toMatchObject({ state: "finished", progress: { done: 11, skipped: 0 } })
  expect(await queue.field(running, "cancel")).not.toBeNull()
})

test("a broker whose claim has lapsed can store nothing any more", async () => {
  await using o = await opened()
  const id = await begun(o, { action: "purge", state: "dead" }, [freshName()])
  const claim = async () => (await runShared(o.runner, "bulkClaim", { claim: 0 }))!
  const [, first] = await claim()
  const [, second, , , , , , , , , taken] = await claim()
  expect([first, second, taken]).toEqual([1, 2, 1])
  const save = (fence: number, text: string) =>
    runShared(
      o.runner,
      "bulkSave",
      { id, fence, progress: `{"by":"${text}"}`, page: "", state: "running", wait: 60_000, held: 1 },
      [{ task: text }],
    )
  expect((await save(first, "first"))[0]).toBe("lost")
  expect((await save(second, "second"))[0]).toBe("saved")
  expect(await o.queue.redis.hget(`tq:bulk{b}:operation:${id}`, "progress")).toBe('{"by":"second"}')
  expect(await o.queue.redis.smembers(`tq:bulk{b}:open:${id}`)).toEqual(["second"])
})

test("the outcome of a task is counted once, whoever reports it", async () => {
  await using o = await opened()
  const id = await begun(o, { action: "retry", state: "dead" }, [])
  await o.queue.redis.sadd(`tq:bulk{b}:open:${id}`, "a", "b")
  const report = () => runShared(o.runner, "bulkOutcomes", { id }, [{ task: "a", outcome: "succeeded" }])
  expect([await report(), await report()]).toEqual([1, 1])
  expect(await o.queue.redis.hget(`tq:bulk{b}:operation:${id}`, "succeeded")).toBe("1")
})
