/** The list of tasks in one state or in all, with filters and pages. */
import type { TaskView } from "../wire/inspecting.ts"
import { queryOf, requestText } from "./api.ts"
import type { BulkOrder } from "./bulk-dialog.tsx"
import { Filter, FilterBar, Select } from "./fields.tsx"
import { useData } from "./live.ts"
import { Badge, Empty, ProblemNote, QueueLink, Skeleton, TaskLink } from "./parts.tsx"
import { pagesOf, type Route, refine } from "./route.ts"
import { noteTypes, QueueFilter, TypeFilter } from "./search.tsx"
import { SubmitButton } from "./submit-task.tsx"
import { Pager, Table } from "./table.tsx"
import { LISTED, type ListedTask, loadTasks, readTasks } from "./task-pages.ts"
import { SelectBox, type Selection, SelectionBar, useSelection } from "./task-selection.tsx"
import { firstLineOf, hasCurrentError, runMsOf, timeOf } from "./task-words.ts"
import { escapeInvisible, formatDuration, SafeText, Time } from "./text.tsx"

const TASKS_PER_PAGE = 25
const DEFAULT_PRIORITY = 5
export const TASK_FILTERS = ["type", "type_part", "group", "meta", "id", "text"] as const

export function Tasks({ route }: { route: Route }) {
  const { query } = route
  const state = query.get("state") ?? "all"
  return (
    <>
      <div class="title">
        <h1>Tasks</h1>
        <span class="grow" />
        <SubmitButton />
      </div>
      <FilterBar query={query} names={["queue", "queue_part", ...TASK_FILTERS]}>
        <QueueFilter query={query} />
        <Select
          label="State"
          value={state}
          options={LISTED.map(of => [of, of])}
          onChange={value => refine({ state: value })}
        />
        <TaskFilters query={query} queue={query.get("queue") || undefined} />
      </FilterBar>
      <TaskList state={state} queue={query.get("queue") ?? undefined} query={query} />
    </>
  )
}

/** The URL holds the `meta` filter as name=value. The broker looks for a text in one queue at a time. */
export const TaskFilters = ({ query, queue }: { query: URLSearchParams; queue: string | undefined }) => (
  <>
    <TypeFilter query={query} queue={queue} />
    <Filter label="Group" value={query.get("group") ?? ""} onChange={group => refine({ group })} />
    <Filter
      label="Meta"
      value={query.get("meta") ?? ""}
      onChange={meta => refine({ meta })}
      placeholder="name=value"
    />
    <Filter label="Id contains" value={query.get("id") ?? ""} onChange={id => refine({ id })} />
    {queue !== undefined && (
      <Filter
        label="Payload or error contains"
        value={query.get("text") ?? ""}
        onChange={text => refine({ text })}
      />
    )}
  </>
)

/** The filters that the broker knows by the same names. `text` needs the exact name of a queue. */
const SENT_FILTERS = ["queue_part", "type", "type_part", "group", "id"] as const

