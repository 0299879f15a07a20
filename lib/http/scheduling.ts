/** Scheduling: the routes under /schedules. */
import { type FoundSchedule, nextTimes } from "../queue/schedules.ts"
import { headerRecord } from "../redis/keys.ts"
import { joinId } from "../task/id.ts"
import type { Recurrence } from "../task/recurrence.ts"
import { idOfRun, type ScheduleDefinition } from "../task/schedule.ts"
import { maySeeContents, type Sight } from "../task/sight.ts"
import { memberTexts } from "../wire/json-text.ts"
import type { Fault } from "../wire/problem.ts"
import { Preview, Schedule, SchedulesQuery } from "../wire/scheduling.ts"
import { recordAction } from "./actions.ts"
import { answer, answerJson } from "./answer.ts"
import type { Body } from "./body.ts"
import { type BrokerParts, type Call, forSchedule, readPauseReason } from "./call.ts"
import { faultOfCron, withSingleSpaces } from "./cron-fault.ts"
import { conflict, requiresOther } from "./faults.ts"
import { faultsOf, readHeaders, sortedJson } from "./submitting.ts"
import { checker, invalid, queryChecker, queryOf } from "./validate.ts"

/** A page holds up to 100 schedules, and a broker reads 50 of them at a time to fire them. */
const MAX_TASK_BYTES = 65_536
const MAX_PREVIEWED = 10
const MAX_NEXT = 5

export const setSchedule = forSchedule(async (call, parts, { queueName, name, id }) => {
  using body = await parts.readBody(call.request)
  const { definition, payload } = readDefinition(body)
  const { schedule, changed, before } = await parts.schedules.set(queueName, name, definition, payload)
  if (changed) {
    const details = { before: before && factsOf(before), after: factsOf(definition) }
    await recordAction(call, parts, "setSchedule", { schedule: id }, details)
  }
  return answerJson({ schedule: id, next_at: schedule.planned || undefined, changed })
})

export async function listSchedules({ request, caller }: Call, parts: BrokerParts): Promise<Response> {
  const { queue: only, schedule_part: part, limit, cursor } = checkQuery(queryOf(request))
  const { schedules, next } = await parts.schedules.page({
    queues: caller.visibleQueues(only),
    part,
    limit,
    cursor,
  })
  return answer(
    `{"schedules":[${schedules.map(one => writeSchedule(one, caller.sight)).join(",")}]${next === undefined ? "" : `,"next":"${next}"`}}`,
  )
}

export const getSchedule = forSchedule(async ({ caller }, { schedules }, { queueName, name }) =>
  answer(writeSchedule(await schedules.get(queueName, name), caller.sight)),
)

export const deleteSchedule = forSchedule(async (call, parts, { queueName, name, id }) => {
  await parts.schedules.delete(queueName, name)
  await recordAction(call, parts, "deleteSchedule", { schedule: id })
  return answerJson({ status: "deleted", schedule: id })
})

export const pauseSchedule = forSchedule(async (call, parts, { queueName, name, id }) => {
  const reason = await readPauseReason(call, parts)
  const since = await parts.schedules.pause(queueName, name, reason)
  await recordAction(call, parts, "pauseSchedule", { schedule: id }, { reason: reason || undefined })
  return answerJson({ status: "paused", schedule: id, paused_at: since })
})

export const resumeSchedule = forSchedule(async (call, parts, { queueName, name, id }) => {
  const { planned } = await parts.schedules.resume(queueName, name)
  await recordAction(call, parts, "resumeSchedule", { schedule: id })
  return answerJson({ status: "resumed", schedule: id, next_at: planned || undefined })
})

export const runSchedule = forSchedule(async (call, parts, { queueName, name, id }) => {
  const { key } = readHeaders(call.request.headers)
  const idempotency = key === undefined ? undefined : { key: headerRecord(key), print: `run:${name}` }
  const run = await parts.schedules.run(queueName, name, idempotency)
  await recordAction(call, parts, "runSchedule", { schedule: id, task_id: run.id })
  return answerJson({ status: run.status, task_id: run.id })
})

export async function previewSchedule({ request }: Call, { readBody }: BrokerParts): Promise<Response> {
  using body = await readBody(request)
  const { from_at: from = Date.now(), ...times } = normalizeCron(checkPreview(body.value))
  const faults = faultsOfTimes(times)
  if (faults.length > 0) throw invalid(faults)
  return answerJson({ next: nextTimes(times, from, MAX_PREVIEWED) })
}

const checkSchedule = checker(Schedule)
const checkPreview = checker(Preview)
const checkQuery = queryChecker(SchedulesQuery, { limit: 100 })

