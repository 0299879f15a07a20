/**
 * Group commit: what reaches the broker in the same tick, or while an earlier call is under way, joins one
 * script call a queue. One call is one fsync, which is what makes `appendfsync always` affordable.
 *   1. `run` puts a unit (the items of one request for one queue) at the end of its queue's lane.
 *   2. At the end of the tick the lane sends the units in front, up to MAX_ITEMS, as one call: whole units
 *      only, in order, so first in stays first out and the items of one request stay together. MAX_ITEMS is
 *      about 2 ms of Redis' time, so that no call holds up the others for long; a request of more is one call.
 *   3. At most MAX_IN_FLIGHT calls of a lane are under way: one that Redis works on and one behind it, while the
 *      answers of a third are written. More would only make the groups smaller.
 *   4. A unit is answered when its call is: never before its write is confirmed.
 * Lanes are apart: a slow queue holds up no other. The sum of items that wait is bounded: past it callers
 * are told to come again, and memory stays flat.
 */
import { Refused } from "../errors.ts"
import { atTickEnd } from "../tick.ts"

const MAX_ITEMS = 300
const MAX_IN_FLIGHT = 3
const MAX_PENDING_ITEMS = 100_000

interface PendingCall<Item, Answer> {
  items: readonly Item[]
  resolve(answers: Answer[]): void
  reject(error: unknown): void
}

interface Lane<Item, Answer> {
  units: PendingCall<Item, Answer>[]
  inFlight: number
  scheduled: boolean
}

export class Batcher<Item, Answer> {
  readonly #lanes = new Map<string, Lane<Item, Answer>>()
  #pending = 0

  /** `call` does the work of one group and answers for each item, in order. */
  constructor(private readonly call: (queue: string, items: Item[]) => Promise<readonly Answer[]>) {}

  run(queue: string, items: readonly Item[]): Promise<Answer[]> {
    if (this.#pending + items.length > MAX_PENDING_ITEMS)
      return Promise.reject(
        new Refused("overloaded", {
          detail:
            "This broker has as many calls waiting for Redis as it can hold: send it again later, or to another broker.",
        }),
      )
    this.#pending += items.length
    let lane = this.#lanes.get(queue)
    if (lane === undefined) {
      lane = { units: [], inFlight: 0, scheduled: false }
      this.#lanes.set(queue, lane)
    }
    const { promise, resolve, reject } = Promise.withResolvers<Answer[]>()
    lane.units.push({ items, resolve, reject })
    this.#schedule(queue, lane)
    return promise
  }

  #schedule(queue: string, lane: Lane<Item, Answer>) {
    if (lane.scheduled || lane.inFlight >= MAX_IN_FLIGHT) return
    lane.scheduled = true
    atTickEnd(() => {
      lane.scheduled = false
      void this.#send(queue, lane)
    })
  }

  async #send(queue: string, lane: Lane<Item, Answer>) {
    let count = 0
    let size = 0
    while (count < lane.units.length && (count === 0 || size + lane.units[count]!.items.length <= MAX_ITEMS))
      size += lane.units[count++]!.items.length
    if (count === 0) return
    const units = lane.units.splice(0, count)
    const items = units.flatMap(unit => unit.items)
    lane.inFlight++
    if (lane.units.length > 0) this.#schedule(queue, lane)
    try {
      const answers = await this.call(queue, items)
      let from = 0
      for (const { items, resolve } of units) {
        resolve(answers.slice(from, from + items.length))
        from += items.length
      }
    } catch (error) {
      for (const unit of units) unit.reject(error)
    } finally {
      this.#pending -= items.length
      lane.inFlight--
      if (lane.units.length > 0) this.#schedule(queue, lane)
      else if (lane.inFlight === 0) this.#lanes.delete(queue)
    }
  }
}
