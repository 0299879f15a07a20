/** The history of queues: what happened per minute and per hour. */
import { type Static, Type } from "@sinclair/typebox"

export const MINUTE_MS = 60_000
export const HOUR_MS = 3_600_000
/** For how long points of minutes and of hours are kept. */
export const MINUTES_KEPT_MS = 24 * HOUR_MS
export const HOURS_KEPT_MS = 30 * 24 * HOUR_MS

const percentilesOf = (description: string) =>
  Type.Optional(
    Type.Object({ p50: Type.Integer(), p95: Type.Integer(), p99: Type.Integer() }, { description }),
  )

/** The percentiles of a span of time; absent if there is nothing to measure. */
export const durations = {
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
