/** Schedules: what clients send and receive. */
import { type Static, Type } from "@sinclair/typebox"
import { closed, DAY_MS, EARLIEST_TIME, Hidden, NextPage, pageOf, QueueName, State } from "./fields.ts"
import { Submit } from "./submitting.ts"

export const ScheduleId = Type.String({
  pattern: "^([A-Za-z0-9._-]{1,64}:)?[A-Za-z0-9_-][A-Za-z0-9._-]{0,49}$",
  description:
    "`queue:name`, or only the name for the default queue; the name has 1 to 50 characters from A-Z a-z 0-9 . _ - and does not begin with a dot",
})

const Time = Type.Integer({ minimum: EARLIEST_TIME, maximum: 4_102_444_800_000 })

/** When a schedule runs. */
const times = {
  cron: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 400,
      description:
        "five fields (minute hour day month weekday), such as `0 7 * * mon-fri`, or @hourly, @daily, @weekly, @monthly or @yearly",
    }),
  ),
  time_zone: Type.Optional(
    Type.String({
      pattern: "^[A-Za-z0-9._+/-]{1,64}$",
      description: "the zone of `cron`: an IANA name such as Europe/Berlin (default UTC)",
    }),
  ),
  every_ms: Type.Optional(
    Type.Integer({
      minimum: 1_000,
      maximum: 366 * DAY_MS,
      description: "instead of `cron`: the interval in ms; the planned times are its multiples since 1970",
    }),
  ),
  starts_at: Type.Optional({ ...Time, description: "the earliest time, in milliseconds since 1970" }),
  ends_at: Type.Optional({ ...Time, description: "the latest time, in milliseconds since 1970" }),
}

const {
  queue: _queue,
  task_id: _task_id,
  delay_ms: _delay_ms,
  run_at: _run_at,
  ...taskMembers
} = Submit.properties

export const Schedule = Type.Object(
  {
    ...times,
    task: Type.Object(taskMembers, {
      ...closed,
      description: "what /submit takes, except queue, task_id, delay_ms and run_at",
    }),
    jitter_ms: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: DAY_MS,
        description:
          "each run starts up to this many ms after its planned time; the delay depends only on the schedule and that time",
      }),
    ),
    on_missed: Type.Optional(
      Type.Union([Type.Literal("one"), Type.Literal("none"), Type.Literal("all")], {
        description:
          "if several planned times passed because no broker ran or there was no room: one task for the newest (the default), none, or one for each, at most the newest 100",
      }),
    ),
    on_overlap: Type.Optional(
      Type.Union([Type.Literal("allow"), Type.Literal("skip"), Type.Literal("cancel")], {
        description:
          "if the previous task has not ended: create the next one anyway (the default), skip it, or cancel the previous one",
      }),
    ),
  },
  closed,
)

export type Schedule = Static<typeof Schedule>

export const ScheduleSet = Type.Object({
  schedule: Type.String(),
  next_at: Type.Optional(Type.Integer({ description: "the next planned time; absent: there is none" })),
  changed: Type.Boolean({ description: "false: the request changed neither the schedule nor its next time" }),
})

export type ScheduleSet = Static<typeof ScheduleSet>

export const ScheduleView = Type.Object({
  ...Schedule.properties,
  schedule: Type.String({ description: "its id, `queue:name`" }),
  queue: Type.String(),
  hidden: { ...Hidden, description: "the token may not see the payload of `task`, which is left out" },
  next_at: Type.Optional(Type.Integer({ description: "the next planned time; absent: there is none" })),
  next: Type.Array(Type.Integer(), { description: "the next planned times, at most five, without jitter" }),
  last: Type.Optional(
    Type.Object(
      {
        task_id: Type.String(),
        planned_at: Type.Integer({ description: "its planned time, or when it was created by hand" }),
        state: Type.Optional({ ...State, description: "absent: the task was deleted" }),
      },
      { description: "the newest task" },
    ),
  ),
  fired: Type.Integer({ description: "how many tasks it has created" }),
  missed: Type.Integer({
    description: "how many planned times got no task because no broker ran in time, or there was no room",
  }),
  skipped: Type.Integer({
    description:
      "how many planned times got no task because the previous task had not ended or another task held the unique key",
  }),
  paused: Type.Boolean(),
  paused_at: Type.Optional(Type.Integer()),
  pause_reason: Type.Optional(Type.String()),
})

export type ScheduleView = Static<typeof ScheduleView>

/** The query of GET /schedules. */
export const SchedulesQuery = Type.Object(
  {
    queue: Type.Optional(QueueName),
    schedule_part: Type.Optional(
      Type.String({
        pattern: "^[A-Za-z0-9._:-]{1,115}$",
        description:
          "1 to 115 characters from A-Z a-z 0-9 . _ : - that the id, `queue:name`, contains, ignoring case",
      }),
    ),
    ...pageOf("schedules", "^[A-Za-z0-9_-]{1,300}$", 100),
  },
  closed,
)

export type SchedulesQuery = Static<typeof SchedulesQuery>

export const SchedulesAnswer = Type.Object({ schedules: Type.Array(ScheduleView), next: NextPage })

export type SchedulesAnswer = Static<typeof SchedulesAnswer>

export const SchedulePaused = Type.Object({
  status: Type.Union([Type.Literal("paused"), Type.Literal("resumed")]),
  schedule: Type.String(),
  paused_at: Type.Optional(Type.Integer({ description: "since when the schedule has been paused" })),
  next_at: Type.Optional(Type.Integer({ description: "when resumed: the next planned time" })),
})

export type SchedulePaused = Static<typeof SchedulePaused>

export const ScheduleRun = Type.Object({
  status: Type.Union([Type.Literal("queued"), Type.Literal("skipped"), Type.Literal("duplicate")], {
    description:
      "skipped: `on_overlap` is skip and the previous task has not ended; duplicate: a task holds the unique key",
  }),
  task_id: Type.String({ description: "the new task, or the one that prevented it" }),
})

export type ScheduleRun = Static<typeof ScheduleRun>

export const ScheduleDeleted = Type.Object({ status: Type.Literal("deleted"), schedule: Type.String() })

export type ScheduleDeleted = Static<typeof ScheduleDeleted>

export const Preview = Type.Object(
  {
    ...times,
    from_at: Type.Optional({ ...Time, description: "the times after this one (default: now)" }),
  },
  closed,
)

export type Preview = Static<typeof Preview>

export const Previewed = Type.Object({
  next: Type.Array(Type.Integer(), { description: "the next ten times, or all if there are fewer" }),
})

export type Previewed = Static<typeof Previewed>
