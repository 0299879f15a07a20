/**
 * Generates the OpenAPI document at /swagger/json from the declarations in lib/wire/routes.ts and the prose in the
 * files beside this one. It is not used by requests: validate.ts compiles the schemas for validation.
 */
import { swagger } from "@elysiajs/swagger"
import { type TSchema, Type } from "@sinclair/typebox"
import { type DocumentDecoration, Elysia } from "elysia"
import { type Facts, NotReplicated, Refused } from "../../errors.ts"
import { asRefusal } from "../../redis/server-errors.ts"
import * as actionShapes from "../../wire/actions.ts"
import * as brokerShapes from "../../wire/brokers.ts"
import * as bulkShapes from "../../wire/bulk.ts"
import * as changingShapes from "../../wire/changing.ts"
import * as chartingShapes from "../../wire/charting.ts"
import * as deadLetterShapes from "../../wire/dead-letters.ts"
import { GroupName, QueueName, ROLES, type Role, TaskId, WorkerName } from "../../wire/fields.ts"
import * as groupingShapes from "../../wire/grouping.ts"
import * as inspectingShapes from "../../wire/inspecting.ts"
import * as managingShapes from "../../wire/managing.ts"
import * as operatingShapes from "../../wire/operating.ts"
import { type Code, PROBLEMS, Problem } from "../../wire/problem.ts"
import * as queueSettingsShapes from "../../wire/queue-settings.ts"
import { type OperationId, problemsOf, ROUTES, type Route, rolesOf, routeName } from "../../wire/routes.ts"
import * as schedulingShapes from "../../wire/scheduling.ts"
import * as submittingShapes from "../../wire/submitting.ts"
import * as workingShapes from "../../wire/working.ts"
import { anyOf, Caller } from "../access.ts"
import { problem } from "../answer.ts"
import { readBulkId, readQueueName, readScheduleId, readTaskId, readWorkerName } from "../call.ts"
import { readGroupName } from "../grouping.ts"
import { bulk } from "./bulk.ts"
import { charting } from "./charting.ts"
import { deadLetters } from "./dead-letters.ts"
import { grouping } from "./grouping.ts"
import { inspecting } from "./inspecting.ts"
import { managing } from "./managing.ts"
import { operating } from "./operating.ts"
import { swaggerPage } from "./page.ts"
import { badBody, badQuery, factsOf, ID, type Json, type ProseOf } from "./prose.ts"
import { scheduling } from "./scheduling.ts"
import { submitting } from "./submitting.ts"
import { working } from "./working.ts"

/** The prose and the examples of each route. */
export const PROSE: ProseOf<Route["chapter"]> = {
  ...submitting,
  ...scheduling,
  ...working,
  ...inspecting,
  ...deadLetters,
  ...bulk,
  ...managing,
  ...grouping,
  ...charting,
  ...operating,
}

const TAGS: Record<Route["chapter"], { name: string; description: string }> = {
  submitting: { name: "Submitting", description: "for clients that submit tasks" },
  scheduling: { name: "Scheduling", description: "tasks at given times" },
  working: { name: "Working", description: "for workers" },
  inspecting: { name: "Inspecting", description: "the state of tasks, for clients and operators" },
  "dead-letters": {
    name: "Dead letters",
    description: "tasks that will not be attempted again unless they are retried",
  },
  bulk: { name: "Bulk", description: "many tasks by a filter" },
  managing: { name: "Managing", description: "queues and workers" },
  charting: { name: "History", description: "what happened per minute and per hour" },
  grouping: { name: "Groups", description: "the groups of a queue, such as tenants, and their limits" },
  operating: { name: "Operating", description: "events, audits, metrics, sessions and health checks" },
}

