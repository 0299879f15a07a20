/** The page of bulk operations: those that run, with their progress, and the newest that have ended, with their outcome. */
import type { BulkAnswer, BulkView } from "../wire/bulk.ts"
import { isUnfinished } from "../wire/bulk-words.ts"
import { can, requestJson } from "./api.ts"
import {
  ACTION_WORDS,
  Cause,
  countsText,
  outcomeText,
  ProgressBar,
  stateText,
  stopBulk,
} from "./bulk-view.tsx"
import { useData } from "./live.ts"
import { Badge, Empty, ProblemNote, Skeleton, TaskLink } from "./parts.tsx"
import { Table } from "./table.tsx"
import { formatDuration, plural, SafeText, Time } from "./text.tsx"

const load = (signal: AbortSignal) => requestJson<BulkAnswer>("GET", "/bulk", undefined, signal)

export function BulkOperations() {
  const { value, problem, stale, refresh } = useData("bulk", load, {
    events: "event=bulk_started,bulk_ended",
    pollMs: 2_000,
  })
  return (
    <>
      <h1>Bulk operations</h1>
      {problem && <ProblemNote problem={problem} />}
      {value === undefined ? (
        problem === undefined && <Skeleton rows={5} />
      ) : value.operations.length === 0 ? (
        <Empty title="No bulk operations">
          <p>
            Retries, purges and cancels of many tasks appear here with their author and outcome. Start one
            from a list of tasks, or from the dead letters.
          </p>
        </Empty>
      ) : (
        <BulkTable operations={value.operations} stale={stale} refresh={refresh} />
      )}
    </>
  )
}

const BulkTable = (props: { operations: readonly BulkView[]; stale: boolean; refresh: () => void }) => (
  <Table
    label="Bulk operations"
    rows={props.operations}
    keyOf={({ bulk_id }) => bulk_id}
    stale={props.stale}
    columns={[
      {
        head: "Operation",
        grow: true,
        cell: view => (
          <>
            <span class="name">{ACTION_WORDS[view.action].verb}</span> <Chosen view={view} />
          </>
        ),
      },
      { head: "State", cell: view => <Badge of={view.state}>{stateText(view)}</Badge> },
      {
        head: "Progress",
        cell: view => (
          <div class="wrapped">
            {isUnfinished(view.state) && <ProgressBar {...view} />}
            <div>{countsText(view)}</div>
            {view.outcome && view.progress.done > 0 && <div class="dim">{outcomeText(view.outcome)}</div>}
            {view.state === "waiting_for_canary" && view.canary && <TaskLink id={view.canary.task_id} />}
            <Cause view={view} />
          </div>
        ),
      },
      { head: "By", cell: ({ author }) => <SafeText text={author} most={64} /> },
      { head: "Started", num: true, cell: ({ started_at }) => <Time at={started_at} /> },
      {
        head: "Took",
        num: true,
        wide: true,
        cell: ({ started_at, ended_at }) => ended_at !== undefined && formatDuration(ended_at - started_at),
      },
      can("operate") && {
        head: "",
        num: true,
        cell: view =>
          isUnfinished(view.state) && (
            <button
              type="button"
              class="quiet"
              aria-label={`Stop: ${ACTION_WORDS[view.action].verb} by ${view.author}`}
              disabled={view.stopped_by !== undefined}
              onClick={() => stopBulk(view.bulk_id).then(props.refresh)}
            >
              Stop
            </button>
          ),
      },
    ]}
  />
)

/** Which tasks were chosen, with which options, and why. */
function Chosen({ view }: { view: BulkView }) {
  const { filter, selected, limit, rate, patch, reason, stopped_by } = view
  const members = Object.entries(filter).map(
    ([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`,
  )
  const options = [
    limit !== undefined && `at most ${limit}`,
    rate !== undefined && `${rate} per second`,
    patch !== undefined && "with a patch",
    view.canary && "with a canary",
    stopped_by !== undefined && `stopped by ${stopped_by}`,
  ].filter(Boolean)
  const text = [
    selected === undefined ? members.join(", ") : `${plural(selected, "task")} selected`,
    ...options,
  ].join("; ")
  return (
    <>
      <span title={text}>
        <SafeText text={text} most={300} />
      </span>
      {reason && (
        <div class="reason">
          <SafeText text={reason} most={200} />
        </div>
      )}
    </>
  )
}
