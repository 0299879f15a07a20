/** The state machine, straight at the scripts: each move made and refused, and what holds after every one. */
import { describe, expect, test } from "bun:test"
import { readdir } from "node:fs/promises"
import { join } from "node:path"
import { createLog } from "../../lib/log.ts"
import { TaskQueue } from "../../lib/queue/task-queue.ts"
import { QUEUE_KEY_NAMES } from "../../lib/redis/keys.ts"
import { SCRIPTS, type ScriptName, scriptText } from "../../lib/redis/scripts.ts"
import { newTokens } from "../../lib/task/lease-token.ts"
import { type Policy, readPolicy } from "../../lib/task/policy.ts"
import { encodeNewTask } from "../../lib/task/record.ts"
import type { Leased, Submitted } from "../../lib/task/task.ts"
import { TRANSITIONS } from "../../lib/task/transitions.ts"
import { Bench } from "../support/harness.ts"
import { checkQueue, contradictions, cut, type Dump, dump as dumpAll } from "../support/invariants.ts"
import { sharedRedis, testRedis } from "../support/redis.ts"

/** Has a key of its own. */
const LONG = `"${"payload ".repeat(40)}"`
const HOUR = 3_600_000
const STALE = `1.${"s".repeat(22)}`

const BACKOFF = { kind: "fixed", delay_ms: HOUR, jitter: false } as const

/** All that there is but `stats`, which tells of polls and not of tasks. */
async function dump(...args: Parameters<typeof dumpAll>): Promise<Dump> {
  const { stats, ...content } = await dumpAll(...args)
  return content
}

/** A retry with the payload as it is. */
const SAME = { inline: "", large: "" }
const NOTHING_TOLD = { progress: "", checkpoint: "", log: "" }

interface Wishes extends Pick<Policy, "backoff"> {
  expiresInMs?: number
  unique?: string
  mode?: "replace"
  delay?: number
  text?: string
  priority?: number
  maxRetries?: number
  maxCrashes?: number
  timeoutMs?: number
}

/** The scripts, with what a test does not care about filled in. */
class Queue extends Bench {
  async submit(ids: string | string[], wishes: Wishes = {}) {
    const {
      delay = 0,
      text = "{}",
      priority = 5,
      maxRetries = 3,
      maxCrashes = 3,
      timeoutMs = 30_000,
    } = wishes
    const { backoff, expiresInMs, unique, mode } = wishes
    const task = encodeNewTask({
      queue: this.name,
      type: "a",
      payload: text,
      policy: { priority, maxRetries, maxCrashes, timeoutMs, backoff },
      when: delay === 0 ? undefined : `+${delay}`,
      expiresInMs,
      unique: unique === undefined ? undefined : { key: unique, replace: mode === "replace" },
    })
    const answers = await this.submitEach(
      HOUR,
      [ids].flat().map(id => ({ id, ...task })),
    )
    return answers.map(([word]) => word)
  }

  lease(count = 1, limit = 1_000, tokens = newTokens(count)) {
    return this.leaseEach({ limit, retention: HOUR, tokens }, { worker: "w", slots: count })
  }

  /** A thousand and more: one call hands out 300 at most, and says 0, "ask again", where it was asked for more. */
  async leaseMany(count: number) {
    const tasks: Leased[] = []
    while (tasks.length < count) {
      const [nextEvent, ...some] = await this.lease(count - tasks.length)
      expect(some.length).toBe(Math.min(300, count - tasks.length))
      if (count - tasks.length > 300) expect(nextEvent).toBe(0)
      tasks.push(...some)
    }
    return tasks
  }

  /** Takes the first task and gives back its lease. */
  async taken(): Promise<{ id: string; lease: string }> {
    const [, task] = await this.lease()
    return { id: task!.id, lease: task!.lease }
  }

  async settle(
    id: string,
    lease: string,
    outcome: "done" | "failed" | "released",
    text = "",
    retention = HOUR,
  ) {
    const [answer] = await this.settleEach(retention, [{ id, lease, outcome, text }])
    return answer!
  }

  async extend(id: string, lease: string, timeout: number | "" = "") {
    const [answer] = await this.scripts.call("extend", this.name, {}, [
      { id, lease, timeout, ...NOTHING_TOLD },
    ])
    return answer!
  }

  async watch(id: string) {
    const [answer] = await this.scripts.call("watch", this.name, {}, [{ id }])
    return answer!
  }

  /** How many tasks were deleted. */
  async purge(place: string, limit = 10) {
    const [, purged] = await this.scripts.call("purge", this.name, { place, limit })
    return purged
  }

  async deleteDead(id: string) {
    const [answer] = await this.scripts.call("deleteDead", this.name, {}, [{ id }])
    return answer!
  }

  async retryDead(id: string) {
    const [answer] = await this.scripts.call("retryDead", this.name, {}, [{ id, ...SAME }])
    return answer
  }

  async cancel(id: string, retention = HOUR) {
    const [answer] = await this.scripts.call("cancel", this.name, { retention }, [{ id }])
    return answer!
  }

  /** The end of this task's retention has come. */
  async age(set: "done" | "dead" | "cancelled", id: string) {
    await this.redis.zadd(this.key(set), "XX", 1, id)
  }

  ready(priority = 5) {
    return this.redis.lrange(this.key("ready", `${priority}`), 0, -1)
  }
}

async function freshQueue(): Promise<Queue> {
  return new Queue((await sharedRedis()).socket)
}

// ── The table ────────────────────────────────────────────────────────────────────────────────────────────────

type Row = (typeof TRANSITIONS)[number]
type NameOf<R extends Row> = R extends Row ? `${R["from"]} · ${R["event"]} · ${R["to"]}` : never
type Name = NameOf<Row>

interface Walk {
  /** Brings the task T into `from`; gives back its lease, where the event needs one. */
  to(queue: Queue): Promise<unknown>
  /** The event. `lease` is what `to` gave. Called twice, and the second time must change nothing more. */
  go(queue: Queue, lease: string): Promise<unknown>
  answers: unknown
  /** The answer of the second time, where it is another. */
  again?: unknown
  /** The event while it is refused; `refused` is what it answers then. */
  against(queue: Queue, lease: string): Promise<unknown>
  refused: unknown
  /** How the other words of the script are met: unknown tasks. */
  unknown?(queue: Queue): Promise<unknown>
}

const taken = async (queue: Queue, wishes: Wishes = {}) => {
  await queue.submit("T", { text: LONG, ...wishes })
  return (await queue.taken()).lease
}
const died = async (queue: Queue, wishes: Wishes = {}) => {
  const lease = await taken(queue, { maxRetries: 0, ...wishes })
  await queue.settle("T", lease, "failed", "boom")
  return lease
}
/** 1 where a sweep of one task found one. */
const moved = async (queue: Queue) => (await queue.sweep(1))[0]
const backsOff = async (queue: Queue, wishes: Wishes = {}) => {
  await queue.settle("T", await taken(queue, { backoff: BACKOFF, ...wishes }), "failed", "boom")
}

const settling = (
  outcome: "done" | "failed" | "released",
  word: string,
  retries: number,
  wishes: Wishes = {},
): Walk => ({
  to: queue => taken(queue, wishes),
  go: async (queue, lease) => (await queue.settle("T", lease, outcome, "text")).slice(0, 2),
  answers: [word, retries],
  against: async queue => queue.settle("T", STALE, outcome, "text"),
  refused: ["lease_lost", 0, 1, "processing"],
  unknown: queue => queue.settle("U", STALE, outcome),
})

const lapsing = (wishes: Wishes): Walk => ({
  to: queue => taken(queue, wishes),
  go: async queue => {
    await queue.lapse("T")
    return moved(queue)
  },
  answers: 1,
  again: 0,
  against: moved,
  refused: 0,
})

const aging = (set: "done" | "dead" | "cancelled", to: Walk["to"]): Walk => ({
  to,
  go: async queue => {
    await queue.age(set, "T")
    return moved(queue)
  },
  answers: 1,
  again: 0,
  against: moved,
  refused: 0,
})

