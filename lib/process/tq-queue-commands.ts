/** The commands of `tq` for queues and groups. */
import type { GroupView } from "../wire/grouping.ts"
import type { QueueView } from "../wire/managing.ts"
import type { GroupLimits, QueueSettings } from "../wire/queue-settings.ts"
import { COUNTS, markOf, RATES, WORKERS } from "./queue-columns.ts"
import { formatAge } from "./terminal-text.ts"
import type { Call, Command, Members } from "./tq-call.ts"
import { MEMBERS_HELP, readMembers, withMembers } from "./tq-members.ts"
import { change, describe, list, REASON, reasonOf, show, table } from "./tq-rows.ts"

const queuesBy =
  (order: "name" | "attention") => async (call: Call, page: { limit: number; cursor?: string }) => {
    const { queues, next } = await call.client.queues({ ...page, order }, call.options)
    return [queues, next] as const
  }

export const QUEUE_COMMANDS = {
  queues: list<QueueView>({
    takes: "",
    about: "Lists the queues with the number of their tasks by state, their workers and rates per second.",
    examples: ["queues", "queues --json"],
    name: "queues",
    page: queuesBy("name"),
    columns: {
      QUEUE: ({ queue }) => queue,
      ...Object.fromEntries(
        Object.values({ ...COUNTS, ...RATES, ...WORKERS }).map(({ title, of, format }) => [
          title,
          (queue: QueueView) => format(of(queue)),
        ]),
      ),
      "": queue => markOf(queue) ?? "",
    },
    empty: "No queues yet. A queue is created by its first task.",
  }),

  "queues get": {
    takes: "<queue>",
    about: "Shows a queue: its tasks by state, what is wrong with it, its settings and its last ten minutes.",
    examples: ["queues get emails"],
    async run(call) {
      await call.client.queue(call.arg(0), call.options)
      const { attention, ...view } = call.answer()
      const lines = describe(view)
      return {
        lines: [...lines, ...(attention as QueueView["attention"]).map(({ kind, why }) => `${kind}: ${why}`)],
      }
    },
  },

  "queues set": {
    takes: "<queue> <member=value>...",
    about: `Changes settings of a queue: limits, defaults of its tasks, limits of its groups, thresholds of attention. ${MEMBERS_HELP}`,
    examples: [
      "queues set emails concurrency=5 rate=20/s defaults.max_retries=3",
      `queues set emails concurrency= 'rate={"per_second":9,"burst":2}'`,
      "queues set emails groups.concurrency=1 attention.dead=off",
    ],
    async run(call) {
      const [queue, ...args] = call.args as [string, ...string[]]
      const assignments = readMembers(args)
      await call.client.queue(queue, call.options)
      const settings = withMembers(call.answer().settings as Members, assignments)
      await call.client.setQueue(queue, settings as QueueSettings, call.options)
      return { lines: [`The settings of queue ${queue} are ${JSON.stringify(settings)}`] }
    },
  },

  pause: change({
    takes: "<queue>",
    about: "Pauses a queue: it accepts tasks and hands out none. Running tasks continue.",
    options: REASON,
    examples: ['pause emails --reason "The mail server is down"'],
    ask: call => call.client.pauseQueue(call.arg(0), reasonOf(call), call.options),
    say: ({ queue }) => `Queue ${queue} is paused`,
  }),

  resume: change({
    takes: "<queue>",
    about: "Resumes a paused queue.",
    examples: ["resume emails"],
    ask: call => call.client.resumeQueue(call.arg(0), call.options),
    say: ({ queue }) => `Queue ${queue} is resumed`,
  }),

  attention: {
    takes: "",
    about:
      "Lists what is wrong with queues, the worst first. With --check the exit code is 1 if there is anything.",
    options: { check: { meaning: "exit code 1 if a queue needs attention" } },
    examples: ["attention", "attention --check"],
    async run(call) {
      const found: ({ queue: string } & QueueView["attention"][number])[] = []
      let cursor: string | undefined
      do {
        const [queues, next] = await queuesBy("attention")(call, { limit: 1_000, ...(cursor && { cursor }) })
        for (const { queue, attention } of queues)
          found.push(...attention.map(entry => ({ queue, ...entry })))
        cursor = next
      } while (cursor !== undefined)
      const columns: Record<string, (row: (typeof found)[number]) => string> = {
        QUEUE: ({ queue }) => queue,
        WHAT: ({ kind }) => kind,
        SINCE: ({ since_at }) => formatAge(since_at === undefined ? undefined : Date.now() - since_at),
        WHY: ({ why }) => why,
      }
      return {
        lines: table(call, columns, found, "No queue needs attention."),
        json: { attention: found },
        failure: call.flag("check") && found.length > 0 ? "queues need attention" : undefined,
      }
    },
  },

  groups: list<GroupView>({
    takes: "<queue>",
    about: "Lists the groups of a queue, the largest backlog first.",
    examples: ["groups emails"],
    name: "groups",
    page: async (call, page) => {
      const { groups, next } = await call.client.groups(call.arg(0), page, call.options)
      return [groups, next]
    },
    columns: {
      GROUP: ({ group }) => group,
      WAITING: ({ waiting }) => String(waiting),
      RUNNING: ({ processing }) => String(processing),
      OLDEST: ({ oldest_waiting_ms }) => formatAge(oldest_waiting_ms),
      HELD: ({ held }) => held?.cause ?? "-",
      LIMITS: ({ limits }) => (limits === undefined ? "" : JSON.stringify(limits)),
    },
    empty: "This queue has no groups.",
  }),

  "groups get": show({
    takes: "<queue> <group>",
    about: "Shows a group: its tasks, its limits, and why none of its tasks is leased.",
    examples: ["groups get emails acme"],
    ask: call => call.client.group(call.arg(0), call.arg(1), call.options),
  }),

  "groups set": {
    takes: "<queue> <group> <member=value>...",
    about: `Changes the limits of a group that differ from those of its queue: concurrency, rate, order, on_dead, max_waiting. ${MEMBERS_HELP}`,
    examples: ["groups set emails acme concurrency=2 rate=5/s", "groups set emails acme concurrency="],
    async run(call) {
      const [queue, group, ...args] = call.args as [string, string, ...string[]]
      const assignments = readMembers(args)
      await call.client.group(queue, group, call.options)
      const limits = withMembers((call.answer().limits as Members) ?? {}, assignments)
      if (Object.keys(limits).length === 0) await call.client.unsetGroup(queue, group, call.options)
      else await call.client.setGroup(queue, group, limits as GroupLimits, call.options)
      return { lines: [`The limits of group ${group} are ${JSON.stringify(limits)}`] }
    },
  },

  "groups pause": change({
    takes: "<queue> <group>",
    about: "Pauses a group: its tasks are not leased.",
    options: REASON,
    examples: ["groups pause emails acme"],
    ask: call => call.client.pauseGroup(call.arg(0), call.arg(1), reasonOf(call), call.options),
    say: ({ queue, group }) => `Group ${group} of queue ${queue} is paused`,
  }),

  "groups resume": change({
    takes: "<queue> <group>",
    about: "Resumes a paused group.",
    examples: ["groups resume emails acme"],
    ask: call => call.client.resumeGroup(call.arg(0), call.arg(1), call.options),
    say: ({ queue, group }) => `Group ${group} of queue ${queue} is resumed`,
  }),
} satisfies Record<string, Command>
