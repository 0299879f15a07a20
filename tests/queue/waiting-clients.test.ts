/** Clients that wait for tasks at two brokers on one Redis: which are woken, when and in which order. */
import { expect, spyOn, test } from "bun:test"
import { encodeNewTask } from "../../lib/task/record.ts"
import {
  DirectQueue,
  freshName,
  rarelyCheckingBroker,
  registerAmongMany,
  scriptCalls,
  type TestBroker,
  testBroker,
  until,
} from "../support/harness.ts"
import { checkQueue } from "../support/invariants.ts"
import { sharedRedis } from "../support/redis.ts"

type Body = Record<string, unknown>

/** A plain task, for tests that write it to Redis directly. */
const PLAIN = {
  queue: "its own",
  type: "a",
  payload: "1",
  policy: { priority: 5, maxRetries: 3, maxCrashes: 3, timeoutMs: 30_000 },
}

/** Two brokers and direct access to one Redis, and a queue that only this test uses. */
async function two({ checkRarely = false } = {}) {
  const { socket } = await sharedRedis()
  const direct = new DirectQueue(socket)
  if (checkRarely) await registerAmongMany(direct.redis, direct.name)
  const start = () => testBroker({}, socket)
  const here = await (checkRarely ? rarelyCheckingBroker(direct.redis, start) : start())
  const there = await (checkRarely ? rarelyCheckingBroker(direct.redis, start) : start())
  return {
    here,
    there,
    direct,
    queue: direct.name,
    async [Symbol.asyncDispose]() {
      await here[Symbol.asyncDispose]()
      await there[Symbol.asyncDispose]()
      await direct[Symbol.asyncDispose]()
    },
  }
}

const idOf = (queue: string, local: string) => `${queue}:${local}`

async function submit(broker: TestBroker, queue: string, wishes: Body = {}): Promise<string> {
  const answer = await broker.call("POST", "/submit", { type: "a", queue, ...wishes })
  if (answer.status !== 200) throw new Error(await answer.text())
  return ((await answer.json()) as { task_id: string }).task_id
}

async function submitMany(broker: TestBroker, queue: string, count: number): Promise<string[]> {
  const answer = await broker.call("POST", "/submit", Array(count).fill({ type: "a", queue }))
  return ((await answer.json()) as { task_id: string }[]).map(({ task_id }) => task_id)
}

interface Waiting {
  answer: Promise<Body[]>
  /** The ids of the tasks that it got; undefined before the answer. */
  got: string[] | undefined
  leave(): void
}

/** A waiting request. Resolves when it has reached the broker, which may have a task for it at once. */
async function wait(broker: TestBroker, queues: string | string[], wishes: Body = {}): Promise<Waiting> {
  const before = broker.queue.waiting
  const leaving = new AbortController()
  const request = broker.call(
    "POST",
    "/lease",
    { queues: [queues].flat(), wait_ms: 20_000, ...wishes },
    { signal: leaving.signal },
  )
  const waiting: Waiting = {
    answer: request.then(async answer => {
      const { tasks } = (await answer.json()) as { tasks: Body[] }
      waiting.got = tasks.map(task => task.id as string)
      return tasks
    }),
    got: undefined,
    leave: () => leaving.abort(),
  }
  waiting.answer.catch(() => {})
  await until("it waits", () => broker.queue.waiting > before || waiting.got !== undefined)
  return waiting
}

/** Waits until this many brokers are subscribed to the queue and have checked it once since. */
async function listening(direct: DirectQueue, brokers: number): Promise<void> {
  const channel = direct.key("wake")
  await until("all listen", async () => (await direct.redis.pubsub("NUMSUB", channel))[1] === brokers)
  await quiet(direct)
}

/** Waits until no script has run for 30 ms. Brokers still check each queue about once per second. */
async function quiet(direct: DirectQueue): Promise<void> {
  for (let last = -1; ; ) {
    const now = await scriptCalls(direct.redis)
    if (now === last) return
    last = now
    await Bun.sleep(30)
  }
}

const state = async (broker: TestBroker, id: string) =>
  (await (await broker.call("GET", `/status/${id}`)).json()) as Body

