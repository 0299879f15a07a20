/** The current view and its filters: the part of the URL after `#`, which is not sent to the broker. */
import { Store } from "./store.ts"

export interface Route {
  path: readonly string[]
  query: URLSearchParams
}

function read(): Route {
  const [path = "", query = ""] = location.hash.slice(1).split(/\?(.*)/s)
  return { path: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

export const route = new Store<Route>(read())
addEventListener("hashchange", () => route.set(read()))

export const go = (hash: string): void => {
  location.hash = hash
}

/** Changes filters of the current view and omits empty ones. Replaces the history entry, so typing adds none. */
export function refine(changes: Record<string, string>): void {
  const { path, query } = route.value
  const next = new URLSearchParams(query)
  for (const [name, value] of Object.entries(changes)) {
    if (value === "") next.delete(name)
    else next.set(name, value)
  }
  const hash = `#/${path.map(encodeURIComponent).join("/")}${next.size > 0 ? `?${next}` : ""}`
  history.replaceState(null, "", hash)
  route.set(read())
}
