/** GET /history: points, totals, types, gaps, what a bound token sees, and the errors of bad ranges. */
import { describe, expect, test } from "bun:test"
import { hashOf } from "../../lib/config/tokens.ts"
import { readSpan } from "../../lib/http/charting.ts"
import { HISTORY, HISTORY_MARKS } from "../../lib/redis/keys.ts"
import type { HistoryAnswer } from "../../lib/wire/charting.ts"
import { HOUR_MS, MINUTE_MS } from "../../lib/wire/charting.ts"
import type { Problem } from "../../lib/wire/problem.ts"
import { DirectQueue, freshName, type TestBroker, testBroker } from "../support/harness.ts"
import { sharedRedis, testRedis } from "../support/redis.ts"
import { answered } from "../support/requests.ts"

async function ask<T = HistoryAnswer>(broker: TestBroker, query: string, token?: string): Promise<T> {
  const headers = token === undefined ? {} : { "x-api-token": token }
  return (await (await broker.call("GET", `/history?${query}`, undefined, { headers })).json()) as T
}

/** The begin of the current hour, so that points of a test can be written at fixed distances from it. */
const HOUR_START = Math.floor(Date.now() / HOUR_MS) * HOUR_MS

/** A broker, and a way to write points of the past. */
async function past(tokens: Parameters<typeof testBroker>[0] = {}) {
  const { socket } = await sharedRedis()
  const broker = await testBroker(tokens, socket)
  const direct = new DirectQueue(socket)
  const write = (level: "m" | "h", at: number, series: string, point: string) => {
    const number = at / (level === "m" ? MINUTE_MS : HOUR_MS)
    const size = level === "m" ? 60 : 24
    return direct.redis.hset(
      `${HISTORY}${level}:${Math.floor(number / size)}:${series}`,
      String(number % size),
      point,
    )
  }
  return {
    broker,
    queue: direct.name,
    write,
    redis: direct.redis,
    async [Symbol.asyncDispose]() {
      await broker[Symbol.asyncDispose]()
      await direct[Symbol.asyncDispose]()
    },
  }
}

const span = (from: number, to: number, more = "") => `from_at=${from}&to_at=${to}${more}`

