/** Problems: the codes and the body of every refusal (RFC 9457). */
import { type Static, Type } from "@sinclair/typebox"
import { State } from "./fields.ts"

export const CODES = [
  "unauthorized",
  "forbidden",
  "bad_json",
  "bad_request",
  "not_found",
  "task_not_found",
  "not_in_dlq",
  "worker_not_found",
  "lease_lost",
  "not_leased",
  "already_ended",
  "task_gone",
  "task_exists",
  "key_reused",
  "key_taken",
  "unsupported_media_type",
  "too_large",
  "queue_full",
  "redis_unavailable",
  "not_replicated",
  "out_of_memory",
  "overloaded",
  "not_ready",
  "internal",
] as const

export type Code = (typeof CODES)[number]

export const Problem = Type.Object(
  {
    error: Type.String({ description: "the error, for people" }),
    code: Type.Union(
      CODES.map(code => Type.Literal(code)),
      { description: "the error, for programs" },
    ),
    status: Type.Integer(),
    title: Type.String(),
    detail: Type.Optional(Type.String({ description: "what to do about it" })),
    field: Type.Optional(Type.String({ description: "the member that is invalid" })),
    task_id: Type.Optional(Type.String()),
    state: Type.Optional(State),
    attempt: Type.Optional(Type.Integer({ description: "with lease_lost: the newest attempt" })),
    request_id: Type.Optional(
      Type.String({ description: "with internal: the id of the request in the log of the broker" }),
    ),
  },
  { description: "RFC 9457 problem details" },
)

export type Problem = Static<typeof Problem>
