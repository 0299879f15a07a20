/** bee-queue over its native protocol, with its fastest options: no events, no jobs kept in memory. */
import BeeQueue from "bee-queue"
import { testRedis } from "../../support/redis.ts"
import { type Contender, inLanes, type Load, PAYLOAD } from "../contender.ts"
import type { RedisSettings } from "../settings.ts"
import { countdown } from "./bullmq.ts"

export async function startBeeQueue(settings: RedisSettings): Promise<Contender> {
  const redis = await testRedis(settings)
  const open = async (isWorker: boolean) => {
    const options = {
      redis: { path: redis.socket },
      isWorker,
      getEvents: false,
      sendEvents: false,
      storeJobs: false,
      removeOnSuccess: false,
      activateDelayedJobs: false,
    }
    return new BeeQueue("bench", options).ready()
  }
  const queue = await open(false)
  let worker: BeeQueue | undefined
  return {
    name: "bee-queue",
    servers: { redis: redis.pid },

    submit: load =>
      inLanes(load, async count => {
        const jobs = Array.from({ length: count }, () => queue.createJob(PAYLOAD))
        if (count === 1) await jobs[0]!.save()
        else if ((await queue.saveAll(jobs)).size > 0) throw new Error("bee-queue did not save all jobs")
      }),

    async beginWork() {
      worker = await open(true)
    },
    async work({ tasks, perRequest, lanes }: Load) {
      const all = countdown(tasks)
      worker!.on("succeeded", all.one)
      worker!.process(Math.max(perRequest, lanes), async () => {})
      await all.done
    },
    async endWork() {
      await worker?.close()
      worker = undefined
    },

    async [Symbol.asyncDispose]() {
      await worker?.close()
      await queue.close()
      await redis[Symbol.asyncDispose]()
    },
  }
}
