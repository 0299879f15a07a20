/** Every row of the transition table: performed by the scripts, repeated, and refused. */
import { describe, expect, test } from "bun:test"
import { createLog } from "../../lib/log.ts"
import { TaskQueue } from "../../lib/queue/task-queue.ts"
import { readPolicy } from "../../lib/task/policy.ts"
import type { Submitted } from "../../lib/task/task.ts"
import { refusedWhen, TRANSITIONS } from "../../lib/task/transitions.ts"
import { DirectQueue } from "../support/harness.ts"
import { checkQueue, contradictions, type Dump, fieldsOf } from "../support/invariants.ts"
import { sharedRedis } from "../support/redis.ts"
import {
  BACKOFF,
  dump,
  HOUR,
  LONG,
  makeDead,
  makeRetrying,
  ScriptQueue,
  STALE,
  scriptQueue,
  submitAndLease,
  sweepOne,
  type TaskOptions,
} from "../support/script-queue.ts"

type Row = (typeof TRANSITIONS)[number]

type NameOf<R extends Row> = R extends Row ? `${R["from"]} · ${R["event"]} · ${R["to"]}` : never

type Name = NameOf<Row>

interface Walk {
  /** Brings the task T into `from`. Returns its lease if the event needs one. */
  to(queue: ScriptQueue): Promise<unknown>
  /** The event. `lease` is what `to` returned. Runs twice; the second run must change nothing. */
  go(queue: ScriptQueue, lease: string): Promise<unknown>
  answers: unknown
  /** The answer to the second run, if it differs. */
  again?: unknown
  /** The event in a situation that refuses it; `refused` is the answer. */
  against(queue: ScriptQueue, lease: string): Promise<unknown>
  refused: unknown
  /** The event for a task that does not exist. */
  unknown?(queue: ScriptQueue): Promise<unknown>
}

const settling = (
  outcome: "done" | "failed" | "released",
  code: string,
  retries: number,
  wishes: TaskOptions = {},
): Walk => ({
  to: queue => submitAndLease(queue, wishes),
  go: async (queue, lease) => (await queue.settle("T", lease, outcome, "text")).slice(0, 2),
  answers: [code, retries],
  against: async queue => queue.settle("T", STALE, outcome, "text"),
  refused: ["lease_lost", 0, 1, "processing"],
  unknown: queue => queue.settle("U", STALE, outcome),
})

/** `pass` moves the time for which T waits into the past; the next sweep then performs the event. */
const sweeping = (pass: (queue: ScriptQueue) => Promise<unknown>, to: Walk["to"]): Walk => ({
  to,
  go: async queue => {
    await pass(queue)
    return sweepOne(queue)
  },
  answers: 1,
  again: 0,
  against: sweepOne,
  refused: 0,
})

const lapse = (queue: ScriptQueue) => queue.lapse("T")

const expire = (queue: ScriptQueue) => queue.expire("T")

const comeDue = (queue: ScriptQueue) => queue.due("T")

const age = (set: "done" | "dead" | "cancelled") => (queue: ScriptQueue) => queue.age(set, "T")

const makeDone = async (queue: ScriptQueue) => {
  await queue.settle("T", await submitAndLease(queue), "done", "1")
}

const makeCancelled = async (queue: ScriptQueue) => {
  await queue.submit("T", { text: LONG, delay: HOUR })
  await queue.cancel("T")
}

const purging = (place: string, to: Walk["to"]): Walk => ({
  to,
  go: queue => queue.purge(place),
  answers: 1,
  again: 0,
  against: queue => queue.purge(place === "done" ? "dead" : "done"),
  refused: 0,
})

const deletion = (state: string, to: Walk["to"]): Walk => ({
  to,
  go: queue => queue.deleteEnded("T", state),
  answers: "deleted",
  again: "unknown",
  // Tasks in other states and tasks that ended later are kept.
  against: async queue => {
    await queue.submit("other")
    const others = ["done", "dead", "cancelled"].filter(of => of !== state).join(" ")
    const answers = [
      await queue.deleteEnded("other"),
      await queue.deleteEnded("T", others),
      await queue.deleteEnded("T", state, 1),
    ]
    await queue.purge("5")
    return answers
  },
  refused: ["kept", "kept", "kept"],
  unknown: async queue => [await queue.deleteEnded("U")],
})

