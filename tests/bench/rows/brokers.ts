/** The gain and cost of two broker processes on one port. */
import { type Load, wholeLife } from "../contender.ts"
import { Ours } from "../contenders/ours.ts"
import { lifeLine, under } from "../lines.ts"
import { alternate } from "../rounds.ts"
import type { Line, Row } from "../row.ts"
import { withAof } from "../settings.ts"

/** Enough connections that both brokers get their share. */
const lanes = 64

export const brokers: Row = {
  name: "brokers",
  long: true,
  title: "whole life, 100 per request and one, everysec, with BROKERS=2 against one",
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const redis = withAof("everysec")
    const one = stack.use(await Ours.start({ redis, name: "ours" }))
    const two = stack.use(await Ours.start({ redis, name: "ours, BROKERS=2", brokers: 2 }))
    const loads: Load[] = [
      { tasks: run.quick ? 16_000 : 64_000, perRequest: 100, lanes },
      { tasks: run.quick ? 4_000 : 20_000, perRequest: 1, lanes },
    ]
    const lines: Line[] = []
    for (const load of loads) {
      const turns = [one, two].map(ours => ({
        name: `${ours.name}, ${load.perRequest} per request`,
        slice: () => wholeLife(ours, load),
      }))
      const slices = await alternate(run, turns)
      const [usual, shared] = turns.map(turn => lifeLine(slices, turn))
      lines.push(usual!, under(usual!, shared!))
    }
    return lines
  },
}
