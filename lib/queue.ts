/**
 * The operations on tasks: what the routes call, and all that knows both tasks and scripts. Nothing of HTTP.
 * Payloads and results are JSON text that passes through unread.
 */
import type { Redis } from "ioredis"
import { asRefusal, Refused } from "./errors.ts"
import { Group } from "./group.ts"
import { QUEUES, queueOfChannel, wakeChannel } from "./keys.ts"
import type { Log } from "./log.ts"
import { type Demand, LongPoll } from "./poll.ts"
import {
  checkServer,
  commandConnection,
  connect,
  hintConnection,
  type RedisState,
  type RedisTarget,
  redisState,
} from "./redis.ts"
import { type Replies, Scripts } from "./scripts.ts"
import { Sweeper } from "./sweeper.ts"
import {
  joinId,
  type Leased,
  newLocalId,
  newTokens,
  type Policy,
  readPolicy,
  readTask,
  splitId,
  type Task,
  writePolicy,
} from "./task.ts"

/** How many lapsed and due tasks one script call moves: about 2 ms of Redis' time. */
const MOVES_A_CALL = 300
/** How long Redis has for its last answers when a queue is closed. */
const CLOSE_MS = 500
/** How many queues may be remembered as registered. */
const MAX_KNOWN_QUEUES = 100_000

export interface NewTask {
  queue: string
  type: string
  payload: string
  delayMs: number
  policy: Policy
}

export interface Settlement {
  id: string
  outcome: "done" | "failed" | "released"
  lease?: string | undefined
  /** The result of `done` as JSON text, or the error of `failed`. */
  text?: string | undefined
}

export interface Extension {
  id: string
  lease: string
  timeoutMs?: number | undefined
}

/** Where a task is: its queue, and its id within it. */
interface Place {
  queue: string
  local: string
}

/** One of many answers: what came of this item, or why it was refused. */
export type Each<T> = T | Refused

export interface Submitted {
  id: string
  state: "queued" | "scheduled"
}
export interface Settled {
  id: string
  word: "acknowledged" | "requeued" | "moved_to_dlq" | "released"
  retries: number
}
export interface Extended {
  id: string
  leaseExpiresAt: number
}

export interface TaskQueueOptions {
  redis: RedisTarget
  doneRetentionMs: number
  deadRetentionMs: number
  log: Log
}

export class TaskQueue {
  readonly #redis: Redis
  readonly #hints: Redis
  readonly #scripts: Scripts
  readonly #sweeper: Sweeper
  readonly #poll: LongPoll
  readonly #registered = new Set<string>()
  readonly #listening = new Set<string>()
  readonly #submits: Group<{ local: string; task: NewTask }, Replies["submit"][number]>
  readonly #settles: Group<Settlement & Place, Replies["settle"][number]>
  readonly #extends: Group<Extension & Place, Replies["extend"][number]>
  readonly #upkeep: Timer

  /** Connects, and checks that this Redis is one it can work on. */
  static async open(options: TaskQueueOptions): Promise<TaskQueue> {
    const redis = commandConnection(options.redis, options.log)
    const hints = hintConnection({ ...options.redis, name: `${options.redis.name}-hints` }, options.log)
    try {
      await connect(redis)
      await connect(hints)
      await checkServer(redis)
    } catch (error) {
      redis.disconnect()
      hints.disconnect()
      throw error
    }
    const queue = new TaskQueue(options, redis, hints)
    await queue.#learn()
    return queue
  }

