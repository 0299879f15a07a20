/** Reading tasks: one, a page of those in a state, why one has not run; and how a queue is. Nothing here changes anything. */
import { Refused } from "../errors.ts"
import type { Replies, Scripts } from "../redis/scripts.ts"
import { splitId } from "../task/id.ts"
import { readTask } from "../task/record.ts"
import type { Task } from "../task/task.ts"
import type { State } from "../wire/fields.ts"
import type { QueueView } from "../wire/managing.ts"

/** Entries that one call looks at, whatever it finds: the bound of a page with filters. */
export const MAX_ENTRIES_PER_PAGE = 1_000
/** Without news from workers for this long, their absence is the answer. */
const NO_WORKERS_MS = 60_000

export interface Page {
  tasks: Task[]
  next: string | undefined
}

/** Where tasks of each state stand, in the order in which a page lists them. */
export const PLACES: Record<State, readonly string[]> = {
  scheduled: ["due"],
  retrying: ["due"],
  queued: ["9", "8", "7", "6", "5", "4", "3", "2", "1", "0"],
  processing: ["leases"],
  done: ["done"],
  dead: ["dead"],
  cancelled: ["cancelled"],
}

export async function findTask(scripts: Scripts, id: string): Promise<Task> {
  const { queue, localId } = splitId(id)
  const [described] = await scripts.call("inspect", queue, {}, [{ id: localId }])
  if (!described) throw new Refused("task_not_found", { task_id: id })
  return readTask(queue, described)
}

export interface TaskFilter {
  queues: readonly string[]
  state: State
  limit: number
  cursor?: string | undefined
  matches?: (task: Task) => boolean
  /** Leaves out the payloads that have keys of their own: they are not wanted. */
  bare?: boolean
}

/**
 * A page of the tasks in one state, queue by queue. It looks at a bounded number of entries, so that a page
 * may be short, even empty, and still have a `next`.
 */
export async function tasksPage(
  scripts: Scripts,
  { queues, state, limit, cursor, matches, bare = false }: TaskFilter,
): Promise<Page> {
  const after = cursor === undefined ? undefined : readCursor(cursor)
  const places = PLACES[state]
  const tasks: Task[] = []
  let budget = MAX_ENTRIES_PER_PAGE
  let last = cursor
  for (const queue of queues) {
    if (after !== undefined && queue < after.queue) continue
    for (const place of places) {
      const started = after?.queue === queue && places.indexOf(after.place) >= places.indexOf(place)
      if (started && after.place !== place) continue
      let at = started ? { score: after.score, id: after.id } : { score: "", id: "" }
      for (let more = true; more; ) {
        const count = matches ? budget + 1 : limit - tasks.length + 1
        const [, ...entries] = await scripts.call("page", queue, {
          place,
          limit: count,
          ...at,
          bare: bare ? 1 : 0,
        })
        for (const [score, id, described] of entries) {
          const task = described === null ? undefined : readTask(queue, described)
          const wanted = task?.state === state && (matches?.(task) ?? true)
          // One more than asked tells that there is a next page.
          if (budget-- === 0 || (wanted && tasks.length === limit)) return { tasks, next: last }
          if (wanted) tasks.push(task)
          at = { score, id }
          last = writeCursor({ queue, place, ...at })
        }
        // Of a ready list nothing may have been wanted: ids linger there.
        more = entries.length === count
      }
    }
  }
  return { tasks, next: undefined }
}

/** How many dead tasks there are in these queues. */
export async function deadSize(scripts: Scripts, queues: readonly string[]): Promise<number> {
  const sizes = await Promise.all(
    queues.map(queue => scripts.call("page", queue, { place: "dead", limit: 0, score: "", id: "", bare: 1 })),
  )
  return sizes.reduce((sum, [size]) => sum + size, 0)
}

export interface Why {
  task: Task
  cause:
    | "ended"
    | "delayed"
    | "backing_off"
    | "running"
    | "cancelling"
    | "waiting"
    | "paused"
    | "limited"
    | "no_workers"
  sentence: string
  ahead?: number
  atLeast?: boolean
  polledAt?: number
  pausedAt?: number
  pauseReason?: string
}

/** Why a task has not run, in one sentence and with the facts. `served`: workers wait for this queue here. */
export async function whyTask(
  scripts: Scripts,
  id: string,
  served: (queue: string) => boolean,
): Promise<Why> {
  const { queue, localId } = splitId(id)
  const [found] = await scripts.call("why", queue, {}, [{ id: localId }])
  if (!found) throw new Refused("task_not_found", { task_id: id })
  return explain(queue, found, served(queue))
}

