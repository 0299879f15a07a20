/**
 * The one file that spells Redis keys. All keys of a queue carry its name as their hash tag, so that a queue
 * is one slot of a Cluster and a script may touch all of it. Every script gets all of them, in this order:
 * the first line of lua/record.lua unpacks them, and a test compares the two.
 */
const QUEUE_KEYS = {
  task: "prefix; string by id: one task (its lines: lua/record.lua)",
  payload: "prefix; string by id: a payload too large to be written with each transition, as JSON text",
  ready: "prefix; list by priority 0-9: ids of queued tasks, oldest first",
  due: "zset by ms: ids of scheduled and retrying tasks, by when they are ready",
  leases: "zset by ms: ids of processing tasks, by when the lease lapses",
  done: "zset by ms: ids of done tasks, by when they are deleted",
  dead: "zset by ms: ids of dead tasks, by when they died",
  cancelled: "zset by ms: ids of cancelled tasks, by when they are deleted",
  expiring: "zset by ms: ids of waiting tasks that are not to start after that time",
  unique: "prefix; string by unique key: the id of the task that holds it",
  record: "prefix; string by idempotency key: `print id state` of the first answer, with a time to live",
  stats:
    "hash: polled (ms, when somebody last asked for tasks); bytes (of tasks that have not ended, where limited); tokens (of its rate, at the time `filled`)",
  settings:
    "hash: paused (ms, since when it hands out nothing); reason (of the pause); concurrency; per_second; burst",
  wake: "pub/sub channel: how many tasks became ready",
  ended: "pub/sub channel: the id of a watched task that has ended",
} as const

export type QueueKey = keyof typeof QUEUE_KEYS
export const QUEUE_KEY_NAMES = Object.keys(QUEUE_KEYS) as QueueKey[]

/** A prefix ends in a colon, so that an id can be put behind it. */
const queueKey = (queue: string, name: QueueKey): string =>
  `tq:{${queue}}:${name}${QUEUE_KEYS[name].startsWith("prefix") ? ":" : ""}`

const cache = new Map<string, string[]>()

export function queueKeys(queue: string): string[] {
  let keys = cache.get(queue)
  if (keys === undefined) {
    keys = QUEUE_KEY_NAMES.map(name => queueKey(queue, name))
    if (cache.size > 10_000) cache.clear()
    cache.set(queue, keys)
  }
  return keys
}

/** One key of a queue. */
export const keyOf = (queue: string, name: QueueKey, id = ""): string => queueKey(queue, name) + id

/** Whose key this is, and which; undefined: of no queue. */
export function readKey(key: string): { queue: string; name: QueueKey; id: string } | undefined {
  const [, queue, name, id = ""] = /^tq:\{([^}]+)\}:([a-z]+)(?::(.*))?$/.exec(key) ?? []
  if (queue === undefined || !QUEUE_KEY_NAMES.includes(name as QueueKey)) return undefined
  return { queue, name: name as QueueKey, id }
}

/** What SCAN takes: all keys of one queue, or of all. */
export const keysOf = (queue?: string): string => (queue === undefined ? "tq:{*" : `tq:{${queue}}:*`)

export const wakeChannel = (queue: string): string => queueKey(queue, "wake")
export const endedChannel = (queue: string): string => queueKey(queue, "ended")
export const queueOfChannel = (channel: string): string => channel.slice("tq:{".length, channel.indexOf("}"))

/** set: the names of all queues; a name is added before the first submit to it, never after. */
export const QUEUES = "tq:queues"

/** Of the workers, all in one slot: lib/lua/workers-seen.lua tells what is in them. No queue's name begins so. */
export const WORKERS = "tq:workers{w}:about"
export const WORKERS_SEEN = "tq:workers{w}:seen"
export const WORKERS_DRAINS = "tq:workers{w}:drains"
/** pub/sub channel: the name of a worker that is to end, or not any more. */
export const DRAINS_CHANNEL = "tq:workers{w}:drain"

/** prefix; hash by slice of time: what happened in each queue (lib/lua/rates-add.lua), with a time to live. */
export const RATES = "tq:rates{r}:"

/** hash by queue: what its tasks get where their submits do not say, as JSON. As a channel: the queue whose are others now. */
export const DEFAULTS = "tq:defaults"

/** stream: what happened to tasks and queues; written while somebody listens, and bounded. */
export const EVENT_STREAM = "tq:events"
/** string with a time to live: somebody listens to events. As a channel: for how many ms, at least. */
export const LISTENING = "tq:listening"

/** string: which layout of keys and fields this Redis holds. */
export const SCHEMA = "tq:schema"
export const SCHEMA_VERSION = "2"

/** The idempotency record under the caller's Idempotency-Key, and under the id that a caller gave. */
export const headerRecord = (key: string): string => `key:${key}`
export const givenIdRecord = (local: string): string => `id:${local}`
export const recordKey = (queue: string, name: string): string => queueKey(queue, "record") + name
