/** Marks of moments, such as deploys: a dashed line in each chart, and what they mean above the charts. */
import type uPlot from "uplot"
import type { HistoryAnswer, Mark } from "../wire/charting.ts"
import { brokerNow } from "./clock.ts"
import { SafeText, Time } from "./text.tsx"

const MAX_LISTED = 4

/** A broker of an earlier version sends no marks. */
export const marksIn = (answer: Partial<HistoryAnswer> = {}): readonly Mark[] => answer.marks ?? []

export function drawMarks(plot: uPlot, marks: readonly Mark[], color: string): void {
  const { ctx, bbox } = plot
  ctx.save()
  ctx.strokeStyle = color
  ctx.lineWidth = devicePixelRatio
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio])
  for (const { at } of marks) {
    // Half a pixel more makes a line of an odd width sharp.
    const x = Math.round(plot.valToPos(at / 1_000, "x", true)) + (ctx.lineWidth % 2) / 2
    if (x < bbox.left || x > bbox.left + bbox.width) continue
    ctx.beginPath()
    ctx.moveTo(x, bbox.top)
    ctx.lineTo(x, bbox.top + bbox.height)
    ctx.stroke()
  }
  ctx.restore()
}

export function MarkList({ marks, seconds }: { marks: readonly Mark[]; seconds: number }) {
  const shown = marks.filter(({ at }) => at > brokerNow() - seconds * 1_000).reverse()
  if (shown.length === 0) return null
  return (
    <ul class="marks" aria-label="Marks in the charts">
      {shown.slice(0, MAX_LISTED).map(({ at, text, by }) => (
        <li key={`${at} ${text}`} title={`by ${by}`}>
          <SafeText text={text} most={100} />{" "}
          <span class="dim">
            <Time at={at} />
          </span>
        </li>
      ))}
      {shown.length > MAX_LISTED && <li class="dim">and {shown.length - MAX_LISTED} more</li>}
    </ul>
  )
}
