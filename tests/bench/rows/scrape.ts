/** The cost of a scrape of /metrics for a broker that is busy with 1,000 queues. */
import { join } from "node:path"
import { TOKEN } from "../../support/harness.ts"
import { listening, Process } from "../../support/processes.ts"
import { testRedis } from "../../support/redis.ts"
import { PAYLOAD } from "../contender.ts"
import { firstThreadMs } from "../cpu.ts"
import { Connection, get, post } from "../http.ts"
import { alternate } from "../rounds.ts"
import type { Row } from "../row.ts"
import { withAof } from "../settings.ts"
import { median } from "../statistics.ts"

const QUEUES = 1_000
const PER_REQUEST = 10
const PAIRS = 30
/**
 * 5,000 tasks per second, a quarter to half of the maximum. At the maximum, a pause makes the following batches larger,
 * and the cost of the scrape could not be separated from what that saves.
 */
const EVERY_MS = 2

export const scrape: Row = {
  name: "scrape",
  long: true,
  title:
    "CPU time of the broker's thread for a scrape of /metrics, under 5,000 submits/s that change all of 1,000 queues",
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const redis = stack.use(await testRedis(withAof("no")))
    const program = join(import.meta.dir, "../contenders/scraped-broker.ts")
    const broker = stack.use(
      await listening(new Process({ cmd: [process.execPath, program, redis.socket] }), TOKEN),
    )
    const { pid } = broker.process
    const requests = Array.from({ length: QUEUES / PER_REQUEST }, (_, i) => {
      const tasks = Array.from({ length: PER_REQUEST }, (_, k) => ({
        type: "bench",
        queue: `queue-${i * PER_REQUEST + k}`,
        payload: PAYLOAD,
      }))
      return post("/submit", TOKEN, JSON.stringify(tasks))
    })
    const connections = await Promise.all(requests.map(() => Connection.open(broker.url)))
    const scraper = await Connection.open(broker.url)
    /** CPU time of the broker for one task to each queue, with and without a scrape. */
    const sweep = async (scraped: boolean) => {
      const before = firstThreadMs(pid)
      const begin = performance.now()
      const scraping = scraped && scraper.send(get("/metrics", TOKEN))
      const sent: Promise<unknown>[] = []
      for (const [i, request] of requests.entries()) {
        sent.push(connections[i]!.send(request))
        await Bun.sleep(Math.max(0, begin + (i + 1) * EVERY_MS - performance.now()))
      }
      await Promise.all([scraping, ...sent])
      return firstThreadMs(pid) - before
    }
    const name = "ours"
    const slice = async () => {
      const pairs: { alone: number; scraped: number }[] = []
      for (let i = 0; i < PAIRS; i++) pairs.push({ alone: await sweep(false), scraped: await sweep(true) })
      return pairs
    }
    const rounds = (await alternate(run, [{ name, slice }])).get(name)!
    for (const connection of [...connections, scraper]) connection.close()
    return [
      {
        contender: name,
        unit: "ms",
        values: rounds.map(pairs => median(pairs.map(({ alone, scraped }) => scraped - alone))),
        target: { atMost: 5 },
        note: `in addition to ${median(rounds.flat().map(({ alone }) => alone)).toFixed(0)} ms for the submits`,
      },
    ]
  },
}
