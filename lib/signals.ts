/** One key press may arrive as several signals: from the terminal, through a shell, and passed on by `bun run`. */
const SAME_SIGNAL_MS = 500

/** Fires at the first SIGINT or SIGTERM, and ends the process at a later one: somebody does not want to wait. */
export function stopSignal(): AbortSignal {
  const stop = new AbortController()
  let firstAt: number | undefined
  const received = () => {
    const now = performance.now()
    firstAt ??= now
    if (now - firstAt > SAME_SIGNAL_MS) process.exit(1)
    stop.abort()
  }
  process.on("SIGTERM", received)
  process.on("SIGINT", received)
  return stop.signal
}
