/** POST /cancel: cancelling the tasks that match a filter. */
import { expect, test } from "bun:test"
import { hashOf } from "../../lib/config/tokens.ts"
import type { Submit } from "../../lib/wire/submitting.ts"
import { bulkUntil, hasEnded } from "../support/bulk.ts"
import { freshName, testBroker } from "../support/harness.ts"
import { answered, submitted } from "../support/requests.ts"
import { ServedQueue } from "../support/served-queue.ts"

const cancel = async (q: ServedQueue, body: object = {}) =>
  (await q.ask("POST", "/cancel", { queue: q.queue, ...body })).body

/** One task in each state that has not ended, and a done one. */
async function oneOfEach(q: ServedQueue) {
  const done = await q.leased()
  await q.ack(done)
  const retrying = await q.leased({ backoff: { kind: "fixed", delay_ms: 60_000 } })
  await q.ack(retrying, { status: "failed", error: "no route" })
  const processing = (await q.leased()).id
  const scheduled = await q.submit({ delay_ms: 60_000 })
  const queued = await q.submit()
  return { done: done.id, retrying: retrying.id, processing, scheduled, queued }
}

const statesOf = async (q: ServedQueue, ids: Record<string, string>) =>
  Object.fromEntries(
    await Promise.all(Object.entries(ids).map(async ([name, id]) => [name, (await q.task(id)).status])),
  )

test.each([
  [undefined, ["retrying", "scheduled", "queued"]],
  ["waiting", ["retrying", "scheduled", "queued"]],
  ["queued", ["queued"]],
  ["delayed", ["retrying", "scheduled"]],
  ["scheduled", ["scheduled"]],
  ["retrying", ["retrying"]],
  ["processing", []],
  ["any", ["retrying", "scheduled", "queued"]],
])("state %s cancels the tasks in these states and no others", async (state, cancelled) => {
  await using q = await ServedQueue.open()
  const ids = await oneOfEach(q)
  const reachesRunning = state === "processing" || state === "any"
  const found = { cancelled: cancelled.length, cancelling: Number(reachesRunning), skipped: 0 }
  const wanted = state === undefined ? {} : { state }
  expect(await cancel(q, { ...wanted, dry_run: true })).toEqual(found)
  const before = await statesOf(q, ids)
  expect(before).toMatchObject({ queued: "queued", retrying: "retrying", done: "done" })
  expect(await cancel(q, wanted)).toEqual(found)
  const after = Object.fromEntries(cancelled.map(name => [name, "cancelled"]))
  expect(await statesOf(q, ids)).toEqual({ ...before, ...after })
  expect((await q.task(ids.processing)).cancel_requested_at !== undefined).toBe(reachesRunning)
})

test.each<[string, object, Partial<Submit>]>([
  ["type", { type: "a" }, { type: "a" }],
  ["a part of the type", { type_part: "ILIN" }, { type: "mailing" }],
  ["group", { group: "g" }, { group: "g" }],
  ["labels", { meta: { team: "x", site: "y" } }, { meta: { team: "x", site: "y", more: "z" } }],
])("a filter by %s cancels only tasks that match", async (_, filter, members) => {
  await using q = await ServedQueue.open()
  const matching = await q.submit(members)
  const other = await q.submit({ type: "b", group: "h", meta: { team: "x" } })
  expect(await cancel(q, filter)).toEqual({ cancelled: 1, cancelling: 0, skipped: 0 })
  expect((await q.task(matching)).status).toBe("cancelled")
  expect((await q.task(other)).status).toBe("queued")
})

test("a filter by error or age cancels only tasks that match", async () => {
  await using q = await ServedQueue.open()
  const { retrying, queued } = await oneOfEach(q)
  expect(await cancel(q, { error: "no route" })).toMatchObject({ cancelled: 1 })
  expect((await q.task(retrying)).status).toBe("cancelled")
  expect(await cancel(q, { older_than_ms: 3_600_000 })).toMatchObject({ cancelled: 0 })
  await q.direct.setField(queued, "created", Date.now() - 7_200_000)
  expect(await cancel(q, { older_than_ms: 3_600_000 })).toMatchObject({ cancelled: 1 })
  expect(await cancel(q, { newer_than_ms: 3_600_000 })).toMatchObject({ cancelled: 1 })
})

