/**
 * The broker: the table of routes, and how a broker starts and stops. It keeps no state of its own, so any number of
 * brokers can share one Redis.
 */
import { Elysia } from "elysia"
import { type BrokerConfig, redisAddress } from "./lib/config/config.ts"
import { type ApiToken, hashOf, ROLES } from "./lib/config/tokens.ts"
import { Refused } from "./lib/errors.ts"
import { listActions } from "./lib/http/actions.ts"
import { problemAnswer } from "./lib/http/answer.ts"
import { bodyIfJson, bodyReader, optionalBody } from "./lib/http/body.ts"
import * as bulk from "./lib/http/bulk.ts"
import { type BrokerParts, type Handler, withoutQuery } from "./lib/http/call.ts"
import * as changing from "./lib/http/changing.ts"
import * as charting from "./lib/http/charting.ts"
import { dashboard } from "./lib/http/dashboard.ts"
import * as deadLetters from "./lib/http/dead-letters.ts"
import { Authentication, frontDoor, methodFinder } from "./lib/http/front-door.ts"
import * as grouping from "./lib/http/grouping.ts"
import * as inspecting from "./lib/http/inspecting.ts"
import * as managing from "./lib/http/managing.ts"
import { docs, openapi } from "./lib/http/openapi/document.ts"
import * as operating from "./lib/http/operating.ts"
import { redirect, underPublicPath } from "./lib/http/public-path.ts"
import * as scheduling from "./lib/http/scheduling.ts"
import * as submitting from "./lib/http/submitting.ts"
import { waitingLimit } from "./lib/http/waiting-limit.ts"
import * as working from "./lib/http/working.ts"
import { type Log, rateLimited } from "./lib/log.ts"
import { Metrics } from "./lib/observe/metrics.ts"
import type { Spans } from "./lib/observe/spans.ts"
import { startSpans } from "./lib/observe/tracing.ts"
import {
  listen,
  listenForMetrics,
  type RunningBroker,
  runBroker,
  stopServer,
} from "./lib/process/broker-process.ts"
import { nthOf } from "./lib/process/brokers.ts"
import { redisLocation, urlOf } from "./lib/process/greeting.ts"
import { runProgram } from "./lib/process/help.ts"
import { TaskQueue } from "./lib/queue/task-queue.ts"
import { BROKER_CONNECTION, startEmbeddedRedis } from "./lib/redis/embedded.ts"
import { type OperationId, ROUTES, type Route, type RouteName, routeName } from "./lib/wire/routes.ts"

/** At most this many requests wait for tasks or for the end of one. Each takes 6 KB, so together 60 MB. */
const MAX_WAITING = 10_000
/** The largest body of a request that carries no token yet. */
const MAX_SIGN_IN_BYTES = 16_384

const HANDLERS = {
  "POST /submit": submitting.submitTasks,
  "POST /cancel/:id": submitting.cancelTask,
  "PATCH /tasks/:id": changing.changeTask,
  "POST /tasks/:id/again": changing.submitAgain,
  "DELETE /tasks/:id": changing.deleteTask,

  "PUT /schedules/:schedule": scheduling.setSchedule,
  "GET /schedules": scheduling.listSchedules,
  "GET /schedules/:schedule": scheduling.getSchedule,
  "DELETE /schedules/:schedule": scheduling.deleteSchedule,
  "POST /schedules/:schedule/pause": scheduling.pauseSchedule,
  "POST /schedules/:schedule/resume": scheduling.resumeSchedule,
  "POST /schedules/:schedule/run": scheduling.runSchedule,
  "POST /schedules/preview": scheduling.previewSchedule,

  "GET /get": working.leaseOne,
  "POST /lease": working.lease,
  "POST /ack": working.ack,
  "POST /extend": working.extend,
  "POST /work": working.work,

  "GET /status/:id": inspecting.getTask,
  "GET /why/:id": inspecting.whyTask,
  "GET /tasks": inspecting.listTasks,

  "GET /dlq": deadLetters.listDead,
  "GET /dlq/groups": deadLetters.groupDead,
  "POST /dlq/retry/:id": deadLetters.retryDeadTask,
  "POST /dlq/retry": deadLetters.retryDeadTasks,
  "POST /dlq/purge": deadLetters.purgeDeadTasks,
  "DELETE /dlq/:id": deadLetters.deleteDeadTask,

  "POST /cancel": bulk.cancelTasks,
  "POST /bulk": bulk.startBulk,
  "POST /bulk/count": bulk.countBulk,
  "GET /bulk": bulk.listBulk,
  "GET /bulk/:bulk": bulk.getBulk,
  "POST /bulk/:bulk/stop": bulk.stopBulk,

  "GET /queues": managing.listQueues,
  "GET /queues/:queue": managing.getQueue,
  "POST /queues/:queue/pause": managing.pauseQueue,
  "POST /queues/:queue/resume": managing.resumeQueue,
  "PUT /queues/:queue/settings": managing.setQueueSettings,
  "POST /queues/:queue/purge": managing.purgeQueue,
  "GET /queues/:queue/groups": grouping.listGroups,
  "GET /queues/:queue/groups/:group": grouping.getGroup,
  "PUT /queues/:queue/groups/:group": grouping.setGroupLimits,
  "DELETE /queues/:queue/groups/:group": grouping.removeGroupLimits,
  "POST /queues/:queue/groups/:group/pause": grouping.pauseGroup,
  "POST /queues/:queue/groups/:group/resume": grouping.resumeGroup,
  "GET /history": charting.getHistory,
  "POST /history/marks": charting.addMark,
  "GET /workers": managing.listWorkers,
  "POST /workers/:worker/drain": managing.drainWorker,
  "DELETE /workers/:worker/drain": managing.undrainWorker,

  "GET /events": operating.listenEvents,
  "GET /actions": listActions,
  "GET /brokers": operating.listBrokers,
  "POST /audit": operating.audit,
  "GET /metrics": operating.metrics,
  "POST /session": operating.signIn,
  "GET /session": operating.whoAmI,
  "DELETE /session": operating.signOut,
  "GET /healthz": operating.health,
  "GET /readyz": operating.ready,
} satisfies Record<RouteName, Handler>

