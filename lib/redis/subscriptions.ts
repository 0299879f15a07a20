/**
 * The pub/sub side: which channels this broker listens to. Redis replays nothing after a gap, so whoever
 * listens is told of every gap and looks for itself.
 */
import type { Redis } from "ioredis"
import { asRefusal } from "./faults.ts"

export class Subscriptions {
  readonly #channels = new Map<string, Promise<unknown>>()

  /** `redis` is used for nothing else. `onGap`: messages may have been missed until now. */
  constructor(
    private readonly redis: Redis,
    onMessage: (channel: string, message: string) => void,
    private readonly onGap: () => void,
  ) {
    redis.on("message", onMessage)
    redis.on("ready", () => void this.#again())
  }

  /**
   * Resolves once messages arrive; asking again is free. `first` runs when that is so for the first time. Fails
   * with Refused where the connection is away: whoever then looks again on the gap may ask again.
   */
  subscribe(channel: string, first: () => void = () => {}): Promise<unknown> {
    let subscribed = this.#channels.get(channel)
    if (subscribed === undefined) {
      subscribed = this.redis.subscribe(channel).catch(error => {
        throw asRefusal(error)
      })
      this.#channels.set(channel, subscribed)
      subscribed.then(first, () => this.#channels.delete(channel))
    }
    return subscribed
  }

  unsubscribe(channel: string): void {
    if (this.#channels.delete(channel)) this.redis.unsubscribe(channel).catch(() => {})
  }

  async #again(): Promise<void> {
    const channels = [...this.#channels.keys()]
    try {
      if (channels.length > 0) await this.redis.subscribe(...channels)
      // Also where there are none: somebody may have come while the connection was away, and not got one.
      this.onGap()
    } catch {
      // The connection went again: its next "ready" comes back here.
    }
  }

  close(): void {
    this.redis.disconnect()
  }
}
