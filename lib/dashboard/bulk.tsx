/** Shared parts of the dialogs that retry or purge many dead tasks, page by page. */
import type { ComponentChildren } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"
import type { DlqPurged, RetriedMany } from "../wire/dead-letters.ts"
import { type Problem, requestJson } from "./api.ts"
import type { DeadFilter } from "./dead-filter.ts"
import { Field } from "./fields.tsx"
import { plural } from "./text.tsx"

/** A dry run counts 1,000 tasks per call. */
const MAX_COUNT_CALLS = 20
export const MAX_TASKS_PER_CALL = 200
export const STATUS_WAIT_MS = 10_000

export interface BulkDialogProps {
  filter: DeadFilter
  onClose: () => void
  onDone: () => void
}

/** Counts the matching tasks with a dry run; undefined while it counts. */
export function useCount(filter: DeadFilter, path: string): { total: number; atLeast: boolean } | undefined {
  const [found, setFound] = useState<{ total: number; atLeast: boolean }>()
  useEffect(() => {
    const abort = new AbortController()
    const run = async () => {
      let total = 0
      let cursor: string | undefined
      for (let call = 0; call < MAX_COUNT_CALLS; call++) {
        const body = { ...filter, limit: 1_000, dry_run: true, ...(cursor ? { cursor } : {}) }
        const page = await requestJson<RetriedMany & DlqPurged>("POST", path, body, abort.signal)
        total += page.requeued ?? page.purged
        cursor = page.next
        if (cursor === undefined) return setFound({ total, atLeast: false })
      }
      setFound({ total, atLeast: true })
    }
    run().catch(() => setFound(undefined))
    return () => abort.abort()
  }, [])
  return found
}

export const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))

type RunState = "ready" | "running" | "ended"

/** The state of an action over many pages that the operator can stop. */
export function useRun(onDone: () => void) {
  const [state, setState] = useState<RunState>("ready")
  const [problem, setProblem] = useState<Problem>()
  const controller = useRef(new AbortController())
  useEffect(() => () => controller.current.abort(), [])
  const start = async (run: (signal: AbortSignal) => Promise<void>) => {
    controller.current = new AbortController()
    setProblem(undefined)
    setState("running")
    try {
      await run(controller.current.signal)
    } catch (error) {
      if (!controller.current.signal.aborted) setProblem(error as Problem)
    }
    setState("ended")
    onDone()
  }
  return { state, problem, start, stop: () => controller.current.abort() }
}

/** The buttons of a bulk dialog. `children` is the button that starts the action. */
export function RunActions({
  state,
  onStop,
  onBack,
  children,
}: {
  state: RunState
  onStop: () => void
  onBack: () => void
  children: ComponentChildren
}) {
  if (state === "running")
    return (
      <button type="button" onClick={onStop}>
        Stop
      </button>
    )
  if (state === "ended")
    return (
      <button type="submit" class="primary">
        Close
      </button>
    )
  return (
    <>
      <button type="button" onClick={onBack}>
        Back
      </button>
      {children}
    </>
  )
}

export const DryRunResult = ({ found }: { found: { total: number; atLeast: boolean } | undefined }) => (
  <span role="status">
    {found === undefined
      ? "Counting…"
      : `This matches ${found.atLeast ? "at least " : ""}${plural(found.total, "task")}.`}
  </span>
)

export const OptionalNumber = (props: {
  label: string
  value: string
  placeholder: string
  onInput: (text: string) => void
}) => (
  <Field label={props.label}>
    {id => (
      <input
        id={id}
        type="number"
        min={1}
        step={1}
        placeholder={props.placeholder}
        value={props.value}
        onInput={event => props.onInput(event.currentTarget.value)}
      />
    )}
  </Field>
)
