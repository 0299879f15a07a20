/**
 * Keeps the leases of running tasks alive, and tells a handler when its lease is lost.
 *   1. A lease is extended when a third of its time has passed, so two tries may fail before it lapses.
 *   2. All that are due, or soon will be, go in one request; its time limit is a third of the shortest lease's.
 *   3. A lease lapses by this process' monotonic clock, counted from before the request that extended it left:
 *      never later than the broker sees it. The broker's clock is not compared with ours.
 *   4. A lost lease fires the handler's signal: another worker may have the task now.
 */
import { BrokerProblem, type Client } from "./client.ts"
import { inHalves } from "./halves.ts"
import type { LeasedTask } from "./models.ts"
import type { Outage } from "./outage.ts"

const MAX_BATCH = 1_000
const MAX_REQUEST_MS = 10_000

/** The reason of a handler's signal. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost"
}

const LOST: ReadonlySet<string> = new Set(["lease_lost", "not_leased", "task_not_found"])

/** Whether the broker says that the lease is no longer ours. */
export const saysLost = (error: Error): boolean => error instanceof BrokerProblem && LOST.has(error.code)

export interface HeldLease {
  readonly task: LeasedTask
  readonly lost: (reason: LeaseLost) => void
  /** By performance.now(). `dueAt` is Infinity while a request for it is under way. */
  dueAt: number
  lapsesAt: number
}

export class LeaseKeeper {
  readonly #held = new Set<HeldLease>()
  #timer: Timer | undefined
  #firesAt = Number.POSITIVE_INFINITY

  constructor(
    private readonly client: Pick<Client, "extendMany">,
    private readonly outage: Outage,
  ) {}

  hold(task: LeasedTask, lost: (reason: LeaseLost) => void): HeldLease {
    const now = performance.now()
    const lease = { task, lost, dueAt: now + task.timeout_ms / 3, lapsesAt: now + task.timeout_ms }
    this.#held.add(lease)
    this.#wakeAt(lease.dueAt)
    return lease
  }

  drop(lease: HeldLease): void {
    this.#held.delete(lease)
    if (this.#held.size > 0) return
    clearTimeout(this.#timer)
    this.#firesAt = Number.POSITIVE_INFINITY
  }

  #wakeAt(time: number): void {
    if (time >= this.#firesAt) return
    clearTimeout(this.#timer)
    this.#firesAt = time
    this.#timer = setTimeout(() => this.#tick(), Math.max(0, Math.ceil(time - performance.now())))
  }

  #tick(): void {
    this.#firesAt = Number.POSITIVE_INFINITY
    const now = performance.now()
    const due: HeldLease[] = []
    for (const lease of this.#held) {
      if (lease.lapsesAt <= now)
        this.#lose(lease, "its time ran out before the broker could be asked for more")
      else if (lease.dueAt <= now + lease.task.timeout_ms / 12) due.push(lease)
    }
    for (let start = 0; start < due.length; start += MAX_BATCH)
      void this.#extend(due.slice(start, start + MAX_BATCH))
    for (const lease of this.#held) this.#wakeAt(Math.min(lease.dueAt, lease.lapsesAt))
  }

  async #extend(batch: readonly HeldLease[]): Promise<void> {
    const sentAt = performance.now()
    let timeoutMs = MAX_REQUEST_MS
    for (const lease of batch) {
      lease.dueAt = Number.POSITIVE_INFINITY
      timeoutMs = Math.min(timeoutMs, lease.task.timeout_ms / 3)
    }
    const answers = await inHalves(batch, leases => {
      const extends_ = leases.map(({ task }) => ({ task_id: task.id, lease: task.lease }))
      return this.client.extendMany(extends_, { timeoutMs })
    })
    const failure = answers.find((answer): answer is Error => answer instanceof Error && !saysLost(answer))
    const again = failure === undefined ? 0 : this.outage.failed(failure)
    if (failure === undefined) this.outage.over()
    for (const [index, lease] of batch.entries()) {
      if (!this.#held.has(lease)) continue
      const answer = answers[index]!
      const { timeout_ms } = lease.task
      if (!(answer instanceof Error)) {
        lease.lapsesAt = sentAt + timeout_ms
        lease.dueAt = sentAt + timeout_ms / 3
      } else if (saysLost(answer)) {
        this.#lose(lease, answer.message)
        continue
      } else {
        // However long the broker asks to be left alone: after the lease has lapsed is too late.
        lease.dueAt = performance.now() + Math.min(again, timeout_ms / 6)
      }
      this.#wakeAt(Math.min(lease.dueAt, lease.lapsesAt))
    }
  }

  #lose(lease: HeldLease, why: string): void {
    this.drop(lease)
    lease.lost(new LeaseLost(`the lease of task ${lease.task.id} is lost: ${why}`))
  }
}
