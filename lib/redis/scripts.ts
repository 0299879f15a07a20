/**
 * The Lua scripts as typed functions: the arguments and the reply of each. A queue script runs on the keys of one queue
 * and applies one transition to many tasks. The others run on keys that are about no single queue.
 */
import { createHash } from "node:crypto"
import auditQueue from "../lua/audit-queue.lua" with { type: "text" }
import buckets from "../lua/buckets.lua" with { type: "text" }
import cancel from "../lua/cancel.lua" with { type: "text" }
import change from "../lua/change.lua" with { type: "text" }
import clock from "../lua/clock.lua" with { type: "text" }
import collect from "../lua/collect.lua" with { type: "text" }
import create from "../lua/create.lua" with { type: "text" }
import deadSize from "../lua/dead-size.lua" with { type: "text" }
import delayed from "../lua/delayed.lua" with { type: "text" }
import deleteEnded from "../lua/delete-ended.lua" with { type: "text" }
import deletion from "../lua/deletion.lua" with { type: "text" }
import extend from "../lua/extend.lua" with { type: "text" }
import forget from "../lua/forget.lua" with { type: "text" }
import groupStates from "../lua/group-states.lua" with { type: "text" }
import groups from "../lua/groups.lua" with { type: "text" }
import inspect from "../lua/inspect.lua" with { type: "text" }
import lease from "../lua/lease.lua" with { type: "text" }
import leasesByWorker from "../lua/leases-by-worker.lua" with { type: "text" }
import merged from "../lua/merged.lua" with { type: "text" }
import moves from "../lua/moves.lua" with { type: "text" }
import newest from "../lua/newest.lua" with { type: "text" }
import page from "../lua/page.lua" with { type: "text" }
import pause from "../lua/pause.lua" with { type: "text" }
import purge from "../lua/purge.lua" with { type: "text" }
import queueState from "../lua/queue-state.lua" with { type: "text" }
import queueStates from "../lua/queue-states.lua" with { type: "text" }
import ranks from "../lua/ranks.lua" with { type: "text" }
import recheckGroups from "../lua/recheck-groups.lua" with { type: "text" }
import record from "../lua/record.lua" with { type: "text" }
import retryDead from "../lua/retry-dead.lua" with { type: "text" }
import schedule from "../lua/schedule.lua" with { type: "text" }
import scheduleFire from "../lua/schedule-fire.lua" with { type: "text" }
import scheduleGet from "../lua/schedule-get.lua" with { type: "text" }
import scheduleSet from "../lua/schedule-set.lua" with { type: "text" }
import schedulesDue from "../lua/schedules-due.lua" with { type: "text" }
import schedulesPage from "../lua/schedules-page.lua" with { type: "text" }
import setGroup from "../lua/set-group.lua" with { type: "text" }
import settings from "../lua/settings.lua" with { type: "text" }
import settle from "../lua/settle.lua" with { type: "text" }
import states from "../lua/states.lua" with { type: "text" }
import submit from "../lua/submit.lua" with { type: "text" }
import sweep from "../lua/sweep.lua" with { type: "text" }
import taskTypes from "../lua/task-types.lua" with { type: "text" }
import texts from "../lua/texts.lua" with { type: "text" }
import watch from "../lua/watch.lua" with { type: "text" }
import why from "../lua/why.lua" with { type: "text" }
import type { RawTask } from "../task/record.ts"
import type { RawSchedule } from "../task/schedule.ts"
import type { State } from "../wire/fields.ts"
import type { HeldCause } from "../wire/grouping.ts"
import type { AuditFault } from "../wire/operating.ts"
import type { Reason } from "../wire/states.ts"
import { channelIn, QUEUE_KEY_NAMES, type QueueKey, queueKeys, SHARED_KEYS } from "./keys.ts"
import type { Runner, Script } from "./runner.ts"
import { definitionsIn, namesIn, withDefinitions } from "./script-text.ts"
import { asRefusal } from "./server-errors.ts"
import { SHARED_SCRIPTS, type SharedReplies, type SharedScriptName } from "./shared-scripts.ts"

interface Declaration {
  source: string
  /** The arguments that are passed once, in the order in which the script reads them. */
  args: readonly string[]
  /** The arguments that are passed for each item. */
  each: readonly string[]
}

