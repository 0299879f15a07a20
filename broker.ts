/**
 * The broker: the table of routes. Every route checks what came (lib/http/wire.ts), calls one operation
 * (lib/queue/task-queue.ts) and writes its answer. It keeps no state: start as many as you like on one Redis.
 */
import { once } from "node:events"
import { Elysia, NotFoundError } from "elysia"
import { type BrokerConfig, readBrokerConfig, redisAddress } from "./lib/config/config.ts"
import { type ApiToken, hashOf, ROLES } from "./lib/config/tokens.ts"
import { Refused } from "./lib/errors.ts"
import { authenticator, Caller, presented } from "./lib/http/access.ts"
import {
  answer,
  askedBy,
  bodyIfJson,
  bodyReader,
  errorAnswer,
  eventStream,
  NO_SNIFFING,
  optionalBody,
  problemAnswer,
  requestId,
  waitingRoom,
} from "./lib/http/answer.ts"
import {
  cookieOf,
  refuseForeign,
  refuseForged,
  type Session,
  Sessions,
  showsSomebody,
} from "./lib/http/browser-session.ts"
import { dashboard } from "./lib/http/dashboard.ts"
import { docs, openapi } from "./lib/http/openapi/document.ts"
import * as wire from "./lib/http/wire.ts"
import { createLog, type Fields, type Log, rateLimited } from "./lib/log.ts"
import { CONTENT_TYPE, Metrics } from "./lib/observe/metrics.ts"
import type { Spans } from "./lib/observe/spans.ts"
import { startSpans } from "./lib/observe/tracing.ts"
import { pause } from "./lib/pause.ts"
import { nthOf, runBrokers, stopWithParent } from "./lib/process/brokers.ts"
import {
  announce,
  brokerFacts,
  greeting,
  type Listening,
  listenError,
  redisLocation,
  redisWarnings,
  tokenSource,
  urlOf,
} from "./lib/process/greeting.ts"
import { runProgram } from "./lib/process/help.ts"
import { TaskQueue } from "./lib/queue/task-queue.ts"
import { BROKER_CONNECTION, startEmbeddedRedis } from "./lib/redis/embedded.ts"
import { stopSignal } from "./lib/signals.ts"
import { queueOf } from "./lib/task/id.ts"
import type { Leased, Settlement } from "./lib/task/task.ts"

const PUBLIC = /^\/(healthz|readyz|(swagger|dashboard)(\/.*)?)$/
/** Who has not shown a token, on every request at first. */
const NOBODY = new Caller({ name: "nobody", roles: [], queues: [] })
/** Bun cuts a request that is silent for this long; a long poll (20 s at most) must fit. */
const IDLE_TIMEOUT_S = 40
/** How long one audit that is asked for may take. */
const AUDIT_MS = 20_000
/** How many requests may wait, for tasks or for the end of one: 6 KB each, so 60 MB. */
const MAX_WAITING = 10_000
/** Of a body that who has shown no token yet may send. */
const MAX_SIGN_IN_BYTES = 16_384
/** What Redis may take to close, after the requests have ended. */
const CLOSE_MS = 5_000

