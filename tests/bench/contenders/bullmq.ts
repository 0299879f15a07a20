/** BullMQ over its native protocol, with its defaults: it keeps finished jobs and writes an event stream. */
import { type ConnectionOptions, Queue, Worker } from "bullmq"
import { testRedis } from "../../support/redis.ts"
import { type Contender, inLanes, type Load, PAYLOAD } from "../contender.ts"
import type { RedisSettings } from "../settings.ts"

export async function startBullMq(settings: RedisSettings): Promise<Contender> {
  const redis = await testRedis(settings)
  const connection: ConnectionOptions = { path: redis.socket, maxRetriesPerRequest: null }
  const queue = new Queue("bench", { connection })
  await queue.waitUntilReady()
  let worker: Worker | undefined
  let doneOne = () => {}
  return {
    name: "BullMQ",
    servers: { redis: redis.pid },

    submit: load =>
      inLanes(load, async count => {
        if (load.perRequest === 1) await queue.add("mail", PAYLOAD)
        else await queue.addBulk(Array.from({ length: count }, () => ({ name: "mail", data: PAYLOAD })))
      }),

    async beginWork({ perRequest, lanes }: Load) {
      const concurrency = Math.max(perRequest, lanes)
      worker = new Worker("bench", async () => {}, { connection, concurrency, autorun: false })
      worker.on("completed", () => doneOne())
      worker.on("error", error => console.error(error))
      await worker.waitUntilReady()
    },
    async work({ tasks }) {
      const all = countdown(tasks)
      doneOne = all.one
      void worker!.run()
      await all.done
    },
    async endWork() {
      await worker?.close()
    },

    async [Symbol.asyncDispose]() {
      await worker?.close()
      await queue.close()
      await redis[Symbol.asyncDispose]()
    },
  }
}

export function countdown(count: number): { one: () => void; done: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return {
    one: () => {
      if (--count === 0) resolve()
    },
    done: promise,
  }
}
