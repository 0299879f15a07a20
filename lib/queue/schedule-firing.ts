/**
 * Creates the tasks of schedules whose time has come. Every broker does it, whenever a sweep finds a schedule that is due:
 *   1. Read the schedules of a queue that are due, and compute which of their planned times get a task.
 *   2. Let one script compare each schedule with what was read, create the task and plan the next run. If another
 *      broker was first, the comparison fails and nothing happens. If it was first with half of a call, this broker leaves
 *      the queue to that one for a moment.
 *   3. Sweep again, which tells when the next schedule is due.
 * Thousands of schedules may be due at one instant, such as midnight. Their tasks are created in short calls at a steady
 * rate, and each call is prepared by itself, so that they do not delay other requests.
 */
import { type Log, rateLimited } from "../log.ts"
import type { Counters } from "../observe/counters.ts"
import type { EventWriter } from "../observe/event-writer.ts"
import { pause } from "../pause.ts"
import type { CancelledRun, CodeOf, FireAnswer, Item, Replies, Scripts } from "../redis/scripts.ts"
import { joinId } from "../task/id.ts"
import { type BrokerDefaults, newTask } from "../task/new-task.ts"
import { dueRuns, type Run } from "../task/planned-runs.ts"
import { encodeNewTask } from "../task/record.ts"
import {
  encodeSchedule,
  encodeState,
  firstLineOf,
  idOfRun,
  readSchedule,
  type StoredSchedule,
  scoreOf,
  startOf,
} from "../task/schedule.ts"
import type { NewTask } from "../task/task.ts"
import type { QueueDefaults } from "./defaults.ts"
import type { OutcomeRecorder } from "./outcomes.ts"
import { Pace } from "./pace.ts"
import type { Sweeper } from "./sweeper.ts"

/** How many due schedules one read returns, and how many reads follow each other before the queue is swept again. */
const MAX_READ = 50
const MAX_READS = 4
/** How many tasks one call creates: about 0.1 ms of Redis' time. If work is late, calls are larger, as they then cost less. */
const PER_CALL = 10
const MAX_PER_CALL = 50
/** How many tasks a broker creates for schedules, in all queues: 10,000 in 1.7 s. */
const PER_SECOND = 6_000
/** Schedules that are later than this run at twice the rate. */
const LATE_MS = 1_750
/**
 * How long a queue is left to another broker that fires its schedules, so that all brokers together keep the rate. It is
 * short, because that broker may die.
 */
const LEFT_MS = 200
/** The delay after an error, for example while Redis is down. */
const RETRY_MS = 500

/** How long runs are computed before requests get their turn: after an outage a schedule may have missed thousands of times. */
const MAX_COMPUTE_MS = 5

interface FiringParts {
  scripts: Scripts
  counters: Counters
  outcomes: OutcomeRecorder
  events: EventWriter
  sweeper: Sweeper
  defaults: QueueDefaults
  log: Log
  options: BrokerDefaults & { doneRetentionMs: number; idempotencyTtlMs: number }
}

/** One run of a schedule as the script takes it, and the task that it creates. */
interface Fire {
  schedule: string
  start: number
  run: Run
  task: NewTask | undefined
  item: Item<"scheduleFire">
}

export class ScheduleFiring {
  readonly #log: Log
  readonly #pace = new Pace(PER_SECOND)
  /** The queues whose schedules this broker fires now. */
  readonly #queues = new Set<string>()
  /** The queues whose last call failed, which the log has. */
  readonly #failing = new Set<string>()

  constructor(private readonly parts: FiringParts) {
    this.#log = rateLimited(parts.log)
  }

