/**
 * Every route of the broker, declared once, by operation id. The table of handlers, the roles that a request needs and
 * the OpenAPI document derive from these declarations. Tests compare the protocol document and the client with them.
 */
import { type Static, type TObject, type TSchema, Type } from "@sinclair/typebox"
import { ActionsAnswer, ActionsQuery } from "./actions.ts"

import { BrokersAnswer } from "./brokers.ts"

import { Again, SubmittedAgain, TaskChange, TaskChanged, TaskDeleted } from "./changing.ts"
import { HistoryAnswer, HistoryQuery } from "./charting.ts"
import { GroupName, QueueName, ROLES, type Role, TaskId, WorkerName } from "./fields.ts"
import { GroupsAnswer, GroupsQuery, GroupView } from "./grouping.ts"
import { StatusQuery, TasksAnswer, TasksQuery, TaskView, WhyAnswer } from "./inspecting.ts"
import {
  Drained,
  Pause,
  Paused,
  Purge,
  Purged,
  QueuesAnswer,
  QueuesQuery,
  QueueView,
  WorkersAnswer,
  WorkersQuery,
} from "./managing.ts"
import { MANY_TASKS_ROUTES } from "./many-tasks-routes.ts"
import {
  Alive,
  AuditAnswer,
  AuditQuery,
  EventsQuery,
  Ready,
  SessionEnded,
  SessionView,
  SignIn,
} from "./operating.ts"
import type { Code } from "./problem.ts"
import { GroupLimits, QueueSettings } from "./queue-settings.ts"
import {
  Preview,
  Previewed,
  Schedule,
  ScheduleDeleted,
  ScheduleId,
  SchedulePaused,
  ScheduleRun,
  ScheduleSet,
  SchedulesAnswer,
  SchedulesQuery,
  ScheduleView,
} from "./scheduling.ts"
import { Cancelled, Submit, Submitted } from "./submitting.ts"
import {
  Ack,
  Extend,
  Extended,
  GetQuery,
  LeaseAnswer,
  LeasedTask,
  LeaseRequest,
  Settled,
  Work,
  WorkAnswer,
} from "./working.ts"

const GROUPS = [
  "submitting",
  "scheduling",
  "working",
  "inspecting",
  "dead-letters",
  "bulk",
  "managing",
  "grouping",
  "charting",
  "operating",
] as const
export type Group = (typeof GROUPS)[number]

export interface Route {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE"
  /** As Elysia spells it: `:id` is a parameter. */
  path: string
  group: Group
  /** A token with one of these roles may call it: see rolesOf. Without roles the route needs no token. */
  roles: readonly Role[]
  summary: string
  params?: Readonly<Record<string, TSchema>>
  query?: TObject
  body?: TSchema
  /** The body may also be an array of 1 to 1,000 such objects. The answer is then an array with one item each. */
  many?: true
  /** The body may be absent. */
  optionalBody?: true
  /** By status: the schema of the body, or null if there is none. A schema with a `contentMediaType` is not JSON. */
  answers: Readonly<Record<number, TSchema | null>>
  /** Codes beside those that `problemsOf` adds. */
  problems: readonly Code[]
}

const task = { id: TaskId }
const queue = { queue: QueueName }
const group = { queue: QueueName, group: GroupName }
const worker = { worker: WorkerName }
const schedule = { schedule: ScheduleId }
const EventStream = Type.String({ contentMediaType: "text/event-stream" })
const MetricsPage = Type.String({ contentMediaType: "text/plain" })

