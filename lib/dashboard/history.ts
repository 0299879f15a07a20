import type { QueueView } from "../wire/managing.ts"
import type { EventData } from "./live.ts"
import { stream } from "./live.ts"

const SECONDS = 300
export const COUNTED = ["submitted", "done", "failed"] as const
type Counts = Record<(typeof COUNTED)[number], number>
export type Held = Record<"queued" | "delayed" | "processing", number>

/** By the second of Redis' clock, for each queue. */
const counts = new Map<number, Map<string, Counts>>()
const depths: { at: number; all: boolean; queues: Map<string, Held> }[] = []
let since = Infinity
let skew = -Infinity
let lastId = ""

/** The present second by Redis' clock. */
const present = () => Math.floor((Date.now() + (skew === -Infinity ? 0 : skew)) / 1_000)

/** What to listen to. The first time it is told what was before, as far as that is kept. */
export const countsQuery = (): string =>
  `event=counts,paused,resumed,settings,purged,dead&last_event_id=${lastId || `${Date.now() - SECONDS * 1_000}-0`}`

export function addCounts({ at, queues = {} }: EventData): void {
  skew = Math.max(skew, at - Date.now())
  const second = Math.floor(at / 1_000)
  lastId = `${at}`
  for (const [queue, of] of Object.entries(queues)) {
    if (typeof of === "number") continue
    const { submitted = 0, done = 0, failed = 0, lapsed = 0 } = of
    add(second, queue, { submitted, done, failed: failed + lapsed })
  }
}

let ratesAt = 0
/** How things are now. Where no events come, the rates of the last minute stand for what they would tell. */
export function addQueues(queues: readonly QueueView[], all: boolean): void {
  const at = Date.now()
  depths.push({ at, all, queues: new Map(queues.map(({ queue, depth }) => [queue, depth])) })
  while (depths[0]!.at < at - SECONDS * 1_000) depths.shift()
  if (stream.value === "open") {
    since = Math.min(since, present())
    return
  }
  // The first time events may be about to come.
  const from = ratesAt === 0 ? Infinity : Math.max(ratesAt + 1, present() - 10)
  for (let second = from; second <= present(); second++)
    for (const { queue, rates } of queues as (QueueView & { rates?: Counts & { lapsed?: number } })[])
      if (rates) add(second, queue, { ...rates, failed: rates.failed + (rates.lapsed ?? 0) })
  ratesAt = present()
}

function add(second: number, queue: string, of: Counts): void {
  if (second < present() - SECONDS - 10) return
  since = Math.min(since, second)
  let all = counts.get(second)
  if (all === undefined) {
    all = new Map()
    counts.set(second, all)
    for (const old of counts.keys()) if (old < present() - SECONDS - 10) counts.delete(old)
  }
  const before = all.get(queue)
  all.set(queue, {
    submitted: of.submitted + (before?.submitted ?? 0),
    done: of.done + (before?.done ?? 0),
    failed: of.failed + (before?.failed ?? 0),
  })
}

/** Seconds, and for each of COUNTED how many there were in each; null where nobody listened. */
export function throughput(queue?: string, seconds = SECONDS): [number[], ...(number | null)[][]] {
  // The present second is not over, and brokers tell theirs a moment late.
  const end = present() - 1
  const times = Array.from({ length: seconds }, (_, i) => end - seconds + 1 + i)
  return [
    times,
    ...COUNTED.map(what =>
      times.map(time => {
        if (time < since) return null
        const all = counts.get(time)
        if (queue !== undefined) return all?.get(queue)?.[what] ?? 0
        let sum = 0
        for (const of of all?.values() ?? []) sum += of[what]
        return sum
      }),
    ),
  ]
}

export const HELD = ["queued", "delayed", "processing"] as const

/** Times in seconds, and for each of HELD how many there were. */
export function depthOver(queue?: string): [number[], ...(number | null)[][]] {
  // What was told of one queue alone says nothing of all of them.
  const points = depths.filter(({ all, queues }) => (queue === undefined ? all : queues.has(queue)))
  const sum = ({ queues }: (typeof depths)[number], what: (typeof HELD)[number]) => {
    if (queue !== undefined) return queues.get(queue)![what]
    let total = 0
    for (const held of queues.values()) total += held[what]
    return total
  }
  return [points.map(({ at }) => at / 1_000), ...HELD.map(what => points.map(of => sum(of, what)))]
}
