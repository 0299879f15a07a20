/**
 * The typed HTTP client, for programs that submit tasks and for worker.ts.
 *
 *   const client = new Client({ url: "http://localhost:5000", token })
 *   const { task_id } = await client.submit({ type: "echo", payload: { hello: "world" } })
 *
 * A call returns the answer of the broker or throws: BrokerProblem if the broker refused, BrokerUnreachable if there
 * was no answer. The client never repeats a request; `retryable` says whether repeating it can help. Every state
 * change is safe to repeat, except a submit without a `task_id` or an `idempotencyKey`. State changes are never a GET,
 * because fetch repeats a GET when its connection breaks.
 */
import { bypassProxy, proxyFor, shownUrl } from "./broker-address.ts"
import { pause } from "./pause.ts"
import type { ActionsAnswer } from "./wire/actions.ts"
import type { BrokersAnswer } from "./wire/brokers.ts"
import type {
  BulkAnswer,
  BulkCount,
  BulkCounted,
  BulkRequest,
  BulkStopped,
  BulkView,
  CancelledMany,
  CancelMany,
} from "./wire/bulk.ts"
import type { Again, SubmittedAgain, TaskChange, TaskChanged, TaskDeleted } from "./wire/changing.ts"
import type { AddMark, HistoryAnswer, Mark } from "./wire/charting.ts"
import type {
  DeletedTask,
  DlqAnswer,
  DlqGroupsAnswer,
  DlqPurge,
  DlqPurged,
  RetriedMany,
  RetriedTask,
  RetryMany,
  RetryTask,
} from "./wire/dead-letters.ts"
import type { EventData, EventName } from "./wire/events.ts"
import type { State } from "./wire/fields.ts"
import type { GroupsAnswer, GroupView } from "./wire/grouping.ts"
import type { TasksAnswer, TaskView, WhyAnswer } from "./wire/inspecting.ts"
import type {
  Drained,
  Pause,
  Paused,
  Purge,
  Purged,
  QueueOrder,
  QueuesAnswer,
  QueueView,
  WorkerState,
  WorkersAnswer,
} from "./wire/managing.ts"
import type { Alive, AuditAnswer, Ready } from "./wire/operating.ts"
import type { Code, Problem } from "./wire/problem.ts"
import type { GroupLimits, QueueSettings } from "./wire/queue-settings.ts"
import type {
  Preview,
  Previewed,
  Schedule,
  ScheduleDeleted,
  SchedulePaused,
  ScheduleRun,
  ScheduleSet,
  SchedulesAnswer,
  SchedulesQuery,
  ScheduleView,
} from "./wire/scheduling.ts"
import { readEvents } from "./wire/sse.ts"
import type { Cancelled, Submit, Submitted } from "./wire/submitting.ts"
import type {
  Ack,
  Extend,
  Extended,
  LeaseAnswer,
  LeaseRequest,
  Settled,
  Work,
  WorkAnswer,
} from "./wire/working.ts"

/** A stream of events that is silent for this long has a dead connection. */
const SILENT_MS = 45_000
const RECONNECT_MS = 1_000

const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504])

/** The broker, or a proxy in front of it, refused the request. */
export class BrokerProblem extends Error {
  override readonly name = "BrokerProblem"
  /** Whether the same request can succeed later. */
  readonly retryable: boolean

  constructor(
    readonly status: number,
    /** "unknown" if the answer is not a problem of the broker, for example the page of a proxy. */
    readonly code: Code | "unknown",
    readonly error: string,
    readonly detail: string | undefined,
    /** How long to wait before the next request, as the broker asks. */
    readonly retryAfterMs: number | undefined,
    /** The whole problem, with `field`, `state` and `attempt`. */
    readonly problem: Problem | undefined,
  ) {
    super(`${error} (${status} ${code})${[undefined, error].includes(detail) ? "" : `: ${detail}`}`)
    this.retryable = RETRYABLE.has(status)
  }
}

