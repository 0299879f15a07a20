/**
 * Pages of tasks in the order of time, merged over queues and states: running tasks, those whose lease ends next first; queued
 * and ended tasks, the newest first; delayed tasks, the next due first. Queued tasks that cannot be merged come last, queue by
 * queue: those of groups, and all of them if a ready list is too long or has another order than that of its tasks' submits.
 */
import type { MergedEntry, Scripts } from "../redis/scripts.ts"
import { hasOwnPayload, readTask } from "../task/record.ts"
import type { State } from "../wire/fields.ts"
import {
  type Found,
  type FoundPage,
  findTasks,
  MAX_ENTRIES_PER_PAGE,
  MAX_IDS_PER_CALL,
  MAX_QUEUES_PER_PAGE,
  MAX_TEXT_PER_PAGE,
  PLACES,
  rawOf,
  readTexts,
  type TaskFilter,
} from "./listing.ts"
import { type Newest, newestQueued } from "./newest-queued.ts"
import { badCursor } from "./refusals.ts"

/** How many entries one script call answers: 2 ms of Redis' time in 100 queues. */
const MAX_ENTRIES_PER_CALL = 200
/** How many script calls a page makes to find a part of an id. It ends after the round in which it reaches this number. */
const MAX_CALLS_PER_PAGE = 40

export interface TimeFilter extends Omit<TaskFilter, "state" | "bare"> {
  state: State | "all"
  /** The ms that `done` and `cancelled` tasks are kept: their sets are ordered by the end of that time. */
  doneRetentionMs: number
}

/** The places of the states in the order of a listing over all of them. Those of one phase are merged. */
const PHASES: readonly { places: string; states: readonly State[] }[] = [
  { places: "leases", states: ["processing"] },
  { places: "completed done dead cancelled queued", states: ["done", "dead", "cancelled", "queued"] },
  { places: "due", states: ["scheduled", "retrying"] },
  { places: "", states: ["queued"] }, // queue by queue
]
const placesOf = (state: State) => (state === "done" ? PLACES.done.join(" ") : state)
/** The phases of a listing of one state. `due` holds the tasks of two states. */
const phasesOf = (state: State | "all") =>
  state === "all"
    ? PHASES
    : PHASES.filter(({ states }) => states.includes(state)).map(({ places }) => ({
        places: places.includes(state) ? placesOf(state) : places,
        states: [state],
      }))

/** Whether this is the priority of a ready list. */
const isList = (place: string) => /^\d$/.test(place)
/** The places of queued tasks of groups. */
const GROUPED = PLACES.queued.filter(place => !isList(place))

/**
 * Queues are merged in blocks of 1,000 by name, so that a page reads a bounded number of them. `from` and `to` are the first
 * and the last queue of the block; `last`: the last entry that was listed.
 */
interface Position {
  places: string
  from: string
  to: string
  last?: MergedEntry | undefined
  /** Queued tasks were not merged, or not all: they are listed again queue by queue. */
  isPartial?: boolean | undefined
}

export async function findByTime(scripts: Scripts, filter: TimeFilter): Promise<FoundPage> {
  const { queues, state, limit, cursor, sight, matches, idPart = "" } = filter
  const phases = phasesOf(state)
  let position = cursor === undefined ? undefined : readCursor(cursor, phases)
  const found: Found[] = []
  const foundIds = new Set<string>()
  let entriesLeft = MAX_ENTRIES_PER_PAGE
  let textLeft = MAX_TEXT_PER_PAGE
  let callsLeft = MAX_CALLS_PER_PAGE
  let missed = 0
  let lastCursor = cursor
  // A part of an id is compared in whole lists.
  let isPartial = position?.isPartial ?? idPart !== ""
  const endPage = (next?: string): FoundPage => ({ found, next, textLeft })

  const first = phases.findIndex(({ places }) => places === (position?.places ?? phases[0]!.places))
  for (const { places, states } of phases.slice(first)) {
    if (places === "") {
      const inner = position?.from || undefined
      const rest = await findTasks(scripts, {
        ...filter,
        state: "queued",
        places: isPartial ? undefined : GROUPED,
        limit: Math.max(1, limit - found.length),
        cursor: inner,
      })
      if (found.length === limit)
        return endPage(
          rest.found.length > 0 || rest.next !== undefined
            ? writeCursor({ places, from: "", to: "", isPartial })
            : undefined,
        )
      const outer = (of: string) => writeCursor({ places, from: of, to: "", isPartial })
      found.push(
        ...rest.found
          .filter(({ task }) => !foundIds.has(task.id))
          .map(entry => ({ ...entry, cursor: outer(entry.cursor) })),
      )
      return endPage(rest.next && outer(rest.next))
    }
    const block = blockOf(queues, position)
    const within = { places, from: block[0] ?? "", to: block.at(-1) ?? "" }
    for (let last = position?.last, more = block.length > 0; more; ) {
      // Beside tasks of other states, or that do not match, there may be few or many that do.
      const isSparse = matches !== undefined || missed > 0
      const room = isSparse ? MAX_ENTRIES_PER_CALL : limit - found.length
      // One entry more than fits shows that there is a next page.
      const most = Math.min(entriesLeft, room, MAX_ENTRIES_PER_CALL) + 1
      const round = await readMerged(
        scripts,
        block,
        isPartial ? withoutQueued(places) : places,
        last,
        most,
        filter,
      )
      callsLeft -= round.calls
      isPartial ||= round.isPartial
      const items = round.entries.map(([, queue, , id]) => ({ queue, id }))
      const texts = await readTexts(scripts, "task", items, textLeft)
      for (const [i, entry] of round.entries.entries()) {
        const [at, queue, place, id] = entry
        const text = texts[i]
        if (text === undefined) return endPage(lastCursor)
        const task = text ? readTask(queue, rawOf(place, at, id, text), sight) : undefined
        const isMatch =
          task !== undefined &&
          states.includes(task.state) &&
          !foundIds.has(task.id) &&
          (matches?.(task, round.now) ?? true)
        if (entriesLeft-- === 0 || (isMatch && found.length === limit)) return endPage(lastCursor)
        textLeft -= text?.length ?? 0
        lastCursor = writeCursor({ ...within, last: entry, isPartial })
        if (!isMatch) {
          missed++
          continue
        }
        foundIds.add(task.id)
        found.push({ task, hasOwnPayload: !task.hidden && hasOwnPayload(text!), cursor: lastCursor })
      }
      more = round.more
      last = round.last
      if (more) lastCursor = writeCursor({ ...within, last, isPartial })
      if (more && (textLeft <= 0 || (idPart !== "" && callsLeft <= 0))) return endPage(lastCursor)
    }
    const next = queues.find(queue => queue > within.to)
    if (block.length > 0 && next !== undefined)
      return endPage(writeCursor({ places, from: next, to: "", isPartial }))
    position = undefined
  }
  return endPage()
}

