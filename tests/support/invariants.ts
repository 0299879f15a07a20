/** What must hold of a queue's keys after every step, whatever happened before. */
import type { Redis } from "ioredis"
import { QUEUE_KEY_NAMES, type QueueKey, queueKeys } from "../../lib/redis/keys.ts"
import { readPolicy } from "../../lib/task/policy.ts"
import { HEADER_FIELDS } from "../../lib/task/record.ts"

const bare = Object.fromEntries(
  QUEUE_KEY_NAMES.map((name, i) => [name, queueKeys("\u0000")[i]!.split("\u0000}:")[1]!]),
) as Record<QueueKey, string>

const PLACE_OF: Record<string, string> = {
  scheduled: bare.due,
  retrying: bare.due,
  processing: bare.leases,
  done: bare.done,
  dead: bare.dead,
  cancelled: bare.cancelled,
}
const PLACES = new Set(Object.values(PLACE_OF))
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

/** In UTF-16 units: what a task's own text holds of a payload. */
const MAX_INLINE = 256

type Lines = [head: string, policy: string, rare: string, type: string, payload: string]

/** A task's text cut into its lines; the last one, the payload, may hold line ends. Throws where there are fewer. */
export function cut(text: string): Lines {
  const parts = /^([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([\s\S]*)$/.exec(text)
  if (parts === null) throw new Error(`This is no task's text: ${JSON.stringify(text)}`)
  return parts.slice(1) as Lines
}

/** The first line: the names of what may be absent, and how that is spelled. */
const ABSENT: Partial<Record<(typeof HEADER_FIELDS)[number], string>> = {
  finished: "0",
  lease: "0",
  started: "0",
  worker: "?",
}

/** A task's text by names: its first line's, `policy`, `type`, `payload` and the rare ones, where they are there. */
export function fieldsOf(text: string): Record<string, string> {
  const [head, policy, rare, type, payload] = cut(text)
  const words = head.split(" ")
  if (words.length !== HEADER_FIELDS.length) throw new Error(`This is no task's first line: ${head}`)
  const fields: Record<string, string> = { policy, type }
  HEADER_FIELDS.forEach((name, i) => {
    if (words[i] !== ABSENT[name]) fields[name] = words[i]!
  })
  if (payload !== "") fields.payload = payload
  if (rare === "") return fields
  const few = Object.entries(JSON.parse(rare) as Record<string, string | number>)
  if (few.length === 0) throw new Error("A task that has nothing rare says so with an empty line")
  for (const [name, value] of few) {
    if (name in fields || name in ABSENT) throw new Error(`${name} stands among the rare ones`)
    fields[name] = String(value)
  }
  return fields
}

/** All keys of a queue by what stands behind its name, with their content. */
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
      return "something that this layout does not know"
  }
}

const pairs = (flat: string[]): Record<string, number> =>
  Object.fromEntries(flat.filter((_, i) => i % 2 === 0).map((id, i) => [id, Number(flat[i * 2 + 1])]))

/** A dump sorted by what it tells: the tasks, where each id stands, and who holds which unique key. */
export function sorted(content: Dump) {
  const tasks = new Map<string, Record<string, string>>()
  const places = new Map<string, string[]>()
  const payloads = new Map<string, string>()
  const unique = new Map<string, string>()
  const expiring = new Set<string>()
  const ready = new Map<number, string[]>()
  const unknown: string[] = []
  const stands = (id: string, place: string) => places.set(id, [...(places.get(id) ?? []), place])
  for (const [key, value] of Object.entries(content)) {
    const after = (prefix: string) => (key.startsWith(prefix) ? key.slice(prefix.length) : undefined)
    if (after(bare.task) !== undefined) tasks.set(after(bare.task)!, fieldsOf(value as string))
    else if (after(bare.payload) !== undefined) payloads.set(after(bare.payload)!, value as string)
    else if (after(bare.unique) !== undefined) unique.set(after(bare.unique)!, value as string)
    else if (/^\d$/.test(after(bare.ready) ?? "")) {
      ready.set(Number(after(bare.ready)), value as string[])
      for (const id of value as string[]) stands(id, key)
    } else if (key === bare.expiring) for (const id of Object.keys(value as object)) expiring.add(id)
    else if (PLACES.has(key)) for (const id of Object.keys(value as object)) stands(id, key)
    else if (key !== bare.stats && key !== bare.settings && after(bare.record) === undefined)
      unknown.push(key)
  }
  return { tasks, places, payloads, unique, expiring, ready, unknown }
}

