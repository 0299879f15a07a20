/**
 * GET /metrics: what measures.ts has counted, and what Redis holds now, in Prometheus' text format. Names begin with
 * `tq_`. A page takes one read-only call for each of the first 1,000 queues, and is written at most once a second.
 */
import { type Counter, collectDefaultMetrics, Registry } from "prom-client"
import type { Depth } from "./browse.ts"
import { EVENTS, type Histogram, type QueueMeasures } from "./measures.ts"
import type { TaskQueue } from "./queue.ts"

const FRESH_MS = 1_000
/** How often the event loop is looked at. */
const LAG_EVERY_MS = 100

type Labels = Record<string, string>
interface Value {
  labels: Labels
  /** Those that many values of a histogram have in common: they are put into text once. */
  sharedLabels?: Labels
  value: number
  metricName?: string
}

export const CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

export class Metrics {
  #registry: Registry | undefined
  #page: { at: number; text: Promise<string> } | undefined
  /** Those of this page; undefined: Redis is away. */
  #depths: Depth[] | undefined

  constructor(private readonly queue: TaskQueue) {}

  /** The page; who asks within a second gets the same one. */
  text(): Promise<string> {
    const now = performance.now()
    if (this.#page === undefined || now - this.#page.at > FRESH_MS)
      this.#page = { at: now, text: this.#write() }
    return this.#page.text
  }

  async #write(): Promise<string> {
    // Not before the first scrape: a broker that nobody scrapes watches no event loop.
    this.#registry ??= this.#register()
    this.#depths = await this.queue.depths().catch(() => undefined)
    // From 0 on, so that a first event is a growth.
    for (const { queue } of this.#depths ?? []) this.queue.measures.of(queue)
    const parts: string[] = []
    for (const { name } of this.#registry.getMetricsAsArray()) {
      parts.push(await this.#registry.getSingleMetricAsString(name))
      // Of 1,000 queues a page is 2 MB and takes 0.1 s to write: nobody is to wait for all of it.
      await new Promise(resolve => setImmediate(resolve))
    }
    return `${parts.join("\n\n")}\n`
  }

  #register(): Registry {
    const registry = new Registry()
    // prom-client asks a metric's `get` when it writes a page; so ours need not be its own, which are slower to count with.
    const tell = (type: string, name: string, help: string, values: () => Value[]) => {
      const get = async () => ({ name, help, type, values: values(), aggregator: "sum" })
      registry.registerMetric({ name, help, type, get } as unknown as Counter)
    }
    const gauge = (name: string, help: string, value: () => number) =>
      tell("gauge", name, help, () => [{ labels: {}, value: value() }])
    const histogram = (name: string, help: string, all: () => [Labels, Histogram][]) =>
      tell("histogram", name, help, () => all().flatMap(([labels, of]) => valuesOf(name, labels, of)))
    const { measures } = this.queue
    const byQueue = <T>(values: (queue: string, of: QueueMeasures) => T[]) =>
      [...measures.queues].flatMap(([queue, of]) => values(queue, of))
    /** Left out where there is nothing to tell: idle queues are to make no page long. */
    const ofQueue = (queue: string, of: Histogram): [Labels, Histogram][] =>
      of.counts.some(count => count > 0) ? [[{ queue }, of]] : []
    const depths = (values: (depth: Depth) => Value[]) => (this.#depths ?? []).flatMap(values)

    tell("gauge", "tq_tasks", "Tasks in Redis, of the first 1,000 queues.", () =>
      depths(({ queue, tasks }) =>
        Object.entries(tasks).map(([state, value]) => ({ labels: { queue, state }, value })),
      ),
    )
    tell(
      "gauge",
      "tq_oldest_waiting_seconds",
      "How long the oldest task that is ready has waited, since its submit or its newest attempt.",
      () => depths(({ queue, oldestMs }) => [{ labels: { queue }, value: oldestMs / 1_000 }]),
    )
    tell("gauge", "tq_last_poll_age_seconds", "Since somebody last asked for tasks; +Inf: never.", () =>
      depths(({ queue, polledMs }) => [{ labels: { queue }, value: polledMs / 1_000 }]),
    )
    tell("counter", "tq_task_events_total", "What happened to tasks, by what Redis answered here.", () =>
      byQueue((queue, of) => EVENTS.map(event => ({ labels: { queue, event }, value: of[event] }))),
    )
    histogram("tq_task_wait_seconds", "From the submit to the first lease, delays included.", () =>
      byQueue((queue, { wait }) => ofQueue(queue, wait)),
    )
    histogram("tq_task_run_seconds", "From a lease to the ack that names it.", () =>
      byQueue((queue, { run }) => ofQueue(queue, run)),
    )
    gauge("tq_redis_up", "1 where Redis answered this scrape.", () => (this.#depths === undefined ? 0 : 1))
    histogram("tq_redis_call_seconds", "What scripts took, there and back.", () => [[{}, measures.roundTrip]])
    histogram("tq_group_items", "Items that one call of a script carried.", () =>
      Object.entries(measures.groups).map(([script, sizes]) => [{ script }, sizes]),
    )
    histogram("tq_sweep_lag_seconds", "How late sweeps began.", () => [[{}, measures.sweepLag]])
    gauge("tq_long_polls", "Requests that wait for tasks here.", () => this.queue.waiting)

    collectDefaultMetrics({ register: registry, prefix: "tq_", eventLoopMonitoringPrecision: LAG_EVERY_MS })
    // The rest of what it tells of Node's inside is empty with Bun, and no number where nothing was seen.
    for (const { name } of registry.getMetricsAsArray())
      if (/^tq_nodejs_(?!eventloop_lag_(max_|p\d+_)?seconds)/.test(name)) registry.removeSingleMetric(name)
    return registry
  }
}

function valuesOf(name: string, labels: Labels, { bounds, counts, sum }: Histogram): Value[] {
  let count = 0
  const buckets = counts.map((more, i) => {
    count += more
    const le = i < bounds.length ? String(bounds[i]) : "+Inf"
    return { metricName: `${name}_bucket`, labels: { le }, sharedLabels: labels, value: count }
  })
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ]
}
