/**
 * GET /metrics: what queues hold, as Redis tells it, and what this broker has counted. All names begin with `tq_`. A
 * page takes some read-only calls, for the first 1,000 queues, and is written at most once a second, a metric at a time,
 * so that whatever else the broker does goes on in between.
 */
import { type Counter, collectDefaultMetrics, Registry } from "prom-client"
import type { Depth } from "./browse.ts"
import { Family, histogram, Page, type Some, type Told, valuesOf } from "./exposition.ts"
import { EVENTS, type Histogram, type QueueMeasures, TASK_SECONDS } from "./measures.ts"
import type { TaskQueue } from "./queue.ts"

const FRESH_MS = 1_000
/** How often the event loop is looked at. */
const LAG_EVERY_MS = 100
/** How many queues' counters are kept and written together. */
const TOGETHER = 50

type Labels = Record<string, string>

export const CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

const STATES = ["queued", "delayed", "processing", "done", "dead", "cancelled"] as const

/** Times, and not for how long: only what has happened changes a line, and `time() -` tells the rest. */
const OF_DEPTHS: Told<Depth>[] = [
  {
    ...{ name: "tq_tasks", type: "gauge", help: "Tasks in Redis, of the first 1,000 queues." },
    heads: label => STATES.map(state => `{${label},state="${state}"}`),
    mark: ({ counts }) => counts,
    values: ({ counts }) => counts.split(" "),
  },
  {
    ...{ name: "tq_oldest_waiting_timestamp_seconds", type: "gauge" },
    help: "Since when the oldest task that is ready waits: its submit or its newest attempt. +Inf: none waits.",
    heads: label => [`{${label}}`],
    mark: ({ oldestAt }) => oldestAt,
    values: ({ oldestAt }) => [oldestAt === "" ? Infinity : Number(oldestAt) / 1_000],
  },
  {
    ...{ name: "tq_last_poll_timestamp_seconds", type: "gauge" },
    help: "When somebody last asked for tasks; 0: never.",
    heads: label => [`{${label}}`],
    mark: ({ polledAt }) => polledAt,
    values: ({ polledAt }) => [Number(polledAt) / 1_000],
  },
]

const OF_MEASURES: Told<QueueMeasures>[] = [
  {
    ...{ name: "tq_task_events_total", type: "counter" },
    help: "What happened to tasks, by what Redis answered here.",
    heads: label => EVENTS.map(event => `{${label},event="${event}"}`),
    // They only grow.
    mark: of => of.submitted + of.leased + of.done + of.failed + of.released + of.lapsed + of.dead,
    values: of => EVENTS.map(event => of[event]),
  },
  histogram(
    "tq_task_wait_seconds",
    "From the submit to the first lease, delays included.",
    TASK_SECONDS,
    ({ wait, shared }) => (shared ? undefined : wait),
  ),
  histogram(
    "tq_task_run_seconds",
    "From a lease to the ack that names it.",
    TASK_SECONDS,
    ({ run, shared }) => (shared ? undefined : run),
  ),
]

export class Metrics {
  readonly #ofDepths = OF_DEPTHS.map(told => new Family(told))
  readonly #ofMeasures = OF_MEASURES.map(told => new Family(told))
  #registry: Registry | undefined
  #page: { at: number; bytes: Promise<Buffer> } | undefined
  #size = 0
  #redisUp = false

  /** `freshMs` is there for tests, as is `written`. */
  constructor(
    private readonly queue: TaskQueue,
    private readonly freshMs = FRESH_MS,
  ) {}

