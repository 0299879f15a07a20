/** The types of a queue in the span of time of its charts: how many tasks, how many failed, and how long they ran. */
import type { TypeTotal } from "../wire/charting.ts"
import { queryOf } from "./api.ts"
import { loadHistory } from "./charts.tsx"
import { useData } from "./live.ts"
import { Empty, ProblemNote, Skeleton } from "./parts.tsx"
import { spanOf } from "./spans.ts"
import { Table } from "./table.tsx"
import { formatCount, formatDuration, formatRate, SafeText } from "./text.tsx"

/** Without a type: all types beyond the busiest. */
type Row = Omit<TypeTotal, "type"> & { type?: string }

export function Types({ queue, query }: { queue: string; query: URLSearchParams }) {
  const span = spanOf(query)
  const { value, problem, stale } = useData(
    `${queue} ${span.name}`,
    signal => loadHistory(span, { queue, types: "true" }, signal),
    { pollMs: span.pollMs },
  )
  if (value === undefined) return problem ? <ProblemNote problem={problem} /> : <Skeleton rows={4} />
  const { types = [], other } = value
  const rows: Row[] = other === undefined ? [...types] : [...types, other]
  if (rows.length === 0)
    return (
      <Empty title={`No task of this queue was submitted, leased or acked in the last ${span.label}`}>
        <p>Brokers record it within 20 s. Choose a longer time above the charts.</p>
      </Empty>
    )
  const failures = ({ failed, lapsed }: Row) => failed + lapsed
  const number = (head: string, of: (row: Row) => number) => ({
    head,
    num: true,
    cell: (row: Row) => (of(row) === 0 ? <span class="dim">0</span> : formatCount(of(row))),
  })
  const duration = (head: string, of: (row: Row) => number | undefined) => ({
    head,
    num: true,
    cell: (row: Row) => {
      const ms = of(row)
      return ms === undefined ? <span class="dim">–</span> : formatDuration(ms)
    },
  })
  return (
    <Table
      label={`Types in the last ${span.label}`}
      stale={stale}
      rows={rows}
      keyOf={({ type }) => (type === undefined ? "" : `=${type}`)}
      columns={[
        {
          head: "Type",
          grow: true,
          cell: ({ type }) =>
            type === undefined ? (
              <span class="dim">other types</span>
            ) : (
              <a
                class="name"
                href={`#/queues/${encodeURIComponent(queue)}${queryOf({ state: "all", type, span: span.name })}`}
              >
                <SafeText text={type} most={80} />
              </a>
            ),
        },
        number("Submitted", ({ submitted }) => submitted),
        number("Done", ({ done }) => done),
        number("Failures", failures),
        {
          head: "Failure rate",
          num: true,
          cell: row => {
            const ended = row.done + failures(row)
            return ended === 0 ? <span class="dim">–</span> : `${formatRate((failures(row) / ended) * 100)} %`
          },
        },
        number("Dead", ({ dead }) => dead),
        duration("Run p50", ({ run_ms }) => run_ms?.p50),
        duration("Run p95", ({ run_ms }) => run_ms?.p95),
        duration("Wait p95", ({ wait_ms }) => wait_ms?.p95),
      ]}
    />
  )
}
