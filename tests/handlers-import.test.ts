/** A module of handlers that cannot be loaded: the error says where the fault is. */
import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { loadHandlers } from "../lib/handlers.ts"

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "handlers-import-"))
})
afterAll(() => rm(folder, { recursive: true }))

async function load(name: string, text: string): Promise<string> {
  await Bun.write(join(folder, name), text)
  return await loadHandlers(join(folder, name)).then(
    () => "loaded",
    error => error.message,
  )
}

test("a syntax error is reported with file, line and message", async () => {
  const message = await load("syntax.ts", "export default {\n  a: ] }\nconst = 5\n")
  expect(message).toMatch(/syntax\.ts:2:\d+: \S/)
})

test("a syntax error in an imported module names that module", async () => {
  await Bun.write(join(folder, "inner.ts"), "export const x =\n ]\n")
  expect(await load("outer.ts", 'import { x } from "./inner.ts"\nexport default { x }\n')).toMatch(
    /inner\.ts:2:\d+: \S/,
  )
})

test("an exception at import is reported with a frame", async () => {
  const message = await load("throws.ts", 'new URL("no address")\nexport default {}\n')
  expect(message).toMatch(/throws\.ts:1/)
})

test("a top-level await that does not end is reported, takes no processor, and SIGTERM stops the worker", async () => {
  await Bun.write(join(folder, "waits.ts"), "await new Promise(() => {})\nexport default {}\n")
  const worker = Bun.spawn(["bun", "run", "worker.ts"], {
    cwd: join(import.meta.dir, ".."),
    env: { PATH: process.env.PATH, API_SECRET_TOKEN: "0".repeat(32), HANDLERS: join(folder, "waits.ts") },
    stdout: "ignore",
    stderr: "pipe",
  })
  const late = setTimeout(() => worker.kill("SIGKILL"), 40_000)
  let output = ""
  for await (const chunk of worker.stderr) {
    output += new TextDecoder().decode(chunk)
    if (output.includes("still loading")) break
  }
  expect(output).toContain("waits.ts is still loading after 5 s")
  await Bun.sleep(2_000)
  worker.kill("SIGTERM")
  expect(await worker.exited).toBe(0)
  clearTimeout(late)
  // The start takes about 0.3 s of processor time, and a loop would add most of the last two seconds.
  const { user, system } = worker.resourceUsage()!.cpuTime
  expect(Number(user + system) / 1e6).toBeLessThan(1.5)
})
