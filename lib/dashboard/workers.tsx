/** The list of workers: their state, queues and leased tasks. */
import { useId, useState } from "preact/hooks"
import { can, Problem, queryOf, requestJson } from "./api.ts"
import { BrokerPanel } from "./broker-panel.tsx"
import { Confirm } from "./dialog.tsx"
import { Filter, FilterBar } from "./fields.tsx"
import { Icon } from "./icon.tsx"
import { useData } from "./live.ts"
import { Badge, Empty, ProblemNote, QueueLink, Skeleton, TaskLink } from "./parts.tsx"
import { type Route, refine } from "./route.ts"
import { Pager, Table } from "./table.tsx"
import { formatCount, formatDuration, plural, SafeText, Time } from "./text.tsx"
import { attempt, notify } from "./toasts.tsx"

interface WorkerView {
  worker: string
  instance?: string
  state: "live" | "draining" | "stale" | "gone"
  host?: string
  version?: string
  queues: string[]
  first_seen_at: number
  last_seen_at: number
  in_hand: number
  tasks?: string[]
  done: number
  failed: number
}
const WORKERS_PER_PAGE = 50

export function Workers({ route: { query } }: { route: Route }) {
  const queue = query.get("queue") ?? ""
  const [cursors, setCursors] = useState<readonly string[]>([])
  const [draining, setDraining] = useState<WorkerView>()
  const path = `/workers${queryOf({ queue, limit: WORKERS_PER_PAGE, cursor: cursors.at(-1) })}`
  const { value, problem, stale, refresh } = useData(
    path,
    signal => requestJson<{ workers: WorkerView[]; next?: string }>("GET", path, undefined, signal),
    { pollMs: 3_000 },
  )
  return (
    <>
      <h1>Workers</h1>
      <FilterBar query={query} names={["queue"]}>
        <Filter label="Queue" value={queue} onChange={value => refine({ queue: value })} placeholder="all" />
      </FilterBar>
      {problem &&
        (problem instanceof Problem && problem.status === 404 ? (
          <Empty title="This broker does not list workers" />
        ) : (
          <ProblemNote problem={problem} />
        ))}
      {value === undefined ? (
        problem === undefined && <Skeleton rows={5} />
      ) : value.workers.length === 0 ? (
        <Empty title="No workers yet">
          <p>
            <code>bun run worker.ts</code> starts one. Every client that names a <code>worker</code> in its
            lease requests is also listed.
          </p>
        </Empty>
      ) : (
        <WorkerTable workers={value.workers} stale={stale} drain={setDraining} refresh={refresh} />
      )}
      <Pager cursors={cursors} next={value?.next} go={setCursors} />
      <BrokerPanel />
      {draining && (
        <Confirm
          title={`Drain ${draining.worker}?`}
          button="Drain"
          onClose={() => setDraining(undefined)}
          run={async () => {
            await requestJson("POST", `/workers/${encodeURIComponent(draining.worker)}/drain`)
            notify(`${draining.worker} is draining`)
            refresh()
          }}
        >
          <p>Each worker of this name leases no more tasks, finishes the tasks it has leased, and stops.</p>
        </Confirm>
      )}
    </>
  )
}

const undrain = ({ worker }: WorkerView, refresh: () => void) =>
  attempt(async () => {
    await requestJson("DELETE", `/workers/${encodeURIComponent(worker)}/drain`)
    notify(`${worker} is no longer draining`)
    refresh()
  })

/** A popover, so that the table keeps its layout. */
function RunningTasks({ count, ids, worker }: { count: number; ids: readonly string[]; worker: string }) {
  const id = useId()
  return (
    <>
      <button
        type="button"
        class="quiet"
        popovertarget={id}
        aria-label={`${formatCount(count)} running at ${worker}`}
      >
        {formatCount(count)}
      </button>
      <div id={id} popover="auto">
        <h2>{plural(count, "running task")}</h2>
        {ids.map(task => (
          <div key={task}>
            <TaskLink id={task} />
          </div>
        ))}
        {count > ids.length && <p class="dim">and {formatCount(count - ids.length)} more</p>}
      </div>
    </>
  )
}

function WorkerTable(props: {
  workers: readonly WorkerView[]
  stale: boolean
  drain: (worker: WorkerView) => void
  refresh: () => void
}) {
  return (
    <Table
      label="Workers"
      rows={props.workers}
      keyOf={({ worker, instance, first_seen_at }) => `${worker} ${instance} ${first_seen_at}`}
      stale={props.stale}
      columns={[
        {
          head: "Worker",
          cell: ({ worker, instance, host, version }) => (
            <>
              <span class="mono">
                <SafeText text={worker} most={64} />
              </span>
              <div class="dim">
                <SafeText text={[instance, host, version].filter(Boolean).join(", ")} most={100} />
              </div>
            </>
          ),
        },
        { head: "State", cell: ({ state }) => <Badge of={state} /> },
        {
          head: "Queues",
          grow: true,
          cell: ({ queues }) => (
            <span class="list">
              {queues.slice(0, 5).map(queue => (
                <QueueLink key={queue} queue={queue} />
              ))}
              {queues.length > 5 && <span class="dim">and {queues.length - 5} more</span>}
            </span>
          ),
        },
        {
          head: "Running",
          num: true,
          cell: ({ in_hand, tasks = [], worker }) =>
            tasks.length === 0 ? (
              formatCount(in_hand)
            ) : (
              <RunningTasks count={in_hand} ids={tasks} worker={worker} />
            ),
        },
        { head: "Done", num: true, cell: ({ done }) => formatCount(done) },
        { head: "Failed", num: true, cell: ({ failed }) => formatCount(failed) },
        {
          head: "Up for",
          num: true,
          wide: true,
          cell: ({ first_seen_at, last_seen_at }) => formatDuration(last_seen_at - first_seen_at),
        },
        { head: "Last seen", num: true, cell: ({ last_seen_at }) => <Time at={last_seen_at} /> },
        can("operate") && {
          head: "",
          num: true,
          cell: worker =>
            worker.state === "live" ? (
              <button type="button" class="quiet" onClick={() => props.drain(worker)}>
                <Icon name="pause" /> Drain
              </button>
            ) : worker.state === "draining" ? (
              <button type="button" class="quiet" onClick={() => undrain(worker, props.refresh)}>
                <Icon name="play" /> Cancel drain
              </button>
            ) : null,
        },
      ]}
    />
  )
}