const cancelling = (to: Walk["to"], answers: [code: string, state: string], again = answers): Walk => ({
  to,
  go: queue => queue.cancel("T"),
  answers,
  again,
  against: async queue => {
    await queue.submit("other", { priority: 9 })
    const { id, lease } = await queue.leaseOne()
    await queue.settle(id, lease, "done")
    const answer = await queue.cancel("other")
    await queue.age("done", id)
    await queue.sweep()
    return answer
  },
  refused: ["ended", "done"],
  unknown: queue => queue.cancel("U"),
})

const changing = (to: Walk["to"], change: Parameters<ScriptQueue["change"]>[1]): Walk => ({
  to,
  go: queue => queue.change("T", change),
  answers: "changed",
  against: async queue => {
    await queue.submit("other", { priority: 9 })
    const { id, lease } = await queue.leaseOne()
    const answers = [await queue.change(id, change)]
    await queue.settle(id, lease, "done")
    answers.push(await queue.change(id, change))
    await queue.age("done", id)
    await queue.sweep()
    return answers
  },
  refused: ["not_waiting", "not_waiting"],
  unknown: async queue => [await queue.change("U", change)],
})

const IN_A_DAY = String(Date.now() + 24 * HOUR)

const CANCELLED: [string, string] = ["cancelled", "cancelled"]

