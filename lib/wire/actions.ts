/** The trail of operator actions: which operations it records, and its entries as GET /actions lists them. */
import { type Static, Type } from "@sinclair/typebox"
import { ACTIONS } from "./action-names.ts"
import { closed, NextPage, pageOf, QueueName } from "./fields.ts"

const ActionName = Type.Union(ACTIONS.map(action => Type.Literal(action)))

/** The query of GET /actions. */
export const ActionsQuery = Type.Object(
  {
    queue: Type.Optional({
      ...QueueName,
      description: `${QueueName.description}; only actions that name this queue`,
    }),
    by: Type.Optional(
      Type.String({
        pattern: "^[A-Za-z0-9._-]{1,64}$",
        description: "1 to 64 characters from A-Z a-z 0-9 . _ -; only actions of the token with this name",
      }),
    ),
    action: Type.Optional({ ...ActionName, description: "only this action" }),
    ...pageOf("actions", "^[0-9]{1,15}-[0-9]{1,10}$"),
  },
  closed,
)

export const ActionView = Type.Object({
  id: Type.String({ description: "the id of this entry" }),
  at: Type.Integer({ description: "when it was done" }),
  by: Type.String({ description: "the name of the token" }),
  action: { ...ActionName, description: "the operation, by its id in the OpenAPI document" },
  queues: Type.Optional(
    Type.Array(Type.String(), {
      description: "the queues that it concerns; absent if it concerns all queues, or none",
    }),
  ),
  task_id: Type.Optional(Type.String()),
  schedule: Type.Optional(Type.String()),
  group: Type.Optional(Type.String()),
  worker: Type.Optional(Type.String()),
  request_id: Type.Optional(Type.String({ description: "the id of the request, as in the log" })),
  details: Type.Record(Type.String(), Type.Unknown(), {
    description: "what was requested and what came of it: a reason, counts, the values before and after",
  }),
})

export type ActionView = Static<typeof ActionView>

export const ActionsAnswer = Type.Object({
  actions: Type.Array(ActionView),
  next: NextPage,
})

export type ActionsAnswer = Static<typeof ActionsAnswer>
