/** Modal dialogs. */
import type { ComponentChildren } from "preact"
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks"
import type { Problem } from "./api.ts"
import { ProblemNote } from "./parts.tsx"
import { notifyError } from "./toasts.tsx"

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

/**
 * Carries out an action when it is submitted. If `run` throws, the dialog stays open with its input and shows the error; if the
 * user has closed it meanwhile, a notice does.
 */
export function ActionDialog(props: {
  title: string
  button: string
  danger?: boolean
  disabled?: boolean
  run: () => Promise<unknown>
  onClose: () => void
  children: ComponentChildren
}) {
  const [problem, setProblem] = useState<Problem>()
  const [isBusy, setBusy] = useState(false)
  const isOpen = useRef(true)
  useLayoutEffect(
    () => () => {
      isOpen.current = false
    },
    [],
  )
  const run = async () => {
    setProblem(undefined)
    setBusy(true)
    try {
      await props.run()
      if (isOpen.current) props.onClose()
    } catch (error) {
      if (!isOpen.current) return notifyError(error as Error)
      setProblem(error as Problem)
      setBusy(false)
    }
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
          <button
            type="submit"
            class={props.danger ? "danger" : "primary"}
            disabled={isBusy || props.disabled}
          >
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
