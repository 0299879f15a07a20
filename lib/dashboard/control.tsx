/** The dialogs that control a queue: pause, limits and purge. */
import { useState } from "preact/hooks"
import type { QueueView } from "../wire/managing.ts"
import type { QueueSettings } from "../wire/queue-settings.ts"
import { PURGEABLE, type Purgeable } from "../wire/states.ts"
import { requestJson } from "./api.ts"
import { ThresholdFields, textsOf, thresholdsOf } from "./attention.tsx"
import { BulkDialog } from "./bulk-dialog.tsx"
import { ActionDialog } from "./dialog.tsx"
import { Field, Select } from "./fields.tsx"
import { PauseForm } from "./pause-dialog.tsx"
import { formatCount, rateText, SafeText } from "./text.tsx"
import { attempt, notify } from "./toasts.tsx"

const queuePath = (queue: string, what: string) => `/queues/${encodeURIComponent(queue)}/${what}`

interface QueueDialogProps {
  view: QueueView
  onClose: () => void
  onDone: () => void
}

export const PauseDialog = ({ view, onClose, onDone }: QueueDialogProps) => (
  <PauseForm
    title={`Pause ${view.queue}?`}
    path={queuePath(view.queue, "pause")}
    hint="Shown here and by /why."
    done={`${view.queue} is paused`}
    onClose={onClose}
    onDone={onDone}
  >
    The queue accepts tasks but leases none until it is resumed. Running tasks are not affected.
  </PauseForm>
)

export async function resume(queue: string, onDone: () => void): Promise<void> {
  await attempt(async () => {
    await requestJson("POST", queuePath(queue, "resume"))
    notify(`${queue} is resumed`)
    onDone()
  })
}

export function LimitField(props: {
  label: string
  hint: string
  value: string
  most: number
  placeholder?: string
  onInput: (text: string) => void
}) {
  return (
    <Field label={props.label} hint={props.hint}>
      {(id, hint) => (
        <input
          id={id}
          aria-describedby={hint}
          type="number"
          min={1}
          max={props.most}
          step={1}
          placeholder={props.placeholder ?? "no limit"}
          value={props.value}
          onInput={event => props.onInput(event.currentTarget.value)}
        />
      )}
    </Field>
  )
}

/** What the fields of the dialog show. A rate in another form than per second is shown as text, and kept. */
function fieldsOf({ concurrency, rate, attention }: QueueSettings) {
  const short = rate !== undefined && "per_second" in rate ? rate : undefined
  return {
    otherRate: short === undefined ? rate : undefined,
    most: String(concurrency ?? ""),
    perSecond: String(short?.per_second ?? ""),
    burst: String(short?.burst ?? ""),
    thresholds: textsOf(attention),
  }
}

export function SettingsDialog({ view, onClose, onDone }: QueueDialogProps) {
  const [before] = useState(() => fieldsOf(view.settings))
  const [most, setMost] = useState(before.most)
  const [perSecond, setPerSecond] = useState(before.perSecond)
  const [burst, setBurst] = useState(before.burst)
  const [thresholds, setThresholds] = useState(before.thresholds)
  const { otherRate } = before
  const save = async () => {
    if (burst && !perSecond)
      throw new Error("A burst needs a number of starts per second: enter one, or clear the burst")
    // The request replaces all settings, and this view may be out of date: change only what was edited.
    const path = `/queues/${encodeURIComponent(view.queue)}`
    const { settings } = await requestJson<QueueView>("GET", path)
    const wanted: QueueSettings = { ...settings }
    const change = <Name extends keyof QueueSettings>(name: Name, value: QueueSettings[Name]) => {
      if (value === undefined) delete wanted[name]
      else wanted[name] = value
    }
    if (most !== before.most) change("concurrency", most ? Number(most) : undefined)
    if (perSecond !== before.perSecond || burst !== before.burst)
      change(
        "rate",
        perSecond ? { per_second: Number(perSecond), ...(burst ? { burst: Number(burst) } : {}) } : undefined,
      )
    if (thresholds !== before.thresholds) change("attention", thresholdsOf(thresholds))
    await requestJson("PUT", queuePath(view.queue, "settings"), wanted)
    notify(`The limits of ${view.queue} are saved`)
    onDone()
  }
  return (
    <ActionDialog title={`Limits of ${view.queue}`} button="Save" run={save} onClose={onClose}>
      <p>The limits apply to all workers together, from the next lease.</p>
      <LimitField
        label="Max running"
        hint="Maximum number of running tasks."
        value={most}
        most={1_000_000}
        onInput={setMost}
      />
      {otherRate && (
        <p class="note">
          Starts are limited to {rateText(otherRate)}. This is kept unless you enter another limit.
        </p>
      )}
      <LimitField
        label="Max starts per second"
        hint="Maximum number of leases per second."
        {...(otherRate && { placeholder: "as above" })}
        value={perSecond}
        most={100_000}
        onInput={setPerSecond}
      />
      <LimitField
        label="Burst"
        hint="Maximum number of leases at once. Default: the limit per second."
        value={burst}
        most={100_000}
        onInput={setBurst}
      />
      <ThresholdFields texts={thresholds} onInput={setThresholds} />
    </ActionDialog>
  )
}

export function PurgeDialog({ view, onClose, onDone }: QueueDialogProps) {
  const [state, setState] = useState<Purgeable>(PURGEABLE.find(of => view.depth[of] > 0) ?? "queued")
  return (
    <BulkDialog
      title={`Purge tasks of ${view.queue}`}
      order={{ action: "purge", filter: { queue: view.queue, state } }}
      onClose={onClose}
      onDone={onDone}
    >
      <Select
        label="State"
        value={state}
        options={PURGEABLE.map(of => [of, `${of} (${formatCount(view.depth[of])})`] as const)}
        onChange={value => setState(value as Purgeable)}
      />
      <p>Running tasks are never purged.</p>
    </BulkDialog>
  )
}

export const PauseNote = ({ view }: { view: QueueView }) =>
  view.pause_reason ? (
    <span class="reason">
      <SafeText text={view.pause_reason} most={200} />
    </span>
  ) : null
