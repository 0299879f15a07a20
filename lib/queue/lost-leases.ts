/**
 * Returns tasks whose leases no worker received to their queue, because the reply to a lease call was lost, the call or a
 * release failed, or too few replicas confirmed it. Otherwise their leases would lapse, which counts as a crash.
 *   1. The broker made the tokens of the call and has sent them to no worker. So it finds such tasks by their tokens.
 *   2. It looks for them before it leases from the queue or sweeps it again, so it never ends such a lease as lapsed.
 *   3. It looks again after LATE_MS, because Redis may run a call after the broker has given it up.
 */
import { Refused } from "../errors.ts"
import type { Scripts } from "../redis/scripts.ts"
import { localOf } from "../task/id.ts"
import { TOKEN_CHARACTERS, tokenOf, tokensOf } from "../task/lease-token.ts"
import { splitRecord } from "../task/record.ts"
import type { Sweeper } from "./sweeper.ts"

const LATE_MS = 5_000
/** How many leases one call reads: about 1 ms of Redis' time. */
const PAGE = { part: "", limit: 300, bytes: 1_000_000 }
/** How many tokens are remembered per queue: those of many failed calls. */
const MAX_TOKENS = 20_000

interface Lost {
  /** Concatenated. */
  tokens: string
  /** By performance.now(). */
  lookAt: number
  isLastLook: boolean
  looking?: Promise<void> | undefined
}

interface Held {
  id: string
  queue: string
  lease: string
}

interface LostLeasesParts {
  scripts: Scripts
  sweeper: Sweeper
  doneRetentionMs: number
}

export class LostLeases {
  readonly #byQueue = new Map<string, Lost>()

  constructor(private readonly parts: LostLeasesParts) {}

  /** Remembers the tokens of leases that no worker received. Redis may or may not have made these leases. */
  remember(queue: string, tokens: string): void {
    const before = this.#byQueue.get(queue)?.tokens ?? ""
    this.#byQueue.set(queue, {
      tokens: (before + tokens).slice(-MAX_TOKENS * TOKEN_CHARACTERS),
      lookAt: 0,
      isLastLook: false,
    })
    // The sweeper repeats what fails, so this is done as soon as Redis is back.
    this.parts.sweeper.sweepIn(queue, 0)
  }

  /** Returns tasks whose leases no worker received to the front of their queue. If this fails, it is repeated later. */
  async giveBack(tasks: readonly Held[]): Promise<void> {
    for (const [queue, some] of Map.groupBy(tasks, task => task.queue))
      await this.#return(queue, some).catch(() => this.remember(queue, tokensOf(some)))
  }

  /** Whether `recover` has tokens to look for. */
  isDue(queue: string): boolean {
    const lost = this.#byQueue.get(queue)
    return lost !== undefined && lost.lookAt <= performance.now()
  }

  /** Finds the tasks of this queue whose leases no worker received, and returns them. */
  async recover(queue: string): Promise<void> {
    const lost = this.#byQueue.get(queue)
    if (lost === undefined || !this.isDue(queue)) return
    lost.looking ??= this.#look(queue, lost)
      .catch(error => {
        // An error that is not about the connection would recur and block the queue.
        if (!(error instanceof Refused)) this.#byQueue.delete(queue)
        throw error
      })
      .finally(() => (lost.looking = undefined))
    await lost.looking
  }

  async #look(queue: string, lost: Lost): Promise<void> {
    const tokens = new Set<string>()
    for (let at = 0; at < lost.tokens.length; at += TOKEN_CHARACTERS)
      tokens.add(lost.tokens.slice(at, at + TOKEN_CHARACTERS))
    for (let after = { place: "", score: "", id: "" }; ; ) {
      const page = { queues: queue, places: "leases", ...PAGE, ...after }
      const [, more, part] = await this.parts.scripts.call("page", queue, page)
      const [, , ...entries] = part ?? [queue, "leases"]
      const found = entries.flatMap(([, id, text]) => {
        const lease = text === null ? "" : splitRecord(text).lease
        return tokens.has(tokenOf(lease)) ? [{ id, queue, lease }] : []
      })
      // The page is in descending order, and each call puts its tasks in front.
      if (found.length > 0) await this.#return(queue, found.reverse())
      const last = entries.at(-1)
      if (last === undefined || more === 0) break
      after = { place: "leases", score: last[0], id: last[1] }
    }
    if (this.#byQueue.get(queue) !== lost) return // further leases were lost during this look
    if (lost.isLastLook) this.#byQueue.delete(queue)
    else {
      lost.isLastLook = true
      lost.lookAt = performance.now() + LATE_MS
      this.parts.sweeper.sweepIn(queue, LATE_MS)
    }
  }

  /**
   * This does not wait for replicas: if a failover loses it, the leases lapse. It leaves no trace but a line in the
   * history of the task: no release is counted, and no event is published.
   */
  #return(queue: string, tasks: readonly Held[]): Promise<unknown> {
    const items = tasks.map(({ id, lease }) => ({
      id: localOf(id),
      lease,
      outcome: "returned",
      retry: "",
      text: "",
    }))
    const { scripts, doneRetentionMs } = this.parts
    return scripts.call("settle", queue, { retention: doneRetentionMs }, items, false)
  }
}
