/** The worker's requests to the broker do not wait behind the `fetch` calls of handlers. */
import { expect, test } from "bun:test"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Work } from "../../lib/wire/working.ts"

test("a handler with 300 open fetch calls does not delay extends and the ack", async () => {
  const folder = await mkdtemp(join(tmpdir(), "own-connections-"))
  const settled = Promise.withResolvers<string>()
  const extended = Promise.withResolvers<string>()
  let isLeased = false
  using broker = Bun.serve({
    port: 0,
    idleTimeout: 60,
    async fetch(request) {
      if (new URL(request.url).pathname !== "/work") return new Promise<Response>(() => {})
      const work = (await request.json()) as Work
      if (work.extend?.length) extended.resolve("extended")
      if (work.settle?.length) settled.resolve(work.settle[0]!.status)
      const tasks = isLeased || !work.max ? [] : [LEASED]
      if (tasks.length > 0) isLeased = true
      return Response.json({
        tasks,
        cancelled: [],
        settled: (work.settle ?? []).map(() => ({ status: "done" })),
        extended: (work.extend ?? []).map(() => ({ status: "extended" })),
      })
    },
  })
  const handlers = join(folder, "handlers.ts")
  await writeFile(
    handlers,
    `export default { crawl: async () => {
      for (let i = 0; i < 300; i++) fetch("http://127.0.0.1:${broker.port}/slow").catch(() => {})
      await Bun.sleep(2500)
    } }`,
  )
  const worker = Bun.spawn(["bun", "run", "worker.ts"], {
    cwd: join(import.meta.dir, "../.."),
    env: {
      PATH: process.env.PATH,
      BROKER_URL: `http://127.0.0.1:${broker.port}`,
      API_SECRET_TOKEN: "a-token-for-this-test-0123456789abcdef",
      HANDLERS: handlers,
    },
    stdout: "ignore",
    stderr: "ignore",
  })
  try {
    const late = Bun.sleep(50_000).then(() => "no request came through")
    expect(await Promise.race([extended.promise, late])).toBe("extended")
    expect(await Promise.race([settled.promise, late])).toBe("done")
  } finally {
    worker.kill("SIGKILL")
    await rm(folder, { recursive: true })
  }
})

const LEASED = {
  id: "t1",
  lease: "l1",
  queue: "default",
  type: "crawl",
  payload: {},
  attempt: 1,
  timeout_ms: 3_000,
}
