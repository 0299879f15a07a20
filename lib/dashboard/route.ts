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

/** Changes that leave the list of the view as it is. */
const KEEP_THE_PAGE = ["page", "groups_page", "gone_page", "span"]

/**
 * Changes filters of the current view and omits empty ones. A page of a list belongs to its filters, so it begins again.
 * Replaces the history entry, so typing adds none.
 */
export function refine(changes: Record<string, string>): void {
  const { path, query } = route.value
  const next = new URLSearchParams(query)
  if (!Object.keys(changes).every(name => KEEP_THE_PAGE.includes(name)))
    for (const page of ["page", "gone_page"]) next.delete(page)
  for (const [name, value] of Object.entries(changes)) {
    if (value === "") next.delete(name)
    else next.set(name, value)
  }
  const hash = `#/${path.map(encodeURIComponent).join("/")}${next.size > 0 ? `?${next}` : ""}`
  history.replaceState(null, "", hash)
  route.set(read())
}

/** The cursors of the pages of a list up to the current one, which are in the URL, and how to go to another page. */
export function pagesOf(query: URLSearchParams, name: "page" | "groups_page" | "gone_page" = "page") {
  const cursors = (query.get(name) ?? "").split("~").filter(Boolean)
  return { cursors, go: (to: readonly string[]) => refine({ [name]: to.join("~") }) }
}
