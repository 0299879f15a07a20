/** Failed attempts: backoff, retries, and and what an ack can request. */
import { describe, expect, test } from "bun:test"
import type { Submit } from "../../lib/wire/submitting.ts"
import { ServedQueue } from "../support/served-queue.ts"

/** The backoff after each of `count` failures, in ms. */
async function delays(q: ServedQueue, backoff: Submit["backoff"], count: number): Promise<number[]> {
  const id = await q.submit({ max_retries: 100, ...(backoff === undefined ? {} : { backoff }) })
  const found: number[] = []
  for (let i = 0; i < count; i++) {
    const [task] = await q.lease()
    await q.ack(task!, { status: "failed" })
    const { due_at, attempts } = await q.task(id)
    found.push(due_at === undefined ? 0 : due_at - attempts.at(-1)!.ended_at!)
    if (due_at !== undefined) await q.becomeDue(id)
  }
  return found
}

test.each<[string, Submit["backoff"], number[]]>([
  ["fixed", { kind: "fixed", delay_ms: 5_000, jitter: false }, [5_000, 5_000, 5_000]],
  ["exponential", { kind: "exponential", delay_ms: 1_000, jitter: false }, [1_000, 2_000, 4_000, 8_000]],
  [
    "exponential with a maximum",
    { kind: "exponential", delay_ms: 1_000, max_ms: 3_000, jitter: false },
    [1_000, 2_000, 3_000, 3_000],
  ],
  [
    "fixed, with a delay above max_ms",
    { kind: "fixed", delay_ms: 5_000, max_ms: 3_000, jitter: false },
    [3_000],
  ],
  ["none by default", undefined, [0, 0]],
])("backoff: %s", async (_, backoff, expected) => {
  await using q = await ServedQueue.open()
  expect(await delays(q, backoff, expected.length)).toEqual(expected)
})

test("an exponential backoff without max_ms is at most 30 days, however often the task has failed", async () => {
  await using q = await ServedQueue.open()
  const days = 86_400_000
  for (const [delay_ms, failures, expected] of [
    [1_000, 21, 1_000 * 2 ** 21],
    [1_000, 22, 30 * days],
    [1_000, 41, 30 * days],
    [30 * days, 0, 30 * days],
    [30 * days, 99, 30 * days],
  ] as const) {
    const backoff = { kind: "exponential", delay_ms, jitter: false } as const
    const id = await q.submit({ max_retries: 1_000, backoff })
    const fail = async (members: object) => {
      const [task] = await q.lease()
      await q.ack(task!, { status: "failed", ...members })
    }
    for (let i = 0; i < failures; i++) await fail({ retry_in_ms: 0 })
    await fail({})
    const { due_at, attempts } = await q.task(id)
    expect([failures, due_at! - attempts.at(-1)!.ended_at!]).toEqual([failures, expected])
  }
})

test("a delay above 30 days is refused", async () => {
  await using q = await ServedQueue.open()
  for (const kind of ["fixed", "exponential"])
    for (const backoff of [
      { kind, delay_ms: 30 * 86_400_000 + 1 },
      { kind, delay_ms: 1, max_ms: 30 * 86_400_000 + 1 },
    ])
      expect((await q.ask("POST", "/submit", { type: "t", queue: q.queue, backoff })).status).toBe(400)
})

test("a backoff with jitter is random between 0 and the delay", async () => {
  await using q = await ServedQueue.open()
  const found = await delays(q, { kind: "fixed", delay_ms: 1_000_000 }, 30)
  for (const delay of found) expect(delay).toBeWithin(0, 1_000_001)
  expect(new Set(found).size).toBeGreaterThan(20)
  expect(Math.max(...found) - Math.min(...found)).toBeGreaterThan(300_000)
})

test("BACKOFF_* applies to tasks that set no backoff, after failures and crashes", async () => {
  await using q = await ServedQueue.open({ backoff: { kind: "fixed", delay_ms: 7_000, jitter: false } })
  expect(await delays(q, undefined, 1)).toEqual([7_000])
  await q.lease()
  expect(await delays(q, { kind: "fixed", delay_ms: 9_000, jitter: false }, 1)).toEqual([9_000])
  await q.lease()
  const task = await q.leased()
  await q.crash(task.id)
  expect(await q.task(task.id)).toMatchObject({ status: "retrying", crashes: 1 })
})

describe("ack failed", () => {
  test("with retry: false goes to the dead-letter queue at once", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased({ max_retries: 100, backoff: { kind: "fixed", delay_ms: 1_000 } })
    const said = { status: "failed", retry: false, error: "bad address" }
    const first = await q.ack(task, said)
    expect(first.body).toEqual({ status: "moved_to_dlq", task_id: task.id, retries: 1 })
    expect((await q.ack(task, said)).body).toEqual(first.body)
    expect(await q.task(task.id)).toMatchObject({ status: "dead", reason: "failed", error: "bad address" })
  })

  test("with retry_in_ms waits that long instead of its backoff, or not at all", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased({ backoff: { kind: "fixed", delay_ms: 1_000 } })
    await q.ack(task, { status: "failed", retry_in_ms: 45_000 })
    const { due_at, attempts } = await q.task(task.id)
    expect(due_at! - attempts[0]!.ended_at!).toBe(45_000)
    await q.becomeDue(task.id)
    const [again] = await q.lease()
    await q.ack(again!, { status: "failed", retry_in_ms: 0 })
    expect((await q.task(task.id)).status).toBe("retrying")
  })

  test("refuses members that cannot be combined", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased()
    for (const said of [
      { status: "done", retry: false },
      { status: "done", retry_in_ms: 1 },
      { status: "released", retry: false },
      { status: "released", result: 1 },
      { status: "failed", retry: false, retry_in_ms: 1 },
      { status: "failed", result: 1 },
      { status: "done", error: "x" },
    ])
      expect((await q.ack(task, said)).status).toBe(400)
  })
})
