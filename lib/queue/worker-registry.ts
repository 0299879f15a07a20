/**
 * The workers that give their names: when they were seen, what they did, and which of them are to end.
 *   1. A request costs look-ups in a Map. What was seen is put into Redis every few seconds, many workers in a call,
 *      where it is added to what other brokers saw; where no worker asks, nothing is written.
 *   2. Which workers are to end stands in Redis, and every broker has it in memory: it reads it when it starts, when it is
 *      told of a change, after a gap in which it may have missed one, and now and then.
 *   3. What a worker has in hand is read from the live leases, not counted: so it is right whoever has died.
 */
import { Refused } from "../errors.ts"
import drain from "../lua/workers-drain.lua" with { type: "text" }
import known from "../lua/workers-list.lua" with { type: "text" }
import seen from "../lua/workers-seen.lua" with { type: "text" }
import { DRAINS_CHANNEL, WORKERS, WORKERS_DRAINS, WORKERS_SEEN } from "../redis/keys.ts"
import { prepareScript, type Scripts } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import { joinId } from "../task/id.ts"
import type { Leased, Settled } from "../task/task.ts"
import type { WorkerState, WorkerView } from "../wire/managing.ts"
import type { Demand } from "./long-poll.ts"

const FLUSH_MS = 3_000
/** Workers in one call: some 1 ms of Redis' time. */
const A_CALL = 100
/** Workers that are remembered, between two flushes here and in all; and tasks whose worker is. */
const MOST = 10_000
/** How long a worker is known after it was last seen. */
const KEEP_MS = 86_400_000
/** What was read of the workers serves so long: who watches a page of queues asks for all of them at once. */
const FRESH_MS = 500
/** Not seen for longer, a worker is away: it waits 20 s at most, and extends leases every 10 s as they are by default. */
const AWAY_MS = 60_000
const WORKERS_A_READ = 1_000
const LEASES_A_CALL = 1_000
/** Live leases of one queue that are looked at. */
const MOST_LEASES = 10_000
const QUEUES_AT_ONCE = 100
const MOST_IDS = 10
const MOST_NAMES = 20

const SEEN = prepareScript(seen)
const KNOWN = prepareScript(known)
const DRAIN = prepareScript(drain)

/** Who asks, as told with the request; "": without a name. */
export type Asker = Pick<Demand, "worker" | "instance" | "host" | "version">

/** What was seen of one worker since the last flush. Times by performance.now(). */
interface Sighting {
  at: number
  queues: Map<string, number>
  done: number
  failed: number
  instance: string
  host: string
  version: string
}

/** What all brokers have seen of it. */
interface Known {
  worker: string
  lastAt: number
  first: number
  done: number
  failed: number
  instance?: string
  host?: string
  version?: string
  queues: Readonly<Record<string, number>>
}

interface Parts {
  store: Store
  scripts: Scripts
  /** Ends the waiting of those for tasks. */
  dismiss(whose: (demand: Demand) => boolean): void
}

export class WorkerRegistry {
  #sightings = new Map<string, Sighting>()
  /** Who has a task that was handed out here, by its id, where the ack will not tell. */
  readonly #handed = new Map<string, { worker: string; lease: string }>()
  #drains = new Map<string, { since: number; instance: string }>()
  #timer: Timer | undefined
  #flushed: Promise<unknown> = Promise.resolve()
  #read: { at: number; all: Promise<{ now: number; workers: Known[] }> } | undefined

  constructor(private readonly parts: Parts) {}

  /** A request of this worker, which asks for tasks of these queues, if of any. */
  saw({ worker, instance = "", host = "", version = "" }: Asker, queues: readonly string[] = []): void {
    if (worker === "") return
    const sighting = this.#sighting(worker)
    if (sighting === undefined) return
    const now = performance.now()
    sighting.at = now
    for (const queue of queues) sighting.queues.set(queue, now)
    if (instance !== "") sighting.instance = instance
    if (host !== "") sighting.host = host
    if (version !== "") sighting.version = version
  }

  /** Whether this worker is to end. Who began under its name after it was told is another, by its instance. */
  drains({ worker, instance = "" }: Asker): boolean {
    return this.#drains.get(worker)?.instance === instance
  }