/** The shapes of bodies and answers by name: they are listed under components/schemas and referred to elsewhere. */
const NAMES = new Map<unknown, string>(
  [
    submittingShapes,
    changingShapes,
    schedulingShapes,
    workingShapes,
    inspectingShapes,
    deadLetterShapes,
    bulkShapes,
    managingShapes,
    queueSettingsShapes,
    groupingShapes,
    chartingShapes,
    operatingShapes,
    actionShapes,
    brokerShapes,
    { Problem },
  ]
    .flatMap(shapes => Object.entries<unknown>(shapes))
    // Both are always optional, and an optional shape is a copy that is written in place.
    .filter(([name]) => name !== "Backoff" && name !== "TaskDefaults")
    .filter(([name, shape]) => isObjectSchema(shape) && !name.endsWith("Query"))
    .map(([name, schema]) => [schema, name]),
)

function isObjectSchema(shape: unknown): shape is TSchema {
  return typeof shape === "object" && shape !== null && "type" in shape && shape.type === "object"
}

const reference = (schema: TSchema): Json => {
  const name = NAMES.get(schema)
  return name === undefined ? spelled(schema) : { $ref: `#/components/schemas/${name}` }
}

/** A schema in the form of OpenAPI 3.0, which the plugin emits: without `const` and without patterns for names. */
function spelled({
  anyOf: choices,
  const: word,
  items,
  properties,
  patternProperties,
  contentMediaType: _,
  ...rest
}: TSchema): Json {
  const own: Json = { ...rest }
  if (patternProperties)
    own.additionalProperties = spelled(Object.values(patternProperties as Record<string, TSchema>)[0]!)
  if (word !== undefined) own.enum = [word]
  if (choices?.every((one: TSchema) => one.const !== undefined)) {
    own.type = "string"
    own.enum = choices.map((one: TSchema) => one.const)
  } else if (choices) own.anyOf = choices.map(reference)
  if (items) own.items = reference(items)
  if (properties)
    own.properties = Object.fromEntries(
      Object.entries(properties as Record<string, TSchema>).map(([name, one]) => [name, reference(one)]),
    )
  return own
}

const content = (type: string, schema: TSchema, examples: Json): Json => ({
  [type]: {
    schema: reference(schema),
    examples: Object.fromEntries(Object.entries(examples).map(([name, value]) => [name, { value }])),
  },
})

const oneOrMany = (one: TSchema, item = one): TSchema =>
  Type.Union([one, Type.Array(item, { minItems: 1, maxItems: 1_000 })])

const PATH_PARAMETERS: Record<string, { schema: TSchema; example: string; description: string }> = {
  id: { schema: TaskId, example: ID, description: "the id of the task" },
  queue: { schema: QueueName, example: "mail", description: "the name of the queue" },
  schedule: {
    schema: schedulingShapes.ScheduleId,
    example: "mail:report",
    description: "the id of the schedule",
  },
  group: { schema: GroupName, example: "acme", description: "the name of the group" },
  bulk: {
    schema: bulkShapes.BulkId,
    example: "01KATR6Q2M8V5Z1X7Y3N9B",
    description: "the id of the bulk operation",
  },
  worker: { schema: WorkerName, example: "host-1", description: "the name of the worker" },
}
const pathParameters = (names: string[]): Json[] =>
  names.map(name => {
    const { schema, example, description } = PATH_PARAMETERS[name]!
    return { name, in: "path", required: true, description, schema: spelled(schema), example }
  })

/** The members of a query as parameters. Lists are separated by commas. */
const queryParameters = (query: TSchema, examples: Json): Json[] =>
  Object.entries(query.properties as Record<string, TSchema>).map(([name, { description, ...schema }]) => ({
    name,
    in: "query",
    description,
    ...(query.required?.includes(name) ? { required: true } : {}),
    schema: spelled(schema as TSchema),
    ...(name in examples ? { example: examples[name] } : {}),
    ...(schema.type === "array" ? { style: "form", explode: false } : {}),
  }))