function explain(
  queue: string,
  [now, polled, higher, position, paused, reason, limited, described]: NonNullable<Replies["why"][number]>,
  served: boolean,
): Why {
  const task = readTask(queue, described)
  const until = (time: number) => `in ${seconds(time - now)}`
  const since = (time: number) => `for ${seconds(now - time)}`
  switch (task.state) {
    case "done":
    case "dead":
    case "cancelled": {
      const reason = task.reason === undefined ? "" : ` (${task.reason})`
      return {
        task,
        cause: "ended",
        sentence: `It has ended: it has been ${task.state}${reason} ${since(task.finishedAt!)}.`,
      }
    }
    case "scheduled":
      return {
        task,
        cause: "delayed",
        sentence: `It was submitted with a delay and is ready ${until(task.dueAt!)}.`,
      }
    case "retrying":
      return {
        task,
        cause: "backing_off",
        sentence: `Attempt ${task.attempt} did not succeed; it backs off and is ready ${until(task.dueAt!)}.`,
      }
    case "processing": {
      const who = task.worker === undefined ? "a worker without a name" : `worker ${task.worker}`
      const runs = `attempt ${task.attempt} has been running at ${who} ${since(task.startedAt!)}; its lease ends ${until(task.leaseExpiresAt!)}`
      return task.cancelRequestedAt === undefined
        ? { task, cause: "running", sentence: `It is running: ${runs} unless it is extended.` }
        : {
            task,
            cause: "cancelling",
            sentence: `It is being cancelled, and its worker hears of it when it extends: ${runs}.`,
          }
    }
    case "queued": {
      const polledAt = served ? now : polled === "" ? undefined : Number(polled)
      const atLeast = position < 0
      const ahead = higher + (atLeast ? 10_000 : position)
      const facts = { task, ahead, atLeast, ...(polledAt === undefined ? {} : { polledAt }) }
      if (paused !== "")
        return {
          ...facts,
          cause: "paused",
          sentence: `It is ready, but its queue has been paused ${since(Number(paused))}${reason === "" ? "." : `: ${reason}`}`,
          pausedAt: Number(paused),
          ...(reason === "" ? {} : { pauseReason: reason }),
        }
      if (polledAt === undefined)
        return {
          ...facts,
          cause: "no_workers",
          sentence: "It is ready, but no worker has ever asked this queue for tasks.",
        }
      if (now - polledAt > NO_WORKERS_MS)
        return {
          ...facts,
          cause: "no_workers",
          sentence: `It is ready, but no worker has asked this queue for tasks for ${seconds(now - polledAt)}.`,
        }
      if (limited === 1)
        return {
          ...facts,
          cause: "limited",
          sentence: `It is ready, but as many run, or so many were handed out just now, as the settings of its queue allow; ${ahead} go first.`,
        }
      const others = ahead === 0 ? "it is the next" : `${atLeast ? "at least " : ""}${ahead} go first`
      return { ...facts, cause: "waiting", sentence: `It is ready and waits for a worker: ${others}.` }
    }
    default:
      throw task.state satisfies never
  }
}

/** `served`: workers wait for this queue here. */
export function readDepth(
  queue: string,
  [now, polled, paused, reason, ...[concurrency, perSecond, burst, oldest, ...counts]]: Replies["queueState"],
  served: boolean,
): Omit<QueueView, "workers" | "rates"> {
  const [due, leases, done, dead, cancelled, ...ready] = counts
  const queued = ready.reduce((sum, count) => sum + count, 0)
  return {
    queue,
    depth: { queued, delayed: due, processing: leases, done, dead, cancelled },
    queued_by_priority: Object.fromEntries([...ready.entries()].filter(([, count]) => count > 0)),
    ...(oldest === 0 ? {} : { oldest_waiting_ms: Math.max(0, now - oldest) }),
    ...(served ? { polled_at: now } : polled === "" ? {} : { polled_at: Number(polled) }),
    paused: paused !== "",
    ...(paused === "" ? {} : { paused_at: Number(paused) }),
    ...(reason === "" ? {} : { pause_reason: reason }),
    settings: {
      ...(concurrency === "" ? {} : { concurrency: Number(concurrency) }),
      ...(perSecond === "" ? {} : { rate: { per_second: Number(perSecond), burst: Number(burst) } }),
    },
  }
}

const seconds = (ms: number) => `${(Math.max(0, ms) / 1_000).toFixed(1)} s`

interface Cursor {
  queue: string
  place: string
  score: string
  id: string
}

const writeCursor = ({ queue, place, score, id }: Cursor): string =>
  Buffer.from(`${queue} ${place} ${score} ${id}`).toString("base64url")

function readCursor(text: string): Cursor {
  const plain = Buffer.from(text, "base64url").toString("latin1")
  const match = /^([A-Za-z0-9._-]{1,64}) ([a-z]{3,9}|\d) (\d{1,16}) ([A-Za-z0-9._-]{1,64})$/.exec(plain)
  if (match === null || !Object.values(PLACES).some(places => places.includes(match[2]!)))
    throw new Refused("bad_request", {
      field: "cursor",
      detail: "`cursor` must be what the page before gave as `next`.",
    })
  return { queue: match[1]!, place: match[2]!, score: match[3]!, id: match[4]! }
}
