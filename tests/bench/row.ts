/** A row of the bench: what it measures, and the lines that come of it. */
import type { Cpu } from "./contender.ts"

export interface Line {
  contender: string
  unit: string
  /** One value a round. */
  values: number[]
  /** One a round. */
  cpu?: Cpu[]
  /** Round by round, so that what disturbs a round disturbs both sides of its ratio. */
  ratio?: { of: string; values: number[] }
  /** What the median of the ratio, or else of the values, must reach. */
  target?: { atLeast: number } | { atMost: number }
  note?: string
  /** Where it stands in the chart of its row. */
  at?: number
}

export interface Run {
  quick: boolean
  rounds: number
  /** How many tasks the row `memory` passes through. */
  memoryTasks: number
  progress(text: string): void
}

/** Drawn over a logarithmic x, out of the lines that say where they stand. */
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
  /** Left out of `--quick`. */
  long?: boolean
  measure(run: Run): Promise<Line[]>
  chart?: Chart
}

/** A line for what is not there. */
export const absent = (contender: string): Line => ({
  contender,
  unit: "",
  values: [],
  note: "not installed",
})
