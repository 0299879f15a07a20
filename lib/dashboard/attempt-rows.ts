/** What the page of a task compares of its attempts, and which log lines came during which of them. */
import type { Attempt, TaskView } from "../wire/inspecting.ts"

export interface AttemptRow extends Attempt {
  waitedMs: number | undefined
  ranMs: number | undefined
  logged: number
  /** An earlier attempt with the same error. */
  sameAs: number | undefined
}

export function rowsOf(task: TaskView): AttemptRow[] {
  const { attempts = [], created_at } = task
  const logs = logByAttempt(task)
  return attempts.map((each, i) => {
    const { attempt, started_at, ended_at, error } = each
    const before = attempt === 1 ? created_at : attempts[i - 1]?.ended_at
    return {
      ...each,
      waitedMs: before === undefined ? undefined : started_at - before,
      ranMs: ended_at === undefined ? undefined : ended_at - started_at,
      logged: logs.find(log => log.attempt === attempt)?.lines.length ?? 0,
      sameAs: error === undefined ? undefined : attempts.slice(0, i).find(of => of.error === error)?.attempt,
    }
  })
}

interface AttemptLog {
  /** Undefined: earlier attempts that are not recorded, or lines without a time. */
  attempt: number | undefined
  worker: string | undefined
  lines: { at: number | undefined; text: string }[]
}

/** Lines that an earlier version stored come first and have no times. A line comes while its attempt runs. */
export function logByAttempt({ log = [], log_at = [], attempts = [] }: TaskView): AttemptLog[] {
  const untimed = log.length - log_at.length
  const logs: AttemptLog[] = []
  for (const [i, text] of log.entries()) {
    const at = i < untimed ? undefined : log_at[i - untimed]
    const of =
      at === undefined
        ? undefined
        : attempts.find(
            ({ started_at, ended_at = Number.POSITIVE_INFINITY }) => started_at <= at && at <= ended_at,
          )
    const last = logs.at(-1)
    if (last !== undefined && last.attempt === of?.attempt) last.lines.push({ at, text })
    else logs.push({ attempt: of?.attempt, worker: of?.worker, lines: [{ at, text }] })
  }
  return logs
}