test("each submit wakes exactly one waiter, in the order of arrival", async () => {
  await using _ = await two()
  const { here, there, direct, queue } = _
  const waiters: Waiting[] = []
  for (let i = 0; i < 5; i++) waiters.push(await wait(here, queue))
  await listening(direct, 1)
  for (const [i, waiter] of waiters.entries()) {
    const id = await submit(i % 2 ? here : there, queue)
    expect(await waiter.answer).toMatchObject([{ id, status: "processing", attempt: 1 }])
    expect(waiters.filter(({ got }) => got !== undefined)).toHaveLength(i + 1)
    expect(here.queue.waiting).toBe(waiters.length - i - 1)
  }
})

test("the tasks of one submit are dealt to the waiters in turn: each gets one before any gets two", async () => {
  await using _ = await two()
  const { here, there, direct, queue } = _
  const waiters: Waiting[] = []
  for (let i = 0; i < 10; i++) waiters.push(await wait(here, queue, { max: 10 }))
  await listening(direct, 1)
  const ids = await submitMany(there, queue, 10)
  const got = await Promise.all(waiters.map(async ({ answer }) => (await answer).map(task => task.id)))
  expect(got).toEqual(ids.map(id => [id]))
  const more: Waiting[] = []
  for (let i = 0; i < 3; i++) more.push(await wait(here, queue, { max: 10 }))
  await quiet(direct)
  await submitMany(there, queue, 8)
  expect((await Promise.all(more.map(({ answer }) => answer))).map(tasks => tasks.length)).toEqual([3, 3, 2])
})

test("a waiter may ask for a thousand tasks and gets those that are ready", async () => {
  await using _ = await two()
  const { here, queue } = _
  const many = await wait(here, queue, { max: 1_000 })
  await listening(_.direct, 1)
  const ids = await submitMany(here, queue, 1_000)
  expect((await many.answer).map(task => task.id)).toEqual(ids)
  const more = await submitMany(here, queue, 700)
  const answer = await here.call("POST", "/lease", { queues: [queue], max: 1_000, wait_ms: 20_000 })
  expect(((await answer.json()) as { tasks: Body[] }).tasks.map(task => task.id)).toEqual(more)
  await checkQueue(_.direct.redis, queue)
})

test("a poll that gets no task is answered empty when its wait is over", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  const answered: number[] = []
  const poll = async (ms: number) => {
    const began = performance.now()
    const answers = await Promise.all([
      broker.call("GET", `/get?queue=${queue}&wait_ms=${ms}`),
      broker.call("POST", "/lease", { queues: [queue, freshName()], wait_ms: ms }),
    ])
    answered.push(ms)
    expect(performance.now() - began).toBeGreaterThanOrEqual(ms - 2)
    expect([answers[0].status, await answers[0].text()]).toEqual([204, ""])
    expect([answers[1].status, await answers[1].json()]).toEqual([200, { tasks: [] }])
  }
  // The order of the answers shows this on a busy machine as well.
  await Promise.all([800, 150, 0].map(poll))
  expect(answered).toEqual([0, 150, 800])
  expect(broker.queue.waiting).toBe(0)
})

test("queues are tried in the given order", async () => {
  await using broker = await testBroker()
  const [first, second, third] = [freshName(), freshName(), freshName()]
  const ids = {
    c: await submit(broker, third),
    a: await submit(broker, first),
    b: await submit(broker, second),
  }
  const take = async (queues: string, max = 1) => {
    const answer = await broker.call("POST", "/lease", { queues: queues.split(","), max })
    return ((await answer.json()) as { tasks: Body[] }).tasks.map(task => task.id)
  }
  const got = await broker.call("GET", `/get?queue=${second},${first}`)
  expect(await got.json()).toMatchObject({ id: ids.b })
  expect(await take(`${second},${third},${first}`, 10)).toEqual([ids.c, ids.a])
})

test("a waiter of several queues is woken by any of them, and leaves the lines of all", async () => {
  await using broker = await testBroker()
  const queues = [freshName(), freshName(), freshName()]
  for (const queue of queues) {
    const waiter = await wait(broker, queues)
    const id = await submit(broker, queue)
    expect(await waiter.answer).toMatchObject([{ id, queue }])
    expect(broker.queue.waiting).toBe(0)
    // No client waits for this queue now, so the next task stays.
    const left = await submit(broker, queues[0]!)
    expect(await state(broker, left)).toMatchObject({ status: "queued", attempt: 0 })
    await broker.call("GET", `/get?queue=${queues[0]}`)
  }
})

