/** What operators do: a line in the log, an entry in the trail, and GET /actions, which lists the trail. */
import { Refused } from "../errors.ts"
import type { Fields } from "../log.ts"
import { queueOf } from "../task/id.ts"
import type { Action } from "../wire/action-names.ts"
import { ActionsQuery, type ActionView } from "../wire/actions.ts"
import { PROBLEMS } from "../wire/problem.ts"
import { answerJson, requestId } from "./answer.ts"
import { type BrokerParts, type Call, logFields } from "./call.ts"
import { queryChecker, queryOf } from "./validate.ts"

/** The log line of each action. */
const MESSAGES: Record<Action, string> = {
  cancelTask: "The cancellation of a task was requested",
  cancelTasks: "Tasks were cancelled",
  changeTask: "A waiting task was changed",
  submitAgain: "A task was submitted again",
  deleteTask: "A task that has ended was deleted",
  setSchedule: "A schedule was set",
  deleteSchedule: "A schedule was deleted",
  pauseSchedule: "A schedule was paused",
  resumeSchedule: "A schedule was resumed",
  runSchedule: "A schedule was run by hand",
  retryDeadTask: "A dead task was retried",
  retryDeadTasks: "Dead tasks were retried",
  purgeDeadTasks: "Dead tasks were deleted",
  deleteDeadTask: "A dead task was deleted",
  startBulk: "A bulk operation was started",
  stopBulk: "A bulk operation was told to stop",
  pauseQueue: "A queue was paused",
  resumeQueue: "A queue was resumed",
  setQueueSettings: "The settings of a queue were changed",
  purgeQueue: "A queue was purged",
  setGroupLimits: "The limits of a group were changed",
  removeGroupLimits: "The limits of a group were removed",
  pauseGroup: "A group was paused",
  resumeGroup: "A group was resumed",
  addMark: "A mark was added to the history",
  drainWorker: "A worker was told to drain",
  undrainWorker: "The drain of a worker was cancelled",
  audit: "An audit with repair was run",
}

/**
 * Programs may do these at any rate, and would push everything else out of the trail: they are recorded only for tokens
 * with the role `operate`.
 */
const ALSO_BY_PROGRAMS: ReadonlySet<Action> = new Set([
  "cancelTask",
  "changeTask",
  "submitAgain",
  "runSchedule",
])

/** What an action is about. `queues`: if it is about several queues; undefined: about all. */
interface Target {
  queue?: string | undefined
  queues?: readonly string[] | undefined
  task_id?: string
  schedule?: string
  group?: string
  worker?: string
}

/** Logs an action that was done, and records it. `details` must not contain payloads or tokens. */
export async function recordAction(
  call: Call,
  parts: BrokerParts,
  action: Action,
  target: Target,
  details: Fields = {},
): Promise<void> {
  const { queues: _, ...named } = target
  parts.log.info(MESSAGES[action], { ...named, ...details, ...logFields(call) })
  await addToTrail(call, parts, action, target, details)
}

/** An operation on many tasks. `run` counts in its answer what was done, or what would be. */
interface ManyTasks {
  action: Action
  /** Names the operation in the log. */
  operation: string
  target: Target
  /** What was requested. */
  asked: Fields
  dryRun: boolean
  run: () => Promise<object>
}

/**
 * Runs an operation on many tasks, records it with its counts, and answers. It is logged before it runs as well: if the
 * broker dies half-way, only the log shows what was requested. A dry run changes nothing, so it is not recorded.
 */
export async function answerMany(call: Call, parts: BrokerParts, many: ManyTasks): Promise<Response> {
  const { action, operation, target, asked, dryRun, run } = many
  if (dryRun) return answerJson(await run())
  const { log } = parts
  const fields = { queue: target.queue, ...asked, ...logFields(call) }
  log.info(`${operation} was requested`, fields)
  try {
    const result = await run()
    const counts = Object.entries(result).filter(([, value]) => typeof value === "number")
    await recordAction(call, parts, action, target, { ...asked, ...Object.fromEntries(counts) })
    return answerJson(result)
  } catch (error) {
    log.warn(`${operation} was interrupted: it was done in part or not at all`, { ...fields, error })
    const isRefused = error instanceof Refused && PROBLEMS[error.reason].status < 500
    if (!isRefused) await addToTrail(call, parts, action, target, { ...asked, interrupted: true })
    throw error
  }
}

/** The action has been done, so it does not fail if it cannot be recorded. */
async function addToTrail(
  call: Call,
  { trail, log }: BrokerParts,
  action: Action,
  { queue, queues, ...target }: Target,
  details: Fields,
): Promise<void> {
  if (ALSO_BY_PROGRAMS.has(action) && !call.caller.hasRole("operate")) return
  const id = target.task_id ?? target.schedule
  const only = queue ?? (id === undefined ? undefined : queueOf(id))
  const concerned = only === undefined ? queues && [...queues] : [only]
  const entry = {
    by: call.caller.name,
    action,
    ...(concerned === undefined ? {} : { queues: concerned }),
    ...target,
    request_id: requestId(call),
    details: { ...details },
  }
  await trail.add(entry).catch(error => {
    log.warn("An action could not be recorded, so GET /actions does not list it", {
      action,
      ...logFields(call),
      error,
    })
  })
}

export async function listActions({ request, caller }: Call, { trail }: BrokerParts): Promise<Response> {
  const { queue: only, ...rest } = checkActions(queryOf(request))
  const page = await trail.page({ ...rest, queues: caller.visibleQueues(only) })
  return answerJson(caller.sight === "all" ? page : { ...page, actions: page.actions.map(withoutTexts) })
}

/** An operator who filters by an error or a text may have taken it from a task that the reader may not see. */
function withoutTexts(entry: ActionView): ActionView {
  if (entry.action === "addMark") return entry // its text is in the history
  const { error: _, text: __, filter, ...details } = entry.details as Fields & { filter?: Fields }
  if (filter === undefined) return { ...entry, details }
  const { error: _error, text: _text, ...shown } = filter
  return { ...entry, details: { ...details, filter: shown } }
}

const checkActions = queryChecker(ActionsQuery, { limit: 100 })
