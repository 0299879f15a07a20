/**
 * Draws requests from a seed: requests that the document allows, some of them changed in one or more ways, and bytes that
 * are not valid HTTP. A seed and a number always give the same request, apart from the ids and leases of existing tasks.
 */

import type { Chance } from "../faults/seed.ts"
import { TOKEN } from "../support/harness.ts"
import { changeHeaders, changePath, changeQuery, changeText, changeValue, type Parts } from "./changes.ts"
import { type Document, type Route, TEXTS } from "./document.ts"

export interface Asked {
  /** The kind, for the report. */
  kind: "valid" | "values" | "text" | "headers" | "path" | "pipelined" | "wild"
  bytes: Buffer
  /** The method of each request, in order. Each must be answered. */
  methods: string[]
  /** The route, if it is certain. The answer must then be documented for it. */
  route?: Route
  /** Whether this is valid HTTP that must be answered on an open connection. If not, Bun may answer itself or not at all. */
  whole: boolean
}

/** Tasks that requests may name: the newest in the broker's answers. */
export class Known {
  readonly #tasks: { id: string; lease?: string }[] = []
  readonly #cursors: string[] = []

  heard({ id, lease }: { id: string; lease?: string }) {
    this.#tasks.push(lease === undefined ? { id } : { id, lease })
    if (this.#tasks.length > 300) this.#tasks.splice(0, 100)
  }

  page(cursor: string) {
    this.#cursors.push(cursor)
    if (this.#cursors.length > 20) this.#cursors.shift()
  }

  /** Members of one request. Mostly, `task_id` and `lease` belong together. */
  members(chance: Chance): (name: string) => unknown {
    let task: { id: string; lease?: string } | undefined
    return name => {
      switch (name) {
        case "id":
        case "task_id":
          task = this.#tasks.length > 0 && chance.maybe(0.9) ? chance.one(this.#tasks) : undefined
          return task?.id
        case "lease":
          return chance.maybe(0.9) ? task?.lease : undefined
        case "queue":
          return chance.one(QUEUES)
        case "cursor":
          return this.#cursors.length > 0 && chance.maybe(0.8) ? chance.one(this.#cursors) : undefined
        case "wait_ms":
          return chance.maybe(0.9) ? 0 : chance.between(1, 5)
        case "unique_key":
          return `key-${chance.between(0, 50)}`
        default:
          return undefined
      }
    }
  }
}

/** The queue of tasks that may exist although no answer names them. */
export const UNSURE = "unsure"
const QUEUES = [UNSURE, "default", "a", "b", "fuzz.1", "fuzz-2", "_"]
export class Requests {
  constructor(
    private readonly document: Document,
    private readonly known: Known,
  ) {}

  next(chance: Chance): Asked {
    const kind = chance.weighted({
      valid: 40,
      values: 22,
      text: 12,
      headers: 10,
      path: 8,
      pipelined: 4,
      wild: 4,
    })
    if (kind === "wild") return this.#wild(chance)
    if (kind === "pipelined") {
      const several = Array.from({ length: chance.between(2, 6) }, () => this.#valid(chance, true).parts)
      return {
        kind,
        // Bun closes a connection if a request arrives before the previous answer.
        whole: false,
        bytes: Buffer.concat(several.map(parts => write(parts))),
        methods: several.map(({ method }) => method),
      }
    }
    const { route, parts, value } = this.#valid(chance, kind === "headers" || kind === "path")
    let certain: Route | undefined = route
    let whole = true
    if (kind === "values") {
      if (value === undefined || chance.maybe(0.2)) changeQuery(parts, chance)
      else {
        const changed = { it: structuredClone(value) }
        for (let i = chance.between(1, 3); i > 0; i--) changeValue(changed, chance)
        parts.body = Buffer.from(JSON.stringify(changed.it) ?? "null")
      }
    } else if (kind === "text") {
      parts.body = changeText(parts.body ?? Buffer.from("{}"), chance)
      if (parts.method === "GET") parts.headers.push(["Content-Type", "application/json"])
    } else if (kind === "headers") {
      whole = changeHeaders(parts, chance)
      if (!whole) certain = undefined
    } else if (kind === "path") {
      changePath(parts, chance)
      certain = undefined
      // Bun itself answers requests that it cannot parse; it does not answer unknown methods.
      whole = false
    }
    return {
      kind,
      whole,
      bytes: write(parts, chance.maybe(0.05) ? chance : undefined),
      methods: [parts.method],
      ...(certain === undefined ? {} : { route: certain }),
    }
  }

  /** `unsure`: it may not be answered, so its tasks go to the queue UNSURE, which is not compared with answers. */
  #valid(chance: Chance, unsure = false): { route: Route; parts: Parts; value: unknown } {
    // Most requests are submits and leases, so that there are tasks to operate on.
    const route = chance.maybe(0.5)
      ? chance.one(this.document.routes.filter(({ path }) => /submit|lease|work|ack|extend/.test(path)))
      : chance.one(this.document.routes)
    const members = this.known.members(chance)
    const query: [string, string][] = []
    const headers: [string, string][] = [
      ["Host", "localhost"],
      ["X-API-Token", TOKEN],
    ]
    let path = route.path
    for (const { name, in: place, required, schema } of route.parameters) {
      if (place === "path")
        path = path.replace(
          `{${name}}`,
          encodeURIComponent(String(this.document.value(schema, chance, members, name))),
        )
      else if (required || chance.maybe(0.4)) {
        if (name === "meta.*") query.push([`meta.label-${chance.between(1, 3)}`, chance.one(TEXTS)])
        else if (place === "query")
          query.push([name, String(this.document.value(schema, chance, members, name))])
        // A new key: one that another request has used is refused, which tests less.
        else
          headers.push([
            name,
            name === "Idempotency-Key"
              ? `key-${chance.between(0, 1e6)}`
              : String(this.document.value(schema, chance, members, name)).replace(/[^\x20-\x7e]/g, ""),
          ])
      }
    }
    const value = route.body && this.document.value(route.body, chance, members)
    if (unsure && route.path === "/submit")
      for (const task of [value].flat() as { queue: string }[]) task.queue = UNSURE
    const body = value === undefined ? undefined : Buffer.from(JSON.stringify(value))
    if (body !== undefined) headers.push(["Content-Type", "application/json"])
    return { route, parts: { method: route.method, path, query, headers, body }, value }
  }

  /** Invalid HTTP: broken framing, truncated requests, and syntax that proxies and servers interpret differently. */
  #wild(chance: Chance): Asked {
    const { parts } = this.#valid(chance, true)
    const small = `{"type":"a","queue":"${UNSURE}"}`
    const body = parts.body ?? Buffer.from(small)
    const head = `Host: x\r\nX-API-Token: ${TOKEN}\r\nContent-Type: application/json\r\n`
    const inner = `POST /submit HTTP/1.1\r\n${head}Content-Length: ${small.length}\r\n\r\n${small}`
    const line = `POST ${parts.path} HTTP/1.1\r\n`
    const texts: (() => string)[] = [
      () =>
        `${line}${head}Content-Length: ${body.length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
      () => `${line}${head}Content-Length: 5\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      () =>
        `${line}${head}Content-Length: ${chance.one(["-1", "+5", "0x5", "5 5", "5,5", "1e1", "99999999999999999999", "", "five"])}\r\n\r\n${body}`,
      () =>
        `${line}${head}Transfer-Encoding: ${chance.one(["gzip, chunked", "chunked, chunked", "xchunked", " chunked", "identity", "chunked\r\nTransfer-Encoding: x"])}\r\n\r\n0\r\n\r\n`,
      () =>
        `${line}${head}Transfer-Encoding: chunked\r\n\r\n${chance.one(["zz", "-1", "fffffffffffffffff", "5;ext=1\r\nabc", "\r\n", "0x5\r\nabcde", "1\r\nabc\r\n0\r\n\r\n"])}`,
      () => `${line}${head}Content-Length: ${body.length + 50}\r\n\r\n${body}`,
      () =>
        `${line.replace("HTTP/1.1", chance.one(["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.9", "", "http/1.1", "HTTP/1.1 x"]))}${head}Content-Length: ${body.length}\r\n\r\n${body}`,
      () =>
        `${chance.one(["BREW", "get", "Post", "", "CONNECT", "TRACE", "OPTIONS", "PRI", "\0", "G\tT"])} ${parts.path} HTTP/1.1\r\n${head}\r\n`,
      () =>
        `${line}${head}${chance.one(["X A: b", "X: a\0b", ": x", " folded", "X\r\n", "X:a\rb", "X:\x01", "é: é", `X: ${"y".repeat(20_000)}`])}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      () =>
        `${line}${Array.from({ length: 300 }, (_, i) => `X-${i}: y\r\n`).join("")}${head}Content-Length: 2\r\n\r\n{}`,
      () =>
        `POST ${chance.one(["http://x/submit", "http://evil@x/submit", "//submit", "*", "", "x", "/submit x", `/${"s".repeat(20_000)}`, "/\0", "http://", "http://[::1"])} HTTP/1.1\r\n${head}Content-Length: ${small.length}\r\n\r\n${small}`,
      () =>
        `${line}Host: ${chance.one(["", "a b", "a\r\nHost: b", "[::1", "x:99999", "a/../b", "\0"])}\r\n${head.slice(9)}Content-Length: 2\r\n\r\n{}`,
      () =>
        `${line}${head}Expect: ${chance.one(["100-continue", "200-ok"])}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      () =>
        `${line}${head}Connection: Upgrade\r\nUpgrade: ${chance.one(["websocket", "h2c"])}\r\nSec-WebSocket-Key: x\r\nContent-Length: 2\r\n\r\n{}`,
      () => inner.replaceAll("\r\n", "\n"),
      () => `\r\n\r\n${inner}`,
      () => `${inner.slice(0, chance.between(1, inner.length - 1))}`,
      () =>
        Array.from({ length: chance.between(1, 200) }, () =>
          String.fromCharCode(chance.between(0, 255)),
        ).join(""),
      () => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
      () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    return {
      kind: "wild",
      whole: false,
      bytes: Buffer.from(chance.one(texts)(), "latin1"),
      methods: ["POST"],
    }
  }
}

function write({ method, path, query, headers, body }: Parts, chunked?: Chance): Buffer {
  const target =
    path +
    (query.length > 0
      ? `?${query.map(([name, value]) => `${escaped(name)}=${escaped(value)}`).join("&")}`
      : "")
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("")
  const framed = headers.some(([name]) => /^(content-length|transfer-encoding)$/i.test(name))
  if (body === undefined || framed) {
    const none = !framed && method === "POST" ? "Content-Length: 0\r\n" : ""
    return Buffer.concat([
      Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines}${none}\r\n`, "latin1"),
      body ?? Buffer.alloc(0),
    ])
  }
  if (chunked === undefined)
    return Buffer.concat([
      Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines}Content-Length: ${body.length}\r\n\r\n`, "latin1"),
      body,
    ])
  const parts: Buffer[] = [
    Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines}Transfer-Encoding: chunked\r\n\r\n`, "latin1"),
  ]
  for (let at = 0; at < body.length; ) {
    const size = chunked.between(1, body.length - at)
    parts.push(Buffer.from(`${size.toString(16)}\r\n`), body.subarray(at, at + size), Buffer.from("\r\n"))
    at += size
  }
  return Buffer.concat([...parts, Buffer.from("0\r\n\r\n")])
}

/** Replaces lone surrogates, which cannot be escaped. */
const escaped = (text: string) => encodeURIComponent(text.toWellFormed())
