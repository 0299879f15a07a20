/** Logs that a server cannot be reached, and that it can be again: one line each, although a broker has several connections to it. */
import type { Log } from "../log.ts"

export class OutageLog {
  /** The connections that are down, by the address of their server; "": the only server. */
  readonly #down = new Map<string, Set<object>>()

  constructor(private readonly log: Log) {}

  down(connection: object, at: string, error: string): void {
    const others = this.#down.get(at)
    if (others === undefined) this.log.warn("Redis is unavailable", { error, server: at || undefined })
    this.#down.set(at, (others ?? new Set()).add(connection))
  }

  up(connection: object, at: string): void {
    const down = this.#down.get(at)
    if (!down?.delete(connection) || down.size > 0) return
    this.#down.delete(at)
    this.log.info("Redis is available again", { server: at || undefined })
  }
}
