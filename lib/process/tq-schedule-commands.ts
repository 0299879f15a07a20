/** The commands of `tq` for schedules. */
import { BrokerProblem } from "../client.ts"
import type { Preview, Schedule, ScheduleView } from "../wire/scheduling.ts"
import { type Call, type Command, defined, formatInterval, type Members, UsageError } from "./tq-call.ts"
import { MEMBERS_HELP, readMembers, withMembers } from "./tq-members.ts"
import { change, describe, formatTime, KEYED, list, REASON, reasonOf, sendWithKey } from "./tq-rows.ts"

/** What a client sets; the other members of a view are what became of it. */
const SET = [
  "cron",
  "time_zone",
  "every_ms",
  "starts_at",
  "ends_at",
  "task",
  "jitter_ms",
  "on_missed",
  "on_overlap",
] as const satisfies (keyof Schedule)[]

/** A schedule has one kind of times: setting the other kind removes these members. */
const OTHER_TIMES = [
  { by: "every_ms", members: ["cron", "time_zone"] },
  { by: "cron", members: ["every_ms"] },
]

export const SCHEDULE_COMMANDS = {
  schedules: list<ScheduleView>({
    takes: "",
    about: "Lists schedules, the next to run first.",
    options: {
      queue: { value: "name", meaning: "only of this queue" },
      part: { value: "text", meaning: "only those whose id contains this text" },
    },
    examples: ["schedules", "schedules --queue reports", "schedules --part daily"],
    name: "schedules",
    pageSize: 100,
    page: async (call, page) => {
      const filter = defined({ queue: call.text("queue"), schedule_part: call.text("part") })
      const { schedules, next } = await call.client.schedules({ ...page, ...filter }, call.options)
      return [schedules, next]
    },
    columns: {
      SCHEDULE: ({ schedule }) => schedule,
      TIMES: ({ cron, time_zone, every_ms = 0 }) =>
        cron === undefined ? `every ${formatInterval(every_ms)}` : `${cron} ${time_zone ?? "UTC"}`,
      NEXT: ({ next_at, paused }) =>
        paused ? "paused" : next_at === undefined ? "ended" : formatTime(next_at),
      LAST: ({ last }) => (last === undefined ? "-" : (last.state ?? "deleted")),
      FIRED: ({ fired }) => String(fired),
      MISSED: ({ missed }) => String(missed),
      SKIPPED: ({ skipped }) => String(skipped),
      TYPE: ({ task }) => task.type,
    },
    empty: "No schedules.",
  }),

  "schedules get": {
    takes: "<schedule>",
    about: "Shows a schedule: its times, its task, when it runs next and what became of the last task.",
    examples: ["schedules get reports:daily"],
    async run(call) {
      const { next } = await call.client.schedule(call.arg(0), call.options)
      return { lines: describe({ ...call.answer(), next: next.map(formatTime).join("\n") }) }
    },
  },

  "schedules set": {
    takes: "<schedule> <member=value>...",
    about: `Creates a schedule or changes members of one: cron and time_zone, or every_ms; task.type, task.payload and other members of a submit; starts_at, ends_at, jitter_ms, on_missed, on_overlap. ${MEMBERS_HELP}`,
    examples: [
      "schedules set reports:daily 'cron=0 7 * * mon-fri' task.type=report",
      `schedules set reports:daily time_zone=Europe/Berlin task.priority=9`,
      "schedules set poll every_ms=5m task.type=poll on_overlap=skip",
    ],
    async run(call) {
      const [id, ...args] = call.args as [string, ...string[]]
      const assignments = readMembers(args)
      const before = await definitionOf(call, id)
      const isPayloadGiven = args.some(text => /^task(\.payload)?=/.test(text))
      if (before.hidden === true && !isPayloadGiven)
        throw new UsageError("the payload is hidden from this token, so it would be lost: give task.payload")
      const replaced = OTHER_TIMES.filter(({ by }) =>
        args.some(text => text.startsWith(`${by}=`) && text !== `${by}=`),
      )
      const members = Object.entries(before).filter(
        ([name]) =>
          (SET as readonly string[]).includes(name) &&
          !replaced.some(({ members }) => members.includes(name)),
      )
      const schedule = withMembers(Object.fromEntries(members), assignments)
      const {
        schedule: set,
        next_at,
        changed,
      } = await call.client.setSchedule(id, schedule as Schedule, call.options)
      const next = next_at === undefined ? "it will not run" : `it runs next at ${formatTime(next_at)}`
      return { lines: [`${set} ${changed ? "is set" : "is unchanged"}; ${next}`] }
    },
  },

  "schedules pause": change({
    takes: "<schedule>",
    about: "Pauses a schedule: it creates no tasks.",
    options: REASON,
    examples: ["schedules pause reports:daily"],
    ask: call => call.client.pauseSchedule(call.arg(0), reasonOf(call), call.options),
    say: ({ schedule }) => `${schedule} is paused`,
  }),

  "schedules resume": change({
    takes: "<schedule>",
    about: "Resumes a paused schedule.",
    examples: ["schedules resume reports:daily"],
    ask: call => call.client.resumeSchedule(call.arg(0), call.options),
    say: ({ schedule, next_at }) =>
      `${schedule} is resumed${next_at === undefined ? "" : `; it runs next at ${formatTime(next_at)}`}`,
  }),

  "schedules run": change({
    takes: "<schedule>",
    about: "Creates a task of a schedule now, and prints its id.",
    options: KEYED,
    examples: ["schedules run reports:daily"],
    ask: call => sendWithKey(call, options => call.client.runSchedule(call.arg(0), options)),
    say: ({ task_id, status }) => (status === "queued" ? task_id : `${status}: ${task_id} has not ended`),
  }),

  "schedules delete": change({
    takes: "<schedule>",
    about: "Deletes a schedule. Its tasks stay.",
    examples: ["schedules delete reports:daily"],
    ask: call => call.client.deleteSchedule(call.arg(0), call.options),
    say: ({ schedule }) => `${schedule} is deleted`,
  }),

  "schedules preview": {
    takes: "<member=value>...",
    about:
      "Computes the next ten times of cron and time_zone, or of every_ms; also starts_at, ends_at and from_at.",
    examples: [
      "schedules preview 'cron=0 7 * * *' time_zone=Europe/Berlin",
      "schedules preview every_ms=90m",
    ],
    async run(call) {
      const preview = withMembers({}, readMembers(call.args)) as Preview
      const { next } = await call.client.previewSchedule(preview, call.options)
      return { lines: next.length === 0 ? ["It will not run."] : next.map(formatTime) }
    },
  },
} satisfies Record<string, Command>

/** The schedule with all digits of its numbers; empty if there is none yet. */
async function definitionOf(call: Call, id: string): Promise<Members> {
  try {
    await call.client.schedule(id, call.options)
    return call.answer()
  } catch (error) {
    if (error instanceof BrokerProblem && error.code === "schedule_not_found") return {}
    throw error
  }
}
