/** Operating: events, audits, metrics, browser sessions and the probes. */
import type { BrokerConfig } from "../config/config.ts"
import { Refused } from "../errors.ts"
import { CONTENT_TYPE } from "../observe/metrics.ts"
import type { RedisState } from "../redis/redis-state.ts"
import { joinId, queueOf, splitId } from "../task/id.ts"
import { AuditQuery, EventsQuery, SignIn } from "../wire/operating.ts"
import type { Caller } from "./access.ts"
import { recordAction } from "./actions.ts"
import { answer, answerJson, eventStream, NO_SNIFFING, requester } from "./answer.ts"
import {
  cookieOf,
  EXPIRED_COOKIES,
  hasCredentials,
  rejectCrossOrigin,
  type Session,
} from "./browser-session.ts"
import { type BrokerParts, type Call, logFields } from "./call.ts"
import { checker, queryChecker, queryOf } from "./validate.ts"
import { WrongToken } from "./wrong-tokens.ts"

/** How long an audit that a client requests may take. */
const AUDIT_TIMEOUT_MS = 20_000

export async function listenEvents(
  { request, caller, session }: Call,
  { eventFeed }: BrokerParts,
): Promise<Response> {
  const { queues: requested, task, events, after } = readEventsQuery(request)
  if (requested !== undefined) caller.requireQueues(...requested)
  if (task !== undefined) caller.requireQueues(queueOf(task))
  const queues = requested ?? (task === undefined ? caller.visibleQueues(undefined) : [queueOf(task)])
  return eventStream(
    await eventFeed.listen(
      { token: caller.name, queues, task, events, sight: caller.sight },
      after,
      request.signal,
      session?.expiresAt,
    ),
  )
}

export async function audit(call: Call, parts: BrokerParts): Promise<Response> {
  const { queue, log } = parts
  const { request, caller } = call
  const { queue: only, fix } = checkAudit(queryOf(request))
  const order = { queue: only, fix: fix === "true" }
  if (only === undefined) caller.requireAllQueues()
  else caller.requireQueues(only)
  log.info("An audit was requested", { ...order, ...logFields(call) })
  const signal = AbortSignal.any([request.signal, AbortSignal.timeout(AUDIT_TIMEOUT_MS)])
  const audited = await queue.audit(order, signal)
  if (order.fix) {
    const sum = (of: "count" | "mended") => audited.found.reduce((total, fault) => total + fault[of], 0)
    const details = { complete: audited.complete, found: sum("count"), mended: sum("mended") }
    await recordAction(call, parts, "audit", { queue: only }, details)
  }
  return answerJson(audited)
}

export async function listBrokers(_call: Call, { queue, brokers }: BrokerParts): Promise<Response> {
  const { usedBytes, maxBytes } = await queue.redisState()
  return answerJson({
    broker: brokers.broker,
    brokers: await brokers.list(),
    redis_memory: { used_bytes: usedBytes, max_bytes: maxBytes },
  })
}

export async function metrics({ caller }: Call, parts: BrokerParts): Promise<Response> {
  if (!parts.config.metricsPublic) caller.requireAllQueues()
  return new Response(await parts.metrics.page(), {
    headers: { "content-type": CONTENT_TYPE, "cache-control": "no-store", ...NO_SNIFFING },
  })
}

export async function signIn(call: Call, parts: BrokerParts): Promise<Response> {
  const { request } = call
  rejectCrossOrigin(request)
  using body = await parts.readSignIn(request)
  const session = parts.authentication.sessions.open(checkSignIn(body.value).token)
  if (session === undefined) throw new WrongToken()
  parts.log.info("A session was opened", requester(call, session.caller.name))
  return answer(writeSession(session.caller, parts.config, session), {
    "set-cookie": cookieOf(request, session.value, session.expiresAt),
  })
}

/** Public, so that the dashboard can ask without credentials whether a session is open. */
export function whoAmI({ request }: Call, { authentication, config }: BrokerParts): Response {
  if (!hasCredentials(request.headers)) return new Response(null, { status: 204 })
  const { caller, session } = authentication.authenticate(request)
  if (session !== undefined) rejectCrossOrigin(request)
  return answer(writeSession(caller, config, session))
}

export function signOut(): Response {
  const response = answer('{"status":"ended"}')
  for (const cookie of EXPIRED_COOKIES) response.headers.append("set-cookie", cookie)
  return response
}

export const health = (): Response => answer('{"status":"ok"}')

export async function ready(_call: Call, { queue }: BrokerParts): Promise<Response> {
  const state = await queue.redisState()
  requireReady(state)
  const { version, durability, maxmemoryPolicy, topology, replicas, waitReplicas, degraded } = state
  return answerJson({
    status: "ready",
    redis: version,
    durability,
    maxmemory_policy: maxmemoryPolicy,
    topology,
    replicas,
    wait_replicas: waitReplicas,
    degraded: degraded.length === 0 ? undefined : degraded,
  })
}

export function requireReady({
  maxmemoryPolicy,
  replicas,
  waitReplicas,
  refused,
}: Pick<RedisState, "maxmemoryPolicy" | "replicas" | "waitReplicas"> & Partial<RedisState>): void {
  if (refused !== undefined) throw new Refused(refused.code, { detail: refused.detail })
  if (maxmemoryPolicy !== "noeviction" && maxmemoryPolicy !== "unknown")
    throw new Refused("not_ready", {
      detail: "Redis may evict tasks when its memory is full. Set maxmemory-policy to noeviction.",
    })
  if (replicas < waitReplicas)
    throw new Refused("not_replicated", {
      detail: `Connected replicas: ${replicas}, fewer than WAIT_REPLICAS=${waitReplicas}. Connect more replicas, or lower WAIT_REPLICAS.`,
    })
}

const checkEvents = queryChecker(EventsQuery)
const checkAudit = queryChecker(AuditQuery)
const checkSignIn = checker(SignIn)

/** Browsers send `Last-Event-ID` when they reconnect. It is newer than the id in the query, which stays the same. */
function readEventsQuery(request: Request) {
  const query = queryOf(request)
  const lastEventId = request.headers.get("last-event-id")
  if (lastEventId) query.set("last_event_id", lastEventId)
  const { queue: queues, task, event: events, last_event_id: after } = checkEvents(query)
  const id = task && splitId(task)
  return { queues, task: id && joinId(id.queue, id.localId), events, after }
}

const writeSession = (caller: Caller, { traceUrl }: BrokerConfig, session?: Session): string =>
  JSON.stringify({
    ...caller.describe(),
    trace_url: traceUrl,
    ...(session ? { csrf: session.csrf, expires_at: session.expiresAt } : {}),
  })
