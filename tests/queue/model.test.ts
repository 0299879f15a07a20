/** Random commands on Redis and on the model, compared after every step. MODEL_RUNS and MODEL_SEED set up long runs. */
import { expect, test } from "bun:test"
import { checkModel } from "../support/modelrun.ts"

const RUNS = Number(process.env.MODEL_RUNS ?? 800)
const SEED = process.env.MODEL_SEED === undefined ? undefined : Number(process.env.MODEL_SEED)

test(
  "after any sequence of commands Redis holds the same tasks, keys and counts as the model",
  async () => {
    const details = await checkModel({ runs: RUNS, seed: SEED })
    expect(details.failed).toBeFalse()
  },
  60_000 + RUNS * 1_000,
)
