/** What a broker counts between two entries in the history: its bounds, and tasks whose types it does not know. */
import { expect, test } from "bun:test"
import { Activity } from "../../lib/observe/activity.ts"

test("a task is counted under the type with which it was leased", () => {
  const activity = new Activity()
  activity.recordSubmitted("q", "mail")
  activity.recordLeased("q", "q:1", "mail", 40)
  activity.recordOutcome("q", "q:1", "failed", 7)
  activity.recordOutcome("q", "q:1", "dead")
  activity.forgetType("q:1")
  activity.recordOutcome("q", "q:1", "done", 9)
  const { queues, unknown, stride } = activity.take()
  expect(queues.get("q")!.types.get("mail")).toMatchObject({ submitted: 1, failed: 1, dead: 1, done: 0 })
  expect(queues.get("q")!.untyped).toMatchObject({ done: 1 })
  expect([unknown, stride]).toEqual([[{ queue: "q", id: "q:1", outcome: "done", ranMs: 9 }], 1])
  expect(activity.take().queues.size).toBe(0)
})

test("queues beyond the first 1,000 are counted together, and nothing is lost", () => {
  const activity = new Activity()
  for (let i = 0; i < 3_000; i++) activity.recordSubmitted(`q${i % 1_500}`, "t")
  const { queues } = activity.take()
  expect(queues.size).toBe(1_001)
  expect(queues.get("")!.types.get("t")!.submitted).toBe(1_000)
})

test("types beyond the first 2,000 of all queues are counted without their type", () => {
  const activity = new Activity()
  for (let i = 0; i < 5_000; i++) activity.recordSubmitted(`q${i % 2}`, `type ${i}`)
  const { queues } = activity.take()
  expect([...queues.values()].reduce((sum, { types }) => sum + types.size, 0)).toBe(2_000)
  expect([...queues.values()].reduce((sum, { untyped }) => sum + untyped.submitted, 0)).toBe(3_000)
})

test("of many tasks of unknown types a part is looked up, which stands for all", () => {
  const activity = new Activity()
  for (let i = 0; i < 50_000; i++) activity.recordOutcome("q", `q:${i}`, "done", 5)
  const { queues, unknown, stride } = activity.take()
  expect(queues.get("q")!.untyped.done).toBe(50_000)
  expect(unknown.length).toBeWithin(1_000, 2_001)
  expect(unknown.length * stride).toBeWithin(49_000, 51_001)
  // Each part of the time is represented alike.
  const half = unknown.filter(({ id }) => Number(id.slice(2)) < 25_000).length
  expect(half / unknown.length).toBeWithin(0.45, 0.55)
})

test("the types of leased tasks that nobody acks do not fill the memory", () => {
  const activity = new Activity()
  for (let i = 0; i < 30_000; i++) activity.recordLeased("q", `q:${i}`, "t", undefined)
  activity.recordOutcome("q", "q:0", "done", 1)
  activity.recordOutcome("q", "q:29999", "done", 1)
  expect(activity.take().unknown.map(({ id }) => id)).toEqual(["q:0"])
})
