/**
 * Pages of tasks in the order of time, merged over queues and states: running tasks, those whose lease ends next first; queued
 * and ended tasks, the newest first; delayed tasks, the next due first. Queued tasks that cannot be merged come last, queue by
 * queue: those of groups, and all of them if a ready list is too long or has another order than that of its tasks' submits.
 */
import type { MergedEntry, Scripts } from "../redis/scripts.ts"
import { hasOwnPayload, readTask } from "../task/record.ts"
import type { Task } from "../task/task.ts"
import type { State } from "../wire/fields.ts"
import { badCursor, decodeCursor, encodeCursor } from "./cursor.ts"
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

/** How many entries one script call answers: 2 ms of Redis' time in 100 queues. */
const MAX_ENTRIES_PER_CALL = 200
/** How many script calls a page makes to find a part of an id. It ends after the round in which it reaches this number. */
const MAX_CALLS_PER_PAGE = 40

interface TimeFilter extends Omit<TaskFilter, "state" | "bare"> {
  state: State | "all"
  /** The ms that `done` and `cancelled` tasks are kept: their sets are ordered by the end of that time. */
  doneRetentionMs: number
}

/** A phase of a listing. With `places` "", queued tasks are listed queue by queue. */
interface Phase {
  places: string
  states: readonly State[]
}

/** The places of the states in the order of a listing over all of them. Those of one phase are merged. */
const PHASES: readonly Phase[] = [
  { places: "leases", states: ["processing"] },
  { places: "completed done dead cancelled queued", states: ["done", "dead", "cancelled", "queued"] },
  { places: "due", states: ["scheduled", "retrying"] },
  { places: "", states: ["queued"] }, // queue by queue
]
const placesOf = (state: State) => (state === "done" ? PLACES.done.join(" ") : state)
/** The phases of a listing of one state. `due` holds the tasks of two states. */
const phasesOf = (state: State | "all"): readonly Phase[] =>
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
  const phases = phasesOf(filter.state)
  const position = filter.cursor === undefined ? undefined : readCursor(filter.cursor, phases)
  const page = new TimePage(scripts, filter, position)
  const first = phases.findIndex(({ places }) => places === (position?.places ?? phases[0]!.places))
  for (const [i, phase] of phases.slice(first).entries()) {
    const from = i === 0 ? position : undefined
    const end = phase.places === "" ? await page.addRest(from) : await page.addMerged(phase, from)
    if (end !== undefined) return end
  }
  return page.end(undefined)
}

/** A page that is being filled. `addMerged` and `addRest` return it if it ends with what they added. */
class TimePage {
  readonly #found: Found[] = []
  readonly #foundIds = new Set<string>()
  #entriesLeft = MAX_ENTRIES_PER_PAGE
  #textLeft = MAX_TEXT_PER_PAGE
  #callsLeft = MAX_CALLS_PER_PAGE
  #hasMissed = false
  #isPartial: boolean
  /** The cursor of the page that begins after what was read. */
  #cursor: string | undefined

  constructor(
    private readonly scripts: Scripts,
    private readonly filter: TimeFilter,
    position: Position | undefined,
  ) {
    // A part of an id is compared in whole lists.
    this.#isPartial = position?.isPartial ?? this.#idPart !== ""
    this.#cursor = filter.cursor
  }

