/** The charts of a queue or of all queues, over a span of time that can be chosen. */
import type { HistoryAnswer, HistoryPoint } from "../wire/charting.ts"
import { queryOf, requestJson } from "./api.ts"
import { Chart, type Lines } from "./chart.tsx"
import { recent } from "./feed.ts"
import { useData } from "./live.ts"
import { MarkList, marksIn } from "./marks.tsx"
import { ProblemNote } from "./parts.tsx"
import { refine } from "./route.ts"
import { completePoints, linesOf, perSecond, SPANS, type Span, spanOf } from "./spans.ts"
import { formatDuration } from "./text.tsx"

const DEPTH_LINES: Lines = [
  { label: "queued", color: "accent" },
  { label: "delayed", color: "delayed" },
  { label: "processing", color: "running" },
]
const RATE_LINES: Lines = [
  { label: "submitted", color: "accent" },
  { label: "done", color: "good" },
  { label: "failed", color: "bad" },
]
const PERCENTILE_LINES: Lines = [
  { label: "p50", color: "good" },
  { label: "p95", color: "running" },
  { label: "p99", color: "bad" },
]
/** There is no half of a task, nor a label for half of a millisecond. */
const COUNT_STEPS = Array.from({ length: 28 }, (_, i) => [1, 2, 5][i % 3]! * 10 ** Math.floor(i / 3))
const [SECOND, MINUTE, HOUR, DAY] = [1_000, 60_000, 3_600_000, 86_400_000]
const DURATION_STEPS = [
  ...COUNT_STEPS.filter(step => step < SECOND),
  ...[SECOND, MINUTE].flatMap(unit => [1, 2, 5, 10, 30].map(count => count * unit)),
  ...[1, 2, 6, 12].map(count => count * HOUR),
  ...COUNT_STEPS.map(count => count * DAY),
]
const RATES = [
  (point: HistoryPoint) => perSecond(point.submitted, point),
  (point: HistoryPoint) => perSecond(point.done, point),
  (point: HistoryPoint) => perSecond(point.failed + point.lapsed, point),
]
const DEPTHS = (["queued", "delayed", "processing"] as const).map(
  of => (point: HistoryPoint) => point.depth?.[of],
)
const percentilesOf = (of: "wait_ms" | "run_ms") =>
  (["p50", "p95", "p99"] as const).map(share => (point: HistoryPoint) => point[of]?.[share])
const WAITS = percentilesOf("wait_ms")
const RUNS = percentilesOf("run_ms")

export const loadHistory = (
  { seconds, step }: Span,
  what: { queue?: string | undefined; types?: "true" },
  signal: AbortSignal,
): Promise<HistoryAnswer> => {
  // A minute more: the current one is not complete.
  const from = recent.now() - (seconds + 60) * 1_000
  return requestJson("GET", `/history${queryOf({ ...what, from_at: from, step })}`, undefined, signal)
}

export function Charts({ queue, query }: { queue?: string; query: URLSearchParams }) {
  const span = spanOf(query)
  const load = async (signal: AbortSignal) => {
    const answer = await loadHistory(span, { queue }, signal)
    if (span === SPANS[0]) recent.addPast(completePoints(answer), queue)
    return answer
  }
  const { value, problem, stale } = useData(`${queue ?? ""} ${span.name}`, load, { pollMs: span.pollMs })
  const answer = stale ? undefined : value
  const live = span === SPANS[0]
  return (
    <section class="history" aria-label="History">
      <fieldset class="spans">
        <legend class="hidden">Time span</legend>
        {SPANS.map(of => (
          <button
            key={of.name}
            type="button"
            aria-pressed={of === span}
            onClick={() => refine({ span: of === SPANS[0] ? "" : of.name })}
          >
            {of.label}
          </button>
        ))}
      </fieldset>
      {problem && <ProblemNote problem={problem} />}
      <MarkList marks={marksIn(answer)} seconds={span.seconds} />
      <div class="charts" key={span.name}>
        <Chart
          title="Throughput"
          unit="tasks per second"
          lines={RATE_LINES}
          answer={answer}
          points={of => (live ? recent.throughput(queue) : linesOf(of, RATES))}
          span={span}
        />
        <Chart
          title="Depth"
          unit="tasks"
          lines={DEPTH_LINES}
          answer={answer}
          points={of => (live ? recent.depth(queue) : linesOf(of, DEPTHS))}
          span={span}
          steps={COUNT_STEPS}
        />
        <Chart
          title="Wait"
          unit="from submit to first lease"
          lines={PERCENTILE_LINES}
          answer={answer}
          points={of => linesOf(of, WAITS)}
          span={span}
          format={formatDuration}
          steps={DURATION_STEPS}
        />
        <Chart
          title="Run time"
          unit="from lease to ack"
          lines={PERCENTILE_LINES}
          answer={answer}
          points={of => linesOf(of, RUNS)}
          span={span}
          format={formatDuration}
          steps={DURATION_STEPS}
        />
      </div>
    </section>
  )
}
