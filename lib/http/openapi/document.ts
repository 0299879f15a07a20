/**
 * What /swagger says of each route: what it is for, what it takes, every answer, and what to do next. The
 * plugin makes the document out of the routes; schemas come from ts, problems from http.ts. Nothing
 * here takes part in a request: validation is check.ts, so these are only `detail`.
 */
import { swagger } from "@elysiajs/swagger"
import { type Static, type TSchema, Type } from "@sinclair/typebox"
import { type DocumentDecoration, Elysia } from "elysia"
import { ROLES, type Role } from "../../config/tokens.ts"
import { type Facts, Refused } from "../../errors.ts"
import {
  DeadGroup,
  Discarded,
  DlqAnswer,
  DlqGroupsAnswer,
  DlqGroupsQuery,
  DlqPurge,
  DlqPurged,
  DlqQuery,
  RetriedMany,
  RetriedTask,
  RetryMany,
  RetryTask,
} from "../../wire/dead-letters.ts"
import { oneOrMany, QueueName, REASONS, STATES, TaskId, WorkerName } from "../../wire/fields.ts"
import { Attempt, StatusQuery, TasksAnswer, TasksQuery, TaskView, WhyAnswer } from "../../wire/inspecting.ts"
import {
  Drained,
  Pause,
  Paused,
  PURGEABLE,
  Purge,
  Purged,
  QueueSettings,
  QueuesAnswer,
  QueuesQuery,
  QueueView,
  Rates,
  WorkersAnswer,
  WorkersQuery,
  WorkerView,
} from "../../wire/managing.ts"
import {
  Alive,
  AuditAnswer,
  AuditQuery,
  EventsQuery,
  Ready,
  SessionEnded,
  SessionView,
  SignIn,
} from "../../wire/operating.ts"
import { type Code, Problem } from "../../wire/problem.ts"
import { Cancelled, Submit, Submitted } from "../../wire/submitting.ts"
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
} from "../../wire/working.ts"
import { ACCESS, anyOf, type RouteName } from "../access.ts"
import { PROBLEMS, problem } from "../answer.ts"
import { swaggerPage } from "./page.ts"

/** What stands under components/schemas; everywhere else it is referred to. */
const NAMED = {
  ...{ Submit, Submitted, LeaseRequest, LeaseAnswer, LeasedTask, Ack, Settled, Extend, Extended },
  ...{
    Work,
    WorkAnswer,
    Cancelled,
    TaskView,
    Attempt,
    TasksAnswer,
    WhyAnswer,
    DlqAnswer,
    RetriedTask,
    AuditAnswer,
  },
  ...{ QueueSettings, QueueView, QueuesAnswer, Pause, Paused, Purge, Purged },
  ...{ DeadGroup, DlqGroupsAnswer, Discarded, DlqPurge, DlqPurged, RetryMany, RetriedMany },
  ...{ RetryTask, SignIn, SessionView, SessionEnded },
  ...{ Rates, WorkerView, WorkersAnswer, Drained },
  ...{ Problem, Alive, Ready },
}
const NAMES = new Map<TSchema, string>(Object.entries(NAMED).map(([name, schema]) => [schema, name]))

type Json = Record<string, unknown>

const reference = (schema: TSchema): Json => {
  const name = NAMES.get(schema)
  return name === undefined ? spelled(schema) : { $ref: `#/components/schemas/${name}` }
}

/** A model as OpenAPI 3.0 spells it, which the plugin emits: it has no `const`, and no patterns for names. */
function spelled({ anyOf, const: word, items, properties, patternProperties, ...rest }: TSchema): Json {
  const own: Json = { ...rest }
  if (patternProperties)
    own.additionalProperties = spelled(Object.values(patternProperties as Record<string, TSchema>)[0]!)
  if (word !== undefined) own.enum = [word]
  if (anyOf?.every((one: TSchema) => one.const !== undefined)) {
    own.type = "string"
    own.enum = anyOf.map((one: TSchema) => one.const)
  } else if (anyOf) own.anyOf = anyOf.map(reference)
  if (items) own.items = reference(items)
  if (properties)
    own.properties = Object.fromEntries(
      Object.entries(properties as Record<string, TSchema>).map(([name, one]) => [name, reference(one)]),
    )
  return own
}

type Examples = Record<string, unknown>
const content = (type: string, schema: TSchema, examples: Examples): Json => ({
  [type]: {
    schema: reference(schema),
    examples: Object.fromEntries(Object.entries(examples).map(([name, value]) => [name, { value }])),
  },
})

/** An answer that went well. */
const answer = <T extends TSchema>(description: string, schema: T, examples: Record<string, Static<T>>) => ({
  description,
  content: content("application/json", schema, examples),
})

/** What a refusal may say beside its code. */
type Codes = Partial<Record<Code, Facts>>

const RETRY_AFTER: Json = {
  "Retry-After": { description: "seconds to wait", schema: { type: "integer" }, example: 1 },
}
const HEADERS: Record<number, Json> = {
  401: { "WWW-Authenticate": { schema: { type: "string" }, example: 'Bearer realm="task queue"' } },
  429: RETRY_AFTER,
  503: RETRY_AFTER,
}
const ADVICE: Record<number, string> = {
  400: "The request cannot be used: `field` and `detail` say what would be right. Do not repeat it as it is.",
  401: "No token, or one that the broker does not know. Do not repeat it as it is.",
  403: "The token has not the role, or is bound to other queues, as `detail` says. Do not repeat it as it is.",
  404: "There is no such task: it never was, or its retention is over. Do not repeat it.",
  413: "The body is larger than the broker's MAX_BODY_BYTES. Send less at once, or a reference to the data.",
  415: "The Content-Type is not application/json.",
  429: "Not now: the queue is full, as `detail` says. Repeat it after `Retry-After` seconds, and let workers finish some.",
  500: "A fault of the broker, which its log describes. The same request will most likely meet it again.",
  503: "Not now. Repeat it after `Retry-After` seconds.",
}

/** The answers for a set of codes: one a status, with an example a code, as the broker writes them. */
function problems(codes: Codes, advice: Record<number, string>): Record<string, Json> {
  const answers = Map.groupBy(Object.keys(codes) as Code[], code => PROBLEMS[code].status)
  return Object.fromEntries(
    [...answers].map(([status, of]) => [
      status,
      {
        description: advice[status] ?? ADVICE[status]!,
        ...(HEADERS[status] ? { headers: HEADERS[status] } : {}),
        content: content(
          "application/problem+json",
          Problem,
          Object.fromEntries(of.map(code => [code, problem(new Refused(code, codes[code]))])),
        ),
      },
    ]),
  )
}

