/** What the dashboard says about a task, and the pages of its lists. */
import { expect, test } from "bun:test"
import { loadTasks, readTasks } from "../../lib/dashboard/task-pages.ts"
import {
  failuresText,
  firstLineOf,
  hasCurrentError,
  progressOf,
  timeOf,
} from "../../lib/dashboard/task-words.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"

const task = (of: Partial<TaskView>) => ({ created_at: 1, ...of }) as TaskView & { payload: string }

test("failures are counted as failures, not as retries", () => {
  expect(failuresText({ retries: 3, max_retries: 2 })).toBe("3 failures, 2 retries allowed")
  expect(failuresText({ retries: 1, max_retries: 1 })).toBe("1 failure, 1 retry allowed")
  expect(failuresText({ retries: 0, max_retries: 0 })).toBe("0 failures, 0 retries allowed")
})

test("the error of an earlier attempt is not shown for a task that is done or runs again", () => {
  const error = "no"
  expect(
    ["done", "processing", "retrying", "queued", "dead", "cancelled"].filter(status =>
      hasCurrentError({ status: status as TaskView["status"], error }),
    ),
  ).toEqual(["retrying", "queued", "dead", "cancelled"])
})

test("a list shows the first line of an error, without its stack", () => {
  expect(firstLineOf("Error: no\n    at a (b.ts:1)\n    at c")).toBe("Error: no")
  expect(firstLineOf("\nError: no\r\n    at a")).toBe("Error: no")
  expect(firstLineOf("")).toBe("")
})

test("the time of a task is the one that matters in its state, with its name", () => {
  const times = { created_at: 1, due_at: 2, started_at: 3, finished_at: 4 }
  expect(timeOf(task({ ...times, status: "done" }))).toEqual({ what: "Finished", at: 4 })
  expect(timeOf(task({ created_at: 1, started_at: 3, status: "processing" }))).toEqual({
    what: "Started",
    at: 3,
  })
  expect(timeOf(task({ created_at: 1, started_at: 3, due_at: 5, status: "retrying" }))).toEqual({
    what: "Due",
    at: 5,
  })
  expect(timeOf(task({ created_at: 1, started_at: 3, status: "queued" }))).toEqual({
    what: "Submitted",
    at: 1,
  })
})

test("the list of delayed tasks has the scheduled and the retrying ones, on all pages", async () => {
  const lists: Record<string, number[]> = { scheduled: [1, 4, 5], retrying: [2, 3, 6, 7, 8] }
  const load = async (state: string, cursor = "0") => {
    const from = Number(cursor)
    const all = lists[state]!
    return {
      tasks: all.slice(from, from + 2).map(due => task({ id: `q:${due}`, due_at: due })),
      ...(all.length > from + 2 && { next: String(from + 2) }),
    }
  }
  const pages: string[] = []
  let cursor: string | undefined
  do {
    const { tasks, next } = await loadTasks(load, "delayed", cursor)
    pages.push(tasks.map(({ due_at }) => due_at).join(" "))
    cursor = next
  } while (cursor !== undefined)
  expect(pages).toEqual(["1 2 3 4", "5 6 7", "8"])
})

test("a filtered list looks at further pages until it finds a task", async () => {
  const load = async (_: string, cursor = "1") =>
    cursor === "3" ? { tasks: [task({ id: "q:1" })] } : { tasks: [], next: String(Number(cursor) + 1) }
  expect((await loadTasks(load, "queued")).tasks).toHaveLength(1)
})

test("payloads in a list keep all digits of their numbers", () => {
  const text =
    '{"tasks":[{"id":"q:1","payload":{"n":12345678901234567890},"type":"a"},{"id":"q:2","payload":1}],"next":"c"}'
  const { tasks, next } = readTasks(text)
  expect(tasks.map(({ id, payload }) => [id, payload])).toEqual([
    ["q:1", '{"n":12345678901234567890}'],
    ["q:2", "1"],
  ])
  expect(next).toBe("c")
  expect(readTasks('{"tasks":[]}')).toEqual({ tasks: [] })
})

test.each([
  [{ percent: 42, of: 60, eta_s: 35 }, 0.42],
  [{ done: 3, of: 4 }, 0.75],
  [{ current: 1, total: 2 }, 0.5],
  [0.3, 0.3],
  [30, 0.3],
  [{ percent: 140 }, 1],
  [{ done: 3 }, undefined],
  [{ done: 3, of: 0 }, undefined],
  ["half", undefined],
  [null, undefined],
])("progress %j is a bar at %p", (progress, part) => expect(progressOf(progress)).toBe(part as number))
