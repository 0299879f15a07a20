/** What turns bytes into values without Redis: members cut out of JSON, checks and their texts, configuration. */
import { describe, expect, test } from "bun:test"
import { ConfigError, type Env, readBrokerConfig, readWorkerConfig } from "../../lib/config/config.ts"
import { Refused } from "../../lib/errors.ts"
import { checker, queryChecker } from "../../lib/http/validate.ts"
import { DlqQuery } from "../../lib/wire/dead-letters.ts"
import { TaskId } from "../../lib/wire/fields.ts"
import { memberTexts } from "../../lib/wire/json-text.ts"
import { Submit } from "../../lib/wire/submitting.ts"
import { Ack, GetQuery, LeaseRequest } from "../../lib/wire/working.ts"

// ── lib/wire/json-text.ts ──────────────────────────────────────────────────────────────────────────────────────────────

const pick = <T>(from: readonly T[]): T => from[Math.floor(Math.random() * from.length)]!
const below = (n: number) => Math.floor(Math.random() * n)
const space = () =>
  Array.from({ length: below(4) ? 0 : below(3) + 1 }, () => pick([" ", "\n", "\r", "\t"])).join("")

const SCRAPS = [
  "a",
  "payload",
  '\\"',
  "\\\\",
  "\\/",
  "\\u0022",
  "\\ud800",
  "\\n",
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  "é",
  "😀",
  "\u2028",
  " ",
  "\\u005c",
  "\\u0070",
]
const string = () => `"${Array.from({ length: below(6) }, () => pick(SCRAPS)).join("")}"`
const number = () => pick(["0", "-0", "1.0", "12345678901234567890", "1e400", "-1E-7", "1e+2", "0.10"])

/** The text of some JSON value, spelt as few serializers would spell it. */
function value(depth: number): string {
  const kind = below(depth > 0 ? 7 : 5)
  if (kind === 0) return string()
  if (kind < 3) return number()
  if (kind === 3) return pick(["true", "false", "null"])
  if (kind === 4) return pick(["{}", "[]", `{${space()}}`, `[${space()}]`])
  if (kind === 5) return `[${list(below(4), () => value(depth - 1))}]`
  return object(depth - 1, below(4)).text
}

const list = (count: number, item: () => string) =>
  Array.from({ length: count }, () => space() + item() + space()).join(",") || space()

/** "payload", in one of the many ways to write it. */
const spelt = (name: string) =>
  `"${[...name].map(char => (below(5) ? char : `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`)).join("")}"`

/** The text of an object, and of its last member named payload. */
function object(depth: number, members: number): { text: string; payload: string | undefined } {
  let payload: string | undefined
  const text = list(members, () => {
    const isPayload = below(3) === 0
    const text = value(depth)
    if (isPayload) payload = text
    const name = isPayload
      ? spelt("payload")
      : pick(['"a"', '"Payload"', '"payload "', '"pay\\\\load"', '""', '"payload\\""'])
    return `${name}${space()}:${space()}${text}`
  })
  return { text: `{${text}}`, payload }
}

const whole = (text: string) => space() + text + space()

test("the member's text is found in any object, however it is written", () => {
  for (let i = 0; i < 5_000; i++) {
    const { text, payload } = object(3, below(6))
    const body = whole(text)
    expect([body, memberTexts(body, "payload")]).toEqual([body, [payload]])
    const parsed = JSON.parse(body) as Record<string, unknown>
    expect([body, payload === undefined ? undefined : JSON.parse(payload)]).toEqual([body, parsed.payload])
  }
})

test("one text for each item of an array, in order, whatever else stands in it", () => {
  for (let i = 0; i < 2_000; i++) {
    const items = Array.from({ length: below(6) }, () =>
      below(4) ? object(2, below(4)) : { text: value(2), payload: undefined },
    )
    const scalars = items.map(item => (item.text.startsWith("{") ? item : { ...item, payload: undefined }))
    const body = whole(`[${scalars.map(({ text }) => whole(text)).join(",") || space()}]`)
    const parsed = JSON.parse(body) as unknown[]
    const found = memberTexts(body, "payload")
    expect([body, found.length]).toEqual([body, parsed.length])
    const isObject = (item: unknown) => typeof item === "object" && item !== null && !Array.isArray(item)
    const wanted = parsed.map(item =>
      isObject(item) ? (item as Record<string, unknown>).payload : undefined,
    )
    expect([body, found.map(text => (text === undefined ? undefined : JSON.parse(text)))]).toEqual([
      body,
      wanted,
    ])
  }
})

