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

test("a time that a gap has moved is found from each moment before it, also from within the gap's length after it", () => {
  for (const [time_zone, cron, gap, moved] of [
    ["America/New_York", "30 2 * * *", "2026-03-08T07:00", "2026-03-08T07:30"],
    ["America/Santiago", "30 0 * * 0", "2026-09-06T04:00", "2026-09-06T04:30"],
    ["Australia/Lord_Howe", "10 2 * * *", "2026-10-03T15:30", "2026-10-03T15:40"],
    ["Antarctica/Troll", "45 1-2 * * *", "2026-03-29T01:00", "2026-03-29T01:45"],
    ["Pacific/Apia", "0 9 30 12 *", "2011-12-30T10:00", "2011-12-30T19:00"],
  ] as const) {
    const times: number[] = []
    for (let from = at(gap) - 60_000; from < at(moved); from += 60_000)
      times.push(timeAfter({ cron, time_zone }, from)!)
    expect([time_zone, ...new Set(times)]).toEqual([time_zone, at(moved)])
    expect(timeAfter({ cron, time_zone }, at(moved))).toBeGreaterThan(at(moved) + 60_000)
  }
})

test("a gap does not change a time after a later change of the clock", () => {
  for (const from of ["2026-03-28T12:00", "2026-03-29T00:30", "2026-03-29T01:30", "2026-04-01T00:00"])
    expect(timeAfter({ cron: "0 12 1 12 *", time_zone: "Europe/Berlin" }, at(from))).toBe(
      at("2026-12-01T11:00"),
    )
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
