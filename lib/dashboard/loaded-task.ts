/** Loads one task with the JSON text of its members, the reason why it waits, and when it was paused. */
import type { ActionsAnswer } from "../wire/actions.ts"
import type { TaskView, WhyAnswer } from "../wire/inspecting.ts"
import { membersOf } from "../wire/json-text.ts"
import { Problem, queryOf, requestJson, requestText } from "./api.ts"
import { PAUSE_ACTIONS, type Pause, pausesOf } from "./pauses.ts"

export interface LoadedTask {
  task: TaskView
  /** The members as JSON text, exactly as the broker wrote them. */
  texts: Map<string, string>
  why: WhyAnswer | undefined
}

export async function loadTask(id: string, signal: AbortSignal): Promise<LoadedTask> {
  const name = encodeURIComponent(id)
  const [text, why] = await Promise.all([
    requestText("GET", `/status/${name}`, { signal }),
    requestJson<WhyAnswer>("GET", `/why/${name}`, undefined, signal).catch(error => {
      if (!(error instanceof Problem) || error.status === 401) throw error
    }),
  ])
  return { task: JSON.parse(text), texts: new Map(membersOf(text)), why: why as WhyAnswer | undefined }
}

/** The newest pauses and resumptions of each kind. The trail has 1,000 actions of all kinds and queues. */
const MAX_ACTIONS = 200

/** The pauses of a queue, and of one of its groups. */
export async function loadPauses(
  { queue, group }: { queue: string; group?: string | undefined },
  signal: AbortSignal,
): Promise<Pause[]> {
  const kinds = group === undefined ? (["queue"] as const) : (["queue", "group"] as const)
  const pauses = kinds.map(async what => {
    const answers = Object.values(PAUSE_ACTIONS[what]).map(action =>
      requestJson<ActionsAnswer>(
        "GET",
        `/actions${queryOf({ queue, action, limit: MAX_ACTIONS })}`,
        undefined,
        signal,
      ),
    )
    const actions = (await Promise.all(answers)).flatMap(answer => answer.actions)
    return pausesOf(what, what === "queue" ? actions : actions.filter(action => action.group === group))
  })
  return (await Promise.all(pauses)).flat()
}
