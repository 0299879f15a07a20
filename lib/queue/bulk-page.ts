/** The pages of a bulk operation: finding the next tasks, and applying the action to them. */
import type { Scripts } from "../redis/scripts.ts"
import type { Task } from "../task/task.ts"
import type { BulkAction } from "../wire/bulk-words.ts"
import { type BulkAbout, type BulkOrder, type BulkPage, type BulkTasks, taskStatesOf } from "./bulk-record.ts"
import { filterOf, matcherOf } from "./filter.ts"
import { addPayloads, findTasks, MAX_ENTRIES_PER_PAGE } from "./listing.ts"
import type { QueueNames } from "./queue-names.ts"
import { withText } from "./search.ts"
import type { TaskActions } from "./task-actions.ts"

/** How many tasks are read for each one of a page if a text is searched in them. */
const TEXTS_PER_TASK = 10

/** What happened to a task. `already`: it is as if the action had been applied before. */
type Effect = "changed" | "already" | "refused"

interface PageParts {
  scripts: Scripts
  names: QueueNames
  actions: TaskActions
}

/** The next page after `cursor`, of at most `limit` tasks. It may be empty and still have a `next`. `startedAt`: of the operation. */
export async function findPage(
  { scripts, names }: Omit<PageParts, "actions">,
  order: BulkOrder,
  selected: BulkTasks["selected"],
  startedAt: number,
  limit: number,
  cursor: string | undefined,
): Promise<BulkPage> {
  if (selected !== undefined) {
    const from = Number(cursor ?? 0)
    const ids = selected.slice(from, from + limit)
    const next = from + ids.length < selected.length ? `${from + ids.length}` : undefined
    return { ids, next, seen: ids.length, hasGroups: false }
  }
  const { id_part, text, queue_part, ...filter } = order.filter
  const matches = matcherOf(filterOf(filter))
  const listed = await findTasks(scripts, {
    queues: await names.select(order.queues, queue_part),
    state: taskStatesOf(order),
    // Few of them may have the text, which is compared afterwards.
    limit: text === undefined ? limit : Math.min(MAX_ENTRIES_PER_PAGE, TEXTS_PER_TASK * limit),
    cursor,
    sight: "all", // only operators start these operations
    idPart: id_part?.toLowerCase(),
    matches: task => isOpen(order.action, task, startedAt) && (matches?.(task, startedAt) ?? true),
  })
  const page = text === undefined ? listed : withText(await addPayloads(scripts, listed), text, limit)
  // If the page was cut, the next one begins after this task.
  const last = listed.found.find(({ cursor }) => cursor === page.next)
  return {
    ids: page.found.map(({ task }) => task.id),
    next: page.next,
    seen: (last ?? listed).looked,
    hasGroups: page.found.some(({ task }) => task.group !== undefined),
  }
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
  { actions }: Pick<PageParts, "actions">,
  { id, about, startedAt }: { id: string; about: BulkAbout; startedAt: number },
  ids: readonly string[],
  mayBeRepeated: boolean,
): Promise<{ done: string[]; skipped: number }> {
  const effects = await effectsOf(actions, id, about, startedAt, ids)
  const done = ids.filter((_, i) => effects[i] === "changed" || (mayBeRepeated && effects[i] === "already"))
  return { done, skipped: ids.length - done.length }
}

async function effectsOf(
  actions: TaskActions,
  bulkId: string,
  about: BulkAbout,
  startedAt: number,
  ids: readonly string[],
): Promise<Effect[]> {
  const { action, patch } = about
  const ended = { states: taskStatesOf(about), before: startedAt }
  switch (action) {
    case "retry":
      return (await actions.retry(ids, { patch, before: startedAt })).map(([code]) => {
        if (code === "duplicate") return "refused"
        return code === "requeued" ? "changed" : "already"
      })
    case "purge":
      return (await actions.delete(ids, ended)).map(([code]) => {
        if (code === "kept") return "refused"
        return code === "deleted" ? "changed" : "already"
      })
    case "cancel":
      return (await actions.cancel(ids)).map(([code, state]) => {
        if (code === "ended") return "refused"
        return code === "unknown" || state === "cancelled" ? "already" : "changed"
      })
    case "start_now":
      return (await actions.startNow(ids)).map(([code]) => (code === "changed" ? "changed" : "already"))
    case "submit_again":
      return (await actions.submitAgain(ids, { ...ended, key: bulkId })).map(code => {
        if (code === "refused") return "refused"
        return code === "submitted" ? "changed" : "already"
      })
    default:
      throw action satisfies never
  }
}
