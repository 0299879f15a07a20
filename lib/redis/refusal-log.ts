/**
 * Logs one line when a server begins to refuse commands, with its error, and one when it accepts them again. In between
 * the server is checked once per second, so the end is logged even if no call is made.
 */
import type { Log } from "../log.ts"

const WATCH_MS = 1_000

export class RefusalLog {
  readonly #watched = new Map<object, { timer: Timer; error: Error }>()

  #isStarted = false

  constructor(private readonly log: Log) {}

  start(): void {
    this.#isStarted = true
  }

  /** `check` resolves to whether the server accepts commands again. It fails if the server cannot be reached. */
  refused(server: object, error: Error, at: string | undefined, check: () => Promise<boolean>): void {
    if (!this.#isStarted || this.#watched.has(server)) return
    this.log.warn("Redis refuses commands", { error: error.message, server: at })
    const timer = setInterval(() => {
      check().then(
        accepts => {
          if (accepts && this.#end(server)) this.log.info("Redis accepts commands again", { server: at })
        },
        () => {}, // the connection logs this
      )
    }, WATCH_MS).unref()
    this.#watched.set(server, { timer, error })
  }

  /** The error with which this server began to refuse commands. */
  errorOf(server: object): Error | undefined {
    return this.#watched.get(server)?.error
  }

  close(): void {
    this.#isStarted = false
    for (const server of this.#watched.keys()) this.#end(server)
  }

  #end(server: object): boolean {
    clearInterval(this.#watched.get(server)?.timer)
    return this.#watched.delete(server)
  }
}
