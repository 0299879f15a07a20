/**
 * Real Sentinels and a real Cluster whose masters are killed and frozen. Brokers recover without a restart, and with
 * WAIT_REPLICAS no change that was answered is lost.
 */
import { expect, setDefaultTimeout, test } from "bun:test"
import { BrokerProblem, BrokerUnreachable, Client } from "../../lib/client.ts"
import { type RedisAddress, readBrokerConfig, redisAddress } from "../../lib/config/config.ts"
import type { ConfigError } from "../../lib/config/reader.ts"
import { keyOf } from "../../lib/redis/keys.ts"
import { slotOf } from "../../lib/redis/topology.ts"
import { freshName, type TestBroker, TOKEN, testBroker } from "../support/harness.ts"
import { until } from "../support/processes.ts"
import { type RedisNode, redisCluster, type SentinelTrio, sentinelTrio } from "../support/topologies.ts"

setDefaultTimeout(180_000)

/** The address of Redis in the environment of a broker. */
const addressIn = (env: Record<string, string>): RedisAddress =>
  redisAddress(readBrokerConfig({ API_SECRET_TOKEN: TOKEN, ...env }))!
const list = (nodes: readonly RedisNode[]) => nodes.map(({ port }) => `127.0.0.1:${port}`).join(",")
const bySentinels = ({ sentinels }: SentinelTrio) => addressIn({ REDIS_SENTINELS: list(sentinels) })

const clientOf = ({ url }: TestBroker) => new Client({ url, token: TOKEN })

const retryable = (error: unknown) =>
  error instanceof BrokerUnreachable || (error instanceof BrokerProblem && error.retryable)

async function persist<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call()
    } catch (error) {
      if (!retryable(error)) throw error
      await Bun.sleep(10)
    }
  }
}

/** A broker that does not find the new master never recovers. */
const RECOVERED_MS = 20_000
/** A call that the broker does not end takes 10 s, the time limit of the client. */
const ENDED_MS = 8_000

/** Submits tasks to these queues and acks them, repeats failed calls, and records the answers. */
class Load {
  readonly submitted: string[] = []
  readonly acked = new Map<string, Set<string>>()
  /** Per queue: when a submit and an ack were last answered. */
  readonly #last = new Map<string, number>()
  /** The longest duration of a call, without its wait_ms. */
  slowestMs = 0
  #stopped = false
  readonly #submitters: Promise<void>[]
  readonly #workers: Promise<void>[]

  constructor(clients: readonly Client[], queues: readonly string[]) {
    this.#submitters = queues.map((queue, i) => this.#submit(clients[i % clients.length]!, queue))
    this.#workers = queues.map((queue, i) => this.#work(clients[(i + 1) % clients.length]!, queue))
  }

