/** The dialog that creates or changes a schedule, with a preview of its next times. */
import { useEffect, useState } from "preact/hooks"
import type { Previewed, ScheduleView } from "../wire/scheduling.ts"
import { Problem, requestJson, requestText } from "./api.ts"
import { ActionDialog } from "./dialog.tsx"
import { Field, Select, TextArea } from "./fields.tsx"
import { escapeInvisibleJson, indentJson } from "./json.ts"
import { ProblemNote } from "./parts.tsx"
import { schedulePath } from "./schedule-actions.tsx"
import { requireJson } from "./task-fields.tsx"
import { formatInZone } from "./text.tsx"
import { notify } from "./toasts.tsx"

const PREVIEW_AFTER_MS = 350
const SHOWN = 5
const NEW_TASK = '{ "type": "echo", "payload": {} }'
const MISSED = [
  ["one", "one task for the newest"],
  ["none", "no task"],
  ["all", "a task for each, at most 100"],
] as const
const OVERLAP = [
  ["allow", "create the next one anyway"],
  ["skip", "skip the next one"],
  ["cancel", "cancel the previous one"],
] as const

/** `schedule`: the one to change, with its task as JSON text; undefined: a new one. */
export function ScheduleDialog(props: {
  schedule?: ScheduleView
  taskText?: string
  onClose: () => void
  onDone: () => void
}) {
  const { schedule } = props
  const [id, setId] = useState(schedule?.schedule ?? "")
  const [kind, setKind] = useState(schedule?.every_ms === undefined ? "cron" : "every")
  const [cron, setCron] = useState(schedule?.cron ?? "0 7 * * mon-fri")
  const [zone, setZone] = useState(
    schedule === undefined ? Intl.DateTimeFormat().resolvedOptions().timeZone : (schedule.time_zone ?? "UTC"),
  )
  const [seconds, setSeconds] = useState(String((schedule?.every_ms ?? 60_000) / 1_000))
  const [missed, setMissed] = useState<string>(schedule?.on_missed ?? "one")
  const [overlap, setOverlap] = useState<string>(schedule?.on_overlap ?? "allow")
  const [task, setTask] = useState(() => escapeInvisibleJson(indentJson(props.taskText ?? NEW_TASK)))
  const { starts_at, ends_at, jitter_ms } = schedule ?? {}
  const times =
    kind === "cron" ? { cron: cron.trim(), time_zone: zone.trim() } : { every_ms: Number(seconds) * 1_000 }

  const save = async () => {
    requireJson(task, "The task")
    const rest = { ...times, starts_at, ends_at, jitter_ms, on_missed: missed, on_overlap: overlap }
    // The task is sent as typed: JSON.parse would change long numbers.
    const body = `${JSON.stringify(rest).slice(0, -1)},"task":${task}}`
    if (schedule === undefined) await requireUnused(id.trim())
    await requestText("PUT", schedulePath(id.trim()), { body })
    notify(`${id.trim()} is saved`)
    props.onDone()
  }
  const input = (label: string, value: string, set: (text: string) => void, hint?: string) => (
    <Field label={label} {...(hint === undefined ? {} : { hint })}>
      {(field, described) => (
        <input
          id={field}
          aria-describedby={described}
          required
          autocomplete="off"
          spellcheck={false}
          value={value}
          onInput={event => set(event.currentTarget.value)}
        />
      )}
    </Field>
  )
  return (
    <ActionDialog
      title={schedule === undefined ? "New schedule" : `Edit ${schedule.schedule}`}
      button="Save"
      run={save}
      onClose={props.onClose}
    >
      {schedule === undefined &&
        input("Id", id, setId, "queue:name, or only the name for the queue default.")}
      <Select
        label="Times"
        value={kind}
        options={[
          ["cron", "a cron expression"],
          ["every", "an interval"],
        ]}
        onChange={setKind}
      />
      {kind === "cron" ? (
        <div class="row">
          {input("Expression", cron, setCron, "minute hour day month weekday")}
          {input("Time zone", zone, setZone)}
        </div>
      ) : (
        input("Seconds", seconds, setSeconds, "Multiples of the interval since 1970.")
      )}
      <Preview times={{ ...times, starts_at, ends_at }} zone={kind === "cron" ? zone.trim() : "UTC"} />
      <div class="row">
        <Select label="Missed times" value={missed} options={MISSED} onChange={setMissed} />
        <Select
          label="If the previous task has not ended"
          value={overlap}
          options={OVERLAP}
          onChange={setOverlap}
        />
      </div>
      <TextArea
        label="Task"
        hint="What /submit takes, except queue, task_id, delay_ms and run_at."
        rows={7}
        value={task}
        onInput={setTask}
      />
    </ActionDialog>
  )
}

/** A new schedule must not replace another one without a word. */
async function requireUnused(id: string): Promise<void> {
  try {
    await requestText("GET", schedulePath(id))
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return
    throw error
  }
  throw new Problem(409, `There is already a schedule ${id}`, "Edit that one, or choose another id.")
}

/** The next times of what is typed, or why it is refused. */
function Preview({ times, zone }: { times: object; zone: string }) {
  const [shown, setShown] = useState<{ next?: number[]; problem?: Problem }>({})
  const body = JSON.stringify(times)
  useEffect(() => {
    const abort = new AbortController()
    const timer = setTimeout(async () => {
      try {
        const { next } = await requestJson<Previewed>("POST", "/schedules/preview", times, abort.signal)
        setShown({ next })
      } catch (problem) {
        if (!abort.signal.aborted) setShown({ problem: problem as Problem })
      }
    }, PREVIEW_AFTER_MS)
    return () => {
      clearTimeout(timer)
      abort.abort()
    }
  }, [body])
  return (
    <section aria-label="Next times" role="status">
      {shown.problem ? (
        <ProblemNote problem={shown.problem} />
      ) : (
        <ol class="times">
          {(shown.next ?? []).slice(0, SHOWN).map(at => (
            <li key={at} class="mono">
              {formatInZone(at, zone)}
            </li>
          ))}
        </ol>
      )}
    </section>
  )
}
