export const MEMBERS = ["queue", "type", "reason", "error", "fingerprint"] as const

export type DeadFilter = Partial<Record<(typeof MEMBERS)[number], string>> & {
  older_than_ms?: number
  newer_than_ms?: number
}

export function filterOf(query: URLSearchParams): DeadFilter {
  const filter: DeadFilter = {}
  for (const name of MEMBERS) {
    const value = query.get(name)
    if (value) filter[name] = value
  }
  const [side, ms] = (query.get("age") ?? "").split(":")
  if (side === "older_than_ms" || side === "newer_than_ms") filter[side] = Number(ms)
  return filter
}
