/** How fast many schedules fire that are due at one instant, what that does to other queues, and what idle ones cost. */
import { Redis } from "ioredis"
import { keyOf, SCHEDULES_CHANNEL } from "../../../lib/redis/keys.ts"
import { encodeSchedule, type StoredSchedule } from "../../../lib/task/schedule.ts"
import { scriptCalls, TOKEN } from "../../support/harness.ts"
import { Ours, submission } from "../contenders/ours.ts"
import { cpuSeconds } from "../cpu.ts"
import { Connection, post } from "../http.ts"
import { alternate } from "../rounds.ts"
import type { Line, Row, Run } from "../row.ts"
import { withAof } from "../settings.ts"
import { quantile } from "../statistics.ts"

const DUE = 10_000
const IDLE = 100_000
const QUEUES = 100
const DAY_MS = 86_400_000
const SETTLE_MS = 500
/** How long before their time schedules are written. */
const LEAD_MS = 1_500
/** How long a window without firing takes: about as long as one in which all schedules fire. */
const WINDOW_MS = 1_700
/** How many tasks a request of the submitting client has: as many as a call that fires. */
const PER_REQUEST = 10
/** How many windows of each kind a round has: their p99 varies by a factor. */
const WINDOWS_PER_ROUND = 3
const POLL_MS = 20

const queueOf = (i: number) => `queue-${i % QUEUES}`

/** Writes schedules as brokers would: 100,000 requests would take most of the time of the row. */
async function plan(
  redis: Redis,
  count: number,
  queueOf: (i: number) => string,
  planned: number,
): Promise<void> {
  const stored: StoredSchedule = {
    version: 1,
    planned,
    fired: 0,
    missed: 0,
    skipped: 0,
    last: 0,
    paused: 0,
    pauseReason: "",
    definition: { every_ms: DAY_MS, task: { type: "report" } },
    payload: "{}",
  }
  const text = encodeSchedule(stored)
  for (let from = 0; from < count; from += 1_000) {
    const pipeline = redis.pipeline()
    for (let i = from; i < Math.min(count, from + 1_000); i++) {
      const queue = queueOf(i)
      pipeline.hset(keyOf(queue, "schedules"), `s${i}`, text)
      pipeline.zadd(keyOf(queue, "planned"), planned, `s${i}`)
    }
    await pipeline.exec()
  }
}

/** Submits and leases single tasks of another queue until `isOver`, and returns how long each request took, in ms. */
async function otherQueue(url: string, isOver: () => Promise<boolean>): Promise<number[]> {
  const connection = await Connection.open(url)
  const lease = post("/lease", TOKEN, JSON.stringify({ queues: ["other"] }))
  const submit = submission("other", 1)
  const durations: number[] = []
  while (!(await isOver()))
    for (const request of [submit, lease]) {
      const from = performance.now()
      await connection.send(request)
      durations.push(performance.now() - from)
    }
  connection.close()
  return durations
}

export const schedules: Row = {
  name: "schedules",
  title: `${DUE.toLocaleString("en-US")} schedules due at one instant, ${IDLE.toLocaleString("en-US")} idle ones in ${QUEUES} queues; everysec`,
  async measure(run) {
    const lines = await dueAtOnce(run)
    for (const brokers of run.quick ? [1] : [1, 2, 4]) lines.push(...(await cost(run, brokers)))
    return [...lines, ...(await idle(run))]
  },
}

const start = async (stack: AsyncDisposableStack, brokers = 1) => {
  const env = { AUDIT_INTERVAL_MS: "0" } // an audit reads all schedules
  const ours = stack.use(await Ours.start({ redis: withAof("everysec"), env, brokers }))
  const redis = new Redis({ path: ours.redis.socket })
  stack.defer(() => redis.disconnect())
  let queues = 0
  return {
    ours,
    redis,
    /** Plans schedules in a queue of their own, and returns when they are due, or would be if they were not two days later. */
    async fill(daysLater = 0) {
      const queue = `window-${queues++}`
      const at = Date.now() + LEAD_MS
      await plan(redis, DUE, () => queue, at + daysLater * DAY_MS)
      await redis.publish(SCHEDULES_CHANNEL, queue)
      await Bun.sleep(at - Date.now())
      return { queue, at, ready: () => redis.llen(keyOf(queue, "ready", "5")) }
    },
  }
}

/** Submits as many tasks as fire in the other windows, in as much time. */
async function submitAll(url: string, queue: string, from: number): Promise<void> {
  const connection = await Connection.open(url)
  const request = submission(queue, PER_REQUEST)
  for (let submitted = 0; submitted < DUE; submitted += PER_REQUEST) {
    const waitMs = from + (submitted / DUE) * WINDOW_MS - Date.now()
    if (waitMs > 0) await Bun.sleep(waitMs)
    await connection.send(request)
  }
  connection.close()
}

/**
 * Three kinds of windows take turns: schedules fire, a client submits as many tasks, and nothing happens. Each window has a
 * queue of its own with as many schedules. No broker can create tasks without the work of a submit, so the second kind is
 * the lower bound for the first.
 */
