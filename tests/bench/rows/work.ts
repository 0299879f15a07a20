/** The throughput of /work compared with that of its scripts alone. */
import { type Load, timed } from "../contender.ts"
import { Ours } from "../contenders/ours.ts"
import { scriptsOf } from "../contenders/scripts.ts"
import { line, under } from "../lines.ts"
import { alternate } from "../rounds.ts"
import type { Row } from "../row.ts"
import { withAof } from "../settings.ts"

export const work: Row = {
  name: "work",
  title: "/work, 100 settled and 100 leased per request, against the same scripts in a pipeline, everysec",
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const ours = stack.use(await Ours.start({ redis: withAof("everysec") }))
    const byWork = stack.use(ours.byWork())
    // It uses the same Redis and empties the queue that the broker fills.
    const scripts = stack.use(scriptsOf(ours))
    const load: Load = { tasks: run.quick ? 10_000 : 40_000, perRequest: 100, lanes: 4 }
    const turn = (contender: typeof byWork | typeof scripts) => ({
      name: contender.name,
      slice: async () => {
        await ours.submit(load)
        return timed(contender, load.tasks, () => contender.work(load))
      },
    })
    const slices = await alternate(run, [turn(byWork), turn(scripts)])
    const ceiling = line(slices, scripts)
    return [ceiling, under(ceiling, line(slices, byWork), 0.6)]
  },
}
