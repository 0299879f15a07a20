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
  const [wrong, setWrong] = useState<Error>()
  const [done, setDone] = useState({ requeued: 0, skipped: 0 })
  const [first, setFirst] = useState<{ id: string; state: string }>()
  const { state, problem, start, stop } = useRun(onDone)
  const total = Math.min(found?.total ?? known ?? 0, Number(limit) || Infinity)

  const run = async () => {
    if (patch.trim() !== "") {
      try {
        JSON.parse(patch)
      } catch (error) {
        return setWrong(
          Object.assign(new Error("The patch is not JSON"), { detail: (error as Error).message }),
        )
      }
    }
    setWrong(undefined)
    await start(async signal => {
      const most = Number(limit) || Infinity
      const pace = Number(perSecond) || Infinity
      let cursor: string | undefined
      let requeued = 0
      let skipped = 0
      let alone = canary
      while (requeued + skipped < most) {
        const begun = performance.now()
        const some = alone ? 1 : Math.min(MAX_TASKS_PER_CALL, pace, most - requeued - skipped)
        const body = JSON.stringify({
          ...{ ...filter, limit: some },
          ...(cursor ? { cursor } : {}),
          ...(alone ? { canary: true } : {}),
        })
        // The patch as it was typed, so that each digit stays.
        const text = patch.trim() === "" ? body : `${body.slice(0, -1)},"patch":${patch}}`
        const told = await retryPage(text, signal)
        requeued += told.requeued
        skipped += told.skipped
        setDone({ requeued, skipped })
        cursor = told.next
        if (alone && told.canary) {
          if (!(await succeeds(told.canary.task_id, signal))) return
          alone = false
        }
        if (cursor === undefined) return
        if (pace < Infinity) await pause(Math.max(0, (some / pace) * 1_000 - (performance.now() - begun)))
        signal.throwIfAborted()
      }
    })
  }
  /** Waits until the one that went first has ended. */
  const succeeds = async (id: string, signal: AbortSignal): Promise<boolean> => {
    setFirst({ id, state: "waits for a worker" })
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
      title={filter.fingerprint ? "Retry the dead tasks of this group" : "Retry dead tasks"}
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
            <DryRunResult found={found} /> They get a new life, all counters at 0, and keep their history.
          </p>
          <Field
            label="Patch"
            hint={'A JSON merge patch on each payload, as {"server": "b"}; empty: they stay as they are.'}
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
              label="A second"
              value={perSecond}
              onInput={setPerSecond}
              placeholder="as fast as it goes"
            />
          </div>
          <label class="check">
            <input
              type="checkbox"
              checked={canary}
              onChange={event => setCanary(event.currentTarget.checked)}
            />
            <span>Canary: one goes first, and the others only once it is done</span>
          </label>
          {wrong && <ProblemNote problem={wrong} />}
        </>
      ) : (
        <>
          <progress aria-label="Retried" max={Math.max(1, total)} value={done.requeued + done.skipped} />
          <p role="status" class="line">
            {formatCount(done.requeued)} of {formatCount(Math.max(total, done.requeued))} retried
            {done.skipped > 0 &&
              `; ${formatCount(done.skipped)} were left: another task has their unique key, or they were dead no more`}
          </p>
          {first && (
            <p class="line">
              Canary <TaskLink id={first.id} /> {first.state}
              {state === "over" && first.state !== "done" && ": the others were left as they are"}
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