const purging = (place: string, to: Walk["to"]): Walk => ({
  to,
  go: queue => queue.purge(place),
  answers: 1,
  again: 0,
  against: queue => queue.purge(place === "done" ? "dead" : "done"),
  refused: 0,
})

const coming = (to: Walk["to"]): Walk => ({
  to,
  go: async queue => {
    await queue.due("T")
    return moved(queue)
  },
  answers: 1,
  again: 0,
  against: moved,
  refused: 0,
})

const expiring = (to: Walk["to"]): Walk => ({
  to,
  go: async queue => {
    await queue.expire("T")
    return moved(queue)
  },
  answers: 1,
  again: 0,
  against: moved,
  refused: 0,
})

const cancelling = (to: Walk["to"], answers: [word: string, state: string], again = answers): Walk => ({
  to,
  go: queue => queue.cancel("T"),
  answers,
  again,
  against: async queue => {
    await queue.submit("other", { priority: 9 })
    const { id, lease } = await queue.taken()
    await queue.settle(id, lease, "done", "", -1)
    const answer = await queue.cancel("other")
    await queue.sweep()
    return answer
  },
  refused: ["ended", "done"],
  unknown: queue => queue.cancel("U"),
})
const CANCELLED: [string, string] = ["cancelled", "cancelled"]

/** A submit of T while its id is taken, or another has its unique key: it changes nothing. */
const taking = (wishes: Wishes): Walk["against"] => {
  return async queue => {
    await queue.submit("T", { text: "1" })
    await queue.submit("other", { unique: "u" })
    const before = await dump(queue.redis, queue.name)
    const answers = [
      await queue.submit("T", wishes),
      await queue.submit("T", { ...wishes, priority: 9 }),
      await queue.submit("V", { ...wishes, unique: "u" }),
    ]
    expect(await dump(queue.redis, queue.name)).toEqual(before)
    const keys = [queue.key("task", "T"), queue.key("task", "other"), queue.key("unique", "u")]
    await queue.redis.del(...keys, queue.key("ready", "5"))
    return answers.flat()
  }
}
const IS_TAKEN = ["exists", "exists", "duplicate"]

/** One for each row: a row without its walk, or a walk without its row, does not compile. */
const WALKS: Record<Name, Walk> = {
  "– · submit · queued": {
    to: async () => {},
    go: queue => queue.submit("T", { text: LONG }),
    answers: ["queued"],
    again: ["exists"],
    against: taking({ text: LONG }),
    refused: IS_TAKEN,
  },
  "– · submit: delayed · scheduled": {
    to: async () => {},
    go: queue => queue.submit("T", { delay: HOUR, text: LONG }),
    answers: ["scheduled"],
    again: ["exists"],
    against: taking({ delay: HOUR, text: LONG }),
    refused: IS_TAKEN,
  },
  "scheduled · sweep: due · queued": coming(queue => queue.submit("T", { delay: HOUR, text: LONG })),
  "retrying · sweep: due · queued": coming(backsOff),
  "queued · lease · processing": {
    to: queue => queue.submit("T", { text: LONG }),
    go: async queue => (await queue.lease(1, 10, "t".repeat(22)))[1],
    answers: {
      id: "T",
      queue: expect.any(String),
      type: '"a"',
      payload: LONG,
      lease: `1.${"t".repeat(22)}`,
      worker: "w",
      attempt: 1,
      retries: 0,
      policy: readPolicy("5 3 3 30000"),
      leaseExpiresAt: expect.any(Number),
      waitedMs: expect.any(Number),
    },
    again: undefined,
    against: async queue => {
      await queue.submit("urgent", { priority: 6 })
      const [, task] = await queue.lease()
      await queue.settle("urgent", task!.lease, "done", "", -1)
      await queue.sweep()
      return task!.id
    },
    refused: "urgent",
  },
  "processing · extend · processing": {
    to: queue => taken(queue),
    go: async (queue, lease) => (await queue.extend("T", lease, HOUR))[0],
    answers: "ok",
    against: queue => queue.extend("T", STALE, HOUR),
    refused: ["lease_lost", 0, 1, "processing"],
    unknown: queue => queue.extend("U", STALE),
  },
  "processing · settle: done · done": settling("done", "acknowledged", 0),
  "processing · settle: failed, retries left · queued": settling("failed", "requeued", 1),
  "processing · settle: failed, with backoff · retrying": settling("failed", "requeued", 1, {
    backoff: BACKOFF,
  }),
  "processing · settle: cancelled meanwhile · cancelled": {
    ...settling("failed", "cancelled", 0),
    to: async queue => {
      const lease = await taken(queue)
      await queue.cancel("T")
      return lease
    },
  },
  "processing · settle: failed, none left · dead": settling("failed", "moved_to_dlq", 1, { maxRetries: 0 }),
  "processing · settle: released · queued": settling("released", "released", 0),
  "processing · settle: released too often · dead": {
    ...settling("released", "released", 0),
    to: async queue => {
      await queue.submit("T", { text: LONG })
      await queue.setField("T", "releases", 100)
      return (await queue.taken()).lease
    },
  },
  "processing · sweep: lapsed, crashes left · queued": lapsing({ maxCrashes: 1 }),
  "processing · sweep: lapsed, none left · dead": lapsing({ maxCrashes: 0 }),
  "processing · sweep: lapsed, with backoff · retrying": lapsing({ backoff: BACKOFF }),
  "processing · sweep: lapsed, cancelled meanwhile · cancelled": {
    ...lapsing({}),
    to: async queue => {
      await taken(queue)
      await queue.cancel("T")
    },
  },
  "processing · cancel · processing": cancelling(taken, ["cancelling", "processing"]),
  "scheduled · cancel · cancelled": cancelling(
    queue => queue.submit("T", { delay: HOUR, text: LONG, expiresInMs: HOUR, unique: "u" }),
    ["cancelled", "scheduled"],
    CANCELLED,
  ),
  "queued · cancel · cancelled": cancelling(
    queue => queue.submit("T", { text: LONG, expiresInMs: HOUR, unique: "u" }),
    ["cancelled", "queued"],
    CANCELLED,
  ),
  "retrying · cancel · cancelled": cancelling(
    queue => backsOff(queue, { expiresInMs: 2 * HOUR, unique: "u" }),
    ["cancelled", "retrying"],
    CANCELLED,
  ),
  "scheduled · sweep: expired · dead": expiring(queue =>
    queue.submit("T", { delay: HOUR, expiresInMs: 2 * HOUR, unique: "u", text: LONG }),
  ),
  "queued · sweep: expired · dead": expiring(queue =>
    queue.submit("T", { expiresInMs: HOUR, unique: "u", text: LONG }),
  ),
  "retrying · sweep: expired · dead": expiring(queue =>
    backsOff(queue, { expiresInMs: 2 * HOUR, unique: "u" }),
  ),
  "dead · retry dead · queued": {
    to: queue => died(queue, { unique: "u" }),
    go: queue => queue.retryDead("T"),
    answers: "requeued",
    again: "not_dead",
    against: async queue => {
      await queue.submit("other", { unique: "u" })
      const answers = [await queue.retryDead("other"), await queue.retryDead("T")]
      await queue.settle("other", (await queue.taken()).lease, "done", "", -1)
      await queue.sweep()
      return answers
    },
    refused: ["not_dead", "duplicate"],
    unknown: async queue => [(await queue.retryDead("U")) === "not_dead" ? "unknown" : "?"],
  },
  "scheduled · purge · –": purging("due", queue =>
    queue.submit("T", { delay: HOUR, text: LONG, expiresInMs: 2 * HOUR, unique: "u" }),
  ),
  "queued · purge · –": purging("5", queue =>
    queue.submit("T", { text: LONG, expiresInMs: HOUR, unique: "u" }),
  ),
  "retrying · purge · –": purging("due", queue => backsOff(queue, { expiresInMs: 2 * HOUR, unique: "u" })),
  "done · purge · –": purging("done", async queue => {
    await queue.settle("T", await taken(queue), "done", "1")
  }),
  "dead · purge · –": purging("dead", died),
  "cancelled · purge · –": purging("cancelled", async queue => {
    await queue.submit("T", { text: LONG, delay: HOUR })
    await queue.cancel("T")
  }),
  "dead · delete dead · –": {
    to: died,
    go: queue => queue.deleteDead("T"),
    answers: "deleted",
    again: "not_dead",
    against: async queue => {
      await queue.submit("other")
      const answer = await queue.deleteDead("other")
      await queue.purge("5")
      return answer
    },
    refused: "not_dead",
    unknown: async queue => [(await queue.deleteDead("U")) === "not_dead" ? "unknown" : "?"],
  },
  "done · sweep: retention over · –": aging("done", async queue => {
    await queue.settle("T", await taken(queue), "done", "1")
  }),
  "dead · sweep: retention over · –": aging("dead", died),
  "cancelled · sweep: retention over · –": aging("cancelled", async queue => {
    await queue.submit("T", { text: LONG, delay: HOUR })
    await queue.cancel("T")
  }),
}

