/** How a bulk operation is going: its progress, its canary, and what became of the retried tasks. */
import type { BulkView } from "../wire/bulk.ts"
import { type BulkAction, isUnfinished } from "../wire/bulk-words.ts"
import { requestJson } from "./api.ts"
import { TaskLink } from "./parts.tsx"
import { formatCount, plural, SafeText } from "./text.tsx"
import { attempt } from "./toasts.tsx"

/** `verb` is on the button, `done` says what happened to the tasks. */
export const ACTION_WORDS: Record<BulkAction, { verb: string; done: string }> = {
  retry: { verb: "Retry", done: "retried" },
  purge: { verb: "Purge", done: "purged" },
  cancel: { verb: "Cancel", done: "cancelled" },
  start_now: { verb: "Run now", done: "made ready" },
  submit_again: { verb: "Run again", done: "submitted again" },
}

/** The state in words for people. */
export const stateText = ({ state, stopped_by }: BulkView): string =>
  isUnfinished(state) && stopped_by !== undefined ? "stopping" : state.replaceAll("_", " ")

export const stopBulk = (id: string): Promise<boolean> =>
  attempt(() => requestJson("POST", `/bulk/${encodeURIComponent(id)}/stop`))

/** A limit may end the operation before it has looked at all tasks. */
export const ProgressBar = ({ progress: { seen, total }, state }: BulkView) => (
  <progress
    aria-label="Progress"
    max={Math.max(1, total)}
    value={state === "finished" ? Math.max(1, total) : Math.min(seen, total)}
  />
)

export function countsText({ action, progress: { done, skipped, seen, total }, state }: BulkView): string {
  const looked =
    isUnfinished(state) && total > 0 ? `, ${formatCount(seen)} of ${formatCount(total)} looked at` : ""
  const left = skipped > 0 ? `, ${formatCount(skipped)} skipped` : ""
  return `${plural(done, "task")} ${ACTION_WORDS[action].done}${left}${looked}`
}

export function outcomeText({
  succeeded,
  died_again,
  other,
  still_going,
}: NonNullable<BulkView["outcome"]>): string {
  const parts = [
    `${formatCount(succeeded)} succeeded`,
    `${formatCount(died_again)} died again`,
    other > 0 && `${formatCount(other)} cancelled or deleted`,
    still_going > 0 && `${formatCount(still_going)} still going`,
  ]
  return parts.filter(Boolean).join(", ")
}

export const Cause = ({ view }: { view: BulkView }) =>
  view.cause === undefined ? null : (
    <p class="error">
      <SafeText text={view.cause} most={400} />
    </p>
  )

/** The progress of one operation, as a dialog shows it. */
export const BulkProgress = ({ view }: { view: BulkView }) => (
  <>
    <ProgressBar {...view} />
    <p role="status" class="line">
      {countsText(view)} ({stateText(view)})
    </p>
    {view.canary && (
      <p class="line">
        Canary <TaskLink id={view.canary.task_id} />:{" "}
        {view.canary.state ?? (view.state === "waiting_for_canary" ? "waiting for a worker" : "deleted")}
      </p>
    )}
    {view.outcome && view.progress.done > 0 && <p class="line">Since then {outcomeText(view.outcome)}</p>}
    <Cause view={view} />
  </>
)
