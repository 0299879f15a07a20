/** The words of bulk operations. Without TypeBox, so that the dashboard can import this file. */
import { CANCELLABLE, type StateWord } from "./states.ts"

export const BULK_ACTIONS = ["retry", "purge", "cancel", "start_now", "submit_again"] as const
export type BulkAction = (typeof BULK_ACTIONS)[number]

/** The states of a bulk operation. In the first two it has not ended. */
export const BULK_STATES = ["running", "waiting_for_canary", "finished", "stopped", "failed"] as const

export const isUnfinished = (state: (typeof BULK_STATES)[number]): boolean =>
  state === "running" || state === "waiting_for_canary"

/** What each action takes as `state` of its filter; the first is the default. */
export const STATES_OF_ACTION = {
  retry: ["dead"],
  purge: ["dead", "queued", "delayed", "done", "cancelled", "ended"],
  cancel: CANCELLABLE,
  start_now: ["delayed", "scheduled", "retrying"],
  submit_again: ["done", "dead", "cancelled", "ended"],
} as const satisfies Record<BulkAction, readonly StateWord[]>
