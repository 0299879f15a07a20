/**
 * The dead-letter queue: looking through it by filters, in groups of the same error, and what is done with what is
 * found: a new life, for one or for many, or none. One call looks at a bounded number of tasks and says where the next
 * goes on.
 */
import { createHash } from "node:crypto"
import { Refused } from "../errors.ts"
import type { EventWriter } from "../observe/event-writer.ts"
import { pause } from "../pause.ts"
import type { Scripts } from "../redis/scripts.ts"
import { localOf, splitId } from "../task/id.ts"
import { mergedText } from "../task/merge-patch.ts"
import { inlineOrLarge } from "../task/record.ts"
import type { Task } from "../task/task.ts"
import type { DeadGroup } from "../wire/dead-letters.ts"
import type { Reason, State } from "../wire/fields.ts"
import { deadSize, MAX_ENTRIES_PER_PAGE, type Page, tasksPage } from "./listing.ts"

/** How many tasks one script call moves: about 2 ms of Redis' time; and where each gets a payload, which may be large. */
const MOVES_A_CALL = 200
const PATCHES_A_CALL = 20
/** How long a call at a rate goes on: as many tasks as that takes, whatever its limit. */
const PACED_S = 10
/** Of a redrive: the payload stays as it is. */
const SAME = { inline: "", large: "" }
/** Of an error so much tells which group it is of. */
const ERROR_CHARACTERS = 1_000

export interface DeadFilter {
  type?: string | undefined
  reason?: Reason | undefined
  /** A part of the error. */
  error?: string | undefined
  fingerprint?: string | undefined
  /** When they died, in ms since 1970. */
  before?: number | undefined
  after?: number | undefined
}

export interface DeadPage {
  /** In the order of their names; undefined: all. */
  queues?: readonly string[] | undefined
  filter: DeadFilter
  limit: number
  cursor?: string | undefined
}

export interface Retry extends DeadPage {
  dryRun: boolean
  /** A JSON merge patch on each payload, as JSON text; undefined: they stay as they are. */
  patch: string | undefined
  /** One first, and the others only if that is done within `waitMs`. */
  canary: boolean
  waitMs: number
  /** How many a second; Infinity: all at once. */
  rate: number
}

export interface Retried {
  requeued: number
  /** Those whose unique key another task has, and those that were dead no more. */
  skipped: number
  canary?: { task_id: string; state?: State }
  next: string | undefined
}

interface Parts {
  scripts: Scripts
  /** All queues. */
  queues(): Promise<string[]>
  /** A task once it has ended or the time is over. */
  find(id: string, waitMs: number, signal?: AbortSignal): Promise<Task>
  events: EventWriter
}

export class DeadLetters {
  constructor(private readonly parts: Parts) {}

  /** A page of those that match, the newest of each queue first. `size` counts all dead tasks of these queues. */
  async page(asked: DeadPage): Promise<Page & { size: number }> {
    const queues = asked.queues ?? (await this.parts.queues())
    const [size, page] = await Promise.all([
      deadSize(this.parts.scripts, queues),
      this.#find({ ...asked, queues }, { bare: false }),
    ])
    return { size, ...page }
  }

  /** Of one call's worth of tasks those with the same error together, the largest group first. */
  async groups(asked: Omit<DeadPage, "limit">) {
    const { tasks, next } = await this.#find({ ...asked, limit: MAX_ENTRIES_PER_PAGE })
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
          ...{ count: 1, first_at: at, last_at: at },
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

  /** Gives one dead task a new life, with another payload where there is one. */
  async retry(id: string, payload?: string): Promise<void> {
    const { queue, localId } = splitId(id)
    const given = payload === undefined ? SAME : inlineOrLarge(payload)
    const [code] = await this.parts.scripts.call("retryDead", queue, {}, [{ id: localId, ...given }])
    if (code === "duplicate") throw new Refused("key_taken", { task_id: id })
    if (code !== "requeued") throw new Refused("not_in_dlq", { task_id: id })
    this.#tell("retried", queue, id)
  }

  /** Gives all that match a new life, the newest of each queue first, and their payloads a patch where there is one. */
  async retryAll(asked: Retry, signal: AbortSignal): Promise<Retried> {
    if (!asked.canary) return this.#retryPage(asked, signal)
    const first = await this.#find({ ...asked, limit: 1 }, { bare: asked.patch === undefined })
    const [task] = first.tasks
    const told = await this.#redrive(first.tasks, asked.patch)
    if (task === undefined || told.requeued === 0) return { ...told, next: first.next }
    const state = await this.parts.find(task.id, asked.waitMs, signal).then(
      found => found.state,
      // It has ended, and its retention is over. Anything else is told: the caller knows no canary then, and asks again.
      error => {
        if (!(error instanceof Refused && /^task_(not_found|gone)$/.test(error.reason))) throw error
      },
    )
    const canary = { task_id: task.id, ...(state === undefined ? {} : { state }) }
    if (state !== "done" || first.next === undefined || asked.limit === 1)
      return { ...told, canary, next: first.next }
    const rest = await this.#retryPage({ ...asked, limit: asked.limit - 1, cursor: first.next }, signal)
    return { ...rest, requeued: rest.requeued + 1, canary }
  }

  /** Deletes one dead task. */
  async discard(id: string): Promise<void> {
    const { queue, localId } = splitId(id)
    const [code] = await this.parts.scripts.call("deleteDead", queue, {}, [{ id: localId }])
    if (code !== "deleted") throw new Refused("not_in_dlq", { task_id: id })
    this.#tell("deleted", queue, id)
  }

  /** Deletes all that match. */
  async purge(asked: DeadPage & { dryRun: boolean }) {
    const { tasks, next } = await this.#find(asked)
    if (asked.dryRun) return { purged: tasks.length, next }
    let purged = 0
    await eachPart(tasks, MOVES_A_CALL, async (queue, part) => {
      const items = part.map(({ id }) => ({ id: localOf(id) }))
      const codes = await this.parts.scripts.call("deleteDead", queue, {}, items)
      codes.forEach((code, i) => {
        if (code !== "deleted") return
        purged++
        this.#tell("deleted", queue, part[i]!.id)
      })
    })
    return { purged, next }
  }

  #tell(event: "retried" | "deleted", queue: string, id: string): void {
    if (this.parts.events.admits(event, queue)) this.parts.events.publishTaskEvent(event, queue, id)
  }

