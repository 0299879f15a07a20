/** The commands of `tq` for dead tasks, and for many tasks at once. */
import type { DlqFilter } from "../client.ts"
import { pause } from "../pause.ts"
import type { BulkRequest, BulkView } from "../wire/bulk.ts"
import { type BulkAction, isUnfinished, STATES_OF_ACTION } from "../wire/bulk-words.ts"
import type { DeadGroup, DlqAnswer } from "../wire/dead-letters.ts"
import { REASONS, type StateWord } from "../wire/states.ts"
import { formatCount } from "./terminal-text.ts"
import {
  type Call,
  type Command,
  defined,
  type Option,
  type Printed,
  parseExactly,
  readMeta,
  UsageError,
} from "./tq-call.ts"
import {
  change,
  describe,
  firstLine,
  formatSince,
  isRetryable,
  KEYED,
  list,
  sendWithKey,
  table,
} from "./tq-rows.ts"

const POLL_MS = 500

const FILTER = {
  queue: { value: "name", meaning: "only of this queue" },
  type: { value: "type", meaning: "only of this type" },
  group: { value: "name", meaning: "only of this group" },
  error: { value: "text", meaning: "only if the error contains this text" },
} satisfies Command["options"]

const DEAD_FILTER = {
  ...FILTER,
  reason: { value: "word", meaning: `only tasks that are dead for this reason: ${REASONS.join(", ")}` },
  fingerprint: { value: "hex", meaning: "only of this group of errors, as `dead groups` lists them" },
  "older-than": {
    value: "time",
    meaning: "only tasks that have been dead for longer than this, for example 2h",
  },
  "newer-than": { value: "time", meaning: "only tasks that have been dead for less than this" },
} satisfies Command["options"]

const BULK_FILTER = {
  ...FILTER,
  "queue-part": { value: "text", meaning: "only of queues whose name contains this" },
  "type-part": { value: "text", meaning: "only of types that contain this" },
  "id-part": { value: "text", meaning: "only if the id contains this" },
  text: { value: "text", meaning: "only if the payload or the error contains this; requires --queue" },
  meta: { value: "name=value", multiple: true, meaning: "only with this label; may be given several times" },
  "older-than": {
    value: "time",
    meaning: "only tasks that ended longer ago than this; for tasks that have not ended, the submit counts",
  },
  "newer-than": {
    value: "time",
    meaning: "only tasks that ended less than this ago; for tasks that have not ended, the submit counts",
  },
} satisfies Command["options"]

