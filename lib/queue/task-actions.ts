/** Actions on many tasks by id: a few script calls for each queue, in parts that do not block Redis for long. */
import type { Item, Replies, Scripts } from "../redis/scripts.ts"
import { localOf, queueOf } from "../task/id.ts"
import { mergedText } from "../task/merge-patch.ts"
import { inlineOrLarge, readTask } from "../task/record.ts"
import type { TaskEventName } from "../wire/events.ts"
import type { OutcomeRecorder } from "./outcomes.ts"

/** How many tasks one script call changes: about 2 ms of Redis' time. */
export const MAX_TASKS_PER_CALL = 200
/** The same if each task gets a new payload, which may be large. */
const MAX_PATCHES_PER_CALL = 20
/** How many characters of new payloads one script call gets, exceeded by one payload at most. */
const MAX_TEXT_PER_CALL = 1_000_000
/** Retries a task with the payload that it has. */
const SAME_PAYLOAD = { inline: "", large: "" }

/** A change of a waiting task that changes only its time. */
const START_NOW = { ...SAME_PAYLOAD, priority: "", when: "+0", members: "", known: "" }

interface ActionParts {
  scripts: Scripts
  outcomes: OutcomeRecorder
  doneRetentionMs: number
}

export interface RetryOptions {
  /** A JSON merge patch for every payload, as JSON text; undefined: payloads are not changed. */
  patch?: string | undefined
  /** Tasks that died later than this stay dead. */
  before?: number | undefined
}

/** Each method is safe to repeat, and answers in the order of the ids. */
export class TaskActions {
  constructor(private readonly parts: ActionParts) {}

  /** Cancels tasks, as lua/cancel.lua describes. */
  async cancel(ids: readonly string[]): Promise<Replies["cancel"]> {
    const { scripts, outcomes, doneRetentionMs: retention } = this.parts
    const answers = await inParts(ids, (queue, part) =>
      scripts.call("cancel", queue, { retention }, items(part)),
    )
    answers.forEach(([code, state, attempt, at], i) => {
      const isNew = (code === "cancelled" || code === "cancelling") && state !== "cancelled"
      if (isNew) outcomes.publish(code, ids[i]!, { at, attempt })
    })
    return answers
  }

  /** Makes delayed tasks ready. */
  async startNow(ids: readonly string[]): Promise<Replies["change"]> {
    const { scripts } = this.parts
    const answers = await inParts(ids, (queue, part) =>
      scripts.call(
        "change",
        queue,
        {},
        items(part).map(item => ({ ...item, ...START_NOW })),
      ),
    )
    this.#publish("changed", "changed", ids, answers)
    return answers
  }

  /** Retries dead tasks. */
  async retry(ids: readonly string[], { patch, before }: RetryOptions = {}): Promise<Replies["retryDead"]> {
    const { scripts } = this.parts
    const args: { before: number | "" } = { before: before ?? "" }
    const answers =
      patch === undefined
        ? await inParts(ids, (queue, part) =>
            scripts.call(
              "retryDead",
              queue,
              args,
              items(part).map(item => ({ ...item, ...SAME_PAYLOAD })),
            ),
          )
        : await inParts(ids, (queue, part) => this.#retryPatched(queue, part, patch, args))
    this.#publish("retried", "requeued", ids, answers)
    return answers
  }

  /** Deletes dead tasks. */
  async delete(ids: readonly string[]): Promise<Replies["deleteDead"]> {
    const { scripts } = this.parts
    const answers = await inParts(ids, (queue, part) => scripts.call("deleteDead", queue, {}, items(part)))
    this.#publish("deleted", "deleted", ids, answers)
    return answers
  }

  /** Reads one payload at a time, because each may be large. */
  async #retryPatched(queue: string, ids: readonly string[], patch: string, args: { before: number | "" }) {
    const { scripts } = this.parts
    const answers: Replies["retryDead"] = []
    let part: Item<"retryDead">[] = []
    let text = 0
    for (const [i, item] of items(ids).entries()) {
      const [found] = await scripts.call("inspect", queue, {}, [item])
      const payload = found ? mergedText(readTask(queue, found, "all").payload, patch) : ""
      text += payload.length
      part.push({ ...item, ...inlineOrLarge(payload) })
      if (part.length < MAX_PATCHES_PER_CALL && text < MAX_TEXT_PER_CALL && i < ids.length - 1) continue
      answers.push(...(await scripts.call("retryDead", queue, args, part)))
      part = []
      text = 0
    }
    return answers
  }

  #publish(
    event: TaskEventName,
    changed: string,
    ids: readonly string[],
    answers: readonly [code: string, attempt: number, at: number][],
  ): void {
    answers.forEach(([code, attempt, at], i) => {
      if (code === changed) this.parts.outcomes.publish(event, ids[i]!, { at, attempt })
    })
  }
}

const items = (ids: readonly string[]) => ids.map(id => ({ id: localOf(id) }))

/** Calls a script for the ids of each queue, part by part. The answers are in the order of the ids. */
async function inParts<Answer>(
  ids: readonly string[],
  call: (queue: string, part: readonly string[]) => Promise<Answer[]>,
): Promise<Answer[]> {
  const answers: Answer[] = Array(ids.length)
  for (const [queue, places] of Map.groupBy(ids.keys(), i => queueOf(ids[i]!)))
    for (let from = 0; from < places.length; from += MAX_TASKS_PER_CALL) {
      const part = places.slice(from, from + MAX_TASKS_PER_CALL)
      const replies = await call(
        queue,
        part.map(i => ids[i]!),
      )
      for (const [i, reply] of replies.entries()) answers[part[i]!] = reply
    }
  return answers
}
