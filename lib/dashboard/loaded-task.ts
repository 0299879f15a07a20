import type { TaskView, WhyAnswer } from "../wire/inspecting.ts"
import { ask, askText, Problem } from "./api.ts"
import { membersOf } from "./json.ts"

export interface Loaded {
  task: TaskView
  /** As the broker wrote them. */
  texts: Map<string, string>
  why: WhyAnswer | undefined
}

export async function loaded(id: string, signal: AbortSignal): Promise<Loaded> {
  const name = encodeURIComponent(id)
  const [text, why] = await Promise.all([
    askText("GET", `/status/${name}`, { signal }),
    ask<WhyAnswer>("GET", `/why/${name}`, undefined, signal).catch(error => {
      if (!(error instanceof Problem) || error.status === 401) throw error
    }),
  ])
  return { task: JSON.parse(text), texts: membersOf(text), why: why as WhyAnswer | undefined }
}