describe("points", () => {
  test("a minute without events is 0, and a minute without a broker is absent", async () => {
    await using h = await past()
    const from = HOUR_START - 2 * HOUR_MS
    for (const minute of [0, 1, 3]) await h.write("m", from + minute * MINUTE_MS, "", "s9q5y0p1||")
    await h.write("m", from, h.queue, "s3d2f1l1x1q4y1p1|B3|C2")
    const { points } = await ask(h.broker, `queue=${h.queue}&${span(from, from + 5 * MINUTE_MS)}`)
    const nothing = { submitted: 0, done: 0, failed: 0, lapsed: 0, dead: 0 }
    const empty = { recorded_ms: MINUTE_MS, ...nothing, depth: { queued: 0, delayed: 0, processing: 0 } }
    expect(points).toEqual([
      {
        at: from,
        recorded_ms: MINUTE_MS,
        submitted: 3,
        done: 2,
        failed: 1,
        lapsed: 1,
        dead: 1,
        wait_ms: { p50: 2, p95: 2, p99: 2 },
        run_ms: { p50: 3, p95: 3, p99: 3 },
        depth: { queued: 4, delayed: 1, processing: 1 },
      },
      { at: from + MINUTE_MS, ...empty },
      { at: from + 3 * MINUTE_MS, ...empty },
    ])
  })

  test("longer steps add up counts, show the largest depth, and the time in which a broker ran", async () => {
    await using h = await past()
    const from = HOUR_START - 2 * HOUR_MS
    for (const minute of [0, 1, 7]) {
      await h.write("m", from + minute * MINUTE_MS, "", "||")
      await h.write("m", from + minute * MINUTE_MS, h.queue, `s${minute + 1}|A1|`)
    }
    await h.write("m", from + MINUTE_MS, "", "q9y9p9||")
    await h.write("m", from + MINUTE_MS, h.queue, "s2q3y2p1|A1|")
    const answer = await ask(h.broker, `queue=${h.queue}&${span(from, from + 10 * MINUTE_MS, "&step=5m")}`)
    expect(answer).toMatchObject({ from_at: from, to_at: from + 10 * MINUTE_MS, step_ms: 5 * MINUTE_MS })
    expect(answer.points).toMatchObject([
      { at: from, recorded_ms: 2 * MINUTE_MS, submitted: 3, depth: { queued: 3, delayed: 2, processing: 1 } },
      { at: from + 5 * MINUTE_MS, recorded_ms: MINUTE_MS, submitted: 8 },
    ])
    expect(answer.points[1]).not.toHaveProperty("depth") // nobody read it in that minute
    expect(answer.total).toMatchObject({ submitted: 11, done: 0 })
  })

  test("steps of an hour or more come from the points of hours", async () => {
    await using h = await past()
    const from = Math.floor(Date.now() / (24 * HOUR_MS) - 9) * 24 * HOUR_MS
    await h.write("h", from, "", "m60||")
    await h.write("h", from + 5 * HOUR_MS, "", "m15||")
    await h.write("h", from, h.queue, "s100d90|D5|")
    await h.write("h", from + 5 * HOUR_MS, h.queue, "s1||")
    const days = await ask(h.broker, `queue=${h.queue}&${span(from, from + 24 * HOUR_MS, "&step=1d")}`)
    expect(days.points).toMatchObject([{ at: from, recorded_ms: 75 * MINUTE_MS, submitted: 101, done: 90 }])
    const hours = await ask(h.broker, `queue=${h.queue}&${span(from, from + 24 * HOUR_MS, "&step=1h")}`)
    expect(hours.points.map(({ at, submitted }) => [(at - from) / HOUR_MS, submitted])).toEqual([
      [0, 100],
      [5, 1],
    ])
  })

  test("of all queues are those of every broker; a bound token gets the sum of its queues", async () => {
    const bound = { name: "bound", roles: ["read"] as const, queues: ["a", "b"] }
    const tokens = [{ ...bound, hash: new Bun.CryptoHasher("sha256").update("bound-token").digest("hex") }]
    await using h = await past({ tokens: tokens as never })
    const from = HOUR_START - 2 * HOUR_MS
    await h.write("m", from, "", "s100q50y0p0||")
    for (const [queue, count] of [
      ["a", 3],
      ["b", 4],
      ["c", 93],
    ])
      await h.write("m", from, `${queue}`, `s${count}q${count}y0p0||`)
    const query = span(from, from + MINUTE_MS)
    expect((await ask(h.broker, query)).total.submitted).toBe(100)
    const own = await ask(h.broker, query, "bound-token")
    expect(own.points).toMatchObject([{ submitted: 7, depth: { queued: 7 } }])
    expect((await ask(h.broker, `queue=b&${query}`, "bound-token")).total.submitted).toBe(4)
    expect(await ask<Problem>(h.broker, `queue=c&${query}`, "bound-token")).toMatchObject({ status: 403 })
  })

  test("the current minute counts only as long as it has lasted", async () => {
    await using h = await past()
    await h.broker.call("POST", "/submit", { type: "t", queue: h.queue })
    await h.broker.queue.parts.historyWriter.flush()
    const { points, to_at } = await ask(h.broker, `queue=${h.queue}`)
    const recorded = points.reduce((sum, { recorded_ms }) => sum + recorded_ms, 0)
    expect(recorded).toBeWithin(0, to_at - points[0]!.at + 1)
    expect(points.reduce((sum, { submitted }) => sum + submitted, 0)).toBe(1)
  })
})

