/**
 * A short form of `bun run faults`: a seeded run without violations, and one that must find a planted bug. Also tests
 * of the checker, with every kind of violation, and of the links.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test"
import { slotOf } from "../../lib/redis/topology.ts"
import { until } from "../support/harness.ts"
import { CHECKS, type Check, type Counts, Ledger, noCounts, type Violation } from "./checker.ts"
import { drawFaults, kindsOf } from "./faults.ts"
import type { Entry } from "./history.ts"
import { BUGS } from "./planted/bugs.ts"
import { SMALL, signsOf } from "./planted/find.ts"
import { Link, type LinkFault } from "./proxy.ts"
import { broken, page } from "./report.ts"
import { LOST_REPLIES, runFaults } from "./run.ts"
import { Chance } from "./seed.ts"
import { type Batch, drawBatch, PROBE_QUEUES, QUEUES } from "./workload.ts"

// The runs take about 15 s, and longer on a busy machine.
setDefaultTimeout(300_000)

const SHORT = { ...SMALL, faults: 10, tasks: 1_000 }

// Both runs mostly wait, so they run concurrently.
test.concurrent("real processes under faults drawn from a seed: no task is lost or finished twice", async () => {
  const result = await runFaults({ ...SHORT, seed: 20, drainMs: 60_000 })
  if (broken(result)) throw new Error(page(result))
  expect(result.counts).toMatchObject({ tasks: 1_000, unseen: 0 })
  expect(result.counts.events).toBeGreaterThan(100)
  expect(result.faults.length).toBe(10)
})

// The leases are long enough for a broker that has lost its connection to return tasks before they lapse.
test.concurrent("lost replies of Redis count no crash: every crash is that of a lease that a worker received", async () => {
  const result = await runFaults({
    ...SHORT,
    tasks: 500,
    seed: 3,
    among: LOST_REPLIES,
    leaseMs: 3_000,
    drainMs: 60_000,
  })
  if (broken(result)) throw new Error(page(result))
})

test.concurrent("such a run finds a planted bug", async () => {
  const planted = "a released task is dropped"
  expect(signsOf(await runFaults({ ...SHORT, faults: 2, seed: 1, planted }))).toContain("lost")
})

test("every text that a planted bug replaces occurs in its file exactly once", async () => {
  for (const { file, edits } of BUGS) {
    const text = await Bun.file(new URL(`../../${file}`, import.meta.url)).text()
    for (const [find] of edits) expect([file, find, text.split(find).length - 1]).toEqual([file, find, 1])
  }
})

test("a seed always draws the same faults and tasks, and another seed draws others", () => {
  const kinds = kindsOf({ faults: {} } as never)
  const drawn = (seed: number) => [
    drawFaults(seed, 50, kinds, { gapMs: 100, leaseMs: 500 }),
    drawBatch(Chance.of(seed, "client 0"), 0, 1_000, { batch: 100, leaseMs: 500, poisonOneOf: 10 }),
  ]
  expect(drawn(5)).toEqual(drawn(5))
  expect(drawn(5)).not.toEqual(drawn(6))
})

test("each of a Cluster's three masters has a queue and a probe queue", () => {
  for (const queues of [QUEUES, PROBE_QUEUES]) {
    const masters = queues.map(queue => Math.floor((slotOf(`{${queue}}`) * 3) / 16_384))
    expect(masters.sort()).toEqual([0, 1, 2])
  }
})

const BATCH: Batch = {
  from: 1,
  count: 1,
  queue: "q",
  priority: 5,
  retries: 1,
  crashes: 1,
  timeoutMs: 100,
  keyed: "key",
}
const submitted: Entry[] = [
  ["submit", 0, 1, BATCH],
  ["submitted", 5, 1, ["q:a"]],
]
const leased = (attempt: number, at: number, id = "q:a"): Entry => [
  "leased",
  at,
  [[1, id, `${attempt}.x`, at, at + 100]],
]
const acked = (attempt: number, at: number, word = "acknowledged", outcome = "done"): Entry[] => [
  ["ack", at, at, [[1, "q:a", `${attempt}.x`, outcome]]],
  ["acked", at + 1, at, [word]],
]
const ran = (attempt: number, at: number): Entry => ["ran", at, [[1, `${attempt}.x`]]]
const cancelled = (at: number, word = "cancelled"): Entry[] => [
  ["cancel", at, at, 1, "q:a"],
  ["cancelled", at + 1, at, word],
]
const done = [leased(1, 10), ran(1, 20), ...acked(1, 30)]

interface Seen {
  entries: Entry[]
  listed?: { status: string; attempt: number; retries?: number; crashes?: number; reason?: string }[]
  complete?: boolean
  losesOnlyReplies?: boolean
  failsOver?: boolean
  events?: [event: string, at: number, order: number][]
}

async function judged({
  entries,
  listed = [],
  complete = false,
  losesOnlyReplies = false,
  failsOver = false,
  events = [],
}: Seen) {
  const ledger = new Ledger(0, 1)
  await ledger.read(
    (async function* () {
      yield* entries
    })(),
  )
  for (const task of listed)
    ledger.list({
      n: 1,
      id: "q:a",
      reason: undefined,
      retries: 0,
      crashes: 0,
      releases: 0,
      finishedAt: undefined,
      ...task,
    })
  ledger.see(events.map(([event, at, order]) => ({ task: "q:a", event, at, order })))
  const violations: Violation[] = []
  const counts: Counts = noCounts()
  ledger.judge({ complete, resultTtlMs: 1_000, losesOnlyReplies, failsOver }, counts, violation =>
    violations.push(violation),
  )
  return { checks: [...new Set(violations.map(({ check }) => check))], counts }
}

/** A task that is leased at this time, runs and is done. */
const lifeOf = (n: number, at: number): Entry[] => [
  ["leased", at, [[n, `q:${n}`, "1.y", at, at + 100]]],
  ["ran", at + 1, [[n, "1.y"]]],
  ["ack", at + 20, n + 1_000, [[n, `q:${n}`, "1.y", "done"]]],
  ["acked", at + 21, n + 1_000, ["acknowledged"]],
]

