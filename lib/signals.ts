/** Signals within this time count as one: the terminal, a shell and `bun run` may each pass on the same Ctrl-C. */
const SAME_SIGNAL_MS = 500

/** Fires at the first SIGINT or SIGTERM. A later one runs `onRepeat`, which by default ends the process at once. */
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
  return stop.signal
}
