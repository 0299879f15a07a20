/**
 * Requests for many tasks: POST /cancel, and bulk operations: POST and GET /bulk, POST /bulk/count, GET /bulk/:bulk,
 * POST /bulk/:bulk/stop.
 */
import { createHash } from "node:crypto"
import { filterOf, matcherOf } from "../queue/filter.ts"
import { queueOf } from "../task/id.ts"
import { maySeeContents, type Sight } from "../task/sight.ts"
import { BulkCount, BulkQuery, BulkRequest, type BulkView, CancelMany } from "../wire/bulk.ts"
import { type BulkAction, STATES_OF_ACTION } from "../wire/bulk-words.ts"
import { memberTexts } from "../wire/json-text.ts"
import type { Fault } from "../wire/problem.ts"
import { type StateWord, statesOf } from "../wire/states.ts"
import { answerMany, recordAction } from "./actions.ts"
import { answer, answerJson } from "./answer.ts"
import { type BrokerParts, type Call, forBulk, forManyTasks, readTaskId } from "./call.ts"
import { faultsOfPatch } from "./dead-letters.ts"
import { conflict, requiresOther } from "./faults.ts"
import { fingerprint, REPLAYED, readHeaders } from "./submitting.ts"
import { checker, invalid, queryChecker, queryOf } from "./validate.ts"

export const cancelTasks = forManyTasks(async (call, parts) => {
  const { bulk } = parts
  using body = await parts.readBody(call.request)
  const {
    queue: only,
    queue_part: queuePart,
    state,
    limit,
    cursor,
    dry_run: dryRun,
    ...filter
  } = checkCancel(body.value)
  const queues = call.caller.visibleQueues(only)
  const matches = matcherOf(filterOf(filter))
  const page = {
    queues,
    queuePart,
    state: statesOf(state),
    limit,
    cursor,
    dryRun,
    sight: call.caller.sight,
    ...(matches && { matches }),
  }
  return answerMany(call, parts, {
    action: "cancelTasks",
    operation: "Cancelling tasks",
    target: { queue: only, queues },
    asked: { state, queue_part: queuePart, ...filter, limit },
    dryRun,
    run: () => bulk.cancelPage(page),
  })
})

export async function startBulk(call: Call, parts: BrokerParts): Promise<Response> {
  const { request, caller } = call
  using body = await parts.readBody(request)
  const { patch: _, canary, ...order } = checkBulk(body.value)
  const ids = order.filter.task_ids?.map(readTaskId)
  if (ids !== undefined) caller.requireQueues(...ids.map(queueOf))
  const queues = ids === undefined ? caller.visibleQueues(order.filter.queue) : ids.map(queueOf)
  const state = stateOf(order)
  const patch = memberTexts(body.text, "patch")[0]
  const faults = [...faultsOf(order, state), ...faultsOfRetry(order, patch, canary)]
  if (faults.length > 0) throw invalid(faults)
  const { key } = readHeaders(request.headers)
  const id = key && createHash("sha256").update(`${caller.name} ${key}`).digest("hex").slice(0, 22)
  const { task_ids: _ids, ...filter } = order.filter
  const { view, isNew } = await parts.bulk.start(
    id,
    {
      ...order,
      filter,
      state,
      queues: sortedNames(queues),
      patch,
      canary: canary ?? false,
      author: caller.name,
      print: fingerprint(body.value as object),
    },
    ids && [...new Set(ids)],
  )
  if (!isNew) return answer(JSON.stringify(view), REPLAYED)
  const { bulk_id, action, filter: shown, selected, limit, rate, reason } = view
  const details = { bulk_id, action, filter: shown, selected, limit, rate, canary, reason }
  await recordAction(call, parts, "startBulk", { queue: order.filter.queue, queues }, details)
  return answerJson(view)
}

export async function countBulk({ request, caller }: Call, parts: BrokerParts): Promise<Response> {
  using body = await parts.readBody(request)
  const { cursor, ...order } = checkCount(body.value)
  const state = stateOf(order)
  const faults = faultsOf(order, state)
  if (faults.length > 0) throw invalid(faults)
  const queues = sortedNames(caller.visibleQueues(order.filter.queue))
  return answerJson(await parts.bulk.count({ ...order, state, queues }, cursor))
}

