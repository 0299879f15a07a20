/** What is wrong with a queue: a pure function of its view and a few times, for the dashboard, `top` and scripts alike. */
import {
  ATTENTION_DEFAULTS,
  ATTENTION_KINDS,
  type AttentionKind,
  type AttentionThresholds,
} from "../wire/attention.ts"
import type { Attention, QueueView } from "../wire/managing.ts"

/** Fewer failures are no rate: one failed attempt of two would be 50 %. */
const MIN_FAILURES = 5
/** A backlog grows only if it is this much larger than before: large backlogs vary more. */
const MIN_GROWTH = 1.1

export interface Watched extends Omit<QueueView, "attention" | "workers" | "rates"> {
  /** The time of Redis. */
  now: number
  /** How many tasks died in the last 24 hours, and when the first of them did. */
  deadLately: { count: number; since: number }
  /** The earliest planned time that was not fired yet. */
  nextRunAt?: number | undefined
  /** Since when runs of schedules have found no room: each of them is planned again a second later. */
  fullSince?: number | undefined
}

type Found = Omit<Attention, "kind" | "threshold">

/** A check gets its threshold, and says what it found if the queue exceeds it. */
const CHECKS: Record<
  AttentionKind,
  { threshold: keyof AttentionThresholds; check: (queue: Watched, limit: number) => Found | undefined }
> = {
  no_workers: {
    threshold: "idle_poll_ms",
    check({ now, paused, depth, polled_at, oldest_waiting_ms = 0 }, limit) {
      if (paused || depth.queued === 0) return undefined
      if (polled_at === undefined)
        return {
          since_at: now - oldest_waiting_ms,
          why: `No worker has ever polled it, and ${tasks(depth.queued)} ${depth.queued === 1 ? "waits" : "wait"}.`,
        }
      const idle = now - polled_at
      if (idle < limit) return undefined
      return {
        since_at: polled_at,
        value: idle,
        why: `No worker has polled it for ${span(idle)}, and ${tasks(depth.queued)} ${depth.queued === 1 ? "waits" : "wait"}.`,
      }
    },
  },
  waiting: {
    threshold: "oldest_wait_ms",
    check: ({ now, paused, oldest_waiting_ms: ms = 0 }, limit) =>
      !paused && ms > limit
        ? { since_at: now - ms, value: ms, why: `The oldest task has waited for ${span(ms)}.` }
        : undefined,
  },
  schedule_late: {
    threshold: "schedule_late_ms",
    check({ now, nextRunAt = now, fullSince = now }, limit) {
      const since = Math.min(nextRunAt, fullSince)
      const late = now - since
      if (late <= limit) return undefined
      const why =
        fullSince < nextRunAt
          ? `Runs of schedules have found no room for ${span(late)}: the queue or a group is full.`
          : `A run of a schedule is ${span(late)} late.`
      return { since_at: since, value: late, why }
    },
  },
  lapsing: {
    threshold: "lapses",
    check: ({ recent: { lapsed } }, limit) =>
      lapsed >= limit
        ? {
            value: lapsed,
            why: `${lapsed} ${lapsed === 1 ? "lease" : "leases"} lapsed in the last ten minutes: workers crash or are too slow.`,
          }
        : undefined,
  },
  failing: {
    threshold: "failure_percent",
    check({ recent: { done, failed } }, limit) {
      const percent = Math.round((1_000 * failed) / (done + failed)) / 10
      return failed >= MIN_FAILURES && percent > limit
        ? {
            value: percent,
            why: `${failed} of ${done + failed} attempts failed in the last ten minutes (${percent} %).`,
          }
        : undefined
    },
  },
  growing: {
    threshold: "growth",
    check({ paused, depth: { queued }, recent: { depth_before: before } }, limit) {
      if (paused || before === undefined) return undefined
      const growth = queued - before.queued
      return growth >= limit && queued >= before.queued * MIN_GROWTH
        ? { value: growth, why: `The backlog grew from ${before.queued} to ${tasks(queued)} in ten minutes.` }
        : undefined
    },
  },
  dead: {
    threshold: "dead",
    check: ({ deadLately: { count, since } }, limit) =>
      count >= limit && count > 0
        ? { since_at: since, value: count, why: `${tasks(count)} died in the last 24 hours.` }
        : undefined,
  },
  paused: {
    threshold: "paused_ms",
    check({ now, paused, paused_at: since = now, pause_reason: reason }, limit) {
      const ms = now - since
      if (!paused || ms < limit) return undefined
      const note = reason === undefined ? "." : `: ${reason}`
      return { since_at: since, value: ms, why: `It has been paused for ${span(ms)}${note}` }
    },
  },
}

/** What is wrong with a queue, the worst first. */
export function attentionOf(queue: Watched): Attention[] {
  return ATTENTION_KINDS.flatMap(kind => {
    const { threshold: name, check } = CHECKS[kind]
    const threshold = queue.settings.attention?.[name] ?? ATTENTION_DEFAULTS[name]
    const found = threshold === "off" ? undefined : check(queue, threshold)
    return found === undefined || threshold === "off" ? [] : [{ kind, threshold, ...found }]
  })
}

const tasks = (count: number) => `${count} ${count === 1 ? "task" : "tasks"}`

function span(ms: number): string {
  const minutes = Math.floor(ms / 60_000)
  if (minutes < 2) return `${Math.floor(ms / 1_000)} s`
  if (minutes < 120) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`
}
