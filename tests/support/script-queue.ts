/** One queue, driven by direct calls of the Lua scripts, with defaults for all arguments. */
import { expect } from "bun:test"
import type { Item } from "../../lib/redis/scripts.ts"
import { newTokens } from "../../lib/task/lease-token.ts"
import type { Policy } from "../../lib/task/policy.ts"
import { encodeNewTask } from "../../lib/task/record.ts"
import type { Leased } from "../../lib/task/task.ts"
import { DirectQueue } from "../support/harness.ts"
import { type Dump, dump as dumpAll } from "../support/invariants.ts"
import { sharedRedis } from "../support/redis.ts"

/** A payload that is long enough for its own Redis key. */
export const LONG = `"${"payload ".repeat(40)}"`

export const HOUR = 3_600_000

export const STALE = `1.${"s".repeat(22)}`

export const BACKOFF = { kind: "fixed", delay_ms: HOUR, jitter: false } as const

/** The contents of a queue without `stats`, which changes with polls. */
export async function dump(...args: Parameters<typeof dumpAll>): Promise<Dump> {
  const { stats, ...content } = await dumpAll(...args)
  return content
}

type SettleAnswer = Awaited<ReturnType<DirectQueue["settleEach"]>>[number]

/** The arguments of a retry that keeps the payload. */
export const SAME_PAYLOAD = { inline: "", large: "" }

/** The arguments of a change that keeps everything. */
const NO_CHANGE = { ...SAME_PAYLOAD, priority: "", when: "", members: "", known: "" }

export const NO_NEWS = { progress: "", checkpoint: "", log: "" }

export interface TaskOptions extends Pick<Policy, "backoff"> {
  expiresInMs?: number
  unique?: string
  mode?: "replace"
  delay?: number
  text?: string
  priority?: number
  maxRetries?: number
  maxCrashes?: number
  timeoutMs?: number
  group?: string
}

/** A queue with one method per script. Every method has defaults for its arguments. */
export class ScriptQueue extends DirectQueue {
  async submit(ids: string | string[], options: TaskOptions = {}) {
    const {
      delay = 0,
      text = "{}",
      priority = 5,
      maxRetries = 3,
      maxCrashes = 3,
      timeoutMs = 30_000,
    } = options
    const { backoff, expiresInMs, unique, mode, group } = options
    const task = encodeNewTask({
      queue: this.name,
      type: "a",
      payload: text,
      policy: { priority, maxRetries, maxCrashes, timeoutMs, backoff },
      when: delay === 0 ? undefined : `+${delay}`,
      expiresInMs,
      group,
      unique: unique === undefined ? undefined : { key: unique, replace: mode === "replace" },
    })
    const answers = await this.submitEach(
      HOUR,
      [ids].flat().map(id => ({ id, ...task })),
    )
    return answers.map(([word]) => word)
  }

  lease(count = 1, limit = 1_000, tokens = newTokens(count)) {
    return this.leaseEach({ limit, retention: HOUR, tokens }, { worker: "w", slots: count })
  }

  /** Leases any number of tasks. One call leases at most 300; if more were requested, its next event is 0: "call again". */
  async leaseMany(count: number) {
    const tasks: Leased[] = []
    while (tasks.length < count) {
      const [nextEvent, ...some] = await this.lease(count - tasks.length)
      expect(some.length).toBe(Math.min(300, count - tasks.length))
      if (count - tasks.length > 300) expect(nextEvent).toBe(0)
      tasks.push(...some)
    }
    return tasks
  }

  /** Leases the first task and returns its id and lease. */
  async leaseOne(): Promise<{ id: string; lease: string }> {
    const [, task] = await this.lease()
    return { id: task!.id, lease: task!.lease }
  }

  async settle(
    id: string,
    lease: string,
    outcome: "done" | "failed" | "released",
    text = "",
    retention = HOUR,
    retry: number | "" = "",
  ) {
    const [[code, retries, attempt, state, _at, ...reason]] = (await this.settleEach(retention, [
      { id, lease, outcome, text, retry },
    ])) as [SettleAnswer]
    return [code, retries, attempt, state, ...reason] as const
  }

  async extend(id: string, lease: string, timeout: number | "" = "") {
    return await this.scripts.callOne("extend", this.name, {}, { id, lease, timeout, ...NO_NEWS })
  }

  async change(id: string, change: Partial<Item<"change">>) {
    const [code] = await this.scripts.callOne("change", this.name, {}, { ...NO_CHANGE, id, ...change })
    return code
  }

  async watch(id: string) {
    return await this.scripts.callOne("watch", this.name, {}, { id })
  }

  /** Returns how many tasks were deleted. */
  async purge(place: string, limit = 10) {
    const [, purged] = await this.scripts.call("purge", this.name, { place, limit })
    return purged
  }

  async deleteEnded(id: string, states = "done dead cancelled", before: number | "" = "") {
    const [code] = await this.scripts.callOne("deleteEnded", this.name, { states, before }, { id })
    return code
  }

  async retryDead(id: string, before: number | "" = "") {
    const [code] = await this.scripts.callOne("retryDead", this.name, { before }, { id, ...SAME_PAYLOAD })
    return code
  }

  async cancel(id: string, retention = HOUR) {
    const [code, state] = await this.scripts.callOne("cancel", this.name, { retention }, { id })
    return [code, state] as const
  }

  /** Moves the end of this task's retention into the past. */
  async age(set: "done" | "dead" | "cancelled", id: string) {
    if (set === "done") return this.ageDone(id)
    await this.redis.zadd(this.key(set), "XX", 1, id)
  }

  ready(priority = 5) {
    return this.redis.lrange(this.key("ready", `${priority}`), 0, -1)
  }
}

export async function scriptQueue(
  limits?: ConstructorParameters<typeof DirectQueue>[3],
): Promise<ScriptQueue> {
  return new ScriptQueue((await sharedRedis()).socket, undefined, undefined, limits)
}

export const submitAndLease = async (queue: ScriptQueue, options: TaskOptions = {}) => {
  await queue.submit("T", { text: LONG, ...options })
  return (await queue.leaseOne()).lease
}

export const makeDead = async (queue: ScriptQueue, options: TaskOptions = {}) => {
  const lease = await submitAndLease(queue, { maxRetries: 0, ...options })
  await queue.settle("T", lease, "failed", "boom")
  return lease
}

/** Sweeps at most one task; returns 1 if the sweep found one. */
export const sweepOne = async (queue: ScriptQueue) => (await queue.sweep(1))[0]

export const makeRetrying = async (queue: ScriptQueue, options: TaskOptions = {}) => {
  await queue.settle("T", await submitAndLease(queue, { backoff: BACKOFF, ...options }), "failed", "boom")
}
