/**
 * Writes what was counted in memory to Redis every few seconds, one write at a time. `write` must put back what it
 * could not write, so that the next run includes it.
 */
export class Flusher {
  #lastWrite: Promise<unknown> = Promise.resolve()
  readonly #timer: Timer

  constructor(
    private readonly write: () => Promise<void>,
    intervalMs: number,
  ) {
    // Jittered, so that brokers started together do not write together.
    this.#timer = setInterval(() => void this.flush(), intervalMs * (0.75 + Math.random() / 2)).unref()
  }

  /** Writes now, after the write in progress if there is one. */
  flush(): Promise<unknown> {
    this.#lastWrite = this.#lastWrite.then(this.write)
    return this.#lastWrite
  }

  /** Stops the timer and writes for the last time. */
  close(): Promise<unknown> {
    clearInterval(this.#timer)
    return this.flush()
  }
}
