/** Where the long poll gets its tasks: the script calls that lease and release them. */
import { NotReplicated, Refused } from "../errors.ts"
import type { RedisClock } from "../redis/clock.ts"
import { wakeChannel } from "../redis/keys.ts"
import type { Replies, Scripts } from "../redis/scripts.ts"
import type { Subscriptions } from "../redis/subscriptions.ts"
import { localOf } from "../task/id.ts"
import { newTokens, tokensOf } from "../task/lease-token.ts"
import { readLeased } from "../task/record.ts"
import type { Leased } from "../task/task.ts"
import {
  type LeasedSome,
  MAX_ANSWER_BYTES,
  type Slots,
  sizeOf,
  slotsAfter,
  type TaskSource,
} from "./long-poll.ts"
import type { LostLeases } from "./lost-leases.ts"
import type { OutcomeRecorder } from "./outcomes.ts"
import type { QueueNames } from "./queue-names.ts"
import type { Sweeper } from "./sweeper.ts"

/** How many lapsed, expired and due tasks a lease call moves besides those that it leases: about 1 ms of Redis' time. */
const MAX_MOVES_PER_LEASE = 100

interface LeaserParts {
  scripts: Scripts
  outcomes: OutcomeRecorder
  sweeper: Sweeper
  names: QueueNames
  subscriptions: Subscriptions
  lost: LostLeases
  clock: RedisClock
  doneRetentionMs: number
}

export class Leaser implements TaskSource {
  constructor(private readonly parts: LeaserParts) {}

  async lease(queue: string, slots: readonly Slots[]): Promise<LeasedSome> {
    const { scripts, outcomes, sweeper, names, lost, clock, doneRetentionMs } = this.parts
    if (lost.isDue(queue)) await lost.recover(queue)
    const tasks: Leased[] = []
    let hasMore = false
    for (let open = slots; open.length > 0; ) {
      const bounds = {
        limit: MAX_MOVES_PER_LEASE,
        retention: doneRetentionMs,
        tokens: newTokens(
          open.reduce((sum, { count }) => sum + count, 0),
          clock.now(),
        ),
        registered: names.isRegistered(queue) ? 1 : 0,
      }
      const workers = open.map(({ worker, count }) => ({ worker: worker || "?", slots: count }))
      try {
        const [nextEvent, handed, timeouts] = await scripts.call("lease", queue, bounds, workers)
        const leased = readLeased(queue, handed)
        outcomes.recordTimeouts(queue, timeouts)
        outcomes.recordLeased(queue, leased)
        tasks.push(...leased)
        if (nextEvent >= 0) sweeper.sweepIn(queue, nextEvent)
        // 0: one call moves and leases a bounded number of tasks and bytes, so some open slots may still get one.
        hasMore = nextEvent === 0
        if (!hasMore || sizeOf(tasks) >= MAX_ANSWER_BYTES) break
        open = slotsAfter(open, leased.length)
      } catch (error) {
        this.#returnUnconfirmed(queue, bounds.tokens, error)
        if (tasks.length === 0) throw error
        break
      }
    }
    return { tasks, hasMore }
  }

  /**
   * Returns tasks whose client has gone to the front of their queue. This does not wait for replicas: if a failover loses
   * the release, the leases lapse.
   */
  async release(tasks: readonly Leased[]): Promise<void> {
    const { scripts, outcomes, lost, clock, doneRetentionMs } = this.parts
    const outcome = "released"
    for (const [queue, some] of Map.groupBy(tasks, task => task.queue)) {
      const items = some.map(({ id, lease }) => ({ id: localOf(id), lease, outcome, retry: "", text: "" }))
      const answers = await scripts
        .call("settle", queue, { retention: doneRetentionMs }, items, false)
        .catch(() => lost.remember(queue, tokensOf(some)))
      if (!Array.isArray(answers)) continue
      some.forEach(({ id, lease }, i) => {
        const [code, retries, attempt, , at, reason] = answers[i]!
        if (code !== "released" && code !== "cancelled") return
        const end = { code, retries, attempt, reason, at, now: clock.now() }
        outcomes.recordSettled({ id, lease, outcome }, end)
      })
    }
  }

  listen(queue: string, onListening: () => void): void {
    // If this fails the connection is down, and the gap that follows wakes all long polls.
    this.parts.subscriptions.subscribe(wakeChannel(queue), onListening).catch(() => {})
  }

  /** Leases that too few replicas confirmed are not handed out: after a failover other workers may get the tasks. */
  #returnUnconfirmed(queue: string, tokens: string, error: unknown): void {
    const { lost } = this.parts
    // Another error would come again, and tasks that are given back would be leased again and again.
    if (error instanceof Refused && !(error instanceof NotReplicated)) lost.remember(queue, tokens)
    else if (error instanceof NotReplicated && error.reply !== undefined) {
      const [, handed] = error.reply as Replies["lease"]
      void lost.giveBack(readLeased(queue, handed))
    }
  }
}
