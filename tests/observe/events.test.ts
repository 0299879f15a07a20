/** GET /events: what each client gets, also after a reconnect, and that it costs nothing while nobody listens. */
import { expect, test } from "bun:test"
import { Redis } from "ioredis"
import { Client, type StreamEvent } from "../../lib/client.ts"
import { hashOf } from "../../lib/config/tokens.ts"
import { Sessions } from "../../lib/http/browser-session.ts"
import { Counters } from "../../lib/observe/counters.ts"
import { EventWriter } from "../../lib/observe/event-writer.ts"
import { EVENT_STREAM, LISTENING } from "../../lib/redis/keys.ts"
import { lease, submit, subscribe } from "../support/event-listener.ts"
import { DirectQueue, freshName, type TestBroker, TOKEN, testBroker, until } from "../support/harness.ts"
import { brokerProcess, listening } from "../support/processes.ts"
import { sharedRedis, testRedis } from "../support/redis.ts"

/** For the shared Redis. */
const { socket } = await sharedRedis()

const json = async (answer: Response) => (await answer.json()) as Record<string, string>
test("every event of a task is published, with its task, worker and attempt", async () => {
  const queue = freshName()
  await using broker = await testBroker()
  await using direct = new DirectQueue(socket, queue)
  await using listener = await subscribe(broker.url, `queue=${queue}`)
  expect(listener.answer.headers.get("content-type")).toBe("text/event-stream")
  const before = Date.now()

  const done = await submit(broker, queue)
  await broker.call("POST", "/ack", { ...(await lease(broker, queue)), result: 1 })
  const failing = await submit(broker, queue, { max_retries: 1 })
  await broker.call("POST", "/ack", { ...(await lease(broker, queue)), status: "failed", error: "no name" })
  await broker.call("POST", "/ack", { ...(await lease(broker, queue)), status: "released" })
  await broker.call("POST", "/ack", { ...(await lease(broker, queue)), status: "failed", retry: false })
  await broker.call("POST", `/dlq/retry/${failing}`)
  await lease(broker, queue, "w2")
  await direct.lapse(failing)
  await broker.call("POST", "/lease", { queues: [queue] }) // takes it back, and hands it out
  await broker.call("POST", `/cancel/${failing}`)
  await direct.lapse(failing)
  await broker.call("POST", "/lease", { queues: [queue] })
  const scheduled = await submit(broker, queue, { delay_ms: 60_000 })
  await broker.call("POST", `/cancel/${scheduled}`)
  await broker.call("POST", `/cancel/${scheduled}`) // again: nothing happens
  const late = await submit(broker, queue, { expires_in_ms: 60_000 })
  await direct.expire(late)
  await broker.call("POST", "/lease", { queues: [queue] })
  await broker.call("DELETE", `/dlq/${late}`)
  const crashing = await submit(broker, queue, { max_crashes: 0 })
  await lease(broker, queue, "w3")
  await direct.lapse(crashing)
  await broker.call("POST", "/lease", { queues: [queue] })
  await broker.call("POST", "/dlq/purge", { queue })

  await listener.until("deleted", 2)
  const of = (task_id: string, event: string, more: object = {}) => ({ event, queue, task_id, ...more })
  const attempt = (number: number, worker = "w1") => ({ attempt: number, worker })
  const seen = listener.of()
  expect(seen.map(({ at: _at, order: _order, ...event }) => event)).toEqual([
    of(done, "submitted", { type: "a" }),
    of(done, "leased", { type: "a", ...attempt(1) }),
    of(done, "done", { attempt: 1 }),
    of(failing, "submitted", { type: "a" }),
    of(failing, "leased", { type: "a", ...attempt(1) }),
    of(failing, "failed", { attempt: 1, error: "no name" }),
    of(failing, "leased", { type: "a", ...attempt(2) }),
    of(failing, "released", { attempt: 2 }),
    of(failing, "leased", { type: "a", ...attempt(3) }),
    of(failing, "failed", { attempt: 3 }),
    of(failing, "dead", { attempt: 3, reason: "failed" }),
    of(failing, "retried"),
    of(failing, "leased", { type: "a", ...attempt(4, "w2") }),
    of(failing, "lapsed", { ...attempt(4, "w2"), reason: "crashed" }),
    of(failing, "leased", { type: "a", attempt: 5 }),
    of(failing, "cancelling"),
    of(failing, "lapsed", { attempt: 5, reason: "crashed" }),
    of(failing, "cancelled", { attempt: 5 }),
    of(scheduled, "scheduled", { type: "a" }),
    of(scheduled, "cancelled"),
    of(late, "submitted", { type: "a" }),
    of(late, "dead", { attempt: 0, reason: "expired" }),
    of(late, "deleted"),
    of(crashing, "submitted", { type: "a" }),
    of(crashing, "leased", { type: "a", ...attempt(1, "w3") }),
    of(crashing, "lapsed", { ...attempt(1, "w3"), reason: "crashed" }),
    of(crashing, "dead", { ...attempt(1, "w3"), reason: "crashed" }),
    of(crashing, "deleted"),
  ])
  for (const { at } of seen) expect(at >= before && at <= Date.now()).toBe(true)
  // No lease token, because a reader could finish the task with it.
  expect(listener.text).not.toMatch(/[0-9]\.[A-Za-z0-9_-]{22}/)
})

