/** The cost of an open dashboard and of a client that receives all events. */
import { TOKEN } from "../../support/harness.ts"
import { type Load, wholeLife } from "../contender.ts"
import { Ours } from "../contenders/ours.ts"
import { lifeLine, under } from "../lines.ts"
import { alternate } from "../rounds.ts"
import type { Row } from "../row.ts"
import { withAof } from "../settings.ts"

/** The interval at which the dashboard polls, in addition to events. */
const PAGE_MS = 2_000

export const listening: Row = {
  name: "listening",
  title:
    "whole life, 100 per request, everysec, with an open dashboard and a subscriber to all events, against neither",
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const redis = withAof("everysec")
    const alone = stack.use(await Ours.start({ redis, name: "ours, no dashboard" }))
    const seen = stack.use(await Ours.start({ redis, name: "ours, with dashboard" }))
    stack.use(await look(seen.broker.url))
    const load: Load = { tasks: run.quick ? 16_000 : 64_000, perRequest: 100, lanes: 16 }
    const slices = await alternate(
      run,
      [alone, seen].map(contender => ({ name: contender.name, slice: () => wholeLife(contender, load) })),
    )
    const ceiling = lifeLine(slices, alone)
    return [ceiling, under(ceiling, lifeLine(slices, seen), 0.95)]
  },
}

/** One client receives all events, and one polls as the dashboard does. */
async function look(url: string): Promise<AsyncDisposable> {
  const leaving = new AbortController()
  const asked = { headers: { "x-api-token": TOKEN }, signal: leaving.signal }
  const events = (await fetch(`${url}/events`, asked)).body!
  const heard = (async () => {
    for await (const _ of events);
  })().catch(() => {})
  const page = setInterval(() => {
    for (const path of ["/queues", "/workers"])
      fetch(url + path, asked)
        .then(answer => answer.arrayBuffer())
        .catch(() => {})
  }, PAGE_MS)
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(page)
      leaving.abort()
      await heard
    },
  }
}
