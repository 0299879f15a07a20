/** Validation: which members are invalid, and what would be valid. */
import { describe, expect, test } from "bun:test"
import { Refused } from "../../lib/errors.ts"
import { suggestionFor } from "../../lib/http/suggestion.ts"
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
    "`type` is missing: it must be a string of 1 to 200 characters: the name of the handler that runs the task.",
  ],
  [
    Submit,
    { type: "" },
    "type",
    "`type` must be a string of 1 to 200 characters: the name of the handler that runs the task.",
  ],
  [
    Submit,
    { type: "a", priority: 10 },
    "priority",
    "`priority` must be a whole number from 0 to 9: 9 is leased first (default 5).",
  ],
  [
    Submit,
    { type: "a", queue: "a b" },
    "queue",
    '`queue` must be a string: 1 to 64 characters from A-Z a-z 0-9 . _ -, and not "." or "..".',
  ],
  [
    Submit,
    { type: "a", colour: 1 },
    "colour",
    `Unknown member \`colour\`. Known members: ${[
      ...["type", "payload", "queue", "priority", "max_retries", "max_crashes", "timeout_ms"],
      ...[
        "max_runtime_ms",
        "expires_in_ms",
        "backoff",
        "result_ttl_ms",
        "group",
        "meta",
        "redact",
        "traceparent",
        "tracestate",
      ],
      ...["task_id", "unique_key", "on_duplicate", "run_at", "delay_ms"],
    ].join(", ")}.`,
  ],
  [Ack, { task_id: "a", status: "ok" }, "status", '`status` must be one of "done", "failed", "released".'],
  [
    LeaseRequest,
    { queues: ["a", ""] },
    "queues.1",
    '`queues.1` must be a string: 1 to 64 characters from A-Z a-z 0-9 . _ -, and not "." or "..".',
  ],
  [
    LeaseRequest,
    { queues: "a" },
    "queues",
    '`queues` must be a list of 1 to 100 items, each a string: 1 to 64 characters from A-Z a-z 0-9 . _ -, and not "." or "..".',
  ],
] as const)(
  "%#: a check names the invalid member and says what would be valid",
  (schema, value, field, detail) => {
    expect(refusal(() => checker<typeof Submit>(schema as typeof Submit)(value))).toEqual({
      field,
      detail,
      errors: [{ field, detail }],
    })
  },
)

test("a value that is not an object is refused without naming a member", () => {
  const detail =
    "The body, or each item of an array, must be an object. Only /submit, /ack and /extend take an array."
  for (const value of [null, 1, "a", [], undefined])
    expect(refusal(() => checker(Submit)(value))).toEqual({ detail, errors: [{ detail }] })
})

test("the name of an unknown member is repeated only if it is a plain name", () => {
  for (const name of ["<script>", "a b", "", "x".repeat(41), "é", "a\nb"])
    expect(refusal(() => checker(Submit)({ type: "a", [name]: 1 })).field).toBeUndefined()
})

test("a valid value is returned as it is, with its payload untouched", () => {
  const value = { type: "a", payload: JSON.parse('{"__proto__":1}') }
  expect(checker(Submit)(value)).toBe(value)
  expect(checker(TaskId)("q:x")).toBe("q:x")
})

describe("a query", () => {
  const get = queryChecker(GetQuery)
  const read = (text: string) => ({ ...get(new URLSearchParams(text)) })

  test("has lists separated by commas or repeated, and whole numbers", () => {
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
  ])("refuses any other number: %s", text => expect(refusal(() => read(text)).field).toBe("wait_ms"))

  test("has a parameter twice only if it is a list", () => {
    const fault = { field: "worker", detail: "This parameter must not appear more than once in the query." }
    expect(refusal(() => read("worker=a&worker=b"))).toEqual({ ...fault, errors: [fault] })
  })

  test("reports every fault, repeated parameters first", () => {
    const { field, errors } = refusal(() => read("worker=a&worker=b&wait_ms=x&limt=1"))
    expect(field).toBe("worker")
    expect(errors!.map(fault => fault.field)).toEqual(["worker", "limt", "wait_ms"])
  })
})

test("every invalid member is reported once, and the first also as field and detail", () => {
  const { field, detail, errors } = refusal(() =>
    checker(Submit)({ priority: 10, queue: "a b", backoff: { kind: "x", delay_ms: 0 }, typo: 1 }),
  )
  expect(errors!.map(fault => fault.field).sort()).toEqual(
    ["type", "typo", "priority", "queue", "backoff.kind", "backoff.delay_ms"].sort(),
  )
  expect(errors![0]).toEqual({ field: field!, detail: detail! })
})

test("a fault of a nested member names the whole path", () => {
  const fieldsOf = (submit: object) => refusal(() => checker(Submit)({ type: "a", ...submit })).errors
  expect(fieldsOf({ backoff: { kind: "fixed", delay_ms: 1, max: 5 } })).toEqual([
    {
      field: "backoff.max",
      detail: "Unknown member `backoff.max`: did you mean `backoff.max_ms`?",
    },
  ])
  for (const meta of [{ "a b": "x" }, { ["k".repeat(41)]: "x" }])
    expect(fieldsOf({ meta })).toEqual([
      { field: "meta", detail: expect.stringContaining("up to 16 labels") },
    ])
})

test("at most ten faults are reported", () => {
  const unknown = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`unknown_${i}`, i]))
  expect(refusal(() => checker(Submit)({ type: "a", ...unknown })).errors).toHaveLength(10)
})

test("absent members take their defaults, and present ones keep their value", () => {
  const check = checker(LeaseRequest, { max: 1, wait_ms: 0 })
  expect(check({ max: 5 })).toEqual({ max: 5, wait_ms: 0 })
  expect(() => check({ max: 0 })).toThrow(Refused)
})

test.each([
  ["maxRetries", "max_retries"],
  ["max-retries", "max_retries"],
  ["max_retry", "max_retries"],
  ["timeout", "timeout_ms"],
  ["paylaod", "payload"],
  ["Queue", "queue"],
  ["retries", "max_retries"],
  ["id", "task_id"],
  ["unique", "unique_key"],
  ["expires", "expires_in_ms"],
  ["max", undefined],
  ["data", undefined],
  ["zzz", undefined],
  ["script", undefined],
  ["", undefined],
  ["x".repeat(10_000), undefined],
])("the unknown member %p suggests %p", (name, suggestion) => {
  expect(suggestionFor(name, Object.keys(Submit.properties))).toBe(suggestion as string)
})

test("a refusal names the unknown member and the suggestion", () => {
  const { detail } = refusal(() => checker(Submit)({ type: "a", maxRetries: 1 }))
  expect(detail).toBe("Unknown member `maxRetries`: did you mean `max_retries`?")
})
