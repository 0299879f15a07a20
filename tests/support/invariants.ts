/** Checks the invariants of a queue's keys, which must hold after every step. */
import type { Redis } from "ioredis"
import { GROUP_KEYS, keyOf, QUEUE_KEY_NAMES } from "../../lib/redis/keys.ts"
import { groupIn, readPolicy } from "../../lib/task/policy.ts"
import { HEADER_FIELDS, type StoredTask, splitRecord } from "../../lib/task/record.ts"
import { readSchedule, scoreOf } from "../../lib/task/schedule.ts"

const NAMES = [...QUEUE_KEY_NAMES, ...(Object.keys(GROUP_KEYS) as (keyof typeof GROUP_KEYS)[])]
const bare = Object.fromEntries(
  NAMES.map(name => [name, keyOf("\u0000", name).split("\u0000}:")[1]!]),
) as Record<(typeof NAMES)[number], string>

const PLACE_OF: Record<string, string> = {
  scheduled: bare.due,
  retrying: bare.due,
  processing: bare.leases,
  done: bare.done,
  dead: bare.dead,
  cancelled: bare.cancelled,
}
const PLACES = new Set([...Object.values(PLACE_OF), bare.completed])
/** Keys that are not about single tasks, and prefixes of such keys. */
const OTHER_KEYS = [
  ...[bare.stats, bare.settings, bare.record, bare.schedules, bare.planned],
  ...[bare.firsts, bare.waiting, bare.busy, bare.overrides, bare.asked, bare.pace],
]
const WAITING = new Set(["scheduled", "retrying", "queued"])
const ENDED = new Set(["done", "dead", "cancelled"])

/** The fields that a task in this state must and must not have. */
const FIELDS: Record<string, { has: string[]; hasNot: string[] }> = {
  scheduled: { has: [], hasNot: ["lease", "finished", "reason", "cancel"] },
  retrying: { has: ["lease"], hasNot: ["finished", "reason", "cancel"] },
  queued: { has: [], hasNot: ["finished", "reason", "cancel"] },
  processing: { has: ["lease", "started"], hasNot: ["finished", "reason"] },
  done: { has: ["lease", "finished"], hasNot: ["reason"] },
  dead: { has: ["finished", "reason"], hasNot: ["result"] },
  cancelled: { has: ["finished"], hasNot: ["reason", "result"] },
}

/** The longest payload, in UTF-16 units, that is stored in the text of its task. */
const MAX_INLINE = 256

/** The text of a task with these parts. */
export const writeStored = (stored: StoredTask): string =>
  [
    HEADER_FIELDS.map(name => stored[name]).join(" "),
    stored.policy,
    stored.extras,
    stored.type,
    stored.payload,
  ].join("\n")

/** The parts of a task's text. Throws if the text has other columns or fewer lines. */
export function readStored(text: string): StoredTask {
  const stored = splitRecord(text)
  if (writeStored(stored) !== text) throw new Error(`Not the text of a task: ${JSON.stringify(text)}`)
  return stored
}

/** How the first line spells the columns that may be absent. */
const ABSENT: Partial<Record<(typeof HEADER_FIELDS)[number], string>> = {
  finished: "0",
  lease: "0",
  started: "0",
  worker: "?",
}

/** The fields of a task's text that are present: columns, `policy`, `type`, `payload` and the extras. */
export function fieldsOf(text: string): Record<string, string> {
  const stored = readStored(text)
  const { policy, type, payload } = stored
  const fields: Record<string, string> = { policy, type }
  for (const name of HEADER_FIELDS) if (stored[name] !== ABSENT[name]) fields[name] = stored[name]
  if (payload !== "") fields.payload = payload
  if (stored.extras === "") return fields
  const extras = Object.entries(JSON.parse(stored.extras) as Record<string, string | number>)
  if (extras.length === 0) throw new Error("The extras of a task without any must be an empty line")
  for (const [name, value] of extras) {
    if (name in fields || name in ABSENT) throw new Error(`${name} is a column, but is among the extras`)
    fields[name] = String(value)
  }
  return fields
}

/** The content of all keys of a queue, by the part of the key after the queue. */
export type Dump = Record<string, unknown>

