/**
 * Between the wire and the operations: requests, checked, become plain values; what comes of them becomes JSON
 * text. Payloads and results are put into answers as the text they came as.
 */
import { createHash } from "node:crypto"
import type { BrokerConfig } from "../config/config.ts"
import { type Each, Refused } from "../errors.ts"
import type { DeadFilter, Retry } from "../queue/dead-letters.ts"
import type { Why } from "../queue/listing.ts"
import { givenIdRecord, headerRecord } from "../redis/keys.ts"
import { DEFAULT_QUEUE, joinId, splitId } from "../task/id.ts"
import { MAX_PATCH_DEPTH, tooDeep } from "../task/merge-patch.ts"
import { DEFAULT_PRIORITY } from "../task/policy.ts"
import type {
  Extended,
  Extension,
  Leased,
  NewTask,
  Settled,
  Settlement,
  Submitted,
  Task,
} from "../task/task.ts"
import {
  DlqGroupsQuery,
  DlqPurge,
  DlqQuery,
  MAX_PATCH_BYTES,
  RetryMany,
  RetryTask,
} from "../wire/dead-letters.ts"
import { QueueName, TaskId, WorkerName } from "../wire/fields.ts"
import { StatusQuery, TasksQuery } from "../wire/inspecting.ts"
import { memberTexts } from "../wire/json-text.ts"
import { Pause, Purge, QueuesQuery, WorkersQuery } from "../wire/managing.ts"
import { AuditQuery, EventsQuery, SignIn } from "../wire/operating.ts"
import { QueueSettings, type TaskDefaults } from "../wire/queue-settings.ts"
import { Submit } from "../wire/submitting.ts"
import { TRACEPARENT } from "../wire/traceparent.ts"
import {
  Ack,
  Extend,
  GetQuery,
  LeaseRequest,
  MAX_CHECKPOINT_BYTES,
  MAX_PROGRESS_BYTES,
  Work,
} from "../wire/working.ts"
import type { Caller } from "./access.ts"
import { type Body, problem } from "./answer.ts"
import type { Session } from "./browser-session.ts"
import { checker, queryChecker } from "./validate.ts"

const MAX_ITEMS = 1_000
const MAX_ERROR_CHARACTERS = 8_192

const checkSubmit = checker(Submit)
const checkAck = checker(Ack)
const checkExtend = checker(Extend)
const checkLease = checker(LeaseRequest)
const checkGet = queryChecker(GetQuery)
const checkAudit = queryChecker(AuditQuery)
const checkDlq = queryChecker(DlqQuery)
const checkDlqGroups = queryChecker(DlqGroupsQuery)
const checkDlqPurge = checker(DlqPurge)
const checkDlqRetry = checker(RetryMany)
const checkEvents = queryChecker(EventsQuery)
const checkId = checker(TaskId)
const checkName = checker(QueueName)
const checkSettings = checker(QueueSettings)
const checkPause = checker(Pause)
const checkPurge = checker(Purge)
const checkQueues = queryChecker(QueuesQuery)
const checkRedrive = checker(RetryTask)
const checkSignIn = checker(SignIn)
const checkWork = checker(Work)
const checkWorker = checker(WorkerName)
const checkWorkers = queryChecker(WorkersQuery)
const checkStatus = queryChecker(StatusQuery)
const checkTasks = queryChecker(TasksQuery)

/** The payload that a dead task is to have from now on, to the letter, if there is one. */
export function readRedrive(body: Body): string | undefined {
  checkRedrive(body.value)
  return memberTexts(body.text, "payload")[0]
}

export const readSignIn = ({ value }: Body): string => checkSignIn(value).token

export const writeSession = (caller: Caller, session?: Session): string =>
  JSON.stringify({
    ...caller.shown(),
    ...(session ? { csrf: session.csrf, expires_at: session.expiresAt } : {}),
  })

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

/** The draft writes a structured string in quotes; plain characters are what everybody sends. */
const IDEMPOTENCY_KEY = /^"?([\x21\x23-\x7e]{1,200})"?$/

