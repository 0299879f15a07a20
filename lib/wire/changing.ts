/** What clients and operators send to change a waiting task, or to submit an ended one again or delete it. */
import { type Static, Type } from "@sinclair/typebox"
import { closed, DelayMs, Meta, Payload, Priority, RunAt } from "./fields.ts"
import { Submitted } from "./submitting.ts"

export const TaskChange = Type.Object(
  {
    payload: Type.Optional(Payload),
    priority: Type.Optional(Priority),
    run_at: Type.Optional({
      ...RunAt,
      description: `${RunAt.description}; if it has passed, the task is ready at once`,
    }),
    delay_ms: Type.Optional({ ...DelayMs, description: `${DelayMs.description}; 0: at once` }),
    meta: Type.Optional({ ...Meta, description: `${Meta.description}; all labels of the task` }),
  },
  closed,
)

export type TaskChange = Static<typeof TaskChange>

export const TaskChanged = Type.Object({ status: Type.Literal("changed"), task_id: Type.String() })

export type TaskChanged = Static<typeof TaskChanged>

export const TaskDeleted = Type.Object({ status: Type.Literal("deleted"), task_id: Type.String() })

export type TaskDeleted = Static<typeof TaskDeleted>

export const Again = Type.Object(
  {
    payload: Type.Optional({ ...Payload, description: `${Payload.description} (default: as before)` }),
    run_at: Type.Optional(RunAt),
    delay_ms: Type.Optional(DelayMs),
  },
  closed,
)

export type Again = Static<typeof Again>

export const SubmittedAgain = Type.Object({
  ...Submitted.properties,
  again_of: Type.String({ description: "the task that the new one was copied from" }),
})

export type SubmittedAgain = Static<typeof SubmittedAgain>
