/**
 * BROKERS=n: several broker processes on one port, for machines with many cores. Linux distributes connections over all
 * processes that listen there (SO_REUSEPORT). The parent serves no requests. It starts the processes, stops them, and
 * replaces those that end unexpectedly.
 */
import { join } from "node:path"
import type { Subprocess } from "bun"
import type { BrokerConfig } from "../config/config.ts"
import { type Log, nameOfProcess } from "../log.ts"
import { pause } from "../pause.ts"
import { stopSignal } from "../signals.ts"
import { type Listening, listenError } from "./greeting.ts"

const BROKER = join(import.meta.dir, "../..", "broker.ts")
const UNDER_START = join(import.meta.dir, "under-start.ts")
/** The argument of a broker process that is one of several. Its number follows, from 0. */
const NTH = "--nth"
/** The pause before a process is replaced, so that one that always fails does not use a whole core. */
const REPLACE_MS = 1_000

interface Child {
  process: Subprocess
  /** What it reports when it listens; undefined if it ended before that. */
  listening: Promise<Listening | undefined>
}

/** Runs the processes until a signal stops them. Calls `onListening` once, when all listen. Returns the exit code. */
export async function runBrokers(
  { brokers, host, port }: BrokerConfig,
  log: Log,
  onListening: (first: Listening, pids: number[]) => void,
): Promise<number> {
  const fault = await portFault(host, port)
  if (fault !== undefined) {
    log.error(`The broker cannot start: ${fault.message}`)
    return 1
  }
  const running = new Set<Subprocess>()
  const kill = (signal: NodeJS.Signals) => {
    for (const child of running) child.kill(signal)
  }
  // At the second signal: a frozen process reacts only to SIGKILL.
  const stop = stopSignal(() => kill("SIGKILL"))
  stop.addEventListener("abort", () => kill("SIGTERM"))

  const start = (nth: number): Child => {
    const { promise: listening, resolve } = Promise.withResolvers<Listening | undefined>()
    const preload = nameOfProcess() === undefined ? [] : ["--preload", UNDER_START]
    const child = Bun.spawn([process.execPath, ...preload, BROKER, NTH, `${nth}`], {
      stdio: ["ignore", "inherit", "inherit"],
      ipc: resolve,
    })
    running.add(child)
    void child.exited.then(() => {
      running.delete(child)
      resolve(undefined)
    })
    return { process: child, listening }
  }

  // Start the first one alone, so that a fault that affects all of them is logged once.
  const all = [start(0)]
  if ((await all[0]!.listening) !== undefined && !stop.aborted)
    for (let nth = 1; nth < brokers; nth++) all.push(start(nth))
  const [first, ...others] = await Promise.all(all.map(({ listening }) => listening))
  const started = first !== undefined && !others.includes(undefined)
  if (!started) kill("SIGTERM")
  if (!started || stop.aborted) return Math.max(...(await Promise.all(all.map(exitCodeOf))))
  onListening(
    first,
    all.map(({ process }) => process.pid),
  )

  const keepRunning = async (child: Child, nth: number): Promise<number> => {
    for (;;) {
      const code = await exitCodeOf(child)
      if (stop.aborted) return code
      const { pid, exitCode, signalCode } = child.process
      log.error("A broker process ended unexpectedly and is being replaced", {
        nth,
        pid,
        ended_with: exitCode ?? signalCode,
      })
      await pause(REPLACE_MS, stop)
      if (stop.aborted) return 0
      const next = start(nth)
      void next.listening.then(listening => {
        if (listening !== undefined) log.info("A broker process is listening", { nth, pid: next.process.pid })
      })
      child = next
    }
  }
  return Math.max(...(await Promise.all(all.map(keepRunning))))
}

/** Returns an error if the port is in use. Processes that share a port would not notice that others listen on it. */
async function portFault(hostname: string, port: number): Promise<Error | undefined> {
  try {
    await Bun.serve({ hostname, port, reusePort: false, fetch: () => new Response() }).stop(true)
  } catch (error) {
    return listenError(error, hostname, port)
  }
}

/** A child that SIGTERM ends before it handles signals counts as stopped in order: the signal came from here. */
async function exitCodeOf({ process: child }: Child): Promise<number> {
  await child.exited
  return child.exitCode ?? (child.signalCode === "SIGTERM" ? 0 : 1)
}

/** The number of this process if it is one of several. Only a parent with an IPC channel can pass it. */
export function nthOf([name, nth]: readonly string[]): number | undefined {
  return name === NTH && process.connected ? Number(nth) : undefined
}

/** Like `stopSignal`, but also fires when the parent is gone, because nothing else would stop this process. */
export function stopWithParent(): AbortSignal {
  const gone = new AbortController()
  process.once("disconnect", () => gone.abort())
  return AbortSignal.any([stopSignal(), gone.signal])
}
