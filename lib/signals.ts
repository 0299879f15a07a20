/** One key press may arrive as several signals: from the terminal, through a shell, and passed on by `bun run`. */
const SAME_SIGNAL_MS = 500

/** Fires at the first SIGINT or SIGTERM. At a later one somebody does not want to wait: the process ends, or `again` is run. */
export function stopSignal(again: () => void = () => process.exit(1)): AbortSignal {
  const stop = new AbortController()
  let firstAt: number | undefined
  const received = () => {
    const now = performance.now()
    firstAt ??= now
    if (now - firstAt > SAME_SIGNAL_MS) again()
    stop.abort()
  }
  process.on("SIGTERM", received)
  process.on("SIGINT", received)
  return stop.signal
}
