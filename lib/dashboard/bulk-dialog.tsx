/** The dialog that starts a bulk operation and shows its progress. The operation goes on when the dialog is closed. */
import type { ComponentChildren } from "preact"
import { useEffect, useState } from "preact/hooks"
import type { BulkCounted, BulkRequest, BulkView } from "../wire/bulk.ts"
import { isUnfinished } from "../wire/bulk-words.ts"
import { requestJson, requestText } from "./api.ts"
import { ACTION_WORDS, BulkProgress, stopBulk } from "./bulk-view.tsx"
import { Dialog } from "./dialog.tsx"
import { NumberField, ReasonField, TextArea } from "./fields.tsx"
import { held } from "./hold.tsx"
import { useData } from "./live.ts"
import { ProblemNote } from "./parts.tsx"
import { formatCount, plural } from "./text.tsx"

/** At most so many pages of 1,000 tasks are counted. */
const MAX_COUNT_CALLS = 20
const POLL_MS = 1_000

/** What is changed, and which tasks. */
export type BulkOrder = Pick<BulkRequest, "action" | "filter">

interface Count {
  total: number
  isLowerBound: boolean
}

export function BulkDialog(props: {
  title: string
  order: BulkOrder
  onClose: () => void
  /** Called whenever tasks were changed; while the page is held, at the end. */
  onDone: () => void
  children?: ComponentChildren
}) {
  const { order, onClose, onDone } = props
  const isRetry = order.action === "retry"
  const count = useCount(order)
  const selected = order.filter.task_ids?.length
  const [patch, setPatch] = useState("")
  const [limit, setLimit] = useState("")
  const [rate, setRate] = useState("")
  const [reason, setReason] = useState("")
  const [canary, setCanary] = useState(isRetry && selected !== 1)
  /** The operation, once it has started. */
  const [view, setView] = useState<BulkView>()
  const [problem, setProblem] = useState<Error>()
  const [isBusy, setBusy] = useState(false)
  // A repeated click after a lost answer starts no second operation.
  const [key] = useState(() => `dashboard-${Math.random().toString(36).slice(2)}${Date.now().toString(36)}`)
  const start = async () => {
    setProblem(undefined)
    setBusy(true)
    try {
      const body = JSON.stringify({
        ...order,
        ...(limit ? { limit: Number(limit) } : {}),
        ...(rate ? { rate: Number(rate) } : {}),
        ...(canary ? { canary } : {}),
        ...(reason.trim() ? { reason: reason.trim() } : {}),
      })
      setView(JSON.parse(await requestText("POST", "/bulk", { body: withPatch(body, patch), key })))
    } catch (error) {
      setProblem(error as Error)
    }
    setBusy(false)
  }
  const { verb } = ACTION_WORDS[order.action]
  const most = count && Math.min(count.total, Number(limit) || Number.POSITIVE_INFINITY)
  // One dialog for both: closing the first would look like the user closing it.
  return (
    <Dialog
      title={props.title}
      onClose={onClose}
      onSubmit={view === undefined ? start : onClose}
      actions={
        view === undefined ? (
          <>
            <button type="button" onClick={onClose}>
              Back
            </button>
            <button
              type="submit"
              class={order.action === "purge" || order.action === "cancel" ? "danger" : "primary"}
              disabled={isBusy || most === 0}
            >
              {most ? `${verb} ${formatCount(most)}` : verb}
            </button>
          </>
        ) : (
          <>
            {isUnfinished(view.state) && (
              <button
                type="button"
                disabled={view.stopped_by !== undefined}
                onClick={() => stopBulk(view.bulk_id)}
              >
                Stop
              </button>
            )}
            <button type="submit" class="primary">
              Close
            </button>
          </>
        )
      }
    >
      {view === undefined ? (
        <>
          {props.children}
          <p class="line">
            <span role="status">{countText(order, count)}</span> {CONSEQUENCES[order.action]}
          </p>
          {isRetry && (
            <>
              <TextArea
                label="Patch"
                hint={
                  'A JSON merge patch for each payload, such as {"server": "b"}. Leave empty to keep the payloads.'
                }
                rows={3}
                value={patch}
                onInput={setPatch}
              />
              <label class="check">
                <input
                  type="checkbox"
                  checked={canary}
                  onChange={event => setCanary(event.currentTarget.checked)}
                />
                <span>Canary: retry one task first, and the others only after it is done</span>
              </label>
            </>
          )}
          {selected === undefined && (
            <div class="row">
              <NumberField whole label="At most" value={limit} onInput={setLimit} placeholder="all" />
              <NumberField whole label="Per second" value={rate} onInput={setRate} placeholder="no limit" />
            </div>
          )}
          <ReasonField hint="Shown in the list of bulk operations." value={reason} onInput={setReason} />
          {problem && <ProblemNote problem={problem} />}
        </>
      ) : (
        <Started view={view} onView={setView} onDone={onDone} />
      )}
    </Dialog>
  )
}

