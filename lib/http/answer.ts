/** What all routes share: how bodies are read, and the one place where an error becomes an answer. */

import { NotFoundError } from "elysia"
import { Refused } from "../errors.ts"
import type { Log } from "../log.ts"
import type { Code, Problem } from "../wire/problem.ts"
import { traceIdOf } from "../wire/traceparent.ts"

/** Status, title and advice of each code. `error` is the contract's member, and the title unless it says otherwise. */
export const PROBLEMS: Record<Code, { status: number; error: string; detail?: string }> = {
  unauthorized: {
    status: 401,
    error: "Unauthorized",
    detail: "Send the broker's token in X-API-Token, or as Authorization: Bearer.",
  },
  forbidden: { status: 403, error: "Forbidden" },
  bad_json: {
    status: 400,
    error: "The body is not JSON",
    detail: "Send one JSON object or an array of them, in UTF-8.",
  },
  bad_request: { status: 400, error: "The request cannot be used as it is" },
  not_found: { status: 404, error: "Not found", detail: "There is no such route; /swagger lists all." },
  task_not_found: { status: 404, error: "Task not found", detail: "It never was, or its retention is over." },
  not_in_dlq: {
    status: 404,
    error: "Task not found in DLQ",
    detail: "Only a dead task can be retried or deleted.",
  },
  worker_not_found: { status: 404, error: "Worker not found" },
  lease_lost: { status: 409, error: "Lease lost" },
  not_leased: { status: 409, error: "Task is not leased" },
  already_ended: {
    status: 409,
    error: "Task has ended",
    detail: "It is done or dead already: there is nothing to cancel.",
  },
  task_gone: { status: 410, error: "Task is gone", detail: "It has ended, and its retention is over." },
  task_exists: {
    status: 409,
    error: "Task id is taken",
    detail: "A task with this id exists, from before the idempotency records that are kept.",
  },
  key_reused: {
    status: 422,
    error: "Idempotency key was used for something else",
    detail: "Send the same body to get the first answer again, or another key for another task.",
  },
  key_taken: {
    status: 409,
    error: "Unique key is taken",
    detail: "Another task with this unique key waits or runs: retry this one when that has ended.",
  },
  unsupported_media_type: {
    status: 415,
    error: "Unsupported media type",
    detail: "Send Content-Type: application/json (with curl: -H 'Content-Type: application/json').",
  },
  too_large: {
    status: 413,
    error: "The body is too large",
    detail: "Keep big data elsewhere and send a reference, or raise MAX_BODY_BYTES.",
  },
  queue_full: { status: 429, error: "The queue is full" },
  redis_unavailable: { status: 503, error: "Redis is unavailable" },
  not_replicated: { status: 503, error: "Too few replicas of Redis have it" },
  out_of_memory: { status: 503, error: "Redis is out of memory" },
  overloaded: {
    status: 503,
    error: "Overloaded",
    detail: "This broker holds as much as it can: send it again later, or to another broker.",
  },
  not_ready: { status: 503, error: "Not ready" },
  internal: {
    status: 500,
    error: "Internal error",
    detail: "This is a fault of the broker; its log says more.",
  },
}

const RETRY_AFTER_S = "1"

/** What a request's handlers and hooks share of it. */
export interface Asked {
  request: Request
  set: { headers: Record<string, string | number | undefined> }
}

const REQUEST_ID = /^[\w.:/+=@-]{1,128}$/
const ID_BEFORE = Math.random().toString(36).slice(2, 8)
let requests = 0

/**
 * The id that a request has in the log, in its answer and in a problem: its caller's, or one of ours. It is made
 * when it is asked for the first time: most requests do what they should, and nobody will ever look for them.
 */
export function requestId({ request, set }: Asked): string {
  const known = set.headers["x-request-id"]
  if (typeof known === "string") return known
  const given = request.headers.get("x-request-id")
  const id = given !== null && REQUEST_ID.test(given) ? given : `${ID_BEFORE}-${(++requests).toString(36)}`
  set.headers["x-request-id"] = id
  return id
}

/** What a line of the log says of the request that it is about. */
export const askedBy = (asked: Asked, by?: string) => ({
  by,
  request_id: requestId(asked),
  trace_id: traceIdOf(asked.request.headers.get("traceparent")),
})

export function problem(refused: Refused): Problem {
  const { status, error, detail } = PROBLEMS[refused.reason]
  const facts = { ...(detail === undefined ? {} : { detail }), ...refused.facts }
  return {
    // A bad request says at once what is wrong: most people read no further than `error`.
    error: refused.reason === "bad_request" ? (refused.facts.detail ?? error) : error,
    code: refused.reason,
    status,
    title: error,
    ...facts,
  }
}

export function problemAnswer(refused: Refused): Response {
  const body = problem(refused)
  const headers: Record<string, string> = {
    "content-type": "application/problem+json",
    "cache-control": "no-store",
    ...NO_SNIFFING,
  }
  if (body.status === 503 || body.status === 429) headers["retry-after"] = RETRY_AFTER_S
  if (body.status === 401) headers["www-authenticate"] = 'Bearer realm="task queue"'
  return new Response(JSON.stringify(body), { status: body.status, headers })
}

/** Tasks hold what strangers wrote: no browser is to guess that it is a page. */
export const NO_SNIFFING = { "x-content-type-options": "nosniff" }
const JSON_HEADERS = { "content-type": "application/json", "cache-control": "no-store", ...NO_SNIFFING }
/** Copied as they are, which takes a third of the time that an object takes to become them. */
const MADE_HEADERS = new Headers(JSON_HEADERS)

