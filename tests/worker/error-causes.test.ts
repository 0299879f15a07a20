/** The error of a failed task: what it was caused by, and the frames of the handler. */
import { expect, test } from "bun:test"
import { runInNewContext } from "node:vm"
import { patternOf } from "../../lib/queue/fingerprint.ts"
import { formatError, runHandler } from "../../lib/worker/run-handler.ts"

test("an error names its causes, level by level", () => {
  const inner = new Error("no route", { cause: "cable" })
  const outer = new Error("save failed", {
    cause: new TypeError("connection refused by db", { cause: inner }),
  })
  const text = formatError(outer, 0)
  expect(text.split("\n")).toEqual([
    "Error: save failed",
    "caused by TypeError: connection refused by db",
    "caused by Error: no route",
    "caused by thrown: cable",
  ])
})

test("an AggregateError names its errors and their causes", async () => {
  const both = Promise.any([
    Promise.reject(new Error("first", { cause: new Error("deep") })),
    Promise.reject(new Error("second")),
  ])
  const text = formatError(await both.catch(error => error), 0)
  expect(text).toContain(
    "one of its errors: Error: first\ncaused by Error: deep\none of its errors: Error: second",
  )
})

test("a cause that refers to itself ends, and so does a long list", () => {
  const a = new Error("a")
  const b = new Error("b", { cause: a })
  a.cause = b
  expect(formatError(a, 0)).toBe("Error: a\ncaused by Error: b")
  const many = new AggregateError(Array.from({ length: 1_000 }, (_, i) => new Error(`e${i}`)))
  expect(formatError(many, 0).split("\n").length).toBeLessThan(20)
  const bad = new Error("bad")
  Object.defineProperty(bad, "cause", {
    get() {
      throw new Error("no")
    },
  })
  expect(formatError(bad, 0)).toBe("Error: bad")
})

test("a long message does not hide its causes", () => {
  const long = new Error("x".repeat(100_000), {
    cause: new Error("y".repeat(100_000), { cause: "disk full" }),
  })
  const text = formatError(long)
  expect(text).toContain("\ncaused by thrown: disk full")
  expect(text.length).toBeLessThanOrEqual(4_000)
})

test("dead tasks are grouped by their causes, however long the paths of the frames are", () => {
  const failed = (cause: string) => {
    const error = new Error("save failed", { cause: new Error(cause) })
    error.stack = `Error: save failed${`\n    at save (/srv/${"folder/".repeat(100)}save.ts:1:1)`.repeat(9)}`
    return patternOf(formatError(error))
  }
  expect(failed("disk full")).not.toBe(failed("connection refused"))
  expect(failed("row 12 is locked")).toBe(failed("row 34 is locked"))
})

test("a SuppressedError names both of its errors", () => {
  const text = formatError(new SuppressedError(new Error("close failed"), new Error("work failed")), 0)
  expect(text).toBe("SuppressedError: \ncaused by Error: close failed\nsuppressed: Error: work failed")
})

test("errors without the class Error have causes too", () => {
  const causeOf = { message: "no Error", cause: new Error("inner") }
  expect(formatError(causeOf)).toEndWith("\ncaused by Error: inner")
  const foreign = runInNewContext('new Error("foreign", { cause: new TypeError("inner") })')
  expect(formatError(foreign, 0)).toBe("Error: foreign\ncaused by TypeError: inner")
  const byField = Object.assign(new Error("invalid"), { errors: { name: new Error("is required") } })
  expect(formatError(byField, 0)).toBe("Error: invalid\none of its errors: Error: is required")
})

test("an error without a message shows its code", () => {
  const error = Object.assign(new AggregateError([new Error("::1 refused")]), { code: "ECONNREFUSED" })
  expect(formatError(error, 0)).toBe("AggregateError: ECONNREFUSED\none of its errors: Error: ::1 refused")
})

test("an error has the frames of the handler, none of the worker, and none twice", async () => {
  const errorOf = async (handler: () => unknown) => {
    const context = { task: { type: "mail" } } as Parameters<typeof runHandler>[2]
    const outcome = await runHandler(new Map([["mail", handler]]), {}, context)
    return (outcome as { error: string }).error
  }
  const inHandler = await errorOf(() => {
    throw new Error("no route")
  })
  expect(inHandler).toStartWith("Error: no route\n")
  expect(inHandler).toContain("error-causes.test.ts")
  expect(inHandler).not.toContain("run-handler.ts")
  const inner = new Error("no route")
  const repeated = await errorOf(() => {
    throw new Error(`giving up: ${inner.stack}`)
  })
  expect(repeated.split("\n").filter(line => /^\s+at /.test(line)).length).toBe(
    inner.stack!.split("\n").filter(line => /^\s+at /.test(line)).length,
  )
})
