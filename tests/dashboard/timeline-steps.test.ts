/** The steps of a task's timeline, from its record, /why and pauses, and which log lines came during which attempt. */
import { describe, expect, test } from "bun:test"
import { logByAttempt, rowsOf } from "../../lib/dashboard/attempt-rows.ts"
import { type Pause, pausesOf } from "../../lib/dashboard/pauses.ts"
import { type Step, stepsOf } from "../../lib/dashboard/timeline-steps.ts"
import type { ActionView } from "../../lib/wire/actions.ts"
import type { TaskView, WhyAnswer } from "../../lib/wire/inspecting.ts"

const BASE = { created_at: 1_000, status: "queued", retries: 5, crashes: 5 } as TaskView
const attempt = (n: number, from: number, to: number | undefined, outcome: string) => ({
  attempt: n,
  started_at: from,
  outcome,
  ...(to === undefined ? {} : { ended_at: to }),
})
const why = (cause: WhyAnswer["cause"]) => ({ cause }) as WhyAnswer
const FIXED = { kind: "fixed", delay_ms: 600, jitter: false } as const
const EXPONENTIAL = { kind: "exponential", delay_ms: 100, max_ms: 1_000 } as const
const START = "its start time, a worker or a limit"
const ASKED = "the time that its worker asked for, a worker or a limit"

function textOf(step: Step): string {
  switch (step.kind) {
    case "created":
      return `${step.at} created`
    case "unrecorded":
      return `no record of ${step.first}-${step.last}`
    case "attempt":
      return `${step.from}-${step.to ?? ""} #${step.attempt} ${step.outcome}`
    case "end":
      return `${step.at} ${step.text}`
    case "wait": {
      const { from, to, after, backoff, cause, until, pauses } = step
      const paused = pauses.map(each => `${each.pause.what} paused ${each.from}-${each.to ?? ""}`)
      const delay = backoff && `backoff ${backoff.isRandom ? "<= " : ""}${backoff.ms}`
      const end = until && `until ${until}`
      return [`${from}-${to ?? ""} ${after}`, delay, cause, end, ...paused].filter(Boolean).join("; ")
    }
  }
}
/** Each step as one short text. */
const told = (steps: Step[]) => steps.map(textOf)

