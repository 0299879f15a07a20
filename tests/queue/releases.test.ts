/** Released tasks: at once, with a pause, and because the worker does not know their type. */
import { describe, expect, test } from "bun:test"
import { Client } from "../../lib/client.ts"
import { BUILT_IN } from "../../lib/handlers.ts"
import { createLog } from "../../lib/log.ts"
import { TaskRunner } from "../../lib/worker/task-runner.ts"
import { TOKEN, until } from "../support/harness.ts"
import { ServedQueue } from "../support/served-queue.ts"

const NO_HANDLER = 'this worker has no handler for type "new"'

describe("a release", () => {
  test("returns the task at once and stores its error", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased()
    const said = { status: "released", error: "not now" }
    const first = await q.ack(task, said)
    expect(first.body).toEqual({ status: "released", task_id: task.id })
    expect((await q.ack(task, said)).body).toEqual(first.body)
    const seen = await q.task(task.id)
    expect(seen).toMatchObject({ status: "queued", error: "not now", releases: 1, retries: 0, crashes: 0 })
    expect(seen.attempts).toMatchObject([{ outcome: "released", error: "not now" }])
    // A release without an error keeps the previous error.
    const [again] = await q.lease()
    expect(again).toMatchObject({ attempt: 2, releases: 1 })
    await q.ack(again!, { status: "released" })
    expect(await q.task(task.id)).toMatchObject({ error: "not now", releases: 2 })
  })

  test("with retry_in_ms waits that long, counts no failure, and is explained by /why", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased({ max_retries: 0, max_crashes: 0 })
    expect(task).not.toHaveProperty("releases")
    const said = { status: "released", error: `${NO_HANDLER}\nmore`, retry_in_ms: 45_000 }
    expect((await q.ack(task, said)).body.status).toBe("released")
    expect((await q.ack(task, said)).body.status).toBe("released")
    const { due_at, attempts, ...seen } = await q.task(task.id)
    expect(due_at! - attempts[0]!.ended_at!).toBe(45_000)
    expect(seen).toMatchObject({ status: "retrying", releases: 1, retries: 0, crashes: 0 })
    expect(await q.lease()).toEqual([])
    const { cause, why } = await q.why(task.id)
    expect([cause, why.replace(/[\d.]+ s\./, "… s.")]).toEqual([
      "backing_off",
      `Attempt 1 was released by its worker: ${NO_HANDLER}. The next one can start in … s.`,
    ])
    await q.becomeDue(task.id)
    expect(await q.lease()).toMatchObject([{ id: task.id, attempt: 2, releases: 1, retries: 0 }])
  })

  test("more than 100 times makes the task dead with the reason and the last error, also with pauses", async () => {
    await using q = await ServedQueue.open()
    const id = await q.submit()
    await q.direct.setField(id, "releases", 100)
    const [task] = await q.lease()
    await q.ack(task!, { status: "released", error: NO_HANDLER, retry_in_ms: 60_000 })
    expect(await q.task(id)).toMatchObject({ status: "dead", reason: "released", error: NO_HANDLER })
    const { body } = await q.ask("GET", `/dlq?queue=${q.queue}`)
    expect(body.tasks).toMatchObject([{ id, reason: "released", error: NO_HANDLER }])
  })

  test("with a pause beyond the task's expiry makes it dead at once", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased({ expires_in_ms: 30_000 })
    await q.ack(task, { status: "released", retry_in_ms: 60_000 })
    expect(await q.task(task.id)).toMatchObject({ status: "dead", reason: "expired" })
  })

  test("of a task that is being cancelled ends it", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased()
    await q.cancel(task.id)
    expect((await q.ack(task, { status: "released", retry_in_ms: 60_000 })).body.status).toBe("cancelled")
  })

  test("with a pause of 0 is like one without a pause", async () => {
    await using q = await ServedQueue.open()
    const task = await q.leased()
    await q.submit()
    await q.ack(task, { status: "released", retry_in_ms: 0 })
    expect(await q.lease()).toMatchObject([{ id: task.id }])
  })
})

test("during a rolling deployment old workers release a task of a new type, and a new worker runs it", async () => {
  await using q = await ServedQueue.open()
  const client = new Client({ url: q.broker.url, token: TOKEN })
  const lines: string[] = []
  const worker = (name: string, handlers: object) =>
    new TaskRunner({
      client,
      handlers: new Map(Object.entries({ ...BUILT_IN, ...handlers })),
      log: createLog("warn", line => lines.push(line), false),
      name,
      queues: [q.queue],
      concurrency: 2,
      drainMs: 1_000,
    })
  const old = worker("old", {})
  const id = await q.submit({ type: "new", max_retries: 0, max_crashes: 0 })
  const waits = async () => (await q.task(id)).status === "retrying"
  for (let count = 0; count < 3; ) {
    await until("it waits", waits)
    const { due_at, attempts, ...task } = await q.task(id)
    if (task.status !== "retrying") continue // on a slow machine the pause may be over already
    expect(due_at! - attempts.at(-1)!.ended_at!).toBe(1_000 * 2 ** (task.releases - 1))
    expect(task).toMatchObject({ retries: 0, crashes: 0 })
    expect(task.error).toStartWith(NO_HANDLER)
    count = task.releases
    if (count >= 3) await old.stop()
    await q.becomeDue(id)
  }
  expect(lines.filter(line => line.includes('"type":"new"'))).toHaveLength(1)
  const fresh = worker("fresh", { new: () => "done" })
  await until("it is done", async () => (await q.task(id)).status === "done")
  await fresh.stop()
})