/** A submit of T while its id is taken, or another task holds its unique key: changes nothing. */
const taking = (wishes: TaskOptions): Walk["against"] => {
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

/** One per row: a row without a walk, or a walk without a row, does not compile. */
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
  "scheduled · sweep: due · queued": sweeping(comeDue, queue =>
    queue.submit("T", { delay: HOUR, text: LONG }),
  ),
  "retrying · sweep: due · queued": sweeping(comeDue, makeRetrying),
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
      releases: 0,
      policy: readPolicy("5 3 3 30000"),
      leaseExpiresAt: expect.any(Number),
      startedAt: expect.any(Number),
      waitedMs: expect.any(Number),
    },
    again: undefined,
    against: async queue => {
      await queue.submit("urgent", { priority: 6 })
      const [, task] = await queue.lease()
      await queue.settle("urgent", task!.lease, "done")
      await queue.age("done", "urgent")
      await queue.sweep()
      return task!.id
    },
    refused: "urgent",
  },
  "processing · extend · processing": {
    to: queue => submitAndLease(queue),
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
  "processing · settle: cancel requested · cancelled": {
    ...settling("failed", "cancelled", 0),
    to: async queue => {
      const lease = await submitAndLease(queue)
      await queue.cancel("T")
      return lease
    },
  },
  "processing · settle: failed, none left · dead": settling("failed", "moved_to_dlq", 1, { maxRetries: 0 }),
  "processing · settle: released · queued": settling("released", "released", 0),
  "processing · settle: released, with a delay · retrying": {
    ...settling("released", "released", 0),
    go: async (queue, lease) => (await queue.settle("T", lease, "released", "text", HOUR, HOUR)).slice(0, 2),
  },
  "processing · settle: released too often · dead": {
    ...settling("released", "released", 0),
    to: async queue => {
      await queue.submit("T", { text: LONG })
      await queue.setField("T", "releases", 100)
      return (await queue.leaseOne()).lease
    },
  },
  "processing · sweep: lapsed, crashes left · queued": sweeping(lapse, queue =>
    submitAndLease(queue, { maxCrashes: 1 }),
  ),
  "processing · sweep: lapsed, none left · dead": sweeping(lapse, queue =>
    submitAndLease(queue, { maxCrashes: 0 }),
  ),
  "processing · sweep: lapsed, with backoff · retrying": sweeping(lapse, queue =>
    submitAndLease(queue, { backoff: BACKOFF }),
  ),
  "processing · sweep: lapsed, cancel requested · cancelled": sweeping(lapse, async queue => {
    await submitAndLease(queue)
    await queue.cancel("T")
  }),
  "processing · cancel · processing": cancelling(submitAndLease, ["cancelling", "processing"]),
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
    queue => makeRetrying(queue, { expiresInMs: 2 * HOUR, unique: "u" }),
    ["cancelled", "retrying"],
    CANCELLED,
  ),
  "scheduled · change · scheduled": changing(queue => queue.submit("T", { delay: HOUR }), {
    when: IN_A_DAY,
    priority: 9,
    large: LONG,
  }),
  "queued · change · queued": changing(queue => queue.submit("T", { text: LONG, unique: "u" }), {
    priority: 9,
    inline: "1",
    members: '="meta":{"a":"b"}',
  }),
  "retrying · change · retrying": changing(makeRetrying, { when: IN_A_DAY, inline: "1" }),
  "queued · change: delayed, never leased · scheduled": changing(
    queue => queue.submit("T", { text: LONG, unique: "u" }),
    { when: IN_A_DAY },
  ),
  "queued · change: delayed · retrying": changing(
    async queue => queue.settle("T", await submitAndLease(queue), "failed"),
    { when: IN_A_DAY },
  ),
  "scheduled · change: run now · queued": changing(
    queue => queue.submit("T", { delay: HOUR, expiresInMs: 2 * HOUR }),
    { when: "+0" },
  ),
  "retrying · change: run now · queued": changing(queue => makeRetrying(queue), { when: "1000000000000" }),
  "scheduled · sweep: expired · dead": sweeping(expire, queue =>
    queue.submit("T", { delay: HOUR, expiresInMs: 2 * HOUR, unique: "u", text: LONG }),
  ),
  "queued · sweep: expired · dead": sweeping(expire, queue =>
    queue.submit("T", { expiresInMs: HOUR, unique: "u", text: LONG }),
  ),
  "retrying · sweep: expired · dead": sweeping(expire, queue =>
    makeRetrying(queue, { expiresInMs: 2 * HOUR, unique: "u" }),
  ),
  "dead · retry dead · queued": {
    to: queue => makeDead(queue, { unique: "u" }),
    go: queue => queue.retryDead("T"),
    answers: "requeued",
    again: "not_dead",
    against: async queue => {
      await queue.submit("other", { unique: "u" })
      const answers = [await queue.retryDead("other"), await queue.retryDead("T")]
      await queue.settle("other", (await queue.leaseOne()).lease, "done")
      await queue.age("done", "other")
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
  "retrying · purge · –": purging("due", queue =>
    makeRetrying(queue, { expiresInMs: 2 * HOUR, unique: "u" }),
  ),
  "done · purge · –": purging("done", makeDone),
  "dead · purge · –": purging("dead", makeDead),
  "cancelled · purge · –": purging("cancelled", makeCancelled),
  "done · delete ended · –": deletion("done", makeDone),
  "dead · delete ended · –": deletion("dead", makeDead),
  "cancelled · delete ended · –": deletion("cancelled", makeCancelled),
  "done · sweep: retention over · –": sweeping(age("done"), makeDone),
  "dead · sweep: retention over · –": sweeping(age("dead"), makeDead),
  "cancelled · sweep: retention over · –": sweeping(age("cancelled"), makeCancelled),
}

/** Rounds deadlines, which differ by the duration of the test, and sorts the extras, which Lua writes in any order. */
function comparable(content: Dump): Dump {
  const same: Dump = {}
  for (const [key, value] of Object.entries(content))
    if (key === "leases")
      same[key] = Object.entries(value as Record<string, number>).map(([id, at]) => [
        id,
        Math.round(at / 10_000),
      ])
    else same[key] = key.startsWith("task:") ? fieldsOf(value as string) : value
  return same
}

const ENDED: readonly string[] = ["done", "dead", "cancelled"]

/** Records the messages on a queue's channels from now on. */
async function listen(queue: ScriptQueue) {
  const ear = queue.redis.duplicate()
  const said: Record<"wake" | "ended", string[]> = { wake: [], ended: [] }
  const over = Promise.withResolvers<void>()
  ear.on("message", (channel, message) => {
    if (message === "over") over.resolve()
    else said[channel === queue.key("wake") ? "wake" : "ended"].push(message)
  })
  await ear.subscribe(queue.key("wake"), queue.key("ended"))
  return {
    /** All messages until now. */
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
    const state = async (queue: ScriptQueue) => (await queue.field("T", "state")) ?? "–"

    test("happens, and repeating it changes nothing", async () => {
      await using queue = await scriptQueue()
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
      // Waiting clients are woken once, with the number of tasks, and the end of a watched task is published once.
      expect(await listener.heard()).toEqual({
        wake: row.to === "queued" ? ["1"] : [],
        ended: watched === "watched" && (ENDED.includes(row.to) || row.to === "–") ? ["T"] : [],
      })
    })

    test(`is refused if ${refusedWhen(row)}, and then changes nothing`, async () => {
      await using queue = await scriptQueue()
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
  const states: Record<string, (queue: ScriptQueue) => Promise<unknown>> = {
    scheduled: queue => queue.submit("T", { delay: HOUR }),
    queued: queue => queue.submit("T"),
    retrying: makeRetrying,
    done: async queue => queue.settle("T", await submitAndLease(queue), "done"),
    dead: makeDead,
    cancelled: async queue => {
      const lease = await submitAndLease(queue)
      await queue.cancel("T")
      await queue.settle("T", lease, "done")
    },
  }
  for (const [state, to] of Object.entries(states)) {
    await using queue = await scriptQueue()
    await to(queue)
    const before = await dump(queue.redis, queue.name)
    const attempt = state === "scheduled" || state === "queued" ? 0 : 1
    const settled = { retrying: "failed", done: "done", dead: "failed", cancelled: "done" }[state]
    for (const outcome of ["done", "failed", "released"] as const) {
      expect(await queue.settle("T", STALE, outcome)).toEqual(["lease_lost", 0, attempt, state as "done"])
      // The same settlement without a lease gets the first answer again.
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

test("a task being cancelled ends as cancelled for every outcome, and a repeated ack gets the same answer", async () => {
  for (const outcome of ["done", "failed", "released"] as const) {
    await using queue = await scriptQueue()
    const lease = await submitAndLease(queue, { unique: "u", maxRetries: 0 })
    await queue.cancel("T")
    expect((await queue.extend("T", lease))[0]).toBe("cancelled")
    expect(await queue.field("T", "state")).toBe("processing")
    for (let i = 0; i < 2; i++)
      expect((await queue.settle("T", lease, outcome, "x")).slice(0, 3)).toEqual(["cancelled", 0, 1])
    expect(await queue.submit("U", { unique: "u" })).toEqual(["queued"])
    await checkQueue(queue.redis, queue.name)
  }
})

test("a task that would start after its expiry is dead with reason expired, on lease, failure or lapse", async () => {
  const ways: Record<string, (queue: ScriptQueue) => Promise<unknown>> = {
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
      const lease = await submitAndLease(queue, { expiresInMs: HOUR / 2, unique: "u", backoff: BACKOFF })
      expect((await queue.settle("T", lease, "failed")).slice(0, 2)).toEqual(["moved_to_dlq", 1])
    },
    lapse: async queue => {
      await submitAndLease(queue, { expiresInMs: HOUR / 2, unique: "u", backoff: BACKOFF })
      await queue.lapse("T")
      await queue.sweep()
    },
  }
  for (const [way, go] of Object.entries(ways)) {
    await using queue = await scriptQueue()
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

test("a task is in exactly one place after each step of its life", async () => {
  const { socket } = await sharedRedis()
  await using queue = new ScriptQueue(socket)
  const tasks = await TaskQueue.open({
    redis: { url: socket, timeoutMs: 2_000, name: "test" },
    doneRetentionMs: HOUR,
    deadRetentionMs: HOUR,
    doneKept: 100,
    deadKept: 100,
    idempotencyTtlMs: HOUR,
    maxQueueDepth: 0,
    maxQueueBytes: 0,
    auditIntervalMs: 0,
    maxRetries: 3,
    maxCrashes: 3,
    visibilityTimeoutMs: 30_000,
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
      return (await tasks.find(id, "all")).state
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
      { code: "moved_to_dlq", retries: 1 },
    ])
    expect(await tasks.find(id, "all")).toMatchObject({
      state: "dead",
      reason: "failed",
      error: "boom",
      crashes: 1,
    })
    await tasks.parts.dead.retry(id)
    expect(await tasks.find(id, "all")).toMatchObject({ state: "queued", retries: 0, crashes: 0, attempt: 2 })
    const third = await lease()
    expect(third.attempt).toBe(3)
    await tasks.settle([{ id, lease: third.lease, outcome: "done", text: "[1.0]" }])
    expect(await state()).toBe("done")
    expect(await tasks.find(id, "all")).toMatchObject({ result: "[1.0]", payload: LONG })
  } finally {
    await tasks.close()
  }
})

test("every call that makes tasks ready publishes their number once, and no other call does", async () => {
  await using queue = await scriptQueue()
  await using listener = new DirectQueue((await sharedRedis()).socket)
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
  // Tasks that a lease call makes ready and leases itself are not published.
  const [, again] = await queue.lease(1)
  await queue.lapse(again!.id)
  await step(() => queue.lease(2))
  expect(w).toBeDefined()
  await queue.redis.publish(queue.key("wake"), "end")
  while (heard.at(-1) !== "end") await Bun.sleep(1)
  expect(heard.join(" ")).toBe("3 | | 1 | | | 1 | | 2 | | end")
})

test("after any sequence of calls each task is in exactly one place", async () => {
  await using queue = await scriptQueue()
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
    () => queue.page("5", 3),
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
