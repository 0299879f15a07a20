/**
 * The self-audit: does each task stand where its state says, and nothing that belongs to none? After a partial
 * restore, a lost file or a bug, tasks would else wait for ever in no list. A pass:
 *   1. SCANs the keys of every master, some at a time; what a task's key alone tells is judged and mended by
 *      lua/audit-queue.lua, as are the entries of each sorted set that it meets.
 *   2. A ready list has no index: one look-up costs a scan of it. So when a queue is first met, its lists are read
 *      once, from the tail (what is pushed and popped meanwhile shifts nothing there), into a Bloom filter: 16 bits an
 *      id. A queued task that is not in it is a suspect. About 1 in 1,700 orphans is passed over so; each pass
 *      draws another seed, so that the next one finds it.
 *   3. What became queued while the lists were read is a suspect, too. So they are read once more, and what is found
 *      then is none. A task that is queued under the same lease as before cannot have left its list meanwhile.
 *   4. The script checks the rest again and puts it into its list. A second entry would do no harm: lease drops it.
 * Every broker audits, without a lock. A pass is slow on purpose: 150 keys, about 1 ms of Redis' time, in 50 ms.
 */
import type { Refused } from "../errors.ts"
import type { Log } from "../log.ts"
import { pause } from "../pause.ts"
import { keyOf, keysOf, QUEUES, type QueueKey, readKey } from "../redis/keys.ts"
import type { Scripts } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import { joinId } from "../task/id.ts"
import type { AuditAnswer, Fault } from "../wire/operating.ts"

/** Keys or ids in one step. */
const STEP = 150
const PAUSE_MS = 50
const LIST_CHUNK = 1_000
/** Suspects that are held at a time; past it they are looked at before the pass goes on. */
const MAX_SUSPECTS = 50_000
/** Until the first pass after a start, or after Redis was away, so that a restore is mended soon. */
const SOON_MS = 20_000
const SETS: ReadonlySet<QueueKey> = new Set(["due", "leases", "done", "dead", "cancelled", "expiring"])

export interface AuditorParts {
  store: Store
  scripts: Scripts
  log: Log
  /** From one pass to the next; 0: none by itself. */
  intervalMs: number
  /** How long a done task is kept. */
  retentionMs: number
  register(queue: string): Promise<void>
  /** Something in this queue is due at once. */
  mended(queue: string): void
}

export interface AuditOptions {
  fix: boolean
  queue?: string | undefined
  signal: AbortSignal
  /** How long to wait after a step that took so many ms. */
  pauseMs(took: number): number
}

export class Auditor {
  readonly #closed = new AbortController()
  #timer: Timer | undefined
  #running = false

  constructor(private readonly parts: AuditorParts) {
    this.soon()
  }

  /** A pass within a minute. */
  soon(): void {
    this.#arm(SOON_MS)
  }

  close(): void {
    this.#closed.abort()
    clearTimeout(this.#timer)
  }

  /** One pass at half speed: it works, then waits for as long. */
  run(fix: boolean, queue: string | undefined, signal: AbortSignal): Promise<AuditAnswer> {
    return this.#audit({
      ...{ fix, queue, pauseMs: took => took },
      signal: AbortSignal.any([signal, this.#closed.signal]),
    })
  }

  /**
   * Bytes that are counted while tasks move may be wrong: some are deleted before they are met. So only what two
   * passes agree on is believed, and only the difference is written.
   */
  async #audit(options: AuditOptions): Promise<AuditAnswer> {
    const first = new Pass(this.parts, options)
    await first.run()
    if (first.excess.size === 0) return first.report
    const second = new Pass(this.parts, options, first.excess)
    await second.run()
    const bytes = second.report.found.filter(({ kind }) => kind === "wrong_bytes")
    return { ...first.report, found: [...first.report.found, ...bytes] }
  }

