/**
 * A prefix that a proxy puts before all paths: /queue/dashboard. The pages use relative links, so a proxy that removes the
 * prefix needs nothing else of the broker. For a proxy that passes it on, the broker removes it.
 */
import { Elysia } from "elysia"
import { urlOf } from "./answer.ts"

/** `to` is relative to the path of the request, so that it needs no prefix. */
export const redirect = (to: string): Response =>
  new Response(null, { status: 302, headers: { location: to } })

/** The links of a page are relative to a path without a slash at its end, but routes match both. */
export const atItsPath = (request: Request, page: string, answer: () => Response | Promise<Response>) =>
  urlOf(request)?.pathname.endsWith("/") ? redirect(`../${page}`) : answer()

/** `handle` answers the request as if it had come without the prefix. Without a prefix no route is added. */
export function underPublicPath(
  prefix: string | undefined,
  handle: (request: Request) => Response | Promise<Response>,
) {
  const app = new Elysia({ name: "public-path" })
  if (prefix === undefined) return app
  const hidden = { detail: { hide: true }, parse: "none" as const }
  // A new request costs some microseconds: a proxy that removes the prefix is faster.
  return app
    .get(prefix, () => redirect(`${prefix}/dashboard`), hidden)
    .all(
      `${prefix}/*`,
      ({ request }) => {
        const url = urlOf(request)
        if (url === undefined) return handle(request) // which refuses it
        const { pathname, search, origin } = url
        return handle(new Request(origin + pathname.slice(prefix.length) + search, request))
      },
      hidden,
    )
}
