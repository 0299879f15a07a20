/** The basis of most tests: direct access to a queue in a real Redis, and a broker in this process. */
import { spyOn } from "bun:test"
import { Redis } from "ioredis"
import { createBroker } from "../../broker.ts"
import { type BrokerConfig, type RedisAddress, readBrokerConfig } from "../../lib/config/config.ts"
import { createLog } from "../../lib/log.ts"
import type { Metrics } from "../../lib/observe/metrics.ts"
import { TaskQueue } from "../../lib/queue/task-queue.ts"
import { type AnyQueueKey, keyOf, QUEUES } from "../../lib/redis/keys.ts"
import type { Runner } from "../../lib/redis/runner.ts"
import { type CodeOf, type Limits, type Replies, Scripts } from "../../lib/redis/scripts.ts"
import { localOf } from "../../lib/task/id.ts"
import { type HEADER_FIELDS, readLeased } from "../../lib/task/record.ts"
import type { Leased } from "../../lib/task/task.ts"
import { fieldsOf, readStored, writeStored } from "./invariants.ts"
import { onOneConnection, sharedRedis } from "./redis.ts"

export const TOKEN = "a-token-for-tests"
let names = 0

type Items<N extends "submit" | "settle"> = NonNullable<Parameters<typeof Scripts.prototype.call<N>>[3]>

type SettleItem = Items<"settle">[number]
/** `retry` is optional. */
type SettleItems = (Omit<SettleItem, "retry"> & Partial<Pick<SettleItem, "retry">>)[]

/** A queue name that no other test uses. */
export const freshName = () => `t${process.pid}-${names++}`

/**
 * Waits until the condition holds; after `limitMs` it throws. It checks more and more rarely, at last every 50 ms, because
 * the checks take time from what they wait for.
 */
export async function until(what: string, holds: () => unknown, limitMs = 50_000): Promise<void> {
  const from = performance.now()
  while (!(await holds())) {
    const waited = performance.now() - from
    if (waited > limitMs) throw new Error(`Not within ${limitMs} ms: ${what}`)
    await Bun.sleep(Math.min(50, 1 + waited / 20))
  }
}

const OTHER_QUEUES = 500

/**
 * Registers this queue among so many others that a broker started afterwards checks each only every two minutes, after
 * the check at its start. What such a broker then does without delay, it does because of a timer or a notification.
 */
export async function registerAmongMany(redis: Redis, queue: string): Promise<void> {
  await redis.sadd(QUEUES, queue, ...Array.from({ length: OTHER_QUEUES }, (_, i) => `other${i}`))
}

/** Starts a broker and waits until it has checked every queue once. */
export async function rarelyCheckingBroker(
  redis: Redis,
  start: () => Promise<TestBroker>,
): Promise<TestBroker> {
  const before = await scriptCalls(redis)
  const broker = await start()
  await until("every queue is checked", async () => (await scriptCalls(redis)) - before > OTHER_QUEUES)
  return broker
}

/** The number of scripts that this Redis has run. */
export async function scriptCalls(redis: Redis): Promise<number> {
  const stats = await redis.info("commandstats")
  return [...stats.matchAll(/^cmdstat_(?:evalsha|eval|evalsha_ro|eval_ro):calls=(\d+)/gm)].reduce(
    (sum, [, calls]) => sum + Number(calls),
    0,
  )
}

/**
 * Runs `act`. Returns its result, and how many scripts of queues this broker ran meanwhile, apart from its sweeps. Every
 * 15 s up to ten more of them are for the history.
 */
export async function countingCalls<T>({ queue }: TestBroker, act: () => Promise<T>) {
  using call = spyOn(queue.parts.scripts, "call")
  const result = await act()
  return { result, calls: call.mock.calls.filter(([name]) => name !== "sweep").length }
}

/** Direct access to one queue in Redis: keys, scripts and deadlines. Tests move time by writing a deadline in the past. */
export class DirectQueue implements AsyncDisposable {
  readonly redis: Redis
  readonly scripts: Scripts

  constructor(
    socket: string,
    readonly name = freshName(),
    run: (redis: Redis) => Runner = onOneConnection,
    limits?: Limits,
  ) {
    this.redis = new Redis(socket)
    this.redis.on("error", () => {}) // each command reports it
    this.scripts = new Scripts(run(this.redis), limits)
  }

  key(name: AnyQueueKey, id = ""): string {
    return keyOf(this.name, name, id)
  }

  /** Runs the submit script. If the script answers one code for all items, it is repeated for each item. */
  async submitEach(ttl: number, items: Items<"submit">): Promise<[code: CodeOf<"submit">, id: string][]> {
    const answers = await this.scripts.call("submit", this.name, { ttl }, items)
    return typeof answers === "number"
      ? items.map(({ id }) => ["queued", String(id)])
      : answers.map(([code, id]) => [code, id])
  }

  /** Runs the settle script. If the script answers one code for all items, it is repeated for each item. */
  async settleEach(retention: number, items: SettleItems): Promise<Exclude<Replies["settle"], number>> {
    const answers = await this.scripts.call(
      "settle",
      this.name,
      { retention },
      items.map(item => ({ retry: "", ...item })),
    )
    return typeof answers === "number" ? items.map(() => ["acknowledged", 0, 0, "done", answers]) : answers
  }

  /** Runs the lease script. Returns the time of the next event and the tasks, with ids local to the queue. */
  async leaseEach(
    asked: { limit: number; retention: number; tokens: string },
    ...workers: { worker: string; slots: number }[]
  ): Promise<[nextEvent: number, ...tasks: Leased[]]> {
    const [nextEvent, handed] = await this.scripts.call(
      "lease",
      this.name,
      { ...asked, registered: 1 },
      workers,
    )
    return [nextEvent, ...readLeased(this.name, handed).map(task => ({ ...task, id: localOf(task.id) }))]
  }

