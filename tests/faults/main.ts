/**
 * bun run faults [--seed N] [--faults N] [--tasks N] [--json FILE] [--topology single|sentinel|cluster]
 * [--wait-replicas N] [--replicas N, per master of a Cluster] [--failovers N] …: runs real processes under faults drawn
 * from a seed and prints a report. The exit code is 1 if a guarantee was violated. With too few --wait-replicas, failovers
 * may lose answered writes: these are counted. The seed repeats the faults and tasks but not the timing, so it may take
 * several runs to reproduce a failure.
 */
import { parseArgs } from "node:util"
import { cluster, sentinels } from "./failover.ts"
import { findPlanted } from "./planted/find.ts"
import { broken, figures, page } from "./report.ts"
import { DEFAULTS, runFaults } from "./run.ts"
import { singleServer } from "./target.ts"

const NUMBERS = {
  seed: "seed",
  faults: "faults",
  failovers: "failovers",
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
    topology: { type: "string", default: "single" },
    "wait-replicas": { type: "string", default: "0" },
    replicas: { type: "string", default: "1" },
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
    if (!/^\d+$/.test(value)) throw new Error(`--${name} must be a whole number, not ${value}`)
    return [[member, Number(value)]]
  }),
)
const waitReplicas = Number(values["wait-replicas"])
const TARGETS = {
  single: singleServer,
  sentinel: () => sentinels(waitReplicas),
  cluster: () => cluster(waitReplicas, Number(values.replicas)),
}
const target = TARGETS[values.topology as keyof typeof TARGETS]
if (target === undefined) throw new Error(`--topology is one of ${Object.keys(TARGETS).join(", ")}`)
if (target === singleServer && waitReplicas > 0)
  throw new Error("--wait-replicas needs a topology with replicas")

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1))
const report = (line: string) => console.error(line)

if (values.planted) process.exit((await findPlanted(values.only, console.log)) ? 0 : 1)

const result = await runFaults({
  ...DEFAULTS,
  seed: Math.floor(Math.random() * 1e9),
  ...given,
  target,
  keep: values.keep,
  report,
})
console.log(page(result))
if (values.json !== undefined) await Bun.write(values.json, JSON.stringify(figures(result), undefined, 2))
process.exit(broken(result) ? 1 : 0)
