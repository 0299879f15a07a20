/** What clients ask for and what the tasks then do to their workers, drawn from the seed. */
import type { Submit } from "../../lib/models.ts"
import { Chance } from "./seed.ts"

export const QUEUES = ["faults-a", "faults-b", "faults-c"]

/**
 * What a task does when it runs; its payload says so.
 *   done     ends well                       flaky    fails at its first attempts, then ends well
 *   bad      fails each time                 forget   a first worker never says a word about it
 *   slow     outlives its lease and extends  late     outlives its lease at first, and acks all the same
 *   release  is given back once              poison   kills its worker each time
 */
export type Deed = "done" | "flaky" | "bad" | "forget" | "slow" | "late" | "release" | "poison"

export interface Payload {
  n: number
  do: Deed
  /** So long that the payload does not fit where short ones are kept. */
  pad?: string
}

/** Tasks that are submitted together, all in the same words. */
export interface Batch {
  from: number
  count: number
  queue: string
  priority: number
  retries: number
  crashes: number
  timeoutMs: number
  /** How the submit is made safe to repeat; "none": it is not, and not repeated. */
  keyed: "none" | "key" | "id"
  delayMs?: number
  backoffMs?: number
  exponential?: boolean
  pad?: boolean
}

/** Client c makes the tasks from c * this on. */
export const NUMBERS_A_CLIENT = 100_000_000

const DEEDS: Record<Exclude<Deed, "poison">, number> = {
  ...{ done: 900, flaky: 50, bad: 15, forget: 10, slow: 5, late: 5, release: 15 },
}

export interface Pace {
  /** Tasks of a large batch. */
  batch: number
  /** The shortest lease; others are up to three times as long. */
  leaseMs: number
  /** One of so many tasks that may kill their workers does. */
  poisonOneOf: number
}

export function drawBatch(chance: Chance, from: number, most: number, pace: Pace): Batch {
  const size = chance.weighted({ many: 70, few: 10, one: 20 })
  const batch: Batch = {
    from,
    count: Math.min(most, size === "many" ? pace.batch : size === "few" ? chance.between(2, 10) : 1),
    queue: chance.one(QUEUES),
    priority: chance.maybe(0.8) ? 5 : chance.between(0, 9),
    retries: chance.between(0, 4),
    crashes: chance.maybe(0.2) ? chance.between(0, 2) : 40,
    timeoutMs: pace.leaseMs * chance.one([1, 1, 1.5, 3]),
    keyed: chance.one(["none", "key", "id"] as const),
  }
  if (chance.maybe(0.1)) batch.delayMs = chance.between(100, 2 * pace.leaseMs)
  if (chance.maybe(0.3)) batch.backoffMs = chance.between(20, pace.leaseMs / 3)
  if (chance.maybe(0.5)) batch.exponential = true
  if (chance.maybe(0.2)) batch.pad = true
  return batch
}

export const idOf = (n: number): string => `n${n}`
export const keyOf = (batch: Batch): string => `k${batch.from}`

/** A batch as it crosses the wire: the same each time, as repetitions must be. */
export function tasksOf(batch: Batch, seed: number, pace: Pace, resultTtlMs: number): Submit[] {
  const chance = Chance.of(seed, `deeds ${batch.from}`)
  return Array.from({ length: batch.count }, (_, i) => {
    const n = batch.from + i
    const deed = chance.weighted(DEEDS)
    const kills = chance.next() < 1 / pace.poisonOneOf && batch.crashes <= 2
    const payload: Payload = {
      n,
      do: kills ? "poison" : deed,
      ...(batch.pad ? { pad: "x".repeat(100) } : {}),
    }
    return {
      type: "work",
      payload,
      queue: batch.queue,
      priority: batch.priority,
      max_retries: batch.retries,
      max_crashes: batch.crashes,
      timeout_ms: batch.timeoutMs,
      result_ttl_ms: resultTtlMs,
      ...(batch.keyed === "id" ? { task_id: idOf(n) } : {}),
      ...(batch.delayMs === undefined ? {} : { delay_ms: batch.delayMs }),
      ...(batch.backoffMs === undefined
        ? {}
        : {
            backoff: {
              kind: batch.exponential ? ("exponential" as const) : ("fixed" as const),
              delay_ms: batch.backoffMs,
              max_ms: pace.leaseMs,
            },
          }),
    }
  })
}