  /** Begins to fire schedules of a queue that are due, then sweeps it again. No sweep waits for this, as it may take seconds. */
  startDue(queue: string): void {
    if (this.#queues.has(queue)) return
    this.#queues.add(queue)
    void this.fireDue(queue)
      .catch(() => RETRY_MS)
      .then(ms => {
        this.#queues.delete(queue)
        this.parts.sweeper.sweepIn(queue, ms)
      })
  }

  /** Fires schedules of a queue that are due. Returns in how many ms a sweep should look for more. */
  async fireDue(queue: string): Promise<number> {
    for (let reads = 0; reads < MAX_READS; reads++) {
      const read = await this.parts.scripts.call("schedulesDue", queue, { limit: MAX_READ })
      const [now, names] = read
      for await (const fires of this.#callsOf(queue, read)) {
        const isLate = now - fires[0]!.start > LATE_MS
        await this.#pace.take(isLate ? fires.length / 2 : fires.length)
        const stale = await this.#fire(queue, fires)
        if (stale >= fires.length / 2) return LEFT_MS * (0.5 + Math.random())
      }
      if (names.length < MAX_READ) break
    }
    return 0
  }

  /** The runs of schedules that were read, for one call at a time. Each call is computed after the one before. */
  async *#callsOf(queue: string, [now, names, texts]: Replies["schedulesDue"]): AsyncGenerator<Fire[]> {
    let fires: Fire[] = []
    let size = this.#sizeOfCall()
    let computingSince = performance.now()
    for (const [i, name] of names.entries()) {
      const text = texts[i] ?? ""
      const schedule = readSchedule(text)
      if (schedule === undefined) {
        await this.#setAside(queue, name, text)
        continue
      }
      try {
        fires.push(...this.#firesOf(queue, name, schedule, now))
      } catch (error) {
        await this.#pauseBroken(queue, name, schedule, now, error)
      }
      if (performance.now() - computingSince > MAX_COMPUTE_MS) {
        await pause(0)
        computingSince = performance.now()
      }
      while (fires.length >= size) {
        yield fires.slice(0, size)
        fires = fires.slice(size)
        size = this.#sizeOfCall()
        computingSince = performance.now()
      }
    }
    if (fires.length > 0) yield fires
  }

  #sizeOfCall = () => Math.min(Math.max(PER_CALL, this.#pace.behind(performance.now())), MAX_PER_CALL)

  /** Creates a task of a schedule now. Does not change when the schedule runs. */
  async fireNow(
    queue: string,
    name: string,
    schedule: StoredSchedule,
    at: number,
    idempotency: NewTask["idempotency"],
  ): Promise<{ code: CodeOf<"scheduleFire">; id: string }> {
    const fire = this.#fireOf(
      queue,
      name,
      schedule,
      { planned: at, at, missed: 0, next: undefined },
      idempotency,
    )
    const item = { ...fire.item, planned_at: "" }
    const [answer] = await this.#call(queue, [{ ...fire, item }], true)
    const [code, id, createdAt, cancelled] = answer!
    if (cancelled !== null) this.#recordCancelled(queue, cancelled)
    if (code === "fired") this.#recordFired(queue, fire, createdAt)
    return { code, id: joinId(queue, id) }
  }

