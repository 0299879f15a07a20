/** The lines of all rows as one Markdown table that is readable in a terminal. */
import type { Cpu } from "./contender.ts"
import type { Line } from "./row.ts"
import { median } from "./statistics.ts"

const HEAD = [
  "row",
  "contender",
  "median (min–max)",
  "unit",
  "CPU s per 1,000 tasks",
  "ratio",
  "of",
  "target",
  "",
  "note",
]

export function table(rows: readonly { name: string; lines: readonly Line[] }[]): string {
  const cells = rows.flatMap(({ name, lines }) => lines.map(line => [name, ...cellsOf(line)]))
  const widths = HEAD.map((head, i) => Math.max(3, head.length, ...cells.map(row => row[i]!.length)))
  const write = (row: readonly string[]) => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`
  return [write(HEAD), `|${widths.map(width => "-".repeat(width + 2)).join("|")}|`, ...cells.map(write)].join(
    "\n",
  )
}

function cellsOf({ contender, unit, values, cpu, ratio, target, note = "" }: Line): string[] {
  const measured = ratio?.values ?? values
  return [
    contender,
    range(values),
    unit,
    cpu === undefined ? "" : cpuText(cpu),
    ratio === undefined ? "" : range(ratio.values),
    ratio?.of ?? "",
    target === undefined ? "" : "atLeast" in target ? `≥ ${target.atLeast}` : `≤ ${target.atMost}`,
    target === undefined || measured.length === 0 ? "" : reached(median(measured), target) ? "yes" : "NO",
    note,
  ]
}

/** The sum and its parts. */
function cpuText(rounds: readonly Cpu[]): string {
  const parts = Object.keys(rounds[0]!).map(part => [part, median(rounds.map(cpu => cpu[part]!))] as const)
  const sum = parts.reduce((sum, [, seconds]) => sum + seconds, 0)
  return `${sum.toFixed(3)}: ${parts.map(([part, seconds]) => `${part} ${seconds.toFixed(3)}`).join(", ")}`
}

export function reached(value: number, target: NonNullable<Line["target"]>): boolean {
  return "atLeast" in target ? value >= target.atLeast : value <= target.atMost
}

function range(values: readonly number[]): string {
  if (values.length === 0) return "–"
  const [min, max] = [Math.min(...values), Math.max(...values)]
  const middle = number(median(values))
  return values.length === 1 ? middle : `${middle} (${number(min)}–${number(max)})`
}

/** Three significant digits. */
function number(value: number): string {
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString("en-US")
  return value.toFixed(value === 0 || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2)
}
