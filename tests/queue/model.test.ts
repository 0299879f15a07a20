/** Random lives of tasks, on Redis and in the model, compared after every step. MODEL_RUNS and MODEL_SEED for long runs. */
import { expect, test } from "bun:test"
import { checkModel } from "../support/modelrun.ts"

const RUNS = Number(process.env.MODEL_RUNS ?? 800)
const SEED = process.env.MODEL_SEED === undefined ? undefined : Number(process.env.MODEL_SEED)

test(
  "whatever is done to tasks in whatever order, they are where the model says, and counted as it says",
  async () => {
    const details = await checkModel({ runs: RUNS, seed: SEED })
    expect(details.failed).toBeFalse()
  },
  60_000 + RUNS * 1_000,
)