test("a waiter whose client has disconnected gets no task, and the task counts no release", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  for (let round = 0; round < 5; round++) {
    const leaver = await wait(broker, queue)
    leaver.leave()
    await until("it has left", () => broker.queue.waiting === 0)
    const id = await submit(broker, queue)
    expect(await state(broker, id)).toMatchObject({ status: "queued", attempt: 0, releases: 0 })
    const next = await broker.call("GET", `/get?queue=${queue}`)
    expect(await next.json()).toMatchObject({ id, attempt: 1, retries: 0 })
  }
})

test("a client that disconnects just before it gets a task costs the task at most one release", async () => {
  await using _ = await two()
  const { here, direct, queue } = _
  for (let round = 0; round < 30; round++) {
    // Not over HTTP: if an answer and a disconnect cross, neither side learns whether the task arrived.
    const leaving = new AbortController()
    const { signal } = leaving
    const leaver = here.queue.lease({ queues: [queue], max: 1, waitMs: 20_000, worker: "", signal })
    const next = await wait(here, queue)
    const submitting = submit(here, queue)
    // Each round disconnects at another moment: before the submit, while the task is leased, or after that.
    for (let turn = 0; turn < round; turn++) await new Promise(setImmediate)
    leaving.abort()
    const id = await submitting
    const [got] = await leaver
    if (got === undefined) expect(await next.answer).toMatchObject([{ id, retries: 0 }])
    else {
      expect(got.id).toBe(id)
      next.leave()
      await until("it has left", () => here.queue.waiting === 0)
    }
    const { crashes, retries, releases } = await state(here, id)
    expect([crashes, retries]).toEqual([0, 0])
    expect(releases).toBeWithin(0, 2)
    await here.call("POST", "/ack", { task_id: id })
  }
  expect(here.queue.waiting).toBe(0)
  await checkQueue(direct.redis, queue)
})

test("a lapsed lease wakes a waiter on another broker", async () => {
  await using _ = await two({ checkRarely: true })
  const { here, there, direct, queue } = _
  const id = await submit(here, queue, { timeout_ms: 300 })
  await here.call("POST", "/lease", { queues: [queue] })
  const waiter = await wait(there, queue)
  expect(await waiter.answer).toMatchObject([{ id, attempt: 2 }])
  expect(await state(there, id)).toMatchObject({ crashes: 1, retries: 0 })
  await direct.redis.del(direct.key("leases"))
})

test("a lapsed lease whose deadline no broker knew is found by a check of the queue and wakes a waiter", async () => {
  await using _ = await two()
  const { here, there, direct, queue } = _
  const id = await submit(here, queue, { timeout_ms: 3_600_000 })
  await here.call("POST", "/lease", { queues: [queue] })
  const waiter = await wait(there, queue)
  await listening(direct, 1)
  await direct.lapse(id)
  expect(await waiter.answer).toMatchObject([{ id, attempt: 2 }])
})

test("a delay that ends wakes a waiter on another broker", async () => {
  await using _ = await two({ checkRarely: true })
  const { here, there, queue } = _
  const waiter = await wait(there, queue)
  const began = performance.now()
  const id = await submit(here, queue, { delay_ms: 250 })
  expect(await waiter.answer).toMatchObject([{ id }])
  expect(performance.now() - began).toBeGreaterThan(249)
})

test("a retry of a dead task wakes a waiter on another broker", async () => {
  await using _ = await two()
  const { here, there, queue } = _
  const id = await submit(here, queue, { max_retries: 0 })
  await here.call("POST", "/lease", { queues: [queue] })
  await here.call("POST", "/ack", { task_id: id, status: "failed" })
  const waiter = await wait(there, queue)
  await listening(_.direct, 1)
  await here.call("POST", `/dlq/retry/${id}`)
  expect(await waiter.answer).toMatchObject([{ id, attempt: 2, retries: 0 }])
})

test("a failed and a released task wake a waiter on another broker", async () => {
  await using _ = await two()
  const { here, there, queue } = _
  const id = await submit(here, queue)
  await here.call("POST", "/lease", { queues: [queue] })
  for (const status of ["failed", "released"]) {
    const waiter = await wait(there, queue)
    await listening(_.direct, 1)
    await here.call("POST", "/ack", { task_id: id, status })
    expect(await waiter.answer).toMatchObject([{ id, retries: 1 }])
  }
})

