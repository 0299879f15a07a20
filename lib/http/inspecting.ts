/** Inspecting: GET /status/:id, /why/:id and /tasks. */
import { matcherOf } from "../queue/filter.ts"
import type { Why } from "../queue/why.ts"
import type { Task } from "../task/task.ts"
import type { State } from "../wire/fields.ts"
import { StatusQuery, TasksQuery } from "../wire/inspecting.ts"
import { answer, answerJson } from "./answer.ts"
import { type BrokerParts, type Call, forTask } from "./call.ts"
import { invalid, queryChecker, queryOf } from "./validate.ts"

export const getTask = forTask(async ({ request, caller }, { queue, limitWaiting }, id) => {
  const { wait_ms: waitMs } = checkStatus(queryOf(request))
  const task = await limitWaiting(waitMs, () => queue.find(id, caller.sight, waitMs, request.signal))
  return answer(writeTask(task))
})

export const whyTask = forTask(async ({ caller }, { queue }, id) =>
  answerJson(whyBody(await queue.why(id, caller.sight))),
)

export async function listTasks({ request, caller }: Call, { tasksSearch }: BrokerParts): Promise<Response> {
  const search = readTasksQuery(queryOf(request))
  const queues = caller.visibleQueues(search.queue)
  const { tasks, next } = await tasksSearch.page({ ...search, queues, sight: caller.sight })
  return answer(`{${writePage(tasks, next)}}`)
}

const checkStatus = queryChecker(StatusQuery, { wait_ms: 0 })
const checkTasks = queryChecker(TasksQuery, { limit: 100, order: "queue" })

/** Reads the query of /tasks. `meta.<name>=<value>` may appear any number of times; a task must have all these labels. */
function readTasksQuery(query: URLSearchParams) {
  const rest = new URLSearchParams()
  const meta: [string, string][] = []
  for (const [name, value] of query) {
    if (name.startsWith("meta.")) meta.push([name.slice("meta.".length), value])
    else rest.append(name, value)
  }
  const { type, type_part: typePart, queue_part: queuePart, group, ...search } = checkTasks(rest)
  if (search.text !== undefined && search.queue === undefined)
    throw invalid([
      { field: "text", detail: "`text` requires `queue`: it is searched in one queue at a time." },
    ])
  const labels = meta.length > 0 ? meta : undefined
  return { ...search, queuePart, matches: matcherOf({ type, typePart, group, meta: labels }) }
}

/** A queued task that has failed is shown as `retrying`: it waits for its next attempt, with or without a backoff. */
const statusOf = ({ state, retries }: Task): State => (state === "queued" && retries > 0 ? "retrying" : state)

/** A task as /status and the lists show it. The lease is a capability and is never shown. */
function writeTask(task: Task): string {
  const rest = {
    status: statusOf(task),
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
    result_ttl_ms: task.policy.resultTtlMs === -1 ? undefined : task.policy.resultTtlMs,
    backoff: task.policy.backoff,
    unique_key: task.uniqueKey,
    group: task.group,
    cancel_requested_at: task.cancelRequestedAt,
    error: task.error,
    reason: task.reason,
    log: task.log.length > 0 ? task.log : undefined,
    log_at: task.logAt,
    redact: task.redact,
    hidden: task.hidden,
  }
  const texts =
    (task.memberJson === undefined ? "" : `,${task.memberJson}`) +
    (task.progress === undefined ? "" : `,"progress":${task.progress}`) +
    (task.checkpoint === undefined ? "" : `,"checkpoint":${task.checkpoint}`) +
    (task.result === undefined ? "" : `,"result":${task.result}`)
  return `{"id":"${task.id}","type":${JSON.stringify(task.type)},"payload":${task.payload},${JSON.stringify(rest).slice(1, -1)}${texts},"attempts":[${attemptsOf(task).join(",")}]}`
}

/** The recorded attempts, and the newest one from the task itself unless it is recorded already. */
function attemptsOf(task: Task): string[] {
  const { attempt, worker, startedAt, finishedAt, state, history } = task
  const last = history.at(-1)
  if (attempt === 0 || (last !== undefined && JSON.parse(last).attempt === attempt)) return history
  const outcome = state === "processing" || state === "done" || state === "cancelled" ? state : task.reason
  return [
    ...history,
    JSON.stringify({ attempt, worker, started_at: startedAt, ended_at: finishedAt, outcome }),
  ]
}

/** The members of a page of tasks, without braces. */
export const writePage = (tasks: readonly Task[], next: string | undefined): string =>
  `"tasks":[${tasks.map(writeTask).join(",")}]${next === undefined ? "" : `,"next":"${next}"`}`

/** The reason of a pause is the end of its sentence, as somebody has typed it. */
const withPeriod = (sentence: string): string => (/[.!?]$/.test(sentence) ? sentence : `${sentence}.`)

function whyBody(why: Why) {
  const { task, cause, sentence, ahead, atLeast, polledAt, pausedAt, pauseReason } = why
  const { schedule, planned_at } = JSON.parse(`{${task.memberJson ?? ""}}`)
  return {
    task_id: task.id,
    state: statusOf(task),
    why:
      schedule === undefined
        ? sentence
        : `${withPeriod(sentence)} The schedule ${schedule} created it for ${new Date(planned_at).toISOString()}.`,
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
    group: task.group,
    blocked_by: why.blockedBy,
    held_until_at: why.heldUntil,
    schedule,
    planned_at,
  }
}
