import { expect, test } from "bun:test"
import { Pace } from "../../lib/queue/pace.ts"

test("work takes at least as long as its rate says, whoever does it, and the first items need not wait", async () => {
  const pace = new Pace(1_000)
  const begin = performance.now()
  const ends = await Promise.all(
    Array.from({ length: 10 }, async () => {
      await pace.take(10)
      return performance.now() - begin
    }),
  )
  const sorted = ends.toSorted((a, b) => a - b)
  expect(sorted).toEqual(ends)
  // 90 items before the last ten, 10 of which may be worked on at once; timers are precise to 1 ms.
  expect(ends.at(-1)!).toBeGreaterThanOrEqual(78)
  expect(ends.at(-1)! - ends.at(-2)!).toBeGreaterThan(0)
})

test("work that has waited for long has no right to more than a few items at once", async () => {
  const pace = new Pace(1_000)
  await pace.take(1)
  await Bun.sleep(50)
  const begin = performance.now()
  for (let i = 0; i < 5; i++) await pace.take(10)
  expect(performance.now() - begin).toBeGreaterThanOrEqual(28)
})
