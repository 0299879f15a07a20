/** Filters: what a task must match to be listed, or to be changed by a request for many tasks. */
import type { Task } from "../task/task.ts"
import type { Reason } from "../wire/states.ts"
import { fingerprintOf } from "./fingerprint.ts"

/** All members that are given must match. */
export interface Filter {
  type?: string | undefined
  /** A substring of the type, ignoring case. */
  typePart?: string | undefined
  group?: string | undefined
  /** Labels that the task must have. */
  meta?: readonly (readonly [name: string, value: string])[] | undefined
  reason?: Reason | undefined
  /** A substring of the error. */
  error?: string | undefined
  fingerprint?: string | undefined
  /** It ended longer ago, or more recently, than this; if it has not ended, it was submitted so long ago. */
  olderThanMs?: number | undefined
  newerThanMs?: number | undefined
}

/** A filter as clients send it. */
interface WireFilter extends Omit<Filter, "typePart" | "meta" | "olderThanMs" | "newerThanMs"> {
  type_part?: string
  meta?: Readonly<Record<string, string>>
  older_than_ms?: number
  newer_than_ms?: number
}

export const filterOf = ({
  type,
  type_part: typePart,
  group,
  meta,
  reason,
  error,
  fingerprint,
  older_than_ms: olderThanMs,
  newer_than_ms: newerThanMs,
}: WireFilter): Filter => ({
  type,
  typePart,
  group,
  meta: meta && Object.entries(meta),
  reason,
  error,
  fingerprint,
  olderThanMs,
  newerThanMs,
})

/** Whether a task matches, given the time of Redis; undefined if every task does. */
export function matcherOf(filter: Filter): ((task: Task, now: number) => boolean) | undefined {
  if (Object.values(filter).every(value => value === undefined)) return undefined
  const { type, typePart, group, meta = [], reason, error, fingerprint, olderThanMs, newerThanMs } = filter
  const part = typePart?.toLowerCase()
  return (task, now) => {
    const age = now - (task.finishedAt ?? task.createdAt)
    return (
      (type === undefined || task.type === type) &&
      (part === undefined || task.type.toLowerCase().includes(part)) &&
      (group === undefined || task.group === group) &&
      (reason === undefined || task.reason === reason) &&
      (error === undefined || (task.error?.includes(error) ?? false)) &&
      (olderThanMs === undefined || age > olderThanMs) &&
      (newerThanMs === undefined || age < newerThanMs) &&
      (meta.length === 0 || hasLabels(task, meta)) &&
      (fingerprint === undefined || fingerprintOf(task) === fingerprint)
    )
  }
}

function hasLabels({ memberJson = "" }: Task, labels: NonNullable<Filter["meta"]>): boolean {
  const meta = new Map(Object.entries(JSON.parse(`{${memberJson}}`).meta ?? {}))
  return labels.every(([name, value]) => meta.get(name) === value)
}
