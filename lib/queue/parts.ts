/** Connects to Redis, and builds the parts of a TaskQueue: each gets the parts that it uses, built before it. */
import type { Log } from "../log.ts"
import { Activity } from "../observe/activity.ts"
import { Counters } from "../observe/counters.ts"
import { EventFeed } from "../observe/event-feed.ts"
import { EventWriter } from "../observe/event-writer.ts"
import { HistoryMarks } from "../observe/history-marks.ts"
import { HistoryReader } from "../observe/history-reader.ts"
import { HistoryWriter } from "../observe/history-writer.ts"
import { Rates } from "../observe/rates.ts"
import { connect, type RedisTarget, subscriptionConnection, topologyOf } from "../redis/connection.ts"
import { timed } from "../redis/runner.ts"
import { Scripts } from "../redis/scripts.ts"
import { Store } from "../redis/store.ts"
import { Subscriptions } from "../redis/subscriptions.ts"
import type { BrokerDefaults } from "../task/new-task.ts"
import { ActionTrail } from "./action-trail.ts"
import { Auditor } from "./audit.ts"
import { batchExtends, batchSettles, batchSubmits } from "./batched-calls.ts"
import { BrokerRegistry } from "./broker-registry.ts"
import { BulkOperations } from "./bulk-operations.ts"
import { BulkWorker } from "./bulk-worker.ts"
import { QueueControl } from "./control.ts"
import { DataWatch } from "./data-watch.ts"
import { DeadLetters } from "./dead-letters.ts"
import { QueueDefaults } from "./defaults.ts"
import { EndWatch } from "./end-watch.ts"
import { Groups } from "./groups.ts"
import { Leaser } from "./leaser.ts"
import { LongPoll } from "./long-poll.ts"
import { LostLeases } from "./lost-leases.ts"
import { OutcomeRecorder } from "./outcomes.ts"
import { QueueNames } from "./queue-names.ts"
import { QueueOverview } from "./queue-overview.ts"
import { ScheduleFiring } from "./schedule-firing.ts"
import { Schedules } from "./schedules.ts"
import { TaskSearch } from "./search.ts"
import { Sweeper } from "./sweeper.ts"
import { TaskActions } from "./task-actions.ts"
import { Upkeep } from "./upkeep.ts"
import { WorkerRegistry } from "./worker-registry.ts"

export interface TaskQueueOptions extends BrokerDefaults {
  redis: RedisTarget
  doneRetentionMs: number
  deadRetentionMs: number
  /** How many done (and as many cancelled) and how many dead tasks a queue keeps at most. */
  doneKept: number
  deadKept: number
  idempotencyTtlMs: number
  /** How many tasks of a queue may wait, and how many bytes its tasks may hold. 0: no limit. */
  maxQueueDepth: number
  maxQueueBytes: number
  /** The time between two background audits. 0: none. */
  auditIntervalMs: number
  log: Log
}

export type Parts = Awaited<ReturnType<typeof openParts>>

/** Fails if Redis cannot be reached, is not one that this version can use, or denies a right to its user. */
export async function openParts(options: TaskQueueOptions) {
  const { redis, log, doneRetentionMs } = options
  const store = await Store.open(redis, log)
  const subscriber = subscriptionConnection(redis, store.outages, () => store.nodes())
  try {
    await connect(subscriber)
  } catch (error) {
    subscriber.disconnect()
    await store.close(0)
    throw error
  }

  const counters = new Counters()
  const events = new EventWriter(store, counters)
  const eventFeed = new EventFeed(store, ms => events.keepActive(ms))
  const activity = new Activity()
  const outcomes = new OutcomeRecorder(counters, activity, events, log)
  const scripts = new Scripts(
    timed(store, seconds => counters.roundTrip.observe(seconds)),
    { depth: options.maxQueueDepth, bytes: options.maxQueueBytes },
    { oneSlot: topologyOf(redis) !== "cluster" },
  )
  const { clock } = store

  // The two sources of background work. Both call upkeep, which is built last, and neither does before this returns.
  const subscriptions = new Subscriptions(
    subscriber,
    (channel, message) => upkeep.onMessage(channel, message),
    () => upkeep.onGap(),
  )
  store.alsoCheck(() => subscriptions.missingRight())
  const sweeper = new Sweeper(
    queue => upkeep.sweep(queue),
    lateMs => counters.sweepLag.observe(lateMs / 1_000),
  )

  const names = new QueueNames({ store, scripts, sweeper })
  const ends = new EndWatch(scripts, subscriptions)
  const lost = new LostLeases({ scripts, sweeper, doneRetentionMs })
  const leaser = new Leaser({
    scripts,
    outcomes,
    sweeper,
    names,
    subscriptions,
    lost,
    clock,
    doneRetentionMs,
  })
  const longPoll = new LongPoll(leaser)
  const workers = new WorkerRegistry({ store, scripts, longPoll })
  const defaults = new QueueDefaults(store)
  const firing = new ScheduleFiring({ scripts, counters, outcomes, events, sweeper, defaults, log, options })
  const schedules = new Schedules({ store, scripts, names, sweeper, events, firing })
  const rates = new Rates(store, counters)
  const history = new HistoryReader(store, clock)
  const marks = new HistoryMarks(store)
  const auditor = new Auditor({
    store,
    scripts,
    names,
    sweeper,
    log,
    intervalMs: options.auditIntervalMs,
    retentionMs: doneRetentionMs,
  })
  // Workers that wait here need not wait for the hint: Redis runs the lease right after the submit.
  const submits = batchSubmits(scripts, names, counters, options.idempotencyTtlMs, (queue, count) =>
    longPoll.notify(queue, count),
  )
  const actions = new TaskActions({
    scripts,
    outcomes,
    submits,
    sweeper,
    clock,
    limits: options,
    doneRetentionMs,
  })
  const dead = new DeadLetters({ scripts, names, ends, actions, outcomes })
  const control = new QueueControl({
    scripts,
    names,
    longPoll,
    workers,
    rates,
    history,
    events,
    defaults,
    clock,
  })
  const trail = new ActionTrail(store)
  const brokers = new BrokerRegistry(store, events.broker)
  const historyWriter = new HistoryWriter({ store, scripts, activity, clock }, () => control.depths())
  const bulkWorker = new BulkWorker({ store, scripts, names, control, actions, events, log })
  const bulk = new BulkOperations({ store, scripts, names, actions, events, worker: bulkWorker })
  const overview = new QueueOverview(names, queues => control.viewsOf(queues))
  const tasksSearch = new TaskSearch(scripts, names, doneRetentionMs)
  const groups = new Groups({ scripts, names, events })
  const dataWatch = new DataWatch(store, names, log, () => upkeep.onReplaced())
  const upkeep = new Upkeep({
    store,
    dataWatch,
    subscriptions,
    scripts,
    names,
    outcomes,
    sweeper,
    lost,
    longPoll,
    ends,
    workers,
    brokers,
    defaults,
    firing,
    bulkWorker,
    auditor,
    events,
    eventFeed,
    rates,
    historyWriter,
    limits: options,
  })

  return {
    store,
    scripts,
    counters,
    outcomes,
    clock,
    eventFeed,
    sweeper,
    names,
    ends,
    longPoll,
    lost,
    workers,
    defaults,
    auditor,
    actions,
    bulk,
    dead,
    control,
    tasksSearch,
    overview,
    trail,
    brokers,
    history,
    marks,
    historyWriter,
    groups,
    schedules,
    upkeep,
    submits,
    limits: options,
    settles: batchSettles(scripts, counters, doneRetentionMs),
    extends: batchExtends(scripts, counters),
  }
}
