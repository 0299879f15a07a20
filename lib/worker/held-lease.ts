/** A lease that a worker holds: its deadlines, its abort signal, and the updates of its handler that are to be sent. */
import { type Extend, type LeasedTask, MAX_CHECKPOINT_BYTES, MAX_PROGRESS_BYTES } from "../wire/working.ts"

const MAX_LOG_LINES = 20
const MAX_LINE_LENGTH = 500
/** Progress and log lines are collected for this long. A checkpoint is sent at once, because its handler waits for it. */
const BATCH_UPDATES_MS = 1_000

/** An abort reason: another worker may have the task now. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost"
}

/** An abort reason: the task was cancelled. */
export class TaskCancelled extends Error {
  override readonly name = "TaskCancelled"
}

/** What the next request reports about the task. */
interface Update {
  /** By performance.now(). */
  sendAt: number
  progress?: unknown
  checkpoint?: unknown
  log: string[]
  /** The promises of checkpoints that the broker has not stored yet. */
  waiting: { resolve: () => void; reject: (why: unknown) => void }[]
}

export class HeldLease {
  readonly #abort = new AbortController()
  readonly #endsAt: number
  /** By performance.now(), like all times in this class. */
  lapsesAt: number
  extendAt: number
  #update: Update | undefined
  #sent: Update | undefined
  #closed = false
  /** Set once the lease is lost. */
  lost: LeaseLost | undefined

  constructor(
    readonly task: LeasedTask,
    /** Called when there is an update to send. */
    private readonly onUpdate: () => void,
  ) {
    const now = performance.now()
    // The broker ends the attempt at this time, however often it is extended.
    this.#endsAt = now + (task.max_runtime_ms ?? Number.POSITIVE_INFINITY)
    this.lapsesAt = Math.min(now + task.timeout_ms, this.#endsAt)
    this.extendAt = now + task.timeout_ms / 3
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  /** Aborts the handler. Only the first reason counts. */
  abort(reason: Error): void {
    this.#abort.abort(reason)
  }

  /** When to send the pending update; Infinity if there is none. */
  get updateAt(): number {
    return this.#update?.sendAt ?? Number.POSITIVE_INFINITY
  }

  get lapseReason(): string {
    return this.lapsesAt === this.#endsAt
      ? "it reached its max_runtime_ms"
      : "the broker did not extend it in time"
  }

  /** Whether the request in flight carries an update. */
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
    const stored = new Promise<void>((resolve, reject) => {
      const copy = jsonCopy("checkpoint", value, MAX_CHECKPOINT_BYTES)
      if (this.#closed) throw this.lost ?? new Error("not stored: the attempt is over")
      const update = this.#collect(0)
      update.checkpoint = copy
      update.waiting.push({ resolve, reject })
    })
    // A handler need not await it.
    stored.catch(() => {})
    return stored
  }

  /** The item for a request that is sent now. */
  takeExtension(): Extend {
    const { id, lease } = this.task
    const { sendAt: _, waiting: __, log = [], ...values } = this.#update ?? {}
    this.#sent = this.#update
    this.#update = undefined
    return { task_id: id, lease, ...values, ...(log.length > 0 ? { log } : {}) }
  }

  /** Called when the broker has extended the lease. The request was sent at `sentAt`. */
  markExtended(sentAt: number): void {
    this.lapsesAt = Math.min(sentAt + this.task.timeout_ms, this.#endsAt)
    this.extendAt = sentAt + this.task.timeout_ms / 3
    for (const { resolve } of this.#sent?.waiting ?? []) resolve()
    this.#sent = undefined
  }

  /** Called when it is unknown whether the broker has extended the lease. Repeats the update `againMs` from now. */
  retryUpdate(againMs: number): void {
    const [sent, newer] = [this.#sent, this.#update]
    this.#sent = undefined
    if (sent !== undefined)
      this.#update = {
        ...sent,
        ...newer,
        sendAt: sent.sendAt,
        log: [...sent.log, ...(newer?.log ?? [])].slice(-MAX_LOG_LINES),
        waiting: [...sent.waiting, ...(newer?.waiting ?? [])],
      }
    // Even if the broker asks for a longer pause, the retry must come before the lease lapses.
    this.extendAt = performance.now() + Math.min(againMs, this.task.timeout_ms / 6)
  }

  /** Drops the update, because the broker refused it or the attempt is over. */
  dropUpdate(why: Error): void {
    for (const update of [this.#sent, this.#update])
      for (const { reject } of update?.waiting ?? []) reject(why)
    this.#sent = undefined
    this.#update = undefined
  }

  /** The attempt is over. The pending update may still be sent; later ones are ignored. */
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

/** A copy of the value as JSON, so that the handler cannot change it after the call. */
function jsonCopy(what: string, value: unknown, maxBytes: number): unknown {
  const text = JSON.stringify(value)
  if (text === undefined) throw new TypeError(`${what} takes JSON, not a value of type ${typeof value}`)
  if (Buffer.byteLength(text) > maxBytes)
    throw new RangeError(`${what} takes at most ${maxBytes} bytes of JSON`)
  return JSON.parse(text)
}
