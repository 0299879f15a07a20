/** Prose and examples of the routes for groups. */
import type { GroupView } from "../../wire/grouping.ts"
import type { GroupLimits } from "../../wire/queue-settings.ts"
import { NOW, type ProseOf } from "./prose.ts"

const LIMITS: GroupLimits = { concurrency: 10, rate: { limit: 100, per_ms: 60_000, burst: 10 } }
const RUNNING: GroupView = {
  queue: "mail",
  group: "acme",
  waiting: 12,
  processing: 2,
  oldest_waiting_ms: 850,
}
const HELD: GroupView = {
  ...RUNNING,
  held: { cause: "concurrency", task_ids: ["mail:01KATR5S3HQ7V2M9XW4TPD", "mail:01KATR5S3HQ7V2M9XW4TPE"] },
}
const OWN: GroupView = { ...RUNNING, limits: LIMITS }
const PAUSED: GroupView = {
  ...RUNNING,
  held: { cause: "paused" },
  paused_at: NOW,
  pause_reason: "the tenant has asked for it",
}

export const grouping: ProseOf<"grouping"> = {
  listGroups: {
    description:
      "The groups that have ready or running tasks, or limits of their own: those with the longest list of ready tasks first. If " +
      "the answer has a `next`, repeat the call with it as `cursor`. A group whose backlog changes in between may appear twice or " +
      "not at all.",
    query: { limit: 100 },
    answers: {
      200: {
        description: "A page of groups.",
        examples: {
          page: { groups: [HELD] },
          "with a next page": { groups: [RUNNING], next: "MCAxMiA1YWNtZQ" },
        },
      },
    },
  },

  getGroup: {
    description:
      "How many tasks of the group wait and run, and why none is leased now. A group needs no creation: an unknown name is shown " +
      "as an empty group.",
    answers: {
      200: { description: "The group.", examples: { running: RUNNING, held: HELD, paused: PAUSED } },
    },
  },

  setGroupLimits: {
    description:
      "Sets the limits of this group that differ from `groups` in the settings of its queue. For members that the body omits, " +
      "`groups` applies. The limits apply from now on; running tasks are not affected. Safe to repeat.",
    body: { "more for one tenant": LIMITS },
    answers: { 200: { description: "The group with its limits.", examples: { changed: OWN } } },
  },

  removeGroupLimits: {
    description: "The group has the same limits as every group of its queue again. Safe to repeat.",
    answers: { 200: { description: "The group.", examples: { running: RUNNING } } },
  },

  pauseGroup: {
    description:
      "Tasks of a paused group are accepted but not handed out. Other groups and running tasks are not affected. /why reports " +
      "`group_paused` and the reason. Safe to repeat: the newest reason replaces the previous one.",
    body: { "without a reason": {}, "with a reason": { reason: "the tenant has asked for it" } },
    answers: { 200: { description: "The group.", examples: { paused: PAUSED } } },
  },

  resumeGroup: {
    description: "Workers that wait get tasks of the group at once. Safe to repeat. The body is not read.",
    answers: { 200: { description: "The group.", examples: { running: RUNNING } } },
  },
}
