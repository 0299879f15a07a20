/** Translates errors of Redis and ioredis into the refusals that clients get. */
import { Refused } from "../errors.ts"

const OUT_OF_MEMORY = /^OOM |OOM command not allowed|script .*OOM/i

const UNAVAILABLE =
  /Command timed out|Connection is closed|isn't writeable|max retries|ECONN|EPIPE|ENOENT|ETIMEDOUT|Socket (closed|timeout)|^(LOADING|READONLY|BUSY|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|MISCONF|UNKILLABLE)\b|sentinels are unreachable/i

/** A fault of Redis becomes a refusal that asks the client to retry; any other error is returned unchanged. */
export function asRefusal(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const text = `${error.name} ${error.message}`
  if (OUT_OF_MEMORY.test(error.message))
    return new Refused("out_of_memory", {
      detail:
        "Redis has reached maxmemory. It accepts no new tasks until existing tasks end and are deleted.",
    })
  if (UNAVAILABLE.test(error.message) || /MaxRetriesPerRequest|AbortError/.test(text))
    return new Refused("redis_unavailable", {
      detail:
        "Redis could not be reached or did not answer in time. The request may have taken effect. Repeating it is safe, except that repeating a submit without an Idempotency-Key or a task_id may create a second task.",
    })
  return error
}
