/** Form fields of the members of a task. */
import { type FieldProps, Select, TextArea } from "./fields.tsx"
import { escapeInvisibleJson, indentJson } from "./json.ts"

/** Longer payloads are not loaded into the text field. */
const MAX_EDITABLE_CHARS = 300_000

export const isEditable = (payload: string): boolean => payload.length <= MAX_EDITABLE_CHARS
/** The payload as the text field shows it; empty if it is too long to edit. */
export const editableText = (payload: string): string =>
  isEditable(payload) ? escapeInvisibleJson(indentJson(payload)) : ""

export const LabelsField = (props: FieldProps) => (
  <TextArea label="Labels" hint="One name=value per line." rows={2} {...props} />
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