/** What the request's headers say of all its tasks. */
function readSubmitHeaders(headers: Headers) {
  const given = headers.get("idempotency-key")
  const key = given === null ? undefined : IDEMPOTENCY_KEY.exec(given)?.[1]
  if (given !== null && key === undefined)
    throw new Refused("bad_request", {
      field: "Idempotency-Key",
      detail: "`Idempotency-Key` must have 1 to 200 printable ASCII characters without spaces and quotes.",
    })
  // A trace header that is not one belongs to somebody else: it is no reason to refuse work.
  const parent = headers.get("traceparent")
  const traceparent = parent !== null && TRACEPARENT.test(parent) ? parent : undefined
  const tracestate = traceparent === undefined ? undefined : headers.get("tracestate")?.slice(0, 512)
  return { key, traceparent, tracestate }
}

/** `ofQueue`: what the tasks of a queue get where their submits do not say, before the broker's own `defaults`. */
export function readSubmits(
  body: Body,
  headers: Headers,
  defaults: BrokerConfig,
  ofQueue: (queue: string) => TaskDefaults | undefined,
): Many<NewTask> {
  const { key, traceparent, tracestate } = readSubmitHeaders(headers)
  let payloads: (string | undefined)[] | undefined
  return readMany(body, (item, index) => {
    const submit = checkSubmit(item)
    if (submit.delay_ms !== undefined && submit.run_at !== undefined) throw together("delay_ms", "run_at")
    if (submit.on_duplicate !== undefined && submit.unique_key === undefined)
      throw alone("on_duplicate", "unique_key")
    if (key !== undefined && submit.task_id !== undefined) throw together("task_id", "Idempotency-Key")
    if (!submit.type.isWellFormed())
      throw new Refused("bad_request", { field: "type", detail: "`type` must be whole Unicode characters." })
    payloads ??= memberTexts(body.text, "payload")
    const payload = payloads[index] ?? "{}"
    const trace = submit.traceparent ?? traceparent
    const state = submit.tracestate ?? (submit.traceparent === undefined ? tracestate : undefined)
    // Most have none of these.
    const extra =
      submit.meta === undefined && trace === undefined && state === undefined
        ? ""
        : JSON.stringify({ meta: submit.meta, traceparent: trace, tracestate: state }).slice(1, -1)
    const queue = submit.queue ?? DEFAULT_QUEUE
    const own = ofQueue(queue)
    const task: NewTask = {
      queue,
      type: submit.type,
      payload,
      when:
        submit.run_at !== undefined
          ? String(submit.run_at)
          : submit.delay_ms
            ? `+${submit.delay_ms}`
            : undefined,
      expiresInMs: submit.expires_in_ms,
      localId: submit.task_id,
      extra,
      traceparent: trace,
      policy: {
        priority: submit.priority ?? own?.priority ?? DEFAULT_PRIORITY,
        maxRetries: submit.max_retries ?? own?.max_retries ?? defaults.maxRetries,
        maxCrashes: submit.max_crashes ?? own?.max_crashes ?? defaults.maxCrashes,
        timeoutMs: submit.timeout_ms ?? own?.timeout_ms ?? defaults.visibilityTimeoutMs,
        maxRuntimeMs: submit.max_runtime_ms ?? own?.max_runtime_ms ?? 0,
        resultTtlMs: submit.result_ttl_ms ?? own?.result_ttl_ms ?? -1,
        backoff: submit.backoff ?? own?.backoff ?? defaults.backoff,
      },
    }
    if (submit.unique_key !== undefined)
      task.unique = { key: submit.unique_key, replace: submit.on_duplicate === "replace" }
    const name =
      submit.task_id !== undefined
        ? givenIdRecord(submit.task_id)
        : key && headerRecord(many(body) ? `${key}/${index}` : key)
    if (name) task.idempotency = { key: name, print: fingerprint({ ...submit, payload }) }
    return task
  })
}

const many = (body: Body) => Array.isArray(body.value)

/** The same for what asks for the same, in whatever order its members stand. */
function fingerprint(submit: object): string {
  const inOrder = (_: string, value: unknown) =>
    typeof value === "object" && value !== null
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value
  return createHash("sha256").update(JSON.stringify(submit, inOrder)).digest("base64url")
}

