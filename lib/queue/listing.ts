/** Reading tasks: one by id, or a page of those in a state. Nothing here changes anything. */
import { Refused } from "../errors.ts"
import type { Scripts } from "../redis/scripts.ts"
import { splitId } from "../task/id.ts"
import { readTask } from "../task/record.ts"
import type { Task } from "../task/task.ts"
import type { State } from "../wire/fields.ts"

/** How many entries one call reads, whether they match or not: the bound of a page with filters. */
export const MAX_ENTRIES_PER_PAGE = 1_000

export interface Page {
  tasks: Task[]
  next: string | undefined
}

/** The sets and ready lists that hold the tasks of each state, in the order in which a page lists them. */
export const PLACES: Record<State, readonly string[]> = {
  scheduled: ["due"],
  retrying: ["due"],
  queued: ["9", "8", "7", "6", "5", "4", "3", "2", "1", "0"],
  processing: ["leases"],
  done: ["done"],
  dead: ["dead"],
  cancelled: ["cancelled"],
}

export async function findTask(scripts: Scripts, id: string): Promise<Task> {
  const { queue, localId } = splitId(id)
  const [raw] = await scripts.call("inspect", queue, {}, [{ id: localId }])
  if (!raw) throw new Refused("task_not_found", { task_id: id })
  return readTask(queue, raw)
}

export interface TaskFilter {
  queues: readonly string[]
  state: State
  limit: number
  cursor?: string | undefined
  matches?: (task: Task) => boolean
  /** Leaves out payloads that have a key of their own, which may be large. */
  bare?: boolean
}

/**
 * A page of the tasks in one state, queue by queue. It reads a bounded number of entries, so a page may be short, or
 * even empty, and still have a `next`.
 */
export async function tasksPage(
  scripts: Scripts,
  { queues, state, limit, cursor, matches, bare = false }: TaskFilter,
): Promise<Page> {
  const after = cursor === undefined ? undefined : readCursor(cursor)
  const places = PLACES[state]
  const tasks: Task[] = []
  let budget = MAX_ENTRIES_PER_PAGE
  let last = cursor
  for (const queue of queues) {
    if (after !== undefined && queue < after.queue) continue
    for (const place of places) {
      const started = after?.queue === queue && places.indexOf(after.place) >= places.indexOf(place)
      if (started && after.place !== place) continue
      let at = started ? { score: after.score, id: after.id } : { score: "", id: "" }
      for (let more = true; more; ) {
        const count = matches ? budget + 1 : limit - tasks.length + 1
        const [, ...entries] = await scripts.call("page", queue, {
          place,
          limit: count,
          ...at,
          bare: bare ? 1 : 0,
        })
        for (const [score, id, raw] of entries) {
          const task = raw === null ? undefined : readTask(queue, raw)
          const isMatch = task?.state === state && (matches?.(task) ?? true)
          // One match more than `limit` shows that there is a next page.
          if (budget-- === 0 || (isMatch && tasks.length === limit)) return { tasks, next: last }
          if (isMatch) tasks.push(task)
          at = { score, id }
          last = writeCursor({ queue, place, ...at })
        }
        // Go on even if no entry matched: a ready list keeps ids of tasks that have left it.
        more = entries.length === count
      }
    }
  }
  return { tasks, next: undefined }
}

/** How many dead tasks these queues hold. */
export async function deadSize(scripts: Scripts, queues: readonly string[]): Promise<number> {
  const sizes = await Promise.all(
    queues.map(queue => scripts.call("page", queue, { place: "dead", limit: 0, score: "", id: "", bare: 1 })),
  )
  return sizes.reduce((sum, [size]) => sum + size, 0)
}

interface Cursor {
  queue: string
  place: string
  score: string
  id: string
}

const writeCursor = ({ queue, place, score, id }: Cursor): string =>
  Buffer.from(`${queue} ${place} ${score} ${id}`).toString("base64url")

function readCursor(text: string): Cursor {
  const plain = Buffer.from(text, "base64url").toString("latin1")
  const match = /^([A-Za-z0-9._-]{1,64}) ([a-z]{3,9}|\d) (\d{1,16}) ([A-Za-z0-9._-]{1,64})$/.exec(plain)
  if (match === null || !Object.values(PLACES).some(places => places.includes(match[2]!)))
    throw new Refused("bad_request", {
      field: "cursor",
      detail: "`cursor` must be the `next` of the previous page.",
    })
  return { queue: match[1]!, place: match[2]!, score: match[3]!, id: match[4]! }
}