export async function dump(redis: Redis, queue: string): Promise<Dump> {
  const prefix = `tq:{${queue}}:`
  const keys: string[] = []
  let cursor = "0"
  do {
    const [next, found] = await redis.scan(cursor, "MATCH", `${prefix}*`, "COUNT", 10_000)
    cursor = next
    keys.push(...found)
  } while (cursor !== "0")
  const content: Dump = {}
  await Promise.all(
    [...new Set(keys)].sort().map(async key => {
      content[key.slice(prefix.length)] = await read(redis, key)
    }),
  )
  return content
}

async function read(redis: Redis, key: string): Promise<unknown> {
  switch (await redis.type(key)) {
    case "string":
      return redis.get(key)
    case "list":
      return redis.lrange(key, 0, -1)
    case "hash":
      return redis.hgetall(key)
    case "zset":
      return pairs(await redis.zrange(key, "0", "-1", "WITHSCORES"))
    default:
      return "a type that no key of this layout has"
  }
}

const pairs = (flat: string[]): Record<string, number> =>
  Object.fromEntries(flat.filter((_, i) => i % 2 === 0).map((id, i) => [id, Number(flat[i * 2 + 1])]))

/** A dump by kind: the tasks, the places that list each id, payloads, the owners of unique keys, ready lists. */
export function sorted(content: Dump) {
  const tasks = new Map<string, Record<string, string>>()
  const places = new Map<string, string[]>()
  const payloads = new Map<string, string>()
  const unique = new Map<string, string>()
  const expiring = new Set<string>()
  const ready = new Map<number, string[]>()
  const lists = new Map<string, string[]>()
  const turns = new Map<string, number>()
  const held = new Set<string>()
  const unknown: string[] = []
  const listIn = (id: string, place: string) => places.set(id, [...(places.get(id) ?? []), place])
  for (const [key, value] of Object.entries(content)) {
    const after = (prefix: string) => (key.startsWith(prefix) ? key.slice(prefix.length) : undefined)
    if (after(bare.task) !== undefined) tasks.set(after(bare.task)!, fieldsOf(value as string))
    else if (after(bare.payload) !== undefined) payloads.set(after(bare.payload)!, value as string)
    else if (after(bare.unique) !== undefined) unique.set(after(bare.unique)!, value as string)
    else if (/^\d$/.test(after(bare.ready) ?? "")) {
      const priority = after(bare.ready)!
      ready.set(Number(priority), value as string[])
      for (const id of value as string[]) {
        const entry = priority + id.slice(1)
        if (id.startsWith("=")) turns.set(entry, (turns.get(entry) ?? 0) + 1)
        else listIn(id, key)
      }
    } else if (after(bare.group) !== undefined) {
      lists.set(after(bare.group)!, value as string[])
      for (const id of value as string[]) listIn(id, key)
    } else if (key === bare.completed) for (const id of value as string[]) listIn(id, key)
    else if (key === bare.expiring)
      for (const id of Object.keys(value as object))
        if (id.startsWith("=")) held.add(id.slice(1))
        else expiring.add(id)
    else if (PLACES.has(key)) for (const id of Object.keys(value as object)) listIn(id, key)
    else if (!OTHER_KEYS.some(name => key.startsWith(name))) unknown.push(key)
  }
  for (const [entry, id] of Object.entries((content[bare.firsts] ?? {}) as Record<string, string>)) {
    lists.set(entry, [id, ...(lists.get(entry) ?? [])])
    listIn(id, `${bare.group}${entry}`)
  }
  return { tasks, places, payloads, unique, expiring, ready, lists, turns, held, unknown }
}

/** The limits of a group, its own before those of the queue. */
function limitsOf(content: Dump, group: string): { order?: string; on_dead?: string } {
  const read = (key: string, field: string) => {
    const fields = (content[key] ?? {}) as Record<string, string>
    return JSON.parse(Object.hasOwn(fields, field) ? fields[field]! : "{}")
  }
  return { ...read(bare.settings, "groups"), ...read(bare.overrides, group) }
}