test("a sweep publishes lapsed and dead tasks", async () => {
  const queue = freshName()
  await using broker = await testBroker()
  await using direct = new DirectQueue(socket, queue)
  await using listener = await subscribe(broker.url, `queue=${queue}`)
  const id = await submit(broker, queue, { max_crashes: 0 })
  await lease(broker, queue)
  await direct.lapse(id)
  await submit(broker, queue, { delay_ms: 1 }) // what calls for a sweep
  await listener.until("dead")
  expect(listener.of("lapsed", "dead").map(({ task_id }) => task_id)).toEqual([id, id])
})

test("actions on a queue are published, and the counts of each queue per second", async () => {
  const queue = freshName()
  await using broker = await testBroker()
  await using listener = await subscribe(broker.url, `queue=${queue}`)
  await broker.call("POST", `/queues/${queue}/pause`, { reason: "a move" })
  await broker.call("POST", `/queues/${queue}/resume`)
  await broker.call("PUT", `/queues/${queue}/settings`, { concurrency: 2 })
  for (let i = 0; i < 3; i++) await submit(broker, queue)
  await lease(broker, queue)
  await broker.call("POST", `/queues/${queue}/purge`, { state: "queued" })
  await until("the counts arrive", () => countsOf(listener, queue).leased === 1)
  await listener.until("purged") // the second may have ended before the purge
  expect(countsOf(listener, queue)).toEqual({ submitted: 3, leased: 1 })
  expect(
    listener
      .of("paused", "resumed", "settings", "purged")
      .map(({ at: _, queue: of, ...event }) => [of, event]),
  ).toEqual(
    [
      { event: "paused", reason: "a move" },
      { event: "resumed" },
      { event: "settings", settings: { concurrency: 2 } },
      { event: "purged", state: "queued", purged: 2 },
    ].map(event => [queue, event]),
  )
})

/** The sum of all counts that were published for this queue. */
function countsOf(listener: Awaited<ReturnType<typeof subscribe>>, queue: string): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const { queues } of listener.of("counts"))
    for (const [name, count] of Object.entries((queues![queue] ?? {}) as Record<string, number>))
      sums[name] = (sums[name] ?? 0) + count
  return sums
}

test("events reach the clients of every broker, from the moment the answer begins", async () => {
  const queue = freshName()
  await using redis = await testRedis()
  await using here = await testBroker({}, redis.socket)
  await using there = await testBroker({}, redis.socket)
  const client = new Redis(redis.socket)
  for (let i = 0; i < 5; i++) {
    await using listener = await subscribe(here.url, `queue=${queue}`)
    const id = await submit(there, queue)
    await listener.until("submitted")
    expect(listener.of()).toMatchObject([{ event: "submitted", task_id: id }])
    await client.del(LISTENING, EVENT_STREAM)
  }
  client.disconnect()
})

