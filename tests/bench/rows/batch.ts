/** The gain from many tasks per request, for this queue and others. */
import { type Load, wholeLife } from "../contender.ts"
import { startBeanstalkd } from "../contenders/beanstalkd.ts"
import { startBeeQueue } from "../contenders/bee-queue.ts"
import { startBullMq } from "../contenders/bullmq.ts"
import { Ours } from "../contenders/ours.ts"
import { lifeLine } from "../lines.ts"
import { alternate } from "../rounds.ts"
import type { Line, Row } from "../row.ts"
import { withAof } from "../settings.ts"
import { median } from "../statistics.ts"

const SIZES = [1, 3, 10, 30, 100, 300, 1_000]
/** About this many tasks are in flight, in 4 to 64 requests. */
const IN_FLIGHT = 400
/** Rounds for the chart. */
const MAX_ROUNDS = 3

const load = (perRequest: number): Load => ({
  tasks: Math.min(3_000 * perRequest, 12_000),
  perRequest,
  lanes: Math.min(64, Math.max(4, Math.ceil(IN_FLIGHT / perRequest))),
})

export const batch: Row = {
  name: "batch",
  title: "whole life, by tasks per request (4 to 64 requests in flight); everysec",
  long: true,
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const redis = withAof("everysec")
    const contenders = [
      stack.use(await Ours.start({ redis })),
      stack.use(await startBullMq(redis)),
      stack.use(await startBeeQueue(redis)),
      stack.use(await startBeanstalkd(50)),
    ].filter(contender => contender !== undefined)
    const lines: Line[] = []
    for (const size of SIZES) {
      const turns = contenders.map(contender => ({
        name: contender.name,
        slice: () => wholeLife(contender, load(size)),
      }))
      const progress = (text: string) => run.progress(`${size} per request, ${text}`)
      const slices = await alternate({ ...run, progress, rounds: Math.min(run.rounds, MAX_ROUNDS) }, turns)
      for (const turn of turns) {
        const line = lifeLine(slices, turn)
        lines.push({ ...line, note: `${size} per request; ${line.note}`, at: size })
      }
    }
    return lines
  },
  chart: {
    file: "batch.svg",
    title: "Whole life of tasks (submit, lease, ack), appendfsync everysec",
    x: "tasks per request",
    y: "tasks per second",
    series: lines => {
      const series: Record<string, [number, number][]> = {}
      for (const { contender, at, values } of lines) {
        series[contender] ??= []
        series[contender].push([at!, median(values)])
      }
      return series
    },
  },
}
