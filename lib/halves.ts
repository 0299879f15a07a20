/**
 * Sends a batch, and where the broker refuses it as a whole, its halves: so one bad item, or a batch that is
 * too big, costs only itself. Never rejects: an item that got no answer has the error in its place.
 */
import { BrokerProblem } from "./client.ts"

export async function inHalves<Item, Answer>(
  items: readonly Item[],
  send: (items: readonly Item[]) => Promise<readonly Answer[]>,
): Promise<readonly (Answer | Error)[]> {
  try {
    return await send(items)
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown))
    if (items.length < 2 || !blamesTheBatch(error)) return items.map(() => error)
    const middle = Math.ceil(items.length / 2)
    const first = await inHalves(items.slice(0, middle), send)
    return [...first, ...(await inHalves(items.slice(middle), send))]
  }
}

/** What a proxy or the HTTP server itself, which know no codes, say of a body they do not like. */
const REFUSED_BODY: ReadonlySet<number> = new Set([400, 403, 413, 422])

/** An outage, a refused token and a proxy that has lost its broker are nobody's fault in the batch. */
const blamesTheBatch = (error: Error): error is BrokerProblem =>
  error instanceof BrokerProblem &&
  !error.retryable &&
  error.status !== 401 &&
  (error.code !== "unknown" || REFUSED_BODY.has(error.status))

/** Whether asking again with the same item can only be answered in the same way. */
export const isFinal = (error: Error): error is BrokerProblem => blamesTheBatch(error) && error.status < 500