/** No connection, no answer in time, or an unreadable answer. The broker may have done what was requested. */
export class BrokerUnreachable extends Error {
  override readonly name = "BrokerUnreachable"
  readonly retryable = true
}

/** The part of `fetch` that a call needs. */
export type Fetch = (
  url: string,
  request: {
    method: string
    headers: Record<string, string>
    body?: string
    redirect: "manual"
    signal: AbortSignal
  },
) => Promise<Response>

export interface ClientOptions {
  /** Sends the requests of all calls but `events`. The default is the global `fetch`. */
  fetch?: Fetch | undefined
  url: string
  /** A function is called before each request, for a token that changes. */
  token: string | (() => string)
  /**
   * How long to wait for an answer (default 10,000). The `wait_ms` of a request is added.
   * Infinity means no limit.
   */
  timeoutMs?: number
}

export interface CallOptions {
  /** Aborts the call, which then throws the reason of the signal. */
  signal?: AbortSignal
  timeoutMs?: number
  /** W3C trace context, for the spans of the broker. */
  traceparent?: string | undefined
}

export interface SubmitOptions extends CallOptions {
  /** A repeated key with the same tasks gets the first answer again, so a submit without an answer can be repeated. */
  idempotencyKey?: string
}

/** The answer to one item, or a BrokerProblem if the broker refused it. */
export type Each<T> = T | BrokerProblem

/** The answer of /work, its lists as `ackMany` and `extendMany` give them. */
export interface Worked extends Omit<WorkAnswer, "settled" | "extended"> {
  settled: Each<Settled>[]
  extended: Each<Extended>[]
}

export interface TasksFilter {
  state: State | "all"
  queue?: string
  /** A text that the name of the queue contains, ignoring case. */
  queue_part?: string
  type?: string
  /** A text that the type contains, ignoring case. */
  type_part?: string
  group?: string
  /** A task id or a part of one. */
  id?: string
  /** A text that the payload or the error contains, ignoring case; requires `queue`. */
  text?: string
  /** `queue` (default): queue by queue; `time`: all queues together. */
  order?: "queue" | "time"
  /** All of these labels must match. */
  meta?: Readonly<Record<string, string>>
  limit?: number
  /** The `next` of the previous page. */
  cursor?: string
}

/** Selects dead tasks: all members that are given must match. */
export type DlqFilter = Omit<DlqPurge, "limit" | "cursor" | "dry_run">

export interface HistoryFilter {
  queue?: string
  /** Needs `queue`. */
  type?: string
  /** Also sum up each type of `queue`. */
  types?: boolean
  from_at?: number
  to_at?: number
  /** Such as 5m, 1h or 1d. */
  step?: string
}

export interface PageQuery {
  limit?: number
  /** The `next` of the previous page. */
  cursor?: string
}

export interface QueuesFilter extends PageQuery {
  /** If it is given, the answer has `totals` and `worst`. */
  order?: QueueOrder
  /** A text that the name of the queue contains, ignoring case. */
  queue_part?: string
}

export interface EventsFilter {
  queue?: string | readonly string[]
  task?: string
  /** Only these events. `gap` and `skipped` are always sent. */
  event?: readonly EventName[]
  /** The `id` of the last event that was received before. */
  last_event_id?: string
}

export interface StreamEvent {
  /** With a `gap`: the id of the event before it. */
  id: string | undefined
  event: EventName
  data: EventData
}

export class Client {
  readonly url: string
  readonly #token: () => string
  readonly #timeoutMs: number
  readonly #fetch: Fetch

  constructor({ url, token, timeoutMs = 10_000, fetch: send = fetch }: ClientOptions) {
    this.#fetch = send
    bypassProxy(url)
    this.url = url.replace(/\/+$/, "")
    this.#token = typeof token === "string" ? () => token : token
    checkTimeout(timeoutMs)
    this.#timeoutMs = timeoutMs
  }

  submit(task: Submit, options?: SubmitOptions): Promise<Submitted> {
    return this.#post("/submit", task, options)
  }

