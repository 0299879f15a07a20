/** The list of schedules: when each runs next, how its newest task ended, and its buttons. */
import { useState } from "preact/hooks"
import { isRunLate } from "../wire/attention.ts"
import type { SchedulesAnswer, ScheduleView } from "../wire/scheduling.ts"
import { can, queryOf, requestJson } from "./api.ts"
import { brokerNow } from "./clock.ts"
import { Filter, FilterBar } from "./fields.tsx"
import { Icon } from "./icon.tsx"
import { useData } from "./live.ts"
import { Badge, Empty, ProblemNote, Skeleton } from "./parts.tsx"
import { QueueNameFilter, SimilarQueues } from "./queue-names.tsx"
import { pagesOf, type Route, refine } from "./route.ts"
import { PauseScheduleDialog, resumeSchedule, runSchedule } from "./schedule-actions.tsx"
import { ScheduleDialog } from "./schedule-edit.tsx"
import { Pager, Table } from "./table.tsx"
import { formatCount, formatInterval, SafeText, Time } from "./text.tsx"

const SCHEDULES_PER_PAGE = 50
const EVENTS = new URLSearchParams({
  event: "schedule_set,schedule_deleted,schedule_paused,schedule_resumed,schedule_skipped,schedule_missed",
}).toString()

export const mayChangeSchedules = () => can("submit") || can("operate")

export function Schedules({ route: { query } }: { route: Route }) {
  const queue = query.get("queue") ?? ""
  const part = query.get("id") ?? ""
  const { cursors, go } = pagesOf(query)
  const [pausing, setPausing] = useState<ScheduleView>()
  const [isCreating, setIsCreating] = useState(false)
  const wanted = { queue, schedule_part: part, limit: SCHEDULES_PER_PAGE, cursor: cursors.at(-1) }
  const path = `/schedules${queryOf(wanted)}`
  const { value, problem, stale, refresh } = useData(
    path,
    signal => requestJson<SchedulesAnswer>("GET", path, undefined, signal),
    { events: EVENTS, pollMs: 3_000 },
  )
  return (
    <>
      <div class="title">
        <h1>Schedules</h1>
        <span class="grow" />
        {mayChangeSchedules() && (
          <button type="button" class="primary" onClick={() => setIsCreating(true)}>
            New schedule
          </button>
        )}
      </div>
      <FilterBar query={query} names={["queue", "id"]}>
        <QueueNameFilter value={queue} onChange={value => refine({ queue: value })} />
        <Filter label="Id contains" value={part} onChange={value => refine({ id: value })} search />
      </FilterBar>
      {problem && <ProblemNote problem={problem} />}
      {value === undefined ? (
        problem === undefined && <Skeleton rows={5} />
      ) : value.schedules.length === 0 && value.next === undefined ? (
        <Empty title={part === "" ? "No schedules" : "No matching schedules"}>
          <p>
            A schedule creates a task at each of its times. Create one here, or with{" "}
            <code>PUT /schedules/&lt;queue&gt;:&lt;name&gt;</code>.
          </p>
          <SimilarQueues name={queue} />
        </Empty>
      ) : (
        <ScheduleTable schedules={value.schedules} stale={stale} pause={setPausing} refresh={refresh} />
      )}
      <Pager cursors={cursors} next={value?.next} go={go} />
      {pausing && (
        <PauseScheduleDialog id={pausing.schedule} onClose={() => setPausing(undefined)} onDone={refresh} />
      )}
      {isCreating && <ScheduleDialog onClose={() => setIsCreating(false)} onDone={refresh} />}
    </>
  )
}

/** `0 7 * * mon-fri, Europe/Berlin` or `every 5 min`. */
export const formatTimes = ({ cron, time_zone = "UTC", every_ms = 0 }: ScheduleView): string =>
  cron === undefined ? `every ${formatInterval(every_ms)}` : `${cron}, ${time_zone}`

function ScheduleTable(props: {
  schedules: ScheduleView[]
  stale: boolean
  pause: (schedule: ScheduleView) => void
  refresh: () => void
}) {
  const count = (head: string, of: "fired" | "missed" | "skipped") => ({
    head,
    num: true,
    cell: (schedule: ScheduleView) =>
      schedule[of] === 0 ? <span class="dim">0</span> : formatCount(schedule[of]),
  })
  return (
    <Table
      label="Schedules"
      rows={props.schedules}
      stale={props.stale}
      keyOf={({ schedule }) => schedule}
      columns={[
        {
          head: "Schedule",
          cell: ({ schedule, paused, pause_reason = "" }) => (
            <>
              <a class="name" href={`#/schedules/${encodeURIComponent(schedule)}`}>
                {schedule}
              </a>{" "}
              {paused && <Badge of="paused" />}{" "}
              <span class="reason">
                <SafeText text={pause_reason} most={200} />
              </span>
            </>
          ),
        },
        { head: "Times", cell: schedule => <span class="mono">{formatTimes(schedule)}</span> },
        {
          head: "Next run",
          cell: schedule =>
            schedule.next_at === undefined ? (
              <span class="dim">{schedule.paused ? "paused" : "ended"}</span>
            ) : (
              <>
                {isRunLate(schedule, brokerNow()) && "due "}
                <Time at={schedule.next_at} />
              </>
            ),
        },
        { head: "Last run", cell: ({ last }) => <LastRun last={last} /> },
        count("Fired", "fired"),
        count("Missed", "missed"),
        count("Skipped", "skipped"),
        mayChangeSchedules() && {
          head: "",
          num: true,
          cell: schedule => (
            <div class="buttons">
              <button
                type="button"
                class="quiet"
                aria-label={`Run now: ${schedule.schedule}`}
                onClick={() => runSchedule(schedule.schedule, props.refresh)}
              >
                <Icon name="next" /> Run now
              </button>
              {can("operate") &&
                (schedule.paused ? (
                  <button
                    type="button"
                    class="quiet"
                    aria-label={`Resume ${schedule.schedule}`}
                    onClick={() => resumeSchedule(schedule.schedule, props.refresh)}
                  >
                    <Icon name="play" /> Resume
                  </button>
                ) : (
                  <button
                    type="button"
                    class="quiet"
                    aria-label={`Pause ${schedule.schedule}`}
                    onClick={() => props.pause(schedule)}
                  >
                    <Icon name="pause" /> Pause
                  </button>
                ))}
            </div>
          ),
        },
      ]}
    />
  )
}

export const LastRun = ({ last }: { last: ScheduleView["last"] }) =>
  last === undefined ? (
    <span class="dim">never</span>
  ) : (
    <>
      {last.state === undefined ? <span class="dim">deleted</span> : <Badge of={last.state} />}{" "}
      <a href={`#/tasks/${encodeURIComponent(last.task_id)}`} title={last.task_id}>
        <Time at={last.planned_at} />
      </a>
    </>
  )
