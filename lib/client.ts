/**
 * The typed HTTP client: what a program imports to submit tasks, and what worker.ts is made of.
 *
 *   const client = new Client({ url: "http://localhost:5000", token })
 *   const { task_id } = await client.submit({ type: "echo", payload: { hello: "world" } })
 *
 * A call gives the broker's answer or throws: BrokerProblem where the broker said no, BrokerUnreachable where
 * it said nothing. Nothing is repeated behind the caller's back; `retryable` tells what is worth repeating.
 * Every state change but a submit is safe to repeat; a repeated submit may stand twice.
 * Whatever changes state is a POST: fetch by itself sends a GET again when its connection dies.
 */
import type {
  Ack,
  Code,
  DlqAnswer,
  Extend,
  Extended,
  LeaseAnswer,
  LeaseRequest,
  Problem,
  Redriven,
  Settled,
  Submit,
  Submitted,
  TaskView,
} from "./models.ts"

/** Added to `wait_ms`: the broker has to have the time to answer that nothing came. */
const LEASE_MARGIN_MS = 10_000
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504])

/** The broker, or a proxy before it, answered that it will not do what was asked. */
export class BrokerProblem extends Error {
  override readonly name = "BrokerProblem"
  /** Whether the same request can be answered otherwise later. */
  readonly retryable: boolean

  constructor(
    readonly status: number,
    /** "unknown" where the answer was not the broker's: a proxy's page, or a body refused before it was read. */
    readonly code: Code | "unknown",
    readonly error: string,
    readonly detail: string | undefined,
    /** How long the broker asks to be left alone. */
    readonly retryAfterMs: number | undefined,
    /** The whole of what was answered, where it was a problem: `field`, `state`, `attempt`. */
    readonly problem: Problem | undefined,
  ) {
    super(`${error} (${status} ${code})${detail === undefined ? "" : `: ${detail}`}`)
    this.retryable = RETRYABLE.has(status)
  }
}

/** No answer: no connection, none within the time limit, or none that can be read. It may have been done all the same. */
export class BrokerUnreachable extends Error {
  override readonly name = "BrokerUnreachable"
  readonly retryable = true
}

export interface ClientOptions {
  url: string
  /** A function is asked before each request, for a token that changes. */
  token: string | (() => string)
  /** How long to wait for an answer; a lease adds its `wait_ms`. */
  timeoutMs?: number
}

export interface CallOptions {
  /** Ends the wait; the call then throws the signal's reason. */
  signal?: AbortSignal
  timeoutMs?: number
}

export class Client {
  readonly url: string
  readonly #token: () => string
  readonly #timeoutMs: number

  constructor({ url, token, timeoutMs = 10_000 }: ClientOptions) {
    this.url = url.replace(/\/+$/, "")
    this.#token = typeof token === "string" ? () => token : token
    this.#timeoutMs = timeoutMs
  }

  submit(task: Submit, options?: CallOptions): Promise<Submitted> {
    return this.#post("/submit", task, options)
  }

  /** Up to 1,000 in one request. The answers are in order; one that was refused is a BrokerProblem among them. */
  submitMany(tasks: readonly Submit[], options?: CallOptions): Promise<(Submitted | BrokerProblem)[]> {
    return this.#postMany("/submit", tasks, options)
  }

  /** Waits up to `wait_ms` for tasks; no tasks is an answer like any other. */
  lease(request: LeaseRequest = {}, options: CallOptions = {}): Promise<LeaseAnswer> {
    const timeoutMs = options.timeoutMs ?? (request.wait_ms ?? 0) + LEASE_MARGIN_MS
    return this.#post("/lease", request, { ...options, timeoutMs })
  }

  ack(ack: Ack, options?: CallOptions): Promise<Settled> {
    return this.#post("/ack", ack, options)
  }

  ackMany(acks: readonly Ack[], options?: CallOptions): Promise<(Settled | BrokerProblem)[]> {
    return this.#postMany("/ack", acks, options)
  }

  extend(extend: Extend, options?: CallOptions): Promise<Extended> {
    return this.#post("/extend", extend, options)
  }

  extendMany(leases: readonly Extend[], options?: CallOptions): Promise<(Extended | BrokerProblem)[]> {
    return this.#postMany("/extend", leases, options)
  }

