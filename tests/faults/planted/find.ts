/** Tests the checker: for each planted bug, makes longer and longer runs until one fails for the right reason. */
import { cluster } from "../failover.ts"
import { DEFAULTS, type Options, type Result, runFaults } from "../run.ts"
import { BUGS, type Bug } from "./bugs.ts"

export interface Found {
  bug: Bug
  found: boolean
  seed: number
  faults: number
  tasks: number
  /** All checks that failed, for the right reason or others. */
  signs: string[]
}

export const SMALL: Partial<Options> = {
  brokers: 2,
  workers: 2,
  clients: 1,
  batch: 20,
  gapMs: 150,
  drainMs: 15_000,
}
const ROUNDS = [
  { faults: 10, tasks: 1_000 },
  { faults: 20, tasks: 2_000 },
  { faults: 60, tasks: 6_000 },
  { faults: 150, tasks: 15_000 },
]

/** The checks that failed in a run, by the names that bugs use. */
export function signsOf({ violations, ofTheWhole }: Result): string[] {
  const whole = ofTheWhole.map(text =>
    /is not served/.test(text)
      ? "unserved"
      : /^the schedule /.test(text)
        ? "schedule"
        : /every queue is empty/.test(text)
          ? "drain"
          : /left behind/.test(text)
            ? "keys left"
            : "keys",
  )
  return [...new Set([...violations.map(({ check }) => check), ...whole])]
}

export async function find(bug: Bug, seed: number): Promise<Found> {
  let found: Found | undefined
  for (const [i, { faults, tasks }] of ROUNDS.entries()) {
    const result = await runFaults({
      ...DEFAULTS,
      ...SMALL,
      faults,
      tasks,
      seed: seed + i,
      planted: bug.name,
      among: bug.shownBy,
      target: bug.inCluster ? () => cluster(0, 0) : DEFAULTS.target,
    })
    const signs = signsOf(result)
    found = {
      bug,
      found: signs.some(sign => (bug.signs as string[]).includes(sign)),
      seed: seed + i,
      faults,
      tasks,
      signs,
    }
    if (found.found) return found
  }
  return found!
}

/** Returns whether all bugs were found. `only` selects bugs whose names contain it. */
export async function findPlanted(
  only: string | undefined,
  report: (line: string) => void,
  seed = 1,
): Promise<boolean> {
  let all = true
  for (const bug of BUGS.filter(({ name }) => name.includes(only ?? ""))) {
    const { found, faults, tasks, signs, ...rest } = await find(bug, seed)
    all &&= found
    report(
      `${found ? "found" : "NOT FOUND"}: ${bug.name} (${bug.file}), with ${faults} faults and ${tasks} tasks, seed ${rest.seed}: ${signs.join(", ") || "no check failed"}`,
    )
  }
  return all
}