test("filters select queues, a task and events", async () => {
  const [mine, other] = [freshName(), freshName()]
  await using broker = await testBroker()
  const ears = await Promise.all(
    ["", `queue=${mine},${other}`, `queue=${mine}`, "event=leased,done", `task=${mine}:two`].map(query =>
      subscribe(broker.url, query),
    ),
  )
  for (const queue of [mine, other])
    for (const task_id of ["one", "two"]) {
      await submit(broker, queue, { task_id })
      await broker.call("POST", "/ack", await lease(broker, queue))
    }
  const all = [mine, other].flatMap(queue =>
    ["one", "two"].flatMap(id => ["submitted", "leased", "done"].map(event => `${event} ${queue}:${id}`)),
  )
  const expected = [
    all,
    all,
    all.filter(line => line.includes(mine)),
    all.filter(line => !line.includes("submitted")),
    all.filter(line => line.includes(`${mine}:two`)),
  ]
  await ears[0]!.until("done", 4)
  for (const [i, listener] of ears.entries()) {
    await until("all of it arrives", () => listener.of().length >= expected[i]!.length)
    expect(listener.of().map(({ event, task_id }) => `${event} ${task_id}`)).toEqual(expected[i]!)
    await listener.leave()
  }
})

test("an invalid filter is refused", async () => {
  await using broker = await testBroker()
  for (const query of [
    "queue=a/b",
    "event=born",
    "task=%20",
    "last_event_id=x",
    "last_event_id=1-2-3",
    "all=1",
  ])
    expect((await broker.call("GET", `/events?${query}`)).status, query).toBe(400)
  const headers = { "last-event-id": "x\u00ff" }
  expect((await broker.call("GET", "/events", undefined, { headers })).status).toBe(400)
})

test("a token bound to queues sees only the events and counts of its queues", async () => {
  const [mine, other] = [freshName(), freshName()]
  const bound = { "x-api-token": "the-token-of-a-bound-one" }
  const hash = hashOf(bound["x-api-token"])
  await using broker = await testBroker({ tokens: [{ name: "b", roles: ["read"], queues: [mine], hash }] })
  await using listener = await subscribe(broker.url, "", bound)
  for (const query of [`queue=${other}`, `queue=${mine},${other}`, `task=${other}:x`, "task=x"])
    expect((await broker.call("GET", `/events?${query}`, undefined, { headers: bound })).status).toBe(403)
  await flood(broker, other, 1_000)
  await submit(broker, other)
  await submit(broker, mine)
  await until("the counts arrive", () => countsOf(listener, mine).submitted === 1)
  expect(listener.text).not.toContain(other)
  await using same = await subscribe(broker.url, `last_event_id=0&queue=${mine}`, bound)
  await same.until("counts")
  expect(same.text).not.toContain(other)
})

test("a client that reconnects with its last id gets what it missed, once and in order", async () => {
  const queue = freshName()
  await using broker = await testBroker()
  const first = await subscribe(broker.url, `queue=${queue}`)
  const ids = [await submit(broker, queue)]
  await first.until("submitted")
  await first.leave()
  for (let i = 0; i < 150; i++) ids.push(await submit(broker, queue))
  await until("all are written", async () => (await stream()).length > 150)
  await using _ = await subscribe(broker.url, "event=dead") // so that the broker reads on
  for (let i = 0; i < 6; i++) {
    const next = await submit(broker, queue)
    ids.push(next)
    await until("it is written", async () => JSON.stringify(await stream()).includes(next))
    await using again =
      i % 2 === 0
        ? await subscribe(broker.url, `queue=${queue}`, { "last-event-id": first.last() })
        : await subscribe(broker.url, `queue=${queue}&last_event_id=${first.last()}`)
    ids.push(await submit(broker, queue))
    await until("it has caught up", () => again.of().some(({ task_id }) => task_id === ids.at(-1)))
    expect(again.of("gap")).toEqual([])
    expect(again.of("submitted").map(({ task_id }) => task_id)).toEqual(ids.slice(1))
  }
})

async function stream(): Promise<[id: string, fields: string[]][]> {
  const redis = new Redis(socket)
  const entries = await redis.xrange(EVENT_STREAM, "-", "+")
  redis.disconnect()
  return entries
}

