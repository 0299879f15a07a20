/** One of three masters of a Cluster is down, and nobody replaces it: the queues of the others are served. */
import { expect, setDefaultTimeout, test } from "bun:test"
import { QUEUES as QUEUE_NAMES, SCHEMA } from "../../lib/redis/keys.ts"
import { slotOf } from "../../lib/redis/topology.ts"
import { testBroker } from "../support/harness.ts"
import { until } from "../support/processes.ts"
import { answered, type Body, post, problem, submitted } from "../support/requests.ts"
import { redisCluster } from "../support/topologies.ts"

setDefaultTimeout(180_000)

/** Which of the three masters has this key. */
const masterOf = (key: string) => Math.floor((slotOf(key) * 3) / 16_384)

function queueOn(master: number): string {
  for (let n = 0; ; n++) if (masterOf(`{q${n}}`) === master) return `q${n}`
}

/** A master that has neither of these keys, which all queues share. */
const SICK = [0, 1, 2].find(master => ![QUEUE_NAMES, SCHEMA].some(key => masterOf(key) === master))!

test.each(["killed", "frozen"] as const)(
  "with one of three masters %s the other queues are served",
  async fate => {
    await using cluster = await redisCluster({ replicas: 0, partial: true })
    await using broker = await testBroker(
      { redisTimeoutMs: 500 },
      { cluster: cluster.nodes.map(({ at }) => at) },
    )
    const [sick, healthy, other] = [0, 1, 2].map(n => queueOn((SICK + n) % 3)) as [string, string, string]
    const sickTask = await submitted(broker, { type: "a", queue: sick })
    const healthyTask = await submitted(broker, { type: "a", queue: healthy })
    await submitted(broker, { type: "a", queue: other })
    const lease = (...queues: string[]) => post(broker, "/lease", { queues, max: 3 })
    const { tasks: held } = (await answered(lease(sick, healthy))) as { tasks: Body[] }
    expect(held.map(({ id }) => id)).toEqual([sickTask, healthyTask])

    if (fate === "killed") await cluster.nodes[SICK]!.kill9()
    else cluster.nodes[SICK]!.freeze()
    expect(await answered(lease(sick, other))).toMatchObject({ tasks: [{ queue: other }] })
    // All that can be read are empty.
    expect(await answered(lease(sick, other))).toEqual({ tasks: [] })
    expect(await problem(lease(sick))).toMatchObject({ status: 503, code: "redis_unavailable" })

    const refused = { status: 503, code: "redis_unavailable", detail: expect.any(String) }
    const each = (path: string, items: Body[]) => answered(post(broker, path, items)) as Promise<unknown>
    expect(
      await each("/submit", [
        { type: "b", queue: sick },
        { type: "b", queue: healthy },
      ]),
    ).toMatchObject([refused, { status: "queued" }])
    const leases = held.map(({ id, lease }) => ({ task_id: id, lease }))
    expect(await each("/extend", leases)).toMatchObject([refused, { status: "ok" }])
    expect(await each("/ack", leases)).toMatchObject([refused, { status: "acknowledged" }])

    expect(await answered(fetch(`${broker.url}/readyz`))).toMatchObject({
      status: "ready",
      degraded: [expect.stringContaining("One of 3 masters")],
    })
    // A request that waits for both is woken by the healthy one, and survives the sick one.
    await lease(healthy)
    const waits = answered(post(broker, "/lease", { queues: [sick, healthy], wait_ms: 20_000 }))
    await until("the request waits", () => broker.queue.waiting === 1)
    await submitted(broker, { type: "c", queue: healthy })
    expect(await waits).toMatchObject({ tasks: [{ type: "c" }] })

    // Nothing can be served.
    for (const node of cluster.nodes) if (node !== cluster.nodes[SICK]) await node.kill9()
    await until("no node answers", async () => (await fetch(`${broker.url}/readyz`)).status === 503)
    expect(await problem(lease(sick, other))).toMatchObject({ status: 503, code: "redis_unavailable" })
  },
)
