/** Operations on schedules: set, read, pause, resume, delete, and a run by hand. schedule-firing.ts does the planned runs. */
import { Refused } from "../errors.ts"
import type { EventWriter } from "../observe/event-writer.ts"
import { SCHEDULES_CHANNEL } from "../redis/keys.ts"
import type { Scripts } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import { joinId } from "../task/id.ts"
import { type Recurrence, timeAfter } from "../task/recurrence.ts"
import {
  encodeSchedule,
  firstLineOf,
  type RawSchedule,
  readSchedule,
  type ScheduleDefinition,
  type StoredSchedule,
  scoreOf,
} from "../task/schedule.ts"
import type { NewTask } from "../task/task.ts"
import { decodeCursor, encodeCursor } from "./cursor.ts"
import type { QueueNames } from "./queue-names.ts"
import type { ScheduleFiring } from "./schedule-firing.ts"
import type { Sweeper } from "./sweeper.ts"

/** How often a change is tried again because the schedule ran or was changed in between. */
const MAX_TRIES = 50
/** How many queues one page of all queues looks at, with how many calls at most, and how many queues at a time. */
const MAX_QUEUES_PER_PAGE = 1_000
const MAX_CALLS_PER_PAGE = 1_000
const QUEUES_AT_A_TIME = 100

export interface FoundSchedule {
  queue: string
  name: string
  schedule: StoredSchedule
  /** The state of its newest task; "": it has none, or the task was deleted. */
  lastState: string
}

interface SchedulesParts {
  store: Store
  scripts: Scripts
  names: QueueNames
  sweeper: Sweeper
  events: EventWriter
  firing: ScheduleFiring
}

export class Schedules {
  constructor(private readonly parts: SchedulesParts) {}