/** What the tasks that have not ended hold: their types and payloads. */
export function bytesHeld({ tasks, payloads }: ReturnType<typeof sorted>): number {
  const bytes = (text = "") => Buffer.byteLength(text)
  let sum = 0
  for (const [id, { state, type, payload }] of tasks)
    if (!ENDED.has(state!)) sum += bytes(type) + 1 + bytes(payload) + bytes(payloads.get(id))
  return sum
}

/** What a queue is said to hold; undefined where nobody counts. */
export function bytesSaid(content: Dump): number | undefined {
  const said = (content[bare.stats] as Record<string, string> | undefined)?.bytes
  return said === undefined ? undefined : Number(said)
}

/** Every way in which these keys contradict the layout; an empty list where all is well. */
export function contradictionsOf(content: Dump): string[] {
  const whole = sorted(content)
  const { tasks, places, payloads, unique, expiring, unknown } = whole
  const wrong = unknown.map(key => `the key ${key} is none of the layout's`)
  // An id may linger in a ready list after its task has left it.
  for (const [id, where] of places)
    for (const place of where)
      if (PLACES.has(place) && !tasks.has(id)) wrong.push(`${id} stands in ${place} and is no task`)
  for (const id of payloads.keys()) if (!tasks.has(id)) wrong.push(`the payload of ${id} has no task`)
  for (const [key, id] of unique) {
    const owner = tasks.get(id)
    if (owner === undefined || ENDED.has(owner.state!) || owner.unique !== key)
      wrong.push(`the unique key ${key} belongs to ${id}, which is ${owner?.state ?? "no task"}`)
  }
  for (const [id, fields] of tasks) {
    const state = fields.state!
    const list = `${bare.ready}${readPolicy(fields.policy!).priority}`
    const found = places.get(id) ?? []
    const indexed = found.filter(place => PLACES.has(place))
    const expected = state === "queued" ? [] : [PLACE_OF[state]]
    if (FIELDS[state] === undefined) wrong.push(`${id} has the state ${state}`)
    if (indexed.length !== expected.length || indexed[0] !== expected[0])
      wrong.push(`${id} is ${state}, so it stands in [${expected}], and not in [${indexed}]`)
    if (state === "queued" && !found.includes(list)) wrong.push(`${id} is queued and not in ${list}`)
    for (const name of ["type", "policy", "created", ...(FIELDS[state]?.has ?? [])])
      if (fields[name] === undefined) wrong.push(`${id} is ${state} without ${name}`)
    for (const name of FIELDS[state]?.hasNot ?? [])
      if (fields[name] !== undefined) wrong.push(`${id} is ${state} with ${name}`)
    if (payloads.has(id) === (fields.payload !== undefined))
      wrong.push(`${id} has ${payloads.has(id) ? "two payloads" : "no payload"}`)
    if ((fields.payload?.length ?? 0) > MAX_INLINE || (payloads.get(id)?.length ?? Infinity) <= MAX_INLINE)
      wrong.push(
        `the payload of ${id} is ${payloads.has(id) ? "small" : "large"} and stands in the wrong place`,
      )
    const expires = (readPolicy(fields.policy!).expiresAt ?? 0) > 0 && WAITING.has(state)
    if (expires !== expiring.has(id))
      wrong.push(`${id} is ${state} and ${expiring.has(id) ? "" : "not "}among the expiring`)
    if (fields.unique !== undefined && !ENDED.has(state) && unique.get(fields.unique) !== id)
      wrong.push(`${id} is ${state}, and its unique key belongs to ${unique.get(fields.unique) ?? "nobody"}`)
  }
  for (const id of expiring) if (!tasks.has(id)) wrong.push(`${id} expires and is no task`)
  const said = bytesSaid(content) ?? bytesHeld(whole)
  if (said !== bytesHeld(whole)) wrong.push(`the tasks hold ${bytesHeld(whole)} bytes, and not ${said}`)
  return wrong
}

export const contradictions = async (redis: Redis, queue: string): Promise<string[]> =>
  contradictionsOf(await dump(redis, queue))

/** Throws with all that is wrong. */
export async function checkQueue(redis: Redis, queue: string): Promise<void> {
  const wrong = await contradictions(redis, queue)
  if (wrong.length > 0) throw new Error(`Queue ${queue}:\n${wrong.join("\n")}`)
}
