/** Event names and data. Without TypeBox, so that the dashboard can import this file. */
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

/** The data of an event. Which members it has depends on its name. */
export interface EventData {
  /** When the event was published, by the clock of Redis: up to 100 ms after it happened. */
  at: number
  queue?: string
  task_id?: string
  type?: string
  worker?: string
  attempt?: number
  /** With `lapsed` and `dead`: why. With `paused`: the reason that the operator gave. */
  reason?: string
  /** With `failed`: the first 200 characters of the error. */
  error?: string
  /** With `settings`: the new settings. */
  settings?: QueueSettings
  /** With `purged`: the state of the deleted tasks, and their number. */
  state?: string
  purged?: number
  /** With `counts` and `skipped`: the broker that counted, and its numbers per queue. */
  broker?: string
  queues?: Record<string, Record<string, number> | number>
  /** The numbers of further queues are left out. */
  others?: true
}
