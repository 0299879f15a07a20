/** Whether speed depends on the number of waiting tasks and on the number of queues. */
import { type Cpu, type Load, wholeLife } from "../contender.ts"
import { Ours } from "../contenders/ours.ts"
import { lifeLine, under } from "../lines.ts"
import { alternate } from "../rounds.ts"
import type { Line, Row, Run } from "../row.ts"
import { withAof } from "../settings.ts"
import { median } from "../statistics.ts"

const redis = withAof("everysec")
const load = (quick: boolean): Load => ({ tasks: quick ? 10_000 : 40_000, perRequest: 100, lanes: 4 })

export const backlog: Row = {
  name: "backlog",
  title:
    "whole life, 100 per request, with up to 1,000,000 waiting (--quick: 100,000), against 1,000; everysec",
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const levels = run.quick ? [1_000, 100_000] : [1_000, 10_000, 100_000, 1_000_000]
    const each: Ours[] = []
    for (const waiting of levels) {
      const name = `ours, ${waiting.toLocaleString("en-US")} waiting`
      run.progress(`preparing: ${name}`)
      const ours = stack.use(await Ours.start({ redis, name }))
      await ours.submit({ tasks: waiting, perRequest: 1_000, lanes: 4 })
      each.push(ours)
    }
    const lines = await measure(run, each, 0.9)
    return lines.map((line, i) => ({ ...line, at: levels[i]! }))
  },
  chart: {
    file: "backlog.svg",
    title: "CPU time of a task's whole life, 100 per request",
    x: "tasks waiting",
    y: "µs per task",
    series: lines => {
      const parts = Object.keys(lines[0]?.cpu?.[0] ?? {})
      const micros = (cpu: Cpu[], part: string) => median(cpu.map(round => round[part]!)) * 1_000
      return Object.fromEntries(
        parts.map(part => [part, lines.map(({ at, cpu }) => [at!, micros(cpu!, part)])]),
      )
    },
  },
}

export const queues: Row = {
  name: "queues",
  title: "whole life, 100 per request, each request to the next of 1,000 queues, against 1 queue; everysec",
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const one = stack.use(await Ours.start({ redis, name: "ours, 1 queue" }))
    const names = Array.from({ length: 1_000 }, (_, i) => `queue-${i}`)
    const many = stack.use(await Ours.start({ redis, name: "ours, 1,000 queues", queues: names }))
    return await measure(run, [one, many], 0.7)
  },
}

/** The first is the usual case. The last is the hard case and must reach this ratio to the first. */
async function measure(run: Run, each: readonly Ours[], atLeast: number): Promise<Line[]> {
  const turns = each.map(ours => ({ name: ours.name, slice: () => wholeLife(ours, load(run.quick)) }))
  const slices = await alternate(run, turns)
  const [usual, ...others] = turns.map(turn => lifeLine(slices, turn))
  return [
    usual!,
    ...others.map((line, i) => under(usual!, line, i === others.length - 1 ? atLeast : undefined)),
  ]
}
