/**
 * What /swagger says of each route: what it is for, what it takes, every answer, and what to do next. The
 * plugin makes the document out of the routes; schemas come from models.ts, problems from http.ts. Nothing
 * here takes part in a request: validation is check.ts, so these are only `detail`.
 */
import { swagger } from "@elysiajs/swagger"
import { type Static, type TSchema, Type } from "@sinclair/typebox"
import { type DocumentDecoration, Elysia } from "elysia"
import { type Facts, Refused } from "./errors.ts"
import { PROBLEMS, problem } from "./http.ts"
import * as models from "./models.ts"
import { swaggerPage } from "./swagger-page.ts"

const { Ack, DlqAnswer, DlqQuery, Extend, Extended, GetQuery, LeaseAnswer, LeasedTask, LeaseRequest } = models
const { oneOrMany, Problem, Redriven, Settled, Submit, Submitted, TaskId, TaskView } = models

const Alive = Type.Object({ status: Type.Literal("ok") })
const Ready = Type.Object({
  status: Type.Literal("ready"),
  redis: Type.String({ description: "its version" }),
  durability: Type.Union(
    ["always", "everysec", "no", "none"].map(word => Type.Literal(word)),
    { description: "`appendfsync` as Redis has it now; none: no append-only file" },
  ),
  maxmemory_policy: Type.String(),
})

/** What stands under components/schemas; everywhere else it is referred to. */
const NAMED = {
  ...{ Submit, Submitted, LeaseRequest, LeaseAnswer, LeasedTask, Ack, Settled, Extend, Extended },
  ...{ TaskView, DlqAnswer, Redriven, Problem, Alive, Ready },
}
const NAMES = new Map<TSchema, string>(Object.entries(NAMED).map(([name, schema]) => [schema, name]))

type Json = Record<string, unknown>

const reference = (schema: TSchema): Json => {
  const name = NAMES.get(schema)
  return name === undefined ? spelled(schema) : { $ref: `#/components/schemas/${name}` }
}

