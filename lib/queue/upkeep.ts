/**
 * Background work of a TaskQueue: it reacts to messages from other brokers, recovers after gaps in which messages may
 * have been missed, sweeps queues, and refreshes every 10 s what the broker keeps in memory.
 */
import type { EventFeed } from "../observe/event-feed.ts"
import type { EventWriter } from "../observe/event-writer.ts"
import type { HistoryWriter } from "../observe/history-writer.ts"
import type { Rates } from "../observe/rates.ts"
import {
  DEFAULTS,
  DRAINS_CHANNEL,
  isWakeChannel,
  LISTENING,
  queueOfChannel,
  SCHEDULES_CHANNEL,
  wakeChannel,
} from "../redis/keys.ts"
import type { Scripts } from "../redis/scripts.ts"
import type { Store } from "../redis/store.ts"
import type { Subscriptions } from "../redis/subscriptions.ts"
import { joinId } from "../task/id.ts"
import type { Auditor } from "./audit.ts"
import type { BrokerRegistry } from "./broker-registry.ts"
import type { BulkWorker } from "./bulk-worker.ts"
import type { DataWatch } from "./data-watch.ts"
import type { QueueDefaults } from "./defaults.ts"
import type { EndWatch } from "./end-watch.ts"
import type { LongPoll } from "./long-poll.ts"
import type { LostLeases } from "./lost-leases.ts"
import type { OutcomeRecorder } from "./outcomes.ts"
import type { QueueNames } from "./queue-names.ts"
import type { ScheduleFiring } from "./schedule-firing.ts"
import type { Sweeper, Swept } from "./sweeper.ts"
import type { WorkerRegistry } from "./worker-registry.ts"

/** How many lapsed, expired and due tasks one sweep moves: about 2 ms of Redis' time. */
const MAX_TASKS_PER_CALL = 200
const REFRESH_MS = 10_000
/** How long Redis has at close to answer the last calls. */
const CLOSE_MS = 500

interface UpkeepParts {
  store: Store
  dataWatch: DataWatch
  subscriptions: Subscriptions
  scripts: Scripts
  names: QueueNames
  outcomes: OutcomeRecorder
  sweeper: Sweeper
  lost: LostLeases
  longPoll: LongPoll
  ends: EndWatch
  workers: WorkerRegistry
  brokers: BrokerRegistry
  defaults: QueueDefaults
  firing: ScheduleFiring
  bulkWorker: BulkWorker
  auditor: Auditor
  events: EventWriter
  eventFeed: EventFeed
  rates: Rates
  historyWriter: HistoryWriter
  limits: { doneRetentionMs: number; deadRetentionMs: number; doneKept: number; deadKept: number }
}

export class Upkeep {
  #timer: Timer | undefined

  constructor(private readonly parts: UpkeepParts) {}

