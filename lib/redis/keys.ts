/**
 * The one file that spells Redis keys, except that lua/groups.lua builds those of groups. All keys of a queue have its name
 * as their hash tag, so that a queue is in one slot of a Cluster and a script may use all of them. A queue script receives
 * those that it uses, in this order.
 */

export interface KeyDeclaration {
  type: "string" | "list" | "set" | "zset" | "hash" | "stream" | "channel"
  /** What a key of this name ends with, after a colon; absent: there is one key. */
  by?: string
  content: string
}

/** The keys of one queue. All times are in ms since 1970. */
export const QUEUE_KEYS = {
  task: { type: "string", by: "id", content: "the record of a task; see lib/task/README.md" },
  payload: { type: "string", by: "id", content: "a payload that is too large for the record, as JSON text" },
  ready: {
    type: "list",
    by: "priority 0-9",
    content: "ids of queued tasks without a group, oldest first; `=group`: the turn of a group",
  },
  due: { type: "zset", content: "ids of scheduled and retrying tasks, by when they become ready" },
  leases: { type: "zset", content: "ids of processing tasks, by when the lease lapses" },
  done: {
    type: "zset",
    content:
      "ids of done tasks with a `result_ttl_ms`, or that ended while the clock was set back, by when they are deleted",
  },
  completed: { type: "list", content: "ids of the other done tasks, by when they ended, oldest first" },
  dead: { type: "zset", content: "ids of dead tasks, by when they died" },
  cancelled: { type: "zset", content: "ids of cancelled tasks, by when they are deleted" },
  expiring: {
    type: "zset",
    content:
      "ids of waiting tasks, by the time after which no attempt starts; `=`, priority and group: a held turn, by when to look at it again",
  },
  unique: { type: "string", by: "unique key", content: "the id of the task that holds the unique key" },
  record: {
    type: "string",
    by: "idempotency key",
    content: "fingerprint of the request, id and code of the first answer; expires",
  },
  stats: {
    type: "hash",
    content:
      "polled (time of the last poll), bytes (of the tasks that have not ended, if limited), tokens (of the rates' buckets at the time `filled`), filled, grouped0 to grouped9 (by priority: how many tasks of groups are queued, minus the turns in the ready list), full_at and full_since (when a run of a schedule last found no room, and since when runs have found none)",
  },
  settings: {
    type: "hash",
    content:
      "paused (time since when), reason (of the pause), concurrency, per_second, burst, rates (a list as JSON), groups (limits of every group, as JSON)",
  },
  wake: { type: "channel", content: "how many tasks became ready" },
  ended: { type: "channel", content: "the id of a watched task that has ended" },
  schedules: { type: "hash", content: "by name: a schedule; see lib/task/README.md" },
  planned: { type: "zset", content: "names of schedules, by when they run next; +inf: never" },
} as const satisfies Record<string, KeyDeclaration>

/** The keys of the groups of a queue. Calls without groups do not carry them. */
export const GROUP_KEYS = {
  group: {
    type: "list",
    by: "priority and group",
    content: "ids of queued tasks of the group, oldest first, without the one in `firsts`",
  },
  firsts: {
    type: "hash",
    content: "by priority and group: the id of its first queued task, if it came when no other one waited",
  },
  waiting: { type: "zset", content: "priorities and groups, by how many tasks are in their list" },
  busy: {
    type: "zset",
    content: "group, line end, id of tasks that take one of the group's slots; all scores are 0",
  },
  overrides: {
    type: "hash",
    content: "by group: limits that differ from the queue's, paused, reason; as JSON",
  },
  asked: {
    type: "string",
    by: "group",
    content:
      "exists while a worker has asked to hold the group; the key without a name exists while any group of the queue is held so; expires",
  },
  pace: {
    type: "string",
    by: "group",
    content: "time and levels of the group's token buckets; expires when full",
  },
} as const satisfies Record<string, KeyDeclaration>

const ALL_QUEUE_KEYS = { ...QUEUE_KEYS, ...GROUP_KEYS }
export type QueueKey = keyof typeof QUEUE_KEYS
export type AnyQueueKey = keyof typeof ALL_QUEUE_KEYS
export const QUEUE_KEY_NAMES = Object.keys(QUEUE_KEYS) as QueueKey[]
const ALL_QUEUE_KEY_NAMES: readonly string[] = Object.keys(ALL_QUEUE_KEYS)

