/** Who may do what: the roles, the table of role × route, and the caller whom a token names. */

import { type ApiToken, hashOf, type Role } from "../config/tokens.ts"
import { type Each, Refused } from "../errors.ts"
import { ROUTES, type RouteName, routeName } from "../wire/routes.ts"

/** For each route the roles of which one is enough. A route without roles needs no token. */
export const ACCESS = Object.fromEntries<readonly Role[]>(
  Object.values(ROUTES).map(route => [routeName(route), route.roles]),
) as Record<RouteName, readonly Role[]>
export type { RouteName }

/** The token that a request presents. */
export const presented = (headers: Headers): string | undefined =>
  headers.get("x-api-token") ?? /^Bearer +(.+)$/i.exec(headers.get("authorization") ?? "")?.[1]

/** Finds the caller: one hash a request, whatever the number of tokens. What a look-up by hash tells by its time helps nobody. */
export function authenticator(tokens: readonly ApiToken[]): (token: string) => Caller | undefined {
  const callers = new Map(tokens.map(token => [token.hash, new Caller(token)]))
  return token => callers.get(hashOf(token))
}

export const anyOf = (roles: readonly Role[]): string => `the role ${roles.join(" or ")}`

/** One who has shown a token. Its methods refuse with 403 `forbidden`, saying what is needed. */
export class Caller {
  readonly name: string
  readonly #routes: ReadonlySet<string>
  readonly #roles: readonly Role[]
  readonly #queues: readonly string[] | undefined

  constructor({ name, roles, queues }: Omit<ApiToken, "hash">) {
    this.name = name
    this.#roles = roles
    // Listings go by their names' order.
    this.#queues = queues && [...queues].sort()
    const open = (needed: readonly Role[]) => needed.some(role => roles.includes(role))
    this.#routes = new Set(Object.entries(ACCESS).flatMap(([route, needed]) => (open(needed) ? [route] : [])))
  }

  /** What it may, for who asks who they are. */
  shown() {
    return { name: this.name, roles: this.#roles, ...(this.#queues ? { queues: this.#queues } : {}) }
  }

  mayAsk(route: string): void {
    if (this.#routes.has(route)) return
    const needed: readonly Role[] = ACCESS[route as RouteName] ?? []
    throw forbidden(`This needs ${anyOf(needed)}: the token ${this.name} has ${this.#roles.join(" and ")}.`)
  }

  mayUse(...queues: readonly string[]): void {
    const other = queues.find(queue => !this.#has(queue))
    if (other !== undefined) throw this.#elsewhere(`the queue ${other}`)
  }

  /** All that something is about; where that is no queue, only who may use all may say. */
  mayUseEach(queues: readonly string[]): void {
    if (queues.length === 0) this.mayUseAll()
    else this.mayUse(...queues)
  }

  mayUseAll(): void {
    if (this.#queues !== undefined) throw this.#elsewhere("all queues")
  }

  /** Of a batch, each by itself: those that are about other queues are refused, and the others go on. */
  each<T>(items: Each<T>[], queueOf: (item: T) => string): Each<T>[] {
    if (this.#queues === undefined) return items
    return items.map(item => {
      if (item instanceof Refused) return item
      const queue = queueOf(item)
      return this.#has(queue) ? item : this.#elsewhere(`the queue ${queue}`)
    })
  }

  /** What a listing is about: the queue asked for, else all that the caller may see; undefined: all there are. */
  listed(queue: string | undefined): readonly string[] | undefined {
    if (queue === undefined) return this.#queues
    this.mayUse(queue)
    return [queue]
  }

  #has(queue: string): boolean {
    return this.#queues === undefined || this.#queues.includes(queue)
  }

  #elsewhere(about: string): Refused {
    return forbidden(
      `This is about ${about}: the token ${this.name} is bound to ${this.#queues!.join(" and ")}.`,
    )
  }
}

const forbidden = (detail: string) => new Refused("forbidden", { detail })
