/**
 * Every route of the broker, declared once, by operation id. The table of handlers, the roles that a request needs and
 * the OpenAPI document derive from these declarations. Tests compare the protocol document and the client with them.
 */
import { type Static, type TObject, type TSchema, Type } from "@sinclair/typebox"
import { ActionsAnswer, ActionsQuery } from "./actions.ts"
import { BrokersAnswer } from "./brokers.ts"
import { Again, SubmittedAgain, TaskChange, TaskChanged, TaskDeleted } from "./changing.ts"
import { AddMark, HistoryAnswer, HistoryQuery, Mark } from "./charting.ts"
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

const CHAPTERS = [
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
export type Chapter = (typeof CHAPTERS)[number]

export interface Route {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE"
  /** As Elysia spells it: `:id` is a parameter. */
  path: string
  chapter: Chapter
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
  /** What it does with Redis. Absent: a route with roles reads if it is a GET, and writes otherwise; one without does nothing. */
  redis?: "none" | "reads" | "writes"
  /** Codes beside those that `problemsOf` derives. */
  problems?: readonly Code[]
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
    chapter: "submitting",
    roles: ["submit"],
    summary: "Submit one task or up to 1,000",
    body: Submit,
    many: true,
    answers: { 200: Submitted },
    problems: ["task_exists", "key_reused", "queue_full", "group_full", "out_of_memory"],
  },
  cancelTask: {
    method: "POST",
    path: "/cancel/:id",
    chapter: "submitting",
    roles: ["submit", "operate"],
    summary: "Cancel a task",
    params: task,
    answers: { 200: Cancelled },
    problems: ["task_not_found", "already_ended"],
  },
  changeTask: {
    method: "PATCH",
    path: "/tasks/:id",
    chapter: "submitting",
    roles: ["submit", "operate"],
    summary: "Change a waiting task, or let it run now",
    params: task,
    body: TaskChange,
    answers: { 200: TaskChanged },
    problems: ["task_not_found", "not_waiting", "queue_full", "out_of_memory"],
  },
  submitAgain: {
    method: "POST",
    path: "/tasks/:id/again",
    chapter: "submitting",
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
      "out_of_memory",
    ],
  },
  deleteTask: {
    method: "DELETE",
    path: "/tasks/:id",
    chapter: "submitting",
    roles: ["operate"],
    summary: "Delete a task that has ended",
    params: task,
    answers: { 200: TaskDeleted },
    problems: ["task_not_found", "task_gone", "not_ended"],
  },
  setSchedule: {
    method: "PUT",
    path: "/schedules/:schedule",
    chapter: "scheduling",
    roles: ["submit", "operate"],
    summary: "Create or replace a schedule",
    params: schedule,
    body: Schedule,
    answers: { 200: ScheduleSet },
    problems: ["out_of_memory"],
  },
  listSchedules: {
    method: "GET",
    path: "/schedules",
    chapter: "scheduling",
    roles: ["read"],
    summary: "List schedules",
    query: SchedulesQuery,
    answers: { 200: SchedulesAnswer },
  },
  getSchedule: {
    method: "GET",
    path: "/schedules/:schedule",
    chapter: "scheduling",
    roles: ["submit", "read"],
    summary: "Get a schedule",
    params: schedule,
    answers: { 200: ScheduleView },
    problems: ["schedule_not_found"],
  },
  deleteSchedule: {
    method: "DELETE",
    path: "/schedules/:schedule",
    chapter: "scheduling",
    roles: ["submit", "operate"],
    summary: "Delete a schedule",
    params: schedule,
    answers: { 200: ScheduleDeleted },
    problems: ["schedule_not_found", "overloaded"],
  },
  pauseSchedule: {
    method: "POST",
    path: "/schedules/:schedule/pause",
    chapter: "scheduling",
    roles: ["operate"],
    summary: "Pause a schedule",
    params: schedule,
    body: Pause,
    optionalBody: true,
    answers: { 200: SchedulePaused },
    problems: ["schedule_not_found"],
  },
  resumeSchedule: {
    method: "POST",
    path: "/schedules/:schedule/resume",
    chapter: "scheduling",
    roles: ["operate"],
    summary: "Resume a paused schedule",
    params: schedule,
    answers: { 200: SchedulePaused },
    problems: ["schedule_not_found", "overloaded"],
  },
  runSchedule: {
    method: "POST",
    path: "/schedules/:schedule/run",
    chapter: "scheduling",
    roles: ["submit", "operate"],
    summary: "Create a task of a schedule now",
    params: schedule,
    answers: { 200: ScheduleRun },
    problems: ["schedule_not_found", "key_reused", "queue_full", "group_full", "out_of_memory", "overloaded"],
  },
  previewSchedule: {
    method: "POST",
    path: "/schedules/preview",
    chapter: "scheduling",
    roles: ["submit", "operate", "read"],
    summary: "Compute the next times of a cron expression or an interval",
    body: Preview,
    answers: { 200: Previewed },
    redis: "none",
  },
  getTask: {
    method: "GET",
    path: "/status/:id",
    chapter: "inspecting",
    roles: ["submit", "read"],
    summary: "Get a task",
    params: task,
    query: StatusQuery,
    answers: { 200: TaskView },
    problems: ["task_not_found", "task_gone", "overloaded"],
  },
  whyTask: {
    method: "GET",
    path: "/why/:id",
    chapter: "inspecting",
    roles: ["submit", "read"],
    summary: "Explain why a task is not running",
    params: task,
    answers: { 200: WhyAnswer },
    problems: ["task_not_found", "task_gone"],
  },
  leaseOne: {
    method: "GET",
    path: "/get",
    chapter: "working",
    roles: ["work"],
    summary: "Lease one task",
    query: GetQuery,
    answers: { 200: LeasedTask, 204: null },
    redis: "writes",
    problems: ["overloaded"],
  },
  lease: {
    method: "POST",
    path: "/lease",
    chapter: "working",
    roles: ["work"],
    summary: "Lease up to 1,000 tasks",
    body: LeaseRequest,
    answers: { 200: LeaseAnswer },
  },
  ack: {
    method: "POST",
    path: "/ack",
    chapter: "working",
    roles: ["work"],
    summary: "Report the outcome of one task or up to 1,000",
    body: Ack,
    many: true,
    answers: { 200: Settled },
    problems: ["task_not_found", "lease_lost", "not_leased"],
  },
  extend: {
    method: "POST",
    path: "/extend",
    chapter: "working",
    roles: ["work"],
    summary: "Extend one lease or up to 1,000",
    body: Extend,
    many: true,
    answers: { 200: Extended },
    problems: ["task_not_found", "lease_lost"],
  },
  work: {
    method: "POST",
    path: "/work",
    chapter: "working",
    roles: ["work"],
    summary: "Extend, ack and lease in one request",
    body: Work,
    answers: { 200: WorkAnswer },
  },
  listTasks: {
    method: "GET",
    path: "/tasks",
    chapter: "inspecting",
    roles: ["read"],
    summary: "List or search tasks",
    query: TasksQuery,
    answers: { 200: TasksAnswer },
  },
  ...MANY_TASKS_ROUTES,
  listQueues: {
    method: "GET",
    path: "/queues",
    chapter: "managing",
    roles: ["read"],
    summary: "List the queues",
    query: QueuesQuery,
    answers: { 200: QueuesAnswer },
  },
  getQueue: {
    method: "GET",
    path: "/queues/:queue",
    chapter: "managing",
    roles: ["read"],
    summary: "Get a queue",
    params: queue,
    answers: { 200: QueueView },
  },
  pauseQueue: {
    method: "POST",
    path: "/queues/:queue/pause",
    chapter: "managing",
    roles: ["operate"],
    summary: "Pause a queue",
    params: queue,
    body: Pause,
    optionalBody: true,
    answers: { 200: Paused },
  },
  resumeQueue: {
    method: "POST",
    path: "/queues/:queue/resume",
    chapter: "managing",
    roles: ["operate"],
    summary: "Resume a paused queue",
    params: queue,
    answers: { 200: Paused },
  },
  setQueueSettings: {
    method: "PUT",
    path: "/queues/:queue/settings",
    chapter: "managing",
    roles: ["operate"],
    summary: "Set the defaults and limits of a queue, and the limits of its groups",
    params: queue,
    body: QueueSettings,
    answers: { 200: QueueView },
  },
  listGroups: {
    method: "GET",
    path: "/queues/:queue/groups",
    chapter: "grouping",
    roles: ["read"],
    summary: "List the groups of a queue, the largest backlog first",
    params: queue,
    query: GroupsQuery,
    answers: { 200: GroupsAnswer },
  },
  getGroup: {
    method: "GET",
    path: "/queues/:queue/groups/:group",
    chapter: "grouping",
    roles: ["read"],
    summary: "Get a group: waiting, running, held and why",
    params: group,
    answers: { 200: GroupView },
  },
  setGroupLimits: {
    method: "PUT",
    path: "/queues/:queue/groups/:group",
    chapter: "grouping",
    roles: ["operate"],
    summary: "Set the limits of a group that differ from those of its queue",
    params: group,
    body: GroupLimits,
    answers: { 200: GroupView },
  },
  removeGroupLimits: {
    method: "DELETE",
    path: "/queues/:queue/groups/:group",
    chapter: "grouping",
    roles: ["operate"],
    summary: "Remove the limits of a group that differ from those of its queue",
    params: group,
    answers: { 200: GroupView },
  },
  pauseGroup: {
    method: "POST",
    path: "/queues/:queue/groups/:group/pause",
    chapter: "grouping",
    roles: ["operate"],
    summary: "Stop handing out tasks of a group",
    params: group,
    body: Pause,
    optionalBody: true,
    answers: { 200: GroupView },
  },
  resumeGroup: {
    method: "POST",
    path: "/queues/:queue/groups/:group/resume",
    chapter: "grouping",
    roles: ["operate"],
    summary: "Hand out tasks of a group again",
    params: group,
    answers: { 200: GroupView },
  },
  purgeQueue: {
    method: "POST",
    path: "/queues/:queue/purge",
    chapter: "managing",
    roles: ["operate"],
    summary: "Delete the tasks of a queue that are in one state",
    params: queue,
    body: Purge,
    answers: { 200: Purged },
  },
  getHistory: {
    method: "GET",
    path: "/history",
    chapter: "charting",
    roles: ["read"],
    summary: "Get what happened per minute or hour",
    query: HistoryQuery,
    answers: { 200: HistoryAnswer },
  },
  addMark: {
    method: "POST",
    path: "/history/marks",
    chapter: "charting",
    roles: ["operate"],
    summary: "Mark a moment in the history, such as a deploy",
    body: AddMark,
    answers: { 200: Mark },
    problems: ["out_of_memory"],
  },
  listWorkers: {
    method: "GET",
    path: "/workers",
    chapter: "managing",
    roles: ["read"],
    summary: "List the workers",
    query: WorkersQuery,
    answers: { 200: WorkersAnswer },
  },
  drainWorker: {
    method: "POST",
    path: "/workers/:worker/drain",
    chapter: "managing",
    roles: ["operate"],
    summary: "Drain a worker: it finishes its tasks and stops",
    params: worker,
    answers: { 200: Drained },
    problems: ["worker_not_found"],
  },
  undrainWorker: {
    method: "DELETE",
    path: "/workers/:worker/drain",
    chapter: "managing",
    roles: ["operate"],
    summary: "Withdraw the drain of a worker",
    params: worker,
    answers: { 200: Drained },
    problems: ["worker_not_found"],
  },
  listenEvents: {
    method: "GET",
    path: "/events",
    chapter: "operating",
    roles: ["read"],
    summary: "Stream events as they happen",
    query: EventsQuery,
    answers: { 200: EventStream },
    problems: ["overloaded"],
  },
  listActions: {
    method: "GET",
    path: "/actions",
    chapter: "operating",
    roles: ["read"],
    summary: "List what operators did, the newest first",
    query: ActionsQuery,
    answers: { 200: ActionsAnswer },
  },
  listBrokers: {
    method: "GET",
    path: "/brokers",
    chapter: "operating",
    roles: ["read"],
    summary: "List the brokers that share this Redis",
    answers: { 200: BrokersAnswer },
  },
  audit: {
    method: "POST",
    path: "/audit",
    chapter: "operating",
    roles: ["operate"],
    summary: "Check the consistency of all data, and repair it on request",
    query: AuditQuery,
    answers: { 200: AuditAnswer },
    redis: "reads",
  },
  metrics: {
    method: "GET",
    path: "/metrics",
    chapter: "operating",
    roles: ["read"],
    summary: "Get metrics for Prometheus",
    answers: { 200: MetricsPage },
    redis: "none",
  },
  signIn: {
    method: "POST",
    path: "/session",
    chapter: "operating",
    roles: [],
    summary: "Exchange a token for a session cookie",
    body: SignIn,
    answers: { 200: SessionView },
    problems: ["unauthorized", "too_many_attempts", "forbidden"],
  },
  whoAmI: {
    method: "GET",
    path: "/session",
    chapter: "operating",
    roles: [],
    summary: "Get the name and the roles of the caller",
    answers: { 200: SessionView, 204: null },
    problems: ["unauthorized", "too_many_attempts", "forbidden"],
  },
  signOut: {
    method: "DELETE",
    path: "/session",
    chapter: "operating",
    roles: ROLES,
    summary: "Delete the session cookie",
    answers: { 200: SessionEnded },
    redis: "none",
  },
  health: {
    method: "GET",
    path: "/healthz",
    chapter: "operating",
    roles: [],
    summary: "Check whether the process is alive",
    answers: { 200: Alive },
  },
  ready: {
    method: "GET",
    path: "/readyz",
    chapter: "operating",
    roles: [],
    summary: "Check whether the broker can do its work",
    answers: { 200: Ready },
    redis: "writes",
    problems: ["not_ready"],
  },
} as const satisfies Record<string, Route>

