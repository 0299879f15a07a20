/** A bulk operation as Redis stores it, and as /bulk shows it. */
import type { StoredBulk } from "../redis/shared-scripts.ts"
import type { BulkRequest, BulkView } from "../wire/bulk.ts"
import type { State } from "../wire/fields.ts"
import { type StateWord, statesOf } from "../wire/states.ts"

/** What was requested. It never changes. */
export interface BulkAbout extends Omit<BulkRequest, "filter" | "patch" | "canary"> {
  filter: Omit<BulkRequest["filter"], "task_ids">
  /** How many tasks were named, instead of a filter. */
  selected?: number
  /** The state of the tasks. */
  state: StateWord
  /** The queues that it covers, sorted; undefined: all. */
  queues?: readonly string[] | undefined
  /** JSON text, because numbers must keep their digits. */
  patch?: string | undefined
  canary: boolean
  /** The name of the token that started it. */
  author: string
  /** A repeated request has the same print. */
  print: string
  /** How many tasks were in that state when it started. */
  total: number
}

/** Which tasks are changed, and how. */
export type BulkOrder = Pick<BulkAbout, "action" | "filter" | "selected" | "state" | "queues">

/** Tasks that are changed together. It is stored before the first of them is changed. */
export interface BulkPage {
  ids: readonly string[]
  /** The cursor of the next page; undefined: this is the last one. */
  next?: string | undefined
  /** How many tasks were looked at to find these. */
  seen: number
  /** Whether some of them belong to groups. */
  hasGroups: boolean
}

export interface BulkProgress {
  seen: number
  done: number
  skipped: number
  /** Where the next page begins. */
  cursor?: string | undefined
  /** Whether this pass has found tasks of groups, and how many tasks were done when it began. */
  hasGroups?: boolean
  doneBefore?: number
  canary?: { task_id: string; retried_at: number; state?: State | undefined } | undefined
  cause?: string
  /** How often a step failed by a fault, in a row. */
  failures?: number
  /** Where the next look at retried tasks begins, and when the last one was. */
  followed?: string
  followed_at?: number
  ended_at?: number
}

export const NEW_PROGRESS: BulkProgress = { seen: 0, done: 0, skipped: 0 }

/** What is not listed with the progress, because it is long. */
export interface BulkTasks {
  /** The tasks that were named; undefined: a filter selects them. */
  selected: readonly string[] | undefined
  /** The page in hand: its tasks may have been changed, and are not counted yet. */
  page: BulkPage | undefined
}

export const readAbout = (text: string): BulkAbout => JSON.parse(text)
export const readProgress = (text: string): BulkProgress => JSON.parse(text)

/**
 * Whether tasks are deleted by popping them from their places, without reading them: a purge of waiting tasks, and one of all
 * done or cancelled tasks of a queue.
 */
export function popsTasks({ action, state, filter, selected }: Omit<BulkOrder, "queues">): boolean {
  if (action !== "purge" || selected !== undefined) return false
  const { queue, state: _, ...others } = filter
  if (state === "queued" || state === "delayed") return true
  return (
    (state === "done" || state === "cancelled") && queue !== undefined && Object.keys(others).length === 0
  )
}

export const taskStatesOf = ({ state }: Pick<BulkOrder, "state">): readonly State[] => statesOf(state)

export function viewOf([
  bulk_id,
  started_at,
  ended,
  aboutText,
  progressText,
  state,
  stop,
  succeeded,
  died_again,
  other,
  open,
]: StoredBulk): BulkView {
  const about = readAbout(aboutText)
  const { action, filter, selected, limit, rate, patch, reason, author, total } = about
  const { seen, done, skipped, canary, cause } = readProgress(progressText)
  return {
    bulk_id,
    action,
    filter: selected === undefined ? { ...filter, state: about.state } : filter,
    ...(selected !== undefined && { selected }),
    ...(limit !== undefined && { limit }),
    ...(rate !== undefined && { rate }),
    ...(patch !== undefined && { patch: JSON.parse(patch) }),
    ...(reason !== undefined && { reason }),
    author,
    started_at,
    ...(ended !== "" && { ended_at: Number(ended) }),
    state,
    ...(stop !== "" && { stopped_by: JSON.parse(stop).by }),
    ...(cause !== undefined && { cause }),
    progress: { total, seen: Math.min(seen, total), done, skipped }, // some tasks may be looked at twice
    ...(canary && {
      canary: { task_id: canary.task_id, ...(canary.state !== undefined && { state: canary.state }) },
    }),
    ...(action === "retry" && { outcome: { succeeded, died_again, other, still_going: open } }),
  }
}
