/** lib/task/README.md against the code: the transitions, and the examples of every stored format. */
import { expect, test } from "bun:test"
import { readDepths } from "../../lib/observe/depths.ts"
import { encodePolicy, readPolicy } from "../../lib/task/policy.ts"
import { HEADER_FIELDS, readLeased, readTask, splitRecord } from "../../lib/task/record.ts"
import { refusedWhen, TRANSITIONS } from "../../lib/task/transitions.ts"
import { EVENTS } from "../../lib/wire/events.ts"
import { bare, code, table } from "../support/documents.ts"
import { contradictions, fieldsOf } from "../support/invariants.ts"
import { NO_NEWS, scriptQueue } from "../support/script-queue.ts"

const README = "lib/task/README.md"
const ID = "01KAV9FT345D2Q7RWM4HTE"

const example = () => code(README, "## The record", "text")
const policyRows = () => table(README, "| position | here | name | meaning |")

test("the transitions are those of the code", async () => {
  expect(await table(README, "| from | event | to | refused when |")).toEqual(
    TRANSITIONS.map(row => [row.from, row.event, row.to, refusedWhen(row)]),
  )
})

test("the drawing has every state that a task can be in, and every event", async () => {
  const drawing = await code(README, "## The life of a task", "")
  for (const { from, event, to } of TRANSITIONS) {
    for (const state of [from, to].filter(state => state !== "–")) expect(drawing).toContain(state)
    // The label of an arrow may be broken into two lines.
    for (const part of event.split(": ")) expect(drawing).toContain(part)
  }
})

test("the columns of the first line are named and decoded as the table has them", async () => {
  const rows = await table(README, "| column | here | meaning |")
  expect(rows.map(([column]) => column)).toEqual([...HEADER_FIELDS])
  const text = await example()
  expect(rows.map(([, here]) => bare(here!)).join(" ")).toBe(text.split("\n")[0]!)
  const stored = splitRecord(text)
  for (const [column, here] of rows) expect(stored[column as "state"]).toBe(bare(here!))
})

test("the positions of the policy are decoded, and encoded, as the table has them", async () => {
  const rows = await policyRows()
  const { policy: line } = splitRecord(await example())
  expect(rows.map(([, here]) => bare(here!)).join(" ")).toBe(line)
  expect(rows.map(([position]) => Number(position))).toEqual(Array.from({ length: 11 }, (_, i) => i + 1))
  const values = Object.fromEntries(rows.map(([, here, name]) => [name, bare(here!)]))
  const { backoff, ...decoded } = readPolicy(line)
  expect(Object.keys(decoded)).toEqual(rows.slice(0, 7).map(([, , name]) => name!))
  for (const [name, value] of Object.entries(decoded))
    expect([name, String(value)]).toEqual([name, values[name]!])
  expect(backoff).toEqual({
    kind: values["backoff.kind"] as "exponential",
    delay_ms: Number(values["backoff.delay_ms"]),
    max_ms: Number(values["backoff.max_ms"]),
    jitter: values["backoff.jitter"] === "1",
  })
  const encoded = encodePolicy({ ...decoded, backoff })
  // The broker leaves the expiry at 0, and the submit script replaces it.
  expect(encoded.split(" ").with(5, values.expiresAt!).join(" ")).toBe(line)
})

test("the annotated record decodes to the values that the document names", async () => {
  const text = await example()
  expect(readTask("emails", [ID, text, null, "1764000090123", null], "all")).toEqual({
    id: `emails:${ID}`,
    queue: "emails",
    state: "processing",
    type: "mail",
    payload: '{"to":"ada@example.org"}',
    policy: readPolicy(splitRecord(text).policy),
    attempt: 2,
    retries: 1,
    crashes: 0,
    releases: 0,
    createdAt: 1_764_000_000_100,
    startedAt: 1_764_000_060_123,
    leaseExpiresAt: 1_764_000_090_123,
    worker: "host-1",
    uniqueKey: "welcome:7",
    checkpoint: '{"sent":40}',
    error: "timeout",
    log: [],
    history: [
      '{"attempt":1,"worker":"host-1","started_at":1764000000500,"ended_at":1764000030700,"outcome":"failed","error":"timeout"}',
    ],
  })
  const [leased] = readLeased("emails", [ID, text])
  expect(leased).toMatchObject({ attempt: 2, worker: "host-1", waitedMs: 60_023, checkpoint: '{"sent":40}' })
})

test("the scripts accept the annotated record as a leased task, and finish it", async () => {
  await using queue = await scriptQueue()
  const text = await example()
  const { lease, unique } = fieldsOf(text)
  await queue.redis.set(queue.key("task", ID), text)
  await queue.redis.set(queue.key("unique", unique), ID)
  await queue.redis.zadd(queue.key("leases"), Date.now() + 60_000, ID)
  expect(await contradictions(queue.redis, queue.name)).toEqual([])
  const item = { id: ID, lease: lease!, timeout: "", ...NO_NEWS, log: "a line" }
  const [extended] = await queue.scripts.call("extend", queue.name, {}, [item])
  // The attempt began long ago, so its max_runtime bounds the deadline.
  expect(extended).toEqual(["ok", 1_764_000_060_123 + 600_000, 2, "processing"])
  expect(await queue.field(ID, "log")).toBe("a line")
  const stale = "1.Q8sWn2Lk0pVeYd4XuTfA7g"
  // The answer to the first attempt, repeated from the line `settled`.
  expect((await queue.settle(ID, stale, "failed", "timeout")).slice(0, 2)).toEqual(["requeued", 1])
  expect((await queue.settle(ID, lease!, "done", '"sent"')).slice(0, 2)).toEqual(["acknowledged", 0])
  expect(await queue.field(ID, "state")).toBe("done")
  expect(await contradictions(queue.redis, queue.name)).toEqual([])
})

test("the extras are those that the scripts store", async () => {
  const names = (await table(README, "| member | meaning |")).flatMap(([member]) => member!.split(", "))
  const lua = await Promise.all(
    [...new Bun.Glob("*.lua").scanSync("lib/lua")].map(file => Bun.file(`lib/lua/${file}`).text()),
  )
  const stored = lua.join("\n").matchAll(/extras\(t\)\.([a-z]+)/g)
  expect([...names].sort()).toEqual([...new Set([...stored].map(([, name]) => name!))].sort())
})

test("the other lines are those that the code reads", async () => {
  const rows = await table(README, "| format | example | where |")
  const find = (first: string) => {
    const [format, here] = rows.find(([format]) => format!.startsWith(first))!
    const values = bare(here!).split(" ")
    const names = format!.split(", ")
    expect(values).toHaveLength(names.length)
    return { names, text: bare(here!) }
  }
  expect(find("submitted").names).toEqual([...EVENTS])
  expect(readDepths(["emails"], find("queued").text)).toEqual([
    {
      queue: "emails",
      counts: [12, 3, 4, 250, 1, 0],
      oldestAt: 1_764_000_000_100,
      polledAt: 1_764_000_060_000,
    },
  ])
  expect(find("event, reason").names).toEqual(["event", "reason", "attempt", "worker", "id", "time"])
  expect(find("print").text).toMatch(/^[0-9a-f]+ \w{22} queued$/)
})
