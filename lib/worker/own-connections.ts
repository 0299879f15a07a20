/**
 * HTTP requests on connections that only the worker uses. Bun runs at most 256 `fetch` calls of a process at a time, and
 * further calls wait. So with `fetch`, handlers that fetch from a slow server would hold up lease extensions and acks
 * until all leases lapse. Requests of node:http are not under that limit.
 */
import * as http from "node:http"
import * as https from "node:https"
import type { Fetch } from "../client.ts"

export function ownConnections(url: string): Fetch {
  const { request, Agent } = url.startsWith("https:") ? https : http
  const agent = new Agent({ keepAlive: true })
  return (target, { method, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const sent = request(target, { method, headers, agent, signal }, async answer => {
        try {
          const chunks: Buffer[] = []
          for await (const chunk of answer) chunks.push(chunk)
          const status = answer.statusCode!
          const fields = Object.entries(answer.headers).map(([name, value]): [string, string] => [
            name,
            String(value),
          ])
          resolve(
            new Response(status === 204 || status === 304 ? null : Buffer.concat(chunks), {
              status,
              statusText: answer.statusMessage ?? "",
              headers: fields,
            }),
          )
        } catch (error) {
          reject(error)
        }
      })
      sent.on("error", reject)
      sent.end(body)
    })
}
