/**
 * Group commit: requests that arrive in the same tick, or while an earlier call is in progress, share one script call
 * per queue. One call costs one fsync, which makes `appendfsync always` affordable.
 *   1. `run` appends a request (the items of one HTTP request for one queue) to the lane of its queue.
 *   2. At the end of the tick the lane sends its first requests, up to MAX_ITEMS_PER_CALL items, as one call. Requests are
 *      sent whole and in order, so tasks keep their order and the items of one request stay together. So many items take
 *      about 2 ms of Redis' time, so that no call delays the others for long. A request with more items is a call of its own.
 *   3. A lane has at most MAX_IN_FLIGHT calls in progress: one that Redis works on, one that waits behind it, and one
 *      whose replies the broker writes. More calls would only make the batches smaller.
 *   4. A request is answered when its call is, so never before its write is confirmed.
 * Lanes are independent: a slow queue does not delay the others. The number of pending items is bounded; above the
 * bound requests are refused, so that memory stays flat.
 */
import { type Each, Refused } from "../errors.ts"
import { atTickEnd } from "../redis/tick.ts"

const MAX_ITEMS_PER_CALL = 300
const MAX_IN_FLIGHT = 3
const MAX_PENDING_ITEMS = 100_000

interface Request<Item, Answer> {
  items: readonly Item[]
  resolve(answers: Answer[]): void
  reject(error: unknown): void
}

interface Lane<Item, Answer> {
  requests: Request<Item, Answer>[]
  callsInFlight: number
  isScheduled: boolean
}

export class Batcher<Item, Answer> {
  readonly #lanes = new Map<string, Lane<Item, Answer>>()
  #pendingItems = 0

  /** `call` runs one batch, and returns an answer per item, in order. */
  constructor(private readonly call: (queue: string, items: Item[]) => Promise<readonly Answer[]>) {}

  /** Runs the items of one request for one queue; the answers are in the order of the items. */
  run(queue: string, items: readonly Item[]): Promise<Answer[]> {
    if (this.#pendingItems + items.length > MAX_PENDING_ITEMS)
      return Promise.reject(
        new Refused("overloaded", {
          detail:
            "This broker already has the maximum number of items waiting for Redis. Retry later, or send the request to another broker.",
        }),
      )
    this.#pendingItems += items.length
    let lane = this.#lanes.get(queue)
    if (lane === undefined) {
      lane = { requests: [], callsInFlight: 0, isScheduled: false }
      this.#lanes.set(queue, lane)
    }
    const { promise, resolve, reject } = Promise.withResolvers<Answer[]>()
    lane.requests.push({ items, resolve, reject })
    this.#schedule(queue, lane)
    return promise
  }

  /**
   * Runs items of any queues; the answers are in the order of the items. The items of a queue whose call is refused get
   * the refusal, because a node of a Cluster may be down while others answer. If all are refused, this fails.
   */
  runByQueue(items: readonly Item[], queueOf: (item: Item) => string): Promise<Each<Answer>[]> {
    if (items.length === 0) return Promise.resolve([])
    const first = queueOf(items[0]!)
    return items.every(item => queueOf(item) === first)
      ? this.run(first, items)
      : this.#runForSeveralQueues(items, queueOf)
  }

  async #runForSeveralQueues(
    items: readonly Item[],
    queueOf: (item: Item) => string,
  ): Promise<Each<Answer>[]> {
    const indexesByQueue = Map.groupBy(items.keys(), i => queueOf(items[i]!))
    const answers: Each<Answer>[] = new Array(items.length)
    const refusals: Refused[] = []
    await Promise.all(
      [...indexesByQueue].map(async ([queue, indexes]) => {
        const part = await this.run(
          queue,
          indexes.map(i => items[i]!),
        ).catch((error: unknown) => {
          if (!(error instanceof Refused)) throw error
          refusals.push(error)
          return error
        })
        indexes.forEach((index, i) => {
          answers[index] = part instanceof Refused ? part : part[i]!
        })
      }),
    )
    if (refusals.length === indexesByQueue.size) throw refusals[0]!
    return answers
  }

  #schedule(queue: string, lane: Lane<Item, Answer>) {
    if (lane.isScheduled || lane.callsInFlight >= MAX_IN_FLIGHT) return
    lane.isScheduled = true
    atTickEnd(() => {
      lane.isScheduled = false
      void this.#send(queue, lane)
    })
  }

  async #send(queue: string, lane: Lane<Item, Answer>) {
    let count = 0
    let size = 0
    while (
      count < lane.requests.length &&
      (count === 0 || size + lane.requests[count]!.items.length <= MAX_ITEMS_PER_CALL)
    )
      size += lane.requests[count++]!.items.length
    if (count === 0) return
    const requests = lane.requests.splice(0, count)
    const items = requests.flatMap(request => request.items)
    lane.callsInFlight++
    if (lane.requests.length > 0) this.#schedule(queue, lane)
    try {
      const answers = await this.call(queue, items)
      let from = 0
      for (const { items, resolve } of requests) {
        resolve(answers.slice(from, from + items.length))
        from += items.length
      }
    } catch (error) {
      for (const request of requests) request.reject(error)
    } finally {
      this.#pendingItems -= items.length
      lane.callsInFlight--
      if (lane.requests.length > 0) this.#schedule(queue, lane)
      else if (lane.callsInFlight === 0) this.#lanes.delete(queue)
    }
  }
}
