/** The ways to change a request: its values, text, query, headers and path. */
import type { Chance } from "../faults/seed.ts"
import { TOKEN } from "../support/harness.ts"
import { MARK, TEXTS } from "./document.ts"

/** None of these values is a long wait, which would delay the run. */
const VALUES: unknown[] = [
  null,
  true,
  false,
  0,
  1,
  -1,
  0.5,
  -0,
  1e15,
  2 ** 53,
  2 ** 31,
  -(2 ** 63),
  1e308,
  "",
  "5",
  "0",
  [],
  {},
  [[]],
  [null],
  ...[
    { __proto__: null },
    { length: 1 },
    { toString: 1 },
    { type: "a" },
    Array(101).fill("a"),
    Array(1_001).fill(0),
  ],
  ...TEXTS,
]
/** Returns a copy, because the receiver may change it further. */
const odd = (chance: Chance) => structuredClone(chance.one(VALUES))
const NAMES = [
  "__proto__",
  "constructor",
  "prototype",
  "toJSON",
  "then",
  "length",
  "",
  MARK,
  "Type",
  "type ",
  "payload",
  "id",
  "status",
  "$ref",
]

export type Parts = {
  method: string
  path: string
  query: [string, string][]
  headers: [string, string][]
  body: Buffer | undefined
}

/** Changes the value in `holder` at one random place. */
export function changeValue(holder: { it: unknown }, chance: Chance): void {
  let parent = holder as unknown as Record<string, unknown>
  let name = "it"
  while (typeof parent[name] === "object" && parent[name] !== null && chance.maybe(0.75)) {
    const names = Object.keys(parent[name] as object)
    if (names.length === 0) break
    parent = parent[name] as Record<string, unknown>
    name = chance.one(names)
  }
  const value = parent[name]
  switch (chance.weighted({ value: 10, drop: 2, add: 3, wrap: 1, repeat: 1, near: 3, large: 0.2 })) {
    case "value":
      parent[name] = odd(chance)
      break
    case "drop":
      if (name !== "it") delete parent[name]
      break
    case "add":
      if (typeof value === "object" && value !== null && !Array.isArray(value))
        Object.defineProperty(value, chance.one(NAMES), {
          value: odd(chance),
          enumerable: true,
          configurable: true,
          writable: true,
        })
      else if (Array.isArray(value)) value.push(odd(chance))
      break
    case "wrap":
      parent[name] = [value]
      break
    case "repeat":
      parent[name] = Array(chance.between(2, 30))
        .fill(value)
        .map(one => structuredClone(one))
      break
    case "near":
      if (typeof value === "number") parent[name] = value + chance.one([-1, 0.5, 1, 1e9])
      else if (typeof value === "string")
        parent[name] = chance.one([
          `${value}x`,
          value.slice(1),
          value.toUpperCase(),
          ` ${value}`,
          `${value}\0`,
          value.repeat(3),
        ])
      break
    case "large":
      parent[name] = "y".repeat(chance.between(1_000, 100_000))
      break
  }
}

export function changeQuery({ query }: Parts, chance: Chance): void {
  const text = () =>
    String(
      chance.one([
        "",
        "0",
        "-1",
        "1e3",
        "0x10",
        "00",
        "1.0",
        "999999999999999999999",
        "a,b",
        ",",
        "a,,b",
        ...TEXTS,
      ]),
    )
  const name =
    query.length > 0 ? chance.one(query)[0] : chance.one(["queue", "wait_ms", "limit", "state", "x"])
  switch (chance.weighted({ twice: 1, change: 3, add: 2, many: 1 })) {
    case "twice":
      query.push([name, text()])
      break
    case "change":
      if (query.length > 0) chance.one(query)[1] = text()
      break
    case "add":
      query.push([
        chance.one([...NAMES, `${name}[]`, `${name}[0]`, "meta.", "meta.a", "meta.__proto__"]),
        text(),
      ])
      break
    case "many":
      for (let i = chance.between(2, 150); i > 0; i--) query.push([name, text().slice(0, 20)])
  }
}

