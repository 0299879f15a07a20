/** Dead tasks: lists, groups, retries and deletion. */
import { type Static, Type } from "@sinclair/typebox"
import {
  AgeMs,
  AtMost,
  Cursor,
  closed,
  DryRun,
  Next,
  NextPage,
  pageOf,
  partsOfNames,
  State,
  taskFilter,
  WaitMs,
} from "./fields.ts"
import { TaskView } from "./inspecting.ts"
import { REASONS } from "./states.ts"

/** Selects dead tasks: all members that are given must match. */
export const deadFilter = {
  ...taskFilter,
  ...partsOfNames,
  reason: Type.Optional(
    Type.Union(
      REASONS.map(reason => Type.Literal(reason)),
      { description: "why the tasks are dead" },
    ),
  ),
  fingerprint: Type.Optional(
    Type.String({ pattern: "^[0-9a-f]{16}$", description: "the fingerprint of a group from /dlq/groups" }),
  ),
  older_than_ms: Type.Optional({
    ...AgeMs,
    description: "only tasks that have been dead for longer than this, in ms, by the clock of Redis",
  }),
  newer_than_ms: Type.Optional({
    ...AgeMs,
    description: "only tasks that have been dead for less than this, in ms, by the clock of Redis",
  }),
}

/** The query of GET /dlq. */
export const DlqQuery = Type.Object(
  {
    ...deadFilter,
    ...pageOf("tasks", "^[A-Za-z0-9_-]{1,300}$"),
  },
  closed,
)

export const DlqAnswer = Type.Object({
  dlq_size: Type.Integer({ description: "all dead tasks, not only those on this page" }),
  tasks: Type.Array(TaskView),
  next: NextPage,
})

export type DlqAnswer = Static<typeof DlqAnswer>

/** The query of GET /dlq/groups. */
export const DlqGroupsQuery = Type.Object({ ...deadFilter, cursor: Cursor }, closed)

export const DeadGroup = Type.Object({
  fingerprint: Type.String({ description: "identifies the group; usable as a filter" }),
  type: Type.String(),
  reason: Type.Union(REASONS.map(reason => Type.Literal(reason))),
  error: Type.String({
    description:
      "the error, with <n>, <hex>, <uuid> and <text> in place of numbers, hex, UUIDs and quoted text",
  }),
  count: Type.Integer(),
  first_at: Type.Integer({ description: "when the first of them died" }),
  last_at: Type.Integer({ description: "when the last of them died" }),
  sample: Type.Object(
    { task_id: Type.String(), error: Type.Optional(Type.String()) },
    { description: "the newest task of the group" },
  ),
})

export type DeadGroup = Static<typeof DeadGroup>

export const DlqGroupsAnswer = Type.Object({
  groups: Type.Array(DeadGroup, {
    description: "the largest first; across pages, add up groups with the same fingerprint",
  }),
  next: Next,
})

export type DlqGroupsAnswer = Static<typeof DlqGroupsAnswer>

export const DlqPurge = Type.Object({ ...deadFilter, limit: AtMost, cursor: Cursor, dry_run: DryRun }, closed)

export type DlqPurge = Static<typeof DlqPurge>

export const DlqPurged = Type.Object({
  purged: Type.Integer({ description: "how many tasks were deleted; with dry_run, how many would be" }),
  next: Next,
})

export type DlqPurged = Static<typeof DlqPurged>

export const MAX_PATCH_BYTES = 16_384

export const RetryTask = Type.Object(
  {
    payload: Type.Optional(
      Type.Unknown({ description: "any JSON: the new payload; absent: the payload stays unchanged" }),
    ),
  },
  closed,
)

export type RetryTask = Static<typeof RetryTask>

export const RetryMany = Type.Object(
  {
    ...deadFilter,
    limit: AtMost,
    cursor: Cursor,
    dry_run: DryRun,
    patch: Type.Optional(
      Type.Unknown({
        description: "a JSON merge patch (RFC 7396) for each payload, of at most 16,384 bytes and 20 levels",
      }),
    ),
    canary: Type.Optional(
      Type.Boolean({
        description: "true: retry one task first, and the others only if it is done within `wait_ms`",
      }),
    ),
    wait_ms: Type.Optional({
      ...WaitMs,
      description: "with canary: how long to wait for the end of the first task, in ms",
    }),
    rate: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1_000,
        description: "tasks per second; the call then runs for at most 10 s (default: all at once)",
      }),
    ),
  },
  closed,
)

export type RetryMany = Static<typeof RetryMany>

export const RetriedMany = Type.Object({
  requeued: Type.Integer({ description: "how many tasks were retried; with dry_run, how many would be" }),
  skipped: Type.Integer({
    description: "how many were skipped: another task holds their unique key, or they were no longer dead",
  }),
  canary: Type.Optional(
    Type.Object(
      {
        task_id: Type.String(),
        state: Type.Optional({ ...State, description: "absent: the task was deleted" }),
      },
      { description: "the task that was retried first; the others were retried only if it is done" },
    ),
  ),
  next: Next,
})

export type RetriedMany = Static<typeof RetriedMany>

export const DeletedTask = Type.Object({ status: Type.Literal("deleted_from_dlq"), task_id: Type.String() })

export type DeletedTask = Static<typeof DeletedTask>

export const RetriedTask = Type.Object({ status: Type.Literal("requeued_from_dlq"), task_id: Type.String() })

export type RetriedTask = Static<typeof RetriedTask>