/** Deadlines that are told from now are the same in two dumps if they differ by less than the test takes. */
function comparable(content: Dump): Dump {
  const leases = Object.entries((content.leases ?? {}) as Record<string, number>)
  return leases.length === 0
    ? content
    : { ...content, leases: Object.fromEntries(leases.map(([id, at]) => [id, Math.round(at / 10_000)])) }
}

const ENDED: readonly string[] = ["done", "dead", "cancelled"]

/** What is said on a queue's channels from now on. */
async function listen(queue: Queue) {
  const ear = queue.redis.duplicate()
  const said: Record<"wake" | "ended", string[]> = { wake: [], ended: [] }
  const over = Promise.withResolvers<void>()
  ear.on("message", (channel, message) => {
    if (message === "over") over.resolve()
    else said[channel === queue.key("wake") ? "wake" : "ended"].push(message)
  })
  await ear.subscribe(queue.key("wake"), queue.key("ended"))
  return {
    /** All until now. */
    async heard() {
      await queue.redis.publish(queue.key("wake"), "over")
      await over.promise
      return said
    },
    [Symbol.dispose]: () => ear.disconnect(),
  }
}

describe.each(TRANSITIONS.map(row => [`${row.from} · ${row.event} · ${row.to}` as Name, row] as const))(
  "%s",
  (name, row) => {
    const walk = WALKS[name]
    const state = async (queue: Queue) => (await queue.field("T", "state")) ?? "–"

    test("is made, and made again changes nothing more", async () => {
      await using queue = await freshQueue()
      const lease = (await walk.to(queue)) as string
      expect(await state(queue)).toBe(row.from)
      await checkQueue(queue.redis, queue.name)
      const watched = await queue.watch("T")
      using listener = await listen(queue)
      expect(await walk.go(queue, lease)).toEqual(walk.answers)
      expect(await state(queue)).toBe(row.to)
      await checkQueue(queue.redis, queue.name)
      const before = await dump(queue.redis, queue.name)
      expect(await walk.go(queue, lease)).toEqual("again" in walk ? walk.again : walk.answers)
      expect(comparable(await dump(queue.redis, queue.name))).toEqual(comparable(before))
      // Who waits for tasks is woken once, with their number, and who watches hears of the end once.
      expect(await listener.heard()).toEqual({
        wake: row.to === "queued" ? ["1"] : [],
        ended: watched === "watched" && (ENDED.includes(row.to) || row.to === "–") ? ["T"] : [],
      })
    })

    test(`is refused where ${row.refused}, and changes nothing then`, async () => {
      await using queue = await freshQueue()
      const lease = (await walk.to(queue)) as string
      const before = await dump(queue.redis, queue.name)
      expect(await walk.against(queue, lease)).toEqual(walk.refused)
      expect(await dump(queue.redis, queue.name)).toEqual(before)
      const unknown = (await walk.unknown?.(queue)) as unknown[] | undefined
      expect(unknown?.[0] ?? "unknown").toBe("unknown")
      expect(await dump(queue.redis, queue.name)).toEqual(before)
    })
  },
)

test("a settle or an extend is refused in every state but processing, and changes nothing", async () => {
  const states: Record<string, (queue: Queue) => Promise<unknown>> = {
    scheduled: queue => queue.submit("T", { delay: HOUR }),
    queued: queue => queue.submit("T"),
    retrying: backsOff,
    done: async queue => queue.settle("T", await taken(queue), "done"),
    dead: died,
    cancelled: async queue => {
      const lease = await taken(queue)
      await queue.cancel("T")
      await queue.settle("T", lease, "done")
    },
  }
  for (const [state, to] of Object.entries(states)) {
    await using queue = await freshQueue()
    await to(queue)
    const before = await dump(queue.redis, queue.name)
    const attempt = state === "scheduled" || state === "queued" ? 0 : 1
    const settled = { retrying: "failed", done: "done", dead: "failed", cancelled: "done" }[state]
    for (const outcome of ["done", "failed", "released"] as const) {
      expect(await queue.settle("T", STALE, outcome)).toEqual(["lease_lost", 0, attempt, state as "done"])
      // How it was settled, said again without a lease, is answered as it was.
      if (outcome !== settled)
        expect(await queue.settle("T", "", outcome)).toEqual(["not_leased", 0, attempt, state as "done"])
    }
    expect(await queue.extend("T", STALE)).toEqual(["lease_lost", 0, attempt, state as "done"])
    if (state !== "dead") expect(await queue.retryDead("T")).toBe("not_dead")
    if (state === "done" || state === "dead") expect(await queue.cancel("T")).toEqual(["ended", state])
    if (ENDED.includes(state)) expect(await queue.watch("T")).toBe("ended")
    expect(await dump(queue.redis, queue.name)).toEqual(before)
  }
})

test("a task that is to end does so whatever its worker says, and its lease says it again", async () => {
  for (const outcome of ["done", "failed", "released"] as const) {
    await using queue = await freshQueue()
    const lease = await taken(queue, { unique: "u", maxRetries: 0 })
    await queue.cancel("T")
    expect((await queue.extend("T", lease))[0]).toBe("cancelled")
    expect(await queue.field("T", "state")).toBe("processing")
    for (let i = 0; i < 2; i++)
      expect((await queue.settle("T", lease, outcome, "x")).slice(0, 3)).toEqual(["cancelled", 0, 1])
    expect(await queue.submit("U", { unique: "u" })).toEqual(["queued"])
    await checkQueue(queue.redis, queue.name)
  }
})

test("a task that would start after its time is dead as expired, by lease, failure or lapse", async () => {
  const ways: Record<string, (queue: Queue) => Promise<unknown>> = {
    lease: async queue => {
      await queue.submit("T", { expiresInMs: HOUR, unique: "u" })
      await queue.expire("T")
      expect(await queue.lease()).toHaveLength(1)
    },
    "lease, not among the expiring that it looked at": async queue => {
      await queue.submit("T", { expiresInMs: HOUR, unique: "u" })
      await queue.submit("first", { expiresInMs: HOUR, priority: 9 })
      await queue.expire("T")
      await queue.expire("first")
      expect(await queue.lease(1, 1)).toHaveLength(1)
    },
    failure: async queue => {
      const lease = await taken(queue, { expiresInMs: HOUR / 2, unique: "u", backoff: BACKOFF })
      expect((await queue.settle("T", lease, "failed")).slice(0, 2)).toEqual(["moved_to_dlq", 1])
    },
    lapse: async queue => {
      await taken(queue, { expiresInMs: HOUR / 2, unique: "u", backoff: BACKOFF })
      await queue.lapse("T")
      await queue.sweep()
    },
  }
  for (const [way, go] of Object.entries(ways)) {
    await using queue = await freshQueue()
    await go(queue)
    expect([way, await queue.field("T", "state"), await queue.field("T", "reason")]).toEqual([
      way,
      "dead",
      "expired",
    ])
    expect(await queue.submit("U", { unique: "u" })).toEqual(["queued"])
    await checkQueue(queue.redis, queue.name)
  }
})