/** Scripts that run on the keys of one queue. */
export const QUEUE_SCRIPTS = {
  submit: {
    source: submit,
    args: ["ttl"],
    each: ["id", "body", "large", "options"],
  },
  lease: { source: lease, args: ["limit", "retention", "tokens", "registered"], each: ["worker", "slots"] },
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
  change: {
    source: change,
    args: [],
    each: ["id", "inline", "large", "priority", "when", "members", "known"],
  },
  states: { source: states, args: [], each: ["id"] },
  retryDead: { source: retryDead, args: ["before"], each: ["id", "inline", "large"] },
  watch: { source: watch, args: [], each: ["id"] },
  inspect: { source: inspect, args: [], each: ["id"] },
  why: { source: why, args: [], each: ["id"] },
  auditQueue: {
    source: auditQueue,
    args: ["began", "fix", "retention"],
    each: ["what", "id", "more"],
  },
  queueState: { source: queueState, args: ["queues"], each: [] },
  queueStates: { source: queueStates, args: ["queues"], each: [] },
  delayed: { source: delayed, args: ["limit"], each: [] },
  leasesByWorker: { source: leasesByWorker, args: ["queues", "from", "limit", "most"], each: [] },
  purge: { source: purge, args: ["place", "limit"], each: [] },
  deleteEnded: { source: deleteEnded, args: ["states", "before"], each: ["id"] },
  pause: { source: pause, args: ["on", "reason"], each: [] },
  settings: {
    source: settings,
    args: ["concurrency", "per_second", "burst", "rates", "group_limits", "attention"],
    each: [],
  },
  setGroup: { source: setGroup, args: ["group", "change", "value"], each: [] },
  groupStates: { source: groupStates, args: ["part", "score", "name", "limit"], each: [] },
  recheckGroups: { source: recheckGroups, args: ["from", "limit"], each: [] },
  page: {
    source: page,
    args: ["queues", "places", "limit", "bytes", "part", "place", "score", "id"],
    each: [],
  },
  newest: { source: newest, args: ["queues", "priorities", "skip", "limit"], each: [] },
  merged: {
    source: merged,
    args: ["queues", "places", "retention", "limit", "most", "part", "at", "queue", "place", "id"],
    each: [],
  },
  texts: { source: texts, args: ["what", "bytes"], each: ["queue", "id"] },
  taskTypes: { source: taskTypes, args: [], each: ["queue", "id"] },
  deadSize: { source: deadSize, args: ["queues"], each: [] },
  scheduleFire: {
    source: scheduleFire,
    args: ["retention", "ttl"],
    each: [
      "name",
      "version",
      "planned_at",
      "next_at",
      "score",
      "missed",
      "at",
      "overlap",
      "body",
      "large",
      "options",
    ],
  },
  scheduleSet: { source: scheduleSet, args: ["name", "before", "text", "score"], each: [] },
  scheduleGet: { source: scheduleGet, args: ["name"], each: [] },
  schedulesDue: { source: schedulesDue, args: ["limit"], each: [] },
  schedulesPage: {
    source: schedulesPage,
    args: ["limit", "score", "name", "before", "part"],
    each: [],
  },
  forget: { source: forget, args: ["polled", "fix"], each: [] },
} as const satisfies Record<string, Declaration>

const ALL_SCRIPTS = { ...QUEUE_SCRIPTS, ...SHARED_SCRIPTS } satisfies Record<string, Declaration>

export type ScriptName = keyof typeof QUEUE_SCRIPTS
type AnyScript = keyof typeof ALL_SCRIPTS
type Value = string | number
type Arguments<N extends AnyScript> = { [K in (typeof ALL_SCRIPTS)[N]["args"][number]]: Value }
export type Item<N extends AnyScript> = { [K in (typeof ALL_SCRIPTS)[N]["each"][number]]: Value }

/** The codes that scripts answer for each item. A test compares them with the headers of the scripts. */
export const CODES = {
  submit: [
    "queued",
    "scheduled",
    "replay_queued",
    "replay_scheduled",
    "replay_duplicate",
    "replay_replaced",
    "conflict",
    "duplicate",
    "replaced",
    "exists",
    "full_depth",
    "full_bytes",
    "full_group",
  ],
  settle: [
    "acknowledged",
    "requeued",
    "moved_to_dlq",
    "released",
    "cancelled",
    "lease_lost",
    "not_leased",
    "unknown",
  ],
  extend: ["ok", "cancelled", "lease_lost", "unknown"],
  cancel: ["cancelled", "cancelling", "ended", "unknown"],
  change: ["changed", "not_waiting", "stale", "expires", "full_bytes", "unknown"],
  retryDead: ["requeued", "not_dead", "newer", "duplicate"],
  deleteEnded: ["deleted", "kept", "unknown"],
  watch: ["watched", "ended", "unknown"],
  scheduleFire: [
    "fired",
    "exists",
    "skipped",
    "duplicate",
    "missed",
    "stale",
    "full_depth",
    "full_bytes",
    "full_group",
    "replayed",
    "conflict",
  ],
} as const

