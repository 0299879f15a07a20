/** The buttons and dialogs of one task: cancel, retry, edit and retry, delete. */
import { useState } from "preact/hooks"
import { ENDED_STATES } from "../wire/states.ts"
import { can, type Problem, requestJson, requestText } from "./api.ts"
import { Confirm, Dialog } from "./dialog.tsx"
import { Field } from "./fields.tsx"
import { Icon } from "./icon.tsx"
import { escapeInvisibleJson, indentJson } from "./json.ts"
import type { LoadedTask } from "./loaded-task.ts"
import { ProblemNote } from "./parts.tsx"
import { attempt, notify } from "./toasts.tsx"

/** Longer payloads are not loaded into the text field. */
const MAX_EDITABLE_CHARS = 300_000

export function TaskButtons({ task, texts, refresh }: LoadedTask & { refresh: () => void }) {
  const [dialog, setDialog] = useState<"cancel" | "edit" | "delete">()
  const close = () => setDialog(undefined)
  const name = encodeURIComponent(task.id)
  const ended = ENDED_STATES.includes(task.status)
  const mayCancel = !ended && (can("operate") || can("submit"))
  const mayOperate = task.status === "dead" && can("operate")
  const [busy, setBusy] = useState(false)
  const retry = async () => {
    setBusy(true)
    await retryTask(name, refresh)
    setBusy(false)
  }
  return (
    <div class="buttons">
      {mayCancel && (
        <button
          type="button"
          disabled={task.cancel_requested_at !== undefined}
          onClick={() => setDialog("cancel")}
        >
          Cancel
        </button>
      )}
      {mayOperate && (
        <>
          <button type="button" class="primary" disabled={busy} onClick={retry}>
            <Icon name="retry" /> Retry
          </button>
          <button type="button" onClick={() => setDialog("edit")}>
            Edit and retry
          </button>
          <button type="button" onClick={() => setDialog("delete")}>
            <Icon name="trash" /> Delete
          </button>
        </>
      )}
      {dialog === "cancel" && (
        <Confirm
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
        </Confirm>
      )}
      {dialog === "delete" && (
        <Confirm
          title="Delete this dead task?"
          button="Delete task"
          danger
          onClose={close}
          run={async () => {
            await requestJson("DELETE", `/dlq/${name}`)
            notify("The task is deleted")
            refresh()
          }}
        >
          <p>A deleted task cannot be restored.</p>
        </Confirm>
      )}
      {dialog === "edit" && (
        <EditAndRetryDialog
          name={name}
          payload={texts.get("payload") ?? "{}"}
          onClose={close}
          onDone={refresh}
        />
      )}
    </div>
  )
}

async function retryTask(name: string, refresh: () => void): Promise<void> {
  await attempt(async () => {
    await requestJson("POST", `/dlq/retry/${name}`)
    notify("The task is queued again")
    refresh()
  })
}

function EditAndRetryDialog(props: {
  name: string
  payload: string
  onClose: () => void
  onDone: () => void
}) {
  const tooLong = props.payload.length > MAX_EDITABLE_CHARS
  const [text, setText] = useState(() => (tooLong ? "" : escapeInvisibleJson(indentJson(props.payload))))
  const [invalid, setInvalid] = useState<{ message: string; detail?: string | undefined }>()
  const [busy, setBusy] = useState(false)
  const retry = async () => {
    setInvalid(undefined)
    try {
      JSON.parse(text)
    } catch (error) {
      return setInvalid({ message: "The payload is not valid JSON", detail: (error as Error).message })
    }
    setBusy(true)
    try {
      // Send the payload as typed: JSON.parse would change long numbers.
      await requestText("POST", `/dlq/retry/${props.name}`, { body: `{"payload":${text}}` })
      notify("The task is queued again with the new payload")
      props.onDone()
      props.onClose()
    } catch (error) {
      const { message, detail } = error as Problem
      setInvalid({ message, detail })
    }
    setBusy(false)
  }
  return (
    <Dialog
      title="Edit and retry"
      onClose={props.onClose}
      onSubmit={retry}
      actions={
        <>
          <button type="button" onClick={props.onClose}>
            Back
          </button>
          <button type="submit" class="primary" disabled={busy || text.trim() === ""}>
            Retry
          </button>
        </>
      }
    >
      <Field
        label="Payload"
        hint={
          tooLong
            ? "The payload is too long to edit here. Enter a new payload, or use Retry to keep it."
            : "Replaces the current payload. All counters start at 0 again."
        }
      >
        {(id, hint) => (
          <textarea
            id={id}
            aria-describedby={hint}
            rows={14}
            spellcheck={false}
            value={text}
            onInput={event => setText(event.currentTarget.value)}
          />
        )}
      </Field>
      {invalid && (
        <ProblemNote problem={Object.assign(new Error(invalid.message), { detail: invalid.detail })} />
      )}
    </Dialog>
  )
}
