/** Form fields with a label and an optional hint. */
import type { ComponentChild, ComponentChildren } from "preact"
import { useEffect, useId, useRef, useState } from "preact/hooks"
import { Icon } from "./icon.tsx"
import { refine } from "./route.ts"
import { SafeText } from "./text.tsx"

export function Field(props: {
  label: string
  hint?: string
  children: (id: string, hint?: string) => ComponentChild
}) {
  const id = useId()
  const hint = `${id}-hint`
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      {props.children(id, props.hint ? hint : undefined)}
      {props.hint && <small id={hint}>{props.hint}</small>}
    </div>
  )
}

/** A text field that reports its value 350 ms after the last keystroke. */
export function Filter(props: {
  label: string
  value: string
  onChange: (value: string) => void
  placeholder?: string
  search?: boolean
  /** The id of a list of suggestions. */
  list?: string
}) {
  const [text, setText] = useState(props.value)
  const reported = useRef(props.value)
  useEffect(() => {
    if (props.value !== reported.current) {
      reported.current = props.value
      setText(props.value)
    }
  }, [props.value])
  useEffect(() => {
    if (text === reported.current) return
    const timer = setTimeout(() => {
      reported.current = text
      props.onChange(text.trim())
    }, 350)
    return () => clearTimeout(timer)
  }, [text])
  return (
    <Field label={props.label}>
      {id => (
        <input
          id={id}
          type="text"
          value={text}
          placeholder={props.placeholder ?? "any"}
          autocomplete="off"
          spellcheck={false}
          list={props.list}
          {...(props.search ? { "data-search": true } : {})}
          onInput={event => setText(event.currentTarget.value)}
        />
      )}
    </Field>
  )
}

export function Select(props: {
  label: string
  value: string
  options: readonly (readonly [value: string, text: string])[]
  onChange: (value: string) => void
}) {
  return (
    <Field label={props.label}>
      {id => (
        <select id={id} value={props.value} onChange={event => props.onChange(event.currentTarget.value)}>
          {props.options.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  )
}

/** Why an operator does something, for other people. */
export const ReasonField = (props: { hint: string; value: string; onInput: (text: string) => void }) => (
  <Field label="Reason" hint={props.hint}>
    {(id, hint) => (
      <input
        id={id}
        aria-describedby={hint}
        maxLength={200}
        autocomplete="off"
        value={props.value}
        onInput={event => props.onInput(event.currentTarget.value)}
      />
    )}
  </Field>
)

export type FieldProps = { value: string; onInput: (text: string) => void }

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

/** Any number from 0, or a whole one from 1 on. */
export const NumberField = (props: FieldProps & { label: string; placeholder: string; whole?: boolean }) => (
  <Field label={props.label}>
    {id => (
      <input
        id={id}
        type="number"
        min={props.whole ? 1 : 0}
        step={props.whole ? 1 : "any"}
        placeholder={props.placeholder}
        value={props.value}
        onInput={event => props.onInput(event.currentTarget.value)}
      />
    )}
  </Field>
)

/** A field of several lines, whose text a program reads. */
export const TextArea = (props: FieldProps & { label: string; hint: string; rows: number }) => (
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

/** The filters of a view, and a chip for each that is set. On narrow screens the fields are folded away. */
export function FilterBar(props: {
  query: URLSearchParams
  names: readonly string[]
  children: ComponentChildren
}) {
  const [open, setOpen] = useState(false)
  const set = props.names.filter(name => props.query.get(name))
  return (
    <div class={open ? "filterbar open" : "filterbar"}>
      <button type="button" class="fold" aria-expanded={open} onClick={() => setOpen(!open)}>
        Filters
      </button>
      <div class="filters">{props.children}</div>
      {set.length > 0 && (
        <div class="chips">
          {set.map(name => (
            <button
              key={name}
              type="button"
              class="chip"
              title="Clear this filter"
              onClick={() => refine({ [name]: "" })}
            >
              {name}: <SafeText text={props.query.get(name)!} most={60} /> <Icon name="close" />
            </button>
          ))}
          {set.length > 1 && (
            <button
              type="button"
              class="chip"
              onClick={() => refine(Object.fromEntries(set.map(name => [name, ""])))}
            >
              Clear all filters
            </button>
          )}
        </div>
      )}
    </div>
  )
}
