/** Translates errors of Redis and ioredis into the refusals that clients get. */
import { Refused } from "../errors.ts"

const OUT_OF_MEMORY = /^OOM |OOM command not allowed|script .*OOM/i

const UNAVAILABLE =
  /Command timed out|Connection is closed|isn't writeable|max retries|ECONN|EPIPE|ENOENT|ETIMEDOUT|Socket (closed|timeout)|^(LOADING|READONLY|BUSY|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|MISCONF|UNKILLABLE)\b|sentinels are unreachable/i

/** A fault of Redis as a refusal that asks the caller to come again; any other error as it is. */
export function asRefusal(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const text = `${error.name} ${error.message}`
  if (OUT_OF_MEMORY.test(error.message))
    return new Refused("out_of_memory", {
      detail: "Redis has reached maxmemory: it takes no new tasks until some are finished.",
    })
  if (UNAVAILABLE.test(error.message) || /MaxRetriesPerRequest|AbortError/.test(text))
    return new Refused("redis_unavailable", {
      detail:
        "Redis could not be reached or did not answer in time. What was asked may have been done all the same; asking again is safe, but a submit without an Idempotency-Key or a task_id may then stand twice.",
    })
  return error
}
