/** The fast paths of the scripts: each gives the same records, sets and answers as the general path. */
import { afterAll, expect, test } from "bun:test"
import type { Redis } from "ioredis"
import record from "../../lib/lua/record.lua" with { type: "text" }
import type { Runner } from "../../lib/redis/runner.ts"
import { definitionsIn, withDefinitions } from "../../lib/redis/script-text.ts"
import { prepareScript } from "../../lib/redis/scripts.ts"
import type { Policy } from "../../lib/task/policy.ts"
import { encodeNewTask } from "../../lib/task/record.ts"
import { DirectQueue } from "../support/harness.ts"
import { contradictionsOf, dump } from "../support/invariants.ts"
import { onOneConnection, sharedRedis } from "../support/redis.ts"
import { HOUR, LONG, NO_NEWS } from "../support/script-queue.ts"

interface Edit {
  find: string
  replace: string
}

/** The functions that read and write the text of a task as a table. */
const PARSE = withDefinitions("parse(text_of)\n", definitionsIn([record])).replace("parse(text_of)\n", "")

/** How to switch off each fast path, and how to break it, so that the comparison can be seen to notice. */
const FAST_PATHS: Record<string, { general: Edit; broken: Edit }> = {
  "submit: one MSETNX for tasks that ask for no more than a group": {
    general: {
      find: 'if options ~= "" and byte(options) ~= TURN or created[id] ~= nil then',
      replace: "if true then",
    },
    broken: {
      find: "for i = first, #ARGV, fields_each do enqueue(i) end",
      replace: "for i = first + fields_each, #ARGV, fields_each do enqueue(i) end",
    },
  },
  "submit: nothing but MSETNX and RPUSH": {
    general: { find: "local is_simple = all_plain and", replace: "local is_simple = false and" },
    broken: { find: "lists[list][#lists[list] + 1] = ARGV[i]", replace: "lists[list][1] = ARGV[i]" },
  },
  "create: the text as it is": {
    general: {
      find: "if starts <= now and not options.unique and not options.expires then",
      replace: "if false then",
    },
    broken: {
      find: "write(id, task .. id, NEW .. body)",
      replace: 'write(id, task .. id, NEW .. body .. " ")',
    },
  },
  "lease: the text from the old one": {
    general: {
      find: 'local text = LEASED .. attempt .. "." .. token .. STARTED .. next_worker() .. rest',
      replace: `${PARSE}
        local t = parse(id, loaded[id])
        t.state, t.finished, t.lease, t.started = "processing", "0", attempt .. "." .. token, now_text
        t.worker = next_worker()
        local text = text_of(t)`,
    },
    broken: {
      find: 'LEASED .. attempt .. "." .. token',
      replace: 'LEASED .. "1." .. token',
    },
  },
  "settle: done without a result": {
    general: {
      find: "if not is_plain or not end_unparsed(id, keys[(i - first) / fields_each + 1], lease) then",
      replace: "if true then",
    },
    broken: {
      find: "completed_ids[#completed_ids + 1] = id\n",
      replace: "join(done, now + retention, id)\n",
    },
  },
  "sweep: lapsed without extras": {
    general: {
      find: "local t = not lapse_without_extras(id, keys[i]) and open(id)",
      replace: "local t = open(id)",
    },
    broken: {
      find: "lapsed_text(before, int(crashes + 1), after,",
      replace: "lapsed_text(before, int(crashes + 2), after,",
    },
  },
}

/** Runs scripts by a clock that only the test moves, with this edit in each script that contains its text. */
class EditedRunner {
  seconds = 1_764_000_000
  edited = 0
  constructor(readonly edit?: Edit) {}

  on(redis: Redis): Runner {
    const runner = onOneConnection(redis)
    return {
      run: (script, ...rest) => {
        let text = replaceOnce(script.text, 'redis.call("TIME")', `{ "${this.seconds}", "0" }`)
        if (this.edit !== undefined && text.includes(this.edit.find)) {
          text = replaceOnce(text, this.edit.find, this.edit.replace)
          this.edited++
        }
        return runner.run(prepareScript(text), ...rest)
      },
    }
  }
}

function replaceOnce(text: string, find: string, replacement: string): string {
  const parts = text.split(find)
  if (parts.length !== 2) throw new Error(`"${find}" occurs ${parts.length - 1} times`)
  return parts.join(replacement)
}

/** Numbers from 0 up to a bound, the same for the same seed (mulberry32). */
function randomNumbers(seed: number) {
  let state = seed
  return (bound: number) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % bound
  }
}

type Random = ReturnType<typeof randomNumbers>