const RETRY_AFTER: Json = {
  "Retry-After": { description: "seconds to wait", schema: { type: "integer" }, example: 1 },
}
const HEADERS: Record<number, Json> = {
  401: { "WWW-Authenticate": { schema: { type: "string" }, example: 'Bearer realm="task queue"' } },
  429: RETRY_AFTER,
  503: RETRY_AFTER,
}
const ADVICE: Record<number, string> = {
  400: "The request is invalid: `field` and `detail` say what would be valid. Do not repeat it unchanged.",
  401: "The token is missing, or the broker does not know it. Do not repeat the request unchanged.",
  403: "The token lacks the role, or it is bound to other queues: see `detail`. Do not repeat the request unchanged.",
  404: "No task has this id; it may have been deleted. Do not repeat the request.",
  413: "The body is larger than MAX_BODY_BYTES. Send fewer items per request, or send a reference to the data.",
  415: "The Content-Type is not application/json, or the body is compressed.",
  429: "The queue or the group is full, or this address sent many wrong tokens: see `code` and `detail`. Repeat the request after `Retry-After` seconds.",
  500: "The broker failed to handle the request, and its log has the details. The same request will most likely fail again.",
  503: "The broker cannot answer now. Repeat the request after `Retry-After` seconds.",
}

/** The answers for a set of codes: one per status, with one example per code. */
function problemAnswers(
  codes: Code[],
  facts: Partial<Record<Code, Facts>>,
  advice: Record<number, string>,
): Json {
  const byStatus = Map.groupBy(codes, code => PROBLEMS[code].status)
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => [
      status,
      {
        description: advice[status] ?? ADVICE[status]!,
        ...(HEADERS[status] ? { headers: HEADERS[status] } : {}),
        content: content(
          "application/problem+json",
          Problem,
          Object.fromEntries(codes.map(code => [code, problem(new Refused(code, facts[code]))])),
        ),
      },
    ]),
  )
}

/** A request that the route refuses: with a wrong name in its path, or a wrong `limit`. */
function badRequestOf(id: OperationId, { params = {}, query, body }: Route): { bad_request?: Facts } {
  if ("id" in params) return { bad_request: factsOf(() => readTaskId("order/1042")) }
  if ("bulk" in params) return { bad_request: factsOf(() => readBulkId("bulk/1")) }
  if ("schedule" in params) return { bad_request: factsOf(() => readScheduleId("a/b")) }
  if ("group" in params) return { bad_request: factsOf(() => readGroupName("..")) }
  if ("queue" in params) return { bad_request: factsOf(() => readQueueName("a/b")) }
  if ("worker" in params) return { bad_request: factsOf(() => readWorkerName("a/b")) }
  if (query?.properties.limit) return { bad_request: badQuery(id, "limit=0") }
  if (body?.properties.limit) return { bad_request: badBody(id, { limit: 0 }) }
  return {}
}

/** The facts that the example of a problem shows, unless the prose of the route has others. */
function usualFacts(id: OperationId, route: Route): Partial<Record<Code, Facts>> {
  const { roles, method } = route
  const shown = (refused: Refused): Facts => ({
    ...refused.facts,
    detail: problem(refused, method === "GET").detail!,
  })
  const missing = ROLES.find(role => !roles.includes(role))
  const caller = new Caller({ name: "ci", roles: missing ? [missing] : [], queues: undefined })
  return {
    ...(roles.length > 0 ? { forbidden: factsOf(() => caller.requireRole(routeName(route))) } : {}),
    ...badRequestOf(id, route),
    task_not_found: { task_id: ID },
    task_gone: { task_id: "order-1042-invoice" },
    schedule_not_found: { detail: "There is no schedule mail:report." },
    worker_not_found: { detail: "No worker named host-1 was seen in the last 24 hours." },
    redis_unavailable: shown(asRefusal(new Error("Connection is closed")) as Refused),
    out_of_memory: factsOf(() => {
      throw asRefusal(new Error("OOM command not allowed"))
    }),
    not_replicated: shown(new NotReplicated(1)),
  }
}

const TOKENS = [{ token: [] }, { bearer: [] }]
/** What authenticates a request. A session needs the CSRF header as well, except for a GET that changes nothing. */
function securityOf(id: OperationId, { roles, method }: Route): Json[] {
  if (id === "whoAmI") return [...TOKENS, { session: [] }, {}]
  if (roles.length === 0) return []
  return [...TOKENS, method === "GET" && id !== "leaseOne" ? { session: [] } : { session: [], csrf: [] }]
}

