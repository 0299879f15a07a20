/**
 * The Lua scripts as typed functions: what goes in and what comes out of each, and nothing else. A script is
 * called for one queue, gets all keys of that queue, and decides one transition for many tasks at once.
 */
import type { Redis } from "ioredis"
import { asRefusal } from "./errors.ts"
import { QUEUE_KEY_NAMES, queueKeys } from "./keys.ts"
import deadPage from "./lua/dead_page.lua" with { type: "text" }
import extend from "./lua/extend.lua" with { type: "text" }
import inspect from "./lua/inspect.lua" with { type: "text" }
import lease from "./lua/lease.lua" with { type: "text" }
import prelude from "./lua/prelude.lua" with { type: "text" }
import redrive from "./lua/redrive.lua" with { type: "text" }
import settle from "./lua/settle.lua" with { type: "text" }
import submit from "./lua/submit.lua" with { type: "text" }
import sweep from "./lua/sweep.lua" with { type: "text" }
import type { State } from "./models.ts"
import type { Described } from "./task.ts"

/** Each script with its arguments as the script's own first lines name them: those before, and those of each item. */
export const SCRIPTS = {
  submit: { source: submit, args: [], each: ["id", "delay", "text", "type", "policy"] },
  lease: { source: lease, args: ["limit", "tokens"], each: ["worker"] },
  settle: { source: settle, args: ["retention"], each: ["id", "lease", "outcome", "text"] },
  extend: { source: extend, args: [], each: ["id", "lease", "timeout"] },
  sweep: { source: sweep, args: ["limit", "dead_retention"], each: [] },
  redrive: { source: redrive, args: [], each: ["id"] },
  inspect: { source: inspect, args: [], each: ["id"] },
  dead_page: { source: deadPage, args: ["limit", "score", "id"], each: [] },
} as const satisfies Record<string, { source: string; args: readonly string[]; each: readonly string[] }>

export type ScriptName = keyof typeof SCRIPTS
type Value = string | number
type Arguments<N extends ScriptName> = { [K in (typeof SCRIPTS)[N]["args"][number]]: Value }
type Item<N extends ScriptName> = { [K in (typeof SCRIPTS)[N]["each"][number]]: Value }

export type SettleWord =
  | "acknowledged"
  | "requeued"
  | "moved_to_dlq"
  | "released"
  | "lease_lost"
  | "not_leased"
  | "unknown"

/** What each script answers: one entry an item, but for lease, sweep and dead_page. */
export interface Replies {
  submit: ("queued" | "scheduled" | "exists")[]
  lease: [
    nextEvent: number,
    ...tasks: [
      id: string,
      lease: string,
      retries: string | number,
      policy: string,
      type: string,
      payload: string,
      deadline: number,
    ][],
  ]
  settle: [word: SettleWord, retries: number, attempt: number, state: State][]
  extend: [word: "ok" | "lease_lost" | "unknown", deadline: number, attempt: number, state: State][]
  sweep: [moved: number, waiting: 0 | 1, nextEvent: number]
  redrive: ("requeued" | "not_dead")[]
  inspect: (Described | null)[]
  dead_page: [size: number, ...entries: [score: string, task: Described][]]
}

/** A script as Redis gets it: its shebang first, then what all share, then its own lines. */
export function scriptText(source: string): string {
  const end = source.indexOf("\n")
  return `${source.slice(0, end)}\n${prelude}\n${source.slice(end + 1)}`
}

export class Scripts {
  readonly #redis: Redis & Record<string, (...args: (string | number)[]) => Promise<unknown>>

  constructor(redis: Redis) {
    this.#redis = redis as never
    for (const [name, { source }] of Object.entries(SCRIPTS))
      redis.defineCommand(`tq_${name}`, {
        lua: scriptText(source),
        numberOfKeys: QUEUE_KEY_NAMES.length,
        readOnly: source.includes("no-writes", 0) && source.indexOf("no-writes") < source.indexOf("\n"),
      })
  }

  /** Runs a script for a queue. Faults of Redis come as Refused. */
  async call<N extends ScriptName>(
    name: N,
    queue: string,
    args: Arguments<N>,
    items: readonly Item<N>[] = [],
  ): Promise<Replies[N]> {
    const declared = SCRIPTS[name]
    const flat: Value[] = queueKeys(queue).slice()
    for (const field of declared.args) flat.push(args[field as keyof Arguments<N>])
    for (const item of items) for (const field of declared.each) flat.push(item[field as keyof Item<N>])
    try {
      return (await this.#redis[`tq_${name}`]!(...flat)) as Replies[N]
    } catch (error) {
      throw asRefusal(error)
    }
  }
}
