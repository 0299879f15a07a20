/**
 * The shapes that cross the wire, once: types, validation and the OpenAPI document all come from here.
 * Objects that a caller sends refuse unknown members, so that a typing error is told and not ignored.
 * Durations are milliseconds and end in `_ms`; times are milliseconds since 1970 by Redis' clock and end in `_at`.
 */
import { type Static, type TNumber, type TSchema, Type } from "@sinclair/typebox"
import { EVENT_NAMES, EVENTS } from "./events.ts"

const closed = { additionalProperties: false }
const DAY_MS = 86_400_000

export const QueueName = Type.String({
  pattern: "^[A-Za-z0-9._-]{1,64}$",
  description: "1 to 64 of A-Z a-z 0-9 . _ -",
})
export const TaskId = Type.String({
  pattern: "^([A-Za-z0-9._-]{1,64}:)?[A-Za-z0-9._-]{1,64}$",
  description: "an id as /submit answered it",
})
export const WorkerName = Type.String({
  pattern: "^[A-Za-z0-9._-]{1,64}$",
  description: "1 to 64 of A-Z a-z 0-9 . _ -",
})
export const Lease = Type.String({
  pattern: "^[0-9]{1,9}\\.[A-Za-z0-9_-]{22}$",
  description: "a lease as the task carried it",
})
export const WaitMs = Type.Integer({
  minimum: 0,
  maximum: 20_000,
  description: "how long to wait for a task, in ms",
})
const TimeoutMs = Type.Integer({
  minimum: 100,
  maximum: DAY_MS,
  description: "how long a lease lasts, in ms (default: the broker's VISIBILITY_TIMEOUT_MS)",
})

/** An id that the caller gives, without the queue. */
export const GivenId = Type.String({
  pattern: "^[A-Za-z0-9._-]{1,64}$",
  description: "1 to 64 of A-Z a-z 0-9 . _ -",
})

export const Backoff = Type.Object(
  {
    kind: Type.Union([Type.Literal("fixed"), Type.Literal("exponential")]),
    delay_ms: Type.Integer({
      minimum: 1,
      maximum: 30 * DAY_MS,
      description: "before the first retry, in ms",
    }),
    max_ms: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 30 * DAY_MS, description: "never longer than this, in ms" }),
    ),
    jitter: Type.Optional(
      Type.Boolean({
        description: "true (the default): any time from 0 to the delay, so that retries do not come together",
      }),
    ),
  },
  { ...closed, description: "how long to wait before another attempt" },
)
export type Backoff = Static<typeof Backoff>

export const Meta = Type.Record(
  Type.String({ pattern: "^[A-Za-z0-9._-]{1,32}$" }),
  Type.String({ maxLength: 128 }),
  {
    maxProperties: 16,
    additionalProperties: false,
    description: "up to 16 labels: names of 1 to 32 of A-Z a-z 0-9 . _ -, values up to 128 characters",
  },
)

const Traceparent = Type.String({
  pattern: "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
  description: "W3C trace context; the request's own header serves as well",
})

export const Submit = Type.Object(
  {
    type: Type.String({ minLength: 1, maxLength: 200, description: "which handler runs it" }),
    payload: Type.Optional(
      Type.Unknown({ description: "any JSON; comes back exactly as it was sent (default {})" }),
    ),
    queue: Type.Optional(QueueName),
    priority: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 9, description: "9 goes first (default 5)" }),
    ),
    max_retries: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 1_000,
        description: "failures allowed before the dead-letter queue",
      }),
    ),
    max_crashes: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 1_000,
        description: "lapsed leases allowed before the dead-letter queue",
      }),
    ),
    timeout_ms: Type.Optional(TimeoutMs),
    max_runtime_ms: Type.Optional(
      Type.Integer({
        minimum: 100,
        maximum: 30 * DAY_MS,
        description: "the hard end of an attempt, in ms, however often its lease is extended",
      }),
    ),
    expires_in_ms: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 366 * DAY_MS,
        description: "no attempt starts later than this, in ms",
      }),
    ),
    backoff: Type.Optional(Backoff),
    result_ttl_ms: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 366 * DAY_MS,
        description: "how long it is kept once done, in ms",
      }),
    ),
    meta: Type.Optional(Meta),
    traceparent: Type.Optional(Traceparent),
    tracestate: Type.Optional(
      Type.String({ minLength: 1, maxLength: 512, description: "W3C trace context" }),
    ),
    task_id: Type.Optional(GivenId),
    unique_key: Type.Optional(
      Type.String({
        pattern: "^[\\x21-\\x7e]{1,128}$",
        description: "1 to 128 printable ASCII characters without spaces",
      }),
    ),
    on_duplicate: Type.Optional(
      Type.Union([Type.Literal("keep"), Type.Literal("replace")], {
        description: "with unique_key: what becomes of a waiting duplicate's payload (default keep)",
      }),
    ),
    run_at: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 4_102_444_800_000,
        description: "not before this time, in ms since 1970",
      }),
    ),
    delay_ms: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 366 * DAY_MS, description: "not before this many ms from now" }),
    ),
  },
  closed,
)
export type Submit = Static<typeof Submit>

