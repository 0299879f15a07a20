/** Members cut out of JSON as text, without parsing it. */
import { expect, test } from "bun:test"
import { memberTexts } from "../../lib/wire/json-text.ts"

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

/** A random JSON value, written in unusual but valid ways. */
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

/** A name as a JSON string, with some characters as escapes. */
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

test("a member is found in any object, however its name is written", () => {
  for (let i = 0; i < 5_000; i++) {
    const { text, payload } = object(3, below(6))
    const body = whole(text)
    expect([body, memberTexts(body, "payload")]).toEqual([body, [payload]])
    const parsed = JSON.parse(body) as Record<string, unknown>
    expect([body, payload === undefined ? undefined : JSON.parse(payload)]).toEqual([body, parsed.payload])
  }
})

test("an array gives one text per item, in order, whatever the items are", () => {
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
])("%s gives %j", (text, texts) => {
  expect(memberTexts(text, "payload")).toEqual(texts)
})

test("deep and long texts need no stack and only linear time", () => {
  const deep = "[".repeat(400_000) + "]".repeat(400_000)
  const began = performance.now()
  expect(memberTexts(`{"payload":${deep}}`, "payload")).toEqual([deep])
  const slashes = `"${"\\\\".repeat(400_000)}"`
  expect(memberTexts(`{"payload":${slashes}}`, "payload")).toEqual([slashes])
  const quotes = `"${'\\"'.repeat(400_000)}"`
  expect(memberTexts(`{"payload":${quotes}}`, "payload")).toEqual([quotes])
  expect(performance.now() - began).toBeLessThan(20_000)
})
