/**
 * Bulk operations: a change of all tasks that match a filter, which brokers make page by page in the background. This file
 * starts, stops and lists them; bulk-worker.ts works on them.
 */
import { Refused } from "../errors.ts"
import type { EventWriter } from "../observe/event-writer.ts"
import { runShared, type Scripts } from "../redis/scripts.ts"
import type { StoredBulk } from "../redis/shared-scripts.ts"
import type { Store } from "../redis/store.ts"
import { newLocalId } from "../task/id.ts"
import type { BulkCounted, BulkView } from "../wire/bulk.ts"
import { findPage } from "./bulk-page.ts"
import {
  type BulkAbout,
  type BulkOrder,
  NEW_PROGRESS,
  popsTasks,
  readAbout,
  taskStatesOf,
  viewOf,
} from "./bulk-record.ts"
import type { BulkWorker } from "./bulk-worker.ts"
import { MAX_ENTRIES_PER_PAGE, sizeOf, type TaskFilter, tasksPage } from "./listing.ts"
import type { QueueNames } from "./queue-names.ts"
import type { TaskActions } from "./task-actions.ts"

/** How many bulk operations are kept. Those that have not ended are always kept. */
const MAX_KEPT = 50
/** How many may be unfinished at the same time. */
const MAX_UNFINISHED = 20

interface BulkParts {
  store: Store
  scripts: Scripts
  names: QueueNames
  actions: TaskActions
  events: EventWriter
  worker: BulkWorker
}

interface CancelPage extends Omit<TaskFilter, "queues" | "bare"> {
  /** Sorted; undefined: all. */
  queues?: readonly string[] | undefined
  /** Only queues whose names contain this text. */
  queuePart?: string | undefined
  dryRun: boolean
}

/** Whether the caller may see and stop an operation on these queues; empty: on all queues. */
type MaySee = (queues: readonly string[]) => boolean

export class BulkOperations {
  constructor(private readonly parts: BulkParts) {}

  /** `id`: identifies a request that may be repeated. A repeated request returns the operation that the first one started. */
  async start(
    id: string | undefined,
    order: Omit<BulkAbout, "total" | "selected">,
    selected: readonly string[] | undefined,
  ): Promise<{ view: BulkView; isNew: boolean }> {
    const { store, events, worker } = this.parts
    const bulkId = id ?? newLocalId(store.clock.now())
    const about: BulkAbout =
      selected === undefined
        ? { ...order, total: await this.#totalOf(order) }
        : { ...order, selected: selected.length, total: selected.length }
    const [code, known] = await runShared(store, "bulkStart", {
      id: bulkId,
      about: JSON.stringify(about),
      selected: selected === undefined ? "" : JSON.stringify(selected),
      progress: JSON.stringify(NEW_PROGRESS),
      kept: MAX_KEPT,
      most: MAX_UNFINISHED,
    })
    if (code === "full")
      throw new Refused("overloaded", {
        detail: `${MAX_UNFINISHED} bulk operations have not ended, and no more are allowed at a time. Stop one, or try again when one has ended.`,
      })
    if (code === "exists" && readAbout(known).print !== about.print) throw new Refused("key_reused")
    const isNew = code === "started"
    const view = await this.get(bulkId, () => true)
    if (isNew) {
      const { action, author } = about
      events.publishQueueEvent("bulk_started", about.filter.queue ?? "", {
        bulk_id: bulkId,
        action,
        by: author,
      })
      worker.look()
    }
    return { view, isNew }
  }

  /** Asks the broker that works on it to stop. Safe to repeat. */
  async stop(id: string, by: string, maySee: MaySee) {
    const stored = await this.#find(id, maySee)
    const stop = JSON.stringify({ by, at: this.parts.store.clock.now() })
    const code = await runShared(this.parts.store, "bulkStop", { id, stop })
    if (code === "unknown") throw new Refused("bulk_not_found")
    this.parts.worker.look()
    return { view: viewOf(stored), queues: readAbout(stored[3]).queues, status: code }
  }

  /** Cancels the tasks of one page of a listing, without a bulk operation. Safe to repeat. */
  async cancelPage({ dryRun, queues, queuePart, ...page }: CancelPage) {
    const { scripts, names, actions } = this.parts
    const all = await names.select(queues, queuePart)
    const { tasks, next } = await tasksPage(scripts, { ...page, queues: all, bare: true })
    const codes = dryRun
      ? tasks.map(({ state }) => (state === "processing" ? "cancelling" : "cancelled"))
      : (await actions.cancel(tasks.map(({ id }) => id))).map(([code]) => code)
    const countOf = (wanted: string) => codes.filter(code => code === wanted).length
    const cancelled = countOf("cancelled")
    const cancelling = countOf("cancelling")
    return { cancelled, cancelling, skipped: codes.length - cancelled - cancelling, next }
  }

  /** How many tasks of a page an operation would change if it started now. */
  async count(order: BulkOrder, cursor: string | undefined): Promise<BulkCounted> {
    // Ready lists may also contain ids whose tasks have left them.
    if (popsTasks(order) && order.state !== "queued") return { matching: await this.#totalOf(order) }
    const now = this.parts.store.clock.now()
    const { ids, next } = await findPage(this.parts, order, undefined, now, MAX_ENTRIES_PER_PAGE, cursor)
    return { matching: ids.length, ...(next !== undefined && { next }) }
  }

  async get(id: string, maySee: MaySee): Promise<BulkView> {
    return viewOf(await this.#find(id, maySee))
  }

  /** The newest first. */
  async list(maySee: MaySee): Promise<BulkView[]> {
    return (await this.#read("", maySee)).map(viewOf)
  }

  async #find(id: string, maySee: MaySee): Promise<StoredBulk> {
    const [stored] = await this.#read(id, maySee)
    if (stored === undefined) throw new Refused("bulk_not_found")
    return stored
  }

  async #read(only: string, maySee: MaySee): Promise<StoredBulk[]> {
    const stored = await runShared(this.parts.store, "bulkList", { only })
    return stored.filter(([, , , about]) => maySee(readAbout(about).queues ?? []))
  }

  async #totalOf(order: BulkOrder): Promise<number> {
    const { scripts, names } = this.parts
    const queues = await names.select(order.queues, order.filter.queue_part)
    return sizeOf(scripts, queues, taskStatesOf(order))
  }
}
