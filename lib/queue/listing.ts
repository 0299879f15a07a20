/** Reading tasks: one by id, or a page of those in a state. Nothing here changes anything. */
import { Refused } from "../errors.ts"
import { type PagePart, type Scripts, sizesIn } from "../redis/scripts.ts"
import { localOf, splitId } from "../task/id.ts"
import { hasOwnPayload, LOST_PAYLOAD, type RawTask, readTask } from "../task/record.ts"
import type { Sight } from "../task/sight.ts"
import type { Task } from "../task/task.ts"
import type { State } from "../wire/fields.ts"
import { badCursor, decodeCursor, encodeCursor } from "./cursor.ts"

/** How many entries a page reads, whether they match or not. */
export const MAX_ENTRIES_PER_PAGE = 1_000
/** The same for a part of an id, which is compared without reading tasks. */
const MAX_IDS_PER_PAGE = 10_000
/** How many ids one script call compares: 0.4 ms of Redis' time in one queue, 2.5 ms in 100 queues. */
export const MAX_IDS_PER_CALL = 500
/** How many characters of tasks a page reads, exceeded by one task at most: a payload or result may be as large as a body. */
export const MAX_TEXT_PER_PAGE = 4_000_000
/** How many queues a page reads, so that a listing over thousands of queues delays no other request. */
export const MAX_QUEUES_PER_PAGE = 1_000
/** How many queues of a Cluster are read at the same time. */
const MIN_QUEUES_AT_ONCE = 10

export interface Page {
  tasks: Task[]
  next: string | undefined
}

/** The sets and ready lists that hold the tasks of each state, in the order in which a page lists them. */
export const PLACES: Record<State, readonly string[]> = {
  scheduled: ["due"],
  retrying: ["due"],
  queued: ["9", "8", "7", "6", "5", "4", "3", "2", "1", "0", "firsts", "grouped"],
  processing: ["leases"],
  done: ["completed", "done"],
  dead: ["dead"],
  cancelled: ["cancelled"],
}

export async function findTask(scripts: Scripts, id: string, sight: Sight): Promise<Task> {
  const { queue, localId } = splitId(id)
  const raw = await scripts.callOne("inspect", queue, {}, { id: localId })
  if (!raw) throw new Refused("task_not_found", { task_id: id })
  return readTask(queue, raw, sight)
}

export interface TaskFilter {
  /** Sorted. */
  queues: readonly string[]
  /** If there are several, the tasks are in the order of their places, not of these states. */
  state: State | readonly State[]
  limit: number
  cursor?: string | undefined
  /** What the reader may see. `matches` sees no more. */
  sight: Sight
  /** Gets a task without its payload, and the time of Redis. */
  matches?: ((task: Task, now: number) => boolean) | undefined
  /** Only tasks whose ids, without the name of the queue, contain this text in lower case. */
  idPart?: string | undefined
  /** Omits payloads that have their own keys, which may be large. */
  bare?: boolean
  /** Only these places; undefined: all of the states. */
  places?: readonly string[] | undefined
}

export interface Found {
  task: Task
  /** Its payload has its own key and has not been read. */
  hasOwnPayload: boolean
  /** The cursor of the page that begins after this entry. */
  cursor: string
}

export interface FoundPage {
  found: Found[]
  next: string | undefined
  /** How many characters the page may still read. */
  textLeft: number
}

/**
 * A page of the tasks in one state or several, queue by queue. It reads a bounded number of entries, characters and queues, so a page
 * may be short, or even empty, and still have a `next`. Without a filter it is empty only if no task was found.
 */
export async function tasksPage(scripts: Scripts, filter: TaskFilter): Promise<Page & { looked: number }> {
  const page = await findTasks(scripts, filter)
  const { found, next } = filter.bare ? page : await addPayloads(scripts, page)
  return { tasks: found.map(({ task }) => task), looked: page.looked, next }
}

/** `looked`: how many entries were read in all, and up to each task. */
interface LookedPage extends FoundPage {
  found: (Found & { looked: number })[]
  looked: number
}

