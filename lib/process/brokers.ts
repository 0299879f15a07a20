/**
 * BROKERS=n: several broker processes on one port, for machines with more cores than one of them can use. Linux spreads
 * connections over all that listen there (SO_REUSEPORT). The process that was started serves nothing itself: it starts the
 * others, ends them, and starts another in the place of one that ended unexpectedly.
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
/** The argument of a broker that is one of several; its number follows, from 0. */
const NTH = "--nth"
/** Before another takes the place of one that ended, so that one that cannot live does not take a core. */
const AGAIN_MS = 1_000

interface Child {
  process: Subprocess
  /** What it says once it listens; undefined where it ended before. */
  listening: Promise<Listening | undefined>
}

/** Runs them until they are told to stop. `listens` is called once, when all do. Gives the exit code. */
export async function runBrokers(
  { brokers, host, port }: BrokerConfig,
  log: Log,
  listens: (first: Listening, pids: number[]) => void,
): Promise<number> {
  const refusal = await portFault(host, port)
  if (refusal !== undefined) {
    log.error(`The broker cannot start: ${refusal.message}`)
    return 1
  }
  const running = new Set<Subprocess>()
  const kill = (signal: NodeJS.Signals) => {
    for (const child of running) child.kill(signal)
  }
  // A frozen one hears nothing else.
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

  // The first one alone: what keeps brokers from starting is told once.
  const all = [start(0)]
  if ((await all[0]!.listening) !== undefined && !stop.aborted)
    for (let nth = 1; nth < brokers; nth++) all.push(start(nth))
  const [first, ...others] = await Promise.all(all.map(({ listening }) => listening))
  const started = first !== undefined && !others.includes(undefined)
  if (!started) kill("SIGTERM")
  if (!started || stop.aborted) return Math.max(...(await Promise.all(all.map(exitCodeOf))))
  listens(
    first,
    all.map(({ process }) => process.pid),
  )

  const keep = async (child: Child, nth: number): Promise<number> => {
    for (;;) {
      const code = await exitCodeOf(child)
      if (stop.aborted) return code
      const { pid, exitCode, signalCode } = child.process
      log.error("A broker process ended unexpectedly and is replaced", {
        ...{ nth, pid, ended_with: exitCode ?? signalCode },
      })
      await pause(AGAIN_MS, stop)
      if (stop.aborted) return 0
      const next = start(nth)
      void next.listening.then(listening => {
        if (listening !== undefined) log.info("A broker process is listening", { nth, pid: next.process.pid })
      })
      child = next
    }
  }
  return Math.max(...(await Promise.all(all.map(keep))))
}

/** Why the port cannot be had. Brokers that share one would not be told that others have it already. */
async function portFault(hostname: string, port: number): Promise<Error | undefined> {
  try {
    await Bun.serve({ hostname, port, reusePort: false, fetch: () => new Response() }).stop(true)
  } catch (error) {
    return listenError(error, hostname, port)
  }
}

/** SIGTERM comes from here, maybe before the child is ready for it. */
async function exitCodeOf({ process: child }: Child): Promise<number> {
  await child.exited
  return child.exitCode ?? (child.signalCode === "SIGTERM" ? 0 : 1)
}

/** Which of several this process is; undefined: it is none. Only who starts them can ask for one. */
export function nthOf([name, nth]: readonly string[]): number | undefined {
  return name === NTH && process.connected ? Number(nth) : undefined
}

/** As `stopSignal`; fires also when the process that started this one is gone, as nobody else would end it. */
export function stopWithParent(): AbortSignal {
  const gone = new AbortController()
  process.once("disconnect", () => gone.abort())
  return AbortSignal.any([stopSignal(), gone.signal])
}