export const DEAD_COMMANDS = {
  dead: list<DlqAnswer["tasks"][number]>({
    takes: "",
    about: "Lists dead tasks, the newest first.",
    options: DEAD_FILTER,
    examples: ["dead --queue emails --newer-than 1h", 'dead --error "no route" --json'],
    name: "tasks",
    page: async (call, page) => {
      const { tasks, next } = await call.client.dlq({ ...deadFilter(call), ...page }, call.options)
      return [tasks, next]
    },
    columns: {
      TASK: ({ id }) => id,
      AGE: ({ finished_at }) => formatSince(finished_at),
      TYPE: ({ type }) => type,
      REASON: ({ reason }) => reason ?? "",
      ERROR: ({ error }) => firstLine(error),
    },
    empty: "No dead task matches.",
  }),

  "dead groups": {
    takes: "",
    about: "Groups dead tasks by their error, the largest group first.",
    options: DEAD_FILTER,
    examples: ["dead groups --queue emails"],
    async run(call) {
      const groups = await allGroups(call)
      const columns: Record<string, (group: DeadGroup) => string> = {
        DEAD: ({ count }) => formatCount(count),
        NEWEST: ({ last_at }) => formatSince(last_at),
        FINGERPRINT: ({ fingerprint }) => fingerprint,
        TYPE: ({ type }) => type,
        REASON: ({ reason }) => reason,
        ERROR: ({ error }) => firstLine(error),
      }
      return { lines: table(call, columns, groups, "No dead task matches."), json: { groups } }
    },
  },

  bulk: list<BulkView>({
    takes: "",
    about: "Lists bulk operations, the newest first: those of the commands below, and of the dashboard.",
    examples: ["bulk"],
    name: "operations",
    pageSize: 100,
    page: async (call, { limit }) => [(await call.client.bulkOperations({ limit }, call.options)).operations],
    columns: {
      BULK: ({ bulk_id }) => bulk_id,
      ACTION: ({ action }) => action,
      STATE: ({ state }) => state,
      DONE: ({ progress }) => `${progress.done} (${progress.seen} of ${progress.total} seen)`,
      AGE: ({ started_at }) => formatSince(started_at),
      BY: ({ author }) => author,
      FILTER: ({ filter, selected }) => JSON.stringify(selected === undefined ? filter : { selected }),
    },
    empty: "No bulk operations yet.",
  }),

  "bulk get": {
    takes: "<bulk_id>",
    about: "Shows a bulk operation: what it selects, its progress, and what became of retried tasks.",
    options: { wait: { meaning: "wait until it has ended; exit code 1 if it was stopped or has failed" } },
    examples: ["bulk get 7Yx2k9 --wait"],
    run: async call => showBulk(call, await call.client.bulkOperation(call.arg(0), call.options)),
  },

  "bulk stop": change({
    takes: "<bulk_id>",
    about: "Stops a bulk operation. What it has changed stays changed.",
    examples: ["bulk stop 7Yx2k9"],
    ask: call => call.client.stopBulk(call.arg(0), call.options),
    say: ({ bulk_id, status }) => `${bulk_id} ${status === "ended" ? "had ended" : "is stopping"}`,
  }),

  "bulk retry": bulkCommand("retry", {
    about: "Retries all dead tasks that match.",
    options: {
      reason: DEAD_FILTER.reason,
      fingerprint: DEAD_FILTER.fingerprint,
      canary: { meaning: "retry one first, and the others only when it is done" },
      patch: { value: "json", meaning: "a JSON merge patch for each payload" },
    },
    examples: ["bulk retry --queue emails --canary --wait", "bulk retry --error timeout --dry-run"],
  }),
  "bulk purge": bulkCommand("purge", {
    about: "Deletes all tasks that match, and their data.",
    options: { reason: DEAD_FILTER.reason, fingerprint: DEAD_FILTER.fingerprint },
    examples: ["bulk purge --queue emails --older-than 7d --dry-run"],
  }),
  "bulk cancel": bulkCommand("cancel", {
    about: "Cancels all tasks that match: the waiting ones, unless --state says otherwise.",
    examples: ["bulk cancel --queue emails --type newsletter --dry-run"],
  }),
  "bulk start-now": bulkCommand("start_now", {
    about: "Makes all matching tasks ready that wait for a time or a backoff.",
    examples: ["bulk start-now --queue emails --state retrying"],
  }),
  "bulk again": bulkCommand("submit_again", {
    about: "Submits a copy of each task that matches and has ended.",
    options: { reason: DEAD_FILTER.reason, fingerprint: DEAD_FILTER.fingerprint },
    examples: ["bulk again --queue emails --newer-than 1h --rate 10"],
  }),
} satisfies Record<string, Command>

function deadFilter(call: Call): DlqFilter {
  return defined({
    queue: call.text("queue"),
    type: call.text("type"),
    group: call.text("group"),
    reason: call.word("reason", REASONS),
    error: call.text("error"),
    fingerprint: call.text("fingerprint"),
    older_than_ms: call.durationMs("older-than"),
    newer_than_ms: call.durationMs("newer-than"),
  })
}

