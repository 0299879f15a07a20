/**
 * Workers that send their name: when they were last seen, what they did, and which of them are draining.
 *   1. A request costs a few Map look-ups. Every few seconds what was seen is added in Redis to what other brokers saw,
 *      many workers per call. If no worker polls, nothing is written.
 *   2. The list of draining workers is in Redis, and every broker keeps a copy in memory. A broker reads the list at
 *      start, when a message announces a change, after a gap in which it may have missed a message, and every 10 s.
 *   3. The tasks in a worker's hands are read from the live leases, not counted, so the number stays right when a
 *      broker or a worker dies. Leases carry only the name, so runs of one name share these tasks.
 *   4. Several workers may have one name. A worker is identified by its name, its instance, and the queues that its token
 *      is bound to. So nobody can keep the operator of a queue from draining its workers by using their names elsewhere.
 */
import { Refused } from "../errors.ts"
import { Flusher } from "../redis/flusher.ts"
import { WORKERS_DRAINS } from "../redis/keys.ts"
import { runShared, type Scripts } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import { joinId } from "../task/id.ts"
import type { Leased, Settled } from "../task/task.ts"
import type { WorkerState, WorkerView } from "../wire/managing.ts"
import type { Demand, LongPoll } from "./long-poll.ts"
import { type NamePage, pageByName } from "./name-page.ts"

const FLUSH_MS = 3_000
/** About 1 ms of Redis' time. */
const MAX_WORKERS_PER_CALL = 100
/** Bounds the workers kept in Redis, and those seen here since the last flush. */
const MAX_WORKERS = 10_000
/** How many leased tasks have their worker remembered, for acks that do not name it. */
const MAX_REMEMBERED_LEASES = 10_000
/** A worker is forgotten this long after it was last seen. */
const KEEP_MS = 86_400_000
/** How long the list of workers is reused: a page of queues reads it once for all of them. */
const CACHE_MS = 500
/** A worker not seen for this long is away. A live one polls for at most 20 s, and extends every 10 s by default. */
const AWAY_MS = 60_000
const MINUTE_MS = 60_000
const MAX_WORKERS_PER_READ = 1_000
const MAX_LEASES_PER_CALL = 1_000
/** How many live leases of one queue are read. */
const MAX_LEASES_PER_QUEUE = 10_000
/** How many queues a page of workers reads. A worker has at most 32. */
const MAX_QUEUES_PER_PAGE = 1_000
const MAX_TASK_IDS_PER_WORKER = 10
const MAX_WORKER_NAMES_PER_QUEUE = 20
/** How many workers of one name a drain reaches: those that were seen last. */
const MAX_DRAINED = 1_000

/** A worker as its request describes it; `worker` is "" if the request names none. */
export type WorkerIdentity = Pick<
  Demand,
  "worker" | "instance" | "binding" | "host" | "version" | "concurrency"
>

/** The key of one run of a worker: its name, and if it has them its instance and its binding, separated by spaces. */
const keyOf = ({ worker, instance = "", binding = "" }: WorkerIdentity): string =>
  instance === "" && binding === "" ? worker : `${worker} ${instance} ${binding}`.trimEnd()

/** What this broker saw of one run of a worker since the last flush. Times are those of performance.now(). */
interface Sighting {
  lastAt: number
  /** When the worker last polled each queue. */
  queues: Map<string, number>
  done: number
  failed: number
  instance: string
  host: string
  version: string
  /** 0: the worker does not send it. */
  concurrency: number
}

/** What all brokers saw of one run of a worker. */
interface KnownWorker {
  key: string
  worker: string
  binding: string
  lastAt: number
  first: number
  done: number
  failed: number
  instance?: string
  host?: string
  version?: string
  concurrency?: number
  /** The newest minute since 1970 in which attempts ended, and how many in it and in the minute before. */
  minute?: number
  ended?: number
  ended_before?: number
  queues: Readonly<Record<string, number>>
}

interface WorkerPage extends NamePage {
  queues?: readonly string[] | undefined
  worker?: string | undefined
  states?: readonly WorkerState[] | undefined
}

interface HeldTasks {
  count: number
  ids: string[]
}

interface WorkerList {
  now: number
  workers: KnownWorker[]
}

interface RegistryParts {
  store: Store
  scripts: Scripts
  longPoll: LongPoll
}

