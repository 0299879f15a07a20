/** Dead letters: GET /dlq and /dlq/groups, POST /dlq/retry, /dlq/retry/:id and /dlq/purge, DELETE /dlq/:id. */
import { filterOf } from "../queue/filter.ts"
import { MAX_PATCH_DEPTH, tooDeep } from "../task/merge-patch.ts"
import {
  DlqGroupsQuery,
  DlqPurge,
  DlqQuery,
  MAX_PATCH_BYTES,
  RetryMany,
  RetryTask,
} from "../wire/dead-letters.ts"
import { memberTexts } from "../wire/json-text.ts"
import type { Fault } from "../wire/problem.ts"
import { answerMany, recordAction } from "./actions.ts"
import { answer, answerJson } from "./answer.ts"
import type { Body } from "./body.ts"
import { type BrokerParts, type Call, forManyTasks, forTask } from "./call.ts"
import { conflict, requiresOther } from "./faults.ts"
import { writePage } from "./inspecting.ts"
import { checker, invalid, queryChecker, queryOf } from "./validate.ts"

export async function listDead({ request, caller }: Call, { dead }: BrokerParts): Promise<Response> {
  const { queue: only, queue_part: queuePart, limit, cursor, ...filter } = checkDlq(queryOf(request))
  const queues = caller.visibleQueues(only)
  const { size, tasks, next } = await dead.page({
    queues,
    queuePart,
    filter: filterOf(filter),
    limit,
    cursor,
    sight: caller.sight,
  })
  return answer(`{"dlq_size":${size},${writePage(tasks, next)}}`)
}

export async function groupDead({ request, caller }: Call, { dead }: BrokerParts): Promise<Response> {
  const { queue: only, queue_part: queuePart, cursor, ...filter } = checkGroups(queryOf(request))
  const queues = caller.visibleQueues(only)
  return answerJson(
    await dead.groups({ queues, queuePart, filter: filterOf(filter), cursor, sight: caller.sight }),
  )
}

export const deleteDeadTask = forTask(async (call, parts, id) => {
  await parts.dead.delete(id)
  await recordAction(call, parts, "deleteDeadTask", { task_id: id })
  return answerJson({ status: "deleted_from_dlq", task_id: id })
})

export const retryDeadTask = forTask(async (call, parts, id) => {
  using body = await parts.readIfJson(call.request)
  checkRetryTask(body.value)
  const payload = memberTexts(body.text, "payload")[0]
  await parts.dead.retry(id, payload)
  const details = payload === undefined ? {} : { payload_changed: true }
  await recordAction(call, parts, "retryDeadTask", { task_id: id }, details)
  return answerJson({ status: "requeued_from_dlq", task_id: id })
})

export async function purgeDeadTasks(call: Call, parts: BrokerParts): Promise<Response> {
  const { dead, readBody } = parts
  using body = await readBody(call.request)
  const {
    queue: only,
    queue_part: queuePart,
    limit,
    cursor,
    dry_run: dryRun,
    ...filter
  } = checkPurge(body.value)
  const { sight } = call.caller
  const queues = call.caller.visibleQueues(only)
  return answerMany(call, parts, {
    action: "purgeDeadTasks",
    operation: "Deleting dead tasks",
    target: { queue: only, queues },
    asked: { queue_part: queuePart, ...filter, limit },
    dryRun,
    run: () => dead.purge({ queues, queuePart, filter: filterOf(filter), limit, cursor, dryRun, sight }),
  })
}

export const retryDeadTasks = forManyTasks(async (call, parts) => {
  const { dead, readBody, limitWaiting } = parts
  using body = await readBody(call.request)
  const { queue: only, ...asked } = readRetryMany(body)
  const queues = call.caller.visibleQueues(only)
  const { filter, limit, patch, dryRun } = asked
  const mayWait = asked.waitMs > 0 || asked.rate < Number.POSITIVE_INFINITY
  return answerMany(call, parts, {
    action: "retryDeadTasks",
    operation: "Retrying dead tasks",
    target: { queue: only, queues },
    asked: {
      queue_part: asked.queuePart,
      ...filter,
      limit,
      payload_changed: patch === undefined ? undefined : true,
    },
    dryRun,
    run: () =>
      limitWaiting(Number(mayWait), () =>
        dead.retryAll({ ...asked, queues, sight: call.caller.sight }, call.request.signal),
      ),
  })
})

const checkDlq = queryChecker(DlqQuery, { limit: 100 })
const checkGroups = queryChecker(DlqGroupsQuery)
const checkPurge = checker(DlqPurge, { limit: 100, dry_run: false })
const checkRetryTask = checker(RetryTask)
const checkRetryMany = checker(RetryMany, {
  limit: 100,
  dry_run: false,
  canary: false,
  rate: Number.POSITIVE_INFINITY,
})

/** What a schema cannot say about a patch, which is JSON text. */
export const faultsOfPatch = (patch: string | undefined): Fault[] =>
  patch === undefined || (Buffer.byteLength(patch) <= MAX_PATCH_BYTES && !tooDeep(JSON.parse(patch)))
    ? []
    : [
        {
          field: "patch",
          detail: `\`patch\` must have at most ${MAX_PATCH_BYTES} bytes of JSON, and its objects may be nested at most ${MAX_PATCH_DEPTH} deep.`,
        },
      ]

function readRetryMany({ text, value }: Body) {
  const {
    queue,
    queue_part: queuePart,
    limit,
    cursor,
    dry_run: dryRun,
    patch,
    canary,
    wait_ms,
    rate,
    ...filter
  } = checkRetryMany(value)
  const patchText = patch === undefined ? undefined : memberTexts(text, "patch")[0]
  const faults = []
  if (wait_ms !== undefined && !canary) faults.push(requiresOther("wait_ms", "canary: true"))
  if (canary && dryRun) faults.push(conflict("canary", "dry_run"))
  faults.push(...faultsOfPatch(patchText))
  if (faults.length > 0) throw invalid(faults)
  return {
    queue,
    queuePart,
    filter: filterOf(filter),
    limit,
    cursor,
    dryRun,
    patch: patchText,
    canary,
    waitMs: wait_ms ?? 0,
    rate,
  }
}