const CONSEQUENCES: Record<BulkOrder["action"], string> = {
  retry: "Each task starts over with all counters at 0 and keeps its attempt history.",
  purge: "Purged tasks cannot be restored.",
  cancel:
    "Waiting tasks will not run. Workers of running tasks learn of it when they next extend their lease.",
  start_now: "Each task goes to the end of its queue, without waiting for its time.",
  submit_again: "Each task is submitted as a new task with the same payload. The originals stay as they are.",
}

function countText({ filter }: BulkOrder, count: Count | undefined): string {
  if (filter.task_ids !== undefined) return `${plural(filter.task_ids.length, "task")} selected.`
  if (count === undefined) return "Counting…"
  return `This matches ${count.isLowerBound ? "at least " : ""}${plural(count.total, "task")}.`
}

/** Inserts the patch as typed: JSON.parse would change long numbers. */
function withPatch(body: string, patch: string): string {
  if (patch.trim() === "") return body
  try {
    JSON.parse(patch)
  } catch (error) {
    throw Object.assign(new Error("The patch is not valid JSON"), { detail: (error as Error).message })
  }
  return `${body.slice(0, -1)},"patch":${patch}}`
}

/** An operation that was started. It goes on when the dialog is closed. */
function Started(props: { view: BulkView; onView: (view: BulkView) => void; onDone: () => void }) {
  const { view, onView, onDone } = props
  const path = `/bulk/${encodeURIComponent(view.bulk_id)}`
  const load = (signal: AbortSignal) => requestJson<BulkView>("GET", path, undefined, signal)
  const { value, problem } = useData(path, load, { pollMs: POLL_MS, evenIfHeld: true })
  const isRunning = isUnfinished(view.state)
  useEffect(() => {
    if (value !== undefined) onView(value)
  }, [value])
  useEffect(() => {
    if (!isRunning || (view.progress.done > 0 && !held.value)) onDone() // a held list is loaded at the end
  }, [view.progress.done, isRunning])
  return (
    <>
      <BulkProgress view={view} />
      <p class="line">
        {isRunning && "It continues if you close this dialog or the page. "}
        <a href="#/bulk">All bulk operations</a>
      </p>
      {problem && <ProblemNote problem={problem} />}
    </>
  )
}

/** Counts the matching tasks; undefined while it counts. */
function useCount(order: BulkOrder): Count | undefined {
  const [count, setCount] = useState<Count>()
  const key = JSON.stringify(order)
  useEffect(() => {
    const abort = new AbortController()
    setCount(undefined)
    countTasks(order, abort.signal).then(setCount, () => {}) // the dialog works without the number
    return () => abort.abort()
  }, [key])
  return count
}

async function countTasks({ action, filter }: BulkOrder, signal: AbortSignal): Promise<Count> {
  const { task_ids: ids, ...others } = filter
  if (ids !== undefined) return { total: ids.length, isLowerBound: false }
  let total = 0
  let cursor: string | undefined
  for (let call = 0; call < MAX_COUNT_CALLS; call++) {
    const body = { action, filter: others, cursor }
    const page = await requestJson<BulkCounted>("POST", "/bulk/count", body, signal)
    total += page.matching
    cursor = page.next
    if (cursor === undefined) return { total, isLowerBound: false }
  }
  return { total, isLowerBound: true }
}
