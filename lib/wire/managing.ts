/** Queues and workers as operators see and change them. */
import { type Static, type TNumber, Type } from "@sinclair/typebox"
import { ATTENTION_KINDS, QUEUE_ORDERS } from "./attention.ts"
import { Recent } from "./charting.ts"
import { EVENTS } from "./events.ts"
import { closed, DryRun, NextPage, pageOf, partsOfNames, QueueName, WorkerName } from "./fields.ts"
import { QueueSettings } from "./queue-settings.ts"
import { PURGEABLE } from "./states.ts"

export type QueueOrder = (typeof QUEUE_ORDERS)[number]

/** The query of GET /queues. */
export const QueuesQuery = Type.Object(
  {
    order: Type.Optional(
      Type.Union(
        QUEUE_ORDERS.map(order => Type.Literal(order)),
        {
          description:
            "`name`, `attention` (the worst first), or a figure, the highest first: a depth, `oldest` wait, `done` or `failed` per second, p95 of the `wait`, number of `workers`. If it is given, the answer has `totals` and `worst`",
        },
      ),
    ),
    queue_part: partsOfNames.queue_part,
    ...pageOf("queues", "^[A-Za-z0-9._-]{1,200}$"),
  },
  closed,
)

export const Rates = Type.Object(
  Object.fromEntries(EVENTS.map(event => [event, Type.Number()])) as Record<(typeof EVENTS)[number], TNumber>,
  { description: "events per second over the last minute, at all brokers" },
)

export type Rates = Static<typeof Rates>

const Depth = Type.Object(
  {
    queued: Type.Integer({
      description: "ready for a worker; also counts ids of cancelled tasks until a lease removes them",
    }),
    delayed: Type.Integer({ description: "scheduled and retrying" }),
    processing: Type.Integer(),
    done: Type.Integer(),
    dead: Type.Integer(),
    cancelled: Type.Integer(),
    open: Type.Integer({
      description: "queued, processing, or due within a minute: a number to scale workers by",
    }),
  },
  { description: "how many tasks are in each state" },
)

export const Attention = Type.Object({
  kind: Type.Union(
    ATTENTION_KINDS.map(kind => Type.Literal(kind)),
    {
      description:
        "no_workers: tasks wait and no worker polls; waiting: the oldest waits too long; schedule_late: a run is late or finds no room; lapsing: leases lapse; failing: attempts fail; growing: the backlog grows; dead: tasks died in the last 24 hours; paused: for too long",
    },
  ),
  since_at: Type.Optional(Type.Integer({ description: "since when; absent if it is not known" })),
  value: Type.Optional(
    Type.Number({
      description: "the measured value, which exceeds the threshold; absent if no worker has ever polled",
    }),
  ),
  threshold: Type.Number({ description: "of the queue's `settings.attention`, or the default" }),
  why: Type.String({ description: "one sentence for people" }),
})

export type Attention = Static<typeof Attention>

export const QueueView = Type.Object({
  queue: Type.String(),
  depth: Depth,
  delayed: Type.Optional(
    Type.Object(
      { scheduled: Type.Integer(), retrying: Type.Integer() },
      {
        description:
          "how many of the delayed tasks are scheduled, and how many wait for a retry; only in the answer for one queue, and absent if more than 1,000 tasks are delayed",
      },
    ),
  ),
  queued_by_priority: Type.Record(Type.String({ pattern: "^[0-9]$" }), Type.Integer(), {
    description: "queued tasks per priority, without the priorities that have none",
  }),
  oldest_waiting_ms: Type.Optional(
    Type.Integer({
      description:
        "how long the next task has waited since its submit or its newest attempt; the longest over all priorities",
    }),
  ),
  polled_at: Type.Optional(Type.Integer({ description: "when a worker last polled this queue" })),
  paused: Type.Boolean({ description: "true: the queue accepts submits and hands out no tasks" }),
  paused_at: Type.Optional(Type.Integer()),
  pause_reason: Type.Optional(Type.String()),
  settings: QueueSettings,
  workers: Type.Object(
    {
      count: Type.Integer(),
      names: Type.Array(Type.String(), { description: "the first 20 by name" }),
    },
    { description: "named workers that polled the queue in the last minute" },
  ),
  rates: Rates,
  attention: Type.Array(Attention, { description: "what is wrong with the queue, the worst first" }),
  recent: Recent,
})

export type QueueView = Static<typeof QueueView>

