/**
 * What a broker has counted since its start. These are plain numbers, because counting must cost next to nothing.
 * metrics.ts exports them, rates.ts and event-writer.ts read the differences.
 */
import type { EVENTS } from "../wire/events.ts"

/** Number of queues that are counted separately. All further queues are counted together as OTHER. */
export const MAX_QUEUES = 1_000
/** Number of queues with histograms of their own. Histograms make up most of a page of /metrics. */
const MAX_QUEUES_WITH_HISTOGRAMS = 100
export const OTHER = "other"

/** How a planned run of a schedule can end. `failed`: it will be tried again. */
const FIRE_RESULTS = ["fired", "missed", "skipped", "duplicate", "full", "failed"] as const

export const TASK_SECONDS = [0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600, 3_600]
const CALL_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2]
const LAG_SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 5, 60, 600, 3_600]
const SIZES = [1, 3, 10, 30, 100, 300]

export class Histogram {
  /** The number of values per bucket; the last bucket counts the values above all bounds. */
  readonly counts: number[]
  count = 0
  sum = 0

  constructor(readonly bounds: readonly number[]) {
    this.counts = new Array(bounds.length + 1).fill(0)
  }

  observe(value: number): void {
    let i = 0
    while (i < this.bounds.length && value > this.bounds[i]!) i++
    this.counts[i]!++
    this.count++
    this.sum += value
  }
}

/** The counters of one queue. They count what Redis answered to this broker, so a repeated ack counts twice. */
export class QueueCounters implements Record<(typeof EVENTS)[number], number> {
  submitted = 0
  leased = 0
  done = 0
  failed = 0
  released = 0
  lapsed = 0
  dead = 0
  /** Seconds from the submit to the first lease. */
  readonly wait: Histogram
  /** Seconds from a lease to the ack with that lease. */
  readonly run: Histogram

  /** `shared` lends its histograms; if it is undefined, the queue gets its own. */
  constructor(
    readonly queue: string,
    shared?: QueueCounters,
  ) {
    this.wait = shared?.wait ?? new Histogram(TASK_SECONDS)
    this.run = shared?.run ?? new Histogram(TASK_SECONDS)
  }
}

export class Counters {
  readonly queues = new Map<string, QueueCounters>()
  /** The queues with histograms of their own. */
  readonly withHistograms: QueueCounters[] = []
  readonly roundTrip = new Histogram(CALL_SECONDS)
  readonly sweepLag = new Histogram(CALL_SECONDS)
  /** Planned runs of schedules, by result. */
  readonly scheduleFires = Object.fromEntries(FIRE_RESULTS.map(result => [result, 0])) as Record<
    (typeof FIRE_RESULTS)[number],
    number
  >
  /** Seconds from the time at which a run should start to its task. */
  readonly scheduleLag = new Histogram(LAG_SECONDS)
  /** Number of items per script call. */
  readonly batchSizes = {
    submit: new Histogram(SIZES),
    settle: new Histogram(SIZES),
    extend: new Histogram(SIZES),
  }

  forQueue(queue: string): QueueCounters {
    const found = this.queues.get(queue)
    if (found !== undefined) return found
    // `>`, because OTHER itself is one of the entries.
    if (queue !== OTHER && this.queues.size > MAX_QUEUES) return this.forQueue(OTHER)
    const shared =
      queue !== OTHER && this.queues.size >= MAX_QUEUES_WITH_HISTOGRAMS ? this.forQueue(OTHER) : undefined
    const counters = new QueueCounters(queue, shared)
    if (shared === undefined) this.withHistograms.push(counters)
    this.queues.set(queue, counters)
    return counters
  }
}
