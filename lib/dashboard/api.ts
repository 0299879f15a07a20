/** Requests to the broker that served this page. A cookie holds the session; scripts cannot read it. */
import type { SessionView } from "../wire/operating.ts"
import type { Problem as ProblemView } from "../wire/problem.ts"
import { BASE } from "./base.ts"
import { noteDate } from "./clock.ts"
import { noteNews } from "./pulse.ts"
import { Store } from "./store.ts"

const TIMEOUT_MS = 40_000

/** undefined: not loaded yet; null: not signed in. */
export const session = new Store<SessionView | null | undefined>(undefined)
export const sessionEnded = new Store(false)
/** What the latest request could not reach. */
export const outage = new Store<"broker" | "redis" | undefined>(undefined)

/** An error response, or no response (status 0). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    error: string,
    readonly detail?: string,
  ) {
    super(error)
  }
  /** The header shows outages, so a view keeps what it shows. */
  get isOutage(): boolean {
    return this.status === 0 || (this.status >= 502 && this.status <= 504)
  }
  /** A retry of the same request would fail in the same way. */
  get isFinal(): boolean {
    return this.status >= 400 && this.status < 500 && this.status !== 429
  }
}

/** `watch` may send what `read` may. */
export function can(role: SessionView["roles"][number]): boolean {
  const { roles = [] } = session.value ?? {}
  return roles.includes(role) || (role === "read" && roles.includes("watch"))
}

/** Returns the response text. `body` is JSON text, so that payloads are sent exactly as typed. `key`: the Idempotency-Key. */
export async function requestText(
  method: string,
  path: string,
  { body, signal, key }: { body?: string; signal?: AbortSignal; key?: string } = {},
): Promise<string> {
  const answer = await send(method, path, body, signal, key)
  if (answer.ok) return answer.text()
  throw await problemOf(answer, method, path)
}

/** Why the broker refuses to open an event stream, of which EventSource does not inform; undefined: it does not. */
export async function refusalOf(path: string): Promise<Problem | undefined> {
  const abort = new AbortController()
  const answer = await send("GET", path, undefined, abort.signal, undefined)
  if (!answer.ok) return problemOf(answer, "GET", path)
  abort.abort()
  return undefined
}

export async function requestJson<T>(
  method: string,
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<T> {
  const text = await requestText(method, path, {
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal ? { signal } : {}),
  })
  return (text === "" ? undefined : JSON.parse(text)) as T
}

async function send(
  method: string,
  path: string,
  body: string | undefined,
  signal: AbortSignal | undefined,
  key: string | undefined,
) {
  // URLs have no such segments: the request would go to another route.
  if (/\/\.\.?(?=\/|\?|$)/.test(path)) throw new Problem(400, 'A name cannot be "." or ".."')
  const csrf = session.value?.csrf
  const timeout = AbortSignal.timeout(TIMEOUT_MS)
  try {
    const answer = await fetch(BASE + path, {
      method,
      cache: "no-store",
      credentials: "same-origin",
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      headers: {
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(key === undefined ? {} : { "idempotency-key": key }),
        ...(method !== "GET" && csrf ? { "x-csrf-token": csrf } : {}),
      },
      ...(body === undefined ? {} : { body }),
    })
    noteNews()
    noteDate(answer.headers.get("date"))
    outage.set(
      answer.status === 503 ? "redis" : answer.status > 503 || answer.status === 502 ? "broker" : undefined,
    )
    return answer
  } catch (error) {
    if (signal?.aborted) throw error
    outage.set("broker")
    throw new Problem(
      0,
      "The broker cannot be reached",
      method === "GET"
        ? "The page retries automatically."
        : "The broker did not answer. The action may have been performed.",
    )
  }
}

async function problemOf(answer: Response, method: string, path: string): Promise<Problem> {
  const { status } = answer
  const text = await answer.text()
  if (status === 401 && path !== "/session") {
    sessionEnded.set(true)
    session.set(null)
  }
  try {
    const { error, detail, field, code }: Partial<ProblemView> = JSON.parse(text)
    // The advice of the broker is for requests that change something.
    if (method === "GET" && code === "redis_unavailable")
      return new Problem(status, error ?? "Redis is unavailable", "The page retries automatically.")
    const where = field && !detail?.includes(field) ? `${field}: ` : ""
    return new Problem(status, error ?? `The broker answered ${status}`, detail && where + detail)
  } catch {
    return new Problem(status, `The broker answered ${status}`, text.slice(0, 200) || undefined)
  }
}

/** Loads the session. 204: not signed in; 401: the session has expired. */
export async function loadSession(): Promise<void> {
  try {
    session.set((await requestJson<SessionView | undefined>("GET", "/session")) ?? null)
  } catch (error) {
    if (!(error instanceof Problem && error.status === 401)) throw error
    sessionEnded.set(true)
    session.set(null)
  }
}

export async function signIn(token: string): Promise<void> {
  const found = await requestJson<SessionView>("POST", "/session", { token })
  sessionEnded.set(false)
  session.set(found)
}

export async function signOut(): Promise<void> {
  const before = session.value
  const ended = requestJson("DELETE", "/session")
  // The views close and abort their requests: the broker would refuse those that arrive after this one.
  session.set(undefined)
  try {
    await ended
  } catch (error) {
    session.set(before)
    throw error
  }
  sessionEnded.set(false)
  session.set(null)
}

/** Builds a query string and omits undefined and empty values. */
export function queryOf(members: Record<string, string | number | undefined>): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(members))
    if (value !== undefined && value !== "") query.set(name, String(value))
  return query.size === 0 ? "" : `?${query}`
}
