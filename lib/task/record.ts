/** The record of a task in Redis, which README.md describes: its only encoder and decoder in TypeScript. */
import { REASONS, STATES } from "../wire/states.ts"
import { joinId } from "./id.ts"
import { encodePolicy, groupIn, readPolicy, withGroup } from "./policy.ts"
import { type Sight, seenWith } from "./sight.ts"
import type { Leased, NewTask, Task } from "./task.ts"

/** A payload longer than this (in UTF-16 units) has its own key, so that no transition writes it again. */
const MAX_INLINE = 256

/** A payload is stored either within the task's text or under its own key; the other one is "". Two "" keep the payload. */
export const inlineOrLarge = (payload: string): { inline: string; large: string } =>
  payload.length > MAX_INLINE ? { inline: "", large: payload } : { inline: payload, large: "" }

/** The columns of the first line. */
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
type Columns<Names extends readonly string[]> = { [K in keyof Names]: string }

/** The parts of a task's text, as stored. */
export interface StoredTask extends Record<(typeof HEADER_FIELDS)[number], string> {
  policy: string
  /** A JSON object, or "". */
  extras: string
  type: string
  /** "" if the payload has its own key. */
  payload: string
}

/** Splits a task's text. Only the payload, which is last, may contain line ends. */
export function splitRecord(text: string): StoredTask {
  let at = 0
  const nextLine = () => {
    const end = text.indexOf("\n", at)
    const line = text.slice(at, end)
    at = end + 1
    return line
  }
  const columns = nextLine().split(" ") as unknown as Columns<typeof HEADER_FIELDS>
  const [state, finished, lease, started, worker, retries, crashes, releases, created] = columns
  return {
    state,
    finished,
    lease,
    started,
    worker,
    retries,
    crashes,
    releases,
    created,
    policy: nextLine(),
    extras: nextLine(),
    type: nextLine(),
    payload: text.slice(at),
  }
}

/** Members that few tasks have. */
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
  logged?: string
  history?: string
  settled?: string
  redact?: string
}

const readExtras = (text: string): Extras => (text === "" ? {} : JSON.parse(text))

/** Replaces a payload that Redis has lost, so that the other tasks of the answer can still be read. */
export const LOST_PAYLOAD = "null"

/** The tasks in the reply of a lease call: the id and text of each, and its payload if that has its own key. */
export function readLeased(queue: string, handed: readonly string[]): Leased[] {
  const tasks: Leased[] = []
  for (let i = 0; i < handed.length; ) {
    const id = handed[i++]!
    const text = handed[i++]!
    const large = hasOwnPayload(text) ? handed[i++] : ""
    const stored = splitRecord(text)
    const { extra: memberJson, checkpoint, redact } = readExtras(stored.extras)
    const policy = readPolicy(stored.policy)
    const started = Number(stored.started)
    tasks.push({
      id: joinId(queue, id),
      queue,
      type: stored.type,
      payload: large || stored.payload || LOST_PAYLOAD,
      lease: stored.lease,
      worker: stored.worker,
      attempt: attemptOf(stored.lease),
      startedAt: started,
      waitedMs: Math.max(0, started - Number(stored.created)),
      retries: Number(stored.retries),
      releases: Number(stored.releases),
      policy,
      group: groupIn(stored.policy),
      leaseExpiresAt: started + Math.min(policy.timeoutMs, policy.maxRuntimeMs || Number.POSITIVE_INFINITY),
      memberJson,
      checkpoint,
      redact: redact === undefined ? undefined : true,
    })
  }
  return tasks
}

/** The attempt number of a lease; 0 if the task was never leased. */
const attemptOf = (lease: string): number => Number.parseInt(lease, 10)

/** A task as read_raw in lua/record.lua returns it. `payload`: null unless it has its own key and was requested. */
export type RawTask = [
  id: string,
  text: string,
  payload: string | null,
  leaseExpiresAt: string | null,
  dueAt: string | null,
]

/** Whether the payload of a task has its own key: its text then ends where the payload would begin. */
export const hasOwnPayload = (text: string): boolean => text.endsWith("\n")

/** A task as this reader may see it. */
export function readTask(
  queue: string,
  [localId, text, large, leaseExpiresAt, dueAt]: RawTask,
  sight: Sight,
): Task {
  const stored = splitRecord(text)
  const extras = readExtras(stored.extras)
  const task: Task = {
    id: joinId(queue, localId),
    queue,
    state: oneOf(STATES, stored.state),
    type: JSON.parse(stored.type),
    payload: (large ?? stored.payload) || LOST_PAYLOAD,
    policy: readPolicy(stored.policy),
    attempt: attemptOf(stored.lease),
    retries: Number(stored.retries),
    crashes: Number(stored.crashes),
    releases: Number(stored.releases),
    createdAt: Number(stored.created),
    log: linesOf(extras.log),
    history: linesOf(extras.history),
  }
  const group = groupIn(stored.policy)
  if (group !== undefined) task.group = group
  if (stored.started !== "0") task.startedAt = Number(stored.started)
  if (stored.finished !== "0") task.finishedAt = Number(stored.finished)
  if (dueAt !== null) task.dueAt = Number(dueAt)
  if (leaseExpiresAt !== null) task.leaseExpiresAt = Number(leaseExpiresAt)
  if (stored.worker !== "?") task.worker = stored.worker
  if (extras.cancel) task.cancelRequestedAt = extras.cancel
  if (extras.unique) task.uniqueKey = extras.unique
  if (extras.extra) task.memberJson = extras.extra
  if (extras.progress) task.progress = extras.progress
  if (extras.checkpoint) task.checkpoint = extras.checkpoint
  if (extras.result) task.result = extras.result
  if (extras.error) task.error = extras.error
  if (extras.logged) task.logAt = linesOf(extras.logged).map(Number)
  if (extras.reason) task.reason = oneOf(REASONS, extras.reason)
  if (extras.redact) task.redact = true
  return seenWith(sight, task)
}

const linesOf = (joined: string | undefined): string[] => (joined === undefined ? [] : joined.split("\n"))

function oneOf<const T extends readonly string[]>(names: T, found: string): T[number] {
  if (names.includes(found)) return found
  throw new Error(`A task in Redis has a value that this version does not know: ${JSON.stringify(found)}`)
}

/**
 * A new task as the submit script takes it. `body`: its text from the policy on; `large`: its payload, if the text does not
 * contain it; `options`: what the submit says beside the text, "" for nothing.
 */
export function encodeNewTask({
  type,
  payload,
  policy,
  when,
  expiresInMs,
  memberJson,
  idempotency,
  unique,
  group,
  redact,
}: NewTask) {
  const { inline, large } = inlineOrLarge(payload)
  const extras: Extras = {}
  if (memberJson) extras.extra = memberJson
  if (redact) extras.redact = "1"
  const lines = [
    withGroup(encodePolicy(policy, expiresInMs !== undefined), group),
    memberJson || redact ? JSON.stringify(extras) : "",
    JSON.stringify(type),
    inline,
  ]
  const body = lines.join("\n")
  const hasOptions = when || expiresInMs !== undefined || idempotency || unique
  if (!hasOptions) return { body, large, options: group === undefined ? "" : `=${group}` }
  const options = JSON.stringify({
    when,
    expires: expiresInMs,
    key: idempotency?.key,
    print: idempotency?.print,
    unique: unique?.key,
    mode: unique?.replace ? "replace" : undefined,
  })
  return { body, large, options }
}
