/**
 * `bun run start`: a broker and a worker on one machine, which end together.
 *   - Each runs in a session of its own, so that Ctrl-C in the terminal reaches only this process. It ends the worker
 *     first, because the worker needs the broker to report its last tasks.
 *   - If one of them ends, the other is ended too. If this process is killed, both end (under-start.ts).
 *   - The worker starts once the broker is ready: before that there may be no token, or another broker on the port. It
 *     gets the address on which the broker listens, unless BROKER_URL is set.
 */
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import type { ReadyMessage } from "./greeting.ts"
import { runProgram } from "./help.ts"

/** One Ctrl-C may arrive up to three times: from the terminal, and forwarded by `npx` and by `bun run`. */
const SAME_SIGNAL_MS = 1_000

const PRELOAD = join(import.meta.dir, "under-start.ts")

/** Starts a program. `onReady` is called when it reports that it is ready. */
const run = (file: string, env = {}, onReady: (message: ReadyMessage) => void = () => {}) =>
  Bun.spawn([process.execPath, "--preload", PRELOAD, join(import.meta.dir, "../..", file)], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...env },
    detached: true,
    ipc: onReady,
  })

/** The parent of `bun run`, which is our parent. Known only on Linux. */
async function grandparent(): Promise<number> {
  const status = await readFile(`/proc/${process.ppid}/status`, "utf8").catch(() => "")
  return Number(/^PPid:\s*(\d+)/m.exec(status)?.[1] ?? 0)
}

/**
 * Calls back when the shell that runs only this command (`sh -c …`, as npx starts one) ends. Such a shell forwards no
 * signals, so SIGTERM to npx would otherwise leave everything running.
 */
async function onShellEnd(callback: () => void): Promise<void> {
  const shell = await grandparent()
  const command = await readFile(`/proc/${shell}/cmdline`, "utf8").catch(() => "")
  if (command.split("\0")[1] !== "-c") return
  const watch = setInterval(async () => {
    if ((await grandparent()) === shell) return
    clearInterval(watch)
    callback()
  }, 500)
}

async function main(): Promise<number> {
  const ready = Promise.withResolvers<ReadyMessage>()
  const stopped = Promise.withResolvers<undefined>()
  const broker = run("broker.ts", {}, ready.resolve)
  let worker: ReturnType<typeof run> | undefined
  let firstAt: number | undefined
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => {
      stopped.resolve(undefined)
      firstAt ??= performance.now()
      // A later signal: the one that is ending leaves at its second signal.
      if (performance.now() - firstAt > SAME_SIGNAL_MS) (worker?.exitCode === null ? worker : broker).kill()
    })
  void onShellEnd(() => stopped.resolve(undefined))

  let code = await Promise.race([stopped.promise, broker.exited, ready.promise])
  if (typeof code === "object") {
    worker = run("worker.ts", { BROKER_URL: process.env.BROKER_URL || code.url })
    code = await Promise.race([stopped.promise, broker.exited, worker.exited])
  }
  for (const part of [worker, broker]) {
    part?.kill()
    await part?.exited
  }
  return code ?? Math.max(worker?.exitCode ?? 0, broker.exitCode ?? 1)
}

if (import.meta.main) process.exit(await runProgram("start", process.argv.slice(2), main))
