/** What needs attention: the strip above the list of queues, the marks of one queue, and the fields of its thresholds. */
import { ATTENTION_DEFAULTS, type AttentionKind, type AttentionThresholds } from "../wire/attention.ts"
import type { Attention, QueuesAnswer } from "../wire/managing.ts"
import type { AttentionSettings } from "../wire/queue-settings.ts"
import { Field } from "./fields.tsx"
import { QueueLink } from "./parts.tsx"
import { refine } from "./route.ts"
import { formatCount, SafeText, Time } from "./text.tsx"

const MAX_SHOWN = 5

/** The name of each kind, and the view that helps. */
const KINDS: Record<AttentionKind, { label: string; view: (queue: string) => string }> = {
  no_workers: { label: "No workers", view: queue => `workers?queue=${queue}` },
  waiting: { label: "Long wait", view: queue => `queues/${queue}?state=queued` },
  schedule_late: { label: "Late schedule", view: queue => `schedules?queue=${queue}` },
  lapsing: { label: "Leases lapse", view: queue => `events?queue=${queue}&event=lapsed` },
  failing: { label: "Failing", view: queue => `queues/${queue}?state=delayed` },
  growing: { label: "Growing", view: queue => `queues/${queue}?state=queued` },
  dead: { label: "Dead", view: queue => `dead?queue=${queue}` },
  paused: { label: "Paused", view: queue => `queues/${queue}` },
}

function KindLink({ queue, entry: { kind, why } }: { queue: string; entry: Attention }) {
  const { label, view } = KINDS[kind]
  return (
    <a class={`kind ${kind}`} href={`#/${view(encodeURIComponent(queue))}`} title={why}>
      {label}
    </a>
  )
}

export const KindLinks = ({ queue, attention }: { queue: string; attention: readonly Attention[] }) => (
  <>
    {attention.map(entry => (
      <KindLink key={entry.kind} queue={queue} entry={entry} />
    ))}
  </>
)

type Worst = NonNullable<QueuesAnswer["worst"]>

/** The queues that need attention most, each with its worst trouble in words. */
export function AttentionStrip({ worst, count }: { worst: Worst; count: number }) {
  if (worst.length === 0) return null
  const shown = worst.slice(0, MAX_SHOWN)
  return (
    <section class="panel attention" aria-label="Needs attention">
      <h2>
        Needs attention <span class="dim">{count === 1 ? "1 queue" : `${formatCount(count)} queues`}</span>
      </h2>
      <ul>
        {shown.map(({ queue, attention: [first, ...more] }) => (
          <li key={queue}>
            <QueueLink queue={queue} />
            <KindLink queue={queue} entry={first!} />
            <span class="why">
              <SafeText text={first!.why} most={300} />
            </span>
            <KindLinks queue={queue} attention={more} />
            {first!.since_at !== undefined && (
              <span class="dim since">
                <Time at={first!.since_at} />
              </span>
            )}
          </li>
        ))}
      </ul>
      {count > shown.length && (
        <button type="button" class="quiet" onClick={() => refine({ order: "", name: "" })}>
          {formatCount(count - shown.length)} more at the top of the list
        </button>
      )}
    </section>
  )
}

/** What is wrong with one queue, in words. */
export const AttentionList = ({ queue, attention }: { queue: string; attention: readonly Attention[] }) =>
  attention.length === 0 ? null : (
    <section class="panel attention" aria-label="Needs attention">
      <ul>
        {attention.map(entry => (
          <li key={entry.kind}>
            <KindLink queue={queue} entry={entry} />
            <span class="why">
              <SafeText text={entry.why} most={300} />
            </span>
            {entry.since_at !== undefined && (
              <span class="dim since">
                <Time at={entry.since_at} />
              </span>
            )}
          </li>
        ))}
      </ul>
    </section>
  )

type Threshold = keyof AttentionThresholds
const SECOND_MS = 1_000

/** The fields of the dialog, with the unit that a person enters. */
const FIELDS: readonly (readonly [name: Threshold, label: string, unit: string, factor: number])[] = [
  ["idle_poll_ms", "No worker has polled for", "s", SECOND_MS],
  ["oldest_wait_ms", "A task waits for", "s", SECOND_MS],
  ["schedule_late_ms", "A schedule is late by", "s", SECOND_MS],
  ["lapses", "Leases that lapsed in ten minutes", "", 1],
  ["failure_percent", "Attempts that failed in ten minutes", "%", 1],
  ["growth", "Growth of the backlog in ten minutes", "tasks", 1],
  ["dead", "Tasks that died in 24 hours", "", 1],
  ["paused_ms", "Paused for", "s", SECOND_MS],
]

/** What is in the fields: numbers, "off", or nothing for the default. */
type ThresholdTexts = Partial<Record<Threshold, string>>

export const textsOf = (settings: AttentionSettings = {}): ThresholdTexts =>
  Object.fromEntries(
    FIELDS.flatMap(([name, , , factor]) => {
      const value = settings[name]
      return value === undefined ? [] : [[name, value === "off" ? value : String(value / factor)]]
    }),
  )

/** The thresholds of the fields; undefined: all have their defaults. */
export function thresholdsOf(texts: ThresholdTexts): AttentionSettings | undefined {
  const set = FIELDS.flatMap(([name, , , factor]) => {
    const text = texts[name]?.trim().toLowerCase() ?? ""
    return text === "" ? [] : [[name, text === "off" ? text : Math.round(Number(text) * factor)] as const]
  })
  return set.length === 0 ? undefined : (Object.fromEntries(set) as AttentionSettings)
}

export const ThresholdFields = (props: {
  texts: ThresholdTexts
  onInput: (texts: ThresholdTexts) => void
}) => (
  <details class="thresholds" open={Object.keys(props.texts).length > 0}>
    <summary>When the queue needs attention</summary>
    <p class="dim">Leave a field empty to use the default. "off" disables the check.</p>
    <div class="row">
      {FIELDS.map(([name, label, unit, factor]) => (
        <Field key={name} label={unit === "" ? label : `${label} (${unit})`}>
          {id => (
            <input
              id={id}
              type="text"
              inputMode="decimal"
              pattern="[0-9]+([.][0-9]+)?|[oO][fF][fF]"
              title='A number, or "off"'
              autocomplete="off"
              placeholder={String(ATTENTION_DEFAULTS[name] / factor)}
              value={props.texts[name] ?? ""}
              // A folded field cannot get the focus, so the browser would refuse to save without a word.
              onInvalid={event => event.currentTarget.closest("details")!.setAttribute("open", "")}
              onInput={event => props.onInput({ ...props.texts, [name]: event.currentTarget.value })}
            />
          )}
        </Field>
      ))}
    </div>
  </details>
)
