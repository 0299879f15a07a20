/** The pages of a bulk operation: finding the next tasks, and applying the action to them. */
import type { Scripts } from "../redis/scripts.ts"
import type { Task } from "../task/task.ts"
import type { BulkAction } from "../wire/bulk-words.ts"
import { type BulkAbout, type BulkPage, type BulkTasks, taskStatesOf } from "./bulk-record.ts"
import { filterOf, matcherOf, queuesWith } from "./filter.ts"
import { tasksPage } from "./listing.ts"
import type { QueueNames } from "./queue-names.ts"
import type { TaskActions } from "./task-actions.ts"

/** What happened to a task. `already`: it is as if the action had been applied before. */
type Effect = "changed" | "already" | "refused"

interface PageParts {
  scripts: Scripts
  names: QueueNames
  actions: TaskActions
}

/** The next page after `cursor`, of at most `limit` tasks. It may be empty and still have a `next`. `startedAt`: of the operation. */
export async function findPage(
  { scripts, names }: PageParts,
  about: BulkAbout,
  selected: BulkTasks["selected"],
  startedAt: number,
  limit: number,
  cursor: string | undefined,
): Promise<BulkPage> {
  const { filter } = about
  if (selected !== undefined) {
    const from = Number(cursor ?? 0)
    const ids = selected.slice(from, from + limit)
    const next = from + ids.length < selected.length ? `${from + ids.length}` : undefined
    return { ids, next, seen: ids.length, hasGroups: false }
  }
  const matches = matcherOf(filterOf(filter))
  const { tasks, next, looked } = await tasksPage(scripts, {
    queues: queuesWith(about.queues ?? (await names.list()), filter.queue_part),
    state: taskStatesOf(about),
    limit,
    cursor,
    bare: true,
    sight: "all", // only operators start these operations
    matches: task => isOpen(about.action, task, startedAt) && (matches?.(task, startedAt) ?? true),
  })
  const hasGroups = tasks.some(({ group }) => group !== undefined)
  return { ids: tasks.map(({ id }) => id), next, seen: looked, hasGroups }
}

/**
 * Whether a task was there when the operation started, and is not being cancelled. Otherwise an operation might never end:
 * it would retry a task that dies again, or start one now that fails again, once more.
 */
function isOpen(action: BulkAction, task: Task, at: number): boolean {
  const { createdAt, startedAt = 0, finishedAt = 0, cancelRequestedAt } = task
  if (action === "cancel") return createdAt <= at && cancelRequestedAt === undefined
  return Math.max(createdAt, startedAt, finishedAt) <= at
}

/**
 * Applies the action. Returns the tasks that it has changed, and how many it has skipped. `mayBeRepeated`: a broker that
 * has died may have changed some of them, and those count as changed.
 */
export async function applyTo(
  { actions }: PageParts,
  about: BulkAbout,
  startedAt: number,
  ids: readonly string[],
  mayBeRepeated: boolean,
): Promise<{ done: string[]; skipped: number }> {
  const effects = await effectsOf(actions, about, startedAt, ids)
  const done = ids.filter((_, i) => effects[i] === "changed" || (mayBeRepeated && effects[i] === "already"))
  return { done, skipped: ids.length - done.length }
}

async function effectsOf(
  actions: TaskActions,
  { action, patch }: BulkAbout,
  startedAt: number,
  ids: readonly string[],
): Promise<Effect[]> {
  switch (action) {
    case "retry":
      return (await actions.retry(ids, { patch, before: startedAt })).map(([code]) => {
        if (code === "duplicate") return "refused"
        return code === "requeued" ? "changed" : "already"
      })
    case "purge":
      return (await actions.delete(ids)).map(([code]) => (code === "deleted" ? "changed" : "already"))
    case "cancel":
      return (await actions.cancel(ids)).map(([code, state]) => {
        if (code === "ended") return "refused"
        return code === "unknown" || state === "cancelled" ? "already" : "changed"
      })
    case "start_now":
      return (await actions.startNow(ids)).map(([code]) => (code === "changed" ? "changed" : "already"))
    default:
      throw action satisfies never
  }
}
