/** The recent attempts of a worker as bars over time. The table below it has the same facts as text. */
import { brokerNow } from "./clock.ts"
import { lanesOf } from "./lanes.ts"
import { formatDuration, plural } from "./text.tsx"

const WIDTH = 1_000
const LANE = 12
const BAR = 9
/** A shorter attempt is drawn this wide. */
const MIN_WIDTH = 2
const MAX_LANES = 30
const MIN_SPAN_MS = 60_000

interface AttemptBar {
  key: string
  label: string
  from: number
  to: number | undefined
  outcome: string
}

export function WorkerTimeline({ bars }: { bars: readonly AttemptBar[] }) {
  const now = brokerNow()
  const sorted = bars.toSorted((a, b) => a.from - b.from)
  const begin = Math.min(sorted[0]?.from ?? now, now - MIN_SPAN_MS)
  const scale = WIDTH / (now - begin)
  const lanes = lanesOf(sorted)
  const count = Math.min(MAX_LANES, Math.max(0, ...lanes) + 1)
  return (
    <figure class="panel lanes">
      <svg
        viewBox={`0 0 ${WIDTH} ${count * LANE}`}
        preserveAspectRatio="none"
        height={count * LANE}
        role="img"
        aria-label={`${plural(bars.length, "attempt")} over ${formatDuration(now - begin)}, at most ${Math.max(0, ...lanes) + 1} at a time`}
      >
        {sorted.map(({ key, label, from, to = now, outcome }, i) =>
          lanes[i]! >= MAX_LANES ? null : (
            <rect
              key={key}
              class={`attempt-bar ${outcome}`}
              x={(from - begin) * scale}
              y={lanes[i]! * LANE}
              width={Math.max(MIN_WIDTH, (to - from) * scale)}
              height={BAR}
            >
              <title>{label}</title>
            </rect>
          ),
        )}
      </svg>
      <figcaption class="dim">
        <span>{formatDuration(now - begin)} ago</span>
        <span>now</span>
      </figcaption>
    </figure>
  )
}
