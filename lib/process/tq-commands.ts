/** The commands of `bun run tq`: what each takes, does and prints. */
import { BrokerProblem, BrokerUnreachable, type DlqFilter } from "../client.ts"
import { pause } from "../pause.ts"
import { EVENT_NAMES, type EventData } from "../wire/events.ts"
import type { QueueView } from "../wire/managing.ts"
import { ENDED_STATES, REASONS } from "../wire/states.ts"
import { COUNTS, markOf, RATES, WORKERS } from "./queue-columns.ts"
import { formatAge, formatCount, tableLines } from "./terminal-text.ts"
import { type Call, defined, type Option, type Printed, parseExactly, UsageError } from "./tq-call.ts"

export interface Command {
  /** What follows the name: `<required>` and `[optional]`. */
  takes: string
  about: string
  options?: Readonly<Record<string, Option>>
  /** Each follows `bun run tq`. */
  examples: readonly string[]
  run(call: Call): Promise<Printed>
}

const POLL_MS = 20_000
const RETRY_MS = 1_000
const MAX_SHOWN_CHARACTERS = 2_000

const WAIT_OPTIONS = {
  timeout: { value: "time", meaning: "wait at most this long, for example 30s" },
} satisfies Command["options"]

const DEAD_FILTER = {
  queue: { value: "name", meaning: "only of this queue" },
  type: { value: "type", meaning: "only of this type" },
  group: { value: "name", meaning: "only of this group" },
  reason: { value: "word", meaning: `only tasks that are dead for this reason: ${REASONS.join(", ")}` },
  error: { value: "text", meaning: "only if the error contains this text" },
  fingerprint: { value: "hex", meaning: "only of this group of errors, as `dead groups` lists them" },
  "older-than": {
    value: "time",
    meaning: "only tasks that have been dead for longer than this, for example 2h",
  },
  "newer-than": { value: "time", meaning: "only tasks that have been dead for less than this" },
} satisfies Command["options"]

const MANY_DEAD = {
  ...DEAD_FILTER,
  all: { meaning: "all dead tasks of all queues, if no filter is given" },
  limit: { value: "number", meaning: "at most this many tasks" },
  "dry-run": { meaning: "change nothing, only count" },
} satisfies Command["options"]

