/** Shares the answer of a call among many callers: at most one call is in progress, and a few are made per second. */
const CALLS_PER_SECOND = 5

export class SharedAnswer<T> {
  #pending: Promise<T> | undefined
  #last: Promise<T> | undefined
  #hasFailed = false
  #calls = 0
  #secondEndsAt = 0

  constructor(private readonly ask: () => Promise<T>) {}

  get(): Promise<T> {
    if (this.#pending !== undefined) return this.#pending
    const now = performance.now()
    if (now >= this.#secondEndsAt) {
      this.#calls = 0
      this.#secondEndsAt = now + 1_000
    }
    if (this.#last !== undefined && this.#calls >= CALLS_PER_SECOND) return this.#last
    this.#calls++
    const call = this.ask()
    this.#pending = call
    this.#last = call
    const settle = (hasFailed: boolean) => {
      this.#hasFailed = hasFailed
      this.#pending = undefined
    }
    call.then(
      () => settle(false),
      () => settle(true),
    )
    return call
  }

  /** Drops the last answer if it succeeded. A failure is kept, so that many failures cause no further calls. */
  doubt(): void {
    if (!this.#hasFailed) this.#last = undefined
  }
}