const BROKEN: Record<Check, Seen> = {
  lost: { entries: submitted },
  unexpected: { entries: done },
  "made twice": { entries: [...submitted, leased(1, 10, "q:b"), ran(1, 20), ...acked(1, 30)] },
  doubled: {
    entries: [...submitted, leased(1, 10), ran(1, 20), leased(2, 115), ran(2, 120), ...acked(2, 130)].concat([
      ["ack", 100, 7, [[1, "q:a", "1.x", "done"]]],
      ["acked", 140, 7, ["acknowledged"]],
    ]),
  },
  "old lease": { entries: [...submitted, leased(1, 10), ran(1, 20), leased(2, 115), ...acked(1, 130)] },
  "two leases": { entries: [...submitted, leased(1, 10), leased(2, 60), ran(2, 70), ...acked(2, 80)] },
  attempts: { entries: [...submitted, leased(1, 10), leased(1, 120), ran(1, 120), ...acked(1, 130)] },
  "over budget": {
    entries: [...submitted, leased(4, 10), ran(4, 20), ...acked(4, 30)],
    listed: [{ status: "done", attempt: 4, crashes: 3 }],
  },
  "after its end": { entries: [...submitted, ...done, leased(2, 120)] },
  unique: {
    entries: [
      ["submit", 0, 1, { ...BATCH, unique: true }],
      ["submitted", 5, 1, ["q:a"]],
      ["submit", 6, 2, { ...BATCH, from: 41, unique: true }],
      ["submitted", 8, 2, ["q:b"]],
      leased(1, 10),
      ran(1, 20),
      ...acked(1, 30),
      ["leased", 40, [[41, "q:b", "1.y", 40, 140]]],
      ["ran", 41, [[41, "1.y"]]],
      ["ack", 42, 9, [[41, "q:b", "1.y", "done"]]],
      ["acked", 43, 9, ["acknowledged"]],
    ],
  },
  "not run": { entries: [...submitted, leased(1, 10), ...acked(1, 30)] },
  "answered otherwise": { entries: [...submitted, ...done, ...acked(1, 40, "!lease_lost")] },
  "one state": { entries: [...submitted, ...done], complete: true },
  counts: {
    entries: [...submitted, leased(1, 10), leased(2, 110), ran(2, 120), ...acked(2, 130)],
    listed: [{ status: "done", attempt: 2 }],
  },
  charged: {
    entries: [...submitted, leased(2, 110), ran(2, 120), ...acked(2, 130)],
    listed: [{ status: "done", attempt: 2, crashes: 1 }],
    losesOnlyReplies: true,
  },
  "event order": {
    entries: [...submitted, ...done],
    events: [
      ["leased", 10, 11],
      ["submitted", 11, 0],
    ],
  },
  "group limit": {
    entries: [1, 11, 21].flatMap(n => [
      ["submit", 0, n, { ...BATCH, from: n, queue: "faults-c", grouped: true }],
      ["submitted", 5, n, [`q:${n}`]],
      ...lifeOf(n, 10),
    ]),
  },
  "group order": {
    entries: [
      ["submit", 0, 1, { ...BATCH, count: 11, queue: "faults-d", grouped: true }],
      ["submitted", 5, 1, ["q:1", ...Array(9).fill("=q:other"), "q:11"]],
      ...lifeOf(11, 10),
      ...lifeOf(1, 50),
    ],
  },
}

