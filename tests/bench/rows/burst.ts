/** 100,000 tasks become due, or leases lapse, at one instant, while another client submits. */
import { Redis } from "ioredis"
import { TOKEN } from "../../support/harness.ts"
import { inLanes } from "../contender.ts"
import { Ours, submission } from "../contenders/ours.ts"
import { Connection, post } from "../http.ts"
import type { Line, Row, Run } from "../row.ts"
import { withAof } from "../settings.ts"
import { quantile } from "../statistics.ts"

/** Tasks per request of the preparation. Afterwards requests are small, so that no script call is long only because of its size. */
const PER_REQUEST = 1_000
const LEASED_AT_ONCE = 100
const LANES = 8
/** The minimum time between the end of the preparation and the instant. */
const READY_MS = 2_000
/** How long before the instant the other client begins to submit. */
const WARM_MS = 500
const SLOW_US = 5_000
/** Interval at which the other client submits one task to another queue. */
const SUBMIT_EVERY_MS = 5

type Instant = "due" | "lapsing"

export const burst: Row = {
  name: "burst",
  title:
    "100,000 tasks due (or leases lapsing) at one instant (--quick: 20,000), until all are leased; everysec",
  async measure(run) {
    return [...(await instant(run, "due")), ...(await instant(run, "lapsing"))]
  },
}

async function instant(run: Run, kind: Instant): Promise<Line[]> {
  await using ours = await Ours.start({ redis: withAof("everysec") })
  const tasks = run.quick ? 20_000 : 100_000
  const connect = () => Promise.all(Array.from({ length: LANES }, () => Connection.open(ours.broker.url)))
  const preparing = await connect()
  const redis = new Redis({ path: ours.redis.socket })

  run.progress(`${tasks} tasks ${kind}: preparing`)
  const at = kind === "due" ? await schedule(preparing, tasks) : await hold(preparing, tasks)
  await redis.config("SET", "slowlog-log-slower-than", SLOW_US, "slowlog-max-len", 10_000)
  await redis.slowlog("RESET")
  await redis.config("RESETSTAT")
  await Bun.sleep(at - Date.now() - WARM_MS)

  const connections = await connect()
  const submitter = await Connection.open(ours.broker.url)
  const submits = submitting(submitter)
  await Bun.sleep(at - Date.now())
  run.progress(`${tasks} tasks ${kind}`)
  const begin = performance.now()
  const request = leaseRequest(2_000)
  // Polls that arrive after all tasks are leased end empty and are not counted.
  let last = begin
  await leaseAll(connections, tasks, async connection => {
    const count = countOf(await connection.send(request))
    if (count > 0) last = performance.now()
    return count
  })
  const seconds = (last - begin) / 1_000
  const times = await submits.end()
  const slow = (await redis.slowlog("GET", 10_000)) as [number, number, number, string[]][]
  const worstMs = Math.max(0, ...slow.map(([, , us]) => us)) / 1_000
  const stats = await redis.info("commandstats", "latencystats")
  const [, calls] = /^cmdstat_evalsha:calls=(\d+)/m.exec(stats)!
  const [, p50, p99] = /^latency_percentiles_usec_evalsha:p50=([\d.]+),p99=([\d.]+)/m.exec(stats)!

  redis.disconnect()
  for (const connection of [...preparing, ...connections, submitter]) connection.close()
  const contender = kind === "due" ? "ours, due" : "ours, lapsing"
  return [
    { contender, unit: "s until all are leased", values: [seconds], target: { atMost: 3 } },
    {
      contender,
      unit: `calls over ${SLOW_US / 1_000} ms`,
      values: [slow.length],
      target: { atMost: 0 },
      // By the clock of Redis: time in which the system preempts Redis is included.
      note: `of ${calls}; median ${ms(p50)}, p99 ${ms(p99)}, worst ${worstMs.toFixed(1)} ms`,
    },
    {
      contender,
      unit: "ms, submit p99 during the burst",
      values: [quantile(times, 0.99)],
      target: { atMost: 50 },
      note: `${times.length} submits`,
    },
  ]
}