export const Submitted = Type.Object({
  status: Type.Union([Type.Literal("queued"), Type.Literal("scheduled"), Type.Literal("duplicate")]),
  task_id: Type.String(),
  replayed: Type.Optional(
    Type.Literal(true, { description: "asked before under this key: this is the first answer" }),
  ),
  duplicate: Type.Optional(
    Type.Literal(true, { description: "this task holds the unique key: no other was made" }),
  ),
  replaced: Type.Optional(Type.Literal(true, { description: "its payload was replaced" })),
})
export type Submitted = Static<typeof Submitted>

const Queues = Type.Array(QueueName, {
  minItems: 1,
  maxItems: 100,
  description: "queues, tried in this order",
})

/** What a worker tells of itself beside its name. */
const workerSelf = {
  instance: Type.Optional(
    Type.String({
      pattern: "^[A-Za-z0-9._-]{1,32}$",
      description:
        "1 to 32 of A-Z a-z 0-9 . _ - that another run of the worker under its name has not: it is not told to drain in its place",
    }),
  ),
  host: Type.Optional(
    Type.String({
      pattern: "^[A-Za-z0-9._-]{1,64}$",
      description: "the worker's machine: 1 to 64 of A-Z a-z 0-9 . _ -",
    }),
  ),
  version: Type.Optional(
    Type.String({
      pattern: "^[A-Za-z0-9._+-]{1,32}$",
      description: "the worker's version: 1 to 32 of A-Z a-z 0-9 . _ + -",
    }),
  ),
}

export const LeaseRequest = Type.Object(
  {
    queues: Type.Optional(Queues),
    max: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000, description: "how many tasks at most (default 1)" }),
    ),
    wait_ms: Type.Optional(WaitMs),
    worker: Type.Optional(WorkerName),
    ...workerSelf,
  },
  closed,
)
export type LeaseRequest = Static<typeof LeaseRequest>

export const Ack = Type.Object(
  {
    task_id: TaskId,
    status: Type.Optional(
      Type.Union([Type.Literal("done"), Type.Literal("failed"), Type.Literal("released")], {
        description: "done, failed or released (default done)",
      }),
    ),
    lease: Type.Optional(Lease),
    result: Type.Optional(Type.Unknown({ description: "any JSON, with done" })),
    error: Type.Optional(
      Type.String({ description: "why it failed, with failed; kept up to 8,192 characters" }),
    ),
    retry: Type.Optional(
      Type.Boolean({ description: "with failed: false sends it to the dead-letter queue at once" }),
    ),
    retry_in_ms: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 30 * DAY_MS,
        description: "with failed: instead of the backoff, in ms",
      }),
    ),
  },
  closed,
)
export type Ack = Static<typeof Ack>

export const Settled = Type.Object({
  status: Type.Union([
    Type.Literal("acknowledged"),
    Type.Literal("requeued"),
    Type.Literal("moved_to_dlq"),
    Type.Literal("released"),
    Type.Literal("cancelled"),
  ]),
  task_id: Type.String(),
  retries: Type.Optional(Type.Integer()),
})
export type Settled = Static<typeof Settled>

export const MAX_CHECKPOINT_BYTES = 16_384
export const MAX_PROGRESS_BYTES = 1_024

