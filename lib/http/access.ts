/** Access control: the table of routes and roles, and the caller that a token identifies. */
import { type ApiToken, hashOf, type Role } from "../config/tokens.ts"
import { type Each, Refused } from "../errors.ts"
import type { Sight } from "../task/sight.ts"
import { ROUTES, type RouteName, rolesOf, routeName } from "../wire/routes.ts"

/** The roles of each route, of which a token needs one. A route without roles needs no token. */
export const ACCESS = Object.fromEntries<readonly Role[]>(
  Object.values(ROUTES).map(route => [routeName(route), rolesOf(route)]),
) as Record<RouteName, readonly Role[]>

/** The token that a request carries. An empty X-API-Token counts as absent. */
export const tokenOf = (headers: Headers): string | undefined =>
  headers.get("x-api-token") || /^Bearer +(.+)$/i.exec(headers.get("authorization") ?? "")?.[1]

/**
 * Finds the caller of a token with one hash per request, whatever the number of tokens. The time of a look-up by hash
 * reveals nothing useful about a token.
 */
export function callerFinder(tokens: readonly ApiToken[]): (token: string) => Caller | undefined {
  const callers = new Map(tokens.map(token => [token.hash, new Caller(token)]))
  return token => callers.get(hashOf(token))
}

export const anyOf = (roles: readonly Role[]): string => `the role ${roles.join(" or ")}`

/** An authenticated client. Its `require` methods throw 403 `forbidden`, with what is needed. */
export class Caller {
  readonly name: string
  /** The same for all tokens that are bound to the same queues; "" for a token that is not bound. */
  readonly binding: string
  readonly #routes: ReadonlySet<string>
  readonly #roles: readonly Role[]
  readonly #queues: readonly string[] | undefined

  constructor({ name, roles, queues }: Omit<ApiToken, "hash">) {
    this.name = name
    this.#roles = roles
    // Listings expect queues in the order of their names.
    this.#queues = queues && [...new Set(queues)].sort()
    this.binding = this.#queues === undefined ? "" : hashOf(this.#queues.join(" ")).slice(0, 16)
    const hasOneOf = (needed: readonly Role[]) => needed.some(role => roles.includes(role))
    this.#routes = new Set(
      Object.entries(ACCESS).flatMap(([route, needed]) => (hasOneOf(needed) ? [route] : [])),
    )
  }

  /** What it may see of payloads, results, errors, progress, checkpoints and log lines. */
  get sight(): Sight {
    if (this.hasRole("operate") || this.hasRole("work")) return "all"
    return this.hasRole("read") || this.hasRole("submit") ? "unredacted" : "none"
  }

  hasRole(role: Role): boolean {
    return this.#roles.includes(role)
  }

  /** The name, roles and queues of the token, for GET /session. */
  describe() {
    return { name: this.name, roles: this.#roles, ...(this.#queues ? { queues: this.#queues } : {}) }
  }

  requireRole(route: string): void {
    if (this.#routes.has(route)) return
    const needed: readonly Role[] = ACCESS[route as RouteName] ?? []
    throw forbidden(
      `This request needs ${anyOf(needed)}. The token ${this.name} has only the ${this.#roles.length === 1 ? "role" : "roles"} ${this.#roles.join(" and ")}.`,
    )
  }

  requireQueues(...queues: readonly string[]): void {
    const other = queues.find(queue => !this.#has(queue))
    if (other !== undefined) throw this.#outsideQueues(`the queue ${other}`)
  }

  /** Whether the caller may use every queue of a list; if the list is empty, whether it may use all queues. */
  mayUseEach(queues: readonly string[]): boolean {
    return this.#queues === undefined || (queues.length > 0 && queues.every(queue => this.#has(queue)))
  }

  requireAllQueues(): void {
    if (this.#queues !== undefined) throw this.#outsideQueues("all queues")
  }

  /** Refuses the items of a batch that concern queues of others. The remaining items are not affected. */
  refuseOtherQueues<T>(items: Each<T>[], queueOf: (item: T) => string): Each<T>[] {
    if (this.#queues === undefined) return items
    return items.map(item => {
      if (item instanceof Refused) return item
      const queue = queueOf(item)
      return this.#has(queue) ? item : this.#outsideQueues(`the queue ${queue}`)
    })
  }

  /** The queues that a listing covers: the requested one, or all that the caller may see. Undefined means all queues. */
  visibleQueues(queue: string | undefined): readonly string[] | undefined {
    if (queue === undefined) return this.#queues
    this.requireQueues(queue)
    return [queue]
  }

  #has(queue: string): boolean {
    return this.#queues === undefined || this.#queues.includes(queue)
  }

  #outsideQueues(subject: string): Refused {
    return forbidden(
      `This request concerns ${subject}. The token ${this.name} is bound to the queue${this.#queues!.length > 1 ? "s" : ""} ${this.#queues!.join(" and ")}.`,
    )
  }
}

const forbidden = (detail: string) => new Refused("forbidden", { detail })
