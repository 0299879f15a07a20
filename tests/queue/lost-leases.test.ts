/** Leases that no worker received, because replies were lost between Redis and the broker: their tasks return to their queue, and no crash is counted. */
import { expect, spyOn, test } from "bun:test"
import { Leaser } from "../../lib/queue/leaser.ts"
import { LostLeases } from "../../lib/queue/lost-leases.ts"
import { RedisClock } from "../../lib/redis/clock.ts"
import type { Runner } from "../../lib/redis/runner.ts"
import { Scripts } from "../../lib/redis/scripts.ts"
import { tokenOf } from "../../lib/task/lease-token.ts"
import type { Leased } from "../../lib/task/task.ts"
import { Link } from "../faults/proxy.ts"
import { DirectQueue, freshName, testBroker, until } from "../support/harness.ts"
import { checkQueue } from "../support/invariants.ts"
import { onOneConnection, sharedRedis, testRedis } from "../support/redis.ts"
import { ScriptQueue } from "../support/script-queue.ts"

/** A leaser of a queue. `lose`: how many of the next calls lose their replies. `later`: these calls run when the test starts them. */
async function leaser() {
  const queue = new ScriptQueue((await sharedRedis()).socket)
  const direct = onOneConnection(queue.redis)
  const state = {
    lose: 0,
    delay: false,
    calls: 0,
    late: [] as (() => Promise<unknown>)[],
    sweeps: [] as number[],
  }
  const runner: Runner = {
    async run(...call) {
      state.calls++
      if (state.lose === 0) return direct.run(...call)
      state.lose--
      if (state.delay) state.late.push(() => direct.run(...call))
      else await direct.run(...call)
      throw new Error("Command timed out")
    },
  }
  const scripts = new Scripts(runner)
  const sweeper = { sweepIn: (_: string, ms: number) => state.sweeps.push(ms) }
  const lost = new LostLeases({ scripts, sweeper, doneRetentionMs: 60_000 } as never)
  const outcomes = { recordTimeouts() {}, recordLeased() {}, recordSettled() {} }
  const names = { isRegistered: () => true }
  const clock = new RedisClock()
  const parts = { scripts, sweeper, outcomes, names, lost, clock, subscriptions: {}, doneRetentionMs: 60_000 }
  const own = new Leaser(parts as never)
  return {
    queue,
    state,
    lost,
    lease: async (count: number) => (await own.lease(queue.name, [{ worker: "w", count }])).tasks,
    release: (tasks: Leased[]) => own.release(tasks),
    counters: (id: string) =>
      Promise.all(["state", "lease", "crashes", "releases", "retries"].map(name => queue.field(id, name))),
    async [Symbol.asyncDispose]() {
      await checkQueue(queue.redis, queue.name)
      await queue[Symbol.asyncDispose]()
    },
  }
}

const localIds = (tasks: readonly Leased[]) => tasks.map(({ id }) => id.split(":")[1])

test("after the reply of a lease call is lost, the next call hands out the same tasks in order, and no crash is counted", async () => {
  await using its = await leaser()
  const ids = Array.from({ length: 700 }, (_, i) => `n${String(i).padStart(3, "0")}`)
  await its.queue.submit(ids, { maxCrashes: 0 })
  // Leases of other workers are in between and stay.
  const [held] = await its.lease(1)
  its.state.lose = 1
  await expect(its.lease(300)).rejects.toMatchObject({ reason: "redis_unavailable" })
  const [other] = await its.queue.lease().then(([, ...tasks]) => tasks)
  expect(await its.queue.redis.zcard(its.queue.key("leases"))).toBe(302)
  expect(its.state.sweeps).toContain(0)
  const again = await its.lease(300)
  expect(localIds(again)).toEqual(ids.slice(1, 301))
  expect(again.every(({ attempt }) => attempt === 2)).toBeTrue()
  for (const id of ["n001", "n300"])
    expect((await its.counters(id)).toSpliced(1, 1)).toEqual(["processing", "0", "0", "0"])
  for (const { id, lease } of [held!, other!])
    expect((await its.queue.settle(id.split(":").at(-1)!, lease, "done"))[0]).toBe("acknowledged")
})

test("no number of lost replies makes a task dead", async () => {
  await using its = await leaser()
  await its.queue.submit("T", { maxCrashes: 0, maxRetries: 0 })
  for (let i = 1; i <= 120; i++) {
    await its.lost.recover(its.queue.name)
    its.state.lose = 1
    await expect(its.lease(1)).rejects.toThrow()
  }
  const [task] = await its.lease(1)
  expect(task).toMatchObject({ attempt: 121, retries: 0 })
  expect((await its.counters("T")).toSpliced(1, 1)).toEqual(["processing", "0", "0", "0"])
})

test("a lease that lapsed during the outage is given back before it is swept", async () => {
  await using its = await leaser()
  await its.queue.submit(["A", "B"], { maxCrashes: 0 })
  its.state.lose = 1
  await expect(its.lease(2)).rejects.toThrow()
  for (const id of ["A", "B"]) await its.queue.lapse(id)
  expect(localIds(await its.lease(2))).toEqual(["A", "B"])
  for (const id of ["A", "B"])
    expect((await its.counters(id)).toSpliced(1, 1)).toEqual(["processing", "0", "0", "0"])
})

