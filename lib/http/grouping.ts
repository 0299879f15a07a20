/** Groups: the routes under /queues/:queue/groups, and the faults of limits. */
import { Refused } from "../errors.ts"
import { GroupName } from "../wire/fields.ts"
import { GroupsQuery } from "../wire/grouping.ts"
import { Pause } from "../wire/managing.ts"
import type { Fault } from "../wire/problem.ts"
import { GroupLimits, type OneRate } from "../wire/queue-settings.ts"
import { answerJson } from "./answer.ts"
import { type BrokerParts, type Call, forQueue, type Handler, logFields } from "./call.ts"
import { conflict, faultsOfGroup, requiresOther } from "./faults.ts"
import { checker, invalid, queryChecker, queryOf } from "./validate.ts"

/** For routes with `:queue` and `:group`: checks the names and that the caller may use the queue. */
const forGroup = (
  handler: (call: Call, parts: BrokerParts, queue: string, group: string) => Promise<Response>,
): Handler => forQueue((call, parts, queue) => handler(call, parts, queue, readGroupName(call.params.group!)))

export const listGroups = forQueue(async ({ request }, { queue }, name) =>
  answerJson(await queue.groups.page(name, checkGroups(queryOf(request)))),
)

export const getGroup = forGroup(async (_call, { queue }, name, group) =>
  answerJson(await queue.groups.view(name, group)),
)

export const setGroupLimits = forGroup(async (call, { queue, log, readBody }, name, group) => {
  using body = await readBody(call.request)
  const limits = checkLimits(body.value)
  const faults = faultsOfLimits(limits)
  if (faults.length > 0) throw invalid(faults)
  const view = await queue.groups.setLimits(name, group, limits)
  log.info("The limits of a group were changed", { queue: name, group, limits, ...logFields(call) })
  return answerJson(view)
})

export const removeGroupLimits = forGroup(async (call, { queue, log }, name, group) => {
  const view = await queue.groups.setLimits(name, group, undefined)
  log.info("The limits of a group were removed", { queue: name, group, ...logFields(call) })
  return answerJson(view)
})

export const pauseGroup = forGroup(async (call, { queue, log, readOptional }, name, group) => {
  using body = await readOptional(call.request)
  const reason = (checkPause(body.value).reason ?? "").toWellFormed()
  const view = await queue.groups.pause(name, group, reason)
  log.info("A group was paused", { queue: name, group, reason, ...logFields(call) })
  return answerJson(view)
})

export const resumeGroup = forGroup(async (call, { queue, log }, name, group) => {
  const view = await queue.groups.resume(name, group)
  log.info("A group was resumed", { queue: name, group, ...logFields(call) })
  return answerJson(view)
})

const checkGroups = queryChecker(GroupsQuery, { limit: 100 })
const checkLimits = checker(GroupLimits)
const checkPause = checker(Pause)
const checkName = checker(GroupName)

export function readGroupName(name: string): string {
  try {
    if (faultsOfGroup(checkName(name)).length === 0) return name
  } catch {}
  throw new Refused("bad_request", {
    field: "group",
    detail: `A group is ${GroupName.description}; in a path it is percent-encoded.`,
  })
}

/** Members of limits that do not belong together. `path`: where they are in the body, with a dot at the end. */
export function faultsOfLimits({ rate, order, on_dead }: GroupLimits, path = ""): Fault[] {
  const faults = faultsOfRate(rate, `${path}rate`)
  if (on_dead !== undefined && order === "any")
    faults.push(requiresOther(`${path}on_dead`, `${path}order: strict`))
  return faults
}

export function faultsOfRate(rate: OneRate | OneRate[] | undefined, path: string): Fault[] {
  const faults: Fault[] = []
  const all = rate === undefined ? [] : [rate].flat()
  for (const [i, { per_second, limit, per_ms }] of all.entries()) {
    const field = Array.isArray(rate) ? `${path}.${i}` : path
    if (per_second !== undefined && limit !== undefined)
      faults.push(conflict(`${field}.per_second`, `${field}.limit`))
    else if (per_second === undefined && (limit === undefined || per_ms === undefined))
      faults.push({
        field,
        detail: `\`${field}\` must have \`limit\` and \`per_ms\`, or \`per_second\`.`,
      })
    else if (per_second !== undefined && per_ms !== undefined)
      faults.push(requiresOther(`${field}.per_ms`, `${field}.limit`))
  }
  return faults
}