test.each<[string, Partial<TaskView>, WhyAnswer | undefined, string[]]>([
  ["waits", {}, why("paused"), ["1000 created", "1000- before its first attempt; its queue is paused"]],
  ["waits, and nothing else is known", {}, undefined, ["1000 created", "1000- before its first attempt"]],
  [
    "is scheduled",
    { status: "scheduled", due_at: 9_000 },
    why("delayed"),
    ["1000 created", "1000- before its first attempt; scheduled; until 9000"],
  ],
  [
    "runs",
    { status: "processing", attempts: [attempt(1, 1_500, undefined, "processing")] },
    why("running"),
    ["1000 created", `1000-1500 before its first attempt; ${START}`, "1500- #1 processing"],
  ],
  [
    "backs off",
    { status: "retrying", due_at: 9_000, attempts: [attempt(1, 1_500, 2_000, "failed")] },
    why("backing_off"),
    [
      "1000 created",
      `1000-1500 before its first attempt; ${START}`,
      "1500-2000 #1 failed",
      "2000- after a failure; waits for its retry; until 9000",
    ],
  ],
  [
    "is done",
    {
      status: "done",
      finished_at: 4_000,
      attempts: [attempt(1, 1_500, 2_000, "crashed"), attempt(2, 3_000, 4_000, "done")],
    },
    why("ended"),
    [
      "1000 created",
      `1000-1500 before its first attempt; ${START}`,
      "1500-2000 #1 crashed",
      "2000-3000 after a crash; a worker or a limit",
      "3000-4000 #2 done",
      "4000 done",
    ],
  ],
  [
    "is dead",
    { status: "dead", reason: "failed", finished_at: 2_000, attempts: [attempt(1, 1_500, 2_000, "failed")] },
    why("ended"),
    [
      "1000 created",
      `1000-1500 before its first attempt; ${START}`,
      "1500-2000 #1 failed",
      "2000 dead: failed",
    ],
  ],
  [
    "expired before it ran",
    { status: "dead", reason: "expired", finished_at: 2_000, attempts: [] },
    why("ended"),
    ["1000 created", `1000-2000 before its first attempt; ${START}`, "2000 dead: expired"],
  ],
  [
    "was cancelled after a release",
    { status: "cancelled", finished_at: 3_000, attempts: [attempt(1, 1_500, 2_000, "released")] },
    why("ended"),
    [
      "1000 created",
      `1000-1500 before its first attempt; ${START}`,
      "1500-2000 #1 released",
      `2000-3000 after a release; ${ASKED}`,
      "3000 cancelled",
    ],
  ],
  [
    "has lost its first attempts",
    {
      status: "done",
      finished_at: 9_000,
      attempts: [attempt(13, 5_000, 6_000, "failed"), attempt(14, 8_000, 9_000, "done")],
    },
    why("ended"),
    [
      "1000 created",
      "no record of 1-12",
      "5000-6000 #13 failed",
      `6000-8000 after a failure; ${ASKED}`,
      "8000-9000 #14 done",
      "9000 done",
    ],
  ],
  [
    "backed off for a time that is known",
    {
      status: "done",
      finished_at: 9_000,
      backoff: FIXED,
      attempts: [
        attempt(1, 1_500, 2_000, "failed"),
        attempt(2, 2_600, 3_000, "crashed"),
        attempt(3, 8_000, 9_000, "done"),
      ],
    },
    why("ended"),
    [
      "1000 created",
      `1000-1500 before its first attempt; ${START}`,
      "1500-2000 #1 failed",
      "2000-2600 after a failure; backoff 600",
      "2600-3000 #2 crashed",
      "3000-8000 after a crash; backoff 600; a worker or a limit",
      "8000-9000 #3 done",
      "9000 done",
    ],
  ],
  [
    "backed off exponentially, with its counters",
    {
      status: "processing",
      retries: 6,
      crashes: 1,
      group: "acme",
      backoff: EXPONENTIAL,
      attempts: [
        attempt(6, 1_000, 2_000, "failed"),
        attempt(7, 3_000, 4_000, "crashed"),
        attempt(8, 4_050, 4_100, "failed"),
        attempt(9, 9_000, undefined, "processing"),
      ],
    },
    why("running"),
    [
      "1000 created",
      "no record of 1-5",
      "1000-2000 #6 failed",
      "2000-3000 after a failure; backoff <= 1000",
      "3000-4000 #7 crashed",
      "4000-4050 after a crash; backoff <= 100",
      "4050-4100 #8 failed",
      "4100-9000 after a failure; backoff <= 1000; the time that its worker asked for, a worker, its group or a limit",
      "9000- #9 processing",
    ],
  ],
  [
    "was dead and retried",
    {
      status: "done",
      retries: 0,
      finished_at: 9_000,
      backoff: FIXED,
      attempts: [attempt(1, 1_500, 2_000, "failed"), attempt(2, 8_000, 9_000, "done")],
    },
    why("ended"),
    [
      "1000 created",
      `1000-1500 before its first attempt; ${START}`,
      "1500-2000 #1 failed",
      `2000-8000 after a failure; its backoff, a retry of the dead task, ${ASKED}`,
      "8000-9000 #2 done",
      "9000 done",
    ],
  ],
])("a task that %s", (_, members, reason, expected) => {
  expect(told(stepsOf({ ...BASE, ...members }, reason))).toEqual(expected)
})

