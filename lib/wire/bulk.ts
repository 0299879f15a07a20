/** Requests for many tasks: a cancel by filter, and bulk operations. */
import { type Static, Type } from "@sinclair/typebox"
import { BULK_ACTIONS, BULK_STATES } from "./bulk-words.ts"
import { deadFilter } from "./dead-letters.ts"
import {
  AgeMs,
  AtMost,
  Cursor,
  closed,
  DryRun,
  Meta,
  Next,
  partsOfNames,
  State,
  TaskId,
  taskFilter,
} from "./fields.ts"
import { CANCELLABLE, STATE_WORDS } from "./states.ts"

/** Selects tasks in any state: all members that are given must match. */
const anyFilter = {
  ...taskFilter,
  ...partsOfNames,
  meta: Type.Optional({ ...Meta, description: `${Meta.description}; labels that the task must have` }),
  older_than_ms: Type.Optional({
    ...AgeMs,
    description:
      "only tasks that ended longer ago than this, in ms; for tasks that have not ended, the time of their submit counts",
  }),
  newer_than_ms: Type.Optional({
    ...AgeMs,
    description:
      "only tasks that ended less than this ago, in ms; for tasks that have not ended, the time of their submit counts",
  }),
}

export const CancelMany = Type.Object(
  {
    ...anyFilter,
    state: Type.Optional(
      Type.Union(
        CANCELLABLE.map(state => Type.Literal(state)),
        {
          description:
            "the state of the tasks (default waiting: scheduled, queued or retrying); delayed: scheduled or retrying; any: waiting or processing",
        },
      ),
    ),
    limit: AtMost,
    cursor: Cursor,
    dry_run: DryRun,
  },
  closed,
)

export type CancelMany = Static<typeof CancelMany>

export const CancelledMany = Type.Object({
  cancelled: Type.Integer({
    description: "how many waiting tasks are cancelled now; with dry_run, how many would be",
  }),
  cancelling: Type.Integer({
    description:
      "how many running tasks end as cancelled when their attempt ends; with dry_run, how many would",
  }),
  skipped: Type.Integer({ description: "how many had already ended and were not cancelled" }),
  next: Next,
})

export type CancelledMany = Static<typeof CancelledMany>

const BulkAction = Type.Union(
  BULK_ACTIONS.map(action => Type.Literal(action)),
  {
    description:
      "retry dead tasks, purge (delete) tasks, cancel tasks that have not ended, start_now delayed tasks, or submit_again tasks like those that have ended",
  },
)

/** Which members an action takes is checked by lib/http/bulk.ts. */
const BulkFilter = Type.Object(
  {
    ...anyFilter,
    reason: deadFilter.reason,
    fingerprint: deadFilter.fingerprint,
    id_part: Type.Optional(
      Type.String({
        pattern: "^[A-Za-z0-9._-]{1,64}$",
        description: "1 to 64 characters that the id without its queue contains, ignoring case",
      }),
    ),
    text: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 200,
        description: "a text that the payload or the error contains, ignoring case; requires `queue`",
      }),
    ),
    state: Type.Optional(
      Type.Union(
        STATE_WORDS.map(state => Type.Literal(state)),
        {
          description:
            "the state of the tasks (default: waiting with cancel, delayed with start_now, done with submit_again, otherwise dead); ended: done, dead or cancelled",
        },
      ),
    ),
    task_ids: Type.Optional(
      Type.Array(TaskId, {
        minItems: 1,
        maxItems: 1_000,
        description:
          "exactly these tasks; cannot be combined with other members, except that purge and submit_again also take `state`",
      }),
    ),
  },
  {
    ...closed,
    description: "all members that are given must match; {} matches all tasks in the action's default state",
  },
)

