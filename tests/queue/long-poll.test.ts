/** LongPoll alone, with a lease function of a few lines instead of Redis. */
import { expect, test } from "bun:test"
import { LongPoll, type Slots } from "../../lib/queue/long-poll.ts"
import type { Leased } from "../../lib/task/task.ts"
import { until } from "../support/harness.ts"

/** Numbers that look random and are the same for the same seed. */
function dice(seed: number): (sides: number) => number {
  let state = seed * 2_654_435_761 + 1
  return sides => {
    state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 3_266_489_917) | 0
    return ((state ^ (state >>> 13)) >>> 0) % sides
  }
}

const ticks = async (count: number) => {
  for (let i = 0; i < count; i++) await new Promise<void>(resolve => setImmediate(resolve))
}

const task = (id: string, queue: string, payload = "{}") => ({ id, queue, payload }) as Leased

const countOf = (slots: readonly Slots[]) => slots.reduce((sum, { count }) => sum + count, 0)

test("no wake-up is lost in any interleaving: no task stays ready while a client waits for its queue", async () => {
  const NAMES = ["a", "b", "c"]
  for (let seed = 1; seed <= 400; seed++) {
    const roll = dice(seed)
    // With many tasks at a time, two calls are in progress while tasks are plentiful.
    const lot = seed % 3 === 0 ? 70 : 1
    const ready = new Map<string, string[]>(NAMES.map(name => [name, []]))
    const heard = new Set<string>()
    const taken = new Map<string, number>()
    let underway = 0
    let served = 0
    const work = <T>(what: () => Promise<T>): Promise<T> => {
      underway++
      return what().finally(() => underway--)
    }
    // A notification reaches only subscribers, and with a delay.
    const publish = (queue: string, count: number) => {
      if (!heard.has(queue)) return
      void work(async () => {
        await ticks(roll(4))
        poll.notify(queue, count)
      })
    }
    const poll: LongPoll = new LongPoll({
      lease: (queue, slots) =>
        work(async () => {
          await ticks(roll(3))
          if (roll(20) === 0 && seed % 2 === 0) throw new Error("Redis is unavailable")
          // Sometimes a call leases less than there is, as its bytes are bounded.
          const most = Math.min(countOf(slots), roll(4) === 0 ? 1 + roll(lot) : Number.POSITIVE_INFINITY)
          const ids = ready.get(queue)!.splice(0, most)
          const hasMore = ids.length > 0 && ids.length < countOf(slots) && ids.length === most
          for (const id of ids) taken.set(id, (taken.get(id) ?? 0) + 1)
          await ticks(roll(3))
          return { tasks: ids.map(id => task(id, queue)), hasMore }
        }),
      release: tasks =>
        work(async () => {
          await ticks(roll(3))
          for (const { id, queue } of tasks) {
            taken.set(id, taken.get(id)! - 1)
            ready.get(queue)!.unshift(id)
            publish(queue, 1)
          }
        }),
      listen: queue => {
        if (heard.has(queue)) return
        void work(async () => {
          await ticks(roll(4))
          heard.add(queue)
          await ticks(roll(2))
          poll.notify(queue, 300)
        })
      },
    })
    const waiting = new Set<{ queues: string[]; max: number }>()
    const got: string[] = []
    let ids = 0
    let stolen = 0
    const failing = seed % 2 === 0
    for (let step = 0; step < 40; step++) {
      const what = roll(4)
      if (what < 2) {
        const queues = NAMES.filter(() => roll(2) === 0)
        if (queues.length === 0) queues.push("a")
        if (roll(2)) queues.reverse()
        const leaving = new AbortController()
        const demand = { queues, max: lot * (1 + roll(3)) }
        waiting.add(demand)
        poll
          .wait({ ...demand, waitMs: roll(5) === 0 ? 0 : 3_600_000, worker: "", signal: leaving.signal })
          .then(tasks => {
            expect(tasks.length).toBeLessThanOrEqual(demand.max)
            got.push(...tasks.map(({ id }) => id))
            served += tasks.length
          })
          .catch(() => {})
          .finally(() => waiting.delete(demand))
        if (roll(4) === 0) void work(() => ticks(roll(10)).then(() => leaving.abort()))
      } else {
        const queue = NAMES[roll(3)]!
        const count = lot * (1 + roll(6))
        for (let i = 0; i < count; i++) ready.get(queue)!.push(`${queue}${ids++}`)
        publish(queue, count)
        // Another broker is notified as well and may be faster.
        if (roll(3) === 0)
          void work(async () => {
            await ticks(roll(5))
            stolen += ready.get(queue)!.splice(0, lot * (1 + roll(2))).length
          })
      }
      await ticks(roll(3))
    }
    // Wait until all calls in progress and their consequences have ended.
    for (let still = 0; still < 6; still = underway === 0 ? still + 1 : 0) await ticks(3)
    // A failed call loses its notifications. A check of the queue, or a reconnect, makes up for them.
    if (failing)
      for (let look = 0; look < 30; look++) {
        for (const queue of NAMES) if (ready.get(queue)!.length > 0) poll.notify(queue, 300)
        for (let still = 0; still < 3; still = underway === 0 ? still + 1 : 0) await ticks(3)
      }
    const forgotten = [...waiting].filter(({ queues }) => queues.some(queue => ready.get(queue)!.length > 0))
    expect([seed, forgotten]).toEqual([seed, []])
    expect([seed, poll.size]).toEqual([seed, waiting.size])
    // Each task was handed to exactly one client, or is ready.
    expect([seed, new Set(got).size, served]).toEqual([seed, got.length, got.length])
    expect([seed, [...taken].filter(([, times]) => times === 1).length]).toEqual([seed, got.length])
    expect([seed, got.length + stolen + [...ready.values()].flat().length]).toEqual([seed, ids])
    poll.close()
    await ticks(5)
    expect([seed, waiting.size, poll.size]).toEqual([seed, 0, 0])
    expect([seed, NAMES.filter(queue => poll.hasWaiters(queue))]).toEqual([seed, []])
  }
})