describe("the checker finds what is", () => {
  test.each([...CHECKS])("%s", async check => {
    expect((await judged(BROKEN[check])).checks).toEqual([check])
  })
})

const disorders: Record<string, [event: string, at: number, order: number][]> = {
  "at another time than the lease": [["leased", 11, 11]],
  "of the same order, but another": [
    ["failed", 30, 13],
    ["lapsed", 31, 13],
  ],
  "twice with other times": [
    ["done", 30, 13],
    ["done", 31, 13],
  ],
  "of a lapse twice without a failover": [
    ["lapsed", 30, 13],
    ["lapsed", 31, 13],
  ],
  "after the last one": [
    ["done", 30, 13],
    ["cancelled", 31, 16],
  ],
  "without an order": [["done", 30, Number.NaN]],
}
test.each(Object.keys(disorders))("the checker finds an event %s", async what => {
  const { checks } = await judged({ entries: [...submitted, ...done], events: disorders[what]! })
  expect(checks).toEqual(["event order"])
})

describe("the checker finds nothing wrong with", () => {
  const fine: Record<string, Seen> = {
    "a task that was done": { entries: [...submitted, ...done] },
    "one that lapsed and was done again": {
      entries: [...submitted, leased(1, 10), leased(2, 110), ran(2, 120), ...acked(2, 130)],
      listed: [{ status: "done", attempt: 2, crashes: 1 }],
      complete: true,
    },
    "an attempt that reached no worker, and is not charged": {
      entries: [...submitted, leased(2, 110), ran(2, 120), ...acked(2, 130)],
      listed: [{ status: "done", attempt: 2 }],
      losesOnlyReplies: true,
    },
    "one that reached no worker and is charged, as its broker died": {
      entries: [...submitted, leased(2, 110), ran(2, 120), ...acked(2, 130)],
      listed: [{ status: "done", attempt: 2, crashes: 1 }],
    },
    "a lapse that a failover reverted, and that happened again": {
      entries: [...submitted, leased(1, 10), leased(2, 110), ran(2, 120), ...acked(2, 130)],
      events: [
        ["dead", 100, 14],
        ["lapsed", 105, 13],
        ["done", 107, 13],
      ],
      failsOver: true,
    },
    "events that arrive in any order, and twice": {
      entries: [...submitted, leased(1, 10), leased(2, 110), ran(2, 120), ...acked(2, 130)],
      events: [
        ["done", 130, 23],
        ["leased", 10, 11],
        ["lapsed", 110, 13],
        ["done", 130, 23],
        ["submitted", 10, 0],
        ["leased", 110, 21],
      ],
    },
    "a submit that got no answer and made nothing": {
      entries: [
        ["submit", 0, 1, BATCH],
        ["unanswered", 9, 1, "no answer"],
      ],
    },
    "an ack without a lease that was never answered, of a task that was forgotten since": {
      entries: [
        ...submitted,
        leased(1, 10),
        ran(1, 20),
        ["ack", 30, 30, [[1, "q:a", "", "done"]]],
        ["acked", 31, 30, ["!redis_unavailable"]],
      ],
    },
    "an ack repeated after its answer was lost, when the task was done": {
      entries: [
        ...submitted,
        leased(1, 10),
        ran(1, 20),
        ["ack", 30, 7, [[1, "q:a", "1.x", "done"]]],
        ...acked(1, 500),
      ],
    },
    "a task given again at once, as its holder had failed": {
      entries: [
        ...submitted,
        leased(1, 10),
        ...acked(1, 20, "requeued", "failed"),
        leased(2, 21),
        ran(2, 22),
        ...acked(2, 30),
      ],
    },
    "a submit whose unique key another task has": {
      entries: [
        ["submit", 0, 1, { ...BATCH, unique: true }],
        ["submitted", 9, 1, ["=q:b"]],
      ],
    },
    "a dead task that was given a new life": {
      entries: [
        ...submitted,
        leased(1, 10),
        ...acked(1, 20, "moved_to_dlq", "failed"),
        ["redrive", 30, 8, 1, "q:a"],
        ["redriven", 31, 8, "requeued_from_dlq"],
        leased(2, 40),
        ran(2, 41),
        ...acked(2, 42),
      ],
      listed: [{ status: "done", attempt: 2 }],
      complete: true,
    },
    "one whose worker named no lease": {
      entries: [
        ...submitted,
        leased(1, 10),
        ran(1, 20),
        ["ack", 30, 8, [[1, "q:a", "", "done"]]],
        ["acked", 31, 8, ["acknowledged"]],
      ],
    },
    "one that was cancelled while it waited": { entries: [...submitted, ...cancelled(10)] },
    "one cancelled while it ran": {
      entries: [
        ...submitted,
        leased(1, 10),
        ...cancelled(15, "cancelling"),
        ran(1, 20),
        ...acked(1, 30, "cancelled"),
      ],
    },
  }
  test.each(Object.keys(fine))("%s", async name => {
    expect((await judged(fine[name]!)).checks).toEqual([])
  })

  test("a submit without an answer whose task is done counts as recovered", async () => {
    const { checks, counts } = await judged({ entries: [submitted[0]!, ...done] })
    expect(checks).toEqual([])
    expect(counts).toMatchObject({ kept: 0, recovered: 1, done: 1 })
  })
})

