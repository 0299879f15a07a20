/**
 * bun run faults [--seed N] [--faults N] [--tasks N] [--json FILE] …: real processes, faults out of a seed, and a
 * report of one page; ends with 1 where a promise was broken. The seed gives the schedule and the workload again,
 * not the timing: a failure may take several runs to come again.
 */
import { parseArgs } from "node:util"
import { findPlanted } from "./planted/find.ts"
import { broken, figures, page } from "./report.ts"
import { DEFAULTS, runFaults } from "./run.ts"

const NUMBERS = {
  seed: "seed",
  faults: "faults",
  tasks: "tasks",
  brokers: "brokers",
  workers: "workers",
  clients: "clients",
  batch: "batch",
  "lease-ms": "leaseMs",
  "gap-ms": "gapMs",
  "at-once": "atOnce",
  "drain-ms": "drainMs",
} as const

const { values } = parseArgs({
  options: {
    ...(Object.fromEntries(Object.keys(NUMBERS).map(name => [name, { type: "string" }])) as Record<
      keyof typeof NUMBERS,
      { type: "string" }
    >),
    json: { type: "string" },
    keep: { type: "boolean" },
    planted: { type: "boolean" },
    only: { type: "string" },
  },
})

const given = Object.fromEntries(
  Object.entries(NUMBERS).flatMap(([name, member]) => {
    const value = values[name as keyof typeof NUMBERS]
    if (value === undefined) return []
    if (!/^\d+$/.test(value)) throw new Error(`--${name} takes a whole number, and not ${value}`)
    return [[member, Number(value)]]
  }),
)
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1))
const tell = (line: string) => console.error(line)

if (values.planted) process.exit((await findPlanted(values.only, console.log)) ? 0 : 1)

const result = await runFaults({
  ...DEFAULTS,
  seed: Math.floor(Math.random() * 1e9),
  ...given,
  keep: values.keep,
  tell,
})
console.log(page(result))
if (values.json !== undefined) await Bun.write(values.json, JSON.stringify(figures(result), undefined, 2))
process.exit(broken(result) ? 1 : 0)