test("that somebody asked for tasks is written down, but not for each poll", async () => {
  await using queue = await freshQueue()
  const polled = () => queue.redis.hget(queue.key("stats"), "polled")
  await queue.sweep()
  expect(await polled()).toBeNull()
  await queue.lease()
  const first = await polled()
  expect(Number(first)).toBeGreaterThan(1e12)
  await queue.redis.hset(queue.key("stats"), "polled", Number(first) - 300)
  await queue.lease()
  expect(Number(await polled())).toBe(Number(first) - 300)
  await queue.redis.hset(queue.key("stats"), "polled", Number(first) - 1_000)
  await queue.lease()
  expect(Number(await polled())).toBeGreaterThanOrEqual(Number(first))
})

test("a task queue walks a task through its whole life, and each step leaves it in one place", async () => {
  const { socket } = await sharedRedis()
  await using queue = new Queue(socket)
  const tasks = await TaskQueue.open({
    redis: { url: socket, timeoutMs: 2_000, name: "test" },
    doneRetentionMs: HOUR,
    deadRetentionMs: HOUR,
    doneKept: 100,
    deadKept: 100,
    idempotencyTtlMs: HOUR,
    ...{ maxQueueDepth: 0, maxQueueBytes: 0, auditIntervalMs: 0 },
    log: createLog("silent"),
  })
  try {
    const policy = { priority: 5, maxRetries: 0, maxCrashes: 1, timeoutMs: 30_000 }
    const [submitted] = await tasks.submit([
      { queue: queue.name, type: "a", payload: LONG, when: `+${HOUR}`, policy },
    ])
    const { id } = submitted as Submitted
    const lease = async () => (await tasks.lease({ queues: [queue.name], max: 1, waitMs: 0, worker: "" }))[0]!
    const state = async () => {
      await checkQueue(queue.redis, queue.name)
      return (await tasks.find(id)).state
    }
    expect(await state()).toBe("scheduled")
    await queue.due(id)
    const first = await lease()
    expect([await state(), first.attempt]).toEqual(["processing", 1])
    await queue.lapse(id)
    const second = await lease()
    expect(await tasks.settle([{ id, lease: first.lease, outcome: "done" }])).toMatchObject([
      { reason: "lease_lost" },
    ])
    expect(await tasks.extend([{ id, lease: second.lease }])).toMatchObject([
      { leaseExpiresAt: expect.any(Number) },
    ])
    expect(await tasks.settle([{ id, lease: second.lease, outcome: "failed", text: "boom" }])).toMatchObject([
      { word: "moved_to_dlq", retries: 1 },
    ])
    expect(await tasks.find(id)).toMatchObject({ state: "dead", reason: "failed", error: "boom", crashes: 1 })
    await tasks.dead.retry(id)
    expect(await tasks.find(id)).toMatchObject({ state: "queued", retries: 0, crashes: 0, attempt: 2 })
    const third = await lease()
    expect(third.attempt).toBe(3)
    await tasks.settle([{ id, lease: third.lease, outcome: "done", text: "[1.0]" }])
    expect(await state()).toBe("done")
    expect(await tasks.find(id)).toMatchObject({ result: "[1.0]", payload: LONG })
  } finally {
    await tasks.close()
  }
})

// ── What the leases promise ──────────────────────────────────────────────────────────────────────────────────

test("a worker that wakes while another holds its task can neither finish, fail, release nor extend it", async () => {
  await using queue = await freshQueue()
  const stale = await taken(queue)
  await queue.lapse("T")
  const { lease } = await queue.taken()
  // The state is the same as when it slept off: only the lease tells the two apart.
  const before = await dump(queue.redis, queue.name)
  for (const outcome of ["done", "failed", "released"] as const)
    expect(await queue.settle("T", stale, outcome)).toEqual(["lease_lost", 0, 2, "processing"])
  expect(await queue.extend("T", stale)).toEqual(["lease_lost", 0, 2, "processing"])
  expect(await dump(queue.redis, queue.name)).toEqual(before)
  expect((await queue.settle("T", lease, "done")).slice(0, 2)).toEqual(["acknowledged", 0])
})

test("an accepted ack gives the same answer however often it comes, and another outcome by that lease does not", async () => {
  for (const [outcome, word, retries] of [
    ["done", "acknowledged", 0],
    ["failed", "requeued", 1],
    ["released", "released", 0],
  ] as const) {
    await using queue = await freshQueue()
    const lease = await taken(queue)
    for (let i = 0; i < 3; i++)
      expect((await queue.settle("T", lease, outcome)).slice(0, 2)).toEqual([word, retries])
    for (const other of (["done", "failed", "released"] as const).filter(other => other !== outcome))
      expect((await queue.settle("T", lease, other)).slice(0, 2)).toEqual(["lease_lost", 0])
    if (outcome === "done") continue
    // Also after the task was handed out again, and without touching the lease of who has it now.
    await queue.taken()
    const before = await dump(queue.redis, queue.name)
    expect((await queue.settle("T", lease, outcome)).slice(0, 2)).toEqual([word, retries])
    expect(await dump(queue.redis, queue.name)).toEqual(before)
  }
})

test("an ack that comes twice in one batch counts once", async () => {
  for (const [outcome, word, retries] of [
    ["done", "acknowledged", 0],
    ["failed", "requeued", 1],
    ["released", "released", 0],
  ] as const)
    for (const named of [true, false]) {
      await using queue = await freshQueue()
      const lease = await taken(queue)
      const item = { id: "T", lease: named ? lease : "", outcome, text: "" }
      const answers = await queue.settleEach(HOUR, [item, item])
      expect(answers.map(answer => answer.slice(0, 2))).toEqual([
        [word, retries],
        [word, retries],
      ])
      await checkQueue(queue.redis, queue.name)
    }
})

test("a dead task retried twice in one batch is queued once", async () => {
  await using queue = await freshQueue()
  await died(queue)
  expect(
    await queue.scripts.call("retryDead", queue.name, {}, [
      { id: "T", ...SAME },
      { id: "T", ...SAME },
    ]),
  ).toEqual(["requeued", "not_dead"])
  await checkQueue(queue.redis, queue.name)
})

test("an id submitted twice in one batch is created once", async () => {
  await using queue = await freshQueue()
  expect(await queue.submit(["T", "T", "U"])).toEqual(["queued", "exists", "queued"])
  expect(await queue.submit(["U", "V"])).toEqual(["exists", "queued"])
  expect(await queue.ready()).toEqual(["T", "U", "V"])
  await checkQueue(queue.redis, queue.name)
})

test("an id submitted twice in one batch is created by the first, also where only that one is rare", async () => {
  await using queue = await freshQueue()
  const task = { queue: queue.name, type: "a", payload: "1", policy: readPolicy("5 3 3 30000") }
  const items = [
    { id: "T", ...encodeNewTask({ ...task, unique: { key: "u", replace: false } }) },
    { id: "T", ...encodeNewTask(task) },
  ]
  expect(await queue.submitEach(HOUR, items)).toEqual([
    ["queued", "T"],
    ["exists", "T"],
  ])
})

test("tasks go round the workers: everybody gets a first before anybody gets a second", async () => {
  await using queue = await freshQueue()
  await queue.submit(["a", "b", "c", "d", "e", "f", "g"])
  const workers = [
    { worker: "one", slots: 3 },
    { worker: "?", slots: 1 },
    { worker: "two", slots: 2 },
  ]
  const [, ...tasks] = await queue.leaseEach({ limit: 9, retention: HOUR, tokens: newTokens(6) }, ...workers)
  expect(tasks.map(({ id }) => id)).toEqual(["a", "b", "c", "d", "e", "f"])
  const names = await Promise.all(tasks.map(({ id }) => queue.field(id, "worker")))
  expect(names).toEqual(["one", null, "two", "one", "two", "one"])
  expect(new Set(tasks.map(({ lease }) => lease)).size).toBe(6)
  await checkQueue(queue.redis, queue.name)
})

