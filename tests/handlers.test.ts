import { describe, expect, test } from "bun:test"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Fatal, type Handler, loadHandlers, RetryIn } from "../lib/handlers.ts"
import { FakeBroker } from "./support/fake-broker.ts"

describe("outcomes", () => {
  test("a result is sent with the lease of its attempt", async () => {
    await using broker = new FakeBroker()
    const task = broker.task({ payload: { hello: ["world", null] } })
    broker.worker()
    await broker.until(() => broker.acks.length === 1)
    expect(broker.acks).toEqual([
      { task_id: task.id, lease: task.lease, status: "done", result: { hello: ["world", null] } },
    ])
  })

  test("a handler that returns nothing leaves no result", async () => {
    await using broker = new FakeBroker()
    broker.task({ type: "quiet" })
    broker.worker({ quiet: () => {} })
    await broker.until(() => broker.acks.length === 1)
    expect(broker.acks[0]).not.toHaveProperty("result")
  })

  test("a task of an unknown type is released with the list of known types, and a pause that grows", async () => {
    await using broker = new FakeBroker()
    const releases = [undefined, 1, 2, 5, 6, 99]
    for (const count of releases) broker.task({ type: "constructor", ...(count && { releases: count }) })
    broker.worker({ mail: () => {} })
    await broker.until(() => broker.acks.length === releases.length)
    for (const { status, error, retry } of broker.acks)
      expect({ status, error, retry }).toEqual({
        status: "released",
        error: 'this worker has no handler for type "constructor"; it knows echo, add, sleep, fail, mail',
        retry: undefined,
      })
    expect(broker.acks.map(ack => ack.retry_in_ms).sort((a, b) => a! - b!)).toEqual([
      1_000, 2_000, 4_000, 32_000, 60_000, 60_000,
    ])
  })

  test("unknown types are logged once each", async () => {
    await using broker = new FakeBroker()
    for (const type of ["new", "new", "newer", "new", "newer", "new"]) broker.task({ type })
    broker.worker()
    await broker.until(() => broker.acks.length === 6)
    const lines = broker.lines.filter(line => line.includes("unknown type"))
    expect(lines).toHaveLength(2)
    for (const [i, type] of ["new", "newer"].entries()) expect(lines[i]).toContain(`"type":"${type}"`)
  })

  test.each<[string, () => unknown, RegExp]>([
    [
      "throws an error",
      () => {
        throw new TypeError("no such address")
      },
      /^TypeError: no such address\n\s+at /,
    ],
    ["rejects", () => Promise.reject(new Error("later")), /^Error: later/],
    [
      "throws a string",
      () => {
        throw "plain"
      },
      /^thrown: plain$/,
    ],
    [
      "throws nothing",
      () => {
        throw undefined
      },
      /^thrown: undefined$/,
    ],
    [
      "throws what throws",
      () => {
        throw new Proxy(
          {},
          {
            get() {
              throw new Error()
            },
          },
        )
      },
      /cannot be shown/,
    ],
    [
      "throws a novel",
      () => {
        throw new Error("x".repeat(100_000))
      },
      /^Error: x{1,4000}$/,
    ],
    ["gives back a bigint", () => 1n, /cannot be written as JSON: TypeError/],
    ["gives back a function", () => () => {}, /cannot be written as JSON: it is a function$/],
    [
      "gives back a circle",
      () => {
        const circle: unknown[] = []
        circle.push(circle)
        return circle
      },
      /cannot be written as JSON/,
    ],
  ])("a handler that %s fails its task, and says why", async (_, handler, error) => {
    await using broker = new FakeBroker()
    broker.task({ type: "it" })
    broker.worker({ it: handler })
    await broker.until(() => broker.acks.length === 1)
    expect(broker.acks[0]!.status).toBe("failed")
    expect(broker.acks[0]!.error).toMatch(error)
  })
})

describe("what a handler throws decides about the next attempt", () => {
  test.each<[string, Error, object]>([
    ["Fatal", new Fatal("no such customer"), { retry: false }],
    ["RetryIn", new RetryIn(1_500.4, "rate limited"), { retry_in_ms: 1_500 }],
    ["RetryIn with a time that is none", new RetryIn(Number.NaN), { retry_in_ms: 0 }],
  ])("%s", async (_, thrown, rest) => {
    await using broker = new FakeBroker()
    const { id, lease } = broker.task({ type: "it" })
    broker.worker({ it: () => Promise.reject(thrown) })
    await broker.until(() => broker.acks.length === 1)
    const error = expect.stringContaining(`${thrown.name}: ${thrown.message}`)
    expect(broker.acks).toEqual([{ task_id: id, lease, status: "failed", error, ...rest }])
  })
})

describe("the module that HANDLERS names", () => {
  test("adds to the built-in handlers and overrides them; an invalid one is refused with the reason", async () => {
    const dir = await mkdtemp(join(tmpdir(), "handlers-"))
    try {
      const file = async (name: string, text: string) => {
        await writeFile(join(dir, name), text)
        return join(dir, name)
      }
      const good = await loadHandlers(
        await file("good.ts", "export default { echo: () => 'mine', other: () => 1 }"),
      )
      expect([...good.keys()]).toEqual(["echo", "add", "sleep", "fail", "other"])
      expect(await (good.get("echo") as Handler)(1, {} as never)).toBe("mine")
      const named = await loadHandlers(
        await file("named.ts", "export const handlers = new Map([['a', () => 1]])"),
      )
      expect(named.has("a")).toBe(true)
      for (const [name, text, wrong] of [
        ["empty.ts", "export {}", "exports no handlers"],
        ["function.ts", "export default () => 1", "exports no handlers"],
        ["text.ts", "export default { mail: 'text' }", 'something other than a function for "mail"'],
        ["broken.ts", "throw new Error('not today')", "could not be loaded: not today"],
      ] as const)
        await expect(loadHandlers(await file(name, text))).rejects.toThrow(wrong)
      await expect(loadHandlers(join(dir, "none.ts"))).rejects.toThrow("could not be loaded")
    } finally {
      await rm(dir, { recursive: true })
    }
  })
})
