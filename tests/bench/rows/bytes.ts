/** Redis memory of a waiting task in bytes, by the size of its payload, and of a done one. */
import { Queue } from "bullmq"
import { Redis } from "ioredis"
import { TOKEN } from "../../support/harness.ts"
import { startBroker } from "../../support/processes.ts"
import { testRedis } from "../../support/redis.ts"
import { acksOf, submission } from "../contenders/ours.ts"
import { Connection, post } from "../http.ts"
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
      const ours = await growth(async (socket, tasks) => {
        await using broker = await startBroker(socket)
        const connection = await Connection.open(broker.url)
        const request = submission("default", PER_REQUEST, payloadOf(size))
        for (let sent = 0; sent < tasks; sent += PER_REQUEST) await connection.send(request)
        connection.close()
      })
      const bull = await growth(async (socket, tasks) => {
        const queue = new Queue("bench", { connection: { path: socket } })
        const jobs = Array(PER_REQUEST).fill({ name: "mail", data: payloadOf(size) })
        for (let sent = 0; sent < tasks; sent += PER_REQUEST) await queue.addBulk(jobs)
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
    const done = await growth(async (socket, tasks) => {
      await using broker = await startBroker(socket)
      const connection = await Connection.open(broker.url)
      const request = submission("default", PER_REQUEST, payloadOf(SIZES[0]!))
      const lease = post("/lease", TOKEN, JSON.stringify({ max: PER_REQUEST, worker: "w1" }))
      for (let ended = 0; ended < tasks; ended += PER_REQUEST) {
        await connection.send(request)
        const [acks] = acksOf(await connection.send(lease))
        await connection.send(post("/ack", TOKEN, `[${acks}]`))
      }
      connection.close()
    })
    lines.push({
      contender: "ours",
      unit: `bytes, of ${SIZES[0]}, done`,
      values: [done],
      target: { atMost: 300 },
    })
    return lines
  },
}

/** Memory growth per task, in bytes. The first tasks are not counted: with them Redis stores scripts and statistics. */
async function growth(fill: (socket: string, tasks: number) => Promise<void>): Promise<number> {
  await using server = await testRedis(withAof("no"))
  const redis = new Redis({ path: server.socket })
  const used = async () => Number(/used_memory:(\d+)/.exec(await redis.info("memory"))![1])
  await fill(server.socket, PER_REQUEST)
  await Bun.sleep(200)
  const before = await used()
  await fill(server.socket, TASKS)
  // Redis frees the buffers of the connections a little later.
  await Bun.sleep(200)
  const grown = (await used()) - before
  redis.disconnect()
  return grown / TASKS
}
