/** The record of a task in Redis: its only encoder and decoder in TypeScript. README.md describes the format. */

import { REASONS, STATES } from "../wire/fields.ts"
import { joinId } from "./id.ts"
import { encodePolicy, readPolicy } from "./policy.ts"
import type { Leased, NewTask, Task } from "./task.ts"

/** A payload longer than this (in UTF-16 units) has a key of its own, so that no transition writes it again. */
const MAX_INLINE = 256

/** What the submit script needs of a task's text: all from the policy on, and the payload if that is large. */
function encodeBody(policy: string, type: string, payload: string): { body: string; large: string } {
  const { inline, large } = inlineOrLarge(payload)
  return { body: `${policy}\n\n${JSON.stringify(type)}\n${inline}`, large }
}

/** Where a payload is to stand: in the task's own text, or under a key of its own. */
export const inlineOrLarge = (payload: string): { inline: string; large: string } =>
  payload.length > MAX_INLINE ? { inline: "", large: payload } : { inline: payload, large: "" }

/** The first line of a task's text; lua/record.lua says what stands in it. */
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

/** A task's text as lua/record.lua describes it, cut into its lines. Neither line before the payload holds a line end. */
function splitRecord(text: string) {
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

/** A new task as the submit script reads it. `extras`: what few tasks ask for; "" if nothing. */
export function encodeNewTask({
  type,
  payload,
  policy,
  when,
  expiresInMs,
  extra,
  idempotency,
  unique,
}: NewTask) {
  const text = encodeBody(encodePolicy(policy, expiresInMs !== undefined), type, payload)
  if (!extra && !when && expiresInMs === undefined && idempotency === undefined && unique === undefined)
    return { ...text, extras: "" }
  const extras = JSON.stringify({
    when,
    expires: expiresInMs,
    extra: extra || undefined,
    key: idempotency?.key,
    print: idempotency?.print,
    unique: unique?.key,
    mode: unique?.replace ? "replace" : undefined,
  })
  return { ...text, extras }
}