/** The app, ready to listen. `token` has all roles; beside it there are those of the configuration. */
export function createBroker(
  queue: TaskQueue,
  config: BrokerConfig,
  token: string | undefined,
  log: Log,
  spans?: Spans,
  metrics = new Metrics(queue),
) {
  const tokens = [...config.tokens, ...(token === undefined ? [] : [masterToken(token)])]
  const callerOf = authenticator(tokens)
  const sessions = new Sessions(tokens)
  const isPublic = (path: string, method: string) =>
    PUBLIC.test(path) ||
    (config.metricsPublic && path === "/metrics") ||
    (path === "/session" && method !== "DELETE")
  /** Whether one only wants to be rid of a cookie: it may be over, and is then not refused for it. */
  const isLeaving = (path: string, { method, headers }: Request) =>
    path === "/session" && method === "DELETE" && presented(headers) === undefined && showsSomebody(headers)
  /** Who asks, by token or else by cookie. Not given the context: Elysia would then read bodies by itself. */
  const meet = ({ headers }: Request): { caller: Caller; session?: Session } | undefined => {
    const token = presented(headers)
    if (token === undefined) {
      const session = sessions.of(headers)
      return session && { caller: session.caller, session }
    }
    const caller = callerOf(token)
    return caller && { caller }
  }
  /** Who asks, or undefined where that does not matter: refused are all others, before their bodies are read. */
  const admit = (request: Request, path: string) => {
    if (!URL.canParse(request.url))
      throw new Refused("bad_request", { detail: "The Host header is missing or is no host." })
    if (isPublic(path, request.method)) return undefined
    const met = meet(request)
    if (met !== undefined) return met
    if (!isLeaving(path, request)) throw new Refused("unauthorized")
    refuseForeign(request)
    return undefined
  }
  const read = bodyReader(config.maxBodyBytes)
  const readIfAny = optionalBody(read)
  const readIfJson = bodyIfJson(read)
  const readSmall = bodyReader(MAX_SIGN_IN_BYTES)
  const query = (request: Request) => new URL(request.url).searchParams
  const wait = waitingRoom(MAX_WAITING)
  /** For what clients can cause at any rate. */
  const often = rateLimited(log)
  const lease = async (demand: Parameters<typeof queue.lease>[0]) => {
    const askedAt = spans && Date.now()
    const tasks = await queue.lease(demand)
    spans?.recordLeases(tasks, demand.worker, askedAt!)
    return tasks
  }
  /** What changes many tasks: it may be broken off half-way, and then nothing but the log tells of it. */
  const inBulk = async <T>(what: string, fields: Fields, run: () => Promise<T>): Promise<T> => {
    log.info(`${what}: asked for`, fields)
    try {
      return await run()
    } catch (error) {
      log.warn(`${what}: broken off, and done in part or not at all`, { ...fields, error })
      throw error
    }
  }

  return new Elysia({ precompile: true })
    .decorate("caller", NOBODY)
    .decorate("session", undefined as Session | undefined)
    .onBeforeHandle(context => {
      // One hook, as most of what a small request costs is what is done for every request. It refuses by throwing:
      // one whose text has `return f(` Elysia waits for. And it is not to pass its context on: see `meet`.
      const { request, route, set } = context
      // Others get theirs where it is needed: see requestId.
      if (request.headers.has("x-request-id")) requestId({ request, set })
      // By the route, as Bun finds it by the path as it was sent, and request.url has that tidied.
      const met = admit(request, route)
      if (met === undefined) return
      context.caller = met.caller
      context.session = met.session
      // HEAD would run a GET's handler, and GET /get leases.
      if (request.method === "HEAD") throw new Refused("not_found")
      if (met.session !== undefined) {
        refuseForeign(request)
        if (request.method !== "GET" || route === "/get") refuseForged(request, met.session)
      }
      met.caller.mayAsk(`${request.method} ${route}`)
    })
    .onError(({ error, request, set }) => {
      const asked = { request, set }
      try {
        // Which routes there are is told to nobody else.
        if (error instanceof NotFoundError) admit(request, URL.parse(request.url)?.pathname ?? "")
        return errorAnswer(error, asked, often)
      } catch (refused) {
        return errorAnswer(refused, asked, often)
      }
    })
    .use(openapi)
    .post(
      "/submit",
      async ({ request, caller }) => {
        using body = await read(request)
        const tasks = wire.readSubmits(body, request.headers, config, name => queue.defaults.of(name))
        tasks.items = caller.each(tasks.items, task => task.queue)
        const text = await wire.answerMany(
          tasks,
          items =>
            spans === undefined
              ? queue.submit(items)
              : spans.traceSubmit(request.headers, items, () => queue.submit(items)),
          wire.writeSubmitted,
        )
        return answer(text, wire.replayed(text) ? { "idempotency-replayed": "true" } : undefined)
      },
      docs.submitTasks,
    )
    .get(
      "/get",
      async ({ request, caller }) => {
        const demand = wire.readGet(query(request))
        caller.mayUse(...demand.queues)
        const [task] = await wait(demand.waitMs, () => lease({ ...demand, signal: request.signal }))
        return task === undefined ? new Response(null, { status: 204 }) : answer(wire.writeLeased(task))
      },
      docs.leaseOne,
    )
    .post(
      "/lease",
      async ({ request, caller }) => {
        using body = await read(request)
        const demand = wire.readLease(body)
        caller.mayUse(...demand.queues)
        const tasks = await wait(demand.waitMs, () => lease({ ...demand, signal: request.signal }))
        return answer(wire.writeLeasedMany(tasks, queue.workers.isDraining(demand)))
      },
      docs.lease,
    )
    .post(
      "/ack",
      async ({ request, set, caller }) => {
        using body = await read(request)
        const acks = wire.readAcks(body)
        acks.items = caller.each(acks.items, ({ id }) => queueOf(id))
        const settle = (items: Settlement[]) =>
          queue.settle(items, "", () => askedBy({ request, set }, caller.name))
        const text = await wire.answerMany(
          acks,
          items =>
            spans === undefined
              ? settle(items)
              : spans.traceSettle(request.headers, items, "", () => settle(items)),
          wire.writeSettled,
        )
        return answer(text)
      },
      docs.ack,
    )
    .post(
      "/extend",
      async ({ request, caller }) => {
        using body = await read(request)
        const leases = wire.readExtends(body)
        leases.items = caller.each(leases.items, ({ id }) => queueOf(id))
        return answer(await wire.answerMany(leases, items => queue.extend(items), wire.writeExtended))
      },
      docs.extend,
    )
    .post(
      "/work",
      async ({ request, set, caller }) => {
        using body = await read(request)
        const { demand, ...lists } = wire.readWork(body)
        if (demand.max > 0) caller.mayUse(...demand.queues)
        const settle = caller.each(lists.settle, ({ id }) => queueOf(id))
        const extend = caller.each(lists.extend, ({ id }) => queueOf(id))
        // Extended first: the last that a task has to tell may come with the ack that ends it.
        const extended = extend.length > 0 ? await wire.eachAnswer(extend, items => queue.extend(items)) : []
        // Who has something to hear does not wait for tasks as well.
        const waitMs = settle.length + extend.length > 0 ? 0 : demand.waitMs
        let tasks: Leased[] = []
        const asked = () => ({
          ...askedBy({ request, set }, caller.name),
          worker: demand.worker || undefined,
        })
        const work = async (items: Settlement[]) => {
          const [answers, leased] = await queue.settleAndLease(
            items,
            { ...demand, waitMs, signal: request.signal },
            asked,
          )
          tasks = leased
          return answers
        }
        const askedAt = spans && Date.now()
        const settled = await wait(waitMs, () =>
          wire.eachAnswer(settle, items =>
            spans === undefined
              ? work(items)
              : spans.traceSettle(request.headers, items, demand.worker, () => work(items)),
          ),
        )
        spans?.recordLeases(tasks, demand.worker, askedAt!)
        return answer(wire.writeWork(tasks, settled, extended, extend, queue.workers.isDraining(demand)))
      },
      docs.work,
    )
    .post(
      "/cancel/:id",
      async ({ request, set, params, caller }) => {
        const id = wire.readId(params.id)
        caller.mayUse(queueOf(id))
        const status = await queue.cancel(id)
        log.info("A task was cancelled", { task_id: id, status, ...askedBy({ request, set }, caller.name) })
        return answer(JSON.stringify({ status, task_id: id }))
      },
      docs.cancelTask,
    )
    .get(
      "/status/:id",
      async ({ request, params, caller }) => {
        const waitMs = wire.readStatus(query(request))
        const id = wire.readId(params.id)
        caller.mayUse(queueOf(id))
        const task = await wait(waitMs, () => queue.find(id, waitMs, request.signal))
        return answer(wire.writeTask(task))
      },
      docs.getTask,
    )
    .get(
      "/why/:id",
      async ({ params, caller }) => {
        const id = wire.readId(params.id)
        caller.mayUse(queueOf(id))
        return answer(wire.writeWhy(await queue.why(id)))
      },
      docs.whyTask,
    )
    .get(
      "/tasks",
      async ({ request, caller }) => {
        const { queue: asked, ...page } = wire.readTasks(query(request))
        const { tasks, next } = await queue.tasks({ ...page, queues: caller.listed(asked) })
        return answer(wire.writeTasks(tasks, next))
      },
      docs.listTasks,
    )
    .get(
      "/dlq",
      async ({ request, caller }) => {
        const { queue: asked, ...page } = wire.readDlq(query(request))
        const { size, tasks, next } = await queue.dead.page({ ...page, queues: caller.listed(asked) })
        return answer(wire.writeDlq(size, tasks, next))
      },
      docs.listDead,
    )
    .get(
      "/dlq/groups",
      async ({ request, caller }) => {
        const { queue: asked, ...page } = wire.readDlqGroups(query(request))
        return answer(JSON.stringify(await queue.dead.groups({ ...page, queues: caller.listed(asked) })))
      },
      docs.groupDead,
    )
    .delete(
      "/dlq/:id",
      async ({ request, set, params, caller }) => {
        const id = wire.readId(params.id)
        caller.mayUse(queueOf(id))
        await queue.dead.discard(id)
        log.info("A dead task was deleted", { task_id: id, ...askedBy({ request, set }, caller.name) })
        return answer(JSON.stringify({ status: "deleted_from_dlq", task_id: id }))
      },
      docs.deleteDeadTask,
    )
    .post(
      "/dlq/purge",
      async ({ request, set, caller }) => {
        using body = await read(request)
        const { queue: asked, ...page } = wire.readDlqPurge(body)
        const queues = caller.listed(asked)
        const purge = () => queue.dead.purge({ ...page, queues })
        if (page.dryRun) return answer(JSON.stringify(await purge()))
        const fields = { queue: asked, ...askedBy({ request, set }, caller.name) }
        const told = await inBulk("Deleting dead tasks", { ...fields, limit: page.limit }, purge)
        log.info("Dead tasks were deleted", { ...fields, purged: told.purged })
        return answer(JSON.stringify(told))
      },
      docs.purgeDead,
    )
    .post(
      "/dlq/retry",
      async ({ request, set, caller }) => {
        using body = await read(request)
        const { queue: asked, ...page } = wire.readDlqRetry(body)
        const queues = caller.listed(asked)
        const retry = () =>
          wait(page.waitMs || Number(page.rate < Number.POSITIVE_INFINITY), () =>
            queue.dead.retryAll({ ...page, queues }, request.signal),
          )
        if (page.dryRun) return answer(JSON.stringify(await retry()))
        const fields = { queue: asked, ...askedBy({ request, set }, caller.name) }
        const told = await inBulk("Retrying dead tasks", { ...fields, limit: page.limit }, retry)
        log.info("Dead tasks were retried", { ...fields, requeued: told.requeued })
        return answer(JSON.stringify(told))
      },
      docs.retryDead,
    )
    .post(
      "/dlq/retry/:id",
      async ({ request, set, params, caller }) => {
        const id = wire.readId(params.id)
        caller.mayUse(queueOf(id))
        using body = await readIfJson(request)
        await queue.dead.retry(id, wire.readRedrive(body))
        log.info("A dead task was retried", { task_id: id, ...askedBy({ request, set }, caller.name) })
        return answer(JSON.stringify({ status: "requeued_from_dlq", task_id: id }))
      },
      docs.retryDeadTask,
    )
    .get(
      "/queues",
      async ({ request, caller }) => {
        const queues = caller.listed(undefined)
        return answer(
          JSON.stringify(await queue.control.views({ ...wire.readQueues(query(request)), queues })),
        )
      },
      docs.listQueues,
    )
    .get(
      "/queues/:queue",
      async ({ params, caller }) => {
        const name = wire.readQueue(params.queue)
        caller.mayUse(name)
        return answer(JSON.stringify(await queue.control.view(name)))
      },
      docs.getQueue,
    )
    .post(
      "/queues/:queue/pause",
      async ({ request, set, params, caller }) => {
        const name = wire.readQueue(params.queue)
        caller.mayUse(name)
        using body = await readIfAny(request)
        const reason = wire.readPause(body)
        const since = await queue.control.pause(name, reason)
        log.info("A queue was paused", { queue: name, reason, ...askedBy({ request, set }, caller.name) })
        return answer(JSON.stringify({ status: "paused", queue: name, paused_at: since }))
      },
      docs.pauseQueue,
    )
    .post(
      "/queues/:queue/resume",
      async ({ request, set, params, caller }) => {
        const name = wire.readQueue(params.queue)
        caller.mayUse(name)
        await queue.control.resume(name)
        log.info("A queue was resumed", { queue: name, ...askedBy({ request, set }, caller.name) })
        return answer(JSON.stringify({ status: "resumed", queue: name }))
      },
      docs.resumeQueue,
    )
    .put(
      "/queues/:queue/settings",
      async ({ request, set, params, caller }) => {
        const name = wire.readQueue(params.queue)
        caller.mayUse(name)
        using body = await read(request)
        const view = await queue.control.configure(name, wire.readSettings(body))
        log.info("A queue was set", {
          queue: name,
          settings: view.settings,
          ...askedBy({ request, set }, caller.name),
        })
        return answer(JSON.stringify(view))
      },
      docs.setQueueSettings,
    )
    .post(
      "/queues/:queue/purge",
      async ({ request, set, params, caller }) => {
        const name = wire.readQueue(params.queue)
        caller.mayUse(name)
        using body = await read(request)
        const order = wire.readPurge(body)
        const purge = () => queue.control.purge(name, order)
        if (order.dryRun) return answer(JSON.stringify(await purge()))
        const fields = { queue: name, state: order.state, ...askedBy({ request, set }, caller.name) }
        const told = await inBulk("Purging a queue", { ...fields, limit: order.limit }, purge)
        log.info("A queue was purged", { ...fields, ...told })
        return answer(JSON.stringify(told))
      },
      docs.purgeQueue,
    )
    .get(
      "/workers",
      async ({ request, caller }) => {
        const { queue: asked, ...page } = wire.readWorkers(query(request))
        return answer(JSON.stringify(await queue.workers.page({ ...page, queues: caller.listed(asked) })))
      },
      docs.listWorkers,
    )
    .post(
      "/workers/:worker/drain",
      async ({ request, set, params, caller }) => {
        const worker = wire.readWorker(params.worker)
        const since = await queue.workers.drain(worker, true, of => caller.mayUseEach(of))
        log.info("A worker was told to drain", { worker, ...askedBy({ request, set }, caller.name) })
        return answer(JSON.stringify({ status: "draining", worker, draining_since: since }))
      },
      docs.drainWorker,
    )
    .delete(
      "/workers/:worker/drain",
      async ({ request, set, params, caller }) => {
        const worker = wire.readWorker(params.worker)
        await queue.workers.drain(worker, false, of => caller.mayUseEach(of))
        log.info("A worker is not to drain any more", { worker, ...askedBy({ request, set }, caller.name) })
        return answer(JSON.stringify({ status: "drain_ended", worker }))
      },
      docs.undrainWorker,
    )
    .get(
      "/events",
      async ({ request, caller, session }) => {
        const { queues: asked, after, ...filter } = wire.readEvents(query(request), request.headers)
        if (asked !== undefined) caller.mayUse(...asked)
        if (filter.task !== undefined) caller.mayUse(queueOf(filter.task))
        const queues =
          asked ?? (filter.task === undefined ? caller.listed(undefined) : [queueOf(filter.task)])
        const { signal } = request
        return eventStream(
          await queue.eventFeed.listen({ ...filter, queues }, after, signal, session?.expiresAt),
        )
      },
      docs.listenEvents,
    )
    .post(
      "/audit",
      async ({ request, set, caller }) => {
        const asked = wire.readAudit(query(request))
        if (asked.queue === undefined) caller.mayUseAll()
        else caller.mayUse(asked.queue)
        log.info("An audit was asked for", { ...asked, ...askedBy({ request, set }, caller.name) })
        const signal = AbortSignal.any([request.signal, AbortSignal.timeout(AUDIT_MS)])
        return answer(JSON.stringify(await queue.audit(asked, signal)))
      },
      docs.audit,
    )
    .get(
      "/metrics",
      async ({ caller }) => {
        if (!config.metricsPublic) caller.mayUseAll()
        return new Response(await metrics.page(), {
          headers: { "content-type": CONTENT_TYPE, "cache-control": "no-store", ...NO_SNIFFING },
        })
      },
      docs.metrics,
    )
    .post(
      "/session",
      async ({ request, set }) => {
        refuseForeign(request)
        using body = await readSmall(request)
        const opened = sessions.open(wire.readSignIn(body))
        if (opened === undefined) throw new Refused("unauthorized", { detail: "No token of this broker." })
        log.info("A session was opened", askedBy({ request, set }, opened.caller.name))
        return answer(wire.writeSession(opened.caller, opened), {
          "set-cookie": cookieOf(request, opened.value, opened.expiresAt),
        })
      },
      docs.signIn,
    )
    .get(
      "/session",
      ({ request }) => {
        if (!showsSomebody(request.headers)) return new Response(null, { status: 204 })
        const met = meet(request)
        if (met === undefined) throw new Refused("unauthorized")
        if (met.session !== undefined) refuseForeign(request)
        return answer(wire.writeSession(met.caller, met.session))
      },
      docs.whoAmI,
    )
    .delete(
      "/session",
      ({ request }) => answer('{"status":"ended"}', { "set-cookie": cookieOf(request, "", 0) }),
      docs.signOut,
    )
    .use(dashboard)
    .get("/healthz", () => answer('{"status":"ok"}'), docs.health)
    .get(
      "/readyz",
      async () => {
        const state = await queue.redisState()
        const { version, durability, maxmemoryPolicy, topology, replicas, waitReplicas } = state
        if (maxmemoryPolicy !== "noeviction")
          throw new Refused("not_ready", {
            detail: "Redis may evict tasks when its memory is full: set maxmemory-policy to noeviction.",
          })
        if (replicas < waitReplicas)
          throw new Refused("not_replicated", {
            detail: `Redis has ${replicas} replicas connected, and WAIT_REPLICAS=${waitReplicas} asks for more.`,
          })
        return answer(
          JSON.stringify({
            ...{ status: "ready", redis: version, durability, maxmemory_policy: maxmemoryPolicy },
            ...{ topology, replicas, wait_replicas: waitReplicas },
          }),
        )
      },
      docs.ready,
    )
}

