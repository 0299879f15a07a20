/** Redis memory of a waiting task in bytes, by the size of its payload. */
import { Queue } from "bullmq"
import { Redis } from "ioredis"
import { startBroker } from "../../support/processes.ts"
import { testRedis } from "../../support/redis.ts"
import { submission } from "../contenders/ours.ts"
import { Connection } from "../http.ts"
import type { Line, Row } from "../row.ts"
import { withAof } from "../settings.ts"

const TASKS = 20_000
const PER_REQUEST = 100
const SIZES = [50, 500, 5_000]

/** A payload of this many bytes as JSON. */
const payloadOf = (size: number) => ({ text: "x".repeat(size - '{"text":""}'.length) })

export const bytes: Row = {
  name: "bytes",
  title: `Redis memory of a waiting task (used_memory over ${TASKS.toLocaleString("en-US")} tasks), default settings`,
  async measure(run) {
    const lines: Line[] = []
    for (const size of SIZES) {
      run.progress(`payloads of ${size} bytes`)
      const ours = await growth(async socket => {
        await using broker = await startBroker(socket)
        const connection = await Connection.open(broker.url)
        const request = submission("default", PER_REQUEST, payloadOf(size))
        for (let sent = 0; sent < TASKS; sent += PER_REQUEST) await connection.send(request)
        connection.close()
      })
      const bull = await growth(async socket => {
        const queue = new Queue("bench", { connection: { path: socket } })
        const jobs = Array(PER_REQUEST).fill({ name: "mail", data: payloadOf(size) })
        for (let sent = 0; sent < TASKS; sent += PER_REQUEST) await queue.addBulk(jobs)
        await queue.close()
      })
      const unit = `bytes, of ${size}`
      lines.push(
        {
          contender: "ours",
          unit,
          values: [ours],
          ratio: { of: "ours ÷ BullMQ", values: [ours / bull] },
          target: { atMost: 1 },
        },
        { contender: "BullMQ", unit, values: [bull] },
      )
    }
    return lines
  },
}

/** Memory growth of a new Redis per task, in bytes. */
async function growth(fill: (socket: string) => Promise<void>): Promise<number> {
  await using server = await testRedis(withAof("no"))
  const redis = new Redis({ path: server.socket })
  const used = async () => Number(/used_memory:(\d+)/.exec(await redis.info("memory"))![1])
  const before = await used()
  await fill(server.socket)
  // Redis frees the buffers of the connections a little later.
  await Bun.sleep(200)
  const grown = (await used()) - before
  redis.disconnect()
  return grown / TASKS
}
