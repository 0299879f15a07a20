/** The groups of a queue as operators see and change them. */
import { type Static, Type } from "@sinclair/typebox"
import { closed, NextPage, pageOf } from "./fields.ts"
import { GroupLimits } from "./queue-settings.ts"

/** The query of GET /queues/:queue/groups. */
export const GroupsQuery = Type.Object(
  {
    ...pageOf("groups", "^[A-Za-z0-9_-]{1,800}$"),
  },
  closed,
)

/** Why no task of a group may be leased. */
const HELD_CAUSES = ["concurrency", "rate", "order", "paused", "asked"] as const

export type HeldCause = (typeof HELD_CAUSES)[number]

export const GroupView = Type.Object({
  queue: Type.String(),
  group: Type.String(),
  waiting: Type.Integer({
    description: "ready tasks; also counts ids of cancelled tasks until a lease removes them",
  }),
  processing: Type.Integer({
    description:
      "tasks that have a slot of the group: leased ones, and in strict order one that waits for its retry",
  }),
  oldest_waiting_ms: Type.Optional(
    Type.Integer({ description: "how long the next task has waited since its submit or its newest attempt" }),
  ),
  held: Type.Optional(
    Type.Object(
      {
        cause: Type.Union(
          HELD_CAUSES.map(cause => Type.Literal(cause)),
          {
            description:
              "concurrency, rate: at this limit; order: an earlier task has not ended; paused: an operator paused the group; asked: a worker asked to hold it",
          },
        ),
        task_ids: Type.Optional(
          Type.Array(Type.String(), { description: "up to ten tasks that have the slots of the group" }),
        ),
        until_at: Type.Optional(
          Type.Integer({
            description:
              "when the next task can be leased; absent if that depends on an event, such as an ack",
          }),
        ),
      },
      { description: "why no task of the group is leased now" },
    ),
  ),
  paused_at: Type.Optional(Type.Integer()),
  pause_reason: Type.Optional(Type.String()),
  limits: Type.Optional({
    ...GroupLimits,
    description: "the limits of the group that differ from the settings of its queue",
  }),
})

export type GroupView = Static<typeof GroupView>

export const GroupsAnswer = Type.Object({
  groups: Type.Array(GroupView),
  next: NextPage,
})

export type GroupsAnswer = Static<typeof GroupsAnswer>
