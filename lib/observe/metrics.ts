/**
 * GET /metrics: the depths of queues in Redis, and the counters of this broker. All names begin with `tq_`. A page takes
 * a few read-only calls to Redis, for the first 1,000 queues. It is written at most once per second, one metric at a
 * time, so that the broker serves other requests in between.
 */
import { monitorEventLoopDelay } from "node:perf_hooks"
import { type Counter, collectDefaultMetrics, Registry } from "prom-client"
import { EVENTS } from "../wire/events.ts"
import { type Counters, type Histogram, type QueueCounters, TASK_SECONDS } from "./counters.ts"
import type { Depth } from "./depths.ts"
import { histogram, MetricsPage, QueueFamily, type QueueMetric, valuesOf } from "./prometheus-page.ts"

const FRESH_MS = 1_000
/** The resolution of the event loop's delay. */
const LAG_EVERY_MS = 100

type Labels = Record<string, string>

export const CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

const STATES = ["queued", "delayed", "processing", "done", "dead", "cancelled"] as const

/** Gauges are points in time, not ages: an age would change every line at every scrape. `time() - …` is the age. */
const DEPTH_METRICS: QueueMetric<Depth>[] = [
  {
    name: "tq_tasks",
    type: "gauge",
    help: "Tasks in Redis, for the first 1,000 queues.",
    heads: label => STATES.map(state => `{${label},state="${state}"}`),
    values: ({ counts }) => counts,
  },
  {
    name: "tq_oldest_waiting_timestamp_seconds",
    type: "gauge",
    help: "When the ready task that has waited longest was submitted or had its newest attempt; +Inf if none waits.",
    heads: label => [`{${label}}`],
    values: ({ oldestAt }) => [oldestAt / 1_000],
  },
  {
    name: "tq_last_poll_timestamp_seconds",
    type: "gauge",
    help: "Time of the last poll by a worker; 0 if there was none.",
    heads: label => [`{${label}}`],
    values: ({ polledAt }) => [polledAt / 1_000],
  },
]

const COUNTER_METRICS: QueueMetric<QueueCounters>[] = [
  {
    name: "tq_task_events_total",
    type: "counter",
    help: "Task events that this broker has counted.",
    heads: label => EVENTS.map(event => `{${label},event="${event}"}`),
    // The counters only grow, so the sum changes whenever one of them does.
    version: of => EVENTS.reduce((sum, event) => sum + of[event], 0),
    values: of => EVENTS.map(event => of[event]),
  },
]

const HISTOGRAM_METRICS: QueueMetric<QueueCounters>[] = [
  histogram(
    "tq_task_wait_seconds",
    "Time from submit to first lease, including delays.",
    TASK_SECONDS,
    ({ wait }) => wait,
  ),
  histogram(
    "tq_task_run_seconds",
    "Time from a lease to the ack with that lease.",
    TASK_SECONDS,
    ({ run }) => run,
  ),
]

/** The part of the broker's task queue that a page reads. */
interface MeteredQueue {
  /** Requests that wait for tasks. */
  waiting: number
  parts: { counters: Counters; control: { depths(): Promise<Depth[]> } }
}

export class Metrics {
  readonly #depthFamilies = DEPTH_METRICS.map(metric => new QueueFamily(metric))
  readonly #counterFamilies = COUNTER_METRICS.map(metric => new QueueFamily(metric))
  readonly #histogramFamilies = HISTOGRAM_METRICS.map(metric => new QueueFamily(metric))
  readonly #families = [...this.#depthFamilies, ...this.#counterFamilies, ...this.#histogramFamilies]
  #page: MetricsPage | undefined
  #bytes: Promise<Buffer> | undefined
  /** When the page was ready; Infinity while it is being written. */
  #readyAt = -Infinity
  #depths: readonly Depth[] = []
  #registry: Registry | undefined
  #redisUp = false

  /** `freshMs` and `written` are for tests. */
  constructor(
    private readonly queue: MeteredQueue,
    private readonly freshMs = FRESH_MS,
  ) {}

