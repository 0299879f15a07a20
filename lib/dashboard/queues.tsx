/** The start view: totals, charts and the list of queues. */
import { useMemo, useState } from "preact/hooks"
import { QUEUE_ORDERS } from "../wire/attention.ts"
import type { QueuesAnswer, QueueView } from "../wire/managing.ts"
import { can, queryOf, requestJson } from "./api.ts"
import { AttentionStrip, KindLinks } from "./attention.tsx"
import { BROKER_URL } from "./base.ts"
import { Sparkline } from "./chart.tsx"
import { Charts } from "./charts.tsx"
import { PauseDialog, PauseNote, resume } from "./control.tsx"
import { recent } from "./feed.ts"
import { Filter } from "./fields.tsx"
import { Icon } from "./icon.tsx"
import { feedListeners, stream, useClock, useData } from "./live.ts"
import { Badge, Empty, ProblemNote, QueueLink, Skeleton } from "./parts.tsx"
import { pagesOf, type Route, refine } from "./route.ts"
import { SubmitButton } from "./submit-task.tsx"
import { TOKEN_HEADER } from "./submit-text.ts"
import { Pager, Table } from "./table.tsx"
import { formatCount, formatDuration, formatRate, formatShort, scrollable } from "./text.tsx"
import { CopyButton } from "./text-block.tsx"

const SPARKLINE_SECONDS = 60
const QUEUES_PER_PAGE = 100
const FILTERS_FROM = 8
/** How many kinds of trouble a row names. */
const MAX_KINDS = 2
const FIRST_ORDER = "attention"

/** The order, the filter and the cursors of the pages before are in the URL. */
export function Queues({ route: { query } }: { route: Route }) {
  const name = query.get("name") ?? ""
  const order = QUEUE_ORDERS.find(of => of === query.get("order")) ?? FIRST_ORDER
  const { cursors, go } = pagesOf(query)
  const wanted = queryOf({ order, queue_part: name, limit: QUEUES_PER_PAGE, cursor: cursors.at(-1) })
  const load = async (signal: AbortSignal) => {
    const answer = await requestJson<Overview>("GET", `/queues${wanted}`, undefined, signal)
    const streaming = stream.value === "open"
    const { depth, rates } = answer.totals
    recent.addQueues([{ queue: "", depth, rates }], { all: true, streaming })
    recent.addQueues(answer.queues, { all: false, streaming })
    return answer
  }
  const { value, problem, stale, refresh } = useData(wanted, load, {
    events: feedListeners,
    pollMs: 5_000,
  })
  const [pausing, setPausing] = useState<QueueView>()
  const filter = (
    <div class="filters">
      <Filter label="Name contains" value={name} onChange={name => refine({ name })} search />
    </div>
  )
  return (
    <>
      <div class="title">
        <h1>Queues</h1>
        <span class="grow" />
        <SubmitButton />
      </div>
      {problem && <ProblemNote problem={problem} />}
      {value === undefined ? (
        problem === undefined ? (
          <Skeleton rows={8} />
        ) : (
          <>
            {name !== "" && filter}
            <Pager cursors={cursors} next={undefined} go={go} />
          </>
        )
      ) : value.totals.queues === 0 ? (
        <FirstTask />
      ) : (
        <>
          <AttentionStrip worst={value.worst} count={value.totals.attention} />
          <TotalTiles totals={value.totals} />
          <Charts query={query} />
          {(value.totals.queues > FILTERS_FROM || name !== "") && filter}
          <QueueTable
            queues={value.queues}
            stale={stale}
            order={order}
            sort={to => refine({ order: to === FIRST_ORDER ? "" : to })}
            pause={setPausing}
            refresh={refresh}
          />
          <Pager cursors={cursors} next={value.next} go={go} />
        </>
      )}
      {pausing && <PauseDialog view={pausing} onClose={() => setPausing(undefined)} onDone={refresh} />}
    </>
  )
}

