/** Serves the page /dashboard. Its source in lib/dashboard/ is bundled at the first request and kept in memory. */
import { join } from "node:path"
import { Elysia } from "elysia"
import type { Installation } from "../config/installation.ts"
import { Refused } from "../errors.ts"
import { problemAnswer } from "./answer.ts"
import { atItsPath } from "./public-path.ts"
import { type StaticFile, staticAnswer } from "./static.ts"

const PAGE = "index.html"

/** Bundles the page. All files but PAGE have a hash of their content in their name. */
async function bundle(): Promise<ReadonlyMap<string, StaticFile>> {
  const { outputs } = await Bun.build({
    entrypoints: [join(import.meta.dir, "../dashboard", PAGE)],
    publicPath: "dashboard/", // relative, so that it works under PUBLIC_PATH
    target: "browser",
    minify: true,
    // The page does not read NODE_ENV. Without it, Bun compiles JSX for development.
    define: { "process.env.NODE_ENV": '"production"' },
  })
  const files = outputs.map(async (output): Promise<[string, StaticFile]> => {
    const body = new Uint8Array(await output.arrayBuffer())
    const name = output.path.replace(/^\.\//, "")
    return [
      name,
      {
        body,
        gzipped: Bun.gzipSync(body, { level: 9 }),
        contentType: output.type,
        cacheControl: name === PAGE ? "no-cache" : "public, max-age=31536000, immutable",
      },
    ]
  })
  return new Map(await Promise.all(files))
}

let bundled: Promise<ReadonlyMap<string, StaticFile>> | undefined

/** Bundles once per process. After a failure the next request tries again. */
function bundleOnce(): Promise<ReadonlyMap<string, StaticFile>> {
  bundled ??= bundle().catch(error => {
    bundled = undefined
    throw error
  })
  return bundled
}

async function answerFile(request: Request, name: string): Promise<Response> {
  const file = (await bundleOnce()).get(name)
  return file === undefined ? problemAnswer(new Refused("not_found")) : staticAnswer(request, file)
}

const hidden = { detail: { hide: true } }

/** The page says which installation it belongs to, also before one signs in. */
export const dashboard = (installation: Installation | undefined) =>
  new Elysia({ name: "dashboard" })
    .get(
      "/dashboard",
      ({ request }) =>
        atItsPath(request, "dashboard", async () => staticAnswer(request, await pageOf(installation))),
      hidden,
    )
    .get("/dashboard/:asset", ({ request, params }) => answerFile(request, params.asset), hidden)

async function pageOf(installation: Installation | undefined): Promise<StaticFile> {
  const page = (await bundleOnce()).get(PAGE)!
  if (installation === undefined) return page
  const name = Bun.escapeHTML(installation.name)
  const head = `<meta name="installation" content="${name}" data-color="${installation.color}"><title>${name}</title>`
  const html = new TextDecoder().decode(page.body as Uint8Array).replace(/<title>.*?<\/title>/, () => head)
  const body = new TextEncoder().encode(html)
  return { ...page, body, gzipped: Bun.gzipSync(body) }
}
