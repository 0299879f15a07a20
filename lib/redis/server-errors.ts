/** Translates errors of Redis and ioredis into the refusals that clients get. */
import { Refused } from "../errors.ts"

const OUT_OF_MEMORY = /^OOM |OOM command not allowed|script .*OOM/i

/** Advice per first words of an error with which Redis refuses a command. It has not run it, but for UNBLOCKED. */
const ADVICE: Readonly<Record<string, string>> = {
  MISCONF: "Look at the log, the free space and the directory of Redis.",
  READONLY: "This Redis is a replica: name the master in REDIS_URL, or use REDIS_SENTINELS.",
  NOREPLICAS: "Fewer replicas are connected than min-replicas-to-write requires: check the replicas.",
  LOADING: "Redis has just started and is loading its data.",
  BUSY: "A script blocks Redis: SCRIPT KILL ends one that has not written.",
  UNKILLABLE: "A script that has written blocks Redis: it cannot be killed, so wait until it ends.",
  // Redis does not kill a script that has written.
  "ERR Script killed": "Somebody has ended it with SCRIPT KILL.",
  UNBLOCKED: "This Redis became a replica before WAIT_REPLICAS replicas had confirmed the change.",
  MASTERDOWN: "This Redis is a replica that has lost its master: check the master.",
  CLUSTERDOWN: "A part of the Cluster has no master: see CLUSTER INFO.",
  TRYAGAIN: "The slot of this queue is being moved.",
  ASK: "The slot of this queue is being moved.",
  MOVED: "The slot of this queue has just been moved.",
  NOPERM: "The Redis user lacks a right: /readyz says which.",
  NOAUTH: "Set the password of Redis: in REDIS_URL, or in REDIS_PASSWORD.",
  WRONGPASS: "Check the user and the password of Redis.",
  "ERR max number of clients": "Raise maxclients of Redis, or close connections.",
}
/** How a script fails since Redis 7.0 if it calls a command that the user may not run. It may have written before that. */
const NO_RIGHT_IN_SCRIPT = /^ERR The user executing the script can't|^NOPERM .*script:/

const UNREACHABLE =
  /Command timed out|Connection is closed|isn't writeable|max retries|ECONN|EPIPE|ENOENT|ETIMEDOUT|Socket (closed|timeout)|sentinels are unreachable/i

/** The error with which Redis refused a command, and advice; undefined for any other error. */
export function refusalBy(
  error: Error,
): { words: string; advice: string; mayHaveWritten: boolean } | undefined {
  // Redis appends the name of the script and the line.
  const words = error.message.replace(/ (script: [0-9a-f]{40}, )?on @user_(script|function).*$/s, "").trim()
  if (NO_RIGHT_IN_SCRIPT.test(error.message)) return { words, advice: ADVICE.NOPERM!, mayHaveWritten: true }
  const start = Object.keys(ADVICE).find(word => new RegExp(`^${word}\\b`).test(words))
  return start === undefined
    ? undefined
    : { words, advice: ADVICE[start]!, mayHaveWritten: start === "UNBLOCKED" }
}

/** Whether Redis refuses writes because its memory is full. */
export const isFull = (error: Error): boolean => OUT_OF_MEMORY.test(error.message)

/** Whether an error is about the server as a whole, and lasts until an operator or the server itself changes that. */
export const isStateOfServer = (error: Error): boolean =>
  isFull(error) ||
  /^(MISCONF|READONLY|NOREPLICAS|LOADING|BUSY|UNKILLABLE|MASTERDOWN|CLUSTERDOWN)\b/.test(error.message)

const ONE_UNREACHABLE =
  "A node of the Redis Cluster could not be reached or did not answer in time. Queues on other nodes are served."

/** A fault of Redis becomes a refusal that asks the client to retry; any other error is returned unchanged. `isOneOfMany`: in a Cluster. */
export function asRefusal(error: unknown, isOneOfMany = false): unknown {
  if (!(error instanceof Error)) return error
  if (isFull(error))
    return new Refused("out_of_memory", {
      detail:
        "Redis has reached maxmemory. It accepts no new tasks until existing tasks end and are deleted, or maxmemory is raised.",
    })
  const refusal = refusalBy(error)
  if (refusal !== undefined) {
    const { words, advice, mayHaveWritten } = refusal
    const after = mayHaveWritten ? "" : " This request changed nothing: repeat it later."
    const detail = `Redis refuses the command: ${words.replace(/\.?$/, ".")} ${advice}${after}`
    return new Refused("redis_unavailable", { detail }, mayHaveWritten)
  }
  if (
    UNREACHABLE.test(error.message) ||
    /MaxRetriesPerRequest|AbortError/.test(`${error.name} ${error.message}`)
  )
    return new Refused(
      "redis_unavailable",
      { detail: isOneOfMany ? ONE_UNREACHABLE : "Redis could not be reached or did not answer in time." },
      true,
    )
  return error
}
