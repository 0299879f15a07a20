/** The list of tasks in one state, with filters and pages. */
import { useState } from "preact/hooks"
import type { TasksAnswer, TaskView } from "../wire/inspecting.ts"
import { queryOf, requestJson } from "./api.ts"
import { Filter, Select } from "./fields.tsx"
import { useData } from "./live.ts"
import { Badge, Empty, ProblemNote, QueueLink, Skeleton, TaskLink } from "./parts.tsx"
import { type Route, refine } from "./route.ts"
import { Pager, Table } from "./table.tsx"
import { LISTED, loadTasks } from "./task-pages.ts"
import { firstLineOf, hasCurrentError, timeOf } from "./task-words.ts"
import { SafeText, Time } from "./text.tsx"

const TASKS_PER_PAGE = 25

export function Tasks({ route }: { route: Route }) {
  const { query } = route
  const state = query.get("state") ?? "queued"
  return (
    <>
      <h1>Tasks</h1>
      <div class="filters">
        <Filter
          label="Queue"
          value={query.get("queue") ?? ""}
          onChange={queue => refine({ queue })}
          placeholder="all"
        />
        <Select
          label="State"
          value={state}
          options={LISTED.map(of => [of, of])}
          onChange={value => refine({ state: value })}
        />
        <TaskFilters query={query} />
      </div>
      <TaskList state={state} queue={query.get("queue") ?? undefined} query={query} />
    </>
  )
}

/** The URL holds the `meta` filter as name=value. */
export const TaskFilters = ({ query }: { query: URLSearchParams }) => (
  <>
    <Filter label="Type" value={query.get("type") ?? ""} onChange={type => refine({ type })} />
    <Filter label="Group" value={query.get("group") ?? ""} onChange={group => refine({ group })} />
    <Filter
      label="Meta"
      value={query.get("meta") ?? ""}
      onChange={meta => refine({ meta })}
      placeholder="name=value"
    />
  </>
)

export function TaskList(props: { state: string; queue: string | undefined; query: URLSearchParams }) {
  const { state, queue, query } = props
  const type = query.get("type") ?? undefined
  const [, metaName, metaValue] = /^([^=]+)=(.*)$/s.exec(query.get("meta") ?? "") ?? []
  const group = query.get("group") ?? undefined
  const wanted = { queue, type, group, ...(metaName ? { [`meta.${metaName.trim()}`]: metaValue } : {}) }
  const filter = queryOf({ state, ...wanted })
  const [pages, setPages] = useState<{ filter: string; cursors: readonly string[] }>({ filter, cursors: [] })
  const cursors = pages.filter === filter ? pages.cursors : []
  const load = async (signal: AbortSignal) => {
    const loadPage = (of: string, cursor: string | undefined) =>
      requestJson<TasksAnswer>(
        "GET",
        `/tasks${queryOf({ state: of, ...wanted, limit: TASKS_PER_PAGE, cursor })}`,
        undefined,
        signal,
      )
    return { ...(await loadTasks(loadPage, state, cursors.at(-1))), state }
  }
  const events = queryOf({
    queue,
    event: "submitted,scheduled,leased,done,failed,released,lapsed,dead,cancelled,retried,deleted,purged",
  })
  const data = useData(`${filter} ${cursors.at(-1) ?? ""}`, load, { events: events.slice(1) })
  const { value, problem, stale } = data
  const go = (to: readonly string[]) => setPages({ filter, cursors: to })
  return (
    <>
      {problem && <ProblemNote problem={problem} />}
      {value === undefined ? (
        problem === undefined && <Skeleton rows={6} />
      ) : value.tasks.length === 0 ? (
        value.next === undefined ? (
          <Empty title={`No ${value.state} tasks`}>
            <p>New tasks appear here without a reload.</p>
          </Empty>
        ) : (
          <Empty title="No matching tasks so far">
            <p>There are more tasks to search.</p>
            <button type="button" onClick={() => go([...cursors, value.next!])}>
              Search further
            </button>
          </Empty>
        )
      ) : (
        <TaskTable
          tasks={value.tasks}
          queues={queue === undefined}
          stale={stale}
          label={`Tasks: ${value.state}`}
        />
      )}
      <Pager cursors={cursors} next={value?.tasks.length ? value.next : undefined} go={go} />
    </>
  )
}

export function TaskTable(props: {
  tasks: readonly TaskView[]
  queues: boolean
  stale: boolean
  label: string
}) {
  return (
    <Table
      label={props.label}
      rows={props.tasks}
      keyOf={({ id }) => id}
      stale={props.stale}
      columns={[
        { head: "Task", cell: ({ id }) => <TaskLink id={id} /> },
        { head: "Type", cell: ({ type }) => <SafeText text={type} most={80} /> },
        props.queues && { head: "Queue", cell: ({ queue }) => <QueueLink queue={queue} /> },
        { head: "State", cell: ({ status }) => <Badge of={status} /> },
        { head: "Attempt", num: true, cell: ({ attempt }) => attempt },
        {
          head: "Worker or error",
          cell: task =>
            hasCurrentError(task) ? (
              <span class="error">
                <SafeText text={firstLineOf(task.error!)} most={140} />
              </span>
            ) : (
              (task.worker ?? <span class="dim">–</span>)
            ),
        },
        { head: "Time", num: true, cell: task => <Time at={timeOf(task).at} /> },
      ]}
    />
  )
}