export const Extend = Type.Object(
  {
    task_id: TaskId,
    lease: Lease,
    timeout_ms: Type.Optional(TimeoutMs),
    progress: Type.Optional(Type.Unknown({ description: "any JSON of up to 1,024 bytes, shown by /status" })),
    checkpoint: Type.Optional(
      Type.Unknown({
        description: "any JSON of up to 16,384 bytes: the next attempt gets it as task.checkpoint",
      }),
    ),
    log: Type.Optional(
      Type.Array(Type.String({ maxLength: 500 }), {
        minItems: 1,
        maxItems: 20,
        description: "lines; the newest 20 are kept",
      }),
    ),
  },
  closed,
)
export type Extend = Static<typeof Extend>

export const Extended = Type.Object({
  status: Type.Union([Type.Literal("ok"), Type.Literal("cancelled")], {
    description: "cancelled: stop, and ack it",
  }),
  task_id: Type.String(),
  lease_expires_at: Type.Integer(),
})
export type Extended = Static<typeof Extended>

export const Cancelled = Type.Object({
  status: Type.Union([Type.Literal("cancelled"), Type.Literal("cancelling")], {
    description: "cancelling: a worker has it, and hears of it when it extends",
  }),
  task_id: Type.String(),
})
export type Cancelled = Static<typeof Cancelled>

/** The members of the contract, the same in every answer that shows a task. */
const contractTask = {
  id: Type.String(),
  type: Type.String(),
  payload: Type.Unknown(),
  retries: Type.Integer({ description: "failures so far" }),
  max_retries: Type.Integer(),
}

export const LeasedTask = Type.Object({
  ...contractTask,
  status: Type.Literal("processing"),
  queue: Type.String(),
  attempt: Type.Integer({ description: "never goes back: usable as a fencing number" }),
  lease: Type.String({ description: "present it with ack and extend" }),
  timeout_ms: Type.Integer(),
  max_runtime_ms: Type.Optional(Type.Integer()),
  lease_expires_at: Type.Integer(),
  checkpoint: Type.Optional(Type.Unknown({ description: "as an attempt before left it with /extend" })),
  meta: Type.Optional(Meta),
  traceparent: Type.Optional(Type.String()),
  tracestate: Type.Optional(Type.String()),
})
export type LeasedTask = Static<typeof LeasedTask>

/** The query of GET /get. */
export const GetQuery = Type.Object(
  { queue: Type.Optional(Queues), wait_ms: Type.Optional(WaitMs), worker: Type.Optional(WorkerName) },
  closed,
)

export const REASONS = ["failed", "crashed", "timed_out", "expired", "released"] as const
export type Reason = (typeof REASONS)[number]

const AgeMs = Type.Integer({ minimum: 0, maximum: 366 * DAY_MS })

/** Which dead tasks: those of which all that is given is true. */
const deadFilter = {
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

export const LeaseAnswer = Type.Object({
  tasks: Type.Array(LeasedTask),
  drain: Type.Optional(Type.Literal(true, { description: "finish what is in hand and ask for no more" })),
})
export type LeaseAnswer = Static<typeof LeaseAnswer>

export const STATES = ["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled"] as const
export const State = Type.Union(STATES.map(state => Type.Literal(state)))
export type State = (typeof STATES)[number]

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
  status: State,
  queue: Type.String(),
  priority: Type.Integer(),
  attempt: Type.Integer(),
  crashes: Type.Integer({ description: "leases that lapsed" }),
  max_crashes: Type.Integer(),
  releases: Type.Integer({ description: "times it was given back unblamed" }),
  timeout_ms: Type.Integer(),
  created_at: Type.Integer(),
  started_at: Type.Optional(Type.Integer({ description: "when the newest attempt began" })),
  finished_at: Type.Optional(Type.Integer()),
  due_at: Type.Optional(Type.Integer({ description: "when a scheduled or retrying task is ready" })),
  lease_expires_at: Type.Optional(Type.Integer()),
  worker: Type.Optional(Type.String({ description: "who has or had it" })),
  max_runtime_ms: Type.Optional(Type.Integer()),
  expires_at: Type.Optional(Type.Integer()),
  unique_key: Type.Optional(Type.String()),
  cancel_requested_at: Type.Optional(Type.Integer()),
  meta: Type.Optional(Meta),
  traceparent: Type.Optional(Type.String()),
  tracestate: Type.Optional(Type.String()),
  progress: Type.Optional(Type.Unknown()),
  checkpoint: Type.Optional(Type.Unknown()),
  log: Type.Optional(Type.Array(Type.String())),
  attempts: Type.Optional(Type.Array(Attempt, { description: "the newest last; up to 11" })),
  result: Type.Optional(Type.Unknown()),
  error: Type.Optional(Type.String({ description: "of the newest failure" })),
  reason: Type.Optional(
    Type.Union(
      REASONS.map(reason => Type.Literal(reason)),
      { description: "why it is dead" },
    ),
  ),
})
export type TaskView = Static<typeof TaskView>

