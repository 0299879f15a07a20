/** The steps of a task's timeline, from its record and /why. */
import { expect, test } from "bun:test"
import { type Step, stepsOf } from "../../lib/dashboard/timeline-steps.ts"
import type { TaskView, WhyAnswer } from "../../lib/wire/inspecting.ts"

const BASE = { created_at: 1_000, status: "queued" } as TaskView
const attempt = (n: number, from: number, to: number | undefined, outcome: string) => ({
  attempt: n,
  started_at: from,
  outcome,
  ...(to === undefined ? {} : { ended_at: to }),
})
const why = (cause: WhyAnswer["cause"]) => ({ cause }) as WhyAnswer
/** Each step as one short text. */
const told = (steps: Step[]) =>
  steps.map(step =>
    "from" in step
      ? `${step.from}-${step.to ?? ""} ${step.kind === "wait" ? step.text : `#${step.attempt} ${step.outcome}`}`
      : step.kind === "unrecorded"
        ? `no record of ${step.first}-${step.last}`
        : `${step.at} ${step.kind === "end" ? step.text : "created"}`,
  )

test.each<[string, Partial<TaskView>, WhyAnswer | undefined, string[]]>([
  ["waits", {}, why("paused"), ["1000 created", "1000- before its first attempt; now: its queue is paused"]],
  ["waits, and nothing else is known", {}, undefined, ["1000 created", "1000- before its first attempt"]],
  [
    "is scheduled",
    { status: "scheduled", due_at: 9_000 },
    why("delayed"),
    ["1000 created", "1000- before its first attempt; now: scheduled"],
  ],
  [
    "runs",
    { status: "processing", attempts: [attempt(1, 1_500, undefined, "processing")] },
    why("running"),
    ["1000 created", "1000-1500 before its first attempt", "1500- #1 processing"],
  ],
  [
    "backs off",
    { status: "retrying", attempts: [attempt(1, 1_500, 2_000, "failed")] },
    why("backing_off"),
    [
      "1000 created",
      "1000-1500 before its first attempt",
      "1500-2000 #1 failed",
      "2000- after a failure; now: waits for its retry",
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
      "1000-1500 before its first attempt",
      "1500-2000 #1 crashed",
      "2000-3000 after a crash",
      "3000-4000 #2 done",
      "4000 done",
    ],
  ],
  [
    "is dead",
    { status: "dead", reason: "failed", finished_at: 2_000, attempts: [attempt(1, 1_500, 2_000, "failed")] },
    why("ended"),
    ["1000 created", "1000-1500 before its first attempt", "1500-2000 #1 failed", "2000 dead: failed"],
  ],
  [
    "expired before it ran",
    { status: "dead", reason: "expired", finished_at: 2_000, attempts: [] },
    why("ended"),
    ["1000 created", "1000-2000 before its first attempt", "2000 dead: expired"],
  ],
  [
    "was cancelled after a release",
    { status: "cancelled", finished_at: 3_000, attempts: [attempt(1, 1_500, 2_000, "released")] },
    why("ended"),
    [
      "1000 created",
      "1000-1500 before its first attempt",
      "1500-2000 #1 released",
      "2000-3000 after a release",
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
      "6000-8000 after a failure",
      "8000-9000 #14 done",
      "9000 done",
    ],
  ],
])("a task that %s", (_, members, reason, expected) => {
  expect(told(stepsOf({ ...BASE, ...members }, reason))).toEqual(expected)
})
