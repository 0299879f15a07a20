import type { SessionView } from "../wire/operating.ts"
import type { Problem as ProblemView } from "../wire/problem.ts"
import { Store } from "./store.ts"

const TIMEOUT_MS = 40_000

/** undefined: not known yet; null: nobody has signed in. */
export const session = new Store<SessionView | null | undefined>(undefined)
export const sessionEnded = new Store(false)
/** Who does not answer, as far as the newest request tells. */
export const outage = new Store<"broker" | "redis" | undefined>(undefined)

/** An answer that is an error, or none at all (status 0). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    error: string,
    readonly detail?: string,
  ) {
    super(error)
  }
  /** The line on top says so already: what is shown stays as it is. */
  get isOutage(): boolean {
    return this.status === 0 || (this.status >= 502 && this.status <= 504)
  }
  /** The same request would get the same answer. */
  get isFinal(): boolean {
    return this.status >= 400 && this.status < 500 && this.status !== 429
  }
}

export const can = (role: SessionView["roles"][number]): boolean =>
  session.value?.roles.includes(role) ?? false

/** The text of an answer. `body` is JSON text, so that what is in it can stay to the letter. */
export async function requestText(
  method: string,
  path: string,
  { body, signal }: { body?: string; signal?: AbortSignal } = {},
): Promise<string> {
  const answer = await send(method, path, body, signal)
  const text = await answer.text()
  if (answer.ok) return text
  const problem = problemOf(answer.status, text)
  if (answer.status === 401 && path !== "/session") {
    sessionEnded.set(true)
    session.set(null)
  }
  throw problem
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

async function send(method: string, path: string, body: string | undefined, signal: AbortSignal | undefined) {
  const csrf = session.value?.csrf
  const timeout = AbortSignal.timeout(TIMEOUT_MS)
  try {
    const answer = await fetch(path, {
      method,
      cache: "no-store",
      credentials: "same-origin",
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      headers: {
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(method !== "GET" && csrf ? { "x-csrf-token": csrf } : {}),
      },
      ...(body === undefined ? {} : { body }),
    })
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
        ? "It is asked again by itself."
        : "No answer came. What was asked may have been done.",
    )
  }
}

function problemOf(status: number, text: string): Problem {
  try {
    const { error, detail, field }: Partial<ProblemView> = JSON.parse(text)
    const where = field && !detail?.includes(field) ? `${field}: ` : ""
    return new Problem(status, error ?? `The broker answered ${status}`, detail && where + detail)
  } catch {
    return new Problem(status, `The answer was ${status}`, text.slice(0, 200) || undefined)
  }
}

/** Asks who we are. 204: nobody; 401: somebody whose time is over. */
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
  await requestJson("DELETE", "/session")
  sessionEnded.set(false)
  session.set(null)
}

/** A query string of what is given. */
export function queryOf(members: Record<string, string | number | undefined>): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(members))
    if (value !== undefined && value !== "") query.set(name, String(value))
  return query.size === 0 ? "" : `?${query}`
}