export const COMMANDS: Readonly<Record<string, Command>> = {
  submit: {
    takes: "<type> [payload]",
    about:
      "Submits a task and prints its id; with --wait, waits for its end and prints its result. The payload is JSON; - reads it from stdin.",
    options: {
      wait: { meaning: "wait until the task has ended; exit code 1 if it is dead or cancelled" },
      ...WAIT_OPTIONS,
      queue: { value: "name", meaning: "the queue (default: default)" },
      priority: { value: "number", meaning: "0 to 9; 9 is leased first (default 5)" },
      delay: { value: "time", meaning: "start this much later, for example 10m" },
      id: { value: "id", meaning: "the id of the task, without its queue" },
      key: { value: "text", meaning: "an idempotency key: repeating the submit with it creates nothing" },
      unique: { value: "text", meaning: "create nothing if a task that has not ended holds this key" },
      group: { value: "name", meaning: "the group, for example a tenant" },
      retries: { value: "number", meaning: "how many failures are retried" },
      lease: { value: "time", meaning: "how long a lease lasts" },
      expires: { value: "time", meaning: "how long after the submit an attempt may still start" },
      meta: { value: "name=value", multiple: true, meaning: "a label; may be given several times" },
    },
    examples: [
      "submit add '[1,2,3]' --wait",
      `submit mail '{"to": "ada@example.org"}' --queue emails --delay 10m`,
      "submit import - --key import-7 < payload.json",
    ],
    async run(call) {
      const [type, payload] = call.args as [string, string?]
      const task = {
        type,
        payload: payload === undefined ? undefined : await readPayload(payload),
        queue: call.text("queue"),
        priority: call.integer("priority"),
        delay_ms: call.durationMs("delay"),
        task_id: call.text("id"),
        unique_key: call.text("unique"),
        group: call.text("group"),
        max_retries: call.integer("retries"),
        timeout_ms: call.durationMs("lease"),
        expires_in_ms: call.durationMs("expires"),
        meta: readMeta(call.texts("meta")),
      }
      const limitMs = call.durationMs("timeout")
      if (limitMs !== undefined && !call.flag("wait")) throw new UsageError("--timeout requires --wait")
      const { task_id } = await call.client.submit(
        { ...defined(task), type },
        { ...call.options, ...defined({ idempotencyKey: call.text("key") }) },
      )
      return call.flag("wait") ? waitForEnd(call, task_id, limitMs) : { lines: [task_id] }
    },
  },

  status: {
    takes: "<task_id>",
    about: "Shows a task: its state, attempts, payload, result or error.",
    examples: ["status emails:01KAV9FT345D2Q7RWM4HTE", "status sum --json"],
    async run(call) {
      await call.client.status(call.args[0]!, {}, call.options)
      return { lines: describeTask(parseExactly(call.answerText()) as Members) }
    },
  },

  wait: {
    takes: "<task_id>",
    about:
      "Waits until a task has ended, and prints its result. The exit code is 1 if it is dead or cancelled, or if --timeout passes first.",
    options: WAIT_OPTIONS,
    examples: ["wait emails:01KAV9FT345D2Q7RWM4HTE", "wait sum --timeout 30s"],
    run: call => waitForEnd(call, call.args[0]!, call.durationMs("timeout")),
  },

  why: {
    takes: "<task_id>",
    about: "Explains why a task is not running.",
    examples: ["why emails:01KAV9FT345D2Q7RWM4HTE"],
    async run(call) {
      const { why } = await call.client.why(call.args[0]!, call.options)
      return { lines: [why] }
    },
  },

  retry: {
    takes: "<task_id>",
    about: "Retries one dead task with its payload. `dead retry` retries many.",
    examples: ["retry emails:01KAV9FT345D2Q7RWM4HTE"],
    async run(call) {
      const { task_id } = await call.client.retryDeadTask(call.args[0]!, call.options)
      return { lines: [`${task_id} is queued again`] }
    },
  },

  cancel: {
    takes: "<task_id>",
    about: "Cancels a task: a waiting one at once, a running one when its worker has been notified.",
    examples: ["cancel emails:01KAV9FT345D2Q7RWM4HTE"],
    async run(call) {
      const { status, task_id } = await call.client.cancel(call.args[0]!, call.options)
      return {
        lines: [
          status === "cancelled"
            ? `${task_id} is cancelled`
            : `${task_id} is running; its worker is notified at its next extend`,
        ],
      }
    },
  },

  pause: {
    takes: "<queue>",
    about: "Pauses a queue: it accepts tasks and hands out none. Running tasks continue.",
    options: { reason: { value: "text", meaning: "shown by `why` and in the dashboard" } },
    examples: ['pause emails --reason "The mail server is down"'],
    async run(call) {
      const reason = call.text("reason")
      const { queue } = await call.client.pauseQueue(call.args[0]!, defined({ reason }), call.options)
      return { lines: [`Queue ${queue} is paused`] }
    },
  },

  resume: {
    takes: "<queue>",
    about: "Resumes a paused queue.",
    examples: ["resume emails"],
    async run(call) {
      const { queue } = await call.client.resumeQueue(call.args[0]!, call.options)
      return { lines: [`Queue ${queue} is resumed`] }
    },
  },

  queues: {
    takes: "",
    about: "Lists the queues with the number of their tasks by state, their workers and rates per second.",
    examples: ["queues", "queues --json"],
    async run(call) {
      const queues: QueueView[] = []
      for (let cursor: string | undefined; ; ) {
        const page = await call.client.queues({ limit: 1_000, ...defined({ cursor }) }, call.options)
        queues.push(...page.queues)
        cursor = page.next
        if (cursor === undefined) break
      }
      const columns = Object.values({ ...COUNTS, ...RATES, ...WORKERS })
      const rows = queues.map(queue => [
        queue.queue,
        ...columns.map(({ of, format }) => format(of(queue))),
        markOf(queue) ?? "",
      ])
      const title = ["QUEUE", ...columns.map(({ title }) => title), ""]
      const lines =
        rows.length === 0
          ? ["No queues yet. A queue is created by its first task."]
          : tableLines([title, ...rows], call.columns)
      return { lines, json: { queues } }
    },
  },

  dead: {
    takes: "",
    about: "Lists dead tasks, the newest first.",
    options: { ...DEAD_FILTER, limit: { value: "number", meaning: "at most this many tasks (default 100)" } },
    examples: ["dead --queue emails --newer-than 1h", 'dead --error "no route" --json'],
    async run(call) {
      const limit = call.integer("limit")
      const query = { ...deadFilter(call), ...defined({ limit }) }
      const { tasks, dlq_size } = await call.client.dlq(query, call.options)
      const rows = tasks.map(({ id, finished_at, type, reason, error = "" }) => [
        id,
        finished_at === undefined ? "-" : formatAge(Date.now() - finished_at),
        type,
        reason ?? "",
        error.split("\n", 1)[0]!,
      ])
      const lines =
        rows.length === 0
          ? [dlq_size === 0 ? "There are no dead tasks." : "No dead task matches."]
          : tableLines([["TASK", "AGE", "TYPE", "REASON", "ERROR"], ...rows], call.columns)
      return { lines }
    },
  },

  "dead groups": {
    takes: "",
    about: "Groups dead tasks by their error, the largest group first.",
    options: DEAD_FILTER,
    examples: ["dead groups --queue emails"],
    async run(call) {
      const { groups } = await call.client.dlqGroups(deadFilter(call), call.options)
      const rows = groups.map(({ count, last_at, fingerprint, type, reason, error }) => [
        formatCount(count),
        formatAge(Date.now() - last_at),
        fingerprint,
        type,
        reason,
        error.split("\n", 1)[0]!,
      ])
      const title = ["DEAD", "NEWEST", "FINGERPRINT", "TYPE", "REASON", "ERROR"]
      return {
        lines: rows.length === 0 ? ["No dead tasks match."] : tableLines([title, ...rows], call.columns),
      }
    },
  },

  "dead retry": {
    takes: "",
    about: "Retries all dead tasks that match, with their payloads.",
    options: {
      ...MANY_DEAD,
      canary: { meaning: "retry one first, and the others only if it is done within 20 s" },
    },
    examples: ["dead retry --queue emails --canary", "dead retry --error timeout --dry-run"],
    async run(call) {
      const canary = call.flag("canary") ? ({ canary: true, wait_ms: POLL_MS } as const) : {}
      let skipped = 0
      let failure: string | undefined
      const requeued = await forMany(call, async (part, isFirst) => {
        const answer = await call.client.retryDeadTasks({ ...part, ...(isFirst ? canary : {}) }, call.options)
        skipped += answer.skipped
        const { canary: first } = answer
        if (first !== undefined && first.state !== "done")
          failure = `the first task, ${first.task_id}, is ${first.state ?? "deleted"}, so no others were retried`
        return { count: answer.requeued, next: failure === undefined ? answer.next : undefined }
      })
      const verb = call.flag("dry-run") ? "would be retried" : "retried"
      return { lines: [`${requeued} ${verb}, ${skipped} skipped`], json: { requeued, skipped }, failure }
    },
  },

  "dead purge": {
    takes: "",
    about: "Deletes all dead tasks that match, and their data.",
    options: MANY_DEAD,
    examples: ["dead purge --queue emails --older-than 7d --dry-run"],
    async run(call) {
      const purged = await forMany(call, async part => {
        const answer = await call.client.purgeDeadTasks(part, call.options)
        return { count: answer.purged, next: answer.next }
      })
      return {
        lines: [`${purged} ${call.flag("dry-run") ? "would be deleted" : "deleted"}`],
        json: { purged },
      }
    },
  },

  "dead delete": {
    takes: "<task_id>",
    about: "Deletes one dead task and its data.",
    examples: ["dead delete emails:01KAV9FT345D2Q7RWM4HTE"],
    async run(call) {
      const { task_id } = await call.client.deleteDeadTask(call.args[0]!, call.options)
      return { lines: [`${task_id} is deleted`] }
    },
  },

  tail: {
    takes: "",
    about: "Prints events as they happen, until Ctrl-C.",
    options: {
      queue: { value: "name", multiple: true, meaning: "only of this queue; may be given several times" },
      task: { value: "id", meaning: "only of this task" },
      event: { value: "names", multiple: true, meaning: `only these: ${EVENT_NAMES.join(", ")}` },
    },
    examples: ["tail --queue emails --event failed,dead", "tail --task emails:01KAV9FT345D2Q7RWM4HTE --json"],
    async run(call) {
      const event = call.words("event", EVENT_NAMES)
      const queue = call.texts("queue")
      const task = call.text("task")
      // The stream would try again for ever.
      await call.client.healthz(call.options)
      const filter = {
        ...defined({ task }),
        ...(queue.length > 0 && { queue }),
        ...(event.length > 0 && { event }),
      }
      try {
        for await (const { event: name, data } of call.client.events(filter, call.options)) {
          if (["counts", "listening"].includes(name) && !event.includes(name)) continue
          call.print({ lines: [describeEvent(name, data)], json: { event: name, ...data } })
        }
      } catch (error) {
        if (!call.stop.aborted) throw error
      }
      return { lines: [], json: "" }
    },
  },
}

