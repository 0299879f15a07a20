/** Deliberate bugs in the scripts: each must turn the model check red. The shrunk sequence shows how little it takes. */
import { describe, expect, setDefaultTimeout, test } from "bun:test"
import { checkModel, type Patch, patched } from "./modelrun.ts"

setDefaultTimeout(60_000)

const RUNS = 300

const BUGS: [bug: string, patch: Patch][] = [
  [
    "a token that is not compared",
    {
      script: "settle",
      line: '(lease == "" or lease == fields.lease)',
      becomes: "true",
    },
  ],
  [
    "an index that is not cleaned when a task is settled",
    {
      script: "settle",
      line: "leave(leases, id)\n  if fields.cancel",
      becomes: "if fields.cancel",
    },
  ],
  [
    "a crash that is not counted",
    {
      script: "sweep",
      line: 'counter = "crashes"',
      becomes: 'counter = "uncounted"',
    },
  ],
  [
    "a unique key that is not freed",
    {
      script: "settle",
      line: 'redis.call("DEL", unique .. fields.unique)',
      becomes: "fields.unique = nil",
    },
  ],
]

describe("the model check finds", () => {
  test.each(BUGS)("%s", async (bug, patch) => {
    const { failed, numRuns, counterexample } = await checkModel({ runs: RUNS, patch, onFailure: "tell" })
    expect(failed).toBeTrue()
    const steps = String(counterexample)
    if (process.env.SHOW_PLANTED) console.log(`${bug}, in run ${numRuns}: ${steps}`)
    expect(steps.match(/\w+\(/g)!.length).toBeLessThanOrEqual(8)
  })
})

test("a planted bug whose line the script no longer has is told, and not taken for found", () => {
  const patch: Patch = { script: "settle", line: "a line that is not there", becomes: "" }
  expect(() => patched(patch)).toThrow("stands 0 times")
})
