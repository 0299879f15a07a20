/** What an operator does with a queue. */
import { useEffect, useState } from "preact/hooks"
import type { Purgeable, QueueSettings, QueueView } from "../wire/managing.ts"
import { ask } from "./api.ts"
import { Confirm, Dialog } from "./dialog.tsx"
import { Field, Select } from "./fields.tsx"
import { count, plural, Shown } from "./text.tsx"
import { attempt, tell } from "./toasts.tsx"

const at = (queue: string, what: string) => `/queues/${encodeURIComponent(queue)}/${what}`

interface Props {
  view: QueueView
  onClose: () => void
  onDone: () => void
}

export function PauseDialog({ view, onClose, onDone }: Props) {
  const [reason, setReason] = useState("")
  const pause = async () => {
    await ask("POST", at(view.queue, "pause"), reason.trim() ? { reason: reason.trim() } : {})
    tell(`${view.queue} is paused`)
    onDone()
  }
  return (
    <Confirm title={`Pause ${view.queue}?`} button="Pause" run={pause} onClose={onClose}>
      <p>It takes submits and hands out nothing, until it is resumed. What runs, runs on.</p>
      <Field label="Reason" hint="For others who look: /why repeats it.">
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
    await ask("POST", at(queue, "resume"))
    tell(`${queue} is resumed`)
    onDone()
  })
}

function Amount(props: {
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

export function SettingsDialog({ view, onClose, onDone }: Props) {
  const { concurrency, rate } = view.settings
  const [most, setMost] = useState(String(concurrency ?? ""))
  const [perSecond, setPerSecond] = useState(String(rate?.per_second ?? ""))
  const [burst, setBurst] = useState(String(rate?.burst ?? ""))
  const save = async () => {
    const settings: QueueSettings = {
      ...(most ? { concurrency: Number(most) } : {}),
      ...(perSecond
        ? { rate: { per_second: Number(perSecond), ...(burst ? { burst: Number(burst) } : {}) } }
        : {}),
    }
    await ask("PUT", at(view.queue, "settings"), settings)
    tell(`The limits of ${view.queue} are set`)
    onDone()
  }
  return (
    <Confirm title={`Limits of ${view.queue}`} button="Save" run={save} onClose={onClose}>
      <p>They hold from the next lease on, for all workers together.</p>
      <Amount
        label="At a time"
        hint="How many tasks may run."
        value={most}
        most={1_000_000}
        onInput={setMost}
      />
      <Amount
        label="A second"
        hint="How many tasks are handed out."
        value={perSecond}
        most={100_000}
        onInput={setPerSecond}
      />
      <Amount
        label="At once after a rest"
        hint="By default as many as a second."
        value={burst}
        most={100_000}
        onInput={setBurst}
      />
    </Confirm>
  )
}

const PURGEABLE: readonly Purgeable[] = ["queued", "delayed", "done", "dead", "cancelled"]
const A_CALL = 2_000

export function PurgeDialog({ view, onClose, onDone }: Props) {
  const [state, setState] = useState<Purgeable>(PURGEABLE.find(of => view.depth[of] > 0) ?? "queued")
  const [found, setFound] = useState<number>()
  const [gone, setGone] = useState<number>()
  const [busy, setBusy] = useState(false)
  const path = at(view.queue, "purge")
  useEffect(() => {
    let over = false
    setFound(undefined)
    void attempt(async () => {
      const { purged, remaining } = await ask<{ purged: number; remaining: number }>("POST", path, {
        ...{ state, limit: 1, dry_run: true },
      })
      if (!over) setFound(Math.max(purged, remaining))
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
        const { purged, remaining } = await ask<{ purged: number; remaining: number }>("POST", path, {
          ...{ state, limit: Math.min(A_CALL, found! - total) },
        })
        total += purged
        setGone(total)
        if (purged === 0 || remaining === 0) break
      }
      tell(`${plural(total, "task")} deleted from ${view.queue}`)
      onDone()
      onClose()
    })
    setBusy(false)
  }
  return (
    <Dialog
      title={`Delete tasks of ${view.queue}`}
      onClose={onClose}
      onSubmit={purge}
      actions={
        <>
          <button type="button" onClick={onClose}>
            Back
          </button>
          <button type="submit" class="danger" disabled={busy || !found}>
            {found ? `Delete ${count(found)}` : "Delete"}
          </button>
        </>
      }
    >
      <p>There is no way back. What runs is never deleted.</p>
      <Select
        label="Which"
        value={state}
        options={PURGEABLE.map(of => [of, `${of} (${count(view.depth[of])})`] as const)}
        onChange={value => setState(value as Purgeable)}
      />
      <p role="status" class="line">
        {gone !== undefined
          ? `${count(gone)} of ${count(found ?? gone)} deleted`
          : found === undefined
            ? "Counting…"
            : `A dry run found ${plural(found, "task")}.`}
      </p>
      {gone !== undefined && found ? <progress aria-label="Deleted" max={found} value={gone} /> : null}
    </Dialog>
  )
}

export const PauseNote = ({ view }: { view: QueueView }) =>
  view.pause_reason ? (
    <span class="reason">
      <Shown text={view.pause_reason} most={200} />
    </span>
  ) : null