type Members = Readonly<Record<string, unknown>>

async function readPayload(text: string): Promise<unknown> {
  const source = text === "-" ? await Bun.stdin.text() : text
  try {
    return parseExactly(source)
  } catch (error) {
    const hint = text === "-" ? "" : `. A text needs quotes inside: '${JSON.stringify(text)}'`
    throw new UsageError(`the payload is not JSON: ${(error as Error).message}${hint}`)
  }
}

function readMeta(labels: readonly string[]): Record<string, string> | undefined {
  if (labels.length === 0) return undefined
  return Object.fromEntries(
    labels.map(label => {
      const at = label.indexOf("=")
      if (at < 1) throw new UsageError(`--meta takes name=value, not ${JSON.stringify(label)}`)
      return [label.slice(0, at), label.slice(at + 1)]
    }),
  )
}

/** Waits for the end of a task, also while the broker restarts, and prints its result. */
async function waitForEnd(call: Call, id: string, limitMs = Number.POSITIVE_INFINITY): Promise<Printed> {
  const end = performance.now() + limitMs
  for (let isKnown = false; ; ) {
    try {
      const leftMs = Math.max(0, Math.min(POLL_MS, Math.round(end - performance.now())))
      const { status } = await call.client.status(id, { wait_ms: leftMs }, call.options)
      isKnown = true
      if (ENDED_STATES.includes(status)) break
      if (performance.now() >= end)
        return { lines: [], failure: `${id} has not ended within ${limitMs} ms: it is ${status}` }
    } catch (error) {
      const isRetryable =
        error instanceof BrokerUnreachable || (error instanceof BrokerProblem && error.retryable)
      if (!isKnown || !isRetryable || performance.now() >= end) throw error
      await pause(RETRY_MS, call.stop)
    }
  }
  const { status, result, reason, error } = parseExactly(call.answerText()) as Members
  if (status === "done") return { lines: result === undefined ? [] : [JSON.stringify(result)] }
  const why = status === "dead" ? ` (${reason})${error === undefined ? "" : `: ${error}`}` : ""
  return { lines: [], failure: `${id} is ${status}${why}` }
}