  /** A field of a task's record; null if the task or the field does not exist. */
  async field(id: string, name: string): Promise<string | null> {
    const text = await this.redis.get(this.key("task", localOf(id)))
    return text === null ? null : (fieldsOf(text)[name] ?? null)
  }

  /** Writes one field of the first line of a task's record, or its policy. */
  async setField(
    id: string,
    name: (typeof HEADER_FIELDS)[number] | "policy",
    value: string | number,
  ): Promise<void> {
    const key = this.key("task", localOf(id))
    const stored = readStored((await this.redis.get(key))!)
    await this.redis.set(key, writeStored({ ...stored, [name]: String(value) }))
  }

  /** Moves the expiry of this task to `at`, by default into the past. */
  async expire(id: string, at = 1): Promise<void> {
    const policy = (await this.field(id, "policy"))!.split(" ")
    await this.setField(id, "policy", policy.with(5, String(at)).join(" "))
    await this.redis.zadd(this.key("expiring"), "XX", at, localOf(id))
  }

  /** Moves the end of this task's lease into the past. */
  async lapse(id: string): Promise<void> {
    await this.redis.zadd(this.key("leases"), "XX", 1, localOf(id))
  }

  /** Moves the end of the retention of this done task into the past, so that it is the first to be deleted. */
  async ageDone(id: string): Promise<void> {
    const local = localOf(id)
    if ((await this.redis.zadd(this.key("done"), "XX", "CH", 1, local)) !== 0) return
    if ((await this.redis.lrem(this.key("completed"), 1, local)) === 0) return
    await this.redis.lpush(this.key("completed"), local)
    await this.setField(id, "finished", 1)
  }

  /** How many done tasks the queue lists. */
  async doneCount(): Promise<number> {
    return (await this.redis.zcard(this.key("done"))) + (await this.redis.llen(this.key("completed")))
  }

  /** Moves the due time of this delayed task into the past. */
  async due(id: string): Promise<void> {
    await this.redis.zadd(this.key("due"), "XX", 1, localOf(id))
  }

  /** A page of one place: whether there are more entries, and its entries. */
  async page(place: string, limit: number, after: { score: string; id: string } = { score: "", id: "" }) {
    const [, more, part] = await this.scripts.call("page", this.name, {
      queues: this.name,
      places: place,
      limit,
      bytes: 1_000_000,
      part: "",
      place: after.id === "" ? "" : place,
      ...after,
    })
    const [, , ...entries] = part ?? [this.name, place]
    return { more, entries }
  }

  async sweep(limit = 1_000, deadRetentionMs = 1_209_600_000, retention = 86_400_000) {
    const bounds = {
      limit,
      retention,
      dead_retention: deadRetentionMs,
      keep: 1e9,
      keep_dead: 1e9,
    }
    const [more, waiting, nextEvent] = await this.scripts.call("sweep", this.name, { ...bounds, polled: 0 })
    return [more, waiting, nextEvent] as const
  }

  async [Symbol.asyncDispose]() {
    this.redis.disconnect()
  }
}

export const testConfig = (overrides: Partial<BrokerConfig> = {}): BrokerConfig => ({
  ...readBrokerConfig({ API_SECRET_TOKEN: TOKEN, HOST: "127.0.0.1", PORT: "0", LOG_LEVEL: "error" }),
  auditIntervalMs: 0, // the audit would repair what a test breaks
  redisTimeoutMs: 20_000, // on a busy machine Redis may have to wait for a core
  ...overrides,
})

export interface TestBroker extends AsyncDisposable {
  url: string
  queue: TaskQueue
  /** Sends a request with the token. A body is sent as JSON, a string body unchanged. */
  call(method: string, path: string, body?: unknown, init?: RequestInit): Promise<Response>
}

/** Starts a broker in this process on its own port, with the shared Redis or the given one. */
export async function testBroker(
  overrides: Partial<BrokerConfig> = {},
  redis?: string | RedisAddress,
  log = createLog("silent"),
  metrics?: (queue: TaskQueue) => Metrics,
): Promise<TestBroker> {
  const config = testConfig(overrides)
  const queue = await TaskQueue.open({
    ...config,
    redis: {
      ...(typeof redis === "object" ? redis : { url: redis ?? (await sharedRedis()).socket }),
      username: config.redisUsername,
      password: config.redisPassword,
      waitReplicas: config.waitReplicas,
      timeoutMs: config.redisTimeoutMs,
      name: "tq-broker",
    },
    log,
  })
  const app = createBroker(queue, config, TOKEN, log, undefined, metrics?.(queue))
  app.listen({
    hostname: "127.0.0.1",
    port: 0,
    reusePort: false,
    idleTimeout: 40,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
  })
  const url = `http://127.0.0.1:${app.server!.port}`
  return {
    url,
    queue,
    call(method, path, body, init = {}) {
      const headers = new Headers(init.headers)
      if (!headers.has("x-api-token")) headers.set("x-api-token", TOKEN)
      if (body !== undefined && !headers.has("content-type")) headers.set("content-type", "application/json")
      const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body)
      return fetch(url + path, { ...init, method, headers, ...(text === undefined ? {} : { body: text }) })
    },
    async [Symbol.asyncDispose]() {
      queue.stopWaiting()
      await app.server!.stop(true)
      await queue.close()
    },
  }
}
