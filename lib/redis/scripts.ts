/**
 * The Lua scripts as typed functions: what goes in and what comes out of each, and nothing else. A script is
 * called for one queue, gets all keys of that queue, and decides one transition for many tasks at once.
 */
import { createHash } from "node:crypto"
import auditQueue from "../lua/audit-queue.lua" with { type: "text" }
import cancel from "../lua/cancel.lua" with { type: "text" }
import collect from "../lua/collect.lua" with { type: "text" }
import deleteDead from "../lua/delete-dead.lua" with { type: "text" }
import extend from "../lua/extend.lua" with { type: "text" }
import inspect from "../lua/inspect.lua" with { type: "text" }
import lease from "../lua/lease.lua" with { type: "text" }
import leasesByWorker from "../lua/leases-by-worker.lua" with { type: "text" }
import moves from "../lua/moves.lua" with { type: "text" }
import page from "../lua/page.lua" with { type: "text" }
import pause from "../lua/pause.lua" with { type: "text" }
import purge from "../lua/purge.lua" with { type: "text" }
import queueState from "../lua/queue-state.lua" with { type: "text" }
import queueStates from "../lua/queue-states.lua" with { type: "text" }
import record from "../lua/record.lua" with { type: "text" }
import retryDead from "../lua/retry-dead.lua" with { type: "text" }
import settings from "../lua/settings.lua" with { type: "text" }
import settle from "../lua/settle.lua" with { type: "text" }
import submit from "../lua/submit.lua" with { type: "text" }
import sweep from "../lua/sweep.lua" with { type: "text" }
import watch from "../lua/watch.lua" with { type: "text" }
import why from "../lua/why.lua" with { type: "text" }
import type { RawTask } from "../task/record.ts"
import type { Reason, State } from "../wire/fields.ts"
import type { Fault } from "../wire/operating.ts"
import { asRefusal } from "./faults.ts"
import { queueKeys } from "./keys.ts"
import type { Runner, Script } from "./store.ts"

/** Each script with its arguments as the script's own first lines name them: those before, and those of each item. */
export const SCRIPTS = {
  submit: {
    source: submit,
    args: ["ttl"],
    each: ["id", "body", "large", "extras"],
  },
  lease: { source: lease, args: ["limit", "retention", "tokens"], each: ["worker", "slots"] },
  settle: {
    source: settle,
    args: ["retention"],
    each: ["id", "lease", "outcome", "retry", "text"],
  },
  extend: { source: extend, args: [], each: ["id", "lease", "timeout", "progress", "checkpoint", "log"] },
  sweep: {
    source: sweep,
    args: ["limit", "retention", "dead_retention", "keep", "keep_dead", "polled"],
    each: [],
  },
  cancel: { source: cancel, args: ["retention"], each: ["id"] },
  retryDead: { source: retryDead, args: [], each: ["id", "inline", "large"] },
  watch: { source: watch, args: [], each: ["id"] },
  inspect: { source: inspect, args: [], each: ["id"] },
  why: { source: why, args: [], each: ["id"] },
  auditQueue: { source: auditQueue, args: ["began", "fix", "retention"], each: ["what", "id", "more"] },
  queueState: { source: queueState, args: [], each: [] },
  queueStates: { source: queueStates, args: ["queues"], each: [] },
  leasesByWorker: { source: leasesByWorker, args: ["from", "limit"], each: [] },
  purge: { source: purge, args: ["place", "limit"], each: [] },
  deleteDead: { source: deleteDead, args: [], each: ["id"] },
  pause: { source: pause, args: ["on", "reason"], each: [] },
  settings: { source: settings, args: ["concurrency", "per_second", "burst"], each: [] },
  page: { source: page, args: ["place", "limit", "score", "id", "bare"], each: [] },
} as const satisfies Record<string, { source: string; args: readonly string[]; each: readonly string[] }>

export type ScriptName = keyof typeof SCRIPTS
type Value = string | number
type Arguments<N extends ScriptName> = { [K in (typeof SCRIPTS)[N]["args"][number]]: Value }
type Item<N extends ScriptName> = { [K in (typeof SCRIPTS)[N]["each"][number]]: Value }

export type SubmitWord =
  | "queued"
  | "scheduled"
  | "replay_queued"
  | "replay_scheduled"
  | "replay_duplicate"
  | "replay_replaced"
  | "conflict"
  | "duplicate"
  | "replaced"
  | "exists"
  | "full_depth"
  | "full_bytes"
export type SettleWord =
  | "acknowledged"
  | "requeued"
  | "moved_to_dlq"
  | "released"
  | "cancelled"
  | "lease_lost"
  | "not_leased"
  | "unknown"
