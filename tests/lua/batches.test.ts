/** Many items in one script call: repeated items count once, and a thousand fit into each script. */
import { expect, test } from "bun:test"
import { readPolicy } from "../../lib/task/policy.ts"
import { encodeNewTask } from "../../lib/task/record.ts"
import { checkQueue } from "../support/invariants.ts"
import {
  dump,
  HOUR,
  LONG,
  makeDead,
  NO_NEWS,
  SAME_PAYLOAD,
  scriptQueue,
  submitAndLease,
} from "../support/script-queue.ts"

test("an ack repeated in one batch counts once", async () => {
  for (const [outcome, code, retries] of [
    ["done", "acknowledged", 0],
    ["failed", "requeued", 1],
    ["released", "released", 0],
  ] as const)
    for (const named of [true, false]) {
      await using queue = await scriptQueue()
      const lease = await submitAndLease(queue)
      const item = { id: "T", lease: named ? lease : "", outcome, text: "" }
      const answers = await queue.settleEach(HOUR, [item, item])
      expect(answers.map(answer => answer.slice(0, 2))).toEqual([
        [code, retries],
        [code, retries],
      ])
      await checkQueue(queue.redis, queue.name)
    }
})

test("a dead task retried twice in one batch is queued once", async () => {
  await using queue = await scriptQueue()
  await makeDead(queue)
  const answers = await queue.scripts.call("retryDead", queue.name, { before: "" }, [
    { id: "T", ...SAME_PAYLOAD },
    { id: "T", ...SAME_PAYLOAD },
  ])
  expect(answers.map(([code]) => code)).toEqual(["requeued", "not_dead"])
  await checkQueue(queue.redis, queue.name)
})

test("an id submitted twice in one batch is created once", async () => {
  await using queue = await scriptQueue()
  expect(await queue.submit(["T", "T", "U"])).toEqual(["queued", "exists", "queued"])
  expect(await queue.submit(["U", "V"])).toEqual(["exists", "queued"])
  expect(await queue.ready()).toEqual(["T", "U", "V"])
  await checkQueue(queue.redis, queue.name)
})

test("an id submitted twice in one batch is created by the first, even if only the first has extras", async () => {
  await using queue = await scriptQueue()
  const task = { queue: queue.name, type: "a", payload: "1", policy: readPolicy("5 3 3 30000") }
  const items = [
    { id: "T", ...encodeNewTask({ ...task, unique: { key: "u", replace: false } }) },
    { id: "T", ...encodeNewTask(task) },
  ]
  expect(await queue.submitEach(HOUR, items)).toEqual([
    ["queued", "T"],
    ["exists", "T"],
  ])
})

test("a batch finds a task that it has looked for before and created since", async () => {
  for (const isBatch of [true, false]) {
    await using queue = await scriptQueue({ depth: 0, bytes: 1_000 })
    await queue.redis.set(queue.key("unique", "u"), "T") // of a task that is gone
    const task = { queue: queue.name, type: "a", payload: "1", policy: readPolicy("5 3 3 30000") }
    const unique = { key: "u", replace: false }
    const items = [
      { id: "A", ...encodeNewTask({ ...task, payload: `"${"x".repeat(2_000)}"`, unique }) },
      { id: "T", ...encodeNewTask({ ...task, idempotency: { key: "k", print: "p" } }) },
      { id: "B", ...encodeNewTask({ ...task, unique }) },
    ]
    const calls = isBatch ? [items] : items.map(item => [item])
    const answers = []
    for (const call of calls) answers.push(...(await queue.submitEach(HOUR, call)))
    expect([isBatch, answers]).toEqual([
      isBatch,
      [
        ["full_bytes", "A"],
        ["queued", "T"],
        ["duplicate", "T"],
      ],
    ])
  }
})

test("a thousand tasks go through every script in one call each, and through lease in four", async () => {
  await using queue = await scriptQueue()
  const ids = Array.from({ length: 1_000 }, (_, i) => `n${i}`)
  expect(await queue.submit(ids, { text: LONG, maxRetries: 0 })).toEqual(ids.map(() => "queued"))
  const tasks = await queue.leaseMany(1_000)
  expect(tasks.map(({ id, payload }) => [id, payload])).toEqual(ids.map(id => [id, LONG]))
  const each = tasks.map(({ id, lease }) => ({ id, lease }))
  const extended = await queue.scripts.call(
    "extend",
    queue.name,
    {},
    each.map(item => ({ ...item, timeout: "", ...NO_NEWS })),
  )
  expect(new Set(extended.map(([code]) => code))).toEqual(new Set(["ok"]))
  const only = each.map(({ id }) => ({ id }))
  const watched = await queue.scripts.call("watch", queue.name, {}, only)
  expect(watched).toEqual(ids.map(() => "watched"))
  const settled = await queue.settleEach(
    HOUR,
    each.map(item => ({ ...item, outcome: "failed", text: "boom" })),
  )
  expect(new Set(settled.map(([code]) => code))).toEqual(new Set(["moved_to_dlq"]))
  expect((await queue.page("dead", 1_001)).entries).toHaveLength(1_000)
  const inspected = await queue.scripts.call("inspect", queue.name, {}, only)
  expect(inspected.map(task => task![0])).toEqual(ids)
  const retried = await queue.scripts.call(
    "retryDead",
    queue.name,
    { before: "" },
    only.map(one => ({ ...one, ...SAME_PAYLOAD })),
  )
  expect(new Set(retried.map(([code]) => code))).toEqual(new Set(["requeued"]))
  await checkQueue(queue.redis, queue.name)
  const listed = await queue.page("5", 1_001)
  expect([listed.more, listed.entries.map(([, id]) => id)]).toEqual([0, ids])
  const why = await queue.scripts.call("why", queue.name, {}, only)
  expect(why.map(answer => answer![3])).toEqual(ids.map((_, i) => i))
  const cancelled = await queue.scripts.call("cancel", queue.name, { retention: -1 }, only)
  expect(cancelled.map(([code, state]) => [code, state])).toEqual(ids.map(() => ["cancelled", "queued"]))
  await checkQueue(queue.redis, queue.name)
  // The cancel has dropped 300 stale ids. One lease call drops up to 600 and answers 0, "call again"; the next drops the rest.
  expect(await queue.lease()).toEqual([0])
  expect(await queue.lease()).toEqual([-1])
  await queue.sweep()
  expect(await dump(queue.redis, queue.name)).toEqual({})
})