test("a gap is sent if the stream does not reach back far enough or nobody listened in between", async () => {
  const queue = freshName()
  await using broker = await testBroker()
  await using redis = new DirectQueue(socket)
  const first = await subscribe(broker.url, `queue=${queue}`)
  await submit(broker, queue)
  await first.until("submitted")
  await first.leave()
  await submit(broker, queue)
  await submit(broker, queue)
  await until(
    "all are written",
    async () => (await stream()).filter(([, of]) => of[1] === "submitted").length > 2,
  )
  await redis.redis.xtrim(EVENT_STREAM, "MAXLEN", 1)
  await using trimmed = await subscribe(broker.url, `queue=${queue}`, { "last-event-id": first.last() })
  await trimmed.until("gap")
  await trimmed.leave()

  const [newest] = (await stream()).at(-1)!
  await redis.redis.del(LISTENING) // its time is over
  await using late = await subscribe(broker.url, `queue=${queue}`, { "last-event-id": newest })
  await late.until("gap")
  const id = await submit(broker, queue)
  await late.until("submitted")
  expect(late.of()).toMatchObject([{ event: "gap" }, { event: "submitted", task_id: id }])

  // An id from the future, as after a change of Redis: the stream continues from the newest entry.
  await using ahead = await subscribe(broker.url, `queue=${queue}`, { "last-event-id": "99999999999999-0" })
  await ahead.until("gap")
  await submit(broker, queue)
  await ahead.until("submitted")
})

test("nothing is written while nobody listens, and writing ends a minute after the last client left", async () => {
  await using redis = await testRedis()
  await using broker = await testBroker({}, redis.socket)
  const commands = new DirectQueue(redis.socket)
  const calls = async () => {
    const stats = await commands.redis.info("commandstats")
    return Number(/cmdstat_xadd:calls=(\d+)/.exec(stats)?.[1] ?? 0)
  }
  const before = await calls() // by the check of rights at the start
  const queue = freshName()
  await broker.call("POST", "/ack", (await submit(broker, queue)) && (await lease(broker, queue)))
  await broker.call("POST", `/queues/${queue}/pause`, {})
  expect(await calls()).toBe(before + 1) // the pause in the trail of actions
  expect(await commands.redis.exists(EVENT_STREAM, LISTENING)).toBe(0)
  expect(broker.queue.parts.eventFeed.size).toBe(0)

  const listener = await subscribe(broker.url)
  expect(broker.queue.parts.eventFeed.size).toBe(1)
  const lives = await commands.redis.pttl(LISTENING)
  expect(lives > 60_000 && lives <= 80_000).toBe(true)
  expect(await commands.redis.pttl(EVENT_STREAM)).toBeGreaterThan(80_000)
  await listener.leave()
  await until("the broker knows", () => broker.queue.parts.eventFeed.size === 0)
  await commands[Symbol.asyncDispose]()
})

/** Submits this many tasks, a hundred per request. */
async function flood(broker: TestBroker, queue: string, tasks: number) {
  for (let i = 0; i < tasks; i += 100)
    await broker.call(
      "POST",
      "/submit",
      Array.from({ length: 100 }, () => ({ type: "a", queue })),
    )
}

test("a flood is published as counts, and rare events are still published individually", async () => {
  const queue = freshName()
  await using broker = await testBroker()
  await using listener = await subscribe(broker.url)
  const began = performance.now()
  await flood(broker, queue, 5_000)
  await broker.call("POST", "/ack", { ...(await lease(broker, queue)), status: "failed", retry: false })
  await until("all are published or counted as skipped", () => publishedOrSkipped(listener, queue) === 5_001)
  expect(countsOf(listener, queue)).toEqual({ submitted: 5_000, leased: 1, failed: 1, dead: 1 })
  // 400 per second are published individually.
  const seconds = Math.ceil((performance.now() - began) / 1_000)
  expect(listener.of("submitted").length).toBeWithin(400, 400 * (seconds + 1) + 1)
  expect(listener.of("failed", "dead")).toHaveLength(2)
})

/** The number of routine events that were published individually or counted as skipped. */
const publishedOrSkipped = (listener: Awaited<ReturnType<typeof subscribe>>, queue: string) =>
  listener.of("submitted", "leased").length +
  listener.of("skipped").reduce((sum, { queues }) => sum + Number(queues![queue] ?? 0), 0)

