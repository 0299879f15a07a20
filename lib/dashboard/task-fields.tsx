/** Form fields of the members of a task, and the dialog that sends them. */
import type { ComponentChildren } from "preact"
import { useState } from "preact/hooks"
import type { Problem } from "./api.ts"
import { Dialog } from "./dialog.tsx"
import { Field, Select } from "./fields.tsx"
import { escapeInvisibleJson, indentJson } from "./json.ts"
import { ProblemNote } from "./parts.tsx"

/** Longer payloads are not loaded into the text field. */
const MAX_EDITABLE_CHARS = 300_000

export const isEditable = (payload: string): boolean => payload.length <= MAX_EDITABLE_CHARS
/** The payload as the text field shows it; empty if it is too long to edit. */
export const editableText = (payload: string): string =>
  isEditable(payload) ? escapeInvisibleJson(indentJson(payload)) : ""

type FieldProps = { value: string; onInput: (value: string) => void }

export const JsonField = (props: FieldProps & { label: string; hint: string; rows: number }) => (
  <Field label={props.label} hint={props.hint}>
    {(id, hint) => (
      <textarea
        id={id}
        aria-describedby={hint}
        rows={props.rows}
        spellcheck={false}
        value={props.value}
        onInput={event => props.onInput(event.currentTarget.value)}
      />
    )}
  </Field>
)

export const LabelsField = ({ value, onInput }: FieldProps) => (
  <Field label="Labels" hint="One name=value per line.">
    {(id, hint) => (
      <textarea
        id={id}
        aria-describedby={hint}
        rows={2}
        spellcheck={false}
        value={value}
        onInput={event => onInput(event.currentTarget.value)}
      />
    )}
  </Field>
)

export const TextField = (props: FieldProps & { label: string; placeholder?: string; list?: string }) => (
  <Field label={props.label}>
    {id => (
      <input
        id={id}
        type="text"
        autocomplete="off"
        spellcheck={false}
        value={props.value}
        placeholder={props.placeholder}
        list={props.list}
        onInput={event => props.onInput(event.currentTarget.value)}
      />
    )}
  </Field>
)

export const NumberField = (props: FieldProps & { label: string; placeholder: string }) => (
  <Field label={props.label}>
    {id => (
      <input
        id={id}
        type="number"
        min={0}
        step="any"
        value={props.value}
        placeholder={props.placeholder}
        onInput={event => props.onInput(event.currentTarget.value)}
      />
    )}
  </Field>
)

const PRIORITIES = ["9", "8", "7", "6", "5", "4", "3", "2", "1", "0"].map(
  value => [value, value === "9" ? "9 (first)" : value] as const,
)

export const PriorityField = ({ value, onInput }: FieldProps) => (
  <Select label="Priority" value={value} options={PRIORITIES} onChange={onInput} />
)

/** Throws if the text is not JSON. */
export function requireJson(text: string): void {
  try {
    JSON.parse(text)
  } catch (error) {
    throw Object.assign(new Error("The payload is not valid JSON"), { detail: (error as Error).message })
  }
}

/** A dialog whose `send` may throw: then it stays open and shows the error. */
export function SendDialog(props: {
  title: string
  button: string
  disabled?: boolean
  send: () => Promise<unknown>
  onClose: () => void
  children: ComponentChildren
}) {
  const [problem, setProblem] = useState<Error>()
  const [busy, setBusy] = useState(false)
  const send = async () => {
    setProblem(undefined)
    setBusy(true)
    try {
      await props.send()
      props.onClose()
    } catch (error) {
      const { message, detail } = error as Problem
      setProblem(Object.assign(new Error(message), { detail }))
      setBusy(false)
    }
  }
  return (
    <Dialog
      title={props.title}
      onClose={props.onClose}
      onSubmit={send}
      actions={
        <>
          <button type="button" onClick={props.onClose}>
            Back
          </button>
          <button type="submit" class="primary" disabled={busy || props.disabled}>
            {props.button}
          </button>
        </>
      }
    >
      {props.children}
      {problem && <ProblemNote problem={problem} />}
    </Dialog>
  )
}
