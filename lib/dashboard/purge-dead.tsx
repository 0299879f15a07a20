/** The dialog that purges many dead tasks. */
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
        const page = await requestJson<DlqPurged>("POST", "/dlq/purge", body, signal)
        sum += page.purged
        setPurged(sum)
        cursor = page.next
      } while (cursor !== undefined)
    })
  return (
    <Dialog
      title={filter.fingerprint ? "Purge the dead tasks in this group" : "Purge dead tasks"}
      onClose={onClose}
      onSubmit={state === "ready" ? run : onClose}
      actions={
        <RunActions state={state} onStop={stop} onBack={onClose}>
          <button type="submit" class="danger" disabled={found === undefined || found.total === 0}>
            {found ? `Purge ${formatCount(found.total)}` : "Purge"}
          </button>
        </RunActions>
      }
    >
      {state === "ready" ? (
        <p class="line">
          <DryRunResult found={found} /> Purged tasks cannot be restored.
        </p>
      ) : (
        <>
          <progress aria-label="Purged" max={Math.max(1, found?.total ?? 1)} value={purged} />
          <p role="status" class="line">
            {plural(purged, "task")} purged
          </p>
          {problem && <ProblemNote problem={problem} />}
        </>
      )}
    </Dialog>
  )
}