const together = (field: string, other: string) =>
  new Refused("bad_request", { field, detail: `\`${field}\` and \`${other}\` do not go together: send one.` })
const alone = (field: string, other: string) =>
  new Refused("bad_request", { field, detail: `\`${field}\` goes with \`${other}\` only.` })

export const readAcks = (body: Body): Many<Settlement> =>
  readMany(
    body,
    ackReader(() => memberTexts(body.text, "result")),
  )

function ackReader(texts: () => (string | undefined)[]) {
  let results: (string | undefined)[] | undefined
  return (item: unknown, index: number): Settlement => {
    const { task_id: id, status: outcome = "done", lease, error, result, retry, retry_in_ms } = checkAck(item)
    if (result !== undefined && outcome !== "done") throw alone("result", "status: done")
    if (outcome !== "failed") {
      if (error !== undefined) throw alone("error", "status: failed")
      if (retry !== undefined) throw alone("retry", "status: failed")
      if (retry_in_ms !== undefined) throw alone("retry_in_ms", "status: failed")
    }
    if (retry === false && retry_in_ms !== undefined) throw together("retry_in_ms", "retry: false")
    if (outcome === "failed") {
      const text = error?.slice(0, MAX_ERROR_CHARACTERS).toWellFormed()
      return { id, outcome, lease, text, retry: retry === false ? "no" : retry_in_ms }
    }
    results ??= result === undefined ? undefined : texts()
    return { id, outcome, lease, text: result === undefined ? undefined : results?.[index] }
  }
}

export const readExtends = (body: Body): Many<Extension> =>
  readMany(
    body,
    extendReader(name => memberTexts(body.text, name)),
  )

function extendReader(texts: (member: string) => (string | undefined)[]) {
  const found = new Map<string, (string | undefined)[]>()
  const textOf = (member: "progress" | "checkpoint", index: number, most: number) => {
    if (!found.has(member)) found.set(member, texts(member))
    const text = found.get(member)![index]
    if (text !== undefined && Buffer.byteLength(text) > most)
      throw new Refused("bad_request", {
        field: member,
        detail: `\`${member}\` must have at most ${most} bytes of JSON.`,
      })
    return text
  }
  return (item: unknown, index: number): Extension => {
    const { task_id: id, lease, timeout_ms: timeoutMs, progress, checkpoint, log } = checkExtend(item)
    return {
      id,
      lease,
      timeoutMs,
      progress: progress === undefined ? undefined : textOf("progress", index, MAX_PROGRESS_BYTES),
      checkpoint: checkpoint === undefined ? undefined : textOf("checkpoint", index, MAX_CHECKPOINT_BYTES),
      log,
    }
  }
}

/** One call that settles, extends and leases. Its lists are checked item by item, as /ack and /extend check theirs. */
export function readWork({ text, value }: Body) {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value)
  // The lists' members are told one by one: only their form is checked with the rest.
  const shell: Record<string, unknown> = isObject ? { ...value } : {}
  const taken = (name: "settle" | "extend"): unknown[] => {
    const list = shell[name]
    if (!Array.isArray(list)) return []
    shell[name] = []
    return list
  }
  const listText = (name: string) => memberTexts(text, name)[0] ?? "[]"
  const settle = taken("settle")
  const extend = taken("extend")
  const asked = checkWork(isObject ? shell : value)
  const { queues = [DEFAULT_QUEUE], max = 0, wait_ms: waitMs = 0, worker = "" } = asked
  const { instance, host, version } = asked
  if (settle.length > MAX_ITEMS || extend.length > MAX_ITEMS)
    throw new Refused("bad_request", {
      detail: `\`settle\` and \`extend\` must have at most ${MAX_ITEMS} items.`,
    })
  const readAck = ackReader(() => memberTexts(listText("settle"), "result"))
  const readExtend = extendReader(member => memberTexts(listText("extend"), member))
  return {
    settle: settle.map((item, index) => orRefused(() => readAck(item, index))),
    extend: extend.map((item, index) => orRefused(() => readExtend(item, index))),
    demand: { queues: [...new Set(queues)], max, waitMs, worker, instance, host, version },
  }
}

