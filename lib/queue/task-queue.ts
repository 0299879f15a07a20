/**
 * The operations on tasks: what the routes call, and all that knows both tasks and scripts. Nothing of HTTP.
 * Payloads and results are JSON text that passes through unread.
 */

import { type Each, NotReplicated, Refused } from "../errors.ts"
import type { Fields, Log } from "../log.ts"
import { Counters } from "../observe/counters.ts"
import { EventFeed } from "../observe/event-feed.ts"
import { EventWriter } from "../observe/event-writer.ts"
import { Rates } from "../observe/rates.ts"
import { connect, hintConnection, type RedisTarget, topologyOf } from "../redis/connection.ts"
import {
  DEFAULTS,
  DRAINS_CHANNEL,
  endedChannel,
  givenIdRecord,
  LISTENING,
  QUEUES,
  queueOfChannel,
  recordKey,
  wakeChannel,
} from "../redis/keys.ts"
import { type Replies, Scripts } from "../redis/scripts.ts"
import { type RedisState, Store, timed } from "../redis/store.ts"
import { Subscriptions } from "../redis/subscriptions.ts"
import { joinId, localOf, newLocalId, queueOf, splitId } from "../task/id.ts"
import { newTokens } from "../task/lease-token.ts"
import { encodeNewTask, readLeased } from "../task/record.ts"
import type {
  Extended,
  Extension,
  Leased,
  NewTask,
  Settled,
  Settlement,
  Submitted,
  Task,
} from "../task/task.ts"
import type { AuditAnswer } from "../wire/operating.ts"
import { Auditor } from "./audit.ts"
import { Batcher } from "./batcher.ts"
import { QueueControl } from "./control.ts"
import { DeadLetters } from "./dead-letters.ts"
import { QueueDefaults } from "./defaults.ts"
import { EndWatch } from "./end-watch.ts"
import { findTask, type Page, type TaskFilter, tasksPage, type Why, whyTask } from "./listing.ts"
import { type Demand, LongPoll, type Slots, slotsAfter } from "./long-poll.ts"
import { OutcomeRecorder } from "./outcomes.ts"
import { Sweeper } from "./sweeper.ts"
import { WorkerRegistry } from "./worker-registry.ts"

/** How many lapsed, expired and due tasks a sweep moves: about 2 ms of Redis' time; and a lease call, beside its own. */
const MOVES_A_CALL = 200
const MOVES_A_LEASE = 100
const ENDED: ReadonlySet<Task["state"]> = new Set(["done", "dead", "cancelled"])
/** How long Redis has for its last answers when a queue is closed. */
const CLOSE_MS = 500
/** How many queues may be remembered as registered. */
const MAX_KNOWN_QUEUES = 100_000

export interface TaskQueueOptions {
  redis: RedisTarget
  doneRetentionMs: number
  deadRetentionMs: number
  /** How many done (and as many cancelled) and how many dead tasks a queue keeps at most. */
  doneKept: number
  deadKept: number
  idempotencyTtlMs: number
  /** How many tasks of a queue may wait, and how many bytes its tasks may hold; 0: any. */
  maxQueueDepth: number
  maxQueueBytes: number
  /** From one audit to the next; 0: none by itself. */
  auditIntervalMs: number
  log: Log
}

export class TaskQueue {
  readonly counters = new Counters()
  readonly #store: Store
  /** For what may happen to any number of tasks at once. */
  readonly #happened: OutcomeRecorder
  readonly #hints: Subscriptions
  readonly #scripts: Scripts
  readonly #sweeper: Sweeper
  readonly #auditor: Auditor
  readonly #poll: LongPoll
  readonly #registered = new Set<string>()
  readonly #ends: EndWatch
  readonly dead: DeadLetters
  readonly workers: WorkerRegistry
  readonly control: QueueControl
  readonly defaults: QueueDefaults
  readonly #rates: Rates
  readonly #events: EventWriter
  /** Those who listen to events here. */
  readonly eventFeed: EventFeed
  readonly #submits: Batcher<{ localId: string; task: NewTask }, Exclude<Replies["submit"], string>[number]>
  readonly #settles: Batcher<Settlement, Exclude<Replies["settle"], string>[number]>
  readonly #extends: Batcher<Extension, Replies["extend"][number]>
  readonly #upkeep: Timer

