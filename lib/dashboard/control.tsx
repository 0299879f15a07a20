/** The dialogs that control a queue: pause, limits and purge. */
import { useEffect, useState } from "preact/hooks"
import type { QueueView } from "../wire/managing.ts"
import type { QueueSettings } from "../wire/queue-settings.ts"
import { PURGEABLE, type Purgeable } from "../wire/states.ts"
import { requestJson } from "./api.ts"
import { Confirm, Dialog } from "./dialog.tsx"
import { Field, Select } from "./fields.tsx"
import { formatCount, plural, SafeText } from "./text.tsx"
import { attempt, notify } from "./toasts.tsx"

const queuePath = (queue: string, what: string) => `/queues/${encodeURIComponent(queue)}/${what}`

interface QueueDialogProps {
  view: QueueView
  onClose: () => void
  onDone: () => void
}

export function PauseDialog({ view, onClose, onDone }: QueueDialogProps) {
  const [reason, setReason] = useState("")
  const pause = async () => {
    await requestJson("POST", queuePath(view.queue, "pause"), reason.trim() ? { reason: reason.trim() } : {})
    notify(`${view.queue} is paused`)
    onDone()
  }
  return (
    <Confirm title={`Pause ${view.queue}?`} button="Pause" run={pause} onClose={onClose}>
      <p>The queue accepts tasks but leases none until it is resumed. Running tasks are not affected.</p>
      <Field label="Reason" hint="Shown here and by /why.">
        {(id, hint) => (
          <input
            id={id}
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
          placeholder="no limit"
          value={props.value}
          onInput={event => props.onInput(event.currentTarget.value)}
        />
      )}
    </Field>
  )
}

export function SettingsDialog({ view, onClose, onDone }: QueueDialogProps) {
  const { concurrency, rate, ...others } = view.settings
  const short = rate !== undefined && "per_second" in rate ? rate : undefined
  const [most, setMost] = useState(String(concurrency ?? ""))
  const [perSecond, setPerSecond] = useState(String(short?.per_second ?? ""))
  const [burst, setBurst] = useState(String(short?.burst ?? ""))
  const save = async () => {
    const settings: QueueSettings = others
    if (most) settings.concurrency = Number(most)
    if (perSecond)
      settings.rate = { per_second: Number(perSecond), ...(burst ? { burst: Number(burst) } : {}) }
    else if (rate && !short) settings.rate = rate
    await requestJson("PUT", queuePath(view.queue, "settings"), settings)
    notify(`The limits of ${view.queue} are saved`)
    onDone()
  }
  return (
    <Confirm title={`Limits of ${view.queue}`} button="Save" run={save} onClose={onClose}>
      <p>The limits apply to all workers together, from the next lease.</p>
      <LimitField
        label="Max running"
        hint="Maximum number of running tasks."
        value={most}
        most={1_000_000}
        onInput={setMost}
      />
      <LimitField
        label="Max starts per second"
        hint="Maximum number of leases per second."
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
    </Confirm>
  )
}

const MAX_TASKS_PER_CALL = 2_000

export function PurgeDialog({ view, onClose, onDone }: QueueDialogProps) {
  const [state, setState] = useState<Purgeable>(PURGEABLE.find(of => view.depth[of] > 0) ?? "queued")
  const [found, setFound] = useState<number>()
  const [gone, setGone] = useState<number>()
  const [busy, setBusy] = useState(false)
  const path = queuePath(view.queue, "purge")
  useEffect(() => {
    let over = false
    setFound(undefined)
    void attempt(async () => {
      const { purged, remaining } = await requestJson<{ purged: number; remaining: number }>("POST", path, {
        state,
        limit: 1,
        dry_run: true,
      })
      if (!over) setFound(purged + remaining)
    })
    return () => {
      over = true
    }
  }, [state])
  const purge = async () => {
    setBusy(true)
    let total = 0
    await attempt(async () => {
      while (total < found!) {
        const { purged, remaining } = await requestJson<{ purged: number; remaining: number }>("POST", path, {
          state,
          limit: Math.min(MAX_TASKS_PER_CALL, found! - total),
        })
        total += purged
        setGone(total)
        if (purged === 0 || remaining === 0) break
      }
      notify(`${plural(total, "task")} purged from ${view.queue}`)
      onDone()
      onClose()
    })
    setBusy(false)
  }
  return (
    <Dialog
      title={`Purge tasks of ${view.queue}`}
      onClose={onClose}
      onSubmit={purge}
      actions={
        <>
          <button type="button" onClick={onClose}>
            Back
          </button>
          <button type="submit" class="danger" disabled={busy || !found}>
            {found ? `Purge ${formatCount(found)}` : "Purge"}
          </button>
        </>
      }
    >
      <p>Purged tasks cannot be restored. Running tasks are never purged.</p>
      <Select
        label="State"
        value={state}
        options={PURGEABLE.map(of => [of, `${of} (${formatCount(view.depth[of])})`] as const)}
        onChange={value => setState(value as Purgeable)}
      />
      <p role="status" class="line">
        {gone !== undefined
          ? `${formatCount(gone)} of ${formatCount(found ?? gone)} purged`
          : found === undefined
            ? "Counting…"
            : `This matches ${plural(found, "task")}.`}
      </p>
      {gone !== undefined && found ? <progress aria-label="Purged" max={found} value={gone} /> : null}
    </Dialog>
  )
}

export const PauseNote = ({ view }: { view: QueueView }) =>
  view.pause_reason ? (
    <span class="reason">
      <SafeText text={view.pause_reason} most={200} />
    </span>
  ) : null
