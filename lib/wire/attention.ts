/** What is wrong with a queue: the kinds, the worst first, their thresholds, and orders of queues. Without TypeBox, for the dashboard. */

export const ATTENTION_KINDS = [
  "no_workers",
  "waiting",
  "schedule_late",
  "lapsing",
  "failing",
  "growing",
  "dead",
  "paused",
] as const

export type AttentionKind = (typeof ATTENTION_KINDS)[number]

/** Thresholds of a queue, unless its settings have others. lib/observe/alerts.yml has the same. */
export const ATTENTION_DEFAULTS = {
  /** Tasks wait, and no worker has polled for so long. */
  idle_poll_ms: 60_000,
  /** A task waits for longer. */
  oldest_wait_ms: 300_000,
  /** A planned run of a schedule is so late, or runs have found no room for so long. */
  schedule_late_ms: 60_000,
  /** So many leases lapsed in ten minutes. */
  lapses: 1,
  /** More than so many percent of the attempts of ten minutes failed. */
  failure_percent: 10,
  /** So many more tasks are queued than ten minutes ago. */
  growth: 100,
  /** So many tasks died in 24 hours. */
  dead: 1,
  /** The queue has been paused for so long. */
  paused_ms: 3_600_000,
}

export type AttentionThresholds = typeof ATTENTION_DEFAULTS

/** What GET /queues can be ordered by. */
export const QUEUE_ORDERS = [
  "name",
  "attention",
  "queued",
  "delayed",
  "processing",
  "dead",
  "oldest",
  "done",
  "failed",
  "wait",
  "workers",
] as const

const LATE_MS = 10_000

/** Whether the next run of a schedule should have started a while ago, for example because the queue is full. */
export const isRunLate = (
  { next_at = Number.POSITIVE_INFINITY, jitter_ms = 0 }: { next_at?: number; jitter_ms?: number },
  now: number,
): boolean => now - next_at - jitter_ms > LATE_MS
