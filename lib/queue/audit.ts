/**
 * The self-audit: it checks that every task is where its state says, and that no entry belongs to no task. After a
 * partial restore, a lost file or a bug, tasks could otherwise wait forever without being in any list. audit-pass.ts
 * has the steps of one pass. Every broker runs audits, without a lock.
 */
import type { AuditAnswer } from "../wire/operating.ts"
import { type AuditOptions, type AuditParts, AuditPass } from "./audit-pass.ts"

/** The pause between two steps of a background pass. */
const PAUSE_MS = 50
/** The time to the first pass after a start, or after Redis was down, so that a restore is repaired soon. */
const SOON_MS = 20_000

export class Auditor {
  readonly #closed = new AbortController()
  #timer: Timer | undefined
  #isRunning = false

  constructor(private readonly parts: AuditParts) {
    this.auditSoon()
  }

  /** Starts a background audit in about 20 s. */
  auditSoon(): void {
    this.#setTimer(SOON_MS)
  }

  close(): void {
    this.#closed.abort()
    clearTimeout(this.#timer)
  }

  /** One audit at half speed: after each step it waits for as long as the step took. */
  run(fix: boolean, queue: string | undefined, signal: AbortSignal): Promise<AuditAnswer> {
    return this.#audit({
      fix,
      queue,
      signal: AbortSignal.any([signal, this.#closed.signal]),
      pauseMs: stepMs => stepMs,
    })
  }

  /**
   * Bytes counted while tasks move may be wrong: a task may be deleted before the pass reaches it. So a difference
   * counts only if two passes agree on it, and only the difference is written.
   */
  async #audit(options: AuditOptions): Promise<AuditAnswer> {
    const first = new AuditPass(this.parts, options)
    await first.run()
    if (first.excessBytes.size === 0) return first.report
    const second = new AuditPass(this.parts, options, first.excessBytes)
    await second.run()
    const bytes = second.report.found.filter(({ kind }) => kind === "wrong_bytes")
    return { ...first.report, found: [...first.report.found, ...bytes] }
  }

  #setTimer(ms: number): void {
    const { intervalMs } = this.parts
    clearTimeout(this.#timer)
    if (intervalMs === 0 || this.#closed.signal.aborted) return
    const jitter = 0.75 + Math.random() / 2
    const delay = Math.min(ms, intervalMs) * jitter
    this.#timer = setTimeout(() => void this.#auditInBackground(), delay).unref()
  }

  async #auditInBackground(): Promise<void> {
    const { log, intervalMs } = this.parts
    if (this.#isRunning) return this.auditSoon()
    this.#isRunning = true
    try {
      const signal = this.#closed.signal
      const { looked, found } = await this.#audit({ fix: true, signal, pauseMs: () => PAUSE_MS })
      for (const { kind, count, mended, sample } of found)
        log.warn("The audit found faults", { kind, count, mended, sample })
      log.debug("The audit is complete", looked)
    } catch (error) {
      // Usually Redis is down, which its connection has logged.
      log.debug("The audit was interrupted", { error: error instanceof Error ? error.message : error })
    }
    this.#isRunning = false
    this.#setTimer(intervalMs)
  }
}
