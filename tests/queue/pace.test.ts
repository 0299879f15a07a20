import { expect, test } from "bun:test"
import { Pace } from "../../lib/queue/pace.ts"

test("items follow each other at the rate, whoever works on them, and the first need not wait", () => {
  const pace = new Pace(1_000)
  expect([0, 0, 5, 5, 30].map(now => pace.reserve(10, now))).toEqual([0, 10, 15, 25, 10])
})

test("work that is late catches up, and never has a right to more after a long time", () => {
  const pace = new Pace(1_000)
  expect(pace.reserve(10, 0)).toBe(0)
  expect([90, 90, 90].map(now => pace.reserve(10, now))).toEqual([-80, -70, -60])
  expect([1_000, 1_000].map(now => pace.reserve(10, now))).toEqual([0, 10])
})

test("work that is late may take as many items as the rate allows, and after a long time none at once", () => {
  const pace = new Pace(1_000)
  expect(pace.behind(0)).toBe(0)
  pace.reserve(10, 0)
  expect([0, 10, 35, 110, 111].map(now => pace.behind(now))).toEqual([0, 0, 25, 100, 0])
  pace.reserve(25, 35)
  expect(pace.behind(35)).toBe(0)
})

test("work waits for its turn", async () => {
  const pace = new Pace(1_000)
  const begin = performance.now()
  for (let i = 0; i < 4; i++) await pace.take(10)
  // 30 items come before the last ten. Timers are precise to 1 ms.
  expect(performance.now() - begin).toBeGreaterThanOrEqual(28)
})