test("the stream is bounded", async () => {
  const queue = freshName()
  await using redis = await testRedis()
  await using broker = await testBroker({}, redis.socket)
  await using _ = await subscribe(broker.url, "event=dead")
  const client = new Redis(redis.socket)
  const old = client.pipeline()
  for (let i = 1; i <= 12_000; i++)
    old.xadd(EVENT_STREAM, "NOMKSTREAM", "*", "event", "done", "queue", "q", "task", "t", "data", "{}")
  await old.exec()
  await submit(broker, queue)
  await until("it is trimmed", async () => (await client.xlen(EVENT_STREAM)) < 10_200)
  await client.del(EVENT_STREAM)
  const older = client.pipeline()
  for (let i = 1; i <= 500; i++)
    older.xadd(EVENT_STREAM, `${i}-1`, "event", "done", "queue", "q", "task", "t", "data", "{}")
  await older.exec()
  await submit(broker, queue)
  await until("it is trimmed", async () => (await client.xlen(EVENT_STREAM)) < 200)
  client.disconnect()
})

test("a client that does not read is disconnected, and the others continue", async () => {
  const queue = freshName()
  await using redis = await testRedis()
  await using broker = await testBroker({}, redis.socket)
  await using listener = await subscribe(broker.url, "event=done")
  const slow = await rawListener(broker)
  await until("both listen", () => broker.queue.parts.eventFeed.size === 2)
  // As much as a broker publishes in an hour.
  const client = new Redis(redis.socket)
  const data = JSON.stringify({ error: "x".repeat(50_000) })
  await until("the slow one is disconnected", async () => {
    for (let i = 0; i < 20; i++)
      await client.xadd(EVENT_STREAM, "*", "event", "failed", "queue", "q", "task", "t", "data", data)
    return broker.queue.parts.eventFeed.size === 1
  })
  client.disconnect()
  await submit(broker, queue)
  await broker.call("POST", "/ack", await lease(broker, queue))
  await listener.until("done")
  slow.socket.resume()
  await until("its connection ends", () => slow.closed())
})

test("a replay waits for a slow client and loses nothing", async () => {
  await using redis = await testRedis()
  await using broker = await testBroker({}, redis.socket)
  await using listener = await subscribe(broker.url, "event=done")
  const from = listener.last()
  const client = new Redis(redis.socket)
  const data = JSON.stringify({ error: "x".repeat(3_500) })
  const old = client.pipeline()
  for (let i = 0; i < 4_000; i++)
    old.xadd(EVENT_STREAM, "*", "event", "failed", "queue", "q", "task", String(i), "data", data)
  old.xadd(EVENT_STREAM, "*", "event", "done", "queue", "q", "task", "t", "data", "{}")
  await old.exec()
  client.disconnect()
  await listener.until("done") // the others have caught up to here
  let text = ""
  const slow = await rawListener(broker, `last_event_id=${from}`, chunk => {
    text += chunk
  })
  await until("both listen", () => broker.queue.parts.eventFeed.size === 2)
  await Bun.sleep(300) // it is offered more than it takes
  slow.socket.resume()
  await until("it has received all", () => text.length > 4_000 * 3_500 || slow.closed())
  expect(text.split("event: failed")).toHaveLength(4_001)
  expect([slow.closed(), text.includes("gap")]).toEqual([false, false])
  slow.socket.end()
})

/** A client that reads nothing until its socket is resumed. */
async function rawListener(broker: TestBroker, query = "", heard: (chunk: string) => void = () => {}) {
  let closed = false
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: Number(new URL(broker.url).port),
    socket: {
      open(socket) {
        socket.write(`GET /events?${query} HTTP/1.1\r\nHost: a\r\nX-API-Token: ${TOKEN}\r\n\r\n`)
        socket.pause()
      },
      data(_, chunk) {
        heard(chunk.toString("latin1"))
      },
      close() {
        closed = true
      },
    },
  })
  return { socket, closed: () => closed }
}

/** An event writer whose first writes Redis refuses. */
function writer(refused = 0) {
  const written: unknown[] = []
  const events = new EventWriter(
    {
      command: async () => -2,
      run: async (_script, _keys, [, , event]) => {
        if (refused-- > 0) throw new Error("OOM")
        written.push(event)
      },
    },
    new Counters(),
  )
  return { events, written }
}

