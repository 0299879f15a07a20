/**
 * One pass of the audit over all queues, or over one: it finds tasks and entries that are not where they belong, and
 * repairs them if asked to.
 *   1. SCAN the keys of every master in steps. lua/audit-queue.lua checks and repairs what the keys of a task show,
 *      and the entries of each sorted set that the scan finds.
 *   2. When a pass first finds a key of a queue, it reads the lists of that queue once into a Bloom filter: a list has
 *      no index, so looking up one id would scan the list. It reads from the tail: pushes and pops in between may
 *      repeat entries, and only a removal near the tail may hide some. A queued or done task that is not in the filter
 *      is a suspect. The filter hides about 1 in 1,700 of them; the next pass has another seed and finds these.
 *   3. A task that was queued while the lists were read is a suspect, too. So the lists are read once more, and the
 *      suspects found there are dropped: a task in the same state under the same lease cannot have left its list in between.
 *   4. The script checks the remaining suspects again and puts them into their lists. A second entry of a task does no
 *      harm: a lease drops it.
 * A pass is slow on purpose. In the background it processes 150 keys, about 1 ms of Redis' time, every 50 ms.
 */
import type { Log } from "../log.ts"
import { pause } from "../pause.ts"
import { type AnyQueueKey, keyOf, keyPattern, QUEUES, readKey } from "../redis/keys.ts"
import type { Scripts } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import { joinId } from "../task/id.ts"
import type { AuditAnswer, AuditFault } from "../wire/operating.ts"
import { BloomFilter } from "./bloom-filter.ts"
import type { QueueNames } from "./queue-names.ts"
import type { Sweeper } from "./sweeper.ts"

/** Keys or ids per step. */
const STEP = 150
const IDS_PER_READ = 1_000
/** How many suspects are held in memory. Above it they are checked before the pass continues. */
const MAX_SUSPECTS = 50_000
const SETS: ReadonlySet<AnyQueueKey> = new Set([
  "due",
  "leases",
  "done",
  "dead",
  "cancelled",
  "expiring",
  "waiting",
  "busy",
  "planned",
])
/** Schedules per step: their texts may be large. */
const SCHEDULES_STEP = 20
/** Keys of a queue that is not registered and need not be, unless it has others. All but the statistics expire. */
const KEYS_WITHOUT_USE: ReadonlySet<AnyQueueKey> = new Set(["stats", "record", "asked", "pace"])
const GROUP_FAULTS: ReadonlySet<AuditFault> = new Set(["no_turn", "stray_turn", "wrong_count", "not_listed"])
const GROUPED = Array.from({ length: 10 }, (_, priority) => `grouped${priority}`)
const PRIORITIES = Array.from({ length: 10 }, (_, priority) => String(priority))

export interface AuditParts {
  store: Store
  scripts: Scripts
  names: QueueNames
  sweeper: Sweeper
  log: Log
  /** The time between two background passes. 0: none. */
  intervalMs: number
  /** How long a done task is kept. */
  retentionMs: number
}

export interface AuditOptions {
  fix: boolean
  queue?: string | undefined
  signal: AbortSignal
  /** How long to wait after a step that took `stepMs`. */
  pauseMs(stepMs: number): number
}

interface AuditItem {
  what: AnyQueueKey | "unlisted" | "bytes" | "turn" | "grouped"
  id: string
  more: string | number
}

/** Turns of groups that the pass has seen in ready lists: by entry, a priority and a group, how many. */
type Turns = Map<string, number>

interface QueueProgress {
  /** When its audit began, by Redis' clock. */
  began: number
  listed: BloomFilter
  turns: Turns
  /** Queued and done tasks found in no list: id to lease. */
  suspects: Map<string, string>
  /** The bytes that the queue was recorded to hold when its audit began, and those counted by the pass; NaN: unknown. */
  recordedBytes: number
  countedBytes: number
}

