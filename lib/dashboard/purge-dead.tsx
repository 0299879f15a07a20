import { useState } from "preact/hooks"
import type { DlqPurged } from "../wire/dead-letters.ts"
import { requestJson } from "./api.ts"
import {
  type BulkDialogProps,
  DryRunResult,
  MAX_TASKS_PER_CALL,
  RunActions,
  useCount,
  useRun,
} from "./bulk.tsx"
import { Dialog } from "./dialog.tsx"
import { ProblemNote } from "./parts.tsx"
import { formatCount, plural } from "./text.tsx"

export function PurgeDeadDialog({ filter, onClose, onDone }: BulkDialogProps) {
  const found = useCount(filter, "/dlq/purge")
  const [purged, setPurged] = useState(0)
  const { state, problem, start, stop } = useRun(onDone)
  const run = () =>
    start(async signal => {
      let cursor: string | undefined
      let sum = 0
      do {
        const body = { ...filter, limit: MAX_TASKS_PER_CALL, ...(cursor ? { cursor } : {}) }
        const told = await requestJson<DlqPurged>("POST", "/dlq/purge", body, signal)
        sum += told.purged
        setPurged(sum)
        cursor = told.next
      } while (cursor !== undefined)
    })
  return (
    <Dialog
      title={filter.fingerprint ? "Delete the dead tasks of this group" : "Delete dead tasks"}
      onClose={onClose}
      onSubmit={state === "ready" ? run : onClose}
      actions={
        <RunActions state={state} onStop={stop} onBack={onClose}>
          <button type="submit" class="danger" disabled={found === undefined || found.total === 0}>
            {found ? `Delete ${formatCount(found.total)}` : "Delete"}
          </button>
        </RunActions>
      }
    >
      {state === "ready" ? (
        <p class="line">
          <DryRunResult found={found} /> There is no way back.
        </p>
      ) : (
        <>
          <progress aria-label="Deleted" max={Math.max(1, found?.total ?? 1)} value={purged} />
          <p role="status" class="line">
            {plural(purged, "task")} deleted
          </p>
          {problem && <ProblemNote problem={problem} />}
        </>
      )}
    </Dialog>
  )
}
