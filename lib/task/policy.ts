/** What the submitter of a task asked for (priority, budgets, time limits, backoff), and the line that stores it. */
import type { Backoff } from "../wire/submitting.ts"

export const DEFAULT_PRIORITY = 5

/** What the submitter asked. Only retry-dead changes it; a task keeps it as one line, which lua/record.lua reads. */
export interface Policy {
  priority: number
  maxRetries: number
  maxCrashes: number
  timeoutMs: number
  /** The hard end of an attempt; 0: none. */
  maxRuntimeMs?: number
  /** No attempt starts later; 0: never too late. Of a new task the submit script sets it, by Redis' clock. */
  expiresAt?: number
  /** How long a done task is kept; -1: as the broker keeps them. */
  resultTtlMs?: number
  backoff?: Backoff | undefined
}

/** Most tasks ask for nothing special: their line ends after four numbers. `expires`: an expiry is to follow. */
export function encodePolicy(policy: Policy, expires = false): string {
  const { priority, maxRetries, maxCrashes, timeoutMs, maxRuntimeMs = 0, resultTtlMs = -1, backoff } = policy
  const short = `${priority} ${maxRetries} ${maxCrashes} ${timeoutMs}`
  if (maxRuntimeMs === 0 && !expires && resultTtlMs === -1 && backoff === undefined) return short
  const long = `${short} ${maxRuntimeMs} 0 ${resultTtlMs}`
  if (backoff === undefined) return long
  return `${long} ${backoff.kind} ${backoff.delay_ms} ${backoff.max_ms ?? 0} ${backoff.jitter === false ? 0 : 1}`
}

const policies = new Map<string, Policy>()

export function readPolicy(text: string): Policy {
  const known = policies.get(text)
  if (known !== undefined) return known
  const [priority, maxRetries, maxCrashes, timeoutMs, maxRuntimeMs = "0", expiresAt = "0"] = text.split(
    " ",
    6,
  )
  const policy = {
    priority: Number(priority),
    maxRetries: Number(maxRetries),
    maxCrashes: Number(maxCrashes),
    timeoutMs: Number(timeoutMs),
    maxRuntimeMs: Number(maxRuntimeMs),
    expiresAt: Number(expiresAt),
  }
  // Most tasks are asked for in the same few ways; with an expiry each is its own.
  if (policies.size >= 1_000) policies.clear()
  policies.set(text, policy)
  return policy
}
