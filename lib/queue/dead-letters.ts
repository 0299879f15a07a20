/**
 * The dead-letter queue: listing dead tasks by filters, grouping them by error, retrying them and deleting them. One
 * call reads a bounded number of tasks and returns where the next call continues.
 */
import { Refused } from "../errors.ts"
import { pause } from "../pause.ts"
import type { Scripts } from "../redis/scripts.ts"
import { splitId } from "../task/id.ts"
import { inlineOrLarge } from "../task/record.ts"
import type { Sight } from "../task/sight.ts"
import type { Task } from "../task/task.ts"
import type { DeadGroup } from "../wire/dead-letters.ts"
import type { State } from "../wire/fields.ts"
import type { EndWatch } from "./end-watch.ts"
import { type Filter, matcherOf } from "./filter.ts"
import { fingerprintOf, patternOf } from "./fingerprint.ts"
import { deadSize, findTask, MAX_ENTRIES_PER_PAGE, type Page, tasksPage } from "./listing.ts"
import type { OutcomeRecorder } from "./outcomes.ts"
import type { QueueNames } from "./queue-names.ts"
import { MAX_TASKS_PER_CALL, type TaskActions } from "./task-actions.ts"

const DEAD = { states: ["dead"] } as const
/** A call with a rate runs for at most this long, whatever its limit. */
const MAX_PACED_S = 10

interface DeadPage {
  /** Sorted; undefined: all. */
  queues?: readonly string[] | undefined
  /** Only queues whose names contain this text. */
  queuePart?: string | undefined
  filter: Filter
  limit: number
  cursor?: string | undefined
  /** What the caller may see of the tasks. */
  sight: Sight
}

interface Retry extends DeadPage {
  dryRun: boolean
  /** A JSON merge patch for every payload, as JSON text; undefined: payloads are not changed. */
  patch: string | undefined
  /** Retry one task first, and the others only if that one is done within `waitMs`. */
  canary: boolean
  waitMs: number
  /** Tasks per second; Infinity: all at once. */
  rate: number
}

interface Retried {
  requeued: number
  /** Tasks whose unique key another task holds, and tasks that were no longer dead. */
  skipped: number
  canary?: { task_id: string; state?: State }
  next: string | undefined
}

interface DeadLetterParts {
  scripts: Scripts
  names: QueueNames
  ends: EndWatch
  actions: TaskActions
  outcomes: OutcomeRecorder
}

export class DeadLetters {
  constructor(private readonly parts: DeadLetterParts) {}

  /** A page of the matching tasks, the newest of each queue first. `size` counts all dead tasks of these queues. */
  async page(query: DeadPage): Promise<Page & { size: number }> {
    const queues = query.queues ?? (await this.parts.names.list())
    const [size, page] = await Promise.all([
      deadSize(this.parts.scripts, queues),
      this.#find({ ...query, queues }, { bare: false }),
    ])
    return { size, ...page }
  }

  /** Groups one page of tasks by error, the largest group first. */
  async groups(query: Omit<DeadPage, "limit">) {
    const { tasks, next } = await this.#find({ ...query, limit: MAX_ENTRIES_PER_PAGE })
    const groups = new Map<string, DeadGroup>()
    for (const task of tasks) {
      const fingerprint = fingerprintOf(task)
      const at = task.finishedAt!
      const group = groups.get(fingerprint)
      if (group === undefined)
        groups.set(fingerprint, {
          fingerprint,
          type: task.type,
          reason: task.reason!,
          error: patternOf(task.error),
          count: 1,
          first_at: at,
          last_at: at,
          sample: { task_id: task.id, ...(task.error === undefined ? {} : { error: task.error }) },
        })
      else {
        group.count++
        group.first_at = Math.min(group.first_at, at)
        group.last_at = Math.max(group.last_at, at)
      }
    }
    return { groups: [...groups.values()].sort((a, b) => b.count - a.count), next }
  }

  /** Retries one dead task, with another payload if one is given. */
  async retry(id: string, payload = ""): Promise<void> {
    const { queue, localId } = splitId(id)
    const item = { id: localId, ...inlineOrLarge(payload) }
    const [code, attempt, at] = await this.parts.scripts.callOne("retryDead", queue, { before: "" }, item)
    if (code === "duplicate") throw new Refused("key_taken", { task_id: id })
    if (code !== "requeued") throw new Refused("not_in_dlq", { task_id: id })
    this.parts.outcomes.publish("retried", id, { at, attempt })
  }