  private constructor(
    private readonly options: TaskQueueOptions,
    redis: Redis,
    hints: Redis,
  ) {
    this.#redis = redis
    this.#hints = hints
    const scripts = new Scripts(redis)
    this.#scripts = scripts
    this.#sweeper = new Sweeper(queue => this.#sweep(queue))
    this.#poll = new LongPoll({
      lease: (queue, workers) => this.#lease(queue, workers),
      release: tasks => this.settle(tasks.map(({ id, lease }) => ({ id, lease, outcome: "released" }))),
      listen: queue => this.#listen(queue),
    })
    this.#submits = new Group((queue, items) =>
      scripts.call(
        "submit",
        queue,
        {},
        items.map(({ local, task }) => ({
          id: local,
          delay: task.delayMs,
          text: task.payload,
          type: task.type,
          policy: writePolicy(task.policy),
        })),
      ),
    )
    this.#settles = new Group((queue, items) =>
      scripts.call(
        "settle",
        queue,
        { retention: options.doneRetentionMs },
        items.map(({ local, lease = "", outcome, text = "" }) => ({ id: local, lease, outcome, text })),
      ),
    )
    this.#extends = new Group((queue, items) =>
      scripts.call(
        "extend",
        queue,
        {},
        items.map(({ local, lease, timeoutMs = "" }) => ({ id: local, lease, timeout: timeoutMs })),
      ),
    )
    hints.on("message", (channel: string, count: string) =>
      this.#poll.hint(queueOfChannel(channel), Number(count)),
    )
    // Pub/sub replays nothing: after a gap everybody looks again, and all names are registered again.
    hints.on("ready", () => void this.#listenAgain())
    redis.on("ready", () => {
      this.#registered.clear()
      this.#poll.hintAll()
    })
    this.#upkeep = setInterval(
      () => void this.#learn().catch(() => {}),
      10_000 + Math.random() * 1_000,
    ).unref()
  }

  /** How many requests wait for tasks. */
  get waiting(): number {
    return this.#poll.size
  }

  /** Creates tasks, ready at once or after their delay. Answers in order. */
  async submit(tasks: readonly NewTask[]): Promise<Submitted[]> {
    const queues = new Set(tasks.map(task => task.queue))
    for (const queue of queues) if (!this.#registered.has(queue)) await this.#register(queue)
    const items = tasks.map(task => ({ local: newLocalId(), task }))
    const states = await this.#byQueue(items, item => item.task.queue, this.#submits)
    return items.map(({ local, task }, i) => {
      const state = states[i]!
      // 60 random bits within one millisecond: this is a fault of ours, not of chance.
      if (state === "exists") throw new Error("two tasks were given one id")
      if (state === "scheduled") this.#sweeper.in(task.queue, task.delayMs)
      return { id: joinId(task.queue, local), state }
    })
  }

  /** Hands out tasks, waiting for some up to `waitMs`. The caller holds a lease on each. */
  async lease(demand: Demand): Promise<Leased[]> {
    for (const queue of demand.queues) this.#sweeper.know(queue)
    return this.#poll.wait(demand)
  }

  /** Ends attempts as their workers say. Answers in order; safe to repeat. */
  async settle(settlements: readonly Settlement[]): Promise<Each<Settled>[]> {
    const answers = await this.#byId(settlements, this.#settles)
    return settlements.map(({ id }, i) => {
      const [word, retries, attempt, state] = answers[i]!
      switch (word) {
        case "acknowledged":
        case "requeued":
        case "moved_to_dlq":
        case "released":
          return { id, word, retries }
        case "lease_lost":
          return leaseLost(id, attempt, state)
        case "not_leased":
          return new Refused("not_leased", {
            task_id: id,
            state,
            detail: `The task is ${state}: there is nothing to acknowledge.`,
          })
        case "unknown":
          return new Refused("task_not_found", { task_id: id })
        default:
          throw word satisfies never
      }
    })
  }

  /** Moves the deadline of leases that the caller still holds. Answers in order; safe to repeat. */
  async extend(extensions: readonly Extension[]): Promise<Each<Extended>[]> {
    const answers = await this.#byId(extensions, this.#extends)
    return extensions.map(({ id }, i) => {
      const [word, leaseExpiresAt, attempt, state] = answers[i]!
      switch (word) {
        case "ok":
          return { id, leaseExpiresAt }
        case "lease_lost":
          return leaseLost(id, attempt, state)
        case "unknown":
          return new Refused("task_not_found", { task_id: id })
        default:
          throw word satisfies never
      }
    })
  }

  async find(id: string): Promise<Task> {
    const { queue, local } = splitId(id)
    const [described] = await this.#scripts.call("inspect", queue, {}, [{ id: local }])
    if (!described) throw new Refused("task_not_found", { task_id: id })
    return readTask(queue, described)
  }

  /**
   * A page of the dead-letter queue, the newest first, queue by queue where none is named. `size` counts
   * all of them. `cursor` is what the page before gave as `next`.
   */
  async deadPage(page: { queue?: string | undefined; limit: number; cursor?: string | undefined }) {
    const after = page.cursor === undefined ? undefined : readCursor(page.cursor)
    const queues = page.queue === undefined ? await this.#queues() : [page.queue]
    let size = 0
    let next: string | undefined
    /** Where a page that is just full ends: it is the last unless a later queue has dead tasks too. */
    let full: string | undefined
    const tasks: Task[] = []
    for (const queue of queues) {
      const passed = after !== undefined && queue < after.queue
      const limit = passed ? 0 : page.limit - tasks.length
      const { score, id } = after?.queue === queue ? after : { score: "", id: "" }
      // One more than asked tells whether there is a next page.
      const [count, ...entries] = await this.#scripts.call("dead_page", queue, {
        limit: limit && limit + 1,
        score,
        id,
      })
      size += count
      if (count > 0) next ??= full
      for (const [, described] of entries.slice(0, limit)) tasks.push(readTask(queue, described))
      if (entries.length > limit && limit > 0) {
        const [score, described] = entries[limit - 1]!
        next = writeCursor({ queue, score, id: described[0] })
      } else if (limit > 0 && tasks.length === page.limit) {
        const [score, described] = entries.at(-1)!
        full = writeCursor({ queue, score, id: described[0] })
      }
    }
    return { size, tasks, next }
  }

  /** Gives a dead task a new life. */
  async redrive(id: string): Promise<void> {
    const { queue, local } = splitId(id)
    const [word] = await this.#scripts.call("redrive", queue, {}, [{ id: local }])
    if (word !== "requeued") throw new Refused("not_in_dlq", { task_id: id })
  }

  async redisState(): Promise<RedisState> {
    try {
      return await redisState(this.#redis)
    } catch (error) {
      throw asRefusal(error)
    }
  }

  /** Ends all waiting at once, empty-handed. */
  stopLeasing(): void {
    this.#poll.close()
  }

  async close(): Promise<void> {
    this.#poll.close()
    this.#sweeper.close()
    clearInterval(this.#upkeep)
    this.#hints.disconnect()
    // Behind what is still under way, as tasks given back; a Redis that does not answer is not waited for.
    await Promise.race([this.#redis.quit().catch(() => {}), Bun.sleep(CLOSE_MS)])
    this.#redis.disconnect()
  }

  async #lease(queue: string, workers: string[]): Promise<Leased[]> {
    const [nextEvent, ...tasks] = await this.#scripts.call(
      "lease",
      queue,
      { limit: MOVES_A_CALL, tokens: newTokens(workers.length) },
      workers.map(worker => ({ worker })),
    )
    if (nextEvent >= 0) this.#sweeper.in(queue, nextEvent)
    return tasks.map(([local, lease, retries, policy, type, payload, deadline]) => ({
      id: joinId(queue, local),
      queue,
      type,
      payload,
      lease,
      attempt: Number.parseInt(lease, 10),
      retries: Number(retries),
      policy: readPolicy(policy),
      leaseExpiresAt: deadline,
    }))
  }

  async #sweep(queue: string) {
    const { deadRetentionMs } = this.options
    const [moved, waiting, nextEvent] = await this.#scripts.call("sweep", queue, {
      limit: MOVES_A_CALL,
      dead_retention: deadRetentionMs,
    })
    if (waiting === 1) this.#poll.hint(queue, MOVES_A_CALL)
    else if (!this.#poll.waitsFor(queue)) this.#stopListening(queue)
    return { more: moved >= MOVES_A_CALL, nextEventMs: nextEvent < 0 ? undefined : nextEvent }
  }

  /** The name first, the task after: a task in a queue that nobody knows of would not be swept. */
  async #register(queue: string): Promise<void> {
    try {
      await this.#redis.sadd(QUEUES, queue)
    } catch (error) {
      throw asRefusal(error)
    }
    if (this.#registered.size >= MAX_KNOWN_QUEUES) this.#registered.clear()
    this.#registered.add(queue)
    this.#sweeper.know(queue)
  }

  async #queues(): Promise<string[]> {
    try {
      return (await this.#redis.smembers(QUEUES)).sort()
    } catch (error) {
      throw asRefusal(error)
    }
  }

  /** Learns of queues that other brokers made. */
  async #learn(): Promise<void> {
    for (const queue of await this.#queues()) this.#sweeper.know(queue)
  }

  #listen(queue: string): void {
    if (this.#listening.has(queue)) return
    this.#listening.add(queue)
    this.#hints.subscribe(wakeChannel(queue)).then(
      // What became ready before the subscription was hinted to nobody here.
      () => this.#poll.hint(queue, MOVES_A_CALL),
      () => this.#listening.delete(queue),
    )
  }

  #stopListening(queue: string): void {
    if (this.#listening.delete(queue)) this.#hints.unsubscribe(wakeChannel(queue)).catch(() => {})
  }

  async #listenAgain(): Promise<void> {
    const channels = [...this.#listening].map(wakeChannel)
    try {
      if (channels.length > 0) await this.#hints.subscribe(...channels)
      this.#poll.hintAll()
    } catch {
      // The connection went again; its next "ready" comes back here.
    }
  }

  #byId<Item extends { id: string }, Answer>(
    items: readonly Item[],
    group: Group<Item & Place, Answer>,
  ): Promise<Answer[]> {
    const placed = items.map(item => ({ ...item, ...splitId(item.id) }))
    return this.#byQueue(placed, item => item.queue, group)
  }

  /** Sends each queue its items and puts the answers back in the order of the items. */
  async #byQueue<Item, Answer>(
    items: readonly Item[],
    queueOf: (item: Item) => string,
    group: Group<Item, Answer>,
  ): Promise<Answer[]> {
    const first = items.length > 0 ? queueOf(items[0]!) : ""
    if (items.every(item => queueOf(item) === first)) return items.length > 0 ? group.run(first, items) : []
    const places = Map.groupBy(items.keys(), i => queueOf(items[i]!))
    const answers: Answer[] = new Array(items.length)
    await Promise.all(
      [...places].map(async ([queue, indexes]) => {
        const part = await group.run(
          queue,
          indexes.map(i => items[i]!),
        )
        indexes.forEach((index, i) => {
          answers[index] = part[i]!
        })
      }),
    )
    return answers
  }
}

const leaseLost = (id: string, attempt: number, state: Task["state"]) =>
  new Refused("lease_lost", {
    task_id: id,
    attempt,
    state,
    detail:
      state === "processing"
        ? `Attempt ${attempt} holds the task now: drop your result.`
        : `This lease is over, and the task is ${state}: drop your result.`,
  })

interface Cursor {
  queue: string
  score: string
  id: string
}

const writeCursor = ({ queue, score, id }: Cursor): string =>
  Buffer.from(`${queue} ${score} ${id}`).toString("base64url")

function readCursor(text: string): Cursor {
  const match = /^([A-Za-z0-9._-]{1,64}) (\d{1,16}) ([A-Za-z0-9._-]{1,64})$/.exec(
    Buffer.from(text, "base64url").toString("latin1"),
  )
  if (match === null)
    throw new Refused("bad_request", {
      field: "cursor",
      detail: "`cursor` must be what the page before gave as `next`.",
    })
  return { queue: match[1]!, score: match[2]!, id: match[3]! }
}