  /** For each metric, for how many queues values were written so far. It shows what pages cost. */
  get written(): Record<string, number> {
    return Object.fromEntries(this.#families.map(family => [family.metric.name, family.written]))
  }

  /**
   * The page. Calls within a second get the same one. The caller must copy it at once, as a Response does, because the
   * next page overwrites it.
   */
  async page(): Promise<Buffer> {
    if (this.#bytes === undefined || performance.now() - this.#readyAt > this.freshMs) {
      this.#readyAt = Infinity
      this.#bytes = this.#write().finally(() => (this.#readyAt = performance.now()))
    }
    return this.#bytes
  }

  async #write(): Promise<Buffer> {
    // On the first scrape, so that a broker without Prometheus does not watch its event loop.
    this.#registry ??= this.#register()
    const registry = this.#registry
    const depths = await this.queue.parts.control.depths().catch(() => undefined)
    this.#redisUp = depths !== undefined
    const { counters } = this.queue.parts
    const rows = depths ?? []
    // Start each queue's counters at 0, so that Prometheus sees the first event as an increase.
    if (rows.some(({ queue }, i) => queue !== this.#depths[i]?.queue))
      for (const { queue } of rows) counters.forQueue(queue)
    this.#depths = rows
    const counted = [...counters.queues.values()]
    // Omit empty histograms, so that idle queues do not lengthen the page.
    const nonEmpty = ({ metric }: QueueFamily<QueueCounters>) =>
      counters.withHistograms.filter(row => metric.version?.(row) !== 0)
    const updates = [
      ...this.#depthFamilies.map(family => () => family.update(rows)),
      ...this.#counterFamilies.map(family => () => family.update(counted)),
      ...this.#histogramFamilies.map(family => () => family.update(nonEmpty(family))),
    ]
    for (const update of updates) {
      // Drop the page at once: if the rest of this scrape fails, the next one must still know that lines have moved.
      if (update()) this.#page = undefined
      await new Promise(resolve => setImmediate(resolve))
    }
    const rest = await registry.metrics()
    const patched = this.#page?.withRest(rest)
    if (patched !== undefined) return patched
    this.#page = new MetricsPage(this.#families, rest)
    return this.#page.withRest(rest)!
  }

  #register(): Registry {
    const registry = new Registry()
    // prom-client calls a metric's `get` when it writes a page. So ours can be plain objects: counting with prom-client's
    // own metrics is slower.
    const register = (type: string, name: string, help: string, values: () => object[]) => {
      const get = async () => ({ name, help, type, values: values(), aggregator: "sum" })
      registry.registerMetric({ name, help, type, get } as unknown as Counter)
    }
    const gauge = (name: string, help: string, value: () => number) =>
      register("gauge", name, help, () => [{ labels: {}, value: value() }])
    const histograms = (name: string, help: string, all: [Labels, Histogram][]) =>
      register("histogram", name, help, () => all.flatMap(([labels, of]) => linesOf(name, labels, of)))
    const { counters } = this.queue.parts

    gauge("tq_redis_up", "1 if Redis answered this scrape, else 0.", () => Number(this.#redisUp))
    histograms("tq_redis_call_seconds", "Round trip of script calls.", [[{}, counters.roundTrip]])
    histograms(
      "tq_group_items",
      "Items per script call.",
      Object.entries(counters.batchSizes).map(([script, sizes]) => [{ script }, sizes]),
    )
    histograms("tq_sweep_lag_seconds", "How late sweeps began.", [[{}, counters.sweepLag]])
    register("counter", "tq_schedule_fires_total", "Planned runs of schedules, by result.", () =>
      Object.entries(counters.scheduleFires).map(([result, value]) => ({ labels: { result }, value })),
    )
    histograms("tq_schedule_lag_seconds", "How late schedules created their tasks.", [
      [{}, counters.scheduleLag],
    ])
    gauge("tq_long_polls", "Requests that wait for tasks at this broker.", () => this.queue.waiting)

    collectDefaultMetrics({ register: registry, prefix: "tq_", eventLoopMonitoringPrecision: LAG_EVERY_MS })
    // With Bun its metrics about Node's internals are empty, except the event loop's lag, which takes half a millisecond.
    for (const { name } of registry.getMetricsAsArray())
      if (name.startsWith("tq_nodejs_")) registry.removeSingleMetric(name)
    const lag = monitorEventLoopDelay({ resolution: LAG_EVERY_MS })
    lag.enable()
    const lagGauge = (statistic: string, nanoseconds: () => number) =>
      gauge(
        `tq_nodejs_eventloop_lag_${statistic}_seconds`,
        `Delay of the event loop since the last scrape: ${statistic}.`,
        () => nanoseconds() / 1e9,
      )
    lagGauge("p50", () => lag.percentile(50))
    lagGauge("p99", () => lag.percentile(99))
    lagGauge("max", () => {
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
