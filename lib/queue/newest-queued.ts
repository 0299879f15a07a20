/**
 * The newest queued tasks of several queues, merged by the times of their submits. Ready lists are ordered by when tasks became
 * ready, and have no times. So each is read from its end, where the newest tasks are, until all tasks of a page are newer than
 * the last one that was read of every list.
 */
import type { MergedEntry, NewestPart, Scripts } from "../redis/scripts.ts"

/** How many tasks are read at first, if each queue has tasks of one priority: 2 ms of Redis' time in 100 queues. */
const MAX_READ_FIRST = 2_000
const MIN_PER_LIST = 2
const MAX_PER_LIST = 200
/** How often a page reads further in a list. */
const MAX_FURTHER_READS = 40
const ALL_PRIORITIES = "9876543210"

interface List {
  queue: string
  priority: string
  read: number
  /** The time of the task that was read last. */
  oldest: number
  hasMore: boolean
}

export interface Newest {
  now: number
  /** In order, one more than were requested if there are more. */
  entries: MergedEntry[]
  /** Whether all tasks of the lists that come after these are found by continuing after the last one. */
  isComplete: boolean
}

/** `after`: the last task of the previous page. `compare`: the order of a page, in which newer tasks come first. */
export async function newestQueued(
  scripts: Scripts,
  queues: readonly string[],
  after: MergedEntry | undefined,
  limit: number,
  compare: (a: MergedEntry, b: MergedEntry) => number,
): Promise<Newest> {
  const found = new Map<string, MergedEntry>()
  let isComplete = true
  /** Returns the list of a part, whose tasks are added to those that were found. */
  const take = ([queue, priority, more, ...tasks]: NewestPart, before?: List, limit = 0): List => {
    for (const [id, created] of tasks) {
      // A task that became ready again is older than its neighbours, or newer. A newer one may belong to an earlier page.
      if (before !== undefined && Number(created) > before.oldest) isComplete = false
      found.set(`${queue}:${id}`, [created, queue, priority, id])
    }
    const oldest = Number(tasks.at(-1)?.[1] ?? before?.oldest ?? Number.POSITIVE_INFINITY)
    return { queue, priority, read: (before?.read ?? 0) + limit, oldest, hasMore: more === 1 }
  }
  const perList = Math.max(MIN_PER_LIST, Math.min(MAX_PER_LIST, Math.ceil(MAX_READ_FIRST / queues.length)))
  const replies = await scripts.callForQueues("newest", queues, {
    priorities: ALL_PRIORITIES,
    skip: 0,
    limit: perList,
  })
  const lists = replies.flatMap(({ reply: [, ...parts] }) =>
    parts.map(part => take(part, undefined, perList)),
  )
  const now = replies[0]?.reply[0] ?? 0
  for (let reads = 0; ; reads++) {
    const open = lists.filter(({ hasMore }) => hasMore)
    const next = open.reduce<List | undefined>(
      (newest, list) => (newest === undefined || list.oldest > newest.oldest ? list : newest),
      undefined,
    )
    const rest = [...found.values()].filter(entry => after === undefined || compare(after, entry) < 0)
    const certain = rest.filter(entry => next === undefined || Number(entry[0]) > next.oldest)
    const isEnough = next === undefined || certain.length > limit
    if (isEnough || reads === MAX_FURTHER_READS) {
      const entries = (isEnough ? certain : rest).sort(compare).slice(0, limit + 1)
      return { now, entries, isComplete: isComplete && isEnough }
    }
    const [, part] = await scripts.call("newest", next.queue, {
      queues: next.queue,
      priorities: next.priority,
      skip: next.read,
      limit: MAX_PER_LIST,
    })
    if (part === undefined) next.hasMore = false
    else Object.assign(next, take(part, next, MAX_PER_LIST))
  }
}