function answersOf(
  { answers, many }: Route,
  prose: Record<number, { description: string; headers?: Json; examples?: Json }>,
): Json {
  return Object.fromEntries(
    Object.entries(answers).map(([status, schema]) => {
      const { description, headers, examples = {} } = prose[Number(status)]!
      if (schema === null) return [status, { description }]
      const shape = many ? oneOrMany(schema, Type.Union([schema, Problem])) : schema
      return [
        status,
        {
          description,
          ...(headers ? { headers } : {}),
          content: content(schema.contentMediaType ?? "application/json", shape, examples),
        },
      ]
    }),
  )
}

function operation(id: OperationId): { detail: DocumentDecoration } {
  const route: Route = ROUTES[id]
  const { description, query = {}, parameters = [], body, answers, problems = {}, advice = {} } = PROSE[id]
  const all = [
    ...pathParameters(Object.keys(route.params ?? {})),
    ...(route.query ? queryParameters(route.query, query) : []),
    ...parameters,
  ]
  const roles: readonly Role[] = rolesOf(route)
  const detail: Json = {
    operationId: id,
    tags: [TAGS[route.chapter].name],
    summary: route.summary,
    description: roles.length === 0 ? description : `${description} Needs a token with ${anyOf(roles)}.`,
    security: securityOf(id, route),
    ...(all.length > 0 ? { parameters: all } : {}),
    ...(route.body
      ? {
          requestBody: {
            required: !route.optionalBody,
            content: content("application/json", route.many ? oneOrMany(route.body) : route.body, body ?? {}),
          },
        }
      : {}),
    responses: {
      ...answersOf(route, answers),
      ...problemAnswers(problemsOf(route), { ...usualFacts(id, route), ...problems }, advice),
    },
  }
  return { detail: detail as DocumentDecoration }
}

/** What the plugin shows of each route. */
export const docs = Object.fromEntries(
  (Object.keys(ROUTES) as OperationId[]).map(id => [id, operation(id)]),
) as Record<OperationId, { detail: DocumentDecoration }>

/** `publicPath`: what a proxy puts before the paths of the broker. */
export const openapi = (publicPath: string | undefined) =>
  new Elysia({ name: "openapi" })
    .use(
      swagger({
        path: "/swagger",
        documentation: {
          info: {
            title: "Task queue",
            version: "0.1.0",
            description:
              "Submit tasks, lease them, and report their outcome. Every refusal is an RFC 9457 problem with a `code` for " +
              "programs and an `error` for people. After 429, 502, 503, 504 or no answer, repeat the request later; after any " +
              "other 4xx, repeating it at once does not help. Times are milliseconds since 1970 by the clock of Redis. Tasks have an `id` and a " +
              "`status`; all other bodies call the same values `task_id` and `state`.",
            license: { name: "MIT", url: "https://spdx.org/licenses/MIT.html" },
          },
          servers: [{ url: publicPath ?? "/", description: "this broker" }],
          tags: Object.values(TAGS),
          components: {
            securitySchemes: {
              token: {
                type: "apiKey",
                in: "header",
                name: "X-API-Token",
                description: "a token of this broker",
              },
              bearer: { type: "http", scheme: "bearer", description: "the same token" },
              session: {
                type: "apiKey",
                in: "cookie",
                name: "tq_session",
                description:
                  "the cookie that POST /session sets, for browsers; over TLS its name is __Host-tq_session",
              },
              csrf: {
                type: "apiKey",
                in: "header",
                name: "X-CSRF-Token",
                description:
                  "`csrf` as GET /session returns it, with every change that the cookie authenticates",
              },
            },
            schemas: Object.fromEntries(
              [...NAMES].map(([schema, name]) => [name, spelled(schema as TSchema)]),
            ) as Record<string, object>,
          },
        },
      }),
    )
    // Replaces the page of the plugin, which loads its scripts from other hosts.
    .use(swaggerPage)
