/** Writes answers, and turns every error into one. */
import { NotFoundError } from "elysia"
import { Refused } from "../errors.ts"
import type { Log } from "../log.ts"
import { PROBLEMS, type Problem } from "../wire/problem.ts"
import { traceIdOf } from "../wire/traceparent.ts"

const RETRY_AFTER_S = "1"

/** The parts of Elysia's context that answers need. */
export interface RequestContext {
  request: Request
  set: { headers: Record<string, string | number | undefined> }
}

/**
 * The URL of a request. Bun answers 400 to HTTP/1.1 without a Host header, and gives only the path and the query as the
 * URL of a request without one, which is therefore HTTP/1.0. Undefined if the Host header is not a host.
 */
export const urlOf = ({ url }: Request): URL | undefined =>
  URL.parse(url.startsWith("/") ? `http://localhost${url}` : url) ?? undefined

const REQUEST_ID = /^[\w.:/+=@-]{1,128}$/
const ID_PREFIX = Math.random().toString(36).slice(2, 8)
let requests = 0

/**
 * The id of a request in the log, in its answer and in a problem: the client's, or one of ours. It is created on first
 * use, because most requests succeed and never need one.
 */
export function requestId({ request, set }: RequestContext): string {
  const known = set.headers["x-request-id"]
  if (typeof known === "string") return known
  const given = request.headers.get("x-request-id")
  const id = given !== null && REQUEST_ID.test(given) ? given : `${ID_PREFIX}-${(++requests).toString(36)}`
  set.headers["x-request-id"] = id
  return id
}

/** The log fields that identify a request and the token that sent it. */
export const requester = (context: RequestContext, by?: string) => ({
  by,
  request_id: requestId(context),
  trace_id: traceIdOf(context.request.headers.get("traceparent")),
})

const MAY_HAVE_TAKEN_EFFECT =
  "The request may have taken effect. Repeating it is safe, except that repeating a submit without an Idempotency-Key or a task_id may create a second task."

/** `isRead`: the request changes nothing that its caller would repeat; a lease of GET /get is returned to the queue. */
export function problem({ reason, facts: known, isUncertain }: Refused, isRead = false): Problem {
  const { status, title, advice } = PROBLEMS[reason]
  const facts =
    isUncertain && !isRead ? { ...known, detail: `${known.detail} ${MAY_HAVE_TAKEN_EFFECT}` } : known
  const { field, detail = advice } = facts
  const body: Problem = {
    // The error text of a bad request names the fault, because most people read only `error`.
    error: reason === "bad_request" ? (detail ?? title) : title,
    code: reason,
    status,
    title,
    ...(detail === undefined ? {} : { detail }),
    ...facts,
  }
  if (reason === "bad_request" && facts.errors === undefined && facts.detail !== undefined)
    body.errors = [field === undefined ? { detail: facts.detail } : { field, detail: facts.detail }]
  return body
}

export function problemAnswer(refused: Refused, isRead = false): Response {
  const body = problem(refused, isRead)
  const headers: Record<string, string> = {
    "content-type": "application/problem+json",
    "cache-control": "no-store",
    ...NO_SNIFFING,
  }
  if (body.status === 503 || body.status === 429) headers["retry-after"] = RETRY_AFTER_S
  if (body.status === 401) headers["www-authenticate"] = 'Bearer realm="task queue"'
  return new Response(JSON.stringify(body), { status: body.status, headers })
}

/** Tasks hold untrusted text: a browser must not interpret it as HTML. */
export const NO_SNIFFING = { "x-content-type-options": "nosniff" }
const JSON_HEADERS = { "content-type": "application/json", "cache-control": "no-store", ...NO_SNIFFING }
/** Copying a Headers object takes a third of the time of building one from a literal. */
const MADE_HEADERS = new Headers(JSON_HEADERS)

/** An answer of JSON text. */
export const answer = (text: string, headers?: Record<string, string>): Response =>
  new Response(text, { headers: headers === undefined ? MADE_HEADERS : { ...JSON_HEADERS, ...headers } })

export const answerJson = (value: unknown): Response => answer(JSON.stringify(value))

/** Server-sent events, until the stream ends. The header keeps Nginx from buffering them. */
export const eventStream = (stream: ReadableStream): Response =>
  new Response(stream, {
    headers: { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" },
  })

/** Turns any error into an answer that reveals nothing of the broker's internals. */
export function errorAnswer(error: unknown, context: RequestContext, log: Log): Response {
  const request_id = requestId(context)
  if (error instanceof Refused) return problemAnswer(error, context.request.method === "GET")
  if (error instanceof NotFoundError) return problemAnswer(new Refused("not_found"))
  log.error("A request failed", {
    ...requester(context),
    route: `${context.request.method} ${urlOf(context.request)?.pathname}`,
    error: error instanceof Error ? error.stack || error.message : String(error),
  })
  return problemAnswer(new Refused("internal", { request_id }))
}
