/** The upper bound for /submit, as a process: Elysia validates the same body, answers a constant and stores nothing. */
import { Elysia } from "elysia"
import { Submit } from "../../../lib/wire/submitting.ts"

const ANSWER = JSON.stringify({ status: "queued", task_id: "01JDFSVX1Y0123456789AB" })
const HEADERS = { "content-type": "application/json", "cache-control": "no-store" }

const app = new Elysia({ precompile: true })
  .post("/submit", () => new Response(ANSWER, { headers: HEADERS }), { body: Submit })
  // The same options as in broker.ts.
  .listen({
    hostname: "127.0.0.1",
    port: 0,
    reusePort: false,
    idleTimeout: 40,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
  })
console.error(JSON.stringify({ message: "listens", url: `http://127.0.0.1:${app.server!.port}` }))