/** A command that starts a bulk operation, or with --dry-run counts the tasks that match. */
function bulkCommand(
  action: BulkAction,
  { about, options, examples }: Pick<Command, "about" | "options" | "examples">,
): Command {
  const states: readonly StateWord[] = STATES_OF_ACTION[action]
  const state: Record<string, Option> =
    states.length === 1
      ? {}
      : { state: { value: "state", meaning: `${states.join(", ")} (default ${states[0]})` } }
  return {
    takes: "",
    about: `${about} The broker does it in the background; the command prints the id of the operation.`,
    options: {
      ...state,
      ...BULK_FILTER,
      ...options,
      all: { meaning: "all tasks of all queues in that state, if no filter is given" },
      "dry-run": { meaning: "change nothing, only count" },
      wait: { meaning: "wait until it has ended; exit code 1 if it was stopped or has failed" },
      limit: { value: "number", meaning: "change at most this many tasks" },
      rate: { value: "number", meaning: "tasks per second (default: at once)" },
      note: { value: "text", meaning: "why, for people; `bulk` and the dashboard show it" },
      ...KEYED,
    },
    examples,
    async run(call) {
      const filter: BulkRequest["filter"] = defined({
        ...deadFilter(call),
        queue_part: call.text("queue-part"),
        type_part: call.text("type-part"),
        id_part: call.text("id-part"),
        text: call.text("text"),
        meta: readMeta(call.texts("meta")),
      })
      if (Object.keys(filter).length === 0 && !call.flag("all"))
        throw new UsageError("a filter is missing. To choose all tasks, give --all")
      const request: BulkRequest = {
        action,
        filter: { ...filter, ...defined({ state: call.word("state", states) }) },
        ...defined({
          limit: call.integer("limit"),
          rate: call.integer("rate"),
          patch: readPatch(call.text("patch")),
          canary: call.flag("canary") || undefined,
          reason: call.text("note"),
        }),
      }
      if (call.flag("dry-run")) return countMatching(call, request)
      const view = await sendWithKey(call, options => call.client.startBulk(request, options))
      return call.flag("wait") ? showBulk(call, view) : { lines: [view.bulk_id] }
    },
  }
}

function readPatch(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : parseExactly(text)
  } catch (error) {
    throw new UsageError(`--patch takes JSON such as '{"to": null}': ${(error as Error).message}`)
  }
}

async function countMatching(call: Call, { action, filter, limit }: BulkRequest): Promise<Printed> {
  let matching = 0
  let cursor: string | undefined
  do {
    const page = await call.client.countBulk({ action, filter, ...defined({ cursor }) }, call.options)
    matching += page.matching
    cursor = page.next
  } while (cursor !== undefined)
  const count = Math.min(matching, limit ?? matching)
  return { lines: [`${count} ${count === 1 ? "task" : "tasks"} would be changed`], json: { matching: count } }
}

/** Prints a bulk operation, with --wait when it has ended. */
async function showBulk(call: Call, started: BulkView): Promise<Printed> {
  let view = started
  while (call.flag("wait") && isUnfinished(view.state)) {
    await pause(POLL_MS, call.stop)
    view = await call.client.bulkOperation(view.bulk_id, call.options).catch(error => {
      if (isRetryable(error)) return view
      throw error
    })
  }
  const { progress, outcome, canary, ...facts } = view
  const isFailed = view.state === "stopped" || view.state === "failed"
  return {
    lines: describe({ ...facts, ...progress, canary, ...outcome }),
    json: view,
    failure:
      call.flag("wait") && isFailed
        ? `it has ${view.state}: ${view.cause ?? `by ${view.stopped_by}`}`
        : undefined,
  }
}

/** Groups of all dead tasks that match, the largest first: each answer groups a part of them. */
async function allGroups(call: Call): Promise<DeadGroup[]> {
  const found = new Map<string, DeadGroup>()
  let cursor: string | undefined
  do {
    const query = { ...deadFilter(call), ...(cursor === undefined ? {} : { cursor }) }
    const { groups, next } = await call.client.dlqGroups(query, call.options)
    for (const group of groups) {
      const {
        count = 0,
        first_at = group.first_at,
        last_at = group.last_at,
      } = found.get(group.fingerprint) ?? {}
      found.set(group.fingerprint, {
        ...group,
        count: count + group.count,
        first_at: Math.min(first_at, group.first_at),
        last_at: Math.max(last_at, group.last_at),
      })
    }
    cursor = next
  } while (cursor !== undefined)
  return [...found.values()].sort((a, b) => b.count - a.count)
}
