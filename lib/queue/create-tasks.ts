/** Creates tasks: each becomes ready now or after its delay, or gets the answer of an earlier submit. */
import { type Each, Refused } from "../errors.ts"
import type { RedisClock } from "../redis/clock.ts"
import { joinId, newLocalId } from "../task/id.ts"
import type { NewTask, Submitted } from "../task/task.ts"
import type { batchSubmits } from "./batched-calls.ts"
import { delayOf } from "./change.ts"
import type { OutcomeRecorder } from "./outcomes.ts"
import { queueFull } from "./refusals.ts"
import type { Sweeper } from "./sweeper.ts"

export interface CreateParts {
  submits: ReturnType<typeof batchSubmits>
  outcomes: OutcomeRecorder
  sweeper: Sweeper
  clock: RedisClock
  limits: { maxQueueDepth: number; maxQueueBytes: number }
}

/** The answers are in the order of the tasks. */
export async function createTasks(parts: CreateParts, tasks: readonly NewTask[]): Promise<Each<Submitted>[]> {
  const { submits, outcomes, sweeper, clock, limits } = parts
  const items = tasks.map(task => ({ localId: task.localId ?? newLocalId(clock.now()), task }))
  const answers = await submits.runByQueue(items, item => item.task.queue)
  return items.map(({ task }, i) => {
    const { queue, when, expiresInMs } = task
    const answer = answers[i]!
    if (answer instanceof Refused) return answer
    const [code, localId, at] = answer
    const id = joinId(queue, localId)
    switch (code) {
      case "queued":
        outcomes.recordSubmitted(id, code, task, at)
        if (expiresInMs !== undefined) sweeper.sweepIn(queue, expiresInMs)
        return { id, state: code }
      case "scheduled":
        outcomes.recordSubmitted(id, code, task, at)
        if (expiresInMs !== undefined) sweeper.sweepIn(queue, expiresInMs)
        sweeper.sweepIn(queue, delayOf(when!, clock))
        return { id, state: code }
      case "replay_queued":
        return { id, state: "queued", replayed: true }
      case "replay_scheduled":
        return { id, state: "scheduled", replayed: true }
      case "replay_duplicate":
        return { id, state: "duplicate", replayed: true }
      case "replay_replaced":
        return { id, state: "duplicate", replaced: true, replayed: true }
      case "duplicate":
        return { id, state: "duplicate" }
      case "replaced":
        // The new times may be before those that the brokers know.
        if (expiresInMs !== undefined) sweeper.sweepIn(queue, expiresInMs)
        if (when !== undefined) sweeper.sweepIn(queue, delayOf(when, clock))
        return { id, state: "duplicate", replaced: true }
      case "conflict":
        return new Refused("key_reused")
      case "exists":
        return new Refused("task_exists", { task_id: id })
      case "full_depth":
        return queueFull(
          queue,
          `it has as many waiting tasks as MAX_QUEUE_DEPTH=${limits.maxQueueDepth} allows`,
        )
      case "full_bytes":
        return queueFull(
          queue,
          `its tasks hold as many bytes as MAX_QUEUE_BYTES=${limits.maxQueueBytes} allows`,
        )
      case "full_group":
        return new Refused("group_full", {
          detail: `The group ${JSON.stringify(task.group)} of the queue ${queue} is full: it has as many waiting tasks as its max_waiting allows. The task was not stored. Retry when workers have finished some of them.`,
        })
      default:
        throw code satisfies never
    }
  })
}
