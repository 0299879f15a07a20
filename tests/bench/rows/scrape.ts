/** What a scrape of /metrics costs a broker that is at work on 1,000 queues. */
import { join } from "node:path"
import { TOKEN } from "../../harness.ts"
import { listening, Process } from "../../processes.ts"
import { testRedis } from "../../redis.ts"
import { inLanes } from "../contender.ts"
import { submission } from "../contenders/ours.ts"
import { cpuNanoseconds } from "../cpu.ts"
import { Connection, get } from "../http.ts"
import { alternate } from "../rounds.ts"
import type { Row } from "../row.ts"
import { withAof } from "../settings.ts"
import { mean, median } from "../statistics.ts"

const QUEUES = 1_000
const LANES = 64

export const scrape: Row = {
  name: "scrape",
  title: "processor time of a scrape of /metrics, each with numbers of all 1,000 queues changed, under load",
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const redis = stack.use(await testRedis(withAof("no")))
    const program = join(import.meta.dir, "../contenders/scraped-broker.ts")
    const process_ = new Process({ cmd: [process.execPath, program, redis.socket] })
    const broker = stack.use(await listening(process_, TOKEN))
    const connections = await Promise.all(Array.from({ length: LANES }, () => Connection.open(broker.url)))
    const scraper = await Connection.open(broker.url)
    const requests = Array.from({ length: QUEUES }, (_, i) => submission(`queue-${i}`, 1))
    /** The CPU time, in ms, that the broker needs for a task to each queue, and for a scrape meanwhile. */
    const sweep = async (scraped: boolean) => {
      const before = cpuNanoseconds(broker.process.pid)
      const scraping = scraped ? scraper.send(get("/metrics", TOKEN)) : undefined
      await inLanes({ tasks: QUEUES, perRequest: 1, lanes: LANES }, async (_, lane, number) => {
        await connections[lane]!.send(requests[number]!)
      })
      await scraping
      return (cpuNanoseconds(broker.process.pid) - before) / 1e6
    }
    const rounds = await alternate(run, [
      {
        name: "pairs",
        slice: async () => {
          const pairs: [without: number, with_: number][] = []
          for (let i = 0; i < (run.quick ? 20 : 80); i++) pairs.push([await sweep(false), await sweep(true)])
          return pairs
        },
      },
    ])
    const all = rounds.get("pairs")!
    for (const connection of [...connections, scraper]) connection.close()
    return [
      {
        contender: "ours",
        unit: "ms",
        values: all.map(pairs => mean(pairs.map(([without, with_]) => with_ - without))),
        target: { atMost: 5 },
        note: `of the ${median(all.flat().map(([without]) => without)).toFixed(0)} ms that the broker used between two scrapes`,
      },
    ]
  },
}