  /** Submits up to 1,000 tasks in one request. The answers are in the same order. */
  submitMany(tasks: readonly Submit[], options?: SubmitOptions): Promise<Each<Submitted>[]> {
    return this.#postMany("/submit", tasks, options)
  }

  /** Waits up to `wait_ms` for tasks. An empty list is a normal answer. */
  lease(request: LeaseRequest = {}, options?: CallOptions): Promise<LeaseAnswer> {
    return this.#post("/lease", request, this.#waiting(request.wait_ms, options))
  }

  ack(ack: Ack, options?: CallOptions): Promise<Settled> {
    return this.#post("/ack", ack, options)
  }

  ackMany(acks: readonly Ack[], options?: CallOptions): Promise<Each<Settled>[]> {
    return this.#postMany("/ack", acks, options)
  }

  extend(extend: Extend, options?: CallOptions): Promise<Extended> {
    return this.#post("/extend", extend, options)
  }

  extendMany(leases: readonly Extend[], options?: CallOptions): Promise<Each<Extended>[]> {
    return this.#postMany("/extend", leases, options)
  }

  /** Extends, acks and leases in one request. Waits up to `wait_ms` for tasks if it only leases. */
  async work(request: Work, options?: CallOptions): Promise<Worked> {
    const path = "/work"
    const answer = await this.#post<WorkAnswer>(path, request, this.#waiting(request.wait_ms, options))
    if (!Array.isArray(answer.tasks)) throw this.#unreadable(path, "tasks")
    return {
      ...answer,
      settled: this.#each<Settled>(path, answer.settled, request.settle?.length ?? 0),
      extended: this.#each<Extended>(path, answer.extended, request.extend?.length ?? 0),
    }
  }

  /** Ends a waiting task at once, and a running one when its worker has been notified. */
  cancel(id: string, options?: CallOptions): Promise<Cancelled> {
    return this.#call("POST", `/cancel/${encodeURIComponent(id)}`, undefined, options)
  }

  /** Cancels all tasks that match: the waiting ones, unless `state` says otherwise. */
  cancelTasks(request: CancelMany, options?: CallOptions): Promise<CancelledMany> {
    return this.#post("/cancel", request, options)
  }

  /** Gives a waiting task another payload, priority, start time or labels. `delay_ms: 0` makes it ready at once. */
  changeTask(id: string, change: TaskChange, options?: CallOptions): Promise<TaskChanged> {
    return this.#call("PATCH", `/tasks/${encodeURIComponent(id)}`, JSON.stringify(change), options)
  }

  /** Submits a task like one that has ended. Without an `idempotencyKey`, a repeated call creates another. */
  submitAgain(id: string, again: Again = {}, options?: SubmitOptions): Promise<SubmittedAgain> {
    return this.#post(`/tasks/${encodeURIComponent(id)}/again`, again, options)
  }

  /** Deletes a task that has ended. */
  deleteTask(id: string, options?: CallOptions): Promise<TaskDeleted> {
    return this.#call("DELETE", `/tasks/${encodeURIComponent(id)}`, undefined, options)
  }

  /** Starts a bulk operation, which brokers carry out in the background. `bulkOperation` shows its progress. */
  startBulk(request: BulkRequest, options?: SubmitOptions): Promise<BulkView> {
    return this.#post("/bulk", request, options)
  }

  /** How many tasks of a page a bulk operation would change. */
  countBulk(request: BulkCount, options?: CallOptions): Promise<BulkCounted> {
    return this.#post("/bulk/count", request, options)
  }

  /** The bulk operations, the newest first. */
  bulkOperations(query: { limit?: number } = {}, options?: CallOptions): Promise<BulkAnswer> {
    return this.#call("GET", withQuery("/bulk", query), undefined, options)
  }

  bulkOperation(id: string, options?: CallOptions): Promise<BulkView> {
    return this.#call("GET", `/bulk/${encodeURIComponent(id)}`, undefined, options)
  }

  stopBulk(id: string, options?: CallOptions): Promise<BulkStopped> {
    return this.#call("POST", `/bulk/${encodeURIComponent(id)}/stop`, undefined, options)
  }