test("attempt numbers never go back: not by failures, lapses, releases, death or a retry from the dead-letter queue", async () => {
  await using queue = await freshQueue()
  await queue.submit("T", { maxRetries: 1, maxCrashes: 1 })
  const leases: string[] = []
  const take = async () => {
    const { lease } = await queue.taken()
    leases.push(lease)
    return lease
  }
  await queue.settle("T", await take(), "failed")
  await queue.settle("T", await take(), "released")
  await take()
  await queue.lapse("T")
  expect((await queue.settle("T", await take(), "failed")).slice(0, 2)).toEqual(["moved_to_dlq", 2])
  await queue.retryDead("T")
  await take()
  expect(leases.map(lease => Number.parseInt(lease, 10))).toEqual([1, 2, 3, 4, 5])
  expect(new Set(leases.map(lease => lease.split(".")[1])).size).toBe(5)
  for (const lease of leases.slice(0, 3)) expect((await queue.extend("T", lease))[0]).toBe("lease_lost")
})

test("a lapse counts as a crash and not as a failure, up to max_crashes, and then the task is dead of crashes", async () => {
  for (const maxCrashes of [0, 1, 3]) {
    await using queue = await freshQueue()
    await queue.submit("T", { maxCrashes, maxRetries: 0 })
    for (let crash = 1; crash <= maxCrashes; crash++) {
      await queue.taken()
      await queue.lapse("T")
      await queue.sweep()
      expect([await queue.field("T", "state"), await queue.field("T", "crashes")]).toEqual([
        "queued",
        `${crash}`,
      ])
    }
    await queue.taken()
    await queue.lapse("T")
    await queue.sweep()
    expect([await queue.field("T", "state"), await queue.field("T", "reason")]).toEqual(["dead", "crashed"])
    expect(await queue.field("T", "retries")).toBe("0")
    await checkQueue(queue.redis, queue.name)
  }
})

test("a lapse comes to the same straight from text to text as through the table", async () => {
  for (const text of ["{}", LONG])
    for (const worker of ["w", "?"])
      for (const maxCrashes of [0, 1, 2]) {
        const seen = []
        for (const plain of [true, false]) {
          await using queue = await freshQueue()
          await queue.submit("T", { maxCrashes, text, priority: 7 })
          // A backoff of nothing is none, but is no plain policy.
          if (!plain) await queue.setField("T", "policy", `7 3 ${maxCrashes} 30000 0 0 -1 fixed 0 0 0`)
          const steps = []
          for (let lapse = 0; lapse <= maxCrashes; lapse++) {
            const asked = { limit: 1_000, retention: HOUR, tokens: newTokens(1) }
            await queue.leaseEach(asked, { worker, slots: 1 })
            await queue.lapse("T")
            const bounds = {
              limit: 9,
              retention: HOUR,
              dead_retention: HOUR,
              keep: 9,
              keep_dead: 9,
              polled: 0,
            }
            const [, waiting, , ...befell] = await queue.scripts.call("sweep", queue.name, bounds)
            const [first, , ...rest] = cut((await queue.redis.get(queue.key("task", "T")))!)
            const ready = await queue.redis.lrange(queue.key("ready", "7"), 0, -1)
            const told = [first, ...rest]
              .join("\n")
              .replace(/\.[\w-]{22} /g, ". ")
              .replace(/\d{13}/g, "ms")
            steps.push({ waiting, befell, told: told.split("\n"), ready })
            await checkQueue(queue.redis, queue.name)
          }
          seen.push(steps)
        }
        expect(seen[0]).toEqual(seen[1]!)
      }
})

test("a released task is not charged, but a hundred releases are the most", async () => {
  await using queue = await freshQueue()
  await queue.submit("T", { maxRetries: 0, maxCrashes: 0 })
  for (let i = 1; i <= 100; i++) {
    const { lease } = await queue.taken()
    expect((await queue.settle("T", lease, "released")).slice(0, 2)).toEqual(["released", 0])
  }
  const { lease } = await queue.taken()
  await queue.settle("T", lease, "released")
  expect([await queue.field("T", "state"), await queue.field("T", "reason")]).toEqual(["dead", "released"])
  await checkQueue(queue.redis, queue.name)
})

test("released tasks go back to the front, in the order they had", async () => {
  await using queue = await freshQueue()
  await queue.submit(["a", "b", "c", "d"])
  const [, ...tasks] = await queue.lease(3)
  await queue.settleEach(
    HOUR,
    tasks.map(({ id, lease }) => ({ id, lease, outcome: "released", text: "" })),
  )
  expect(await queue.ready()).toEqual(["a", "b", "c", "d"])
})

test("a lapsed lease that nobody took back yet still settles: the work is not lost to a late sweep", async () => {
  await using queue = await freshQueue()
  const lease = await taken(queue)
  await queue.lapse("T")
  expect((await queue.settle("T", lease, "done"))[0]).toBe("acknowledged")
  expect(await moved(queue)).toBe(0)
  await checkQueue(queue.redis, queue.name)
})

test("an extension counts from now, by its own time or the task's", async () => {
  await using queue = await freshQueue()
  const lease = await taken(queue, { timeoutMs: 50_000 })
  const [seconds] = await queue.redis.time()
  for (const [timeout, ms] of [
    [HOUR, HOUR],
    ["", 50_000],
    [100, 100],
  ] as const) {
    const [, deadline] = await queue.extend("T", lease, timeout)
    expect(deadline - Number(seconds) * 1_000).toBeWithin(ms, ms + 3_000)
    expect(Number(await queue.redis.zscore(queue.key("leases"), "T"))).toBe(deadline)
  }
})

test("urgent tasks go first, and those of one priority in their order", async () => {
  await using queue = await freshQueue()
  for (const priority of [0, 9, 5, 9, 0, 3]) await queue.submit(`p${priority}-${Math.random()}`, { priority })
  const [, ...tasks] = await queue.lease(10)
  expect(tasks.map(({ id }) => id.slice(0, 2))).toEqual(["p9", "p9", "p5", "p3", "p0", "p0"])
  await using other = await freshQueue()
  await other.submit(Array.from({ length: 500 }, (_, i) => `n${i}`))
  const [, ...first] = await other.lease(200)
  const [, ...rest] = await other.lease(1_000)
  expect([...first, ...rest].map(({ id }) => id)).toEqual(Array.from({ length: 500 }, (_, i) => `n${i}`))
})

test("lease takes back what has lapsed and promotes what is due before it hands out", async () => {
  await using queue = await freshQueue()
  await queue.submit("lapsed", { priority: 9 })
  await queue.submit("later", { delay: HOUR })
  await queue.taken()
  await queue.lapse("lapsed")
  await queue.due("later")
  const [next, ...tasks] = await queue.lease(5)
  expect(tasks.map(({ id }) => id).sort()).toEqual(["lapsed", "later"])
  expect(next).toBeWithin(20_000, 30_001)
})

test("an id left behind in a ready list is dropped, not handed out", async () => {
  await using queue = await freshQueue()
  const lease = await taken(queue)
  await queue.redis.rpush(queue.key("ready", "5"), "T", "never-was")
  await queue.submit("U")
  const [, ...tasks] = await queue.lease(5)
  expect(tasks.map(({ id }) => id)).toEqual(["U"])
  expect((await queue.settle("T", lease, "done"))[0]).toBe("acknowledged")
  await checkQueue(queue.redis, queue.name)
})

test("sweep and lease say when the next lease lapses or delay ends", async () => {
  await using queue = await freshQueue()
  expect((await queue.sweep())[2]).toBe(-1)
  await queue.submit("T", { timeoutMs: 50_000 })
  expect(await queue.sweep()).toEqual([0, 1, -1])
  await queue.taken()
  expect((await queue.sweep())[2]).toBeWithin(45_000, 50_001)
  await queue.submit("U", { delay: 10_000 })
  expect((await queue.sweep())[2]).toBeWithin(5_000, 10_001)
})

