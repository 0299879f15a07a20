/** The schedules of the model: what a run does to them and to the tasks of the queue. */
import type { ScheduleState } from "../../lib/task/schedule.ts"
import { hasEnded, type Model, type SubmitRequest } from "./model.ts"

type Overlap = "allow" | "skip" | "cancel"

/** A run as the caller of schedule-fire asks for it. Planned times are small numbers, so the next one is one higher. */
export interface RunRequest {
  name: string
  version: number
  planned: number
  /** The time for which a task is created; 0: none. */
  at: number
  missed: number
  overlap: Overlap
  task: SubmitRequest
}

export class ModelSchedules {
  readonly all = new Map<string, ScheduleState>()

  set(name: string): ScheduleState {
    const before = this.all.get(name)
    const first = { version: 0, planned: 1, fired: 0, missed: 0, skipped: 0, last: 0, paused: 0 }
    const schedule = { ...(before ?? first), version: (before?.version ?? 0) + 1 }
    this.all.set(name, schedule)
    return schedule
  }

  fire(
    model: Model,
    { name, version, planned, at, missed, overlap, task }: RunRequest,
  ): [code: string, id: string] {
    const schedule = this.all.get(name)
    if (schedule?.version !== version || schedule.planned !== planned) return ["stale", ""]
    schedule.planned++
    schedule.missed += missed
    if (at === 0) return ["missed", ""]
    const previous = `${name}-${schedule.last}`
    const before = schedule.last === at ? undefined : model.tasks.get(previous)
    const overlaps = before !== undefined && !hasEnded(before)
    if (overlaps && overlap === "skip") {
      schedule.skipped++
      return ["skipped", previous]
    }
    const leavesLine = overlaps && overlap === "cancel" && before.state === "queued"
    if (overlaps && overlap === "cancel") model.cancel(previous)
    const [code, id] = model.submit([{ ...task, id: `${name}-${at}` }])[0]!
    if (leavesLine) model.withdraw(before)
    if (code === "queued" || code === "exists") {
      schedule.fired++
      schedule.last = at
      return [code === "queued" ? "fired" : code, id]
    }
    schedule.skipped++
    return ["duplicate", id]
  }
}
