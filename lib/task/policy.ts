/** The policy of a task (priority, budgets, time limits, backoff), and the line that stores it. */
import type { Backoff } from "../wire/fields.ts"

export const DEFAULT_PRIORITY = 5

/** What a submit sets for all attempts of its task. README.md describes the line that stores it. */
export interface Policy {
  priority: number
  maxRetries: number
  maxCrashes: number
  timeoutMs: number
  /** Limit of one attempt, regardless of extends; 0: none. */
  maxRuntimeMs?: number
  /** No attempt starts after this time; 0: none. The submit script sets it for a new task, by the clock of Redis. */
  expiresAt?: number
  /** How long the done task is kept; -1: the retention of the broker. */
  resultTtlMs?: number
  backoff?: Backoff | undefined
}

/** Encodes a policy; most end after four numbers. `expires`: the submit script will set the expiry, so its place is kept. */
export function encodePolicy(policy: Policy, expires = false): string {
  const { priority, maxRetries, maxCrashes, timeoutMs, maxRuntimeMs = 0, resultTtlMs = -1, backoff } = policy
  const short = `${priority} ${maxRetries} ${maxCrashes} ${timeoutMs}`
  if (maxRuntimeMs === 0 && !expires && resultTtlMs === -1 && backoff === undefined) return short
  const long = `${short} ${maxRuntimeMs} 0 ${resultTtlMs}`
  if (backoff === undefined) return long
  return `${long} ${backoff.kind} ${backoff.delay_ms} ${backoff.max_ms ?? 0} ${backoff.jitter === false ? 0 : 1}`
}

/** Before the name of the task's group, which ends the policy line. No position of the policy contains it. */
const GROUP_MARK = " ="

/** Appends a group to a policy line. */
export const withGroup = (line: string, group: string | undefined): string =>
  group === undefined ? line : line + GROUP_MARK + group

/** The group that a policy line names. */
export function groupIn(line: string): string | undefined {
  const at = line.indexOf(GROUP_MARK)
  return at === -1 ? undefined : line.slice(at + GROUP_MARK.length)
}

/** A policy line without its group. */
export function withoutGroup(line: string): string {
  const at = line.indexOf(GROUP_MARK)
  return at === -1 ? line : line.slice(0, at)
}

/** The positions of a policy line. Lines end after the fourth or the seventh, or have all. */
export const POLICY_FIELDS = [
  "priority",
  "max_retries",
  "max_crashes",
  "timeout_ms",
  "max_runtime_ms",
  "expires_at",
  "result_ttl_ms",
  "backoff_kind",
  "backoff_delay_ms",
  "backoff_max_ms",
  "backoff_jitter",
] as const

const MAX_CACHED = 1_000
const cache = new Map<string, Policy>()

/** Decodes a policy line, with or without a group. */
export function readPolicy(stored: string): Policy {
  const line = withoutGroup(stored)
  const cached = cache.get(line)
  if (cached !== undefined) return cached
  const [
    priority,
    maxRetries,
    maxCrashes,
    timeoutMs,
    maxRuntimeMs = 0,
    expiresAt = 0,
    resultTtlMs = -1,
    ...backoff
  ] = line.split(" ")
  const policy: Policy = {
    priority: Number(priority),
    maxRetries: Number(maxRetries),
    maxCrashes: Number(maxCrashes),
    timeoutMs: Number(timeoutMs),
    maxRuntimeMs: Number(maxRuntimeMs),
    expiresAt: Number(expiresAt),
    resultTtlMs: Number(resultTtlMs),
    backoff: readBackoff(backoff),
  }
  // Most tasks share a few policy lines, but every line with an expiry is different.
  if (cache.size >= MAX_CACHED) cache.clear()
  cache.set(line, policy)
  return policy
}

function readBackoff([kind, delay, max, jitter]: string[]): Backoff | undefined {
  if (kind === undefined) return undefined
  const backoff: Backoff = { kind: kind as Backoff["kind"], delay_ms: Number(delay), jitter: jitter === "1" }
  return max === "0" ? backoff : { ...backoff, max_ms: Number(max) }
}
