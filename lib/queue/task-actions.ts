/** Actions on many tasks by id: a few script calls for each queue, in parts that do not block Redis for long. */
import type { Replies, Scripts } from "../redis/scripts.ts"
import { localOf, queueOf } from "../task/id.ts"
import type { OutcomeRecorder } from "./outcomes.ts"

/** How many tasks one script call changes: about 2 ms of Redis' time. */
const MAX_TASKS_PER_CALL = 200

interface ActionParts {
  scripts: Scripts
  outcomes: OutcomeRecorder
  doneRetentionMs: number
}

export class TaskActions {
  constructor(private readonly parts: ActionParts) {}

  /** Cancels tasks, as lua/cancel.lua describes. The answers are in the order of the ids; safe to repeat. */
  async cancel(ids: readonly string[]): Promise<Replies["cancel"]> {
    const { scripts, outcomes, doneRetentionMs: retention } = this.parts
    const answers = await inParts(ids, (queue, items) => scripts.call("cancel", queue, { retention }, items))
    answers.forEach(([code, state, attempt, at], i) => {
      const isNew = (code === "cancelled" || code === "cancelling") && state !== "cancelled"
      if (isNew) outcomes.publish(code, ids[i]!, { at, attempt })
    })
    return answers
  }
}

/** Calls a script for the ids of each queue, part by part. The answers are in the order of the ids. */
async function inParts<Answer>(
  ids: readonly string[],
  call: (queue: string, items: { id: string }[]) => Promise<Answer[]>,
): Promise<Answer[]> {
  const answers: Answer[] = Array(ids.length)
  for (const [queue, places] of Map.groupBy(ids.keys(), i => queueOf(ids[i]!)))
    for (let from = 0; from < places.length; from += MAX_TASKS_PER_CALL) {
      const part = places.slice(from, from + MAX_TASKS_PER_CALL)
      const replies = await call(
        queue,
        part.map(i => ({ id: localOf(ids[i]!) })),
      )
      for (const [i, reply] of replies.entries()) answers[part[i]!] = reply
    }
  return answers
}
