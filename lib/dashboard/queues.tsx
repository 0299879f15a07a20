/** The start view: totals, charts and the list of queues. */
import { useState } from "preact/hooks"
import type { QueuesAnswer, QueueView } from "../wire/managing.ts"
import { can, requestJson } from "./api.ts"
import { Sparkline } from "./chart.tsx"
import { Charts } from "./charts.tsx"
import { PauseDialog, PauseNote, resume } from "./control.tsx"
import { recent } from "./feed.ts"
import { Filter } from "./fields.tsx"
import { Icon } from "./icon.tsx"
import { feedListeners, stream, useClock, useData } from "./live.ts"
import { Badge, Empty, ProblemNote, QueueLink, Skeleton } from "./parts.tsx"
import { type Route, refine } from "./route.ts"
import { Table } from "./table.tsx"
import { formatCount, formatDuration, formatRate, formatShort, scrollable } from "./text.tsx"

const ORDERS: Record<string, (queue: QueueView) => number> = {
  name: () => 0,
  queued: ({ depth }) => -depth.queued,
  oldest: ({ oldest_waiting_ms = 0 }) => -oldest_waiting_ms,
  delayed: ({ depth }) => -depth.delayed,
  processing: ({ depth }) => -depth.processing,
  dead: ({ depth }) => -depth.dead,
  done: ({ rates }) => -rates.done,
}
const FILTERS_FROM = 8
const SPARKLINE_SECONDS = 60

export function Queues({ route: { query } }: { route: Route }) {
  const load = async (signal: AbortSignal) => {
    const answer = await requestJson<QueuesAnswer>("GET", "/queues?limit=1000", undefined, signal)
    recent.addQueues(answer.queues, { all: true, streaming: stream.value === "open" })
    return answer
  }
  const { value, problem, refresh } = useData("queues", load, {
    events: feedListeners,
    pollMs: 5_000,
  })
  const [pausing, setPausing] = useState<QueueView>()
  const name = query.get("name") ?? ""
  const order = Object.keys(ORDERS).find(of => of === query.get("order")) ?? "name"
  const queues = value?.queues ?? []
  const shown = queues
    .filter(({ queue }) => queue.toLowerCase().includes(name.toLowerCase()))
    .sort((a, b) => ORDERS[order]!(a) - ORDERS[order]!(b) || (a.queue < b.queue ? -1 : 1))
  return (
    <>
      <h1>Queues</h1>
      {problem && <ProblemNote problem={problem} />}
      {value === undefined ? (
        problem === undefined && <Skeleton rows={8} />
      ) : queues.length === 0 ? (
        <FirstTask />
      ) : (
        <>
          <Totals queues={queues} />
          <Charts query={query} />
          {(queues.length > FILTERS_FROM || name !== "") && (
            <div class="filters">
              <Filter label="Name contains" value={name} onChange={value => refine({ name: value })} search />
            </div>
          )}
          <QueueTable queues={shown} order={order} pause={setPausing} refresh={refresh} />
          {value.next && <p class="dim">Only the first 1,000 queues by name are shown.</p>}
        </>
      )}
      {pausing && <PauseDialog view={pausing} onClose={() => setPausing(undefined)} onDone={refresh} />}
    </>
  )
}

function Totals({ queues }: { queues: readonly QueueView[] }) {
  const sum = (of: (queue: QueueView) => number) => queues.reduce((total, queue) => total + of(queue), 0)
  const oldest = Math.max(0, ...queues.map(({ oldest_waiting_ms = 0 }) => oldest_waiting_ms))
  const dead = sum(({ depth }) => depth.dead)
  const paused = queues.filter(queue => queue.paused).length
  return (
    <dl class="totals">
      <Total name="Queued" value={formatShort(sum(({ depth }) => depth.queued))} />
      <Total name="Delayed" value={formatShort(sum(({ depth }) => depth.delayed))} />
      <Total name="Processing" value={formatShort(sum(({ depth }) => depth.processing))} />
      <Total name="Dead" value={formatShort(dead)} tone={dead > 0 ? "bad" : ""} href="#/dead" />
      <Total name="Oldest wait" value={oldest > 0 ? formatDuration(oldest) : "–"} />
      <Total
        name="Paused"
        value={`${paused} of ${formatCount(queues.length)}`}
        tone={paused > 0 ? "warn" : ""}
      />
    </dl>
  )
}