  /** Retries all matching tasks, the newest of each queue first, with the patch applied if one is given. */
  async retryAll(query: Retry, signal: AbortSignal): Promise<Retried> {
    if (!query.canary) return this.#retryPage(query, signal)
    const first = await this.#find({ ...query, limit: 1 })
    const [task] = first.tasks
    const result = await this.#retryTasks(first.tasks, query.patch)
    if (task === undefined || result.requeued === 0) return { ...result, next: first.next }
    const state = await this.#stateAfter(task.id, query.waitMs, signal)
    const canary = { task_id: task.id, ...(state === undefined ? {} : { state }) }
    if (state !== "done" || first.next === undefined || query.limit === 1)
      return { ...result, canary, next: first.next }
    const rest = await this.#retryPage({ ...query, limit: query.limit - 1, cursor: first.next }, signal)
    return { ...rest, requeued: rest.requeued + 1, canary }
  }

  /** Deletes one dead task. */
  async delete(id: string): Promise<void> {
    const [answer] = await this.parts.actions.delete([id], DEAD)
    if (answer![0] !== "deleted") throw new Refused("not_in_dlq", { task_id: id })
  }

  /** Deletes all matching tasks. */
  async purge(query: DeadPage & { dryRun: boolean }) {
    const { tasks, next } = await this.#find(query)
    if (query.dryRun) return { purged: tasks.length, next }
    const answers = await this.parts.actions.delete(
      tasks.map(({ id }) => id),
      DEAD,
    )
    return { purged: answers.filter(([code]) => code === "deleted").length, next }
  }

  /** The state of the canary once it has ended or the time is over; undefined: it has ended and been deleted since. */
  async #stateAfter(id: string, waitMs: number, signal: AbortSignal): Promise<State | undefined> {
    const { ends, scripts } = this.parts
    try {
      if (waitMs > 0) await ends.waitFor(id, waitMs, signal)
      return (await findTask(scripts, id, "none")).state
    } catch (error) {
      // Any other error goes to the client, which then knows of no canary and repeats the call.
      if (error instanceof Refused && error.reason === "task_not_found") return undefined
      throw error
    }
  }

  async #retryPage(query: Retry, signal: AbortSignal): Promise<Retried> {
    const limit = Math.min(query.limit, query.rate * MAX_PACED_S)
    const { tasks, next } = await this.#find({ ...query, limit })
    if (query.dryRun) return { requeued: tasks.length, skipped: 0, next }
    return { ...(await this.#retryTasks(tasks, query.patch, query.rate, signal)), next }
  }

  /** With a rate: in small parts, paced. If the client disconnects, the rest stay dead. */
  async #retryTasks(
    tasks: readonly Task[],
    patch: string | undefined,
    rate = Number.POSITIVE_INFINITY,
    signal?: AbortSignal,
  ) {
    const began = performance.now()
    const size = Math.min(MAX_TASKS_PER_CALL, Math.ceil(rate / 10))
    const ids = tasks.map(({ id }) => id)
    let requeued = 0
    for (let from = 0; from < ids.length; from += size) {
      if (rate < Number.POSITIVE_INFINITY)
        await pause(Math.max(0, began + (from / rate) * 1_000 - performance.now()), signal)
      if (signal?.aborted) break
      const answers = await this.parts.actions.retry(ids.slice(from, from + size), { patch })
      requeued += answers.filter(([code]) => code === "requeued").length
    }
    return { requeued, skipped: tasks.length - requeued }
  }

  /** `bare`: without payloads that have a key of their own, which may be large. */
  async #find({ queues, queuePart, filter, limit, cursor, sight }: DeadPage, { bare = true } = {}) {
    const matches = matcherOf(filter)
    return tasksPage(this.parts.scripts, {
      queues: await this.parts.names.select(queues, queuePart),
      state: "dead",
      limit,
      cursor,
      sight,
      bare,
      ...(matches === undefined ? {} : { matches }),
    })
  }
}
