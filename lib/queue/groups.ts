/** Groups of queues: their views, their own limits, and pausing them. */
import type { EventWriter } from "../observe/event-writer.ts"
import type { GroupState, Replies, Scripts } from "../redis/scripts.ts"
import { joinId } from "../task/id.ts"
import type { GroupView } from "../wire/grouping.ts"
import type { GroupLimits, OneRate } from "../wire/queue-settings.ts"
import { badCursor, decodeCursor, encodeCursor } from "./cursor.ts"
import type { QueueNames } from "./queue-names.ts"

/** How many entries one script call reads: about 2 ms of Redis' time. */
const MAX_ENTRIES_PER_CALL = 100
const PARTS = ["waiting", "firsts", "busy", "overrides"] as const

interface GroupsParts {
  scripts: Scripts
  names: QueueNames
  events: EventWriter
}

/** Limits as the scripts read them: every rate as a limit per period. */
interface StoredLimits extends Omit<GroupLimits, "rate"> {
  rates?: Required<Omit<OneRate, "per_second">>[]
  paused?: number
  reason?: string
}

export class Groups {
  constructor(private readonly parts: GroupsParts) {}

  async view(queue: string, group: string): Promise<GroupView> {
    const [now, , , state] = await this.parts.scripts.call("groupStates", queue, {
      part: "one",
      score: "",
      name: group,
      limit: 1,
    })
    return viewOf(queue, now, state!)
  }

  /** A page of the groups that have tasks or limits of their own, the largest backlog first. */
  async page(
    queue: string,
    { limit, cursor }: { limit: number; cursor?: string | undefined },
  ): Promise<{ groups: GroupView[]; next: string | undefined }> {
    const groups: GroupView[] = []
    let position: Position | undefined = cursor === undefined ? START : readCursor(cursor)
    while (position !== undefined && groups.length < limit) {
      const { part, score, name }: Position = position
      const most = Math.min(limit - groups.length, MAX_ENTRIES_PER_CALL)
      const args = { part: PARTS[part]!, score, name, limit: most }
      const reply: Replies["groupStates"] = await this.parts.scripts.call("groupStates", queue, args)
      const [now, nextScore, nextName, ...states] = reply
      for (const state of states) groups.push(viewOf(queue, now, state))
      if (nextScore !== "" || nextName !== "") position = { part, score: nextScore, name: nextName }
      else position = part + 1 < PARTS.length ? { ...START, part: part + 1 } : undefined
    }
    return { groups, next: position && writeCursor(position) }
  }

  /** Sets the group's own limits; undefined removes them. Safe to repeat. */
  async setLimits(queue: string, group: string, limits: GroupLimits | undefined): Promise<GroupView> {
    const value = limits === undefined ? "" : encodeLimits(limits)
    await this.#change(queue, group, "limits", value)
    this.parts.events.publishQueueEvent("group_limits", queue, { group, limits: limits ?? {} })
    return this.view(queue, group)
  }

  /** Stops leasing tasks of a group until it is resumed. Safe to repeat. */
  async pause(queue: string, group: string, reason: string): Promise<GroupView> {
    await this.#change(queue, group, "pause", reason)
    const facts = reason === "" ? { group } : { group, reason }
    this.parts.events.publishQueueEvent("group_paused", queue, facts)
    return this.view(queue, group)
  }

  /** Safe to repeat. */
  async resume(queue: string, group: string): Promise<GroupView> {
    await this.#change(queue, group, "resume", "")
    this.parts.events.publishQueueEvent("group_resumed", queue, { group })
    return this.view(queue, group)
  }

  async #change(queue: string, group: string, change: "limits" | "pause" | "resume", value: string) {
    await this.parts.names.registerEvenIfFull(queue)
    await this.parts.scripts.call("setGroup", queue, { group, change, value })
  }
}

/** Limits as the scripts read them, as JSON. */
export function encodeLimits({ rate, ...limits }: GroupLimits): string {
  const stored: StoredLimits = limits
  if (rate !== undefined) stored.rates = ratesOf(rate)
  return JSON.stringify(stored)
}

/** Limits as clients see them. */
export function readLimits({
  rates,
  paused: _paused,
  reason: _reason,
  ...limits
}: StoredLimits): GroupLimits {
  return rates === undefined ? limits : { ...limits, rate: rates.length === 1 ? rates[0]! : rates }
}

/** Rates in the form {limit, per_ms, burst}. */
export const ratesOf = (rate: OneRate | OneRate[]) =>
  [rate].flat().map(({ per_second, limit = per_second!, per_ms = 1_000, burst = limit }) => ({
    limit,
    per_ms,
    burst,
  }))

function viewOf(
  queue: string,
  now: number,
  [group, waiting, processing, oldest, overrides, cause, until, ids]: GroupState,
): GroupView {
  const view: GroupView = { queue, group, waiting, processing }
  if (oldest > 0) view.oldest_waiting_ms = Math.max(0, now - oldest)
  if (cause !== "") {
    view.held = { cause }
    if (ids.length > 0) view.held.task_ids = ids.map(id => joinId(queue, id))
    if (until > 0) view.held.until_at = until
  }
  if (overrides !== "") {
    const stored = JSON.parse(overrides) as StoredLimits
    const limits = readLimits(stored)
    if (Object.keys(limits).length > 0) view.limits = limits
    if (stored.paused !== undefined) view.paused_at = stored.paused
    if (stored.reason !== undefined) view.pause_reason = stored.reason
  }
  return view
}

/** Where a page begins: an entry of one part of lua/group-states.lua. */
interface Position {
  part: number
  score: string
  name: string
}

const START: Position = { part: 0, score: "", name: "" }

const writeCursor = ({ part, score, name }: Position): string => encodeCursor(`${part} ${score} ${name}`)

function readCursor(text: string): Position {
  const [part, score = "", name = ""] = decodeCursor(text, /^([0-3]) (\d{0,16}) (.*)$/s)
  if (part === "0" && (score === "") !== (name === "")) throw badCursor()
  return { part: Number(part), score, name }
}