  /** With `wait_ms`, answers when the task has ended, or after that time with the current state of the task. */
  status(id: string, query: { wait_ms?: number } = {}, options?: CallOptions): Promise<TaskView> {
    const path = `/status/${encodeURIComponent(id)}`
    return this.#call("GET", withQuery(path, query), undefined, this.#waiting(query.wait_ms, options))
  }

  /** Explains why a task is not running. */
  why(id: string, options?: CallOptions): Promise<WhyAnswer> {
    return this.#call("GET", `/why/${encodeURIComponent(id)}`, undefined, options)
  }

  /** Lists or searches tasks. There are more pages as long as there is a `next`, even if a page is empty. */
  tasks({ meta = {}, ...filter }: TasksFilter, options?: CallOptions): Promise<TasksAnswer> {
    const labels = Object.entries(meta).map(([name, value]) => [`meta.${name}`, value])
    const query = { ...filter, ...Object.fromEntries(labels) }
    return this.#call("GET", withQuery("/tasks", query), undefined, options)
  }

  dlq(query: DlqFilter & PageQuery = {}, options?: CallOptions): Promise<DlqAnswer> {
    return this.#call("GET", withQuery("/dlq", query), undefined, options)
  }

  /** Groups dead tasks by error, the largest group first. */
  dlqGroups(query: DlqFilter & { cursor?: string } = {}, options?: CallOptions): Promise<DlqGroupsAnswer> {
    return this.#call("GET", withQuery("/dlq/groups", query), undefined, options)
  }

  /** Retries one dead task, with its payload or another one. */
  retryDeadTask(id: string, retry: RetryTask = {}, options?: CallOptions): Promise<RetriedTask> {
    return this.#post(`/dlq/retry/${encodeURIComponent(id)}`, retry, options)
  }

  /** Retries all dead tasks that match. With `canary`, one is retried first, and the others only if it is done. */
  retryDeadTasks(request: RetryMany, options?: CallOptions): Promise<RetriedMany> {
    const pacedMs = request.rate === undefined ? 0 : 10_000
    return this.#post("/dlq/retry", request, this.#waiting((request.wait_ms ?? 0) + pacedMs, options))
  }

  /** Deletes a dead task and its data. */
  deleteDeadTask(id: string, options?: CallOptions): Promise<DeletedTask> {
    return this.#call("DELETE", `/dlq/${encodeURIComponent(id)}`, undefined, options)
  }

  /** Deletes all dead tasks that match. */
  purgeDeadTasks(request: DlqPurge, options?: CallOptions): Promise<DlqPurged> {
    return this.#post("/dlq/purge", request, options)
  }

  queues(query: QueuesFilter = {}, options?: CallOptions): Promise<QueuesAnswer> {
    return this.#call("GET", withQuery("/queues", query), undefined, options)
  }

  queue(name: string, options?: CallOptions): Promise<QueueView> {
    return this.#call("GET", queuePath(name), undefined, options)
  }

  pauseQueue(name: string, pause: Pause = {}, options?: CallOptions): Promise<Paused> {
    return this.#post(`${queuePath(name)}/pause`, pause, options)
  }

  resumeQueue(name: string, options?: CallOptions): Promise<Paused> {
    return this.#call("POST", `${queuePath(name)}/resume`, undefined, options)
  }

  setQueue(name: string, settings: QueueSettings, options?: CallOptions): Promise<QueueView> {
    return this.#call("PUT", `${queuePath(name)}/settings`, JSON.stringify(settings), options)
  }

  purgeQueue(name: string, purge: Purge, options?: CallOptions): Promise<Purged> {
    return this.#post(`${queuePath(name)}/purge`, purge, options)
  }

  /** The groups of a queue, the largest backlog first. */
  groups(queue: string, query: PageQuery = {}, options?: CallOptions): Promise<GroupsAnswer> {
    return this.#call("GET", withQuery(`${queuePath(queue)}/groups`, query), undefined, options)
  }

