/**
 * Works on bulk operations. Any broker takes the next step of any of them, and none depends on the broker that began:
 *   1. A broker claims an operation for a few seconds. The claim has a number, the fence, which grows with each claim, so a
 *      broker that was frozen and lost its claim can store nothing.
 *   2. It finds the next tasks and stores their ids as the page in hand, then changes them, then stores how many it
 *      changed and where it continues, together with the next page.
 *   3. If it dies, another broker claims the operation when the claim lapses, and applies the page in hand again. A task that
 *      the first one has changed is not changed twice, and counts.
 *   4. While an operation waits, for its rate or its canary, no broker holds it: it is due when it continues.
 *   5. Retried tasks are followed until they have ended, also after the operation has ended.
 */
import { Refused } from "../errors.ts"
import type { Log } from "../log.ts"
import type { EventWriter } from "../observe/event-writer.ts"
import { BULK_DUE, BULK_OPEN } from "../redis/keys.ts"
import { type Replies, runShared, type Scripts } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import { localOf, queueOf } from "../task/id.ts"
import type { BulkState } from "../wire/bulk.ts"
import { isUnfinished } from "../wire/bulk-words.ts"
import type { Purgeable } from "../wire/states.ts"
import { applyTo, findPage } from "./bulk-page.ts"
import {
  type BulkAbout,
  type BulkProgress,
  type BulkTasks,
  popsTasks,
  readAbout,
  readProgress,
} from "./bulk-record.ts"
import type { QueueControl } from "./control.ts"
import { findTask } from "./listing.ts"
import type { QueueNames } from "./queue-names.ts"
import type { TaskActions } from "./task-actions.ts"

/** How often a broker looks for operations that are due. */
const LOOK_MS = 2_000
/** How long a claim lasts. It is renewed with each page. */
const CLAIM_MS = 5_000
/** How many operations a broker works on at the same time. */
const MAX_AT_ONCE = 4
const MAX_TASKS_PER_PAGE = 500
/** The same if payloads are read and written, which may be large. */
const MAX_PAYLOADS_PER_PAGE = 20
/** With a rate, a page has the tasks of this fraction of a second. */
const PAGES_PER_SECOND = 4
/** How many retried tasks of an operation are followed. */
const MAX_FOLLOWED = 100_000
const MAX_FOLLOWED_PER_CALL = 500
const MAX_FOLLOWED_PER_STEP = 5_000
/** How long retried tasks are followed after the operation has ended. */
const FOLLOW_MS = 86_400_000
/** A step that fails by a fault is repeated so often before the operation ends as failed. */
const MAX_FAILURES = 3
const MAX_CAUSE_CHARACTERS = 300

interface WorkerParts {
  store: Store
  scripts: Scripts
  names: QueueNames
  control: QueueControl
  actions: TaskActions
  events: EventWriter
  log: Log
}

/** An operation that this broker has claimed. */
interface Claimed extends BulkTasks {
  id: string
  fence: number
  startedAt: number
  /** The time of Redis at the last call. */
  now: number
  about: BulkAbout
  progress: BulkProgress
  state: BulkState
  /** Who asked to stop it, as JSON; "": nobody. */
  stop: string
  /** Retried tasks that are stored with the next save. */
  retried: string[]
}

/** Another broker has claimed the operation. */
class ClaimLost extends Error {}

export class BulkWorker {
  readonly #timers = new Set<Timer>()
  /** What this broker is working on. */
  readonly #working = new Set<Promise<void>>()
  #interval: Timer | undefined
  #isClosed = false

  constructor(private readonly parts: WorkerParts) {}

  start(): void {
    const jitter = 0.75 + Math.random() / 2
    this.#interval = setInterval(() => void this.#lookIfDue(), LOOK_MS * jitter).unref()
  }

  /** Looks for operations that are due now, and works on them. */
  look(): void {
    if (this.#isClosed || this.#working.size >= MAX_AT_ONCE) return
    const work = this.#workOnDue().finally(() => this.#working.delete(work))
    this.#working.add(work)
  }

  /** Resolves after the page in hand. Another broker continues at once. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#interval)
    for (const timer of this.#timers) clearTimeout(timer)
    await Promise.all(this.#working)
  }

  /** One cheap command, because nearly always nothing is due. */
  async #lookIfDue(): Promise<void> {
    const { store } = this.parts
    const due = await store
      .command(["ZCOUNT", BULK_DUE, "-inf", Math.floor(store.clock.now())])
      .catch(() => 0)
    if (Number(due) > 0) this.look()
  }

