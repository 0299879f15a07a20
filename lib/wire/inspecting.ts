/** Tasks as clients and operators see them, the list of tasks, and why a task does not run. */
import { type Static, Type } from "@sinclair/typebox"
import {
  AgainOf,
  Backoff,
  closed,
  contractTask,
  GroupName,
  Hidden,
  Meta,
  ofSchedule,
  pageOf,
  partsOfNames,
  QueueName,
  Redact,
  State,
  WaitMs,
} from "./fields.ts"
import { REASONS, STATES } from "./states.ts"

export const Attempt = Type.Object({
  attempt: Type.Integer(),
  worker: Type.Optional(Type.String()),
  started_at: Type.Integer(),
  ended_at: Type.Optional(Type.Integer()),
  outcome: Type.String({
    description: "done, failed, crashed, timed_out, released, cancelled or processing",
  }),
  error: Type.Optional(Type.String()),
})

export type Attempt = Static<typeof Attempt>

export const TaskView = Type.Object({
  ...contractTask,
  status: {
    ...State,
    description:
      "retrying: the task has failed and waits to run again, at once or after a delay. A retrying task that is ready is still listed by /tasks under `state=queued` and counted by /queues as queued",
  },
  queue: Type.String(),
  priority: Type.Integer(),
  attempt: Type.Integer(),
  crashes: Type.Integer({ description: "leases that lapsed" }),
  max_crashes: Type.Integer(),
  releases: Type.Integer({ description: "how often the task was released" }),
  timeout_ms: Type.Integer(),
  created_at: Type.Integer(),
  started_at: Type.Optional(Type.Integer({ description: "when the newest attempt started" })),
  finished_at: Type.Optional(Type.Integer()),
  due_at: Type.Optional(Type.Integer({ description: "when a scheduled or retrying task is ready" })),
  lease_expires_at: Type.Optional(Type.Integer()),
  worker: Type.Optional(Type.String({ description: "the worker that has or had the task" })),
  max_runtime_ms: Type.Optional(Type.Integer()),
  expires_at: Type.Optional(Type.Integer()),
  result_ttl_ms: Type.Optional(Type.Integer()),
  backoff: Type.Optional(Backoff),
  unique_key: Type.Optional(Type.String()),
  group: Type.Optional(Type.String()),
  cancel_requested_at: Type.Optional(Type.Integer()),
  meta: Type.Optional(Meta),
  traceparent: Type.Optional(Type.String()),
  tracestate: Type.Optional(Type.String()),
  ...ofSchedule,
  again_of: AgainOf,
  redact: Redact,
  hidden: Hidden,
  progress: Type.Optional(Type.Unknown()),
  checkpoint: Type.Optional(Type.Unknown()),
  log: Type.Optional(Type.Array(Type.String())),
  log_at: Type.Optional(
    Type.Array(Type.Integer(), {
      description:
        "when the broker received each line of `log`; shorter if the first lines were stored by an earlier version",
    }),
  ),
  attempts: Type.Optional(
    Type.Array(Attempt, {
      description: "the newest last; at most 11",
    }),
  ),
  result: Type.Optional(Type.Unknown()),
  error: Type.Optional(
    Type.String({ description: "the error of the newest failure, or of a release with an error" }),
  ),
  reason: Type.Optional(
    Type.Union(
      REASONS.map(reason => Type.Literal(reason)),
      { description: "why the task is dead" },
    ),
  ),
})

export type TaskView = Static<typeof TaskView>

const TASK_ORDERS = ["queue", "time"] as const

/** The query of GET /status/:id. */
export const StatusQuery = Type.Object(
  { wait_ms: Type.Optional({ ...WaitMs, description: "how long to wait for the end of the task, in ms" }) },
  closed,
)

/** The query of GET /tasks, without `meta.<name>`. */
export const TasksQuery = Type.Object(
  {
    queue: Type.Optional(QueueName),
    queue_part: partsOfNames.queue_part,
    state: Type.Union(
      [...STATES, "all" as const].map(state => Type.Literal(state)),
      { description: "the state of the tasks, or `all`" },
    ),
    type: Type.Optional(Type.String({ minLength: 1, maxLength: 200, description: "the type of the tasks" })),
    type_part: partsOfNames.type_part,
    group: Type.Optional({ ...GroupName, description: `${GroupName.description}; the group of the tasks` }),
    id: Type.Optional(
      Type.String({
        pattern: "^([A-Za-z0-9._-]{1,64}:)?[A-Za-z0-9._-]{1,64}$",
        description:
          "a task id or a part of one, ignoring case; parts are searched only in the id itself, not in the name of its queue",
      }),
    ),
    text: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 200,
        description: "a text that the payload or the error contains, ignoring case; requires `queue`",
      }),
    ),
    order: Type.Optional(
      Type.Union(
        TASK_ORDERS.map(order => Type.Literal(order)),
        {
          description:
            "`queue` (default): queue by queue; `time`: all queues together, the newest task first. Scheduled and retrying tasks are then sorted by when they are due, and running ones by when their lease ends; queued tasks that cannot be merged follow queue by queue. With `id` or state `all`, the order is always `time`",
        },
      ),
    ),
    ...pageOf("tasks", "^[A-Za-z0-9._-]{1,600}$"),
  },
  closed,
)

export const TasksAnswer = Type.Object({
  tasks: Type.Array(TaskView),
  next: Type.Optional(
    Type.String({
      description: "pass it as `cursor` to get the next page, even if this page is empty",
    }),
  ),
})

export type TasksAnswer = Static<typeof TasksAnswer>

export const WhyAnswer = Type.Object({
  task_id: Type.String(),
  state: State,
  why: Type.String({ description: "one sentence for people" }),
  cause: Type.Union(
    [
      "ended",
      "delayed",
      "backing_off",
      "running",
      "cancelling",
      "waiting",
      "paused",
      "limited",
      "no_workers",
      "group_limited",
      "group_rate",
      "group_order",
      "group_paused",
      "group_held",
    ].map(cause => Type.Literal(cause)),
    { description: "for programs" },
  ),
  ahead: Type.Optional(Type.Integer({ description: "how many ready tasks are leased before this one" })),
  position_at_least: Type.Optional(Type.Boolean({ description: "`ahead` is a lower bound" })),
  due_at: Type.Optional(Type.Integer()),
  worker: Type.Optional(Type.String()),
  started_at: Type.Optional(Type.Integer()),
  lease_expires_at: Type.Optional(Type.Integer()),
  polled_at: Type.Optional(Type.Integer({ description: "when a worker last polled this queue" })),
  paused_at: Type.Optional(Type.Integer({ description: "when its queue was paused" })),
  pause_reason: Type.Optional(Type.String()),
  group: Type.Optional(Type.String()),
  blocked_by: Type.Optional(
    Type.Array(Type.String(), { description: "up to ten tasks that have the slots of its group" }),
  ),
  held_until_at: Type.Optional(
    Type.Integer({ description: "when the next task of its group can be leased" }),
  ),
  ...ofSchedule,
})

export type WhyAnswer = Static<typeof WhyAnswer>
