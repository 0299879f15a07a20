/** Managing: queues (views, pause, settings, purge) and workers (list, drain). */
import { Purge, QueuesQuery, WorkersQuery } from "../wire/managing.ts"
import { QueueSettings } from "../wire/queue-settings.ts"
import { answerMany, recordAction } from "./actions.ts"
import { answerJson } from "./answer.ts"
import { type BrokerParts, type Call, forQueue, forWorker, readPauseReason } from "./call.ts"
import { faultsOfLimits, faultsOfRate } from "./grouping.ts"
import { checker, invalid, queryChecker, queryOf } from "./validate.ts"

export async function listQueues(
  { request, caller }: Call,
  { control, overview }: BrokerParts,
): Promise<Response> {
  const { order, queue_part: queuePart, ...rest } = checkQueues(queryOf(request))
  const page = { ...rest, queuePart, queues: caller.visibleQueues(undefined) }
  return answerJson(order === undefined ? await control.views(page) : await overview.page({ ...page, order }))
}

export const getQueue = forQueue(async (_call, { control }, name) => answerJson(await control.view(name)))

export const pauseQueue = forQueue(async (call, parts, name) => {
  const reason = await readPauseReason(call, parts)
  const since = await parts.control.pause(name, reason)
  await recordAction(call, parts, "pauseQueue", { queue: name }, { reason: reason || undefined })
  return answerJson({ status: "paused", queue: name, paused_at: since })
})

export const resumeQueue = forQueue(async (call, parts, name) => {
  await parts.control.resume(name)
  await recordAction(call, parts, "resumeQueue", { queue: name })
  return answerJson({ status: "resumed", queue: name })
})

export const setQueueSettings = forQueue(async (call, parts, name) => {
  const { control } = parts
  using body = await parts.readBody(call.request)
  const settings = checkSettings(body.value)
  const faults = faultsOfRate(settings.rate, "rate")
  if (settings.groups !== undefined) faults.push(...faultsOfLimits(settings.groups, "groups."))
  if (faults.length > 0) throw invalid(faults)
  const { settings: before } = await control.view(name)
  const view = await control.configure(name, settings)
  await recordAction(call, parts, "setQueueSettings", { queue: name }, { before, after: view.settings })
  return answerJson(view)
})

export const purgeQueue = forQueue(async (call, parts, name) => {
  using body = await parts.readBody(call.request)
  const { state, limit, dry_run: dryRun } = checkPurge(body.value)
  return answerMany(call, parts, {
    action: "purgeQueue",
    operation: "Purging a queue",
    target: { queue: name },
    asked: { state, limit },
    dryRun,
    run: () => parts.control.purge(name, { state, limit, dryRun }),
  })
})

export async function listWorkers({ request, caller }: Call, { workers }: BrokerParts): Promise<Response> {
  const { queue: only, state: states, ...rest } = checkWorkers(queryOf(request))
  return answerJson(await workers.page({ ...rest, states, queues: caller.visibleQueues(only) }))
}

export const drainWorker = forWorker(async (call, parts, worker) => {
  const mayUse = (queues: readonly string[]) => call.caller.mayUseEach(queues)
  const { since, queues } = await parts.workers.drain(worker, true, mayUse)
  await recordAction(call, parts, "drainWorker", { worker, queues })
  return answerJson({ status: "draining", worker, draining_since: since })
})

export const undrainWorker = forWorker(async (call, parts, worker) => {
  const mayUse = (queues: readonly string[]) => call.caller.mayUseEach(queues)
  const { queues } = await parts.workers.drain(worker, false, mayUse)
  await recordAction(call, parts, "undrainWorker", { worker, queues })
  return answerJson({ status: "drain_ended", worker })
})

const checkQueues = queryChecker(QueuesQuery, { limit: 100 })
const checkSettings = checker(QueueSettings)
const checkPurge = checker(Purge, { limit: 1_000, dry_run: false })
const checkWorkers = queryChecker(WorkersQuery, { limit: 100 })
