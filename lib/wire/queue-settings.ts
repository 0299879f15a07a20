/** The settings of a queue: defaults for its tasks, limits on how they are handed out, and when it needs attention. */
import { type Static, Type } from "@sinclair/typebox"
import { ATTENTION_DEFAULTS, type AttentionThresholds } from "./attention.ts"
import { closed, DAY_MS } from "./fields.ts"
import { Submit } from "./submitting.ts"

const { priority, max_retries, max_crashes, timeout_ms, max_runtime_ms, backoff, result_ttl_ms } =
  Submit.properties
export const TaskDefaults = Type.Object(
  { priority, max_retries, max_crashes, timeout_ms, max_runtime_ms, backoff, result_ttl_ms },
  {
    ...closed,
    minProperties: 1,
    description: "values for tasks whose submit omits them; they take precedence over the broker's defaults",
  },
)

export type TaskDefaults = Static<typeof TaskDefaults>

const Count = (description: string, maximum = 1_000_000) => Type.Integer({ minimum: 1, maximum, description })

const burst = Type.Optional(Count("how many at once after a quiet period (default: the limit)"))

/** `limit` per `per_ms`, or `per_second`, its short form. lib/http/grouping.ts checks which members belong together. */
const OneRate = Type.Object(
  {
    per_second: Type.Optional(Count("tasks handed out per second", 100_000)),
    limit: Type.Optional(Count("tasks handed out per `per_ms`")),
    per_ms: Type.Optional(Count("the length of the period, in ms", 31 * DAY_MS)),
    burst,
  },
  { ...closed, description: "{limit, per_ms, burst}, or {per_second, burst}" },
)

export type OneRate = Static<typeof OneRate>

const Rate = Type.Union([OneRate, Type.Array(OneRate, { minItems: 1, maxItems: 5 })], {
  description: "{limit, per_ms, burst}, {per_second, burst}, or a list of 1 to 5 of these, which all apply",
})

export const GroupLimits = Type.Object(
  {
    concurrency: Type.Optional(Count("how many tasks of a group may be leased at a time")),
    rate: Type.Optional(Rate),
    order: Type.Optional(
      Type.Union([Type.Literal("strict"), Type.Literal("any")], {
        description:
          "strict: a task starts only when the one before it in its group has ended, whatever retries that takes (default any)",
      }),
    ),
    on_dead: Type.Optional(
      Type.Union([Type.Literal("skip"), Type.Literal("block")], {
        description:
          "in strict order, if a task is dead: go on with the next one (skip, the default), or wait until it is retried or deleted (block)",
      }),
    ),
    max_waiting: Type.Optional(
      Count("how many ready tasks of a group may wait before submits get 429", 10_000_000),
    ),
  },
  closed,
)

export type GroupLimits = Static<typeof GroupLimits>

const threshold = (what: string, of: keyof AttentionThresholds, maximum = 31 * DAY_MS) =>
  Type.Optional(
    Type.Union([Type.Integer({ minimum: 1, maximum }), Type.Literal("off")], {
      description: `a whole number from 1 to ${maximum} (default ${ATTENTION_DEFAULTS[of]}), or "off": ${what}`,
    }),
  )

export const AttentionSettings = Type.Object(
  {
    idle_poll_ms: threshold("tasks wait, and no worker has polled for this long", "idle_poll_ms"),
    oldest_wait_ms: threshold("a task has waited for longer than this", "oldest_wait_ms"),
    schedule_late_ms: threshold(
      "a run of a schedule is later than this, or runs have found no room for this long",
      "schedule_late_ms",
    ),
    lapses: threshold("this many leases lapsed in ten minutes", "lapses", 1_000_000),
    failure_percent: threshold(
      "more than this percentage of the attempts in ten minutes failed",
      "failure_percent",
      100,
    ),
    growth: threshold("this many more tasks are queued than ten minutes ago", "growth", 10_000_000),
    dead: threshold("this many tasks died in 24 hours", "dead", 10_000_000),
    paused_ms: threshold("the queue has been paused for this long", "paused_ms"),
  },
  {
    ...closed,
    minProperties: 1,
    description: "thresholds of `attention` in the view of the queue; an omitted threshold has its default",
  },
)

export type AttentionSettings = Static<typeof AttentionSettings>

export const QueueSettings = Type.Object(
  {
    defaults: Type.Optional(TaskDefaults),
    concurrency: Type.Optional(Count("how many tasks may be leased at a time")),
    rate: Type.Optional(Rate),
    groups: Type.Optional({
      ...GroupLimits,
      description: "the limits of every group, unless it has its own",
    }),
    attention: Type.Optional(AttentionSettings),
  },
  { ...closed, description: "a member that is omitted removes that limit or those defaults" },
)

export type QueueSettings = Static<typeof QueueSettings>
