import { expect, test } from "bun:test"
import { lanesOf } from "../../lib/dashboard/lanes.ts"

test("attempts that overlap are in different lanes, and a lane is used again when it is free", () => {
  const bars = [
    { from: 0, to: 10 },
    { from: 2, to: undefined },
    { from: 5, to: 6 },
    { from: 10, to: 12 },
    { from: 11, to: 13 },
  ]
  expect(lanesOf(bars)).toEqual([0, 1, 2, 0, 2])
  expect(lanesOf([])).toEqual([])
})
