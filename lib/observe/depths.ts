/** How many tasks of each state the queues hold, read for /metrics. */
import type { Scripts } from "../redis/scripts.ts"

/** The contents of one queue, as /metrics exports them. */
export interface Depth {
  queue: string
  /** The numbers of tasks that are queued, delayed (scheduled or retrying), processing, done, dead and cancelled. */
  counts: readonly number[]
  /** When the oldest ready task began to wait, in ms since 1970; Infinity if no task is ready. */
  oldestAt: number
  /** When a worker last polled the queue, in ms since 1970; 0 if none ever did. */
  polledAt: number
}

/** The answer of one script call, and the queues that it was about. */
interface CachedDepths {
  names: string
  text: string
  depths: readonly Depth[]
}

/** Reads the depths of queues. If a call answers the same text as last time, the parsed result is reused. */
export class Depths {
  #previous: readonly CachedDepths[] = []

  async read(scripts: Scripts, queues: readonly string[]): Promise<Depth[]> {
    const replies = await scripts.callForQueues("queueStates", queues, {})
    this.#previous = replies.map(({ queues, reply: text }, i) => {
      const names = queues.join(" ")
      const before = this.#previous[i]
      return before?.names === names && before.text === text
        ? before
        : { names, text, depths: readDepths(queues, text) }
    })
    return this.#previous.flatMap(({ depths }) => depths)
  }
}

/** Parses the answer of the script: a line of eight numbers per queue. A missing number is empty. */
export function readDepths(queues: readonly string[], text: string): Depth[] {
  const lines = text.split("\n")
  return queues.map((queue, i) => {
    const numbers = lines[i]!.split(" ").map(Number)
    return { queue, counts: numbers.slice(0, 6), oldestAt: numbers[6]! || Infinity, polledAt: numbers[7]! }
  })
}
