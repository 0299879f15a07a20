/** The filters of the dead-letter view, read from the URL. */
const TEXT_FILTERS = ["queue", "type", "reason", "error", "fingerprint"] as const

export type DeadFilter = Partial<Record<(typeof TEXT_FILTERS)[number], string>> & {
  older_than_ms?: number
  newer_than_ms?: number
}

export function readDeadFilter(query: URLSearchParams): DeadFilter {
  const filter: DeadFilter = {}
  for (const name of TEXT_FILTERS) {
    const value = query.get(name)
    if (value) filter[name] = value
  }
  const [side, ms] = (query.get("age") ?? "").split(":")
  if (side === "older_than_ms" || side === "newer_than_ms") filter[side] = Number(ms)
  return filter
}
