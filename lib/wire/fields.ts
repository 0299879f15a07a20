/**
 * Fields that several shapes share: names, ids, states, cursors and limits.
 *
 * Each shape that crosses the wire is declared once: types, validation and the OpenAPI document derive from it.
 * Objects that a client sends refuse unknown members, so that a typing error is reported instead of ignored.
 * Durations are milliseconds and end in `_ms`. Times are milliseconds since 1970 by the clock of Redis and end in `_at`.
 */
import { type Static, Type } from "@sinclair/typebox"
import { STATES } from "./states.ts"

/** What a token may be used for. */
export const ROLES = ["submit", "work", "operate", "read", "watch"] as const
export type Role = (typeof ROLES)[number]

export const closed = { additionalProperties: false }

export const DAY_MS = 86_400_000

/**
 * Names are segments of paths. URL parsers remove the segments `.` and `..`, however they are escaped.
 * The pattern has no look-ahead, which the regular expressions of Go and RE2 lack.
 */
export const NAME_PATTERN =
  "^([A-Za-z0-9_-][A-Za-z0-9._-]{0,63}|\\.[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}|\\.\\.[A-Za-z0-9._-]{1,62})$"
export const NAME_DESCRIPTION = '1 to 64 characters from A-Z a-z 0-9 . _ -, and not "." or ".."'

/** The earliest time that a client can send, in September 2001: smaller numbers are seconds. */
export const EARLIEST_TIME = 1_000_000_000_000

export const QueueName = Type.String({
  pattern: NAME_PATTERN,
  description: NAME_DESCRIPTION,
})

/** Names of groups come from users: of tenants, addresses, orders. `.` and `..` are refused in addition, as in other names. */
export const GroupName = Type.String({
  pattern: "^[^\\x00-\\x1f\\x7f]{1,128}$",
  description: '1 to 128 characters, none of them a control character, and not "." or ".."',
})

export const TaskId = Type.String({
  pattern: "^([A-Za-z0-9._-]{1,64}:)?[A-Za-z0-9._-]{1,64}$",
  description: "a task_id as /submit returned it",
})

export const WorkerName = Type.String({
  pattern: NAME_PATTERN,
  description: NAME_DESCRIPTION,
})

export const Lease = Type.String({
  pattern: "^[0-9]{1,9}\\.[A-Za-z0-9_-]{22}$",
  description: "the lease of the task as the broker sent it",
})

export const WaitMs = Type.Integer({
  minimum: 0,
  maximum: 20_000,
  description: "how long to wait for a task, in ms",
})

export const TimeoutMs = Type.Integer({
  minimum: 100,
  maximum: DAY_MS,
  description: "how long a lease lasts, in ms (default: the broker's VISIBILITY_TIMEOUT_MS)",
})

export const Backoff = Type.Object(
  {
    kind: Type.Union([Type.Literal("fixed"), Type.Literal("exponential")]),
    delay_ms: Type.Integer({
      minimum: 1,
      maximum: 30 * DAY_MS,
      description: "the delay before the first retry, in ms",
    }),
    max_ms: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 30 * DAY_MS,
        description: "the longest delay, in ms (default: 30 days)",
      }),
    ),
    jitter: Type.Optional(
      Type.Boolean({
        description: "true (the default): a random time between 0 and the delay, so that retries spread out",
      }),
    ),
  },
  { ...closed, description: "how long to wait before the next attempt" },
)

export type Backoff = Static<typeof Backoff>

export const Payload = Type.Unknown({
  description: "any JSON; workers get it exactly as it was sent",
})
export const Priority = Type.Integer({ minimum: 0, maximum: 9, description: "9 is leased first" })
export const RunAt = Type.Integer({
  minimum: EARLIEST_TIME,
  maximum: 4_102_444_800_000,
  description: "the earliest start, in milliseconds since 1970",
})
export const DelayMs = Type.Integer({
  minimum: 0,
  maximum: 366 * DAY_MS,
  description: "the earliest start, in ms from now",
})

export const Meta = Type.Record(
  Type.String({ pattern: "^[A-Za-z0-9._-]{1,32}$" }),
  Type.String({ maxLength: 128 }),
  {
    maxProperties: 16,
    additionalProperties: false,
    description:
      "up to 16 labels: names of 1 to 32 characters from A-Z a-z 0-9 . _ -, values up to 128 characters",
  },
)

export const Queues = Type.Array(QueueName, {
  minItems: 1,
  maxItems: 100,
  description: "queue names, tried in this order",
})

/** The members of a task that a schedule created. */
export const ofSchedule = {
  schedule: Type.Optional(Type.String({ description: "the schedule that created the task" })),
  planned_at: Type.Optional(Type.Integer({ description: "the time for which the schedule created it" })),
}

export const AgainOf = Type.Optional(
  Type.String({ description: "the ended task that this one was copied from, with /tasks/:id/again" }),
)

export const Redact = Type.Optional(
  Type.Literal(true, { description: "only workers and operators may see its contents" }),
)
export const Hidden = Type.Optional(
  Type.Literal(true, {
    description:
      "the token may not see the contents: payload, result, errors, progress, checkpoint and log lines are left out",
  }),
)

/** The members of the contract, the same in every answer that shows a task. */
export const contractTask = {
  id: Type.String(),
  type: Type.String(),
  payload: Type.Unknown(),
  retries: Type.Integer({ description: "failures so far" }),
  max_retries: Type.Integer(),
}

export const State = Type.Union(STATES.map(state => Type.Literal(state)))

export type State = (typeof STATES)[number]

export const NextPage = Type.Optional(
  Type.String({ description: "pass it as `cursor` to get the next page; absent on the last page" }),
)

/** Members of the query of a list. `cursor`: the pattern of its `next`. */
export const pageOf = (things: string, cursor: string, maximum = 1_000) => ({
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum, description: `${things} on a page (default 100)` }),
  ),
  cursor: Type.Optional(Type.String({ pattern: cursor, description: "the `next` of the previous page" })),
})

export const Cursor = Type.Optional(
  Type.String({ pattern: "^[A-Za-z0-9_-]{1,300}$", description: "the `next` of the previous answer" }),
)

export const Next = Type.Optional(
  Type.String({
    description:
      "more tasks may match, even if none matched in this call: repeat it with this as `cursor` and the same filter",
  }),
)

export const DryRun = Type.Optional(
  Type.Boolean({ description: "true: change nothing, only count (default false)" }),
)

/** Members of a filter that every request for many tasks has. */
export const taskFilter = {
  queue: Type.Optional(QueueName),
  type: Type.Optional(Type.String({ minLength: 1, maxLength: 200, description: "the type of the tasks" })),
  group: Type.Optional({ ...GroupName, description: `${GroupName.description}; the group of the tasks` }),
  error: Type.Optional(
    Type.String({ minLength: 1, maxLength: 200, description: "text that the error contains" }),
  ),
}

/** Members of a filter that match parts of names. */
export const partsOfNames = {
  queue_part: Type.Optional(
    Type.String({
      pattern: "^[A-Za-z0-9._-]{1,64}$",
      description: "1 to 64 characters that the name of the queue contains, ignoring case",
    }),
  ),
  type_part: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 200,
      description: "a text that the type contains, ignoring case",
    }),
  ),
}

/** How long ago something happened. */
export const AgeMs = Type.Integer({ minimum: 0, maximum: 366 * DAY_MS })

/** How many tasks one call handles. */
export const AtMost = Type.Optional(
  Type.Integer({ minimum: 1, maximum: 1_000, description: "how many at most (default 100)" }),
)
