/** The button and the dialog that submit a task. Nothing that was typed is kept. */
import { useState } from "preact/hooks"
import { can, requestText } from "./api.ts"
import { ActionDialog } from "./dialog.tsx"
import { NumberField, TextArea, TextField } from "./fields.tsx"
import { go } from "./route.ts"
import { readLabels, submitText } from "./submit-text.ts"
import { LabelsField, PriorityField, requireJson } from "./task-fields.tsx"
import { notify } from "./toasts.tsx"

export function SubmitButton({ queue }: { queue?: string }) {
  const [open, setOpen] = useState(false)
  if (!can("submit")) return null
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        Submit task
      </button>
      {open && <SubmitDialog queue={queue} onClose={() => setOpen(false)} />}
    </>
  )
}

const DEFAULT_PRIORITY = "5"

function SubmitDialog(props: { queue: string | undefined; onClose: () => void }) {
  const [queue, setQueue] = useState(props.queue ?? "default")
  const [type, setType] = useState("")
  const [payload, setPayload] = useState("{}")
  const [priority, setPriority] = useState(DEFAULT_PRIORITY)
  const [delay, setDelay] = useState("")
  const [retries, setRetries] = useState("")
  const [group, setGroup] = useState("")
  const [labels, setLabels] = useState("")
  const [redact, setRedact] = useState(false)
  const send = async () => {
    requireJson(payload)
    const meta = readLabels(labels)
    const members = {
      type,
      queue,
      priority: priority === DEFAULT_PRIORITY ? undefined : Number(priority),
      delay_ms: delay === "" ? undefined : Math.round(Number(delay) * 1_000),
      max_retries: retries === "" ? undefined : Number(retries),
      group: group === "" ? undefined : group,
      meta: Object.keys(meta).length === 0 ? undefined : meta,
      redact: redact || undefined,
    }
    // The payload is sent as typed: JSON.parse would change long numbers.
    const { task_id } = JSON.parse(
      await requestText("POST", "/submit", { body: submitText(members, payload) }),
    ) as { task_id: string }
    notify("The task is submitted")
    go(`#/tasks/${encodeURIComponent(task_id)}`)
  }
  return (
    <ActionDialog
      title="Submit a task"
      button="Submit"
      disabled={type.trim() === ""}
      run={send}
      onClose={props.onClose}
    >
      <div class="row">
        <TextField label="Queue" value={queue} onInput={setQueue} />
        <TextField label="Type" value={type} onInput={setType} placeholder="the name of a handler" />
      </div>
      <TextArea label="Payload" hint="Any JSON." rows={6} value={payload} onInput={setPayload} />
      <div class="row">
        <PriorityField value={priority} onInput={setPriority} />
        <NumberField label="Delay in seconds" value={delay} onInput={setDelay} placeholder="none" />
        <NumberField label="Retries" value={retries} onInput={setRetries} placeholder="the default" />
        <TextField label="Group" value={group} onInput={setGroup} placeholder="none" />
      </div>
      <LabelsField value={labels} onInput={setLabels} />
      <label class="check">
        <input type="checkbox" checked={redact} onChange={event => setRedact(event.currentTarget.checked)} />
        <span>Hide payload, result and errors from everyone but workers and operators</span>
      </label>
    </ActionDialog>
  )
}
