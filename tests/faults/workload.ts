import type { GroupLimits } from "../../lib/wire/queue-settings.ts"
import type { Submit } from "../../lib/wire/submitting.ts"
import { Chance } from "./seed.ts"

/** Each of a Cluster's three masters has one of these queues and one of the probe queues. */
export const QUEUES = ["faults-a", "faults-c", "faults-d"]
export const PROBE_QUEUES = ["faults-probe", "faults-probe-a", "faults-probe-c"]
/** The queue for workers that know only GET /get and acks without a lease. */
export const PLAIN_QUEUE = "faults-plain"
/** The queue of the schedules. No worker polls it, so its tasks stay where they are. */
export const SCHEDULE_QUEUE = "faults-schedules"
export const ALL_QUEUES = [...QUEUES, PLAIN_QUEUE]

/**
 * What a task does when it runs, as its payload states.
 *   done     succeeds                          flaky    fails at its first attempts, then succeeds
 *   bad      fails each time                   forget   its first worker never acks it
 *   slow     exceeds its lease and extends it  late     exceeds its first lease without an extend, and is acked late
 *   release  is released once                  poison   kills its worker each time
 */
type Deed = "done" | "flaky" | "bad" | "forget" | "slow" | "late" | "release" | "poison"

export interface Payload {
  n: number
  do: Deed
  /** Makes the payload so long that it is stored under its own key. */
  pad?: string
}

/** Tasks that are submitted together, with the same options. */
export interface Batch {
  from: number
  count: number
  queue: string
  priority: number
  retries: number
  crashes: number
  timeoutMs: number
  /** How the submit is made safe to repeat. With "none" it is not safe and not repeated. */
  keyed: "none" | "key" | "id"
  delayMs?: number
  backoffMs?: number
  exponential?: boolean
  pad?: boolean
  /** Expiry: the task must not start later than this long after its creation. */
  expiresMs?: number
  /** The time limit of one attempt, including all extends. */
  runtimeMs?: number
  /** Whether the tasks share a few unique keys. */
  unique?: boolean
  /** Whether the tasks belong to a few groups. */
  grouped?: boolean
}

/** The limits of the groups of each queue. In the other queues groups only take turns. */
export const GROUP_LIMITS: Readonly<Record<string, GroupLimits>> = {
  "faults-c": { concurrency: 2 },
  "faults-d": { order: "strict" },
}

/** The tasks of client c are numbered from c times this. */
export const NUMBERS_PER_CLIENT = 100_000_000

const DEEDS: Record<Exclude<Deed, "poison">, number> = {
  done: 900,
  flaky: 50,
  bad: 15,
  forget: 10,
  slow: 5,
  late: 5,
  release: 15,
}

export interface Pace {
  /** The number of tasks in a large batch. */
  batch: number
  /** The shortest lease; others are up to three times as long. */
  leaseMs: number
  /** One in this many of the tasks that may kill their workers does so. */
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
  if (chance.maybe(0.05) && batch.delayMs === undefined)
    batch.expiresMs = chance.between(100, 3 * pace.leaseMs)
  if (chance.maybe(0.05)) {
    // Slow tasks always exceed it.
    batch.runtimeMs = 1.2 * batch.timeoutMs
    batch.crashes = Math.min(batch.crashes, 2)
  }
  if (chance.maybe(0.05)) batch.unique = true
  if (chance.maybe(0.3)) batch.grouped = true
  if (chance.maybe(0.05)) {
    batch.queue = PLAIN_QUEUE
    batch.count = Math.min(batch.count, 10)
  }
  return batch
}

/** There are so few keys that some tasks of a queue share one. */
export const uniqueKeyOf = (n: number): string => `u${n % 40}`

/** There are so few groups that tasks of one wait for each other. */
export const groupOf = (n: number): string => `g${n % 10}`

export const idOf = (n: number): string => `n${n}`
export const keyOf = (batch: Batch): string => `k${batch.from}`

/** The body of a submit. It is always the same for a batch, as a repeated submit must be. */
export function tasksOf(batch: Batch, seed: number, pace: Pace, resultTtlMs: number): Submit[] {
  const chance = Chance.of(seed, `deeds ${batch.from}`)
  return Array.from({ length: batch.count }, (_, i) => {
    const n = batch.from + i
    const deed = chance.weighted(DEEDS)
    const kills = chance.next() < 1 / pace.poisonOneOf && batch.crashes <= 2
    const payload: Payload = {
      n,
      do: batch.queue === PLAIN_QUEUE ? (deed === "flaky" ? deed : "done") : kills ? "poison" : deed,
      ...(batch.pad ? { pad: "x".repeat(300) } : {}),
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
      ...(batch.expiresMs === undefined ? {} : { expires_in_ms: batch.expiresMs }),
      ...(batch.runtimeMs === undefined ? {} : { max_runtime_ms: batch.runtimeMs }),
      ...(batch.unique ? { unique_key: uniqueKeyOf(n) } : {}),
      ...(batch.grouped ? { group: groupOf(n) } : {}),
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
