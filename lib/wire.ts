/**
 * Between the wire and the operations: requests, checked, become plain values; what comes of them becomes JSON
 * text. Payloads and results are put into answers as the text they came as.
 */
import { checker, queryChecker } from "./check.ts"
import type { BrokerConfig } from "./config.ts"
import { Refused } from "./errors.ts"
import { problem } from "./http.ts"
import { memberTexts } from "./json.ts"
import { Ack, DlqQuery, Extend, GetQuery, LeaseRequest, Submit, TaskId } from "./models.ts"
import type { Each, Extended, Extension, NewTask, Settled, Settlement, Submitted } from "./queue.ts"
import { DEFAULT_PRIORITY, DEFAULT_QUEUE, type Leased, type Task } from "./task.ts"

const MAX_ITEMS = 1_000
const MAX_ERROR_CHARACTERS = 8_192

const checkSubmit = checker(Submit)
const checkAck = checker(Ack)
const checkExtend = checker(Extend)
const checkLease = checker(LeaseRequest)
const checkGet = queryChecker(GetQuery)
const checkDlq = queryChecker(DlqQuery)
const checkId = checker(TaskId)

export interface Body {
  text: string
  value: unknown
}

/** What is common to routes that take one or many: each item by itself, so that a bad one sinks no other. */
export interface Many<T> {
  items: Each<T>[]
  /** Whether the body was an array: so is the answer then. */
  many: boolean
}

function readMany<T>({ value }: Body, read: (item: unknown, index: number) => T): Many<T> {
  if (!Array.isArray(value)) return { items: [read(value, 0)], many: false }
  if (value.length === 0 || value.length > MAX_ITEMS)
    throw new Refused("bad_request", { detail: `An array must have 1 to ${MAX_ITEMS} items.` })
  return { items: value.map((item, index) => orRefused(() => read(item, index))), many: true }
}

function orRefused<T>(read: () => T): Each<T> {
  try {
    return read()
  } catch (error) {
    if (error instanceof Refused) return error
    throw error
  }
}

export function readSubmits(body: Body, defaults: BrokerConfig): Many<NewTask> {
  let payloads: (string | undefined)[] | undefined
  return readMany(body, (item, index) => {
    const submit = checkSubmit(item)
    if (!submit.type.isWellFormed())
      throw new Refused("bad_request", { field: "type", detail: "`type` must be whole Unicode characters." })
    payloads ??= memberTexts(body.text, "payload")
    return {
      queue: submit.queue ?? DEFAULT_QUEUE,
      type: submit.type,
      payload: payloads[index] ?? "{}",
      delayMs: submit.delay_ms ?? 0,
      policy: {
        priority: submit.priority ?? DEFAULT_PRIORITY,
        maxRetries: submit.max_retries ?? defaults.maxRetries,
        maxCrashes: submit.max_crashes ?? defaults.maxCrashes,
        timeoutMs: submit.timeout_ms ?? defaults.visibilityTimeoutMs,
      },
    }
  })
}

export function readAcks(body: Body): Many<Settlement> {
  let results: (string | undefined)[] | undefined
  return readMany(body, (item, index) => {
    const { task_id: id, status: outcome = "done", lease, error, result } = checkAck(item)
    if (result !== undefined && outcome !== "done") throw misplaced("result", "done")
    if (error !== undefined && outcome !== "failed") throw misplaced("error", "failed")
    if (outcome === "failed")
      return { id, outcome, lease, text: error?.slice(0, MAX_ERROR_CHARACTERS).toWellFormed() }
    results ??= memberTexts(body.text, "result")
    return { id, outcome, lease, text: results[index] }
  })
}

const misplaced = (field: string, status: string) =>
  new Refused("bad_request", { field, detail: `\`${field}\` goes with \`"status": "${status}"\` only.` })

export const readExtends = (body: Body): Many<Extension> =>
  readMany(body, item => {
    const { task_id: id, lease, timeout_ms: timeoutMs } = checkExtend(item)
    return { id, lease, timeoutMs }
  })