export const Total = (props: { name: string; value: string; tone?: string; href?: string }) => (
  <div class={props.tone}>
    <dt>{props.name}</dt>
    <dd>{props.href ? <a href={props.href}>{props.value}</a> : props.value}</dd>
  </div>
)

function QueueTable(props: {
  queues: QueueView[]
  order: string
  pause: (view: QueueView) => void
  refresh: () => void
}) {
  useClock()
  const done = new Map(
    props.queues.map(({ queue }) => [queue, recent.throughput(queue, SPARKLINE_SECONDS)[2]!] as const),
  )
  const most = Math.max(1, ...[...done.values()].flat().map(value => value ?? 0))
  const number = (name: string, of: keyof QueueView["depth"], tone = "") => ({
    head: name,
    num: true,
    order: of,
    cell: ({ queue, depth }: QueueView) =>
      depth[of] === 0 ? (
        <span class="dim">0</span>
      ) : (
        <a class={tone} href={stateLink(queue, of)}>
          {formatShort(depth[of])}
        </a>
      ),
  })
  return (
    <Table
      label="Queues"
      sorted={{ by: props.order, set: order => refine({ order: order === "name" ? "" : order }) }}
      rows={props.queues}
      keyOf={({ queue }) => queue}
      columns={[
        {
          head: "Queue",
          grow: true,
          order: "name",
          cell: view => (
            <>
              <QueueLink queue={view.queue} /> {view.paused && <Badge of="paused" />}{" "}
              <PauseNote view={view} />
            </>
          ),
        },
        number("Queued", "queued"),
        number("Delayed", "delayed"),
        number("Processing", "processing"),
        number("Dead", "dead", "bad"),
        {
          head: "Oldest wait",
          num: true,
          order: "oldest",
          cell: ({ oldest_waiting_ms: ms }) =>
            ms === undefined ? <span class="dim">–</span> : formatDuration(ms),
        },
        {
          head: "Done/s",
          num: true,
          order: "done",
          cell: ({ queue }) => {
            const values = done.get(queue)!
            const known = values.slice(-10).filter(value => value !== null)
            return (
              <span class="sparked">
                <Sparkline values={values} most={most} />
                <span>
                  {known.length === 0 ? "–" : formatRate(known.reduce((sum, n) => sum + n, 0) / known.length)}
                </span>
              </span>
            )
          },
        },
        can("operate") && {
          head: "",
          num: true,
          cell: view =>
            view.paused ? (
              <button
                type="button"
                aria-label={`Resume ${view.queue}`}
                onClick={() => resume(view.queue, props.refresh)}
              >
                <Icon name="play" /> Resume
              </button>
            ) : (
              <button
                type="button"
                class="quiet"
                aria-label={`Pause ${view.queue}`}
                onClick={() => props.pause(view)}
              >
                <Icon name="pause" /> Pause
              </button>
            ),
        },
      ]}
    />
  )
}

const stateLink = (queue: string, state: string) => `#/queues/${encodeURIComponent(queue)}?state=${state}`

function FirstTask() {
  const line = `curl ${location.origin}/submit -H "X-API-Token: $API_SECRET_TOKEN" \\
  -H 'Content-Type: application/json' \\
  -d '{"type": "echo", "payload": {"hello": "world"}}'`
  return (
    <Empty title="No task has been submitted yet">
      <p>A queue is created by its first task. Submit one:</p>
      <pre {...scrollable("How to submit a task")}>{line}</pre>
      <p>
        It appears here without a reload. <code>bun run worker.ts</code> starts a worker that runs it, and{" "}
        <a href="swagger">/swagger</a> documents every request.
      </p>
    </Empty>
  )
}