/** Two of three tasks ask for nothing more, half have further members, and half of the policies are the short ones. */
function randomTask(random: Random) {
  const policy: Policy = {
    priority: random(3) + 4,
    maxRetries: random(3),
    maxCrashes: random(3),
    timeoutMs: 30_000,
  }
  if (random(8) === 0) policy.maxRuntimeMs = 20_000
  if (random(6) === 0) policy.resultTtlMs = HOUR * (1 + random(3))
  if (random(8) === 0) policy.backoff = { kind: "fixed", delay_ms: 60_000, jitter: false }
  const special = random(3) === 0
  return encodeNewTask({
    queue: "",
    type: "mail",
    payload: ["{}", '{"a":1}', LONG][random(3)]!,
    policy,
    memberJson: [undefined, undefined, '"meta":{"a":"\\"","b":"\\\\"}', '"traceparent":"00-1-2-01"'][
      random(4)
    ],
    redact: random(8) === 0 ? true : undefined,
    group: random(3) === 0 ? `g${random(2)}` : undefined,
    when: special && random(2) === 0 ? "+60000" : undefined,
    expiresInMs: special && random(2) === 0 ? 90_000 : undefined,
    unique: special && random(3) === 0 ? { key: `u${random(4)}`, replace: random(2) === 0 } : undefined,
    idempotency: special && random(3) === 0 ? { key: `k${random(4)}`, print: `p${random(2)}` } : undefined,
  })
}

/** What a batch of random calls leaves in Redis, and answers. */
async function history(seed: number, edit?: Edit) {
  const runner = new EditedRunner(edit)
  const { socket } = await sharedRedis()
  const limits = { depth: 0, bytes: seed % 2 === 0 ? 1_000_000_000 : 0 }
  await using bench = new DirectQueue(socket, undefined, redis => runner.on(redis), limits)
  if (seed % 3 === 0) await bench.redis.hset(bench.key("settings"), "groups", '{"concurrency":1}')
  const random = randomNumbers(seed)
  const seen: unknown[] = []
  const leases: { id: string; lease: string }[] = []
  let tokens = 0
  const any = <T>(values: readonly T[]) => values[random(values.length)]!
  for (let round = 0; round < 6; round++) {
    for (let batch = 0; batch < 4; batch++) {
      const items = Array.from({ length: 1 + random(6) }, () => ({
        id: `t${random(80)}`,
        ...randomTask(random),
      }))
      seen.push(await bench.submitEach(HOUR, items))
    }
    for (const worker of ["w", "?"]) {
      const slots = 1 + random(8)
      const token = Array.from({ length: slots }, () => String(++tokens).padStart(22, "0")).join("")
      const [nextEvent, ...tasks] = await bench.leaseEach(
        { limit: 100, retention: HOUR, tokens: token },
        { worker, slots },
      )
      // The runs use queues of different names.
      seen.push(nextEvent, ...tasks.map(({ queue: _, ...task }) => task))
      leases.push(...tasks.map(({ id, lease }) => ({ id, lease })))
    }
    if (leases.length > 0) {
      const { id, lease } = any(leases)
      seen.push(await bench.scripts.call("cancel", bench.name, { retention: HOUR }, [{ id: any(leases).id }]))
      const item = { id, lease, timeout: "", ...NO_NEWS, checkpoint: '"half"' }
      seen.push(await bench.scripts.call("extend", bench.name, {}, [item]))
      const settlements = Array.from({ length: 6 }, () => {
        const { id, lease } = any(leases.slice(-12))
        const outcome = any(["done", "done", "done", "failed", "released"] as const)
        const text = outcome === "done" && random(2) === 0 ? '"result"' : ""
        return { id, lease: any([lease, lease, lease, "", `1.${"x".repeat(22)}`]), outcome, text }
      })
      seen.push(await bench.settleEach(HOUR, settlements))
    }
    if (random(2) === 0) runner.seconds += any([40, 100])
    const bounds = { limit: 100, retention: HOUR, dead_retention: HOUR, keep: 1e9, keep_dead: 1e9, polled: 0 }
    seen.push(await bench.scripts.call("sweep", bench.name, bounds))
    const content = await dump(bench.redis, bench.name)
    expect(contradictionsOf(content)).toEqual([])
    // Tasks that end in one call may be listed in any order.
    ;(content.completed as string[] | undefined)?.sort()
    seen.push(content)
  }
  return { seen, edited: runner.edited }
}

test("two runs of the same calls give the same records, sets and answers", async () => {
  expect((await history(1)).seen).toEqual((await history(1)).seen)
})

const SEEDS = Array.from({ length: 20 }, (_, i) => i + 1)
const original = new Map<number, Promise<unknown[]>>()
const originalOf = (seed: number) => {
  const known = original.get(seed) ?? history(seed).then(({ seen }) => seen)
  original.set(seed, known)
  return known
}
afterAll(() => original.clear())

test.each(Object.entries(FAST_PATHS))(
  "%s: the general path gives the same records, sets and answers",
  async (_, { general }) => {
    for (const seed of SEEDS) {
      const { seen, edited } = await history(seed, general)
      expect(edited).toBeGreaterThan(0)
      expect({ seed, seen }).toEqual({ seed, seen: await originalOf(seed) })
    }
  },
)

test.each(Object.entries(FAST_PATHS))("%s: a fast path that differs is noticed", async (_, { broken }) => {
  const differs = async (seed: number) => {
    const result = await history(seed, broken).catch(error => ({ seen: [String(error)] }))
    return !Bun.deepEquals(result.seen, await originalOf(seed))
  }
  let found = false
  for (const seed of SEEDS) found ||= await differs(seed)
  expect(found).toBe(true)
})
