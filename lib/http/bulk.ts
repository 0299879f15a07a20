/** Requests for many tasks: POST /cancel. */
import type { Filter } from "../queue/filter.ts"
import { matcherOf } from "../queue/filter.ts"
import { CancelMany } from "../wire/bulk.ts"
import { statesOf } from "../wire/states.ts"
import { answerJson } from "./answer.ts"
import { type BrokerParts, type Call, logBulk, logFields } from "./call.ts"
import { checker } from "./validate.ts"

export async function cancelTasks(call: Call, { queue, log, readBody }: BrokerParts): Promise<Response> {
  using body = await readBody(call.request)
  const { queue: only, state, limit, cursor, dry_run: dryRun, ...filter } = checkCancel(body.value)
  const queues = call.caller.visibleQueues(only)
  const matches = matcherOf(readFilter(filter))
  const page = { queues, state: statesOf(state), limit, cursor, dryRun, ...(matches && { matches }) }
  if (dryRun) return answerJson(await queue.cancelAll(page))
  const fields = { queue: only, state, ...logFields(call) }
  const result = await logBulk(log, "Cancelling tasks", { ...fields, limit }, () => queue.cancelAll(page))
  const { cancelled, cancelling } = result
  log.info("Tasks were cancelled", { ...fields, cancelled, cancelling })
  return answerJson(result)
}

const checkCancel = checker(CancelMany, { state: "waiting", limit: 100, dry_run: false })

function readFilter({
  meta,
  older_than_ms: olderThanMs,
  newer_than_ms: newerThanMs,
  ...rest
}: Omit<CancelMany, "queue" | "state" | "limit" | "cursor" | "dry_run">): Filter {
  return { ...rest, meta: meta && Object.entries(meta), olderThanMs, newerThanMs }
}
