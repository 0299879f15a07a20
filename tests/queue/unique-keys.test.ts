/** Unique keys: at most one live task per key, and what on_duplicate does to it. */
import { describe, expect, test } from "bun:test"
import { checkQueue } from "../support/invariants.ts"
import { ServedQueue } from "../support/served-queue.ts"

test.each<[string, (q: ServedQueue) => Promise<void>]>([
  [
    "cancelled",
    async q => {
      await q.cancel(await q.submit({ unique_key: "k" }))
    },
  ],
  [
    "done",
    async q => {
      await q.ack(await q.leased({ unique_key: "k" }))
    },
  ],
  ["dead of a failure", async q => void (await q.dead({ unique_key: "k" }))],
  ["dead of a crash", async q => q.crash((await q.leased({ unique_key: "k", max_crashes: 0 })).id)],
  [
    "expired",
    async q => {
      await q.expire(await q.submit({ unique_key: "k", expires_in_ms: 60_000 }))
      await q.direct.sweep()
    },
  ],
  [
    "cancelled while it ran",
    async q => {
      const task = await q.leased({ unique_key: "k" })
      await q.cancel(task.id)
      await q.ack(task)
    },
  ],
])("a unique key is free again as soon as its task is %s", async (_, end) => {
  await using q = await ServedQueue.open()
  await end(q)
  const { body } = await q.ask("POST", "/submit", { type: "t", queue: q.queue, unique_key: "k" })
  expect(body).toEqual({ status: "queued", task_id: expect.any(String) })
})

test("a unique key stays taken while its task waits, backs off or runs", async () => {
  await using q = await ServedQueue.open()
  const asked = { type: "t", queue: q.queue, unique_key: "k" }
  const id = await q.submit({ ...asked, delay_ms: 60_000, backoff: { kind: "fixed", delay_ms: 60_000 } })
  const duplicate = { status: "duplicate", task_id: id, duplicate: true }
  const again = async () => (await q.ask("POST", "/submit", asked)).body
  expect(await again()).toEqual(duplicate)
  await q.becomeDue(id)
  expect(await again()).toEqual(duplicate)
  const [task] = await q.lease()
  expect(await again()).toEqual(duplicate)
  await q.ack(task!, { status: "failed" })
  expect((await q.task(id)).status).toBe("retrying")
  expect(await again()).toEqual(duplicate)
})

test("on_duplicate replaces the payload of a waiting task, from small to large and back", async () => {
  await using q = await ServedQueue.open()
  const large = { text: "large ".repeat(100) }
  const send = async (payload: unknown, more: object = {}) =>
    (
      await q.ask("POST", "/submit", {
        type: "t",
        queue: q.queue,
        unique_key: "k",
        on_duplicate: "replace",
        payload,
        ...more,
      })
    ).body
  const { task_id } = await send("small")
  for (const payload of [large, "small again", large, [1, 2]]) {
    expect(await send(payload)).toEqual({ status: "duplicate", task_id, duplicate: true, replaced: true })
    expect((await q.task(task_id)).payload).toEqual(payload)
    await checkQueue(q.direct.redis, q.queue)
  }
  expect(await send("kept", { on_duplicate: "keep" })).not.toHaveProperty("replaced")
  const [task] = await q.lease()
  expect(task!.payload).toEqual([1, 2])
  // A running task keeps its payload.
  expect(await send("too late")).toEqual({ status: "duplicate", task_id, duplicate: true })
  expect((await q.task(task_id)).payload).toEqual([1, 2])
})

test("on_duplicate restarts the delay of a scheduled task (debounce)", async () => {
  await using q = await ServedQueue.open()
  const asked = { type: "t", queue: q.queue, unique_key: "k", on_duplicate: "replace" as const }
  const id = await q.submit({ ...asked, delay_ms: 10_000 })
  const before = (await q.task(id)).due_at!
  await q.submit({ ...asked, delay_ms: 60_000 })
  expect((await q.task(id)).due_at! - before).toBeGreaterThan(49_000)
  expect((await q.ask("POST", "/submit", { type: "t", on_duplicate: "replace" })).status).toBe(400)
})

const WHOLE = {
  type: "sms",
  payload: { number: 1 },
  priority: 9,
  max_retries: 7,
  max_crashes: 8,
  timeout_ms: 1_000,
  max_runtime_ms: 2_000,
  result_ttl_ms: 3_000,
  expires_in_ms: 60_000,
  backoff: { kind: "fixed", delay_ms: 4_000, max_ms: 5_000, jitter: false },
  meta: { team: "new" },
}

/** Ways in which the task that holds the key is waiting. */
const WAITS: [state: string, wait: (q: ServedQueue, submit: object) => Promise<string>][] = [
  ["queued", (q, submit) => q.submit(submit)],
  ["scheduled", (q, submit) => q.submit({ ...submit, delay_ms: 60_000 })],
  [
    "retrying",
    async (q, submit) => {
      const task = await q.leased(submit)
      await q.ask("POST", "/extend", { task_id: task.id, lease: task.lease, checkpoint: { sent: 40 } })
      await q.ack(task, { status: "failed", retry_in_ms: 60_000 })
      return task.id
    },
  ],
]