export class AuditPass {
  readonly report: AuditAnswer = {
    complete: false,
    looked: { queues: 0, tasks: 0, payloads: 0, unique_keys: 0, entries: 0 },
    found: [],
  }
  /** Per queue: by how many bytes its recorded size exceeds the counted one. */
  readonly excessBytes = new Map<string, number>()
  readonly #queues = new Map<string, QueueProgress>()
  /** Faults reported so far: a SCAN may return a key twice. */
  readonly #reported = new Set<string>()
  #suspects = 0
  #work = 0
  #stepBegan = performance.now()

  constructor(
    private readonly parts: AuditParts,
    private readonly options: AuditOptions,
    /** `excessBytes` of the previous pass. */
    private readonly previousExcess?: ReadonlyMap<string, number>,
  ) {}

  async run(): Promise<void> {
    const { signal } = this.options
    for await (const keys of this.parts.store.keys(keyPattern(this.options.queue), STEP)) {
      await this.#inspectKeys(keys)
      if (this.#suspects > MAX_SUSPECTS) await this.#confirmSuspects()
      await this.#pace(Math.max(keys.length, STEP / 2))
      if (signal.aborted) return
    }
    await this.#confirmSuspects()
    await this.#checkTurns()
    await this.#checkBytes()
    this.report.complete = !signal.aborted
  }

  async #inspectKeys(keys: readonly string[]): Promise<void> {
    const { looked } = this.report
    const found = keys.map(readKey).filter(key => key !== undefined)
    const byQueue = Map.groupBy(found, key => key.queue)
    const unregistered = await this.#unregisteredOf(
      [...byQueue.keys()].filter(queue => !this.#queues.has(queue)),
    )
    for (const [queue, own] of byQueue) {
      // A page may have keys of a thousand queues, and each takes many calls.
      if (this.options.signal.aborted) return
      if (unregistered.has(queue)) {
        if (await this.#isUnused(queue, own)) continue
        if (this.options.fix) await this.parts.names.registerEvenIfFull(queue)
        this.#report("not_registered", queue, this.options.fix)
      }
      const progress = this.#queues.get(queue) ?? (await this.#startQueue(queue))
      const items: AuditItem[] = []
      for (const { name: what, id } of own) {
        if (what === "task") {
          looked.tasks++
          items.push({ what, id, more: progress.listed.has(id) ? 1 : 0 })
        } else if (what === "group") items.push({ what, id, more: progress.turns.get(id) ?? 0 })
        else if (what === "payload" || what === "unique") {
          looked[what === "payload" ? "payloads" : "unique_keys"]++
          items.push({ what, id, more: "" })
        } else if (SETS.has(what))
          await this.#inspectEntries(queue, what, this.#scan("ZSCAN", keyOf(queue, what), STEP))
        else if (what === "firsts")
          await this.#inspectEntries(queue, what, this.#scan("HSCAN", keyOf(queue, what), STEP))
        else if (what === "schedules")
          await this.#inspectEntries(queue, what, this.#scan("HSCAN", keyOf(queue, what), SCHEDULES_STEP))
        else if (what === "completed")
          await this.#inspectEntries(queue, what, this.#partsOf(keyOf(queue, what)))
      }
      await this.#check(queue, items)
    }
  }

  async #unregisteredOf(queues: readonly string[]): Promise<ReadonlySet<string>> {
    if (queues.length === 0) return new Set()
    const known = (await this.parts.store.command(["SMISMEMBER", QUEUES, ...queues])) as number[]
    return new Set(queues.filter((_, i) => known[i] === 0))
  }