  #arm(ms: number): void {
    const { intervalMs } = this.parts
    clearTimeout(this.#timer)
    if (intervalMs === 0 || this.#closed.signal.aborted) return
    const jitter = 0.75 + Math.random() / 2
    this.#timer = setTimeout(() => void this.#inBackground(), Math.min(ms, intervalMs) * jitter).unref()
  }

  async #inBackground(): Promise<void> {
    const { log, intervalMs } = this.parts
    if (this.#running) return this.soon()
    this.#running = true
    try {
      const signal = this.#closed.signal
      const { looked, found } = await this.#audit({ fix: true, signal, pauseMs: () => PAUSE_MS })
      for (const { kind, count, mended, sample } of found)
        log.warn("The audit has found what should not be", { kind, count, mended, sample })
      log.debug("The audit is over", looked)
    } catch (error) {
      // Mostly Redis is away, which its connection has told.
      log.debug("The audit was broken off", { error: (error as Refused).message })
    }
    this.#running = false
    this.#arm(intervalMs)
  }
}

interface Item {
  what: QueueKey | "unlisted" | "bytes"
  id: string
  more: string | number
}

/** What polls, records and settings leave of a queue that nobody has ever submitted to: it need not be registered. */
const WITHOUT_TASKS: ReadonlySet<string> = new Set(["stats", "record", "settings"])

interface QueuePass {
  /** Whether it is, or has been told of. */
  registered: boolean
  /** By Redis' clock. */
  began: number
  listed: Filter
  /** By id: the lease under which a queued task was in no list. */
  suspects: Map<string, string>
  /** What the queue was said to hold when this began, and what it did hold by what was met. */
  bytes: number
  counted: number
}

class Pass {
  readonly report: AuditAnswer = {
    complete: false,
    looked: { queues: 0, tasks: 0, payloads: 0, unique_keys: 0, entries: 0 },
    found: [],
  }
  /** By queue: how many bytes too many it is said to hold. */
  readonly excess = new Map<string, number>()
  readonly #queues = new Map<string, QueuePass>()
  /** What was told already, as a SCAN may give a key twice. */
  readonly #told = new Set<string>()
  #suspects = 0
  #work = 0
  #stepBegan = performance.now()

  constructor(
    private readonly parts: AuditorParts,
    private readonly options: AuditOptions,
    /** What the pass before found. */
    private readonly before?: ReadonlyMap<string, number>,
  ) {}

  async run(): Promise<void> {
    const { signal } = this.options
    for await (const keys of this.parts.store.keys(keysOf(this.options.queue), STEP)) {
      await this.#look(keys)
      if (this.#suspects > MAX_SUSPECTS) await this.#confirm()
      await this.#pace(Math.max(keys.length, STEP / 2))
      if (signal.aborted) return
    }
    await this.#confirm()
    await this.#checkBytes()
    this.report.complete = !signal.aborted
  }

  async #look(keys: readonly string[]): Promise<void> {
    const { looked } = this.report
    const found = keys.map(readKey).filter(key => key !== undefined)
    for (const [queue, own] of Map.groupBy(found, key => key.queue)) {
      const pass = this.#queues.get(queue) ?? (await this.#meet(queue))
      if (!pass.registered && own.some(({ name }) => !WITHOUT_TASKS.has(name)))
        await this.#register(queue, pass)
      const { listed } = pass
      const items: Item[] = []
      for (const { name: what, id } of own) {
        if (what === "task") {
          looked.tasks++
          items.push({ what, id, more: listed.has(id) ? 1 : 0 })
        } else if (what === "payload" || what === "unique") {
          looked[what === "payload" ? "payloads" : "unique_keys"]++
          items.push({ what, id, more: "" })
        } else if (SETS.has(what)) await this.#lookAtSet(queue, what)
      }
      await this.#check(queue, items)
    }
  }

  async #register(queue: string, pass: QueuePass): Promise<void> {
    pass.registered = true
    if (this.options.fix) await this.parts.register(queue)
    this.#tell("not_registered", queue, this.options.fix)
  }

