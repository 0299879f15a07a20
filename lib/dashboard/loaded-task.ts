/** Loads one task with the JSON text of its members, and the reason why it waits. */

import type { TaskView, WhyAnswer } from "../wire/inspecting.ts"
import { membersOf } from "../wire/json-text.ts"
import { Problem, requestJson, requestText } from "./api.ts"

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