export class WorkerRegistry {
  #sightings = new Map<string, Sighting>()
  /** The worker of each task leased here, by task id: an ack on /ack names no worker. */
  readonly #holders = new Map<string, { key: string; lease: string }>()
  /** Since when, by key. A later run under the same name has another instance, and keeps working. */
  #drains = new Map<string, number>()
  #cache: { readAt: number; list: Promise<WorkerList> } | undefined
  readonly #flusher = new Flusher(() => this.#write(), FLUSH_MS)

  constructor(private readonly parts: RegistryParts) {}

  /** Records a request of this worker, and the queues that it polls. */
  recordRequest(identity: WorkerIdentity, queues: readonly string[] = []): void {
    const { worker, instance = "", host = "", version = "", concurrency = 0 } = identity
    if (worker === "") return
    const sighting = this.#sighting(keyOf(identity))
    if (sighting === undefined) return
    const now = performance.now()
    sighting.lastAt = now
    for (const queue of queues) sighting.queues.set(queue, now)
    if (instance !== "") sighting.instance = instance
    if (host !== "") sighting.host = host
    if (version !== "") sighting.version = version
    if (concurrency > 0) sighting.concurrency = concurrency
  }

  /** Whether this run of the worker is to end. */
  isDraining(identity: WorkerIdentity): boolean {
    return this.#drains.size > 0 && this.#drains.has(keyOf(identity))
  }