describe("types", () => {
  const submitMany = (broker: TestBroker, queue: string, types: readonly string[]) =>
    broker.call(
      "POST",
      "/submit",
      types.map(type => ({ type, queue })),
    )

  test("the busiest 100 are listed, and the others are summed apart from a type named other", async () => {
    await using h = await past()
    const rare = Array.from({ length: 120 }, (_, i) => `rare-${i}`)
    await submitMany(h.broker, h.queue, [...rare, "other", "other", "mail", "mail", "mail"])
    await h.broker.queue.parts.historyWriter.flush()
    const { types, other, total } = await ask(h.broker, `queue=${h.queue}&types=true`)
    expect(types).toHaveLength(100)
    expect(types!.slice(0, 2)).toMatchObject([
      { type: "mail", submitted: 3 },
      { type: "other", submitted: 2 },
    ])
    expect(total.submitted).toBe(125)
    expect(other).toMatchObject({ submitted: 22, done: 0 })
  })

  test("a type that becomes busy later takes the place of a rare one", async () => {
    await using h = await past()
    await submitMany(
      h.broker,
      h.queue,
      Array.from({ length: 100 }, (_, i) => `rare-${i}`),
    )
    await h.broker.queue.parts.historyWriter.flush()
    await submitMany(h.broker, h.queue, ["new", "new"])
    await h.broker.queue.parts.historyWriter.flush()
    const { types, other } = await ask(h.broker, `queue=${h.queue}&types=true`)
    expect(types![0]).toMatchObject({ type: "new", submitted: 2 })
    expect([types!.length, other]).toEqual([100, expect.objectContaining({ submitted: 1 })])
  })

  test("one type can be asked for, whatever its name", async () => {
    await using h = await past()
    const type = 'a:b "c" |=\\ ü'
    await submitMany(h.broker, h.queue, [type, type, "x"])
    await h.broker.queue.parts.historyWriter.flush()
    const query = `queue=${h.queue}&type=${encodeURIComponent(type)}`
    const { total, points } = await ask(h.broker, query)
    expect(total.submitted).toBe(2)
    for (const point of points) expect(point).not.toHaveProperty("depth")
    const { types, other } = await ask(h.broker, `queue=${h.queue}&types=true`)
    expect(types!.map(({ type }) => type)).toEqual([type, "x"])
    expect(other).toBeUndefined()
  })

  test("a queue without history has none", async () => {
    await using broker = await testBroker()
    const { types, other, total } = await ask(broker, `queue=${freshName()}&types=true`)
    expect([types, other]).toEqual([[], undefined])
    expect(total).toEqual({ submitted: 0, done: 0, failed: 0, lapsed: 0, dead: 0 })
  })
})

describe("a range", () => {
  const NOW = 1_764_000_012_345
  const DAY_MS = 24 * HOUR_MS
  const stepOf = (ageMs: number) => readSpan({ from_at: NOW - ageMs }, NOW).stepMs / MINUTE_MS

  test("is the last hour by default", () => {
    const minute = Math.floor(NOW / MINUTE_MS) * MINUTE_MS
    expect(readSpan({}, NOW)).toEqual({
      fromMs: minute - HOUR_MS,
      toMs: minute + MINUTE_MS,
      stepMs: MINUTE_MS,
    })
  })

  test("has the shortest step that gives at most 300 points", () => {
    expect([HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS].map(stepOf)).toEqual([1, 5, 60, 180])
    // Minutes of the day before yesterday are gone.
    expect(readSpan({ from_at: NOW - 2 * DAY_MS, to_at: NOW - 2 * DAY_MS + HOUR_MS }, NOW).stepMs).toBe(
      HOUR_MS,
    )
  })

  test.each([
    ["from_at=1764000000000&to_at=1764000000000", "from_at", "must be before `to_at`"],
    ["from_at=4102444800000", "from_at", "must be in the past"],
    ["from_at=1764000000", "from_at", "Did you send seconds?"],
    [`from_at=${Date.now() - 31 * DAY_MS}`, "from_at", "within the last 30 days"],
    [`from_at=${Date.now() - 2 * DAY_MS}&step=1m`, "step", "must be 1h or longer"],
    [`to_at=${Date.now() - 30 * DAY_MS}`, "to_at", "within the last 30 days"],
    ["step=90m", "step", "of hours if"],
    ["step=30s", "step", "whole number of minutes"],
    ["step=60", "step", "whole number of minutes"],
    ["step=31d", "step", "up to 30d"],
    ["step=9999999999d", "step", "up to 30d"],
    ["step=0m", "step", "such as 5m, 1h or 1d"],
    ["step=1w", "step", "such as 5m, 1h or 1d"],
    ["type=mail", "type", "requires `queue`"],
    ["types=true", "types", "requires `queue`"],
    ["queue=q&type=mail&types=true", "types", "cannot be combined with `type`"],
    ["queue=*", "queue", "only this queue"],
    ["since=1", "since", "Unknown member"],
  ])("%p is refused with what would be right", async (query, field, detail) => {
    await using broker = await testBroker()
    const problem = await ask<Problem>(broker, query)
    expect([problem.status, problem.code, problem.field]).toEqual([400, "bad_request", field])
    expect(problem.detail).toContain(detail)
  })

  test("ends now at the latest, and is bounded whatever its step", () => {
    const { fromMs, toMs } = readSpan({ from_at: NOW - 1, to_at: 4_102_444_800_000, step: "30d" }, NOW)
    expect(toMs - fromMs).toBe(30 * DAY_MS)
    expect(readSpan({ to_at: 4_102_444_800_000 }, NOW)).toEqual(readSpan({}, NOW))
  })

  test.each([
    ["60000", 1],
    ["300s", 5],
    ["5m", 5],
    ["60m", 60],
    ["2h", 120],
    ["1d", 1_440],
  ])("takes the step %s", (step, minutes) => {
    expect(readSpan({ step }, NOW).stepMs).toBe(minutes * MINUTE_MS)
  })

  test("of exactly 24 hours in minutes, or 30 days, is answered although the request takes time", () => {
    expect(readSpan({ from_at: NOW - DAY_MS - 500, step: "1m" }, NOW).stepMs).toBe(MINUTE_MS)
    expect(readSpan({ from_at: NOW - 30 * DAY_MS - 500 }, NOW).stepMs).toBe(3 * HOUR_MS)
  })
})

