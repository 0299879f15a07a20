/** Requests for many tasks: POST /cancel. */
import type { Filter } from "../queue/filter.ts"
import { matcherOf } from "../queue/filter.ts"
import { CancelMany } from "../wire/bulk.ts"
import { statesOf } from "../wire/states.ts"
import { recordBulk } from "./actions.ts"
import { answerJson } from "./answer.ts"
import type { BrokerParts, Call } from "./call.ts"
import { checker } from "./validate.ts"

export async function cancelTasks(call: Call, parts: BrokerParts): Promise<Response> {
  const { queue } = parts
  using body = await parts.readBody(call.request)
  const { queue: only, state, limit, cursor, dry_run: dryRun, ...filter } = checkCancel(body.value)
  const queues = call.caller.visibleQueues(only)
  const matches = matcherOf(readFilter(filter))
  const page = { queues, state: statesOf(state), limit, cursor, dryRun, ...(matches && { matches }) }
  if (dryRun) return answerJson(await queue.cancelAll(page))
  const cancel = () => queue.cancelAll(page)
  const target = { queue: only, queues }
  const order = { state, ...filter, limit }
  return answerJson(
    await recordBulk(
      call,
      parts,
      "cancelTasks",
      "Cancelling tasks",
      target,
      order,
      cancel,
      ({ cancelled, cancelling }) => ({ cancelled, cancelling }),
    ),
  )
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
