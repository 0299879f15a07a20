/** The attempts of a task side by side, and its log lines by attempt. */
import type { TaskView } from "../wire/inspecting.ts"
import { type AttemptRow, logByAttempt, rowsOf } from "./attempt-rows.ts"
import { Badge } from "./parts.tsx"
import { times } from "./preferences.ts"
import { useStore } from "./store.ts"
import { Table } from "./table.tsx"
import { firstLineOf } from "./task-words.ts"
import { formatDuration, formatMoment, SafeText, Time } from "./text.tsx"
import { TextBlock } from "./text-block.tsx"

/** Shown if there are several: the timeline tells everything of one. */
export function Attempts({ task }: { task: TaskView }) {
  const rows = rowsOf(task)
  if (rows.length < 2) return null
  const longest = Math.max(1, ...rows.map(({ ranMs = 0 }) => ranMs))
  const duration = (ms: number | undefined) => (ms === undefined ? "–" : formatDuration(ms))
  return (
    <section class="attempts" aria-label="Attempts">
      <h2>Attempts</h2>
      <Table
        label="Attempts"
        rows={rows}
        keyOf={({ attempt }) => String(attempt)}
        columns={[
          { head: "Attempt", cell: ({ attempt }) => attempt },
          { head: "Outcome", cell: ({ outcome }) => <Badge of={outcome}>{outcome.replace("_", " ")}</Badge> },
          { head: "Worker", cell: ({ worker }) => worker && <SafeText text={worker} most={64} /> },
          { head: "Started", num: true, wide: true, cell: ({ started_at }) => <Time at={started_at} /> },
          { head: "Waited", num: true, cell: ({ waitedMs }) => duration(waitedMs) },
          {
            head: "Ran",
            num: true,
            cell: ({ ranMs, attempt }) => (
              <>
                {ranMs !== undefined && (
                  <meter
                    class="wide"
                    min={0}
                    max={longest}
                    value={ranMs}
                    aria-label={`Attempt ${attempt} ran`}
                  />
                )}{" "}
                {duration(ranMs)}
              </>
            ),
          },
          rows.some(({ logged }) => logged > 0) && {
            head: "Log lines",
            num: true,
            wide: true,
            cell: ({ logged }) => logged,
          },
          { head: "Error", grow: true, cell: row => <AttemptError {...row} /> },
        ]}
      />
    </section>
  )
}

function AttemptError({ error, sameAs }: AttemptRow) {
  if (error === undefined) return null
  if (sameAs !== undefined) return <span class="dim">as in attempt {sameAs}</span>
  const first = firstLineOf(error)
  const rest = error.trim().slice(first.length).trim()
  const line = (
    <span class="error">
      <SafeText text={first} most={300} />
    </span>
  )
  return rest === "" ? (
    line
  ) : (
    <details>
      <summary>{line}</summary>
      <pre>
        <SafeText text={rest} most={2_000} />
      </pre>
    </details>
  )
}

/** The lines of each attempt come after a line that names it, if there are several attempts. */
export function LogBlock({ task }: { task: TaskView }) {
  useStore(times)
  const logs = logByAttempt(task)
  if (logs.length === 0) return null
  const isSplit = (task.attempts?.length ?? 0) > 1
  const text = logs
    .flatMap(({ attempt, worker, lines }, i) => [
      ...(isSplit
        ? [
            `${i > 0 ? "\n" : ""}${attempt === undefined ? "earlier attempts" : `attempt ${attempt}${worker ? `, ${worker}` : ""}`}`,
          ]
        : []),
      ...lines.map(({ at, text }) => (at === undefined ? text : `${formatMoment(at)}  ${text}`)),
    ])
    .join("\n")
  return <TextBlock label="Log" text={text} short={text} name={`${task.id}-log.txt`} />
}