/** One key, or the prefix of many, which ends in a colon. */
const queueKey = (queue: string, name: AnyQueueKey): string =>
  `tq:{${queue}}:${name}${"by" in ALL_QUEUE_KEYS[name] ? ":" : ""}`

/** Redis delivers messages to the clients of all its databases, so the channels of a database other than 0 name it. */
export const channelIn = (channel: string, database = 0): string =>
  database === 0 ? channel : `${channel}@${database}`

const cache = new Map<string, Record<QueueKey, string>>()

/** These keys of a queue, in the order in which a script receives them. */
export function queueKeys(queue: string, names: readonly QueueKey[], database = 0): string[] {
  const place = database === 0 ? queue : channelIn(queue, database)
  let keys = cache.get(place)
  if (keys === undefined) {
    keys = {} as Record<QueueKey, string>
    for (const name of QUEUE_KEY_NAMES) {
      const key = queueKey(queue, name)
      keys[name] = QUEUE_KEYS[name].type === "channel" ? channelIn(key, database) : key
    }
    if (cache.size > 10_000) cache.clear()
    cache.set(place, keys)
  }
  return names.map(name => keys[name])
}

/** One key of a queue. */
export const keyOf = (queue: string, name: AnyQueueKey, id = ""): string => queueKey(queue, name) + id

/** The parts of a key of a queue; undefined for any other key. */
export function readKey(key: string): { queue: string; name: AnyQueueKey; id: string } | undefined {
  const [, queue, name, id = ""] = /^tq:\{([^}]+)\}:([a-z]+)(?::(.*))?$/s.exec(key) ?? []
  if (queue === undefined || name === undefined || !ALL_QUEUE_KEY_NAMES.includes(name)) return undefined
  return { queue, name: name as AnyQueueKey, id }
}

/** A pattern for SCAN that matches all keys of one queue, or of all queues. */
export const keyPattern = (queue?: string): string => (queue === undefined ? "tq:{*" : `tq:{${queue}}:*`)

export const wakeChannel = (queue: string): string => queueKey(queue, "wake")
export const isWakeChannel = (channel: string): boolean => channel.endsWith("}:wake")
/** Tells whether a user may use the channels. It belongs to no queue, because a name is never empty. */
export const PROBE_CHANNEL = wakeChannel("")
export const endedChannel = (queue: string): string => queueKey(queue, "ended")
export const queueOfChannel = (channel: string): string => channel.slice("tq:{".length, channel.indexOf("}"))

export const QUEUES = "tq:queues"

/** The keys of workers are in one slot. No queue name can begin like these keys. */
export const WORKERS = "tq:workers{w}:about"
export const WORKERS_SEEN = "tq:workers{w}:seen"
export const WORKERS_DRAINS = "tq:workers{w}:drains"
export const DRAINS_CHANNEL = "tq:workers{w}:drain"

export const RATES = "tq:rates{r}:"

/** The keys of the history are in one slot. */
export const HISTORY = "tq:history{h}:"
export const HISTORY_TYPES = "tq:history-types{h}:"
export const HISTORY_MARKS = "tq:history-marks"
/** `block`: number of an hour with points of minutes, or of a day with points of hours. */
export const historyTypes = (level: "m" | "h", block: number, queue: string): string =>
  `${HISTORY_TYPES}${level}:${block}:${queue}`
export const historySeries = (queue: string, type?: string): string =>
  type === undefined ? queue : `${queue}:${type}`

/** The keys of bulk operations are in one slot. */
export const BULK_STARTED = "tq:bulk{b}:started"
export const BULK_DUE = "tq:bulk{b}:due"
export const BULK_OPERATION = "tq:bulk{b}:operation:"
export const BULK_OPEN = "tq:bulk{b}:open:"

/** Also a channel: the name of the queue whose defaults changed. */
export const DEFAULTS = "tq:defaults"

/** A channel: the name of a queue one of whose schedules changed. */
export const SCHEDULES_CHANNEL = "tq:schedules"

