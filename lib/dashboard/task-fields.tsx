/** Form fields of the members of a task. */
import { Field, Select } from "./fields.tsx"
import { escapeInvisibleJson, indentJson } from "./json.ts"

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

/** Throws if the text is not JSON. `subject`: what it is, for the error. */
export function requireJson(text: string, subject = "The payload"): void {
  try {
    JSON.parse(text)
  } catch (error) {
    throw Object.assign(new Error(`${subject} is not valid JSON`), { detail: (error as Error).message })
  }
}
