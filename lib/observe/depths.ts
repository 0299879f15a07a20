/** How many tasks of each state the queues hold, read for /metrics. */
import type { Scripts } from "../redis/scripts.ts"

/** How many queues share a call, where one server has all of them: 2 ms of Redis' time. */
export const MAX_DEPTHS_PER_CALL = 100

/** Of how many is asked at a time: the calls of others come in between. */
export const MAX_DEPTHS_AT_ONCE = 300

/** What a queue holds now, as /metrics tells it. */
export interface Depth {
  queue: string
  /** How many are queued, delayed (scheduled or retrying), processing, done, dead and cancelled. */
  counts: readonly number[]
  /** Since when the oldest that is ready waits, in ms since 1970; Infinity: none does. */
  oldestAt: number
  /** When somebody last asked for tasks, likewise; 0: never. */
  polledAt: number
}

export interface CachedDepths {
  names: string
  text: string
  depths: readonly Depth[]
}

/** What queues hold. Of a call that tells what it told before, nothing is read again. */
export class Depths {
  #previous: readonly CachedDepths[] = []

  async read(scripts: Scripts, queues: readonly string[], aCall: number): Promise<Depth[]> {
    const told: CachedDepths[] = []
    for (let at = 0; at < queues.length; at += MAX_DEPTHS_AT_ONCE) {
      const some = queues.slice(at, at + MAX_DEPTHS_AT_ONCE)
      const calls = Array.from({ length: Math.ceil(some.length / aCall) }, async (_, i) => {
        const called = some.slice(i * aCall, (i + 1) * aCall)
        const names = called.join(" ")
        const text = await scripts.call("queueStates", called[0]!, { queues: names })
        const before = this.#previous[at / aCall + i]
        return before?.names === names && before.text === text
          ? before
          : { names, text, depths: readDepths(called, text) }
      })
      told.push(...(await Promise.all(calls)))
    }
    this.#previous = told
    return told.flatMap(({ depths }) => depths)
  }
}

/** Nothing but numbers, each behind the other, and nothing where there is none: at every scrape, for 1,000 queues. */
export function readDepths(queues: readonly string[], text: string): Depth[] {
  let at = 0
  const next = () => {
    let number = 0
    for (let digit = 0; digit >= 0; digit = text.charCodeAt(at++) - 48) number = 10 * number + digit
    return number
  }
  return queues.map(queue => {
    const counts = [next(), next(), next(), next(), next(), next()]
    return { queue, counts, oldestAt: next() || Infinity, polledAt: next() }
  })
}
