/** The commands of `tq` for single tasks. */
import { pause } from "../pause.ts"
import type { TaskView } from "../wire/inspecting.ts"
import { ENDED_STATES, STATES } from "../wire/states.ts"
import {
  type Call,
  type Command,
  defined,
  type Members,
  type Printed,
  readMeta,
  readPayload,
  UsageError,
} from "./tq-call.ts"
import { MEMBERS_HELP, readMembers, withMembers } from "./tq-members.ts"
import { change, describe, firstLine, formatSince, isRetryable, KEYED, list, sendWithKey } from "./tq-rows.ts"

const POLL_MS = 20_000
const RETRY_MS = 1_000

const WAIT_OPTIONS = {
  timeout: { value: "time", meaning: "wait at most this long, for example 30s" },
} satisfies Command["options"]

const META = { value: "name=value", multiple: true, meaning: "a label; may be given several times" } as const

export const TASK_COMMANDS = {
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
      ...KEYED,
      unique: { value: "text", meaning: "create nothing if a task that has not ended holds this key" },
      group: { value: "name", meaning: "the group, for example a tenant" },
      retries: { value: "number", meaning: "how many failures are retried" },
      lease: { value: "time", meaning: "how long a lease lasts" },
      expires: { value: "time", meaning: "how long after the submit an attempt may still start" },
      meta: META,
      redact: { meaning: "hide payload, result and errors from all but workers and operators" },
    },
    examples: [
      "submit add '[1,2,3]' --wait",
      `submit mail '{"to": "ada@example.org"}' --queue emails --delay 10m`,
      "submit import - --key import-7 --redact < payload.json",
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
        redact: call.flag("redact") || undefined,
      }
      const limitMs = call.durationMs("timeout")
      if (limitMs !== undefined && !call.flag("wait")) throw new UsageError("--timeout requires --wait")
      const { task_id } = await sendWithKey(call, options =>
        call.client.submit({ ...defined(task), type }, options),
      )
      return call.flag("wait") ? waitForEnd(call, task_id, limitMs) : { lines: [task_id] }
    },
  },

  status: {
    takes: "<task_id>",
    about: "Shows a task: its state, attempts, payload, result or error.",
    examples: ["status emails:01KAV9FT345D2Q7RWM4HTE", "status sum --json"],
    async run(call) {
      await call.client.status(call.arg(0), {}, call.options)
      const { attempts: _, ...task } = call.answer()
      return { lines: describe(task) }
    },
  },

  wait: {
    takes: "<task_id>",
    about:
      "Waits until a task has ended, and prints its result. The exit code is 1 if it is dead or cancelled, or if --timeout passes first.",
    options: WAIT_OPTIONS,
    examples: ["wait emails:01KAV9FT345D2Q7RWM4HTE", "wait sum --timeout 30s"],
    run: call => waitForEnd(call, call.arg(0), call.durationMs("timeout")),
  },

  why: change({
    takes: "<task_id>",
    about: "Explains why a task is not running.",
    examples: ["why emails:01KAV9FT345D2Q7RWM4HTE"],
    ask: call => call.client.why(call.arg(0), call.options),
    say: ({ why }) => why,
  }),

  tasks: list<TaskView>({
    takes: "",
    about: "Lists or searches tasks.",
    options: {
      state: { value: "state", meaning: `only in this state: ${STATES.join(", ")} (default: all)` },
      queue: { value: "name", meaning: "only of this queue" },
      type: { value: "type", meaning: "only of this type" },
      group: { value: "name", meaning: "only of this group" },
      id: { value: "text", meaning: "only if the id contains this" },
      text: { value: "text", meaning: "only if the payload or the error contains this; requires --queue" },
      meta: META,
    },
    examples: ["tasks --queue emails --state retrying", "tasks --queue emails --text ada@example.org"],
    name: "tasks",
    page: async (call, page) => {
      const { tasks, next } = await call.client.tasks(
        {
          ...page,
          order: "time",
          state: call.word("state", [...STATES, "all"]) ?? "all",
          ...defined({
            queue: call.text("queue"),
            type: call.text("type"),
            group: call.text("group"),
            id: call.text("id"),
            text: call.text("text"),
            meta: readMeta(call.texts("meta")),
          }),
        },
        call.options,
      )
      return [tasks, next]
    },
    columns: {
      TASK: ({ id }) => id,
      STATE: ({ status }) => status,
      AGE: ({ created_at }) => formatSince(created_at),
      TYPE: ({ type }) => type,
      ATTEMPT: ({ attempt }) => String(attempt),
      "WORKER OR ERROR": ({ worker, error, status }) =>
        status === "done" || error === undefined ? (worker ?? "") : firstLine(error),
    },
    empty: "No task matches.",
  }),

  change: change({
    takes: "<task_id> <member=value>...",
    about: `Changes a waiting task: its payload, priority, run_at, delay_ms or meta. delay_ms=0 starts it now. ${MEMBERS_HELP}`,
    examples: [
      "change emails:01KAV9FT345D2Q7RWM4HTE priority=9 delay_ms=0",
      `change sum 'payload=[1,2]' run_at=2027-01-31T08:00:00Z`,
    ],
    ask: async call => call.client.changeTask(call.arg(0), await readChange(call), call.options),
    say: ({ task_id }) => `${task_id} is changed`,
  }),

  again: change({
    takes: "<task_id> [payload]",
    about:
      "Submits a task like one that has ended, and prints its id. The payload is JSON; - reads it from stdin.",
    options: { delay: { value: "time", meaning: "start this much later, for example 10m" }, ...KEYED },
    examples: ["again sum", "again sum '[4,5]' --delay 10m"],
    ask: async call => {
      const payload = call.args[1] === undefined ? undefined : await readPayload(call.args[1])
      const again = defined({ payload, delay_ms: call.durationMs("delay") })
      return sendWithKey(call, options => call.client.submitAgain(call.arg(0), again, options))
    },
    say: ({ task_id }) => task_id,
  }),

  retry: change({
    takes: "<task_id>",
    about: "Retries one dead task with its payload. `bulk retry` retries many.",
    examples: ["retry emails:01KAV9FT345D2Q7RWM4HTE"],
    ask: call => call.client.retryDeadTask(call.arg(0), {}, call.options),
    say: ({ task_id }) => `${task_id} is queued again`,
  }),

  cancel: change({
    takes: "<task_id>",
    about:
      "Cancels a task: a waiting one at once, a running one when its worker has been notified. `bulk cancel` cancels many.",
    examples: ["cancel emails:01KAV9FT345D2Q7RWM4HTE"],
    ask: call => call.client.cancel(call.arg(0), call.options),
    say: ({ status, task_id }) =>
      status === "cancelled"
        ? `${task_id} is cancelled`
        : `${task_id} is running; its worker is notified at its next extend`,
  }),

  delete: change({
    takes: "<task_id>",
    about: "Deletes a task that has ended, and its data. `bulk purge` deletes many.",
    examples: ["delete emails:01KAV9FT345D2Q7RWM4HTE"],
    ask: call => call.client.deleteTask(call.arg(0), call.options),
    say: ({ task_id }) => `${task_id} is deleted`,
  }),
} satisfies Record<string, Command>

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
      if (!isKnown || !isRetryable(error) || performance.now() >= end) throw error
      await pause(RETRY_MS, call.stop)
    }
  }
  const { status, result, reason, error } = call.answer() as Members
  if (status === "done") return { lines: result === undefined ? [] : [JSON.stringify(result)] }
  const why = status === "dead" ? ` (${reason})${error === undefined ? "" : `: ${error}`}` : ""
  return { lines: [], failure: `${id} is ${status}${why}` }
}

/** The new members of a task. Of a payload and labels that are changed in part, the rest is that of the task. */
async function readChange(call: Call): Promise<Members> {
  const [id, ...args] = call.args as [string, ...string[]]
  const assignments = readMembers(args)
  const partial = new Set(assignments.flatMap(({ path }) => (path.length > 1 ? [path[0]!] : [])))
  let before: Members = {}
  if (partial.size > 0) {
    await call.client.status(id, {}, call.options)
    before = call.answer()
    if (before.hidden === true && partial.has("payload"))
      throw new UsageError(
        "the payload is hidden from this token, so its other members would be lost: give all of it",
      )
  }
  const kept = Object.entries(before).filter(([name]) => partial.has(name))
  const after = withMembers(Object.fromEntries(kept), assignments)
  const names = new Set(assignments.map(({ path }) => path[0]!))
  for (const name of names)
    if (after[name] === undefined && name !== "meta" && !partial.has(name))
      throw new UsageError(`${name} cannot be removed, only changed`)
  return Object.fromEntries([...names].map(name => [name, after[name] ?? {}]))
}