const NextPage = Type.Optional(
  Type.String({ description: "give it as `cursor` for the next page; absent on the last" }),
)

export const DlqAnswer = Type.Object({
  dlq_size: Type.Integer({ description: "how many there are in all, not on this page" }),
  tasks: Type.Array(TaskView),
  next: NextPage,
})
export type DlqAnswer = Static<typeof DlqAnswer>

const Cursor = Type.Optional(
  Type.String({ pattern: "^[A-Za-z0-9_-]{1,300}$", description: "`next` of the answer before" }),
)
const Next = Type.Optional(
  Type.String({
    description:
      "there may be more: give it as `cursor`, with the same filter, though this time none matched",
  }),
)

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

const AtMost = Type.Optional(
  Type.Integer({ minimum: 1, maximum: 1_000, description: "how many at most (default 100)" }),
)
const DryRun = Type.Optional(
  Type.Boolean({ description: "true: only tell what would be done (default false)" }),
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

/** The query of GET /status/:id. */
export const StatusQuery = Type.Object(
  { wait_ms: Type.Optional({ ...WaitMs, description: "how long to wait for its end, in ms" }) },
  closed,
)

/** The query of GET /tasks, but for `meta.<name>`. */
export const TasksQuery = Type.Object(
  {
    queue: Type.Optional(QueueName),
    state: Type.Union(
      STATES.map(state => Type.Literal(state)),
      { description: "where the tasks stand" },
    ),
    type: Type.Optional(Type.String({ minLength: 1, maxLength: 200, description: "only of this type" })),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000, description: "tasks on a page (default 100)" }),
    ),
    cursor: Type.Optional(
      Type.String({ pattern: "^[A-Za-z0-9_-]{1,300}$", description: "`next` of the page before" }),
    ),
  },
  closed,
)

export const TasksAnswer = Type.Object({
  tasks: Type.Array(TaskView),
  next: Type.Optional(
    Type.String({
      description: "give it as `cursor` for the next page, which may be there though this one is empty",
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
    ].map(cause => Type.Literal(cause)),
    { description: "for programs" },
  ),
  ahead: Type.Optional(Type.Integer({ description: "ready tasks that go first" })),
  position_at_least: Type.Optional(Type.Boolean({ description: "`ahead` is a lower bound" })),
  due_at: Type.Optional(Type.Integer()),
  worker: Type.Optional(Type.String()),
  started_at: Type.Optional(Type.Integer()),
  lease_expires_at: Type.Optional(Type.Integer()),
  polled_at: Type.Optional(Type.Integer({ description: "when somebody last asked this queue for tasks" })),
  paused_at: Type.Optional(Type.Integer({ description: "since when its queue is paused" })),
  pause_reason: Type.Optional(Type.String()),
})
export type WhyAnswer = Static<typeof WhyAnswer>

/** Of Redis' streams. */
const EventId = Type.String({
  pattern: "^[0-9]{1,15}(-[0-9]{1,15})?$",
  description: "an id as an event carried it: those after it are told first, as far as they are kept",
})

/** The query of GET /queues. */
export const QueuesQuery = Type.Object(
  {
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000, description: "queues on a page (default 100)" }),
    ),
    cursor: Type.Optional({ ...QueueName, description: "`next` of the page before" }),
  },
  closed,
)
/** The query of GET /events. */
export const EventsQuery = Type.Object(
  {
    queue: Type.Optional({ ...Queues, description: "only of these queues" }),
    task: Type.Optional({ ...TaskId, description: "only of this task" }),
    event: Type.Optional(
      Type.Array(Type.Union(EVENT_NAMES.map(name => Type.Literal(name))), {
        ...{
          minItems: 1,
          maxItems: EVENT_NAMES.length,
          description: "only these; `gap` and `skipped` always",
        },
      }),
    ),
    last_event_id: Type.Optional(EventId),
  },
  closed,
)