/** A query's members as parameters; lists are divided by commas. */
const parameters = (
  query: { properties: Record<string, TSchema>; required?: string[] | undefined },
  examples: Examples,
): Json[] =>
  Object.entries(query.properties).map(([name, { description, ...schema }]) => ({
    name,
    in: "query",
    description,
    ...(query.required?.includes(name) ? { required: true } : {}),
    schema: spelled(schema as TSchema),
    ...(name in examples ? { example: examples[name] } : {}),
    ...(schema.type === "array" ? { style: "form", explode: false } : {}),
  }))

interface Route<T extends TSchema> {
  tag: string
  summary: string
  /** What it does, and what the caller does next. */
  description: string
  query?: Json[]
  path?: Json[]
  headers?: Json[]
  body?: { schema: T; examples: Record<string, Static<T>>; optional?: true }
  answers: Record<number, Json>
  refuses: Codes
  /** Where a status means something of its own here. */
  advice?: Record<number, string>
}

function route<T extends TSchema = TSchema>(name: RouteName, of: Route<T>): { detail: DocumentDecoration } {
  const { tag, summary, description, query = [], path = [], headers = [], body } = of
  const { answers, refuses, advice = {} } = of
  const roles: readonly Role[] = ACCESS[name]
  const open = roles.length === 0
  const codes: Codes = {
    ...(open
      ? {}
      : {
          unauthorized: {},
          forbidden: {
            detail: `This needs ${anyOf(roles)}: the token ci has ${ROLES.find(role => !roles.includes(role))}.`,
          },
        }),
    ...(body
      ? { bad_json: {}, bad_request: WRONG_TYPE, too_large: {}, unsupported_media_type: {}, overloaded: {} }
      : {}),
    ...refuses,
    internal: {},
  }
  const detail: Json = {
    tags: [tag],
    summary,
    description: open ? description : `${description} It needs a token with ${anyOf(roles)}.`,
    ...(open ? { security: [] } : {}),
    ...(query.length + path.length + headers.length > 0
      ? { parameters: [...path, ...query, ...headers] }
      : {}),
    ...(body
      ? {
          requestBody: {
            required: !body.optional,
            content: content("application/json", body.schema, body.examples),
          },
        }
      : {}),
    responses: { ...answers, ...problems(codes, advice) },
  }
  return { detail: detail as DocumentDecoration }
}

const ID = "01KATR5S3HQ7V2M9XW4TPD"
const LEASE = "1.Zk3m0yqTn8VwL5bXhR2cPg"
const NOW = 1_764_000_000_000

const LEASED: LeasedTask = {
  ...{ id: ID, type: "echo", payload: { hello: "world" }, status: "processing", retries: 0, max_retries: 3 },
  ...{ queue: "default", attempt: 1, lease: LEASE, timeout_ms: 30_000, lease_expires_at: NOW + 30_000 },
}
const VIEW: TaskView = {
  ...{ id: ID, type: "echo", payload: { hello: "world" }, status: "done", retries: 0, max_retries: 3 },
  ...{ queue: "default", priority: 5, attempt: 1, crashes: 0, max_crashes: 3, releases: 0 },
  ...{ timeout_ms: 30_000, created_at: NOW, started_at: NOW + 5, finished_at: NOW + 40 },
  ...{ worker: "host-1", result: { hello: "world" } },
  attempts: [{ attempt: 1, worker: "host-1", started_at: NOW + 5, ended_at: NOW + 40, outcome: "done" }],
}
const RUNNING: TaskView = {
  ...{ id: ID, type: "import", payload: { file: "a.csv" }, status: "processing", retries: 0, max_retries: 3 },
  ...{ queue: "default", priority: 5, attempt: 2, crashes: 1, max_crashes: 3, releases: 0 },
  ...{ timeout_ms: 30_000, created_at: NOW, started_at: NOW + 900, lease_expires_at: NOW + 30_900 },
  ...{ worker: "host-2", meta: { team: "mail" }, progress: 0.4, checkpoint: { line: 400 } },
  log: ["400 of 1000 lines"],
  attempts: [
    { attempt: 1, worker: "host-1", started_at: NOW + 5, ended_at: NOW + 800, outcome: "crashed" },
    { attempt: 2, worker: "host-2", started_at: NOW + 900, outcome: "processing" },
  ],
}
const DEAD: TaskView = {
  ...{ id: ID, type: "mail", payload: { to: "a@example.org" }, status: "dead", retries: 4, max_retries: 3 },
  ...{ queue: "default", priority: 5, attempt: 4, crashes: 0, max_crashes: 3, releases: 0 },
  ...{ timeout_ms: 30_000, created_at: NOW, started_at: NOW + 900, finished_at: NOW + 950 },
  ...{ worker: "host-1", error: "the mail server said no", reason: "failed" },
  attempts: [4].map(attempt => ({
    ...{ attempt, worker: "host-1", started_at: NOW + 900, ended_at: NOW + 950, outcome: "failed" },
    error: "the mail server said no",
  })),
}
const WRONG_TYPE: Facts = { field: "type", detail: "`type` is missing: it must be a string." }
const WRONG_ID: Facts = { field: "task_id", detail: "A task id looks as /submit answered it." }
const FEW: Facts = { detail: "Fewer than WAIT_REPLICAS=1 replicas have confirmed this." }
const AWAY: Facts = { detail: "Redis could not be reached or did not answer in time." }
const LOST: Facts = { task_id: ID, attempt: 2, state: "processing" }

/** In a batch each item is answered by itself. */
const manyOf = <T extends TSchema>(one: T) =>
  Type.Union([one, Type.Array(Type.Union([one, Problem]), { minItems: 1, maxItems: 1_000 })])
const unknownTask = problem(new Refused("task_not_found", { task_id: ID }))

const TASK_ID = [
  { name: "id", in: "path", required: true, schema: spelled(TaskId), example: ID, description: "the task" },
]

const QUEUE = [
  {
    name: "queue",
    in: "path",
    required: true,
    schema: spelled(QueueName),
    example: "mail",
    description: "the queue",
  },
]
const WRONG_QUEUE: Facts = {
  field: "queue",
  detail: "The name of a queue has 1 to 64 characters out of A-Z a-z 0-9 . _ -.",
}
const MAIL: QueueView = {
  queue: "mail",
  depth: { queued: 12, delayed: 3, processing: 4, done: 1_500, dead: 2, cancelled: 0 },
  ...{ queued_by_priority: { 5: 10, 9: 2 }, oldest_waiting_ms: 4_200, polled_at: NOW, paused: false },
  settings: {},
  workers: { count: 2, names: ["host-1", "host-2"] },
  rates: { submitted: 12.5, leased: 11.8, done: 11.2, failed: 0.4, released: 0, lapsed: 0.1, dead: 0 },
}
const HELD: QueueView = {
  ...MAIL,
  ...{ paused: true, paused_at: NOW - 60_000, pause_reason: "the mail server is being moved" },
}

