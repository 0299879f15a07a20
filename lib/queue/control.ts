/** Steering queues: how they are, holding them, limiting how they are handed out, deleting what waits or has ended. */

import { MAX_QUEUES } from "../observe/counters.ts"
import { type Depth, Depths, MAX_DEPTHS_PER_CALL } from "../observe/depths.ts"
import type { EventWriter } from "../observe/event-writer.ts"
import type { Rates } from "../observe/rates.ts"
import type { Scripts } from "../redis/scripts.ts"
import type { Purgeable, Purged, QueueView } from "../wire/managing.ts"
import type { QueueSettings } from "../wire/queue-settings.ts"
import type { QueueDefaults } from "./defaults.ts"
import { PLACES, readDepth } from "./listing.ts"
import { type NamePage, pageByName } from "./name-page.ts"
import type { WorkerRegistry } from "./worker-registry.ts"

/** How many tasks one script call deletes: about 2 ms of Redis' time. */
const MOVES_A_CALL = 200

export interface PurgeOrder {
  state: Purgeable
  limit: number
  /** Only tell how many it would be. */
  dryRun: boolean
}

interface Parts {
  scripts: Scripts
  /** Whether one call may touch several queues. */
  oneSlot: boolean
  /** All queues. */
  queues(): Promise<string[]>
  register(queue: string): Promise<void>
  /** Whether somebody waits here for tasks of this queue. */
  waitsFor(queue: string): boolean
  workers: WorkerRegistry
  rates: Rates
  events: EventWriter
  defaults: QueueDefaults
}

export class QueueControl {
  readonly #depths = new Depths()

  constructor(private readonly parts: Parts) {}

  /** What the queues hold now: the first 1,000, by their names. */
  async depths(): Promise<Depth[]> {
    const { scripts, queues, waitsFor, oneSlot } = this.parts
    // Queues of a Cluster are in different slots, and no call may touch two.
    const aCall = oneSlot ? MAX_DEPTHS_PER_CALL : 1
    const told = await this.#depths.read(scripts, (await queues()).slice(0, MAX_QUEUES), aCall)
    // Who waits here has asked long ago, and asks still.
    const polledAt = Math.floor(Date.now() / 1_000) * 1_000
    return told.map(depth => (waitsFor(depth.queue) ? { ...depth, polledAt } : depth))
  }

  /** How a queue is: how many tasks it has where, who asks for them, whether it is paused. */
  async view(queue: string): Promise<QueueView> {
    const [view] = await this.#views([queue])
    return view!
  }

  /** A page of the queues by name: all, or those among `queues`. */
  async views({ queues, ...namePage }: NamePage & { queues?: readonly string[] | undefined }): Promise<{
    queues: QueueView[]
    next: string | undefined
  }> {
    const all = await this.parts.queues()
    const visible = queues === undefined ? all : all.filter(name => queues.includes(name))
    const { page, next } = pageByName(visible, name => name, namePage)
    return { queues: await this.#views(page), next }
  }

  /** The queue takes submits and hands out nothing, until it is resumed. Answers since when. Safe to repeat. */
  async pause(queue: string, reason: string): Promise<number> {
    await this.parts.register(queue)
    const since = await this.parts.scripts.call("pause", queue, { on: 1, reason })
    this.parts.events.publishQueueEvent("paused", queue, reason === "" ? {} : { reason })
    return since
  }

  /** Safe to repeat. Who waits for tasks of this queue is woken. */
  async resume(queue: string): Promise<void> {
    await this.parts.scripts.call("pause", queue, { on: 0, reason: "" })
    this.parts.events.publishQueueEvent("resumed", queue)
  }

  /** How many tasks of the queue run at a time, how fast they are handed out, and what new ones get. Safe to repeat. */
  async configure(queue: string, { concurrency, rate, defaults }: QueueSettings): Promise<QueueView> {
    await this.parts.register(queue)
    await this.parts.scripts.call("settings", queue, {
      concurrency: concurrency ?? "",
      per_second: rate?.per_second ?? "",
      burst: rate?.burst ?? rate?.per_second ?? "",
    })
    await this.parts.defaults.set(queue, defaults)
    const view = await this.view(queue)
    this.parts.events.publishQueueEvent("settings", queue, { settings: view.settings })
    return view
  }

  /** Deletes tasks of one state, up to `limit`: the least urgent first, and of these the oldest. */
  async purge(queue: string, { state, limit, dryRun }: PurgeOrder): Promise<Purged> {
    const depth = async () => (await this.#depth(queue)).depth[state]
    if (dryRun) {
      const before = await depth()
      return { purged: Math.min(before, limit), remaining: Math.max(0, before - limit) }
    }
    const places = state === "delayed" ? PLACES.scheduled : PLACES[state].toReversed()
    let purged = 0
    let left = limit
    for (const place of places)
      for (let more = true; more && left > 0; ) {
        const most = Math.min(left, MOVES_A_CALL)
        const [looked, gone] = await this.parts.scripts.call("purge", queue, { place, limit: most })
        purged += gone
        // Ids that no task has left behind count as well, or one call might go through any number of them.
        left -= looked
        more = looked === most
      }
    this.parts.events.publishQueueEvent("purged", queue, { state, purged })
    return { purged, remaining: await depth() }
  }

  async #views(queues: readonly string[]): Promise<QueueView[]> {
    const { workers, rates, defaults } = this.parts
    const [polled, fast, depths] = await Promise.all([
      workers.pollersOf(queues),
      rates.read(queues),
      Promise.all(queues.map(queue => this.#depth(queue))),
    ])
    const own = (queue: string) => defaults.of(queue)
    return depths.map(depth => ({
      ...depth,
      settings: { ...depth.settings, ...(own(depth.queue) && { defaults: own(depth.queue)! }) },
      workers: polled.get(depth.queue)!,
      rates: fast.get(depth.queue)!,
    }))
  }

  async #depth(queue: string) {
    const reply = await this.parts.scripts.call("queueState", queue, {})
    return readDepth(queue, reply, this.parts.waitsFor(queue))
  }
}