/** What an event tells, as its name needs. */
export interface EventData {
  /** By Redis' clock, when it was told: up to a tenth of a second after it happened. */
  at: number
  queue?: string
  task_id?: string
  type?: string
  worker?: string
  attempt?: number
  /** Of `lapsed` and `dead`; of `paused`, what the operator said. */
  reason?: string
  /** Of `failed`: the first 200 characters. */
  error?: string
  /** Of `settings`: those that hold now. */
  settings?: QueueSettings
  /** Of `purged`: the state, and how many. */
  state?: string
  purged?: number
  /** Of `counts` and `skipped`: whose numbers these are, and of which queues. */
  broker?: string
  queues?: Record<string, Record<string, number> | number>
  /** There are numbers of further queues, which are left out. */
  others?: true
}

const { priority, max_retries, max_crashes, timeout_ms, max_runtime_ms, backoff, result_ttl_ms } =
  Submit.properties
export const TaskDefaults = Type.Object(
  { priority, max_retries, max_crashes, timeout_ms, max_runtime_ms, backoff, result_ttl_ms },
  {
    ...closed,
    minProperties: 1,
    description: "what its tasks get where their submits do not say; before the broker's own defaults",
  },
)
export type TaskDefaults = Static<typeof TaskDefaults>

export const QueueSettings = Type.Object(
  {
    defaults: Type.Optional(TaskDefaults),
    concurrency: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000_000, description: "how many tasks run at a time" }),
    ),
    rate: Type.Optional(
      Type.Object(
        {
          per_second: Type.Integer({
            minimum: 1,
            maximum: 100_000,
            description: "tasks handed out a second",
          }),
          burst: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: 100_000,
              description: "how many at once after a rest (default: per_second)",
            }),
          ),
        },
        { ...closed, description: "how fast tasks are handed out" },
      ),
    ),
  },
  { ...closed, description: "what is left out has no limit, or no defaults" },
)
export type QueueSettings = Static<typeof QueueSettings>

export const Rates = Type.Object(
  Object.fromEntries(EVENTS.map(event => [event, Type.Number()])) as Record<(typeof EVENTS)[number], TNumber>,
  { description: "how many of each a second, over the last minute, at all brokers" },
)
export type Rates = Static<typeof Rates>

export const QueueView = Type.Object({
  queue: Type.String(),
  depth: Type.Object(
    {
      queued: Type.Integer({
        description:
          "ready for a worker; counts ids that cancelled tasks left behind until a lease drops them",
      }),
      delayed: Type.Integer({ description: "scheduled and retrying" }),
      processing: Type.Integer(),
      done: Type.Integer(),
      dead: Type.Integer(),
      cancelled: Type.Integer(),
    },
    { description: "how many tasks are there" },
  ),
  queued_by_priority: Type.Record(Type.String({ pattern: "^[0-9]$" }), Type.Integer(), {
    description: "how many of the queued ones have each priority; those that none has are left out",
  }),
  oldest_waiting_ms: Type.Optional(
    Type.Integer({
      description:
        "how long the task that goes next has waited, since its submit or its newest attempt; of several priorities the longest",
    }),
  ),
  polled_at: Type.Optional(Type.Integer({ description: "when somebody last asked this queue for tasks" })),
  paused: Type.Boolean({ description: "true: it takes submits and hands out nothing" }),
  paused_at: Type.Optional(Type.Integer()),
  pause_reason: Type.Optional(Type.String()),
  settings: QueueSettings,
  workers: Type.Object(
    {
      count: Type.Integer(),
      names: Type.Array(Type.String(), { description: "the first 20, by name" }),
    },
    { description: "those with a name that asked for its tasks in the last minute" },
  ),
  rates: Rates,
})
export type QueueView = Static<typeof QueueView>

