/** The upper bound for /work: the same scripts, sent directly to the Redis of `ours` in a pipeline. */

import { Redis } from "ioredis"
import { Scripts } from "../../../lib/redis/scripts.ts"
import { newTokens } from "../../../lib/task/lease-token.ts"
import { readLeased } from "../../../lib/task/record.ts"
import { onOneConnection } from "../../support/redis.ts"
import { inLanes, type Load } from "../contender.ts"
import type { Ours } from "./ours.ts"

/**
 * Leases up to `max` tasks, acks them and returns their number. Only this function of the bench knows the arguments of
 * the scripts.
 */
async function leaseAndSettle(scripts: Scripts, max: number): Promise<number> {
  const bounds = { limit: 300, retention: 86_400_000, tokens: newTokens(max), registered: 1 }
  const [, handed] = await scripts.call("lease", "default", bounds, [{ worker: "?", slots: max }])
  const acks = readLeased("default", handed).map(({ id, lease }) => ({
    id,
    lease,
    outcome: "done",
    retry: "",
    text: "",
  }))
  if (acks.length > 0) await scripts.call("settle", "default", { retention: 86_400_000 }, acks)
  return acks.length
}

export function scriptsOf({ redis, servers }: Ours) {
  const connection = new Redis({ path: redis.socket, enableAutoPipelining: true })
  const scripts = new Scripts(onOneConnection(connection))
  return {
    name: "the scripts alone",
    servers: { redis: servers.redis },
    work: (load: Load) =>
      inLanes(load, async count => {
        for (let left = count; left > 0; ) {
          const done = await leaseAndSettle(scripts, left)
          if (done === 0) throw new Error(`no task was leased, and ${left} are left`)
          left -= done
        }
      }),
    [Symbol.dispose]: () => connection.disconnect(),
  }
}
