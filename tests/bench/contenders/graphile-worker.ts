/** graphile-worker over its native protocol. It deletes completed jobs. */
import { Logger, makeWorkerUtils, run } from "graphile-worker"
import { type Contender, inLanes, PAYLOAD } from "../contender.ts"
import { countdown } from "./bullmq.ts"
import { CONNECTIONS, startPostgres } from "./postgres.ts"

export async function startGraphileWorker(): Promise<Contender | undefined> {
  const postgres = await startPostgres()
  if (postgres === undefined) return undefined
  const options = {
    connectionString: postgres.url,
    maxPoolSize: CONNECTIONS,
    logger: new Logger(() => () => {}),
  }
  const utils = await makeWorkerUtils(options)
  await utils.migrate()
  return {
    name: "graphile-worker",
    servers: { postgres: postgres.pid },

    submit: load =>
      inLanes(load, async count => {
        if (load.perRequest === 1) await utils.addJob("mail", PAYLOAD)
        else
          await utils.addJobs(Array.from({ length: count }, () => ({ identifier: "mail", payload: PAYLOAD })))
      }),

    async work({ tasks, perRequest, lanes }) {
      const all = countdown(tasks)
      // What its documentation recommends for high throughput.
      const batching = { localQueue: { size: perRequest * 4 }, completeJobBatchDelay: 0 }
      const runner = await run({
        ...options,
        noHandleSignals: true,
        concurrency: Math.max(perRequest, lanes),
        taskList: { mail: async () => all.one() },
        crontab: "",
        preset: { worker: perRequest > 1 ? batching : {} },
      })
      await all.done
      await runner.stop() // completes the last jobs
    },

    async [Symbol.asyncDispose]() {
      await utils.release()
      await postgres[Symbol.asyncDispose]()
    },
  }
}
