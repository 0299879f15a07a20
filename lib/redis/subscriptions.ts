/**
 * The channels that this broker subscribes to. Redis does not repeat messages that were published while the connection
 * was lost, so every gap is reported, and subscribers must then read the current state.
 */
import type { Redis } from "ioredis"
import { channelIn, PROBE_CHANNEL } from "./keys.ts"
import { missingRight } from "./rights.ts"
import { databaseOf } from "./runner.ts"
import { asRefusal } from "./server-errors.ts"

const RETRY_MS = 1_000

export class Subscriptions {
  readonly #suffix: string
  readonly #channels = new Map<string, Promise<unknown>>()

  /** `redis` must be used for nothing else. `onGap` is called when messages may have been missed. */
  constructor(
    private readonly redis: Redis,
    onMessage: (channel: string, message: string) => void,
    private readonly onGap: () => void,
  ) {
    this.#suffix = channelIn("", databaseOf(redis))
    redis.on("message", (channel: string, message: string) =>
      onMessage(channel.slice(0, channel.length - this.#suffix.length), message),
    )
    redis.on("ready", () => void this.#resubscribe())
  }

  /**
   * Resolves when the subscription is active; repeating it costs nothing. `first` runs when it becomes active. Fails with
   * Refused if the connection is lost; then subscribe again after the gap.
   */
  subscribe(channel: string, first: () => void = () => {}): Promise<unknown> {
    let subscribed = this.#channels.get(channel)
    if (subscribed === undefined) {
      subscribed = this.redis.subscribe(channel + this.#suffix).catch(error => {
        throw asRefusal(error)
      })
      this.#channels.set(channel, subscribed)
      subscribed.then(first, () => this.#channels.delete(channel))
    }
    return subscribed
  }

  /** The right that Redis denies to this connection, if it does. */
  async missingRight(): Promise<string | undefined> {
    try {
      await this.redis.subscribe(PROBE_CHANNEL)
      await this.redis.unsubscribe(PROBE_CHANNEL)
    } catch (error) {
      return missingRight("SUBSCRIBE", (error as Error).message)
    }
    return undefined
  }

  unsubscribe(channel: string): void {
    if (this.#channels.delete(channel)) this.redis.unsubscribe(channel + this.#suffix).catch(() => {})
  }

  keepOnly(isUsed: (channel: string) => boolean): void {
    for (const channel of this.#channels.keys()) if (!isUsed(channel)) this.unsubscribe(channel)
  }

  async #resubscribe(): Promise<void> {
    const channels = [...this.#channels.keys()].map(channel => channel + this.#suffix)
    try {
      if (channels.length > 0) await this.redis.subscribe(...channels)
      // Report the gap without channels too: a subscribe may have failed while the connection was lost.
      this.onGap()
    } catch {
      // If the connection was lost again, its next `ready` event calls this. Otherwise Redis has refused.
      setTimeout(() => {
        if (this.redis.status === "ready") void this.#resubscribe()
      }, RETRY_MS).unref()
    }
  }

  close(): void {
    this.redis.disconnect()
  }
}
