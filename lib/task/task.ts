/** What a task is: its ids, its text in Redis, and which moves it can make. */
import { randomBytes } from "node:crypto"
import { REASONS, type Reason, STATES, type State } from "../wire/fields.ts"
import type { Backoff } from "../wire/submitting.ts"

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
  { from: "dead", event: "retry dead", to: "queued", refused: "it is not dead, or its unique key is taken" },
  { from: "scheduled", event: "purge", to: "–", refused: "it is elsewhere by then" },
  { from: "queued", event: "purge", to: "–", refused: "it is elsewhere by then" },
  { from: "retrying", event: "purge", to: "–", refused: "it is elsewhere by then" },
  { from: "done", event: "purge", to: "–", refused: "it is elsewhere by then" },
  { from: "dead", event: "purge", to: "–", refused: "it is elsewhere by then" },
  { from: "cancelled", event: "purge", to: "–", refused: "it is elsewhere by then" },
  { from: "dead", event: "delete dead", to: "–", refused: "it is not dead" },
  { from: "done", event: "sweep: retention over", to: "–", refused: "its time has not come" },
  { from: "dead", event: "sweep: retention over", to: "–", refused: "its time has not come" },
  { from: "cancelled", event: "sweep: retention over", to: "–", refused: "its time has not come" },
] as const

export const DEFAULT_QUEUE = "default"
export const DEFAULT_PRIORITY = 5

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" // Crockford: no I, L, O, U to misread
const timeText = (now: number): string => {
  let time = ""
  for (let rest = now, i = 0; i < 10; i++, rest = Math.floor(rest / 32)) time = DIGITS[rest % 32] + time
  return time
}

const random = { bytes: randomBytes(12 * 1_024), at: 0 }
let newest = { ms: 0, text: "" }
/** 22 characters: 10 of time (base 32, so ids sort by it), 12 of chance (60 bits). */
export function newLocalId(now = Date.now()): string {
  if (newest.ms !== now) newest = { ms: now, text: timeText(now) }
  // Drawn for many at once: a draw of its own is most of what an id costs.
  if (random.at === random.bytes.length) {
    random.bytes = randomBytes(random.bytes.length)
    random.at = 0
  }
  let chance = ""
  for (const end = random.at + 12; random.at < end; random.at++)
    chance += DIGITS[random.bytes[random.at]! & 31]
  return newest.text + chance
}

const BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
const VALUE_OF = new Uint8Array(128)
for (let i = 0; i < 64; i++) VALUE_OF[BASE64URL.charCodeAt(i)] = i
const TOKEN_CHARACTERS = 22
const TIME_CHARACTERS = 5
/** What a lease tells of its time: ms, modulo 12 days. */
const TIME_MASK = 2 ** (6 * TIME_CHARACTERS) - 1

/**
 * The token parts of `count` leases, one behind the other: 22 characters of base64url each, 5 of time and 17 of chance
 * (102 bits). By the time any broker can tell how long an attempt took, and none has to remember it.
 */
export function newTokens(count: number, now = Date.now()): string {
  const chance = randomBytes(Math.ceil(count * 16.5)).toString("base64url")
  const tokens = Buffer.from(chance, "latin1").subarray(0, count * TOKEN_CHARACTERS)
  // Written over the chance as bytes: to join texts is several times as slow.
  const time = now & TIME_MASK
  for (let at = 0; at < tokens.length; at += TOKEN_CHARACTERS)
    for (let i = 0; i < TIME_CHARACTERS; i++)
      tokens[at + i] = BASE64URL.charCodeAt((time >>> (6 * (TIME_CHARACTERS - 1 - i))) & 63)
  return tokens.toString("latin1")
}

/** How long ago a lease was made, by the brokers' clocks; undefined where those differ by more. */
export function leaseAgeMs(lease: string, now = Date.now()): number | undefined {
  const from = lease.indexOf(".") + 1
  let time = 0
  for (let i = from; i < from + TIME_CHARACTERS; i++) time = time * 64 + VALUE_OF[lease.charCodeAt(i)]!
  const age = (now - time) & TIME_MASK
  return age > TIME_MASK / 2 ? undefined : age
}

/** The queue is part of the id of its tasks (`emails:…`), so that an id alone finds its keys. */
export function splitId(id: string): { queue: string; local: string } {
  const colon = id.indexOf(":")
  return colon < 0
    ? { queue: DEFAULT_QUEUE, local: id }
    : { queue: id.slice(0, colon), local: id.slice(colon + 1) }
}

export const queueOf = (id: string): string => splitId(id).queue
export const localOf = (id: string): string => id.slice(id.indexOf(":") + 1)

