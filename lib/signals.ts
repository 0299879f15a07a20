/** The signals that stop a program. */
import { readFileSync } from "node:fs"

/** Signals within this time count as one: the terminal, a shell and `bun run` may each pass on the same Ctrl-C. */
const SAME_SIGNAL_MS = 500

/**
 * Fires at the first SIGINT, SIGTERM or SIGHUP. A SIGHUP that was ignored from the start, as nohup does, stays ignored.
 * A later one runs `onRepeat`, which by default ends the process at once.
 */
export function stopSignal(onRepeat: () => void = () => process.exit(1)): AbortSignal {
  const stop = new AbortController()
  let firstAt: number | undefined
  const received = () => {
    const now = performance.now()
    firstAt ??= now
    if (now - firstAt > SAME_SIGNAL_MS) onRepeat()
    stop.abort()
  }
  process.on("SIGTERM", received)
  process.on("SIGINT", received)
  if (!hangupIsIgnored) process.on("SIGHUP", received)
  return stop.signal
}

/**
 * Read before any handler is installed, because a handler changes it. Without /proc it cannot be known, and SIGHUP keeps
 * its default.
 */
const hangupIsIgnored = readHangupIsIgnored()

function readHangupIsIgnored(): boolean {
  try {
    const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]
    return mask === undefined || (Number.parseInt(mask.slice(-1), 16) & 1) === 1
  } catch {
    return true
  }
}
