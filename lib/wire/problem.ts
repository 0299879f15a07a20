/** Problems: the code, status, title and advice of every refusal, and its body (RFC 9457). */
import { type Static, Type } from "@sinclair/typebox"
import { State } from "./fields.ts"

interface Entry {
  status: number
  /** Also the member `error`, which every error body has. */
  title: string
  /** What the caller should do. It is the `detail` unless the refusal carries a more specific one. */
  advice?: string
}

const TABLE = {
  unauthorized: {
    status: 401,
    title: "Unauthorized",
    advice: "The request has no token. Send one in X-API-Token, or as Authorization: Bearer.",
  },
  too_many_attempts: {
    status: 429,
    title: "Too many wrong tokens",
    advice:
      "This address sent more than 100 wrong tokens within a minute. Send a token that the broker knows.",
  },
  forbidden: { status: 403, title: "Forbidden" },
  bad_json: {
    status: 400,
    title: "The body is not valid JSON",
    advice: "Send one JSON object or an array of them, in UTF-8.",
  },
  bad_request: { status: 400, title: "The request is invalid" },
  not_found: { status: 404, title: "Not found", advice: "No such route. /swagger lists all routes." },
  method_not_allowed: {
    status: 405,
    title: "Method not allowed",
    advice: "This path exists, but not with this method. The Allow header lists the methods it has.",
  },
  task_not_found: {
    status: 404,
    title: "Task not found",
    advice: "No task has this id; it may have been deleted.",
  },
  not_in_dlq: {
    status: 404,
    title: "Task not found in DLQ",
    advice:
      "No dead task has this id. POST /tasks/:id/again and DELETE /tasks/:id also take tasks that are done or cancelled.",
  },
  worker_not_found: { status: 404, title: "Worker not found" },
  schedule_not_found: { status: 404, title: "Schedule not found" },
  bulk_not_found: {
    status: 404,
    title: "Bulk operation not found",
    advice: "No bulk operation has this id, or newer ones have replaced it.",
  },
  lease_lost: { status: 409, title: "Lease lost" },
  not_leased: { status: 409, title: "Task is not leased" },
  already_ended: {
    status: 409,
    title: "Task has ended",
    advice: "The task is already done or dead, so it cannot be cancelled.",
  },
  not_waiting: {
    status: 409,
    title: "Task is not waiting",
    advice: "Only a queued, scheduled or retrying task can be changed.",
  },
  not_ended: {
    status: 409,
    title: "Task has not ended",
    advice: "Only a task that is done, dead or cancelled can be submitted again or deleted.",
  },
  task_gone: {
    status: 410,
    title: "Task is gone",
    advice: "The task has ended or was purged, and its data was deleted.",
  },
  task_exists: {
    status: 409,
    title: "Task id is taken",
    advice:
      "A task with this id exists, and the broker cannot tell whether this is the same submit. Look at /status, or use another task_id.",
  },
  key_reused: {
    status: 422,
    title: "Idempotency key or task id was used with another body",
    advice:
      "Send the same body to get the first answer again, or use another key or task_id for another task.",
  },
  key_taken: {
    status: 409,
    title: "Unique key is taken",
    advice:
      "Another task with this unique key is waiting or running. Retry this task when that one has ended.",
  },
  unsupported_media_type: {
    status: 415,
    title: "Unsupported media type",
    advice: "Send Content-Type: application/json (with curl: -H 'Content-Type: application/json').",
  },
  too_large: {
    status: 413,
    title: "The body is too large",
    advice: "Store large data elsewhere and send a reference, or raise MAX_BODY_BYTES.",
  },
  queue_full: { status: 429, title: "The queue is full" },
  group_full: { status: 429, title: "The group is full" },
  redis_unavailable: { status: 503, title: "Redis is unavailable" },
  not_replicated: { status: 503, title: "Too few Redis replicas have confirmed the change" },
  out_of_memory: { status: 503, title: "Redis is out of memory" },
  overloaded: {
    status: 503,
    title: "Overloaded",
    advice: "This broker is at its limit. Send the request again later, or to another broker.",
  },
  not_ready: { status: 503, title: "Not ready" },
  internal: {
    status: 500,
    title: "Internal error",
    advice: "The broker failed to handle the request. Its log has the details.",
  },
} satisfies Record<string, Entry>

export type Code = keyof typeof TABLE
export const PROBLEMS: Readonly<Record<Code, Entry>> = TABLE
export const CODES = Object.keys(TABLE) as Code[]

export const Fault = Type.Object({
  field: Type.Optional(
    Type.String({
      description:
        "the invalid member; absent if the whole body is invalid, or if its name is not 1 to 40 characters from A-Z a-z 0-9 _ -",
    }),
  ),
  detail: Type.String({ description: "what the member must be" }),
})
export type Fault = Static<typeof Fault>

export const Problem = Type.Object(
  {
    error: Type.String({ description: "the error, for people" }),
    code: Type.Union(
      CODES.map(code => Type.Literal(code)),
      { description: "the error, for programs" },
    ),
    status: Type.Integer(),
    title: Type.String(),
    detail: Type.Optional(Type.String({ description: "what is wrong or what to do about it" })),
    field: Type.Optional(
      Type.String({ description: "the invalid member; the first one if there are several" }),
    ),
    errors: Type.Optional(
      Type.Array(Fault, { description: "with bad_request: every invalid member, up to ten" }),
    ),
    task_id: Type.Optional(Type.String()),
    state: Type.Optional(State),
    attempt: Type.Optional(Type.Integer({ description: "with lease_lost: the newest attempt" })),
    request_id: Type.Optional(
      Type.String({ description: "with internal: identifies the request in the broker's log" }),
    ),
  },
  { description: "RFC 9457 problem details" },
)
export type Problem = Static<typeof Problem>