test("more waiters than one call can serve are served by several", async () => {
  const calls: number[] = []
  let ready = 2_500
  const poll = new LongPoll({
    async lease(queue, slots) {
      await ticks(1)
      calls.push(countOf(slots))
      const count = Math.min(ready, countOf(slots))
      ready -= count
      return { tasks: Array.from({ length: count }, (_, i) => task(`${ready + i}`, queue)), hasMore: false }
    },
    release: async () => {},
    listen: () => {},
  })
  ready = 0
  const all = Array.from({ length: 2_500 }, () =>
    poll.wait({ queues: ["a"], max: 1, waitMs: 3_600_000, worker: "" }),
  )
  await ticks(20)
  ready = 2_500
  calls.length = 0
  poll.notify("a", 2_500)
  const got = await Promise.all(all)
  expect(new Set(got.flat().map(({ id }) => id)).size).toBe(2_500)
  // After a full call the tasks count as plentiful: the next calls serve fewer waiters, each completely.
  expect(calls).toEqual([1_000, 300, 300, 300, 300, 300])
})

/** A queue with `ready` tasks. With `fails`, Redis is unavailable. */
function handing() {
  const source = { ready: 0, fails: false, ids: 0 }
  const poll = new LongPoll({
    async lease(queue, slots) {
      await ticks(1)
      if (source.fails) throw new Error("Redis is unavailable")
      const count = Math.min(source.ready, countOf(slots))
      source.ready -= count
      return { tasks: Array.from({ length: count }, () => task(`${source.ids++}`, queue)), hasMore: false }
    },
    release: async () => {},
    listen: () => {},
  })
  const wait = (max: number, waitMs = 3_600_000) => poll.wait({ queues: ["a"], max, waitMs, worker: "" })
  const come = (count: number) => {
    source.ready += count
    poll.notify("a", count)
  }
  return { source, poll, wait, come }
}

test("few tasks are dealt to the waiters in turn, also after all earlier tasks were handed out", async () => {
  const { wait, come } = handing()
  const waiting = [wait(10), wait(10), wait(10), wait(10)]
  await ticks(20)
  for (const one of [0, 1]) {
    come(1)
    expect(await waiting[one]!).toHaveLength(1)
  }
  come(2)
  const both = Promise.all(waiting.slice(2))
  const got = await Promise.race([both, ticks(500).then(() => [])])
  expect(got.map(tasks => tasks.length)).toEqual([1, 1])
})

test("a waiter whose time is over after its first try is answered at once, without a warning", async () => {
  const warnings: string[] = []
  const warned = ({ name }: Error) => warnings.push(name)
  process.on("warning", warned)
  try {
    const poll = new LongPoll({
      async lease() {
        const from = performance.now()
        await until("more than the wait is over", () => performance.now() - from > 5)
        return { tasks: [], hasMore: false }
      },
      release: async () => {},
      listen: () => {},
    })
    expect(await poll.wait({ queues: ["a"], max: 1, waitMs: 1, worker: "" })).toEqual([])
    await ticks(1)
    expect(warnings).toEqual([])
  } finally {
    process.off("warning", warned)
  }
})

