/** The timeline of a task: when it was created, its waits, its attempts as bars, and its end. */
import type { TaskView, WhyAnswer } from "../wire/inspecting.ts"
import { can } from "./api.ts"
import { brokerNow } from "./clock.ts"
import { useClock, useData } from "./live.ts"
import { loadPauses } from "./loaded-task.ts"
import { firstLineOf } from "./task-words.ts"
import { escapeInvisible, formatDuration, formatMoment, SafeText, Time } from "./text.tsx"
import { type Overlap, type Step, stepsOf } from "./timeline-steps.ts"

/** The width of the bars in units of their own. A bar is at least this wide, so that short attempts can be seen. */
const WIDTH = 1_000
const MIN_WIDTH = 6

/** The pause of a task that waits is also in /why, so that no event is needed. */
const PAUSES_POLL_MS = 30_000

export function Timeline({ task, why }: { task: TaskView; why: WhyAnswer | undefined }) {
  useClock()
  const now = brokerNow()
  const { queue, group } = task
  const load = async (signal: AbortSignal) => (can("read") ? loadPauses({ queue, group }, signal) : [])
  const key = JSON.stringify([queue, group, task.attempt, why?.cause])
  const { value: pauses } = useData(key, load, { pollMs: PAUSES_POLL_MS })
  const steps = stepsOf(task, why, pauses, now)
  const begin = task.created_at
  const end = Math.max(begin + 1, task.finished_at ?? now)
  return (
    <section class="panel" aria-label="Timeline">
      <header>
        <h2>Timeline</h2>
        <span class="dim">{formatDuration(end - begin)}</span>
      </header>
      <ol class="timeline">
        {steps.map((step, i) => (
          <li
            key={i}
            class={step.kind === "attempt" ? step.outcome : step.kind === "end" ? task.status : "gap"}
          >
            <StepText step={step} now={now} />
            {"from" in step && (
              <Bar from={step.from - begin} to={(step.to ?? now) - begin} of={end - begin} kind={step.kind} />
            )}
          </li>
        ))}
      </ol>
    </section>
  )
}

function StepText({ step, now }: { step: Step; now: number }) {
  switch (step.kind) {
    case "created":
      return <Moment what="created" at={step.at} />
    case "end":
      return <Moment what={step.text} at={step.at} />
    case "unrecorded":
      return (
        <div class="dim">
          {step.first === step.last
            ? `attempt ${step.first} is`
            : `attempts ${step.first} to ${step.last} are`}{" "}
          not recorded
        </div>
      )
    case "wait":
      return (
        <div class="dim">
          {step.to === undefined ? "waiting for" : "waited"} {formatDuration((step.to ?? now) - step.from)}{" "}
          {step.after}
          {reasonsOf(step)}
          {step.until !== undefined && `, until ${formatMoment(step.until)}`}
          {step.pauses.map((overlap, i) => (
            <PauseText key={i} {...overlap} now={now} />
          ))}
        </div>
      )
    case "attempt":
      return (
        <>
          <div>
            <strong>{step.attempt}</strong> {step.outcome}{" "}
            <span class="dim">{step.to === undefined ? "for" : "after"}</span>{" "}
            {formatDuration((step.to ?? now) - step.from)}
            <span class="dim when">
              {formatMoment(step.from)}, <Time at={step.from} />
            </span>
          </div>
          {step.worker && (
            <div class="dim mono">
              <SafeText text={step.worker} most={64} />
            </div>
          )}
          {step.error && (
            <div class="error" title={escapeInvisible(step.error, 2_000)}>
              <SafeText text={firstLineOf(step.error)} most={500} />
            </div>
          )}
        </>
      )
  }
}

/** `, for a backoff of 4 s, then a worker or a limit`; of a wait that lasts: `; now: its queue is paused`. */
function reasonsOf({ to, backoff, cause }: Extract<Step, { kind: "wait" }>): string {
  if (to === undefined) return cause === undefined ? "" : `; now: ${cause}`
  const delay = backoff && `a backoff of ${backoff.isRandom ? "up to " : ""}${formatDuration(backoff.ms)}`
  return `, for ${[delay, cause].filter(Boolean).join(", then ")}`
}

const PauseText = ({ pause: { what, by, reason }, from, to, now }: Overlap & { now: number }) => (
  <div>
    its {what} was paused for {formatDuration((to ?? now) - from)} of it, by <SafeText text={by} most={64} />
    {reason !== "" && (
      <>
        : <SafeText text={reason} most={200} />
      </>
    )}
  </div>
)

const Moment = ({ what, at }: { what: string; at: number }) => (
  <div>
    {what}
    <span class="dim when">
      {formatMoment(at)}, <Time at={at} />
    </span>
  </div>
)

function Bar({ from, to, of, kind }: { from: number; to: number; of: number; kind: string }) {
  const at = (ms: number) => (Math.min(of, Math.max(0, ms)) / of) * WIDTH
  const width = Math.max(MIN_WIDTH, at(to) - at(from))
  return (
    <svg class={`bar ${kind}`} viewBox={`0 0 ${WIDTH} 6`} preserveAspectRatio="none" aria-hidden="true">
      <rect x={Math.min(at(from), WIDTH - width)} width={width} height={6} />
    </svg>
  )
}
