/** Finds tasks by filters, a part of their ids or a text, in one of two orders. Each page does a bounded amount of work. */
import { Refused } from "../errors.ts"
import type { Scripts } from "../redis/scripts.ts"
import { joinId, splitId } from "../task/id.ts"
import type { Sight } from "../task/sight.ts"
import type { Task } from "../task/task.ts"
import type { State } from "../wire/fields.ts"
import { findByTime } from "./by-time.ts"
import {
  addPayloads,
  type Found,
  type FoundPage,
  findTask,
  findTasks,
  MAX_ENTRIES_PER_PAGE,
  MAX_QUEUES_PER_PAGE,
  MAX_TEXT_PER_PAGE,
  type Page,
  readTexts,
  type TaskFilter,
} from "./listing.ts"
import type { QueueNames } from "./queue-names.ts"

interface Search {
  /** Sorted. */
  queues: readonly string[]
  state: State | "all"
  order: "queue" | "time"
  limit: number
  cursor?: string | undefined
  sight: Sight
  /** Gets a task without its payload. It must not depend on the time. */
  matches?: TaskFilter["matches"]
  /** An id or a part of one, ignoring case. */
  id?: string | undefined
  /** A text in the payload or the error, ignoring case. */
  text?: string | undefined
  doneRetentionMs: number
}

export class TaskSearch {
  constructor(
    private readonly scripts: Scripts,
    private readonly names: QueueNames,
    private readonly doneRetentionMs: number,
  ) {}

  /** A page of what a search finds in these queues, or in all. `queuePart`: a part of the names of queues, ignoring case. */
  async page({
    queuePart,
    ...search
  }: Omit<Search, "queues" | "doneRetentionMs"> & {
    /** Sorted. */
    queues?: readonly string[] | undefined
    queuePart?: string | undefined
  }): Promise<Page> {
    const queues = await this.names.select(search.queues, queuePart)
    return searchTasks(this.scripts, { ...search, queues, doneRetentionMs: this.doneRetentionMs })
  }
}

async function searchTasks(scripts: Scripts, search: Search): Promise<Page> {
  const { text, limit } = search
  // Only the texts of tasks that match all else are compared, so the page is filled afterwards.
  const wanted = text === undefined ? search : { ...search, limit: MAX_ENTRIES_PER_PAGE }
  const page = await addPayloads(scripts, await findPage(scripts, wanted))
  const { found, next } = text === undefined ? page : withText(page, text, limit)
  return { tasks: found.map(({ task }) => task), next }
}

async function findPage(scripts: Scripts, search: Search): Promise<FoundPage> {
  const { queues, state, order, id, ...rest } = search
  if (id === undefined && state !== "all" && order === "queue")
    return findTasks(scripts, { ...rest, queues, state })
  const time = { ...rest, queues, state }
  if (id === undefined) return findByTime(scripts, time)
  const { queue, localId } = id.includes(":") ? splitId(id) : { queue: undefined, localId: id }
  const within = queue === undefined ? queues : queues.filter(of => of === queue)
  const cursor = search.cursor ?? EXACT
  if (cursor.startsWith(EXACT)) {
    const page = await findWholeId(scripts, { ...search, queues: within }, localId)
    if (page.found.length > 0 || page.next !== FROM_THE_START) return page
  }
  return findByTime(scripts, {
    ...time,
    queues: within,
    cursor: cursor.startsWith(EXACT) || cursor === FROM_THE_START ? undefined : cursor,
    idPart: localId.toLowerCase(),
  })
}

/** The cursors of the pages that look up a whole id begin so, and continue with the name of a queue. */
const EXACT = "id-"
/** The cursor of the page after those, which looks for ids that contain the text. */
const FROM_THE_START = "part"
/** How many tasks with the same id a page shows: each is read with its payload. */
const MAX_WHOLE_IDS = 10

/** Looks up a whole id in up to 1,000 queues. The same id in many queues was chosen by clients. */
async function findWholeId(
  scripts: Scripts,
  { queues, state, limit, cursor = EXACT, sight, matches }: Search,
  localId: string,
): Promise<FoundPage> {
  const rest = queues.filter(queue => queue >= cursor.slice(EXACT.length))
  const some = rest.slice(0, MAX_QUEUES_PER_PAGE)
  const cursorBefore = (at: number) => (at < rest.length ? EXACT + rest[at] : FROM_THE_START)
  const groups = await scripts.inChunks(some, queues => {
    const share = Math.ceil((MAX_TEXT_PER_PAGE * queues.length) / some.length)
    return readTexts(
      scripts,
      "task",
      queues.map(queue => ({ queue, id: localId })),
      share,
    )
  })
  const found: Found[] = []
  for (const [i, text] of groups.flat().entries()) {
    if (text === undefined || found.length === Math.min(limit, MAX_WHOLE_IDS))
      return { found, next: cursorBefore(i), textLeft: 0 }
    const id = joinId(some[i]!, localId)
    const task = text ? await findTask(scripts, id, sight).catch(ifGone) : undefined
    if (task === undefined || (state !== "all" && task.state !== state) || matches?.(task, 0) === false)
      continue
    found.push({ task, hasOwnPayload: false, cursor: cursorBefore(i + 1) })
  }
  return { found, next: cursorBefore(some.length), textLeft: 0 }
}

/** The task was deleted in between. */
function ifGone(error: unknown): undefined {
  if (!(error instanceof Refused && error.reason === "task_not_found")) throw error
}

/** The entries of a page whose payload or error contains the text, up to `limit`. */
export function withText({ found, next, textLeft }: FoundPage, text: string, limit: number): FoundPage {
  const plain = text.toLowerCase()
  // Payloads are JSON texts, in which a quotation mark is escaped.
  const inJson = JSON.stringify(text).slice(1, -1).toLowerCase()
  const contains = ({ error = "", payload, hidden }: Task) => {
    if (hidden) return false
    if (error.toLowerCase().includes(plain)) return true
    const json = payload.toLowerCase()
    return json.includes(plain) || json.includes(inJson)
  }
  const matching = found.filter(({ task }) => contains(task))
  return matching.length <= limit
    ? { found: matching, next, textLeft }
    : { found: matching.slice(0, limit), next: matching[limit - 1]!.cursor, textLeft }
}