test("a newcomer gets the error of Redis, even if the queue had plenty of tasks and others keep waiting", async () => {
  const { source, wait, come, poll } = handing()
  const waiting = Array.from({ length: 150 }, () => wait(1))
  await ticks(20)
  come(120) // one call hands out all of them
  await Promise.all(waiting.slice(0, 120))
  source.fails = true
  await expect(Promise.race([wait(1, 0), ticks(500).then(() => "no error")])).rejects.toThrow("unavailable")
  poll.close()
  await Promise.all(waiting)
})

test("a newcomer gets the error of Redis; an older waiter stays and is served when Redis is back", async () => {
  let isDown = false
  const ready: string[] = []
  const poll = new LongPoll({
    async lease(queue, slots) {
      if (isDown) throw new Error("Redis is unavailable")
      return { tasks: ready.splice(0, countOf(slots)).map(id => task(id, queue)), hasMore: false }
    },
    release: async () => {},
    listen: () => {},
  })
  const demand = { queues: ["a"], max: 1, waitMs: 3_600_000, worker: "" }
  const old = poll.wait(demand)
  await ticks(10)
  isDown = true
  poll.notify("a", 1)
  await ticks(10)
  await expect(poll.wait(demand)).rejects.toThrow("unavailable")
  expect(poll.size).toBe(1)
  isDown = false
  ready.push("T")
  poll.notifyAll()
  expect(await old).toMatchObject([{ id: "T" }])
})

test("tasks that become ready while every waiter is busy with another queue are all handed out afterwards", async () => {
  const ready: Record<string, number> = { A: 0, B: 0 }
  let made = 0
  let held: (() => void) | undefined
  let hold = false
  const poll = new LongPoll({
    async lease(queue, slots) {
      if (hold && queue === "B") await new Promise<void>(resolve => (held = resolve))
      const count = Math.min(ready[queue]!, countOf(slots))
      ready[queue]! -= count
      return { tasks: Array.from({ length: count }, () => task(`${queue}${made++}`, queue)), hasMore: false }
    },
    release: async () => {},
    listen: () => {},
  })
  const demand = { queues: ["A", "B"], max: 1, waitMs: 3_600_000, worker: "" }
  const waiters = [poll.wait(demand), poll.wait(demand), poll.wait(demand)]
  await ticks(20)
  hold = true
  poll.notify("B", 3)
  await ticks(10)
  ready.A = 3
  poll.notify("A", 3)
  await ticks(10)
  hold = false
  held!()
  await ticks(30)
  expect([ready.A, poll.size]).toEqual([0, 0])
  expect((await Promise.all(waiters)).flat()).toHaveLength(3)
})

/** Queues whose lease calls lease one task each, and say that there may be more. */
function handingOneEach(ready: Record<string, number>, payload = "{}") {
  const calls: string[] = []
  const poll = new LongPoll({
    async lease(queue, slots) {
      await ticks(1)
      calls.push(`${queue}${countOf(slots)}`)
      const count = Math.min(1, ready[queue]!)
      ready[queue]! -= count
      return {
        tasks: Array.from({ length: count }, () => task(`${queue}${ready[queue]}`, queue, payload)),
        hasMore: count === 1 && countOf(slots) > 1,
      }
    },
    release: async () => {},
    listen: () => {},
  })
  return { poll, calls }
}

test("after a call that was limited by bytes, waiters without a task are served at once", async () => {
  const ready = { a: 0 }
  const { poll } = handingOneEach(ready)
  const wait = (waitMs: number) => poll.wait({ queues: ["a"], max: 5, waitMs, worker: "" })
  const old = [wait(3_600_000), wait(3_600_000), wait(3_600_000)]
  await ticks(20)
  ready.a = 6
  poll.notify("a", 6)
  const fresh = [wait(0), wait(0), wait(3_600_000)]
  const all = Promise.all([...old, ...fresh])
  const got = await Promise.race([all, ticks(2_000).then(() => [])])
  expect(got.map(tasks => tasks.length)).toEqual([1, 1, 1, 1, 1, 1])
})

test("an answer takes tasks of further queues up to its limit of bytes", async () => {
  const ready = { a: 5, b: 5, c: 5, d: 5 }
  const { poll, calls } = handingOneEach(ready, "x".repeat(1.5 * 2 ** 20))
  const tasks = await poll.wait({ queues: ["a", "b", "c", "d"], max: 9, waitMs: 0, worker: "" })
  expect(tasks.map(({ queue }) => queue)).toEqual(["a", "b", "c"])
  expect(calls).toEqual(["a9", "b8", "c7"])
})