export function TaskList(props: { state: string; queue: string | undefined; query: URLSearchParams }) {
  const { state, queue, query } = props
  const [, metaName, metaValue] = /^([^=]+)=(.*)$/s.exec(query.get("meta") ?? "") ?? []
  const wanted: Record<string, string | undefined> = { queue, order: "time" }
  for (const name of SENT_FILTERS) wanted[name] = query.get(name) ?? undefined
  if (queue !== undefined) wanted.text = query.get("text") ?? undefined
  if (metaName) wanted[`meta.${metaName.trim()}`] = metaValue
  const filter = queryOf({ state, ...wanted })
  const { cursors, go } = pagesOf(query)
  const load = async (signal: AbortSignal) => {
    const loadPage = (of: string, cursor: string | undefined) =>
      requestText("GET", `/tasks${queryOf({ state: of, ...wanted, limit: TASKS_PER_PAGE, cursor })}`, {
        signal,
      }).then(readTasks)
    const page = await loadTasks(loadPage, state, cursors.at(-1))
    noteTypes(page.tasks)
    return { ...page, state }
  }
  const events = queryOf({
    queue,
    event:
      "submitted,scheduled,leased,done,failed,released,lapsed,dead,cancelled,retried,changed,deleted,purged",
  })
  const data = useData(`${filter} ${cursors.at(-1) ?? ""}`, load, { events: events.slice(1) })
  const { value, problem, stale } = data
  const selection = useSelection(filter)
  return (
    <>
      {problem && <ProblemNote problem={problem} />}
      {selection && value && (
        <SelectionBar
          selection={selection}
          shown={value.tasks}
          listed={value.state}
          filter={
            // While rows of other filters are shown, nobody knows what matches.
            stale || problem
              ? undefined
              : bulkFilterOf(queue, query, metaName && { [metaName.trim()]: metaValue! }, value.tasks)
          }
          onDone={data.refresh}
        />
      )}
      {value === undefined ? (
        problem === undefined && <Skeleton rows={6} />
      ) : value.tasks.length === 0 ? (
        value.next === undefined ? (
          <Empty title={value.state === "all" ? "No tasks" : `No ${value.state} tasks`}>
            <p>New tasks appear here automatically.</p>
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
          selection={selection}
        />
      )}
      <Pager cursors={cursors} next={value?.tasks.length ? value.next : undefined} go={go} />
    </>
  )
}

/** The filter of a bulk operation on all tasks of this list; undefined: there is none, as the list has a whole id. */
function bulkFilterOf(
  queue: string | undefined,
  query: URLSearchParams,
  meta: Record<string, string> | "" | undefined,
  shown: readonly ListedTask[],
): BulkOrder["filter"] | undefined {
  const [, idQueue = queue, id = ""] = /^(?:(.*):)?(.*)$/.exec(query.get("id") ?? "")!
  if (idQueue !== (queue ?? idQueue) || shown.some(task => task.id.split(":").at(-1) === id)) return undefined
  const filter: Record<string, unknown> = {}
  for (const name of ["queue_part", "type", "type_part", "group"] as const)
    if (query.get(name)) filter[name] = query.get(name)
  const text = queue === undefined ? undefined : query.get("text")
  return {
    ...filter,
    ...(idQueue && { queue: idQueue }),
    ...(meta && { meta }),
    ...(id && { id_part: id }),
    ...(text && { text }),
  }
}

const formatRun = (ms: number | undefined) => (ms === undefined ? "–" : formatDuration(ms))

const Meta = ({ meta = {} }: { meta: TaskView["meta"] }) => (
  <span class="dim">
    <SafeText
      text={Object.entries(meta)
        .map(([name, value]) => `${name}=${value}`)
        .join(" ")}
      most={200}
    />
  </span>
)

/** Only the columns in which these tasks differ. */
export function TaskTable(props: {
  tasks: readonly ListedTask[]
  queues: boolean
  stale: boolean
  label: string
  /** Absent: tasks cannot be selected. */
  selection?: Selection | undefined
}) {
  const { selection } = props
  const some = (holds: (task: ListedTask) => boolean) => props.tasks.some(holds)
  const severalStates = new Set(props.tasks.map(({ status }) => status)).size > 1
  const timeHeads = new Set(props.tasks.map(task => timeOf(task).what))
  return (
    <Table
      label={props.label}
      rows={props.tasks}
      keyOf={({ id }) => id}
      stale={props.stale}
      columns={[
        {
          head: "Task",
          cell: task => (
            <>
              {selection && <SelectBox task={task} selection={selection} />}
              <TaskLink id={task.id} />
            </>
          ),
        },
        { head: "Type", cell: ({ type }) => <SafeText text={type} most={200} /> },
        props.queues && { head: "Queue", wide: true, cell: ({ queue }) => <QueueLink queue={queue} /> },
        severalStates && { head: "State", cell: ({ status }) => <Badge of={status} /> },
        some(({ priority }) => priority !== DEFAULT_PRIORITY) && {
          head: "Priority",
          num: true,
          cell: ({ priority }) => priority,
        },
        some(({ attempt }) => attempt > 1) && { head: "Attempt", num: true, cell: ({ attempt }) => attempt },
        some(({ status }) => status === "processing") && {
          head: "Worker",
          cell: ({ status, worker }) =>
            status === "processing" && <SafeText text={worker ?? "–"} most={64} />,
        },
        some(({ meta }) => meta !== undefined) && { head: "Meta", cell: ({ meta }) => <Meta meta={meta} /> },
        some(hasCurrentError)
          ? {
              head: "Error",
              grow: true,
              cell: task =>
                hasCurrentError(task) && (
                  <span class="error" title={escapeInvisible(firstLineOf(task.error!))}>
                    <SafeText text={firstLineOf(task.error!)} most={300} />
                  </span>
                ),
            }
          : {
              head: "Payload",
              grow: true,
              cell: ({ payload, hidden }) => (
                <span class="mono dim">
                  <SafeText text={hidden ? "hidden" : payload} most={200} />
                </span>
              ),
            },
        some(({ status }) => status === "done") && {
          head: "Duration",
          num: true,
          cell: task => formatRun(runMsOf(task)),
        },
        {
          head: timeHeads.size === 1 ? [...timeHeads][0]! : "Time",
          num: true,
          cell: task => <Time at={timeOf(task).at} />,
        },
      ]}
    />
  )
}