/** Every way in which lists, turns and slots of groups contradict each other and the tasks. */
function contradictionsOfGroups(content: Dump): string[] {
  const { tasks, lists, turns, held } = sorted(content)
  const wrong: string[] = []
  const waiting = (content[bare.waiting] ?? {}) as Record<string, number>
  const firsts = (content[bare.firsts] ?? {}) as Record<string, string>
  for (const entry of new Set([...lists.keys(), ...Object.keys(waiting)])) {
    const length = (lists.get(entry)?.length ?? 0) - (entry in firsts ? 1 : 0)
    if (length !== (waiting[entry] ?? 0))
      wrong.push(`the list of ${entry} has ${length} ids, but ${waiting[entry]} are recorded`)
    if (entry in firsts && held.has(entry)) wrong.push(`${entry} is held and has a first id`)
  }
  for (const entry of new Set([...lists.keys(), ...turns.keys(), ...held])) {
    const found = (turns.get(entry) ?? 0) + (held.has(entry) ? 1 : 0)
    if (found !== (lists.has(entry) ? 1 : 0))
      wrong.push(`${entry} has ${turns.get(entry) ?? 0} turns${held.has(entry) ? " and is held" : ""}`)
  }
  const stats = (content[bare.stats] ?? {}) as Record<string, string>
  for (let priority = 0; priority < 10; priority++) {
    const ofPriority = <T>(map: Map<string, T>) => [...map].filter(([key]) => key.startsWith(`${priority}`))
    const listed = ofPriority(lists).reduce((sum, [, ids]) => sum + ids.length, 0)
    const inLine = ofPriority(turns).reduce((sum, [, count]) => sum + count, 0)
    const recorded = Number(stats[`grouped${priority}`] ?? 0)
    if (listed - inLine !== recorded)
      wrong.push(
        `${listed} grouped tasks and ${inLine} turns of priority ${priority}, but grouped is ${recorded}`,
      )
  }
  const busy = new Set(Object.keys((content[bare.busy] ?? {}) as object))
  for (const [id, { state, policy }] of tasks) {
    const group = groupIn(policy!)
    if (group === undefined) continue
    const { order, on_dead } = limitsOf(content, group)
    const has = busy.delete(`${group}\n${id}`)
    const strict = order === "strict"
    const may =
      strict && (state === "queued" || state === "retrying" || (state === "dead" && on_dead === "block"))
    if (state === "processing" ? !has : has && !may)
      wrong.push(`${id} of ${group} is ${state} and has ${has ? "a" : "no"} slot`)
  }
  for (const member of busy) wrong.push(`${member.replace("\n", "/")} has a slot but is no task`)
  return wrong
}

/** The bytes of the types and payloads of all tasks that have not ended. */
export function bytesHeld({ tasks, payloads }: ReturnType<typeof sorted>): number {
  const bytes = (text = "") => Buffer.byteLength(text)
  let sum = 0
  for (const [id, { state, type, payload }] of tasks)
    if (!ENDED.has(state!)) sum += bytes(type) + 1 + bytes(payload) + bytes(payloads.get(id))
  return sum
}

/** The recorded byte count of a queue; undefined if it has no byte limit. */
export function bytesRecorded(content: Dump): number | undefined {
  const bytes = (content[bare.stats] as Record<string, string> | undefined)?.bytes
  return bytes === undefined ? undefined : Number(bytes)
}

/** Schedules whose entry in `planned` is missing or wrong, and entries without a schedule. */
function wrongPlans(content: Dump): string[] {
  const schedules = (content[bare.schedules] ?? {}) as Record<string, string>
  const planned = (content[bare.planned] ?? {}) as Record<string, number>
  const wrong: string[] = []
  for (const [name, text] of Object.entries(schedules)) {
    const schedule = readSchedule(text)
    const start = schedule && Number(scoreOf(name, schedule))
    if (start === undefined) wrong.push(`the schedule ${name} cannot be read`)
    // NaN is how `pairs` reads the score +inf. A run that found no room in its queue is tried again later.
    else if (!Object.is(planned[name], start) && !(planned[name]! > start))
      wrong.push(`the schedule ${name} runs at ${start}, but is planned for ${planned[name]}`)
  }
  for (const name of Object.keys(planned))
    if (schedules[name] === undefined) wrong.push(`${name} is in planned but is no schedule`)
  return wrong
}

