/** The types of the prose and the examples of a route in the OpenAPI document, and what several routes share. */
import type { TObject } from "@sinclair/typebox"
import { type Facts, Refused } from "../../errors.ts"
import type { DeadGroup } from "../../wire/dead-letters.ts"
import type { TaskView } from "../../wire/inspecting.ts"
import type { QueueView, WorkerView } from "../../wire/managing.ts"
import type { SessionView } from "../../wire/operating.ts"
import type { Code, Problem } from "../../wire/problem.ts"
import {
  type AnswerOf,
  type BodyOf,
  type Chapter,
  type OperationId,
  ROUTES,
  type Route,
} from "../../wire/routes.ts"
import type { LeasedTask } from "../../wire/working.ts"
import { checker, queryChecker } from "../validate.ts"

export type Json = Record<string, unknown>
type Routes = typeof ROUTES
type OneOrMany<Id extends OperationId, One, Many> = Routes[Id] extends { many: true } ? One | Many[] : One

interface Text<Id extends OperationId> {
  /** What the request does, and what the client does next. */
  description: string
  /** An example per parameter of the query; parameters without one are left without. */
  query?: Json
  /** Headers, and parameters that no schema can name. */
  parameters?: readonly Json[]
  answers: { [Status in keyof Routes[Id]["answers"]]: Answer<Id, Routes[Id]["answers"][Status]> }
  /** The facts in the example of a problem. */
  problems?: Partial<Record<Code, Facts>>
  /** By status: advice that differs from the general advice. */
  advice?: Record<number, string>
}
type Answer<Id extends OperationId, Schema> = Schema extends null
  ? { description: string }
  : {
      description: string
      headers?: Json
      examples: Record<string, OneOrMany<Id, AnswerOf<Id>, AnswerOf<Id> | Problem>>
    }
type Body<Id extends OperationId> = Routes[Id] extends { body: unknown }
  ? { body: Record<string, OneOrMany<Id, BodyOf<Id>, BodyOf<Id>>> }
  : { body?: never }

export type ProseOf<Of extends Chapter> = {
  [Id in OperationId as Routes[Id]["chapter"] extends Of ? Id : never]: Text<Id> & Body<Id>
}

export const ID = "01KATR5S3HQ7V2M9XW4TPD"
export const LEASE = "1.Zk3m0yqTn8VwL5bXhR2cPg"
export const NOW = 1_764_000_000_000
export const NEXT = "ZGVmYXVsdCAxNzY0MDAwMDAwMDAwIDAx"

export const LEASED: LeasedTask = {
  id: ID,
  type: "echo",
  payload: { hello: "world" },
  status: "processing",
  retries: 0,
  max_retries: 3,
  queue: "default",
  attempt: 1,
  lease: LEASE,
  timeout_ms: 30_000,
  lease_expires_at: NOW + 30_000,
}

const TASK = {
  id: ID,
  queue: "default",
  retries: 0,
  max_retries: 3,
  priority: 5,
  crashes: 0,
  max_crashes: 3,
  releases: 0,
  timeout_ms: 30_000,
  created_at: NOW,
}

export const DONE: TaskView = {
  ...TASK,
  type: "echo",
  payload: { hello: "world" },
  status: "done",
  attempt: 1,
  started_at: NOW + 5,
  finished_at: NOW + 40,
  worker: "host-1",
  result: { hello: "world" },
  attempts: [{ attempt: 1, worker: "host-1", started_at: NOW + 5, ended_at: NOW + 40, outcome: "done" }],
}

export const RUNNING: TaskView = {
  ...TASK,
  type: "import",
  payload: { file: "a.csv" },
  status: "processing",
  attempt: 2,
  crashes: 1,
  started_at: NOW + 900,
  lease_expires_at: NOW + 30_900,
  worker: "host-2",
  meta: { team: "mail" },
  progress: 0.4,
  checkpoint: { line: 400 },
  log: ["400 of 1000 lines"],
  log_at: [NOW + 5_000],
  attempts: [
    { attempt: 1, worker: "host-1", started_at: NOW + 5, ended_at: NOW + 800, outcome: "crashed" },
    { attempt: 2, worker: "host-2", started_at: NOW + 900, outcome: "processing" },
  ],
}

