/** The dialogs that change a waiting task, and a dead one before it is retried. */
import { useState } from "preact/hooks"
import type { TaskView } from "../wire/inspecting.ts"
import { requestText } from "./api.ts"
import { ActionDialog } from "./dialog.tsx"
import { Field, TextArea } from "./fields.tsx"
import { readLabels, submitText, writeLabels } from "./submit-text.ts"
import { editableText, isEditable, LabelsField, PriorityField, requireJson } from "./task-fields.tsx"
import { notify } from "./toasts.tsx"

interface EditProps {
  task: TaskView
  /** JSON text. */
  payload: string
  onClose: () => void
  onDone: () => void
}

const TOO_LONG =
  "The payload is too long to edit here. Enter a new payload, or leave the field empty to keep it."

/** Sends only what was changed here: others may change the task while the dialog is open. */
export function EditDialog({ task, payload, onClose, onDone }: EditProps) {
  const [before] = useState(() => ({
    text: editableText(payload),
    labels: writeLabels(task.meta),
    priority: String(task.priority),
  }))
  const [text, setText] = useState(before.text)
  const [labels, setLabels] = useState(before.labels)
  const [priority, setPriority] = useState(before.priority)
  const [start, setStart] = useState("")
  const send = async () => {
    const isNew = text !== before.text && text.trim() !== ""
    if (isNew) requireJson(text)
    const members = {
      priority: priority === before.priority ? undefined : Number(priority),
      run_at: start === "" ? undefined : new Date(start).getTime(),
      meta: labels === before.labels ? undefined : readLabels(labels),
    }
    // The payload is sent as typed: JSON.parse would change long numbers.
    const body = submitText(members, isNew ? text : undefined)
    if (body === "{}") throw new Error("Nothing has been changed")
    await requestText("PATCH", `/tasks/${encodeURIComponent(task.id)}`, { body })
    notify("The task is changed")
    onDone()
  }
  const hint = isEditable(payload) ? "A new payload removes progress and checkpoint." : TOO_LONG
  return (
    <ActionDialog title="Edit the task" button="Save" run={send} onClose={onClose}>
      {!task.hidden && <TextArea label="Payload" hint={hint} rows={10} value={text} onInput={setText} />}
      <div class="row">
        <PriorityField value={priority} onInput={setPriority} />
        <Field label="Run at" hint="Local time. Leave empty to keep the current time.">
          {(id, of) => (
            <input
              id={id}
              aria-describedby={of}
              type="datetime-local"
              step={1}
              value={start}
              onInput={event => setStart(event.currentTarget.value)}
            />
          )}
        </Field>
      </div>
      <LabelsField value={labels} onInput={setLabels} />
    </ActionDialog>
  )
}

export function EditAndRetryDialog({ task, payload, onClose, onDone }: EditProps) {
  const [text, setText] = useState(() => editableText(payload))
  const send = async () => {
    requireJson(text)
    await requestText("POST", `/dlq/retry/${encodeURIComponent(task.id)}`, { body: submitText({}, text) })
    notify("The task is queued again with the new payload")
    onDone()
  }
  return (
    <ActionDialog
      title="Edit and retry"
      button="Retry"
      disabled={text.trim() === ""}
      run={send}
      onClose={onClose}
    >
      <TextArea
        label="Payload"
        hint={
          isEditable(payload)
            ? "Replaces the current payload. All counters start at 0 again."
            : "The payload is too long to edit here. Enter a new payload, or use Retry to keep it."
        }
        rows={14}
        value={text}
        onInput={setText}
      />
    </ActionDialog>
  )
}
