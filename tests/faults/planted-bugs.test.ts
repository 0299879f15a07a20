/**
 * Deliberate bugs in the scripts. The model check must find each of them within a short sequence of operations.
 * `PLANTED=all bun test --timeout 120000 tests/faults/planted-bugs.test.ts` tries all of them.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test"
import { checkModel } from "../support/modelrun.ts"
import { type Patch, patched } from "../support/patch.ts"

setDefaultTimeout(300_000) // some searches need half a minute of one core

/** Most bugs are found in the first 50 runs; a token that is not compared on the fast path took up to 317. */
const RUNS = 2_000
const MAX_STEPS = 8
/** Each search finds the bug. Removing steps one after the other may end with more of them than are needed. */
const MAX_SEARCHES = 3

/** Settle and submit have a fast path for most tasks, and a general path for all others. */
const BUGS: [bug: string, patch: Patch][] = [
  [
    "a token that is not compared",
    {
      script: "settle",
      line: '(lease == "" or lease == t.lease)',
      becomes: "true",
    },
  ],
  [
    "a token that is not compared on the fast path",
    {
      script: "settle",
      line: 'local held = PROCESSING .. " " .. lease .. " "',
      becomes: 'local held = PROCESSING .. " "',
    },
  ],
  [
    "an index that is not cleaned when a task is settled",
    {
      script: "settle",
      line: "leave(leases, t.id)\n  if extras(t).cancel",
      becomes: "if extras(t).cancel",
    },
  ],
  [
    "an index that is not cleaned on the fast path",
    {
      script: "settle",
      line: "settled_ids[#settled_ids + 1] = id",
      becomes: "",
    },
  ],
  [
    "the fast path taken by a task with extras",
    {
      script: "settle",
      line: "if not extras_end then return false end",
      becomes: "extras_end = extras_end or policy_end + 1",
    },
  ],
  [
    "a result that the fast path loses",
    {
      script: "settle",
      line: 'outcome == "done" and text == "" and',
      becomes: 'outcome == "done" and',
    },
  ],
  [
    "an outcome that a batch does not check",
    {
      script: "settle",
      line: "if given ~= ACKNOWLEDGED then all_acknowledged = false end",
      becomes: "",
    },
  ],
  [
    "a leased task that is missing in the index of leases",
    {
      script: "lease",
      line: "local leased, deadlines = values_in(joined, leases), {}",
      becomes: "local leased, deadlines = {}, {}",
    },
  ],
  [
    "a large payload that is not handed out",
    {
      script: "lease",
      line: "if byte(text, -1) == 10 then",
      becomes: "if false then",
    },
  ],
  [
    "an attempt number that starts again",
    {
      script: "lease",
      line: 'lease == "0" and "1" or int(attempt_of(lease) + 1)',
      becomes: '"1"',
    },
  ],
  [
    "a plain task that overwrites another",
    {
      script: "submit",
      line: 'redis.call("MSETNX", unpack(plain)) == 0',
      becomes: 'not redis.call("MSET", unpack(plain))',
    },
  ],
  [
    "a run of a schedule that is not compared with what its caller has read",
    {
      script: "scheduleFire",
      line: 'found == version and (planned_at == "" or plan == planned_at)',
      becomes: "found",
    },
  ],
  [
    "a run of a schedule that does not look at the task before",
    {
      script: "scheduleFire",
      line: 'if overlap ~= "allow" and not is_repeat and previous and is_active(previous) then',
      becomes: "if false then",
    },
  ],
  [
    "a crash that is not counted",
    {
      script: "sweep",
      line: "t[fault.counter] = int(count)",
      becomes: "",
    },
  ],
  [
    "a unique key that is not freed",
    {
      script: "settle",
      line: 'redis.call("DEL", unique .. key)',
      becomes: "key = nil",
    },
  ],
  [
    "bytes that are still counted after their task has ended",
    {
      script: "sweep",
      line: "if max_bytes > 0 then add_bytes(-size_of(t.id, t.rest)) end",
      becomes: "",
    },
  ],
  [
    "bytes of a replaced large payload",
    {
      script: "submit",
      line: "local growth = #text + #large - size_of(",
      becomes: "local growth = #text - size_of(",
    },
  ],
  [
    "a slot of a group that is not freed",
    {
      script: "settle",
      line: "if group then of_groups[at + 1], of_groups[at + 2] = group, id end\n",
      becomes: "",
    },
  ],
  [
    "a slot of a group that a lost lease frees again",
    {
      script: "settle",
      line: 'code = code or (lease == "" and "not_leased" or "lease_lost")',
      becomes: `code = code or (lease == "" and "not_leased" or "lease_lost")
        local group = read_policy(t.policy).group
        if group then open_groups().leave(group, t.id) end`,
    },
  ],
  [
    "a turn of a group that is lost",
    {
      script: "lease",
      line: 'return "=" .. hand.name',
      becomes: "return nil",
    },
  ],
  [
    "a turn of a group that is doubled",
    {
      script: "submit",
      line: "became_ready = became_ready + #pushed",
      becomes: "push_turn(priority, sub(entry, 2), -1, #pushed)",
    },
  ],
]

/** A random part of the bugs, another one in each run of the tests, because all of them take minutes. */
const SOME = process.env.PLANTED === "all" ? BUGS : BUGS.toSorted(() => Math.random() - 0.5).slice(0, 5)

describe("the model check finds", () => {
  test.each(SOME)("%s", async (bug, patch) => {
    let shortest = Number.POSITIVE_INFINITY
    for (let search = 0; search < MAX_SEARCHES && shortest > MAX_STEPS; search++) {
      const { failed, numRuns, counterexample } = await checkModel({ runs: RUNS, patch, onFailure: "return" })
      expect(failed).toBeTrue()
      const steps = String(counterexample)
      if (process.env.SHOW_PLANTED) console.log(`${bug}, in run ${numRuns}: ${steps}`)
      shortest = Math.min(shortest, steps.match(/\w+\(/g)!.length)
    }
    expect(shortest).toBeLessThanOrEqual(MAX_STEPS)
  })
})

// Each run of the tests tries only some of them, so a bug whose line was rewritten would be noticed late.
test.each(BUGS)("the line of a planted bug is in its script: %s", (_, patch) => {
  expect(() => patched(patch)).not.toThrow()
})

test("a planted bug whose line is missing in the script is an error, and does not count as found", () => {
  const patch: Patch = { script: "settle", line: "a line that is not there", becomes: "" }
  expect(() => patched(patch)).toThrow("occurs in 0 places")
})