test("every move that makes tasks ready says so once, with how many, and no other does", async () => {
  await using queue = await freshQueue()
  await using listener = new Bench((await sharedRedis()).socket)
  const heard: string[] = []
  listener.redis.on("message", (_channel, count) => heard.push(count))
  await listener.redis.subscribe(queue.key("wake"))
  const step = async (what: () => Promise<unknown>) => {
    await what()
    await queue.redis.publish(queue.key("wake"), "|")
  }
  await step(() => queue.submit(["T", "U", "V"]))
  await step(() => queue.submit("W", { delay: HOUR }))
  const [, t, u] = await queue.lease(2)
  await step(() => queue.settle("T", t!.lease, "failed"))
  await step(() => queue.settle("T", t!.lease, "failed"))
  await step(() => queue.settle("U", u!.lease, "done"))
  await queue.due("W")
  await step(() => queue.sweep())
  await step(() => queue.sweep())
  const [, , , w] = await queue.lease(3)
  await queue.lapse("W")
  await queue.lapse("T")
  await step(() => queue.sweep())
  // What a lease makes ready and takes itself needs no hint.
  const [, again] = await queue.lease(1)
  await queue.lapse(again!.id)
  await step(() => queue.lease(2))
  expect(w).toBeDefined()
  await queue.redis.publish(queue.key("wake"), "end")
  while (heard.at(-1) !== "end") await Bun.sleep(1)
  expect(heard.join(" ")).toBe("3 | | 1 | | | 1 | | 2 | | end")
})

// ── Time passes: retention, and many at one instant ──────────────────────────────────────────────────────────

test("a task whose retention is over leaves nothing behind, its large payload included", async () => {
  await using queue = await freshQueue()
  await queue.submit(["a", "b", "c"], { text: LONG, maxRetries: 0 })
  const [, a, b, c] = await queue.lease(3)
  await queue.settle("a", a!.lease, "done", "1", -1)
  await queue.settle("b", b!.lease, "failed", "boom")
  await queue.settle("c", c!.lease, "done", "1", HOUR)
  await queue.sweep(1_000, -1)
  expect(Object.keys(await dump(queue.redis, queue.name))).toEqual(["done", "payload:c", "task:c"])
  await queue.age("done", "c")
  await queue.sweep()
  expect(await dump(queue.redis, queue.name)).toEqual({})
})

test("retention deletes no more than its limit in one call", async () => {
  await using queue = await freshQueue()
  const ids = Array.from({ length: 1_000 }, (_, i) => `n${i}`)
  await queue.submit(ids, { text: LONG })
  const tasks = await queue.leaseMany(1_000)
  await queue.settleEach(
    -1,
    tasks.map(({ id, lease }) => ({ id, lease, outcome: "done", text: "" })),
  )
  for (const left of [700, 400, 100, 0]) {
    await queue.sweep(300)
    expect(await queue.redis.zcard(queue.key("done"))).toBe(left)
  }
  expect(await dump(queue.redis, queue.name)).toEqual({})
})

/** Milliseconds that script calls took by Redis' own watch, the longest first. */
async function scriptTimes(queue: Queue): Promise<number[]> {
  const log = (await queue.redis.slowlog("GET", 10_000)) as [number, number, number, string[]][]
  return log
    .filter(([, , , command]) => /^(evalsha|eval)/i.test(command[0]!))
    .map(([, , micros]) => micros / 1_000)
    .sort((a, b) => b - a)
}

