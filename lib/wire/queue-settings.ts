/** The settings of a queue: defaults for its tasks, and limits on how they are handed out. */
import { type Static, Type } from "@sinclair/typebox"
import { closed } from "./fields.ts"
import { Submit } from "./submitting.ts"

const { priority, max_retries, max_crashes, timeout_ms, max_runtime_ms, backoff, result_ttl_ms } =
  Submit.properties
export const TaskDefaults = Type.Object(
  { priority, max_retries, max_crashes, timeout_ms, max_runtime_ms, backoff, result_ttl_ms },
  {
    ...closed,
    minProperties: 1,
    description: "values for tasks whose submit omits them, before the defaults of the broker",
  },
)

export type TaskDefaults = Static<typeof TaskDefaults>

export const QueueSettings = Type.Object(
  {
    defaults: Type.Optional(TaskDefaults),
    concurrency: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000_000, description: "how many tasks may be leased at a time" }),
    ),
    rate: Type.Optional(
      Type.Object(
        {
          per_second: Type.Integer({
            minimum: 1,
            maximum: 100_000,
            description: "tasks handed out per second",
          }),
          burst: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: 100_000,
              description: "how many at once after a quiet period (default: per_second)",
            }),
          ),
        },
        { ...closed, description: "how fast tasks are handed out" },
      ),
    ),
  },
  { ...closed, description: "a member that is omitted removes that limit or those defaults" },
)

export type QueueSettings = Static<typeof QueueSettings>