test("a broker stops writing when no listener was announced for a while", async () => {
  const { events } = writer()
  events.keepActive(1)
  expect(events.active).toBe(true)
  await until("it has stopped", () => !events.active)
  expect(events.admits("done", "q")).toBe(false)
})

test("events that cannot be written become a gap later", async () => {
  const { events, written } = writer(1)
  events.keepActive(60_000)
  events.publishQueueEvent("paused", "q")
  await until("it is written", () => written.length > 0)
  expect(written).toEqual(["gap"])
  await events.close()
})

test("a stream ends when its session ends", async () => {
  await using broker = await testBroker()
  const now = Date.now()
  const { value } = new Sessions([
    { name: "ops", roles: ["read"], queues: undefined, hash: hashOf(TOKEN) },
  ]).open(TOKEN, now - 12 * 3_600_000 + 2_000)!
  const headers = { cookie: `tq_session=${value}` }
  const answer = await fetch(`${broker.url}/events`, { headers, signal: AbortSignal.timeout(30_000) })
  expect(answer.status).toBe(200)
  expect(await answer.text()).toContain("event: listening")
  expect(Date.now()).toBeGreaterThanOrEqual(now + 2_000)
  expect(broker.queue.parts.eventFeed.size).toBe(0)
  expect((await fetch(`${broker.url}/events`, { headers })).status).toBe(401)
})

test("a broker accepts at most 200 clients", async () => {
  // One token may have a quarter of the streams.
  const tokens = ["a", "b", "c", "d"].map(name => ({
    name,
    roles: ["read"] as const,
    queues: undefined,
    hash: hashOf(name.repeat(16)),
  }))
  await using broker = await testBroker({ tokens })
  const ears = await Promise.all(
    Array.from({ length: 200 }, (_, i) =>
      subscribe(broker.url, "event=done", { "x-api-token": tokens[i % 4]!.name.repeat(16) }),
    ),
  )
  const answer = await broker.call("GET", "/events")
  expect([answer.status, (await json(answer)).code]).toEqual([503, "overloaded"])
  await ears[0]!.leave()
  await until("it is noticed", () => broker.queue.parts.eventFeed.size === 199)
  await using another = await subscribe(broker.url)
  expect(another.names()).toEqual([])
  await Promise.all(ears.map(listener => listener.leave()))
})

test("a broker that stops ends its streams in order and says when to reconnect", async () => {
  await using broker = await testBroker()
  await using listener = await subscribe(broker.url)
  expect(listener.text).toMatch(/^retry: \d+\n/)
  broker.queue.stopWaiting()
  await until("it ends", () => listener.ended)
  expect(listener.text).toEndWith("\n\n")
  expect((await broker.call("GET", "/events")).status).toBe(503)
})

test("the stream stays open while Redis is unreachable, sends a gap, and continues", async () => {
  const queue = freshName()
  await using redis = await testRedis()
  await using here = await testBroker({}, redis.socket)
  await using there = await testBroker({}, redis.socket)
  await using listener = await subscribe(here.url, `queue=${queue}`)
  await submit(there, queue)
  await listener.until("submitted")
  await redis.kill9()
  await until("it is noticed", async () => (await here.call("GET", "/readyz")).status === 503)
  await redis.restart() // empty: no listener is known
  await until("both are back", async () => {
    const states = await Promise.all([here, there].map(broker => broker.call("GET", "/readyz")))
    return states.every(({ status }) => status === 200)
  })
  await listener.until("gap")
  await submit(there, queue)
  await listener.until("submitted", 2)
  expect(listener.ended).toBe(false)
  const client = new Redis(redis.socket)
  await until("the listener is announced", () => client.exists(LISTENING))
  client.disconnect()
})

test("a stream that resumes while Redis does not answer ends in order, and loses nothing", async () => {
  const queue = freshName()
  await using redis = await testRedis()
  await using broker = await testBroker({ redisTimeoutMs: 1_000 }, redis.socket)
  await using _ = await subscribe(broker.url) // so that the broker can accept another one
  await using first = await subscribe(broker.url, `queue=${queue}`)
  const resumed = `queue=${queue}&last_event_id=${first.last()}`
  const id = await submit(broker, queue)
  await first.until("submitted")
  await first.leave()
  process.kill(redis.pid, "SIGSTOP")
  try {
    const answer = await broker.call("GET", `/events?${resumed}`)
    // It would throw if the connection were reset.
    expect(await answer.text()).toEndWith("\n\n")
  } finally {
    process.kill(redis.pid, "SIGCONT")
  }
  await until("Redis answers", async () => (await broker.call("GET", "/readyz")).status === 200)
  await using again = await subscribe(broker.url, resumed)
  await again.until("submitted")
  expect(again.of("submitted").map(({ task_id }) => task_id)).toEqual([id])
})

