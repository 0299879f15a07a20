/** Runs contenders in turn (A B C A B C), so that changes in the machine's load affect all of them. */
import type { Run } from "./row.ts"

/** Every slice takes much less than this. A contender that exceeds it is stuck. */
const SLICE_LIMIT_MS = 120_000

interface Turn<T> {
  name: string
  slice: () => Promise<T>
}

/** Warm-up turns. A service runs for days, so compiled code is what matters for all contenders. */
const WARM_UPS = { quick: 1, full: 2 }

/** The results of each contender per round, by name. Warm-up turns do not count. */
export async function alternate<T>(run: Run, turns: readonly Turn<T>[]): Promise<Map<string, T[]>> {
  const results = new Map<string, T[]>(turns.map(({ name }) => [name, []]))
  const warmUps = WARM_UPS[run.quick ? "quick" : "full"]
  for (let round = 1 - warmUps; round <= run.rounds; round++) {
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