/** `label  value` for each member that the task has. */
function describeTask(task: Members): string[] {
  const labels = Object.keys(task).filter(name => task[name] !== undefined && name !== "attempts")
  const width = Math.max(...labels.map(label => label.length))
  return labels.flatMap(label => {
    const value = task[label]
    const [first = "", ...more] = showValue(label, value).split("\n")
    return [`${label.padEnd(width)}  ${first}`, ...more.map(line => `${" ".repeat(width)}  ${line}`)]
  })
}

function showValue(label: string, value: unknown): string {
  const text =
    typeof value === "string" && label !== "payload" && label !== "result" ? value : JSON.stringify(value)
  if (label.endsWith("_at") && Number(text) > 0) return `${new Date(Number(text)).toISOString()}`
  return text.length > MAX_SHOWN_CHARACTERS
    ? `${text.slice(0, MAX_SHOWN_CHARACTERS)}… (${text.length} characters; --json prints all)`
    : text
}

function describeEvent(name: string, { at, task_id, queue, ...more }: EventData): string {
  const facts = Object.entries(more)
    .filter(([member]) => member !== "order")
    .map(([member, value]) => ` ${member}=${typeof value === "string" ? value : JSON.stringify(value)}`)
  const time = at === undefined ? "" : new Date(at).toISOString().slice(11, 23)
  return `${time} ${name.padEnd(9)} ${task_id ?? queue ?? ""}${facts.join("")}`
}

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

type Part = DlqFilter & { limit: number; cursor?: string; dry_run: boolean }

/** Repeats a bulk operation until nothing more matches or the limit is reached. Returns how many tasks it changed. */
async function forMany(
  call: Call,
  change: (part: Part, isFirst: boolean) => Promise<{ count: number; next: string | undefined }>,
): Promise<number> {
  const filter = deadFilter(call)
  if (Object.keys(filter).length === 0 && !call.flag("all"))
    throw new UsageError("a filter is missing. To choose all dead tasks, give --all")
  const limit = call.integer("limit") ?? Number.POSITIVE_INFINITY
  let total = 0
  for (let cursor: string | undefined, isFirst = true; total < limit; isFirst = false) {
    const part = { ...filter, limit: Math.min(1_000, limit - total), dry_run: call.flag("dry-run") }
    const { count, next } = await change({ ...part, ...defined({ cursor }) }, isFirst)
    total += count
    cursor = next
    if (cursor === undefined) break
  }
  return total
}
