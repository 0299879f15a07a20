/** The pages of GET /schedules. */
import { expect, test } from "bun:test"
import type { ScheduleView } from "../../lib/wire/scheduling.ts"
import { ServedQueue } from "../support/served-queue.ts"

const DAY_MS = 86_400_000
const RARE = { every_ms: 100 * DAY_MS, task: { type: "t" } }

test("pages list the schedules of each queue, the next run first, and those that never run last", async () => {
  await using q = await ServedQueue.open()
  for (const [name, days] of [
    ["later", 2],
    ["soon", 1],
    ["off", 1],
  ] as const)
    await q.ask("PUT", `/schedules/${q.queue}:${name}`, {
      every_ms: 60_000,
      starts_at: Date.now() + days * DAY_MS, // none of them runs during the test
      task: { type: "t" },
    })
  await q.ask("POST", `/schedules/${q.queue}:off/pause`)
  const found: string[] = []
  for (let cursor = ""; ; ) {
    const { body } = await q.ask("GET", `/schedules?queue=${q.queue}&limit=1${cursor && `&cursor=${cursor}`}`)
    found.push(...body.schedules.map(({ schedule }: ScheduleView) => schedule))
    if (body.next === undefined) break
    cursor = body.next
  }
  expect(found).toEqual(["soon", "later", "off"].map(name => `${q.queue}:${name}`))
  const { body } = await q.ask("GET", "/schedules?cursor=eA")
  expect(body).toMatchObject({ code: "bad_request", field: "cursor" })
})

test("a page goes on after the last schedule of the previous one, also if that was changed or deleted since", async () => {
  await using q = await ServedQueue.open()
  const id = (i: number) => `${q.queue}:s${i}`
  for (let i = 0; i < 9; i++) await q.ask("PUT", `/schedules/${id(i)}`, RARE)
  const found: string[] = []
  for (let cursor = ""; ; ) {
    const { body } = await q.ask("GET", `/schedules?queue=${q.queue}&limit=2${cursor && `&cursor=${cursor}`}`)
    found.push(...body.schedules.map(({ schedule }: ScheduleView) => schedule))
    if (body.next === undefined) break
    cursor = body.next
    // The next time changes, as that of a paused schedule or after a run.
    if (found.length === 4) await q.ask("DELETE", `/schedules/${found.at(-1)}`)
    else await q.ask("PUT", `/schedules/${found.at(-1)}`, { ...RARE, every_ms: 200 * DAY_MS })
  }
  expect(found.slice(0, 9)).toEqual(Array.from({ length: 9 }, (_, i) => id(i)))
})

test("a part of the id, ignoring case, limits the list, in pages that look at many schedules", async () => {
  await using q = await ServedQueue.open()
  const id = (i: number) => `${q.queue}:${i % 400 === 7 ? "Daily" : "s"}-${i}`
  const { body } = await q.ask("PUT", `/schedules/${id(7)}`, RARE)
  const [text, score] = [await q.direct.redis.hget(q.direct.key("schedules"), "Daily-7"), body.next_at]
  const names = Array.from({ length: 2_500 }, (_, i) => id(i).split(":")[1]!)
  await q.direct.redis.hset(q.direct.key("schedules"), ...names.flatMap(name => [name, text!]))
  await q.direct.redis.zadd(q.direct.key("planned"), ...names.flatMap((name, i) => [score + i, name]))
  const list = async (filter: string) => {
    const found: string[] = []
    let pages = 0
    for (let cursor: string | undefined = ""; cursor !== undefined; pages++) {
      const { body } = await q.ask("GET", `/schedules?${filter}&limit=3${cursor && `&cursor=${cursor}`}`)
      found.push(...body.schedules.map(({ schedule }: ScheduleView) => schedule))
      cursor = body.next
    }
    return { found, pages }
  }
  const daily = [7, 407, 807, 1_207, 1_607, 2_007, 2_407].map(id)
  expect(await list(`queue=${q.queue}&schedule_part=DAILY`)).toEqual({ found: daily, pages: 3 })
  expect(await list(`schedule_part=${q.queue}:daily-`)).toEqual({ found: daily, pages: 3 })
  expect(await list(`queue=${q.queue}&schedule_part=s-2499`)).toEqual({ found: [id(2_499)], pages: 1 })
  expect((await list(`queue=${q.queue}&schedule_part=other`)).found).toEqual([])
})
