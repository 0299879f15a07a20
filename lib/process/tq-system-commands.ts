/** The commands of `tq` for workers, brokers and what happens: history, events, actions, audit. */
import type { ActionView } from "../wire/actions.ts"
import type { BrokerView } from "../wire/brokers.ts"
import type { HistoryPoint, HistoryTotal } from "../wire/charting.ts"
import { EVENT_NAMES, type EventData } from "../wire/events.ts"
import { WORKER_STATES, type WorkerView } from "../wire/managing.ts"
import { formatAge, formatCount } from "./terminal-text.ts"
import { type Command, defined } from "./tq-call.ts"
import { change, formatSince, formatTime, list, table } from "./tq-rows.ts"

export const SYSTEM_COMMANDS = {
  workers: list<WorkerView>({
    takes: "",
    about: "Lists the workers that the broker has seen.",
    options: {
      queue: { value: "name", meaning: "only workers that polled this queue" },
      worker: { value: "name", meaning: "only this worker" },
      state: {
        value: "states",
        multiple: true,
        meaning: `only in one of these: ${WORKER_STATES.join(", ")}`,
      },
    },
    examples: ["workers", "workers --queue emails --state live,draining"],
    name: "workers",
    page: async (call, page) => {
      const state = call.words("state", WORKER_STATES)
      const query = {
        ...page,
        ...defined({ queue: call.text("queue"), worker: call.text("worker") }),
        ...(state.length > 0 && { state }),
      }
      const { workers, next } = await call.client.workers(query, call.options)
      return [workers, next]
    },
    columns: {
      WORKER: ({ worker }) => worker,
      STATE: ({ state }) => state,
      RUNNING: ({ in_hand, concurrency }) => `${in_hand} of ${concurrency ?? "?"}`,
      "ACKS/MIN": ({ per_minute }) => formatCount(per_minute),
      DONE: ({ done }) => formatCount(done),
      FAILED: ({ failed }) => formatCount(failed),
      SEEN: ({ last_seen_at }) => formatSince(last_seen_at),
      HOST: ({ host }) => host ?? "-",
      VERSION: ({ version }) => version ?? "-",
      QUEUES: ({ queues }) => queues.join(" "),
    },
    empty: "No worker matches.",
  }),

  "workers drain": change({
    takes: "<worker>",
    about: "Drains a worker: it finishes its tasks and stops.",
    options: { undo: { meaning: "cancel the drain" } },
    examples: ["workers drain mail-1", "workers drain mail-1 --undo"],
    ask: call => call.client.drainWorker(call.arg(0), !call.flag("undo"), call.options),
    say: ({ status, worker }) =>
      status === "draining" ? `${worker} is draining` : `The drain of ${worker} is cancelled`,
  }),

  brokers: list<BrokerView>({
    takes: "",
    about: "Lists the brokers that share the Redis of this one.",
    examples: ["brokers"],
    name: "brokers",
    page: async call => [(await call.client.brokers(call.options)).brokers],
    columns: {
      BROKER: ({ broker }) => broker,
      HOST: ({ host }) => host,
      PID: ({ pid }) => String(pid),
      VERSION: ({ version }) => version,
      UP: ({ started_at }) => formatSince(started_at),
      SEEN: ({ seen_at }) => formatSince(seen_at),
    },
    empty: "No broker has been seen in the last 30 s.",
  }),

  history: {
    takes: "",
    about:
      "Shows what happened per step of time: tasks submitted and done, failures, and times of waiting and running.",
    options: {
      queue: { value: "name", meaning: "only this queue (default: all)" },
      type: { value: "type", meaning: "only tasks of this type; requires --queue" },
      types: { meaning: "a line per type of --queue instead of a line per step" },
      last: { value: "time", meaning: "how far back, up to 30d (default 1h)" },
      step: { value: "time", meaning: "the time between two lines, such as 5m or 1h" },
    },
    examples: ["history --last 24h --step 1h", "history --queue emails --types"],
    async run(call) {
      const lastMs = call.durationMs("last")
      const stepMs = call.durationMs("step")
      const { points, total, types, other, marks } = await call.client.history(
        defined({
          queue: call.text("queue"),
          type: call.text("type"),
          types: call.flag("types") || undefined,
          from_at: lastMs === undefined ? undefined : Date.now() - lastMs,
          step: stepMs === undefined ? undefined : `${stepMs}ms`,
        }),
        call.options,
      )
      const rows: ({ label: string } & HistoryTotal & Pick<HistoryPoint, "depth">)[] =
        types === undefined
          ? points.map(point => ({ ...point, label: formatTime(point.at).slice(0, 16) }))
          : types.map(row => ({ ...row, label: row.type }))
      if (other !== undefined) rows.push({ ...other, label: "(others)" })
      if (rows.length > 0) rows.push({ ...total, label: "TOTAL" })
      const columns: Record<string, (row: (typeof rows)[number]) => string> = {
        [types === undefined ? "FROM (UTC)" : "TYPE"]: ({ label }) => label,
        SUBMITTED: ({ submitted }) => formatCount(submitted),
        DONE: ({ done }) => formatCount(done),
        FAILED: ({ failed }) => formatCount(failed),
        LAPSED: ({ lapsed }) => formatCount(lapsed),
        DEAD: ({ dead }) => formatCount(dead),
        ...(types === undefined && { "MOST QUEUED": ({ depth }) => formatCount(depth?.queued) }),
        "WAIT P95": ({ wait_ms }) => formatMs(wait_ms?.p95),
        "RUN P50": ({ run_ms }) => formatMs(run_ms?.p50),
        "RUN P95": ({ run_ms }) => formatMs(run_ms?.p95),
      }
      const lines = table(call, columns, rows, "Nothing was recorded in that time.")
      // A broker of an earlier version sends no marks.
      for (const { at, text, by } of marks ?? []) lines.push(`${formatTime(at)} ${text} (${by})`)
      return { lines }
    },
  },

  mark: change({
    takes: "<text>",
    about:
      "Marks this moment in the history, for example after a deploy. The charts of the dashboard show it.",
    examples: ["mark v1.2", 'mark "deploy of v1.2"'],
    ask: call => call.client.addMark({ text: call.arg(0) }, call.options),
    say: ({ at, text }) => `${formatTime(at)} is marked: ${text}`,
  }),

  actions: list<ActionView>({
    takes: "",
    about: "Lists what operators did, the newest first.",
    options: {
      queue: { value: "name", meaning: "only what concerns this queue" },
      by: { value: "name", meaning: "only of the token with this name" },
      action: { value: "name", meaning: "only this action, for example pauseQueue" },
    },
    examples: ["actions --queue emails --limit 20"],
    name: "actions",
    page: async (call, page) => {
      const query = { queue: call.text("queue"), by: call.text("by"), action: call.text("action") }
      const { actions, next } = await call.client.actions({ ...page, ...defined(query) }, call.options)
      return [actions, next]
    },
    columns: {
      AT: ({ at }) => formatTime(at),
      BY: ({ by }) => by,
      ACTION: ({ action }) => action,
      OF: ({ task_id, schedule, worker, group, queues }) =>
        task_id ?? schedule ?? worker ?? [queues?.join(" ") ?? "", group].filter(Boolean).join(" "),
      DETAILS: ({ details }) => JSON.stringify(details),
    },
    empty: "No action matches.",
  }),

  audit: {
    takes: "",
    about:
      "Checks the consistency of all data, for up to 20 s; with --fix, repairs it. The exit code is 1 if something inconsistent remains.",
    options: {
      queue: { value: "name", meaning: "only this queue" },
      fix: { meaning: "repair what is found" },
    },
    examples: ["audit", "audit --queue emails --fix"],
    async run(call) {
      const query = { queue: call.text("queue"), fix: call.flag("fix") || undefined }
      const { complete, looked, found } = await call.client.audit(defined(query), call.options)
      const columns: Record<string, (row: (typeof found)[number]) => string> = {
        KIND: ({ kind }) => kind,
        FOUND: ({ count }) => formatCount(count),
        REPAIRED: ({ mended }) => formatCount(mended),
        EXAMPLE: ({ sample }) => sample,
      }
      const scope = `${formatCount(looked.tasks)} tasks of ${formatCount(looked.queues)} queues`
      const lines = table(call, columns, found, `Everything is consistent: ${scope}.`)
      if (!complete) lines.push(`Only ${scope} were checked within the time limit.`)
      const isLeft = found.some(({ count, mended }) => count > mended)
      return { lines, failure: isLeft ? "the data is inconsistent" : undefined }
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
} satisfies Record<string, Command>

const formatMs = (ms: number | undefined) => (ms !== undefined && ms < 1_000 ? `${ms}ms` : formatAge(ms))

function describeEvent(name: string, { at, task_id, queue, ...more }: EventData): string {
  const facts = Object.entries(more)
    .filter(([member]) => member !== "order")
    .map(([member, value]) => ` ${member}=${typeof value === "string" ? value : JSON.stringify(value)}`)
  const time = at === undefined ? "" : formatTime(at).slice(11, 23)
  return `${time} ${name.padEnd(9)} ${task_id ?? queue ?? ""}${facts.join("")}`
}
