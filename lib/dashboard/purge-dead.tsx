import { useState } from "preact/hooks"
import type { DlqPurged } from "../wire/dead-letters.ts"
import { ask } from "./api.ts"
import { A_CALL, Found, type Props, RunActions, useCount, useRun } from "./bulk.tsx"
import { Dialog } from "./dialog.tsx"
import { Trouble } from "./parts.tsx"
import { count, plural } from "./text.tsx"

export function PurgeDead({ filter, onClose, onDone }: Props) {
  const found = useCount(filter, "/dlq/purge")
  const [purged, setPurged] = useState(0)
  const { state, problem, start, stop } = useRun(onDone)
  const run = () =>
    start(async signal => {
      let cursor: string | undefined
      let sum = 0
      do {
        const body = { ...filter, limit: A_CALL, ...(cursor ? { cursor } : {}) }
        const told = await ask<DlqPurged>("POST", "/dlq/purge", body, signal)
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
            {found ? `Delete ${count(found.total)}` : "Delete"}
          </button>
        </RunActions>
      }
    >
      {state === "ready" ? (
        <p class="line">
          <Found found={found} /> There is no way back.
        </p>
      ) : (
        <>
          <progress aria-label="Deleted" max={Math.max(1, found?.total ?? 1)} value={purged} />
          <p role="status" class="line">
            {plural(purged, "task")} deleted
          </p>
          {problem && <Trouble problem={problem} />}
        </>
      )}
    </Dialog>
  )
}
