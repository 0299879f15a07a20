/** The list of workers, and apart from it those that are gone. */
import type { ComponentChild } from "preact"
import { useState } from "preact/hooks"
import type { WorkersAnswer, WorkerView } from "../wire/managing.ts"
import { Problem, queryOf, requestJson } from "./api.ts"
import { BrokerPanel } from "./broker-panel.tsx"
import { FilterBar, Select } from "./fields.tsx"
import { useData } from "./live.ts"
import { Empty, ProblemNote, Skeleton } from "./parts.tsx"
import { QueueNameFilter, SimilarQueues } from "./queue-names.tsx"
import { pagesOf, type Route, refine } from "./route.ts"
import { Pager } from "./table.tsx"
import { DrainDialog, isOrder, type Order, sortWorkers, WorkerTable } from "./worker-table.tsx"

const WORKERS_PER_PAGE = 200
const PRESENT = "live,draining,stale"
const STATES = ["live", "draining", "stale"]

export function Workers({ route: { query } }: { route: Route }) {
  const queue = query.get("queue") ?? ""
  const state = query.get("state") ?? ""
  const order = query.get("order")
  return (
    <>
      <h1>Workers</h1>
      <FilterBar query={query} names={["queue", "state"]}>
        <QueueNameFilter value={queue} onChange={value => refine({ queue: value })} />
        <Select
          label="State"
          value={state}
          options={[["", "all but gone"], ...STATES.map(name => [name, name] as const)]}
          onChange={value => refine({ state: value })}
        />
      </FilterBar>
      <WorkerList
        key={`${queue} ${state}`}
        queue={queue}
        state={state || PRESENT}
        order={isOrder(order) ? order : "name"}
        pages={pagesOf(query)}
        empty={
          <Empty title="No workers">
            <p>
              <code>bun run worker.ts</code> starts one. Every client that names a <code>worker</code> in its
              lease requests is also listed.
            </p>
            <SimilarQueues name={queue} />
          </Empty>
        }
      />
      <Gone queue={queue} query={query} />
      <BrokerPanel />
    </>
  )
}

/** Workers that were not seen for a minute and hold no tasks; loaded once they are asked for. */
function Gone({ queue, query }: { queue: string; query: URLSearchParams }) {
  const [open, setOpen] = useState(false)
  return (
    <details open={open} onToggle={event => setOpen(event.currentTarget.open)}>
      <summary>Gone in the last 24 hours</summary>
      {open && (
        <WorkerList
          key={queue}
          queue={queue}
          state="gone"
          order="seen"
          pages={pagesOf(query, "gone_page")}
          empty={<p class="dim">No worker has gone.</p>}
        />
      )}
    </details>
  )
}

function WorkerList(props: {
  queue: string
  state: string
  order: Order
  pages: ReturnType<typeof pagesOf>
  empty: ComponentChild
}) {
  const { queue, state, order } = props
  const { cursors, go } = props.pages
  const [draining, setDraining] = useState<WorkerView>()
  const path = `/workers${queryOf({ queue, state, limit: WORKERS_PER_PAGE, cursor: cursors.at(-1) })}`
  const { value, problem, stale, refresh } = useData(
    path,
    signal => requestJson<WorkersAnswer>("GET", path, undefined, signal),
    { pollMs: 3_000 },
  )
  return (
    <>
      {problem &&
        (problem instanceof Problem && problem.status === 404 ? (
          <Empty title="This broker does not list workers" />
        ) : (
          <ProblemNote problem={problem} />
        ))}
      {value === undefined ? (
        problem === undefined && <Skeleton rows={5} />
      ) : value.workers.length === 0 ? (
        props.empty
      ) : (
        <WorkerTable
          workers={sortWorkers(value.workers, order)}
          stale={stale}
          drain={setDraining}
          refresh={refresh}
          sorted={
            state === "gone"
              ? undefined
              : { by: order, set: by => refine({ order: by === "name" ? "" : by }) }
          }
        />
      )}
      <Pager cursors={cursors} next={value?.next} go={go} />
      {draining && (
        <DrainDialog worker={draining.worker} onClose={() => setDraining(undefined)} onDone={refresh} />
      )}
    </>
  )
}
