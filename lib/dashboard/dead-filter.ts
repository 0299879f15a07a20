/** The filters of the dead-letter view, read from the URL. */
import type { Reason } from "../wire/states.ts"

const TEXT_FILTERS = ["queue", "queue_part", "type", "type_part", "reason", "error", "fingerprint"] as const

export type DeadFilter = Partial<Record<Exclude<(typeof TEXT_FILTERS)[number], "reason">, string>> & {
  reason?: Reason
  older_than_ms?: number
  newer_than_ms?: number
}

export function readDeadFilter(query: URLSearchParams): DeadFilter {
  const filter: DeadFilter = {}
  for (const name of TEXT_FILTERS) {
    const value = query.get(name)
    if (value) filter[name] = value as Reason
  }
  const [side, ms] = (query.get("age") ?? "").split(":")
  if (side === "older_than_ms" || side === "newer_than_ms") filter[side] = Number(ms)
  return filter
}
