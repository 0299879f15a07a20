/** The record of a schedule in Redis, which README.md describes: its only encoder and decoder in TypeScript. */
import type { Schedule as Definition } from "../wire/scheduling.ts"

/** A schedule without its payload, as the client sent it. */
export type ScheduleDefinition = Omit<Definition, "task"> & { task: Omit<Definition["task"], "payload"> }

/** The columns of the first line. Times are in ms since 1970; 0: none. */
export interface ScheduleState {
  /** Grows with each change that is not a run. */
  version: number
  /** The planned time of the next run, without jitter. */
  planned: number
  fired: number
  missed: number
  skipped: number
  /** The planned time of the newest task, or when it was created by hand. */
  last: number
  paused: number
}
const STATE_COLUMNS = ["version", "planned", "fired", "missed", "skipped", "last", "paused"] as const

const FIRST_LINE = /^\d+( \d+){6}$/

export interface StoredSchedule extends ScheduleState {
  pauseReason: string
  definition: ScheduleDefinition
  /** JSON text. */
  payload: string
}

/** A schedule as read_schedule in lua/schedule.lua returns it. `text`: "" if there is none. */
export type RawSchedule = [name: string, score: string, text: string, lastState: string]

/** The first line of a schedule's text. The scripts compare it, and change it when the schedule runs. */
export const encodeState = (state: ScheduleState): string =>
  STATE_COLUMNS.map(column => state[column]).join(" ")

export const encodeSchedule = (schedule: StoredSchedule): string =>
  [
    encodeState(schedule),
    schedule.pauseReason === "" ? "" : JSON.stringify(schedule.pauseReason),
    JSON.stringify(schedule.definition),
    schedule.payload,
  ].join("\n")

/** Undefined if no broker could have written the text. */
export function readSchedule(text: string): StoredSchedule | undefined {
  // Only the payload, which is last, may contain line ends.
  const [columns, reason, definition, ...payload] = text.split("\n") as [string, string, string, ...string[]]
  if (!FIRST_LINE.test(columns)) return undefined
  const values = columns.split(" ").map(Number)
  const state = Object.fromEntries(STATE_COLUMNS.map((column, i) => [column, values[i]]))
  try {
    return {
      ...(state as unknown as ScheduleState),
      pauseReason: reason === "" ? "" : JSON.parse(reason),
      definition: JSON.parse(definition),
      payload: payload.join("\n"),
    }
  } catch {
    return undefined
  }
}

export const firstLineOf = (text: string): string => text.split("\n", 1)[0]!

/** The local id of the task that a schedule creates for a time; lua/schedule.lua builds the same one. */
export const idOfRun = (name: string, at: number): string => `${name}-${at}`

/** When the run of a planned time starts: after a delay that depends only on its name and time, so all brokers agree. */
export const startOf = (name: string, planned: number, jitterMs = 0): number =>
  planned + (Bun.hash.xxHash32(`${name} ${planned}`) % (jitterMs + 1))

/** The score of a schedule in `planned`. */
export const scoreOf = (name: string, { planned, paused, definition }: StoredSchedule): number | "+inf" =>
  planned === 0 || paused > 0 ? "+inf" : startOf(name, planned, definition.jitter_ms)