const SESSION: SessionView = {
  ...{ name: "ci", roles: ["submit", "read"], queues: ["mail"] },
  ...{ csrf: "w2W6dWZ1cFq0b7mQm0v3k9mB7m3sJ3a0xk8eWc1d2eY", expires_at: NOW + 43_200_000 },
}
const WORKER = [
  {
    name: "worker",
    in: "path",
    required: true,
    schema: spelled(WorkerName),
    example: "host-1",
    description: "the worker's name",
  },
]
const WRONG_WORKER: Facts = {
  field: "worker",
  detail: "The name of a worker has 1 to 64 characters out of A-Z a-z 0-9 . _ -.",
}
const NO_WORKER: Facts = { detail: "No worker named host-1 was seen in the last 24 hours." }
const DRAIN_REFUSED = {
  refuses: {
    bad_request: WRONG_WORKER,
    worker_not_found: NO_WORKER,
    redis_unavailable: AWAY,
    not_replicated: FEW,
  },
  advice: { 404: "No worker with this name was seen in the last day: look at /workers." },
}
const BUSY: WorkerView = {
  ...{ worker: "host-1", state: "live", host: "host", version: "0.1.0", queues: ["default", "mail"] },
  ...{ first_seen_at: NOW - 3_600_000, last_seen_at: NOW, in_hand: 1, tasks: [ID], done: 1_500, failed: 2 },
}

const FILTER = "Give as much of a filter as is wanted: all of it must be true. "
const BOUNDED =
  "One call looks at up to 1,000 dead tasks: where there is a `next`, ask again with the same filter and it as `cursor`, " +
  "though this time little or nothing matched."
const GROUP: DeadGroup = {
  ...{ fingerprint: "9f2c41d07ab35e68", type: "mail", reason: "failed", count: 214 },
  error: "the mail server said <n>: no mailbox <text>",
  ...{ first_at: NOW, last_at: NOW + 60_000 },
  sample: { task_id: ID, error: 'the mail server said 550: no mailbox "a@example.org"' },
}

const SUBMIT_HEADERS: Json[] = [
  {
    name: "Idempotency-Key",
    in: "header",
    description:
      "1 to 200 printable ASCII characters without spaces. The same key, queue and body give the first answer again.",
    schema: { type: "string", pattern: '^"?[\\x21\\x23-\\x7e]{1,200}"?$' },
    example: "order-1042-mail",
  },
  ...["traceparent", "tracestate"].map(name => ({
    name,
    in: "header",
    description: "W3C trace context: kept with each task that has none of its own, and given to its worker",
    schema: { type: "string" },
  })),
]
const REPLAYED = {
  "Idempotency-Replayed": {
    description: "true where the answer is one given before. Of an array, each item says so by itself",
    schema: { type: "string", enum: ["true"] },
    example: "true",
  },
}
/** One parameter of any name: the members of a form's object stand in the query by their own names. */
const META_LABELS: Json = {
  name: "meta.*",
  in: "query",
  description: "`meta.<name>=<value>`, any number of times: only tasks with all of these labels",
  style: "form",
  explode: true,
  schema: { type: "object", additionalProperties: { type: "string", maxLength: 128 } },
  example: { "meta.team": "mail" },
}

const EACH =
  "In an array each item is answered in its place, with what one alone would get or with a problem; the others are not affected."

