/**
 * What a reader may see of a task's contents: payload, result, errors, progress, checkpoint and log lines. This is the only
 * place that hides them. A task is read with a sight, before filters look at it, so that no filter can reveal what is hidden.
 */
import type { Task } from "./task.ts"

/** `all`: the contents of every task. `unredacted`: not of those submitted with `redact`. `none`: of no task. */
export type Sight = "all" | "unredacted" | "none"

export const maySeeContents = (sight: Sight, isRedacted: boolean): boolean =>
  sight === "all" || (sight === "unredacted" && !isRedacted)

/** The task without what this reader may not see. */
export function seenWith(sight: Sight, task: Task): Task {
  if (maySeeContents(sight, task.redact === true)) return task
  const {
    result: _result,
    error: _error,
    progress: _progress,
    checkpoint: _checkpoint,
    logAt: _at,
    ...rest
  } = task
  return { ...rest, payload: "null", log: [], history: task.history.map(withoutError), hidden: true }
}

const withoutError = (attempt: string): string => JSON.stringify({ ...JSON.parse(attempt), error: undefined })