  status(id: string, options?: CallOptions): Promise<TaskView> {
    return this.#call("GET", `/status/${encodeURIComponent(id)}`, undefined, options)
  }

  dlq(
    { queue, limit, cursor }: { queue?: string; limit?: number; cursor?: string } = {},
    options?: CallOptions,
  ): Promise<DlqAnswer> {
    const query = new URLSearchParams()
    if (queue !== undefined) query.set("queue", queue)
    if (limit !== undefined) query.set("limit", String(limit))
    if (cursor !== undefined) query.set("cursor", cursor)
    return this.#call("GET", query.size > 0 ? `/dlq?${query}` : "/dlq", undefined, options)
  }

  retryDead(id: string, options?: CallOptions): Promise<Redriven> {
    return this.#call("POST", `/dlq/retry/${encodeURIComponent(id)}`, undefined, options)
  }

  #post<T>(path: string, body: unknown, options?: CallOptions): Promise<T> {
    return this.#call("POST", path, JSON.stringify(body), options)
  }

  async #postMany<T>(
    path: string,
    items: readonly unknown[],
    options?: CallOptions,
  ): Promise<(T | BrokerProblem)[]> {
    if (items.length === 0) return []
    const answers = await this.#post<(T | Problem)[]>(path, items, options)
    if (!Array.isArray(answers) || answers.length !== items.length)
      throw new BrokerUnreachable(
        `${this.url} answered ${path} with something other than ${items.length} answers`,
      )
    return answers.map(answer => (isProblem(answer) ? fromProblem(answer.status, answer) : answer))
  }

  async #call<T>(
    method: string,
    path: string,
    body: string | undefined,
    options: CallOptions = {},
  ): Promise<T> {
    const { signal, timeoutMs = this.#timeoutMs } = options
    signal?.throwIfAborted()
    // Not AbortSignal.any and .timeout: those leave a timer and a listener behind for each call.
    const limit = new AbortController()
    const timer = setTimeout(() => limit.abort(), timeoutMs)
    const leave = () => limit.abort()
    signal?.addEventListener("abort", leave)
    try {
      const headers: Record<string, string> = { "X-API-Token": this.#token(), Accept: "application/json" }
      if (body !== undefined) headers["Content-Type"] = "application/json"
      const request = { method, headers, redirect: "manual", signal: limit.signal } as const
      const response = await fetch(this.url + path, body === undefined ? request : { ...request, body })
      const text = await response.text()
      if (!response.ok) throw refusal(response, text)
      return parse(text) as T
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof BrokerProblem) throw error
      const why = limit.signal.aborted ? `no answer within ${timeoutMs} ms` : reason(error)
      throw new BrokerUnreachable(`the broker at ${this.url} cannot be reached: ${why}`, { cause: error })
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener("abort", leave)
    }
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(`it answered something that is not JSON: ${JSON.stringify(text.slice(0, 80))}`)
  }
}

/** Items that went well have a word as their `status`, never a number. */
function isProblem(answer: unknown): answer is Problem {
  return (
    typeof answer === "object" &&
    answer !== null &&
    "error" in answer &&
    "status" in answer &&
    typeof answer.status === "number"
  )
}

function refusal(response: Response, text: string): BrokerProblem {
  const retryAfterMs = retryAfter(response.headers.get("Retry-After"))
  try {
    const answer: unknown = JSON.parse(text)
    if (isProblem(answer)) return fromProblem(response.status, answer, retryAfterMs)
  } catch {
    // Not the broker's own words: told as unknown below.
  }
  const said = response.statusText || "an answer without a word why"
  return new BrokerProblem(response.status, "unknown", said, undefined, retryAfterMs, undefined)
}

function fromProblem(status: number, problem: Problem, retryAfterMs?: number): BrokerProblem {
  return new BrokerProblem(status, problem.code, problem.error, problem.detail, retryAfterMs, problem)
}

/** Seconds, or a date. */
function retryAfter(header: string | null): number | undefined {
  if (header === null) return undefined
  const ms = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - Date.now()
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = (error as { code?: unknown }).code
  return typeof code === "string" ? code : error.message
}