  #firesOf(queue: string, name: string, schedule: StoredSchedule, now: number): Fire[] {
    const { definition, planned } = schedule
    const delayOf = (at: number) => startOf(name, at, definition.jitter_ms) - at
    return dueRuns(definition, planned, now, definition.on_missed ?? "one", delayOf).map(run =>
      this.#fireOf(queue, name, schedule, run),
    )
  }

  #fireOf(
    queue: string,
    name: string,
    schedule: StoredSchedule,
    run: Run,
    idempotency?: NewTask["idempotency"],
  ): Fire {
    const { defaults, options } = this.parts
    const { definition, payload, version } = schedule
    const id = joinId(queue, name)
    const { meta, traceparent, tracestate } = definition.task
    const members = { meta, traceparent, tracestate, schedule: id, planned_at: run.at }
    const memberJson = JSON.stringify(members).slice(1, -1)
    const task =
      run.at === undefined
        ? undefined
        : {
            ...newTask(queue, definition.task, payload, memberJson, defaults.of(queue), options),
            idempotency,
          }
    const encoded = task === undefined ? { body: "", large: "", options: "" } : encodeNewTask(task)
    return {
      schedule: id,
      start: startOf(name, run.planned, definition.jitter_ms),
      run,
      task,
      item: {
        name,
        version,
        planned_at: run.planned,
        next_at: run.next ?? 0,
        score: run.next === undefined ? "+inf" : startOf(name, run.next, definition.jitter_ms),
        missed: run.missed,
        at: run.at ?? "",
        overlap: definition.on_overlap ?? "allow",
        ...encoded,
      },
    }
  }

  /** `mustReplicate`: a client gets the result. A planned run needs no replicas: if a failover loses it, it is due again. */
  async #call(queue: string, fires: readonly Fire[], mustReplicate: boolean): Promise<FireAnswer[]> {
    const { scripts, options } = this.parts
    const kept = { retention: options.doneRetentionMs, ttl: options.idempotencyTtlMs }
    const items = fires.map(({ item }) => item)
    const answer = await scripts.call("scheduleFire", queue, kept, items, mustReplicate)
    if (typeof answer !== "number") return answer
    return fires.map(({ item, run }) => ["fired", idOfRun(String(item.name), run.at!), answer, null])
  }

  /** Returns with how many of them another broker was first. */
  async #fire(queue: string, fires: readonly Fire[]): Promise<number> {
    const { counters } = this.parts
    const results = counters.scheduleFires
    let stale = 0
    for (const [i, [code, , at, cancelled]] of (await this.#tryCall(queue, fires)).entries()) {
      const fire = fires[i]!
      const { schedule, run, start } = fire
      if (cancelled !== null) this.#recordCancelled(queue, cancelled)
      switch (code) {
        case "fired":
        case "exists":
          results.fired++
          counters.scheduleLag.observe(Math.max(0, at - start) / 1_000)
          if (code === "fired") this.#recordFired(queue, fire, at)
          break
        case "skipped":
        case "duplicate":
          results[code]++
          this.parts.events.publishQueueEvent("schedule_skipped", queue, {
            schedule,
            planned_at: run.at!,
          })
          break
        case "full_depth":
        case "full_bytes":
        case "full_group":
          results.full++
          continue
        case "stale":
          stale++
          continue // another broker was first, or the schedule was changed
        case "missed":
          break
        case "replayed":
        case "conflict":
          throw new Error(`A planned run has no idempotency key, but the script answered ${code}.`)
        default:
          throw code satisfies never
      }
      if (run.missed > 0) this.#recordMissed(queue, schedule, run.missed)
    }
    return stale
  }

  async #tryCall(queue: string, fires: readonly Fire[]) {
    try {
      const answer = await this.#call(queue, fires, false)
      this.#failing.delete(queue)
      return answer
    } catch (error) {
      this.parts.counters.scheduleFires.failed += fires.length
      if (!this.#failing.has(queue))
        this.#log.warn("Schedules could not create their tasks; the broker tries again", { queue, error })
      this.#failing.add(queue)
      throw error
    }
  }

  #recordFired(queue: string, { schedule, task, run, item }: Fire, at: number): void {
    const { outcomes, sweeper } = this.parts
    const id = joinId(queue, idOfRun(String(item.name), run.at!))
    outcomes.recordSubmitted(id, "queued", task!, at, { schedule, planned_at: run.at! })
    if (task!.expiresInMs !== undefined) sweeper.sweepIn(queue, task!.expiresInMs)
  }

  #recordCancelled(queue: string, [id, code, attempt, at]: CancelledRun): void {
    if (code === "cancelled" || code === "cancelling")
      this.parts.outcomes.publish(code, joinId(queue, id), { at, attempt })
  }

  #recordMissed(queue: string, schedule: string, missed: number): void {
    this.parts.counters.scheduleFires.missed += missed
    this.parts.events.publishQueueEvent("schedule_missed", queue, { schedule, missed })
    this.#log.warn("Planned runs of a schedule were missed: no broker ran in time, or there was no room", {
      schedule,
      missed,
    })
  }

  /** Removes a planned time without a schedule. A text that cannot be read stays, and never runs. */
  async #setAside(queue: string, name: string, text: string): Promise<void> {
    await this.parts.scripts.call("scheduleSet", queue, {
      name,
      before: firstLineOf(text),
      text,
      score: "+inf",
    })
    if (text !== "")
      this.#log.error("A schedule cannot be read, so it does not run", { schedule: joinId(queue, name) })
  }

  /** Pauses a schedule whose times cannot be computed, so that it does not hold up the others. */
  async #pauseBroken(
    queue: string,
    name: string,
    schedule: StoredSchedule,
    now: number,
    error: unknown,
  ): Promise<void> {
    const pauseReason = `Its next time cannot be computed: ${error instanceof Error ? error.message : error}`
    const paused = { ...schedule, version: schedule.version + 1, planned: 0, paused: now, pauseReason }
    await this.parts.scripts.call("scheduleSet", queue, {
      name,
      before: encodeState(schedule),
      text: encodeSchedule(paused),
      score: scoreOf(name, paused),
    })
    const id = joinId(queue, name)
    this.#log.error("The broker paused a schedule that cannot run", { schedule: id, reason: pauseReason })
    this.parts.events.publishQueueEvent("schedule_paused", queue, { schedule: id, reason: pauseReason })
  }
}
