/** `bun run bench`: measures this queue, other queues and upper bounds on one machine in one run. */
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { draw } from "./charts.ts"
import { facts } from "./machine.ts"
import { readOptions, USAGE } from "./options.ts"
import type { Line, Row } from "./row.ts"
import { ROWS } from "./rows.ts"
import { table } from "./table.ts"

async function main(argv: readonly string[]): Promise<number> {
  const options = readOptions(argv)
  const rows = chosen(options.only, options.quick)
  const about = await facts()
  const begin = performance.now()
  const passed = () => `${((performance.now() - begin) / 1_000).toFixed(0)} s`

  const results: { row: Row; lines: Line[] }[] = []
  let failed = false
  for (const row of rows) {
    const progress = (text: string) => console.error(`${passed()} ${row.name}: ${text}`)
    try {
      results.push({ row, lines: await row.measure({ ...options, progress }) })
    } catch (error) {
      // Continue: the other rows are still useful.
      failed = true
      console.error(error)
      results.push({ row, lines: [{ contender: "–", unit: "", values: [], note: `failed: ${error}` }] })
    }
  }

  const rounds = `${options.rounds} rounds${options.quick ? ", --quick" : ""}, ${passed()}`
  console.log(`${about.date} UTC, ${about.machine}, load average at the start ${about.load}\n`)
  console.log(`${about.versions}\n`)
  console.log(`${about.settings}\n`)
  console.log(`${rounds}. Each round has its own ratio. The table shows the median.\n`)
  for (const { row } of results) console.log(`- ${row.name}: ${row.title}`)
  console.log(`\n${table(results.map(({ row, lines }) => ({ name: row.name, lines })))}`)

  if (options.json !== undefined) {
    const figures = results.map(({ row: { name, title }, lines }) => ({ name, title, lines }))
    await Bun.write(options.json, `${JSON.stringify({ ...about, rounds, rows: figures }, null, 2)}\n`)
  }
  if (options.out !== undefined) await writeCharts(options.out, results)
  return failed ? 1 : 0
}

function chosen(only: readonly string[], quick: boolean): Row[] {
  const unknown = only.filter(name => !ROWS.some(row => row.name === name))
  if (unknown.length > 0)
    throw new Error(`--only ${unknown}: unknown row. The rows are ${ROWS.map(({ name }) => name).join(", ")}`)
  return ROWS.filter(({ name, long }) => (only.length > 0 ? only.includes(name) : !(quick && long)))
}

async function writeCharts(dir: string, results: readonly { row: Row; lines: Line[] }[]): Promise<void> {
  await mkdir(dir, { recursive: true })
  for (const { row, lines } of results) {
    const placed = lines.filter(line => line.at !== undefined)
    if (row.chart !== undefined && placed.length > 0)
      await Bun.write(join(dir, row.chart.file), draw(row.chart, row.chart.series(placed)))
  }
}

// Its servers end with this process (tests/support/redis.ts, tests/support/processes.ts).
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(130))

try {
  process.exit(await main(process.argv.slice(2)))
} catch (error) {
  console.error(`${error instanceof Error ? error.message : error}\n\n${USAGE}`)
  process.exit(2)
}
