/** What all views are made of. */
import type { ComponentChild, ComponentChildren } from "preact"
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks"
import { Problem } from "./api.ts"
import { Store, useStore } from "./store.ts"
import { plain, Shown } from "./text.tsx"

const ICONS = {
  more: "M4 6l4 4 4-4",
  pause: "M6 4v8M10 4v8",
  play: "M5 4l7 4-7 4z",
  gear: "M3 5h6M12 5h1M3 11h1M7 11h6M10.5 3.5v3M5.5 9.5v3",
  trash: "M3 5h10M6 5V3h4v2M5 5l.6 8h4.8L11 5",
  retry: "M12.5 8A4.5 4.5 0 1 1 11 4.6M11 2v3H8",
  close: "M4 4l8 8M12 4l-8 8",
  back: "M10 4L6 8l4 4",
  next: "M6 4l4 4-4 4",
} as const

export const Icon = ({ name }: { name: keyof typeof ICONS }) => (
  <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
    <path d={ICONS[name]} />
  </svg>
)

interface Toast {
  id: number
  text: string
  detail?: string | undefined
  bad: boolean
}
const toasts = new Store<readonly Toast[]>([])
let newest = 0
const dismiss = (id: number) => toasts.set(toasts.value.filter(toast => toast.id !== id))

export function tell(text: string, detail?: string, bad = false): void {
  const id = ++newest
  toasts.set([...toasts.value.slice(-3), { id, text, detail, bad }])
  if (!bad) setTimeout(dismiss, 6_000, id)
}

/** Does what a button is for. What goes wrong is told, and nothing that was typed is lost. */
export async function attempt(run: () => Promise<unknown>): Promise<boolean> {
  try {
    await run()
    return true
  } catch (error) {
    if (error instanceof Problem) tell(error.message, error.detail, true)
    else if ((error as Error).name !== "AbortError")
      tell("Something is wrong in this page", String(error), true)
    return false
  }
}

export function Toasts() {
  const all = useStore(toasts)
  const list = (bad: boolean) =>
    all
      .filter(toast => toast.bad === bad)
      .map(({ id, text, detail }) => (
        <div key={id} class={bad ? "toast bad" : "toast"}>
          <div>
            <strong>
              <Shown text={text} most={300} />
            </strong>
            {detail && (
              <p>
                <Shown text={detail} most={600} />
              </p>
            )}
          </div>
          <button type="button" class="quiet" aria-label="Dismiss" onClick={() => dismiss(id)}>
            <Icon name="close" />
          </button>
        </div>
      ))
  return (
    <div class="toasts">
      <div role="status">{list(false)}</div>
      <div role="alert">{list(true)}</div>
    </div>
  )
}

export function Dialog(props: {
  title: string
  onClose: () => void
  onSubmit?: () => void
  children: ComponentChildren
  actions: ComponentChildren
}) {
  const ref = useRef<HTMLDialogElement>(null)
  const title = useId()
  useLayoutEffect(() => {
    const dialog = ref.current!
    dialog.showModal()
    return () => dialog.close() // the focus goes back to where it was
  }, [])
  return (
    <dialog ref={ref} aria-labelledby={title} onClose={props.onClose}>
      <form
        onSubmit={event => {
          event.preventDefault()
          props.onSubmit?.()
        }}
      >
        <h2 id={title}>{props.title}</h2>
        {props.children}
        <div class="actions">{props.actions}</div>
      </form>
    </dialog>
  )
}

/** Asks once more before something is done. */
export function Confirm(props: {
  title: string
  button: string
  danger?: boolean
  run: () => Promise<unknown>
  onClose: () => void
  children: ComponentChildren
}) {
  const [busy, setBusy] = useState(false)
  const run = async () => {
    setBusy(true)
    if (await attempt(props.run)) props.onClose()
    else setBusy(false)
  }
  return (
    <Dialog
      title={props.title}
      onClose={props.onClose}
      onSubmit={run}
      actions={
        <>
          <button type="button" onClick={props.onClose}>
            Back
          </button>
          <button type="submit" class={props.danger ? "danger" : "primary"} disabled={busy}>
            {props.button}
          </button>
        </>
      }
    >
      {props.children}
    </Dialog>
  )
}