  async #retryPage(asked: Retry, signal: AbortSignal): Promise<Retried> {
    const limit = Math.min(asked.limit, asked.rate * PACED_S)
    const { tasks, next } = await this.#find({ ...asked, limit }, { bare: asked.patch === undefined })
    if (asked.dryRun) return { requeued: tasks.length, skipped: 0, next }
    return { ...(await this.#redrive(tasks, asked.patch, asked.rate, signal)), next }
  }

  /** At a rate in small parts, each when its time has come; who leaves has the rest left dead. */
  async #redrive(
    tasks: readonly Task[],
    patch: string | undefined,
    rate = Number.POSITIVE_INFINITY,
    signal?: AbortSignal,
  ) {
    const began = performance.now()
    const most = Math.min(patch === undefined ? MOVES_A_CALL : PATCHES_A_CALL, Math.ceil(rate / 10))
    let requeued = 0
    let gone = 0
    await eachPart(tasks, most, async (queue, part) => {
      if (rate < Number.POSITIVE_INFINITY) {
        await pause(Math.max(0, began + (gone / rate) * 1_000 - performance.now()), signal)
        if (signal?.aborted) return
        gone += part.length
      }
      const items = part.map(({ id, payload }) => ({
        id: localOf(id),
        ...(patch === undefined ? SAME : inlineOrLarge(mergedText(payload, patch))),
      }))
      const codes = await this.parts.scripts.call("retryDead", queue, {}, items)
      codes.forEach((code, i) => {
        if (code !== "requeued") return
        requeued++
        this.#tell("retried", queue, part[i]!.id)
      })
    })
    return { requeued, skipped: tasks.length - requeued }
  }

  /** `bare`: without the payloads that have keys of their own, which may be large. */
  async #find({ queues, filter, limit, cursor }: DeadPage, { bare = true } = {}) {
    const all = Object.values(filter).every(value => value === undefined)
    return tasksPage(this.parts.scripts, {
      queues: queues ?? (await this.parts.queues()),
      ...{ state: "dead", limit, cursor, bare },
      ...(all ? {} : { matches: matcher(filter) }),
    })
  }
}

function matcher({ type, reason, error, fingerprint, before, after }: DeadFilter) {
  return (task: Task): boolean =>
    (type === undefined || task.type === type) &&
    (reason === undefined || task.reason === reason) &&
    (error === undefined || (task.error?.includes(error) ?? false)) &&
    (before === undefined || task.finishedAt! < before) &&
    (after === undefined || task.finishedAt! > after) &&
    (fingerprint === undefined || fingerprintOf(task) === fingerprint)
}

/** What varies in an error from one time to the next, in the order in which it is replaced. */
const VARYING: readonly [part: RegExp, name: string][] = [
  // An apostrophe within a code begins no quotation.
  [/"[^"]*"|`[^`]*`|(?<![A-Za-z0-9])'[^']*'(?![A-Za-z0-9])/g, "<text>"],
  [/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/gi, "<uuid>"],
  [/\b0x[0-9a-f]+\b|\b(?=[a-f]*[0-9])[0-9a-f]{8,}\b/gi, "<hex>"],
  [/\d+(?:\.\d+)*/g, "<n>"],
]

/** An error without what varies, so that the same fault looks the same. */
export const patternOf = (error = ""): string =>
  VARYING.reduce((text, [part, name]) => text.replace(part, name), error.slice(0, ERROR_CHARACTERS))

/** The same for dead tasks of one type that died of the same fault. */
const fingerprintOf = ({ type, reason, error }: Task): string =>
  createHash("sha256")
    .update(JSON.stringify([type, reason, patternOf(error)]))
    .digest("hex")
    .slice(0, 16)

/** Tasks of one queue stand together on a page: they are done so many at a time. */
async function eachPart(
  tasks: readonly Task[],
  most: number,
  run: (queue: string, part: readonly Task[]) => Promise<void>,
): Promise<void> {
  for (const [queue, of] of Map.groupBy(tasks, task => task.queue))
    for (let from = 0; from < of.length; from += most) await run(queue, of.slice(from, from + most))
}
