/** A request as handlers see it, and what several of them read from it: names in its path, and the reason of a pause. */
import type { BrokerConfig } from "../config/config.ts"
import { Refused } from "../errors.ts"
import type { Log } from "../log.ts"
import type { Metrics } from "../observe/metrics.ts"
import type { Spans } from "../observe/spans.ts"
import type { TaskQueue } from "../queue/task-queue.ts"
import { joinId, queueOf, splitId } from "../task/id.ts"
import { BulkId } from "../wire/bulk.ts"
import { QueueName, TaskId, WorkerName } from "../wire/fields.ts"
import { Pause } from "../wire/managing.ts"
import { ScheduleId } from "../wire/scheduling.ts"
import type { Caller } from "./access.ts"
import { type RequestContext, requester, urlOf } from "./answer.ts"
import type { ReadBody } from "./body.ts"
import type { Session } from "./browser-session.ts"
import type { Authentication } from "./front-door.ts"
import { checker } from "./validate.ts"
import type { LimitWaiting } from "./waiting-limit.ts"

export interface Call extends RequestContext {
  params: Readonly<Record<string, string>>
  caller: Caller
  /** The browser session, if the request was authenticated by its cookie. */
  session: Session | undefined
}

/** What handlers use of a queue besides the operations of TaskQueue. */
type QueueParts = Pick<
  TaskQueue["parts"],
  | "brokers"
  | "bulk"
  | "control"
  | "dead"
  | "defaults"
  | "eventFeed"
  | "groups"
  | "history"
  | "marks"
  | "overview"
  | "schedules"
  | "tasksSearch"
  | "trail"
  | "workers"
>

/** The parts of a broker that handlers use. */
export interface BrokerParts extends QueueParts {
  queue: TaskQueue
  config: BrokerConfig
  log: Log
  /** Undefined if tracing is off. */
  spans: Spans | undefined
  metrics: Metrics
  authentication: Authentication
  readBody: ReadBody
  readOptional: ReadBody
  readIfJson: ReadBody
  readSignIn: ReadBody
  limitWaiting: LimitWaiting
}

export type Handler = (call: Call, parts: BrokerParts) => Response | Promise<Response>
type NamedHandler = (call: Call, parts: BrokerParts, name: string) => Response | Promise<Response>

/** For routes with `:id`: checks the id and that the caller may use the task's queue. */
export const forTask =
  (handler: NamedHandler): Handler =>
  (call, parts) => {
    const id = readTaskId(call.params.id!)
    call.caller.requireQueues(queueOf(id))
    return handler(call, parts, id)
  }

/** For routes with `:queue`: checks the name and that the caller may use the queue. */
export const forQueue =
  (handler: NamedHandler): Handler =>
  (call, parts) => {
    const queue = readQueueName(call.params.queue!)
    call.caller.requireQueues(queue)
    return handler(call, parts, queue)
  }

/** The parts of the id of a schedule. `id`: without the name of the default queue. */
interface ScheduleName {
  id: string
  queueName: string
  name: string
}

/** For routes with `:schedule`: checks the id and that the caller may use the schedule's queue. */
export const forSchedule =
  (handler: (call: Call, parts: BrokerParts, schedule: ScheduleName) => Promise<Response>): Handler =>
  (call, parts) => {
    const schedule = readScheduleId(call.params.schedule!)
    call.caller.requireQueues(schedule.queueName)
    return handler(call, parts, schedule)
  }

/** For routes with `:worker`: checks the name. */
export const forWorker =
  (handler: NamedHandler): Handler =>
  (call, parts) =>
    handler(call, parts, readWorkerName(call.params.worker!))

/** For routes with `:bulk`: checks the id. */
export const forBulk =
  (handler: NamedHandler): Handler =>
  (call, parts) => {
    return handler(call, parts, readBulkId(call.params.bulk!))
  }

/**
 * For requests for many tasks, beside whose path stands one for a single task: refuses a slash at the end. A client that
 * puts an empty id behind it would otherwise change all tasks.
 */
export const forManyTasks =
  (handler: Handler): Handler =>
  (call, parts) => {
    if (urlOf(call.request)?.pathname.endsWith("/"))
      throw new Refused("bad_request", { field: "task_id", detail: NO_ID })
    return handler(call, parts)
  }
const NO_ID =
  "The id of the task is missing after the last slash. A request for many tasks has no slash at the end."

/**
 * For requests of operators that have no query: refuses one. A client that puts a filter or `dry_run` there, as it does for
 * GET, would otherwise change all tasks.
 */
export const withoutQuery =
  (handler: Handler): Handler =>
  (call, parts) => {
    if (urlOf(call.request)?.search) throw new Refused("bad_request", { detail: NO_QUERY })
    return handler(call, parts)
  }
const NO_QUERY = "This request has no query. Send its members in the body."

/** Reads a name from a path, or refuses it. `form`: what a right one looks like, as a sentence. */
export const nameReader =
  <Name>(field: string, form: string, read: (text: string) => Name) =>
  (text: string): Name => {
    try {
      return read(text)
    } catch {
      throw new Refused("bad_request", { field, detail: form })
    }
  }

const checkId = checker(TaskId)
/** An id in the form in which /submit returned it: without the name of the default queue. */
export const readTaskId = nameReader(
  "task_id",
  "A task id has the form in which /submit returned it: letters, digits, . _ -, and `queue:` in front unless it is in the default queue.",
  text => {
    const { queue, localId } = splitId(checkId(text))
    return joinId(queue, localId)
  },
)

const formOfName = (of: string) =>
  `The name of a ${of} has 1 to 64 characters from A-Z a-z 0-9 . _ -, and is not "." or "..".`
const checkQueueName = checker(QueueName)
export const readQueueName = nameReader("queue", formOfName("queue"), checkQueueName)
export const readWorkerName = nameReader("worker", formOfName("worker"), checker(WorkerName))

const checkScheduleId = checker(ScheduleId)
export const readScheduleId = nameReader(
  "schedule",
  `A schedule id has the form ${ScheduleId.description}.`,
  (text): ScheduleName => {
    const { queue: queueName, localId: name } = splitId(checkScheduleId(text))
    checkQueueName(queueName)
    return { id: joinId(queueName, name), queueName, name }
  },
)

export const readBulkId = nameReader(
  "bulk_id",
  "A bulk_id has the form in which /bulk returned it: letters and digits.",
  checker(BulkId),
)

const checkPause = checker(Pause)
/** The reason in the body of a pause; "" if it has none. */
export async function readPauseReason({ request }: Call, { readOptional }: BrokerParts): Promise<string> {
  using body = await readOptional(request)
  return (checkPause(body.value).reason ?? "").toWellFormed()
}

/** The log fields that identify a request and its caller. */
export const logFields = (call: Call) => requester(call, call.caller.name)