  /** The first key of a queue: whether it is registered, and what is in its ready lists. */
  async #meet(queue: string): Promise<QueuePass> {
    const { store, scripts } = this.parts
    this.report.looked.queues++
    const registered = (await store.command(["SISMEMBER", QUEUES, queue])) === 1
    const [began, bytes] = await scripts.call("auditQueue", queue, { began: 0, fix: 0, retention: 0 })
    const sizes = await Promise.all(PRIORITIES.map(at => store.command(["LLEN", keyOf(queue, "ready", at)])))
    const listed = new Filter(sizes.reduce((sum: number, size) => sum + Number(size), 0))
    await this.#readLists(queue, id => listed.add(id))
    const met = { registered, began, bytes, listed, suspects: new Map<string, string>(), counted: 0 }
    this.#queues.set(queue, met)
    return met
  }

  async #readLists(queue: string, each: (id: string) => void): Promise<void> {
    for (const priority of PRIORITIES) {
      const key = keyOf(queue, "ready", priority)
      for (let end = -1, more = true; more && !this.options.signal.aborted; end -= LIST_CHUNK) {
        const ids = (await this.parts.store.command(["LRANGE", key, end - LIST_CHUNK + 1, end])) as string[]
        for (const id of ids) each(id)
        more = ids.length === LIST_CHUNK
        await this.#pace(ids.length / 3 + 1)
      }
    }
  }

  async #lookAtSet(queue: string, what: QueueKey): Promise<void> {
    let cursor = "0"
    do {
      const command = ["ZSCAN", keyOf(queue, what), cursor, "COUNT", STEP] as const
      const [next, entries] = (await this.parts.store.command(command)) as [string, string[]]
      cursor = next
      const ids = entries.filter((_, i) => i % 2 === 0)
      this.report.looked.entries += ids.length
      await this.#check(
        queue,
        ids.map(id => ({ what, id, more: "" })),
      )
      await this.#pace(ids.length + 1)
    } while (cursor !== "0" && !this.options.signal.aborted)
  }

  async #check(queue: string, all: readonly Item[]): Promise<void> {
    const met = this.#queues.get(queue)!
    const { fix } = this.options
    // A small hash or set comes whole from a SCAN, whatever its COUNT.
    for (let from = 0; from < all.length; from += STEP) {
      const items = all.slice(from, from + STEP)
      const args = { began: met.began, fix: fix ? 1 : 0, retention: this.parts.retentionMs }
      const [, , counted, ...faults] = await this.parts.scripts.call("auditQueue", queue, args, items)
      met.counted += counted
      for (const [index, fault, mended, lease] of faults) {
        const { what, id } = items[index]!
        if (fault === "not_listed" && what === "task") {
          met.suspects.set(id, lease)
          this.#suspects++
        } else this.#tell(fault, what === "bytes" ? queue : joinId(queue, id), mended === 1)
      }
      if (faults.some(([, , mended]) => mended === 1)) this.parts.mended(queue)
    }
  }

  /** Whoever is in no list at the second look either. */
  async #confirm(): Promise<void> {
    for (const [queue, { suspects }] of this.#queues) {
      if (suspects.size === 0) continue
      await this.#readLists(queue, id => suspects.delete(id))
      if (this.options.signal.aborted) return
      // Ids sort by time: they come back in the order in which they were made.
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

  async #checkBytes(): Promise<void> {
    const limited = this.parts.scripts.limits.bytes > 0
    for (const [queue, { bytes, counted }] of this.#queues) {
      const excess = bytes - counted
      if (excess === 0 || this.options.signal.aborted) continue
      if (limited && excess !== this.before?.get(queue)) this.excess.set(queue, excess)
      else await this.#check(queue, [{ what: "bytes", id: String(excess), more: "" }])
    }
  }

  #tell(kind: Fault, sample: string, mended: boolean): void {
    const name = `${kind} ${sample}`
    if (this.#told.has(name)) return
    if (this.#told.size < MAX_SUSPECTS) this.#told.add(name)
    let entry = this.report.found.find(one => one.kind === kind)
    if (entry === undefined) {
      entry = { kind, count: 0, mended: 0, sample }
      this.report.found.push(entry)
    }
    entry.count++
    if (mended) entry.mended++
  }

  /** Waits when a step's worth of work is done. */
  async #pace(work: number): Promise<void> {
    this.#work += work
    if (this.#work < STEP) return
    await pause(this.options.pauseMs(performance.now() - this.#stepBegan), this.options.signal)
    this.#work = 0
    this.#stepBegan = performance.now()
  }
}

const PRIORITIES = Array.from({ length: 10 }, (_, priority) => String(priority))

/** A Bloom filter: whether an id may have been added. Of 1,700 that were not, it takes one for added. */
class Filter {
  static readonly #BITS_AN_ID = 16
  static readonly #HASHES = 8
  readonly #seed = Math.floor(Math.random() * 2 ** 32)
  readonly #bits: Uint8Array
  readonly #size: number

  constructor(expected: number) {
    this.#size = Math.max(1_024, expected * Filter.#BITS_AN_ID)
    this.#bits = new Uint8Array(Math.ceil(this.#size / 8))
  }

  add(id: string): void {
    this.#each(id, (byte, bit) => {
      this.#bits[byte]! |= bit
      return true
    })
  }

  has(id: string): boolean {
    return this.#each(id, (byte, bit) => (this.#bits[byte]! & bit) !== 0)
  }

  /** Whether it holds of every place of this id. Two hashes make all. */
  #each(id: string, holds: (byte: number, bit: number) => boolean): boolean {
    const step = Bun.hash.xxHash32(id, this.#seed ^ 0x5bd1e995)
    let at = Bun.hash.xxHash32(id, this.#seed)
    for (let i = 0; i < Filter.#HASHES; i++, at += step) {
      const place = at % this.#size
      if (!holds(Math.floor(place / 8), 1 << (place % 8))) return false
    }
    return true
  }
}