test.each([
  ['{"payload":1}', ["1"]],
  ['{"payload":{"payload":2}}', ['{"payload":2}']],
  ['{"a":{"payload":2}}', [undefined]],
  ['{"a":"\\\\","payload":"\\\\\\""}', ['"\\\\\\""']],
  ['{"__proto__":{"payload":1}}', [undefined]],
  ['{"payload":1,"payload":2}', ["2"]],
  ['{"payload":-0}', ["-0"]],
  ['{"payload":true }', ["true"]],
  ["{}", [undefined]],
  ["[]", []],
  ["[ ]", []],
  [
    '["payload",{"payload":[1,{}]},[{"payload":1}],null,1]',
    [undefined, "[1,{}]", undefined, undefined, undefined],
  ],
])("of %s the texts are %j", (text, texts) => {
  expect(memberTexts(text, "payload")).toEqual(texts)
})

test("depth and length cost no stack and no more than their length", () => {
  const deep = "[".repeat(400_000) + "]".repeat(400_000)
  const began = performance.now()
  expect(memberTexts(`{"payload":${deep}}`, "payload")).toEqual([deep])
  const slashes = `"${"\\\\".repeat(400_000)}"`
  expect(memberTexts(`{"payload":${slashes}}`, "payload")).toEqual([slashes])
  const quotes = `"${'\\"'.repeat(400_000)}"`
  expect(memberTexts(`{"payload":${quotes}}`, "payload")).toEqual([quotes])
  expect(performance.now() - began).toBeLessThan(2_000)
})

// ── lib/http/validate.ts ─────────────────────────────────────────────────────────────────────────────────────────────

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

// ── lib/config/config.ts ────────────────────────────────────────────────────────────────────────────────────────────

