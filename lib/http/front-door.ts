/** What every request passes: authentication, roles, CSRF checks, request ids, and the answers for errors. */
import { Elysia, NotFoundError } from "elysia"
import type { BrokerConfig } from "../config/config.ts"
import type { ApiToken } from "../config/tokens.ts"
import { Refused } from "../errors.ts"
import type { Log } from "../log.ts"
import { ROUTES, type Route } from "../wire/routes.ts"
import { Caller, callerFinder, tokenOf } from "./access.ts"
import { errorAnswer, problemAnswer, requestId, urlOf } from "./answer.ts"
import { dropRest } from "./body.ts"
import { hasCredentials, rejectCrossOrigin, requireCsrf, type Session, Sessions } from "./browser-session.ts"
import { WrongToken, WrongTokens } from "./wrong-tokens.ts"

/** Pages that are not in the table of routes. */
const PUBLIC_PAGES = /^\/((swagger|dashboard)(\/.*)?)?$/
/** The paths that have a route without roles, and those of their methods that need a token nevertheless. */
const PUBLIC_PATHS = new Map<string, Set<string>>()
for (const { path, roles } of Object.values<Route>(ROUTES))
  if (roles.length === 0) PUBLIC_PATHS.set(path, new Set())
for (const { method, path, roles } of Object.values<Route>(ROUTES))
  if (roles.length > 0) PUBLIC_PATHS.get(path)?.add(method)
/** The caller of requests on public routes. */
const NOBODY = new Caller({ name: "nobody", roles: [], queues: [] })

interface Identity {
  caller: Caller
  session: Session | undefined
}

/** Finds out who sends a request. */
export class Authentication {
  readonly sessions: Sessions
  readonly #callerOf: (token: string) => Caller | undefined

  constructor(
    tokens: readonly ApiToken[],
    private readonly config: Pick<BrokerConfig, "metricsPublic">,
  ) {
    this.sessions = new Sessions(tokens)
    this.#callerOf = callerFinder(tokens)
  }

  /** The caller, identified by a token or otherwise by the session cookie; undefined if neither is valid. */
  identify({ headers }: Request): Identity | undefined {
    const token = tokenOf(headers)
    if (token !== undefined) {
      const caller = this.#callerOf(token)
      return caller && { caller, session: undefined }
    }
    const session = this.sessions.of(headers)
    return session && { caller: session.caller, session }
  }

  /** The caller, or a refusal that says whether the token is missing or wrong. */
  authenticate(request: Request): Identity {
    const identity = this.identify(request)
    if (identity !== undefined) return identity
    if (tokenOf(request.headers) !== undefined) throw new WrongToken()
    if (hasCredentials(request.headers))
      throw new Refused("unauthorized", {
        detail: "The session of this cookie has expired or is invalid. Sign in again.",
      })
    throw new Refused("unauthorized")
  }

  /** The caller on a route; undefined if the route is public. All others are refused before their bodies are read. */
  admit(request: Request, path: string): Identity | undefined {
    // A request of HTTP/1.0 may have no Host header, as those of health checks: see urlOf.
    if (!URL.canParse(request.url) && request.headers.has("host"))
      throw new Refused("bad_request", {
        detail: "The Host header is empty or invalid. Send the host of the broker, such as localhost:5000.",
      })
    if (this.#isPublic(path, request.method)) return undefined
    if (isSigningOut(request, path) && this.identify(request) === undefined) {
      rejectCrossOrigin(request)
      return undefined
    }
    return this.authenticate(request)
  }

  #isPublic(path: string, method: string): boolean {
    return (
      PUBLIC_PATHS.get(path)?.has(method) === false ||
      PUBLIC_PAGES.test(path) ||
      (this.config.metricsPublic && path === "/metrics")
    )
  }
}

/** A browser that signs out may have an expired cookie. It is not refused, because it only wants to lose the cookie. */
const isSigningOut = ({ method, headers }: Request, path: string) =>
  path === "/session" && method === "DELETE" && tokenOf(headers) === undefined && hasCredentials(headers)

/** `allowedMethods`: the methods of all routes that match a path. */
export const frontDoor = (
  authentication: Authentication,
  limitedLog: Log,
  allowedMethods: (path: string) => string[],
) => {
  const wrongTokens = new WrongTokens(limitedLog)
  return new Elysia({ name: "front-door" })
    .decorate("caller", NOBODY)
    .decorate("session", undefined as Session | undefined)
    .onBeforeHandle({ as: "global" }, context => {
      // The only hook: each further one costs every request, and two cost a tenth of a submit. Elysia reads its text.
      // It must not contain `return f(`, or Elysia awaits it, and it must not pass `context` to a function, or Elysia
      // parses the headers and the query of every request. It refuses by throwing.
      const { request, route, set } = context
      // Other requests get an id when they need one: see requestId.
      if (request.headers.has("x-request-id")) requestId({ request, set })
      // Use the route: it is what Bun matched. The path in request.url is normalized and may differ.
      const identity = authentication.admit(request, route)
      if (identity === undefined) return
      context.caller = identity.caller
      context.session = identity.session
      // Elysia would run the GET handler for HEAD, and GET /get leases a task.
      if (request.method === "HEAD") throw new MethodNotAllowed(allowedMethods(route))
      if (identity.session !== undefined) {
        rejectCrossOrigin(request)
        if (request.method !== "GET" || route === "/get") requireCsrf(request, identity.session)
      }
      identity.caller.requireRole(`${request.method} ${route}`)
    })
    .onError({ as: "global" }, async ({ error, request, set, server }) => {
      await dropRest(request)
      const context = { request, set }
      const addressOf = () => server?.requestIP(request)?.address ?? "unknown"
      try {
        if (error instanceof WrongToken) throw error
        if (error instanceof MethodNotAllowed) return methodNotAllowed(error.allowed)
        if (error instanceof NotFoundError) {
          // Only authenticated callers learn which routes exist.
          const path = urlOf(request)?.pathname ?? ""
          authentication.admit(request, path)
          const allowed = allowedMethods(path)
          // A path that only looks like a known one after normalization was not matched: it stays unknown.
          if (allowed.length > 0 && !allowed.includes(request.method)) {
            requestId(context)
            return methodNotAllowed(allowed)
          }
        }
        return errorAnswer(error, context, limitedLog)
      } catch (refused) {
        const answer = refused instanceof WrongToken ? wrongTokens.count(addressOf()) : refused
        return errorAnswer(answer, context, limitedLog)
      }
    })
}

class MethodNotAllowed extends Error {
  constructor(readonly allowed: string[]) {
    super("method not allowed")
  }
}

function methodNotAllowed(allowed: readonly string[]): Response {
  const answer = problemAnswer(new Refused("method_not_allowed"))
  answer.headers.set("allow", allowed.join(", "))
  return answer
}

/** Finds the methods of a path among routes in Elysia's spelling, in which `:name` and `*` stand for any segments. */
export function methodFinder(routes: readonly { method: string; path: string }[]) {
  const patterns = routes.map(({ method, path }) => ({
    method,
    pattern: new RegExp(`^${path.replace(/[.]/g, "\\.").replace(/:\w+/g, "[^/]+").replace("*", ".*")}/?$`),
  }))
  return (path: string): string[] => [
    ...new Set(patterns.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method)),
  ]
}