test("an outage of Redis that lost nothing also causes a gap", async () => {
  await using redis = await testRedis({ aof: "always" })
  await using broker = await testBroker({}, redis.socket)
  await using listener = await subscribe(broker.url)
  await redis.restart()
  await listener.until("gap")
})

test("a broker that missed the announcement of a listener finds it later, and sends a gap", async () => {
  const queue = freshName()
  await using redis = await testRedis()
  await using here = await testBroker({}, redis.socket)
  const client = new Redis(redis.socket)
  await client.set(LISTENING, "1", "PX", 60_000) // without an announcement
  await submit(here, queue)
  await client.call("CLIENT", "KILL", "TYPE", "pubsub")
  await until("it is written", async () => (await client.xlen(EVENT_STREAM)) > 0)
  expect((await client.xrange(EVENT_STREAM, "-", "+"))[0]![1]).toContain("gap")
  await submit(here, queue)
  await until("it is written", async () => (await client.xlen(EVENT_STREAM)) > 1)
  client.disconnect()
})

test("a type or an error cannot forge an event", async () => {
  const queue = freshName()
  await using broker = await testBroker()
  await using listener = await subscribe(broker.url, `queue=${queue}`)
  const hostile = '\n\nevent: forged\ndata: {}\n\r\n\r\revent: forged\u2028\u2029\0"}\n\nid: 9-9\n\n\ud83d'
  const type = hostile.slice(0, -1)
  await submit(broker, queue, { type, max_retries: 0 })
  await broker.call("POST", "/ack", {
    ...(await lease(broker, queue)),
    status: "failed",
    error: hostile + "x".repeat(5_000),
  })
  await listener.until("dead")
  expect(listener.names()).toEqual(["submitted", "leased", "failed", "dead"])
  expect(listener.of("submitted", "leased").map(({ type }) => type)).toEqual([type, type])
  const [{ error } = { error: "" }] = listener.of("failed")
  expect(error).toHaveLength(200)
  expect(error).toStartWith(type)
  expect(listener.text).not.toMatch(/^(event: forged|id: 9-9)/m)
  expect(listener.text).not.toContain("\r")
})

test("the client resumes at another broker where it stopped", async () => {
  const queue = freshName()
  await using redis = await testRedis()
  const start = () =>
    brokerProcess({ REDIS_URL: redis.socket, HOST: "127.0.0.1", PORT: String(port), API_SECRET_TOKEN: TOKEN })
  let port = 0
  let broker = await listening(start(), TOKEN)
  port = Number(new URL(broker.url).port)
  const client = new Client({ url: broker.url, token: TOKEN })
  const heard: StreamEvent[] = []
  const leave = new AbortController()
  const events = (async () => {
    for await (const event of client.events({ queue: [queue], event: ["submitted", "done"] }, leave))
      heard.push(event)
  })()
  await until("it listens", () => heard[0]?.event === "listening")
  const ids = [(await client.submit({ type: "a", queue })).task_id]
  await until("it receives an event", () => heard.length > 1)
  await broker[Symbol.asyncDispose]()
  broker = await listening(start(), TOKEN)
  ids.push((await client.submit({ type: "a", queue })).task_id)
  const submitted = () => heard.filter(({ event }) => event === "submitted").map(({ data }) => data.task_id)
  await until("it receives events again", () => submitted().length === 2)
  expect(submitted()).toEqual(ids)
  leave.abort(new Error("enough"))
  await expect(events).rejects.toThrow("enough")
  await broker[Symbol.asyncDispose]()

  await using other = await testBroker({}, redis.socket)
  await expect(new Client({ url: other.url, token: "no" }).events().next()).rejects.toMatchObject({
    status: 401,
  })
})
