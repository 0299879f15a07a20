/** Actions on many tasks by id: a few script calls for each queue, in parts that do not block Redis for long. */
import { Refused } from "../errors.ts"
import { headerRecord } from "../redis/keys.ts"
import type { Item, Replies, Scripts } from "../redis/scripts.ts"
import { localOf, queueOf } from "../task/id.ts"
import { mergedText } from "../task/merge-patch.ts"
import { taskLike } from "../task/new-task.ts"
import { inlineOrLarge, readTask } from "../task/record.ts"
import type { NewTask, Submitted } from "../task/task.ts"
import type { TaskEventName } from "../wire/events.ts"
import type { State } from "../wire/fields.ts"
import { type CreateParts, createTasks } from "./create-tasks.ts"

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

interface ActionParts extends CreateParts {
  scripts: Scripts
  doneRetentionMs: number
}

interface RetryOptions {
  /** A JSON merge patch for every payload, as JSON text; undefined: payloads are not changed. */
  patch?: string | undefined
  /** Tasks that died later than this stay dead. */
  before?: number | undefined
}

interface EndedOptions {
  /** Tasks in other states are not affected. */
  states: readonly State[]
  /** Tasks that ended later than this are not affected. */
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

  /** Deletes tasks that have ended. */
  async delete(ids: readonly string[], { states, before }: EndedOptions): Promise<Replies["deleteEnded"]> {
    const { scripts } = this.parts
    const args = { states: states.join(" "), before: before ?? "" }
    const answers = await inParts(ids, (queue, part) => scripts.call("deleteEnded", queue, args, items(part)))
    this.#publish("deleted", "deleted", ids, answers)
    return answers
  }

  /** Submits a task like each of these that have ended, once for each `key`, which contains no space. */
  async submitAgain(
    ids: readonly string[],
    { states, before = Number.POSITIVE_INFINITY, key }: EndedOptions & { key: string },
  ): Promise<("submitted" | "already" | "refused")[]> {
    const { scripts } = this.parts
    const answers: ("submitted" | "already" | "refused")[] = ids.map(() => "refused")
    let part: { at: number; task: NewTask }[] = []
    let text = 0
    for (const [at, id] of ids.entries()) {
      const found = await scripts.callOne("inspect", queueOf(id), {}, { id: localOf(id) })
      const original = found ? readTask(queueOf(id), found, "all") : undefined
      if (original !== undefined && states.includes(original.state) && original.finishedAt! <= before) {
        const task = taskLike(original)
        // Unlike the keys of clients it has two spaces, so it is none of theirs.
        task.idempotency = { key: headerRecord(`again ${key} ${localOf(id)}`), print: key }
        part.push({ at, task })
        text += task.payload.length
      }
      if (part.length < MAX_PATCHES_PER_CALL && text < MAX_TEXT_PER_CALL && at < ids.length - 1) continue
      const submitted = await createTasks(
        this.parts,
        part.map(({ task }) => task),
      )
      for (const [i, answer] of submitted.entries()) answers[part[i]!.at] = codeOf(answer)
      part = []
      text = 0
    }
    return answers
  }

  /** Reads one payload at a time, because each may be large. */
  async #retryPatched(queue: string, ids: readonly string[], patch: string, args: { before: number | "" }) {
    const { scripts } = this.parts
    const answers: Replies["retryDead"] = []
    let part: Item<"retryDead">[] = []
    let text = 0
    for (const [i, item] of items(ids).entries()) {
      const found = await scripts.callOne("inspect", queue, {}, item)
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

/** A full queue or group refuses a task; any other refusal concerns the whole call. */
function codeOf(answer: Submitted | Refused): "submitted" | "already" | "refused" {
  if (!(answer instanceof Refused)) return answer.replayed ? "already" : "submitted"
  if (answer.reason !== "queue_full" && answer.reason !== "group_full") throw answer
  return "refused"
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
