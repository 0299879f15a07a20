/**
 * Notices within seconds that the data of Redis is gone: after FLUSHALL, or if another server answers under the same
 * address. The data has a random id, which this broker compares every two seconds and after each reconnect. What was lost
 * is then written again: the id, the number of the layout and the names of the queues.
 */
import { Refused } from "../errors.ts"
import type { Log } from "../log.ts"
import type { Store } from "../redis/store.ts"
import type { QueueNames } from "./queue-names.ts"

const CHECK_MS = 2_000

export class DataWatch {
  #id: string | undefined
  /** The id of data that this broker cannot use, which the log has. */
  #unusable: string | undefined
  #checking: Promise<void> | undefined
  #timer: Timer | undefined

  /** `onReplaced` is called when the names are written. */
  constructor(
    private readonly store: Store,
    private readonly names: QueueNames,
    private readonly log: Log,
    private readonly onReplaced: () => void,
  ) {}

  async start(): Promise<void> {
    // An empty Redis that refuses writes has no id yet. The first check that can write one then reports other data.
    this.#id = await this.store.dataId().catch(() => undefined)
    this.#timer = setInterval(() => void this.check(), CHECK_MS).unref()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  check(): Promise<void> {
    this.#checking ??= this.#check()
      .catch(() => {}) // Redis is down or refuses writes, which is logged
      .finally(() => (this.#checking = undefined))
    return this.#checking
  }

  async #check(): Promise<void> {
    const id = await this.store.dataId()
    if (id === this.#id) return
    await this.store.markLayout().catch(error => {
      if (!(error instanceof Refused) && id !== this.#unusable) {
        this.log.error("Redis was replaced by one that cannot be used", { error: error.message })
        this.#unusable = id
      }
      throw error
    })
    await this.names.restore()
    if (this.#id !== undefined)
      this.log.warn(
        "The data of Redis is gone, or another Redis answers. The names of queues are registered again",
      )
    this.#id = id
    this.onReplaced()
  }
}
