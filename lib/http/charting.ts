/** Charting: GET /history and POST /history/marks. */
import { HistoryChart, totalOf } from "../observe/history-chart.ts"
import {
  AddMark,
  HistoryQuery,
  HOUR_MS,
  HOURS_KEPT_MS,
  MINUTE_MS,
  MINUTES_KEPT_MS,
} from "../wire/charting.ts"
import type { Fault } from "../wire/problem.ts"
import { recordAction } from "./actions.ts"
import { answerJson } from "./answer.ts"
import type { BrokerParts, Call } from "./call.ts"
import { checker, invalid, queryChecker, queryOf } from "./validate.ts"

const UNIT_MS = { ms: 1, s: 1_000, m: MINUTE_MS, h: HOUR_MS, d: 24 * HOUR_MS }
const DEFAULT_STEPS = ["1m", "5m", "15m", "1h", "3h"]
const DEFAULT_MAX_POINTS = 300
/** Points are kept in blocks, so some are a little older. Requests on the limit may be late. */
const TOLERANCE_MS = 5 * MINUTE_MS

export async function getHistory(
  { request, caller }: Call,
  { history, marks }: BrokerParts,
): Promise<Response> {
  const query = checkHistory(queryOf(request))
  const queues = caller.visibleQueues(query.queue)
  const now = history.now()
  const span = readSpan(query, now)
  const chart = new HistoryChart(history, span, now)
  const { points, total } = await chart.points(queues, query.type)
  const types = query.types === "true" ? await chart.types(query.queue!, total) : {}
  const shown = await marks.between(span.fromMs, span.toMs - 1)
  return answerJson({
    from_at: span.fromMs,
    to_at: Math.min(span.toMs, now),
    step_ms: span.stepMs,
    points,
    total: totalOf(total),
    marks: shown,
    ...types,
  })
}

export async function addMark(call: Call, parts: BrokerParts): Promise<Response> {
  call.caller.requireAllQueues()
  using body = await parts.readBody(call.request)
  const now = parts.history.now()
  const { text, at = now } = checkMark(body.value)
  if (at < now - HOURS_KEPT_MS || at > now + MINUTE_MS)
    throw fault("at", "`at` must be between 30 days ago and one minute from now.")
  const mark = { at, text: text.toWellFormed(), by: call.caller.name }
  const isNew = await parts.marks.add(mark)
  if (isNew) await recordAction(call, parts, "addMark", {}, { text: mark.text, at })
  return answerJson(mark)
}

const checkMark = checker(AddMark)
const checkQuery = queryChecker(HistoryQuery)

function checkHistory(params: URLSearchParams) {
  const query = checkQuery(params)
  const faults: Fault[] = []
  if (query.type !== undefined && query.queue === undefined)
    faults.push({ field: "type", detail: "`type` requires `queue`: types are counted per queue." })
  if (query.types === "true" && query.queue === undefined)
    faults.push({ field: "types", detail: "`types` requires `queue`: types are counted per queue." })
  if (query.types === "true" && query.type !== undefined)
    faults.push({
      field: "types",
      detail: "`types` returns a total for each type, so it cannot be combined with `type`.",
    })
  if (faults.length > 0) throw invalid(faults)
  return query
}

/**
 * The span of a query in whole steps. It has a bounded number of points, because it is within what is kept. Throws Refused if
 * it is empty, or older than that.
 */
export function readSpan(
  query: { from_at?: number; to_at?: number; step?: string },
  now: number,
): { fromMs: number; toMs: number; stepMs: number } {
  const to = Math.min(query.to_at ?? now, now)
  const from = query.from_at ?? to - HOUR_MS
  if (from >= now) throw fault("from_at", "`from_at` must be in the past.")
  if (from >= to) throw fault("from_at", "`from_at` must be before `to_at`.")
  if (from < now - HOURS_KEPT_MS - TOLERANCE_MS) {
    const field = query.from_at === undefined ? "to_at" : "from_at"
    throw fault(field, `\`${field}\` must be within the last 30 days: older history is not kept.`)
  }
  const stepMs = query.step === undefined ? defaultStep(from, to, now) : readStep(query.step)
  if (stepMs < HOUR_MS && from < now - MINUTES_KEPT_MS - TOLERANCE_MS)
    throw fault(
      "step",
      "One-minute points are kept for 24 hours: for an older `from_at`, `step` must be 1h or longer.",
    )
  return {
    fromMs: Math.floor(from / stepMs) * stepMs,
    toMs: Math.ceil(to / stepMs) * stepMs,
    stepMs,
  }
}

function readStep(step: string): number {
  const [, number, unit = "ms"] = /^(\d+)([a-z]*)$/.exec(step)!
  const stepMs = Number(number) * UNIT_MS[(unit || "ms") as keyof typeof UNIT_MS]
  const smallest = stepMs < HOUR_MS ? MINUTE_MS : HOUR_MS
  if (stepMs % smallest !== 0 || stepMs > HOURS_KEPT_MS)
    throw fault(
      "step",
      "`step` must be a whole number of minutes, or of hours if it is longer than an hour, up to 30d.",
    )
  return stepMs
}

function defaultStep(from: number, to: number, now: number): number {
  const steps = DEFAULT_STEPS.map(readStep)
  const fits = (stepMs: number) =>
    (to - from) / stepMs <= DEFAULT_MAX_POINTS && (stepMs >= HOUR_MS || from >= now - MINUTES_KEPT_MS)
  return steps.find(fits) ?? steps.at(-1)!
}

const fault = (field: string, detail: string) => invalid([{ field, detail }])