test("a mark is listed in the span that contains it, once however often it is added", async () => {
  const bound = {
    name: "bound",
    roles: ["operate", "read"] as const,
    queues: ["a"],
    hash: hashOf("b".repeat(32)),
  }
  await using redis = await testRedis()
  await using broker = await testBroker({ tokens: [bound] }, redis.socket)
  const mark = (body: object, init: RequestInit = {}) =>
    answered(broker.call("POST", "/history/marks", body, init))
  const marks = async (query = "", init: RequestInit = {}) =>
    (await answered(broker.call("GET", `/history${query}`, undefined, init))).marks
  const now = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS
  const at = now - 600_000
  expect(await marks()).toEqual([])
  expect(await mark({ text: "deploy v1.2", at })).toMatchObject({ at, text: "deploy v1.2" })
  await mark({ text: "deploy v1.2", at })
  await mark({ text: "deploy v1.1", at: at - 7_200_000 })
  const { by } = await mark({ text: "deploy v1.3" })
  expect(await marks()).toEqual([
    { at, text: "deploy v1.2", by },
    { at: expect.any(Number), text: "deploy v1.3", by },
  ])
  const { actions } = (await answered(broker.call("GET", "/actions"))) as {
    actions: { details: { text: string } }[]
  }
  expect(actions.map(({ details }) => details.text).sort()).toEqual([
    "deploy v1.1",
    "deploy v1.2",
    "deploy v1.3",
  ])
  expect(await marks(`?${span(at, at + MINUTE_MS)}`)).toMatchObject([{ text: "deploy v1.2" }])
  expect(await marks(`?${span(at - MINUTE_MS, at)}`)).toEqual([])
  for (const wrong of [
    {},
    { text: "" },
    { text: "x".repeat(101) },
    { text: "x", at: now + 600_000 },
    { text: "x", at: 1e12 },
  ])
    expect(await mark(wrong)).toMatchObject({ status: 400, code: "bad_request" })
  const asBound = { headers: { "x-api-token": "b".repeat(32) } }
  expect(await mark({ text: "x" }, asBound)).toMatchObject({ status: 403 })
  expect(await marks("?queue=a", asBound)).toMatchObject([{ text: "deploy v1.2" }, { text: "deploy v1.3" }])
})

test("the newest 1,000 marks are kept, and the newest 100 are listed", async () => {
  await using redis = await testRedis()
  await using broker = await testBroker({}, redis.socket)
  const now = Date.now()
  for (let i = 0; i < 1_005; i += 201)
    await Promise.all(
      Array.from({ length: 201 }, (_, k) =>
        broker.call("POST", "/history/marks", { text: `v${i + k}`, at: now - 1_005 + i + k }),
      ),
    )
  const { marks } = (await answered(broker.call("GET", "/history"))) as { marks: { text: string }[] }
  expect([marks.length, marks[0]!.text, marks.at(-1)!.text]).toEqual([100, "v905", "v1004"])
  await using direct = new DirectQueue(redis.socket)
  expect(await direct.redis.zcard(HISTORY_MARKS)).toBe(1_000)
})
