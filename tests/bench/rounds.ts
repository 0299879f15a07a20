/** Contenders in turn, A B C A B C, so that a change of the machine's mood meets all of them. */
import type { Run } from "./row.ts"

/** No slice of any row comes near: whoever takes this long is stuck. */
const SLICE_LIMIT_MS = 120_000

export interface Turn<T> {
  name: string
  slice: () => Promise<T>
}

/** A service runs for days: what counts is code that has been compiled, on all sides. */
const WARM_UPS = 2

/** What each gave in each round, by name. The first turns, which warm everything up, do not count. */
export async function alternate<T>(run: Run, turns: readonly Turn<T>[]): Promise<Map<string, T[]>> {
  const results = new Map<string, T[]>(turns.map(({ name }) => [name, []]))
  for (let round = 1 - WARM_UPS; round <= run.rounds; round++) {
    run.progress(round <= 0 ? "warming up" : `round ${round} of ${run.rounds}`)
    for (const { name, slice } of turns) {
      const result = await within(SLICE_LIMIT_MS, name, slice())
      if (round > 0) results.get(name)!.push(result)
    }
  }
  return results
}

async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`${what} took over ${ms} ms`)), ms)
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
