import { useState } from "preact/hooks"
import { can, type Problem, requestJson, requestText } from "./api.ts"
import { Confirm, Dialog } from "./dialog.tsx"
import { Field } from "./fields.tsx"
import { Icon } from "./icon.tsx"
import { indented, visibleJson } from "./json.ts"
import type { LoadedTask } from "./loaded-task.ts"
import { ProblemNote } from "./parts.tsx"
import { attempt, notify } from "./toasts.tsx"

/** More than this is not put into a text field. */
export const MAX_EDITABLE_CHARS = 300_000

export function TaskButtons({ task, texts, refresh }: LoadedTask & { refresh: () => void }) {
  const [dialog, setDialog] = useState<"cancel" | "edit" | "delete">()
  const close = () => setDialog(undefined)
  const name = encodeURIComponent(task.id)
  const ended = ["done", "dead", "cancelled"].includes(task.status)
  const mayCancel = !ended && (can("operate") || can("submit"))
  const maySteer = task.status === "dead" && can("operate")
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
      {maySteer && (
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
          button="Cancel the task"
          danger
          onClose={close}
          run={async () => {
            const { status } = await requestJson<{ status: string }>("POST", `/cancel/${name}`)
            notify(status === "cancelled" ? "It is cancelled" : "Its worker will hear of it")
            refresh()
          }}
        >
          <p>
            {task.status === "processing"
              ? "It runs: its worker hears of it when it extends its lease, and the attempt ends as it ends."
              : "It will never be handed out."}
          </p>
        </Confirm>
      )}
      {dialog === "delete" && (
        <Confirm
          title="Delete this dead task?"
          button="Delete the task"
          danger
          onClose={close}
          run={async () => {
            await requestJson("DELETE", `/dlq/${name}`)
            notify("It is deleted")
            refresh()
          }}
        >
          <p>There is no way back.</p>
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

export async function retryTask(name: string, refresh: () => void): Promise<void> {
  await attempt(async () => {
    await requestJson("POST", `/dlq/retry/${name}`)
    notify("It waits for a worker again")
    refresh()
  })
}

export function EditAndRetryDialog(props: {
  name: string
  payload: string
  onClose: () => void
  onDone: () => void
}) {
  const tooLong = props.payload.length > MAX_EDITABLE_CHARS
  const [text, setText] = useState(() => (tooLong ? "" : visibleJson(indented(props.payload))))
  const [wrong, setWrong] = useState<{ message: string; detail?: string | undefined }>()
  const [busy, setBusy] = useState(false)
  const retry = async () => {
    setWrong(undefined)
    try {
      JSON.parse(text)
    } catch (error) {
      return setWrong({ message: "This is not JSON", detail: (error as Error).message })
    }
    setBusy(true)
    try {
      // As it was typed, so that each digit stays.
      await requestText("POST", `/dlq/retry/${props.name}`, { body: `{"payload":${text}}` })
      notify("It waits for a worker again, with the new payload")
      props.onDone()
      props.onClose()
    } catch (error) {
      const { message, detail } = error as Problem
      setWrong({ message, detail })
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
            ? "Its payload is too long to be edited here: write another, or retry it as it is."
            : "It takes the place of the payload that it had. All counters begin at 0 again."
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
      {wrong && <ProblemNote problem={Object.assign(new Error(wrong.message), { detail: wrong.detail })} />}
    </Dialog>
  )
}