export const docs = {
  submit: route("POST /submit", {
    tag: "Submitting",
    summary: "Submit a task, or up to 1,000",
    description:
      "The task is kept from the moment this answers. Keep `task_id` to ask for it at /status. Where no answer came, " +
      "repeat it: with an Idempotency-Key or a `task_id` of your own the repeat makes nothing twice; without, the task may " +
      `stand twice. ${EACH}`,
    headers: SUBMIT_HEADERS,
    body: {
      schema: oneOrMany(Submit),
      examples: {
        one: { type: "echo", payload: { hello: "world" } },
        "when and where": {
          type: "mail",
          payload: { to: "a@example.org" },
          queue: "mail",
          priority: 9,
          delay_ms: 1_000,
        },
        "at a time": { type: "report", run_at: NOW + 3_600_000 },
        "an id of your own": { type: "invoice", task_id: "order-1042-invoice" },
        "once at a time": {
          ...{ type: "reindex", payload: { shop: 7 }, unique_key: "reindex-7", on_duplicate: "replace" },
          delay_ms: 5_000,
        },
        "every budget": {
          ...{
            type: "import",
            payload: { file: "a.csv" },
            max_retries: 5,
            max_crashes: 1,
            timeout_ms: 60_000,
          },
          ...{ max_runtime_ms: 3_600_000, expires_in_ms: 86_400_000, result_ttl_ms: 600_000 },
          backoff: { kind: "exponential", delay_ms: 1_000, max_ms: 60_000, jitter: true },
          meta: { team: "mail" },
          ...{
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            tracestate: "vendor=1",
          },
        },
        many: [
          { type: "echo", payload: 1 },
          { type: "echo", payload: [2] },
        ],
      },
    },
    answers: {
      200: {
        ...answer(
          "Kept: waiting for a worker (queued), or for its time (scheduled). duplicate: another task holds the unique key, " +
            "and none was made.",
          manyOf(Submitted),
          {
            one: { status: "queued", task_id: ID },
            "after a delay": { status: "scheduled", task_id: `mail:${ID}` },
            replayed: { status: "queued", task_id: ID, replayed: true },
            duplicate: { status: "duplicate", task_id: ID, duplicate: true },
            "duplicate, replaced": { status: "duplicate", task_id: ID, duplicate: true, replaced: true },
            many: [{ status: "queued", task_id: ID }, problem(new Refused("bad_request", WRONG_TYPE))],
          },
        ),
        headers: REPLAYED,
      },
    },
    refuses: {
      task_exists: { task_id: ID },
      key_reused: {},
      queue_full: {
        detail:
          "The queue default is full: as many tasks wait as MAX_QUEUE_DEPTH=100000 allows. Nothing was kept. Try again later, and let workers finish some.",
      },
      redis_unavailable: AWAY,
      not_replicated: FEW,
      out_of_memory: {},
      overloaded: {},
    },
    advice: {
      409: "The `task_id` belongs to a task whose idempotency record is over or never was. Nothing was made.",
      422: "This key, or this `task_id`, was used before for something else. Nothing was made.",
    },
  }),

  cancel: route("POST /cancel/:id", {
    tag: "Submitting",
    summary: "Cancel a task",
    description:
      "A task that waits, also for a retry, is ended at once. One that runs is marked: its worker hears of it when it next " +
      "extends, and however its attempt ends, the task is then cancelled. Safe to repeat. The body is not read.",
    path: TASK_ID,
    answers: {
      200: answer("It has ended, or will. Ask /status with `wait_ms` for the end.", Cancelled, {
        "it waited": { status: "cancelled", task_id: ID },
        "it runs": { status: "cancelling", task_id: ID },
      }),
    },
    refuses: {
      bad_request: WRONG_ID,
      task_not_found: { task_id: ID },
      already_ended: { task_id: ID, state: "done" },
      redis_unavailable: AWAY,
      not_replicated: FEW,
    },
    advice: { 409: "It is done or dead, as `state` says: too late." },
  }),

  status: route("GET /status/:id", {
    tag: "Looking",
    summary: "Ask for a task",
    description:
      "All that is known of a task: its result and its last error, what its worker has told of it, its last attempts. done " +
      "and cancelled are final, and so is dead until a retry. With `wait_ms` it answers as soon as the task has ended, or " +
      "as the task is when that time is over.",
    path: TASK_ID,
    query: parameters(StatusQuery, { wait_ms: 0 }),
    answers: {
      200: answer("The task.", TaskView, { done: VIEW, processing: RUNNING, dead: DEAD }),
    },
    refuses: {
      bad_request: WRONG_ID,
      task_not_found: { task_id: ID },
      task_gone: { task_id: "order-1042-invoice" },
      redis_unavailable: AWAY,
      overloaded: {},
    },
    advice: { 410: "It was submitted under this `task_id`, and has been deleted since. Ask no more." },
  }),

  why: route("GET /why/:id", {
    tag: "Looking",
    summary: "Ask why a task does not run",
    description:
      "One sentence for people, and the facts: `cause` for programs. ended, delayed (until `due_at`), backing_off (likewise), " +
      "running (at `worker`), cancelling, waiting (behind `ahead` tasks), paused (its queue is), limited (by the settings of its queue), or no_workers (nobody has asked this queue for " +
      "tasks for a minute).",
    path: TASK_ID,
    answers: {
      200: answer("Why.", WhyAnswer, {
        waiting: {
          ...{ task_id: ID, state: "queued", cause: "waiting", ahead: 2, polled_at: NOW },
          why: "It is ready and waits for a worker: 2 go first.",
        },
        "no workers": {
          ...{ task_id: ID, state: "queued", cause: "no_workers", ahead: 0 },
          why: "It is ready, but no worker has ever asked this queue for tasks.",
        },
        delayed: {
          ...{ task_id: ID, state: "scheduled", cause: "delayed", due_at: NOW + 60_000 },
          why: "It was submitted with a delay and is ready in 60.0 s.",
        },
      }),
    },
    refuses: {
      bad_request: WRONG_ID,
      task_not_found: { task_id: ID },
      task_gone: { task_id: "order-1042-invoice" },
      redis_unavailable: AWAY,
    },
    advice: { 410: "It was submitted under this `task_id`, and has been deleted since." },
  }),

  tasks: route("GET /tasks", {
    tag: "Looking",
    summary: "List the tasks in one state",
    description:
      "Queue by queue, by `queue`, `type` and labels where those are given. One call looks at a bounded number of tasks: a " +
      "page may be short, even empty, and still have a `next`. Ask again with it as `cursor` until there is none. What " +
      "changes its state meanwhile may be missed, or stand on two pages.",
    query: [
      ...parameters(TasksQuery, { state: "queued", queue: "default", type: "echo", limit: 100 }),
      META_LABELS,
    ],
    answers: {
      200: answer("A page of tasks.", TasksAnswer, {
        page: { tasks: [RUNNING] },
        "empty, with a next page": { tasks: [], next: "ZGVmYXVsdCAxNzY0MDAwMDAwMDAwIDAx" },
      }),
    },
    refuses: {
      bad_request: {
        field: "state",
        detail: `\`state\` is missing: it must be one of ${STATES.map(state => `"${state}"`).join(", ")}.`,
      },
      redis_unavailable: AWAY,
    },
  }),

  work: route("POST /work", {
    tag: "Working",
    summary: "Extend, settle and lease in one request",
    description:
      "A worker's whole protocol. First `extend` is done, as /extend would, then `settle`, as /ack would, then up to `max` tasks " +
      "are leased. So the last news of a task may come with its ack. `wait_ms` counts only where `settle` and `extend` are " +
      "empty: who has something to hear does not wait for tasks as well. Where no answer came, send `settle` and `extend` " +
      "again, which does nothing twice; tasks that were leased for the lost answer come back when their leases lapse. Where " +
      "`drain` is true, end what is in hand and ask no more: no tasks come.",
    body: {
      schema: Work,
      examples: {
        "an idle worker": { worker: "host-1", queues: ["mail", "default"], max: 10, wait_ms: 100 },
        "a busy one": {
          ...{ worker: "host-1", queues: ["default"], max: 1 },
          settle: [{ task_id: ID, lease: LEASE, result: { hello: "world" } }],
          extend: [{ task_id: ID, lease: LEASE, progress: 0.5 }],
        },
        "at the end": { settle: [{ task_id: ID, lease: LEASE, status: "released" }] },
      },
    },
    answers: {
      200: answer("`settled` and `extended` answer each item in its place.", WorkAnswer, {
        tasks: { tasks: [LEASED], settled: [], extended: [], lost: [], cancelled: [], drain: false },
        "answers to items": {
          tasks: [],
          settled: [{ status: "acknowledged", task_id: ID }],
          extended: [{ status: "cancelled", task_id: ID, lease_expires_at: NOW + 30_000 }, unknownTask],
          lost: [`mail:${ID}`],
          cancelled: [ID],
          drain: false,
        },
      }),
    },
    refuses: {
      bad_request: { field: "max", detail: "`max` must be a whole number from 0 to 1000." },
      redis_unavailable: AWAY,
      not_replicated: FEW,
    },
  }),

  get: route("GET /get", {
    tag: "Working",
    summary: "Lease one task",
    description:
      "The oldest task of the highest priority in the first queue that has one. Run it, then send its `id` and `lease` to " +
      "/ack before `lease_expires_at`, or to /extend for more time. Prefer POST /lease: HTTP clients and proxies may " +
      "repeat a GET by themselves, and the task of the lost answer then waits until its lease lapses.",
    query: parameters(GetQuery, { queue: ["default"], wait_ms: 0, worker: "host-1" }),
    answers: {
      200: answer("A task, leased to the caller.", LeasedTask, { leased: LEASED }),
      204: { description: "Nothing waits, or nothing came within `wait_ms`. Ask again." },
    },
    refuses: {
      bad_request: { field: "wait_ms", detail: "`wait_ms` must be a whole number from 0 to 20000." },
      redis_unavailable: AWAY,
      overloaded: {},
      not_replicated: FEW,
    },
  }),

  lease: route("POST /lease", {
    tag: "Working",
    summary: "Lease up to 1,000 tasks",
    description:
      "As GET /get, for many, and safe from clients that repeat a GET. It answers as soon as there is one task; fewer than " +
      "`max` are usual. Queues are tried in the order given.",
    body: {
      schema: LeaseRequest,
      examples: {
        default: {},
        "all options": { queues: ["mail", "default"], max: 10, wait_ms: 100, worker: "host-1" },
      },
    },
    answers: {
      200: answer("Tasks leased to the caller; an empty list where none came. Then ask again.", LeaseAnswer, {
        leased: { tasks: [LEASED] },
        nothing: { tasks: [] },
        "an operator wants the worker to end": { tasks: [], drain: true },
      }),
    },
    refuses: {
      bad_request: { field: "max", detail: "`max` must be a whole number from 1 to 1000." },
      redis_unavailable: AWAY,
      not_replicated: FEW,
    },
  }),

  ack: route("POST /ack", {
    tag: "Working",
    summary: "Say how a task ended, or up to 1,000",
    description:
      "done, failed (counted against `max_retries`), or released (given back to the front, not counted). After a failure the " +
      "next attempt waits as the task's `backoff` says, or `retry_in_ms`; `retry: false` leaves it none. Name the `lease`: " +
      "then only its holder can end the task, and repeating the same ack gets the same answer. Without a lease it is " +
      `taken for as long as the task is leased, whoever holds it. ${EACH}`,
    body: {
      schema: oneOrMany(Ack),
      examples: {
        done: { task_id: ID, lease: LEASE, result: { hello: "world" } },
        failed: { task_id: ID, lease: LEASE, status: "failed", error: "the mail server said no" },
        "failed, again in a minute": {
          ...{ task_id: ID, lease: LEASE, status: "failed", error: "the mail server is busy" },
          retry_in_ms: 60_000,
        },
        "failed for good": {
          task_id: ID,
          lease: LEASE,
          status: "failed",
          error: "no such file",
          retry: false,
        },
        released: { task_id: ID, lease: LEASE, status: "released" },
        "without a lease": { task_id: ID, status: "done" },
        many: [{ task_id: ID, lease: LEASE, status: "done" }],
      },
    },
    answers: {
      200: answer(
        "Settled: forget the task. cancelled: it was cancelled meanwhile, and has ended so whatever you said.",
        manyOf(Settled),
        {
          done: { status: "acknowledged", task_id: ID },
          "failed, retries left": { status: "requeued", task_id: ID, retries: 1 },
          "failed, none left": { status: "moved_to_dlq", task_id: ID, retries: 4 },
          released: { status: "released", task_id: ID },
          cancelled: { status: "cancelled", task_id: ID },
          many: [{ status: "acknowledged", task_id: ID }, unknownTask],
        },
      ),
    },
    refuses: {
      bad_request: {
        field: "status",
        detail: '`status` must be one of "done", "failed", "released".',
      },
      task_not_found: { task_id: ID },
      lease_lost: { ...LOST, detail: "Attempt 2 holds the task now: drop your result." },
      not_leased: {
        ...{ task_id: ID, state: "done", detail: "The task is done: there is nothing to acknowledge." },
      },
      redis_unavailable: AWAY,
      not_replicated: FEW,
      overloaded: {},
    },
    advice: {
      404: "The task never was, or its retention is over. Forget it.",
      409: "lease_lost: this lease is over, and another worker may have the task. not_leased: no lease was named, and the task is not leased. Drop your result.",
    },
  }),

  extend: route("POST /extend", {
    tag: "Working",
    summary: "Keep a lease, or up to 1,000, for longer",
    description:
      "The lease then ends `timeout_ms` from now (default: the task's own), and never after the attempt's `max_runtime_ms`. Ask " +
      "again after a third of it. Tell with it how far the work is: `progress` and `checkpoint` replace what was told before, " +
      "`log` adds lines. /status shows them, and the next attempt gets the checkpoint. Safe to repeat, but for `log`, whose " +
      `lines then stand twice. ${EACH}`,
    body: {
      schema: oneOrMany(Extend),
      examples: {
        one: { task_id: ID, lease: LEASE },
        "for a minute": { task_id: ID, lease: LEASE, timeout_ms: 60_000 },
        "with news": {
          ...{ task_id: ID, lease: LEASE, progress: { done: 400, of: 1_000 }, checkpoint: { line: 400 } },
          log: ["400 of 1000 lines"],
        },
        many: [{ task_id: ID, lease: LEASE }],
      },
    },
    answers: {
      200: answer(
        "Yours until `lease_expires_at`. cancelled: stop working on it, and ack it.",
        manyOf(Extended),
        {
          one: { status: "ok", task_id: ID, lease_expires_at: NOW + 60_000 },
          cancelled: { status: "cancelled", task_id: ID, lease_expires_at: NOW + 60_000 },
          many: [{ status: "ok", task_id: ID, lease_expires_at: NOW + 60_000 }, unknownTask],
        },
      ),
    },
    refuses: {
      bad_request: { field: "lease", detail: "`lease` must be a string: a lease as the task carried it" },
      task_not_found: { task_id: ID },
      lease_lost: { ...LOST, detail: "Attempt 2 holds the task now: drop your result." },
      redis_unavailable: AWAY,
      not_replicated: FEW,
      overloaded: {},
    },
    advice: {
      404: "The task never was, or its retention is over. Stop working on it.",
      409: "This lease is over. Stop working on the task and drop what you have.",
    },
  }),

  dlq: route("GET /dlq", {
    tag: "Dead letters",
    summary: "List dead tasks",
    description:
      "Tasks that were given up, as `reason` says, queue by queue, the newest first. `dlq_size` counts all of the queues, " +
      `whatever the filter. ${FILTER}${BOUNDED}`,
    query: parameters(DlqQuery, { queue: "default", limit: 100 }),
    answers: {
      200: answer("A page of dead tasks.", DlqAnswer, {
        page: { dlq_size: 1, tasks: [DEAD] },
        "with a next page": { dlq_size: 250, tasks: [DEAD], next: "ZGVmYXVsdCAxNzY0MDAwMDAwMDAwIDAx" },
        empty: { dlq_size: 0, tasks: [] },
      }),
    },
    refuses: {
      bad_request: { field: "cursor", detail: "`cursor` must be what the page before gave as `next`." },
      redis_unavailable: AWAY,
    },
  }),

  dlqGroups: route("GET /dlq/groups", {
    tag: "Dead letters",
    summary: "See what dead tasks died of",
    description:
      "Those of the same type and reason whose errors differ only in numbers, hex, UUIDs or quotations are one group. " +
      `${FILTER}${BOUNDED} The groups of each call are its own: add those with the same fingerprint.`,
    query: parameters(DlqGroupsQuery, { queue: "default" }),
    answers: {
      200: answer("The groups, the largest first.", DlqGroupsAnswer, {
        "one fault": { groups: [GROUP] },
        "none, so far": { groups: [], next: "ZGVmYXVsdCAxNzY0MDAwMDAwMDAwIDAx" },
      }),
    },
    refuses: {
      bad_request: {
        field: "reason",
        detail: `\`reason\` must be one of ${REASONS.map(reason => `"${reason}"`).join(", ")}`,
      },
      redis_unavailable: AWAY,
    },
  }),

  discard: route("DELETE /dlq/:id", {
    tag: "Dead letters",
    summary: "Delete a dead task",
    description: "There is no way back. The body is not read.",
    path: TASK_ID,
    answers: {
      200: answer("It is gone.", Discarded, { deleted: { status: "deleted_from_dlq", task_id: ID } }),
    },
    refuses: { bad_request: WRONG_ID, not_in_dlq: {}, redis_unavailable: AWAY, not_replicated: FEW },
    advice: {
      404: "There is no dead task of this id: it is alive, was deleted or retried already, or is forgotten.",
    },
  }),

  dlqPurge: route("POST /dlq/purge", {
    tag: "Dead letters",
    summary: "Delete dead tasks",
    description: `${FILTER}With none, any dead task goes. With \`dry_run\` nothing is deleted. ${BOUNDED} There is no way back.`,
    body: {
      schema: DlqPurge,
      examples: {
        "only tell": { queue: "mail", error: "no mailbox", dry_run: true },
        "old ones": { older_than_ms: 86_400_000, limit: 1_000 },
        "a group": { fingerprint: "9f2c41d07ab35e68" },
      },
    },
    answers: {
      200: answer("Deleted, or, of a dry run, what would be.", DlqPurged, {
        all: { purged: 214 },
        "more to look at": { purged: 100, next: "ZGVmYXVsdCAxNzY0MDAwMDAwMDAwIDAx" },
      }),
    },
    refuses: {
      bad_request: { field: "limit", detail: "`limit` must be a whole number from 1 to 1000." },
      redis_unavailable: AWAY,
      not_replicated: FEW,
    },
  }),

  retryAll: route("POST /dlq/retry", {
    tag: "Dead letters",
    summary: "Give dead tasks a new life",
    description:
      `As /dlq/retry/{id} does, the newest of each queue first; their histories stay. ${FILTER}${BOUNDED} \`patch\` changes ` +
      "the payloads on the way. With `canary` one goes first, and the others only if it is done within `wait_ms`. Where it was " +
      "not, ask /status for it, and once it is done ask again with the same filter and patch, without `canary`, and with " +
      "`next` as `cursor`.",
    body: {
      schema: RetryMany,
      examples: {
        "only tell": { queue: "mail", reason: "failed", dry_run: true },
        "a group": { fingerprint: "9f2c41d07ab35e68", limit: 1_000 },
        "with another payload": { type: "mail", patch: { server: "mail2.example.org", port: null } },
        "one first": { type: "mail", canary: true, wait_ms: 100 },
      },
    },
    answers: {
      200: answer("Waiting for workers again, or, of a dry run, what would be.", RetriedMany, {
        all: { requeued: 214, skipped: 0 },
        "more to look at": { requeued: 99, skipped: 1, next: "ZGVmYXVsdCAxNzY0MDAwMDAwMDAwIDAx" },
        "the canary is done": { requeued: 214, skipped: 0, canary: { task_id: ID, state: "done" } },
        "it is not, yet": {
          ...{ requeued: 1, skipped: 0, canary: { task_id: ID, state: "processing" } },
          next: "ZGVmYXVsdCAxNzY0MDAwMDAwMDAwIDAx",
        },
      }),
    },
    refuses: {
      bad_request: { field: "limit", detail: "`limit` must be a whole number from 1 to 1000." },
      redis_unavailable: AWAY,
      not_replicated: FEW,
    },
  }),

  redrive: route("POST /dlq/retry/:id", {
    tag: "Dead letters",
    summary: "Give a dead task a new life",
    description:
      "It goes to the end of its queue with `retries`, `crashes` and `releases` back at 0, and without the time by which " +
      "it was to start. Its checkpoint stays. A body that is not JSON is not read.",
    path: TASK_ID,
    body: {
      schema: RetryTask,
      optional: true,
      examples: { "as it was": {}, edited: { payload: { to: "b@example.org" } } },
    },
    answers: {
      200: answer("Waiting for a worker again.", RetriedTask, {
        requeued: { status: "requeued_from_dlq", task_id: ID },
      }),
    },
    refuses: {
      bad_request: WRONG_ID,
      not_in_dlq: {},
      key_taken: { task_id: ID },
      redis_unavailable: AWAY,
      not_replicated: FEW,
    },
    advice: {
      404: "There is no dead task of this id: it is alive, was retried already, or is forgotten.",
      409: "Another task holds its `unique_key` by now. Retry this one once that has ended.",
    },
  }),

  queues: route("GET /queues", {
    tag: "Steering",
    summary: "List the queues",
    description:
      "All queues that ever had a task, by name, each as /queues/{queue} shows it. Where there is a `next`, ask again with it " +
      "as `cursor`.",
    query: parameters(QueuesQuery, { limit: 100 }),
    answers: {
      200: answer("A page of queues.", QueuesAnswer, {
        page: { queues: [MAIL] },
        "with a next page": { queues: [HELD], next: "mail" },
      }),
    },
    refuses: {
      bad_request: { field: "limit", detail: "`limit` must be a whole number from 1 to 1000." },
      redis_unavailable: AWAY,
    },
  }),

  queue: route("GET /queues/:queue", {
    tag: "Steering",
    summary: "Ask how a queue is",
    description:
      "How many tasks it has in each place, how long the first of them wait, when somebody last asked for some, and whether it " +
      "is paused. A queue comes to be with its first task: one that nobody has named before is shown empty.",
    path: QUEUE,
    answers: { 200: answer("The queue.", QueueView, { "at work": MAIL, paused: HELD }) },
    refuses: { bad_request: WRONG_QUEUE, redis_unavailable: AWAY },
  }),

  pause: route("POST /queues/:queue/pause", {
    tag: "Steering",
    summary: "Pause a queue",
    description:
      "It takes submits and hands out nothing: leases come back empty, long polls wait on. What runs, runs on: acks, extends " +
      "and retries go their way, and times run on, also those at which tasks expire. /why says that it is paused, and the " +
      "`reason`. Safe to repeat: the newest reason counts.",
    path: QUEUE,
    body: {
      schema: Pause,
      optional: true,
      examples: { "without a word": {}, "with a reason": { reason: "the mail server is being moved" } },
    },
    answers: {
      200: answer("Nothing more is handed out, until it is resumed.", Paused, {
        paused: { status: "paused", queue: "mail", paused_at: NOW },
      }),
    },
    refuses: { bad_request: WRONG_QUEUE, redis_unavailable: AWAY, not_replicated: FEW },
  }),

  resume: route("POST /queues/:queue/resume", {
    tag: "Steering",
    summary: "End the pause of a queue",
    description: "Who waits for its tasks gets them at once. Safe to repeat. The body is not read.",
    path: QUEUE,
    answers: {
      200: answer("It hands out tasks.", Paused, { resumed: { status: "resumed", queue: "mail" } }),
    },
    refuses: { bad_request: WRONG_QUEUE, redis_unavailable: AWAY, not_replicated: FEW },
  }),

  settings: route("PUT /queues/:queue/settings", {
    tag: "Steering",
    summary: "Limit how many tasks of a queue run, and how fast they are handed out",
    description:
      "`concurrency` is how many may be leased at a time, by all workers together; `rate` lets `per_second` tasks go out a " +
      "second, and up to `burst` at once after a rest. What is left out has no limit: `{}` takes both away. It holds from now " +
      "on; what runs, runs on. /why says `limited` of a task that waits for it. Safe to repeat.",
    path: QUEUE,
    body: {
      schema: QueueSettings,
      examples: {
        both: { concurrency: 10, rate: { per_second: 50, burst: 100 } },
        "no limits": {},
      },
    },
    answers: {
      200: answer("The queue as it is now.", QueueView, {
        set: { ...MAIL, settings: { concurrency: 10, rate: { per_second: 50, burst: 100 } } },
      }),
    },
    refuses: { bad_request: WRONG_QUEUE, redis_unavailable: AWAY, not_replicated: FEW },
  }),

  purge: route("POST /queues/:queue/purge", {
    tag: "Steering",
    summary: "Delete the tasks of a queue that are in one state",
    description:
      "queued (the lowest priority first), delayed (scheduled and retrying), done, dead or cancelled, the oldest first; never " +
      "those that run. Their unique keys are free again, and who waits for their end at /status is told that they are gone. " +
      "It deletes up to `limit`: ask again while `purged` is not 0 and something remains. With `dry_run` nothing is deleted. " +
      "There is no way back.",
    path: QUEUE,
    body: {
      schema: Purge,
      examples: {
        "only tell": { state: "queued", dry_run: true },
        delete: { state: "cancelled", limit: 10_000 },
      },
    },
    answers: {
      200: answer("Deleted, or, of a dry run, what would be.", Purged, {
        all: { purged: 12, remaining: 0 },
        "up to the limit": { purged: 10_000, remaining: 4_210 },
      }),
    },
    refuses: {
      bad_request: {
        field: "state",
        detail: `\`state\` must be one of ${PURGEABLE.map(state => `"${state}"`).join(", ")}`,
      },
      redis_unavailable: AWAY,
      not_replicated: FEW,
    },
  }),

  workers: route("GET /workers", {
    tag: "Steering",
    summary: "List the workers",
    description:
      "Those that gave a name with /work, /lease or /get in the last day, by name. What one has in hand is read from the live " +
      "leases; what it did since it was first seen is what brokers have counted, some seconds late. With a token that is bound " +
      "to queues, and with `queue`, only workers, queues and tasks of these are shown. Where there is a `next`, ask again with " +
      "it as `cursor`.",
    query: parameters(WorkersQuery, { queue: "mail", limit: 100 }),
    answers: {
      200: answer("A page of workers.", WorkersAnswer, {
        page: { workers: [BUSY] },
        "with a next page": {
          workers: [{ ...BUSY, state: "draining", draining_since: NOW - 5_000 }],
          next: "host-1",
        },
      }),
    },
    refuses: {
      bad_request: { field: "limit", detail: "`limit` must be a whole number from 1 to 1000." },
      redis_unavailable: AWAY,
    },
  }),

  drain: route("POST /workers/:worker/drain", {
    tag: "Steering",
    summary: "Have a worker finish and end",
    description:
      "It is told with the answer to its newest or next request, also where it waits at another broker, and gets no more tasks. " +
      "It holds for this run of the worker: one that starts under the name with another `instance` works. Safe to repeat. The " +
      "body is not read. A token that is bound to queues must be for all that the worker asks.",
    path: WORKER,
    answers: {
      200: answer("It is told.", Drained, {
        told: { status: "draining", worker: "host-1", draining_since: NOW },
      }),
    },
    ...DRAIN_REFUSED,
  }),

  drainEnd: route("DELETE /workers/:worker/drain", {
    tag: "Steering",
    summary: "Have a worker not end any more",
    description:
      "For one that has no `instance`, and starts anew under its name, or that was told by mistake and still asks. Safe to " +
      "repeat, also where it was never told.",
    path: WORKER,
    answers: {
      200: answer("It is not told any more.", Drained, {
        ended: { status: "drain_ended", worker: "host-1" },
      }),
    },
    ...DRAIN_REFUSED,
  }),

  audit: route("POST /audit", {
    tag: "Operating",
    summary: "Check that every task stands where it should",
    description:
      "After a partial restore a task may stand in no list, and would wait for ever. This looks at every task, entry, payload " +
      "and unique key, and tells what should not be; with `fix=true` it mends it, each in one step with the check. Brokers do so " +
      "by themselves every AUDIT_INTERVAL_MS. It takes at most 20 s: where `complete` is false, that was not enough. Safe at " +
      "any time. The body is not read.",
    query: parameters(AuditQuery, { queue: "default", fix: "true" }),
    answers: {
      200: answer(
        "What was looked at and found. What is not mended is told with `mended` below `count`.",
        AuditAnswer,
        {
          "all is well": {
            complete: true,
            looked: { queues: 1, tasks: 5_000, payloads: 12, unique_keys: 3, entries: 4_100 },
            found: [],
          },
          mended: {
            complete: true,
            looked: { queues: 1, tasks: 5_000, payloads: 12, unique_keys: 3, entries: 4_100 },
            found: [{ kind: "not_listed", count: 2, mended: 2, sample: ID }],
          },
        },
      ),
    },
    refuses: {
      bad_request: { field: "fix", detail: '`fix` must be one of "true", "false".' },
      redis_unavailable: AWAY,
    },
  }),

  events: route("GET /events", {
    tag: "Looking",
    summary: "Hear what happens, as it happens",
    description:
      "Server-sent events, for as long as the client stays: from now on, or from the event with the id that `Last-Event-ID` or " +
      "`last_event_id` names. The README lists the events. Where something may be missing there is a `gap`: look again at what " +
      "matters. Up to 200 clients at a broker; one that does not read is cut off. A token that is bound to queues hears of these.",
    query: parameters(EventsQuery, { queue: ["mail"], event: ["done", "dead"] }),
    headers: [
      {
        name: "Last-Event-ID",
        in: "header",
        description: "instead of `last_event_id`, as browsers send it when they connect anew",
        schema: spelled(EventsQuery.properties.last_event_id),
        example: "1764000000000-0",
      },
    ],
    answers: {
      200: {
        description: "The events, each with its id, its name and JSON.",
        content: content("text/event-stream", Type.String(), {
          one: `id: ${NOW}-0\nevent: dead\ndata: {"at":${NOW},"queue":"mail","task_id":"mail:${ID}","attempt":4,"reason":"failed"}\n\n`,
        }),
      },
    },
    refuses: {
      bad_request: WRONG_QUEUE,
      redis_unavailable: AWAY,
      overloaded: { detail: "200 listen to events at this broker already: ask another broker." },
    },
  }),

  metrics: route("GET /metrics", {
    tag: "Operating",
    summary: "Numbers for Prometheus",
    description:
      "What the queues hold now (the first 1,000, by name), and what this broker has counted since its start, in Prometheus' text " +
      "format; the README lists it. What Redis holds is read at most once a second; while it is away, `tq_redis_up` is 0 and that " +
      "part is left out. Where METRICS_PUBLIC is true it needs no token; a token that is bound to queues is refused.",
    answers: {
      200: {
        description: "The numbers.",
        content: content("text/plain", Type.String(), {
          part: '# HELP tq_tasks Tasks in Redis, of the first 1,000 queues.\n# TYPE tq_tasks gauge\ntq_tasks{queue="default",state="queued"} 3\n',
        }),
      },
    },
    refuses: {},
  }),

  signIn: route("POST /session", {
    tag: "Sessions",
    summary: "Trade a token for a cookie",
    description:
      "For people at browsers, as the dashboard does. The cookie stands for the token on every route, for 12 hours, or until " +
      "the broker no longer knows the token. Scripts cannot read it, and other sites cannot have it sent. What changes " +
      "something then needs `csrf` as X-CSRF-Token.",
    body: { schema: SignIn, examples: { token: { token: "0f3a5e889c1d4b7a" } } },
    answers: {
      200: {
        ...answer("Who that is. The cookie is in Set-Cookie.", SessionView, { "of one queue": SESSION }),
        headers: { "Set-Cookie": { schema: { type: "string" } } },
      },
    },
    refuses: {
      unauthorized: {},
      forbidden: { detail: "A page of another origin may not ask this." },
      bad_request: {
        field: "token",
        detail: "`token` is missing: it must be a string (as X-API-Token has it).",
      },
    },
    advice: { 401: "The broker does not know this token.", 403: "It was asked by a page of another origin." },
  }),

  session: route("GET /session", {
    tag: "Sessions",
    summary: "Ask who one is",
    description: "Tells what the cookie, or the token of the request, may do.",
    answers: {
      200: answer("Who that is.", SessionView, {
        session: SESSION,
        token: { name: "ci", roles: ["submit"] },
      }),
      204: { description: "The request has neither: ask for a token." },
    },
    refuses: { unauthorized: {}, forbidden: { detail: "A page of another origin may not ask this." } },
    advice: {
      401: "The session has ended, or the broker does not know the token (any more).",
      403: "It was asked by a page of another origin.",
    },
  }),

  signOut: route("DELETE /session", {
    tag: "Sessions",
    summary: "Have the browser forget the cookie",
    description:
      "It needs X-CSRF-Token, as every change by the cookie, but not where the cookie is no longer good. The token stays good.",
    answers: { 200: answer("Forgotten.", SessionEnded, { ended: { status: "ended" } }) },
    refuses: {
      forbidden: {
        detail: "With the cookie of a session this needs X-CSRF-Token: GET /session tells it as `csrf`.",
      },
    },
  }),

  healthz: route("GET /healthz", {
    tag: "Operating",
    summary: "Is the process alive?",
    description: "Asks nothing of Redis. Where this does not answer, restart the broker.",
    answers: { 200: answer("It is.", Alive, { alive: { status: "ok" } }) },
    refuses: {},
  }),

  readyz: route("GET /readyz", {
    tag: "Operating",
    summary: "Can it take work?",
    description:
      "Asks Redis. Send a broker requests while this answers 200. `durability` says what survives a power cut, and " +
      "`wait_replicas` what a failover.",
    answers: {
      200: answer("It can.", Ready, {
        ready: {
          ...{ status: "ready", redis: "7.0.15", durability: "always", maxmemory_policy: "noeviction" },
          ...{ topology: "sentinel", replicas: 2, wait_replicas: 1 },
        },
      }),
    },
    refuses: {
      redis_unavailable: AWAY,
      not_replicated: { detail: "Redis has 0 replicas connected, and WAIT_REPLICAS=1 asks for more." },
      not_ready: {
        detail: "Redis may evict tasks when its memory is full: set maxmemory-policy to noeviction.",
      },
    },
    advice: { 503: "Not now: send requests to another broker, and look at Redis." },
  }),
}

