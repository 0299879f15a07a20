/** One schedule: its next times in its own zone and in the viewer's, its newest task, its counts and its buttons. */
import { useState } from "preact/hooks"
import { isRunLate } from "../wire/attention.ts"
import { membersOf } from "../wire/json-text.ts"
import type { ScheduleView } from "../wire/scheduling.ts"
import { can, requestText } from "./api.ts"
import { brokerNow } from "./clock.ts"
import { Icon } from "./icon.tsx"
import { indentJson } from "./json.ts"
import { useData } from "./live.ts"
import { Badge, FactList, ProblemNote, QueueLink, Skeleton } from "./parts.tsx"
import { go } from "./route.ts"
import {
  DeleteScheduleDialog,
  PauseScheduleDialog,
  resumeSchedule,
  runSchedule,
  schedulePath,
} from "./schedule-actions.tsx"
import { ScheduleDialog } from "./schedule-edit.tsx"
import { formatTimes, LastRun, mayChangeSchedules } from "./schedules.tsx"
import { Table } from "./table.tsx"
import { formatCount, formatDuration, formatInZone, SafeText, Time } from "./text.tsx"
import { shorten, TextBlock } from "./text-block.tsx"

/** The members as JSON text: `task` as the broker wrote it, because JSON.parse would change long numbers. */
interface LoadedSchedule {
  schedule: ScheduleView
  taskText: string
}

async function load(id: string, signal: AbortSignal): Promise<LoadedSchedule> {
  const text = await requestText("GET", schedulePath(id), { signal })
  return { schedule: JSON.parse(text), taskText: new Map(membersOf(text)).get("task")! }
}

export function Schedule({ id }: { id: string }) {
  const { value, problem, refresh } = useData(id, signal => load(id, signal), { pollMs: 3_000 })
  return (
    <>
      <nav class="crumbs" aria-label="Breadcrumb">
        <a href="#/schedules">Schedules</a> /
      </nav>
      <div class="title">
        <h1>
          <SafeText text={id} most={120} />
        </h1>
        {value?.schedule.paused && <Badge of="paused" />}
        <span class="grow" />
        {value && <ScheduleButtons {...value} refresh={refresh} />}
      </div>
      {problem && <ProblemNote problem={problem} />}
      {value === undefined ? problem === undefined && <Skeleton rows={8} /> : <ScheduleDetails {...value} />}
    </>
  )
}

function ScheduleButtons({ schedule, taskText, refresh }: LoadedSchedule & { refresh: () => void }) {
  const [dialog, setDialog] = useState<"edit" | "pause" | "delete">()
  const close = () => setDialog(undefined)
  const id = schedule.schedule
  return (
    <div class="buttons">
      {mayChangeSchedules() && (
        <>
          <button type="button" class="primary" onClick={() => runSchedule(id, refresh)}>
            Run now
          </button>
          {/* Saving would replace the payload, which this token may not see. */}
          {!schedule.hidden && (
            <button type="button" onClick={() => setDialog("edit")}>
              <Icon name="gear" /> Edit
            </button>
          )}
        </>
      )}
      {can("operate") &&
        (schedule.paused ? (
          <button type="button" onClick={() => resumeSchedule(id, refresh)}>
            <Icon name="play" /> Resume
          </button>
        ) : (
          <button type="button" onClick={() => setDialog("pause")}>
            <Icon name="pause" /> Pause
          </button>
        ))}
      {mayChangeSchedules() && (
        <button type="button" onClick={() => setDialog("delete")}>
          <Icon name="trash" /> Delete
        </button>
      )}
      {dialog === "edit" && (
        <ScheduleDialog schedule={schedule} taskText={taskText} onClose={close} onDone={refresh} />
      )}
      {dialog === "pause" && <PauseScheduleDialog id={id} onClose={close} onDone={refresh} />}
      {dialog === "delete" && (
        <DeleteScheduleDialog id={id} onClose={close} onDone={() => go("#/schedules")} />
      )}
    </div>
  )
}

function ScheduleDetails({ schedule, taskText }: LoadedSchedule) {
  return (
    <>
      {schedule.hidden && (
        <section class="note" aria-label="Hidden">
          Your token may not see the payload of this schedule.
        </section>
      )}
      {schedule.pause_reason && (
        <section class="note warn" aria-label="Pause">
          <SafeText text={schedule.pause_reason} most={600} />
        </section>
      )}
      {isRunLate(schedule, brokerNow()) && (
        <section class="note warn" aria-label="Late">
          The next run is late, for example because its queue or group is full. See{" "}
          <QueueLink queue={schedule.queue} />.
        </section>
      )}
      <div class="split">
        <div>
          <NextTimes schedule={schedule} />
          <TextBlock
            label="Task"
            text={indentJson(taskText)}
            short={shorten(indentJson(taskText, 20_000))}
            name={`${schedule.schedule.replace(/[^\w.-]/g, "_")}-task.json`}
          />
        </div>
        <div>
          <FactList facts={factsOf(schedule)} />
        </div>
      </div>
    </>
  )
}

/** The ids of its tasks have its name and a time in ms, which begins with 1 until 2033. */
const tasksOf = ({ queue, schedule }: ScheduleView): string =>
  `#/tasks?${new URLSearchParams({ state: "all", queue, id: `${schedule.replace(/^.*:/, "")}-1` })}`

function factsOf(schedule: ScheduleView) {
  const { queue, last, fired, missed, skipped, jitter_ms, starts_at, ends_at, paused_at } = schedule
  const time = (at: number | undefined) => at !== undefined && <Time at={at} />
  return (
    [
      ["Times", <span class="mono">{formatTimes(schedule)}</span>],
      ["Queue", <QueueLink queue={queue} />],
      ["Last run", <LastRun last={last} />],
      ["Tasks", <a href={tasksOf(schedule)}>all that are kept</a>],
      ["Fired", formatCount(fired)],
      ["Missed", formatCount(missed)],
      ["Skipped", formatCount(skipped)],
      [
        "Missed times get",
        { one: "one task", none: "no task", all: "a task each" }[schedule.on_missed ?? "one"],
      ],
      [
        "Overlapping runs",
        { allow: "are allowed", skip: "are skipped", cancel: "cancel the previous task" }[
          schedule.on_overlap ?? "allow"
        ],
      ],
      ["Jitter", jitter_ms ? formatDuration(jitter_ms) : undefined],
      ["Not before", time(starts_at)],
      ["Not after", time(ends_at)],
      ["Paused", time(paused_at)],
    ] as const
  ).filter(([, value]) => value)
}

/** An interval has no zone of its own: its times are multiples since 1970 in UTC. */
function NextTimes({ schedule }: { schedule: ScheduleView }) {
  const zone = schedule.time_zone ?? "UTC"
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone
  if (schedule.next.length === 0)
    return <p class="dim">{schedule.paused ? "It is paused: no run is planned." : "No time remains."}</p>
  return (
    <Table
      label="Next runs"
      rows={schedule.next}
      keyOf={String}
      columns={[
        { head: "Next runs", cell: at => <Time at={at} /> },
        { head: zone, cell: at => <span class="mono">{formatInZone(at, zone)}</span> },
        zone !== own && {
          head: `Here (${own})`,
          cell: at => <span class="mono">{formatInZone(at, own)}</span>,
        },
      ]}
    />
  )
}
