/** Time from submit to handler on an idle queue, with a polling worker in this process. */
import { Worker as BullWorker, Queue } from "bullmq"
import { Client } from "../../../lib/client.ts"
import { createLog } from "../../../lib/log.ts"
import { TaskRunner } from "../../../lib/worker/task-runner.ts"
import { TOKEN } from "../../support/harness.ts"
import { startBroker } from "../../support/processes.ts"
import { testRedis } from "../../support/redis.ts"
import { PAYLOAD } from "../contender.ts"
import { submission } from "../contenders/ours.ts"
import { Connection } from "../http.ts"
import { alternate } from "../rounds.ts"
import type { Line, Row } from "../row.ts"
import { withAof } from "../settings.ts"
import { quantile } from "../statistics.ts"

/** Time for the worker to ack and to wait again. */
const IDLE_MS = 10

/** Submits a task and resolves when the submit is answered. */
type Submit = () => Promise<unknown>

export const latency: Row = {
  name: "latency",
  title: "idle queue, from submit to the start of the handler, everysec",
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    let started = () => {}
    const handler = async () => started()
    const ours = await oursIdle(stack, handler)
    const bull = await bullIdle(stack, handler)
    const samples = run.quick ? 60 : 400
    const turn = (name: string, submit: Submit) => ({
      name,
      slice: async () => {
        const times: number[] = []
        while (times.length < samples) {
          const { promise, resolve } = Promise.withResolvers<void>()
          const begin = performance.now()
          started = () => {
            times.push(performance.now() - begin)
            resolve()
          }
          await Promise.all([submit(), promise])
          await Bun.sleep(IDLE_MS)
        }
        return times
      },
    })
    const times = await alternate(run, [turn("ours", ours), turn("BullMQ", bull)])
    const at = (name: string, q: number): Line => ({
      contender: `${name}, p${q * 100}`,
      unit: "ms",
      values: times.get(name)!.map(slice => quantile(slice, q)),
    })
    const slower = (q: number): Line["ratio"] => ({
      of: "ours ÷ BullMQ",
      values: at("ours", q).values.map((value, round) => value / at("BullMQ", q).values[round]!),
    })
    return [
      { ...at("ours", 0.5), target: { atMost: 1.5 } },
      { ...at("ours", 0.99), target: { atMost: 6 } },
      { ...at("BullMQ", 0.5), ratio: slower(0.5)!, target: { atMost: 1.2 } },
      { ...at("BullMQ", 0.99), ratio: slower(0.99)!, target: { atMost: 1.2 } },
    ]
  },
}

async function oursIdle(stack: AsyncDisposableStack, handler: () => Promise<void>): Promise<Submit> {
  const redis = stack.use(await testRedis(withAof("everysec")))
  const broker = stack.use(await startBroker(redis.socket))
  const connection = await Connection.open(broker.url)
  stack.defer(() => connection.close())
  const worker = new TaskRunner({
    client: new Client({ url: broker.url, token: TOKEN }),
    handlers: new Map([["mail", handler]]),
    log: createLog("silent"),
    name: "bench",
    queues: ["default"],
    concurrency: 10,
    drainMs: 0,
  })
  stack.defer(async () => void (await worker.stop()))
  const request = submission("default", 1)
  return () => connection.send(request)
}

async function bullIdle(stack: AsyncDisposableStack, handler: () => Promise<void>): Promise<Submit> {
  const redis = stack.use(await testRedis(withAof("everysec")))
  const connection = { path: redis.socket, maxRetriesPerRequest: null }
  const queue = new Queue("bench", { connection })
  stack.defer(() => queue.close())
  const worker = new BullWorker("bench", handler, { connection, concurrency: 10 })
  stack.defer(() => worker.close())
  await worker.waitUntilReady()
  return () => queue.add("mail", PAYLOAD)
}