export type CodeOf<N extends keyof typeof CODES> = (typeof CODES)[N][number]

/** A task that a new run of its schedule has cancelled. */
export type CancelledRun = [id: string, code: CodeOf<"cancel">, attempt: number, at: number]

export type FireAnswer = [
  code: CodeOf<"scheduleFire">,
  id: string,
  at: number,
  cancelled: CancelledRun | null,
]

/** A group as lua/group-states.lua describes it. */
export type GroupState = [
  group: string,
  waiting: number,
  processing: number,
  oldest: number,
  overrides: string,
  cause: HeldCause | "",
  until: number,
  ids: string[],
]

/** The reply of each script, as its header describes it. */
export interface Replies extends SharedReplies {
  submit: number | [code: CodeOf<"submit">, id: string, at: number][]
  lease: [nextEvent: number, handed: string[], timeouts: string[]]
  settle:
    | number
    | [
        code: CodeOf<"settle">,
        retries: number,
        attempt: number,
        state: State,
        at: number,
        reason?: Reason | "",
        redact?: "1",
      ][]
  extend: [code: CodeOf<"extend">, deadline: number, attempt: number, state: State][]
  sweep: [more: 0 | 1, waiting: 0 | 1, nextEvent: number, nextRun: number, timeouts: string[]]
  cancel: [code: CodeOf<"cancel">, state: State, attempt: number, at: number][]
  change: [code: CodeOf<"change">, attempt: number, at: number][]
  states: (State | "")[]
  retryDead: [code: CodeOf<"retryDead">, attempt: number, at: number][]
  watch: CodeOf<"watch">[]
  inspect: (RawTask | null)[]
  why: (
    | [
        now: number,
        polled: string,
        ahead: number,
        position: number,
        paused: string,
        reason: string,
        limited: 0 | 1,
        task: RawTask,
        held?: HeldCause,
        until?: number,
        note?: string,
        holders?: string[],
      ]
    | null
  )[]
  queueState: QueueState[]
  queueStates: string
  delayed: [scheduled: number, retrying: number] | []
  leasesByWorker: [
    complete: number,
    from: number,
    ...holders: [worker: string, count: number, queuesAndIds: string[]][],
  ]
  purge: [looked: number, purged: number]
  deleteEnded: [code: CodeOf<"deleteEnded">, attempt: number, at: number][]
  pause: number
  settings: "set"
  setGroup: string
  recheckGroups: number
  groupStates: [now: number, score: string, name: string, ...groups: GroupState[]]
  auditQueue: [
    now: number,
    bytes: number,
    counted: number,
    checked: number,
    ...faults: [index: number, fault: AuditFault, mended: 0 | 1, lease: string][],
  ]
  page: [now: number, more: 0 | 1, ...parts: PagePart[]]
  newest: [now: number, ...parts: NewestPart[]]
  merged: [now: number, more: 0 | 1, last: MergedEntry | null, ...found: MergedEntry[]]
  texts: (string | null)[]
  taskTypes: string[]
  deadSize: number
  scheduleFire: number | FireAnswer[]
  scheduleSet: "set" | "stale"
  scheduleGet: [now: number, schedule: RawSchedule]
  schedulesDue: [now: number, names: string[], texts: (string | null)[]]
  schedulesPage: [now: number, score: string, name: string, ...schedules: RawSchedule[]]
  forget: "used" | "unused"
}

/** The entries of one place of a queue; `text`: null if the task does not exist. */
export type PagePart = [
  queue: string,
  place: string,
  ...entries: [score: string, id: string, text: string | null][],
]

/** The last tasks of a ready list, the end of the list first. `more`: there are others before them. */
export type NewestPart = [
  queue: string,
  priority: string,
  more: 0 | 1,
  ...tasks: [id: string, created: string][],
]

