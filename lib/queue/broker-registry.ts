/**
 * The brokers that share this Redis. Each notes in Redis that it runs, when it starts and every 10 s, and deletes its note
 * when it stops. The note of a broker that is killed or frozen expires.
 */
import { hostname } from "node:os"
import { version } from "../../package.json" with { type: "json" }
import { BROKERS } from "../redis/keys.ts"
import { runShared } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import type { BrokerView } from "../wire/brokers.ts"

/** Three times the interval of the notes. */
const KEEP_MS = 30_000
const MAX_BROKERS = 1_000

export class BrokerRegistry {
  /** What this broker says about itself. It is constant, because Redis finds the note by its text. */
  readonly #about: string

  /** `broker` identifies this broker, as in its events. */
  constructor(
    private readonly store: Store,
    readonly broker: string,
  ) {
    const started_at = store.clock.now()
    this.#about = JSON.stringify({ broker, host: hostname(), pid: process.pid, version, started_at })
  }

  /** All brokers, those that run longest first. */
  async list(): Promise<BrokerView[]> {
    await this.note()
    const oldest = this.store.clock.now() - KEEP_MS
    const range = ["ZRANGE", BROKERS, oldest, "+inf", "BYSCORE", "WITHSCORES"] as const
    const notes = (await this.store.command(range)) as [about: string, seenAt: number][]
    const brokers = notes.map(
      ([about, seenAt]): BrokerView => ({ ...JSON.parse(about), seen_at: Number(seenAt) }),
    )
    return brokers.sort((a, b) => a.started_at - b.started_at)
  }

  /** Notes that this broker runs. */
  note(): Promise<unknown> {
    return this.#write(1)
  }

  /** Notes that this broker stops. */
  close(): Promise<unknown> {
    return this.#write(0).catch(() => {})
  }

  #write(on: 0 | 1): Promise<unknown> {
    const args = { about: this.#about, on, retention: KEEP_MS, max_brokers: MAX_BROKERS }
    return runShared(this.store, "brokersSeen", args)
  }
}