async function measured(): Promise<{ queue: Queue } & AsyncDisposable> {
  const server = await testRedis({ args: ["--slowlog-log-slower-than", "0", "--slowlog-max-len", "10000"] })
  const queue = new Queue(server.socket)
  return {
    queue,
    async [Symbol.asyncDispose]() {
      await queue[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}

const submitMany = async (queue: Queue, count: number, wishes: Wishes = {}) => {
  for (let from = 0; from < count; from += 1_000)
    await queue.submit(
      Array.from({ length: Math.min(1_000, count - from) }, (_, i) => `n${from + i}`),
      wishes,
    )
}

/** Leases by 100 until nothing comes; answers who came. */
async function drain(queue: Queue, limit: number): Promise<string[]> {
  const came: string[] = []
  for (;;) {
    const [, ...tasks] = await queue.lease(100, limit)
    if (tasks.length === 0) return came
    came.push(...tasks.map(({ id }) => id))
  }
}

/** A script that is given 300 moves takes 2 to 5 ms, and all 5,000 would take over 50; a busy machine interrupts some. */
function expectShort(times: number[]) {
  expect(times.length).toBeGreaterThan(10)
  expect(times[Math.floor(times.length / 2)]!).toBeLessThan(25)
}

test("5,000 tasks due at one instant are promoted in small steps and all handed on, in the order of their time", async () => {
  await using server = await measured()
  const { queue } = server
  await submitMany(queue, 5_000, { delay: HOUR })
  const ids = await queue.redis.zrange(queue.key("due"), "0", "-1")
  await queue.redis.zadd(queue.key("due"), "XX", ...ids.flatMap(id => [1, id]))
  await queue.redis.slowlog("RESET")
  expect((await queue.sweep(300))[0]).toBe(1)
  expect(await queue.redis.zcard(queue.key("due"))).toBe(4_700)
  await queue.lease(1, 300)
  expect(await queue.redis.zcard(queue.key("due"))).toBe(4_400)
  const came = await drain(queue, 300)
  expect(new Set(came).size).toBe(4_999)
  expectShort(await scriptTimes(queue))
  await checkQueue(queue.redis, queue.name)
})

test("5,000 leases that lapse at one instant are taken back in small steps and all handed out again", async () => {
  await using server = await measured()
  const { queue } = server
  await submitMany(queue, 5_000)
  expect(await drain(queue, 300)).toHaveLength(5_000)
  await queue.redis.zadd(
    queue.key("leases"),
    "XX",
    ...Array.from({ length: 5_000 }, (_, i) => [1, `n${i}`]).flat(),
  )
  await queue.redis.slowlog("RESET")
  expect((await queue.sweep(300))[0]).toBe(1)
  expect(await queue.redis.zcard(queue.key("leases"))).toBe(4_700)
  const came = await drain(queue, 300)
  expect(new Set(came).size).toBe(5_000)
  expectShort(await scriptTimes(queue))
  await checkQueue(queue.redis, queue.name)
})

test("a lease call takes back and promotes so many in sum, hands out less for it, and says that there is more", async () => {
  await using server = await measured()
  const { queue } = server
  await submitMany(queue, 700)
  const [, ...lapsing] = await queue.lease(150)
  await queue.redis.zadd(queue.key("leases"), "XX", ...lapsing.flatMap(({ id }) => [1, id]))
  for (const { id } of lapsing.slice(0, 80)) await queue.redis.zadd(queue.key("due"), 1, `of-no-task-${id}`)
  const [nextEvent, ...first] = await queue.lease(400, 100)
  expect([nextEvent, first.length]).toEqual([0, 100])
  expect(await queue.redis.zcard(queue.key("leases"))).toBe(50 + 100)
  const [, ...second] = await queue.lease(400, 100)
  expect(second).toHaveLength(100)
  expect(await queue.redis.zcard(queue.key("due"))).toBe(30)
  const [, ...third] = await queue.lease(400, 100)
  expect(third).toHaveLength(300 - 2 * 30)
})

test("20,000 tasks due at one timestamp work at the largest limit too", async () => {
  await using queue = await freshQueue()
  await submitMany(queue, 20_000, { delay: HOUR })
  await queue.redis.eval(
    "for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('ZADD', KEYS[1], 1, id) end",
    1,
    queue.key("due"),
  )
  expect((await queue.sweep(20_000))[0]).toBe(1)
  expect(await queue.redis.llen(queue.key("ready", "5"))).toBe(20_000)
  expect(await queue.leaseMany(1_000)).toHaveLength(1_000)
})

test("a thousand tasks go through every script in one call each, and through lease in four", async () => {
  await using queue = await freshQueue()
  const ids = Array.from({ length: 1_000 }, (_, i) => `n${i}`)
  expect(await queue.submit(ids, { text: LONG, maxRetries: 0 })).toEqual(ids.map(() => "queued"))
  const tasks = await queue.leaseMany(1_000)
  expect(tasks.map(({ id, payload }) => [id, payload])).toEqual(ids.map(id => [id, LONG]))
  const each = tasks.map(({ id, lease }) => ({ id, lease }))
  const extended = await queue.scripts.call(
    "extend",
    queue.name,
    {},
    each.map(item => ({ ...item, timeout: "", ...NOTHING_TOLD })),
  )
  expect(new Set(extended.map(([word]) => word))).toEqual(new Set(["ok"]))
  const only = each.map(({ id }) => ({ id }))
  const watched = await queue.scripts.call("watch", queue.name, {}, only)
  expect(watched).toEqual(ids.map(() => "watched"))
  const settled = await queue.settleEach(
    HOUR,
    each.map(item => ({ ...item, outcome: "failed", text: "boom" })),
  )
  expect(new Set(settled.map(([word]) => word))).toEqual(new Set(["moved_to_dlq"]))
  const [size, ...page] = await queue.scripts.call("page", queue.name, {
    bare: 0,
    place: "dead",
    limit: 1_000,
    score: "",
    id: "",
  })
  expect([size, page.length]).toEqual([1_000, 1_000])
  const inspected = await queue.scripts.call("inspect", queue.name, {}, only)
  expect(inspected.map(task => task![0])).toEqual(ids)
  expect(
    await queue.scripts.call(
      "retryDead",
      queue.name,
      {},
      only.map(one => ({ ...one, ...SAME })),
    ),
  ).toEqual(ids.map(() => "requeued"))
  await checkQueue(queue.redis, queue.name)
  const start = { limit: 1_000, score: "", id: "", bare: 0 }
  const [waiting, ...listed] = await queue.scripts.call("page", queue.name, { place: "5", ...start })
  expect([waiting, listed.map(([, id]) => id)]).toEqual([1_000, ids])
  const why = await queue.scripts.call("why", queue.name, {}, only)
  expect(why.map(answer => answer![3])).toEqual(ids.map((_, i) => i))
  const cancelled = await queue.scripts.call("cancel", queue.name, { retention: -1 }, only)
  expect(cancelled).toEqual(ids.map(() => ["cancelled", "queued"]))
  await checkQueue(queue.redis, queue.name)
  await queue.sweep()
  // What they left in their list is dropped as far as one lease looks; "ask again" leads to the rest.
  expect(await queue.lease()).toEqual([0])
  expect(await queue.lease()).toEqual([-1])
  expect(await dump(queue.redis, queue.name)).toEqual({})
})

test("a page of dead tasks goes on where the one before ended, though its last one left and new ones came", async () => {
  await using queue = await freshQueue()
  const kill = async (id: string) => {
    await queue.submit(id, { maxRetries: 0 })
    await queue.settle(id, (await queue.taken()).lease, "failed")
  }
  // All at the same millisecond but two: then the id decides, the greatest first.
  for (const id of ["a", "b", "c", "d", "e", "f"]) await kill(id)
  for (const id of ["b", "c", "d", "e"]) await queue.redis.zadd(queue.key("dead"), 5_000, id)
  await queue.redis.zadd(queue.key("dead"), 4_000, "a", 6_000, "f")
  const page = async (score: string, id: string) => {
    const [size, ...entries] = await queue.scripts.call("page", queue.name, {
      bare: 0,
      place: "dead",
      limit: 2,
      score,
      id,
    })
    return { size, ids: entries.map(([, id]) => id) }
  }
  expect(await page("", "")).toEqual({ size: 6, ids: ["f", "e"] })
  await queue.retryDead("e")
  await queue.taken()
  await kill("new")
  expect(await page("5000", "e")).toEqual({ size: 6, ids: ["d", "c"] })
  expect(await page("5000", "c")).toEqual({ size: 6, ids: ["b", "a"] })
  expect(await page("4000", "a")).toEqual({ size: 6, ids: [] })
})

test("whatever is done in whatever order, each task stands in exactly one place", async () => {
  await using queue = await freshQueue()
  const held: [string, string][] = []
  const pick = () => held[Math.floor(Math.random() * held.length)] ?? ["none", STALE]
  const outcomes = ["done", "failed", "released"] as const
  const chance = (share: number) => Math.random() < share
  const any = () => `n${Math.floor(Math.random() * ids)}`
  let ids = 0
  const moves: (() => Promise<unknown>)[] = [
    () =>
      queue.submit(`n${ids++}`, {
        priority: Math.floor(Math.random() * 10),
        maxRetries: 1,
        maxCrashes: 1,
        text: Math.random() < 0.5 ? LONG : "1",
        ...(chance(0.3) ? { backoff: BACKOFF } : {}),
        ...(chance(0.3) ? { expiresInMs: chance(0.2) ? 1 : 2 * HOUR } : {}),
        ...(chance(0.3) ? { unique: `u${Math.floor(Math.random() * 5)}` } : {}),
      }),
    () => queue.submit(`n${ids++}`, { delay: chance(0.5) ? HOUR : 0, unique: "u1", mode: "replace" }),
    () => queue.submit(any(), { unique: "u2", text: LONG }),
    () => queue.cancel(any(), chance(0.3) ? -1 : HOUR),
    async () => {
      const id = any()
      if ((await queue.redis.zscore(queue.key("expiring"), id)) !== null) await queue.expire(id)
    },
    () => queue.watch(any()),
    () => queue.scripts.call("page", queue.name, { place: "5", limit: 3, score: "", id: "", bare: 0 }),
    () => queue.submit(`n${ids++}`, { delay: HOUR, text: LONG }),
    async () => {
      const [, ...tasks] = await queue.lease(1 + Math.floor(Math.random() * 3), 5)
      for (const { id, lease } of tasks) held.push([id, lease])
    },
    () =>
      queue.settle(...pick(), outcomes[Math.floor(Math.random() * 3)]!, "x", Math.random() < 0.3 ? -1 : HOUR),
    () => queue.settle(pick()[0], "", outcomes[Math.floor(Math.random() * 3)]!),
    () => queue.extend(...pick(), Math.random() < 0.3 ? 0 : HOUR),
    () => queue.lapse(pick()[0]),
    () => queue.due(`n${Math.floor(Math.random() * ids)}`),
    () => queue.sweep(3, Math.random() < 0.1 ? -1 : HOUR),
    () => queue.retryDead(`n${Math.floor(Math.random() * ids)}`),
  ]
  for (let step = 0; step < 1_500; step++) {
    const move = Math.floor(Math.random() * moves.length)
    await moves[move]!()
    const wrong = step % 5 === 0 ? await contradictions(queue.redis, queue.name) : []
    expect([step, move, wrong]).toEqual([step, move, []])
  }
})

// ── The scripts themselves ───────────────────────────────────────────────────────────────────────────────────

const words = (text: string) => text.split(",").map(word => word.trim())
const names = Object.keys(SCRIPTS) as ScriptName[]
const kebab = (name: string) => name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)

test("the prelude unpacks the keys in the order in which lib/redis/keys.ts gives them", async () => {
  const prelude = await Bun.file(join(import.meta.dir, "../../lib/lua/record.lua")).text()
  expect(words(/^local (.+) = unpack\(KEYS\)$/m.exec(prelude)![1]!)).toEqual(QUEUE_KEY_NAMES)
})

test("every file of lib/lua that is about a queue is declared", async () => {
  const files = (await readdir(join(import.meta.dir, "../../lib/lua"))).filter(
    file => /\.lua$/.test(file) && !/^(record|collect|moves|events-|rates-|workers-)/.test(file),
  )
  expect(files.sort()).toEqual(names.map(name => `${kebab(name)}.lua`).sort())
})

describe.each(names)("%s.lua", name => {
  const { source, args, each } = SCRIPTS[name]

  test("names its arguments as its declaration does", () => {
    const before =
      /^local (.+) = unpack\(ARGV\)$/m.exec(source)?.[1] ?? /^local (\w+) = ARGV\[1\]$/m.exec(source)?.[1]
    expect(before === undefined ? [] : words(before)).toEqual([...args])
    const item = /^ *local (.+) = (?:unpack\(ARGV, i, i \+ fields_each - 1\)|ARGV\[i\], ARGV\[i \+ 1\].*)$/m
    const named = item.exec(source)?.[1]
    if (named !== undefined) {
      // `extras` is a function of the prelude: what is asked beside it has another name.
      expect(words(named).map(word => (word === "asked" ? "extras" : word))).toEqual([...each])
      expect(source).toContain(`\nlocal first, fields_each = ${args.length + 1}, ${each.length}\n`)
      expect(source).toContain("\nfor i = first, #ARGV, fields_each do\n")
    } else if (/ipairs\(ARGV\)/.test(source)) {
      expect([...args]).toEqual([])
      expect(/^for _, (\w+) in ipairs\(ARGV\) do/m.exec(source)?.[1]).toBe(each.join())
    } else if (name === "cancel")
      expect(source).toContain(`\nfor i = ${args.length + 1}, #ARGV do\n  local ${each.join()} = ARGV[i]\n`)
    else if (each.length > 0) {
      const fields = `${args.length + 1}, ${each.length}`
      expect(source).toContain(`\nlocal workers_from, fields_each, token_size = ${fields}, 22\n`)
      expect(source).toContain("\nfor i = workers_from, #ARGV, fields_each do ")
      expect(each.join()).toBe("worker,slots")
    } else expect(source).not.toMatch(/#ARGV/)
  })

  test("tells of its arguments in the order of its declaration", () => {
    let rest = /^ {2}(?:arguments|for each) +(.+?)^ {2}answers /ms.exec(source)?.[1] ?? ""
    for (const word of [...args, ...each]) {
      const at = new RegExp(`\\b${word}\\b`).exec(rest)
      expect([word, at?.[0]]).toEqual([word, word])
      rest = rest.slice(at!.index + word.length)
    }
  })

  test("opens like a manual page: shebang, what it does, what it answers, what it costs", () => {
    const [shebang, title, ...rest] = source.split("\n")
    expect(shebang).toMatch(/^#!lua( flags=(allow-oom|no-writes))?$/)
    expect(title).toStartWith(`--[[ ${kebab(name)}: `)
    const page = rest.slice(0, rest.findIndex(line => line.includes("]]")) + 1).join("\n")
    expect(page).toMatch(/^ {2}answers {4}\S/m)
    expect(page).toMatch(/^ {2}cost {7}O\(/m)
    expect(/^ {2}(arguments|for each) +/m.test(page)).toBe(args.length + each.length > 0)
  })

  test("frees memory where it may run without it, and says so where it only reads", () => {
    const flags = /^#!lua flags=(.+)$/m.exec(source)?.[1]
    const reads = !/HSET|HDEL|make_ready|requeue_or_mark_dead|commit\(\)|UNLINK|MSET/.test(source)
    expect(flags).toBe(name === "submit" ? undefined : reads ? "no-writes" : "allow-oom")
  })

  test("touches no key but those it was given, spells none, and reads the clock once", () => {
    const text = scriptText(source)
    expect(text).toStartWith("#!lua")
    expect(text).not.toMatch(/tq:|"\{|SMEMBERS|LREM|KEYS\[/)
    // Only a page reads a list, and only its own part of it; only backoff leaves something to chance.
    expect(text.match(/"LRANGE"/g)?.length ?? 0).toBe(name === "page" ? 1 : 0)
    expect(source).not.toContain("math.random")
    expect(text.match(/math\.random\(\)/g)).toHaveLength(1)
    expect(text.match(/"TIME"/g)).toHaveLength(1)
  })
})

test("a script and its declaration answer the same words", () => {
  const said = (name: ScriptName) =>
    new Set([...SCRIPTS[name].source.split("]]")[0]!.matchAll(/"([a-z_]+)"/g)].map(([, word]) => word))
  const also = (name: ScriptName, ...words: string[]) => said(name).difference(new Set(words))
  expect(also("submit", "replace")).toEqual(
    new Set([
      ...["queued", "scheduled", "replay_queued", "replay_scheduled", "replay_duplicate", "replay_replaced"],
      ...["conflict", "duplicate", "replaced", "exists", "full_depth", "full_bytes"],
    ]),
  )
  expect(said("extend")).toEqual(new Set(["ok", "cancelled", "lease_lost", "unknown"]))
  expect(said("deleteDead")).toEqual(new Set(["deleted", "not_dead"]))
  expect(said("retryDead")).toEqual(new Set(["requeued", "not_dead", "duplicate"]))
  expect(said("cancel")).toEqual(new Set(["cancelled", "cancelling", "ended", "unknown"]))
  expect(said("watch")).toEqual(new Set(["watched", "ended", "unknown"]))
  expect(also("settle", "no", "retrying", "done", "failed", "returned")).toEqual(
    new Set([
      ...["acknowledged", "requeued", "moved_to_dlq", "released", "cancelled"],
      ...["lease_lost", "not_leased", "unknown"],
    ]),
  )
})

test("a backoff that grows past all bounds is still a time to come", async () => {
  await using queue = await freshQueue()
  const backoff = { kind: "exponential", delay_ms: 2_592_000_000, jitter: false } as const
  await queue.submit("T", { maxRetries: 1_000, backoff })
  await queue.setField("T", "retries", "60")
  const { lease } = await queue.taken()
  expect((await queue.settle("T", lease, "failed"))[0]).toBe("requeued")
  expect(Number(await queue.redis.zscore(queue.key("due"), "T"))).toBeGreaterThan(Date.now() + HOUR)
  expect((await queue.lease()).length).toBe(1)
})

test.each([
  "what is this?",
  "processing 0 ",
  'queued 0 none 0 ? 0 0 0 0\n5 3 3 1000\n\n"a"\n1',
  'queued 0 0 0 ?\n5 3 3 1000\n\n"a"\n1',
  'scheduled 0 0 0 ?\n5 3 3 1000 0 5\n\n"a"\n1',
])("a text that is no task's keeps no other from being handed out, settled or taken back: %j", async text => {
  await using queue = await freshQueue()
  await queue.submit(["A", "B"])
  const [, a] = await queue.lease()
  await queue.redis.set(queue.key("task", "X"), text)
  for (const set of ["leases", "due", "expiring"] as const) await queue.redis.zadd(queue.key(set), 1, "X")
  await queue.redis.lpush(queue.key("ready", "5"), "X")
  const answers = await queue.settleEach(HOUR, [
    { id: "X", lease: "", outcome: "done", text: "" },
    { id: "A", lease: a!.lease, outcome: "done", text: "" },
  ])
  expect(answers.map(([word]) => word)).toEqual(["unknown", "acknowledged"])
  await queue.sweep()
  expect((await queue.taken()).id).toBe("B")
  expect(await queue.redis.exists(queue.key("leases"))).toBe(1)
  expect(await queue.redis.zscore(queue.key("leases"), "X")).toBeNull()
})

test("what is released for free is not even counted", async () => {
  await using queue = await freshQueue()
  await queue.submit("T")
  for (let i = 0; i < 110; i++) {
    const { lease } = await queue.taken()
    const [answer] = await queue.settleEach(HOUR, [{ id: "T", lease, outcome: "returned", text: "" }])
    expect(answer![0]).toBe("released")
  }
  expect(await queue.field("T", "releases")).toBe("0")
})