export function changeText(body: Buffer, chance: Chance): Buffer {
  const at = chance.between(0, body.length)
  const cut = (middle: string | Buffer, skip = 0) =>
    Buffer.concat([body.subarray(0, at), Buffer.from(middle as string), body.subarray(at + skip)])
  const text = body.toString("utf8")
  const member = (name: string, value: string) =>
    Buffer.from(text.replace(/^(\[?)\{/, `$1{"${name}":${value},`).replace(",}", "}"))
  const depth = chance.one([10, 1_000, 20_000, 100_000])
  switch (chance.between(0, 13)) {
    case 0:
      return body.subarray(0, at)
    case 1:
      return cut(
        Buffer.from([chance.one([0xff, 0xc0, 0xed, 0xa0, 0xf5, 0x80, 0x00, 0xfe])]),
        chance.between(0, 1),
      )
    case 2:
      return cut(
        chance.one([
          '"',
          "\\",
          "{",
          "}",
          "[",
          "]",
          ",",
          ":",
          " ",
          "\n",
          "\t",
          "\0",
          "/*x*/",
          "//",
          "e",
          "-",
          "\\u0000",
          "\\ud800",
        ]),
        chance.between(0, 1),
      )
    case 3:
      return Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), body])
    case 4:
      return Buffer.from(
        text.replace(
          /\d+/,
          chance.one([
            "1e999",
            "-1e999",
            "NaN",
            "Infinity",
            "01",
            "+1",
            "0x1",
            ".5",
            "1.",
            "1_0",
            "12345678901234567890",
            "1.0",
            "5e0",
          ]),
        ),
      )
    case 5:
      return member(
        chance.one(["type", "task_id", "payload", "status", "lease", "__proto__", "constructor"]),
        chance.one(['"a"', "null", "{}", '{"x":1}', "1e999", '"\\ud800"']),
      )
    case 6:
      return member("payload", "[".repeat(depth) + "]".repeat(depth))
    case 7:
      return Buffer.from(`${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`)
    case 8:
      return Buffer.from(`${text}${chance.one([text, " x", "\0", "]", "}", ",", "\n\n\n"])}`)
    case 9:
      return Buffer.from(`[${text},${JSON.stringify(odd(chance)) ?? "null"}]`)
    case 10:
      return Buffer.from(text, "utf16le")
    case 11:
      return Buffer.from(
        text.replace(/"(\w)/g, (_, first: string) => `"\\u00${first.charCodeAt(0).toString(16)}`),
      )
    case 12:
      return chance.maybe(0.1)
        ? member("payload", `"${"z".repeat(chance.one([900_000, 1_048_576, 1_200_000]))}"`)
        : Buffer.alloc(0)
    default:
      return member(
        "payload",
        chance.one([
          "1.0",
          "-0",
          '"\\u0000"',
          `"${MARK}"`,
          '{"__proto__":{"a":1}}',
          '{"a":1,"a":2}',
          "[[],{}]",
        ]),
      )
  }
}

/** Returns whether the request is still HTTP that must be answered. */
export function changeHeaders(parts: Parts, chance: Chance): boolean {
  const { headers } = parts
  const set = (name: string, value: string) => {
    parts.headers = [
      ...headers.filter(([other]) => other.toLowerCase() !== name.toLowerCase()),
      [name, value],
    ]
  }
  const long = "h".repeat(chance.one([100, 4_000, 8_000]))
  switch (chance.between(0, 12)) {
    case 0:
      parts.headers = headers.filter(([name]) => name !== "X-API-Token")
      return true
    case 1:
      set("X-API-Token", chance.one(["", "x", `${TOKEN.slice(0, -1)}`, `${TOKEN} x`, "é", long]))
      return true
    case 2:
      headers.push(["X-API-Token", chance.one(["x", MARK])])
      return true
    case 3:
      parts.headers = [
        ...headers.filter(([name]) => name !== "X-API-Token"),
        [
          "Authorization",
          chance.one([
            `Bearer ${TOKEN}`,
            `bearer   ${TOKEN}`,
            `Basic ${TOKEN}`,
            "Bearer",
            "Bearer ",
            `Bearer ${MARK}`,
          ]),
        ],
      ]
      return true
    case 4:
      set(
        "Content-Type",
        chance.one([
          "",
          "text/plain",
          "application/json;",
          "APPLICATION/JSON",
          "application/json; charset=utf-16",
          "application/jsonp",
          "application/json, text/html",
          "multipart/form-data; boundary=x",
          MARK,
          "application/x-www-form-urlencoded",
        ]),
      )
      return true
    case 5:
      parts.headers = headers.filter(([name]) => name !== "Content-Type")
      return true
    case 6:
      set(
        "Idempotency-Key",
        chance.one([
          "",
          '"',
          '""',
          "a b",
          "é",
          "x".repeat(201),
          `"${"x".repeat(200)}"`,
          "\x7f",
          MARK,
          "__proto__",
        ]),
      )
      return true
    case 7:
      headers.push(["Idempotency-Key", "twice"], ["Idempotency-Key", "twice"])
      return true
    case 8:
      parts.headers = headers.map(([name, value]) => [
        chance.maybe(0.5) ? name.toUpperCase() : name.toLowerCase(),
        value,
      ])
      return true
    case 9:
      headers.push([
        chance.one([
          "X-Long",
          "Cookie",
          "traceparent",
          "tracestate",
          "User-Agent",
          "Accept",
          "Range",
          "If-None-Match",
          "Accept-Encoding",
          "Origin",
          "X-Forwarded-For",
        ]),
        chance.one([long, MARK, "*", "bytes=0-", "gzip"]),
      ])
      return true
    case 10:
      headers.push(
        ["X-HTTP-Method-Override", "DELETE"],
        ["X-Original-URL", "/healthz"],
        ["Forwarded", "for=x"],
      )
      return true
    case 11:
      set(
        "Host",
        chance.one([
          "",
          "a b",
          "x:99999",
          "a@b",
          "[::1]",
          "x".repeat(300),
          "evil.example",
          "..",
          MARK,
          "127.0.0.1:1",
        ]),
      )
      return false
    default:
      parts.headers = headers.filter(([name]) => name !== "Host")
      return false
  }
}

export function changePath(parts: Parts, chance: Chance): void {
  const { path } = parts
  const id = chance.one([
    ...[
      "..",
      ".",
      "%2e%2e",
      "%2e%2e%2f%2e%2e%2fhealthz",
      "..%5c..%5chealthz",
      "%00",
      "%ff",
      "%zz",
      "%",
      "a%20b",
      "a%2Fb",
      "%7Bx%7D:a",
    ],
    ...[
      "a:b:c",
      ":a",
      "a:",
      "*",
      "__proto__",
      "constructor",
      "x".repeat(64),
      "x".repeat(65),
      "x".repeat(9_000),
      "é",
      "\\..\\healthz",
      `${MARK.replace(/[<>]/g, "")}%3C`,
    ],
  ])
  switch (chance.between(0, 6)) {
    case 0:
      parts.path = `/${chance.one(["status", "why", "cancel", "dlq/retry"])}/${id}`
      break
    case 1:
      parts.path = chance.one([
        path.toUpperCase(),
        `${path}/`,
        `/${path}`,
        `/healthz/..${path}`,
        `${path}/../submit`,
        `/swagger/..${path}`,
        `${path};x=1`,
        `${path}%00`,
        `${path}.json`,
        path.replace(/[a-z]/, letter => `%${letter.charCodeAt(0).toString(16)}`),
      ])
      break
    case 2:
      parts.path = chance.one([
        "/",
        "/.env",
        "/.git/config",
        "/lib/config/config.ts",
        "/swagger/../broker.ts",
        "/swagger/..%2fbroker.ts",
        "/swagger/ui.js",
        "/swagger/json",
        "/swagger",
        "/metrics",
        "/favicon.ico",
        `/${id}`,
      ])
      break
    case 3:
      parts.method = chance.one(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
      break
    case 4:
      parts.path = `http://${chance.one(["localhost", "evil.example", "x@y", "localhost:1"])}${path}`
      break
    case 5:
      parts.path = `${path}${chance.one(["?", "??", "?&&&", "?=", "?=x", "?%", "?%zz=%zz", "?a=%ff", "?queue=%00", "?queue[]=a", "?wait_ms[$gt]=1", "#x", "?#", `?${"a=1&".repeat(1_000)}`])}`
      break
    default:
      parts.path = path.replace(/[^/]+$/, id)
  }
}
