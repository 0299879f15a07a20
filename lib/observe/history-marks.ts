/** Marks in the history, such as deploys: a sorted set of Redis that all brokers share. */
import { HISTORY_MARKS } from "../redis/keys.ts"
import type { Store } from "../redis/store.ts"
import { HOURS_KEPT_MS, type Mark } from "../wire/charting.ts"

const MAX_MARKS = 1_000
/** How many GET /history shows. */
const MAX_SHOWN = 100

export class HistoryMarks {
  constructor(private readonly store: Store) {}

  /** Returns false if the mark exists: the same mark again changes nothing. Beyond MAX_MARKS the oldest are removed. */
  async add(mark: Mark): Promise<boolean> {
    const { at, text, by } = mark
    const added = await this.store.command(["ZADD", HISTORY_MARKS, at, JSON.stringify({ at, text, by })])
    await this.store.command(["ZREMRANGEBYRANK", HISTORY_MARKS, 0, -MAX_MARKS - 1])
    await this.store.command(["PEXPIRE", HISTORY_MARKS, HOURS_KEPT_MS])
    return added === 1
  }

  /** The newest marks of this span, the oldest first. */
  async between(from: number, to: number): Promise<Mark[]> {
    const range = ["ZREVRANGEBYSCORE", HISTORY_MARKS, to, from, "LIMIT", 0, MAX_SHOWN] as const
    const found = (await this.store.command(range)) as string[]
    return found.map(text => JSON.parse(text)).reverse()
  }
}
