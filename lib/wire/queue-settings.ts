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
