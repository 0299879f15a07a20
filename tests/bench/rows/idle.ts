/** The cost of a thousand waiting workers, and how many of them one submit wakes. */
import { Redis } from "ioredis"
import { TOKEN } from "../../support/harness.ts"
import { Ours, submission } from "../contenders/ours.ts"
import { cpuSeconds } from "../cpu.ts"
import { Connection, post } from "../http.ts"
import type { Row } from "../row.ts"
import { withAof } from "../settings.ts"

const POLLS = 1_000
/** This many wait on one queue. Each of the others has its own queue. */
const TOGETHER = 100
const SETTLE_MS = 3_000

export const idle: Row = {
  name: "idle",
  title: `${POLLS} long polls on idle queues: ${TOGETHER} on one, the others on one each`,
  async measure(run) {
    await using ours = await Ours.start({ redis: withAof("everysec") })
    using redis = Object.assign(new Redis({ path: ours.redis.socket }), {
      [Symbol.dispose]: () => redis.disconnect(),
    })
    const waitMs = run.quick ? 9_000 : 20_000
    let woken = 0
    const connections: Connection[] = []
    const polls: Promise<void>[] = []
    for (let i = 0; i < POLLS; i++) {
      const connection = await Connection.open(ours.broker.url)
      connections.push(connection)
      const queue = i < TOGETHER ? "together" : `alone-${i}`
      const request = post(
        "/lease",
        TOKEN,
        JSON.stringify({ queues: [queue], wait_ms: waitMs, worker: `w${i}` }),
      )
      polls.push(
        connection.send(request).then(answer => {
          if (answer.includes('"id":"')) woken++
        }),
      )
    }
    run.progress("waiting")
    await Bun.sleep(SETTLE_MS)
    const commands = async () => Number(/total_commands_processed:(\d+)/.exec(await redis.info("stats"))![1])
    const seconds = (waitMs - SETTLE_MS - 3_000) / 1_000
    const commandsBefore = await commands()
    const cpuBefore = cpuSeconds(ours.servers.broker)
    await Bun.sleep(seconds * 1_000)
    const cpu = cpuSeconds(ours.servers.broker) - cpuBefore
    // The first INFO counts itself as one command. No other client uses this Redis.
    const issued = (await commands()) - commandsBefore - 1

    const submitter = await Connection.open(ours.broker.url)
    await submitter.send(submission("together", 1))
    await Bun.sleep(1_000)
    const wokenByOne = woken
    submitter.close()
    await Promise.all(polls)
    for (const connection of connections) connection.close()
    return [
      {
        contender: "ours",
        unit: "Redis commands/s",
        values: [issued / seconds],
        target: { atMost: 10 },
        note: `over ${seconds} s of one poll; its arrival is not counted`,
      },
      { contender: "ours", unit: "% of a core", values: [(cpu / seconds) * 100], target: { atMost: 3 } },
      {
        contender: "ours",
        unit: "polls that one submit wakes",
        values: [wokenByOne],
        target: { atMost: 1 },
        note: `${woken} of ${POLLS} answered with a task`,
      },
    ]
  },
}
