/** What a task is: its members, the requests that change it, and what those requests answer. */
import type { Reason, State } from "../wire/fields.ts"
import type { Policy } from "./policy.ts"

/** A task handed out. `type` and `payload` are JSON text, as they were submitted. */
export interface Leased {
  id: string
  queue: string
  type: string
  payload: string
  lease: string
  /** "?": it said no name. */
  worker: string
  attempt: number
  /** From the submit to this lease. */
  waitedMs: number
  retries: number
  policy: Policy
  leaseExpiresAt: number
  /** Further members for the worker, as JSON without braces; undefined: none. */
  extra: string | undefined
  /** JSON text. */
  checkpoint: string | undefined
}

/** All there is to know of a task. `payload`, `result`, `progress` and `checkpoint` are JSON text. */
export interface Task {
  id: string
  queue: string
  state: State
  type: string
  payload: string
  policy: Policy
  attempt: number
  retries: number
  crashes: number
  releases: number
  createdAt: number
  startedAt?: number
  finishedAt?: number
  dueAt?: number
  leaseExpiresAt?: number
  worker?: string
  cancelRequestedAt?: number
  uniqueKey?: string
  /** Members of the answer as JSON without braces. */
  extra?: string
  progress?: string
  checkpoint?: string
  log: string[]
  /** Attempts before the newest, oldest first, each as JSON text. */
  history: string[]
  result?: string
  error?: string
  reason?: Reason
}

export interface NewTask {
  queue: string
  type: string
  payload: string
  policy: Policy
  /** When it is ready: "+ms" from now, or a time in ms since 1970; undefined: at once. */
  when?: string | undefined
  /** After that no attempt starts. */
  expiresInMs?: number | undefined
  /** The id within its queue; undefined: a new one. */
  localId?: string | undefined
  /** Further members for the worker, as JSON without braces. */
  extra?: string | undefined
  /** The trace that its caller named, which stands in `extra`. */
  traceparent?: string | undefined
  /** The same key and print give the first answer again. */
  idempotency?: { key: string; print: string } | undefined
  unique?: { key: string; replace: boolean } | undefined
}

export interface Settlement {
  id: string
  outcome: "done" | "failed" | "released"
  lease?: string | undefined
  /** The result of `done` as JSON text, or the error of `failed`. */
  text?: string | undefined
  /** Of failed: "no" further attempt, or the next one in this many ms. */
  retry?: "no" | number | undefined
}

export interface Extension {
  id: string
  lease: string
  timeoutMs?: number | undefined
  /** JSON text; what is left out stays as it is. */
  progress?: string | undefined
  checkpoint?: string | undefined
  log?: readonly string[] | undefined
}

export interface Submitted {
  id: string
  state: "queued" | "scheduled" | "duplicate"
  replayed?: boolean
  replaced?: boolean
}

export interface Settled {
  id: string
  code: "acknowledged" | "requeued" | "moved_to_dlq" | "released" | "cancelled"
  retries: number
}

export interface Extended {
  id: string
  code: "ok" | "cancelled"
  leaseExpiresAt: number
}
