/** Line charts of the last five minutes. The legend shows the latest values, or those under the pointer. */
import { useLayoutEffect, useRef, useState } from "preact/hooks"
import uPlot from "uplot"
import { CHART_DELAY_SECONDS, HISTORY_SECONDS } from "./history.ts"
import { useClock } from "./live.ts"
import { onColors } from "./preferences.ts"
import { formatClock, formatRate } from "./text.tsx"

export type Lines = readonly { label: string; color: string }[]
type Points = [number[], ...(number | null)[][]]
const HEIGHT = 150
const MINUTE_SECONDS = 60
/** A label this near to the left edge would touch the labels of the other axis. */
const MIN_LABEL_SECONDS = 18

/** All charts show the same time. */
function timeRange(): [number, number] {
  const end = Math.floor(Date.now() / 1_000) - CHART_DELAY_SECONDS
  return [end - HISTORY_SECONDS + 1, end]
}

/** The full minutes, so that all charts have their labels at the same places. */
function minutesIn([begin, end]: [number, number]): number[] {
  const minutes: number[] = []
  const first = Math.ceil((begin + MIN_LABEL_SECONDS) / MINUTE_SECONDS) * MINUTE_SECONDS
  for (let at = first; at <= end; at += MINUTE_SECONDS) minutes.push(at)
  return minutes
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
  points,
  unit,
}: {
  title: string
  lines: Lines
  points: () => Points
  unit: string
}) {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | undefined>(undefined)
  const [at, setAt] = useState<number | null>(null)
  useClock()
  const data = points()

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
            x: { range: timeRange },
            y: { range: (_, __, max) => [0, Math.max(1, max * 1.15)] },
          },
          axes: [
            {
              ...axis,
              size: 26,
              splits: () => minutesIn(timeRange()),
              values: (_, splits) => splits.map(s => formatClock(s * 1_000).slice(0, 5)),
            },
            { ...axis, size: 44, space: 28, values: (_, splits) => splits.map(formatRate) },
          ],
          series: [
            {},
            ...lines.map(({ label, color }, i) => ({
              label,
              stroke: colorOf(color),
              width: 1.5,
              points: { show: false },
              ...(i === 0 ? { fill: `color-mix(in srgb, ${colorOf(color)} 10%, transparent)` } : {}),
            })),
          ],
          hooks: { setCursor: [({ cursor }) => setAt(cursor.idx ?? null)] },
        },
        data as uPlot.AlignedData,
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
        <span class="dim">{at !== null && time ? formatClock(time * 1_000) : unit}</span>
        <dl>
          {lines.map(({ label, color }, line) => (
            <div key={label}>
              <dt class={`line-${color}`}>{label}</dt>
              <dd>{data[line + 1]![i] == null ? "–" : formatRate(data[line + 1]![i]!)}</dd>
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
