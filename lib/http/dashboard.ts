/** The page at /dashboard, out of lib/dashboard/: bundled when it is first asked for, and kept in memory. */
import { join } from "node:path"
import { Elysia } from "elysia"
import { Refused } from "../errors.ts"
import { problemAnswer } from "./answer.ts"

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
const PAGE = "index.html"

interface File {
  bytes: Uint8Array<ArrayBuffer>
  gzipped: Uint8Array<ArrayBuffer>
  type: string
}

/** The page by its name, and what it loads by names that hold their hashes. */
async function bundle(): Promise<ReadonlyMap<string, File>> {
  const { outputs } = await Bun.build({
    entrypoints: [join(import.meta.dir, "../dashboard", PAGE)],
    publicPath: "/dashboard/",
    target: "browser",
    minify: true,
    // Nothing of ours reads it: by this Bun takes JSX for what it is in production.
    define: { "process.env.NODE_ENV": '"production"' },
  })
  const files = outputs.map(async (output): Promise<[string, File]> => {
    const bytes = new Uint8Array(await output.arrayBuffer())
    const gzipped = Bun.gzipSync(bytes, { level: 9 })
    return [output.path.replace(/^\.\//, ""), { bytes, gzipped, type: output.type }]
  })
  return new Map(await Promise.all(files))
}

let bundled: Promise<ReadonlyMap<string, File>> | undefined

/** Once for the process; where it fails, the next request tries it again. */
function files(): Promise<ReadonlyMap<string, File>> {
  bundled ??= bundle().catch(error => {
    bundled = undefined
    throw error
  })
  return bundled
}

async function file(request: Request, name: string): Promise<Response> {
  const found = (await files()).get(name)
  if (found === undefined) return problemAnswer(new Refused("not_found"))
  const gzip = /\bgzip\b/.test(request.headers.get("accept-encoding") ?? "")
  return new Response(gzip ? found.gzipped : found.bytes, {
    headers: {
      "content-type": found.type,
      "content-security-policy": POLICY,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": name === PAGE ? "no-cache" : "public, max-age=31536000, immutable",
      vary: "accept-encoding",
      ...(gzip ? { "content-encoding": "gzip" } : {}),
    },
  })
}

const hidden = { detail: { hide: true } }

export const dashboard = new Elysia({ name: "dashboard" })
  .get("/dashboard", ({ request }) => file(request, PAGE), hidden)
  .get("/dashboard/:asset", ({ request, params }) => file(request, params.asset), hidden)
