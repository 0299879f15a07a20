/** Task ids: `queue:local`, or only `local` for a task of the default queue. Local ids sort by creation time. */
import { randomBytes } from "node:crypto"

export const DEFAULT_QUEUE = "default"

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" // Crockford's base 32: without I, L, O and U
const encodeTime = (now: number): string => {
  let text = ""
  for (let rest = now, i = 0; i < 10; i++, rest = Math.floor(rest / 32)) text = DIGITS[rest % 32] + text
  return text
}

// Random bytes are drawn for 1,024 ids at once: a draw per id is most of the cost of an id.
const pool = { bytes: randomBytes(12 * 1_024), at: 0 }
let lastTime = { ms: 0, text: "" }

/** 22 characters: 10 of time (so ids sort by it) and 12 random ones (60 bits). */
export function newLocalId(now = Date.now()): string {
  if (lastTime.ms !== now) lastTime = { ms: now, text: encodeTime(now) }
  if (pool.at === pool.bytes.length) {
    pool.bytes = randomBytes(pool.bytes.length)
    pool.at = 0
  }
  let suffix = ""
  for (const end = pool.at + 12; pool.at < end; pool.at++) suffix += DIGITS[pool.bytes[pool.at]! & 31]
  return lastTime.text + suffix
}

/** An id contains its queue (`emails:…`), so the id alone is enough to find the task's keys. */
export function splitId(id: string): { queue: string; localId: string } {
  const colon = id.indexOf(":")
  return colon < 0
    ? { queue: DEFAULT_QUEUE, localId: id }
    : { queue: id.slice(0, colon), localId: id.slice(colon + 1) }
}

export const queueOf = (id: string): string => splitId(id).queue
export const localOf = (id: string): string => id.slice(id.indexOf(":") + 1)

export const joinId = (queue: string, local: string): string =>
  queue === DEFAULT_QUEUE ? local : `${queue}:${local}`
