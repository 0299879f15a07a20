/** The dialog that pauses a queue, a group or a schedule, with a reason. */
import type { ComponentChildren } from "preact"
import { useState } from "preact/hooks"
import { requestJson } from "./api.ts"
import { ActionDialog } from "./dialog.tsx"
import { ReasonField } from "./fields.tsx"
import { notify } from "./toasts.tsx"

export function PauseForm(props: {
  title: string
  /** The path of the request. */
  path: string
  hint: string
  /** The notice when it is done. */
  done: string
  onClose: () => void
  onDone: () => void
  /** What a pause means. */
  children: ComponentChildren
}) {
  const [reason, setReason] = useState("")
  const pause = async () => {
    await requestJson("POST", props.path, reason.trim() ? { reason: reason.trim() } : {})
    notify(props.done)
    props.onDone()
  }
  return (
    <ActionDialog title={props.title} button="Pause" run={pause} onClose={props.onClose}>
      <p>{props.children}</p>
      <ReasonField hint={props.hint} value={reason} onInput={setReason} />
    </ActionDialog>
  )
}