export function readLease({ value }: Body) {
  const { queues = [DEFAULT_QUEUE], max = 1, wait_ms: waitMs = 0, worker = "" } = checkLease(value)
  return { queues: [...new Set(queues)], max, waitMs, worker }
}

export function readGet(query: URLSearchParams) {
  const { queue: queues = [DEFAULT_QUEUE], wait_ms: waitMs = 0, worker = "" } = checkGet(query)
  return { queues: [...new Set(queues)], max: 1, waitMs, worker }
}

export function readDlq(query: URLSearchParams) {
  const { queue, limit = 100, cursor } = checkDlq(query)
  return { queue, limit, cursor }
}

export function readId(id: string): string {
  try {
    return checkId(id)
  } catch {
    throw new Refused("bad_request", {
      field: "task_id",
      detail:
        "A task id looks as /submit answered it: letters, digits, . _ -, and `queue:` in front where it is not the default queue.",
    })
  }
}

/** Does the good items of a request, and answers for all of them in order. */
export async function answerMany<T, A>(
  { items, many }: Many<T>,
  run: (items: T[]) => Promise<readonly Each<A>[]>,
  write: (answer: A) => string,
): Promise<string> {
  const good = items.filter(
    (item): item is Exclude<typeof item, Refused> => !(item instanceof Refused),
  ) as T[]
  const answers = good.length > 0 ? await run(good) : []
  if (!many) {
    const [only] = answers
    if (only instanceof Refused) throw only
    return write(only as A)
  }
  let next = 0
  const texts = items.map(item => {
    const answer = item instanceof Refused ? item : answers[next++]!
    return answer instanceof Refused ? JSON.stringify(problem(answer)) : write(answer)
  })
  return `[${texts.join(",")}]`
}

// Ids, queues and leases have only characters that JSON leaves as they are.

export const writeSubmitted = ({ id, state }: Submitted): string => `{"status":"${state}","task_id":"${id}"}`

export const writeSettled = ({ id, word, retries }: Settled): string =>
  word === "requeued" || word === "moved_to_dlq"
    ? `{"status":"${word}","task_id":"${id}","retries":${retries}}`
    : `{"status":"${word}","task_id":"${id}"}`

export const writeExtended = ({ id, leaseExpiresAt }: Extended): string =>
  `{"status":"ok","task_id":"${id}","lease_expires_at":${leaseExpiresAt}}`

export const writeLeased = (task: Leased): string =>
  `{"id":"${task.id}","type":${JSON.stringify(task.type)},"payload":${task.payload},"status":"processing",` +
  `"retries":${task.retries},"max_retries":${task.policy.maxRetries},"queue":"${task.queue}","attempt":${task.attempt},` +
  `"lease":"${task.lease}","timeout_ms":${task.policy.timeoutMs},"lease_expires_at":${task.leaseExpiresAt}}`

export const writeLeasedMany = (tasks: readonly Leased[]): string =>
  `{"tasks":[${tasks.map(writeLeased).join(",")}]}`

/** A task as /status and /dlq show it. The lease is a capability: it is never shown. */
export function writeTask(task: Task): string {
  const rest = {
    status: task.state,
    retries: task.retries,
    max_retries: task.policy.maxRetries,
    queue: task.queue,
    priority: task.policy.priority,
    attempt: task.attempt,
    crashes: task.crashes,
    max_crashes: task.policy.maxCrashes,
    releases: task.releases,
    timeout_ms: task.policy.timeoutMs,
    created_at: task.createdAt,
    started_at: task.startedAt,
    finished_at: task.finishedAt,
    due_at: task.dueAt,
    lease_expires_at: task.leaseExpiresAt,
    worker: task.worker,
    error: task.error,
    reason: task.reason,
  }
  const result = task.result === undefined ? "" : `,"result":${task.result}`
  return `{"id":"${task.id}","type":${JSON.stringify(task.type)},"payload":${task.payload},${JSON.stringify(rest).slice(1, -1)}${result}}`
}

export const writeDlq = (size: number, tasks: readonly Task[], next: string | undefined): string =>
  `{"dlq_size":${size},"tasks":[${tasks.map(writeTask).join(",")}]${next === undefined ? "" : `,"next":"${next}"`}}`