  async #timed<T>(call: () => Promise<T>, waitMs = 0): Promise<T> {
    return persist(async () => {
      const began = performance.now()
      try {
        return await call()
      } finally {
        this.slowestMs = Math.max(this.slowestMs, performance.now() - began - waitMs)
      }
    })
  }

  async #submit(client: Client, queue: string) {
    for (let n = 0; !this.#stopped; n++) {
      const task = { type: "a", queue, timeout_ms: 2_000, max_crashes: 1_000, task_id: `${n}` }
      const { task_id } = await this.#timed(() => client.submit(task))
      this.submitted.push(task_id)
      this.#last.set(`submit ${queue}`, performance.now())
      await Bun.sleep(5)
    }
  }

  async #work(client: Client, queue: string) {
    while (!this.#stopped) {
      const request = { queues: [queue], max: 5, wait_ms: 200 }
      const { tasks } = await this.#timed(() => client.lease(request), request.wait_ms)
      for (const { id, lease } of tasks)
        try {
          await this.#timed(() => client.ack({ task_id: id, lease, status: "done" }))
          this.acked.set(id, (this.acked.get(id) ?? new Set()).add(lease))
          this.#last.set(`ack ${queue}`, performance.now())
        } catch (error) {
          if (!(error instanceof BrokerProblem && error.code === "lease_lost")) throw error
        }
    }
  }

  /** How long it takes until a submit and an ack of every queue are answered. */
  async timeToRecover(): Promise<number> {
    const since = performance.now()
    const times = () => [...this.#last.values()]
    await until(
      "submits and acks are answered",
      () => times().length === 2 * this.#submitters.length && times().every(time => time > since),
    )
    return performance.now() - since
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all([...this.#submitters, ...this.#workers])
  }

  /** Checks the answers: submitted tasks exist, acked tasks are done, and no task was acked with two leases. */
  async verify(client: Client): Promise<void> {
    await this.stop()
    expect(this.acked.size).toBeGreaterThan(3)
    for (const leases of this.acked.values()) expect(leases.size).toBe(1)
    for (const id of this.submitted) {
      const { status } = await persist(() => client.status(id))
      if (this.acked.has(id)) expect(status).toBe("done")
    }
  }
}

async function brokers(all: AsyncDisposableStack, redis: RedisAddress, overrides: object, count = 2) {
  const started = await Promise.all(Array.from({ length: count }, () => testBroker(overrides, redis)))
  for (const broker of started) all.use(broker)
  return { started, clients: started.map(clientOf) }
}

const ready = async ({ url }: TestBroker): Promise<Record<string, unknown>> => {
  const response = await fetch(`${url}/readyz`)
  return { ...((await response.json()) as object), status: response.status }
}

test.each(["killed", "frozen"] as const)(
  "Sentinel: after a master is %s, brokers recover, and no answered change is lost",
  async fate => {
    await using all = new AsyncDisposableStack()
    const password = "secret"
    const trio = all.use(await sentinelTrio({ password }))
    const timeout = 1_000
    const redis = addressIn({ REDIS_SENTINELS: list(trio.sentinels), REDIS_SENTINEL_PASSWORD: password })
    const { started, clients } = await brokers(all, redis, {
      waitReplicas: 1,
      redisTimeoutMs: timeout,
      redisPassword: password,
    })
    expect(await ready(started[0]!)).toMatchObject({ topology: "sentinel", replicas: 2, wait_replicas: 1 })
    const quiet = freshName()
    const waiting = clients[0]!.lease({ queues: [quiet], wait_ms: 20_000 }).catch(error => error)
    const load = new Load(clients, [freshName(), freshName()])
    await load.timeToRecover()

    const master = await trio.master()
    if (fate === "killed") await master.kill9()
    else master.freeze()
    await trio.promoted(master)
    await trio.replicated(1)
    expect(await load.timeToRecover()).toBeLessThan(RECOVERED_MS)
    expect(load.slowestMs).toBeLessThan(ENDED_MS)
    // When it is resumed, it still acts as a master.
    if (fate === "frozen") master.thaw()
    await load.timeToRecover()

    await persist(() => clients[1]!.submit({ type: "a", queue: quiet }))
    expect(await waiting).toMatchObject({ tasks: [{ queue: quiet }] })
    await load.verify(clients[0]!)
  },
)

test("with fewer replicas than WAIT_REPLICAS, changes get 503 and later ones are not attempted", async () => {
  await using all = new AsyncDisposableStack()
  const trio = all.use(await sentinelTrio())
  const { started, clients } = await brokers(
    all,
    bySentinels(trio),
    { waitReplicas: 2, redisTimeoutMs: 4_000 },
    1,
  )
  const [client] = clients as [Client]
  const [broker] = started as [TestBroker]
  const refusal = (call: Promise<unknown>) =>
    call.then(
      () => "answered",
      error => (error instanceof BrokerProblem ? `${error.status} ${error.code}` : String(error)),
    )
  const queue = freshName()
  // On a busy machine the replicas may be late. A submit with a task_id can be repeated.
  let id = ""
  await until("the replicas keep up", async () => {
    const submit = client.submit({ type: "a", queue, task_id: "first" })
    return (await refusal(submit.then(task => (id = task.task_id)))) === "answered"
  })
  const waiting = client.lease({ queues: [freshName(), "late"], wait_ms: 20_000 })
  const master = trio.servers[0]!
  await until("the request waits", async () =>
    String(await master.call("PUBSUB", "CHANNELS")).includes("late"),
  )

  const replica = trio.servers[2]!
  replica.freeze()
  // The task was leased, but not confirmed: the broker takes the lease back, and no worker gets the task.
  expect(await refusal(client.lease({ queues: [queue] }))).toBe("503 not_replicated")
  expect(await refusal(client.submit({ type: "a", queue: "late", task_id: "mine" }))).toBe(
    "503 not_replicated",
  )
  expect(await refusal(client.submit({ type: "a", queue: "late", task_id: "other" }))).toBe(
    "503 not_replicated",
  )
  expect(await refusal(client.status("late:other"))).toBe("404 task_not_found")
  await until("the lease is taken back", async () => (await client.status(id)).status === "queued")
  expect(await client.status(id)).toMatchObject({ crashes: 0 })
  await replica.kill9()
  await until("/readyz reports it", async () => (await ready(broker)).code === "not_replicated")

  await replica.restart()
  await until("the replicas are connected again", async () => (await ready(broker)).status === 200)
  expect(await persist(() => client.submit({ type: "a", queue: "late", task_id: "mine" }))).toMatchObject({
    status: "queued",
  })
  expect((await waiting).tasks.map(task => task.id)).toEqual(["late:mine"])
  const { tasks } = await client.lease({ queues: [queue] })
  expect(tasks).toMatchObject([{ id }])
  expect(await client.ack({ task_id: id, lease: tasks[0]!.lease })).toMatchObject({ status: "acknowledged" })
})

test.each([
  [1, "an answered change is lost"],
  [2, "no answered change is lost"],
] as const)(
  "Sentinel: a master is cut off together with one of two replicas; with WAIT_REPLICAS=%i %s",
  async waitReplicas => {
    await using all = new AsyncDisposableStack()
    const password = "secret"
    const trio = all.use(await sentinelTrio({ password }))
    const redis = addressIn({ REDIS_SENTINELS: list(trio.sentinels), REDIS_SENTINEL_PASSWORD: password })
    const overrides = { waitReplicas, redisTimeoutMs: 1_000, redisPassword: password }
    const { clients } = await brokers(all, redis, overrides, 1)
    const [client] = clients as [Client]
    const queue = freshName()
    // On a busy machine the replicas may be late. A submit with a task_id can be repeated.
    await until("the replicas keep up", () =>
      client.submit({ type: "a", queue, task_id: "first" }).catch(() => undefined),
    )

    const [master, stays, leaves] = trio.servers as [RedisNode, RedisNode, RedisNode]
    await leaves.leave(master)
    for (const each of [master, stays]) await each.cutOff(["sentinel"])
    const answered: string[] = []
    let over = false
    const submits = (async () => {
      while (!over) {
        const submitted = await client.submit({ type: "a", queue }).catch(() => Bun.sleep(10))
        if (submitted) answered.push(submitted.task_id)
      }
    })()
    expect(await trio.promoted(master)).toBe(leaves)
    over = true
    await submits
    const found = await Promise.all(
      answered.map(id => persist(() => client.status(id)).then(Boolean, error => error.code)),
    )
    expect(found.includes("task_not_found")).toBe(waitReplicas === 1)
  },
)

/** A queue name in one of these slots. */
function nameIn(from: number, to: number): string {
  for (;;) {
    const name = `q${Math.random().toString(36).slice(2, 10)}`
    const slot = slotOf(`{${name}}`)
    if (slot >= from && slot <= to) return name
  }
}

test("Cluster: one master is killed and another frozen, brokers recover, and no answered change is lost", async () => {
  await using all = new AsyncDisposableStack()
  const cluster = all.use(await redisCluster())
  const timeout = 1_000
  const redis = addressIn({ REDIS_CLUSTER: list(cluster.nodes.slice(0, 2)) })
  const { started, clients } = await brokers(all, redis, { waitReplicas: 1, redisTimeoutMs: timeout })
  expect(await ready(started[0]!)).toMatchObject({ topology: "cluster", replicas: 1, wait_replicas: 1 })
  const queues = [0, 1, 2].map(i => nameIn(i * 5_462, i * 5_462 + 5_000))
  expect(new Set(await Promise.all(queues.map(name => cluster.owner(slotOf(`{${name}}`))))).size).toBe(3)

  // A worker that polls one broker gets the drain request of the other.
  const idle = clients[1]!.lease({ queues: ["idle"], wait_ms: 10_000, worker: "w" })
  await until("the worker is registered", async () => (await clients[1]!.workers()).workers.length === 1)
  expect(await clients[0]!.drainWorker("w")).toMatchObject({ status: "draining" })
  expect(await idle).toEqual({ tasks: [], drain: true })
  expect((await clients[0]!.queue("idle")).workers).toEqual({ count: 1, names: ["w"] })

  // A long poll for queues on all three masters is answered by a submit to any of them, through the other broker.
  const quiet = queues.map(name => nameIn(slotOf(`{${name}}`), slotOf(`{${name}}`) + 400))
  for (const queue of quiet) {
    const waiting = clients[1]!.lease({ queues: quiet, wait_ms: 10_000 })
    await until("the request waits", () => started[1]!.queue.waiting === 1)
    await clients[0]!.submit({ type: "a", queue })
    expect((await waiting).tasks).toMatchObject([{ queue }])
  }
  const many = await clients[0]!.submitMany(quiet.map(queue => ({ type: "a", queue })))
  expect(many).toMatchObject(quiet.map(() => ({ status: "queued" })))
  expect((await clients[1]!.tasks({ state: "queued" })).tasks).toHaveLength(3)
  // The queues are in different slots, so no script may read two of them.
  const page = await (await started[1]!.call("GET", "/metrics")).text()
  for (const queue of quiet) expect(page).toContain(`tq_tasks{queue="${queue}",state="queued"} 1\n`)

  // The audit covers every master.
  for (const queue of quiet)
    await (await cluster.owner(slotOf(`{${queue}}`)))!.call("DEL", keyOf(queue, "ready", "5"))
  const { complete, found } = await clients[1]!.audit({ fix: true })
  expect({ complete, found }).toMatchObject({
    complete: true,
    found: [{ kind: "not_listed", count: 3, mended: 3 }],
  })
  expect((await clients[1]!.tasks({ state: "queued" })).tasks).toHaveLength(3)

  // A bulk operation covers queues on every master.
  const { bulk_id } = await clients[0]!.startBulk({ action: "cancel", filter: { type: "a" } })
  const operation = () => clients[1]!.bulkOperation(bulk_id)
  await until("it has ended", async () => (await operation()).state === "finished")
  expect((await operation()).progress).toMatchObject({ done: 3, skipped: 0 })
  const waiting = clients[0]!.lease({ queues: ["quiet"], wait_ms: 20_000 }).catch(error => error)

  const load = new Load(clients, queues)
  await load.timeToRecover()
  const slot = slotOf(`{${queues[0]!}}`)
  const first = (await cluster.owner(slot))!
  await first.kill9()
  await cluster.promoted(first, slot)
  // The promoted node has no replica until this one has restarted.
  await first.restart()
  expect(await load.timeToRecover()).toBeLessThan(RECOVERED_MS)

  const frozenSlot = slotOf(`{${queues[1]!}}`)
  const second = (await cluster.owner(frozenSlot))!
  second.freeze()
  await cluster.promoted(second, frozenSlot)
  second.thaw()
  expect(await load.timeToRecover()).toBeLessThan(RECOVERED_MS)
  expect(load.slowestMs).toBeLessThan(ENDED_MS)

  await persist(() => clients[1]!.submit({ type: "a", queue: "quiet" }))
  expect(await waiting).toMatchObject({ tasks: [{ queue: "quiet" }] })
  await load.verify(clients[0]!)
})

test("a wrong address of Redis causes an error that says what to set", async () => {
  await using all = new AsyncDisposableStack()
  const trio = all.use(await sentinelTrio())
  const start = (redis: RedisAddress) =>
    testBroker({ redisTimeoutMs: 300 }, redis).then(
      () => "started",
      error => String(error.message),
    )
  expect(await start({ cluster: [trio.servers[0]!.at] })).toContain("REDIS_URL")
  const sentinels = trio.sentinels.map(({ at }) => at)
  expect(await start({ sentinels, master: "another" })).toContain("No such master")
  expect(await start({ sentinels: [{ host: "127.0.0.1", port: 1 }], master: "mymaster" })).toContain(
    "All sentinels are unreachable",
  )
  expect(await start({ url: `redis://127.0.0.1:${trio.sentinels[0]!.port}` })).toContain("REDIS_SENTINELS")
})

test("a configuration must have one address of Redis, and WAIT_REPLICAS only with replicas", () => {
  const problems = (env: Record<string, string>) => {
    try {
      readBrokerConfig({ API_SECRET_TOKEN: TOKEN, ...env })
      return []
    } catch (error) {
      return (error as ConfigError).problems
    }
  }
  const url = { REDIS_URL: "redis://a" }
  const sentinels = { REDIS_SENTINELS: "a, b:1,[::1]:2" }
  const cluster = { REDIS_CLUSTER: "a:1" }
  expect(problems({ ...url, ...sentinels })).toEqual([
    expect.stringContaining("REDIS_URL and REDIS_SENTINELS"),
  ])
  expect(problems({ ...cluster, ...sentinels })).toEqual([expect.stringContaining("set only one")])
  expect(problems({ ...cluster, REDIS_HOST: "a" })).toEqual([expect.stringContaining("set only one")])
  expect(problems({ REDIS_CLUSTER: "a:70000" })).toEqual([expect.stringContaining("host:port")])
  expect(problems({ REDIS_SENTINELS: "http://a" })).toEqual([expect.stringContaining("host:port")])
  expect(problems({ ...url, REDIS_PASSWORD: "x" })).toEqual([
    expect.stringContaining("redis://user:password@host"),
  ])
  expect(problems({ WAIT_REPLICAS: "1" })).toEqual([expect.stringContaining("WAIT_REPLICAS")])
  expect(problems({ WAIT_REPLICAS: "11", ...url })).toEqual([expect.stringContaining("0 to 10")])
  expect(problems({ ...cluster, API_SECRET_TOKEN: "" })).toEqual([
    expect.stringContaining("API_SECRET_TOKEN"),
  ])
  expect(addressIn({ ...sentinels, REDIS_MASTER_NAME: "m" })).toEqual({
    sentinels: [
      { host: "a", port: 26_379 },
      { host: "b", port: 1 },
      { host: "::1", port: 2 },
    ],
    master: "m",
    sentinelPassword: undefined,
  })
  expect(addressIn(cluster)).toEqual({ cluster: [{ host: "a", port: 1 }] })
  expect(addressIn({ REDIS_HOST: "a", REDIS_PASSWORD: "x" })).toEqual({ url: "redis://a:6379" })
})

test("the slot of a key is the one in the Cluster specification", () => {
  expect(slotOf("123456789")).toBe(0x31c3)
  expect(slotOf("tq:{mail}:ready:")).toBe(slotOf("mail"))
  expect(slotOf("a{}b")).not.toBe(slotOf(""))
})
