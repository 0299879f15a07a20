/** What operators did: pauses, settings, purges, retries and drains, each with its author. */
import { ACTIONS } from "../wire/action-names.ts"
import type { ActionsAnswer, ActionView } from "../wire/actions.ts"
import { queryOf, requestJson } from "./api.ts"
import { Filter, FilterBar, Select } from "./fields.tsx"
import { useData } from "./live.ts"
import { Empty, ProblemNote, QueueLink, Skeleton, TaskLink } from "./parts.tsx"
import { QueueNameFilter, SimilarQueues } from "./queue-names.tsx"
import { pagesOf, type Route, refine } from "./route.ts"
import { Pager, Table } from "./table.tsx"
import { SafeText, Time } from "./text.tsx"
import { workerHash } from "./worker-table.tsx"

const ACTIONS_PER_PAGE = 50

export function Actions({ route: { query } }: { route: Route }) {
  const [queue = "", by = "", action = ""] = ["queue", "by", "action"].map(name => query.get(name) ?? "")
  const { cursors, go } = pagesOf(query)
  const filter = (name: string) => (value: string) => refine({ [name]: value })
  const path = `/actions${queryOf({ queue, by, action, limit: ACTIONS_PER_PAGE, cursor: cursors.at(-1) })}`
  const { value, problem, stale } = useData(
    path,
    signal => requestJson<ActionsAnswer>("GET", path, undefined, signal),
    { pollMs: 5_000 },
  )
  return (
    <>
      <h1>Actions</h1>
      <FilterBar query={query} names={["queue", "by", "action"]}>
        <QueueNameFilter value={queue} onChange={filter("queue")} />
        <Filter label="By" value={by} onChange={filter("by")} placeholder="any token" />
        <Select
          label="Action"
          value={action}
          options={[["", "all"], ...ACTIONS.map(name => [name, wordsOf(name)] as const)]}
          onChange={filter("action")}
        />
      </FilterBar>
      {problem && <ProblemNote problem={problem} />}
      {value === undefined ? (
        problem === undefined && <Skeleton rows={5} />
      ) : value.actions.length === 0 ? (
        <Empty title="No actions">
          <p>
            The newest 1,000 actions of operators appear here: pauses, settings, purges, retries and drains.
          </p>
          <SimilarQueues name={queue} />
        </Empty>
      ) : (
        <ActionTable actions={value.actions} stale={stale} />
      )}
      <Pager cursors={cursors} next={value?.next} go={go} />
    </>
  )
}

/** `pauseQueue` becomes `pause queue`. */
const wordsOf = (action: string) => action.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`)

const ActionTable = ({ actions, stale }: { actions: readonly ActionView[]; stale: boolean }) => (
  <Table
    label="Actions"
    rows={actions}
    stale={stale}
    keyOf={({ id }) => id}
    columns={[
      { head: "Time", cell: ({ at }) => <Time at={at} /> },
      { head: "By", cell: ({ by }) => <SafeText text={by} most={64} /> },
      { head: "Action", cell: ({ action }) => <span class="name">{wordsOf(action)}</span> },
      { head: "Queue", cell: ({ queues }) => <Queues queues={queues} /> },
      { head: "Target", cell: target => <Target {...target} /> },
      { head: "Details", grow: true, cell: ({ details }) => <Details details={details} /> },
    ]}
  />
)

function Queues({ queues }: { queues: ActionView["queues"] }) {
  if (queues === undefined) return <span class="dim">all</span>
  const [first, ...others] = queues
  return (
    <>
      {first && <QueueLink queue={first} />} {others.length > 0 && <span class="dim">+{others.length}</span>}
    </>
  )
}

function Target({ task_id, schedule, group, worker }: ActionView) {
  if (task_id !== undefined) return <TaskLink id={task_id} />
  if (schedule !== undefined) return <a href={`#/schedules/${encodeURIComponent(schedule)}`}>{schedule}</a>
  if (worker !== undefined)
    return (
      <a href={workerHash(worker)}>
        <SafeText text={worker} most={64} />
      </a>
    )
  return <SafeText text={group ?? ""} most={128} />
}

function Details({ details }: { details: ActionView["details"] }) {
  const text = Object.entries(changed(details))
    .map(([name, value]) => `${name.replaceAll("_", " ")}: ${textOf(value)}`)
    .join(", ")
  return (
    <span title={text.slice(0, 1_000)}>
      <SafeText text={text} most={300} />
    </span>
  )
}

/** The details; of the values before and after only those that differ, as `concurrency: none → 3`. */
function changed({ before, after, ...rest }: Record<string, unknown>): Record<string, unknown> {
  const [old, now] = [before, after].map(value => (value ?? {}) as Record<string, unknown>)
  const names = [...new Set([...Object.keys(old!), ...Object.keys(now!)])]
  const differences = names
    .map(name => [name, textOf(old![name]), textOf(now![name])] as const)
    .filter(([, a, b]) => a !== b)
    .map(([name, a, b]) => [name, `${a} → ${b}`])
  return { ...rest, ...Object.fromEntries(differences) }
}

const textOf = (value: unknown): string =>
  value === undefined ? "none" : typeof value === "string" ? value : JSON.stringify(value)