export async function listBulk({ request, caller }: Call, { bulk }: BrokerParts): Promise<Response> {
  const { limit } = checkList(queryOf(request))
  const operations = await bulk.list(queues => caller.mayUseEach(queues))
  return answerJson({ operations: operations.slice(0, limit).map(one => seenWith(caller.sight, one)) })
}

export const getBulk = forBulk(async ({ caller }, { bulk }, id) =>
  answerJson(seenWith(caller.sight, await bulk.get(id, queues => caller.mayUseEach(queues)))),
)

export const stopBulk = forBulk(async (call, parts, id) => {
  const { caller } = call
  const { view, queues, status } = await parts.bulk.stop(id, caller.name, of => caller.mayUseEach(of))
  const { action, filter } = view
  if (status === "stopping")
    await recordAction(
      call,
      parts,
      "stopBulk",
      { queue: filter.queue, queues },
      { bulk_id: id, action, filter },
    )
  return answerJson({ status, bulk_id: id })
})

/** Patches are parts of payloads. An operator who filters by an error or a text may know it from a task that others may not see. */
function seenWith(sight: Sight, view: BulkView): BulkView {
  if (sight === "all") return view
  const { patch: _patch, cause, ...rest } = view
  const { error: _error, text: _text, ...filter } = view.filter
  return { ...rest, filter, ...(cause !== undefined && maySeeContents(sight, false) && { cause }) }
}

const checkCancel = checker(CancelMany, { state: "waiting", limit: 100, dry_run: false })
const checkBulk = checker(BulkRequest)
const checkCount = checker(BulkCount)
const checkList = queryChecker(BulkQuery, { limit: 100 })

type Order = Pick<BulkRequest, "action" | "filter">

const stateOf = ({ action, filter }: Order): StateWord => filter.state ?? STATES_OF_ACTION[action][0]

const sortedNames = (queues: readonly string[] | undefined) => queues && [...new Set(queues)].sort()

/** The actions that change the named tasks which are in the requested state. The others have one state, or take any. */
const KEEPS_STATE: readonly BulkAction[] = ["purge", "submit_again"]

/** What the action takes as a filter. */
function faultsOf({ action, filter }: Order, state: StateWord): Fault[] {
  const faults: Fault[] = []
  const { task_ids, queue, state: _, ...others } = filter
  const allowed: readonly StateWord[] = STATES_OF_ACTION[action]
  if (!allowed.includes(state))
    faults.push({
      field: "filter.state",
      detail: `\`filter.state\` must be ${allowed.map(word => JSON.stringify(word)).join(" or ")} with the action ${action}.`,
    })
  const [other] = Object.keys(filter).filter(
    name => name !== "task_ids" && !(name === "state" && KEEPS_STATE.includes(action)),
  )
  if (task_ids !== undefined && other !== undefined)
    faults.push(conflict("filter.task_ids", `filter.${other}`))
  if (state !== "dead")
    for (const name of ["reason", "fingerprint"] as const)
      if (filter[name] !== undefined) faults.push(requiresOther(`filter.${name}`, "filter.state: dead"))
  if (filter.text !== undefined && queue === undefined)
    faults.push({
      field: "filter.text",
      detail: "`filter.text` requires `filter.queue`: it is searched in one queue at a time.",
    })
  if (action === "purge" && (state === "queued" || state === "delayed"))
    faults.push(...faultsOfWaiting(state, queue, [...Object.keys(others), ...(task_ids ? ["task_ids"] : [])]))
  return faults
}

/** Waiting tasks are deleted without being read. */
function faultsOfWaiting(state: StateWord, queue: string | undefined, members: readonly string[]): Fault[] {
  const faults: Fault[] = []
  const [member] = members
  if (queue === undefined)
    faults.push({
      field: "filter.queue",
      detail: `\`filter.queue\` is missing: a purge of ${state} tasks needs the name of a queue.`,
    })
  if (member !== undefined)
    faults.push({
      field: `filter.${member}`,
      detail: `A purge of ${state} tasks takes only \`queue\` and \`state\`: it deletes all of these tasks.`,
    })
  return faults
}

/** Members that only a retry has. */
function faultsOfRetry({ action }: Order, patch: string | undefined, canary: boolean | undefined): Fault[] {
  if (action === "retry") return faultsOfPatch(patch)
  const faults: Fault[] = []
  if (patch !== undefined) faults.push(requiresOther("patch", "action: retry"))
  if (canary !== undefined) faults.push(requiresOther("canary", "action: retry"))
  return faults
}