/** A model as OpenAPI 3.0 spells it, which the plugin emits: it has no `const`. */
function spelled({ anyOf, const: word, items, properties, ...rest }: TSchema): Json {
  const own: Json = { ...rest }
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
type Codes = Partial<Record<models.Code, Facts>>

const HEADERS: Record<number, Json> = {
  401: { "WWW-Authenticate": { schema: { type: "string" }, example: 'Bearer realm="task queue"' } },
  503: {
    "Retry-After": { description: "seconds to wait", schema: { type: "integer" }, example: 1 },
  },
}
const ADVICE: Record<number, string> = {
  400: "The request cannot be used: `field` and `detail` say what would be right. Do not repeat it as it is.",
  401: "No token, or another than the broker's. Do not repeat it as it is.",
  404: "There is no such task here. Do not repeat it.",
  413: "The body is larger than the broker's MAX_BODY_BYTES. Send less at once, or a reference to the data.",
  415: "The Content-Type is not application/json.",
  500: "A fault of the broker, which its log describes. The same request will most likely meet it again.",
  503: "Not now. Repeat it after `Retry-After` seconds.",
}

/** The answers for a set of codes: one a status, with an example a code, as the broker writes them. */
function problems(codes: Codes, advice: Record<number, string>): Record<string, Json> {
  const answers = Map.groupBy(Object.keys(codes) as models.Code[], code => PROBLEMS[code].status)
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
const parameters = (query: { properties: Record<string, TSchema> }, examples: Examples): Json[] =>
  Object.entries(query.properties).map(([name, { description, ...schema }]) => ({
    name,
    in: "query",
    description,
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
  body?: { schema: T; examples: Record<string, Static<T>> }
  answers: Record<number, Json>
  refuses: Codes
  /** Where a status means something of its own here. */
  advice?: Record<number, string>
  open?: boolean
}

function route<T extends TSchema = TSchema>(of: Route<T>): { detail: DocumentDecoration } {
  const { tag, summary, description, query = [], path = [], body, answers, refuses, advice = {}, open } = of
  const codes: Codes = {
    ...(open ? {} : { unauthorized: {} }),
    ...(body ? { bad_json: {}, bad_request: WRONG_TYPE, too_large: {}, unsupported_media_type: {} } : {}),
    ...refuses,
    internal: {},
  }
  const detail: Json = {
    tags: [tag],
    summary,
    description,
    ...(open ? { security: [] } : {}),
    ...(query.length + path.length > 0 ? { parameters: [...path, ...query] } : {}),
    ...(body
      ? {
          requestBody: {
            required: true,
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

const LEASED: models.LeasedTask = {
  ...{ id: ID, type: "echo", payload: { hello: "world" }, status: "processing", retries: 0, max_retries: 3 },
  ...{ queue: "default", attempt: 1, lease: LEASE, timeout_ms: 30_000, lease_expires_at: NOW + 30_000 },
}
const VIEW: models.TaskView = {
  ...{ id: ID, type: "echo", payload: { hello: "world" }, status: "done", retries: 0, max_retries: 3 },
  ...{ queue: "default", priority: 5, attempt: 1, crashes: 0, max_crashes: 3, releases: 0 },
  ...{ timeout_ms: 30_000, created_at: NOW, started_at: NOW + 5, finished_at: NOW + 40 },
  ...{ worker: "host-1", result: { hello: "world" } },
}
const DEAD: models.TaskView = {
  ...{ id: ID, type: "mail", payload: { to: "a@example.org" }, status: "dead", retries: 4, max_retries: 3 },
  ...{ queue: "default", priority: 5, attempt: 4, crashes: 0, max_crashes: 3, releases: 0 },
  ...{ timeout_ms: 30_000, created_at: NOW, started_at: NOW + 900, finished_at: NOW + 950 },
  ...{ worker: "host-1", error: "the mail server said no", reason: "failed" },
}
const WRONG_TYPE: Facts = { field: "type", detail: "`type` is missing: it must be a string." }
const WRONG_ID: Facts = { field: "task_id", detail: "A task id looks as /submit answered it." }
const AWAY: Facts = { detail: "Redis could not be reached or did not answer in time." }
const LOST: Facts = { task_id: ID, attempt: 2, state: "processing" }

/** In a batch each item is answered by itself. */
const manyOf = <T extends TSchema>(one: T) =>
  Type.Union([one, Type.Array(Type.Union([one, Problem]), { minItems: 1, maxItems: 1_000 })])
const unknownTask = problem(new Refused("task_not_found", { task_id: ID }))

const TASK_ID = [
  { name: "id", in: "path", required: true, schema: spelled(TaskId), example: ID, description: "the task" },
]

export const docs = {
  submit: route({
    tag: "Submitting",
    summary: "Submit a task, or up to 1,000",
    description:
      "The task is kept from the moment this answers. Keep `task_id` to ask for it at /status. A repeated submit may " +
      "stand twice: where no answer came, repeat it only if handlers can bear to run twice. In an array each item is " +
      "answered in its place, with what one alone would get or with a problem; the others are not affected.",
    body: {
      schema: oneOrMany(Submit),
      examples: {
        one: { type: "echo", payload: { hello: "world" } },
        "all options": {
          ...{ type: "mail", payload: { to: "a@example.org" }, queue: "mail", priority: 9, max_retries: 5 },
          ...{ max_crashes: 1, timeout_ms: 60_000, delay_ms: 1_000 },
        },
        many: [
          { type: "echo", payload: 1 },
          { type: "echo", payload: [2] },
        ],
      },
    },
    answers: {
      200: answer("Kept: waiting for a worker (queued), or for its time (scheduled).", manyOf(Submitted), {
        one: { status: "queued", task_id: ID },
        "after a delay": { status: "scheduled", task_id: `mail:${ID}` },
        many: [{ status: "queued", task_id: ID }, problem(new Refused("bad_request", WRONG_TYPE))],
      }),
    },
    refuses: { redis_unavailable: AWAY, out_of_memory: {}, overloaded: {} },
  }),

  get: route({
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
    },
  }),

  lease: route({
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
      }),
    },
    refuses: {
      bad_request: { field: "max", detail: "`max` must be a whole number from 1 to 1000." },
      redis_unavailable: AWAY,
    },
  }),

  ack: route({
    tag: "Working",
    summary: "Say how a task ended, or up to 1,000",
    description:
      "done, failed (counted against `max_retries`), or released (given back to the front, not counted). Name the `lease`: " +
      "then only its holder can end the task, and repeating the same ack gets the same answer. Without a lease it is " +
      "taken for as long as the task is leased, whoever holds it. In an array each item is answered in its place.",
    body: {
      schema: oneOrMany(Ack),
      examples: {
        done: { task_id: ID, lease: LEASE, result: { hello: "world" } },
        failed: { task_id: ID, lease: LEASE, status: "failed", error: "the mail server said no" },
        released: { task_id: ID, lease: LEASE, status: "released" },
        "without a lease": { task_id: ID, status: "done" },
        many: [{ task_id: ID, lease: LEASE, status: "done" }],
      },
    },
    answers: {
      200: answer("Settled: forget the task.", manyOf(Settled), {
        done: { status: "acknowledged", task_id: ID },
        "failed, retries left": { status: "requeued", task_id: ID, retries: 1 },
        "failed, none left": { status: "moved_to_dlq", task_id: ID, retries: 4 },
        released: { status: "released", task_id: ID },
        many: [{ status: "acknowledged", task_id: ID }, unknownTask],
      }),
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
      overloaded: {},
    },
    advice: {
      404: "The task never was, or its retention is over. Forget it.",
      409: "lease_lost: this lease is over, and another worker may have the task. not_leased: no lease was named, and the task is not leased. Drop your result.",
    },
  }),

  extend: route({
    tag: "Working",
    summary: "Keep a lease, or up to 1,000, for longer",
    description:
      "The lease then ends `timeout_ms` from now (default: the task's own). Ask again after a third of it. Safe to repeat. " +
      "In an array each item is answered in its place.",
    body: {
      schema: oneOrMany(Extend),
      examples: {
        one: { task_id: ID, lease: LEASE },
        "for a minute": { task_id: ID, lease: LEASE, timeout_ms: 60_000 },
        many: [{ task_id: ID, lease: LEASE }],
      },
    },
    answers: {
      200: answer("Yours until `lease_expires_at`.", manyOf(Extended), {
        one: { status: "ok", task_id: ID, lease_expires_at: NOW + 60_000 },
        many: [{ status: "ok", task_id: ID, lease_expires_at: NOW + 60_000 }, unknownTask],
      }),
    },
    refuses: {
      bad_request: { field: "lease", detail: "`lease` must be a string: a lease as the task carried it" },
      task_not_found: { task_id: ID },
      lease_lost: { ...LOST, detail: "Attempt 2 holds the task now: drop your result." },
      redis_unavailable: AWAY,
      overloaded: {},
    },
    advice: {
      404: "The task never was, or its retention is over. Stop working on it.",
      409: "This lease is over. Stop working on the task and drop what you have.",
    },
  }),

  status: route({
    tag: "Submitting",
    summary: "Ask for a task",
    description:
      "What is known of a task, its result and its last error among it. done and dead are final until a retry; a task is " +
      "forgotten when its retention is over.",
    path: TASK_ID,
    answers: {
      200: answer("The task.", TaskView, { done: VIEW, dead: DEAD }),
    },
    refuses: { bad_request: WRONG_ID, task_not_found: { task_id: ID }, redis_unavailable: AWAY },
  }),

  dlq: route({
    tag: "Dead letters",
    summary: "List dead tasks",
    description:
      "Tasks that failed or crashed more often than they may, queue by queue, the newest first. `dlq_size` counts all of " +
      "them. Where there is a `next`, ask again with it as `cursor`.",
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

  redrive: route({
    tag: "Dead letters",
    summary: "Give a dead task a new life",
    description:
      "It goes to the end of its queue with `retries` and `crashes` back at 0. The body is not read.",
    path: TASK_ID,
    answers: {
      200: answer("Waiting for a worker again.", Redriven, {
        requeued: { status: "requeued_from_dlq", task_id: ID },
      }),
    },
    refuses: { bad_request: WRONG_ID, not_in_dlq: {}, redis_unavailable: AWAY },
    advice: { 404: "There is no dead task of this id: it is alive, was retried already, or is forgotten." },
  }),

  healthz: route({
    tag: "Operating",
    summary: "Is the process alive?",
    description: "Asks nothing of Redis. Where this does not answer, restart the broker.",
    answers: { 200: answer("It is.", Alive, { alive: { status: "ok" } }) },
    refuses: {},
    open: true,
  }),

  readyz: route({
    tag: "Operating",
    summary: "Can it take work?",
    description:
      "Asks Redis. Send a broker requests while this answers 200. `durability` says what survives a power cut.",
    answers: {
      200: answer("It can.", Ready, {
        ready: { status: "ready", redis: "7.0.15", durability: "always", maxmemory_policy: "noeviction" },
      }),
    },
    refuses: {
      redis_unavailable: AWAY,
      not_ready: {
        detail: "Redis may evict tasks when its memory is full: set maxmemory-policy to noeviction.",
      },
    },
    advice: { 503: "Not now: send requests to another broker, and look at Redis." },
    open: true,
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
          { name: "Working", description: "for programs that do it" },
          { name: "Dead letters", description: "tasks that were given up" },
          { name: "Operating", description: "for probes; no token needed" },
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
