/** Which of the planned times of a schedule get a task, if some of them have passed before anyone looked. */
import { type Recurrence, timeAfter } from "./recurrence.ts"

type OnMissed = "one" | "none" | "all"

/** One step of a schedule: it moves the plan from `planned` to `next`, and creates at most one task. */
export interface Run {
  planned: number
  /** The time for which a task is created; undefined: none. */
  at: number | undefined
  /** How many planned times get no task. */
  missed: number
  /** The planned time that follows; undefined: none. */
  next: number | undefined
}

/** With `all`, only this many of the missed times get a task: the newest. */
export const MAX_CAUGHT_UP = 100
/** How many planned times one call looks at. If there are more, it leaves the rest to the next call. */
const MAX_TIMES = 2_000

/**
 * The steps from `planned`, which has passed, to the first time that has not. A time is missed if the following one has
 * passed too. `delayOf` is how long after its planned time a run starts.
 */
export function dueRuns(
  recurrence: Recurrence,
  planned: number,
  now: number,
  onMissed: OnMissed,
  delayOf: (planned: number) => number,
): Run[] {
  const passed = [planned]
  let dropped = 0
  let next = following(recurrence, planned)
  while (next !== undefined && next + delayOf(next) <= now) {
    if (dropped + passed.length === MAX_TIMES)
      return [{ planned, at: undefined, missed: dropped, next: passed[0] }]
    passed.push(next)
    if (passed.length > MAX_CAUGHT_UP) {
      passed.shift()
      dropped++
    }
    next = following(recurrence, next)
  }
  const count = dropped + passed.length
  if (count === 1 || onMissed === "one") return [{ planned, at: passed.at(-1), missed: count - 1, next }]
  if (onMissed === "none") return [{ planned, at: undefined, missed: count, next }]
  const runs: Run[] = passed.map((at, i) => ({ planned: at, at, missed: 0, next: passed[i + 1] ?? next }))
  return dropped === 0 ? runs : [{ planned, at: undefined, missed: dropped, next: passed[0] }, ...runs]
}

/** Throws if the times do not increase: a schedule must not run without end. */
function following(recurrence: Recurrence, time: number): number | undefined {
  const next = timeAfter(recurrence, time)
  if (next !== undefined && next <= time)
    throw new Error(`The time after ${time} is ${next}, which is not later.`)
  return next
}
