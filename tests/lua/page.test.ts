/** page: a listing continues where the previous page ended. */
import { expect, test } from "bun:test"
import { scriptQueue } from "../support/script-queue.ts"

test("a page of dead tasks continues where the previous one ended, even if its last task left and new ones arrived", async () => {
  await using queue = await scriptQueue()
  const kill = async (id: string) => {
    await queue.submit(id, { maxRetries: 0 })
    await queue.settle(id, (await queue.leaseOne()).lease, "failed")
  }
  // Four died in the same millisecond, so the id decides, the greatest first.
  for (const id of ["a", "b", "c", "d", "e", "f"]) await kill(id)
  for (const id of ["b", "c", "d", "e"]) await queue.redis.zadd(queue.key("dead"), 5_000, id)
  await queue.redis.zadd(queue.key("dead"), 4_000, "a", 6_000, "f")
  const page = async (score: string, id: string) => {
    const { entries } = await queue.page("dead", 2, { score, id })
    return entries.map(([, id]) => id)
  }
  expect(await page("", "")).toEqual(["f", "e"])
  await queue.retryDead("e")
  await queue.leaseOne()
  await kill("new")
  expect(await page("5000", "e")).toEqual(["d", "c"])
  expect(await page("5000", "c")).toEqual(["b", "a"])
  expect(await page("4000", "a")).toEqual([])
})