export const QueuesAnswer = Type.Object({
  queues: Type.Array(QueueView),
  next: NextPage,
})
export type QueuesAnswer = Static<typeof QueuesAnswer>

export const Pause = Type.Object(
  {
    reason: Type.Optional(
      Type.String({ minLength: 1, maxLength: 200, description: "why, for people; /why repeats it" }),
    ),
  },
  closed,
)
export type Pause = Static<typeof Pause>

export const Paused = Type.Object({
  status: Type.Union([Type.Literal("paused"), Type.Literal("resumed")]),
  queue: Type.String(),
  paused_at: Type.Optional(Type.Integer({ description: "of the first pause, where it was paused before" })),
})
export type Paused = Static<typeof Paused>

/** The places that can be emptied, as `depth` of a queue names them. */
export const PURGEABLE = ["queued", "delayed", "done", "dead", "cancelled"] as const
export type Purgeable = (typeof PURGEABLE)[number]

export const Purge = Type.Object(
  {
    state: Type.Union(
      PURGEABLE.map(state => Type.Literal(state)),
      { description: "which tasks: as `depth` of the queue names them" },
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
  purged: Type.Integer({ description: "how many tasks were deleted, or, of a dry run, would be" }),
  remaining: Type.Integer({ description: "how many are left there" }),
})
export type Purged = Static<typeof Purged>

/** The query of GET /workers. */
export const WorkersQuery = Type.Object(
  {
    queue: Type.Optional({ ...QueueName, description: "only those that asked for its tasks" }),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000, description: "workers on a page (default 100)" }),
    ),
    cursor: Type.Optional({ ...WorkerName, description: "`next` of the page before" }),
  },
  closed,
)

export const WORKER_STATES = ["live", "draining", "stale", "gone"] as const
export type WorkerState = (typeof WORKER_STATES)[number]

export const WorkerView = Type.Object({
  worker: Type.String(),
  state: Type.Union(
    WORKER_STATES.map(state => Type.Literal(state)),
    {
      description:
        "live: seen in the last minute; draining: as well, and it is to end; stale: not seen for a minute, and has tasks in hand; gone: not seen, and has none",
    },
  ),
  host: Type.Optional(Type.String()),
  version: Type.Optional(Type.String()),
  queues: Type.Array(Type.String(), { description: "which it asked for tasks: the newest 32" }),
  first_seen_at: Type.Integer(),
  last_seen_at: Type.Integer({ description: "when its newest request came, a few seconds late" }),
  in_hand: Type.Integer({ description: "live leases; of each queue the first 10,000 are looked at" }),
  tasks: Type.Array(Type.String(), { description: "up to ten of those" }),
  done: Type.Integer({ description: "since it was first seen" }),
  failed: Type.Integer({ description: "since it was first seen" }),
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
  draining_since: Type.Optional(Type.Integer({ description: "of the first time, where it was told before" })),
})
export type Drained = Static<typeof Drained>

/** The worker's whole protocol in one call. */
export const Work = Type.Object(
  {
    worker: Type.Optional(WorkerName),
    ...workerSelf,
    settle: Type.Optional(Type.Array(Ack, { maxItems: 1_000, description: "up to 1,000 acks" })),
    extend: Type.Optional(Type.Array(Extend, { maxItems: 1_000, description: "up to 1,000 leases" })),
    queues: Type.Optional(Queues),
    max: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 1_000, description: "how many tasks at most (default 0: none)" }),
    ),
    wait_ms: Type.Optional(WaitMs),
  },
  closed,
)
export type Work = Static<typeof Work>

export const WorkAnswer = Type.Object({
  tasks: Type.Array(LeasedTask),
  settled: Type.Array(Type.Unknown({ description: "for each of settle, as /ack answers" })),
  extended: Type.Array(Type.Unknown({ description: "for each of extend, as /extend answers" })),
  lost: Type.Array(Type.String({ description: "ids whose lease is lost: stop, and drop what they give" })),
  cancelled: Type.Array(Type.String({ description: "ids that are cancelled: stop, and ack them" })),
  drain: Type.Boolean({ description: "true: finish what is in hand and ask for no more" }),
})
export type WorkAnswer = Static<typeof WorkAnswer>

