/** What the buttons of a schedule do: run now, pause, resume, delete. */
import { useState } from "preact/hooks"
import type { ScheduleRun } from "../wire/scheduling.ts"
import { requestJson } from "./api.ts"
import { Confirm } from "./dialog.tsx"
import { Field } from "./fields.tsx"
import { attempt, notify } from "./toasts.tsx"

export const schedulePath = (id: string, what = "") => `/schedules/${encodeURIComponent(id)}${what}`

const RUN_RESULTS: Record<ScheduleRun["status"], string> = {
  queued: "The task is queued",
  skipped: "No task was created: the previous one has not ended",
  duplicate: "No task was created: another one holds the unique key",
}

export const runSchedule = (id: string, onDone: () => void): Promise<boolean> =>
  attempt(async () => {
    const { status, task_id } = await requestJson<ScheduleRun>("POST", schedulePath(id, "/run"))
    notify(RUN_RESULTS[status], task_id)
    onDone()
  })

export const resumeSchedule = (id: string, onDone: () => void): Promise<boolean> =>
  attempt(async () => {
    await requestJson("POST", schedulePath(id, "/resume"))
    notify(`${id} is resumed`)
    onDone()
  })

interface ScheduleDialogProps {
  id: string
  onClose: () => void
  onDone: () => void
}

export function PauseScheduleDialog({ id, onClose, onDone }: ScheduleDialogProps) {
  const [reason, setReason] = useState("")
  const pause = async () => {
    await requestJson("POST", schedulePath(id, "/pause"), reason.trim() ? { reason: reason.trim() } : {})
    notify(`${id} is paused`)
    onDone()
  }
  return (
    <Confirm title={`Pause ${id}?`} button="Pause" run={pause} onClose={onClose}>
      <p>The schedule creates no tasks until it is resumed. Times that pass are not made up for.</p>
      <Field label="Reason" hint="Shown here.">
        {(field, hint) => (
          <input
            id={field}
            aria-describedby={hint}
            maxLength={200}
            autocomplete="off"
            value={reason}
            onInput={event => setReason(event.currentTarget.value)}
          />
        )}
      </Field>
    </Confirm>
  )
}

export function DeleteScheduleDialog({ id, onClose, onDone }: ScheduleDialogProps) {
  const remove = async () => {
    await requestJson("DELETE", schedulePath(id))
    notify(`${id} is deleted`)
    onDone()
  }
  return (
    <Confirm title={`Delete ${id}?`} button="Delete" danger run={remove} onClose={onClose}>
      <p>The schedule and its counts are deleted. The tasks that it created remain.</p>
    </Confirm>
  )
}
