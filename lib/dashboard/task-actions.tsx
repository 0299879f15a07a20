/** The buttons and dialogs of one task: run now, edit, cancel, retry, edit and retry, delete, run again, copy. */
import { useState } from "preact/hooks"
import { ENDED_STATES } from "../wire/states.ts"
import { can, requestJson } from "./api.ts"
import { BROKER_URL } from "./base.ts"
import { ActionDialog } from "./dialog.tsx"
import { EditAndRetryDialog, EditDialog } from "./edit-task.tsx"
import { Icon } from "./icon.tsx"
import type { LoadedTask } from "./loaded-task.ts"
import { go } from "./route.ts"
import { curlOf } from "./submit-text.ts"
import { CopyButton } from "./text-block.tsx"
import { attempt, notify } from "./toasts.tsx"

export function TaskButtons({ task, texts, refresh }: LoadedTask & { refresh: () => void }) {
  const [dialog, setDialog] = useState<"cancel" | "edit" | "edit and retry" | "delete">()
  const close = () => setDialog(undefined)
  const name = encodeURIComponent(task.id)
  const ended = ENDED_STATES.includes(task.status)
  const mayChange = can("operate") || can("submit")
  const isWaiting = !ended && task.status !== "processing"
  const mayOperate = can("operate")
  const [busy, setBusy] = useState(false)
  const act = async (run: () => Promise<unknown>) => {
    setBusy(true)
    await attempt(run)
    setBusy(false)
  }
  const retry = () =>
    act(async () => {
      await requestJson("POST", `/dlq/retry/${name}`)
      notify("The task is queued again")
      refresh()
    })
  const runNow = () =>
    act(async () => {
      await requestJson("PATCH", `/tasks/${name}`, { delay_ms: 0 })
      notify("The task is ready to run")
      refresh()
    })
  const runAgain = () =>
    act(async () => {
      const { task_id } = await requestJson<{ task_id: string }>("POST", `/tasks/${name}/again`)
      notify("A task like this one is submitted")
      go(`#/tasks/${encodeURIComponent(task_id)}`)
    })
  const curl = task.hidden ? undefined : curlOf(task, texts.get("payload") ?? "{}", BROKER_URL)
  return (
    <div class="buttons">
      <CopyButton text={task.id}>Copy id</CopyButton>
      {curl !== undefined && <CopyButton text={curl}>Copy as curl</CopyButton>}
      {isWaiting && mayChange && (
        <>
          {task.due_at !== undefined && (
            <button type="button" disabled={busy} onClick={runNow}>
              <Icon name="play" /> Run now
            </button>
          )}
          <button type="button" onClick={() => setDialog("edit")}>
            Edit
          </button>
        </>
      )}
      {!ended && mayChange && (
        <button
          type="button"
          disabled={task.cancel_requested_at !== undefined}
          onClick={() => setDialog("cancel")}
        >
          Cancel
        </button>
      )}
      {task.status === "dead" && mayOperate && (
        <>
          <button type="button" class="primary" disabled={busy} onClick={retry}>
            <Icon name="retry" /> Retry
          </button>
          <button type="button" onClick={() => setDialog("edit and retry")}>
            Edit and retry
          </button>
        </>
      )}
      {ended && mayChange && (
        <button type="button" disabled={busy} onClick={runAgain}>
          Run again
        </button>
      )}
      {ended && mayOperate && (
        <button type="button" onClick={() => setDialog("delete")}>
          <Icon name="trash" /> Delete
        </button>
      )}
      {dialog === "cancel" && (
        <ActionDialog
          title="Cancel this task?"
          button="Cancel task"
          danger
          onClose={close}
          run={async () => {
            const { status } = await requestJson<{ status: string }>("POST", `/cancel/${name}`)
            notify(status === "cancelled" ? "The task is cancelled" : "The task is being cancelled")
            refresh()
          }}
        >
          <p>
            {task.status === "processing"
              ? "The task is running. Its worker learns of the cancellation when it next extends the lease."
              : "The task will not run."}
          </p>
        </ActionDialog>
      )}
      {dialog === "delete" && (
        <ActionDialog
          title="Delete this task?"
          button="Delete task"
          danger
          onClose={close}
          run={async () => {
            await requestJson("DELETE", `/tasks/${name}`)
            notify("The task is deleted")
            refresh()
          }}
        >
          <p>A deleted task, with its payload, result and history, cannot be restored.</p>
        </ActionDialog>
      )}
      {dialog === "edit" && (
        <EditDialog task={task} payload={texts.get("payload") ?? "{}"} onClose={close} onDone={refresh} />
      )}
      {dialog === "edit and retry" && (
        <EditAndRetryDialog
          task={task}
          payload={texts.get("payload") ?? "{}"}
          onClose={close}
          onDone={refresh}
        />
      )}
    </div>
  )
}
