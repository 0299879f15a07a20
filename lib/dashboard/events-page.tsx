/** The events view: the newest events as they arrive. */
import { useMemo, useRef, useState } from "preact/hooks"
import { EVENT_NAMES, type EventData } from "../wire/events.ts"
import { can, Problem, queryOf } from "./api.ts"
import { brokerNow } from "./clock.ts"
import { Filter, FilterBar, Select } from "./fields.tsx"
import { held, toggleHold } from "./hold.tsx"
import { type EventHandler, stream, useClock, useStream } from "./live.ts"
import { Badge, Empty, ProblemNote, QueueLink, TaskLink } from "./parts.tsx"
import { QueueNameFilter, SimilarQueues } from "./queue-names.tsx"
import { type Route, refine } from "./route.ts"
import { useStore } from "./store.ts"
import { Table } from "./table.tsx"
import { formatClock, SafeText } from "./text.tsx"

const MAX_SHOWN = 200
const MAX_ROWS = 1_000
/** The view begins with the newest events that the broker keeps. */
const PAST_MS = 600_000
const SHOWN_EVENTS = EVENT_NAMES.filter(name => !["counts", "skipped", "gap", "listening"].includes(name))
const OWN_COLUMNS = new Set(["at", "queue", "task_id", "order"])

interface Row {
  key: number
  name: string
  data: EventData
}

export function Events({ route: { query } }: { route: Route }) {
  const queue = query.get("queue") ?? ""
  const event = query.get("event") ?? ""
  const text = query.get("text") ?? ""
  const isHeld = useStore(held)
  const rows = useRef<Row[]>([])
  const shown = useRef<{ of?: string; rows: Row[] }>({ rows: [] })
  const key = useRef(0)
  const [refused, setRefused] = useState<{ query: string; problem: Problem }>()
  const open = useStore(stream) === "open"
  const streamQuery = useMemo(() => {
    rows.current = []
    const after = `${brokerNow() - PAST_MS}-0`
    return queryOf({ queue, event: event || SHOWN_EVENTS.join(","), last_event_id: after }).slice(1)
  }, [queue, event])
  const addRow: EventHandler = (name, data) => {
    if (!(SHOWN_EVENTS as readonly string[]).includes(name)) return
    rows.current.unshift({ key: key.current++, name, data })
    rows.current.length = Math.min(rows.current.length, MAX_ROWS)
  }
  useStream(streamQuery, addRow, undefined, problem => setRefused({ query: streamQuery, problem }))
  // A held page keeps its rows, but other filters get theirs.
  const filters = `${streamQuery} ${text}`
  const isKept = isHeld && shown.current.of === filters && shown.current.rows.length > 0
  if (!isKept)
    shown.current = { of: filters, rows: rows.current.filter(row => matches(row, text)).slice(0, MAX_SHOWN) }
  // Hundreds of events may arrive per second, so the table is rendered twice per second.
  useClock(500, !isKept)
  if (!can("read"))
    return (
      <>
        <h1>Events</h1>
        <ProblemNote problem={new Problem(403, "Forbidden", "This request needs the role read or watch.")} />
      </>
    )
  return (
    <>
      <div class="title">
        <h1>Events</h1>
        <span class="grow" />
        <button type="button" onClick={toggleHold}>
          {isHeld ? "Continue" : "Hold"}
        </button>
      </div>
      <FilterBar query={query} names={["queue", "event", "text"]}>
        <QueueNameFilter value={queue} onChange={value => refine({ queue: value })} />
        <Filter label="Text contains" value={text} onChange={value => refine({ text: value })} />
        <Select
          label="Event"
          value={event}
          options={[["", "all"], ...SHOWN_EVENTS.map(name => [name, name] as const)]}
          onChange={value => refine({ event: value })}
        />
      </FilterBar>
      {refused?.query === streamQuery ? (
        <ProblemNote problem={refused.problem} />
      ) : shown.current.rows.length === 0 ? (
        <Empty title={open ? "No events yet" : "The event stream is not connected"}>
          <p>{open ? "Events appear here as they happen." : "The other views are updated by polling."}</p>
          <SimilarQueues name={queue} />
        </Empty>
      ) : (
        <Table
          label="Events"
          rows={shown.current.rows}
          keyOf={row => String(row.key)}
          columns={[
            {
              head: "Time",
              cell: ({ data }) => (
                <span class="mono">
                  {formatClock(data.at)}.{String(data.at % 1_000).padStart(3, "0")}
                </span>
              ),
            },
            { head: "Event", cell: ({ name }) => <Badge of={name} /> },
            { head: "Queue", cell: ({ data }) => data.queue && <QueueLink queue={data.queue} /> },
            { head: "Task", cell: ({ data }) => data.task_id && <TaskLink id={data.task_id} /> },
            {
              head: "Details",
              grow: true,
              cell: ({ data }) => <SafeText text={otherMembers(data)} most={200} />,
            },
          ]}
        />
      )}
    </>
  )
}

const otherMembers = (data: EventData): string =>
  Object.entries(data)
    .filter(([name]) => !OWN_COLUMNS.has(name))
    .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ")

const matches = ({ name, data }: Row, text: string): boolean =>
  text === "" || `${name} ${JSON.stringify(data)}`.toLowerCase().includes(text.toLowerCase())