  /** Reads what brokers share, and keeps it up to date from then on. */
  async start(): Promise<void> {
    const { store, dataWatch, names, defaults, brokers, bulkWorker } = this.parts
    await dataWatch.start()
    void brokers.note().catch(() => {})
    store.onBack(() => this.#onReconnect())
    this.#subscribeToListening(false)
    this.#timer = setInterval(() => this.#refresh(), REFRESH_MS + Math.random() * 1_000).unref()
    await names.refresh()
    await defaults.refresh()
    this.#syncFromBrokers()
    this.parts.historyWriter.start()
    bulkWorker.start()
  }

  onMessage(channel: string, message: string): void {
    const { workers, defaults, events, longPoll, ends, sweeper } = this.parts
    if (channel === DRAINS_CHANNEL) return void workers.refreshDrains().catch(() => {})
    if (channel === DEFAULTS) return void defaults.refresh().catch(() => {})
    // A sweep reads when the next schedule of the queue runs.
    if (channel === SCHEDULES_CHANNEL) {
      sweeper.sweepIn(message, 0)
      return
    }
    if (channel === LISTENING) {
      events.keepActive(Number(message))
      return
    }
    const queue = queueOfChannel(channel)
    if (channel === wakeChannel(queue)) longPoll.notify(queue, Number(message))
    else ends.ended(joinId(queue, message))
  }

  /** Messages may have been missed. */
  onGap(): void {
    this.#lookAgain()
    this.#subscribeToListening(true)
  }

  async sweep(queue: string): Promise<Swept> {
    const { scripts, outcomes, lost, longPoll, names, defaults, firing, limits } = this.parts
    await lost.recover(queue)
    const [more, waiting, nextEvent, nextRun, timeouts] = await scripts.call("sweep", queue, {
      limit: MAX_TASKS_PER_CALL,
      retention: limits.doneRetentionMs,
      dead_retention: limits.deadRetentionMs,
      keep: limits.doneKept,
      keep_dead: limits.deadKept,
      polled: longPoll.hasWaiters(queue) ? 1 : 0,
    })
    outcomes.recordTimeouts(queue, timeouts)
    if (waiting === 1) longPoll.notify(queue, MAX_TASKS_PER_CALL)
    if (nextRun === 0) firing.startDue(queue) // at its end the queue is swept again
    const hasTimers = nextEvent >= 0 || nextRun >= 0
    const isUnused = more === 0 && !hasTimers && !longPoll.hasWaiters(queue) && !defaults.of(queue)
    await names.recordUse(queue, isUnused)
    const waits = [nextEvent, nextRun === 0 ? -1 : nextRun].filter(ms => ms >= 0)
    return { more: more === 1, nextEventMs: waits.length === 0 ? undefined : Math.min(...waits) }
  }

  /** Ends all long polls, waits for ends, audits and event streams. */
  stopWaiting(): void {
    const { auditor, longPoll, ends, eventFeed } = this.parts
    auditor.close()
    longPoll.close()
    ends.close()
    eventFeed.close()
  }

  async close(): Promise<void> {
    const { store, sweeper, subscriptions, events, rates, historyWriter, workers, brokers } = this.parts
    this.stopWaiting()
    sweeper.close()
    this.parts.dataWatch.close()
    clearInterval(this.#timer)
    subscriptions.close()
    // The last writes may take two calls each, and a closed connection would fail the second.
    const lastWrites = [
      this.parts.bulkWorker.close(),
      events.close(),
      rates.close(),
      historyWriter.close(),
      workers.close(),
      brokers.close(),
    ]
    await Promise.race([Promise.all(lastWrites), Bun.sleep(CLOSE_MS)])
    // Waits for calls in progress, such as releases, but not for a Redis that does not answer.
    await store.close(CLOSE_MS)
  }

  /** Redis answers again, or another Redis has taken its place. */
  #onReconnect(): void {
    const { dataWatch, names } = this.parts
    names.forget()
    void dataWatch.check()
    this.onReplaced()
  }

  /** What this broker knows of Redis may be wrong. */
  onReplaced(): void {
    this.parts.auditor.auditSoon()
    this.#lookAgain()
    this.parts.eventFeed.onReconnect()
  }

  /** Lets all waiting requests look for what a missed message would have announced. */
  #lookAgain(): void {
    this.parts.longPoll.notifyAll()
    void this.parts.ends.markAgain()
    this.#syncFromBrokers()
  }

  /** Reads what messages announce, in case one was missed without a gap, and the queues that other brokers registered or forgot. */
  #refresh(): void {
    const { store, names, events, longPoll, subscriptions, brokers } = this.parts
    this.#syncFromBrokers()
    void brokers.note().catch(() => {})
    subscriptions.keepOnly(channel => !isWakeChannel(channel) || longPoll.hasWaiters(queueOfChannel(channel)))
    void store.readClock().catch(() => {})
    void names.refresh().catch(() => {})
    void events.checkListeners(true).catch(() => {})
  }

  /** Reads which workers drain and what the defaults of queues are, now and whenever they change. */
  #syncFromBrokers(): void {
    const { subscriptions, workers, defaults } = this.parts
    // If one of these fails, it is repeated after the gap and by the next refresh.
    const listensToDrains = subscriptions.subscribe(DRAINS_CHANNEL).catch(() => {})
    void listensToDrains.then(() => workers.refreshDrains()).catch(() => {})
    void subscriptions.subscribe(SCHEDULES_CHANNEL).catch(() => {})
    const listensToDefaults = subscriptions.subscribe(DEFAULTS).catch(() => {})
    void listensToDefaults.then(() => defaults.refresh()).catch(() => {})
  }

  /** Whether event streams are open, now and from now on. `late`: a message that said so may have been missed. */
  #subscribeToListening(late: boolean): void {
    const { subscriptions, events } = this.parts
    void subscriptions.subscribe(LISTENING).then(
      () => events.checkListeners(late).catch(() => {}),
      () => {}, // the connection is down again, and the next gap comes back here
    )
  }
}