test("a broker that finds a delay by checking a queue ends it without another check", async () => {
  const { socket } = await sharedRedis()
  await using direct = new DirectQueue(socket)
  const { name: queue } = direct
  await registerAmongMany(direct.redis, queue)
  // Written directly into Redis, as by a broker that has died.
  const delay = 3_000
  const began = performance.now()
  await direct.scripts.call("submit", queue, { ttl: 1_000 }, [
    { id: "T", ...encodeNewTask({ ...PLAIN, when: `+${delay}` }) },
  ])
  await using broker = await rarelyCheckingBroker(direct.redis, () => testBroker({}, socket))
  const waiter = await wait(broker, queue)
  expect(await waiter.answer).toMatchObject([{ id: idOf(queue, "T") }])
  expect(performance.now() - began).toBeGreaterThan(delay - 5)
})

test("a waiting client gets a task when its replaced, shorter delay ends", async () => {
  await using _ = await two({ checkRarely: true })
  const { here, direct, queue } = _
  const id = await submit(here, queue, { unique_key: "k", delay_ms: 3_600_000 })
  const waiter = await wait(here, queue)
  await listening(direct, 1)
  await submit(here, queue, { unique_key: "k", on_duplicate: "replace", delay_ms: 300 })
  expect(await waiter.answer).toMatchObject([{ id }])
})

test("a task whose notification was lost is found by the next check of its queue", async () => {
  await using _ = await two()
  const { here, direct, queue } = _
  await here.call("PUT", `/queues/${queue}/settings`, {}) // registers it
  const waiter = await wait(here, queue)
  await listening(direct, 1)
  await direct.redis.set(direct.key("task", "T"), `queued 0 0 0 ? 0 0 0 1\n${encodeNewTask(PLAIN).body}`)
  await direct.redis.rpush(direct.key("ready", "5"), "T")
  expect(await waiter.answer).toMatchObject([{ id: idOf(queue, "T") }])
})

test("a broker whose subscription was interrupted subscribes again and checks its queues", async () => {
  await using _ = await two()
  const { here, direct, queue } = _
  for (let round = 0; round < 3; round++) {
    const waiters = [await wait(here, queue), await wait(here, queue)]
    await listening(direct, 1)
    await direct.redis.call("CLIENT", "KILL", "TYPE", "pubsub")
    // No broker is subscribed now, so this notification is lost.
    const missed = await submit(here, queue)
    await listening(direct, 1)
    expect(await waiters[0]!.answer).toMatchObject([{ id: missed }])
    const id = await submit(here, queue)
    expect(await waiters[1]!.answer).toMatchObject([{ id }])
  }
})

test("a task submitted while the first waiter of its queue subscribes is handed out at once", async () => {
  const { socket } = await sharedRedis()
  const queues = Array.from({ length: 100 }, () => new DirectQueue(socket))
  await using all = new AsyncDisposableStack()
  for (const direct of queues) {
    all.use(direct)
    await registerAmongMany(direct.redis, direct.name)
  }
  await using broker = await rarelyCheckingBroker(queues[0]!.redis, () => testBroker({}, socket))
  for (const direct of queues) {
    const got = broker.call("GET", `/get?queue=${direct.name}&wait_ms=20000`)
    // At some time between its first try and the subscription.
    for (const end = performance.now() + Math.random() * 2; performance.now() < end; )
      await new Promise<void>(resolve => setImmediate(resolve))
    await direct.scripts.call("submit", direct.name, { ttl: 1_000 }, [{ id: "T", ...encodeNewTask(PLAIN) }])
    expect((await got).status).toBe(200)
  }
})

test("two hundred waiting clients cost Redis almost nothing", async () => {
  await using _ = await two()
  const { here, there, direct, queue } = _
  const waiters = await Promise.all(Array.from({ length: 200 }, (_, i) => wait(i % 2 ? here : there, queue)))
  await until("all wait", () => here.queue.waiting + there.queue.waiting === 200)
  await listening(direct, 2)
  const commands = async () =>
    Number(/^total_commands_processed:(\d+)/m.exec(await direct.redis.info("stats"))![1])
  const before = await commands()
  const from = performance.now()
  await Bun.sleep(2_000)
  // Two brokers check the queue about once per second, each with a script of about ten commands.
  expect((await commands()) - before).toBeLessThan(0.075 * (performance.now() - from))
  using hereCalls = spyOn(here.queue.parts.scripts, "call")
  using thereCalls = spyOn(there.queue.parts.scripts, "call")
  await submit(here, queue)
  await until("one is served", () => waiters.some(({ got }) => got !== undefined))
  await quiet(direct)
  // Each broker makes one lease call for one task; no other client is woken.
  const leases = [...hereCalls.mock.calls, ...thereCalls.mock.calls].filter(([name]) => name === "lease")
  expect(leases.length).toBeLessThan(5)
  expect(waiters.filter(({ got }) => got !== undefined)).toHaveLength(1)
})

