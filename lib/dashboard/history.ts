/** Counts and depths of the last five minutes, collected from events and responses. Kept across views. */
import type { QueueView } from "../wire/managing.ts"
import type { EventData } from "./live.ts"
import { stream } from "./live.ts"

const SECONDS = 300
export const COUNTS = ["submitted", "done", "failed"] as const
type Counts = Record<(typeof COUNTS)[number], number>
export type Depths = Record<"queued" | "delayed" | "processing", number>

/** Counts per second (by the clock of Redis) and queue. */
const counts = new Map<number, Map<string, Counts>>()
const depthSamples: { at: number; all: boolean; queues: Map<string, Depths> }[] = []
let since = Infinity
let skew = -Infinity
let lastId = ""

/** The current second by the clock of Redis. */
const currentSecond = () => Math.floor((Date.now() + (skew === -Infinity ? 0 : skew)) / 1_000)

/** The query of /events. The first time it asks for past events, as far as the broker keeps them. */
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
/** Adds the current depths. Without events, the rates of the last minute replace the missing counts. */
export function addQueues(queues: readonly QueueView[], all: boolean): void {
  const at = Date.now()
  depthSamples.push({ at, all, queues: new Map(queues.map(({ queue, depth }) => [queue, depth])) })
  while (depthSamples[0]!.at < at - SECONDS * 1_000) depthSamples.shift()
  if (stream.value === "open") {
    since = Math.min(since, currentSecond())
    return
  }
  // The first time, the event stream may be about to open.
  const from = ratesAt === 0 ? Infinity : Math.max(ratesAt + 1, currentSecond() - 10)
  for (let second = from; second <= currentSecond(); second++)
    for (const { queue, rates } of queues as (QueueView & { rates?: Counts & { lapsed?: number } })[])
      if (rates) add(second, queue, { ...rates, failed: rates.failed + (rates.lapsed ?? 0) })
  ratesAt = currentSecond()
}

function add(second: number, queue: string, of: Counts): void {
  if (second < currentSecond() - SECONDS - 10) return
  since = Math.min(since, second)
  let all = counts.get(second)
  if (all === undefined) {
    all = new Map()
    counts.set(second, all)
    for (const old of counts.keys()) if (old < currentSecond() - SECONDS - 10) counts.delete(old)
  }
  const before = all.get(queue)
  all.set(queue, {
    submitted: of.submitted + (before?.submitted ?? 0),
    done: of.done + (before?.done ?? 0),
    failed: of.failed + (before?.failed ?? 0),
  })
}

/** Seconds, and for each of COUNTED how many there were in each; null before the first count. */
export function throughputHistory(queue?: string, seconds = SECONDS): [number[], ...(number | null)[][]] {
  // The current second is incomplete, and brokers publish counts with a delay.
  const end = currentSecond() - 1
  const times = Array.from({ length: seconds }, (_, i) => end - seconds + 1 + i)
  return [
    times,
    ...COUNTS.map(what =>
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

const DEPTHS = ["queued", "delayed", "processing"] as const

/** Times in seconds, and for each of HELD how many there were. */
export function depthHistory(queue?: string): [number[], ...(number | null)[][]] {
  // A response about a single queue does not give the total of all queues.
  const points = depthSamples.filter(({ all, queues }) => (queue === undefined ? all : queues.has(queue)))
  const sum = ({ queues }: (typeof depthSamples)[number], what: (typeof DEPTHS)[number]) => {
    if (queue !== undefined) return queues.get(queue)![what]
    let total = 0
    for (const held of queues.values()) total += held[what]
    return total
  }
  return [points.map(({ at }) => at / 1_000), ...DEPTHS.map(what => points.map(of => sum(of, what)))]
}
