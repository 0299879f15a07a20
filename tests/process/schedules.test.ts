/** Schedules while brokers are killed: exactly one task per planned time. */
import { expect, test } from "bun:test"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import { TOKEN, until } from "../support/harness.ts"
import { startBroker } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

const SCHEDULES = 100
const BROKERS = 4
const KILLS = 4

test("brokers that are killed at any moment leave one task per planned time", async () => {
  await using redis = await testRedis()
  const brokers = await Promise.all(Array.from({ length: BROKERS }, () => startBroker(redis.socket)))
  try {
    const call = async (method: string, path: string, body?: object) => {
      const headers = { "x-api-token": TOKEN, "content-type": "application/json" }
      const init = body === undefined ? {} : { body: JSON.stringify(body) }
      const answer = await fetch(brokers[0]!.url + path, { method, headers, ...init })
      expect(answer.status).toBe(200)
      // biome-ignore lint/suspicious/noExplicitAny: each caller says what it reads
      return (await answer.json()) as any
    }
    const name = (i: number) => `crash:s${i}`
    for (let i = 0; i < SCHEDULES; i++)
      await call("PUT", `/schedules/${name(i)}`, { every_ms: 1_000, on_missed: "all", task: { type: "t" } })
    const fired = async () => {
      const { schedules } = await call("GET", "/schedules?queue=crash")
      return schedules.reduce((sum: number, schedule: { fired: number }) => sum + schedule.fired, 0)
    }
    for (let kills = 0; kills < KILLS; kills++) {
      const before = await fired()
      // A kill in the middle of a second's runs, most likely: as soon as the first of them has happened.
      await until("schedules fire", async () => (await fired()) > before)
      const victim = 1 + (kills % (BROKERS - 1))
      await brokers[victim]!.process.kill9()
      brokers[victim] = await startBroker(redis.socket)
    }
    for (let i = 0; i < SCHEDULES; i++) await call("POST", `/schedules/${name(i)}/pause`)
    const all: TaskView[] = []
    for (let cursor: string | undefined = ""; cursor !== undefined; ) {
      const page = await call(
        "GET",
        `/tasks?state=queued&queue=crash&limit=1000${cursor && `&cursor=${cursor}`}`,
      )
      all.push(...page.tasks)
      cursor = page.next
    }
    const bySchedule = Map.groupBy(all, ({ schedule }) => schedule)
    expect(bySchedule.size).toBe(SCHEDULES)
    for (const [schedule, of] of bySchedule) {
      const times = of.map(({ planned_at }) => planned_at!).sort((a, b) => a - b)
      const expected = Array.from({ length: times.length }, (_, i) => times[0]! + i * 1_000)
      expect([schedule, times]).toEqual([schedule, expected])
    }
  } finally {
    for (const broker of brokers) await broker[Symbol.asyncDispose]()
  }
})
