/** What a task is: its ids, what its hash holds, and which moves it can make. */
import { randomBytes } from "node:crypto"
import { type Backoff, REASONS, type Reason, STATES, type State } from "./models.ts"

/**
 * The state machine: from · event · to · refused when. The README prints it, the tests walk it. An event is
 * one script; a state is one place in Redis.
 */
export const TRANSITIONS = [
  { from: "–", event: "submit", to: "queued", refused: "the id or its unique key is taken" },
  { from: "–", event: "submit: delayed", to: "scheduled", refused: "the id or its unique key is taken" },
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
    event: "settle: failed, with backoff",
    to: "retrying",
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
    event: "settle: released too often",
    to: "dead",
    refused: "the lease is not the newest",
  },
  {
    from: "processing",
    event: "settle: cancelled meanwhile",
    to: "cancelled",
    refused: "the lease is not the newest",
  },
  {
    from: "processing",
    event: "sweep: lapsed, crashes left",
    to: "queued",
    refused: "the lease has time left",
  },
  {
    from: "processing",
    event: "sweep: lapsed, with backoff",
    to: "retrying",
    refused: "the lease has time left",
  },
  { from: "processing", event: "sweep: lapsed, none left", to: "dead", refused: "the lease has time left" },
  {
    from: "processing",
    event: "sweep: lapsed, cancelled meanwhile",
    to: "cancelled",
    refused: "the lease has time left",
  },
  { from: "processing", event: "cancel", to: "processing", refused: "it has ended" },
  { from: "scheduled", event: "cancel", to: "cancelled", refused: "it has ended" },
  { from: "queued", event: "cancel", to: "cancelled", refused: "it has ended" },
  { from: "retrying", event: "cancel", to: "cancelled", refused: "it has ended" },
  { from: "scheduled", event: "sweep: expired", to: "dead", refused: "its time has not come" },
  { from: "queued", event: "sweep: expired", to: "dead", refused: "its time has not come" },
  { from: "retrying", event: "sweep: expired", to: "dead", refused: "its time has not come" },
  { from: "dead", event: "redrive", to: "queued", refused: "it is not dead, or its unique key is taken" },
  { from: "done", event: "sweep: retention over", to: "–", refused: "its time has not come" },
  { from: "dead", event: "sweep: retention over", to: "–", refused: "its time has not come" },
  { from: "cancelled", event: "sweep: retention over", to: "–", refused: "its time has not come" },
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

/** What the submitter asked. Only redrive changes it; the hash keeps it as one text, which lua/prelude.lua reads. */
export interface Policy {
  priority: number
  maxRetries: number
  maxCrashes: number
  timeoutMs: number
  /** The hard end of an attempt; 0: none. */
  maxRuntimeMs?: number
  /** No attempt starts later; 0: never too late. Written as "+ms" by a submitter, who does not know Redis' clock. */
  expiresAt?: number
  expiresInMs?: number | undefined
  /** How long a done task is kept; -1: as the broker keeps them. */
  resultTtlMs?: number
  backoff?: Backoff | undefined
}

/** Most tasks ask for nothing special: their text ends after four numbers, and stays short. */
export function writePolicy(policy: Policy): string {
  const {
    priority,
    maxRetries,
    maxCrashes,
    timeoutMs,
    maxRuntimeMs = 0,
    expiresInMs,
    resultTtlMs = -1,
    backoff,
  } = policy
  const short = `${priority} ${maxRetries} ${maxCrashes} ${timeoutMs}`
  if (maxRuntimeMs === 0 && expiresInMs === undefined && resultTtlMs === -1 && backoff === undefined)
    return short
  const long = `${short} ${maxRuntimeMs} ${expiresInMs === undefined ? 0 : `+${expiresInMs}`} ${resultTtlMs}`
  if (backoff === undefined) return long
  return `${long} ${backoff.kind} ${backoff.delay_ms} ${backoff.max_ms ?? 0} ${backoff.jitter === false ? 0 : 1}`
}

export function readPolicy(text: string): Policy {
  const [priority, maxRetries, maxCrashes, timeoutMs, maxRuntimeMs = "0", expiresAt = "0"] = text.split(
    " ",
    6,
  )
  return {
    priority: Number(priority),
    maxRetries: Number(maxRetries),
    maxCrashes: Number(maxCrashes),
    timeoutMs: Number(timeoutMs),
    maxRuntimeMs: Number(maxRuntimeMs),
    expiresAt: Number(expiresAt),
  }
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
  /** Further members for the worker, as JSON without braces; undefined: none. */
  extra: string | undefined
  /** JSON text. */
  checkpoint: string | undefined
}

/** All there is to know of a task. `payload`, `result`, `progress` and `checkpoint` are JSON text. */
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
  cancelRequestedAt?: number
  uniqueKey?: string
  /** Members of the answer as JSON without braces. */
  extra?: string
  progress?: string
  checkpoint?: string
  log: string[]
  /** Attempts before the newest, oldest first, each as JSON text. */
  history: string[]
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
  const lines = (name: string) => (field.has(name) ? field.get(name)!.split("\n") : [])
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
    ...optional("cancelRequestedAt", time(field.get("cancel"))),
    ...optional("uniqueKey", field.get("unique")),
    ...optional("extra", field.get("extra")),
    ...optional("progress", field.get("progress")),
    ...optional("checkpoint", field.get("checkpoint")),
    log: lines("log"),
    history: lines("history"),
    ...optional("result", field.get("result")),
    ...optional("error", field.get("error")),
    ...optional("reason", field.has("reason") ? oneOf(REASONS, field.get("reason")) : undefined),
  }
}

function oneOf<const T extends readonly string[]>(words: T, word: string | undefined): T[number] {
  if (word !== undefined && words.includes(word)) return word
  throw new Error(`Redis holds a word that this version does not know: ${JSON.stringify(word)}`)
}