export const ROUTES = {
  submitTasks: {
    method: "POST",
    path: "/submit",
    group: "submitting",
    roles: ["submit"],
    summary: "Submit one task or up to 1,000",
    body: Submit,
    many: true,
    answers: { 200: Submitted },
    problems: [
      "task_exists",
      "key_reused",
      "queue_full",
      "group_full",
      "redis_unavailable",
      "not_replicated",
      "out_of_memory",
    ],
  },
  cancelTask: {
    method: "POST",
    path: "/cancel/:id",
    group: "submitting",
    roles: ["submit", "operate"],
    summary: "Cancel a task",
    params: task,
    answers: { 200: Cancelled },
    problems: ["bad_request", "task_not_found", "already_ended", "redis_unavailable", "not_replicated"],
  },
  changeTask: {
    method: "PATCH",
    path: "/tasks/:id",
    group: "submitting",
    roles: ["submit", "operate"],
    summary: "Change a waiting task, or let it run now",
    params: task,
    body: TaskChange,
    answers: { 200: TaskChanged },
    problems: [
      "task_not_found",
      "not_waiting",
      "queue_full",
      "redis_unavailable",
      "not_replicated",
      "out_of_memory",
    ],
  },
  submitAgain: {
    method: "POST",
    path: "/tasks/:id/again",
    group: "submitting",
    roles: ["submit", "operate"],
    summary: "Submit a task like one that has ended",
    params: task,
    body: Again,
    optionalBody: true,
    answers: { 200: SubmittedAgain },
    problems: [
      "task_not_found",
      "task_gone",
      "not_ended",
      "key_reused",
      "queue_full",
      "group_full",
      "redis_unavailable",
      "not_replicated",
      "out_of_memory",
    ],
  },
  deleteTask: {
    method: "DELETE",
    path: "/tasks/:id",
    group: "submitting",
    roles: ["operate"],
    summary: "Delete a task that has ended",
    params: task,
    answers: { 200: TaskDeleted },
    problems: [
      "bad_request",
      "task_not_found",
      "task_gone",
      "not_ended",
      "redis_unavailable",
      "not_replicated",
    ],
  },
  setSchedule: {
    method: "PUT",
    path: "/schedules/:schedule",
    group: "scheduling",
    roles: ["submit", "operate"],
    summary: "Create or replace a schedule",
    params: schedule,
    body: Schedule,
    answers: { 200: ScheduleSet },
    problems: ["redis_unavailable", "not_replicated", "out_of_memory"],
  },
  listSchedules: {
    method: "GET",
    path: "/schedules",
    group: "scheduling",
    roles: ["read"],
    summary: "List schedules",
    query: SchedulesQuery,
    answers: { 200: SchedulesAnswer },
    problems: ["bad_request", "redis_unavailable"],
  },
  getSchedule: {
    method: "GET",
    path: "/schedules/:schedule",
    group: "scheduling",
    roles: ["submit", "read"],
    summary: "Get a schedule",
    params: schedule,
    answers: { 200: ScheduleView },
    problems: ["bad_request", "schedule_not_found", "redis_unavailable"],
  },
  deleteSchedule: {
    method: "DELETE",
    path: "/schedules/:schedule",
    group: "scheduling",
    roles: ["submit", "operate"],
    summary: "Delete a schedule",
    params: schedule,
    answers: { 200: ScheduleDeleted },
    problems: ["bad_request", "schedule_not_found", "redis_unavailable", "not_replicated", "overloaded"],
  },
  pauseSchedule: {
    method: "POST",
    path: "/schedules/:schedule/pause",
    group: "scheduling",
    roles: ["operate"],
    summary: "Pause a schedule",
    params: schedule,
    body: Pause,
    optionalBody: true,
    answers: { 200: SchedulePaused },
    problems: ["schedule_not_found", "redis_unavailable", "not_replicated"],
  },
  resumeSchedule: {
    method: "POST",
    path: "/schedules/:schedule/resume",
    group: "scheduling",
    roles: ["operate"],
    summary: "Resume a paused schedule",
    params: schedule,
    answers: { 200: SchedulePaused },
    problems: ["bad_request", "schedule_not_found", "redis_unavailable", "not_replicated", "overloaded"],
  },
  runSchedule: {
    method: "POST",
    path: "/schedules/:schedule/run",
    group: "scheduling",
    roles: ["submit", "operate"],
    summary: "Create a task of a schedule now",
    params: schedule,
    answers: { 200: ScheduleRun },
    problems: [
      "bad_request",
      "schedule_not_found",
      "key_reused",
      "queue_full",
      "group_full",
      "redis_unavailable",
      "not_replicated",
      "out_of_memory",
      "overloaded",
    ],
  },
  previewSchedule: {
    method: "POST",
    path: "/schedules/preview",
    group: "scheduling",
    roles: ["submit", "operate", "read"],
    summary: "Compute the next times of a cron expression or an interval",
    body: Preview,
    answers: { 200: Previewed },
    problems: [],
  },
  getTask: {
    method: "GET",
    path: "/status/:id",
    group: "inspecting",
    roles: ["submit", "read"],
    summary: "Get a task",
    params: task,
    query: StatusQuery,
    answers: { 200: TaskView },
    problems: ["bad_request", "task_not_found", "task_gone", "redis_unavailable", "overloaded"],
  },
  whyTask: {
    method: "GET",
    path: "/why/:id",
    group: "inspecting",
    roles: ["submit", "read"],
    summary: "Explain why a task is not running",
    params: task,
    answers: { 200: WhyAnswer },
    problems: ["bad_request", "task_not_found", "task_gone", "redis_unavailable"],
  },
  leaseOne: {
    method: "GET",
    path: "/get",
    group: "working",
    roles: ["work"],
    summary: "Lease one task",
    query: GetQuery,
    answers: { 200: LeasedTask, 204: null },
    problems: ["bad_request", "redis_unavailable", "overloaded", "not_replicated"],
  },
  lease: {
    method: "POST",
    path: "/lease",
    group: "working",
    roles: ["work"],
    summary: "Lease up to 1,000 tasks",
    body: LeaseRequest,
    answers: { 200: LeaseAnswer },
    problems: ["redis_unavailable", "not_replicated"],
  },
  ack: {
    method: "POST",
    path: "/ack",
    group: "working",
    roles: ["work"],
    summary: "Report the outcome of one task or up to 1,000",
    body: Ack,
    many: true,
    answers: { 200: Settled },
    problems: ["task_not_found", "lease_lost", "not_leased", "redis_unavailable", "not_replicated"],
  },
  extend: {
    method: "POST",
    path: "/extend",
    group: "working",
    roles: ["work"],
    summary: "Extend one lease or up to 1,000",
    body: Extend,
    many: true,
    answers: { 200: Extended },
    problems: ["task_not_found", "lease_lost", "redis_unavailable", "not_replicated"],
  },
  work: {
    method: "POST",
    path: "/work",
    group: "working",
    roles: ["work"],
    summary: "Extend, ack and lease in one request",
    body: Work,
    answers: { 200: WorkAnswer },
    problems: ["redis_unavailable", "not_replicated"],
  },
  listTasks: {
    method: "GET",
    path: "/tasks",
    group: "inspecting",
    roles: ["read"],
    summary: "List or search tasks",
    query: TasksQuery,
    answers: { 200: TasksAnswer },
    problems: ["bad_request", "redis_unavailable"],
  },
  ...MANY_TASKS_ROUTES,
  listQueues: {
    method: "GET",
    path: "/queues",
    group: "managing",
    roles: ["read"],
    summary: "List the queues",
    query: QueuesQuery,
    answers: { 200: QueuesAnswer },
    problems: ["bad_request", "redis_unavailable"],
  },
  getQueue: {
    method: "GET",
    path: "/queues/:queue",
    group: "managing",
    roles: ["read"],
    summary: "Get a queue",
    params: queue,
    answers: { 200: QueueView },
    problems: ["bad_request", "redis_unavailable"],
  },
  pauseQueue: {
    method: "POST",
    path: "/queues/:queue/pause",
    group: "managing",
    roles: ["operate"],
    summary: "Pause a queue",
    params: queue,
    body: Pause,
    optionalBody: true,
    answers: { 200: Paused },
    problems: ["redis_unavailable", "not_replicated"],
  },
  resumeQueue: {
    method: "POST",
    path: "/queues/:queue/resume",
    group: "managing",
    roles: ["operate"],
    summary: "Resume a paused queue",
    params: queue,
    answers: { 200: Paused },
    problems: ["bad_request", "redis_unavailable", "not_replicated"],
  },
  setQueueSettings: {
    method: "PUT",
    path: "/queues/:queue/settings",
    group: "managing",
    roles: ["operate"],
    summary: "Set the defaults and limits of a queue, and the limits of its groups",
    params: queue,
    body: QueueSettings,
    answers: { 200: QueueView },
    problems: ["redis_unavailable", "not_replicated"],
  },
  listGroups: {
    method: "GET",
    path: "/queues/:queue/groups",
    group: "grouping",
    roles: ["read"],
    summary: "List the groups of a queue, the largest backlog first",
    params: queue,
    query: GroupsQuery,
    answers: { 200: GroupsAnswer },
    problems: ["bad_request", "redis_unavailable"],
  },
  getGroup: {
    method: "GET",
    path: "/queues/:queue/groups/:group",
    group: "grouping",
    roles: ["read"],
    summary: "Get a group: waiting, running, held and why",
    params: group,
    answers: { 200: GroupView },
    problems: ["bad_request", "redis_unavailable"],
  },
  setGroupLimits: {
    method: "PUT",
    path: "/queues/:queue/groups/:group",
    group: "grouping",
    roles: ["operate"],
    summary: "Set the limits of a group that differ from those of its queue",
    params: group,
    body: GroupLimits,
    answers: { 200: GroupView },
    problems: ["redis_unavailable", "not_replicated"],
  },
  removeGroupLimits: {
    method: "DELETE",
    path: "/queues/:queue/groups/:group",
    group: "grouping",
    roles: ["operate"],
    summary: "Remove the limits of a group that differ from those of its queue",
    params: group,
    answers: { 200: GroupView },
    problems: ["bad_request", "redis_unavailable", "not_replicated"],
  },
  pauseGroup: {
    method: "POST",
    path: "/queues/:queue/groups/:group/pause",
    group: "grouping",
    roles: ["operate"],
    summary: "Stop handing out tasks of a group",
    params: group,
    body: Pause,
    optionalBody: true,
    answers: { 200: GroupView },
    problems: ["redis_unavailable", "not_replicated"],
  },
  resumeGroup: {
    method: "POST",
    path: "/queues/:queue/groups/:group/resume",
    group: "grouping",
    roles: ["operate"],
    summary: "Hand out tasks of a group again",
    params: group,
    answers: { 200: GroupView },
    problems: ["bad_request", "redis_unavailable", "not_replicated"],
  },
  purgeQueue: {
    method: "POST",
    path: "/queues/:queue/purge",
    group: "managing",
    roles: ["operate"],
    summary: "Delete the tasks of a queue that are in one state",
    params: queue,
    body: Purge,
    answers: { 200: Purged },
    problems: ["redis_unavailable", "not_replicated"],
  },
  getHistory: {
    method: "GET",
    path: "/history",
    group: "charting",
    roles: ["read"],
    summary: "Get what happened per minute or hour",
    query: HistoryQuery,
    answers: { 200: HistoryAnswer },
    problems: ["bad_request", "redis_unavailable"],
  },
  listWorkers: {
    method: "GET",
    path: "/workers",
    group: "managing",
    roles: ["read"],
    summary: "List the workers",
    query: WorkersQuery,
    answers: { 200: WorkersAnswer },
    problems: ["bad_request", "redis_unavailable"],
  },
  drainWorker: {
    method: "POST",
    path: "/workers/:worker/drain",
    group: "managing",
    roles: ["operate"],
    summary: "Drain a worker: it finishes its tasks and stops",
    params: worker,
    answers: { 200: Drained },
    problems: ["bad_request", "worker_not_found", "redis_unavailable", "not_replicated"],
  },
  undrainWorker: {
    method: "DELETE",
    path: "/workers/:worker/drain",
    group: "managing",
    roles: ["operate"],
    summary: "Withdraw the drain of a worker",
    params: worker,
    answers: { 200: Drained },
    problems: ["bad_request", "worker_not_found", "redis_unavailable", "not_replicated"],
  },
  listenEvents: {
    method: "GET",
    path: "/events",
    group: "operating",
    roles: ["read"],
    summary: "Stream events as they happen",
    query: EventsQuery,
    answers: { 200: EventStream },
    problems: ["bad_request", "redis_unavailable", "overloaded"],
  },
  listActions: {
    method: "GET",
    path: "/actions",
    group: "operating",
    roles: ["read"],
    summary: "List what operators did, the newest first",
    query: ActionsQuery,
    answers: { 200: ActionsAnswer },
    problems: ["bad_request", "redis_unavailable"],
  },
  listBrokers: {
    method: "GET",
    path: "/brokers",
    group: "operating",
    roles: ["read"],
    summary: "List the brokers that share this Redis",
    answers: { 200: BrokersAnswer },
    problems: ["redis_unavailable"],
  },
  audit: {
    method: "POST",
    path: "/audit",
    group: "operating",
    roles: ["operate"],
    summary: "Check the consistency of all data, and repair it on request",
    query: AuditQuery,
    answers: { 200: AuditAnswer },
    problems: ["bad_request", "redis_unavailable"],
  },
  metrics: {
    method: "GET",
    path: "/metrics",
    group: "operating",
    roles: ["read"],
    summary: "Get metrics for Prometheus",
    answers: { 200: MetricsPage },
    problems: [],
  },
  signIn: {
    method: "POST",
    path: "/session",
    group: "operating",
    roles: [],
    summary: "Exchange a token for a session cookie",
    body: SignIn,
    answers: { 200: SessionView },
    problems: ["unauthorized", "too_many_attempts", "forbidden"],
  },
  whoAmI: {
    method: "GET",
    path: "/session",
    group: "operating",
    roles: [],
    summary: "Get the name and the roles of the caller",
    answers: { 200: SessionView, 204: null },
    problems: ["unauthorized", "too_many_attempts", "forbidden"],
  },
  signOut: {
    method: "DELETE",
    path: "/session",
    group: "operating",
    roles: ROLES,
    summary: "Delete the session cookie",
    answers: { 200: SessionEnded },
    problems: [],
  },
  health: {
    method: "GET",
    path: "/healthz",
    group: "operating",
    roles: [],
    summary: "Check whether the process is alive",
    answers: { 200: Alive },
    problems: [],
  },
  ready: {
    method: "GET",
    path: "/readyz",
    group: "operating",
    roles: [],
    summary: "Check whether the broker can do its work",
    answers: { 200: Ready },
    problems: ["redis_unavailable", "not_replicated", "not_ready"],
  },
} as const satisfies Record<string, Route>

