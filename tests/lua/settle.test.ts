/** settle and extend: what a lease guarantees to its worker, and what it refuses to a stale one. */
import { expect, test } from "bun:test"
import { checkQueue } from "../support/invariants.ts"
import { dump, HOUR, scriptQueue, submitAndLease, sweepOne } from "../support/script-queue.ts"

test("a worker that wakes while another holds its task can neither finish, fail, release nor extend it", async () => {
  await using queue = await scriptQueue()
  const stale = await submitAndLease(queue)
  await queue.lapse("T")
  const { lease } = await queue.leaseOne()
  // The state is the same as when the worker fell asleep; only the lease differs.
  const before = await dump(queue.redis, queue.name)
  for (const outcome of ["done", "failed", "released"] as const)
    expect(await queue.settle("T", stale, outcome)).toEqual(["lease_lost", 0, 2, "processing"])
  expect(await queue.extend("T", stale)).toEqual(["lease_lost", 0, 2, "processing"])
  expect(await dump(queue.redis, queue.name)).toEqual(before)
  expect((await queue.settle("T", lease, "done")).slice(0, 2)).toEqual(["acknowledged", 0])
})

test("a repeated ack gets the same answer, and another outcome by that lease is refused", async () => {
  for (const [outcome, code, retries] of [
    ["done", "acknowledged", 0],
    ["failed", "requeued", 1],
    ["released", "released", 0],
  ] as const) {
    await using queue = await scriptQueue()
    const lease = await submitAndLease(queue)
    for (let i = 0; i < 3; i++)
      expect((await queue.settle("T", lease, outcome)).slice(0, 2)).toEqual([code, retries])
    for (const other of (["done", "failed", "released"] as const).filter(other => other !== outcome))
      expect((await queue.settle("T", lease, other)).slice(0, 2)).toEqual(["lease_lost", 0])
    if (outcome === "done") continue
    // Also after the task was leased again, and without changing the new lease.
    await queue.leaseOne()
    const before = await dump(queue.redis, queue.name)
    expect((await queue.settle("T", lease, outcome)).slice(0, 2)).toEqual([code, retries])
    expect(await dump(queue.redis, queue.name)).toEqual(before)
  }
})

test("attempt numbers never decrease: not by failures, lapses, releases, death or a retry from the dead-letter queue", async () => {
  await using queue = await scriptQueue()
  await queue.submit("T", { maxRetries: 1, maxCrashes: 1 })
  const leases: string[] = []
  const take = async () => {
    const { lease } = await queue.leaseOne()
    leases.push(lease)
    return lease
  }
  await queue.settle("T", await take(), "failed")
  await queue.settle("T", await take(), "released")
  await take()
  await queue.lapse("T")
  expect((await queue.settle("T", await take(), "failed")).slice(0, 2)).toEqual(["moved_to_dlq", 2])
  await queue.retryDead("T")
  await take()
  expect(leases.map(lease => Number.parseInt(lease, 10))).toEqual([1, 2, 3, 4, 5])
  expect(new Set(leases.map(lease => lease.split(".")[1])).size).toBe(5)
  for (const lease of leases.slice(0, 3)) expect((await queue.extend("T", lease))[0]).toBe("lease_lost")
})

test("a release uses up no retry, but the task is dead after 100 releases", async () => {
  await using queue = await scriptQueue()
  await queue.submit("T", { maxRetries: 0, maxCrashes: 0 })
  for (let i = 1; i <= 100; i++) {
    const { lease } = await queue.leaseOne()
    expect((await queue.settle("T", lease, "released")).slice(0, 2)).toEqual(["released", 0])
  }
  const { lease } = await queue.leaseOne()
  await queue.settle("T", lease, "released")
  expect([await queue.field("T", "state"), await queue.field("T", "reason")]).toEqual(["dead", "released"])
  await checkQueue(queue.redis, queue.name)
})

test("released tasks return to the front of the queue in their order", async () => {
  await using queue = await scriptQueue()
  await queue.submit(["a", "b", "c", "d"])
  const [, ...tasks] = await queue.lease(3)
  await queue.settleEach(
    HOUR,
    tasks.map(({ id, lease }) => ({ id, lease, outcome: "released", text: "" })),
  )
  expect(await queue.ready()).toEqual(["a", "b", "c", "d"])
})

test("a lapsed lease that was not swept yet still settles, so a late sweep loses no work", async () => {
  await using queue = await scriptQueue()
  const lease = await submitAndLease(queue)
  await queue.lapse("T")
  expect((await queue.settle("T", lease, "done"))[0]).toBe("acknowledged")
  expect(await sweepOne(queue)).toBe(0)
  await checkQueue(queue.redis, queue.name)
})

test("an extension starts now, with its own timeout or that of the task", async () => {
  await using queue = await scriptQueue()
  const lease = await submitAndLease(queue, { timeoutMs: 50_000 })
  const [seconds] = await queue.redis.time()
  for (const [timeout, ms] of [
    [HOUR, HOUR],
    ["", 50_000],
    [100, 100],
  ] as const) {
    const [, deadline] = await queue.extend("T", lease, timeout)
    expect(deadline - Number(seconds) * 1_000).toBeWithin(ms, ms + 30_000)
    expect(Number(await queue.redis.zscore(queue.key("leases"), "T"))).toBe(deadline)
  }
})

test("a backoff that grows without a limit is still a valid time", async () => {
  await using queue = await scriptQueue()
  const backoff = { kind: "exponential", delay_ms: 2_592_000_000, jitter: false } as const
  await queue.submit("T", { maxRetries: 1_000, backoff })
  await queue.setField("T", "retries", "60")
  const { lease } = await queue.leaseOne()
  expect((await queue.settle("T", lease, "failed"))[0]).toBe("requeued")
  expect(Number(await queue.redis.zscore(queue.key("due"), "T"))).toBeGreaterThan(Date.now() + HOUR)
  expect((await queue.lease()).length).toBe(1)
})

test("a returned task is not counted as a release", async () => {
  await using queue = await scriptQueue()
  await queue.submit("T")
  for (let i = 0; i < 110; i++) {
    const { lease } = await queue.leaseOne()
    const [answer] = await queue.settleEach(HOUR, [{ id: "T", lease, outcome: "returned", text: "" }])
    expect(answer![0]).toBe("released")
  }
  expect(await queue.field("T", "releases")).toBe("0")
})