/** An answer of JSON text. */
export const answer = (text: string, headers?: Record<string, string>): Response =>
  new Response(text, { headers: headers === undefined ? MADE_HEADERS : { ...JSON_HEADERS, ...headers } })

/** Server-sent events, for as long as the stream goes. Nginx would hold them back. */
export const eventStream = (stream: ReadableStream): Response =>
  new Response(stream, {
    headers: { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" },
  })

/** Turns whatever was thrown into an answer that shows nothing of our inside. */
export function errorAnswer(error: unknown, asked: Asked, log: Log): Response {
  const request_id = requestId(asked)
  if (error instanceof Refused) return problemAnswer(error)
  if (error instanceof NotFoundError) return problemAnswer(new Refused("not_found"))
  log.error("A request failed", {
    ...askedBy(asked),
    route: `${asked.request.method} ${URL.parse(asked.request.url)?.pathname}`,
    error: error instanceof Error ? error.stack || error.message : String(error),
  })
  return problemAnswer(new Refused("internal", { request_id }))
}

export interface Body extends Disposable {
  text: string
  value: unknown
}

/** Bodies of all requests that are read or worked on take no more than this, or four of the largest. */
const MAX_HELD_BYTES = 67_108_864
/** Up to this much is read at one go, which is faster, and counted when it is there. */
const SMALL_BYTES = 32_768

/**
 * Reads JSON bodies. Checks media type, size, room and encoding in that order. A body counts against the room from
 * its arrival, whether all of it has come or not, until it is disposed of: so memory stays flat while Redis is
 * slow, and who announces much and sends nothing takes no room from others.
 */
export function bodyReader(maxBytes: number): (request: Request) => Promise<Body> {
  const room = Math.max(MAX_HELD_BYTES, 4 * maxBytes)
  let held = 0

  return async request => {
    const type = request.headers.get("content-type") ?? ""
    if (!/^application\/json *(;|$)/i.test(type)) throw new Refused("unsupported_media_type")
    const announced = request.headers.get("content-length")
    // Sent twice, and alike, it is "2, 2".
    const length = announced === null ? undefined : Number.parseInt(announced, 10)
    let size = 0
    const take = (bytes: number) => {
      if (size + bytes > maxBytes) throw new Refused("too_large", { detail: tooLarge(maxBytes) })
      if (held + bytes > room) throw new Refused("overloaded", { detail: NO_ROOM })
      size += bytes
      held += bytes
    }
    const release = () => {
      held -= size
      size = 0
    }
    try {
      // Before any of it is read, where the request tells.
      take(length ?? 0)
      release()
      const atOnce = length !== undefined && length <= SMALL_BYTES
      const bytes = await (atOnce ? request.arrayBuffer() : read(request, take)).catch(cutOff)
      if (size === 0) take(bytes.byteLength)
      return { ...parsed(bytes), [Symbol.dispose]: release }
    } catch (error) {
      release()
      throw error
    }
  }
}

/** For routes whose body may be left out: an empty object then. */
export const optionalBody =
  (read: ReturnType<typeof bodyReader>): typeof read =>
  async request => {
    const { headers } = request
    const none =
      !headers.has("content-type") &&
      !headers.has("transfer-encoding") &&
      (headers.get("content-length") ?? "0") === "0"
    return none ? { text: "{}", value: {}, [Symbol.dispose]() {} } : read(request)
  }

/** For a route that was there before its body was: what is not JSON is not read. */
export const bodyIfJson =
  (read: ReturnType<typeof bodyReader>): typeof read =>
  async request => {
    const { headers } = request
    const some = headers.has("transfer-encoding") || (headers.get("content-length") ?? "0") !== "0"
    const json = /^application\/json *(;|$)/i.test(headers.get("content-type") ?? "")
    return some && json ? read(request) : { text: "{}", value: {}, [Symbol.dispose]() {} }
  }

const tooLarge = (maxBytes: number) =>
  `It may have ${maxBytes} bytes. Keep big data elsewhere and send a reference, or raise MAX_BODY_BYTES.`
const NO_ROOM =
  "This broker holds as much of other requests as it can: send it again later, in smaller parts, or to another broker."
const CUT = "The connection ended before the body did: send as many bytes as Content-Length says."

/** Refuses what is no UTF-8. A byte order mark stays, and is then no JSON. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

function parsed(bytes: ArrayBuffer | Buffer): Omit<Body, keyof Disposable> {
  try {
    const text = UTF8.decode(bytes)
    return { text, value: JSON.parse(text) }
  } catch {
    throw new Refused("bad_json")
  }
}

function cutOff(error: unknown): never {
  throw error instanceof Refused ? error : new Refused("bad_json", { detail: CUT })
}

async function read(request: Request, take: (bytes: number) => void): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of request.body ?? []) {
    take(chunk.length)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Runs what may wait for long; past so many that do, others are told to come again. */
export function waitingRoom(most: number) {
  let waiting = 0
  return async <T>(waitMs: number, run: () => Promise<T>): Promise<T> => {
    if (waitMs === 0) return run()
    if (waiting >= most)
      throw new Refused("overloaded", {
        detail: `${most} requests wait at this broker already: ask again later, or with a wait_ms of 0, or another broker.`,
      })
    waiting++
    try {
      return await run()
    } finally {
      waiting--
    }
  }
}