  get #idPart(): string {
    return this.filter.idPart ?? ""
  }

  end = (next: string | undefined): FoundPage => ({ found: this.#found, next, textLeft: this.#textLeft })

  /** Adds the tasks of a phase in the order of time, of one block of queues. */
  async addMerged({ places, states }: Phase, position?: Position): Promise<FoundPage | undefined> {
    const { queues } = this.filter
    const block = blockOf(queues, position)
    if (block.length === 0) return undefined
    const [from, to] = [block[0]!, block.at(-1)!]
    const cursorAt = (last: MergedEntry | undefined) =>
      writeCursor({ places, from, to, last, isPartial: this.#isPartial })
    for (let last = position?.last; ; ) {
      const round = await this.#readRound(block, places, last)
      if (!(await this.#addMatches(round, states, cursorAt))) return this.end(this.#cursor)
      if (!round.more) break
      last = round.last
      this.#cursor = cursorAt(last)
      if (this.#textLeft <= 0 || (this.#idPart !== "" && this.#callsLeft <= 0)) return this.end(this.#cursor)
    }
    const next = queues.find(queue => queue > to)
    return next === undefined
      ? undefined
      : this.end(writeCursor({ places, from: next, to: "", isPartial: this.#isPartial }))
  }

  /** The next entries of a block. */
  async #readRound(block: readonly string[], places: string, last: MergedEntry | undefined): Promise<Round> {
    const { limit, matches } = this.filter
    // Beside tasks of other states, or that do not match, there may be few or many that do.
    const isSparse = matches !== undefined || this.#hasMissed
    const room = isSparse ? MAX_ENTRIES_PER_CALL : limit - this.#found.length
    const round = await readMerged(
      this.scripts,
      block,
      this.#isPartial ? withoutQueued(places) : places,
      last,
      // One entry more than fits shows that there is a next page.
      Math.min(this.#entriesLeft, room, MAX_ENTRIES_PER_CALL) + 1,
      this.filter,
    )
    this.#callsLeft -= round.calls
    this.#isPartial ||= round.isPartial
    return round
  }

  /** Adds the tasks of some entries that match. Returns false if the page ends before the last entry. */
  async #addMatches(
    { entries, now }: Round,
    states: readonly State[],
    cursorAt: (entry: MergedEntry) => string,
  ): Promise<boolean> {
    const items = entries.map(([, queue, , id]) => ({ queue, id }))
    const texts = await readTexts(this.scripts, "task", items, this.#textLeft)
    for (const [i, entry] of entries.entries()) {
      const text = texts[i]
      if (text === undefined) return false
      const task = this.#matching(entry, text, states, now)
      const isFull = task !== undefined && this.#found.length === this.filter.limit
      if (this.#entriesLeft-- === 0 || isFull) return false
      this.#textLeft -= text?.length ?? 0
      this.#cursor = cursorAt(entry)
      if (task === undefined) {
        this.#hasMissed = true
        continue
      }
      this.#foundIds.add(task.id)
      this.#found.push({ task, hasOwnPayload: !task.hidden && hasOwnPayload(text!), cursor: this.#cursor })
    }
    return true
  }

  /** The task of an entry, if it matches and was not found at another place. */
  #matching(
    [at, queue, place, id]: MergedEntry,
    text: string | null,
    states: readonly State[],
    now: number,
  ): Task | undefined {
    const { sight, matches } = this.filter
    const task = text ? readTask(queue, rawOf(place, at, id, text), sight) : undefined
    if (task === undefined || !states.includes(task.state) || this.#foundIds.has(task.id)) return undefined
    return (matches?.(task, now) ?? true) ? task : undefined
  }

  /** Adds the queued tasks that cannot be merged. `from` of the position is the cursor among them. */
  async addRest(position?: Position): Promise<FoundPage> {
    const { limit } = this.filter
    const isPartial = this.#isPartial
    const cursorAt = (from: string) => writeCursor({ places: "", from, to: "", isPartial })
    const room = limit - this.#found.length
    const rest = await findTasks(this.scripts, {
      ...this.filter,
      state: "queued",
      places: isPartial ? undefined : GROUPED,
      limit: Math.max(1, room),
      cursor: position?.from || undefined,
    })
    const hasMore = rest.found.length > 0 || rest.next !== undefined
    if (room === 0) return this.end(hasMore ? cursorAt("") : undefined)
    for (const entry of rest.found)
      if (!this.#foundIds.has(entry.task.id)) this.#found.push({ ...entry, cursor: cursorAt(entry.cursor) })
    return this.end(rest.next && cursorAt(rest.next))
  }
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

/** Entries in order, and how far their places were read. */
interface Round {
  now: number
  calls: number
  entries: readonly MergedEntry[]
  /** There are entries after `last`. */
  more: boolean
  last: MergedEntry | undefined
  isPartial: boolean
}

/** The next entries of these queues. */
async function readMerged(
  scripts: Scripts,
  queues: readonly string[],
  places: string,
  after: MergedEntry | undefined,
  limit: number,
  { idPart = "", doneRetentionMs }: TimeFilter,
): Promise<Round> {
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
  encodeCursor([places, from, to, ...last, isPartial ? "partial" : ""].join(","))

function readCursor(text: string, phases: readonly Phase[]): Position {
  const pattern = /^([a-z ]*),([^,]*),([^,]*),(?:(-?\d{1,16}),([^,]*),([^,]+),([^,]+)|,,,),(partial|)$/
  const [places, from = "", to = "", at, ...rest] = decodeCursor(text, pattern)
  if (!phases.some(phase => phase.places === places)) throw badCursor()
  const [queue, place, id, partial] = rest
  return {
    places: places!,
    from,
    to,
    last: at === undefined ? undefined : [at, queue!, place!, id!],
    isPartial: partial === "partial",
  }
}