export const joinId = (queue: string, local: string): string =>
  queue === DEFAULT_QUEUE ? local : `${queue}:${local}`

/** What the submitter asked. Only retry-dead changes it; a task keeps it as one line, which lua/prelude.lua reads. */
export interface Policy {
  priority: number
  maxRetries: number
  maxCrashes: number
  timeoutMs: number
  /** The hard end of an attempt; 0: none. */
  maxRuntimeMs?: number
  /** No attempt starts later; 0: never too late. Of a new task the submit script sets it, by Redis' clock. */
  expiresAt?: number
  /** How long a done task is kept; -1: as the broker keeps them. */
  resultTtlMs?: number
  backoff?: Backoff | undefined
}

/** Most tasks ask for nothing special: their line ends after four numbers. `expires`: an expiry is to follow. */
export function encodePolicy(policy: Policy, expires = false): string {
  const { priority, maxRetries, maxCrashes, timeoutMs, maxRuntimeMs = 0, resultTtlMs = -1, backoff } = policy
  const short = `${priority} ${maxRetries} ${maxCrashes} ${timeoutMs}`
  if (maxRuntimeMs === 0 && !expires && resultTtlMs === -1 && backoff === undefined) return short
  const long = `${short} ${maxRuntimeMs} 0 ${resultTtlMs}`
  if (backoff === undefined) return long
  return `${long} ${backoff.kind} ${backoff.delay_ms} ${backoff.max_ms ?? 0} ${backoff.jitter === false ? 0 : 1}`
}

const policies = new Map<string, Policy>()

export function readPolicy(text: string): Policy {
  const known = policies.get(text)
  if (known !== undefined) return known
  const [priority, maxRetries, maxCrashes, timeoutMs, maxRuntimeMs = "0", expiresAt = "0"] = text.split(
    " ",
    6,
  )
  const policy = {
    priority: Number(priority),
    maxRetries: Number(maxRetries),
    maxCrashes: Number(maxCrashes),
    timeoutMs: Number(timeoutMs),
    maxRuntimeMs: Number(maxRuntimeMs),
    expiresAt: Number(expiresAt),
  }
  // Most tasks are asked for in the same few ways; with an expiry each is its own.
  if (policies.size >= 1_000) policies.clear()
  policies.set(text, policy)
  return policy
}

/** A payload longer than this (in UTF-16 units) has a key of its own, so that no transition writes it again. */
const MAX_INLINE = 256

/** What the submit script needs of a task's text: all from the policy on, and the payload if that is large. */
export function encodeBody(policy: string, type: string, payload: string): { body: string; large: string } {
  const { inline, large } = inlineOrLarge(payload)
  return { body: `${policy}\n\n${JSON.stringify(type)}\n${inline}`, large }
}

/** Where a payload is to stand: in the task's own text, or under a key of its own. */
export const inlineOrLarge = (payload: string): { inline: string; large: string } =>
  payload.length > MAX_INLINE ? { inline: "", large: payload } : { inline: payload, large: "" }

/** The first line of a task's text; lua/prelude.lua says what stands in it. */
export const HEADER_FIELDS = [
  "state",
  "finished",
  "lease",
  "started",
  "worker",
  "retries",
  "crashes",
  "releases",
  "created",
] as const

/** A task's text as prelude.lua spells it, cut into its lines. Neither line before the payload holds a line end. */
export function splitRecord(text: string) {
  let at = 0
  const line = () => {
    const end = text.indexOf("\n", at)
    const found = text.slice(at, end)
    at = end + 1
    return found
  }
  const head = line().split(" ")
  const policy = line()
  const rare = line()
  const type = line()
  return { head, policy, rare, type, payload: text.slice(at) }
}

/** What few tasks have. */
interface Extras {
  extra?: string
  unique?: string
  watched?: string
  cancel?: number
  reason?: string
  error?: string
  result?: string
  progress?: string
  checkpoint?: string
  log?: string
  history?: string
  settled?: string
}
const readRare = (text: string): Extras => (text === "" ? {} : JSON.parse(text))

/** For a payload that Redis has lost, so that it does not spoil an answer that has others as well. */
const LOST = "null"

/** A task handed out. `type` and `payload` are JSON text, as they were submitted. */
export interface Leased {
  id: string
  queue: string
  type: string
  payload: string
  lease: string
  /** "?": it said no name. */
  worker: string
  attempt: number
  /** From the submit to this lease. */
  waitedMs: number
  retries: number
  policy: Policy
  leaseExpiresAt: number
  /** Further members for the worker, as JSON without braces; undefined: none. */
  extra: string | undefined
  /** JSON text. */
  checkpoint: string | undefined
}