  /**
   * Creates or replaces a schedule. Safe to repeat: as long as its times are the same, its next time stays. Times that
   * were due but had no task yet follow the new times.
   */
  async set(
    queue: string,
    name: string,
    definition: ScheduleDefinition,
    payload: string,
  ): Promise<{ schedule: StoredSchedule; changed: boolean; before: ScheduleDefinition | undefined }> {
    await this.parts.names.register(queue) // otherwise no broker would sweep the queue
    const text = JSON.stringify(definition)
    let before: ScheduleDefinition | undefined
    const set = await this.#change(queue, name, (found, now) => {
      before = found?.definition
      if (found === undefined) {
        const planned = timeAfter(definition, now) ?? 0
        const none = { fired: 0, missed: 0, skipped: 0, last: 0, paused: 0, pauseReason: "" }
        return { ...none, version: now, planned, definition, payload }
      }
      if (JSON.stringify(found.definition) === text && found.payload === payload) return undefined
      const keepsPlan = found.paused > 0 || timesOf(found.definition) === timesOf(definition)
      const isDue = found.planned > 0 && found.planned <= now
      const from = isDue ? found.planned - 1 : Math.max(now, found.last)
      const planned = keepsPlan ? found.planned : (timeAfter(definition, from) ?? 0)
      return { ...found, planned, definition, payload }
    })
    if (set.changed) this.#publish("schedule_set", queue, name)
    return { ...set, before }
  }

  async get(queue: string, name: string): Promise<FoundSchedule> {
    const [, raw] = await this.parts.scripts.call("scheduleGet", queue, { name })
    return readFound(queue, raw) ?? throwNotFound(queue, name)
  }

  /**
   * A page of the schedules of these queues, or of all, whose ids contain `part`, ignoring case: queue by queue, and in a
   * queue by their next run.
   */
  async page({
    queues,
    part = "",
    limit,
    cursor,
  }: {
    queues: readonly string[] | undefined
    part?: string | undefined
    limit: number
    cursor: string | undefined
  }): Promise<{ schedules: FoundSchedule[]; next: string | undefined }> {
    const { scripts, names } = this.parts
    const after = cursor === undefined ? undefined : readCursor(cursor)
    const all = queues ?? (await names.list())
    const remaining = after === undefined ? all : all.filter(queue => queue >= after.queue)
    const schedules: FoundSchedule[] = []
    let calls = 0
    for (const queue of await this.#withSchedules(remaining.slice(0, MAX_QUEUES_PER_PAGE))) {
      const args = { before: joinId(queue, ""), part: part.toLowerCase() }
      let { score, name } = after?.queue === queue ? after : { score: "", name: "" }
      do {
        if (schedules.length === limit || calls++ === MAX_CALLS_PER_PAGE)
          return { schedules, next: writeCursor(queue, score, name) }
        const count = limit - schedules.length
        const [, ...page] = await scripts.call("schedulesPage", queue, { limit: count, score, name, ...args })
        const [lastScore, lastName, ...raws] = page
        schedules.push(...raws.flatMap(raw => readFound(queue, raw) ?? []))
        score = lastScore
        name = lastName
      } while (name !== "")
    }
    const unseen = remaining[MAX_QUEUES_PER_PAGE]
    return { schedules, next: unseen === undefined ? undefined : writeCursor(unseen, "", "") }
  }

  /** Safe to repeat: the newest reason replaces the previous one. Returns since when the schedule is paused. */
  async pause(queue: string, name: string, pauseReason: string): Promise<number> {
    const { schedule } = await this.#change(queue, name, (found, now) => {
      if (found === undefined) return throwNotFound(queue, name)
      return { ...found, planned: 0, paused: found.paused || now, pauseReason }
    })
    this.#publish("schedule_paused", queue, name, pauseReason === "" ? {} : { reason: pauseReason })
    return schedule.paused
  }

  /** Continues with the next time from now. Planned times that passed during the pause get no task. Safe to repeat. */
  async resume(queue: string, name: string): Promise<StoredSchedule> {
    const { schedule, changed } = await this.#change(queue, name, (found, now) => {
      if (found === undefined) return throwNotFound(queue, name)
      if (found.paused === 0) return undefined
      const planned = timeAfter(found.definition, Math.max(now, found.last)) ?? 0
      return { ...found, planned, paused: 0, pauseReason: "" }
    })
    if (changed) this.#publish("schedule_resumed", queue, name)
    return schedule
  }

  /** Its tasks remain. */
  async delete(queue: string, name: string): Promise<void> {
    await this.#change(queue, name, found => {
      if (found === undefined) return throwNotFound(queue, name)
      return "delete"
    })
    this.#publish("schedule_deleted", queue, name)
  }

  /** Creates a task now, as `on_overlap` allows. The planned times stay. */
  async run(
    queue: string,
    name: string,
    idempotency: NewTask["idempotency"],
  ): Promise<{ status: "queued" | "skipped" | "duplicate"; id: string }> {
    let last = 0
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const [now, raw] = await this.parts.scripts.call("scheduleGet", queue, { name })
      const schedule = readSchedule(raw[2]) ?? throwNotFound(queue, name)
      last = Math.max(now, last + 1) // after "exists": another run has the id of this millisecond
      const { code, id } = await this.parts.firing.fireNow(queue, name, schedule, last, idempotency)
      switch (code) {
        case "fired":
        case "replayed":
          return { status: "queued", id }
        case "skipped":
        case "duplicate":
          return { status: code, id }
        case "full_depth":
        case "full_bytes":
          throw new Refused("queue_full", {
            detail: `The queue ${queue} is full. The task was not created. Retry when workers have finished some tasks.`,
          })
        case "full_group":
          throw new Refused("group_full", {
            detail: `The group of the task is full: it has as many waiting tasks as its max_waiting allows. The task was not created. Retry when workers have finished some tasks of the group.`,
          })
        case "conflict":
          throw new Refused("key_reused")
        case "exists":
        case "stale":
          break
        case "missed":
          throw new Error("A run by hand has a time.")
        default:
          throw code satisfies never
      }
    }
    throw busy()
  }

  /** Reads a schedule, and stores what `change` returns unless it has changed in between: then it starts again. */
  async #change(
    queue: string,
    name: string,
    change: (found: StoredSchedule | undefined, now: number) => StoredSchedule | "delete" | undefined,
  ): Promise<{ schedule: StoredSchedule; changed: boolean }> {
    const { scripts, store, sweeper } = this.parts
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const [now, raw] = await scripts.call("scheduleGet", queue, { name })
      const found = readSchedule(raw[2])
      const wanted = change(found, now)
      if (wanted === undefined) return { schedule: found!, changed: false }
      const before = firstLineOf(raw[2])
      const schedule = wanted === "delete" ? found! : { ...wanted, version: (found?.version ?? now) + 1 }
      const code = await scripts.call("scheduleSet", queue, {
        name,
        before,
        text: wanted === "delete" ? "" : encodeSchedule(schedule),
        score: wanted === "delete" ? "" : scoreOf(name, schedule),
      })
      if (code === "stale") continue
      sweeper.sweepIn(queue, 0)
      await store.publish(SCHEDULES_CHANNEL, queue)
      return { schedule, changed: true }
    }
    throw busy()
  }

  /** Those of these queues that have schedules. */
  async #withSchedules(queues: readonly string[]): Promise<string[]> {
    const first = { limit: 1, score: "", name: "", before: "", part: "" }
    const having: string[] = []
    for (let at = 0; at < queues.length; at += QUEUES_AT_A_TIME) {
      const some = queues.slice(at, at + QUEUES_AT_A_TIME)
      const pages = await Promise.all(
        some.map(queue => this.parts.scripts.call("schedulesPage", queue, first)),
      )
      having.push(...some.filter((_, i) => pages[i]!.length > 3))
    }
    return having
  }

  #publish(event: Parameters<EventWriter["admits"]>[0], queue: string, name: string, facts = {}): void {
    this.parts.events.publishQueueEvent(event, queue, { schedule: joinId(queue, name), ...facts })
  }
}

/** The members that decide when a schedule runs. */
const timesOf = ({ cron, time_zone, every_ms, starts_at, ends_at, jitter_ms }: ScheduleDefinition) =>
  JSON.stringify([cron, time_zone, every_ms, starts_at, ends_at, jitter_ms])

/** The next times of a schedule, at most `count`. */
export function nextTimes(recurrence: Recurrence, after: number, count: number): number[] {
  const times: number[] = []
  for (let last = after; times.length < count; ) {
    const next = timeAfter(recurrence, last)
    if (next === undefined || next <= last) break
    times.push(next)
    last = next
  }
  return times
}

function readFound(queue: string, [name, , text, lastState]: RawSchedule): FoundSchedule | undefined {
  const schedule = readSchedule(text)
  return schedule && { queue, name, schedule, lastState }
}

function throwNotFound(queue: string, name: string): never {
  throw new Refused("schedule_not_found", { detail: `There is no schedule ${joinId(queue, name)}.` })
}

const busy = () =>
  new Refused("overloaded", {
    detail: "Other requests keep changing the schedule. Send the request again.",
  })

const writeCursor = (queue: string, score: string, name: string): string =>
  encodeCursor(`${queue} ${score} ${name}`)

function readCursor(text: string): { queue: string; score: string; name: string } {
  const pattern = /^([A-Za-z0-9._-]{1,64}) (\d{1,16}|inf|) ([A-Za-z0-9._-]{0,50})$/
  const [queue, score, name] = decodeCursor(text, pattern)
  return { queue: queue!, score: score!, name: name! }
}