describe("a link", () => {
  /** An echo server behind a link, and a connection to it. `heard` is the data that came back. */
  async function echo(all: DisposableStack) {
    let served = ""
    const server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data(socket, bytes) {
          served += bytes.toString()
          socket.write(bytes)
        },
      },
    })
    all.defer(() => server.stop(true))
    const link = all.use(new Link("test", { hostname: "127.0.0.1", port: server.port }))
    const state = { heard: "", closed: false }
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: link.port,
      socket: {
        data(_, bytes) {
          state.heard += bytes.toString()
        },
        close() {
          state.closed = true
        },
      },
    })
    all.defer(() => socket.terminate())
    socket.write("hello")
    await until("the answer is back", () => state.heard === "hello")
    return { link, socket, state, served: () => served.slice("hello".length) }
  }

  const EXPECTED: Record<LinkFault, { served: string; heard: string; closed: boolean; late?: string }> = {
    dropReply: { served: "12345678", heard: "", closed: true },
    cutRequest: { served: "1234", heard: "", closed: true },
    cutReply: { served: "12345678", heard: "1234", closed: true },
    blackHole: { served: "", heard: "", closed: false },
    late: { served: "", heard: "", closed: false, late: "12345678" },
    slow: { served: "", heard: "", closed: false, late: "12345678" },
    deafServer: { served: "", heard: "", closed: false },
    deafClient: { served: "", heard: "", closed: true },
  }
  test.each(Object.keys(EXPECTED) as LinkFault[])("%s", async fault => {
    using all = new DisposableStack()
    const { link, socket, state, served } = await echo(all)
    const { late = "", ...expected } = EXPECTED[fault]
    link.break(fault, 1_000)
    socket.write("12345678")
    await Bun.sleep(30) // time for what must not happen
    const effect = () => ({ served: served(), heard: state.heard.slice(5), closed: state.closed })
    await until("it has its effect", () => Bun.deepEquals(effect(), expected))
    link.heal()
    await until("late data arrives, or a connection that missed data is closed", () =>
      late === "" ? state.closed : state.heard.slice(5) === late,
    )
    expect(state.closed).toBe(late === "")
  })

  test("passes many megabytes whole and in order, to a side that reads slowly", async () => {
    const bytes = new Uint8Array(20_000_000).map((_, i) => (i * 31) & 255)
    using server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async request => new Response(await request.bytes()),
    })
    using link = new Link("test", { hostname: "127.0.0.1", port: server.port! })
    const answer = await fetch(link.url, { method: "POST", body: bytes })
    const reader = answer.body!.getReader()
    const parts: Uint8Array[] = []
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value)
      await Bun.sleep(1)
    }
    expect(Bun.hash(Buffer.concat(parts))).toBe(Bun.hash(bytes))
  })
})