export const BulkRequest = Type.Object(
  {
    action: BulkAction,
    filter: BulkFilter,
    limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10_000_000,
        description: "change at most this many tasks (default: all)",
      }),
    ),
    rate: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000, description: "tasks per second (default: no limit)" }),
    ),
    patch: Type.Optional(
      Type.Unknown({
        description:
          "with retry: a JSON merge patch (RFC 7396) for each payload, of at most 16,384 bytes and 20 levels",
      }),
    ),
    canary: Type.Optional(
      Type.Boolean({
        description: "with retry: retry one task first, and the others only when it is done (default false)",
      }),
    ),
    reason: Type.Optional(
      Type.String({ minLength: 1, maxLength: 200, description: "why, for people; the list shows it" }),
    ),
  },
  closed,
)

export type BulkRequest = Static<typeof BulkRequest>

/** The body of POST /bulk/count. */
export const BulkCount = Type.Object(
  {
    action: BulkAction,
    filter: Type.Omit(BulkFilter, ["task_ids"], {
      ...closed,
      description: "as for /bulk, without `task_ids`",
    }),
    cursor: Cursor,
  },
  closed,
)

export type BulkCount = Static<typeof BulkCount>

export const BulkCounted = Type.Object({
  matching: Type.Integer({ description: "how many of the tasks that this call has looked at match" }),
  next: Next,
})

export type BulkCounted = Static<typeof BulkCounted>

export const BulkId = Type.String({
  pattern: "^[A-Za-z0-9]{1,64}$",
  description: "a bulk_id as /bulk returned it",
})

export type BulkState = (typeof BULK_STATES)[number]

export const BulkView = Type.Object({
  bulk_id: Type.String(),
  action: BulkAction,
  filter: Type.Omit(BulkFilter, ["task_ids"], { description: "as requested, without `task_ids`" }),
  selected: Type.Optional(Type.Integer({ description: "how many tasks `task_ids` named" })),
  limit: Type.Optional(Type.Integer()),
  rate: Type.Optional(Type.Integer()),
  patch: Type.Optional(Type.Unknown()),
  reason: Type.Optional(Type.String({ description: "as requested" })),
  author: Type.String({ description: "the name of the token that started it" }),
  started_at: Type.Integer(),
  ended_at: Type.Optional(Type.Integer()),
  state: Type.Union(
    BULK_STATES.map(state => Type.Literal(state)),
    {
      description:
        "waiting_for_canary: the first task has not ended; stopped: by a request or because the canary was not done; failed: by a fault",
    },
  ),
  stopped_by: Type.Optional(Type.String({ description: "the name of the token that asked to stop it" })),
  cause: Type.Optional(Type.String({ description: "why it was stopped or failed, for people" })),
  progress: Type.Object(
    {
      total: Type.Integer({
        description: "how many tasks were in that state when it started, whether they match or not",
      }),
      seen: Type.Integer({ description: "how many tasks it has looked at; a cancel may look at them again" }),
      done: Type.Integer({ description: "how many tasks it has changed" }),
      skipped: Type.Integer({
        description: "how many matched, but could not be changed: for example their unique key was taken",
      }),
    },
    { description: "stored after each page" },
  ),
  canary: Type.Optional(
    Type.Object(
      { task_id: Type.String(), state: Type.Optional({ ...State, description: "absent: it was deleted" }) },
      { description: "the task that was retried first" },
    ),
  ),
  outcome: Type.Optional(
    Type.Object(
      {
        succeeded: Type.Integer(),
        died_again: Type.Integer(),
        other: Type.Integer({ description: "cancelled, or deleted before the outcome was seen" }),
        still_going: Type.Integer({ description: "have not ended yet" }),
      },
      { description: "with retry: what became of the retried tasks; a few seconds late" },
    ),
  ),
})

export type BulkView = Static<typeof BulkView>

/** The query of GET /bulk. */
export const BulkQuery = Type.Object(
  {
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 100, description: "how many operations (default 100)" }),
    ),
  },
  closed,
)

export const BulkAnswer = Type.Object({
  operations: Type.Array(BulkView, { description: "the newest first" }),
})

export type BulkAnswer = Static<typeof BulkAnswer>

export const BulkStopped = Type.Object({
  status: Type.Union([Type.Literal("stopping"), Type.Literal("ended")], {
    description: "stopping: it ends after the page in hand; ended: it had ended already",
  }),
  bulk_id: Type.String(),
})

export type BulkStopped = Static<typeof BulkStopped>