export const QueuesAnswer = Type.Object({
  queues: Type.Array(QueueView),
  next: NextPage,
  totals: Type.Optional(
    Type.Object(
      {
        queues: Type.Integer(),
        paused: Type.Integer({ description: "how many are paused" }),
        attention: Type.Integer({ description: "how many need attention" }),
        depth: Depth,
        rates: Rates,
        oldest_waiting_ms: Type.Optional(Type.Integer()),
        oldest_queue: Type.Optional(Type.String({ description: "the queue of the task that waits longest" })),
      },
      { description: "all queues that the token may see together; only with `order`" },
    ),
  ),
  worst: Type.Optional(
    Type.Array(Type.Object({ queue: Type.String(), attention: Type.Array(Attention) }), {
      description: "up to 20 queues that need attention, the worst first; only with `order`",
    }),
  ),
})

export type QueuesAnswer = Static<typeof QueuesAnswer>

export const Pause = Type.Object(
  {
    reason: Type.Optional(
      Type.String({ minLength: 1, maxLength: 200, description: "the reason, for people; /why shows it" }),
    ),
  },
  closed,
)

export type Pause = Static<typeof Pause>

export const Paused = Type.Object({
  status: Type.Union([Type.Literal("paused"), Type.Literal("resumed")]),
  queue: Type.String(),
  paused_at: Type.Optional(Type.Integer({ description: "since when the queue has been paused" })),
})

export type Paused = Static<typeof Paused>

export const Purge = Type.Object(
  {
    state: Type.Union(
      PURGEABLE.map(state => Type.Literal(state)),
      { description: "the state of the tasks, as `depth` of the queue names it" },
    ),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 10_000, description: "how many at most (default 1000)" }),
    ),
    dry_run: DryRun,
  },
  closed,
)

export type Purge = Static<typeof Purge>

export const Purged = Type.Object({
  purged: Type.Integer({ description: "how many tasks were deleted; with dry_run, how many would be" }),
  remaining: Type.Integer({ description: "how many tasks remain in this state" }),
})

export type Purged = Static<typeof Purged>

export const WORKER_STATES = ["live", "draining", "stale", "gone"] as const

export type WorkerState = (typeof WORKER_STATES)[number]

const State = Type.Union(WORKER_STATES.map(state => Type.Literal(state)))

/** The query of GET /workers. */
export const WorkersQuery = Type.Object(
  {
    queue: Type.Optional({
      ...QueueName,
      description: `${QueueName.description}; only workers that polled this queue`,
    }),
    worker: Type.Optional({
      ...WorkerName,
      description: `${WorkerName.description}; only workers with this name`,
    }),
    state: Type.Optional(
      Type.Array(State, {
        minItems: 1,
        maxItems: WORKER_STATES.length,
        description: "only workers in one of these states; a page may then have fewer workers than `limit`",
      }),
    ),
    ...pageOf("workers", "^[A-Za-z0-9._ -]{1,120}$"),
  },
  closed,
)

export const WorkerView = Type.Object({
  worker: Type.String(),
  instance: Type.Optional(
    Type.String({ description: "identifies this run of the worker; absent if the worker does not send it" }),
  ),
  state: {
    ...State,
    description:
      "live: seen in the last minute; draining: live, and being drained; stale: not seen for a minute, but holds tasks; gone: not seen for a minute and holds none",
  },
  host: Type.Optional(Type.String()),
  version: Type.Optional(Type.String()),
  queues: Type.Array(Type.String(), { description: "the queues that it polled: the newest 32" }),
  first_seen_at: Type.Integer(),
  last_seen_at: Type.Integer({ description: "the time of its newest request, a few seconds late" }),
  concurrency: Type.Optional(
    Type.Integer({
      description:
        "the maximum number of tasks that it runs at the same time; absent if the worker does not send it",
    }),
  ),
  in_hand: Type.Integer({
    description: "live leases under its name; only the first 10,000 of each queue are counted",
  }),
  tasks: Type.Array(Type.String(), { description: "at most ten of these tasks" }),
  done: Type.Integer({ description: "since it was first seen" }),
  failed: Type.Integer({ description: "since it was first seen" }),
  per_minute: Type.Integer({ description: "acks that it sent in the last minute, a few seconds late" }),
  draining_since: Type.Optional(Type.Integer()),
})

export type WorkerView = Static<typeof WorkerView>

export const WorkersAnswer = Type.Object({
  workers: Type.Array(WorkerView),
  next: NextPage,
})

export type WorkersAnswer = Static<typeof WorkersAnswer>

export const Drained = Type.Object({
  status: Type.Union([Type.Literal("draining"), Type.Literal("drain_ended")]),
  worker: Type.String(),
  draining_since: Type.Optional(Type.Integer({ description: "since when the worker has been draining" })),
})

export type Drained = Static<typeof Drained>
