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