test("thousands of tasks in several queues are cancelled page by page, each once", async () => {
  await using broker = await testBroker()
  const queues = [freshName(), freshName(), freshName()]
  const each = (queue: string) =>
    Array.from({ length: 700 }, (_, i) => ({ type: "t", queue, priority: i % 10 }))
  for (const queue of queues) await broker.call("POST", "/submit", each(queue))
  for (const queue of queues) await submitted(broker, { type: "kept", queue })
  let cancelled = 0
  for (let cursor: unknown; ; ) {
    const page = await answered(
      broker.call("POST", "/cancel", { type: "t", limit: 300, ...(cursor ? { cursor } : {}) }),
    )
    cancelled += page.cancelled as number
    cursor = page.next
    if (cursor === undefined) break
  }
  expect(cancelled).toBe(2_100)
  for (const queue of queues)
    expect((await broker.queue.parts.control.view(queue)).depth).toMatchObject({ cancelled: 700 })
  expect(await answered(broker.call("POST", "/cancel", { type: "t" }))).toMatchObject({ cancelled: 0 })
})

test("tasks that have ended between the listing and the cancel are skipped, and a repeat changes nothing", async () => {
  await using q = await ServedQueue.open()
  const { queued } = await oneOfEach(q)
  expect(await cancel(q, { state: "queued" })).toEqual({ cancelled: 1, cancelling: 0, skipped: 0 })
  expect(await cancel(q, { state: "queued" })).toEqual({ cancelled: 0, cancelling: 0, skipped: 0 })
  expect((await q.task(queued)).status).toBe("cancelled")
})

test.each([
  [{ state: "done" }, "state"],
  [{ states: ["queued"] }, "states"],
  [{ limit: 0 }, "limit"],
  [{ meta: { team: 1 } }, "meta.team"],
  [{ cursor: "###" }, "cursor"],
  [{ fingerprint: "0123456789abcdef" }, "fingerprint"],
])("%j is refused with the name of the member, and cancels nothing", async (body, field) => {
  await using q = await ServedQueue.open()
  const id = await q.submit()
  const { status, body: answer } = await q.ask("POST", "/cancel", { queue: q.queue, ...body })
  expect([status, answer.code, answer.field]).toEqual([400, "bad_request", field])
  expect((await q.task(id)).status).toBe("queued")
})

test("a token that is bound to queues cancels only their tasks", async () => {
  const [own, other] = [freshName(), freshName()]
  const bound = { name: "bound", roles: ["operate"] as const, queues: [own], hash: hashOf("bound") }
  await using broker = await testBroker({ tokens: [bound] })
  for (const queue of [own, other]) await submitted(broker, { type: "t", queue })
  const ask = (body: object) => broker.call("POST", "/cancel", body, { headers: { "x-api-token": "bound" } })
  expect(await (await ask({})).json()).toEqual({ cancelled: 1, cancelling: 0, skipped: 0 })
  expect((await ask({ queue: other })).status).toBe(403)
  const left = await answered(broker.call("GET", `/tasks?state=queued&queue=${other}`))
  expect(left.tasks).toHaveLength(1)
})

test("a filter by a part of the queue's name covers these queues only", async () => {
  await using broker = await testBroker()
  const name = freshName()
  const queues = [`${name}.mails`, `${name}.Mail-lists`, `${name}.reports`]
  for (const queue of queues) await submitted(broker, { type: "t", queue })
  const cancelled = await answered(broker.call("POST", "/cancel", { queue_part: "mail" }))
  expect(cancelled).toEqual({ cancelled: 2, cancelling: 0, skipped: 0 })
  const body = { action: "cancel", filter: { queue_part: name.slice(1) } }
  const { bulk_id } = await answered(broker.call("POST", "/bulk", body))
  const ended = await bulkUntil(broker, String(bulk_id), hasEnded)
  expect(ended.progress).toMatchObject({ done: 1 })
})
