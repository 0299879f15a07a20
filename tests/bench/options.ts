/** The command-line options of `bun run bench`. */
import { parseArgs } from "node:util"

export interface Options {
  quick: boolean
  only: string[]
  rounds: number
  memoryTasks: number
  json: string | undefined
  out: string | undefined
}

export const USAGE = `bun run bench [--quick] [--only row,…] [--rounds n] [--json FILE] [--out DIR] [--tasks n]
  --quick   fewer tasks and rounds: under 2 minutes instead of under 15
  --only    measures only these rows
  --rounds  turns of each contender (default: 3; with --quick 2)
  --json    writes the figures of every round to this file
  --out     writes the charts as SVG into this directory
  --tasks   tasks in the row \`memory\` (default: 2000000)`

export function readOptions(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string", default: "" },
      rounds: { type: "string" },
      json: { type: "string" },
      out: { type: "string" },
      tasks: { type: "string", default: "2000000" },
    },
  })
  const count = (name: string, text: string) => {
    if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
    throw new Error(`--${name} must be a whole number from 1`)
  }
  return {
    quick: values.quick,
    only: values.only.split(",").filter(name => name !== ""),
    rounds: count("rounds", values.rounds ?? (values.quick ? "2" : "3")),
    memoryTasks: count("tasks", values.tasks),
    json: values.json,
    out: values.out,
  }
}
