/**
 * The queues in an order other than that of their names, and what all of them hold together. An order needs the state of every
 * queue. Up to 1,000 queues are read for each request. Beyond that a request uses what an earlier one has read, until ten times
 * the duration of the reading has passed: so ordering never takes more than a tenth of the broker's time.
 */
import { ATTENTION_KINDS } from "../wire/attention.ts"
import { EVENTS } from "../wire/events.ts"
import type { QueueOrder, QueuesAnswer, QueueView } from "../wire/managing.ts"
import { decodeCursor, encodeCursor } from "./cursor.ts"
import { nameMatcher, type QueueNames } from "./queue-names.ts"

const MAX_READ_PER_REQUEST = 1_000
const QUEUES_AT_ONCE = 1_000
const REST_FACTOR = 10
/** How many of the queues that need attention most an answer names. */
const MAX_WORST = 20

interface OverviewPage {
  order: QueueOrder
  limit: number
  cursor?: string | undefined
  /** Only these queues; undefined: all. */
  queues?: readonly string[] | undefined
  /** Only queues whose names contain this text, ignoring case. It does not limit the totals. */
  queuePart?: string | undefined
}

type Summary = Pick<QueueView, "queue" | "paused" | "depth" | "rates" | "attention"> & {
  oldestMs: number
  keys: Record<QueueOrder, number>
}

/** What queues are ordered by, the highest first. */
const KEYS: Record<QueueOrder, (view: QueueView) => number> = {
  name: () => 0,
  // The worst kind decides, then the number of kinds.
  attention: ({ attention: [worst, ...more] }) =>
    worst === undefined
      ? 0
      : (ATTENTION_KINDS.length - ATTENTION_KINDS.indexOf(worst.kind)) * ATTENTION_KINDS.length + more.length,
  queued: ({ depth }) => depth.queued,
  delayed: ({ depth }) => depth.delayed,
  processing: ({ depth }) => depth.processing,
  dead: ({ depth }) => depth.dead,
  oldest: ({ oldest_waiting_ms = 0 }) => oldest_waiting_ms,
  done: ({ rates }) => rates.done,
  failed: ({ recent }) => recent.failed_per_s,
  wait: ({ recent }) => recent.wait_ms?.p95 ?? 0,
  workers: ({ workers }) => workers.count,
}
const ORDERS = Object.keys(KEYS) as QueueOrder[]

export class QueueOverview {
  #summaries: readonly Summary[] = []
  /** By performance.now(). */
  #validUntil = -Infinity
  #reading: Promise<readonly Summary[]> | undefined

  constructor(
    private readonly names: QueueNames,
    private readonly viewsOf: (queues: readonly string[]) => Promise<QueueView[]>,
  ) {}

  async page({ order, limit, cursor, queues, queuePart }: OverviewPage): Promise<QueuesAnswer> {
    const all = await this.#read()
    const visible = queues === undefined ? all : all.filter(({ queue }) => queues.includes(queue))
    const matches = nameMatcher(queuePart)
    const after = cursor === undefined ? undefined : readCursor(cursor)
    const place = (summary: Summary) => ({ key: summary.keys[order], queue: summary.queue })
    const sorted = visible
      .filter(({ queue }) => matches(queue))
      .map(place)
      .sort(compare)
    const rest = after === undefined ? sorted : sorted.filter(one => compare(one, after) > 0)
    const shown = rest.slice(0, limit)
    return {
      queues: await this.viewsOf(shown.map(({ queue }) => queue)),
      ...(rest.length > shown.length && { next: writeCursor(shown.at(-1)!) }),
      totals: totalsOf(visible),
      worst: visible
        .filter(({ attention }) => attention.length > 0)
        .sort((a, b) =>
          compare({ key: a.keys.attention, queue: a.queue }, { key: b.keys.attention, queue: b.queue }),
        )
        .slice(0, MAX_WORST)
        .map(({ queue, attention }) => ({ queue, attention })),
    }
  }

  #read(): Promise<readonly Summary[]> {
    if (performance.now() < this.#validUntil) return Promise.resolve(this.#summaries)
    this.#reading ??= this.#readAll().finally(() => (this.#reading = undefined))
    return this.#reading
  }

  async #readAll(): Promise<readonly Summary[]> {
    const from = performance.now()
    const names = await this.names.list()
    const summaries: Summary[] = []
    for (let at = 0; at < names.length; at += QUEUES_AT_ONCE) {
      const views = await this.viewsOf(names.slice(at, at + QUEUES_AT_ONCE))
      for (const view of views) summaries.push(summaryOf(view))
    }
    this.#summaries = names.length > MAX_READ_PER_REQUEST ? summaries : []
    const now = performance.now()
    this.#validUntil = names.length > MAX_READ_PER_REQUEST ? now + REST_FACTOR * (now - from) : -Infinity
    return summaries
  }
}

const summaryOf = (view: QueueView): Summary => {
  const { queue, paused, depth, rates, attention, oldest_waiting_ms: oldestMs = 0 } = view
  const keys = Object.fromEntries(ORDERS.map(order => [order, KEYS[order](view)])) as Summary["keys"]
  return { queue, paused, depth, rates, attention, oldestMs, keys }
}

function totalsOf(summaries: readonly Summary[]): NonNullable<QueuesAnswer["totals"]> {
  const sum = (of: (summary: Summary) => number) =>
    Math.round(summaries.reduce((total, summary) => total + of(summary), 0) * 1_000) / 1_000
  const longest = summaries.reduce<Summary | undefined>(
    (most, one) => (one.oldestMs > (most?.oldestMs ?? 0) ? one : most),
    undefined,
  )
  return {
    queues: summaries.length,
    paused: sum(({ paused }) => Number(paused)),
    attention: sum(({ attention }) => Number(attention.length > 0)),
    depth: {
      queued: sum(({ depth }) => depth.queued),
      delayed: sum(({ depth }) => depth.delayed),
      processing: sum(({ depth }) => depth.processing),
      done: sum(({ depth }) => depth.done),
      dead: sum(({ depth }) => depth.dead),
      cancelled: sum(({ depth }) => depth.cancelled),
      open: sum(({ depth }) => depth.open),
    },
    rates: Object.fromEntries(
      EVENTS.map(event => [event, sum(({ rates }) => rates[event])]),
    ) as QueueView["rates"],
    ...(longest && { oldest_waiting_ms: longest.oldestMs, oldest_queue: longest.queue }),
  }
}

interface Place {
  key: number
  queue: string
}

const compare = (a: Place, b: Place): number =>
  b.key - a.key || (a.queue === b.queue ? 0 : a.queue < b.queue ? -1 : 1)

const writeCursor = ({ key, queue }: Place): string => encodeCursor(`${key} ${queue}`)

function readCursor(text: string): Place {
  const [key, queue] = decodeCursor(text, /^(\d{1,16}(?:\.\d{1,20})?) ([A-Za-z0-9._-]{1,64})$/)
  return { key: Number(key), queue: queue! }
}
