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
    const [size, ...entries] = await queue.scripts.call("page", queue.name, {
      bare: 0,
      place: "dead",
      limit: 2,
      score,
      id,
    })
    return { size, ids: entries.map(([, id]) => id) }
  }
  expect(await page("", "")).toEqual({ size: 6, ids: ["f", "e"] })
  await queue.retryDead("e")
  await queue.leaseOne()
  await kill("new")
  expect(await page("5000", "e")).toEqual({ size: 6, ids: ["d", "c"] })
  expect(await page("5000", "c")).toEqual({ size: 6, ids: ["b", "a"] })
  expect(await page("4000", "a")).toEqual({ size: 6, ids: [] })
})