/** An entry of a sorted set of a queue. `at`: its score, less the retention that it includes. */
export type MergedEntry = [at: string, queue: string, place: string, id: string]

export type QueueState = [
  now: number,
  polled: string,
  paused: string,
  reason: string,
  concurrency: string,
  perSecond: string,
  burst: string,
  rates: string,
  groups: string,
  attention: string,
  deadLately: number,
  deadSince: number,
  nextRun: string,
  fullSince: string,
  oldest: number,
  ...sizes: PlaceSizes,
]

/** The sizes of the sets, and of the ready lists from priority 0. */
type PlaceSizes = [
  due: number,
  leases: number,
  done: number,
  dead: number,
  cancelled: number,
  soon: number,
  ...ready: number[],
]
const SIZES_FROM = 15
export const sizesIn = (state: QueueState) => state.slice(SIZES_FROM) as PlaceSizes

/** How many tasks of a queue may wait, and how many bytes its tasks may hold, before submits are refused; 0: no limit. */
export interface Limits {
  depth: number
  bytes: number
}
const NO_LIMITS: Limits = { depth: 0, bytes: 0 }

/** Number of queues that one call reads if one server holds all of them: at most 2 ms of Redis' time. */
const MAX_QUEUES_PER_CALL = 100
/** Number of queues that are read at the same time. Between these chunks Redis can serve other calls. */
const MAX_QUEUES_AT_ONCE = { oneSlot: 300, cluster: 30 }

const isQueueScript = (name: AnyScript): name is ScriptName => name in QUEUE_SCRIPTS

const FOR_QUEUES = definitionsIn([
  clock,
  record,
  collect,
  buckets,
  groups,
  moves,
  create,
  ranks,
  deletion,
  schedule,
])
const FOR_OTHERS = definitionsIn([clock])

/**
 * The text of a script that is sent to Redis: its shebang, its statements and the shared definitions that they use. Before those
 * of a queue script stand the limits of a queue and the keys of the queue that the script uses.
 */
export function scriptText(name: AnyScript, { depth, bytes } = NO_LIMITS): string {
  const { source } = ALL_SCRIPTS[name]
  const shebang = source.slice(0, source.indexOf("\n") + 1)
  const rest = source.slice(shebang.length)
  if (!isQueueScript(name)) return shebang + withDefinitions(rest, FOR_OTHERS)
  const statements = withDefinitions(rest, FOR_QUEUES)
  const used = new Set(namesIn(statements))
  const keys = QUEUE_KEY_NAMES.filter(key => used.has(key))
  const limits = `local max_depth, max_bytes = ${depth}, ${bytes}\n`
  return `${shebang}${limits}local ${keys.join(", ")} = unpack(KEYS)\n${statements}`
}

/** The keys that the text of a queue script unpacks. */
const keysOf = (text: string) => /^local (.+) = unpack\(KEYS\)$/m.exec(text)![1]!.split(", ") as QueueKey[]

/**
 * Scripts whose writes need not reach a replica before they are answered: if a failover undoes them, they are made again
 * (sweep, watch, auditQueue, scheduleFire), or only statistics and events are lost.
 */
const SAFE_TO_LOSE: ReadonlySet<AnyScript> = new Set([
  "sweep",
  "watch",
  "auditQueue",
  "scheduleFire",
  "eventsAppend",
  "ratesAdd",
  "historyAdd",
  "workersSeen",
  "brokersSeen",
])

export const prepareScript = (text: string): Script => ({
  text,
  sha: createHash("sha1").update(text).digest("hex"),
})

interface Prepared extends Script {
  mustReplicate: boolean
  /** The keys of the queue that the script uses. */
  keys: readonly QueueKey[]
}

function prepare(name: AnyScript, limits?: Limits): Prepared {
  const text = scriptText(name, limits)
  const writes = !text.slice(0, text.indexOf("\n")).includes("no-writes")
  return {
    ...prepareScript(text),
    mustReplicate: writes && !SAFE_TO_LOSE.has(name),
    keys: isQueueScript(name) ? keysOf(text) : [],
  }
}

const prepareAll = <N extends AnyScript>(scripts: Record<N, Declaration>, limits?: Limits) =>
  Object.fromEntries(Object.keys(scripts).map(name => [name, prepare(name as AnyScript, limits)])) as Record<
    N,
    Prepared
  >