type Routes = typeof ROUTES
export type OperationId = keyof Routes

/** Method and path, as `POST /submit`. */
export type RouteName = { [Id in OperationId]: `${Routes[Id]["method"]} ${Routes[Id]["path"]}` }[OperationId]
export const routeName = ({ method, path }: Route) => `${method} ${path}` as RouteName

/** `watch` may send what `read` may; what it sees of tasks is less. */
export const rolesOf = ({ roles }: Pick<Route, "roles">): readonly Role[] =>
  roles.includes("read") ? [...new Set<Role>([...roles, "watch"])] : roles

/** Every code that a route can answer: those that follow from its declaration, its own, and `internal`. */
export function problemsOf(route: Route): Code[] {
  const { method, roles, params, query, body, problems = [] } = route
  const codes: Code[] = roles.length > 0 ? ["unauthorized", "too_many_attempts", "forbidden"] : []
  if (body) codes.push("bad_json", "too_large", "unsupported_media_type", "overloaded")
  if (params || query || body) codes.push("bad_request")
  const { redis = roles.length === 0 ? "none" : method === "GET" ? "reads" : "writes" } = route
  if (redis !== "none") codes.push("redis_unavailable")
  if (redis === "writes") codes.push("not_replicated")
  return [...new Set<Code>([...codes, ...problems, "internal"])]
}

/** The body of a request, of one item if the route takes many. */
export type BodyOf<Id extends OperationId> = Routes[Id] extends { body: infer T extends TSchema }
  ? Static<T>
  : undefined
/** The body of a 200, of one item if the route takes many. */
export type AnswerOf<Id extends OperationId> = Static<Routes[Id]["answers"][200]>