/** Such a page, in which payloads that have their own keys are missing. */
export async function findTasks(
  scripts: Scripts,
  { queues, state, limit, cursor, sight, matches, idPart = "", places: only }: Omit<TaskFilter, "bare">,
): Promise<LookedPage> {
  const states: readonly State[] = [state].flat()
  const places = only ?? [...new Set(states.flatMap(of => PLACES[of]))]
  const after = cursor === undefined ? undefined : readCursor(cursor, places)
  const from = after === undefined ? 0 : queues.findIndex(queue => queue >= after.queue)
  const remaining = from < 0 ? [] : queues.slice(from)
  const found: LookedPage["found"] = []
  // A task whose priority was replaced may have left its id in its old place.
  const foundIds = new Set<string>()
  let looked = 0
  let entriesLeft = idPart === "" ? MAX_ENTRIES_PER_PAGE : MAX_IDS_PER_PAGE
  let textLeft = MAX_TEXT_PER_PAGE
  let last = cursor
  let position: Position | undefined
  if (after !== undefined && after.queue === remaining[0])
    if (after.place === END) remaining.shift()
    else position = after
  const endPage = (next?: string): LookedPage => ({ found, looked, next, textLeft })

  const queuesAtOnce = Math.max(MIN_QUEUES_AT_ONCE, scripts.queuesPerCall)
  for (let at = 0; at < remaining.length; ) {
    if (at >= MAX_QUEUES_PER_PAGE)
      return endPage(writeCursor({ ...START, queue: remaining[at - 1]!, place: END }))
    const some = remaining.slice(at, Math.min(at + queuesAtOnce, MAX_QUEUES_PER_PAGE))
    // One task more than fits shows that there is a next page.
    const isFiltered = matches !== undefined || idPart !== ""
    const most = 1 + Math.min(entriesLeft, isFiltered ? MAX_IDS_PER_CALL : limit - found.length)
    const { now, isComplete, parts } = await readEntries(
      scripts,
      some,
      places,
      position,
      most,
      textLeft,
      idPart,
    )
    for (const [queue, place, ...entries] of parts)
      for (const [score, id, text] of entries) {
        const task = text === null ? undefined : readTask(queue, rawOf(place, score, id, text), sight)
        const isMatch =
          task !== undefined &&
          states.includes(task.state) &&
          !foundIds.has(task.id) &&
          (matches?.(task, now) ?? true)
        if (entriesLeft-- === 0 || (isMatch && found.length === limit)) return endPage(last)
        looked++
        textLeft -= text?.length ?? 0
        position = { queue, place, score, id }
        last = writeCursor(position)
        if (!isMatch) continue
        foundIds.add(task.id)
        found.push({ task, hasOwnPayload: !task.hidden && hasOwnPayload(text!), cursor: last, looked })
      }
    if (isComplete) {
      at += some.length
      position = undefined
    } else {
      if (textLeft <= 0) return endPage(last)
      at = remaining.indexOf(position!.queue)
    }
  }
  return endPage()
}

/** Reads the next entries of some queues, in order. In the first queue it starts after `after`. */
async function readEntries(
  scripts: Scripts,
  queues: readonly string[],
  places: readonly string[],
  after: Position | undefined,
  limit: number,
  bytes: number,
  part: string,
) {
  const { place, score, id } = after ?? START
  const groups = await scripts.inChunks(queues, async some => {
    const start = some[0] === queues[0] ? { place, score, id } : START
    const share = Math.ceil((bytes * some.length) / queues.length)
    return scripts.call("page", some[0]!, {
      queues: some.join(" "),
      places: places.join(" "),
      limit,
      bytes: share,
      part,
      place: start.place,
      score: start.score,
      id: start.id,
    })
  })
  const parts: PagePart[] = []
  const [[now]] = groups as [(typeof groups)[number]]
  for (const [, more, ...found] of groups) {
    parts.push(...found)
    // If a queue was not read to its end, the queues after it belong to a later page.
    if (more === 1) return { now, isComplete: false, parts }
  }
  return { now, isComplete: true, parts }
}

