/** A short form of `bun run faults --topology cluster --replicas 0`: one of three masters is down, and nobody replaces it. */
import { expect, setDefaultTimeout, test } from "bun:test"
import { cluster } from "./failover.ts"
import { SMALL, signsOf } from "./planted/find.ts"
import { broken, page } from "./report.ts"
import { runFaults } from "./run.ts"

setDefaultTimeout(300_000)

const RUN = { ...SMALL, faults: 2, tasks: 300, seed: 1, among: "master ", target: () => cluster(0, 0) }

test("with one of three masters down the other queues are served, and nothing is lost", async () => {
  const result = await runFaults(RUN)
  if (broken(result)) throw new Error(page(result))
  expect(result.faults).toHaveLength(2)
})

test("such a run finds a planted bug", async () => {
  const planted = "a poll ends at the first queue that cannot be read"
  expect(signsOf(await runFaults({ ...RUN, faults: 1, planted }))).toContain("unserved")
})
