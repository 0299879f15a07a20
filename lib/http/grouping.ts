/** Groups: the routes under /queues/:queue/groups, and the faults of limits. */
import { GroupName } from "../wire/fields.ts"
import { GroupsQuery } from "../wire/grouping.ts"
import type { Fault } from "../wire/problem.ts"
import { GroupLimits, type OneRate } from "../wire/queue-settings.ts"
import { recordAction } from "./actions.ts"
import { answerJson } from "./answer.ts"
import { type BrokerParts, type Call, forQueue, type Handler, nameReader, readPauseReason } from "./call.ts"
import { conflict, faultsOfGroup, requiresOther } from "./faults.ts"
import { checker, invalid, queryChecker, queryOf } from "./validate.ts"

/** For routes with `:queue` and `:group`: checks the names and that the caller may use the queue. */
const forGroup = (
  handler: (call: Call, parts: BrokerParts, queue: string, group: string) => Promise<Response>,
): Handler => forQueue((call, parts, queue) => handler(call, parts, queue, readGroupName(call.params.group!)))

export const listGroups = forQueue(async ({ request }, { groups }, name) =>
  answerJson(await groups.page(name, checkGroups(queryOf(request)))),
)

export const getGroup = forGroup(async (_call, { groups }, name, group) =>
  answerJson(await groups.view(name, group)),
)

export const setGroupLimits = forGroup(async (call, parts, queue, group) => {
  const { groups } = parts
  using body = await parts.readBody(call.request)
  const limits = checkLimits(body.value)
  const faults = faultsOfLimits(limits)
  if (faults.length > 0) throw invalid(faults)
  const { limits: before } = await groups.view(queue, group)
  const view = await groups.setLimits(queue, group, limits)
  await recordAction(call, parts, "setGroupLimits", { queue, group }, { before, after: limits })
  return answerJson(view)
})

export const removeGroupLimits = forGroup(async (call, parts, queue, group) => {
  const { groups } = parts
  const { limits: before } = await groups.view(queue, group)
  const view = await groups.setLimits(queue, group, undefined)
  await recordAction(call, parts, "removeGroupLimits", { queue, group }, { before })
  return answerJson(view)
})

export const pauseGroup = forGroup(async (call, parts, queue, group) => {
  const reason = await readPauseReason(call, parts)
  const view = await parts.groups.pause(queue, group, reason)
  await recordAction(call, parts, "pauseGroup", { queue, group }, { reason: reason || undefined })
  return answerJson(view)
})

export const resumeGroup = forGroup(async (call, parts, queue, group) => {
  const view = await parts.groups.resume(queue, group)
  await recordAction(call, parts, "resumeGroup", { queue, group })
  return answerJson(view)
})

const checkGroups = queryChecker(GroupsQuery, { limit: 100 })
const checkLimits = checker(GroupLimits)
const checkName = checker(GroupName)

export const readGroupName = nameReader(
  "group",
  `A group must be a string: ${GroupName.description}. In a path it must be percent-encoded.`,
  name => {
    if (faultsOfGroup(checkName(name)).length > 0) throw new Error("not a group")
    return name
  },
)

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
