import type { QueueSettings } from "./queue-settings.ts"

export const EVENTS = ["submitted", "leased", "done", "failed", "released", "lapsed", "dead"] as const

export const EVENT_NAMES = [
  "submitted",
  "scheduled",
  "leased",
  "done",
  "failed",
  "released",
  "lapsed",
  "dead",
  "cancelling",
  "cancelled",
  "retried",
  "deleted",
  "paused",
  "resumed",
  "settings",
  "purged",
  "counts",
  "skipped",
  "gap",
  "listening",
] as const

export type EventName = (typeof EVENT_NAMES)[number]

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