type Routes = typeof ROUTES
export type OperationId = keyof Routes
export const OPERATION_IDS = Object.keys(ROUTES) as OperationId[]

/** Method and path, as `POST /submit`. */
export type RouteName = { [Id in OperationId]: `${Routes[Id]["method"]} ${Routes[Id]["path"]}` }[OperationId]
export const routeName = ({ method, path }: Route) => `${method} ${path}` as RouteName

/** `watch` may send what `read` may; what it sees of tasks is less. */
export const rolesOf = ({ roles }: Pick<Route, "roles">): readonly Role[] =>
  roles.includes("read") ? [...new Set<Role>([...roles, "watch"])] : roles

/** Every code that a route can answer: those of its declaration, of its token, of its body, and `internal`. */
export function problemsOf({ roles, body, problems }: Route): Code[] {
  const codes: Code[] = roles.length > 0 ? ["unauthorized", "too_many_attempts", "forbidden"] : []
  if (body) codes.push("bad_json", "bad_request", "too_large", "unsupported_media_type", "overloaded")
  return [...new Set<Code>([...codes, ...problems, "internal"])]
}

/** The body of a request, of one item if the route takes many. */
export type BodyOf<Id extends OperationId> = Routes[Id] extends { body: infer T extends TSchema }
  ? Static<T>
  : undefined
/** The body of a 200, of one item if the route takes many. */
export type AnswerOf<Id extends OperationId> = Static<Routes[Id]["answers"][200]>
