/** What workers send and receive: leases, acks, extends, and all three in one request. */
import { type Static, Type } from "@sinclair/typebox"
import {
  AgainOf,
  closed,
  contractTask,
  DAY_MS,
  Lease,
  Meta,
  ofSchedule,
  Queues,
  Redact,
  TaskId,
  TimeoutMs,
  WaitMs,
  WorkerName,
} from "./fields.ts"
import { Problem } from "./problem.ts"

/** What a worker reports about itself beside its name. */
const workerSelf = {
  instance: Type.Optional(
    Type.String({
      pattern: "^[A-Za-z0-9._-]{1,32}$",
      description:
        "1 to 32 characters from A-Z a-z 0-9 . _ -, different for each run of the worker: a drain of a previous run does not apply to it",
    }),
  ),
  host: Type.Optional(
    Type.String({
      pattern: "^[A-Za-z0-9._-]{1,64}$",
      description: "the worker's machine: 1 to 64 characters from A-Z a-z 0-9 . _ -",
    }),
  ),
  version: Type.Optional(
    Type.String({
      pattern: "^[A-Za-z0-9._+-]{1,32}$",
      description: "the worker's version: 1 to 32 characters from A-Z a-z 0-9 . _ + -",
    }),
  ),
  concurrency: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 100_000,
      description: "the maximum number of tasks that the worker runs at the same time; GET /workers shows it",
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
      Type.String({
        description:
          "only with `status` failed or released: the error message; the first 8,192 characters are kept",
      }),
    ),
    retry: Type.Optional(
      Type.Boolean({ description: "only with `status` failed: false makes the task dead at once" }),
    ),
    hold_group_ms: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: DAY_MS,
        description:
          "only with `status` failed or released: how long no task of the same group is leased, in ms, for example because a service has limited the tenant",
      }),
    ),
    retry_in_ms: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 30 * DAY_MS,
        description:
          "only with `status` failed or released: the delay before the next attempt, in ms (default: the backoff; with released: none)",
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
    timeout_ms: Type.Optional({
      ...TimeoutMs,
      description: "how long the lease lasts from now, in ms (default: the task's `timeout_ms`)",
    }),
    progress: Type.Optional(
      Type.Unknown({ description: "any JSON of at most 1,024 bytes, shown by /status" }),
    ),
    checkpoint: Type.Optional(
      Type.Unknown({
        description: "any JSON of at most 16,384 bytes; the next attempt gets it as task.checkpoint",
      }),
    ),
    log: Type.Optional(
      Type.Array(Type.String({ maxLength: 500 }), {
        minItems: 1,
        maxItems: 20,
        description: "log lines; the newest 20 are kept",
      }),
    ),
  },
  closed,
)

export type Extend = Static<typeof Extend>

export const Extended = Type.Object({
  status: Type.Union([Type.Literal("ok"), Type.Literal("cancelled")], {
    description: "cancelled: stop working on the task, and ack it",
  }),
  task_id: Type.String(),
  lease_expires_at: Type.Integer(),
})

export type Extended = Static<typeof Extended>

export const LeasedTask = Type.Object({
  ...contractTask,
  status: Type.Literal("processing"),
  queue: Type.String(),
  attempt: Type.Integer({ description: "increases with each lease: usable as a fencing token" }),
  releases: Type.Optional(Type.Integer({ description: "how often the task was released; absent: never" })),
  lease: Type.String({ description: "send it with ack and extend" }),
  timeout_ms: Type.Integer(),
  max_runtime_ms: Type.Optional(Type.Integer()),
  lease_expires_at: Type.Integer(),
  group: Type.Optional(Type.String()),
  checkpoint: Type.Optional(
    Type.Unknown({ description: "the checkpoint that a previous attempt stored with /extend" }),
  ),
  meta: Type.Optional(Meta),
  traceparent: Type.Optional(Type.String()),
  tracestate: Type.Optional(Type.String()),
  ...ofSchedule,
  again_of: AgainOf,
  redact: Redact,
})

export type LeasedTask = Static<typeof LeasedTask>

/** The query of GET /get. */
export const GetQuery = Type.Object(
  { queue: Type.Optional(Queues), wait_ms: Type.Optional(WaitMs), worker: Type.Optional(WorkerName) },
  closed,
)

export const LeaseAnswer = Type.Object({
  tasks: Type.Array(LeasedTask),
  drain: Type.Optional(Type.Literal(true, { description: "finish the tasks you have and stop polling" })),
})

export type LeaseAnswer = Static<typeof LeaseAnswer>

/** The whole protocol of a worker in one request. */
export const Work = Type.Object(
  {
    worker: Type.Optional(WorkerName),
    ...workerSelf,
    settle: Type.Optional(Type.Array(Ack, { maxItems: 1_000, description: "at most 1,000 acks" })),
    extend: Type.Optional(Type.Array(Extend, { maxItems: 1_000, description: "at most 1,000 extends" })),
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
  settled: Type.Array(Type.Union([Settled, Problem]), {
    description: "per item of settle: the answer of /ack",
  }),
  extended: Type.Array(Type.Union([Extended, Problem]), {
    description: "per item of extend: the answer of /extend",
  }),
  lost: Type.Array(Type.String({ description: "ids whose lease is lost: stop, and discard their results" })),
  cancelled: Type.Array(Type.String({ description: "ids of cancelled tasks: stop, and ack them" })),
  drain: Type.Boolean({ description: "true: finish the tasks you have and stop polling" }),
})

export type WorkAnswer = Static<typeof WorkAnswer>
