/** Bulk operations for tests: tasks to work on, and waiting for states of an operation. */
import { expect } from "bun:test"
import type { BulkRequest, BulkView } from "../../lib/wire/bulk.ts"
import type { LeasedTask } from "../../lib/wire/working.ts"
import { type TestBroker, until } from "./harness.ts"
import type { ServedQueue } from "./served-queue.ts"

export const startBulk = async (q: ServedQueue, request: BulkRequest): Promise<BulkView> => {
  const { status, body } = await q.ask("POST", "/bulk", request)
  expect([status, body]).toEqual([200, expect.anything()])
  return body
}

export const readBulk = async (broker: Pick<TestBroker, "call">, id: string): Promise<BulkView> =>
  (await (await broker.call("GET", `/bulk/${id}`)).json()) as BulkView

/** Waits until the operation is as `holds` says, and returns it. */
export async function bulkUntil(
  broker: Pick<TestBroker, "call">,
  id: string,
  holds: (view: BulkView) => boolean,
): Promise<BulkView> {
  let view: BulkView | undefined
  await until("the bulk operation is in the expected state", async () => {
    view = await readBulk(broker, id)
    return holds(view)
  }).catch(error => {
    throw new Error(`${error.message}: ${JSON.stringify(view)}`)
  })
  return view!
}

export const hasEnded = ({ ended_at }: BulkView) => ended_at !== undefined

/** Creates `count` dead tasks and returns their ids. */
export async function makeDead(
  q: ServedQueue,
  count: number,
  members: (i: number) => object = () => ({}),
): Promise<string[]> {
  const ids: string[] = []
  for (let from = 0; from < count; from += 1_000) {
    const some = Math.min(1_000, count - from)
    const tasks = Array.from({ length: some }, (_, i) => ({
      type: "t",
      queue: q.queue,
      max_retries: 0,
      ...members(from + i),
    }))
    const { body } = await q.ask("POST", "/submit", tasks)
    ids.push(...body.map(({ task_id }: { task_id: string }) => task_id))
    await settle(q, await leaseAll(q, some), "failed")
  }
  return ids
}

export async function leaseAll(q: ServedQueue, count: number): Promise<LeasedTask[]> {
  const leased: LeasedTask[] = []
  for (let some: LeasedTask[]; leased.length < count; leased.push(...some)) {
    some = await q.lease(1_000)
    if (some.length === 0) break
  }
  return leased
}

export async function settle(
  q: ServedQueue,
  tasks: readonly LeasedTask[],
  status: "done" | "failed",
): Promise<void> {
  if (tasks.length === 0) return
  const acks = tasks.map(({ id, lease }) => ({
    task_id: id,
    lease,
    ...(status === "failed" ? { status, error: "no route to 10.0.0.1" } : {}),
  }))
  await q.ask("POST", "/ack", acks)
}