const masterToken = (token: string): ApiToken => ({
  ...{ name: "API_SECRET_TOKEN", roles: ROLES, queues: undefined },
  hash: hashOf(token),
})

export interface RunningBroker extends Listening {
  /** Refuses new work, answers long polls empty, lets requests finish, then closes: within `shutdownMs`. */
  stop(): Promise<void>
}

/**
 * Starts a broker, and Redis with it where no address of one is given. Where it fails, nothing is left running.
 * `nth`: it is one of several that share the port.
 */
export async function startBroker(config: BrokerConfig, log: Log, nth?: number): Promise<RunningBroker> {
  await using opened = new AsyncDisposableStack()
  const address = redisAddress(config)
  const embedded = address === undefined ? await startEmbeddedRedis(config.dataDir) : undefined
  opened.defer(() => embedded?.stop())
  const token = config.apiToken ?? embedded?.token
  const redis = {
    ...(address ?? { url: embedded!.socket }),
    username: config.redisUsername,
    password: config.redisPassword,
    waitReplicas: config.waitReplicas,
    timeoutMs: config.redisTimeoutMs,
    name: BROKER_CONNECTION,
  }
  const { shutdownMs } = config
  const spans = await startSpans(config, "broker", log)
  opened.defer(() => spans?.close())
  const queue = await TaskQueue.open({ ...config, redis, log })
  opened.defer(() => queue.close())
  const state = await queue.redisState()
  const app = createBroker(queue, config, token, log, spans)
  if (config.metricsPort > 0) {
    const metrics = listenForMetrics(app, config.host, config.metricsPort + (nth ?? 0))
    opened.defer(() => metrics.stop(true))
  }
  const server = listen(app, config, nth !== undefined)
  const closing = opened.move()
  return {
    url: urlOf(config.host, server.port!),
    token,
    redis: { ...state, at: redisLocation(redis) },
    async stop() {
      queue.stopWaiting()
      const over = new AbortController()
      await Promise.race([server.stop(), pause(shutdownMs, over.signal)])
      over.abort()
      if (server.pendingRequests > 0)
        log.warn("Requests were cut off: they did not end within SHUTDOWN_MS", {
          requests: server.pendingRequests,
        })
      await server.stop(true)
      await closing.disposeAsync()
    },
  }
}