export type ExtendWord = "ok" | "cancelled" | "lease_lost" | "unknown"
export type CancelWord = "cancelled" | "cancelling" | "ended" | "unknown"

/** What each script answers: one entry an item, but for lease, sweep, page, queueState, leasesByWorker, pause, settings, purge and audit, or one word that is true of all. */
export interface Replies {
  submit: "queued" | [word: SubmitWord, id: string][]
  lease: [nextEvent: number, handed: string[], lapsed: number, died: number, timeouts?: string[]]
  settle:
    | "acknowledged"
    | [word: SettleWord, retries: number, attempt: number, state: State, reason?: Reason][]
  extend: [word: ExtendWord, deadline: number, attempt: number, state: State][]
  sweep: [more: 0 | 1, waiting: 0 | 1, nextEvent: number, lapsed: number, died: number, timeouts?: string[]]
  cancel: [word: CancelWord, state: State][]
  retryDead: ("requeued" | "not_dead" | "duplicate")[]
  watch: ("watched" | "ended" | "unknown")[]
  inspect: (RawTask | null)[]
  why: (
    | [
        ...[now: number, polled: string, ahead: number, position: number],
        ...[paused: string, reason: string, limited: 0 | 1, task: RawTask],
      ]
    | null
  )[]
  queueState: [
    ...[now: number, polled: string, paused: string, reason: string],
    ...[concurrency: string, perSecond: string, burst: string, oldest: number],
    ...[due: number, leases: number, done: number, dead: number, cancelled: number],
    ...ready: number[],
  ]
  queueStates: string
  leasesByWorker: [looked: number, ...holders: [worker: string, count: number, ids: string[]][]]
  purge: [looked: number, purged: number]
  deleteDead: ("deleted" | "not_dead")[]
  pause: number
  settings: "set"
  auditQueue: [
    now: number,
    bytes: number,
    counted: number,
    ...faults: [index: number, fault: Fault, mended: 0 | 1, lease: string][],
  ]
  page: [size: number, ...entries: [score: string, id: string, task: RawTask | null][]]
}

/** How many tasks of a queue may wait, and how many bytes its tasks may hold, before submits are refused; 0: none. */
export interface Limits {
  depth: number
  bytes: number
}
const NO_LIMITS: Limits = { depth: 0, bytes: 0 }

/** What every queue script starts with. */
const PRELUDE = [record, collect, moves].join("\n")

/** A script as Redis receives it: its shebang, the limits, the prelude, and its own lines. */
export function scriptText(source: string, { depth, bytes } = NO_LIMITS): string {
  const end = source.indexOf("\n")
  const limits = `local max_depth, max_bytes = ${depth}, ${bytes}`
  return `${source.slice(0, end)}\n${limits}\n${PRELUDE}\n${source.slice(end + 1)}`
}

/** Of what these write nobody is told: a failover may undo it, and it is then done again. */
const SAFE_TO_LOSE: ReadonlySet<ScriptName> = new Set(["sweep", "watch", "auditQueue"])

export const prepareScript = (text: string): Script => ({
  text,
  sha: createHash("sha1").update(text).digest("hex"),
})

const prepareAll = (limits: Limits) =>
  Object.fromEntries(
    Object.entries(SCRIPTS).map(([name, { source }]) => {
      const writes = !source.slice(0, source.indexOf("\n")).includes("no-writes")
      const told = writes && !SAFE_TO_LOSE.has(name as ScriptName)
      return [name, { ...prepareScript(scriptText(source, limits)), told }]
    }),
  ) as Record<ScriptName, Script & { told: boolean }>

export class Scripts {
  readonly #prepared: ReturnType<typeof prepareAll>

  constructor(
    private readonly runner: Runner,
    readonly limits = NO_LIMITS,
  ) {
    this.#prepared = prepareAll(limits)
  }

  /** Runs a script for a queue. Faults of Redis come as Refused. `told`: somebody is told of what it writes. */
  async call<N extends ScriptName>(
    name: N,
    queue: string,
    args: Arguments<N>,
    items: readonly Item<N>[] = [],
    told = this.#prepared[name].told,
  ): Promise<Replies[N]> {
    const declared = SCRIPTS[name]
    const flat: Value[] = []
    for (const field of declared.args) flat.push(args[field as keyof Arguments<N>])
    for (const item of items) for (const field of declared.each) flat.push(item[field as keyof Item<N>])
    try {
      return (await this.runner.run(this.#prepared[name], queueKeys(queue), flat, told)) as Replies[N]
    } catch (error) {
      throw asRefusal(error)
    }
  }
}