/** Every way in which these keys contradict the layout; empty if there is none. */
export function contradictionsOf(content: Dump): string[] {
  const whole = sorted(content)
  const { tasks, places, payloads, unique, expiring, unknown } = whole
  const wrong = unknown.map(key => `the key ${key} is not in the layout`)
  // Ready lists may contain stale ids.
  for (const [id, where] of places)
    for (const place of where)
      if (PLACES.has(place) && !tasks.has(id)) wrong.push(`${id} is in ${place} but is no task`)
  for (const id of payloads.keys()) if (!tasks.has(id)) wrong.push(`the payload of ${id} has no task`)
  for (const [key, id] of unique) {
    const owner = tasks.get(id)
    if (owner === undefined || ENDED.has(owner.state!) || owner.unique !== key)
      wrong.push(`the unique key ${key} belongs to ${id}, which is ${owner?.state ?? "no task"}`)
  }
  for (const [id, fields] of tasks) {
    const state = fields.state!
    const group = groupIn(fields.policy!)
    const { priority, resultTtlMs = -1 } = readPolicy(fields.policy!)
    const list = group === undefined ? `${bare.ready}${priority}` : `${bare.group}${priority}${group}`
    const found = places.get(id) ?? []
    const indexed = found.filter(place => PLACES.has(place))
    // An earlier version, a clock that was set back and the audit put any done task into the sorted set.
    const isInList = state === "done" && resultTtlMs < 0 && !found.includes(bare.done)
    const expected = state === "queued" ? [] : [isInList ? bare.completed : PLACE_OF[state]]
    if (FIELDS[state] === undefined) wrong.push(`${id} has the state ${state}`)
    if (indexed.length !== expected.length || indexed[0] !== expected[0])
      wrong.push(`${id} is ${state}, so it must be in [${expected}], but is in [${indexed}]`)
    if (state === "queued" && !found.includes(list)) wrong.push(`${id} is queued but not in ${list}`)
    for (const name of ["type", "policy", "created", ...(FIELDS[state]?.has ?? [])])
      if (fields[name] === undefined) wrong.push(`${id} is ${state} without ${name}`)
    for (const name of FIELDS[state]?.hasNot ?? [])
      if (fields[name] !== undefined) wrong.push(`${id} is ${state} with ${name}`)
    if (payloads.has(id) === (fields.payload !== undefined))
      wrong.push(`${id} has ${payloads.has(id) ? "two payloads" : "no payload"}`)
    if ((fields.payload?.length ?? 0) > MAX_INLINE || (payloads.get(id)?.length ?? Infinity) <= MAX_INLINE)
      wrong.push(`the payload of ${id} is ${payloads.has(id) ? "small" : "large"} and is in the wrong place`)
    const expires = (readPolicy(fields.policy!).expiresAt ?? 0) > 0 && WAITING.has(state)
    if (expires !== expiring.has(id))
      wrong.push(`${id} is ${state} and ${expiring.has(id) ? "" : "not "}among the expiring`)
    if (fields.unique !== undefined && !ENDED.has(state) && unique.get(fields.unique) !== id)
      wrong.push(`${id} is ${state}, and its unique key belongs to ${unique.get(fields.unique) ?? "nobody"}`)
  }
  const ended = ((content[bare.completed] ?? []) as string[]).map(id => Number(tasks.get(id)?.finished))
  if (ended.some((at, i) => i > 0 && at < ended[i - 1]!))
    wrong.push(`${bare.completed} is not in order: ${ended}`)
  for (const id of expiring) if (!tasks.has(id)) wrong.push(`${id} is in expiring but is no task`)
  wrong.push(...wrongPlans(content))
  wrong.push(...contradictionsOfGroups(content))
  const recorded = bytesRecorded(content) ?? bytesHeld(whole)
  if (recorded !== bytesHeld(whole))
    wrong.push(`the tasks hold ${bytesHeld(whole)} bytes, but ${recorded} are recorded`)
  return wrong
}

export const contradictions = async (redis: Redis, queue: string): Promise<string[]> =>
  contradictionsOf(await dump(redis, queue))

/** Throws an error that lists all contradictions. */
export async function checkQueue(redis: Redis, queue: string): Promise<void> {
  const wrong = await contradictions(redis, queue)
  if (wrong.length > 0) throw new Error(`Queue ${queue}:\n${wrong.join("\n")}`)
}
