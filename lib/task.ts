/** What a task is: its ids, what its hash holds, and which moves it can make. */
import { randomBytes } from "node:crypto"
import { REASONS, type Reason, STATES, type State } from "./models.ts"

/**
 * The state machine: from · event · to · refused when. The README prints it, the tests walk it. An event is
 * one script; a state is one place in Redis.
 */
export const TRANSITIONS = [
  { from: "–", event: "submit", to: "queued", refused: "the id is taken" },
  { from: "–", event: "submit with delay_ms", to: "scheduled", refused: "the id is taken" },
  { from: "scheduled", event: "sweep: due", to: "queued", refused: "its time has not come" },
  { from: "retrying", event: "sweep: due", to: "queued", refused: "its time has not come" },
  { from: "queued", event: "lease", to: "processing", refused: "older or more urgent tasks wait" },
  { from: "processing", event: "extend", to: "processing", refused: "the lease is not the newest" },
  { from: "processing", event: "settle: done", to: "done", refused: "the lease is not the newest" },
  {
    from: "processing",
    event: "settle: failed, retries left",
    to: "queued",
    refused: "the lease is not the newest",
  },
  {
    from: "processing",
    event: "settle: failed, none left",
    to: "dead",
    refused: "the lease is not the newest",
  },
  { from: "processing", event: "settle: released", to: "queued", refused: "the lease is not the newest" },
  {
    from: "processing",
    event: "sweep: lapsed, crashes left",
    to: "queued",
    refused: "the lease has time left",
  },
  { from: "processing", event: "sweep: lapsed, none left", to: "dead", refused: "the lease has time left" },
  { from: "dead", event: "redrive", to: "queued", refused: "it is not dead" },
  { from: "done", event: "sweep: retention over", to: "–", refused: "its time has not come" },
  { from: "dead", event: "sweep: retention over", to: "–", refused: "its time has not come" },
] as const

export const DEFAULT_QUEUE = "default"
export const DEFAULT_PRIORITY = 5

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" // Crockford: no I, L, O, U to misread
/** 22 characters: 10 of time (base 32, so ids sort by it), 12 of chance (60 bits). */
export function newLocalId(now = Date.now()): string {
  let time = ""
  for (let rest = now, i = 0; i < 10; i++, rest = Math.floor(rest / 32)) time = DIGITS[rest % 32] + time
  let chance = ""
  for (const byte of randomBytes(12)) chance += DIGITS[byte & 31]
  return time + chance
}

/** The random parts of `count` leases: 132 bits each, as 22 characters of base64url, one behind the other. */
export const newTokens = (count: number): string =>
  randomBytes(Math.ceil(count * 16.5))
    .toString("base64url")
    .slice(0, count * 22)

/** The queue is part of the id of its tasks (`emails:…`), so that an id alone finds its keys. */
export function splitId(id: string): { queue: string; local: string } {
  const colon = id.indexOf(":")
  return colon < 0
    ? { queue: DEFAULT_QUEUE, local: id }
    : { queue: id.slice(0, colon), local: id.slice(colon + 1) }
}

export const joinId = (queue: string, local: string): string =>
  queue === DEFAULT_QUEUE ? local : `${queue}:${local}`

/** What the submitter asked. It never changes; the hash keeps it as one text, which lua/prelude.lua reads. */
export interface Policy {
  priority: number
  maxRetries: number
  maxCrashes: number
  timeoutMs: number
}

export const writePolicy = (policy: Policy): string =>
  `${policy.priority} ${policy.maxRetries} ${policy.maxCrashes} ${policy.timeoutMs}`

export function readPolicy(text: string): Policy {
  const [priority, maxRetries, maxCrashes, timeoutMs] = text.split(" ", 4).map(Number)
  return { priority: priority!, maxRetries: maxRetries!, maxCrashes: maxCrashes!, timeoutMs: timeoutMs! }
}

/** A task handed out. `payload` is JSON text, as it was submitted. */
export interface Leased {
  id: string
  queue: string
  type: string
  payload: string
  lease: string
  attempt: number
  retries: number
  policy: Policy
  leaseExpiresAt: number
}

/** All there is to know of a task. `payload` and `result` are JSON text. */
export interface Task {
  id: string
  queue: string
  state: State
  type: string
  payload: string
  policy: Policy
  attempt: number
  retries: number
  crashes: number
  releases: number
  createdAt: number
  startedAt?: number
  finishedAt?: number
  dueAt?: number
  leaseExpiresAt?: number
  worker?: string
  result?: string
  error?: string
  reason?: Reason
}

export type Described = [
  id: string,
  fields: string[],
  payload: string | null,
  lease: string | null,
  due: string | null,
]

export function readTask(queue: string, [local, fields, payload, lease, due]: Described): Task {
  const field = new Map<string, string>()
  for (let i = 0; i < fields.length; i += 2) field.set(fields[i]!, fields[i + 1]!)
  const number = (name: string) => Number(field.get(name) ?? 0)
  const optional = <K extends keyof Task>(name: K, value: Task[K] | undefined) =>
    value === undefined || value === "" ? {} : { [name]: value }
  const time = (text: string | null | undefined) => (text == null ? undefined : Number(text))
  return {
    id: joinId(queue, local),
    queue,
    state: oneOf(STATES, field.get("state")),
    type: field.get("type")!,
    payload: payload ?? field.get("payload")!,
    policy: readPolicy(field.get("policy")!),
    attempt: Number.parseInt(field.get("lease") ?? "0", 10),
    retries: number("retries"),
    crashes: number("crashes"),
    releases: number("releases"),
    createdAt: number("created"),
    ...optional("startedAt", time(field.get("started"))),
    ...optional("finishedAt", time(field.get("finished"))),
    ...optional("dueAt", time(due)),
    ...optional("leaseExpiresAt", time(lease)),
    ...optional("worker", field.get("worker")),
    ...optional("result", field.get("result")),
    ...optional("error", field.get("error")),
    ...optional("reason", field.has("reason") ? oneOf(REASONS, field.get("reason")) : undefined),
  }
}

function oneOf<const T extends readonly string[]>(words: T, word: string | undefined): T[number] {
  if (word !== undefined && words.includes(word)) return word
  throw new Error(`Redis holds a word that this version does not know: ${JSON.stringify(word)}`)
}
