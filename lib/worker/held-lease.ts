import { type Extend, type LeasedTask, MAX_CHECKPOINT_BYTES, MAX_PROGRESS_BYTES } from "../wire/working.ts"

const MAX_LOG_LINES = 20
const MAX_LINE_LENGTH = 500
/** Progress and log lines wait this long for company; a checkpoint, which its handler waits for, does not. */
const BATCH_UPDATES_MS = 1_000

/** A reason of a handler's signal: another worker may have the task now. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost"
}

/** A reason of a handler's signal: somebody cancelled the task. */
export class TaskCancelled extends Error {
  override readonly name = "TaskCancelled"
}

/** What is to be told. */
interface Update {
  /** By performance.now(). */
  sendAt: number
  progress?: unknown
  checkpoint?: unknown
  log: string[]
  /** Those who wait for their checkpoint to be kept. */
  waiting: PromiseWithResolvers<void>[]
}

export class HeldLease {
  readonly #abort = new AbortController()
  readonly #endsAt: number
  /** By performance.now(), as all times here. */
  lapsesAt: number
  extendAt: number
  #update: Update | undefined
  #sent: Update | undefined
  #closed = false
  /** Set once the lease is lost. */
  lost: LeaseLost | undefined

  constructor(
    readonly task: LeasedTask,
    /** Called when there is news to tell. */
    private readonly onUpdate: () => void,
  ) {
    const now = performance.now()
    // However often it is extended, the broker ends the attempt then.
    this.#endsAt = now + (task.max_runtime_ms ?? Number.POSITIVE_INFINITY)
    this.lapsesAt = Math.min(now + task.timeout_ms, this.#endsAt)
    this.extendAt = now + task.timeout_ms / 3
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  /** Tells the handler to let go. The first reason stands. */
  abort(reason: Error): void {
    this.#abort.abort(reason)
  }

  /** When there is news to tell; Infinity: there is none. */
  get updateAt(): number {
    return this.#update?.sendAt ?? Number.POSITIVE_INFINITY
  }

  get lapseReason(): string {
    return this.lapsesAt === this.#endsAt
      ? "its max_runtime_ms are over"
      : "its time ran out before the broker gave it more"
  }

  /** Whether the request under way carries news. */
  get hasSentUpdate(): boolean {
    return this.#sent !== undefined
  }

  progress(value: unknown): void {
    const copy = jsonCopy("progress", value, MAX_PROGRESS_BYTES)
    if (!this.#closed) this.#collect(BATCH_UPDATES_MS).progress = copy
  }

  log(line: string): void {
    if (this.#closed) return
    const { log } = this.#collect(BATCH_UPDATES_MS)
    log.push(line.slice(0, MAX_LINE_LENGTH).toWellFormed())
    if (log.length > MAX_LOG_LINES) log.shift()
  }

  checkpoint(value: unknown): Promise<void> {
    const kept = Promise.withResolvers<void>()
    // Not every handler waits for it.
    kept.promise.catch(() => {})
    try {
      const copy = jsonCopy("checkpoint", value, MAX_CHECKPOINT_BYTES)
      if (this.#closed) throw this.lost ?? new Error("not kept: the attempt is over")
      const news = this.#collect(0)
      news.checkpoint = copy
      news.waiting.push(kept)
    } catch (error) {
      kept.reject(error)
    }
    return kept.promise
  }

  /** The item of a request that leaves now. */
  takeExtension(): Extend {
    const { id, lease } = this.task
    const { sendAt: _, waiting: __, log = [], ...values } = this.#update ?? {}
    this.#sent = this.#update
    this.#update = undefined
    return { task_id: id, lease, ...values, ...(log.length > 0 ? { log } : {}) }
  }

  /** The broker has done what the request that left at `sentAt` asked. */
  markExtended(sentAt: number): void {
    this.lapsesAt = Math.min(sentAt + this.task.timeout_ms, this.#endsAt)
    this.extendAt = sentAt + this.task.timeout_ms / 3
    for (const { resolve } of this.#sent?.waiting ?? []) resolve()
    this.#sent = undefined
  }

  /** It is not known whether the broker has done it: what was told is told again, `againMs` from now. */
  retryUpdate(againMs: number): void {
    const [sent, news] = [this.#sent, this.#update]
    this.#sent = undefined
    if (sent !== undefined)
      this.#update = {
        ...sent,
        ...news,
        sendAt: sent.sendAt,
        log: [...sent.log, ...(news?.log ?? [])].slice(-MAX_LOG_LINES),
        waiting: [...sent.waiting, ...(news?.waiting ?? [])],
      }
    // However long the broker asks to be left alone: after the lease has lapsed is too late.
    this.extendAt = performance.now() + Math.min(againMs, this.task.timeout_ms / 6)
  }

  /** What was to be told will not be: the broker does not take it, or nobody may tell it any more. */
  dropUpdate(why: Error): void {
    for (const news of [this.#sent, this.#update]) for (const { reject } of news?.waiting ?? []) reject(why)
    this.#sent = undefined
    this.#update = undefined
  }

  /** The attempt is over: what it has told so far may still go, and nothing after it. */
  close(): void {
    this.#closed = true
  }

  lose(why: string): LeaseLost {
    this.#closed = true
    this.lost = new LeaseLost(`the lease of task ${this.task.id} is lost: ${why}`)
    this.dropUpdate(this.lost)
    this.abort(this.lost)
    return this.lost
  }

  #collect(withinMs: number): Update {
    const sendAt = performance.now() + withinMs
    this.#update ??= { sendAt, log: [], waiting: [] }
    this.#update.sendAt = Math.min(this.#update.sendAt, sendAt)
    this.onUpdate()
    return this.#update
  }
}

/** A copy of a value as JSON has it, so that nothing the handler does later changes what is told. */
function jsonCopy(what: string, value: unknown, maxBytes: number): unknown {
  const text = JSON.stringify(value)
  if (text === undefined) throw new TypeError(`${what} takes JSON, and not a value of type ${typeof value}`)
  if (Buffer.byteLength(text) > maxBytes)
    throw new RangeError(`${what} takes at most ${maxBytes} bytes of JSON`)
  return JSON.parse(text)
}
