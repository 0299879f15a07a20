/** The states of a task, and the words that depend on them. Without TypeBox, so that the dashboard can import this file. */
export const STATES = ["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled"] as const

/** What a cancel by filter may name as `state`. */
export const CANCELLABLE = [
  "waiting",
  "queued",
  "delayed",
  "scheduled",
  "retrying",
  "processing",
  "any",
] as const

/** Words for several states; each state stands for itself. */
const SEVERAL = {
  waiting: ["scheduled", "queued", "retrying"],
  delayed: ["scheduled", "retrying"],
  any: ["scheduled", "queued", "retrying", "processing"],
  ended: ["done", "dead", "cancelled"],
} as const satisfies Record<string, readonly (typeof STATES)[number][]>

/** In these states a task has ended. */
export const ENDED_STATES: readonly string[] = SEVERAL.ended

export type StateWord = (typeof STATES)[number] | keyof typeof SEVERAL
export const STATE_WORDS: readonly StateWord[] = [...STATES, "waiting", "delayed", "any", "ended"]

export const statesOf = (word: StateWord): readonly (typeof STATES)[number][] =>
  word in SEVERAL ? SEVERAL[word as keyof typeof SEVERAL] : [word as (typeof STATES)[number]]

/** Why a task is dead. */
export const REASONS = ["failed", "crashed", "timed_out", "expired", "released"] as const

export type Reason = (typeof REASONS)[number]

/** The states whose tasks can be purged, as `depth` of a queue names them: `delayed` is scheduled or retrying. */
export const PURGEABLE = ["queued", "delayed", "done", "dead", "cancelled"] as const

export type Purgeable = (typeof PURGEABLE)[number]