  group(queue: string, group: string, options?: CallOptions): Promise<GroupView> {
    return this.#call("GET", groupPath(queue, group), undefined, options)
  }

  /** Sets the limits of one group that differ from those of its queue. */
  setGroup(queue: string, group: string, limits: GroupLimits, options?: CallOptions): Promise<GroupView> {
    return this.#call("PUT", groupPath(queue, group), JSON.stringify(limits), options)
  }

  /** Removes the limits of one group that differ from those of its queue. */
  unsetGroup(queue: string, group: string, options?: CallOptions): Promise<GroupView> {
    return this.#call("DELETE", groupPath(queue, group), undefined, options)
  }

  pauseGroup(queue: string, group: string, pause: Pause = {}, options?: CallOptions): Promise<GroupView> {
    return this.#post(`${groupPath(queue, group)}/pause`, pause, options)
  }

  resumeGroup(queue: string, group: string, options?: CallOptions): Promise<GroupView> {
    return this.#call("POST", `${groupPath(queue, group)}/resume`, undefined, options)
  }

  /** What happened per minute or hour: to all queues, one queue, or one type of it. */
  history(query: HistoryFilter = {}, options?: CallOptions): Promise<HistoryAnswer> {
    return this.#call("GET", withQuery("/history", query), undefined, options)
  }

  /** Marks a moment in the history, such as a deploy. Give `at` to make a repeat safe. */
  addMark(mark: AddMark, options?: CallOptions): Promise<Mark> {
    return this.#post("/history/marks", mark, options)
  }

  schedules(query: SchedulesQuery = {}, options?: CallOptions): Promise<SchedulesAnswer> {
    return this.#call("GET", withQuery("/schedules", query), undefined, options)
  }

  schedule(id: string, options?: CallOptions): Promise<ScheduleView> {
    return this.#call("GET", schedulePath(id), undefined, options)
  }

  /** Creates or replaces a schedule. Safe to repeat: as long as its times are the same, its next time stays. */
  setSchedule(id: string, schedule: Schedule, options?: CallOptions): Promise<ScheduleSet> {
    return this.#call("PUT", schedulePath(id), JSON.stringify(schedule), options)
  }

  deleteSchedule(id: string, options?: CallOptions): Promise<ScheduleDeleted> {
    return this.#call("DELETE", schedulePath(id), undefined, options)
  }

  pauseSchedule(id: string, pause: Pause = {}, options?: CallOptions): Promise<SchedulePaused> {
    return this.#post(`${schedulePath(id)}/pause`, pause, options)
  }

  resumeSchedule(id: string, options?: CallOptions): Promise<SchedulePaused> {
    return this.#call("POST", `${schedulePath(id)}/resume`, undefined, options)
  }

  /** Creates a task of a schedule now. Without an `idempotencyKey`, a repeated call creates another. */
  runSchedule(id: string, options?: SubmitOptions): Promise<ScheduleRun> {
    return this.#call("POST", `${schedulePath(id)}/run`, undefined, options)
  }

  /** The next ten times of a cron expression or an interval. */
  previewSchedule(preview: Preview, options?: CallOptions): Promise<Previewed> {
    return this.#post("/schedules/preview", preview, options)
  }

  workers(
    query: PageQuery & { queue?: string; worker?: string; state?: readonly WorkerState[] } = {},
    options?: CallOptions,
  ): Promise<WorkersAnswer> {
    return this.#call("GET", withQuery("/workers", query), undefined, options)
  }

  /** Drains a worker: it finishes its tasks and stops. With `false`, withdraws the drain. */
  drainWorker(name: string, drain = true, options?: CallOptions): Promise<Drained> {
    const path = `/workers/${encodeURIComponent(name)}/drain`
    return this.#call(drain ? "POST" : "DELETE", path, undefined, options)
  }

