/** Validation: which member is wrong, and what would be right. */
import { describe, expect, test } from "bun:test"
import { Refused } from "../../lib/errors.ts"
import { checker, queryChecker } from "../../lib/http/validate.ts"
import { DlqQuery } from "../../lib/wire/dead-letters.ts"
import { TaskId } from "../../lib/wire/fields.ts"
import { Submit } from "../../lib/wire/submitting.ts"
import { Ack, GetQuery, LeaseRequest } from "../../lib/wire/working.ts"

function refusal(check: () => unknown): Refused["facts"] {
  try {
    check()
  } catch (error) {
    if (error instanceof Refused) {
      expect(error.reason).toBe("bad_request")
      return error.facts
    }
    throw error
  }
  throw new Error("It was not refused")
}

test.each([
  [
    Submit,
    {},
    "type",
    "`type` is missing: it must be a string of 1 to 200 characters (which handler runs it).",
  ],
  [Submit, { type: "" }, "type", "`type` must be a string of 1 to 200 characters (which handler runs it)."],
  [
    Submit,
    { type: "a", priority: 10 },
    "priority",
    "`priority` must be a whole number from 0 to 9 (9 goes first (default 5)).",
  ],
  [Submit, { type: "a", queue: "a b" }, "queue", "`queue` must be a string: 1 to 64 of A-Z a-z 0-9 . _ -."],
  [
    Submit,
    { type: "a", typo: 1 },
    "typo",
    `There is no such member; known are ${[
      ...["type", "payload", "queue", "priority", "max_retries", "max_crashes", "timeout_ms"],
      ...["max_runtime_ms", "expires_in_ms", "backoff", "result_ttl_ms", "meta", "traceparent", "tracestate"],
      ...["task_id", "unique_key", "on_duplicate", "run_at", "delay_ms"],
    ].join(", ")}.`,
  ],
  [Ack, { task_id: "a", status: "ok" }, "status", '`status` must be one of "done", "failed", "released".'],
  [
    LeaseRequest,
    { queues: ["a", ""] },
    "queues.1",
    "`queues.1` must be a string: 1 to 64 of A-Z a-z 0-9 . _ -.",
  ],
  [
    LeaseRequest,
    { queues: "a" },
    "queues",
    "`queues` must be a list of 1 to 100, each a string: 1 to 64 of A-Z a-z 0-9 . _ -.",
  ],
] as const)(
  "%#: a check says which member is wrong and what would be right",
  (schema, value, field, detail) => {
    expect(refusal(() => checker<typeof Submit>(schema as typeof Submit)(value))).toEqual({ field, detail })
  },
)

test("what is no object is told what the route takes, without naming a member", () => {
  for (const value of [null, 1, "a", [], undefined])
    expect(refusal(() => checker(Submit)(value))).toEqual({
      detail: "The body must be an object, or an array of 1 to 1,000 objects where the route takes many.",
    })
})

test("a name that the caller made up is only said again where it can be nothing but a name", () => {
  for (const name of ["<script>", "a b", "", "x".repeat(41), "é", "a\nb"])
    expect(refusal(() => checker(Submit)({ type: "a", [name]: 1 })).field).toBeUndefined()
})

test("a good value is given back itself, its payload untouched", () => {
  const value = { type: "a", payload: JSON.parse('{"__proto__":1}') }
  expect(checker(Submit)(value)).toBe(value)
  expect(checker(TaskId)("q:x")).toBe("q:x")
})

describe("a query", () => {
  const get = queryChecker(GetQuery)
  const read = (text: string) => ({ ...get(new URLSearchParams(text)) })

  test("has lists by commas and by repetition, and whole numbers", () => {
    expect(read("")).toEqual({})
    expect(read("queue=a,b&queue=c&wait_ms=0020&worker=1")).toEqual({
      queue: ["a", "b", "c"],
      wait_ms: 20,
      worker: "1",
    })
    expect({ ...queryChecker(DlqQuery)(new URLSearchParams("queue=1&limit=5")) }).toEqual({
      queue: "1",
      limit: 5,
    })
  })

  test.each([
    "wait_ms=1.0",
    "wait_ms=+1",
    "wait_ms= 1",
    "wait_ms=0x1",
    "wait_ms=1e1",
    "wait_ms=Infinity",
    "wait_ms=-0",
    `wait_ms=${"9".repeat(16)}`,
  ])("takes no other number: %s", text => expect(refusal(() => read(text)).field).toBe("wait_ms"))

  test("says a parameter twice only where it is a list", () => {
    expect(refusal(() => read("worker=a&worker=b"))).toEqual({
      field: "worker",
      detail: "A parameter of the query stands twice.",
    })
  })
})