export const rawOf = (place: string, score: string, id: string, text: string): RawTask => [
  id,
  text,
  null,
  place === "leases" ? score : null,
  place === "due" ? score : null,
]

/** Reads the payloads that have their own keys. The page ends before the first task whose payload does not fit. */
export async function addPayloads(
  scripts: Scripts,
  { found, next, textLeft }: FoundPage,
): Promise<FoundPage> {
  const wanted = found.filter(({ hasOwnPayload }) => hasOwnPayload)
  const items = wanted.map(({ task: { id, queue } }) => ({ queue, id: localOf(id) }))
  const texts = await readTexts(scripts, "payload", items, textLeft)
  const payloads = new Map(wanted.map(({ task }, i) => [task, texts[i]]))
  const complete: Found[] = []
  let last: string | undefined
  for (const entry of found) {
    const { task, hasOwnPayload, cursor } = entry
    const payload = payloads.get(task)
    if (hasOwnPayload && payload === undefined) return { found: complete, next: last, textLeft: 0 }
    if (hasOwnPayload) task.payload = payload ?? LOST_PAYLOAD
    if (payload !== "") complete.push(entry) // "": it was deleted in between
    last = cursor
  }
  return { found: complete, next, textLeft }
}

/** The texts of tasks or their payloads, as lua/texts.lua answers them; undefined: it did not fit in `bytes`. */
export async function readTexts(
  scripts: Scripts,
  what: "task" | "payload",
  items: readonly { queue: string; id: string }[],
  bytes: number,
): Promise<(string | null | undefined)[]> {
  const texts: (string | null | undefined)[] = items.map(() => undefined)
  const calls =
    scripts.queuesPerCall > 1 ? [[...items.keys()]] : Map.groupBy(items.keys(), i => items[i]!.queue).values()
  let left = Math.max(1, bytes)
  for (const some of calls) {
    if (some.length === 0 || left <= 0) break
    const replies = await scripts.call(
      "texts",
      items[some[0]!]!.queue,
      { what, bytes: left },
      some.map(i => items[i]!),
    )
    for (const [n, text] of replies.entries()) {
      texts[some[n]!] = text
      left -= text?.length ?? 0
    }
    if (replies.length < some.length) break
  }
  return texts
}

/** How many dead tasks these queues hold. */
export async function deadSize(scripts: Scripts, queues: readonly string[]): Promise<number> {
  const sizes = await scripts.callForQueues("deadSize", queues, {})
  return sizes.reduce((sum, { reply }) => sum + reply, 0)
}

/** How many entries the places of these states have. Ready lists may contain stale ids. */
export async function sizeOf(
  scripts: Scripts,
  queues: readonly string[],
  states: readonly State[],
): Promise<number> {
  const places = new Set(states.flatMap(state => PLACES[state]))
  const replies = await scripts.callForQueues("queueState", queues, {})
  let size = 0
  for (const state of replies.flatMap(({ reply }) => reply)) {
    const [due, leases, done, dead, cancelled, , ...ready] = sizesIn(state)
    for (const [place, count] of Object.entries({ due, leases, done, dead, cancelled }))
      if (places.has(place)) size += count
    if (places.has("0")) for (const count of ready) size += count
  }
  return size
}

/** An entry of a place, after which a page begins. */
interface Position {
  queue: string
  place: string
  score: string
  id: string
}

const START = { place: "", score: "", id: "" }

/** The place of a cursor that is after all tasks of its queue. */
const END = "end"

const writeCursor = ({ queue, place, score, id }: Position): string =>
  encodeCursor(`${queue} ${place} ${score} ${id}`)

function readCursor(text: string, places: readonly string[]): Position {
  const pattern = /^([A-Za-z0-9._-]{1,64}) (?:([a-z]{3,9}|\d) (\d{1,16}) ([A-Za-z0-9._-]{1,64})|end {2})$/
  const [queue, place = END, score = "", id = ""] = decodeCursor(text, pattern)
  if (!(place === END || places.includes(place))) throw badCursor()
  return { queue: queue!, place, score, id }
}
