/** One answer for many callers: a question has at most one call in progress, and a few calls per second. */
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

  /** A good answer no longer holds. A bad one is kept, so that a flood of failures asks no more often. */
  doubt(): void {
    if (!this.#hasFailed) this.#last = undefined
  }
}