  #lookIn(ms: number): void {
    if (this.#isClosed) return
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.look()
    }, ms + 2).unref()
    this.#timers.add(timer)
  }

  async #workOnDue(): Promise<void> {
    while (!this.#isClosed) {
      const claim = await runShared(this.parts.store, "bulkClaim", { claim: CLAIM_MS }).catch(() => null)
      if (claim === null) return
      await this.#workOn(claim).catch(error =>
        this.parts.log.error("A bulk operation cannot be read", { bulk_id: claim[0], error }),
      )
    }
  }

  async #workOn(claim: NonNullable<Replies["bulkClaim"]>): Promise<void> {
    const { log } = this.parts
    const [id, fence, now, startedAt, about, selected, progress, page, state, stop, taken] = claim
    const known = { id, fence, now, startedAt, state, stop, retried: [] }
    const operation: Claimed = {
      ...known,
      about: readAbout(about),
      progress: readProgress(progress),
      selected: selected === "" ? undefined : JSON.parse(selected),
      page: page === "" ? undefined : JSON.parse(page),
    }
    if (taken === 1)
      log.info("A bulk operation was taken over from a broker that died or hangs", { bulk_id: id })
    try {
      if (isUnfinished(state)) await this.#continue(operation)
      else await this.#followEnded(operation)
    } catch (error) {
      // After a refusal by Redis the claim lapses, and the step is repeated.
      if (error instanceof ClaimLost || error instanceof Refused) return
      await this.#recordFault(operation, error).catch(() => {})
    }
  }

  /** Works on an operation until it has ended, waits for something, or this broker closes. */
  async #continue(operation: Claimed): Promise<void> {
    const { progress } = operation
    let begun = performance.now()
    let changed = 0
    if (operation.page !== undefined) changed = await this.#finishPage(operation, true)
    for (;;) {
      if (operation.stop !== "") return this.#end(operation, "stopped")
      if (progress.done >= (operation.about.limit ?? Number.POSITIVE_INFINITY))
        return this.#end(operation, "finished")
      if (changed > 0 && this.#needsCanary(operation)) return this.#waitForCanary(operation)
      if (operation.state === "waiting_for_canary" && !(await this.#canaryIsDone(operation))) return
      const pauseMs =
        begun + (changed / (operation.about.rate ?? Number.POSITIVE_INFINITY)) * 1_000 - performance.now()
      if (changed > 0 && pauseMs >= 1) return this.#release(operation, Math.ceil(pauseMs))
      if (this.#isClosed) return this.#release(operation, 0)
      if (operation.now - (progress.followed_at ?? 0) > LOOK_MS) await this.#follow(operation)
      begun = performance.now()
      const found = popsTasks(operation.about)
        ? await this.#popPage(operation)
        : await this.#nextPage(operation)
      if (found === undefined) return this.#end(operation, "finished")
      changed = found
    }
  }

  /** Finds and changes the next tasks. Returns how many it changed; undefined: there are no more. */
  async #nextPage(operation: Claimed): Promise<number | undefined> {
    const { about, progress, selected, startedAt } = operation
    if (progress.seen > 0 && progress.cursor === undefined && !this.#looksAgain(operation)) return undefined
    const page = await findPage(
      this.parts,
      about,
      selected,
      startedAt,
      this.#pageSize(operation),
      progress.cursor,
    )
    if (page.ids.length === 0) {
      progress.seen += page.seen
      progress.cursor = page.next
      if (page.next === undefined && !this.#looksAgain(operation)) return undefined
      await this.#save(operation, CLAIM_MS)
      return 0
    }
    operation.page = page
    await this.#save(operation, CLAIM_MS)
    if (operation.stop === "") return this.#finishPage(operation, false)
    operation.page = undefined
    return 0
  }

  /**
   * While workers lease tasks, the lists of groups change their order, and a pass may miss some. So a cancel that has found
   * tasks of groups begins again, until a pass cancels nothing.
   */
  #looksAgain({ about, progress }: Claimed): boolean {
    if (about.action !== "cancel" || !progress.hasGroups || progress.done === progress.doneBefore)
      return false
    progress.doneBefore = progress.done
    progress.hasGroups = false
    progress.seen = 0
    return true
  }

  #pageSize({ about, progress, state }: Claimed): number {
    const { limit = Number.POSITIVE_INFINITY, rate = Number.POSITIVE_INFINITY, patch, canary, action } = about
    if (canary && progress.canary === undefined && state === "running") return 1
    const hasPayloads = patch !== undefined || action === "submit_again"
    const most = hasPayloads ? MAX_PAYLOADS_PER_PAGE : MAX_TASKS_PER_PAGE
    return Math.min(most, limit - progress.done, Math.ceil(rate / PAGES_PER_SECOND))
  }

  /** Changes the tasks of the page in hand. The counts are stored with the next save. */
  async #finishPage(operation: Claimed, mayBeRepeated: boolean): Promise<number> {
    const { about, progress } = operation
    const { ids, next, seen, hasGroups } = operation.page!
    const { done, skipped } = await applyTo(this.parts, operation, ids, mayBeRepeated)
    const followed = progress.done
    progress.seen += seen
    progress.done += done.length
    progress.skipped += skipped
    progress.cursor = next
    if (hasGroups) progress.hasGroups = true
    delete progress.failures
    operation.page = undefined
    if (about.action === "retry")
      operation.retried.push(...done.slice(0, Math.max(0, MAX_FOLLOWED - followed)))
    if (about.canary && progress.canary === undefined && done[0] !== undefined)
      progress.canary = { task_id: done[0], retried_at: operation.now }
    return done.length
  }

  /** Deletes the next tasks of a place. If the broker dies before the save, they are deleted and not counted. */
  async #popPage(operation: Claimed): Promise<number | undefined> {
    const { about, progress } = operation
    const queue = about.filter.queue!
    const limit = Math.min(this.#pageSize(operation), about.total - progress.seen)
    if (limit <= 0) return undefined
    const { looked, purged } = await this.parts.control.purgePart(queue, about.state as Purgeable, limit)
    progress.seen += looked
    progress.done += purged
    if (looked < limit) return undefined
    await this.#save(operation, CLAIM_MS)
    return purged
  }

  #needsCanary = ({ progress, state }: Claimed) =>
    progress.canary !== undefined && progress.canary.state === undefined && state === "running"

  async #waitForCanary(operation: Claimed): Promise<void> {
    operation.state = "waiting_for_canary"
    await this.#release(operation, 200)
  }

  /** Whether the canary is done. If not, the operation waits or has ended. */
  async #canaryIsDone(operation: Claimed): Promise<boolean> {
    const { scripts } = this.parts
    const { canary } = operation.progress
    const { task_id: id, retried_at: since } = canary!
    const state = await scripts.callOne("states", queueOf(id), {}, { id: localOf(id) })
    canary!.state = state || undefined
    if (state === "done") {
      operation.state = "running"
      return true
    }
    if (state === "dead" || state === "cancelled" || state === "") {
      operation.progress.cause = await this.#causeOf(id, state)
      await this.#end(operation, "stopped")
    } else await this.#release(operation, Math.min(5_000, Math.max(200, (operation.now - since) / 20)))
    return false
  }

  async #causeOf(id: string, state: "dead" | "cancelled" | ""): Promise<string> {
    if (state === "") return `The canary ${id} was deleted before its outcome was seen.`
    if (state === "cancelled") return `The canary ${id} was cancelled.`
    const { error = "" } = await findTask(this.parts.scripts, id, "unredacted")
    const line = error.split("\n", 1)[0]!.slice(0, MAX_CAUSE_CHARACTERS).toWellFormed()
    return `The canary ${id} died again${line === "" ? "" : `: ${line}`}.`
  }

  /** Ends the operation. Retried tasks are followed from now on. */
  async #end(operation: Claimed, state: "finished" | "stopped" | "failed"): Promise<void> {
    const { events, log } = this.parts
    const { id, about, progress } = operation
    const { seen, done, skipped, cause } = progress
    operation.state = state
    progress.cursor = undefined
    progress.ended_at = operation.now
    await this.#release(operation, about.action === "retry" && done > 0 ? 500 : undefined)
    const by = operation.stop === "" ? undefined : JSON.parse(operation.stop).by
    log.info("A bulk operation has ended", {
      bulk_id: id,
      action: about.action,
      state,
      seen,
      done,
      skipped,
      cause,
      stopped_by: by,
    })
    events.publishQueueEvent("bulk_ended", about.filter.queue ?? "", {
      bulk_id: id,
      action: about.action,
      state,
    })
  }

  /** Stores the progress and lets any broker go on in `waitMs`; undefined: nothing is left to do. */
  async #release(operation: Claimed, waitMs: number | undefined): Promise<void> {
    await this.#save(operation, waitMs === undefined ? "" : Math.floor(waitMs), false)
    if (waitMs !== undefined) this.#lookIn(waitMs)
  }

  async #save(operation: Claimed, wait: number | "", held = true): Promise<void> {
    const { id, fence, progress, page, state, retried } = operation
    const [code, stop, now] = await runShared(
      this.parts.store,
      "bulkSave",
      {
        id,
        fence,
        progress: JSON.stringify(progress),
        page: page === undefined ? "" : JSON.stringify(page),
        state,
        wait,
        held: held ? 1 : 0,
      },
      retried.map(task => ({ task })),
    )
    if (code === "lost") throw new ClaimLost()
    operation.retried = []
    operation.stop = stop
    operation.now = now
  }

  /** Looks at retried tasks after the operation has ended. The later, the less often. */
  async #followEnded(operation: Claimed): Promise<void> {
    const age = operation.now - (operation.progress.ended_at ?? operation.startedAt)
    const isComplete = await this.#follow(operation)
    const left = Number(await this.parts.store.command(["SCARD", BULK_OPEN + operation.id]))
    if (left === 0 || age > FOLLOW_MS) return this.#release(operation, undefined)
    await this.#release(operation, isComplete ? Math.min(60_000, Math.max(500, age / 20)) : 0)
  }

  /** Looks at a bounded number of retried tasks and counts those that have ended. Returns whether it has looked at all. */
  async #follow(operation: Claimed): Promise<boolean> {
    const { id, about, progress, now } = operation
    progress.followed_at = now
    if (about.action !== "retry") return true
    for (let looked = 0; looked < MAX_FOLLOWED_PER_STEP; looked += MAX_FOLLOWED_PER_CALL) {
      const scan = [
        "SSCAN",
        BULK_OPEN + id,
        progress.followed ?? "0",
        "COUNT",
        MAX_FOLLOWED_PER_CALL,
      ] as const
      const [next, tasks] = (await this.parts.store.command([...scan])) as [string, string[]]
      await this.#countEnded(id, tasks)
      if (next === "0") {
        delete progress.followed
        return true
      }
      progress.followed = next
    }
    return false
  }

  async #countEnded(id: string, tasks: readonly string[]): Promise<void> {
    const { scripts, store } = this.parts
    for (const [queue, own] of Map.groupBy(tasks, queueOf)) {
      const states = await scripts.call(
        "states",
        queue,
        {},
        own.map(task => ({ id: localOf(task) })),
      )
      const ended = own.flatMap((task, i) => {
        const outcome = OUTCOMES[states[i]!]
        return outcome === undefined ? [] : [{ task, outcome }]
      })
      if (ended.length > 0) await runShared(store, "bulkOutcomes", { id }, ended)
    }
  }

  async #recordFault(operation: Claimed, error: unknown): Promise<void> {
    const { progress, id } = operation
    const message = error instanceof Error ? error.message : String(error)
    this.parts.log.error("A step of a bulk operation failed", { bulk_id: id, error })
    progress.failures = (progress.failures ?? 0) + 1
    if (progress.failures < MAX_FAILURES || !isUnfinished(operation.state))
      return this.#release(operation, CLAIM_MS)
    progress.cause = message.slice(0, MAX_CAUSE_CHARACTERS).toWellFormed()
    await this.#end(operation, "failed")
  }
}

/** What the state of a retried task says about its retry; absent: it has not ended. */
const OUTCOMES: Record<string, "succeeded" | "died_again" | "other" | undefined> = {
  done: "succeeded",
  dead: "died_again",
  cancelled: "other",
  "": "other",
}
