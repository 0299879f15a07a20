/** The cost of a submit compared with an HTTP request that stores nothing. */
import { type Load, timed } from "../contender.ts"
import { startBare } from "../contenders/bare.ts"
import { Ours } from "../contenders/ours.ts"
import { line, under } from "../lines.ts"
import { alternate } from "../rounds.ts"
import type { Row } from "../row.ts"
import { withAof } from "../settings.ts"

export const submit: Row = {
  name: "submit",
  title: "/submit, one per request, against Elysia answering the same validated body with a constant",
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const bare = stack.use(await startBare())
    const everysec = stack.use(await Ours.start({ redis: withAof("everysec") }))
    const always = stack.use(await Ours.start({ redis: withAof("always") }))
    const tasks = run.quick ? 3_000 : 30_000
    const turn = (name: string, contender: typeof bare | Ours, lanes: number) => {
      const load: Load = { tasks, perRequest: 1, lanes }
      return { name, slice: () => timed(contender, tasks, () => contender.submit(load)) }
    }
    const bare64 = turn("bare Elysia, 64", bare, 64)
    const everysec64 = turn("ours, everysec, 64", everysec, 64)
    const always64 = turn("ours, always, 64", always, 64)
    const bare256 = turn("bare Elysia, 256", bare, 256)
    const always256 = turn("ours, always, 256", always, 256)
    const slices = await alternate(run, [bare64, everysec64, always64, bare256, always256])
    const of = (turn: { name: string }) => line(slices, turn, "requests/s")
    return [
      of(bare64),
      under(of(bare64), of(everysec64), 0.65),
      under(of(bare64), of(always64), 0.5),
      of(bare256),
      under(of(bare256), of(always256), 0.7),
    ]
  },
}
