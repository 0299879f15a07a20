/** What the lists and the page of a task say about it, as plain text. */
import type { TaskView } from "../wire/inspecting.ts"

/** Stack frames and further lines belong to the page of the task. */
export const firstLineOf = (text: string): string => text.trim().split(/[\r\n]/, 1)[0]!

/** `retries` of a task counts its failures. */
export function failuresText({ retries, max_retries }: Pick<TaskView, "retries" | "max_retries">): string {
  const count = (n: number, one: string, many: string) => `${n} ${n === 1 ? one : many}`
  return `${count(retries, "failure", "failures")}, ${count(max_retries, "retry", "retries")} allowed`
}

/** The error of a task that is done or runs again is that of an earlier attempt. */
export const hasCurrentError = ({ status, error }: Pick<TaskView, "status" | "error">): boolean =>
  error !== undefined && status !== "done" && status !== "processing"

/** The most relevant time of a task in its state, and what that time is. */
export function timeOf(task: Omit<TaskView, "payload">): { what: string; at: number } {
  const { status, finished_at, started_at, due_at, created_at } = task
  if (finished_at !== undefined) return { what: "Finished", at: finished_at }
  if (status === "processing" && started_at !== undefined) return { what: "Started", at: started_at }
  if (due_at !== undefined) return { what: "Due", at: due_at }
  return { what: "Submitted", at: created_at }
}

/** How long the newest attempt took, for a task that has ended. */
export const runMsOf = ({ started_at, finished_at }: Omit<TaskView, "payload">): number | undefined =>
  started_at === undefined || finished_at === undefined ? undefined : finished_at - started_at

/** The part of a task that is done, from 0 to 1, if its progress says so in one of the usual forms. */
export function progressOf(progress: unknown): number | undefined {
  if (typeof progress === "number") return fraction(progress, progress <= 1 ? 1 : 100)
  if (typeof progress !== "object" || progress === null) return undefined
  const { percent, done, current, of, total } = progress as Record<string, unknown>
  if (typeof percent === "number") return fraction(percent, 100)
  return fraction(done ?? current, total ?? of)
}

function fraction(done: unknown, of: unknown): number | undefined {
  if (typeof done !== "number" || typeof of !== "number" || of <= 0) return undefined
  return Math.min(1, Math.max(0, done / of))
}