export const openapi = new Elysia({ name: "openapi" })
  .use(
    swagger({
      path: "/swagger",
      documentation: {
        info: {
          title: "Task queue",
          version: "0.1.0",
          description:
            "Submit tasks, lease them, say how they ended. Every refusal is an RFC 9457 problem with a `code` for " +
            "programs and an `error` for people. No answer, 429, 502, 503 and 504 mean: try again later; every other " +
            "4xx is final. Times are milliseconds since 1970 by Redis' clock.",
          license: { name: "MIT", url: "https://spdx.org/licenses/MIT.html" },
        },
        servers: [{ url: "/", description: "this broker" }],
        security: [{ token: [] }, { bearer: [] }],
        tags: [
          { name: "Submitting", description: "for programs that have work" },
          { name: "Looking", description: "for people and programs that ask what became of it" },
          { name: "Working", description: "for programs that do it" },
          { name: "Dead letters", description: "tasks that were given up" },
          { name: "Steering", description: "queues: how they are, and what becomes of their tasks; workers" },
          { name: "Sessions", description: "for people at browsers" },
          { name: "Operating", description: "for probes, which need no token, and for who runs it" },
        ],
        components: {
          securitySchemes: {
            token: { type: "apiKey", in: "header", name: "X-API-Token" },
            bearer: { type: "http", scheme: "bearer", description: "the same token" },
          },
          schemas: Object.fromEntries(
            Object.entries(NAMED).map(([name, schema]) => [name, spelled(schema)]),
          ) as Record<string, object>,
        },
      },
    }),
  )
  // Over the plugin's own page, which loads its scripts from elsewhere.
  .use(swaggerPage)