const ERROR = "the mail server said no"
export const DEAD: TaskView = {
  ...TASK,
  type: "mail",
  payload: { to: "a@example.org" },
  status: "dead",
  retries: 4,
  attempt: 4,
  started_at: NOW + 900,
  finished_at: NOW + 950,
  worker: "host-1",
  error: ERROR,
  reason: "failed",
  attempts: [
    {
      attempt: 4,
      worker: "host-1",
      started_at: NOW + 900,
      ended_at: NOW + 950,
      outcome: "failed",
      error: ERROR,
    },
  ],
}

export const DEAD_GROUP: DeadGroup = {
  fingerprint: "9f2c41d07ab35e68",
  type: "mail",
  reason: "failed",
  count: 214,
  error: "the mail server said <n>: no mailbox <text>",
  first_at: NOW,
  last_at: NOW + 60_000,
  sample: { task_id: ID, error: 'the mail server said 550: no mailbox "a@example.org"' },
}

export const QUEUE: QueueView = {
  queue: "mail",
  depth: { queued: 12, delayed: 3, processing: 4, done: 1_500, dead: 2, cancelled: 0, open: 17 },
  queued_by_priority: { 5: 10, 9: 2 },
  oldest_waiting_ms: 4_200,
  polled_at: NOW,
  paused: false,
  settings: {},
  workers: { count: 2, names: ["host-1", "host-2"] },
  recent: {
    submitted_per_s: 12.1,
    done_per_s: 11.4,
    failed_per_s: 0.3,
    lapsed_per_s: 0.1,
    dead_per_s: 0.005,
    done: 6_840,
    failed: 180,
    lapsed: 60,
    dead: 3,
    wait_ms: { p50: 40, p95: 610, p99: 950 },
    run_ms: { p50: 22, p95: 160, p99: 270 },
    depth_before: { queued: 3, delayed: 2, processing: 4 },
  },
  rates: { submitted: 12.5, leased: 11.8, done: 11.2, failed: 0.4, released: 0, lapsed: 0.1, dead: 0 },
  attention: [
    {
      kind: "lapsing",
      value: 60,
      threshold: 1,
      why: "60 leases lapsed in the last ten minutes: workers crash or are too slow.",
    },
  ],
}

export const PAUSED: QueueView = {
  ...QUEUE,
  paused: true,
  paused_at: NOW - 60_000,
  pause_reason: "the mail server is being moved",
}

export const WORKER: WorkerView = {
  worker: "host-1",
  state: "live",
  host: "host",
  version: "0.1.0",
  queues: ["default", "mail"],
  first_seen_at: NOW - 3_600_000,
  last_seen_at: NOW,
  concurrency: 10,
  in_hand: 1,
  tasks: [ID],
  done: 1_500,
  failed: 2,
  per_minute: 25,
}

export const SESSION: SessionView = {
  name: "ci",
  roles: ["submit", "read"],
  queues: ["mail"],
  csrf: "w2W6dWZ1cFq0b7mQm0v3k9mB7m3sJ3a0xk8eWc1d2eY",
  expires_at: NOW + 43_200_000,
}

/** The facts of the refusal that `call` throws: an example of a problem has the text that clients really get. */
export function factsOf(call: () => unknown): Facts {
  try {
    call()
  } catch (error) {
    if (error instanceof Refused) return error.facts
    throw error
  }
  throw new Error("The example of a refusal was not refused")
}

/** The facts of the refusal that a route answers to this body. */
export const badBody = (id: OperationId, body: unknown): Facts =>
  factsOf(() => checker((ROUTES[id] as Route).body!)(body))

/** The facts of the refusal that a route answers to this query. */
export const badQuery = (id: OperationId, query: string): Facts =>
  factsOf(() => queryChecker((ROUTES[id] as Route).query as TObject)(new URLSearchParams(query)))

export const EACH =
  "Items of an array are checked and answered independently: the answer has one item per item of the request, in the " +
  "same order, and an item that is refused is answered with a problem."
export const FILTER = "All members of the filter that are given must match. "
export const PAGED =
  "One call reads a bounded number of tasks, queues and bytes. If the answer has a `next`, repeat the call with the same filter and with " +
  "`next` as `cursor`, even if this call matched little or nothing."
