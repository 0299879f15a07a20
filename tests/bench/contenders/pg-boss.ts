/** pg-boss over its native protocol, with its defaults: it keeps completed jobs. */
import { PgBoss } from "pg-boss"
import { type Contender, inLanes, PAYLOAD } from "../contender.ts"
import { CONNECTIONS, startPostgres } from "./postgres.ts"

const QUEUE = "bench"

export async function startPgBoss(): Promise<Contender | undefined> {
  const postgres = await startPostgres()
  if (postgres === undefined) return undefined
  const boss = new PgBoss({ connectionString: postgres.url, max: CONNECTIONS })
  boss.on("error", error => console.error(error))
  await boss.start()
  await boss.createQueue(QUEUE)
  return {
    name: "pg-boss",
    servers: { postgres: postgres.pid },

    submit: load =>
      inLanes(load, async count => {
        if (load.perRequest === 1) await boss.send(QUEUE, PAYLOAD)
        else
          await boss.insert(
            QUEUE,
            Array.from({ length: count }, () => ({ data: PAYLOAD })),
          )
      }),

    // Its worker polls at most twice per second, so this calls what the worker calls.
    work: load =>
      inLanes(load, async count => {
        for (let left = count; left > 0; ) {
          const jobs = await boss.fetch(QUEUE, { batchSize: left })
          if (jobs.length === 0) continue // the last ones are locked by another lane
          left -= jobs.length
          await boss.complete(
            QUEUE,
            jobs.map(({ id }) => id),
          )
        }
      }),

    async [Symbol.asyncDispose]() {
      await boss.stop({ graceful: false })
      await postgres[Symbol.asyncDispose]()
    },
  }
}
