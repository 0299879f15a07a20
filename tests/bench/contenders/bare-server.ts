/** The ceiling of /submit, as a process: Elysia that validates the same body, answers a constant, and keeps nothing. */
import { Elysia } from "elysia"
import { Submit } from "../../../lib/wire/submitting.ts"

const ANSWER = JSON.stringify({ status: "queued", task_id: "01JDFSVX1Y0123456789AB" })
const HEADERS = { "content-type": "application/json", "cache-control": "no-store" }

const app = new Elysia({ precompile: true })
  .post("/submit", () => new Response(ANSWER, { headers: HEADERS }), { body: Submit })
  // As broker.ts listens.
  .listen({
    hostname: "127.0.0.1",
    port: 0,
    reusePort: false,
    idleTimeout: 40,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
  })
console.error(JSON.stringify({ message: "listens", url: `http://127.0.0.1:${app.server!.port}` }))
