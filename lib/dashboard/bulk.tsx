/** Dead tasks retried or deleted by the page full, for as long as there is a next page. */
import type { ComponentChildren } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"
import type { DlqPurged, RetriedMany } from "../wire/dead-letters.ts"
import { type Problem, requestJson } from "./api.ts"
import type { DeadFilter } from "./dead-filter.ts"
import { Field } from "./fields.tsx"
import { plural } from "./text.tsx"

/** How many are counted before one begins, a thousand a call; and how many one call moves. */
const MAX_COUNT_CALLS = 20
export const MAX_TASKS_PER_CALL = 200
export const STATUS_WAIT_MS = 10_000

export interface BulkDialogProps {
  filter: DeadFilter
  onClose: () => void
  onDone: () => void
}

/** How many match, by a dry run. undefined: it is being counted. */
export function useCount(filter: DeadFilter, path: string): { total: number; atLeast: boolean } | undefined {
  const [found, setFound] = useState<{ total: number; atLeast: boolean }>()
  useEffect(() => {
    const over = new AbortController()
    const run = async () => {
      let total = 0
      let cursor: string | undefined
      for (let call = 0; call < MAX_COUNT_CALLS; call++) {
        const body = { ...filter, limit: 1_000, dry_run: true, ...(cursor ? { cursor } : {}) }
        const told = await requestJson<RetriedMany & DlqPurged>("POST", path, body, over.signal)
        total += told.requeued ?? told.purged
        cursor = told.next
        if (cursor === undefined) return setFound({ total, atLeast: false })
      }
      setFound({ total, atLeast: true })
    }
    run().catch(() => setFound(undefined))
    return () => over.abort()
  }, [])
  return found
}

export const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))

type RunState = "ready" | "running" | "over"

/** A run over many pages that can be stopped. */
export function useRun(onDone: () => void) {
  const [state, setState] = useState<RunState>("ready")
  const [problem, setProblem] = useState<Problem>()
  const over = useRef(new AbortController())
  useEffect(() => () => over.current.abort(), [])
  const start = async (run: (signal: AbortSignal) => Promise<void>) => {
    over.current = new AbortController()
    setProblem(undefined)
    setState("running")
    try {
      await run(over.current.signal)
    } catch (error) {
      if (!over.current.signal.aborted) setProblem(error as Problem)
    }
    setState("over")
    onDone()
  }
  return { state, problem, start, stop: () => over.current.abort() }
}

/** The buttons of a run; `children`: the one that starts it. */
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
  if (state === "over")
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
      : `A dry run found ${found.atLeast ? "at least " : ""}${plural(found.total, "task")}.`}
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