export function readLease({ value }: Body) {
  const asked = checkLease(value)
  const { queues = [DEFAULT_QUEUE], max = 1, wait_ms: waitMs = 0, worker = "", ...self } = asked
  return { ...self, queues: [...new Set(queues)], max, waitMs, worker }
}

export function readGet(query: URLSearchParams) {
  const { queue: queues = [DEFAULT_QUEUE], wait_ms: waitMs = 0, worker = "" } = checkGet(query)
  return { queues: [...new Set(queues)], max: 1, waitMs, worker }
}

/** `Last-Event-ID` is what browsers send when they connect anew, and more recent than what stands in the address. */
export function readEvents(query: URLSearchParams, headers: Headers) {
  const header = headers.get("last-event-id")
  if (header) query.set("last_event_id", header)
  const { queue: queues, task, event: events, last_event_id: after } = checkEvents(query)
  const id = task && splitId(task)
  return { queues, task: id && joinId(id.queue, id.localId), events, after }
}

export function readDlq(query: URLSearchParams) {
  const { queue, limit = 100, cursor, ...filter } = checkDlq(query)
  return { queue, filter: readDeadFilter(filter), limit, cursor }
}

function readDeadFilter(asked: Omit<DlqPurge, "queue" | "limit" | "cursor" | "dry_run">): DeadFilter {
  const { older_than_ms, newer_than_ms, ...filter } = asked
  const ago = (ms: number | undefined) => (ms === undefined ? undefined : Date.now() - ms)
  return { ...filter, before: ago(older_than_ms), after: ago(newer_than_ms) }
}

export function readDlqGroups(query: URLSearchParams) {
  const { queue, cursor, ...filter } = checkDlqGroups(query)
  return { queue, filter: readDeadFilter(filter), cursor }
}

export function readDlqPurge({ value }: Body) {
  const { queue, limit = 100, cursor, dry_run: dryRun = false, ...filter } = checkDlqPurge(value)
  return { queue, filter: readDeadFilter(filter), limit, cursor, dryRun }
}

export function readDlqRetry({ text, value: body }: Body): Retry & { queue: string | undefined } {
  const asked = checkDlqRetry(body)
  const {
    queue,
    limit = 100,
    cursor,
    dry_run: dryRun = false,
    patch: value,
    canary = false,
    wait_ms,
    rate = Number.POSITIVE_INFINITY,
    ...filter
  } = asked
  if (wait_ms !== undefined && !canary) throw alone("wait_ms", "canary: true")
  const patch = value === undefined ? undefined : memberTexts(text, "patch")[0]
  if (patch !== undefined && (Buffer.byteLength(patch) > MAX_PATCH_BYTES || tooDeep(value)))
    throw new Refused("bad_request", {
      field: "patch",
      detail: `\`patch\` must have at most ${MAX_PATCH_BYTES} bytes of JSON, and its objects nest at most ${MAX_PATCH_DEPTH} deep.`,
    })
  if (canary && dryRun) throw together("canary", "dry_run")
  return {
    ...{ queue, filter: readDeadFilter(filter), limit, cursor, dryRun },
    ...{ patch, canary, waitMs: wait_ms ?? 0, rate },
  }
}

export function readAudit(query: URLSearchParams) {
  const { queue, fix } = checkAudit(query)
  return { queue, fix: fix === "true" }
}

/** As /submit answered it: the default queue is not named. */
export function readId(id: string): string {
  try {
    const { queue, localId } = splitId(checkId(id))
    return joinId(queue, localId)
  } catch {
    throw new Refused("bad_request", {
      field: "task_id",
      detail:
        "A task id looks as /submit answered it: letters, digits, . _ -, and `queue:` in front where it is not the default queue.",
    })
  }
}

export function readQueue(name: string): string {
  try {
    return checkName(name)
  } catch {
    throw new Refused("bad_request", {
      field: "queue",
      detail: "The name of a queue has 1 to 64 characters out of A-Z a-z 0-9 . _ -.",
    })
  }
}

export const readPause = ({ value }: Body): string => (checkPause(value).reason ?? "").toWellFormed()

export const readSettings = ({ value }: Body): QueueSettings => checkSettings(value)

