/**
 * The shapes that cross the wire, once: types, validation and the OpenAPI document all come from here.
 * Objects that a caller sends refuse unknown members, so that a typing error is told and not ignored.
 * Durations are milliseconds and end in `_ms`; times are milliseconds since 1970 by Redis' clock and end in `_at`.
 */
import { type Static, type TSchema, Type } from "@sinclair/typebox"

const closed = { additionalProperties: false }
const DAY_MS = 86_400_000

export const QueueName = Type.String({
  pattern: "^[A-Za-z0-9._-]{1,64}$",
  description: "1 to 64 of A-Z a-z 0-9 . _ -",
})
export const TaskId = Type.String({
  pattern: "^([A-Za-z0-9._-]{1,64}:)?[A-Za-z0-9._-]{1,64}$",
  description: "an id as /submit answered it",
})
export const WorkerName = Type.String({
  pattern: "^[A-Za-z0-9._-]{1,64}$",
  description: "1 to 64 of A-Z a-z 0-9 . _ -",
})
export const Lease = Type.String({
  pattern: "^[0-9]{1,9}\\.[A-Za-z0-9_-]{22}$",
  description: "a lease as the task carried it",
})
export const WaitMs = Type.Integer({
  minimum: 0,
  maximum: 20_000,
  description: "how long to wait for a task, in ms",
})
const TimeoutMs = Type.Integer({
  minimum: 100,
  maximum: DAY_MS,
  description: "how long a lease lasts, in ms (default: the broker's VISIBILITY_TIMEOUT_MS)",
})

export const Submit = Type.Object(
  {
    type: Type.String({ minLength: 1, maxLength: 200, description: "which handler runs it" }),
    payload: Type.Optional(
      Type.Unknown({ description: "any JSON; comes back exactly as it was sent (default {})" }),
    ),
    queue: Type.Optional(QueueName),
    priority: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 9, description: "9 goes first (default 5)" }),
    ),
    max_retries: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 1_000,
        description: "failures allowed before the dead-letter queue",
      }),
    ),
    max_crashes: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 1_000,
        description: "lapsed leases allowed before the dead-letter queue",
      }),
    ),
    timeout_ms: Type.Optional(TimeoutMs),
    delay_ms: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 366 * DAY_MS, description: "not before this many ms from now" }),
    ),
  },
  closed,
)
export type Submit = Static<typeof Submit>

export const Submitted = Type.Object({
  status: Type.Union([Type.Literal("queued"), Type.Literal("scheduled")]),
  task_id: Type.String(),
})
export type Submitted = Static<typeof Submitted>

const Queues = Type.Array(QueueName, {
  minItems: 1,
  maxItems: 100,
  description: "queues, tried in this order",
})

export const LeaseRequest = Type.Object(
  {
    queues: Type.Optional(Queues),
    max: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000, description: "how many tasks at most (default 1)" }),
    ),
    wait_ms: Type.Optional(WaitMs),
    worker: Type.Optional(WorkerName),
  },
  closed,
)
export type LeaseRequest = Static<typeof LeaseRequest>

export const Ack = Type.Object(
  {
    task_id: TaskId,
    status: Type.Optional(
      Type.Union([Type.Literal("done"), Type.Literal("failed"), Type.Literal("released")], {
        description: "done, failed or released (default done)",
      }),
    ),
    lease: Type.Optional(Lease),
    result: Type.Optional(Type.Unknown({ description: "any JSON, with done" })),
    error: Type.Optional(
      Type.String({ description: "why it failed, with failed; kept up to 8,192 characters" }),
    ),
  },
  closed,
)
export type Ack = Static<typeof Ack>

export const Settled = Type.Object({
  status: Type.Union([
    Type.Literal("acknowledged"),
    Type.Literal("requeued"),
    Type.Literal("moved_to_dlq"),
    Type.Literal("released"),
  ]),
  task_id: Type.String(),
  retries: Type.Optional(Type.Integer()),
})
export type Settled = Static<typeof Settled>

export const Extend = Type.Object(
  { task_id: TaskId, lease: Lease, timeout_ms: Type.Optional(TimeoutMs) },
  closed,
)
export type Extend = Static<typeof Extend>

export const Extended = Type.Object({
  status: Type.Literal("ok"),
  task_id: Type.String(),
  lease_expires_at: Type.Integer(),
})
export type Extended = Static<typeof Extended>

/** The members of the contract, the same in every answer that shows a task. */
const contractTask = {
  id: Type.String(),
  type: Type.String(),
  payload: Type.Unknown(),
  retries: Type.Integer({ description: "failures so far" }),
  max_retries: Type.Integer(),
}