export const EVENT_STREAM = "tq:events"
/** Also a channel: for how many ms, at least, a client will read events. */
export const LISTENING = "tq:listening"

/** Which brokers run. */
export const BROKERS = "tq:brokers"

/** What operators did. It is a key of its own, so that no queue is slower for it. */
export const ACTION_STREAM = "tq:actions"

/** Identifies the data: it is another one after FLUSHALL and in another Redis. In a Cluster it is beside QUEUES. */
export const DATA_ID = `tq:data{${QUEUES}}`

export const SCHEMA = "tq:schema"
export const SCHEMA_VERSION = "2"

/** Keys that never exist, to find out what Redis allows: one in the slot of SCHEMA, and others in other slots. */
export const MISSING = `tq:{${SCHEMA}}:probe`
export const probeKey = (n: number): string => `tq:{${n}}:probe`

/** The keys that are about no single queue. */
export const SHARED_KEYS: Readonly<Record<string, KeyDeclaration>> = {
  [QUEUES]: { type: "set", content: "the names of all queues; a name is added before its first task" },
  [WORKERS]: {
    type: "hash",
    content:
      "by worker (name, instance, binding): what is known about it, as JSON; see lib/lua/workers-seen.lua",
  },
  [WORKERS_SEEN]: { type: "zset", content: "names of workers, by when they were last seen" },
  [WORKERS_DRAINS]: { type: "hash", content: "by worker: since when it is draining, in ms" },
  [DRAINS_CHANNEL]: { type: "channel", content: "the name of a worker that begins or stops draining" },
  [RATES]: {
    type: "hash",
    by: "slice of 5 s",
    content: "by queue: how many of each event; see lib/lua/rates-add.lua; expires",
  },
  [HISTORY]: {
    type: "hash",
    by: "m and an hour, or h and a day, then queue, and type",
    content:
      "by minute of the hour, or hour of the day: what happened; see lib/observe/history-point.ts; expires",
  },
  [HISTORY_TYPES]: {
    type: "zset",
    by: "the same without a type",
    content: "the types of the queue that have points of their own, by how busy they were; expires",
  },
  [HISTORY_MARKS]: {
    type: "zset",
    content: "the newest 1,000 marks, such as deploys, as JSON, by their time; expires",
  },
  [BULK_STARTED]: { type: "zset", content: "ids of bulk operations, by when they were started" },
  [BULK_DUE]: {
    type: "zset",
    content: "ids of bulk operations with work left, by when any broker may take the next step",
  },
  [BULK_OPERATION]: {
    type: "hash",
    by: "bulk id",
    content:
      "about (what was requested), selected (tasks), progress, page (the tasks in hand), stop (who asked to stop it), each as JSON; state, started, ended, fence, held; succeeded, died_again, other (counts of retried tasks)",
  },
  [BULK_OPEN]: {
    type: "set",
    by: "bulk id",
    content: "ids of tasks that it has retried and whose outcome is not known",
  },
  [DEFAULTS]: { type: "hash", content: "by queue: defaults for members that its submits omit, as JSON" },
  [SCHEDULES_CHANNEL]: {
    type: "channel",
    content: "the name of a queue, one of whose schedules has changed",
  },
  [EVENT_STREAM]: {
    type: "stream",
    content: "events about tasks and queues, bounded; written while a client reads events",
  },
  [LISTENING]: { type: "string", content: "exists while a client reads events; expires" },
  [BROKERS]: {
    type: "zset",
    content: "what each broker says about itself, as JSON, by when it was last seen; expires",
  },
  [ACTION_STREAM]: {
    type: "stream",
    content: "the newest 1,000 operator actions, as JSON; see lib/http/actions.md",
  },
  [DATA_ID]: { type: "string", content: "a random id of this data, to notice that it is gone" },
  [SCHEMA]: { type: "string", content: "the version of this layout" },
}

/** The names of idempotency records: under an Idempotency-Key, and under a task id that the client chose. */
export const headerRecord = (key: string): string => `key:${key}`
export const givenIdRecord = (localId: string): string => `id:${localId}`
export const recordKey = (queue: string, name: string): string => queueKey(queue, "record") + name