type Totals = NonNullable<QueuesAnswer["totals"]>
/** With an order, the answer has all members. */
type Overview = QueuesAnswer & Required<Pick<QueuesAnswer, "totals" | "worst">>

function TotalTiles({ totals }: { totals: Totals }) {
  const { depth, paused, queues, oldest_waiting_ms: oldest, oldest_queue: longest } = totals
  return (
    <dl class="totals">
      <Total name="Queued" value={formatShort(depth.queued)} />
      <Total name="Delayed" value={formatShort(depth.delayed)} />
      <Total name="Processing" value={formatShort(depth.processing)} />
      <Total name="Dead" value={formatShort(depth.dead)} tone={depth.dead > 0 ? "bad" : ""} href="#/dead" />
      <Total
        name="Oldest wait"
        value={oldest === undefined ? "–" : formatDuration(oldest)}
        {...(longest !== undefined && { href: `#/queues/${encodeURIComponent(longest)}?state=queued` })}
      />
      <Total
        name="Paused"
        value={`${formatCount(paused)} of ${formatCount(queues)}`}
        tone={paused > 0 ? "warn" : ""}
      />
    </dl>
  )
}

export const Total = (props: {
  name: string
  value: string
  tone?: string
  href?: string
  /** What the value consists of. */
  parts?: string | undefined
}) => (
  <div class={props.tone}>
    <dt>{props.name}</dt>
    <dd>{props.href ? <a href={props.href}>{props.value}</a> : props.value}</dd>
    {props.parts && <dd class="parts">{props.parts}</dd>}
  </div>
)

function QueueTable(props: {
  queues: QueueView[]
  stale: boolean
  order: string
  sort: (order: string) => void
  pause: (view: QueueView) => void
  refresh: () => void
}) {
  const now = useClock()
  const done = useMemo(
    () =>
      new Map(
        props.queues.map(({ queue }) => [queue, recent.throughput(queue, SPARKLINE_SECONDS)[2]!] as const),
      ),
    [props.queues, now],
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
      stale={props.stale}
      sorted={{ by: props.order, set: props.sort }}
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
        {
          head: "Attention",
          order: "attention",
          cell: ({ queue, attention }) =>
            attention.length > 0 && (
              <span class="kinds">
                <KindLinks queue={queue} attention={attention.slice(0, MAX_KINDS)} />
              </span>
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
          head: "Wait p95",
          num: true,
          wide: true,
          order: "wait",
          cell: ({ recent: { wait_ms: wait } }) =>
            wait === undefined ? <span class="dim">–</span> : formatDuration(wait.p95),
        },
        {
          head: "Failed/s",
          num: true,
          wide: true,
          order: "failed",
          cell: ({ recent: { failed_per_s: failed } }) =>
            failed === 0 ? <span class="dim">0</span> : <span class="error">{formatRate(failed)}</span>,
        },
        {
          head: "Done/s",
          num: true,
          wide: true,
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
        {
          head: "Workers",
          num: true,
          wide: true,
          order: "workers",
          cell: ({ queue, workers: { count } }) => (
            <a class={count === 0 ? "dim" : ""} href={`#/workers?queue=${encodeURIComponent(queue)}`}>
              {formatCount(count)}
            </a>
          ),
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
  const line = `curl ${BROKER_URL}/submit -H ${TOKEN_HEADER} \\
  -H 'Content-Type: application/json' \\
  -d '{"type": "echo", "payload": {"hello": "world"}}'`
  return (
    <Empty title="No task has been submitted yet">
      <p>A queue is created by its first task. Submit one:</p>
      <pre {...scrollable("How to submit a task")}>{line}</pre>
      <CopyButton text={line} />
      <p>
        It appears here without a reload. <code>bun run worker.ts</code> starts a worker that runs it, and{" "}
        <a href="swagger">/swagger</a> documents every request.
      </p>
    </Empty>
  )
}
