/** Form fields with a label and an optional hint. */
import type { ComponentChild } from "preact"
import { useEffect, useId, useRef, useState } from "preact/hooks"

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