/** The arguments in the order in which the script unpacks them. */
function flatten<N extends AnyScript>(name: N, args: Arguments<N>, items: readonly Item<N>[]): Value[] {
  const declared = ALL_SCRIPTS[name]
  const flat: Value[] = []
  for (const field of declared.args) flat.push(args[field as keyof Arguments<N>])
  for (const item of items) for (const field of declared.each) flat.push(item[field as keyof Item<N>])
  return flat
}

const SHARED = prepareAll(SHARED_SCRIPTS)

/** For lib/redis/server-state.ts, which runs it on every master. */
export const PROBE: Script = SHARED.probe

/** Runs a script that is about no single queue. */
export async function runShared<N extends SharedScriptName>(
  runner: Runner,
  name: N,
  args: Arguments<N>,
  items: readonly Item<N>[] = [],
): Promise<Replies[N]> {
  const keys = Object.values(SHARED_SCRIPTS[name].keys).map(key =>
    SHARED_KEYS[key]?.type === "channel" ? channelIn(key, runner.database) : key,
  )
  const script = SHARED[name]
  return (await runner.run(script, keys, flatten(name, args, items), script.mustReplicate)) as Replies[N]
}

/** The scripts that read several queues in one call. */
type ScriptOfQueues = { [N in ScriptName]: "queues" extends keyof Arguments<N> ? N : never }[ScriptName]

/** The scripts that answer a list, with one answer for each item. */
type ScriptOfItems = { [N in ScriptName]: Replies[N] extends unknown[] ? N : never }[ScriptName]
type AnswerOf<N extends ScriptOfItems> = Replies[N] extends (infer A)[] ? A : never

/** Runs the scripts of queues. */
export class Scripts {
  readonly #prepared: Record<ScriptName, Prepared>
  /** The queues of a Cluster are in different slots, and no call may use two slots. */
  readonly queuesPerCall: number
  readonly #queuesAtOnce: number

  constructor(
    private readonly runner: Runner,
    readonly limits = NO_LIMITS,
    { oneSlot = true } = {},
  ) {
    this.#prepared = prepareAll(QUEUE_SCRIPTS, limits)
    this.queuesPerCall = oneSlot ? MAX_QUEUES_PER_CALL : 1
    this.#queuesAtOnce = MAX_QUEUES_AT_ONCE[oneSlot ? "oneSlot" : "cluster"]
  }

  /** Runs a script that reads queues on any number of them, in a few calls at a time. The replies are in their order. */
  async callForQueues<N extends ScriptOfQueues>(
    name: N,
    queues: readonly string[],
    args: Omit<Arguments<N>, "queues">,
  ): Promise<{ queues: readonly string[]; reply: Replies[N] }[]> {
    return this.inChunks(queues, async some => {
      const reply = await this.call(name, some[0]!, { ...args, queues: some.join(" ") } as Arguments<N>)
      return { queues: some, reply }
    })
  }

  /** Runs `read` on any number of queues: on as many as one call may use, and a few such chunks at a time. */
  async inChunks<T>(
    queues: readonly string[],
    read: (queues: readonly string[]) => Promise<T>,
  ): Promise<T[]> {
    const results: T[] = []
    for (const some of chunks(queues, this.#queuesAtOnce))
      results.push(...(await Promise.all(chunks(some, this.queuesPerCall).map(read))))
    return results
  }

  /** Runs a script on a queue with one item, and returns the answer to it. */
  async callOne<N extends ScriptOfItems>(
    name: N,
    queue: string,
    args: Arguments<N>,
    item: Item<N>,
  ): Promise<AnswerOf<N>> {
    const [answer] = (await this.call(name, queue, args, [item])) as unknown as [AnswerOf<N>]
    return answer
  }

  /** Runs a script on a queue. Throws Refused if Redis fails. `mustReplicate`: its writes must not be lost. */
  async call<N extends ScriptName>(
    name: N,
    queue: string,
    args: Arguments<N>,
    items: readonly Item<N>[] = [],
    mustReplicate = this.#prepared[name].mustReplicate,
  ): Promise<Replies[N]> {
    const flat = flatten(name, args, items)
    try {
      return (await this.runner.run(
        this.#prepared[name],
        queueKeys(queue, this.#prepared[name].keys, this.runner.database),
        flat,
        mustReplicate,
      )) as Replies[N]
    } catch (error) {
      throw asRefusal(error)
    }
  }
}

const chunks = <T>(all: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.slice(i * size, (i + 1) * size))
