/** Refusals with their facts that several operations throw. */
import { Refused } from "../errors.ts"
import type { State } from "../wire/fields.ts"

export const queueFull = (queue: string, why: string) =>
  new Refused("queue_full", {
    detail: `The queue ${queue} is full: ${why}. The task was not stored. Retry when workers have finished some tasks.`,
  })

export const leaseLost = (id: string, attempt: number, state: State) =>
  new Refused("lease_lost", {
    task_id: id,
    attempt,
    state,
    detail:
      state === "processing"
        ? `Attempt ${attempt} holds the task now. Discard your result.`
        : `This lease has ended, and the task is ${state}. Discard your result.`,
  })
