/** Modal dialogs. */
import type { ComponentChildren } from "preact"
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks"
import { attempt } from "./toasts.tsx"

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
    return () => dialog.close() // returns the focus to the element that had it before
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

/** Asks for confirmation before an action. */
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
