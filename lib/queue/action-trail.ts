/** The newest 1,000 operator actions, in one stream of Redis that all brokers share. */
import { ACTION_STREAM } from "../redis/keys.ts"
import type { Store } from "../redis/store.ts"
import type { Action } from "../wire/action-names.ts"
import type { ActionView } from "../wire/actions.ts"

const MAX_ACTIONS = 1_000
/** Longer details are left out, so that the stream has at most some MB. */
const MAX_DETAILS_LENGTH = 4_000
const MAX_ENTRIES_PER_READ = 200

type Entry = Omit<ActionView, "id" | "at">

interface ActionPage {
  /** Only actions that concern at least one of these queues; undefined: all actions. */
  queues: readonly string[] | undefined
  by?: string | undefined
  action?: Action | undefined
  limit: number
  cursor?: string | undefined
}

export class ActionTrail {
  constructor(private readonly store: Store) {}

  async add({ details, ...entry }: Entry): Promise<void> {
    const isLong = JSON.stringify(details).length > MAX_DETAILS_LENGTH
    const text = JSON.stringify({ ...entry, details: isLong ? { omitted: true } : details })
    await this.store.command(["XADD", ACTION_STREAM, "MAXLEN", MAX_ACTIONS, "*", "entry", text])
  }

  /** A page of the actions, the newest first. An action names only those of its queues that are in `queues`. */
  async page({ queues, by, action, limit, cursor }: ActionPage): Promise<{
    actions: ActionView[]
    next: string | undefined
  }> {
    const visible = queues && new Set(queues)
    const actions: ActionView[] = []
    for await (const found of this.#read(cursor)) {
      if (by !== undefined && found.by !== by) continue
      if (action !== undefined && found.action !== action) continue
      if (visible !== undefined) {
        found.queues = found.queues?.filter(queue => visible.has(queue)) ?? []
        if (found.queues.length === 0) continue
      }
      if (actions.length === limit) return { actions, next: actions.at(-1)!.id }
      actions.push(found)
    }
    return { actions, next: undefined }
  }

  /** All actions before the one with the id `cursor`, the newest first. */
  async *#read(cursor: string | undefined): AsyncGenerator<ActionView> {
    for (let from = cursor === undefined ? "+" : `(${cursor}`; ; ) {
      const range = ["XREVRANGE", ACTION_STREAM, from, "-", "COUNT", MAX_ENTRIES_PER_READ] as const
      const entries = (await this.store.command(range)) as [id: string, fields: [string, text: string]][]
      for (const [id, [, text]] of entries) yield { id, at: Number.parseInt(id, 10), ...JSON.parse(text) }
      if (entries.length < MAX_ENTRIES_PER_READ) return
      from = `(${entries.at(-1)![0]}`
    }
  }
}
