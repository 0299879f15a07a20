/** The pages of GET /schedules. */
import { expect, test } from "bun:test"
import type { ScheduleView } from "../../lib/wire/scheduling.ts"
import { ServedQueue } from "../support/served-queue.ts"

const DAY_MS = 86_400_000
const RARE = { every_ms: 100 * DAY_MS, task: { type: "t" } }

test("pages list the schedules of each queue, the next run first, and those that never run last", async () => {
  await using q = await ServedQueue.open()
  for (const [name, cron] of [
    ["later", "0 0 1 1 *"],
    ["soon", "* * * * *"],
    ["off", "* * * * *"],
  ])
    await q.ask("PUT", `/schedules/${q.queue}:${name}`, { cron, task: { type: "t" } })
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