async function dueAtOnce(run: Run): Promise<Line[]> {
  await using stack = new AsyncDisposableStack()
  const { ours, fill } = await start(stack)
  const { url } = ours.broker
  const window = (kind: "quiet" | "firing" | "submitting") => async () => {
    const { queue, at, ready } = await fill(kind === "firing" ? 0 : 2)
    const submitted = kind === "submitting" ? submitAll(url, queue, at) : undefined
    const durations = await otherQueue(url, async () => {
      const count = await ready()
      return kind === "quiet" ? Date.now() > at + WINDOW_MS : count === DUE
    })
    await submitted
    return { seconds: (Date.now() - at) / 1_000, p99: quantile(durations, 0.99) }
  }
  const rounds = run.quick ? run.rounds : run.rounds * WINDOWS_PER_ROUND
  const kinds = ["quiet", "firing", "submitting"] as const
  const results = await alternate(
    { ...run, rounds },
    kinds.map(name => ({ name, slice: window(name) })),
  )
  const p99 = (kind: (typeof kinds)[number]): Line => ({
    contender: `ours, ${kind}`,
    unit: "ms, p99 of submit and lease in another queue",
    values: results.get(kind)!.map(({ p99 }) => p99),
  })
  const against = (kind: (typeof kinds)[number], note: string): Line => ({
    ...p99("firing"),
    ratio: {
      of: `ours, ${kind}`,
      values: p99("firing").values.map((value, round) => value / p99(kind).values[round]!),
    },
    target: { atMost: 1.1 },
    note,
  })
  return [
    {
      contender: "ours, firing",
      unit: "s until all have fired",
      values: results.get("firing")!.map(({ seconds }) => seconds),
      target: { atMost: 2 },
    },
    against("submitting", "a client submits as many tasks in as much time"),
    against("quiet", "one connection, and nothing else to do"),
    p99("submitting"),
    p99("quiet"),
  ]
}

/** What it costs if nothing else happens. Brokers that find another one ahead have worked in vain, so several may cost more. */
async function cost(run: Run, brokers: number): Promise<Line[]> {
  await using stack = new AsyncDisposableStack()
  const { ours, redis, fill } = await start(stack, brokers)
  const contender = `ours, BROKERS=${brokers}`
  const { redis: redisPid, ...brokerPids } = ours.servers
  const cpuOf = (pids: readonly number[]) => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
  const results = await alternate(run, [
    {
      name: contender,
      async slice() {
        const { at, ready } = await fill()
        const ofBrokers = cpuOf(Object.values(brokerPids))
        const ofRedis = cpuOf([redisPid])
        const calls = await scriptCalls(redis)
        while ((await ready()) < DUE) await Bun.sleep(POLL_MS)
        return {
          seconds: (Date.now() - at) / 1_000,
          brokers: ((cpuOf(Object.values(brokerPids)) - ofBrokers) / DUE) * 1e6,
          redis: ((cpuOf([redisPid]) - ofRedis) / DUE) * 1e6,
          calls: (await scriptCalls(redis)) - calls,
        }
      },
    },
  ])
  const windows = results.get(contender)!
  const line = (unit: string, value: (window: (typeof windows)[number]) => number): Line => ({
    contender,
    unit,
    values: windows.map(value),
  })
  return [
    { ...line("s until all have fired", ({ seconds }) => seconds), target: { atMost: 2 } },
    line("µs of CPU time of all brokers per task", ({ brokers }) => brokers),
    line("µs of CPU time of Redis per task", ({ redis }) => redis),
    line("script calls", ({ calls }) => calls),
  ]
}

async function idle(run: Run): Promise<Line[]> {
  await using stack = new AsyncDisposableStack()
  const { ours, redis } = await start(stack)
  run.progress("idle")
  await plan(redis, IDLE, queueOf, Date.now() + 2 * DAY_MS)
  // The broker learns the queues now: if it found them in Redis later, it would check all of them during the measurement.
  const first = { every_ms: 2 * DAY_MS, task: { type: "report" } }
  for (let i = 0; i < QUEUES; i++) await ours.broker.client.setSchedule(`${queueOf(i)}:first`, first)
  await Bun.sleep(6 * SETTLE_MS)
  const seconds = run.quick ? 5 : 15
  const callsBefore = await scriptCalls(redis)
  const cpuBefore = cpuSeconds(ours.servers.broker)
  await Bun.sleep(seconds * 1_000)
  const cpu = cpuSeconds(ours.servers.broker) - cpuBefore
  const calls = (await scriptCalls(redis)) - callsBefore
  return [
    {
      contender: "ours, idle",
      unit: "script calls/s",
      values: [calls / seconds],
      target: { atMost: 10 },
      note: "checks of the 100 queues, as without schedules",
    },
    { contender: "ours, idle", unit: "% of a core", values: [(cpu / seconds) * 100], target: { atMost: 3 } },
  ]
}