/** What the trail shows of a schedule: its times and policies, and the type of its task. */
const factsOf = ({ task, ...rest }: ScheduleDefinition) => ({ ...rest, type: task.type })

/** The payload is cut out of the text, so that it stays exactly as it was sent. */
function readDefinition({ text, value }: Body): { definition: ScheduleDefinition; payload: string } {
  const schedule = normalizeCron(checkSchedule(value))
  const faults = faultsOfTimes(schedule)
  for (const { field, detail } of faultsOf(schedule.task, undefined))
    faults.push({ field: `task.${field}`, detail })
  if (faults.length === 0) faults.push(...faultsOfJitter(schedule))
  const taskText = memberTexts(text, "task")[0]!
  if (Buffer.byteLength(taskText) > MAX_TASK_BYTES)
    faults.push({
      field: "task",
      detail: `\`task\` must have at most ${MAX_TASK_BYTES} bytes of JSON: store large data elsewhere and send a reference.`,
    })
  if (faults.length > 0) throw invalid(faults)
  const { payload: _, ...task } = schedule.task
  // Sorted, so that the same schedule is the same text, whatever the order of its members.
  const definition: ScheduleDefinition = JSON.parse(sortedJson({ ...schedule, task }))
  return { definition, payload: memberTexts(taskText, "payload")[0] ?? "{}" }
}

const normalizeCron = <T extends Recurrence>(times: T): T =>
  times.cron === undefined ? times : { ...times, cron: withSingleSpaces(times.cron) }

function faultsOfTimes({ cron, time_zone, every_ms, starts_at = 0, ends_at }: Recurrence): Fault[] {
  const faults: Fault[] = []
  if (cron === undefined && every_ms === undefined)
    faults.push({
      field: "cron",
      detail: "`cron` is missing: send `cron`, such as `0 7 * * mon-fri`, or `every_ms`.",
    })
  if (cron !== undefined && every_ms !== undefined) faults.push(conflict("cron", "every_ms"))
  if (time_zone !== undefined && cron === undefined) faults.push(requiresOther("time_zone", "cron"))
  if (ends_at !== undefined && ends_at < starts_at)
    faults.push({ field: "ends_at", detail: "`ends_at` must not be before `starts_at`." })
  if (time_zone !== undefined && !isTimeZone(time_zone))
    faults.push({
      field: "time_zone",
      detail: "`time_zone` must be a name from the IANA time zone database, such as Europe/Berlin.",
    })
  if (cron !== undefined) {
    const detail = faultOfCron(cron)
    if (detail !== undefined) faults.push({ field: "cron", detail })
  }
  return faults
}

function isTimeZone(name: string): boolean {
  try {
    Bun.cron.parse("* * * * *", 0, { tz: name })
    new Intl.DateTimeFormat("en", { timeZone: name }) // the dashboard shows times with it
    return true
  } catch {
    return false
  }
}

/** The jitter must be shorter than the time between two runs, or they would start in another order. */
function faultsOfJitter({ jitter_ms = 0, ...times }: Schedule): Fault[] {
  const next = nextTimes(times, Date.now(), MAX_PREVIEWED)
  const gaps = next.slice(1).map((time, i) => time - next[i]!)
  const shortest = Math.min(...gaps)
  if (jitter_ms < shortest) return []
  return [
    {
      field: "jitter_ms",
      detail: `\`jitter_ms\` must be less than ${shortest}, the shortest time in ms between two runs of the schedule.`,
    },
  ]
}

function writeSchedule({ queue, name, schedule, lastState }: FoundSchedule, sight: Sight): string {
  const { definition, payload, planned, fired, missed, skipped, last, paused, pauseReason } = schedule
  const { task, ...rest } = definition
  const isHidden = !maySeeContents(sight, task.redact === true)
  const view = {
    schedule: joinId(queue, name),
    queue,
    ...rest,
    on_missed: rest.on_missed ?? "one",
    on_overlap: rest.on_overlap ?? "allow",
    next_at: planned || undefined,
    next: planned === 0 ? [] : [planned, ...nextTimes(rest, planned, MAX_NEXT - 1)],
    last:
      last === 0
        ? undefined
        : { task_id: joinId(queue, idOfRun(name, last)), planned_at: last, state: lastState || undefined },
    fired,
    missed,
    skipped,
    paused: paused > 0,
    paused_at: paused || undefined,
    pause_reason: pauseReason || undefined,
    hidden: isHidden || undefined,
  }
  const taskText = isHidden
    ? JSON.stringify(task)
    : `${JSON.stringify(task).slice(0, -1)},"payload":${payload}}`
  return `${JSON.stringify(view).slice(0, -1)},"task":${taskText}}`
}