const ms = (us = "") => (Number(us) / 1_000).toFixed(1)
const countOf = (answer: string) => answer.split('"id":"').length - 1
const leaseRequest = (waitMs: number) =>
  post("/lease", TOKEN, JSON.stringify({ max: LEASED_AT_ONCE, wait_ms: waitMs }))

/** Repeats the call in all lanes until this many tasks have been leased. */
async function leaseAll(
  connections: readonly Connection[],
  tasks: number,
  slot: (connection: Connection) => Promise<number>,
): Promise<void> {
  let left = tasks
  let empty = 0
  await Promise.all(
    connections.map(async connection => {
      while (left > 0) {
        const count = await slot(connection)
        left -= count
        empty = count > 0 ? 0 : empty + 1
        if (left > 0 && empty > 100) throw new Error(`${left} of ${tasks} tasks were never leased`)
      }
    }),
  )
}

/** Submits tasks that are all due at the time that it returns. */
async function schedule(connections: readonly Connection[], tasks: number): Promise<number> {
  const submitDue = async (tasks: number, queue: string, at: number) => {
    const task = JSON.stringify({ type: "mail", queue, payload: {}, run_at: at })
    const request = post("/submit", TOKEN, `[${Array(PER_REQUEST).fill(task)}]`)
    const load = { tasks, perRequest: PER_REQUEST, lanes: connections.length }
    await inLanes(load, async (_, lane) => void (await connections[lane]!.send(request)))
  }
  // The duration is estimated from a tenth of the tasks, submitted to another queue.
  const begin = Date.now()
  await submitDue(tasks / 10, "much-later", begin + 3_600_000)
  const at = Math.round(Date.now() + READY_MS + (Date.now() - begin) * 15)
  await submitDue(tasks, "default", at)
  return inTime(at)
}

/** Leases tasks and sets all leases to lapse at the time that it returns. */
async function hold(connections: readonly Connection[], tasks: number): Promise<number> {
  // The leases are long enough for any preparation.
  const task = JSON.stringify({ type: "mail", payload: {}, timeout_ms: 600_000 })
  const request = post("/submit", TOKEN, `[${Array(PER_REQUEST).fill(task)}]`)
  const load = { tasks, perRequest: PER_REQUEST, lanes: connections.length }
  await inLanes(load, async (_, lane) => void (await connections[lane]!.send(request)))
  const begin = Date.now()
  const held: { id: string; lease: string }[] = []
  await leaseAll(connections, tasks, async connection => {
    const answer = await connection.send(leaseRequest(1_000))
    const leased = (JSON.parse(answer) as { tasks: typeof held }).tasks
    held.push(...leased)
    return leased.length
  })
  // Extending takes about as long as leasing.
  const at = Math.round(Date.now() + READY_MS + (Date.now() - begin) * 1.5)
  await inLanes(load, async (count, lane) => {
    const timeout_ms = at - Date.now()
    const leases = held.splice(-count).map(({ id, lease }) => ({ task_id: id, lease, timeout_ms }))
    await connections[lane]!.send(post("/extend", TOKEN, JSON.stringify(leases)))
  })
  return inTime(at)
}

function inTime(at: number): number {
  if (Date.now() > at - WARM_MS) throw new Error("the instant came before the preparation was complete")
  return at
}

/** Submits a task at intervals to another queue, and returns how long each took, in ms. */
function submitting(connection: Connection) {
  const times: number[] = []
  let over = false
  const request = submission("apart", 1)
  const run = (async () => {
    while (!over) {
      const begin = performance.now()
      await connection.send(request)
      times.push(performance.now() - begin)
      await Bun.sleep(SUBMIT_EVERY_MS)
    }
  })()
  run.catch(() => {}) // end() reports it
  return {
    async end() {
      over = true
      await run
      return times
    },
  }
}