describe("pauses", () => {
  const pause = (what: Pause["what"], from: number, to?: number): Pause => ({
    what,
    from,
    to,
    by: "ada",
    reason: "",
  })
  const waits = (members: Partial<TaskView>, pauses: Pause[], reason?: WhyAnswer) =>
    told(stepsOf({ ...BASE, ...members }, reason, pauses)).filter(text => /before|after/.test(text))
  const done = (task: Partial<TaskView>): Partial<TaskView> => ({
    status: "done",
    finished_at: 9_000,
    ...task,
  })

  test("that overlap with a wait are named, and are its cause if they cover it", () => {
    const task = done({ attempts: [attempt(1, 5_000, 9_000, "done")] })
    expect(
      waits(task, [pause("queue", 500, 800), pause("queue", 2_000, 3_000), pause("group", 6_000)]),
    ).toEqual([`1000-5000 before its first attempt; ${START}; queue paused 2000-3000`])
    expect(waits(task, [pause("queue", 500, 4_900)])).toEqual([
      "1000-5000 before its first attempt; the end of a pause; queue paused 1000-4900",
    ])
  })

  test("do not count while the task backs off", () => {
    const task = done({
      backoff: FIXED,
      attempts: [attempt(1, 1_000, 2_000, "crashed"), attempt(2, 3_000, 9_000, "done")],
    })
    expect(waits(task, [pause("queue", 2_000, 2_500)])[1]).toBe(
      "2000-3000 after a crash; backoff 600; a worker or a limit",
    )
    expect(waits(task, [pause("queue", 2_000, 2_990)])[1]).toBe(
      "2000-3000 after a crash; backoff 600; the end of a pause; queue paused 2600-2990",
    )
  })

  test("may last", () => {
    expect(waits({}, [pause("queue", 2_000)], why("paused"))).toEqual([
      "1000- before its first attempt; its queue is paused; queue paused 2000-",
    ])
  })

  test("are read from the trail: a resumption alone tells nothing, and pausing again replaces the reason", () => {
    const entry = (action: string, at: number, reason?: string) =>
      ({
        id: `${at}-0`,
        action,
        at,
        by: "ada",
        details: reason === undefined ? {} : { reason },
      }) as ActionView
    expect(
      pausesOf("queue", [
        entry("pauseQueue", 9),
        entry("resumeQueue", 7),
        entry("pauseQueue", 5, "b"),
        entry("pauseQueue", 4, "a"),
        entry("resumeQueue", 2),
      ]),
    ).toEqual([
      { what: "queue", from: 4, to: 7, by: "ada", reason: "b" },
      { what: "queue", from: 9, to: undefined, by: "ada", reason: "" },
    ])
  })
})

test("each log line belongs to the attempt during which it came", () => {
  const task = {
    ...BASE,
    log: ["old", "lost", "a", "b", "c"],
    log_at: [900, 1_000, 2_000, 3_500],
    attempts: [attempt(2, 1_000, 2_000, "failed"), attempt(3, 2_000, undefined, "processing")],
  } as TaskView
  expect(logByAttempt(task).map(({ attempt, lines }) => [attempt, lines.map(({ text }) => text)])).toEqual([
    [undefined, ["old", "lost"]],
    [2, ["a", "b"]],
    [3, ["c"]],
  ])
  expect(logByAttempt({ ...BASE })).toEqual([])
})

test("attempts are compared: waits, run times, log lines, and which errors are the same", () => {
  const failed = (n: number, from: number, to: number, error: string) => ({
    ...attempt(n, from, to, "failed"),
    error,
  })
  const task = {
    ...BASE,
    log: ["a"],
    log_at: [3_000],
    attempts: [
      failed(1, 1_500, 2_000, "no"),
      failed(2, 2_500, 4_000, "no"),
      attempt(3, 5_000, undefined, "processing"),
    ],
  } as TaskView
  expect(rowsOf(task)).toMatchObject([
    { waitedMs: 500, ranMs: 500, logged: 0, sameAs: undefined },
    { waitedMs: 500, ranMs: 1_500, logged: 1, sameAs: 1 },
    { waitedMs: 1_000, ranMs: undefined, logged: 0, sameAs: undefined },
  ])
  // What came before the first recorded attempt is unknown.
  expect(rowsOf({ ...task, attempts: [failed(7, 1_500, 2_000, "no")] })[0]!.waitedMs).toBeUndefined()
})
