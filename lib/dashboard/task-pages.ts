/** Pages of the list of tasks. */
import type { TasksAnswer, TaskView } from "../wire/inspecting.ts"
import { membersOf, memberTexts } from "../wire/json-text.ts"

/** With filters, an empty page may have a next one. One step loads up to this many pages. */
const CALLS_PER_PAGE = 5

/** What the list can show. `delayed` is not a state: it has the scheduled and the retrying tasks, as in the counts. */
export const LISTED = [
  "all",
  "queued",
  "processing",
  "delayed",
  "scheduled",
  "retrying",
  "dead",
  "done",
  "cancelled",
] as const
/** A task with its payload as text, because JSON.parse would change long numbers. */
export type ListedTask = Omit<TaskView, "payload"> & { payload: string }
interface TasksPage {
  tasks: ListedTask[]
  next?: string
}
type LoadPage = (state: string, cursor: string | undefined) => Promise<TasksPage>

/** Reads an answer that has a page of tasks. */
export function readTasks(text: string): TasksPage {
  const { tasks, next }: TasksAnswer = JSON.parse(text)
  const payloads = memberTexts(new Map(membersOf(text)).get("tasks")!, "payload")
  return {
    tasks: tasks.map((task, i) => ({ ...task, payload: payloads[i] ?? "" })),
    ...(next !== undefined && { next }),
  }
}

/** The cursors of two lists as one; null: that list has ended. */
type Cursors = [scheduled: string | null | undefined, retrying: string | null | undefined]

export async function loadTasks(load: LoadPage, listed: string, cursor?: string): Promise<TasksPage> {
  if (listed !== "delayed") return loadSome(load, listed, cursor)
  const [scheduled, retrying]: Cursors = cursor === undefined ? [undefined, undefined] : JSON.parse(cursor)
  const page = async (state: string, from: string | null | undefined): Promise<TasksPage> =>
    from === null ? { tasks: [] } : loadSome(load, state, from)
  const pages = await Promise.all([page("scheduled", scheduled), page("retrying", retrying)])
  const next = pages.map(answer => answer.next ?? null)
  return {
    tasks: pages.flatMap(answer => answer.tasks).sort((a, b) => (a.due_at ?? 0) - (b.due_at ?? 0)),
    ...(next.some(of => of !== null) && { next: JSON.stringify(next) }),
  }
}

async function loadSome(load: LoadPage, state: string, from: string | undefined): Promise<TasksPage> {
  let cursor = from
  for (let call = 1; ; call++) {
    const answer = await load(state, cursor)
    if (answer.tasks.length > 0 || answer.next === undefined || call === CALLS_PER_PAGE) return answer
    cursor = answer.next
  }
}
