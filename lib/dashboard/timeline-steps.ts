/** The life of a task as steps, from its record and from /why. It tells no more than these say. */
import type { TaskView, WhyAnswer } from "../wire/inspecting.ts"
import { ENDED_STATES } from "../wire/states.ts"

/** `to`: undefined while it lasts. */
export type Step =
  | { kind: "created"; at: number }
  | { kind: "unrecorded"; first: number; last: number }
  | { kind: "wait"; from: number; to: number | undefined; text: string }
  | {
      kind: "attempt"
      attempt: number
      from: number
      to: number | undefined
      outcome: string
      worker: string | undefined
      error: string | undefined
    }
  | { kind: "end"; at: number; text: string }

/** Why a waiting task does not run now, in a few words. */
const CAUSES: Partial<Record<WhyAnswer["cause"], string>> = {
  delayed: "scheduled",
  backing_off: "waits for its retry",
  waiting: "ready, waits for a worker",
  paused: "its queue is paused",
  limited: "its queue is at its limit",
  no_workers: "no worker polls its queue",
  group_limited: "its group is at its limit",
  group_rate: "its group is at its rate limit",
  group_order: "an earlier task of its group has not ended",
  group_paused: "its group is paused",
  group_held: "a worker holds its group",
}

/** What preceded a wait. The record does not tell what it was for: a backoff, a pause or busy workers. */
const AFTER: Record<string, string> = {
  failed: "after a failure",
  crashed: "after a crash",
  timed_out: "after a timeout",
  released: "after a release",
}

export function stepsOf(task: TaskView, why: WhyAnswer | undefined): Step[] {
  const { created_at, finished_at, status, reason, attempts = [] } = task
  const steps: Step[] = [{ kind: "created", at: created_at }]
  let free: { since: number; text: string } | undefined = {
    since: created_at,
    text: "before its first attempt",
  }
  let before = 0
  for (const { attempt, worker, started_at, ended_at, outcome, error } of attempts) {
    if (attempt > before + 1) {
      steps.push({ kind: "unrecorded", first: before + 1, last: attempt - 1 })
      free = undefined
    }
    if (free !== undefined) steps.push({ kind: "wait", from: free.since, to: started_at, text: free.text })
    steps.push({ kind: "attempt", attempt, from: started_at, to: ended_at, outcome, worker, error })
    free = ended_at === undefined ? undefined : { since: ended_at, text: AFTER[outcome] ?? "after its end" }
    before = attempt
  }
  if (ENDED_STATES.includes(status) && finished_at !== undefined) {
    // A dead task has ended with its last attempt, unless it expired or was cancelled while it waited.
    if (free !== undefined && finished_at > free.since)
      steps.push({ kind: "wait", from: free.since, to: finished_at, text: free.text })
    steps.push({ kind: "end", at: finished_at, text: reason === undefined ? status : `${status}: ${reason}` })
  } else if (status !== "processing" && free !== undefined) {
    const cause = why && CAUSES[why.cause]
    const text = cause === undefined ? free.text : `${free.text}; now: ${cause}`
    steps.push({ kind: "wait", from: free.since, to: undefined, text })
  }
  return steps
}
