/**
 * Writes that are answered once enough replicas have confirmed them. WAIT concerns the writes of its own connection and
 * blocks that connection, so these writes have a connection of their own.
 *   1. Commands that arrive while a batch is in flight form the next batch: each batch costs one WAIT.
 *   2. A batch and its WAIT are sent in one write. If they were separate, a reconnect in between would ask the wrong
 *      server. WAIT covers everything that the server has written by then, also for other connections. So a repeated
 *      command that finds its work done, but not yet replicated, is not answered either.
 *   3. If too few replicas confirm in time, the batch was written on the master but may be lost, and its callers get
 *      `not_replicated`. After that no command is sent, so that none is left half done, until the replicas have caught up.
 */
import type { Redis } from "ioredis"
import { NotReplicated } from "../errors.ts"
import type { Command } from "./runner.ts"
import { atTickEnd } from "./tick.ts"

const MAX_BATCH = 1_000
/** How often to check whether enough replicas confirm again. */
const PROBE_MS = 250

interface Call {
  command: Command
  resolve(reply: unknown): void
  reject(error: unknown): void
}

export class ReplicatedWrites {
  #calls: Call[] = []
  #sending = false
  /** Whether too few replicas confirmed at the last check. */
  #short = false
  #closed = false

  /** `redis` must be used for nothing else. `onBack` is called when enough replicas confirm again. */
  constructor(
    private readonly redis: Redis,
    private readonly replicas: number,
    private readonly waitMs: number,
    private readonly onBack: () => void,
  ) {}

  run(command: Command): Promise<unknown> {
    if (this.#short) return Promise.reject(new NotReplicated(this.replicas))
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    this.#calls.push({ command, resolve, reject })
    this.#schedule()
    return promise
  }

  /** Closes after the batch in flight. */
  async close(): Promise<void> {
    this.#closed = true
    while (this.#sending) await Bun.sleep(1)
    await this.redis.quit()
  }

  #schedule(): void {
    if (this.#sending || this.#calls.length === 0) return
    this.#sending = true
    atTickEnd(() => void this.#send())
  }

  async #send(): Promise<void> {
    const calls = this.#calls.splice(0, MAX_BATCH)
    const pipeline = this.redis.pipeline()
    for (const { command } of calls) pipeline.call(...command)
    pipeline.call("WAIT", this.replicas, this.waitMs)
    try {
      const results = (await pipeline.exec())!
      const [fault, reached] = results.at(-1)!
      calls.forEach(({ resolve, reject }, i) => {
        const [error, reply] = results[i]!
        if (error ?? fault) reject(error ?? fault)
        else if (Number(reached) >= this.replicas) resolve(reply)
        else reject(new NotReplicated(this.replicas, reply))
      })
      if (fault === null && Number(reached) < this.replicas) this.#fallShort()
    } catch (error) {
      for (const { reject } of calls) reject(error)
    }
    this.#sending = false
    this.#schedule()
  }

  #fallShort(): void {
    this.#short = true
    for (const { reject } of this.#calls.splice(0)) reject(new NotReplicated(this.replicas))
    void this.#probe()
  }

  async #probe(): Promise<void> {
    while (!this.#closed) {
      const reached = await this.redis.call("WAIT", this.replicas, this.waitMs).catch(() => 0)
      if (Number(reached) >= this.replicas) {
        this.#short = false
        this.onBack()
        return
      }
      await new Promise(resolve => setTimeout(resolve, PROBE_MS).unref())
    }
  }
}
