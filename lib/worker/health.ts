/**
 * The health of a worker over HTTP, for probes: 200, or 503 if the broker has not answered for 60 s. Every path gives the
 * same answer: {"last_answer_at": milliseconds since 1970, "in_hand": number of running tasks}.
 */
import { once } from "node:events"
import { createServer } from "node:http"
import type { BrokerContact } from "./broker-contact.ts"

export interface HealthAddress {
  port: number
  /** The address to listen on. The default is all. */
  host?: string
}

/** Listens until the returned function is called. Rejects if it cannot listen. */
export async function serveHealth(
  { port, host = "0.0.0.0" }: HealthAddress,
  contact: Pick<BrokerContact, "lastAnswerAt" | "isLost">,
  inHand: () => number,
): Promise<{ port: number; close: () => void }> {
  const server = createServer((_request, response) => {
    const { lastAnswerAt: last_answer_at, isLost } = contact
    const body = JSON.stringify({ last_answer_at, in_hand: inHand() })
    response.writeHead(isLost ? 503 : 200, { "Content-Type": "application/json" }).end(body)
  })
  server.listen(port, host)
  await once(server, "listening")
  return {
    port: (server.address() as { port: number }).port,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}
