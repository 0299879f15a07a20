/** The routes as rows of a table, for the tests of documents that list them. */
import { type OperationId, problemsOf, ROUTES, type Route, routeName } from "../../lib/wire/routes.ts"

export interface RouteRow {
  id: OperationId
  /** Method and path, as `POST /submit`. */
  route: string
  roles: readonly string[]
  /** The statuses of successful answers. */
  success: number[]
  problems: string[]
}

export const routeTable = (): RouteRow[] =>
  Object.entries<Route>(ROUTES).map(([id, route]) => ({
    id: id as OperationId,
    route: routeName(route),
    roles: route.roles,
    success: Object.keys(route.answers).map(Number),
    problems: problemsOf(route),
  }))
