/**
 * `bun run start`: a broker and a worker on one machine, ended together.
 *   - Each runs in a session of its own: Ctrl-C in the terminal reaches only this process, which then ends the
 *     worker first, as it needs the broker to say how its last tasks went.
 *   - Where one of them ends by itself, so does the other.
 */
import { readFile } from "node:fs/promises"
import { join } from "node:path"

/** One Ctrl-C arrives up to three times: from the terminal, and passed on by `npx` and by `bun run`. */
const ECHO_MS = 1_000

const run = (file: string) =>
  Bun.spawn([process.execPath, join(import.meta.dir, "../..", file)], {
    stdio: ["ignore", "inherit", "inherit"],
    detached: true,
  })

/** The process above `bun run`; known on Linux only. */
async function above(): Promise<number> {
  const status = await readFile(`/proc/${process.ppid}/status`, "utf8").catch(() => "")
  return Number(/^PPid:\s*(\d+)/m.exec(status)?.[1] ?? 0)
}

/**
 * Calls back when the shell above ends, where it is one for this command alone (`sh -c …`, as npx starts): such
 * a shell passes no signal on, so that SIGTERM to npx would leave everything running.
 */
async function onOrphaned(callback: () => void): Promise<void> {
  const shell = await above()
  const command = await readFile(`/proc/${shell}/cmdline`, "utf8").catch(() => "")
  if (command.split("\0")[1] !== "-c") return
  const watch = setInterval(async () => {
    if ((await above()) === shell) return
    clearInterval(watch)
    callback()
  }, 500)
}

if (import.meta.main) {
  const [argument] = process.argv.slice(2)
  if (argument !== undefined) {
    console.error(
      `start takes no ${JSON.stringify(argument)}: settings are environment variables, which broker.ts --help and worker.ts --help list`,
    )
    process.exit(/^(-h|--help)$/.test(argument) ? 0 : 2)
  }
  const broker = run("broker.ts")
  const worker = run("worker.ts")

  const asked = Promise.withResolvers<undefined>()
  let askedAt: number | undefined
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => {
      asked.resolve(undefined)
      askedAt ??= performance.now()
      // Asked again by an impatient person: whichever still runs leaves at its second signal.
      if (performance.now() - askedAt > ECHO_MS) (worker.exitCode === null ? worker : broker).kill()
    })
  void onOrphaned(() => asked.resolve(undefined))

  const code = await Promise.race([asked.promise, broker.exited, worker.exited])
  for (const part of [worker, broker]) {
    part.kill()
    await part.exited
  }
  process.exit(code ?? Math.max(worker.exitCode ?? 1, broker.exitCode ?? 1))
}