/** The app, ready to listen. `token` has all roles; the configuration may add tokens with fewer. */
export function createBroker(
  queue: TaskQueue,
  config: BrokerConfig,
  token: string | undefined,
  log: Log,
  spans?: Spans,
  metrics = new Metrics(queue),
) {
  const tokens = [...config.tokens, ...(token === undefined ? [] : [masterToken(token)])]
  const authentication = new Authentication(tokens, config)
  // Requests cause lines at any rate.
  const limitedLog = rateLimited(log)
  const readBody = bodyReader(config.maxBodyBytes)
  const parts: BrokerParts = {
    ...queue.parts,
    queue,
    config,
    log: limitedLog,
    spans,
    metrics,
    authentication,
    readBody,
    readOptional: optionalBody(readBody),
    readIfJson: bodyIfJson(readBody),
    readSignIn: bodyReader(MAX_SIGN_IN_BYTES),
    limitWaiting: waitingLimit(MAX_WAITING),
  }
  const answer = (request: Request): Response | Promise<Response> => app.handle(request)
  const app = new Elysia({ precompile: true, handler: { standardHostname: false } })
    // Before the front door, which then admits the request under its own path.
    .use(underPublicPath(config.publicPath, answer))
    .use(frontDoor(authentication, limitedLog, path => methodsOf(path)))
    .use(openapi(config.publicPath))
    .use(dashboard(config.installation))
    .get("/", () => redirect("dashboard"), HIDDEN)
  for (const id of Object.keys(ROUTES) as OperationId[]) {
    const { method, path, roles, query }: Route = ROUTES[id]
    const isForOperators = method !== "GET" && roles.length === 1 && roles[0] === "operate"
    const named: Handler = HANDLERS[routeName(ROUTES[id])]
    const handler = isForOperators && query === undefined ? withoutQuery(named) : named
    app.route(
      method,
      path,
      // Elysia reads the text of this function and prepares what it mentions, for every request. It must name single
      // members: if it passed the whole context on, Elysia would parse headers and queries. `parse: "none"` keeps it
      // from reading bodies.
      ({ request, set, params, caller, session }) =>
        handler({ request, set, params, caller, session }, parts),
      { parse: "none", ...docs[id] },
    )
  }
  const methodsOf = methodFinder(app.routes)
  return app
}

/** Not in the OpenAPI document. */
const HIDDEN = { detail: { hide: true } }

const masterToken = (token: string): ApiToken => ({
  name: "API_SECRET_TOKEN",
  roles: ROLES,
  queues: undefined,
  hash: hashOf(token),
})

/**
 * Starts a broker, and Redis with it if no address of one is configured. If the start fails, nothing is left running.
 * `nth` is the number of a broker that shares its port with others.
 */
export async function startBroker(config: BrokerConfig, log: Log, nth?: number): Promise<RunningBroker> {
  await using opened = new AsyncDisposableStack()
  const address = redisAddress(config)
  const embedded = address === undefined ? await startEmbeddedRedis(config.dataDir, log) : undefined
  opened.defer(() => embedded?.stop())
  const token = config.apiToken ?? (await embedded?.token())
  const redis = {
    ...(address ?? { url: embedded!.socket }),
    username: config.redisUsername,
    password: config.redisPassword,
    waitReplicas: config.waitReplicas,
    timeoutMs: config.redisTimeoutMs,
    name: BROKER_CONNECTION,
  }
  const spans = await startSpans(config, "broker", log)
  opened.defer(() => spans?.close())
  const queue = await TaskQueue.open({ ...config, redis, log })
  opened.defer(() => queue.close())
  const state = await queue.redisState()
  const app = createBroker(queue, config, token, log, spans)
  if (config.metricsPort > 0) {
    const notFound = () => problemAnswer(new Refused("not_found"))
    const metrics = listenForMetrics(app, config.host, config.metricsPort + (nth ?? 0), notFound)
    opened.defer(() => metrics.stop(true))
  }
  const server = listen(app, config, nth !== undefined)
  const parts = opened.move()
  return {
    url: urlOf(config.host, server.port!),
    token,
    redis: { ...state, at: redisLocation(redis) },
    async stop() {
      queue.stopWaiting()
      await stopServer(server, config.shutdownMs, log)
      await parts.disposeAsync()
    },
  }
}

if (import.meta.main) {
  const args = process.argv.slice(2)
  const nth = nthOf(args)
  process.exit(await runProgram("broker", nth === undefined ? args : [], () => runBroker(startBroker, nth)))
}