  /** Whether a queue that is not registered, of which these keys were found, has no tasks. Removes the statistics of such a queue. */
  async #isUnused(queue: string, keys: readonly { name: AnyQueueKey }[]): Promise<boolean> {
    if (keys.some(({ name }) => !KEYS_WITHOUT_USE.has(name))) return false
    if (keys.every(({ name }) => name !== "stats")) return true
    const { fix } = this.options
    const answer = await this.parts.scripts.call("forget", queue, { polled: 0, fix: fix ? 1 : 0 })
    if (answer === "used") return false
    this.#report("stray_key", queue, fix)
    return true
  }

  /** At the first key of a queue: reads what is in its lists. */
  async #startQueue(queue: string): Promise<QueueProgress> {
    const { store, scripts } = this.parts
    this.report.looked.queues++
    const [began, recordedBytes] = await scripts.call("auditQueue", queue, {
      began: 0,
      fix: 0,
      retention: 0,
    })
    const sizes = await Promise.all(
      [keyOf(queue, "completed"), ...PRIORITIES.map(priority => keyOf(queue, "ready", priority))].map(key =>
        store.command(["LLEN", key]),
      ),
    )
    const grouped = (await store.command(["HMGET", keyOf(queue, "stats"), ...GROUPED])) as (string | null)[]
    const size = [...sizes, ...grouped].reduce((sum: number, size) => sum + Number(size), 0)
    const listed = new BloomFilter(Math.max(0, size))
    const turns: Turns = new Map()
    await this.#readLists(queue, id => listed.add(id), turns)
    const progress: QueueProgress = {
      began,
      listed,
      turns,
      suspects: new Map(),
      recordedBytes,
      countedBytes: 0,
    }
    this.#queues.set(queue, progress)
    return progress
  }

  /**
   * Reads the ready lists, what waits in groups, and the done tasks. The first ids of groups are read before their lists,
   * because one may move to its list during the read.
   */
  async #readLists(queue: string, onId: (id: string) => void, turns?: Turns): Promise<void> {
    for (const priority of PRIORITIES)
      await this.#readList(keyOf(queue, "ready", priority), id => {
        if (!id.startsWith("=")) onId(id)
        else if (turns !== undefined && turns.size < MAX_SUSPECTS) {
          const entry = priority + id.slice(1)
          turns.set(entry, (turns.get(entry) ?? 0) + 1)
        }
      })
    for await (const ids of this.#scan("HSCAN", keyOf(queue, "firsts"), STEP, "values")) ids.forEach(onId)
    for await (const entries of this.#scan("ZSCAN", keyOf(queue, "waiting"), STEP))
      for (const entry of entries) await this.#readList(keyOf(queue, "group", entry), onId)
    await this.#readList(keyOf(queue, "completed"), onId)
  }

  async #readList(key: string, onId: (id: string) => void): Promise<void> {
    for await (const ids of this.#partsOf(key)) {
      for (const id of ids) onId(id)
      await this.#pace(ids.length / 3 + 1)
    }
  }

  /** The entries of a list in parts, from the tail. */
  async *#partsOf(key: string): AsyncGenerator<string[]> {
    for (let end = -1, more = true; more && !this.options.signal.aborted; end -= IDS_PER_READ) {
      const command = ["LRANGE", key, end - IDS_PER_READ + 1, end] as const
      const ids = (await this.parts.store.command(command)) as string[]
      yield ids
      more = ids.length === IDS_PER_READ
    }
  }

  async #inspectEntries(queue: string, what: AnyQueueKey, parts: AsyncGenerator<string[]>): Promise<void> {
    for await (const ids of parts) {
      this.report.looked.entries += ids.length
      await this.#check(
        queue,
        ids.map(id =>
          what === "firsts"
            ? { what: "group", id, more: this.#queues.get(queue)!.turns.get(id) ?? 0 }
            : { what, id, more: "" },
        ),
      )
      await this.#pace(ids.length + 1)
    }
  }

  /** The members of a sorted set, or the fields or values of a hash, in parts. */
  async *#scan(
    command: "ZSCAN" | "HSCAN",
    key: string,
    count: number,
    part: "names" | "values" = "names",
  ): AsyncGenerator<string[]> {
    let cursor = "0"
    do {
      const reply = await this.parts.store.command([command, key, cursor, "COUNT", count])
      const [next, entries] = reply as [string, string[]]
      cursor = next
      yield entries.filter((_, i) => i % 2 === (part === "names" ? 0 : 1))
    } while (cursor !== "0" && !this.options.signal.aborted)
  }

  async #check(queue: string, all: readonly AuditItem[]): Promise<void> {
    const progress = this.#queues.get(queue)!
    const { fix } = this.options
    // ZSCAN returns a small set whole, whatever its COUNT.
    for (let from = 0; from < all.length; ) {
      const items = all.slice(from, from + STEP)
      const args = { began: progress.began, fix: fix ? 1 : 0, retention: this.parts.retentionMs }
      const reply = await this.parts.scripts.call("auditQueue", queue, args, items)
      const [, , counted, checked, ...faults] = reply
      from += checked
      progress.countedBytes += counted < 0 ? Number.NaN : counted
      for (const [index, fault, mended, lease] of faults) {
        const { what, id } = items[index]!
        if (fault === "not_listed" && what === "task") {
          progress.suspects.set(id, lease)
          this.#suspects++
        } else
          this.#report(
            fault,
            id === "" || what === "bytes" ? queue : joinId(queue, id.replace("\n", "/")),
            mended === 1,
          )
      }
      if (faults.some(([, , mended]) => mended === 1)) this.parts.sweeper.sweepIn(queue, 0)
      if (checked < items.length) await this.#pace(STEP) // it was as much work as a whole step
    }
  }

  /** Reads the lists again, and has the script check the suspects that are still in none. */
  async #confirmSuspects(): Promise<void> {
    for (const [queue, { suspects }] of this.#queues) {
      if (suspects.size === 0) continue
      await this.#readLists(queue, id => suspects.delete(id))
      if (this.options.signal.aborted) return
      // Ids sort by creation time, so the tasks return to their lists in the order in which they were created.
      const items = [...suspects].sort(([a], [b]) => (a < b ? -1 : 1))
      suspects.clear()
      for (let from = 0; from < items.length; from += STEP) {
        await this.#check(
          queue,
          items.slice(from, from + STEP).map(([id, lease]) => ({ what: "unlisted", id, more: lease })),
        )
        await this.#pace(STEP)
      }
    }
    this.#suspects = 0
  }

  /** Turns in ready lists need a list of their group; then the counts, which depend on all that was repaired. */
  async #checkTurns(): Promise<void> {
    for (const [queue, { turns }] of this.#queues) {
      if (this.options.signal.aborted) return
      await this.#check(
        queue,
        [...turns.keys()].map(id => ({ what: "turn", id, more: "" })),
      )
      // Without repairs, each fault of a turn or list would be reported as a wrong count as well.
      if (this.options.fix || !this.report.found.some(({ kind }) => GROUP_FAULTS.has(kind)))
        await this.#check(queue, [{ what: "grouped", id: "", more: "" }])
    }
  }

  async #checkBytes(): Promise<void> {
    const isLimited = this.parts.scripts.limits.bytes > 0
    for (const [queue, { recordedBytes, countedBytes }] of this.#queues) {
      const excess = recordedBytes - countedBytes
      if (excess === 0 || Number.isNaN(excess) || this.options.signal.aborted) continue
      if (isLimited && excess !== this.previousExcess?.get(queue)) this.excessBytes.set(queue, excess)
      else await this.#check(queue, [{ what: "bytes", id: String(excess), more: "" }])
    }
  }

  #report(kind: AuditFault, sample: string, mended: boolean): void {
    const name = `${kind} ${sample}`
    if (this.#reported.has(name)) return
    if (this.#reported.size < MAX_SUSPECTS) this.#reported.add(name)
    let entry = this.report.found.find(entry => entry.kind === kind)
    if (entry === undefined) {
      entry = { kind, count: 0, mended: 0, sample }
      this.report.found.push(entry)
    }
    entry.count++
    if (mended) entry.mended++
  }

  /** Pauses after each step's worth of work. */
  async #pace(work: number): Promise<void> {
    this.#work += work
    if (this.#work < STEP) return
    await pause(this.options.pauseMs(performance.now() - this.#stepBegan), this.options.signal)
    this.#work = 0
    this.#stepBegan = performance.now()
  }
}
