/** What all routes share: who may call, how bodies are read, and the one place where an error becomes an answer. */

import { isUtf8 } from "node:buffer"
import { timingSafeEqual } from "node:crypto"
import { NotFoundError } from "elysia"
import { Refused } from "./errors.ts"
import type { Log } from "./log.ts"
import type { Code, Problem } from "./models.ts"

/** Status, title and advice of each code. `error` is the contract's member, and the title unless it says otherwise. */
export const PROBLEMS: Record<Code, { status: number; error: string; detail?: string }> = {
  unauthorized: {
    status: 401,
    error: "Unauthorized",
    detail: "Send the broker's token in X-API-Token, or as Authorization: Bearer.",
  },
  bad_json: {
    status: 400,
    error: "The body is not JSON",
    detail: "Send one JSON object or an array of them, in UTF-8.",
  },
  bad_request: { status: 400, error: "The request cannot be used as it is" },
  not_found: { status: 404, error: "Not found", detail: "There is no such route; /swagger lists all." },
  task_not_found: { status: 404, error: "Task not found", detail: "It never was, or its retention is over." },
  not_in_dlq: { status: 404, error: "Task not found in DLQ", detail: "Only a dead task can be retried." },
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
  overloaded: { status: 503, error: "Overloaded" },
  not_ready: { status: 503, error: "Not ready" },
  internal: {
    status: 500,
    error: "Internal error",
    detail: "This is a fault of the broker; its log says more.",
  },
}

const RETRY_AFTER_S = "1"

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
  }
  if (body.status === 503 || body.status === 429) headers["retry-after"] = RETRY_AFTER_S
  if (body.status === 401) headers["www-authenticate"] = 'Bearer realm="task queue"'
  return new Response(JSON.stringify(body), { status: body.status, headers })
}

const JSON_HEADERS = { "content-type": "application/json", "cache-control": "no-store" }

/** An answer of JSON text. */
export const answer = (text: string, headers: Record<string, string> = {}): Response =>
  new Response(text, { headers: { ...JSON_HEADERS, ...headers } })

/** Turns whatever was thrown into an answer that shows nothing of our inside. */
export function errorAnswer(error: unknown, log: Log): Response {
  if (error instanceof Refused) return problemAnswer(error)
  if (error instanceof NotFoundError) return problemAnswer(new Refused("not_found"))
  log.error("A request failed", {
    error: error instanceof Error ? (error.stack ?? error.message) : String(error),
  })
  return problemAnswer(new Refused("internal"))
}

/** Compares by hash: in constant time, whatever the lengths. */
export function authorizer(token: string): (headers: Headers) => boolean {
  const hash = (text: string) => Bun.SHA256.hash(text) as Uint8Array
  const wanted = hash(token)
  return headers => {
    const given =
      headers.get("x-api-token") ?? /^Bearer +(.+)$/i.exec(headers.get("authorization") ?? "")?.[1]
    return given !== undefined && given !== null && timingSafeEqual(hash(given), wanted)
  }
}

/** The text of a JSON body and its value. Checks media type, size and encoding in that order. */
export async function readJson(
  request: Request,
  maxBytes: number,
): Promise<{ text: string; value: unknown }> {
  const type = request.headers.get("content-type") ?? ""
  if (!/^application\/json *(;|$)/i.test(type)) throw new Refused("unsupported_media_type")
  const length = request.headers.get("content-length")
  if (Number(length) > maxBytes) throw new Refused("too_large")
  const bytes = length === null ? await readUpTo(maxBytes, request) : Buffer.from(await request.arrayBuffer())
  if (!isUtf8(bytes)) throw new Refused("bad_json")
  const text = bytes.toString("utf8")
  try {
    return { text, value: JSON.parse(text) }
  } catch {
    throw new Refused("bad_json")
  }
}

/** A body that did not tell its length: no more of it than allowed is held. */
async function readUpTo(maxBytes: number, request: Request): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body ?? []) {
    size += chunk.length
    if (size > maxBytes) throw new Refused("too_large")
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
