/** Requests that change many tasks by a filter. */
import { type Static, Type } from "@sinclair/typebox"
import { AgeMs, AtMost, Cursor, closed, DryRun, Meta, Next, taskFilter } from "./fields.ts"
import { CANCELLABLE } from "./states.ts"

/** Selects tasks in any state: all members that are given must match. */
const anyFilter = {
  ...taskFilter,
  meta: Type.Optional({ ...Meta, description: `labels that the task must have: ${Meta.description}` }),
  older_than_ms: Type.Optional({
    ...AgeMs,
    description: "ended longer ago than this, in ms, or submitted if it has not ended",
  }),
  newer_than_ms: Type.Optional({
    ...AgeMs,
    description: "ended less long ago than this, in ms, or submitted if it has not ended",
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
      "how many running tasks end as cancelled when their attempt ends; with dry_run, would end so",
  }),
  skipped: Type.Integer({ description: "how many had ended when they were to be cancelled" }),
  next: Next,
})

export type CancelledMany = Static<typeof CancelledMany>