  /**
   * Streams events until the caller stops. It reconnects and continues after the last event; if events may be missing,
   * there is a `gap`. After `listening`, the stream contains everything that happens.
   */
  async *events(
    { last_event_id, ...filter }: EventsFilter = {},
    { signal }: { signal?: AbortSignal } = {},
  ): AsyncGenerator<StreamEvent, never> {
    let id = last_event_id
    for (let retryMs = RECONNECT_MS; ; ) {
      const connection = new AbortController()
      const leave = () => connection.abort()
      signal?.addEventListener("abort", leave)
      const silence = setTimeout(leave, SILENT_MS)
      try {
        signal?.throwIfAborted()
        const headers: Record<string, string> = { "X-API-Token": this.#token(), Accept: "text/event-stream" }
        if (id !== undefined) headers["Last-Event-ID"] = id
        const request = { headers, redirect: "manual", signal: connection.signal } as const
        const response = await fetch(this.url + withQuery("/events", filter), request)
        if (!response.ok) throw refusal(response, await response.text(), shownUrl(this.url))
        for await (const read of readEvents(response.body!)) {
          silence.refresh()
          retryMs = read.retryMs ?? retryMs
          id = read.id ?? id
          if (read.data !== "") yield { id, event: read.event as EventName, data: JSON.parse(read.data) }
        }
      } catch (error) {
        if (error instanceof BrokerProblem && !error.retryable) throw error
      } finally {
        clearTimeout(silence)
        signal?.removeEventListener("abort", leave)
        leave()
      }
      await pause(retryMs, signal)
      signal?.throwIfAborted()
    }
  }

  /** A page of what operators did, the newest first. */
  actions(
    query: { queue?: string; by?: string; action?: string; limit?: number; cursor?: string } = {},
    options?: CallOptions,
  ): Promise<ActionsAnswer> {
    return this.#call("GET", withQuery("/actions", query), undefined, options)
  }

  /** The brokers that share the Redis of this one. */
  brokers(options?: CallOptions): Promise<BrokersAnswer> {
    return this.#call("GET", "/brokers", undefined, options)
  }

  /** Checks the consistency of all data; with `fix`, repairs it. Takes up to 20 s. */
  audit(query: { queue?: string; fix?: boolean } = {}, options?: CallOptions): Promise<AuditAnswer> {
    return this.#call("POST", withQuery("/audit", query), undefined, this.#waiting(20_000, options))
  }

  /** Whether the process of the broker answers. */
  healthz(options?: CallOptions): Promise<Alive> {
    return this.#call("GET", "/healthz", undefined, options)
  }

  /** Whether the broker can do its work. */
  readyz(options?: CallOptions): Promise<Ready> {
    return this.#call("GET", "/readyz", undefined, options)
  }

  #post<T>(path: string, body: unknown, options?: SubmitOptions): Promise<T> {
    return this.#call("POST", path, JSON.stringify(body), options)
  }

