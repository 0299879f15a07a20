/** A longer delay would make a timer fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** Resolves after `ms`, or after the longest delay of a timer, or when the signal fires, whichever comes first. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve()
  return new Promise(resolve => {
    const end = () => {
      clearTimeout(timer)
      signal?.removeEventListener("abort", end)
      resolve()
    }
    const timer = setTimeout(end, Math.min(ms, MAX_TIMER_MS))
    signal?.addEventListener("abort", end)
  })
}
