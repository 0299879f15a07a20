/** The types of a task: its members, the requests that change it, and their answers. */
import type { State } from "../wire/fields.ts"
import type { Reason } from "../wire/states.ts"
import type { Policy } from "./policy.ts"

/** A leased task. `type` and `payload` are JSON text, as submitted. */
export interface Leased {
  id: string
  queue: string
  type: string
  payload: string
  lease: string
  /** "?": it gave no name. */
  worker: string
  attempt: number
  /** When this lease began. */
  startedAt: number
  /** Time from the submit to this lease. */
  waitedMs: number
  retries: number
  releases: number
  policy: Policy
  group: string | undefined
  leaseExpiresAt: number
  /** Further members for the worker, as JSON without braces. */
  memberJson: string | undefined
  /** JSON text. */
  checkpoint: string | undefined
  /** The task was submitted with `redact`. */
  redact: true | undefined
}

/** A task with all its members. `payload`, `result`, `progress` and `checkpoint` are JSON text. */
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
  group?: string
  /** Further members for the worker, as JSON without braces. */
  memberJson?: string
  progress?: string
  checkpoint?: string
  log: string[]
  /** When the broker received each of the newest lines of `log`; lines that an earlier version stored have no time. */
  logAt?: number[]
  /** Finished attempts, oldest first, each as JSON text. */
  history: string[]
  result?: string
  error?: string
  reason?: Reason
  /** Only workers and operators may see its contents. */
  redact?: true
  /** The reader may not see its contents, so they are missing: see sight.ts. */
  hidden?: true
}

export interface NewTask {
  queue: string
  type: string
  payload: string
  policy: Policy
  /** When the task becomes ready: "+ms" from now, or a time in ms since 1970; undefined: at once. */
  when?: string | undefined
  /** No attempt starts after this time. */
  expiresInMs?: number | undefined
  /** The id within its queue; undefined: the broker generates one. */
  localId?: string | undefined
  /** Further members for the worker, as JSON without braces. */
  memberJson?: string | undefined
  /** The trace context of the submit, which `memberJson` also contains. */
  traceparent?: string | undefined
  /** A submit with the same key and print gets the first answer again. */
  idempotency?: { key: string; print: string } | undefined
  unique?: { key: string; replace: boolean } | undefined
  /** The tasks of a group share their turns and limits. */
  group?: string | undefined
  /** Only workers and operators may see its contents. */
  redact?: boolean | undefined
}

export interface Settlement {
  id: string
  outcome: "done" | "failed" | "released"
  lease?: string | undefined
  /** The result of `done` as JSON text, or the error of `failed` or `released`. */
  text?: string | undefined
  /** Ms until the next attempt, or "no" further one, for `failed` only; undefined: budget and backoff decide, or at once. */
  retry?: "no" | number | undefined
  /** For `failed` and `released`: nobody leases a task of the same group for this long. */
  holdGroupMs?: number | undefined
}

export interface Extension {
  id: string
  lease: string
  timeoutMs?: number | undefined
  /** JSON text; undefined keeps the stored value. */
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