  async #postMany<T>(path: string, items: readonly unknown[], options?: SubmitOptions): Promise<Each<T>[]> {
    if (items.length === 0) return []
    return this.#each(path, await this.#post(path, items, options), items.length)
  }

  #each<T>(path: string, answers: unknown, count: number): Each<T>[] {
    if (!Array.isArray(answers) || answers.length !== count) throw this.#unreadable(path, `${count} answers`)
    return answers.map(answer => (isProblem(answer) ? fromProblem(answer.status, answer) : answer))
  }

  /** Leaves the broker time to answer after `wait_ms`. */
  #waiting(waitMs = 0, options?: CallOptions): CallOptions {
    return { timeoutMs: waitMs + this.#timeoutMs, ...options }
  }

  #unreadable(path: string, what: string): BrokerUnreachable {
    return new BrokerUnreachable(`${shownUrl(this.url)} answered ${path} with something other than ${what}`)
  }

  async #call<T>(
    method: string,
    path: string,
    body: string | undefined,
    options: SubmitOptions = {},
  ): Promise<T> {
    const { signal, timeoutMs = this.#timeoutMs, idempotencyKey, traceparent } = options
    checkTimeout(timeoutMs)
    signal?.throwIfAborted()
    // AbortSignal.any and .timeout would leave a timer and a listener behind per call.
    const limit = new AbortController()
    const timer = startTimer(() => limit.abort(), timeoutMs)
    const leave = () => limit.abort()
    signal?.addEventListener("abort", leave)
    try {
      const headers: Record<string, string> = { "X-API-Token": this.#token(), Accept: "application/json" }
      if (body !== undefined) headers["Content-Type"] = "application/json"
      if (idempotencyKey !== undefined) headers["Idempotency-Key"] = idempotencyKey
      if (traceparent !== undefined) headers.traceparent = traceparent
      const request = { method, headers, redirect: "manual", signal: limit.signal } as const
      const response = await this.#fetch(this.url + path, body === undefined ? request : { ...request, body })
      const text = await response.text()
      if (!response.ok) throw refusal(response, text, shownUrl(this.url))
      return parse(text) as T
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof BrokerProblem) throw error
      const shown = shownUrl(this.url)
      const why = limit.signal.aborted
        ? `no answer within ${timeoutMs} ms`
        : reason(error).replaceAll(this.url, shown)
      // Bun's error has the whole URL as its `path`.
      const cause = new Error(why)
      const proxy = proxyFor(this.url)
      const through = proxy === undefined ? "" : ` through the proxy ${shownUrl(proxy)}`
      throw new BrokerUnreachable(`the broker at ${shown} cannot be reached${through}: ${why}`, { cause })
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener("abort", leave)
    }
  }
}

const MAX_TIMER_MS = 2 ** 31 - 1

/** A longer delay would make a timer fire at once, so it means no limit. */
function startTimer(onEnd: () => void, ms: number): Timer | undefined {
  return ms > MAX_TIMER_MS ? undefined : setTimeout(onEnd, ms)
}

function checkTimeout(ms: number): void {
  if (!(ms > 0))
    throw new RangeError(`timeoutMs must be a number of ms above 0, or Infinity for no limit, not ${ms}`)
}

const schedulePath = (id: string) => `/schedules/${encodeURIComponent(id)}`
const queuePath = (name: string) => `/queues/${encodeURIComponent(name)}`
const groupPath = (queue: string, group: string) => `${queuePath(queue)}/groups/${encodeURIComponent(group)}`

/** A list becomes its items, separated by commas. */
function withQuery(path: string, query: object): string {
  const members = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) members.set(name, String(value))
  return members.size > 0 ? `${path}?${members}` : path
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(`it answered something that is not JSON: ${JSON.stringify(text.slice(0, 80))}`)
  }
}

/** The `status` of a problem is a number; that of any other answer is a string. */
function isProblem(answer: unknown): answer is Problem {
  return (
    typeof answer === "object" &&
    answer !== null &&
    "error" in answer &&
    "status" in answer &&
    typeof answer.status === "number"
  )
}

function refusal(response: Response, text: string, address: string): BrokerProblem {
  const retryAfterMs = retryAfter(response.headers.get("Retry-After"))
  try {
    const answer: unknown = JSON.parse(text)
    if (isProblem(answer)) return fromProblem(response.status, answer, retryAfterMs)
  } catch {
    // The answer is not from the broker: its code is unknown.
  }
  const reason = response.statusText || "no reason given"
  const location = response.headers.get("Location")
  // The client follows no redirect: it would send the token to another server, and fetch turns a POST into a GET.
  const detail =
    location === null
      ? `this answer of ${address} does not come from a broker`
      : `the server redirects to ${shownUrl(location)}, so this is not the address of the broker`
  return new BrokerProblem(response.status, "unknown", reason, detail, retryAfterMs, undefined)
}

function fromProblem(status: number, problem: Problem, retryAfterMs?: number): BrokerProblem {
  return new BrokerProblem(status, problem.code, problem.error, problem.detail, retryAfterMs, problem)
}

/** Seconds, or a date. */
function retryAfter(header: string | null): number | undefined {
  if (header === null) return undefined
  const ms = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - Date.now()
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = (error as { code?: unknown }).code
  return typeof code === "string" ? code : error.message
}
