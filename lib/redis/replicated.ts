/**
 * Writes that count once replicas have them. WAIT is about the writes of its own connection, and holds that
 * connection up, so these have one of their own.
 *   1. What comes while a batch is under way forms the next one: a batch costs one WAIT, however many it holds.
 *   2. The batch and its WAIT leave in one write. Apart, a reconnect in between would ask the wrong server. WAIT
 *      covers all that the server has done by then, for others too: a repeat that finds its work done, but not
 *      yet replicated, is not answered either.
 *   3. Where too few replicas answer in time, the batch has happened on the master and may be lost: its callers
 *      are told so. From then on nothing is tried, and so nothing left half done, until they have caught up.
 */
import type { Redis } from "ioredis"
import { NotReplicated } from "../errors.ts"

const MAX_BATCH = 1_000
/** How often it is asked whether the replicas are back. */
const PROBE_MS = 250

export type Command = readonly [name: string, ...args: (string | number)[]]

interface Call {
  command: Command
  resolve(reply: unknown): void
  reject(error: unknown): void
}

export class ReplicatedWrites {
  #calls: Call[] = []
  #sending = false
  /** Too few replicas, when last asked. */
  #short = false
  #closed = false

  /** `redis` is used for nothing else. `onBack`: there are enough replicas again. */
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

  /** Ends with what is under way. */
  async close(): Promise<void> {
    this.#closed = true
    while (this.#sending) await Bun.sleep(1)
    await this.redis.quit()
  }

  #schedule(): void {
    if (this.#sending || this.#calls.length === 0) return
    this.#sending = true
    setImmediate(() => void this.#send())
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
