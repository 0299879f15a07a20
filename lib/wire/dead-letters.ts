/** Dead tasks: lists, groups, retries and deletion. */
import { type Static, Type } from "@sinclair/typebox"
import {
  Cursor,
  closed,
  DAY_MS,
  DryRun,
  Next,
  NextPage,
  QueueName,
  REASONS,
  State,
  WaitMs,
} from "./fields.ts"
import { TaskView } from "./inspecting.ts"

export const AgeMs = Type.Integer({ minimum: 0, maximum: 366 * DAY_MS })

/** Which dead tasks: those of which all that is given is true. */
export const deadFilter = {
  queue: Type.Optional(QueueName),
  type: Type.Optional(Type.String({ minLength: 1, maxLength: 200, description: "only of this type" })),
  reason: Type.Optional(
    Type.Union(
      REASONS.map(reason => Type.Literal(reason)),
      { description: "why they are dead" },
    ),
  ),
  error: Type.Optional(
    Type.String({ minLength: 1, maxLength: 200, description: "a part of the error's text" }),
  ),
  fingerprint: Type.Optional(
    Type.String({ pattern: "^[0-9a-f]{16}$", description: "of a group, as /dlq/groups told it" }),
  ),
  older_than_ms: Type.Optional({
    ...AgeMs,
    description: "dead for longer than this, in ms, by the broker's clock",
  }),
  newer_than_ms: Type.Optional({
    ...AgeMs,
    description: "dead for less than this, in ms, by the broker's clock",
  }),
}

/** The query of GET /dlq. */
export const DlqQuery = Type.Object(
  {
    ...deadFilter,
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000, description: "tasks on a page (default 100)" }),
    ),
    cursor: Type.Optional(
      Type.String({ pattern: "^[A-Za-z0-9_-]{1,300}$", description: "`next` of the page before" }),
    ),
  },
  closed,
)

export const DlqAnswer = Type.Object({
  dlq_size: Type.Integer({ description: "how many there are in all, not on this page" }),
  tasks: Type.Array(TaskView),
  next: NextPage,
})

export type DlqAnswer = Static<typeof DlqAnswer>

/** The query of GET /dlq/groups. */
export const DlqGroupsQuery = Type.Object({ ...deadFilter, cursor: Cursor }, closed)

export const DeadGroup = Type.Object({
  fingerprint: Type.String({ description: "the same for the same type, reason and error; a filter" }),
  type: Type.String(),
  reason: Type.Union(REASONS.map(reason => Type.Literal(reason))),
  error: Type.String({
    description: "with <n>, <hex>, <uuid> and <text> where it had numbers, hex, UUIDs and quotations",
  }),
  count: Type.Integer(),
  first_at: Type.Integer({ description: "when the first of them died" }),
  last_at: Type.Integer({ description: "when the last of them died" }),
  sample: Type.Object(
    { task_id: Type.String(), error: Type.Optional(Type.String()) },
    { description: "the newest" },
  ),
})

export type DeadGroup = Static<typeof DeadGroup>

export const DlqGroupsAnswer = Type.Object({
  groups: Type.Array(DeadGroup, {
    description: "the largest first; of the next page add those with the same fingerprint",
  }),
  next: Next,
})

export type DlqGroupsAnswer = Static<typeof DlqGroupsAnswer>

export const AtMost = Type.Optional(
  Type.Integer({ minimum: 1, maximum: 1_000, description: "how many at most (default 100)" }),
)

export const DlqPurge = Type.Object({ ...deadFilter, limit: AtMost, cursor: Cursor, dry_run: DryRun }, closed)

export type DlqPurge = Static<typeof DlqPurge>

export const DlqPurged = Type.Object({
  purged: Type.Integer({ description: "how many were deleted, or, of a dry run, would be" }),
  next: Next,
})

export type DlqPurged = Static<typeof DlqPurged>

export const MAX_PATCH_BYTES = 16_384

export const RetryTask = Type.Object(
  {
    payload: Type.Optional(
      Type.Unknown({ description: "any JSON, in place of the payload that it had; absent: it stays" }),
    ),
  },
  closed,
)

export const RetryMany = Type.Object(
  {
    ...deadFilter,
    limit: AtMost,
    cursor: Cursor,
    dry_run: DryRun,
    patch: Type.Optional(
      Type.Unknown({
        description:
          "a JSON merge patch (RFC 7396) on each payload, of up to 16,384 bytes, its objects up to 20 deep",
      }),
    ),
    canary: Type.Optional(
      Type.Boolean({ description: "true: one first, and the others only if it is done within `wait_ms`" }),
    ),
    wait_ms: Type.Optional({ ...WaitMs, description: "with canary: how long to wait for its end, in ms" }),
    rate: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1_000,
        description:
          "how many a second: the call then goes on for up to 10 s, with as many as that allows (default: all at once)",
      }),
    ),
  },
  closed,
)

export type RetryMany = Static<typeof RetryMany>

export const RetriedMany = Type.Object({
  requeued: Type.Integer({ description: "how many wait again, or, of a dry run, would" }),
  skipped: Type.Integer({
    description: "how many were left: another task has their unique key, or they were dead no more",
  }),
  canary: Type.Optional(
    Type.Object(
      { task_id: Type.String(), state: Type.Optional({ ...State, description: "absent: it is gone" }) },
      { description: "the one that went first; the others did only where it is done" },
    ),
  ),
  next: Next,
})

export type RetriedMany = Static<typeof RetriedMany>

export const Discarded = Type.Object({ status: Type.Literal("deleted_from_dlq"), task_id: Type.String() })

export type Discarded = Static<typeof Discarded>

export const RetriedTask = Type.Object({ status: Type.Literal("requeued_from_dlq"), task_id: Type.String() })

export type RetriedTask = Static<typeof RetriedTask>
