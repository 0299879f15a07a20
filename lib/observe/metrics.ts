/**
 * GET /metrics: what queues hold, as Redis tells it, and what this broker has counted. All names begin with `tq_`. A
 * page takes some read-only calls, for the first 1,000 queues, and is written at most once a second, a metric at a time,
 * so that whatever else the broker does goes on in between.
 */
import { monitorEventLoopDelay } from "node:perf_hooks"
import { type Counter, collectDefaultMetrics, Registry } from "prom-client"
import { EVENTS } from "../wire/events.ts"
import { type Counters, type Histogram, type QueueCounters, TASK_SECONDS } from "./counters.ts"
import type { Depth } from "./depths.ts"
import { histogram, MetricsPage, QueueFamily, type QueueMetric, valuesOf } from "./prometheus-page.ts"

const FRESH_MS = 1_000
/** How often the event loop is looked at. */
const LAG_EVERY_MS = 100

type Labels = Record<string, string>

export const CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

const STATES = ["queued", "delayed", "processing", "done", "dead", "cancelled"] as const

/** Times, and not for how long: only what has happened changes a line, and `time() -` tells the rest. */
const OF_DEPTHS: QueueMetric<Depth>[] = [
  {
    ...{ name: "tq_tasks", type: "gauge", help: "Tasks in Redis, of the first 1,000 queues." },
    heads: label => STATES.map(state => `{${label},state="${state}"}`),
    values: ({ counts }) => counts,
  },
  {
    ...{ name: "tq_oldest_waiting_timestamp_seconds", type: "gauge" },
    help: "Since when the oldest task that is ready waits: its submit or its newest attempt. +Inf: none waits.",
    heads: label => [`{${label}}`],
    values: ({ oldestAt }) => [oldestAt / 1_000],
  },
  {
    ...{ name: "tq_last_poll_timestamp_seconds", type: "gauge" },
    help: "When somebody last asked for tasks; 0: never.",
    heads: label => [`{${label}}`],
    values: ({ polledAt }) => [polledAt / 1_000],
  },
]

const OF_MEASURES: QueueMetric<QueueCounters>[] = [
  {
    ...{ name: "tq_task_events_total", type: "counter" },
    help: "What happened to tasks, by what Redis answered here.",
    heads: label => EVENTS.map(event => `{${label},event="${event}"}`),
    // They only grow.
    mark: of => of.submitted + of.leased + of.done + of.failed + of.released + of.lapsed + of.dead,
    values: of => EVENTS.map(event => of[event]),
  },
]

const OF_TIMED: QueueMetric<QueueCounters>[] = [
  histogram(
    "tq_task_wait_seconds",
    "From the submit to the first lease, delays included.",
    TASK_SECONDS,
    ({ wait }) => wait,
  ),
  histogram("tq_task_run_seconds", "From a lease to the ack that names it.", TASK_SECONDS, ({ run }) => run),
]

/** The part of the broker's task queue that a page reads. */
export interface MeteredQueue {
  counters: Counters
  /** Requests that wait for tasks. */
  waiting: number
  control: { depths(): Promise<Depth[]> }
}

export class Metrics {
  readonly #ofDepths = OF_DEPTHS.map(told => new QueueFamily(told))
  readonly #ofMeasures = OF_MEASURES.map(told => new QueueFamily(told))
  readonly #ofTimed = OF_TIMED.map(told => new QueueFamily(told))
  readonly #families = [...this.#ofDepths, ...this.#ofMeasures, ...this.#ofTimed]
  #page: MetricsPage | undefined
  #bytes: Promise<Buffer> | undefined
  /** When the page was ready; Infinity: it is being written. */
  #readyAt = -Infinity
  #held: readonly Depth[] = []
  #registry: Registry | undefined
  #redisUp = false

  /** `freshMs` is there for tests, as is `written`. */
  constructor(
    private readonly queue: MeteredQueue,
    private readonly freshMs = FRESH_MS,
  ) {}

  /** Of how many queues each metric was written so far: what pages cost. */
  get written(): Record<string, number> {
    return Object.fromEntries(this.#families.map(of => [of.told.name, of.written]))
  }

  /**
   * The page; who asks within a second gets the same one. To be copied at once, as a Response does: the next is written
   * over it.
   */
  async page(): Promise<Buffer> {
    if (this.#bytes === undefined || performance.now() - this.#readyAt > this.freshMs) {
      this.#readyAt = Infinity
      this.#bytes = this.#write().finally(() => (this.#readyAt = performance.now()))
    }
    return this.#bytes
  }

  async #write(): Promise<Buffer> {
    // Not before the first scrape: a broker that nobody scrapes watches no event loop.
    this.#registry ??= this.#register()
    const registry = this.#registry
    const depths = await this.queue.control.depths().catch(() => undefined)
    this.#redisUp = depths !== undefined
    const { counters } = this.queue
    const held = depths ?? []
    // From 0 on, so that a first event is a growth.
    if (held.some(({ queue }, i) => queue !== this.#held[i]?.queue))
      for (const { queue } of held) counters.forQueue(queue)
    this.#held = held
    const counted = [...counters.queues.values()]
    // Left out where it has seen nothing: idle queues are to make no page long.
    const timed = ({ told }: QueueFamily<QueueCounters>) =>
      counters.withHistograms.filter(of => told.mark?.(of) !== 0)
    const updates = [
      ...this.#ofDepths.map(family => () => family.update(held)),
      ...this.#ofMeasures.map(family => () => family.update(counted)),
      ...this.#ofTimed.map(family => () => family.update(timed(family))),
    ]
    for (const update of updates) {
      // At once: should the rest fail, nobody would know of it at the next scrape.
      if (update()) this.#page = undefined
      await new Promise(resolve => setImmediate(resolve))
    }
    const rest = await registry.metrics()
    const kept = this.#page?.with(rest)
    if (kept !== undefined) return kept
    this.#page = new MetricsPage(this.#families, rest)
    return this.#page.with(rest)!
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
    const { counters } = this.queue

    gauge("tq_redis_up", "1 where Redis answered this scrape.", () => Number(this.#redisUp))
    histograms("tq_redis_call_seconds", "What scripts took, there and back.", [[{}, counters.roundTrip]])
    histograms(
      "tq_group_items",
      "Items that one call of a script carried.",
      Object.entries(counters.batchSizes).map(([script, sizes]) => [{ script }, sizes]),
    )
    histograms("tq_sweep_lag_seconds", "How late sweeps began.", [[{}, counters.sweepLag]])
    gauge("tq_long_polls", "Requests that wait for tasks here.", () => this.queue.waiting)

    collectDefaultMetrics({ register: registry, prefix: "tq_", eventLoopMonitoringPrecision: LAG_EVERY_MS })
    // What it tells of Node's inside is empty with Bun, but for the event loop's lag, and that takes half a millisecond.
    for (const { name } of registry.getMetricsAsArray())
      if (name.startsWith("tq_nodejs_")) registry.removeSingleMetric(name)
    const lag = monitorEventLoopDelay({ resolution: LAG_EVERY_MS })
    lag.enable()
    const late = (what: string, nanoseconds: () => number) =>
      gauge(
        `tq_nodejs_eventloop_lag_${what}_seconds`,
        `How late the event loop was since the last scrape: ${what}.`,
        () => nanoseconds() / 1e9,
      )
    late("p50", () => lag.percentile(50))
    late("p99", () => lag.percentile(99))
    late("max", () => {
      const { max } = lag
      lag.reset()
      return max
    })
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