export function readPurge({ value }: Body) {
  const { state, limit = 1_000, dry_run: dryRun = false } = checkPurge(value)
  return { state, limit, dryRun }
}

export function readQueues(query: URLSearchParams) {
  const { limit = 100, cursor } = checkQueues(query)
  return { limit, cursor }
}

export function readWorker(name: string): string {
  try {
    return checkWorker(name)
  } catch {
    throw new Refused("bad_request", {
      field: "worker",
      detail: "The name of a worker has 1 to 64 characters out of A-Z a-z 0-9 . _ -.",
    })
  }
}

export function readWorkers(query: URLSearchParams) {
  const { queue, limit = 100, cursor } = checkWorkers(query)
  return { queue, limit, cursor }
}

export const readStatus = (query: URLSearchParams): number => checkStatus(query).wait_ms ?? 0

/** `meta.<name>=<value>` may stand any number of times: all must match. */
export function readTasks(query: URLSearchParams) {
  const rest = new URLSearchParams()
  const meta: [string, string][] = []
  for (const [name, value] of query) {
    if (name.startsWith("meta.")) meta.push([name.slice("meta.".length), value])
    else rest.append(name, value)
  }
  const { queue, state, type, limit = 100, cursor } = checkTasks(rest)
  if (type === undefined && meta.length === 0) return { queue, state, limit, cursor }
  const matches = (task: Task) => {
    if (type !== undefined && task.type !== type) return false
    if (meta.length === 0) return true
    const labels = new Map(Object.entries(JSON.parse(`{${task.extra ?? ""}}`).meta ?? {}))
    return meta.every(([name, value]) => labels.get(name) === value)
  }
  return { queue, state, limit, cursor, matches }
}

/** Does the good items, and gives the answers of all in order. */
export async function eachAnswer<T, A>(
  items: readonly Each<T>[],
  run: (items: T[]) => Promise<readonly Each<A>[]>,
): Promise<Each<A>[]> {
  const good = items.filter(item => !(item instanceof Refused)) as T[]
  const answers = await run(good)
  let next = 0
  return items.map(item => (item instanceof Refused ? item : answers[next++]!))
}

const writeEach = <A>(answers: readonly Each<A>[], write: (answer: A) => string): string =>
  `[${answers.map(answer => (answer instanceof Refused ? JSON.stringify(problem(answer)) : write(answer))).join(",")}]`

/** Does the good items of a request and answers for all of them, as one or as many. */
export async function answerMany<T, A>(
  { items, many }: Many<T>,
  run: (items: T[]) => Promise<readonly Each<A>[]>,
  write: (answer: A) => string,
): Promise<string> {
  if (many) return writeEach(await eachAnswer(items, run), write)
  const item = items[0]!
  if (item instanceof Refused) throw item
  const answer = (await run([item]))[0]!
  if (answer instanceof Refused) throw answer
  return write(answer)
}

// Ids, queues and leases have only characters that JSON leaves as they are.

export function writeSubmitted({ id, state, replayed, replaced }: Submitted): string {
  const marks =
    (replayed ? ',"replayed":true' : "") +
    (state === "duplicate" ? ',"duplicate":true' : "") +
    (replaced ? ',"replaced":true' : "")
  return `{"status":"${state}","task_id":"${id}"${marks}}`
}

/** Whether the only answer is one given before. */
export const replayed = (text: string): boolean => text.startsWith("{") && text.includes('"replayed":true')

export const writeSettled = ({ id, code, retries }: Settled): string =>
  code === "requeued" || code === "moved_to_dlq"
    ? `{"status":"${code}","task_id":"${id}","retries":${retries}}`
    : `{"status":"${code}","task_id":"${id}"}`

export const writeExtended = ({ id, code, leaseExpiresAt }: Extended): string =>
  `{"status":"${code}","task_id":"${id}","lease_expires_at":${leaseExpiresAt}}`