describe("on_duplicate replaces a waiting task as a whole", () => {
  test.each(WAITS)("one that is %s", async (state, wait) => {
    await using q = await ServedQueue.open({ maxQueueBytes: 10_000 })
    const old = { type: "email", payload: { to: "ada" }, unique_key: "k", meta: { team: "old", a: "b" } }
    const id = await wait(q, { ...old, queue: q.queue, expires_in_ms: 9_000_000, priority: 2 })
    const before = await q.task(id)
    const replace = { queue: q.queue, unique_key: "k", on_duplicate: "replace" }
    const replaced = { status: "duplicate", task_id: id, duplicate: true, replaced: true }
    expect((await q.ask("POST", "/submit", { ...WHOLE, ...replace })).body).toEqual(replaced)
    const after = await q.task(id)
    const { expires_in_ms, result_ttl_ms, backoff: _, ...own } = WHOLE
    expect(after).toMatchObject(own)
    expect(after.meta).toEqual({ team: "new" })
    const policy = await q.direct.field(id, "policy")
    expect(policy).toEndWith(` ${after.expires_at} ${result_ttl_ms} fixed 4000 5000 0`)
    expect(after.expires_at! - Date.now()).toBeWithin(1, expires_in_ms + 1)
    expect(after).not.toHaveProperty("checkpoint")
    const { id: sameId, attempt, retries, created_at, attempts, due_at, status } = before
    expect(after).toMatchObject({ id: sameId, attempt, retries, created_at, attempts, status })
    expect([status as string, after.due_at]).toEqual([state, due_at])
    await checkQueue(q.direct.redis, q.queue)
    // Omitted members get their defaults again. The second item of the array replaces the first.
    const items = [
      { type: "a longer name", priority: 9, expires_in_ms: 5_000 },
      { type: "t", payload: "last" },
    ]
    const bodies = items.map(item => ({ ...item, ...replace }))
    expect((await q.ask("POST", "/submit", bodies)).body).toEqual([replaced, replaced])
    const last = await q.task(id)
    expect(last).toMatchObject({ type: "t", payload: "last", priority: 5 })
    for (const member of ["meta", "expires_at", "max_runtime_ms"]) expect(last).not.toHaveProperty(member)
    await checkQueue(q.direct.redis, q.queue)
    if (state !== "queued") await q.becomeDue(id)
    const [task] = await q.lease()
    expect(task).toMatchObject({ id, type: "t", payload: "last" })
    expect(task).not.toHaveProperty("checkpoint")
    expect(await q.lease()).toEqual([])
    await checkQueue(q.direct.redis, q.queue)
  })

  test("of the same array, also with another priority", async () => {
    await using q = await ServedQueue.open({ maxQueueBytes: 10_000 })
    const replace = { queue: q.queue, unique_key: "k", on_duplicate: "replace" }
    const { body } = await q.ask("POST", "/submit", [
      { ...WHOLE, ...replace },
      { type: "t", payload: "x".repeat(500), priority: 1, ...replace },
      { type: "u", queue: q.queue },
      { type: "v", priority: 2, ...replace },
    ])
    const [first] = body
    expect(body.map(({ status }: { status: string }) => status)).toEqual([
      ...["queued", "duplicate", "queued", "duplicate"],
    ])
    await checkQueue(q.direct.redis, q.queue)
    const tasks = await q.lease(9)
    expect(tasks.map(({ type }) => type)).toEqual(["u", "v"])
    expect(tasks[1]).toMatchObject({ id: first.task_id, payload: {} })
  })

  test.each([{}, { group: "g" }])("and leaves nothing in the place of its old priority: %p", async group => {
    await using q = await ServedQueue.open()
    for (let i = 0; i < 20; i++) {
      const task = { type: `t${i}`, priority: i % 2, unique_key: "k", on_duplicate: "replace" }
      await q.ask("POST", "/submit", { ...task, ...group, queue: q.queue })
      const both = { ...task, ...group, queue: q.queue, unique_key: "both" }
      await q.ask("POST", "/submit", [both, { ...both, priority: 2 }])
    }
    await checkQueue(q.direct.redis, q.queue)
    const { body } = await q.ask("GET", `/tasks?state=queued&queue=${q.queue}`)
    const listed = body.tasks.map(({ type, priority }: { type: string; priority: number }) => [
      type,
      priority,
    ])
    expect(listed.sort()).toEqual([
      ["t19", 1],
      ["t19", 2],
    ])
    const queue = await q.ask("GET", `/queues/${q.queue}`)
    // The last entry of a group's list stays.
    expect(queue.body.depth.queued).toBeLessThanOrEqual("group" in group ? 6 : 2)
    expect(await q.lease(9)).toHaveLength(2)
    await checkQueue(q.direct.redis, q.queue)
  })

  test("but not a running task, and not one of another queue", async () => {
    await using q = await ServedQueue.open()
    const { id } = await q.leased({ type: "email", unique_key: "k", meta: { team: "old" } })
    const replace = { ...WHOLE, unique_key: "k", on_duplicate: "replace" }
    const { body } = await q.ask("POST", "/submit", { ...replace, queue: q.queue })
    expect(body).toEqual({ status: "duplicate", task_id: id, duplicate: true })
    expect(await q.task(id)).toMatchObject({ type: "email", meta: { team: "old" } })
    const other = await q.ask("POST", "/submit", { ...replace, queue: `${q.queue}.2` })
    expect(other.body).toEqual({ status: "queued", task_id: expect.any(String) })
  })
})
