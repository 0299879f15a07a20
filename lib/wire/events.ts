/** Event names and data. Without TypeBox, so that the dashboard can import this file. */
import type { GroupLimits, QueueSettings } from "./queue-settings.ts"

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
  "changed",
  "deleted",
  "paused",
  "resumed",
  "settings",
  "purged",
  "group_limits",
  "group_paused",
  "group_resumed",
  "bulk_started",
  "bulk_ended",
  "schedule_set",
  "schedule_deleted",
  "schedule_paused",
  "schedule_resumed",
  "schedule_skipped",
  "schedule_missed",
  "counts",
  "skipped",
  "gap",
  "listening",
] as const

export type EventName = (typeof EVENT_NAMES)[number]

/** The events of a task, in the order in which they occur between two leases. */
const RANKS = {
  submitted: 0,
  scheduled: 0,
  leased: 1,
  cancelling: 2,
  done: 3,
  failed: 3,
  released: 3,
  lapsed: 3,
  dead: 4,
  retried: 5,
  changed: 6,
  cancelled: 7,
  deleted: 8,
} as const satisfies Partial<Record<EventName, number>>

export type TaskEventName = keyof typeof RANKS

/** The place of an event among all events of its task. `attempt`: of the newest lease, 0 before the first. */
export const orderOf = (event: TaskEventName, attempt: number): number => attempt * 10 + RANKS[event]

/** The data of an event. Which members it has depends on its name. */
export interface EventData {
  /** When it happened, by the clock of Redis; for an event that is not about a task, when it was published. */
  at: number
  queue?: string
  task_id?: string
  /** Sort the events of a task by `at`, then by `order`. */
  order?: number
  type?: string
  worker?: string
  attempt?: number
  /** With `lapsed` and `dead`: why. With `paused`: the reason that the operator gave. */
  reason?: string
  /** With `failed`, and with `released` if the ack has an error: its first 200 characters. */
  error?: string
  /** With `settings`: the new settings. */
  settings?: QueueSettings
  /** With events of groups: its name, and its new limits. */
  group?: string
  limits?: GroupLimits
  /** With `purged`: the state of the deleted tasks, and their number. */
  state?: string
  purged?: number
  /** With events of schedules: the id, the planned time, and how many planned times got no task. */
  schedule?: string
  planned_at?: number
  missed?: number
  /** With events of bulk operations: the id, the action and the token that started it. `bulk_ended` also has `state`. */
  bulk_id?: string
  action?: string
  by?: string
  /** With `counts` and `skipped`: the broker that counted, and its numbers per queue. */
  broker?: string
  queues?: Record<string, Record<string, number> | number>
  /** The numbers of further queues are left out. */
  others?: true
}

/** The id of an event is that of its entry in a stream of Redis: `<ms>-<number>`. */
export function partsOfEventId(id: string): [ms: number, number: number] {
  const dash = id.indexOf("-")
  return dash < 0 ? [Number(id), 0] : [Number(id.slice(0, dash)), Number(id.slice(dash + 1))]
}

/** Negative if the first id is before the second one. */
export function compareEventIds(a: string, b: string): number {
  const [ms, number] = partsOfEventId(a)
  const [otherMs, otherNumber] = partsOfEventId(b)
  return ms - otherMs || number - otherNumber
}
