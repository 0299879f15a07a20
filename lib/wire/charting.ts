/** The history of queues: what happened per minute and per hour. */
import { type Static, Type } from "@sinclair/typebox"
import { closed, EARLIEST_TIME, QueueName } from "./fields.ts"

export const MINUTE_MS = 60_000
export const HOUR_MS = 3_600_000
/** For how long points of minutes and of hours are kept. */
export const MINUTES_KEPT_MS = 24 * HOUR_MS
export const HOURS_KEPT_MS = 30 * 24 * HOUR_MS
/** How many types of a queue have points of their own. */
export const MAX_TYPES = 100

const percentilesOf = (description: string) =>
  Type.Optional(
    Type.Object({ p50: Type.Integer(), p95: Type.Integer(), p99: Type.Integer() }, { description }),
  )

/** The percentiles of a span of time; absent if there is nothing to measure. */
const durations = {
  wait_ms: percentilesOf(
    "times from a submit to the first lease, including a delay; absent if there was none",
  ),
  run_ms: percentilesOf("times from a lease to its ack; absent if there was none"),
}

/** The tasks of a queue that wait or run. */
export const DepthCounts = Type.Object({
  queued: Type.Integer(),
  delayed: Type.Integer(),
  processing: Type.Integer(),
})

export const Recent = Type.Object(
  {
    submitted_per_s: Type.Number(),
    done_per_s: Type.Number(),
    failed_per_s: Type.Number({ description: "attempts whose worker reported a failure" }),
    lapsed_per_s: Type.Number({ description: "leases that lapsed" }),
    dead_per_s: Type.Number(),
    done: Type.Integer({ description: "tasks that were done" }),
    failed: Type.Integer({ description: "attempts whose worker reported a failure" }),
    lapsed: Type.Integer({ description: "leases that lapsed" }),
    dead: Type.Integer({ description: "tasks that died" }),
    ...durations,
    depth_before: Type.Optional({
      ...DepthCounts,
      description: "how many tasks there were ten minutes ago; absent if no broker ran then",
    }),
  },
  { description: "the last ten minutes at all brokers, up to 20 s late" },
)

export type Recent = Static<typeof Recent>

const At = (description: string) =>
  Type.Optional(Type.Integer({ minimum: EARLIEST_TIME, maximum: 4_102_444_800_000, description }))

/** The query of GET /history. */
export const HistoryQuery = Type.Object(
  {
    queue: Type.Optional({ ...QueueName, description: `${QueueName.description}; only this queue` }),
    type: Type.Optional(
      Type.String({ minLength: 1, maxLength: 200, description: "only tasks of this type; requires `queue`" }),
    ),
    types: Type.Optional(
      Type.Union([Type.Literal("true"), Type.Literal("false")], {
        description: "true: also return a total for each type of the queue (default false)",
      }),
    ),
    from_at: At("the start, in ms since 1970 (default: an hour before `to_at`)"),
    to_at: At("the end, in ms since 1970 (default: now); not in the future"),
    step: Type.Optional(
      Type.String({
        pattern: "^[1-9][0-9]{0,9}(ms|s|m|h|d)?$",
        description:
          "the time between two points, such as 5m, 1h or 1d; a number without a unit is in ms (default: the shortest of 1m, 5m, 15m, 1h and 3h with at most 300 points)",
      }),
    ),
  },
  closed,
)

const counts = {
  submitted: Type.Integer(),
  done: Type.Integer(),
  failed: Type.Integer({ description: "attempts whose worker reported a failure" }),
  lapsed: Type.Integer({ description: "leases that lapsed" }),
  dead: Type.Integer({ description: "tasks that died" }),
  ...durations,
}

export const HistoryPoint = Type.Object({
  at: Type.Integer({ description: "when the step begins" }),
  recorded_ms: Type.Integer({ description: "for how many ms of the step a broker ran" }),
  ...counts,
  depth: Type.Optional({
    ...DepthCounts,
    description: "the largest number of tasks in the step; absent for a type, and if it is unknown",
  }),
})

export type HistoryPoint = Static<typeof HistoryPoint>

export const HistoryTotal = Type.Object(counts)

export type HistoryTotal = Static<typeof HistoryTotal>

export const TypeTotal = Type.Object({ type: Type.String(), ...counts })

export type TypeTotal = Static<typeof TypeTotal>

/** The body of POST /history/marks. */
export const AddMark = Type.Object(
  {
    text: Type.String({ minLength: 1, maxLength: 100, description: "what happened, such as `deploy v1.2`" }),
    at: At("when, in ms since 1970, between 30 days ago and one minute from now (default: now)"),
  },
  closed,
)

export type AddMark = Static<typeof AddMark>

export const Mark = Type.Object({
  at: Type.Integer(),
  text: Type.String(),
  by: Type.String({ description: "the name of the token that added it" }),
})

export type Mark = Static<typeof Mark>

export const HistoryAnswer = Type.Object({
  from_at: Type.Integer({ description: "the start of the first step" }),
  to_at: Type.Integer({ description: "the end of the last step, or now" }),
  step_ms: Type.Integer(),
  points: Type.Array(HistoryPoint, { description: "without the steps in which no broker ran" }),
  total: HistoryTotal,
  marks: Type.Array(Mark, { description: "the newest 100 marks of this time, the oldest first" }),
  types: Type.Optional(
    Type.Array(TypeTotal, { description: `the ${MAX_TYPES} busiest types, the busiest first` }),
  ),
  other: Type.Optional({
    ...HistoryTotal,
    description: "all other types of the queue together; absent if there is none",
  }),
})

export type HistoryAnswer = Static<typeof HistoryAnswer>
