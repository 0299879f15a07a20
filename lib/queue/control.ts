/** Control of queues: their views, pausing, limits and defaults, and deleting tasks of one state. */
import { MAX_QUEUES } from "../observe/counters.ts"
import { type Depth, Depths } from "../observe/depths.ts"
import type { EventWriter } from "../observe/event-writer.ts"
import type { HistoryReader } from "../observe/history-reader.ts"
import type { Rates } from "../observe/rates.ts"
import type { RedisClock } from "../redis/clock.ts"
import type { QueueState, Scripts } from "../redis/scripts.ts"
import type { Purged, QueueView } from "../wire/managing.ts"
import type { QueueSettings } from "../wire/queue-settings.ts"
import type { Purgeable } from "../wire/states.ts"
import { attentionOf, type Watched } from "./attention.ts"
import type { QueueDefaults } from "./defaults.ts"
import { encodeLimits, ratesOf, readLimits } from "./groups.ts"
import type { LongPoll } from "./long-poll.ts"
import { type NamePage, pageByName } from "./name-page.ts"
import type { QueueNames } from "./queue-names.ts"
import type { WorkerRegistry } from "./worker-registry.ts"

/** How many tasks one script call deletes: about 2 ms of Redis' time. */
const MAX_TASKS_PER_CALL = 200

/** Up to how many delayed tasks of a queue the scheduled and the retrying ones are counted separately: 1 ms of Redis' time. */
const MAX_DELAYED_COUNTED = 1_000
/** How many entries of groups one script call looks at again: about 2 ms of Redis' time. */
const MAX_GROUPS_PER_CALL = 200

interface PurgeOrder {
  state: Purgeable
  limit: number
  /** Count the tasks without deleting them. */
  dryRun: boolean
}

/** The places of lua/purge.lua, the lowest priority first. */
const PURGED_PLACES: Record<Purgeable, readonly string[]> = {
  queued: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "held"],
  delayed: ["due"],
  done: ["done"],
  dead: ["dead"],
  cancelled: ["cancelled"],
}

interface ControlParts {
  scripts: Scripts
  names: QueueNames
  longPoll: LongPoll
  workers: WorkerRegistry
  rates: Rates
  history: HistoryReader
  events: EventWriter
  defaults: QueueDefaults
  clock: RedisClock
}

export class QueueControl {
  readonly #depths = new Depths()

  constructor(private readonly parts: ControlParts) {}

  /** What the first 1,000 queues by name hold now. */
  async depths(): Promise<Depth[]> {
    const { scripts, names, longPoll, clock } = this.parts
    const queues = (await names.list()).slice(0, MAX_QUEUES)
    const depths = await this.#depths.read(scripts, queues)
    // A request that waits here is polling now, even if it made its last call long ago.
    const polledAt = Math.floor(clock.now() / 1_000) * 1_000
    return depths.map(depth => (longPoll.hasWaiters(depth.queue) ? { ...depth, polledAt } : depth))
  }

  /** How many tasks a queue has in each state, which workers poll it, and whether it is paused. */
  async view(queue: string): Promise<QueueView> {
    const [[view], counts] = await Promise.all([
      this.viewsOf([queue]),
      this.parts.scripts.call("delayed", queue, { limit: MAX_DELAYED_COUNTED }),
    ])
    if (counts.length === 0) return view!
    const [scheduled, retrying] = counts
    return { ...view!, delayed: { scheduled, retrying } }
  }

  /** A page of the queues by name: all, or those among `queues`, whose names contain `queuePart`, ignoring case. */
  async views({
    queues,
    queuePart,
    ...namePage
  }: NamePage & { queues?: readonly string[] | undefined; queuePart?: string | undefined }): Promise<{
    queues: QueueView[]
    next: string | undefined
  }> {
    const all = await this.parts.names.select(undefined, queuePart)
    const visible = queues === undefined ? all : all.filter(name => queues.includes(name))
    const { page, next } = pageByName(visible, name => name, namePage)
    return { queues: await this.viewsOf(page), next }
  }

  /** Stops leasing from a queue until it is resumed; submits are still accepted. Returns since when. Safe to repeat. */
  async pause(queue: string, reason: string): Promise<number> {
    await this.parts.names.registerEvenIfFull(queue)
    const since = await this.parts.scripts.call("pause", queue, { on: 1, reason })
    this.parts.events.publishQueueEvent("paused", queue, reason === "" ? {} : { reason })
    return since
  }

  /** Safe to repeat. Wakes the requests that wait for tasks of this queue. */
  async resume(queue: string): Promise<void> {
    await this.parts.scripts.call("pause", queue, { on: 0, reason: "" })
    this.parts.events.publishQueueEvent("resumed", queue)
  }

