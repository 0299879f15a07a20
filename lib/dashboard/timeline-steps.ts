/**
 * The life of a task as steps, from its record, /why, and the pauses of its queue and group. It tells no more than these say:
 * what a wait was for is recorded only in part.
 */
import type { TaskView, WhyAnswer } from "../wire/inspecting.ts"
import { ENDED_STATES } from "../wire/states.ts"
import type { Pause } from "./pauses.ts"

/** A pause within a wait, and for how much of it. */
export interface Overlap {
  pause: Pause
  from: number
  /** Undefined: it and the wait last. */
  to: number | undefined
}

/** `to`: undefined while it lasts. */
export type Step =
  | { kind: "created"; at: number }
  | { kind: "unrecorded"; first: number; last: number }
  | {
      kind: "wait"
      from: number
      to: number | undefined
      /** What came before it. */
      after: string
      backoff?: Backoff | undefined
      /** What it was for, or is for now, after the backoff. */
      cause?: string | undefined
      /** When it ends, if that is known. */
      until?: number | undefined
      pauses: Overlap[]
    }
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

/** What preceded a wait, and what besides a worker or a limit it may have been for. */
const AFTER: Record<string, { text: string; asked?: string } | undefined> = {
  "": { text: "before its first attempt", asked: "its start time" },
  failed: { text: "after a failure", asked: "the time that its worker asked for" },
  crashed: { text: "after a crash" },
  timed_out: { text: "after a timeout" },
  released: { text: "after a release", asked: "the time that its worker asked for" },
}
const OTHER = { text: "after its end", asked: undefined }

/** A wait is said to be for pauses if they cover so much of it: workers notice the end of a pause a moment later. */
const PAUSED_SHARE = 0.9
/** A wait that is shorter than its backoff by more than this was not for the backoff. */
const CLOCK_SLACK_MS = 1_000
/** The delay of a backoff without `max_ms` is at most 30 days. */
const MAX_BACKOFF_MS = 30 * 86_400_000

/** The wait that begins with the creation (`outcome` "") or after an attempt with this outcome. */
interface Gap {
  since: number
  outcome: string
  backoff?: Backoff | "of an earlier life" | undefined
}
interface Backoff {
  /** At most so long, if it is random. */
  ms: number
  isRandom: boolean
}

/** `now`: by the clock of the broker. */
export function stepsOf(
  task: TaskView,
  why: WhyAnswer | undefined,
  pauses: readonly Pause[] = [],
  now = Number.POSITIVE_INFINITY,
): Step[] {
  const { created_at, finished_at, status, reason, attempts = [] } = task
  const steps: Step[] = [{ kind: "created", at: created_at }]
  let gap: Gap | undefined = { since: created_at, outcome: "" }
  let before = 0
  for (const [i, { attempt, worker, started_at, ended_at, outcome, error }] of attempts.entries()) {
    if (attempt > before + 1) {
      steps.push({ kind: "unrecorded", first: before + 1, last: attempt - 1 })
      gap = undefined
    }
    if (gap !== undefined) steps.push(pastWait(task, gap, started_at, pauses))
    steps.push({ kind: "attempt", attempt, from: started_at, to: ended_at, outcome, worker, error })
    gap = ended_at === undefined ? undefined : { since: ended_at, outcome, backoff: backoffAfter(task, i) }
    before = attempt
  }
  if (ENDED_STATES.includes(status) && finished_at !== undefined) {
    // A dead task has ended with its last attempt, unless it expired or was cancelled while it waited.
    if (gap !== undefined && finished_at > gap.since) steps.push(pastWait(task, gap, finished_at, pauses))
    steps.push({ kind: "end", at: finished_at, text: reason === undefined ? status : `${status}: ${reason}` })
  } else if (status !== "processing" && gap !== undefined) {
    steps.push({
      kind: "wait",
      from: gap.since,
      to: undefined,
      after: (AFTER[gap.outcome] ?? OTHER).text,
      cause: why && CAUSES[why.cause],
      until: task.due_at,
      // A backoff that lasts is not a wait for the end of a pause.
      pauses: readySince(gap) < now ? overlapsWith(pauses, readySince(gap), undefined) : [],
    })
  }
  return steps
}

function pastWait(
  task: TaskView,
  { since, outcome, backoff: planned }: Gap,
  to: number,
  pauses: readonly Pause[],
): Step {
  // An operator or the worker has asked for an earlier time.
  const isCut = typeof planned === "object" && !planned.isRandom && to - since < planned.ms - CLOCK_SLACK_MS
  const gap: Gap = { since, outcome, backoff: isCut ? undefined : planned }
  const { text, asked } = AFTER[outcome] ?? OTHER
  const isEarlier = gap.backoff === "of an earlier life"
  const backoff = gap.backoff === "of an earlier life" ? undefined : gap.backoff
  const overlaps = overlapsWith(pauses, readySince(gap), to)
  const wait = { kind: "wait", from: since, to, after: text, backoff, pauses: overlaps } as const
  if (backoff !== undefined && to - since <= backoff.ms) return wait
  const paused = overlaps.reduce((sum, overlap) => sum + (overlap.to ?? to) - overlap.from, 0)
  if (paused > 0 && paused >= PAUSED_SHARE * (to - readySince(gap)))
    return { ...wait, cause: "the end of a pause" }
  const causes = [
    isEarlier && task.backoff && "its backoff",
    isEarlier && "a retry of the dead task",
    asked,
    "a worker",
    task.group && "its group",
  ]
  return { ...wait, cause: `${causes.filter(Boolean).join(", ")} or a limit` }
}

/** From when on it was ready, as far as that is certain. A random backoff may have been 0. */
const readySince = ({ since, backoff }: Gap): number =>
  since + (typeof backoff !== "object" || backoff.isRandom ? 0 : backoff.ms)

const CRASHES: readonly string[] = ["crashed", "timed_out"]

/**
 * The backoff after the attempt at this index. It depends on how many failures, or crashes, came before: the task has counted
 * them, of which those of later attempts are subtracted. If none is left, the task died since and was retried, with its
 * counters at 0.
 */
function backoffAfter({ backoff, attempts = [], retries, crashes }: TaskView, index: number): Gap["backoff"] {
  const { outcome } = attempts[index]!
  const isCrash = CRASHES.includes(outcome)
  if (outcome !== "failed" && !isCrash) return undefined
  const later = attempts
    .slice(index + 1)
    .filter(of => (isCrash ? CRASHES.includes(of.outcome) : of.outcome === "failed")).length
  const nth = (isCrash ? crashes : retries) - later
  if (nth < 1) return "of an earlier life"
  if (backoff === undefined) return undefined
  const { kind, delay_ms, max_ms = MAX_BACKOFF_MS, jitter = true } = backoff
  const ms = Math.min(kind === "exponential" ? delay_ms * 2 ** (nth - 1) : delay_ms, max_ms)
  return { ms, isRandom: jitter }
}

/** The parts of the pauses that lie between these times. */
function overlapsWith(pauses: readonly Pause[], from: number, to: number | undefined): Overlap[] {
  return pauses
    .map(pause => ({
      pause,
      from: Math.max(from, pause.from),
      to: to === undefined ? pause.to : Math.min(to, pause.to ?? to),
    }))
    .filter(overlap => overlap.to === undefined || overlap.to > overlap.from)
}
