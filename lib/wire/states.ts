/** The states of a task, and the words that depend on them. Without TypeBox, so that the dashboard can import this file. */
export const STATES = ["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled"] as const

/** In these states a task has ended. */
export const ENDED_STATES: readonly string[] = [
  "done",
  "dead",
  "cancelled",
] satisfies (typeof STATES)[number][]

/** Why a task is dead. */
export const REASONS = ["failed", "crashed", "timed_out", "expired", "released"] as const

export type Reason = (typeof REASONS)[number]

/** The states whose tasks can be purged, as `depth` of a queue names them: `delayed` is scheduled or retrying. */
export const PURGEABLE = ["queued", "delayed", "done", "dead", "cancelled"] as const

export type Purgeable = (typeof PURGEABLE)[number]