function problems(read: (env: Env) => unknown, env: Env): readonly string[] {
  try {
    read(env)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

test("with nothing set a broker has its defaults, runs Redis itself and makes its token", () => {
  expect(readBrokerConfig({})).toMatchObject({
    port: 5000,
    redisUrl: undefined,
    apiToken: undefined,
    dataDir: ".data",
    visibilityTimeoutMs: 30_000,
    maxRetries: 3,
    maxCrashes: 3,
    doneRetentionMs: 86_400_000,
    deadRetentionMs: 14 * 86_400_000,
    maxBodyBytes: 1_048_576,
    logLevel: "info",
  })
})

test("with nothing set a worker asks the broker of its machine", () => {
  expect(readWorkerConfig({})).toMatchObject({
    brokerUrl: "http://localhost:5000",
    apiToken: undefined,
    queues: ["default"],
    concurrency: 10,
    handlers: undefined,
    drainMs: 20_000,
    logLevel: "info",
  })
})

test("configuration is frozen, and the same for the same variables", () => {
  const env = { PORT: "1", API_SECRET_TOKEN: "t", REDIS_URL: "redis://h" }
  expect(readBrokerConfig(env)).toEqual(readBrokerConfig(env))
  expect(Object.isFrozen(readBrokerConfig(env))).toBeTrue()
  expect(Object.isFrozen(readWorkerConfig({}))).toBeTrue()
  expect(env).toEqual({ PORT: "1", API_SECRET_TOKEN: "t", REDIS_URL: "redis://h" })
})

test("an empty variable counts as one that is not set", () => {
  const empty = {
    PORT: "",
    REDIS_URL: "",
    REDIS_HOST: "",
    API_SECRET_TOKEN: "",
    LOG_LEVEL: "",
    QUEUES: "",
    BROKER_URL: "",
  }
  expect(readBrokerConfig(empty)).toEqual(readBrokerConfig({}))
  expect(readWorkerConfig(empty)).toEqual(readWorkerConfig({}))
})

test("a broker is told of all bad variables at once, each with what would be right", () => {
  const found = problems(readBrokerConfig, {
    PORT: "65536",
    REDIS_URL: "http://x",
    REDIS_PORT: "0",
    API_SECRET_TOKEN: "two words",
    VISIBILITY_TIMEOUT_MS: "99",
    MAX_RETRIES: "-1",
    MAX_CRASHES: "1.5",
    DONE_RETENTION_MS: "1d",
    DEAD_RETENTION_MS: "1e3",
    MAX_BODY_BYTES: "1",
    SHUTDOWN_MS: " 5",
    REDIS_TIMEOUT_MS: "0x100",
    LOG_LEVEL: "loud",
  })
  expect(found.map(line => line.split(" ")[0]).sort()).toEqual(
    [
      "API_SECRET_TOKEN",
      "DEAD_RETENTION_MS",
      "DONE_RETENTION_MS",
      "LOG_LEVEL",
      "MAX_BODY_BYTES",
      "MAX_CRASHES",
      "MAX_RETRIES",
      "PORT",
      "REDIS_PORT",
      "REDIS_TIMEOUT_MS",
      "REDIS_URL",
      "SHUTDOWN_MS",
      "VISIBILITY_TIMEOUT_MS",
    ].sort(),
  )
  expect(found).toContain("PORT must be a whole number from 0 to 65535")
  expect(found).toContain("LOG_LEVEL must be one of debug, info, warn, error, silent")
  expect(new ConfigError(found).message.split("\n")).toHaveLength(found.length + 1)
})

test("a worker is told of all bad variables at once", () => {
  const found = problems(readWorkerConfig, {
    BROKER_URL: "localhost:5000",
    API_SECRET_TOKEN: "tökén",
    QUEUES: "a,b c",
    WORKER_NAME: "a/b",
    CONCURRENCY: "0",
    DRAIN_MS: "-1",
    LOG_LEVEL: "LOUD",
  })
  expect(found.map(line => line.split(" ")[0]).sort()).toEqual(
    [
      "API_SECRET_TOKEN",
      "BROKER_URL",
      "CONCURRENCY",
      "DRAIN_MS",
      "LOG_LEVEL",
      "QUEUES",
      "WORKER_NAME",
    ].sort(),
  )
})

test("what is secret is not repeated by what says that it is wrong", () => {
  const secret = { API_SECRET_TOKEN: "s3cret token", REDIS_URL: "http://user:s3cret@host" }
  for (const line of problems(readBrokerConfig, secret)) expect(line).not.toContain("s3cret")
})

test("a Redis of one's own needs a token of one's own", () => {
  for (const env of [{ REDIS_URL: "redis://h" }, { REDIS_HOST: "h" }])
    expect(problems(readBrokerConfig, env)).toEqual([
      expect.stringMatching(/^API_SECRET_TOKEN must be set .*openssl rand/),
    ])
})

test("the address of Redis may be a URL, a socket, or the host that the original read", () => {
  const url = (env: Env) => readBrokerConfig({ API_SECRET_TOKEN: "t", ...env }).redisUrl
  expect(url({ REDIS_HOST: "h" })).toBe("redis://h:6379")
  expect(url({ REDIS_HOST: "h", REDIS_PORT: "1" })).toBe("redis://h:1")
  expect(url({ REDIS_HOST: "h", REDIS_URL: "rediss://other" })).toBe("rediss://other")
  expect(url({ REDIS_URL: "/run/redis.sock" })).toBe("/run/redis.sock")
  expect(url({ REDIS_URL: "unix:///run/redis.sock" })).toBe("unix:///run/redis.sock")
})

test("queues are named with commas, and spaces beside them do not matter", () => {
  expect(readWorkerConfig({ QUEUES: "a, b ,c" }).queues).toEqual(["a", "b", "c"])
  for (const QUEUES of [",", "a,", "a,,b", Array(101).fill("a").join(",")])
    expect(problems(readWorkerConfig, { QUEUES })).toHaveLength(1)
})
