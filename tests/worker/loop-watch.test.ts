/** A handler that blocks the event loop is named in the worker's log. */
import { expect, test } from "bun:test"
import type { Handler } from "../../lib/handlers.ts"
import { FakeBroker } from "../support/fake-broker.ts"

const MESSAGE = "A handler blocked the event loop, or the process was suspended, so leases may have lapsed"
/** It may lapse after 600 ms without an extend. */
const LEASE_MS = 900

const blockFor = (ms: number) => Bun.sleepSync(ms)
const handlers: Record<string, Handler> = {
  atOnce: ms => blockFor(Number(ms)),
  later: async ms => {
    await Bun.sleep(1)
    blockFor(Number(ms))
    await Bun.sleep(1)
  },
  waits: (_, { signal }) => new Promise(resolve => signal.addEventListener("abort", () => resolve(1))),
}

/** Lines about a blocked loop. */
const reports = (broker: FakeBroker) =>
  broker.lines.map(line => JSON.parse(line)).filter(({ message }) => message === MESSAGE)

test("with its task and the duration, if it blocks before it first awaits something", async () => {
  await using broker = new FakeBroker()
  broker.task({ type: "waits", timeout_ms: 60_000 })
  const { id } = broker.task({ type: "atOnce", payload: 1_000, timeout_ms: LEASE_MS, queue: "q" })
  broker.worker(handlers)
  await broker.until(() => reports(broker).length > 0)
  expect(reports(broker)[0]).toMatchObject({ level: "warn", task_id: id, type: "atOnce", queue: "q" })
  expect(reports(broker)[0].blocked_ms).toBeWithin(700, 60_000)
})

test("with the types that were running, if it blocks later", async () => {
  await using broker = new FakeBroker()
  for (const type of ["waits", "waits"]) broker.task({ type, timeout_ms: 60_000 })
  broker.task({ type: "later", payload: 1_000, timeout_ms: LEASE_MS })
  broker.worker(handlers)
  await broker.until(() => reports(broker).length > 0)
  const [{ types, type, blocked_ms }] = reports(broker)
  expect(types ?? [type]).toContain("later")
  expect(blocked_ms).toBeWithin(700, 60_000)
})

test("also if its lease was not the one at risk", async () => {
  await using broker = new FakeBroker()
  broker.task({ type: "waits", timeout_ms: LEASE_MS })
  broker.task({ type: "atOnce", payload: 1_000, timeout_ms: 60_000 })
  broker.worker(handlers)
  await broker.until(() => reports(broker).length > 0)
  expect(reports(broker)[0]).toMatchObject({ type: "atOnce" })
})

test("and not if it only takes long", async () => {
  await using broker = new FakeBroker()
  broker.task({ type: "sleep", payload: { ms: 500 }, timeout_ms: 60_000 })
  broker.task({ type: "atOnce", payload: 300, timeout_ms: 60_000 })
  broker.worker(handlers)
  await broker.until(() => broker.acks.length === 2)
  await Bun.sleep(300)
  expect(reports(broker)).toEqual([])
})
