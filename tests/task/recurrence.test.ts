/** The times of schedules, compared with a table that Python's zoneinfo computed; see dst-times.py. */
import { describe, expect, spyOn, test } from "bun:test"
import { type Recurrence, timeAfter } from "../../lib/task/recurrence.ts"
import table from "./dst-times.json" with { type: "json" }

const at = (iso: string) => Date.parse(`${iso}Z`)

function timesIn(recurrence: Recurrence, from: number, until: number): string[] {
  const times: string[] = []
  for (let last = from - 1; ; ) {
    const next = timeAfter(recurrence, last)
    if (next === undefined || next >= until) return times
    if (next <= last) throw new Error(`${JSON.stringify(recurrence)}: ${next} does not come after ${last}`)
    times.push(new Date(next).toISOString().slice(5, 16))
    last = next
  }
}

describe.each([...new Set(table.map(([zone]) => zone!))])("in %s", zone => {
  test.each(table.filter(row => row[0] === zone))(
    "%s: %s from %s until %s",
    (time_zone, cron, from, until, times) => {
      expect(timesIn({ cron, time_zone }, at(from), at(until)).join(" ")).toBe(times)
    },
  )
})

test("days that few months have, and 29 February over a century without one, are found", () => {
  const days = (cron: string, from: string, until: string) =>
    timesIn({ cron, time_zone: "Europe/Berlin" }, at(from), at(until))
  expect(days("0 12 31 * *", "2026-01-01T00:00", "2027-01-01T00:00").map(time => time.slice(0, 2))).toEqual([
    "01",
    "03",
    "05",
    "07",
    "08",
    "10",
    "12",
  ])
  const leapDay = (from: string) => new Date(timeAfter({ cron: "0 0 29 2 *" }, at(from))!).toISOString()
  expect(leapDay("2026-01-01T00:00")).toBe("2028-02-29T00:00:00.000Z")
  expect(leapDay("2096-03-01T00:00")).toBe("2104-02-29T00:00:00.000Z")
  expect(timeAfter({ cron: "0 0 30 2 *" }, at("2026-01-01T00:00"))).toBeUndefined()
})

test("an interval is aligned to 1970, not to the time of the call", () => {
  const every = { every_ms: 60_000 }
  expect(timeAfter(every, 119_999)).toBe(120_000)
  expect(timeAfter(every, 120_000)).toBe(180_000)
  expect(timeAfter(every, 120_001)).toBe(180_000)
})

test("no time comes before `starts_at` or after `ends_at`, which are themselves allowed", () => {
  const between = { every_ms: 1_000, starts_at: 5_000, ends_at: 7_000 }
  expect(timesIn(between, 0, 60_000)).toHaveLength(3)
  expect(timeAfter(between, 0)).toBe(5_000)
  expect(timeAfter(between, 6_999)).toBe(7_000)
  expect(timeAfter(between, 7_000)).toBeUndefined()
})

test("schedules with the same expression, zone and time share one computation, and others do not", () => {
  const parse = spyOn(Bun.cron, "parse")
  try {
    const next = (cron: string, time_zone: string, after: string) =>
      new Date(timeAfter({ cron, time_zone }, at(after))!).toISOString().slice(11, 16)
    const times = () => [
      next("7 3 * * *", "Europe/Berlin", "2026-06-01T00:00"),
      next("7 3 * * *", "Asia/Tokyo", "2026-06-01T00:00"),
      next("8 3 * * *", "Asia/Tokyo", "2026-06-01T00:00"),
      next("7 3 * * *", "Europe/Berlin", "2026-12-01T00:00"),
    ]
    expect(times()).toEqual(["01:07", "18:07", "18:08", "02:07"])
    const computed = parse.mock.calls.length
    expect(computed).toBeGreaterThanOrEqual(4)
    expect(times()).toEqual(["01:07", "18:07", "18:08", "02:07"])
    expect(parse.mock.calls.length).toBe(computed)
  } finally {
    parse.mockRestore()
  }
})