test("on shutdown waiting clients get an empty answer, and later ones get it at once", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  const waiters = [
    await wait(broker, queue),
    await wait(broker, [freshName(), queue]),
    await wait(broker, queue, { max: 9 }),
  ]
  const id = await submit(broker, freshName())
  broker.queue.stopWaiting()
  for (const waiter of waiters) expect(await waiter.answer).toEqual([])
  expect((await broker.call("GET", `/get?queue=${queue}&wait_ms=20000`)).status).toBe(204)
  expect(await state(broker, id)).toMatchObject({ status: "queued", attempt: 0 })
})

test("under load, with clients that disconnect, each task is handed out once", async () => {
  await using _ = await two()
  const { here, there, direct, queue } = _
  const received = new Map<string, number>()
  const cut = new Set<Promise<unknown>>()
  const TASKS = 500
  const CLIENTS = 50
  let calm = false
  let stop = false

  const client = async (broker: TestBroker) => {
    while (!stop) {
      const leaving = new AbortController()
      const timer =
        !calm && Math.random() < 0.3 ? setTimeout(() => leaving.abort(), Math.random() * 20) : undefined
      const body = { queues: [queue], wait_ms: 20_000, max: 1 + Math.floor(Math.random() * 3) }
      try {
        const answer = await broker.call("POST", "/lease", body, { signal: leaving.signal })
        const { tasks } = (await answer.json()) as { tasks: Body[] }
        clearTimeout(timer)
        for (const task of tasks) received.set(task.id as string, (received.get(task.id as string) ?? 0) + 1)
        const acks = tasks.map(task => ({ task_id: task.id, lease: task.lease }))
        if (acks.length > 0) {
          const acked = (await (await broker.call("POST", "/ack", acks)).json()) as Body[]
          for (const ack of acked) expect(ack.status).toBe("acknowledged")
        }
      } catch (error) {
        if (!leaving.signal.aborted) throw error
      }
    }
  }
  const clients = Array.from({ length: CLIENTS }, (_, i) => client(i % 2 ? here : there))
  for (let i = 0; i < TASKS; ) {
    const burst = Math.min(TASKS - i, 1 + Math.floor(Math.random() * 10))
    i += burst
    cut.add(submitMany(Math.random() < 0.5 ? here : there, queue, burst))
    if (Math.random() < 0.5) await Bun.sleep(Math.random() * 4)
  }
  await Promise.all(cut)
  calm = true
  const count = async () => ({
    ready: await direct.redis.llen(direct.key("ready", "5")),
    leased: await direct.redis.zcard(direct.key("leases")),
    done: await direct.doneCount(),
  })
  // If a client disconnects after its answer was sent, its tasks stay leased. When all remaining clients wait, no answer
  // is on its way to one of them, so tasks that stay leased belong to clients that are gone. Each of these leases
  // lapses once; the next client that gets the task is alive.
  const lapsed = new Set<string>()
  await until("all are handed out", async () => {
    const { ready, leased, done } = await count()
    if (ready > 0 || leased + done < TASKS) return false
    if (here.queue.waiting + there.queue.waiting < CLIENTS) return done === TASKS
    for (const local of await direct.redis.zrange(direct.key("leases"), "0", "-1")) {
      const started = Number(await direct.field(local, "started"))
      if (lapsed.has(local) || Date.now() - started < 2_000) continue
      lapsed.add(local)
      await direct.lapse(local)
    }
    return done === TASKS
  })
  stop = true
  here.queue.stopWaiting()
  there.queue.stopWaiting()
  await Promise.all(clients)
  expect(received.size).toBe(TASKS)
  expect([...received].filter(([, times]) => times > 1)).toEqual([])
  await checkQueue(direct.redis, queue)
})