  /** Connects, and checks that this Redis is one it can work on. */
  static async open(options: TaskQueueOptions): Promise<TaskQueue> {
    const store = await Store.open(options.redis, options.log)
    const redis = hintConnection(options.redis, options.log, () => store.nodes())
    try {
      await connect(redis)
    } catch (error) {
      redis.disconnect()
      await store.close(0)
      throw error
    }
    const queue = new TaskQueue(options, store, redis)
    await queue.#learn()
    await queue.defaults.learn()
    queue.#heedOthers()
    return queue
  }

  private constructor(
    private readonly options: TaskQueueOptions,
    store: Store,
    hints: ReturnType<typeof hintConnection>,
  ) {
    this.#store = store
    this.#events = new EventWriter(store, this.counters)
    this.#happened = new OutcomeRecorder(this.counters, this.#events, options.log)
    this.eventFeed = new EventFeed(
      command => store.command(command),
      ms => this.#events.keepActive(ms),
    )
    const scripts = new Scripts(
      timed(store, seconds => this.counters.roundTrip.observe(seconds)),
      { depth: options.maxQueueDepth, bytes: options.maxQueueBytes },
    )
    this.#scripts = scripts
    this.#sweeper = new Sweeper(
      queue => this.#sweep(queue),
      lateMs => this.counters.sweepLag.observe(lateMs / 1_000),
    )
    this.#auditor = new Auditor({
      ...{ store, scripts, log: options.log },
      intervalMs: options.auditIntervalMs,
      retentionMs: options.doneRetentionMs,
      register: queue => this.#register(queue),
      mended: queue => this.#sweeper.in(queue, 0),
    })
    this.#poll = new LongPoll({
      lease: (queue, slots) => this.#lease(queue, slots),
      release: tasks => this.#release(tasks),
      listen: queue => this.#listen(queue),
    })
    this.#hints = new Subscriptions(
      hints,
      (channel, message) => this.#heard(channel, message),
      () => {
        this.#poll.hintAll()
        void this.#ends.lookAgain()
        this.#heedOthers()
        this.#listenForListeners(true)
      },
    )
    this.#ends = new EndWatch({
      subscribe: queue => this.#hints.subscribe(endedChannel(queue)),
      unsubscribe: queue => this.#hints.unsubscribe(endedChannel(queue)),
      mark: async id => {
        const { queue, localId } = splitId(id)
        const [code] = await scripts.call("watch", queue, {}, [{ id: localId }])
        return code === "watched"
      },
      queueOf: id => splitId(id).queue,
    })
    const { batchSizes } = this.counters
    this.dead = new DeadLetters({
      scripts,
      queues: () => this.#queues(),
      find: (id, waitMs, signal) => this.find(id, waitMs, signal),
      events: this.#events,
    })
    this.workers = new WorkerRegistry({ store, scripts, dismiss: whose => this.#poll.dismiss(whose) })
    this.#rates = new Rates(store, this.counters)
    this.defaults = new QueueDefaults((command, told) => store.command(command, told))
    this.control = new QueueControl({
      scripts,
      oneSlot: topologyOf(options.redis) !== "cluster",
      queues: () => this.#queues(),
      register: queue => this.#register(queue),
      waitsFor: queue => this.#poll.waitsFor(queue),
      workers: this.workers,
      rates: this.#rates,
      events: this.#events,
      defaults: this.defaults,
    })
    this.#submits = new Batcher(async (queue, items) => {
      batchSizes.submit.observe(items.length)
      const answers = await scripts.call(
        "submit",
        queue,
        { ttl: options.idempotencyTtlMs },
        items.map(({ localId, task }) => {
          const { body, large, extras } = encodeNewTask(task)
          return { id: localId, body, large, extras }
        }),
      )
      return answers === "queued" ? items.map(({ localId }) => ["queued", localId]) : answers
    })
    this.#settles = new Batcher(async (queue, items) => {
      batchSizes.settle.observe(items.length)
      const answers = await scripts.call(
        "settle",
        queue,
        { retention: options.doneRetentionMs },
        items.map(({ id, lease = "", outcome, text = "", retry = "" }) => ({
          id: localOf(id),
          lease,
          outcome,
          retry,
          text,
        })),
      )
      return answers === "acknowledged" ? items.map(() => ["acknowledged", 0, 0, "done"]) : answers
    })
    this.#extends = new Batcher((queue, items) => {
      batchSizes.extend.observe(items.length)
      return scripts.call(
        "extend",
        queue,
        {},
        items.map(({ id, lease, timeoutMs = "", progress = "", checkpoint = "", log = [] }) => ({
          id: localOf(id),
          lease,
          timeout: timeoutMs,
          progress,
          checkpoint,
          log: log.map(line => line.replaceAll("\n", " ")).join("\n"),
        })),
      )
    })
    store.onBack(() => {
      // Another Redis may answer now: all names are registered again.
      this.#registered.clear()
      this.#auditor.soon()
      this.#poll.hintAll()
      void this.#ends.lookAgain()
      this.#heedOthers()
      this.eventFeed.onReconnect()
    })
    this.#listenForListeners(false)
    this.#upkeep = setInterval(
      () => {
        this.#heedOthers()
        void this.#learn().catch(() => {})
        void this.#events.checkListeners(true).catch(() => {})
      },
      10_000 + Math.random() * 1_000,
    ).unref()
  }

  /** How many requests wait for tasks. */
  get waiting(): number {
    return this.#poll.size
  }

  /** Creates tasks, ready at once or after their delay. Answers in order. */
  async submit(tasks: readonly NewTask[]): Promise<Each<Submitted>[]> {
    for (const { queue } of tasks) if (!this.#registered.has(queue)) await this.#register(queue)
    const items = tasks.map(task => ({ localId: task.localId ?? newLocalId(), task }))
    const answers = await this.#byQueue(items, item => item.task.queue, this.#submits)
    return items.map(({ task }, i) => {
      const { queue, when, expiresInMs } = task
      const [code, localId] = answers[i]!
      const id = joinId(queue, localId)
      switch (code) {
        case "queued":
          this.#happened.submitted(id, code, task)
          if (expiresInMs !== undefined) this.#sweeper.in(queue, expiresInMs)
          return { id, state: code }
        case "scheduled":
          this.#happened.submitted(id, code, task)
          if (expiresInMs !== undefined) this.#sweeper.in(queue, expiresInMs)
          this.#sweeper.in(queue, when!.startsWith("+") ? Number(when) : Number(when) - Date.now())
          return { id, state: code }
        case "replay_queued":
          return { id, state: "queued", replayed: true }
        case "replay_scheduled":
          return { id, state: "scheduled", replayed: true }
        case "replay_duplicate":
          return { id, state: "duplicate", replayed: true }
        case "replay_replaced":
          return { id, state: "duplicate", replaced: true, replayed: true }
        case "duplicate":
          return { id, state: "duplicate" }
        case "replaced":
          return { id, state: "duplicate", replaced: true }
        case "conflict":
          return new Refused("key_reused")
        case "exists":
          return new Refused("task_exists", { task_id: id })
        case "full_depth":
          return queueFull(
            queue,
            `as many tasks wait as MAX_QUEUE_DEPTH=${this.options.maxQueueDepth} allows`,
          )
        case "full_bytes":
          return queueFull(queue, `its tasks hold what MAX_QUEUE_BYTES=${this.options.maxQueueBytes} allows`)
        default:
          throw code satisfies never
      }
    })
  }

  /** Hands out tasks, waiting for some up to `waitMs`. The caller holds a lease on each. */
  async lease(demand: Demand): Promise<Leased[]> {
    const tasks = await this.#take(demand)
    this.workers.recordLeased(demand.worker, tasks)
    return tasks
  }

  #take(demand: Demand): Promise<Leased[]> {
    for (const queue of demand.queues) this.#sweeper.know(queue)
    this.workers.recordRequest(demand, demand.queues)
    return this.workers.isDraining(demand) ? Promise.resolve([]) : this.#poll.wait(demand)
  }

  /**
   * Ends attempts as their workers say; `by`: the one that says so, where it is known. Answers in order; safe to repeat.
   * `asked`: what the log is to say of who asks.
   */
  async settle(
    settlements: readonly Settlement[],
    by = "",
    asked: () => Fields = () => ({}),
  ): Promise<Each<Settled>[]> {
    const answers = await this.#byId(settlements, this.#settles)
    const now = Date.now()
    return settlements.map((settlement, i) => {
      const { id, lease } = settlement
      const [code, retries, attempt, state, reason] = answers[i]!
      // No lease call tells of this delay's end to those who wait already.
      if (state === "retrying") this.#sweeper.in(splitId(id).queue, 0)
      switch (code) {
        case "acknowledged":
        case "requeued":
        case "moved_to_dlq":
        case "released":
        case "cancelled":
          this.#happened.settled(settlement, { code, retries, state, reason, now }, asked)
          this.workers.recordSettled(by, { id, code, retries }, lease)
          return { id, code, retries }
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
          throw code satisfies never
      }
    })
  }

  /**
   * Settles, then leases. Where nothing can come back by the first, both share one trip to Redis and one fsync;
   * if Redis then refuses to settle, nothing is handed out.
   */
  async settleAndLease(
    settlements: readonly Settlement[],
    demand: Demand,
    asked?: () => Fields,
  ): Promise<[Each<Settled>[], Leased[]]> {
    if (demand.max === 0) this.workers.recordRequest(demand)
    const lease = async () => (demand.max > 0 ? this.#take(demand) : [])
    if (!settlements.every(({ outcome }) => outcome === "done"))
      return [await this.settle(settlements, demand.worker, asked), await lease()]
    const [settled, leased] = await Promise.allSettled([
      this.settle(settlements, demand.worker, asked),
      lease(),
    ])
    if (leased.status === "rejected") throw leased.reason
    if (settled.status === "fulfilled") return [settled.value, leased.value]
    await this.#release(leased.value).catch(() => {}) // or the leases lapse
    throw settled.reason
  }

  /** Gives tasks back unblamed. If that is lost, as with a master, the leases lapse: it does not wait for replicas. */
  async #release(tasks: readonly Leased[], outcome: "released" | "returned" = "released"): Promise<void> {
    const retention = this.options.doneRetentionMs
    for (const [queue, some] of Map.groupBy(tasks, task => task.queue)) {
      const items = some.map(({ id, lease }) => ({ id: localOf(id), lease, outcome, retry: "", text: "" }))
      const answers = await this.#scripts.call("settle", queue, { retention }, items, false)
      // Those of a lease that nobody was told of are nothing that has happened.
      if (outcome === "returned" || typeof answers === "string") continue
      some.forEach(({ id, lease }, i) => {
        const [code, retries, , state, reason] = answers[i]!
        if (code !== "released" && code !== "cancelled") return
        this.#happened.settled({ id, lease, outcome }, { code, retries, state, reason, now: Date.now() })
      })
    }
  }

  /** Moves the deadline of leases that the caller still holds. Answers in order; safe to repeat. */
  async extend(extensions: readonly Extension[]): Promise<Each<Extended>[]> {
    const answers = await this.#byId(extensions, this.#extends)
    return extensions.map(({ id, timeoutMs }, i) => {
      const [code, leaseExpiresAt, attempt, state] = answers[i]!
      // It may lapse earlier than it would have.
      if (timeoutMs !== undefined) this.#sweeper.in(splitId(id).queue, timeoutMs)
      switch (code) {
        case "ok":
        case "cancelled":
          return { id, code, leaseExpiresAt }
        case "lease_lost":
          return leaseLost(id, attempt, state)
        case "unknown":
          return new Refused("task_not_found", { task_id: id })
        default:
          throw code satisfies never
      }
    })
  }

  /** Ends a task that waits, or asks the worker that has it to stop. Safe to repeat. */
  async cancel(id: string): Promise<"cancelled" | "cancelling"> {
    const { queue, localId } = splitId(id)
    const retention = this.options.doneRetentionMs
    const [[code, state]] = (await this.#scripts.call("cancel", queue, { retention }, [{ id: localId }])) as [
      Replies["cancel"][number],
    ]
    if (code === "unknown") throw new Refused("task_not_found", { task_id: id })
    if (code === "ended") throw new Refused("already_ended", { task_id: id, state })
    if (state !== "cancelled") this.#happened.publish(code, id)
    return code
  }

  /** All there is to know of a task, once it has ended or `waitMs` are over. */
  async find(id: string, waitMs = 0, signal?: AbortSignal): Promise<Task> {
    try {
      const task = await findTask(this.#scripts, id)
      if (waitMs === 0 || ENDED.has(task.state)) return task
      await this.#ends.waitFor(id, waitMs, signal)
      return await findTask(this.#scripts, id)
    } catch (error) {
      throw await this.#goneOr(error, id)
    }
  }

  async why(id: string): Promise<Why> {
    try {
      return await whyTask(this.#scripts, id, queue => this.#poll.waitsFor(queue))
    } catch (error) {
      throw await this.#goneOr(error, id)
    }
  }

  /** A page of the tasks in one state, of these queues (in the order of their names) or of all. */
  async tasks(
    filter: Omit<TaskFilter, "queues"> & { queues?: readonly string[] | undefined },
  ): Promise<Page> {
    return tasksPage(this.#scripts, { ...filter, queues: filter.queues ?? (await this.#queues()) })
  }

  /** Whether all tasks stand where they should, of one queue or of all; with `fix` they do afterwards. */
  audit(
    { fix, queue }: { fix: boolean; queue?: string | undefined },
    signal: AbortSignal,
  ): Promise<AuditAnswer> {
    return this.#auditor.run(fix, queue, signal)
  }

  redisState(): Promise<RedisState> {
    return this.#store.state()
  }

  /** Ends all waiting at once, for tasks, for ends and for audits. */
  stopWaiting(): void {
    this.#auditor.close()
    this.#poll.close()
    this.#ends.close()
    this.eventFeed.close()
  }

  async close(): Promise<void> {
    this.stopWaiting()
    this.#sweeper.close()
    clearInterval(this.#upkeep)
    this.#hints.close()
    // What these still write may take two calls, and the second would find the connection closed.
    const last = [this.#events.close(), this.#rates.close(), this.workers.close()]
    await Promise.race([Promise.all(last), Bun.sleep(CLOSE_MS)])
    // Behind what is still under way, as tasks given back; a Redis that does not answer is not waited for.
    await this.#store.close(CLOSE_MS)
  }

  async #lease(queue: string, slots: readonly Slots[]): Promise<Leased[]> {
    const tasks: Leased[] = []
    for (let open = slots; open.length > 0; ) {
      const bounds = {
        limit: MOVES_A_LEASE,
        retention: this.options.doneRetentionMs,
        tokens: newTokens(open.reduce((sum, { count }) => sum + count, 0)),
      }
      const asked = open.map(({ worker, count }) => ({ worker: worker || "?", slots: count }))
      try {
        const [nextEvent, handed, lapsed, died, timeouts] = await this.#scripts.call(
          "lease",
          queue,
          bounds,
          asked,
        )
        const got = readLeased(queue, handed)
        this.#happened.recordTimeouts(queue, lapsed, died, timeouts)
        this.#happened.leased(queue, got)
        tasks.push(...got)
        if (nextEvent >= 0) this.#sweeper.in(queue, nextEvent)
        if (nextEvent !== 0) break
        // There was more to do than one call may.
        open = slotsAfter(open, got.length)
      } catch (error) {
        this.#takeBack(queue, error)
        if (tasks.length === 0) throw error
        break
      }
    }
    return tasks
  }

  /**
   * Leases that too few replicas have are not handed out: after a failover the same ones may be given to others.
   * They go back uncharged, on this Redis alone.
   */
  #takeBack(queue: string, error: unknown): void {
    if (!(error instanceof NotReplicated && error.reply !== undefined)) return
    const [, handed] = error.reply as Replies["lease"]
    this.#release(readLeased(queue, handed), "returned").catch(() => {})
  }

  async #sweep(queue: string) {
    const { doneRetentionMs, deadRetentionMs, doneKept, deadKept } = this.options
    const [more, waiting, nextEvent, lapsed, died, timeouts] = await this.#scripts.call("sweep", queue, {
      limit: MOVES_A_CALL,
      retention: doneRetentionMs,
      dead_retention: deadRetentionMs,
      keep: doneKept,
      keep_dead: deadKept,
      polled: this.#poll.waitsFor(queue) ? 1 : 0,
    })
    this.#happened.recordTimeouts(queue, lapsed, died, timeouts)
    if (waiting === 1) this.#poll.hint(queue, MOVES_A_CALL)
    // Asked anew: somebody may have come during the call.
    if (!this.#poll.waitsFor(queue)) this.#hints.unsubscribe(wakeChannel(queue))
    return { more: more === 1, nextEventMs: nextEvent < 0 ? undefined : nextEvent }
  }

  /** The name first, the task after: a task in a queue that nobody knows of would not be swept. */
  async #register(queue: string): Promise<void> {
    await this.#store.command(["SADD", QUEUES, queue], true)
    if (this.#registered.size >= MAX_KNOWN_QUEUES) this.#registered.clear()
    this.#registered.add(queue)
    this.#sweeper.know(queue)
  }

  async #queues(): Promise<string[]> {
    return ((await this.#store.command(["SMEMBERS", QUEUES])) as string[]).sort()
  }

  /** Learns of queues that other brokers made. */
  async #learn(): Promise<void> {
    for (const queue of await this.#queues()) this.#sweeper.know(queue)
  }

  #listen(queue: string): void {
    // What became ready before the subscription was hinted to nobody here.
    this.#hints.subscribe(wakeChannel(queue), () => this.#poll.hint(queue, MOVES_A_CALL)).catch(() => {})
  }

  /** Learns which workers are to end and what queues have for defaults, now and as it changes. */
  #heedOthers(): void {
    // Where either fails, it is done again after the gap, and by the upkeep.
    const heard = this.#hints.subscribe(DRAINS_CHANNEL).catch(() => {})
    void heard.then(() => this.workers.refreshDrains()).catch(() => {})
    const told = this.#hints.subscribe(DEFAULTS).catch(() => {})
    void told.then(() => this.defaults.learn()).catch(() => {})
  }

  /** Whether somebody listens to events, now and from now on. `late`: some time may have passed unheard. */
  #listenForListeners(late: boolean): void {
    void this.#hints.subscribe(LISTENING).then(
      () => this.#events.checkListeners(late).catch(() => {}),
      () => {}, // away again: the next gap comes back here
    )
  }

  #heard(channel: string, message: string): void {
    if (channel === DRAINS_CHANNEL) return void this.workers.refreshDrains().catch(() => {})
    if (channel === DEFAULTS) return void this.defaults.learn().catch(() => {})
    if (channel === LISTENING) {
      this.#events.keepActive(Number(message))
      return
    }
    const queue = queueOfChannel(channel)
    if (channel === wakeChannel(queue)) this.#poll.hint(queue, Number(message))
    else this.#ends.ended(joinId(queue, message))
  }

  /** For "not found": "gone" where an idempotency record still tells of the task, as of ids that callers gave. */
  async #goneOr(error: unknown, id: string): Promise<unknown> {
    if (!(error instanceof Refused && error.reason === "task_not_found")) return error
    const { queue, localId } = splitId(id)
    const record = recordKey(queue, givenIdRecord(localId))
    const found = (await this.#store.command(["GET", record]).catch(() => null)) as string | null
    return found?.split(" ")[1] === localId ? new Refused("task_gone", { task_id: id }) : error
  }

  #byId<Item extends { id: string }, Answer>(
    items: readonly Item[],
    group: Batcher<Item, Answer>,
  ): Promise<Answer[]> {
    return this.#byQueue(items, item => queueOf(item.id), group)
  }

  /** Sends each queue its items and puts the answers back in the order of the items. */
  #byQueue<Item, Answer>(
    items: readonly Item[],
    queueOf: (item: Item) => string,
    group: Batcher<Item, Answer>,
  ): Promise<Answer[]> {
    if (items.length === 0) return Promise.resolve([])
    const first = queueOf(items[0]!)
    return items.every(item => queueOf(item) === first)
      ? group.run(first, items)
      : this.#bySomeQueues(items, queueOf, group)
  }

  async #bySomeQueues<Item, Answer>(
    items: readonly Item[],
    queueOf: (item: Item) => string,
    group: Batcher<Item, Answer>,
  ): Promise<Answer[]> {
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

const queueFull = (queue: string, why: string) =>
  new Refused("queue_full", {
    detail: `The queue ${queue} is full: ${why}. Nothing was kept. Try again later, and let workers finish some.`,
  })

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
