/** Prose and examples of the routes for schedules. */
import type { Schedule, ScheduleView } from "../../wire/scheduling.ts"
import { badBody, NOW, type ProseOf } from "./prose.ts"

const SCHEDULE: Schedule = {
  cron: "0 7 * * mon-fri",
  time_zone: "Europe/Berlin",
  task: { type: "report", payload: { to: "team@example.org" } },
}
const NEXT = [1_764_050_400_000, 1_764_136_800_000, 1_764_223_200_000, 1_764_309_600_000, 1_764_568_800_000]
const VIEW: ScheduleView = {
  ...SCHEDULE,
  schedule: "mail:report",
  queue: "mail",
  on_missed: "one",
  on_overlap: "allow",
  next_at: NEXT[0]!,
  next: NEXT,
  last: { task_id: "mail:report-1763964000000", planned_at: 1_763_964_000_000, state: "done" },
  fired: 12,
  missed: 1,
  skipped: 0,
  paused: false,
}
const PAUSED: ScheduleView = {
  ...VIEW,
  next: [],
  paused: true,
  paused_at: NOW,
  pause_reason: "the recipient is on holiday",
}
delete PAUSED.next_at
const NO_SCHEDULE = { 404: "There is no schedule with this id: see /schedules." }

export const scheduling: ProseOf<"scheduling"> = {
  setSchedule: {
    description:
      "One task is created for each time of the schedule, with the id `<schedule>-<planned time>`, however many brokers run. " +
      "Either `cron` (five fields or a nickname, in `time_zone`) or `every_ms` says when. Safe to repeat, for example at each " +
      "start of a program: as long as the times are the same, `next_at` stays. A replaced schedule keeps its counts, and " +
      "stays paused if it was. `task` takes what /submit takes, except `queue`, `task_id`, `delay_ms` and `run_at`.",
    body: {
      "a cron expression": SCHEDULE,
      "an interval": { every_ms: 60_000, jitter_ms: 5_000, on_overlap: "skip", task: { type: "poll" } },
      "until a date": { ...SCHEDULE, ends_at: NOW + 2_592_000_000, on_missed: "all" },
    },
    answers: {
      200: {
        description: "The schedule is stored.",
        examples: {
          changed: { schedule: "mail:report", next_at: NEXT[0]!, changed: true },
          "the same as before": { schedule: "mail:report", next_at: NEXT[0]!, changed: false },
        },
      },
    },
    problems: {
      bad_request: {
        field: "time_zone",
        detail: "`time_zone` must be a name from the IANA time zone database, such as Europe/Berlin.",
      },
    },
  },

  listSchedules: {
    description:
      "The schedules queue by queue, and in a queue those that run next first; paused and ended ones come last. If the answer " +
      "has a `next`, repeat the call with it as `cursor`, even if the page is empty. A schedule that runs in between may appear twice.",
    query: { queue: "mail", schedule_part: "rep", limit: 100 },
    answers: {
      200: {
        description: "A page of schedules.",
        examples: {
          page: { schedules: [VIEW, PAUSED] },
          "with a next page": { schedules: [VIEW], next: "bWFpbCAxNzY0MDU0MDAwMDAwIHJlcG9ydA" },
        },
      },
    },
  },

  getSchedule: {
    description: "The schedule with its next times, its newest task and its counts.",
    answers: { 200: { description: "The schedule.", examples: { waiting: VIEW, paused: PAUSED } } },
    advice: NO_SCHEDULE,
  },

  deleteSchedule: {
    description: "Deletes the schedule and its counts. The tasks that it created remain.",
    answers: {
      200: {
        description: "The schedule is deleted.",
        examples: { deleted: { status: "deleted", schedule: "mail:report" } },
      },
    },
    advice: NO_SCHEDULE,
  },

  pauseSchedule: {
    description:
      "A paused schedule creates no tasks, except by /run. Planned times that pass meanwhile get no task. Safe to repeat: the newest " +
      "reason replaces the previous one.",
    body: { "without a reason": {}, "with a reason": { reason: "the recipient is on holiday" } },
    answers: {
      200: {
        description: "The schedule is paused.",
        examples: { paused: { status: "paused", schedule: "mail:report", paused_at: NOW } },
      },
    },
    advice: NO_SCHEDULE,
  },

  resumeSchedule: {
    description: "The schedule goes on with its next time from now. Safe to repeat. The body is not read.",
    answers: {
      200: {
        description: "The schedule is not paused.",
        examples: { resumed: { status: "resumed", schedule: "mail:report", next_at: NEXT[0]! } },
      },
    },
    advice: NO_SCHEDULE,
  },

  runSchedule: {
    description:
      "Creates a task now, even if the schedule is paused; its planned times do not change. `on_overlap` applies. With an " +
      "Idempotency-Key, a repeated request gets the first task again; without one, it creates another. The body is not read.",
    parameters: [
      {
        name: "Idempotency-Key",
        in: "header",
        description: "1 to 200 printable ASCII characters without spaces",
        schema: { type: "string", pattern: '^"?[\\x21\\x23-\\x7e]{1,200}"?$' },
        example: "report-by-hand-7",
      },
    ],
    answers: {
      200: {
        description: "The new task, or the reason why none was created.",
        examples: {
          created: { status: "queued", task_id: "mail:report-1764000000000" },
          skipped: { status: "skipped", task_id: "mail:report-1763964000000" },
        },
      },
    },
    advice: { ...NO_SCHEDULE, 422: "The Idempotency-Key was used for another request. Use another key." },
  },

  previewSchedule: {
    description: "Nothing is stored. Use it to show what an expression means before it is saved.",
    body: { "a cron expression": { cron: "0 7 * * mon-fri", time_zone: "Europe/Berlin", from_at: NOW } },
    answers: { 200: { description: "The next times.", examples: { five: { next: NEXT } } } },
    problems: { bad_request: badBody("previewSchedule", { every_ms: 500 }) },
  },
}
