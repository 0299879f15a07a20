/** What the buttons of a schedule do: run now, pause, resume, delete. */
import type { ScheduleRun } from "../wire/scheduling.ts"
import { requestJson } from "./api.ts"
import { ActionDialog } from "./dialog.tsx"
import { PauseForm } from "./pause-dialog.tsx"
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

export const PauseScheduleDialog = ({ id, onClose, onDone }: ScheduleDialogProps) => (
  <PauseForm
    title={`Pause ${id}?`}
    path={schedulePath(id, "/pause")}
    hint="Shown here."
    done={`${id} is paused`}
    onClose={onClose}
    onDone={onDone}
  >
    The schedule creates no tasks until it is resumed. Planned times that pass meanwhile get no task.
  </PauseForm>
)

export function DeleteScheduleDialog({ id, onClose, onDone }: ScheduleDialogProps) {
  const remove = async () => {
    await requestJson("DELETE", schedulePath(id))
    notify(`${id} is deleted`)
    onDone()
  }
  return (
    <ActionDialog title={`Delete ${id}?`} button="Delete" danger run={remove} onClose={onClose}>
      <p>The schedule and its counts are deleted. The tasks that it created remain.</p>
    </ActionDialog>
  )
}