  /** Its acks may not name the worker. */
  handed(worker: string, tasks: readonly Leased[]): void {
    if (worker === "") return
    for (const { id, lease } of tasks) {
      if (this.#handed.size >= MOST) this.#handed.delete(this.#handed.keys().next().value!)
      this.#handed.set(id, { worker, lease })
    }
  }

  /** `worker`: who says so; "": whoever got the task here. */
  ended(worker: string, { id, word }: Settled, lease: string | undefined): void {
    const had = this.#handed.get(id)
    if (had !== undefined) this.#handed.delete(id)
    const name = worker || (had !== undefined && (lease ?? had.lease) === had.lease ? had.worker : "")
    if (name === "" || word === "released" || word === "cancelled") return
    const sighting = this.#sighting(name)
    if (sighting === undefined) return
    if (word === "acknowledged") sighting.done++
    else sighting.failed++
  }

  /** A page of the workers by name, those after `cursor`; of these queues, or of all. */
  async page({
    queues,
    limit,
    cursor = "",
  }: {
    queues?: readonly string[] | undefined
    limit: number
    cursor?: string | undefined
  }): Promise<{ workers: WorkerView[]; next: string | undefined }> {
    const { now, workers } = await this.#all()
    const of = queues && new Set(queues)
    const asked = ({ queues }: Known) =>
      Object.keys(queues).filter(queue => of === undefined || of.has(queue))
    const found = workers.filter(one => one.worker > cursor && (of === undefined || asked(one).length > 0))
    const page = found.slice(0, limit)
    const held = await this.#held([...new Set(page.flatMap(asked))])
    const views = page.map((one): WorkerView => {
      const { count, ids } = held.get(one.worker) ?? { count: 0, ids: [] }
      const { worker, host, version, lastAt, first, done, failed, instance = "" } = one
      const drain = this.#drains.get(worker)
      const drains = drain?.instance === instance
      return {
        worker,
        state: stateOf(now - lastAt > AWAY_MS, count > 0, drains),
        ...(host === undefined ? {} : { host }),
        ...(version === undefined ? {} : { version }),
        queues: asked(one).sort(),
        first_seen_at: first,
        last_seen_at: lastAt,
        in_hand: count,
        tasks: ids,
        done,
        failed,
        ...(drains ? { draining_since: drain.since } : {}),
      }
    })
    return { workers: views, next: found.length > limit ? page.at(-1)!.worker : undefined }
  }

  /** Of each of these queues, who asked it for tasks in the last minute. */
  async polled(queues: readonly string[]): Promise<Map<string, { count: number; names: string[] }>> {
    const { now, workers } = await this.#all()
    const of = new Map(queues.map(queue => [queue, { count: 0, names: [] as string[] }]))
    for (const { worker, queues } of workers)
      for (const [queue, at] of Object.entries(queues)) {
        const found = of.get(queue)
        if (found === undefined || now - at > AWAY_MS) continue
        found.count++
        if (found.names.length < MOST_NAMES) found.names.push(worker)
      }
    return of
  }

  /** Has the worker end, or not any more. Answers since when. `mayUse` is asked for the queues that it works on. */
  async drain(worker: string, on: boolean, mayUse: (queues: readonly string[]) => void): Promise<number> {
    this.#read = undefined // it may have come just now
    const { workers } = await this.#all()
    const found = workers.find(one => one.worker === worker)
    if (found === undefined) throw unknown(worker)
    mayUse(Object.keys(found.queues))
    const keys = [WORKERS, WORKERS_DRAINS, DRAINS_CHANNEL]
    const since = (await this.parts.store.run(DRAIN, keys, [worker, on ? 1 : 0], true)) as number
    if (since < 0) throw unknown(worker)
    await this.learn()
    return since
  }

  /** Reads which workers are to end, and sends those home that wait here. */
  async learn(): Promise<void> {
    const flat = (await this.parts.store.command(["HGETALL", WORKERS_DRAINS])) as string[]
    const drains = new Map<string, { since: number; instance: string }>()
    for (let i = 0; i < flat.length; i += 2) {
      const [since, instance = ""] = flat[i + 1]!.split(" ")
      drains.set(flat[i]!, { since: Number(since), instance })
    }
    this.#drains = drains
    if (drains.size > 0) this.parts.dismiss(demand => this.drains(demand))
  }

  /** Puts what was seen into Redis. Where that fails it is tried again. */
  flush(): Promise<unknown> {
    this.#flushed = this.#flushed.then(() => this.#write())
    return this.#flushed
  }

  /** With what was seen last. */
  close(): Promise<unknown> {
    clearTimeout(this.#timer)
    return this.flush()
  }

  #sighting(worker: string): Sighting | undefined {
    const found = this.#sightings.get(worker)
    if (found !== undefined) return found
    if (this.#sightings.size >= MOST) return undefined
    const at = performance.now()
    const fresh = { at, queues: new Map(), done: 0, failed: 0, instance: "", host: "", version: "" }
    this.#sightings.set(worker, fresh)
    this.#soon()
    return fresh
  }

  #soon(): void {
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined
        void this.flush()
      },
      FLUSH_MS * (0.75 + Math.random() / 2),
    ).unref()
  }

  async #write(): Promise<void> {
    const all = [...this.#sightings]
    this.#sightings = new Map()
    for (let from = 0; from < all.length; from += A_CALL) {
      const now = performance.now()
      const some = all.slice(from, from + A_CALL).flatMap(([worker, of]) => {
        const queues = Object.fromEntries([...of.queues].map(([queue, at]) => [queue, Math.round(now - at)]))
        const { done, failed, instance, host, version } = of
        const asked = JSON.stringify(queues)
        return [worker, Math.round(now - of.at), asked, done, failed, instance, host, version]
      })
      try {
        const keys = [WORKERS, WORKERS_SEEN, WORKERS_DRAINS]
        await this.parts.store.run(SEEN, keys, [KEEP_MS, MOST, ...some], false)
        this.#read = undefined
      } catch {
        this.#putBack(all.slice(from))
        return
      }
    }
  }

  #putBack(all: readonly [string, Sighting][]): void {
    for (const [worker, of] of all) {
      const now = this.#sightings.get(worker)
      if (now === undefined) {
        if (this.#sightings.size >= MOST) return
        // As it was: it has not been seen since.
        this.#sightings.set(worker, of)
        this.#soon()
        continue
      }
      now.done += of.done
      now.failed += of.failed
      now.instance ||= of.instance
      now.host ||= of.host
      now.version ||= of.version
      for (const [queue, at] of of.queues) if (!now.queues.has(queue)) now.queues.set(queue, at)
    }
  }

  /** All workers by name. */
  async #all(): Promise<{ now: number; workers: Known[] }> {
    if (this.#sightings.size > 0) await this.flush()
    const at = performance.now()
    if (this.#read === undefined || at - this.#read.at > FRESH_MS) {
      const read = { at, all: this.#readAll() }
      this.#read = read
      read.all.catch(() => {
        if (this.#read === read) this.#read = undefined
      })
    }
    return this.#read.all
  }

  async #readAll(): Promise<{ now: number; workers: Known[] }> {
    const found = new Map<string, Known>()
    let now = 0
    for (let cursor = "0", first = true; first || cursor !== "0"; first = false) {
      const keys = [WORKERS, WORKERS_SEEN]
      const reply = await this.parts.store.run(KNOWN, keys, [cursor, WORKERS_A_READ], false)
      const [time, next, ...flat] = reply as [number, string, ...string[]]
      now = time
      cursor = next
      for (let i = 0; i < flat.length; i += 3) {
        const worker = flat[i]!
        found.set(worker, { ...JSON.parse(flat[i + 1]!), worker, lastAt: Number(flat[i + 2]) })
      }
    }
    const workers = [...found.values()].sort((a, b) => (a.worker < b.worker ? -1 : 1))
    return { now, workers }
  }

  /** What each worker has in hand of these queues. */
  async #held(queues: readonly string[]): Promise<Map<string, { count: number; ids: string[] }>> {
    const held = new Map<string, { count: number; ids: string[] }>()
    for (let at = 0; at < queues.length; at += QUEUES_AT_ONCE)
      await Promise.all(queues.slice(at, at + QUEUES_AT_ONCE).map(queue => this.#heldOf(queue, held)))
    return held
  }

  async #heldOf(queue: string, held: Map<string, { count: number; ids: string[] }>): Promise<void> {
    for (let from = 0, looked = LEASES_A_CALL; looked === LEASES_A_CALL && from < MOST_LEASES; ) {
      const limit = LEASES_A_CALL
      const [count, ...holders] = await this.parts.scripts.call("leasesByWorker", queue, { from, limit })
      for (const [worker, more, ids] of holders) {
        const of = held.get(worker) ?? { count: 0, ids: [] }
        of.count += more
        for (const id of ids) if (of.ids.length < MOST_IDS) of.ids.push(joinId(queue, id))
        held.set(worker, of)
      }
      looked = count
      from += count
    }
  }
}

function stateOf(away: boolean, holds: boolean, drains: boolean): WorkerState {
  if (away) return holds ? "stale" : "gone"
  return drains ? "draining" : "live"
}

const unknown = (worker: string) =>
  new Refused("worker_not_found", { detail: `No worker ${worker} was seen in the last day.` })
