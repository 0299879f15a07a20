/**
 * The time of Redis, as a broker knows it between two readings. The clock of its own machine may be wrong, or be set while
 * it runs, so it decides nothing about tasks, and no time of it is shown beside those that the scripts write.
 */
export class RedisClock {
  #offsetMs = performance.timeOrigin

  /** In ms since 1970. */
  now(): number {
    return Math.floor(this.#offsetMs + performance.now())
  }

  /** Takes a reading. `readTime` sends the command TIME. */
  async read(readTime: () => Promise<unknown>): Promise<void> {
    const from = performance.now()
    const [seconds, micros] = (await readTime()) as [string, string]
    // Redis has read its clock between both moments.
    const at = (from + performance.now()) / 2
    this.#offsetMs = Number(seconds) * 1_000 + Number(micros) / 1_000 - at
  }
}
