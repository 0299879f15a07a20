/** Managing: queues (views, pause, settings, purge) and workers (list, drain). */
import { Pause, Purge, QueuesQuery, WorkersQuery } from "../wire/managing.ts"
import { QueueSettings } from "../wire/queue-settings.ts"
import { answerJson } from "./answer.ts"
import { type BrokerParts, type Call, forQueue, forWorker, logBulk, logFields } from "./call.ts"
import { faultsOfLimits, faultsOfRate } from "./grouping.ts"
import { checker, invalid, queryChecker, queryOf } from "./validate.ts"

export async function listQueues({ request, caller }: Call, { queue }: BrokerParts): Promise<Response> {
  const { limit, cursor } = checkQueues(queryOf(request))
  return answerJson(await queue.control.views({ limit, cursor, queues: caller.visibleQueues(undefined) }))
}

export const getQueue = forQueue(async (_call, { queue }, name) => answerJson(await queue.control.view(name)))

export const pauseQueue = forQueue(async (call, { queue, log, readOptional }, name) => {
  using body = await readOptional(call.request)
  const reason = (checkPause(body.value).reason ?? "").toWellFormed()
  const since = await queue.control.pause(name, reason)
  log.info("A queue was paused", { queue: name, reason, ...logFields(call) })
  return answerJson({ status: "paused", queue: name, paused_at: since })
})

export const resumeQueue = forQueue(async (call, { queue, log }, name) => {
  await queue.control.resume(name)
  log.info("A queue was resumed", { queue: name, ...logFields(call) })
  return answerJson({ status: "resumed", queue: name })
})

export const setQueueSettings = forQueue(async (call, { queue, log, readBody }, name) => {
  using body = await readBody(call.request)
  const settings = checkSettings(body.value)
  const faults = faultsOfRate(settings.rate, "rate")
  if (settings.groups !== undefined) faults.push(...faultsOfLimits(settings.groups, "groups."))
  if (faults.length > 0) throw invalid(faults)
  const view = await queue.control.configure(name, settings)
  log.info("The settings of a queue were changed", {
    queue: name,
    settings: view.settings,
    ...logFields(call),
  })
  return answerJson(view)
})

export const purgeQueue = forQueue(async (call, { queue, log, readBody }, name) => {
  using body = await readBody(call.request)
  const { state, limit, dry_run: dryRun } = checkPurge(body.value)
  const purge = () => queue.control.purge(name, { state, limit, dryRun })
  if (dryRun) return answerJson(await purge())
  const fields = { queue: name, state, ...logFields(call) }
  const result = await logBulk(log, "Purging a queue", { ...fields, limit }, purge)
  log.info("A queue was purged", { ...fields, ...result })
  return answerJson(result)
})

export async function listWorkers({ request, caller }: Call, { queue }: BrokerParts): Promise<Response> {
  const { queue: only, limit, cursor } = checkWorkers(queryOf(request))
  return answerJson(await queue.workers.page({ limit, cursor, queues: caller.visibleQueues(only) }))
}

export const drainWorker = forWorker(async (call, { queue, log }, worker) => {
  const since = await queue.workers.drain(worker, true, queues => call.caller.mayUseEach(queues))
  log.info("The drain of a worker was requested", { worker, ...logFields(call) })
  return answerJson({ status: "draining", worker, draining_since: since })
})

export const undrainWorker = forWorker(async (call, { queue, log }, worker) => {
  await queue.workers.drain(worker, false, queues => call.caller.mayUseEach(queues))
  log.info("The drain of a worker was withdrawn", { worker, ...logFields(call) })
  return answerJson({ status: "drain_ended", worker })
})

const checkQueues = queryChecker(QueuesQuery, { limit: 100 })
const checkPause = checker(Pause)
const checkSettings = checker(QueueSettings)
const checkPurge = checker(Purge, { limit: 1_000, dry_run: false })
const checkWorkers = queryChecker(WorkersQuery, { limit: 100 })
