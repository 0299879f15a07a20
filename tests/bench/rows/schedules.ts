/** How fast many schedules fire that are due at one instant, what that does to other queues, and what idle ones cost. */
import { Redis } from "ioredis"
import { keyOf, SCHEDULES_CHANNEL } from "../../../lib/redis/keys.ts"
import { encodeSchedule, type StoredSchedule } from "../../../lib/task/schedule.ts"
import { scriptCalls, TOKEN } from "../../support/harness.ts"
import { Ours, submission } from "../contenders/ours.ts"
import { cpuSeconds } from "../cpu.ts"
import { Connection, post } from "../http.ts"
import type { Row } from "../row.ts"
import { withAof } from "../settings.ts"

const DUE = 10_000
const IDLE = 100_000
const QUEUES = 100
const DAY_MS = 86_400_000
const SETTLE_MS = 3_000

const queueOf = (i: number) => `queue-${i % QUEUES}`

/** Writes schedules as brokers would: 100,000 requests would take most of the time of the row. */
async function plan(redis: Redis, count: number, queues: number, planned: number): Promise<void> {
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
      const queue = queueOf(i % queues)
      pipeline.hset(keyOf(queue, "schedules"), `s${i}`, text)
      pipeline.zadd(keyOf(queue, "planned"), planned, `s${i}`)
    }
    await pipeline.exec()
  }
}

const p99 = (ms: number[]) => ms.sort((a, b) => a - b)[Math.floor(ms.length * 0.99)]!

/** Submits and leases single tasks of another queue until `isOver`, and returns the durations of both together. */
async function otherQueue(url: string, isOver: () => Promise<boolean>): Promise<number[]> {
  const connection = await Connection.open(url)
  const lease = post("/lease", TOKEN, JSON.stringify({ queues: ["other"] }))
  const submit = submission("other", 1)
  const durations: number[] = []
  while (!(await isOver())) {
    const from = performance.now()
    await connection.send(submit)
    await connection.send(lease)
    durations.push(performance.now() - from)
  }
  connection.close()
  return durations
}

export const schedules: Row = {
  name: "schedules",
  title: `${DUE.toLocaleString("en-US")} schedules due at one instant, ${IDLE.toLocaleString("en-US")} idle ones in ${QUEUES} queues; everysec`,
  async measure(run) {
    await using ours = await Ours.start({
      redis: withAof("everysec"),
      env: { AUDIT_INTERVAL_MS: "0" }, // an audit reads all schedules
    })
    using redis = Object.assign(new Redis({ path: ours.redis.socket }), {
      [Symbol.dispose]: () => redis.disconnect(),
    })
    const { url } = ours.broker
    const end = performance.now() + 3_000
    const before = await otherQueue(url, async () => performance.now() > end)

    run.progress("due at one instant")
    const planned = Math.floor(Date.now() / DAY_MS) * DAY_MS
    await plan(redis, DUE, 1, planned)
    const from = performance.now()
    await redis.publish(SCHEDULES_CHANNEL, queueOf(0))
    const ready = keyOf(queueOf(0), "ready", "5")
    const during = await otherQueue(url, async () => (await redis.llen(ready)) === DUE)
    const seconds = (performance.now() - from) / 1_000

    run.progress("idle")
    await plan(redis, IDLE, QUEUES, planned + 2 * DAY_MS)
    await redis.sadd("tq:queues", ...Array.from({ length: QUEUES }, (_, i) => queueOf(i)))
    for (let i = 0; i < QUEUES; i++) await redis.publish(SCHEDULES_CHANNEL, queueOf(i))
    await Bun.sleep(SETTLE_MS)
    const idleSeconds = run.quick ? 5 : 15
    const callsBefore = await scriptCalls(redis)
    const cpuBefore = cpuSeconds(ours.servers.broker)
    await Bun.sleep(idleSeconds * 1_000)
    const cpu = cpuSeconds(ours.servers.broker) - cpuBefore
    const calls = (await scriptCalls(redis)) - callsBefore
    return [
      { contender: "ours", unit: "s until all have fired", values: [seconds], target: { atMost: 2 } },
      {
        contender: "ours",
        unit: "ms p99 of submit and lease in another queue",
        values: [p99(during)],
        note: `${p99(before).toFixed(2)} before`,
      },
      {
        contender: "ours, idle",
        unit: "script calls/s",
        values: [calls / idleSeconds],
        target: { atMost: 10 },
        note: "checks of the 100 queues, as without schedules",
      },
      {
        contender: "ours, idle",
        unit: "% of a core",
        values: [(cpu / idleSeconds) * 100],
        target: { atMost: 3 },
      },
    ]
  },
}