export function writeLeased(task: Leased): string {
  const { policy, extra, checkpoint } = task
  return (
    `{"id":"${task.id}","type":${task.type},"payload":${task.payload},"status":"processing",` +
    `"retries":${task.retries},"max_retries":${policy.maxRetries},"queue":"${task.queue}","attempt":${task.attempt},` +
    `"lease":"${task.lease}","timeout_ms":${policy.timeoutMs},"lease_expires_at":${task.leaseExpiresAt}` +
    (policy.maxRuntimeMs ? `,"max_runtime_ms":${policy.maxRuntimeMs}` : "") +
    (extra === undefined ? "" : `,${extra}`) +
    (checkpoint === undefined ? "}" : `,"checkpoint":${checkpoint}}`)
  )
}

export const writeLeasedMany = (tasks: readonly Leased[], drain: boolean): string =>
  `{"tasks":[${tasks.map(writeLeased).join(",")}]${drain ? ',"drain":true' : ""}}`

export function writeWork(
  tasks: readonly Leased[],
  settled: readonly Each<Settled>[],
  extended: readonly Each<Extended>[],
  extensions: readonly Each<Extension>[],
  drain: boolean,
): string {
  const idsWhere = (match: (answer: Each<Extended>) => boolean) =>
    extensions.length === 0
      ? "[]"
      : JSON.stringify(
          extensions.flatMap((item, i) => (item instanceof Refused || !match(extended[i]!) ? [] : [item.id])),
        )
  const lost = idsWhere(
    answer =>
      answer instanceof Refused && (answer.reason === "lease_lost" || answer.reason === "task_not_found"),
  )
  const cancelled = idsWhere(answer => !(answer instanceof Refused) && answer.code === "cancelled")
  return (
    `{"tasks":[${tasks.map(writeLeased).join(",")}],"settled":${writeEach(settled, writeSettled)},` +
    `"extended":${writeEach(extended, writeExtended)},"lost":${lost},"cancelled":${cancelled},"drain":${drain}}`
  )
}

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
    max_runtime_ms: task.policy.maxRuntimeMs || undefined,
    expires_at: task.policy.expiresAt || undefined,
    unique_key: task.uniqueKey,
    cancel_requested_at: task.cancelRequestedAt,
    error: task.error,
    reason: task.reason,
    log: task.log.length > 0 ? task.log : undefined,
  }
  const texts =
    (task.extra === undefined ? "" : `,${task.extra}`) +
    (task.progress === undefined ? "" : `,"progress":${task.progress}`) +
    (task.checkpoint === undefined ? "" : `,"checkpoint":${task.checkpoint}`) +
    (task.result === undefined ? "" : `,"result":${task.result}`)
  return `{"id":"${task.id}","type":${JSON.stringify(task.type)},"payload":${task.payload},${JSON.stringify(rest).slice(1, -1)}${texts},"attempts":[${attempts(task).join(",")}]}`
}

/** Those before as they are remembered; the newest from the task itself, unless it is among them. */
function attempts(task: Task): string[] {
  const { attempt, worker, startedAt, finishedAt, state, history } = task
  const last = history.at(-1)
  if (attempt === 0 || (last !== undefined && JSON.parse(last).attempt === attempt)) return history
  const outcome = state === "processing" || state === "done" || state === "cancelled" ? state : task.reason
  return [
    ...history,
    JSON.stringify({ attempt, worker, started_at: startedAt, ended_at: finishedAt, outcome }),
  ]
}

export const writeTasks = (tasks: readonly Task[], next: string | undefined): string =>
  `{"tasks":[${tasks.map(writeTask).join(",")}]${next === undefined ? "" : `,"next":"${next}"`}}`

export const writeWhy = ({
  task,
  cause,
  sentence,
  ahead,
  atLeast,
  polledAt,
  pausedAt,
  pauseReason,
}: Why): string =>
  JSON.stringify({
    task_id: task.id,
    state: task.state,
    why: sentence,
    cause,
    ahead,
    position_at_least: atLeast || undefined,
    due_at: task.dueAt,
    worker: task.worker,
    started_at: task.startedAt,
    lease_expires_at: task.leaseExpiresAt,
    polled_at: polledAt,
    paused_at: pausedAt,
    pause_reason: pauseReason,
  })

export const writeDlq = (size: number, tasks: readonly Task[], next: string | undefined): string =>
  `{"dlq_size":${size},"tasks":[${tasks.map(writeTask).join(",")}]${next === undefined ? "" : `,"next":"${next}"`}}`