/** The tasks that a lease call has handed out: id and text of each, and its payload where the text does not hold it. */
export function readLeased(queue: string, handed: readonly string[]): Leased[] {
  const tasks: Leased[] = []
  for (let i = 0; i < handed.length; ) {
    const id = handed[i++]!
    const text = handed[i++]!
    const large = text.endsWith("\n") ? handed[i++] : ""
    const { head, policy: asked, rare, type, payload } = splitRecord(text)
    const { extra, checkpoint } = readRare(rare)
    const policy = readPolicy(asked)
    const started = Number(head[3])
    tasks.push({
      id: joinId(queue, id),
      queue,
      type,
      payload: large || payload || LOST,
      lease: head[2]!,
      worker: head[4]!,
      attempt: Number.parseInt(head[2]!, 10),
      waitedMs: started - Number(head[8]),
      retries: Number(head[5]),
      policy,
      leaseExpiresAt: started + Math.min(policy.timeoutMs, policy.maxRuntimeMs || Number.POSITIVE_INFINITY),
      extra,
      checkpoint,
    })
  }
  return tasks
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

export type RawTask = [
  id: string,
  text: string,
  payload: string | null,
  lease: string | null,
  due: string | null,
]

export function readTask(queue: string, [local, text, large, leaseExpiresAt, dueAt]: RawTask): Task {
  const { head, policy, rare, type, payload } = splitRecord(text)
  const [state, finished, lease, started, worker, retries, crashes, releases, created] = head
  const few = readRare(rare)
  const optional = <K extends keyof Task>(name: K, value: Task[K] | undefined) =>
    value === undefined || value === "" || value === 0 ? {} : { [name]: value }
  const lines = (joined: string | undefined) => (joined === undefined ? [] : joined.split("\n"))
  return {
    id: joinId(queue, local),
    queue,
    state: oneOf(STATES, state),
    type: JSON.parse(type),
    payload: (large ?? payload) || LOST,
    policy: readPolicy(policy),
    attempt: Number.parseInt(lease!, 10),
    retries: Number(retries),
    crashes: Number(crashes),
    releases: Number(releases),
    createdAt: Number(created),
    ...optional("startedAt", Number(started)),
    ...optional("finishedAt", Number(finished)),
    ...optional("dueAt", Number(dueAt)),
    ...optional("leaseExpiresAt", Number(leaseExpiresAt)),
    ...optional("worker", worker === "?" ? undefined : worker),
    ...optional("cancelRequestedAt", few.cancel),
    ...optional("uniqueKey", few.unique),
    ...optional("extra", few.extra),
    ...optional("progress", few.progress),
    ...optional("checkpoint", few.checkpoint),
    log: lines(few.log),
    history: lines(few.history),
    ...optional("result", few.result),
    ...optional("error", few.error),
    ...optional("reason", few.reason === undefined ? undefined : oneOf(REASONS, few.reason)),
  }
}

function oneOf<const T extends readonly string[]>(words: T, word: string | undefined): T[number] {
  if (word !== undefined && words.includes(word)) return word
  throw new Error(`Redis holds a word that this version does not know: ${JSON.stringify(word)}`)
}

export interface NewTask {
  queue: string
  type: string
  payload: string
  policy: Policy
  /** When it is ready: "+ms" from now, or a time in ms since 1970; undefined: at once. */
  when?: string | undefined
  /** After that no attempt starts. */
  expiresInMs?: number | undefined
  /** The id within its queue; undefined: a new one. */
  local?: string | undefined
  /** Further members for the worker, as JSON without braces. */
  extra?: string | undefined
  /** The trace that its caller named, which stands in `extra`. */
  traceparent?: string | undefined
  /** The same key and print give the first answer again. */
  idempotency?: { key: string; print: string } | undefined
  unique?: { key: string; replace: boolean } | undefined
}

export interface Settlement {
  id: string
  outcome: "done" | "failed" | "released"
  lease?: string | undefined
  /** The result of `done` as JSON text, or the error of `failed`. */
  text?: string | undefined
  /** Of failed: "no" further attempt, or the next one in this many ms. */
  retry?: "no" | number | undefined
}

export interface Extension {
  id: string
  lease: string
  timeoutMs?: number | undefined
  /** JSON text; what is left out stays as it is. */
  progress?: string | undefined
  checkpoint?: string | undefined
  log?: readonly string[] | undefined
}

export interface Submitted {
  id: string
  state: "queued" | "scheduled" | "duplicate"
  replayed?: boolean
  replaced?: boolean
}

export interface Settled {
  id: string
  word: "acknowledged" | "requeued" | "moved_to_dlq" | "released" | "cancelled"
  retries: number
}

export interface Extended {
  id: string
  word: "ok" | "cancelled"
  leaseExpiresAt: number
}
