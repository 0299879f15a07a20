/** When the queue or the group of a task was paused, as the trail of operator actions says. */
import type { Action } from "../wire/action-names.ts"
import type { ActionView } from "../wire/actions.ts"

export interface Pause {
  what: "queue" | "group"
  from: number
  /** Undefined: it has not ended. */
  to: number | undefined
  by: string
  reason: string
}

/** The actions of which the trail has entries. */
export const PAUSE_ACTIONS = {
  queue: { pause: "pauseQueue", resume: "resumeQueue" },
  group: { pause: "pauseGroup", resume: "resumeGroup" },
} as const satisfies Record<Pause["what"], Record<"pause" | "resume", Action>>

/** A resumption without a pause before it tells nothing: the pause is older than the trail, or there was none. */
export function pausesOf(what: Pause["what"], actions: readonly ActionView[]): Pause[] {
  const pauses: Pause[] = []
  let open: Pause | undefined
  for (const { action, at, by, details } of [...actions].sort((a, b) => a.at - b.at)) {
    if (action === PAUSE_ACTIONS[what].resume) {
      if (open !== undefined) open.to = at
      open = undefined
    } else if (open === undefined) {
      open = { what, from: at, to: undefined, by, reason: String(details.reason ?? "") }
      pauses.push(open)
    } else open.reason = String(details.reason ?? "") // pausing it again replaces the reason
  }
  return pauses
}