/** The queues of a block: of the one that a page continues, or of the one that begins with `from`. */
function blockOf(
  queues: readonly string[],
  { from = "", to = "" }: Partial<Position> = {},
): readonly string[] {
  const rest = queues.filter(queue => queue >= from && (to === "" || queue <= to))
  return to === "" ? rest.slice(0, MAX_QUEUES_PER_PAGE) : rest
}

const withoutQueued = (places: string) => places.replace(/ ?queued/, "")
const NOTHING: Newest = { now: 0, entries: [], isComplete: true }

/** The next entries of these queues, and how far they were read; `more`: there are entries after `last`. */
async function readMerged(
  scripts: Scripts,
  queues: readonly string[],
  places: string,
  after: MergedEntry | undefined,
  limit: number,
  { idPart = "", doneRetentionMs }: TimeFilter,
) {
  const [at, queue, place, id] = after ?? ["", "", "", ""]
  const isAscending = places === "leases" || places === "due"
  // At the same time, the lists of a queue come after its sets.
  const rank = (entry: MergedEntry) => (isList(entry[2]) ? 100 - Number(entry[2]) : places.indexOf(entry[2]))
  // Entries of `completed` are in one reply, in order, and stay so: the sort is stable.
  const compare = (a: MergedEntry, b: MergedEntry) =>
    (Number(a[0]) - Number(b[0])) * (isAscending ? 1 : -1) ||
    (a[1] === b[1] ? rank(a) - rank(b) : a[1] < b[1] ? -1 : 1) ||
    (a[3] === b[3] || a[2] === "completed" ? 0 : a[3] < b[3] === isAscending ? -1 : 1)
  const sets = withoutQueued(places)
  const [replies, newest] = await Promise.all([
    sets === ""
      ? []
      : scripts.callForQueues("merged", queues, {
          places: sets,
          retention: doneRetentionMs,
          limit,
          most: idPart === "" ? limit : MAX_IDS_PER_CALL,
          part: idPart,
          at,
          queue,
          place: isList(place) ? "" : place,
          id,
        }),
    sets === places ? NOTHING : newestQueued(scripts, queues, after, limit, compare),
  ])
  const frontiers = replies.flatMap(({ reply: [, more, last] }) => (more === 1 ? [last!] : []))
  if (newest.entries.length > limit) frontiers.push(newest.entries.at(-1)!)
  const frontier = frontiers.sort(compare)[0]
  const entries = replies
    .flatMap(({ reply: [, , , ...found] }) => found)
    .concat(newest.entries)
    .filter(entry => frontier === undefined || compare(entry, frontier) <= 0)
    .sort(compare)
  const taken = entries.slice(0, limit)
  const isCut = taken.length < entries.length
  return {
    now: replies[0]?.reply[0] ?? newest.now,
    calls: replies.length,
    entries: taken,
    more: isCut || frontier !== undefined,
    last: isCut ? taken.at(-1) : frontier,
    isPartial: !newest.isComplete,
  }
}

const writeCursor = ({ places, from, to, last = ["", "", "", ""], isPartial }: Position): string =>
  Buffer.from([places, from, to, ...last, isPartial ? "partial" : ""].join(",")).toString("base64url")

function readCursor(text: string, phases: readonly { places: string }[]): Position {
  const [places, from = "", to = "", ...rest] = Buffer.from(text, "base64url").toString("latin1").split(",")
  const last = rest.slice(0, 4)
  const [at, , place, id] = last
  const isEntry = rest.length === 5 && (at === "" || (/^-?\d{1,16}$/.test(at!) && place !== "" && id !== ""))
  if (!isEntry || !phases.some(phase => phase.places === places)) throw badCursor()
  return {
    places: places!,
    from,
    to,
    last: at === "" ? undefined : (last as unknown as MergedEntry),
    isPartial: rest[4] === "partial",
  }
}
