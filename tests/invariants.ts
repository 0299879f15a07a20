/** What must hold of a queue's keys after every step, whatever happened before. */
import type { Redis } from "ioredis"
import { queueKeys } from "../lib/keys.ts"
import { readPolicy } from "../lib/task.ts"

const [TASK, PAYLOAD, READY, DUE, LEASES, DONE, DEAD] = queueKeys("\u0000").map(
  key => key.split("\u0000}:")[1]!,
)
const PLACE_OF: Record<string, string> = {
  scheduled: DUE!,
  retrying: DUE!,
  processing: LEASES!,
  done: DONE!,
  dead: DEAD!,
}
/** The fields that a task in this state must and must not have. */
const FIELDS: Record<string, { has: string[]; hasNot: string[] }> = {
  scheduled: { has: [], hasNot: ["finished", "reason"] },
  retrying: { has: [], hasNot: ["finished", "reason"] },
  queued: { has: [], hasNot: ["finished", "reason"] },
  processing: { has: ["lease", "started"], hasNot: ["finished", "reason"] },
  done: { has: ["lease", "finished", "settled"], hasNot: ["reason"] },
  dead: { has: ["lease", "finished", "reason"], hasNot: ["result"] },
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

/** Every way in which these keys contradict the layout; an empty list where all is well. */
export async function contradictions(redis: Redis, queue: string): Promise<string[]> {
  const content = await dump(redis, queue)
  const wrong: string[] = []
  const places = new Map<string, string[]>()
  const stands = (id: string, place: string) => places.set(id, [...(places.get(id) ?? []), place])
  const tasks = new Map<string, Record<string, string>>()
  const payloads = new Set<string>()
  for (const [key, value] of Object.entries(content)) {
    if (key.startsWith(TASK!)) tasks.set(key.slice(TASK!.length), value as Record<string, string>)
    else if (key.startsWith(PAYLOAD!)) payloads.add(key.slice(PAYLOAD!.length))
    else if (key.startsWith(READY!) && /^\d$/.test(key.slice(READY!.length)))
      for (const id of value as string[]) stands(id, key)
    else if ([DUE, LEASES, DONE, DEAD].includes(key))
      for (const id of Object.keys(value as object)) stands(id, key)
    else wrong.push(`the key ${key} is none of the layout's`)
  }
  for (const [id, where] of places) if (!tasks.has(id)) wrong.push(`${id} stands in ${where} and is no task`)
  for (const id of payloads) if (!tasks.has(id)) wrong.push(`the payload of ${id} has no task`)
  for (const [id, fields] of tasks) {
    const state = fields.state!
    const expected = state === "queued" ? `${READY}${readPolicy(fields.policy!).priority}` : PLACE_OF[state]
    const found = places.get(id) ?? []
    if (expected === undefined) wrong.push(`${id} has the state ${state}`)
    else if (found.length !== 1 || found[0] !== expected)
      wrong.push(`${id} is ${state}, so it stands in ${expected} alone, and not in [${found}]`)
    for (const name of ["type", "policy", "created", ...(FIELDS[state]?.has ?? [])])
      if (fields[name] === undefined) wrong.push(`${id} is ${state} without ${name}`)
    for (const name of FIELDS[state]?.hasNot ?? [])
      if (fields[name] !== undefined) wrong.push(`${id} is ${state} with ${name}`)
    if (payloads.has(id) === (fields.payload !== undefined))
      wrong.push(`${id} has ${payloads.has(id) ? "two payloads" : "no payload"}`)
  }
  return wrong
}

/** Throws with all that is wrong. */
export async function checkQueue(redis: Redis, queue: string): Promise<void> {
  const wrong = await contradictions(redis, queue)
  if (wrong.length > 0) throw new Error(`Queue ${queue}:\n${wrong.join("\n")}`)
}
