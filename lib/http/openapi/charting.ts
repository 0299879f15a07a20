/** Prose and examples of the history. */
import type { HistoryAnswer } from "../../wire/charting.ts"
import { readSpan } from "../charting.ts"
import { factsOf, NOW, type ProseOf } from "./prose.ts"

const TOTAL = {
  submitted: 740,
  done: 702,
  failed: 21,
  lapsed: 1,
  dead: 4,
  wait_ms: { p50: 38, p95: 590, p99: 1_420 },
  run_ms: { p50: 22, p95: 160, p99: 270 },
}
const POINT = { at: NOW, recorded_ms: 60_000, ...TOTAL, depth: { queued: 12, delayed: 3, processing: 4 } }
const PAGE: HistoryAnswer = {
  from_at: NOW,
  to_at: NOW + 60_000,
  step_ms: 60_000,
  points: [POINT],
  total: TOTAL,
  marks: [{ at: NOW + 20_000, text: "deploy v1.2", by: "ci" }],
}

export const charting: ProseOf<"charting"> = {
  getHistory: {
    description:
      "What happened per minute in the last 24 hours, or per hour in the last 30 days: to one queue, to the tasks of one of its types, or " +
      "to all queues that the token may see. Steps in which no broker ran are absent from `points`; a step in which nothing happened has " +
      "zeros. The newest point is up to 20 s late. `from_at` and `to_at` are extended to whole steps. With `types=true` the answer also " +
      "has a total for each type of the queue. `marks` are the moments that `POST /history/marks` has marked.",
    query: { queue: "mail", step: "5m", types: "true" },
    answers: {
      200: {
        description: "The points and their total.",
        examples: {
          "a minute": PAGE,
          "with types": { ...PAGE, types: [{ type: "welcome", ...TOTAL }] },
        },
      },
    },
    problems: {
      bad_request: factsOf(() => readSpan({ from_at: NOW, to_at: NOW - 1 }, NOW)),
    },
  },

  addMark: {
    description:
      "Marks a moment, such as a deploy, which `GET /history` lists and the charts of the dashboard show as a line. Marks are " +
      "not specific to a queue, so a token that is bound to queues may not add one. The newest 1,000 are kept. Send `at` to make the " +
      "request safe to repeat: a mark of the same token with the same text and time is not added again.",
    body: { "a deploy": { text: "deploy v1.2" } },
    answers: {
      200: { description: "The mark.", examples: { "a deploy": { at: NOW, text: "deploy v1.2", by: "ci" } } },
    },
  },
}
