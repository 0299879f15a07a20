/** Whether the memory of a broker grows with the number of tasks that it has handled. */
import { Ours } from "../contenders/ours.ts"
import { residentBytes } from "../cpu.ts"
import type { Row } from "../row.ts"
import { withAof } from "../settings.ts"
import { median } from "../statistics.ts"

const STEPS = 20
/** Growth below this ratio counts as flat, because the runtime frees memory at unpredictable times. */
const FLAT = 1.1

export const memory: Row = {
  name: "memory",
  title: "resident memory of the broker in the last quarter of many tasks, against the second quarter",
  long: true,
  async measure(run) {
    await using ours = await Ours.start({ redis: withAof("no") })
    const tasks = Math.ceil(run.memoryTasks / STEPS / 1_000) * 1_000
    const load = { tasks, perRequest: 100, lanes: 4 }
    const mebibytes: number[] = []
    for (let step = 1; step <= STEPS; step++) {
      await ours.submit(load)
      await ours.work(load)
      mebibytes.push(residentBytes(ours.servers.broker) / 2 ** 20)
      run.progress(`${step * tasks} tasks, ${mebibytes.at(-1)!.toFixed(0)} MiB`)
    }
    const quarter = (nth: number) => median(mebibytes.slice((nth * STEPS) / 4, ((nth + 1) * STEPS) / 4))
    return [
      {
        contender: "ours",
        unit: "MiB",
        values: mebibytes,
        ratio: { of: "4th ÷ 2nd quarter", values: [quarter(3) / quarter(1)] },
        target: { atMost: FLAT },
        note: `${(tasks * STEPS).toLocaleString("en-US")} tasks`,
      },
    ]
  },
}
