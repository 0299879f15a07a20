/**
 * The end of a tick: what reaches the broker in it shares calls, and the calls share a write to Redis. One
 * setImmediate for all, and not a microtask: microtasks run between two requests of the same tick.
 */
let due: (() => void)[] = []

/** Runs at the end of this tick, in order; what is asked for meanwhile runs behind it, in the same. It must not throw. */
export function atTickEnd(run: () => void): void {
  if (due.push(run) === 1) setImmediate(runAll)
}

function runAll(): void {
  // It may grow while it runs.
  for (const run of due) run()
  due = []
}