function listen(app: ReturnType<typeof createBroker>, { host, port }: BrokerConfig, reusePort: boolean) {
  try {
    app.listen({
      hostname: host,
      port,
      reusePort,
      idleTimeout: IDLE_TIMEOUT_S,
      // Past this Bun would answer a bare 413, before us. readJson holds the limit; what is not read is not kept.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    })
  } catch (error) {
    throw listenError(error, host, port)
  }
  return app.server!
}

/** GET /metrics alone, answered as on the main port, where one cannot choose which of several brokers answers. */
function listenForMetrics(app: ReturnType<typeof createBroker>, hostname: string, port: number) {
  const page = ({ headers }: Request) => app.handle(new Request("http://localhost/metrics", { headers }))
  try {
    return Bun.serve({
      ...{ hostname, port, reusePort: false, routes: { "/metrics": { GET: page } } },
      fetch: () => problemAnswer(new Refused("not_found")),
    })
  } catch (error) {
    throw listenError(error, hostname, port, "METRICS_PORT")
  }
}

/** Tells that it listens, or that all do that share the port. */
function present({ url, token, redis }: Listening, config: BrokerConfig, log: Log, pids?: number[]) {
  const { brokers, host, metricsPort } = config
  const pages = Array.from({ length: brokers }, (_, i) => `${urlOf(host, metricsPort + i)}/metrics`)
  announce(log, "The broker is listening", {
    ...brokerFacts(url, redis, tokenSource(config, token), config.logLevel),
    ...(metricsPort > 0 && { metrics: pages }),
    ...(pids && { brokers: pids }),
  })
  for (const warning of redisWarnings(redis)) log.warn(warning)
  if (pids !== undefined && metricsPort === 0)
    log.warn("/metrics tells of one of the brokers, and nobody can choose of which: set METRICS_PORT")
  if (config.apiToken === undefined && token !== undefined) console.log(greeting(url, token))
}

async function main(nth: number | undefined): Promise<number> {
  const config = readBrokerConfig()
  const log = createLog(config.logLevel)
  if (config.brokers > 1 && nth === undefined)
    return runBrokers(config, log, (first, pids) => present(first, config, log, pids))
  const stop = nth === undefined ? stopSignal() : stopWithParent()
  const broker = await startBroker(config, log, nth).catch((error: Error) =>
    log.error(`The broker cannot start: ${error.message}`),
  )
  if (broker === undefined) return 1
  const { url, token, redis } = broker
  if (nth === undefined) present(broker, config, log)
  else if (!stop.aborted) process.send!({ url, token, redis } satisfies Listening)
  if (!stop.aborted) await once(stop, "abort")
  log.info("The broker is stopping and accepts no new work", { at_most_ms: config.shutdownMs })
  // Redis, too, may keep it from an orderly end.
  setTimeout(() => process.exit(1), config.shutdownMs + CLOSE_MS)
  await broker.stop()
  log.info("The broker has stopped")
  return 0
}

if (import.meta.main) {
  const args = process.argv.slice(2)
  const nth = nthOf(args)
  process.exit(await runProgram("broker", nth === undefined ? args : [], () => main(nth)))
}
