/** Changes waiting tasks: payload, priority, start time and labels. */
import { Refused } from "../errors.ts"
import type { RedisClock } from "../redis/clock.ts"
import type { Scripts } from "../redis/scripts.ts"
import { splitId } from "../task/id.ts"
import { inlineOrLarge } from "../task/record.ts"
import { findTask } from "./listing.ts"
import type { OutcomeRecorder } from "./outcomes.ts"
import type { Sweeper } from "./sweeper.ts"

/** What becomes different. Absent members stay as they are. */
export interface TaskChange {
  /** JSON text. */
  payload?: string | undefined
  priority?: number | undefined
  /** "+ms" from now, or a time. One that has passed makes the task ready. */
  when?: string | undefined
  /** Replaces all labels. */
  meta?: Readonly<Record<string, string>> | undefined
}

interface ChangeParts {
  scripts: Scripts
  outcomes: OutcomeRecorder
  sweeper: Sweeper
  clock: RedisClock
}

const MAX_TRIES = 10

export async function changeTask(parts: ChangeParts, id: string, change: TaskChange): Promise<void> {
  const { scripts, outcomes, sweeper, clock } = parts
  const { payload = "", priority = "", when = "", meta } = change
  const { queue, localId } = splitId(id)
  const body = inlineOrLarge(payload)
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const labels = meta === undefined ? { members: "", known: "" } : await withLabels(scripts, id, meta)
    const item = { id: localId, ...body, priority, when, ...labels }
    const [code, attempt, at] = await scripts.callOne("change", queue, {}, item)
    switch (code) {
      case "changed":
        outcomes.publish("changed", id, { at, attempt })
        if (when !== "") sweeper.sweepIn(queue, delayOf(when, clock))
        return
      case "stale":
        break
      case "unknown":
        throw new Refused("task_not_found", { task_id: id })
      case "not_waiting":
        throw new Refused("not_waiting", { task_id: id })
      case "expires":
        throw new Refused("bad_request", {
          field: when.startsWith("+") ? "delay_ms" : "run_at",
          detail:
            "The start must not be after the `expires_at` of the task: the task would expire before it starts.",
        })
      case "full_bytes":
        throw new Refused("queue_full", {
          detail: `The queue ${queue} is full: its tasks hold as many bytes as MAX_QUEUE_BYTES allows. The task was not changed; retry when workers have finished some tasks.`,
        })
      default:
        throw code satisfies never
    }
  }
  throw new Refused("overloaded", {
    detail: "Other requests keep changing the task. Send the request again.",
  })
}

/** The members for the worker with other labels. The script compares `known`, so that no other change is undone. */
async function withLabels(scripts: Scripts, id: string, meta: Readonly<Record<string, string>>) {
  const { memberJson: known = "" } = await findTask(scripts, id, "all")
  const { meta: _, ...others } = JSON.parse(`{${known}}`)
  const labels = Object.keys(meta).length > 0 ? { meta } : {}
  return { known, members: `=${JSON.stringify({ ...labels, ...others }).slice(1, -1)}` }
}

/** A start time in ms from now. `when` is a delay with a plus sign, or a time. */
export const delayOf = (when: string, clock: RedisClock): number =>
  when.startsWith("+") ? Number(when) : Number(when) - clock.now()
