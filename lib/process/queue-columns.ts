/** The columns in which `top` and `tq` show queues, the orders in which they list them, and the marks of queues. */
import type { QueueView } from "../wire/managing.ts"
import { formatAge, formatCount } from "./terminal-text.ts"

/** A queue as these programs show it. Older brokers send no rates, no workers and no attention. */
export type ShownQueue = Pick<QueueView, "queue" | "depth" | "paused" | "pause_reason"> & {
  oldest_waiting_ms?: number | undefined
  polled_at?: number | undefined
  rates?: Partial<QueueView["rates"]> | undefined
  workers?: Pick<QueueView["workers"], "count"> | undefined
  attention?: QueueView["attention"] | undefined
}

interface Column {
  title: string
  of: (queue: ShownQueue) => number | undefined
  format: (value: number | undefined) => string
}

export const COUNTS = {
  queued: { title: "QUEUED", of: ({ depth }) => depth.queued, format: formatCount },
  delayed: { title: "DELAYED", of: ({ depth }) => depth.delayed, format: formatCount },
  running: { title: "RUNNING", of: ({ depth }) => depth.processing, format: formatCount },
  dead: { title: "DEAD", of: ({ depth }) => depth.dead, format: formatCount },
  oldest: { title: "OLDEST", of: queue => queue.oldest_waiting_ms, format: formatAge },
} as const satisfies Record<string, Column>

export const RATES = {
  in: { title: "IN/S", of: ({ rates }) => rates?.submitted, format: formatCount },
  done: { title: "DONE/S", of: ({ rates }) => rates?.done, format: formatCount },
  fail: { title: "FAIL/S", of: ({ rates }) => rates?.failed, format: formatCount },
} as const satisfies Record<string, Column>

export const WORKERS = {
  workers: { title: "WORKERS", of: ({ workers }) => workers?.count, format: formatCount },
} as const satisfies Record<string, Column>

const COLUMNS: Readonly<Record<string, Column>> = { ...COUNTS, ...RATES, ...WORKERS }

/** The orders: by name, or by a column. */
export const ORDERS = ["name", ...Object.keys(COLUMNS)]

/** The queues by name, or with the largest value of a column first. Queues without that value come last. */
export function sortQueues<T extends ShownQueue>(
  queues: readonly T[],
  order: string,
  isReversed = false,
): T[] {
  const of = COLUMNS[order]?.of
  const sign = isReversed ? -1 : 1
  const byName = (a: T, b: T) => (a.queue < b.queue ? -1 : a.queue > b.queue ? 1 : 0)
  if (of === undefined) return queues.toSorted((a, b) => sign * byName(a, b))
  return queues.toSorted((a, b) => {
    const [x, y] = [of(a), of(b)]
    if (x === y) return byName(a, b)
    return x === undefined ? 1 : y === undefined ? -1 : sign * (y - x)
  })
}

/** Without a poll for this long, a queue has no workers, also if they send no name. */
const NO_WORKERS_MS = 60_000

/** Why the tasks of a queue do not run, if that is so. */
export function markOf({
  depth,
  paused,
  polled_at,
  workers,
  attention,
}: ShownQueue): "paused" | "no workers" | undefined {
  if (paused) return "paused"
  if (attention !== undefined)
    return attention.some(({ kind }) => kind === "no_workers") ? "no workers" : undefined
  const isPolled = workers?.count !== 0 || (polled_at !== undefined && Date.now() - polled_at < NO_WORKERS_MS)
  return !isPolled && depth.queued + depth.delayed > 0 ? "no workers" : undefined
}
