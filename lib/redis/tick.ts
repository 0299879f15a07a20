/**
 * The end of a tick: requests that arrive in the same tick share script calls, and the calls share a write to Redis.
 * It uses one setImmediate for all callbacks. Microtasks would be too early: they run between two requests of a tick.
 */
let callbacks: (() => void)[] = []

/** Runs `callback` at the end of this tick, in order. Callbacks added by callbacks run in the same tick. None may throw. */
export function atTickEnd(callback: () => void): void {
  if (callbacks.push(callback) === 1) setImmediate(runAll)
}

function runAll(): void {
  // The array may grow while this loop runs.
  for (const callback of callbacks) callback()
  callbacks = []
}