interface Column<T> {
  head: string
  cell: (row: T) => ComponentChild
  /** Numbers stand to the right. */
  num?: boolean
  /** Left out on narrow screens. */
  wide?: boolean
}

/** On narrow screens each row is a card, its first cell the title. */
export function Table<T>(props: {
  label: string
  columns: readonly (Column<T> | false)[]
  rows: readonly T[]
  keyOf: (row: T) => string
  stale?: boolean
}) {
  const columns = props.columns.filter(column => column !== false)
  const classOf = ({ num, wide }: Column<T>) => [num && "num", wide && "wide"].filter(Boolean).join(" ")
  return (
    <table aria-label={props.label} class={props.stale ? "cards stale" : "cards"}>
      <thead>
        <tr>
          {columns.map(column => (
            <th key={column.head} scope="col" class={classOf(column)}>
              {column.head || <span class="hidden">Actions</span>}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {props.rows.map(row => (
          <tr key={props.keyOf(row)}>
            {columns.map(column => (
              <td key={column.head} data-label={column.head} class={classOf(column)}>
                {column.cell(row)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  )
}

export const Skeleton = ({ rows = 4 }: { rows?: number }) => (
  <div class="skeleton" role="status" aria-label="Loading">
    {Array.from({ length: rows }, (_, i) => (
      <i key={i} />
    ))}
  </div>
)

export const Trouble = ({ problem }: { problem: Error & { detail?: string | undefined } }) => (
  <div class="trouble" role="alert">
    <strong>
      <Shown text={problem.message} most={300} />
    </strong>
    {problem.detail && (
      <p>
        <Shown text={problem.detail} most={600} />
      </p>
    )}
  </div>
)

export const Empty = ({ title, children }: { title: string; children?: ComponentChildren }) => (
  <div class="empty">
    <h2>{title}</h2>
    {children}
  </div>
)

export const Badge = ({ of, children }: { of: string; children?: ComponentChildren }) => (
  <span class={`badge ${of}`}>{children ?? of}</span>
)

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

/** A field that tells what is in it once the typing rests. */
export function Filter(props: {
  label: string
  value: string
  onChange: (value: string) => void
  placeholder?: string
  search?: boolean
}) {
  const [text, setText] = useState(props.value)
  const told = useRef(props.value)
  useEffect(() => {
    if (props.value !== told.current) {
      told.current = props.value
      setText(props.value)
    }
  }, [props.value])
  useEffect(() => {
    if (text === told.current) return
    const timer = setTimeout(() => {
      told.current = text
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

/** Back to the page before, and on to the next. */
export function Pager(props: {
  cursors: readonly string[]
  next: string | undefined
  go: (to: readonly string[]) => void
}) {
  const { cursors, next, go } = props
  if (cursors.length === 0 && next === undefined) return null
  return (
    <nav class="pager" aria-label="Pages">
      <button type="button" disabled={cursors.length === 0} onClick={() => go(cursors.slice(0, -1))}>
        <Icon name="back" /> Previous page
      </button>
      <span class="dim">page {cursors.length + 1}</span>
      <button type="button" disabled={next === undefined} onClick={() => next && go([...cursors, next])}>
        Next page <Icon name="next" />
      </button>
    </nav>
  )
}

export const TaskLink = ({ id }: { id: string }) => (
  <a class="mono id" href={`#/tasks/${encodeURIComponent(id)}`} title={plain(id)}>
    <Shown text={id} most={140} />
  </a>
)
export const QueueLink = ({ queue }: { queue: string }) => (
  <a class="name" href={`#/queues/${encodeURIComponent(queue)}`}>
    <Shown text={queue} most={64} />
  </a>
)