export const LeasedTask = Type.Object({
  ...contractTask,
  status: Type.Literal("processing"),
  queue: Type.String(),
  attempt: Type.Integer({ description: "never goes back: usable as a fencing number" }),
  lease: Type.String({ description: "present it with ack and extend" }),
  timeout_ms: Type.Integer(),
  lease_expires_at: Type.Integer(),
})
export type LeasedTask = Static<typeof LeasedTask>

/** The query of GET /get. */
export const GetQuery = Type.Object(
  { queue: Type.Optional(Queues), wait_ms: Type.Optional(WaitMs), worker: Type.Optional(WorkerName) },
  closed,
)

/** The query of GET /dlq. */
export const DlqQuery = Type.Object(
  {
    queue: Type.Optional(QueueName),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000, description: "tasks on a page (default 100)" }),
    ),
    cursor: Type.Optional(
      Type.String({ pattern: "^[A-Za-z0-9_-]{1,300}$", description: "`next` of the page before" }),
    ),
  },
  closed,
)

export const LeaseAnswer = Type.Object({ tasks: Type.Array(LeasedTask) })
export type LeaseAnswer = Static<typeof LeaseAnswer>

export const STATES = ["scheduled", "queued", "processing", "retrying", "done", "dead"] as const
export const State = Type.Union(STATES.map(state => Type.Literal(state)))
export type State = (typeof STATES)[number]

export const REASONS = ["failed", "crashed", "released"] as const
export type Reason = (typeof REASONS)[number]

export const TaskView = Type.Object({
  ...contractTask,
  status: State,
  queue: Type.String(),
  priority: Type.Integer(),
  attempt: Type.Integer(),
  crashes: Type.Integer({ description: "leases that lapsed" }),
  max_crashes: Type.Integer(),
  releases: Type.Integer({ description: "times it was given back unblamed" }),
  timeout_ms: Type.Integer(),
  created_at: Type.Integer(),
  started_at: Type.Optional(Type.Integer({ description: "when the newest attempt began" })),
  finished_at: Type.Optional(Type.Integer()),
  due_at: Type.Optional(Type.Integer({ description: "when a scheduled or retrying task is ready" })),
  lease_expires_at: Type.Optional(Type.Integer()),
  worker: Type.Optional(Type.String({ description: "who has or had it" })),
  result: Type.Optional(Type.Unknown()),
  error: Type.Optional(Type.String({ description: "of the newest failure" })),
  reason: Type.Optional(
    Type.Union(
      REASONS.map(reason => Type.Literal(reason)),
      { description: "why it is dead" },
    ),
  ),
})
export type TaskView = Static<typeof TaskView>

export const DlqAnswer = Type.Object({
  dlq_size: Type.Integer({ description: "how many there are in all, not on this page" }),
  tasks: Type.Array(TaskView),
  next: Type.Optional(
    Type.String({ description: "give it as `cursor` for the next page; absent on the last" }),
  ),
})
export type DlqAnswer = Static<typeof DlqAnswer>

export const Redriven = Type.Object({ status: Type.Literal("requeued_from_dlq"), task_id: Type.String() })
export type Redriven = Static<typeof Redriven>

/** Every word that `code` can be. Which status goes with it stands in errors.ts. */
export const CODES = [
  "unauthorized",
  "bad_json",
  "bad_request",
  "not_found",
  "task_not_found",
  "not_in_dlq",
  "lease_lost",
  "not_leased",
  "unsupported_media_type",
  "too_large",
  "redis_unavailable",
  "out_of_memory",
  "overloaded",
  "not_ready",
  "internal",
] as const
export type Code = (typeof CODES)[number]

export const Problem = Type.Object(
  {
    error: Type.String({ description: "for people" }),
    code: Type.Union(
      CODES.map(code => Type.Literal(code)),
      { description: "for programs" },
    ),
    status: Type.Integer(),
    title: Type.String(),
    detail: Type.Optional(Type.String({ description: "what to do about it" })),
    field: Type.Optional(Type.String({ description: "the member that is wrong" })),
    task_id: Type.Optional(Type.String()),
    state: Type.Optional(State),
    attempt: Type.Optional(Type.Integer({ description: "with lease_lost: the newest attempt" })),
  },
  { description: "RFC 9457 problem details" },
)
export type Problem = Static<typeof Problem>

/** One object or an array of up to 1,000. */
export const oneOrMany = <T extends TSchema>(one: T) =>
  Type.Union([one, Type.Array(one, { minItems: 1, maxItems: 1_000 })])
