/** Listens to /events during a run, and checks that the events of each task can be ordered. */
import { Client } from "../../lib/client.ts"
import { TOKEN } from "./parts.ts"

/** One event of a task. */
export interface SeenEvent {
  task: string
  event: string
  at: number
  order: number
}

/** Stops listening when it is disposed of. */
export class EventWatch implements Disposable {
  readonly seen: SeenEvent[] = []
  readonly #leave = new AbortController()

  /** Listens at this address, over all faults, to the events of one queue, which bounds their number. */
  constructor(url: string, queue: string) {
    void this.#listen(new Client({ url, token: TOKEN }), queue)
  }

  [Symbol.dispose](): void {
    this.#leave.abort()
  }

  async #listen(client: Client, queue: string): Promise<void> {
    const { signal } = this.#leave
    try {
      for await (const { event, data } of client.events({ queue }, { signal }))
        if (data.task_id !== undefined && !signal.aborted)
          this.seen.push({ task: data.task_id, event, at: data.at, order: data.order ?? Number.NaN })
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }
}

/** Events of sweeps, which do not wait for replicas. */
const OF_SWEEPS = new Set(["lapsed", "dead"])

/** Events after which there is no other. */
const LAST = new Set(["done", "cancelled", "deleted"])

/**
 * What is wrong with the events of one task, if anything: sorted by `at`, then by `order`, they must be a life of a task.
 * Some may be missing, and some may be there twice. `granted`: when each attempt was leased, by the answers of brokers.
 * `failsOver`: what a sweep did to an attempt may have been reverted, and the attempt may have ended otherwise.
 */
export function disorderOf(
  events: readonly SeenEvent[],
  granted: ReadonlyMap<number, number>,
  failsOver: boolean,
): string | undefined {
  const sorted = events.toSorted((a, b) => a.at - b.at || a.order - b.order)
  for (const [i, { event, at, order }] of sorted.entries()) {
    const name = `${event} ${order} at ${at}`
    const next = sorted[i + 1]
    if (Number.isNaN(order)) return `${event} at ${at} has no order`
    if (event === "leased") {
      const answered = granted.get(Math.floor(order / 10))
      if (answered !== undefined && answered !== at)
        return `${name}, but the lease was granted at ${answered}`
    }
    if (next === undefined) continue
    const isOneAttempt = Math.floor(next.order / 10) === Math.floor(order / 10)
    if (failsOver && isOneAttempt && OF_SWEEPS.has(event)) continue
    if (next.order < order || (next.order === order && (next.at !== at || next.event !== event)))
      return `${name}, then ${next.event} ${next.order} at ${next.at}`
    if (LAST.has(event) && next.order > order) return `${next.event} ${next.order} follows ${name}`
  }
  return undefined
}