  /** Remembers which worker got these tasks. */
  recordLeased(identity: WorkerIdentity, tasks: readonly Leased[]): void {
    if (identity.worker === "") return
    const key = keyOf(identity)
    for (const { id, lease } of tasks) {
      if (this.#holders.size >= MAX_REMEMBERED_LEASES)
        this.#holders.delete(this.#holders.keys().next().value!)
      this.#holders.set(id, { key, lease })
    }
  }

  /** Counts an ended attempt for its worker. If the ack names none, that is the one that leased the task here. */
  recordSettled(identity: WorkerIdentity, { id, code }: Settled, lease: string | undefined): void {
    const holder = this.#holders.get(id)
    if (holder !== undefined) this.#holders.delete(id)
    const key =
      keyOf(identity) || (holder !== undefined && (lease ?? holder.lease) === holder.lease ? holder.key : "")
    if (key === "" || code === "released" || code === "cancelled") return
    const sighting = this.#sighting(key)
    if (sighting === undefined) return
    if (code === "acknowledged") sighting.done++
    else sighting.failed++
  }

  /** A page of the workers by name: all, or those that poll at least one of `queues`, have this name, or are in one of `states`. */
  async page({ queues, worker: name, states, ...namePage }: WorkerPage): Promise<{
    workers: WorkerView[]
    next: string | undefined
  }> {
    const { now, workers } = await this.#list()
    const visible = queues && new Set(queues)
    const queuesOf = ({ queues }: KnownWorker) =>
      Object.keys(queues).filter(queue => visible === undefined || visible.has(queue))
    const isAway = ({ lastAt }: KnownWorker) => now - lastAt > AWAY_MS
    const shown = withoutEarlierRuns(workers, isAway)
    // Whether a worker that is away holds tasks is known only after they are read.
    const mayBe = (known: KnownWorker) =>
      states === undefined ||
      [false, true].some(holds => states.includes(stateOf(isAway(known), holds, this.#drains.has(known.key))))
    const matching = shown.filter(
      known =>
        (visible === undefined || queuesOf(known).length > 0) &&
        (name === undefined || known.worker === name) &&
        mayBe(known),
    )
    const polled = new Set<string>()
    const fits = (worker: KnownWorker) => {
      for (const queue of queuesOf(worker)) polled.add(queue)
      return polled.size <= MAX_QUEUES_PER_PAGE
    }
    const { page, next } = pageByName(matching, ({ key }) => key, namePage, fits)
    const held = await this.#readHeld([...new Set(page.flatMap(queuesOf))])
    const views = page.map((known): WorkerView => {
      const { key, worker, instance, host, version, concurrency, lastAt, first, done, failed } = known
      const { count, ids } = held.get(worker) ?? { count: 0, ids: [] }
      const drainingSince = this.#drains.get(key)
      return {
        worker,
        ...(instance === undefined ? {} : { instance }),
        state: stateOf(isAway(known), count > 0, drainingSince !== undefined),
        ...(host === undefined ? {} : { host }),
        ...(version === undefined ? {} : { version }),
        queues: queuesOf(known).sort(),
        first_seen_at: first,
        last_seen_at: lastAt,
        ...(concurrency === undefined ? {} : { concurrency }),
        in_hand: count,
        tasks: ids,
        done,
        failed,
        per_minute: endedLastMinute(known, now),
        ...(drainingSince === undefined ? {} : { draining_since: drainingSince }),
      }
    })
    return { workers: views.filter(({ state }) => states === undefined || states.includes(state)), next }
  }

  /** How many workers polled each of these queues in the last minute, and the names of some of them. */
  async pollersOf(queues: readonly string[]): Promise<Map<string, { count: number; names: string[] }>> {
    const { now, workers } = await this.#list()
    const pollers = new Map(queues.map(queue => [queue, { count: 0, names: [] as string[] }]))
    for (const { worker, queues, lastAt } of workers)
      for (const [queue, polledAt] of Object.entries(queues)) {
        const found = pollers.get(queue)
        // `polledAt` is later than `lastAt` only if the clock of Redis was set back.
        if (found === undefined || now - Math.min(polledAt, lastAt) > AWAY_MS) continue
        found.count++
        if (found.names.length < MAX_WORKER_NAMES_PER_QUEUE && found.names.at(-1) !== worker)
          found.names.push(worker)
      }
    return pollers
  }

  /**
   * Starts or stops draining the workers of a name that poll only queues which the caller may use. Returns since when they
   * drain, and their queues.
   */
  async drain(
    worker: string,
    on: boolean,
    mayUse: (queues: readonly string[]) => boolean,
  ): Promise<{ since: number; queues: string[] }> {
    this.#cache = undefined // the worker may have arrived after the list was read
    const { workers } = await this.#list()
    const named = workers.filter(known => known.worker === worker).sort((a, b) => b.lastAt - a.lastAt)
    if (named.length === 0) throw workerNotFound(worker)
    const drained = named.filter(({ queues }) => mayUse(Object.keys(queues))).slice(0, MAX_DRAINED)
    if (drained.length === 0) throw pollsOtherQueues(worker)
    const items = drained.map(({ key }) => ({ name: key }))
    const since = await runShared(this.parts.store, "workersDrain", { on: on ? 1 : 0 }, items)
    if (since < 0) throw workerNotFound(worker)
    await this.refreshDrains()
    return { since, queues: [...new Set(drained.flatMap(({ queues }) => Object.keys(queues)))].sort() }
  }

  /** Reads which workers are draining, and answers their waiting polls. */
  async refreshDrains(): Promise<void> {
    const pairs = (await this.parts.store.command(["HGETALL", WORKERS_DRAINS])) as string[]
    const drains = new Map<string, number>()
    for (let i = 0; i < pairs.length; i += 2) drains.set(pairs[i]!, Number(pairs[i + 1]))
    this.#drains = drains
    if (drains.size > 0) this.parts.longPoll.dismiss(demand => this.isDraining(demand))
  }

  /** Writes what was seen to Redis; what could not be written is written by the next flush. */
  flush(): Promise<unknown> {
    return this.#flusher.flush()
  }

  close(): Promise<unknown> {
    return this.#flusher.close()
  }

  #sighting(key: string): Sighting | undefined {
    const found = this.#sightings.get(key)
    if (found !== undefined) return found
    if (this.#sightings.size >= MAX_WORKERS) return undefined
    const sighting: Sighting = {
      lastAt: performance.now(),
      queues: new Map(),
      done: 0,
      failed: 0,
      instance: "",
      host: "",
      version: "",
      concurrency: 0,
    }
    this.#sightings.set(key, sighting)
    return sighting
  }

  async #write(): Promise<void> {
    const all = [...this.#sightings]
    this.#sightings = new Map()
    for (let from = 0; from < all.length; from += MAX_WORKERS_PER_CALL) {
      const now = performance.now()
      const items = all.slice(from, from + MAX_WORKERS_PER_CALL).map(([key, sighting]) => {
        const { lastAt, done, failed, instance, host, version, concurrency } = sighting
        const agoByQueue = Object.fromEntries(
          [...sighting.queues].map(([queue, at]) => [queue, Math.round(now - at)]),
        )
        return {
          name: key,
          ago: Math.round(now - lastAt),
          queues: JSON.stringify(agoByQueue),
          done,
          failed,
          instance,
          host,
          version,
          concurrency: concurrency || "",
        }
      })
      try {
        const bounds = { retention: KEEP_MS, max_workers: MAX_WORKERS }
        await runShared(this.parts.store, "workersSeen", bounds, items)
        this.#cache = undefined
      } catch {
        this.#putBack(all.slice(from))
        return
      }
    }
  }

  #putBack(unwritten: readonly [string, Sighting][]): void {
    for (const [key, old] of unwritten) {
      const newer = this.#sightings.get(key)
      if (newer === undefined) {
        if (this.#sightings.size >= MAX_WORKERS) return
        this.#sightings.set(key, old)
        continue
      }
      newer.done += old.done
      newer.failed += old.failed
      newer.instance ||= old.instance
      newer.host ||= old.host
      newer.version ||= old.version
      newer.concurrency ||= old.concurrency
      for (const [queue, at] of old.queues) if (!newer.queues.has(queue)) newer.queues.set(queue, at)
    }
  }

  /** All workers by name. */
  async #list(): Promise<WorkerList> {
    if (this.#sightings.size > 0) await this.flush()
    const now = performance.now()
    if (this.#cache === undefined || now - this.#cache.readAt > CACHE_MS) {
      const cache = { readAt: now, list: this.#readList() }
      this.#cache = cache
      cache.list.catch(() => {
        if (this.#cache === cache) this.#cache = undefined
      })
    }
    return this.#cache.list
  }

  async #readList(): Promise<WorkerList> {
    const found = new Map<string, KnownWorker>()
    let now = 0
    for (let cursor = "0", first = true; first || cursor !== "0"; first = false) {
      const page = { cursor, count: MAX_WORKERS_PER_READ }
      const [time, next, ...workers] = await runShared(this.parts.store, "workersList", page)
      now = time
      cursor = next
      for (const [key, about, seenAt] of workers) {
        const [worker = "", , binding = ""] = key.split(" ")
        found.set(key, { ...JSON.parse(about), key, worker, binding, lastAt: Number(seenAt) })
      }
    }
    const workers = [...found.values()].sort((a, b) => (a.key < b.key ? -1 : 1))
    return { now, workers }
  }

  /** The tasks of these queues that each worker holds. */
  async #readHeld(queues: readonly string[]): Promise<Map<string, HeldTasks>> {
    const held = new Map<string, HeldTasks>()
    const bounds = { limit: MAX_LEASES_PER_CALL, most: MAX_LEASES_PER_QUEUE }
    await this.parts.scripts.inChunks(queues, async some => {
      let from = 0
      for (let at = 0; at < some.length; ) {
        const names = some.slice(at).join(" ")
        const [complete, read, ...holders] = await this.parts.scripts.call("leasesByWorker", some[at]!, {
          queues: names,
          from,
          ...bounds,
        })
        for (const [worker, count, queuesAndIds] of holders) {
          const tasks = held.get(worker) ?? { count: 0, ids: [] }
          tasks.count += count
          for (let i = 0; i < queuesAndIds.length && tasks.ids.length < MAX_TASK_IDS_PER_WORKER; i += 2)
            tasks.ids.push(joinId(queuesAndIds[i]!, queuesAndIds[i + 1]!))
          held.set(worker, tasks)
        }
        at += complete
        from = read
      }
    })
    return held
  }
}

/** Leaves out workers that are away if one of the same name and binding was seen later: an earlier run of the same worker. */
function withoutEarlierRuns(
  workers: readonly KnownWorker[],
  isAway: (worker: KnownWorker) => boolean,
): KnownWorker[] {
  const nameOf = ({ worker, binding }: KnownWorker) => `${worker} ${binding}`
  const latest = new Map<string, KnownWorker>()
  for (const known of workers) {
    const other = latest.get(nameOf(known))
    if (other === undefined || other.lastAt < known.lastAt) latest.set(nameOf(known), known)
  }
  return workers.filter(known => !isAway(known) || latest.get(nameOf(known)) === known)
}

function stateOf(isAway: boolean, holdsTasks: boolean, isDraining: boolean): WorkerState {
  if (isAway) return holdsTasks ? "stale" : "gone"
  return isDraining ? "draining" : "live"
}

/** How many attempts ended in the last 60 s. Those of the minute before are assumed to be spread evenly over it. */
function endedLastMinute({ minute = 0, ended = 0, ended_before = 0 }: KnownWorker, now: number): number {
  const [current, elapsed] = [Math.floor(now / MINUTE_MS), (now % MINUTE_MS) / MINUTE_MS]
  if (minute === current) return Math.round(ended + ended_before * (1 - elapsed))
  return minute === current - 1 ? Math.round(ended * (1 - elapsed)) : 0
}

const workerNotFound = (worker: string) =>
  new Refused("worker_not_found", { detail: `No worker named ${worker} was seen in the last 24 hours.` })

const pollsOtherQueues = (worker: string) =>
  new Refused("forbidden", {
    detail: `The token is bound to queues, so it may drain only workers that poll nothing but these queues. ${worker} has polled another queue, or none at all.`,
  })