export const RetriedTask = Type.Object({ status: Type.Literal("requeued_from_dlq"), task_id: Type.String() })
export type RetriedTask = Static<typeof RetriedTask>

/** The query of POST /audit. */
export const AuditQuery = Type.Object(
  {
    queue: Type.Optional(QueueName),
    fix: Type.Optional(
      Type.Union([Type.Literal("true"), Type.Literal("false")], {
        description: "true: mend what is found (default false: only tell)",
      }),
    ),
  },
  closed,
)

export const FAULTS = [
  "not_listed",
  "no_lease",
  "no_due",
  "no_index",
  "no_expiry",
  "no_owner",
  "no_payload",
  "unreadable",
  "stray_entry",
  "stray_payload",
  "stray_key",
  "wrong_bytes",
  "not_registered",
] as const
export type Fault = (typeof FAULTS)[number]

export const AuditAnswer = Type.Object({
  complete: Type.Boolean({ description: "false: the time was over before all was looked at" }),
  looked: Type.Object(
    {
      queues: Type.Integer(),
      tasks: Type.Integer(),
      payloads: Type.Integer({ description: "those with a key of their own" }),
      unique_keys: Type.Integer(),
      entries: Type.Integer({ description: "of the sorted sets" }),
    },
    { description: "how many of each; what moves meanwhile may count twice" },
  ),
  found: Type.Array(
    Type.Object({
      kind: Type.Union(FAULTS.map(fault => Type.Literal(fault))),
      count: Type.Integer(),
      mended: Type.Integer(),
      sample: Type.String({
        description: "one of those: a task, a unique key as its queue has it, or a queue",
      }),
    }),
    { description: "what should not be, by kind; empty where all is well" },
  ),
})
export type AuditAnswer = Static<typeof AuditAnswer>

/** Every word that `code` can be. Which status goes with it stands in errors.ts. */
export const SignIn = Type.Object(
  { token: Type.String({ minLength: 1, maxLength: 2_000, description: "as X-API-Token has it" }) },
  closed,
)

export const SessionView = Type.Object({
  name: Type.String({ description: "of the token" }),
  roles: Type.Array(Type.Union(["submit", "work", "operate", "read"].map(role => Type.Literal(role)))),
  queues: Type.Optional(Type.Array(QueueName, { description: "the only ones it is for; absent: all" })),
  csrf: Type.Optional(Type.String({ description: "for X-CSRF-Token; absent where the request had a token" })),
  expires_at: Type.Optional(Type.Integer({ description: "by the broker's clock" })),
})
export type SessionView = Static<typeof SessionView>

export const SessionEnded = Type.Object({ status: Type.Literal("ended") })

export const CODES = [
  "unauthorized",
  "forbidden",
  "bad_json",
  "bad_request",
  "not_found",
  "task_not_found",
  "not_in_dlq",
  "worker_not_found",
  "lease_lost",
  "not_leased",
  "already_ended",
  "task_gone",
  "task_exists",
  "key_reused",
  "key_taken",
  "unsupported_media_type",
  "too_large",
  "queue_full",
  "redis_unavailable",
  "not_replicated",
  "out_of_memory",
  "overloaded",
  "not_ready",
  "internal",
] as const
export type Code = (typeof CODES)[number]

export const Problem = Type.Object(
  {
    error: Type.String({ description: "for people" }),
    code: Type.Union(
      CODES.map(code => Type.Literal(code)),
      { description: "for programs" },
    ),
    status: Type.Integer(),
    title: Type.String(),
    detail: Type.Optional(Type.String({ description: "what to do about it" })),
    field: Type.Optional(Type.String({ description: "the member that is wrong" })),
    task_id: Type.Optional(Type.String()),
    state: Type.Optional(State),
    attempt: Type.Optional(Type.Integer({ description: "with lease_lost: the newest attempt" })),
    request_id: Type.Optional(Type.String({ description: "with internal: to be found in the broker's log" })),
  },
  { description: "RFC 9457 problem details" },
)
export type Problem = Static<typeof Problem>

/** One object or an array of up to 1,000. */
export const oneOrMany = <T extends TSchema>(one: T) =>
  Type.Union([one, Type.Array(one, { minItems: 1, maxItems: 1_000 })])
