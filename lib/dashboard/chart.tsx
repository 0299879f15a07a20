/** Line charts over a span of time. The legend shows the latest values, or those under the pointer. */
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks"
import uPlot from "uplot"
import type { HistoryAnswer } from "../wire/charting.ts"
import { recent } from "./feed.ts"
import { CHART_DELAY_SECONDS } from "./history.ts"
import { useClock } from "./live.ts"
import { drawMarks, marksIn } from "./marks.tsx"
import { onColors, timeZone } from "./preferences.ts"
import { labelsOf, labelText, type Points, pointText, type Span } from "./spans.ts"
import { formatRate } from "./text.tsx"

export type Lines = readonly { label: string; color: string }[]
const HEIGHT = 120
/** A chart that is narrower than this has fewer labels. */
const NARROW_PIXELS = 440

/** All charts of a span show the same time. */
function timeRange({ seconds }: Span): [number, number] {
  const end = Math.floor(recent.now() / 1_000) - CHART_DELAY_SECONDS
  return [end - seconds + 1, end]
}

function highestOf([, ...lines]: uPlot.AlignedData): number {
  let highest = 0
  for (const line of lines) for (const value of line) highest = Math.max(highest, value ?? 0)
  return highest
}

/** The values between two gaps, of which no line is drawn. */
function lonePoints(values: ArrayLike<number | null | undefined>): number[] {
  const found: number[] = []
  for (let i = 0; i < values.length; i++)
    if (values[i] != null && values[i - 1] == null && values[i + 1] == null) found.push(i)
  return found
}

/** The value of the variable itself depends on the color scheme, which a canvas does not know. */
function colorOf(name: string): string {
  const root = document.documentElement
  root.style.color = `var(--${name})`
  const { color } = getComputedStyle(root)
  root.style.color = ""
  return color
}

export function Chart({
  title,
  lines,
  answer,
  points,
  unit,
  span,
  format = formatRate,
  steps,
}: {
  title: string
  lines: Lines
  answer: HistoryAnswer | undefined
  points: (answer: HistoryAnswer | undefined) => Points
  unit: string
  span: Span
  format?: (value: number) => string
  /** The distances of labels on the axis of the values, from which one is chosen. */
  steps?: readonly number[]
}) {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | undefined>(undefined)
  const [at, setAt] = useState<number | null>(null)
  const now = useClock()
  // The pointer renders the chart again as well. On a page that is held, it then shows what it showed before.
  const shown = useMemo(
    () => ({ data: points(answer), range: timeRange(span), marks: marksIn(answer) }),
    [answer, now],
  )
  const { data } = shown
  const current = useRef(shown)
  current.current = shown

  useLayoutEffect(() => {
    const element = box.current!
    const draw = () => {
      plot.current?.destroy()
      const axis = {
        stroke: colorOf("dim"),
        grid: { stroke: colorOf("line"), width: 1 },
        ticks: { show: false },
        font: "11px system-ui, sans-serif",
      }
      plot.current = new uPlot(
        {
          width: element.clientWidth,
          height: HEIGHT,
          legend: { show: false },
          cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
          scales: {
            x: { range: () => current.current.range },
            // uPlot would leave out the points just outside of the time, to which lines lead.
            y: { range: ({ data }) => [0, Math.max(1, highestOf(data) * 1.15)] },
          },
          axes: [
            {
              ...axis,
              size: 26,
              splits: ({ width }) => labelsOf(span, current.current.range, timeZone(), width < NARROW_PIXELS),
              values: (_, splits) => splits.map(at => labelText(span, at, timeZone())),
            },
            {
              ...axis,
              size: 52,
              space: 28,
              ...(steps && { incrs: steps as number[] }),
              values: (_, splits) => splits.map(format),
            },
          ],
          series: [
            {},
            ...lines.map(({ label, color }, i) => ({
              label,
              stroke: colorOf(color),
              width: 1.5,
              points: { show: true, size: 4, filter: ({ data }: uPlot) => lonePoints(data[i + 1]!) },
              ...(i === 0 ? { fill: `color-mix(in srgb, ${colorOf(color)} 10%, transparent)` } : {}),
            })),
          ],
          hooks: {
            setCursor: [({ cursor }) => setAt(cursor.idx ?? null)],
            draw: [plot => drawMarks(plot, current.current.marks, colorOf("accent"))],
          },
        },
        current.current.data as uPlot.AlignedData,
        element,
      )
    }
    draw()
    const sizes = new ResizeObserver(() => {
      const width = element.clientWidth
      if (plot.current && width !== plot.current.width) plot.current.setSize({ width, height: HEIGHT })
    })
    sizes.observe(element)
    const ignoreColors = onColors(draw)
    return () => {
      sizes.disconnect()
      ignoreColors()
      plot.current?.destroy()
      plot.current = undefined
    }
  }, [])
  useLayoutEffect(() => plot.current?.setData(data as uPlot.AlignedData), [data])

  const i = at ?? data[0].length - 1
  const time = data[0][i]
  return (
    <figure class="panel chart">
      <figcaption>
        <h2>{title}</h2>
        <span class="dim">{at !== null && time ? pointText(span, time, timeZone()) : unit}</span>
        <dl>
          {lines.map(({ label, color }, line) => (
            <div key={label}>
              <dt class={`line-${color}`}>{label}</dt>
              <dd>{data[line + 1]![i] == null ? "–" : format(data[line + 1]![i]!)}</dd>
            </div>
          ))}
        </dl>
      </figcaption>
      <div ref={box} class="plot" aria-hidden="true" />
    </figure>
  )
}

/**
 * A line without axes for a table row. What is unknown is a gap. All rows of a table have the same `most`, so that their
 * heights can be compared.
 */
export function Sparkline({ values, most }: { values: readonly (number | null)[]; most: number }) {
  const step = 100 / (values.length - 1)
  const lines: string[][] = [[]]
  values.forEach((value, i) => {
    if (value === null) lines.push([])
    else lines.at(-1)!.push(`${(i * step).toFixed(1)},${(19 - (value / most) * 17).toFixed(1)}`)
  })
  const isFlat = values.every(value => !value)
  return (
    <svg
      class={isFlat ? "spark flat" : "spark"}
      viewBox="0 0 100 20"
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      {lines.map(
        (points, i) => points.length > 1 && <polyline key={values.length - i} points={points.join(" ")} />,
      )}
    </svg>
  )
}
