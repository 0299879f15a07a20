/**
 * bun run fuzz [--requests N] [--seed N] [--json FILE]: sends valid, changed and broken requests, drawn from a seed, to a
 * broker process. The exit code is 1 if an answer or the contents of Redis are wrong.
 */
import { parseArgs } from "node:util"
import { fuzz } from "./run.ts"

const { values } = parseArgs({
  options: { requests: { type: "string" }, seed: { type: "string" }, json: { type: "string" } },
})
const number = (name: "requests" | "seed", fallback: number) => {
  const value = values[name] ?? String(fallback)
  if (!/^\d+$/.test(value)) throw new Error(`--${name} must be a whole number, not ${value}`)
  return Number(value)
}
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1))

const result = await fuzz({
  requests: number("requests", 20_000),
  seed: number("seed", Math.floor(Math.random() * 1e9)),
  report: line => console.error(line),
})
const { seed, requests, seconds, answers, codes, memoryMb, rounds, compared, failures } = result
console.log(
  `${requests} requests of seed ${seed} in ${seconds.toFixed(1)} s: ${Math.round(requests / seconds)} per second`,
)
for (const [kind, statuses] of Object.entries(answers))
  console.log(
    `  ${kind}: ${Object.entries(statuses)
      .map(([status, count]) => `${count} × ${status}`)
      .join(", ")}`,
  )
console.log(
  `  codes: ${Object.entries(codes)
    .map(([code, count]) => `${count} ${code}`)
    .join(", ")}`,
)
console.log(
  `  broker: ${memoryMb.first} MB after the first round, ${memoryMb.highest} at most, ${memoryMb.last} at the end`,
)
console.log(`  Redis: checked ${rounds} times; ${compared} tasks were compared with the answers`)
for (const failure of failures) console.log(`\n${failure}`)
console.log(failures.length === 0 ? "No failures." : `${failures.length} failures.`)
if (values.json !== undefined) await Bun.write(values.json, JSON.stringify(result, undefined, 2))
process.exit(failures.length === 0 ? 0 : 1)
