/** The scripts that are about no single queue: their keys, arguments and replies. scripts.ts runs them. */
import brokersSeen from "../lua/brokers-seen.lua" with { type: "text" }
import bulkClaim from "../lua/bulk-claim.lua" with { type: "text" }
import bulkList from "../lua/bulk-list.lua" with { type: "text" }
import bulkOutcomes from "../lua/bulk-outcomes.lua" with { type: "text" }
import bulkSave from "../lua/bulk-save.lua" with { type: "text" }
import bulkStart from "../lua/bulk-start.lua" with { type: "text" }
import bulkStop from "../lua/bulk-stop.lua" with { type: "text" }
import defaultsSet from "../lua/defaults-set.lua" with { type: "text" }
import eventsAppend from "../lua/events-append.lua" with { type: "text" }
import historyAdd from "../lua/history-add.lua" with { type: "text" }
import historyRead from "../lua/history-read.lua" with { type: "text" }
import probe from "../lua/probe.lua" with { type: "text" }
import queuesRegister from "../lua/queues-register.lua" with { type: "text" }
import ratesAdd from "../lua/rates-add.lua" with { type: "text" }
import ratesRead from "../lua/rates-read.lua" with { type: "text" }
import workersDrain from "../lua/workers-drain.lua" with { type: "text" }
import workersList from "../lua/workers-list.lua" with { type: "text" }
import workersSeen from "../lua/workers-seen.lua" with { type: "text" }
import type { BulkState } from "../wire/bulk.ts"
import {
  BROKERS,
  BULK_DUE,
  BULK_OPEN,
  BULK_OPERATION,
  BULK_STARTED,
  DEFAULTS,
  DRAINS_CHANNEL,
  EVENT_STREAM,
  HISTORY,
  HISTORY_TYPES,
  MISSING,
  QUEUES,
  RATES,
  SCHEMA,
  WORKERS,
  WORKERS_DRAINS,
  WORKERS_SEEN,
} from "./keys.ts"

/** `keys` has the names and the order of the script's `unpack(KEYS)`. */
export const SHARED_SCRIPTS = {
  eventsAppend: {
    source: eventsAppend,
    keys: { stream: EVENT_STREAM },
    args: ["max_events", "retention"],
    each: ["event", "queue", "task", "data"],
  },
  ratesAdd: {
    source: ratesAdd,
    keys: { prefix: RATES },
    args: ["slice", "retention"],
    each: ["queue", "counts"],
  },
  ratesRead: { source: ratesRead, keys: { prefix: RATES }, args: ["slice", "slices"], each: ["queue"] },
  historyAdd: {
    source: historyAdd,
    keys: { points: HISTORY, types: HISTORY_TYPES },
    args: ["broker", "batch", "minute", "max_types", "keep_minutes", "keep_hours"],
    each: ["queue", "type", "weight", "point"],
  },
  historyRead: {
    source: historyRead,
    keys: { points: HISTORY },
    args: ["level", "from", "to", "size"],
    each: ["series"],
  },
  workersSeen: {
    source: workersSeen,
    keys: { about: WORKERS, seen: WORKERS_SEEN, drains: WORKERS_DRAINS },
    args: ["retention", "max_workers"],
    each: ["name", "ago", "queues", "done", "failed", "instance", "host", "version", "concurrency"],
  },
  workersList: {
    source: workersList,
    keys: { about: WORKERS, seen: WORKERS_SEEN },
    args: ["cursor", "count"],
    each: [],
  },
  workersDrain: {
    source: workersDrain,
    keys: { about: WORKERS, drains: WORKERS_DRAINS, channel: DRAINS_CHANNEL },
    args: ["on"],
    each: ["name"],
  },
  brokersSeen: {
    source: brokersSeen,
    keys: { brokers: BROKERS },
    args: ["about", "on", "retention", "max_brokers"],
    each: [],
  },
  queuesRegister: { source: queuesRegister, keys: { queues: QUEUES }, args: [], each: ["name"] },
  bulkStart: {
    source: bulkStart,
    keys: { started: BULK_STARTED, due: BULK_DUE, operation: BULK_OPERATION, open: BULK_OPEN },
    args: ["id", "about", "selected", "progress", "kept", "most"],
    each: [],
  },
  bulkClaim: {
    source: bulkClaim,
    keys: { due: BULK_DUE, operation: BULK_OPERATION },
    args: ["claim"],
    each: [],
  },
  bulkSave: {
    source: bulkSave,
    keys: { due: BULK_DUE, operation: BULK_OPERATION, open: BULK_OPEN },
    args: ["id", "fence", "progress", "page", "state", "wait", "held"],
    each: ["task"],
  },
  bulkOutcomes: {
    source: bulkOutcomes,
    keys: { operation: BULK_OPERATION, open: BULK_OPEN },
    args: ["id"],
    each: ["task", "outcome"],
  },
  bulkStop: {
    source: bulkStop,
    keys: { due: BULK_DUE, operation: BULK_OPERATION },
    args: ["id", "stop"],
    each: [],
  },
  bulkList: {
    source: bulkList,
    keys: { started: BULK_STARTED, operation: BULK_OPERATION, open: BULK_OPEN },
    args: ["only"],
    each: [],
  },
  defaultsSet: { source: defaultsSet, keys: { defaults: DEFAULTS }, args: ["queue", "text"], each: [] },
  probe: { source: probe, keys: { mark: SCHEMA, missing: MISSING }, args: [], each: ["call"] },
} as const

export type SharedScriptName = keyof typeof SHARED_SCRIPTS

/** The reply of each script, as its header describes it. */
export interface SharedReplies {
  eventsAppend: null
  ratesAdd: "added"
  ratesRead: [coveredMs: number, ...sums: string[]]
  historyAdd: 0 | 1
  historyRead: (number | string)[][]
  workersSeen: number
  workersList: [now: number, cursor: string, ...workers: [name: string, about: string, seenAt: string][]]
  workersDrain: number
  brokersSeen: number
  queuesRegister: number
  defaultsSet: "set"
  probe: string[]
  bulkStart: [code: "started" | "exists" | "full", about: string, now: number]
  bulkClaim:
    | [
        id: string,
        fence: number,
        now: number,
        started: number,
        about: string,
        selected: string,
        progress: string,
        page: string,
        state: BulkState,
        stop: string,
        taken: 0 | 1,
      ]
    | null
  bulkSave: [code: "saved" | "lost", stop: string, now: number]
  bulkOutcomes: number
  bulkStop: "stopping" | "ended" | "unknown"
  bulkList: StoredBulk[]
}

/** A bulk operation as lua/bulk-list.lua describes it. */
export type StoredBulk = [
  id: string,
  started: number,
  ended: string,
  about: string,
  progress: string,
  state: BulkState,
  stop: string,
  succeeded: number,
  diedAgain: number,
  other: number,
  open: number,
]
