/** A row of the bench: what it measures, and the lines that it produces. */
import type { Cpu } from "./contender.ts"

export interface Line {
  contender: string
  unit: string
  /** One value per round. */
  values: number[]
  /** One entry per round. */
  cpu?: Cpu[]
  /** One ratio per round, so that a disturbance of a round affects both sides of its ratio. */
  ratio?: { of: string; values: number[] }
  /** The target for the median of the ratio or, without a ratio, of the values. */
  target?: { atLeast: number } | { atMost: number }
  note?: string
  /** Its x value in the chart of the row. */
  at?: number
}

export interface Run {
  quick: boolean
  rounds: number
  /** The number of tasks in the row `memory`. */
  memoryTasks: number
  progress(text: string): void
}

/** A chart with a logarithmic x axis, drawn from the lines that have `at`. */
export interface Chart {
  file: string
  title: string
  x: string
  y: string
  series(lines: readonly Line[]): Record<string, [x: number, y: number][]>
}

export interface Row {
  name: string
  title: string
  /** Whether `--quick` skips it. */
  long?: boolean
  measure(run: Run): Promise<Line[]>
  chart?: Chart
}

/** The line of a contender that is not installed. */
export const absent = (contender: string): Line => ({
  contender,
  unit: "",
  values: [],
  note: "not installed",
})
