/** The dialog that retries many dead tasks, with an optional patch, limit, rate and canary. */
import { useState } from "preact/hooks"
import type { RetriedMany } from "../wire/dead-letters.ts"
import type { TaskView } from "../wire/inspecting.ts"
import { requestJson, requestText } from "./api.ts"
import {
  type BulkDialogProps,
  DryRunResult,
  MAX_TASKS_PER_CALL,
  OptionalNumber,
  pause,
  RunActions,
  STATUS_WAIT_MS,
  useCount,
  useRun,
} from "./bulk.tsx"
import { Dialog } from "./dialog.tsx"
import { Field } from "./fields.tsx"
import { ProblemNote, TaskLink } from "./parts.tsx"
import { formatCount } from "./text.tsx"

export function RetryDialog({
  filter,
  known,
  onClose,
  onDone,
}: BulkDialogProps & { known: number | undefined }) {
  const found = useCount(filter, "/dlq/retry")
  const [patch, setPatch] = useState("")
  const [canary, setCanary] = useState(false)
  const [limit, setLimit] = useState("")
  const [perSecond, setPerSecond] = useState("")
  const [invalid, setInvalid] = useState<Error>()
  const [done, setDone] = useState({ requeued: 0, skipped: 0 })
  const [first, setFirst] = useState<{ id: string; state: string }>()
  const { state, problem, start, stop } = useRun(onDone)
  const total = Math.min(found?.total ?? known ?? 0, Number(limit) || Infinity)

  const run = async () => {
    if (patch.trim() !== "") {
      try {
        JSON.parse(patch)
      } catch (error) {
        return setInvalid(
          Object.assign(new Error("The patch is not valid JSON"), { detail: (error as Error).message }),
        )
      }
    }
    setInvalid(undefined)
    await start(async signal => {
      const max = Number(limit) || Infinity
      const pace = Number(perSecond) || Infinity
      let cursor: string | undefined
      let requeued = 0
      let skipped = 0
      let isCanary = canary
      while (requeued + skipped < max) {
        const begun = performance.now()
        const size = isCanary ? 1 : Math.min(MAX_TASKS_PER_CALL, pace, max - requeued - skipped)
        const body = JSON.stringify({
          ...filter,
          limit: size,
          ...(cursor ? { cursor } : {}),
          ...(isCanary ? { canary: true } : {}),
        })
        // Insert the patch as typed: JSON.parse would change long numbers.
        const text = patch.trim() === "" ? body : `${body.slice(0, -1)},"patch":${patch}}`
        const page = await retryPage(text, signal)
        requeued += page.requeued
        skipped += page.skipped
        setDone({ requeued, skipped })
        cursor = page.next
        if (isCanary && page.canary) {
          if (!(await canarySucceeds(page.canary.task_id, signal))) return
          isCanary = false
        }
        if (cursor === undefined) return
        if (pace < Infinity) await pause(Math.max(0, (size / pace) * 1_000 - (performance.now() - begun)))
        signal.throwIfAborted()
      }
    })
  }
  /** Waits until the canary has ended. */
  const canarySucceeds = async (id: string, signal: AbortSignal): Promise<boolean> => {
    setFirst({ id, state: "is waiting for a worker" })
    for (;;) {
      const path = `/status/${encodeURIComponent(id)}?wait_ms=${STATUS_WAIT_MS}`
      const { status } = await requestJson<TaskView>("GET", path, undefined, signal)
      setFirst({ id, state: status })
      if (status === "done") return true
      if (status === "dead" || status === "cancelled") return false
    }
  }

  return (
    <Dialog
      title={filter.fingerprint ? "Retry the dead tasks in this group" : "Retry dead tasks"}
      onClose={onClose}
      onSubmit={state === "ready" ? run : onClose}
      actions={
        <RunActions state={state} onStop={stop} onBack={onClose}>
          <button type="submit" class="primary">
            {total > 0 ? `Retry ${formatCount(total)}` : "Retry"}
          </button>
        </RunActions>
      }
    >
      {state === "ready" ? (
        <>
          <p class="line">
            <DryRunResult found={found} /> Each task starts over with all counters at 0 and keeps its attempt
            history.
          </p>
          <Field
            label="Patch"
            hint={
              'A JSON merge patch for each payload, such as {"server": "b"}. Leave empty to keep the payloads.'
            }
          >
            {(id, hint) => (
              <textarea
                id={id}
                aria-describedby={hint}
                rows={4}
                spellcheck={false}
                value={patch}
                onInput={event => setPatch(event.currentTarget.value)}
              />
            )}
          </Field>
          <div class="row">
            <OptionalNumber label="At most" value={limit} onInput={setLimit} placeholder="all" />
            <OptionalNumber
              label="Per second"
              value={perSecond}
              onInput={setPerSecond}
              placeholder="no limit"
            />
          </div>
          <label class="check">
            <input
              type="checkbox"
              checked={canary}
              onChange={event => setCanary(event.currentTarget.checked)}
            />
            <span>Canary: retry one task first, and the others only after it is done</span>
          </label>
          {invalid && <ProblemNote problem={invalid} />}
        </>
      ) : (
        <>
          <progress aria-label="Retried" max={Math.max(1, total)} value={done.requeued + done.skipped} />
          <p role="status" class="line">
            {formatCount(done.requeued)} of {formatCount(Math.max(total, done.requeued))} retried
            {done.skipped > 0 &&
              `; ${formatCount(done.skipped)} skipped: no longer dead, or another task has the same unique key`}
          </p>
          {first && (
            <p class="line">
              Canary <TaskLink id={first.id} /> {first.state}
              {state === "ended" && first.state !== "done" && ": the other tasks were not retried"}
            </p>
          )}
          {problem && <ProblemNote problem={problem} />}
        </>
      )}
    </Dialog>
  )
}

export async function retryPage(body: string, signal: AbortSignal): Promise<RetriedMany> {
  return JSON.parse(await requestText("POST", "/dlq/retry", { body, signal }))
}
