/** Which queues are swept when many are due: how many at a time, in which order, and that none waits for schedules. */
import { expect, test } from "bun:test"
import { createLog } from "../../lib/log.ts"
import { ScheduleFiring } from "../../lib/queue/schedule-firing.ts"
import { Sweeper, type Swept } from "../../lib/queue/sweeper.ts"
import { Upkeep } from "../../lib/queue/upkeep.ts"
import { until } from "../support/processes.ts"

const NOTHING_MORE: Swept = { more: false, nextEventMs: undefined }
const FOR_EVER_MS = 3_600_000

const namesOf = (count: number) => Array.from({ length: count }, (_, i) => `q${i}`)

/** A sweeper whose sweeps end when the test ends them. `started`: the queues in the order in which their sweeps began. */
function heldSweeper(maxHeldMs = FOR_EVER_MS) {
  const started: string[] = []
  const ends: ((swept: Swept) => void)[] = []
  const sweeper = new Sweeper(
    queue => {
      started.push(queue)
      return new Promise(resolve => ends.push(resolve))
    },
    () => {},
    maxHeldMs,
  )
  return { sweeper, started, ends, [Symbol.dispose]: () => sweeper.close() }
}

/** Sweeps queues that all are due until so many sweeps have ended. Returns their queues in order. */
async function sweepAll(
  late: readonly (readonly [queue: string, ms: number])[],
  count: number,
  swept: (queue: string) => Swept,
) {
  const ended: string[] = []
  const sweeper = new Sweeper(async queue => {
    ended.push(queue)
    return swept(queue)
  })
  for (const [queue, ms] of late) sweeper.sweepIn(queue, -ms)
  await until("all are swept", () => ended.length >= count)
  sweeper.close()
  return ended.slice(0, count)
}

test("of many queues that are due at one instant, eight are swept at a time", async () => {
  using held = heldSweeper()
  for (const queue of namesOf(20)) held.sweeper.sweepIn(queue, 0)
  for (let ended = 0; ended < 20; ended++) {
    const most = Math.min(20, ended + 8)
    await until("each free place is taken", () => held.started.length >= most)
    expect(held.started).toHaveLength(most)
    held.ends[ended]!(NOTHING_MORE)
  }
  expect(held.started.sort()).toEqual(namesOf(20).sort())
})

test("a sweep that fails gives up its place", async () => {
  const started: string[] = []
  const sweeper = new Sweeper(
    queue => {
      started.push(queue)
      return Promise.reject(new Error("Redis is down"))
    },
    () => {},
    FOR_EVER_MS,
  )
  for (const queue of namesOf(20)) sweeper.sweepIn(queue, 0)
  await until("all are swept", () => new Set(started).size === 20)
  sweeper.close()
})

test("while Redis is down, thousands of queues are retried a few at a time, and all at once when it is back", async () => {
  const names = namesOf(3_000)
  const swept = new Set<string>()
  let isDown = true
  let retries = -names.length
  const sweeper = new Sweeper(async queue => {
    if (isDown) {
      retries++
      throw new Error("Redis is down")
    }
    swept.add(queue)
    return NOTHING_MORE
  })
  for (const queue of names) sweeper.sweepIn(queue, 0)
  await until("all have failed", () => retries >= 0)
  const from = performance.now()
  await Bun.sleep(2_000)
  expect(retries).toBeLessThan(((performance.now() - from) / 1_000) * 200)
  isDown = false
  const back = performance.now()
  await until("all are swept", () => swept.size === names.length)
  expect(performance.now() - back).toBeLessThan(10_000) // one by one it would take 30 s
  sweeper.close()
})

test("the queue that has been due the longest is swept first", async () => {
  const names = namesOf(20)
  const late = names.map((queue, i) => [queue, (i * 7) % 20] as const)
  const byDeadline = late.toSorted(([, a], [, b]) => b - a).map(([queue]) => queue)
  expect(await sweepAll(late, 20, () => NOTHING_MORE)).toEqual(byDeadline)
})

test("a queue that always has more to do is swept again only after all that were due before", async () => {
  const late = [["busy", 1_000] as const, ...namesOf(20).map(queue => [queue, 500] as const)]
  const order = await sweepAll(late, 23, queue => ({ ...NOTHING_MORE, more: queue === "busy" }))
  expect(order).toEqual(["busy", ...namesOf(20), "busy", "busy"])
})

test("sweeps that hang, as those of a node that is down, do not keep their places", async () => {
  using held = heldSweeper(0)
  for (const queue of namesOf(20)) held.sweeper.sweepIn(queue, 0)
  await until("all have begun", () => held.started.length === 20)
})

test("a queue is not swept twice at the same time", async () => {
  using held = heldSweeper()
  held.sweeper.sweepIn("q", 0)
  await until("it has begun", () => held.started.length === 1)
  held.sweeper.sweepIn("q", 0)
  held.sweeper.sweepIn("other", 0)
  await until("another has begun", () => held.started.length === 2)
  expect(held.started).toEqual(["q", "other"])
  held.ends[0]!(NOTHING_MORE)
  await until("it was swept again", () => held.started.length === 3)
  expect(held.started).toEqual(["q", "other", "q"])
})

test("schedules fire beside the sweeps of their queue, which is swept again afterwards", async () => {
  const reads: { end(): void; fail(): void }[] = []
  const sweeps: number[] = []
  const scripts = {
    call: () =>
      new Promise((resolve, reject) =>
        reads.push({ end: () => resolve([0, [], []]), fail: () => reject(new Error("Redis is down")) }),
      ),
  }
  const sweeper = { sweepIn: (_queue: string, ms: number) => sweeps.push(ms) }
  // biome-ignore lint/suspicious/noExplicitAny: only what a read that finds nothing uses
  const firing = new ScheduleFiring({ scripts, sweeper, log: createLog("silent") } as any)
  firing.startDue("q")
  firing.startDue("q")
  expect([reads.length, sweeps.length]).toEqual([1, 0])
  reads[0]!.end()
  await until("it is swept", () => sweeps.length === 1)
  firing.startDue("q")
  reads[1]!.fail()
  await until("it is swept again", () => sweeps.length === 2)
  expect(sweeps).toEqual([0, 500])
})

test("a sweep does not wait until due schedules have fired", async () => {
  const started: string[] = []
  const parts = {
    lost: { recover() {} },
    scripts: { call: async () => [0, 0, -1, 0] },
    outcomes: { recordTimeouts() {} },
    longPoll: { hasWaiters: () => false },
    names: { recordUse: (_queue: string, isUnused: boolean) => expect(isUnused).toBe(false) },
    defaults: { of: () => undefined },
    firing: { startDue: (queue: string) => started.push(queue) },
    limits: {},
  }
  // biome-ignore lint/suspicious/noExplicitAny: only what a sweep uses
  const upkeep = new Upkeep(parts as any)
  // The end of the firing decides when to sweep again.
  expect(await upkeep.sweep("q")).toEqual({ more: false, nextEventMs: undefined })
  expect(started).toEqual(["q"])
})