test("a cancelled task whose lease reached no worker ends as cancelled", async () => {
  await using its = await leaser()
  await its.queue.submit("T")
  its.state.lose = 1
  await expect(its.lease(1)).rejects.toThrow()
  await its.queue.cancel("T")
  expect(await its.lease(1)).toEqual([])
  expect((await its.counters("T"))[0]).toBe("cancelled")
})

test("a call that Redis runs after the broker has given it up is found by the second look, which is the last", async () => {
  await using its = await leaser()
  await its.queue.submit(["A", "B"], { maxCrashes: 0 })
  Object.assign(its.state, { lose: 1, delay: true })
  await expect(its.lease(2)).rejects.toThrow()
  await its.lost.recover(its.queue.name)
  for (const late of its.state.late) await late()
  expect((await its.counters("A"))[0]).toBe("processing")
  expect(its.lost.isDue(its.queue.name)).toBeFalse()
  const at = performance.now() + its.state.sweeps.at(-1)!
  const clock = spyOn(performance, "now").mockReturnValue(at)
  try {
    expect(its.lost.isDue(its.queue.name)).toBeTrue()
    expect(localIds(await its.lease(2))).toEqual(["A", "B"])
    clock.mockReturnValue(at * 2)
    expect(its.lost.isDue(its.queue.name)).toBeFalse()
  } finally {
    clock.mockRestore()
  }
})

test("a failed release for a disconnected client is repeated, and no crash is counted", async () => {
  await using its = await leaser()
  await its.queue.submit(["A", "B"], { maxCrashes: 0 })
  const tasks = await its.lease(2)
  Object.assign(its.state, { lose: 1, delay: true })
  await its.release(tasks)
  await its.lost.recover(its.queue.name)
  for (const id of ["A", "B"])
    expect((await its.counters(id)).toSpliced(1, 1)).toEqual(["queued", "0", "0", "0"])
  expect(await its.queue.ready()).toEqual(["A", "B"])
})

test("a record that cannot be read stops its queue no more than its own attempts do", async () => {
  await using its = await leaser()
  await its.queue.submit(["A", "B"])
  const key = its.queue.key("task", "A")
  const text = (await its.queue.redis.get(key))!
  await its.queue.redis.set(key, text.replace("\n\n", "\n{broken\n"))
  await expect(its.lease(1)).rejects.toThrow()
  expect(its.lost.isDue(its.queue.name)).toBeFalse()
  expect(localIds(await its.lease(1))).toEqual(["B"])
  // It is also not given back for ever if its lease reached nobody.
  const lease = / (1\.\S+) /.exec((await its.queue.redis.get(key))!)![1]!
  its.lost.remember(its.queue.name, tokenOf(lease))
  await expect(its.lease(1)).rejects.toThrow()
  expect(await its.lease(1)).toEqual([])
  await its.queue.redis.set(key, (await its.queue.redis.get(key))!.replace("{broken", ""))
})

test("if nothing was lost, a lease takes one call", async () => {
  await using its = await leaser()
  await its.queue.submit(["A", "B"])
  await its.lease(1)
  await its.lease(1)
  expect(its.state.calls).toBe(2)
})

test("a broker that loses its connection with the reply hands the tasks out again at once, and no crash is counted", async () => {
  await using server = await testRedis()
  using link = new Link("broker to Redis", { unix: server.socket })
  await using broker = await testBroker({ redisTimeoutMs: 1_000 }, { url: `redis://127.0.0.1:${link.port}` })
  await using redis = new DirectQueue(server.socket)
  let queue = freshName()
  let ids: string[] = []
  const text = async () => (await redis.redis.get(`tq:{${queue}}:task:${ids[0]!.split(":")[1]}`))!
  const lease = async (wait_ms = 0) => {
    const answer = await broker.call("POST", "/lease", { queues: [queue], max: 20, wait_ms })
    const body = (await answer.json()) as { tasks?: { id: string; attempt: number }[] }
    return body.tasks ?? []
  }
  await lease() // from now on Redis knows the script
  // The reply that is dropped may be that of another call, such as a sweep.
  await until("the reply to a lease call is lost", async () => {
    queue = freshName()
    const task = { type: "a", queue, max_crashes: 0 }
    await until("it is submitted", async () => {
      const answer = await broker.call("POST", "/submit", Array(20).fill(task))
      if (answer.status !== 200) return false
      ids = ((await answer.json()) as { task_id: string }[]).map(({ task_id }) => task_id)
      return true
    })
    link.break("dropReply")
    const tasks = await lease()
    link.heal()
    return tasks.length === 0 && /^\w+ 0 1\./.test(await text())
  })
  // No request is sent, so the sweeper does this.
  await until("the tasks are queued again", async () => (await text()).startsWith("queued"))
  const tasks = await lease(20_000)
  expect(tasks).toHaveLength(20)
  for (const { id, attempt } of tasks) {
    expect(attempt).toBe(2)
    const task = (await (await broker.call("GET", `/status/${id}`)).json()) as object
    expect(task).toMatchObject({ crashes: 0, releases: 0, status: "processing" })
  }
})
