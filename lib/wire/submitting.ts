/** What clients send and receive when they submit or cancel tasks. */
import { type Static, Type } from "@sinclair/typebox"
import {
  Backoff,
  closed,
  DAY_MS,
  DelayMs,
  GroupName,
  Meta,
  NAME_DESCRIPTION,
  NAME_PATTERN,
  Payload,
  Priority,
  QueueName,
  RunAt,
  TimeoutMs,
} from "./fields.ts"

/** An id that the caller gives, without the queue. */
const GivenId = Type.String({
  pattern: NAME_PATTERN,
  description: NAME_DESCRIPTION,
})

const Traceparent = Type.String({
  pattern: "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
  description:
    "W3C trace context, of the form 00-<32 hex digits>-<16 hex digits>-<2 hex digits> in lower case; default: the traceparent header of the request",
})

export const Submit = Type.Object(
  {
    type: Type.String({
      minLength: 1,
      maxLength: 200,
      description: "the name of the handler that runs the task",
    }),
    payload: Type.Optional({ ...Payload, description: `${Payload.description} (default {})` }),
    queue: Type.Optional(QueueName),
    priority: Type.Optional({ ...Priority, description: `${Priority.description} (default 5)` }),
    max_retries: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 1_000,
        description: "failures allowed before the task is dead (default: the broker's MAX_RETRIES)",
      }),
    ),
    max_crashes: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 1_000,
        description: "lapsed leases allowed before the task is dead (default: the broker's MAX_CRASHES)",
      }),
    ),
    timeout_ms: Type.Optional(TimeoutMs),
    max_runtime_ms: Type.Optional(
      Type.Integer({
        minimum: 100,
        maximum: 30 * DAY_MS,
        description: "the maximum duration of an attempt, in ms, however often its lease is extended",
      }),
    ),
    expires_in_ms: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 366 * DAY_MS,
        description: "how long after the submit an attempt may still start, in ms",
      }),
    ),
    backoff: Type.Optional(Backoff),
    result_ttl_ms: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 366 * DAY_MS,
        description: "how long the task is kept after it is done, in ms",
      }),
    ),
    group: Type.Optional({
      ...GroupName,
      description: `${GroupName.description}; tasks of a group, such as a tenant, share its turns and limits`,
    }),
    meta: Type.Optional(Meta),
    redact: Type.Optional(
      Type.Boolean({
        description:
          "true: only workers and tokens with the role operate may see payload, result, errors, progress, checkpoint and log lines (default false)",
      }),
    ),
    traceparent: Type.Optional(Traceparent),
    tracestate: Type.Optional(
      Type.String({ minLength: 1, maxLength: 512, description: "W3C trace context" }),
    ),
    task_id: Type.Optional(GivenId),
    unique_key: Type.Optional(
      Type.String({
        pattern: "^[\\x21-\\x7e]{1,128}$",
        description: "1 to 128 printable ASCII characters without spaces",
      }),
    ),
    on_duplicate: Type.Optional(
      Type.Union([Type.Literal("keep"), Type.Literal("replace")], {
        description:
          "with unique_key: keep the waiting task that holds the key, or give it everything in this submit (default keep)",
      }),
    ),
    run_at: Type.Optional(RunAt),
    delay_ms: Type.Optional(DelayMs),
  },
  closed,
)

export type Submit = Static<typeof Submit>

export const Submitted = Type.Object({
  status: Type.Union([Type.Literal("queued"), Type.Literal("scheduled"), Type.Literal("duplicate")]),
  task_id: Type.String(),
  replayed: Type.Optional(
    Type.Literal(true, { description: "the key was used before: this is the first answer again" }),
  ),
  duplicate: Type.Optional(
    Type.Literal(true, { description: "this task already holds the unique key, and no task was created" }),
  ),
  replaced: Type.Optional(Type.Literal(true, { description: "the task received everything in this submit" })),
})

export type Submitted = Static<typeof Submitted>

export const Cancelled = Type.Object({
  status: Type.Union([Type.Literal("cancelled"), Type.Literal("cancelling")], {
    description: "cancelling: a worker runs the task and learns of it when it extends",
  }),
  task_id: Type.String(),
})

export type Cancelled = Static<typeof Cancelled>