  /** Sets how many tasks of a queue run at once, how fast they are leased, and the defaults of new tasks. Safe to repeat. */
  async configure(queue: string, settings: QueueSettings): Promise<QueueView> {
    const { concurrency, rate, defaults, groups, attention } = settings
    const { scripts, names } = this.parts
    const short = rate !== undefined && "per_second" in rate ? rate : undefined
    await names.registerEvenIfFull(queue)
    await scripts.call("settings", queue, {
      concurrency: concurrency ?? "",
      per_second: short?.per_second ?? "",
      burst: short?.burst ?? short?.per_second ?? "",
      rates: rate === undefined || short !== undefined ? "" : JSON.stringify(ratesOf(rate)),
      group_limits: groups === undefined ? "" : encodeLimits(groups),
      attention: attention === undefined ? "" : JSON.stringify(attention),
    })
    for (let from = 0, looked = MAX_GROUPS_PER_CALL; looked === MAX_GROUPS_PER_CALL; from += looked)
      looked = await scripts.call("recheckGroups", queue, { from, limit: MAX_GROUPS_PER_CALL })
    await this.parts.defaults.set(queue, defaults)
    const view = await this.view(queue)
    this.parts.events.publishQueueEvent("settings", queue, { settings: view.settings })
    return view
  }

  /** Deletes up to `limit` tasks of one state: the lowest priority first, and within a priority the oldest. */
  async purge(queue: string, { state, limit, dryRun }: PurgeOrder): Promise<Purged> {
    const readDepth = async () => (await this.#states([queue]))[0]!.depth[state]
    if (dryRun) {
      const depth = await readDepth()
      return { purged: Math.min(depth, limit), remaining: Math.max(0, depth - limit) }
    }
    const { purged } = await this.purgePart(queue, state, limit)
    return { purged, remaining: await readDepth() }
  }

  /** Deletes the tasks of up to `limit` entries. `looked`: how many entries it removed; fewer than `limit`: no more are left. */
  async purgePart(
    queue: string,
    state: Purgeable,
    limit: number,
  ): Promise<{ looked: number; purged: number }> {
    let purged = 0
    let looked = 0
    for (const place of PURGED_PLACES[state])
      for (let more = true; more && looked < limit; ) {
        const count = Math.min(limit - looked, MAX_TASKS_PER_CALL)
        const [removed, deleted] = await this.parts.scripts.call("purge", queue, { place, limit: count })
        purged += deleted
        // Entries whose task no longer exists count as well, or one call might visit any number of them.
        looked += removed
        more = removed === count
      }
    this.parts.events.publishQueueEvent("purged", queue, { state, purged })
    return { looked, purged }
  }

  async viewsOf(queues: readonly string[]): Promise<QueueView[]> {
    const { workers, rates, history, defaults } = this.parts
    const [pollers, ratesByQueue, recent, states] = await Promise.all([
      workers.pollersOf(queues),
      rates.read(queues),
      history.recent(queues),
      this.#states(queues),
    ])
    return states.map(({ watched, ...state }) => {
      const { queue } = state
      const ownDefaults = defaults.of(queue)
      const view = {
        ...state,
        settings: { ...state.settings, ...(ownDefaults && { defaults: ownDefaults }) },
        workers: pollers.get(queue)!,
        rates: ratesByQueue.get(queue)!,
        recent: recent.get(queue)!,
      }
      return { ...view, attention: attentionOf({ ...view, ...watched }) }
    })
  }

  async #states(queues: readonly string[]) {
    const { scripts, longPoll } = this.parts
    const replies = await scripts.callForQueues("queueState", queues, {})
    return replies.flatMap(({ queues, reply }) =>
      reply.map((state, i) => stateView(queues[i]!, state, longPoll.hasWaiters(queues[i]!))),
    )
  }
}

/** `isPolled`: requests wait for tasks of this queue at this broker. */
function stateView(
  queue: string,
  [
    now,
    polled,
    paused,
    reason,
    concurrency,
    perSecond,
    burst,
    rates,
    groups,
    attention,
    deadLately,
    deadSince,
    nextRun,
    fullSince,
    oldest,
    ...counts
  ]: QueueState,
  isPolled: boolean,
): Omit<QueueView, "workers" | "rates" | "recent" | "attention"> & {
  watched: Pick<Watched, "now" | "deadLately" | "nextRunAt" | "fullSince">
} {
  const [due, leases, done, dead, cancelled, soon, ...ready] = counts
  const queued = ready.reduce((sum, count) => sum + count, 0)
  return {
    queue,
    depth: { queued, delayed: due, processing: leases, done, dead, cancelled, open: queued + soon + leases },
    queued_by_priority: Object.fromEntries([...ready.entries()].filter(([, count]) => count > 0)),
    ...(oldest === 0 ? {} : { oldest_waiting_ms: Math.max(0, now - oldest) }),
    ...(isPolled ? { polled_at: now } : polled === "" ? {} : { polled_at: Number(polled) }),
    paused: paused !== "",
    ...(paused === "" ? {} : { paused_at: Number(paused) }),
    ...(reason === "" ? {} : { pause_reason: reason }),
    settings: {
      ...(concurrency === "" ? {} : { concurrency: Number(concurrency) }),
      ...(perSecond === "" ? {} : { rate: { per_second: Number(perSecond), burst: Number(burst) } }),
      ...(rates === "" ? {} : readLimits({ rates: JSON.parse(rates) })),
      ...(groups === "" ? {} : { groups: readLimits(JSON.parse(groups)) }),
      ...(attention === "" ? {} : { attention: JSON.parse(attention) }),
    },
    watched: {
      now,
      deadLately: { count: deadLately, since: deadSince },
      nextRunAt: nextRun === "" ? undefined : Number(nextRun),
      fullSince: fullSince === "" ? undefined : Number(fullSince),
    },
  }
}
