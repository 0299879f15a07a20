/** One queue and a broker that serves it over HTTP, with a method for each thing that a client does to a task. */
import { expect } from "bun:test"
import type { BrokerConfig } from "../../lib/config/config.ts"
import type { Attempt, TaskView, WhyAnswer } from "../../lib/wire/inspecting.ts"
import type { Submit } from "../../lib/wire/submitting.ts"
import type { LeasedTask, WorkAnswer } from "../../lib/wire/working.ts"
import { DirectQueue, type TestBroker, testBroker } from "../support/harness.ts"
import { checkQueue } from "../support/invariants.ts"
import { sharedRedis } from "../support/redis.ts"

export const DAY_MS = 86_400_000

export interface Reply {
  status: number
  headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: each test states what it expects
  body: any
}

/** One queue, a broker that serves it, and one method per operation of a client. */
export class ServedQueue implements AsyncDisposable {
  private constructor(
    readonly socket: string,
    readonly broker: TestBroker,
    readonly direct: DirectQueue,
  ) {}

  static async open(overrides: Partial<BrokerConfig> = {}): Promise<ServedQueue> {
    const { socket } = await sharedRedis()
    return new ServedQueue(socket, await testBroker(overrides, socket), new DirectQueue(socket))
  }

  get queue(): string {
    return this.direct.name
  }

  async ask(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Reply> {
    const response = await this.broker.call(method, path, body, { headers })
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      body: text === "" ? undefined : JSON.parse(text),
    }
  }

  /** Submits one task and returns its id. */
  async submit(options: Partial<Submit> = {}): Promise<string> {
    const { status, body } = await this.ask("POST", "/submit", { type: "t", queue: this.queue, ...options })
    expect([status, body]).toEqual([200, expect.anything()])
    return body.task_id
  }

  async lease(max = 1): Promise<LeasedTask[]> {
    return (await this.ask("POST", "/lease", { queues: [this.queue], max, worker: "w1" })).body.tasks
  }

  /** Submits and leases one task. */
  async leased(options: Partial<Submit> = {}): Promise<LeasedTask> {
    await this.submit(options)
    const [task] = await this.lease()
    return task!
  }

  ack({ id, lease }: { id: string; lease?: string }, members: object = {}): Promise<Reply> {
    return this.ask("POST", "/ack", { task_id: id, ...(lease === undefined ? {} : { lease }), ...members })
  }

  extend({ id, lease }: { id: string; lease: string }, members: object = {}): Promise<Reply> {
    return this.ask("POST", "/extend", { task_id: id, lease, ...members })
  }

  cancel = (id: string) => this.ask("POST", `/cancel/${id}`)

  /** The task as /status shows it. */
  async task(id: string): Promise<TaskView & { attempts: Attempt[] }> {
    return (await this.ask("GET", `/status/${id}`)).body
  }

  why = async (id: string): Promise<WhyAnswer> => (await this.ask("GET", `/why/${id}`)).body

  async work(options: object): Promise<WorkAnswer & { settled: Reply["body"][]; extended: Reply["body"][] }> {
    return (await this.ask("POST", "/work", { queues: [this.queue], ...options })).body
  }

  /** Lets the lease lapse, and sweeps. */
  async crash(id: string): Promise<void> {
    await this.direct.lapse(id)
    await this.direct.sweep()
  }

  /** Ends the delay, and sweeps. */
  async becomeDue(id: string): Promise<void> {
    await this.direct.due(id)
    await this.direct.sweep()
  }

  /** Moves the expiry of the task into the past. */
  async expire(id: string): Promise<void> {
    await this.direct.expire(id)
  }

  /** Creates a dead task, whose only attempt failed. */
  async dead(options: Partial<Submit> = {}): Promise<string> {
    const task = await this.leased({ max_retries: 0, ...options })
    expect((await this.ack(task, { status: "failed", error: "no" })).body.status).toBe("moved_to_dlq")
    return task.id
  }

  sweepKeeping(
    keep: Partial<Record<"limit" | "keep" | "keep_dead" | "retention" | "dead_retention", number>>,
  ) {
    const bounds = { limit: 1_000, retention: DAY_MS, dead_retention: DAY_MS, keep: 1e9, keep_dead: 1e9 }
    return this.direct.scripts.call("sweep", this.queue, { ...bounds, ...keep, polled: 0 })
  }

  async [Symbol.asyncDispose]() {
    await checkQueue(this.direct.redis, this.queue)
    await this.broker[Symbol.asyncDispose]()
    await this.direct[Symbol.asyncDispose]()
  }
}