  /** Of how many queues each metric was written so far: what pages cost. */
  get written(): Record<string, number> {
    return Object.fromEntries([...this.#ofDepths, ...this.#ofMeasures].map(of => [of.told.name, of.written]))
  }

  /** The page; who asks within a second gets the same one. */
  page(): Promise<Buffer> {
    const now = performance.now()
    if (this.#page === undefined || now - this.#page.at > this.freshMs)
      this.#page = { at: now, bytes: this.#write() }
    return this.#page.bytes
  }

  async #write(): Promise<Buffer> {
    // Not before the first scrape: a broker that nobody scrapes watches no event loop.
    this.#registry ??= this.#register()
    const registry = this.#registry
    const depths = await this.queue.steer.depths().catch(() => undefined)
    this.#redisUp = depths !== undefined
    const { measures } = this.queue
    // From 0 on, so that a first event is a growth.
    const held = (depths ?? []).map((some): Some<Depth> => {
      for (const { queue } of some) measures.of(queue)
      return { mark: some, queues: some.map(depth => [depth.queue, depth]) }
    })
    const counted = this.#countedQueues()
    const page = new Page(this.#size + 65_536)
    const writes = [
      ...this.#ofDepths.map(family => () => family.write(page, held)),
      ...this.#ofMeasures.map(family => () => family.write(page, counted)),
      ...registry.getMetricsAsArray().map(({ name }) => async () => {
        page.add(`${await registry.getSingleMetricAsString(name)}\n\n`)
      }),
    ]
    for (const write of writes) {
      await write()
      await new Promise(resolve => setImmediate(resolve))
    }
    this.#size = page.bytes.length
    return page.bytes
  }

  /** They only become more: those of before stand where they stood. */
  #countedQueues(): Some<QueueMeasures>[] {
    const all = [...this.queue.measures.queues]
    return Array.from({ length: Math.ceil(all.length / TOGETHER) }, (_, i) => ({
      queues: all.slice(i * TOGETHER, (i + 1) * TOGETHER),
    }))
  }

  #register(): Registry {
    const registry = new Registry()
    // prom-client asks a metric's `get` when it writes a page; so ours need not be its own, which are slower to count with.
    const tell = (type: string, name: string, help: string, values: () => object[]) => {
      const get = async () => ({ name, help, type, values: values(), aggregator: "sum" })
      registry.registerMetric({ name, help, type, get } as unknown as Counter)
    }
    const gauge = (name: string, help: string, value: () => number) =>
      tell("gauge", name, help, () => [{ labels: {}, value: value() }])
    const histograms = (name: string, help: string, all: [Labels, Histogram][]) =>
      tell("histogram", name, help, () => all.flatMap(([labels, of]) => linesOf(name, labels, of)))
    const { measures } = this.queue

    gauge("tq_redis_up", "1 where Redis answered this scrape.", () => Number(this.#redisUp))
    histograms("tq_redis_call_seconds", "What scripts took, there and back.", [[{}, measures.roundTrip]])
    histograms(
      "tq_group_items",
      "Items that one call of a script carried.",
      Object.entries(measures.groups).map(([script, sizes]) => [{ script }, sizes]),
    )
    histograms("tq_sweep_lag_seconds", "How late sweeps began.", [[{}, measures.sweepLag]])
    gauge("tq_long_polls", "Requests that wait for tasks here.", () => this.queue.waiting)

    collectDefaultMetrics({ register: registry, prefix: "tq_", eventLoopMonitoringPrecision: LAG_EVERY_MS })
    // The rest of what it tells of Node's inside is empty with Bun, and no number where nothing was seen.
    for (const { name } of registry.getMetricsAsArray())
      if (/^tq_nodejs_(?!eventloop_lag_(max_|p\d+_)?seconds)/.test(name)) registry.removeSingleMetric(name)
    return registry
  }
}

function linesOf(name: string, labels: Labels, of: Histogram): object[] {
  const les = [...of.bounds.map(String), "+Inf"]
  return valuesOf(of).map((value, i) => {
    if (i < les.length) return { metricName: `${name}_bucket`, labels: { le: les[i], ...labels }, value }
    return { metricName: `${name}_${i === les.length ? "sum" : "count"}`, labels, value }
  })
}
