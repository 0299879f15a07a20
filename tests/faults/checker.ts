import { joinId } from "../../lib/task/id.ts"
import { disorderOf, type SeenEvent } from "./event-watch.ts"
import { judgeGroups } from "./group-checks.ts"
import type { Acked, Entry } from "./history.ts"
import { type Batch, idOf, uniqueKeyOf } from "./workload.ts"

export const CHECKS = [
  "lost",
  "unexpected",
  "made twice",
  "doubled",
  "old lease",
  "two leases",
  "attempts",
  "over budget",
  "after its end",
  "unique",
  "not run",
  "answered otherwise",
  "one state",
  "counts",
  "charged",
  "event order",
  "group limit",
  "group order",
] as const
export type Check = (typeof CHECKS)[number]

/** The only violations that can result from a write that Redis accepted and then lost. */
export const OF_LOSS: ReadonlySet<Check> = new Set([
  "lost",
  "made twice",
  "doubled",
  "old lease",
  "two leases",
  "attempts",
  "after its end",
  "unique",
  "answered otherwise",
  "one state",
  "counts",
  "event order",
  "group limit",
  "group order",
])

export interface Violation {
  check: Check
  n: number
  what: string
}

/** A task as /tasks lists it at the end. */
export interface Listed {
  n: number
  id: string
  status: string
  reason: string | undefined
  attempt: number
  retries: number
  crashes: number
  releases: number
  /** By the clock of Redis; undefined if it has not ended. */
  finishedAt: number | undefined
}

export interface Ending {
  /** Whether done tasks are kept, so that each must be listed. */
  complete: boolean
  resultTtlMs: number
  /** Whether the faults only lost replies of Redis to brokers. Then no attempt counts as a crash unless a worker received it. */
  losesOnlyReplies: boolean
  /** Whether there were failovers, which may revert a lapse: no client waits for its replication. It then happens again. */
  failsOver: boolean
}

interface Grant {
  id: string
  lease: string
  attempt: number
  granted: number
  expires: number
}

/** The answers to one outcome of one lease. */
interface Settling {
  lease: string
  outcome: string
  firstCall: number
  answers: { at: number; word: string }[]
}

export interface TaskRecord {
  batch: Batch | undefined
  ids: Set<string>
  /** How many submits of the task were sent, and how many of those were certainly refused. */
  sent: number
  refused: number
  /** How many of these named another task that holds the unique key. */
  duplicates: number
  /** When it was first sent, and first confirmed. */
  sentAt: number
  keptAt: number
  grants: Grant[]
  settlings: Settling[]
  ran: Map<string, number>
  cancels: { at: number; word: string }[]
  /** When its cancellation and its retry from the dead-letter queue were first requested. */
  cancelAt: number
  redriveAt: number
  listed: Listed[]
  events: SeenEvent[]
}

/** Refusals after which the task was certainly not stored. After every other retryable refusal it may be stored. */
const NOT_KEPT = new Set(["!out_of_memory", "!overloaded"])
const MAYBE = new Set(["!redis_unavailable", "!not_replicated", "!internal", "!unknown", "!not_ready"])
const TERMINAL = new Set(["acknowledged", "moved_to_dlq", "cancelled"])
const STATUS_OF: Record<string, string> = {
  acknowledged: "done",
  moved_to_dlq: "dead",
  cancelled: "cancelled",
}
const attemptOf = (lease: string) => Number.parseInt(lease, 10)
const accepted = (word: string) => !word.startsWith("!")

export interface Counts {
  tasks: number
  kept: number
  recovered: number
  /** Submits without an answer that created no task. */
  vanished: number
  /** Submits that created no task, because another task held the unique key. */
  duplicates: number
  done: number
  dead: number
  cancelled: number
  handedOut: number
  /** Leases of a task after its first. */
  again: number
  runs: number
  runsAgain: number
  lapsed: number
  lateAcksRefused: number
  /** Tasks whose end was not observed: the answer to the ack was lost, and the task was deleted before the ack was repeated. */
  unseen: number
  /** Events of tasks that were received and judged. */
  events: number
  calls: number
  unanswered: number
}

/** Everything recorded about the tasks of one slice: those whose number modulo `slices` is `slice`. */
export class Ledger {
  readonly #tasks = new Map<number, TaskRecord>()
  readonly #refusals = new Map<string, number>()
  calls = 0
  unanswered = 0
  /** Calls that may have reached a broker, whose answers did not arrive. */
  #withoutAnswer = 0

  constructor(
    readonly slice: number,
    readonly slices: number,
  ) {}

  /** How often each refusal occurred. */
  get refusals(): Record<string, number> {
    return Object.fromEntries(this.#refusals)
  }

  #recordOf(n: number): TaskRecord | undefined {
    if (n >= 0 && n % this.slices !== this.slice) return undefined
    let record = this.#tasks.get(n)
    if (record === undefined) {
      record = {
        batch: undefined,
        ids: new Set(),
        sent: 0,
        refused: 0,
        duplicates: 0,
        sentAt: Number.POSITIVE_INFINITY,
        keptAt: Number.POSITIVE_INFINITY,
        grants: [],
        settlings: [],
        ran: new Map(),
        cancels: [],
        cancelAt: Number.POSITIVE_INFINITY,
        redriveAt: Number.POSITIVE_INFINITY,
        listed: [],
        events: [],
      }
      this.#tasks.set(n, record)
    }
    return record
  }

  /** Reads the history of one process. */
  async read(entries: AsyncIterable<Entry>): Promise<void> {
    const batches = new Map<number, Batch>()
    const acks = new Map<number, Acked[]>()
    const cancels = new Map<number, number>()
    for await (const entry of entries) {
      switch (entry[0]) {
        case "submit": {
          const batch = entry[3]
          batches.set(entry[2], batch)
          for (let i = 0; i < batch.count; i++) {
            const record = this.#recordOf(batch.from + i)
            if (record === undefined) continue
            record.batch = batch
            record.sent++
            record.sentAt = Math.min(record.sentAt, entry[1])
          }
          break
        }
        case "submitted":
          this.calls++
          this.#submitted(batches.get(entry[2])!, entry[1], entry[3])
          batches.delete(entry[2])
          break
        case "leased":
          this.calls++
          for (const [n, id, lease, granted, expires] of entry[2]) {
            const record = this.#recordOf(n)
            record?.ids.add(id)
            record?.grants.push({ id, lease, attempt: attemptOf(lease), granted, expires })
          }
          break
        case "ran":
          for (const [n, lease] of entry[2]) this.#recordOf(n)?.ran.set(lease, entry[1])
          break
        case "extended":
          for (const [n, lease, expires] of entry[2]) {
            const grant = this.#recordOf(n)?.grants.find(grant => grant.lease === lease)
            if (grant !== undefined) grant.expires = Math.max(grant.expires, expires)
          }
          break
        case "ack":
          acks.set(entry[2], entry[3])
          for (const [n, , lease, outcome] of entry[3]) {
            const record = this.#recordOf(n)
            if (record === undefined) continue
            const settling = settlingOf(record, lease, outcome)
            settling.firstCall = Math.min(settling.firstCall, entry[1])
          }
          break
        case "acked":
          this.calls++
          acks.get(entry[2])!.forEach(([n, , lease, outcome], i) => {
            const record = this.#recordOf(n)
            const word = entry[3][i]!
            if (word.startsWith("!")) this.#refusal(word)
            if (record !== undefined && !MAYBE.has(word) && word !== "!overloaded")
              settlingOf(record, lease, outcome).answers.push({ at: entry[1], word })
          })
          acks.delete(entry[2])
          break
        case "cancel": {
          cancels.set(entry[2], entry[3])
          const record = this.#recordOf(entry[3])
          if (record !== undefined) record.cancelAt = Math.min(record.cancelAt, entry[1])
          break
        }
        case "redrive": {
          const record = this.#recordOf(entry[3])
          if (record !== undefined) record.redriveAt = Math.min(record.redriveAt, entry[1])
          break
        }
        case "redriven":
          this.calls++
          break
        case "cancelled":
          this.calls++
          this.#recordOf(cancels.get(entry[2])!)?.cancels.push({ at: entry[1], word: entry[3] })
          break
        case "unanswered": {
          this.unanswered++
          this.calls++
          if (entry[3] === "no answer") this.#withoutAnswer++
          const batch = batches.get(entry[2])
          if (batch !== undefined && NOT_KEPT.has(entry[3]))
            for (let i = 0; i < batch.count; i++) {
              const record = this.#recordOf(batch.from + i)
              if (record !== undefined) record.refused++
            }
          this.#refusal(entry[3])
          break
        }
        case "answered":
          this.calls++
          break
        default:
          throw entry satisfies never
      }
    }
  }

  #refusal(word: string): void {
    this.#refusals.set(word, (this.#refusals.get(word) ?? 0) + 1)
  }

  #submitted(batch: Batch, at: number, answers: readonly string[]): void {
    answers.forEach((answer, i) => {
      if (answer.startsWith("!")) this.#refusal(answer)
      const n = batch.from + i
      const record = this.#recordOf(n)
      if (record === undefined || MAYBE.has(answer)) return
      if (answer.startsWith("!")) record.refused++
      else if (answer.startsWith("=")) record.duplicates++
      else {
        record.keptAt = Math.min(record.keptAt, at)
        record.ids.add(answer === "" ? joinId(batch.queue, idOf(n)) : answer)
      }
    })
  }

  list(task: Listed): void {
    const record = this.#recordOf(task.n)
    record?.ids.add(task.id)
    record?.listed.push(task)
  }

  /** Adds the events of the tasks that were read before. */
  see(events: readonly SeenEvent[]): void {
    const byTask = Map.groupBy(events, ({ task }) => task)
    for (const record of this.#tasks.values())
      for (const id of record.ids) record.events.push(...(byTask.get(id) ?? []))
  }

  /** Calls `wrong` for each violation of a guarantee. */
  judge(given: Ending, counts: Counts, wrong: (violation: Violation) => void): void {
    // If a worker gave up waiting for an answer, the tasks in it rightly count crashes, but it is unknown which tasks these are.
    const ending = { ...given, losesOnlyReplies: given.losesOnlyReplies && this.#withoutAnswer === 0 }
    for (const [n, record] of this.#tasks)
      judge(n, record, ending, counts, (check, what) => wrong({ check, n, what }))
    this.#judgeUnique(wrong)
    judgeGroups(this.#tasks, wrong)
  }

  /** Among tasks with the same unique key, each must have been able to end before the next was created. */
  #judgeUnique(wrong: (violation: Violation) => void): void {
    const unique = [...this.#tasks].filter(([, { batch, keptAt }]) => batch?.unique && keptAt < Infinity)
    const byKey = Map.groupBy(unique, ([n, { batch }]) => `${batch!.queue} ${uniqueKeyOf(n)}`)
    for (const same of byKey.values())
      for (const [n, { keptAt, ...record }] of same)
        for (const [other, { sentAt, keptAt: made }] of same)
          if (sentAt > keptAt && made < mayEndAt(record, keptAt))
            wrong({
              check: "unique",
              n,
              what: `task ${other} with the same unique key was created before it had ended`,
            })
  }
}

/** The earliest time at which it can have ended: its end was answered, or a lease lapsed. */
function mayEndAt(
  { batch, settlings, grants, cancelAt, listed }: Omit<TaskRecord, "keptAt">,
  keptAt: number,
): number {
  return Math.min(
    cancelAt,
    // Leases whose answers were lost lapse too, and only Redis knows them.
    ...listed.map(({ finishedAt = Number.POSITIVE_INFINITY }) => finishedAt),
    keptAt + (batch?.expiresMs ?? Number.POSITIVE_INFINITY) - SLACK_MS,
    ...settlings.map(({ firstCall }) => firstCall),
    ...grants.map(({ expires }) => expires),
  )
}

/** Expiry counts from the creation of a task, which may be this much earlier than the answer to its submit. */
const SLACK_MS = 10_000

function settlingOf(record: TaskRecord, lease: string, outcome: string): Settling {
  let found = record.settlings.find(settling => settling.lease === lease && settling.outcome === outcome)
  if (found === undefined) {
    found = { lease, outcome, firstCall: Number.POSITIVE_INFINITY, answers: [] }
    record.settlings.push(found)
  }
  return found
}

export const noCounts = (): Counts => ({
  tasks: 0,
  kept: 0,
  recovered: 0,
  vanished: 0,
  duplicates: 0,
  done: 0,
  dead: 0,
  cancelled: 0,
  handedOut: 0,
  again: 0,
  runs: 0,
  runsAgain: 0,
  lapsed: 0,
  lateAcksRefused: 0,
  unseen: 0,
  events: 0,
  calls: 0,
  unanswered: 0,
})

type Wrong = (check: Check, what: string) => void

function judge(n: number, record: TaskRecord, ending: Ending, counts: Counts, wrong: Wrong): void {
  const { batch, ids, sent, refused, duplicates, keptAt, grants, settlings, ran, cancels, listed } = record
  const kept = keptAt < Number.POSITIVE_INFINITY
  const exists = grants.length > 0 || listed.length > 0
  counts.tasks++
  counts.handedOut += grants.length
  counts.again += Math.max(0, grants.length - 1)
  counts.runs += ran.size
  counts.runsAgain += Math.max(0, ran.size - 1)
  if (kept) counts.kept++
  else if (exists) counts.recovered++
  else if (duplicates > 0) counts.duplicates++
  else counts.vanished++

  if (batch === undefined) {
    wrong("unexpected", `task ${n} was never submitted, but exists: ${[...ids]}`)
    return
  }
  if (exists && !kept && sent === refused + duplicates)
    wrong("unexpected", "its submit was refused, but it exists")
  if (ids.size > 1) wrong("made twice", `one submit created ${[...ids].join(" and ")}`)

  // A dead task that may have been retried ends a second time.
  const ended = (word: string) =>
    TERMINAL.has(word) && !(word === "moved_to_dlq" && record.redriveAt < Number.POSITIVE_INFINITY)
  const ends = settlings.flatMap(({ lease, answers }) => {
    const first = answers.find(({ word }) => ended(word))
    return first === undefined ? [] : [{ lease, ...first }]
  })
  const cancelledAt = Math.min(...cancels.filter(({ word }) => word === "cancelled").map(({ at }) => at))
  const cancellingAt = Math.min(...cancels.filter(({ word }) => accepted(word)).map(({ at }) => at))
  // A worker that names no lease does not repeat an ack without limit, because it might end another worker's attempt.
  // Therefore it may never learn that its ack succeeded, and after the task is deleted no request can tell.
  const unseen = settlings.some(
    ({ lease, answers }) =>
      answers[0]?.word === "!task_not_found" ||
      (lease === "" && answers.every(({ word }) => MAYBE.has(word))),
  )
  const status =
    listed[0]?.status ?? STATUS_OF[ends[0]?.word ?? ""] ?? (cancelledAt < Infinity ? "cancelled" : undefined)
  if (status === "done") counts.done++
  if (status === "dead") counts.dead++
  if (status === "cancelled") counts.cancelled++
  if (status === undefined && unseen) counts.unseen++
  const over = status === "done" || status === "dead" || status === "cancelled"
  if ((kept || exists) && !over && !(unseen && status === undefined && !ending.complete))
    wrong(
      "lost",
      `it was ${kept ? "confirmed" : "leased"} and ${status === undefined ? "is missing" : `is still ${status}`}`,
    )

  const finishers = new Set(ends.map(({ lease }) => lease))
  if (finishers.size > 1) wrong("doubled", `finished under ${[...finishers].join(" and ")}`)
  judgeLeases(record, wrong)
  counts.events += record.events.length
  const disorder = disorderOf(
    record.events,
    new Map(grants.map(({ attempt, granted }) => [attempt, granted])),
    ending.failsOver,
  )
  if (disorder !== undefined) wrong("event order", disorder)
  judgeSettlings(record, cancellingAt, ending, counts, wrong)

  const endedAt = Math.min(cancelledAt, ...ends.map(({ at }) => at))
  for (const { lease, granted } of grants)
    if (granted > endedAt)
      wrong(
        "after its end",
        `lease ${lease} was granted ${granted - endedAt} ms after the answer that the task had ended`,
      )

  const expired = keptAt + (batch.expiresMs ?? Number.POSITIVE_INFINITY)
  for (const { lease, granted } of grants)
    if (granted > expired && !(record.redriveAt < granted))
      wrong("after its end", `lease ${lease} was granted ${granted - expired} ms after the task had expired`)
  for (const { lease, granted, expires } of grants)
    if (batch.runtimeMs !== undefined && expires > granted + batch.runtimeMs)
      wrong(
        "over budget",
        `lease ${lease} lasts ${expires - granted} ms, but at most ${batch.runtimeMs} ms are allowed`,
      )

  judgeListed(record, batch, ends[0]?.word, ending, kept || exists, wrong)
}

function judgeLeases({ grants, settlings }: TaskRecord, wrong: Wrong): void {
  grants.sort((a, b) => a.attempt - b.attempt || a.granted - b.granted)
  for (let i = 1; i < grants.length; i++) {
    const [before, next] = [grants[i - 1]!, grants[i]!]
    if (before.id !== next.id) continue
    if (next.attempt === before.attempt || next.granted < before.granted)
      wrong("attempts", `lease ${before.lease} at ${before.granted}, lease ${next.lease} at ${next.granted}`)
    const acked = settlings.some(
      ({ lease, firstCall }) => (lease === before.lease || lease === "") && firstCall <= next.granted,
    )
    if (next.granted < before.expires && !acked)
      wrong(
        "two leases",
        `lease ${next.lease} was granted ${before.expires - next.granted} ms before ${before.lease} lapsed`,
      )
  }
}

function judgeSettlings(
  { grants, settlings, ran }: TaskRecord,
  cancellingAt: number,
  { resultTtlMs }: Ending,
  counts: Counts,
  wrong: Wrong,
): void {
  const acked = new Set(
    settlings.filter(({ answers }) => answers.some(({ word }) => accepted(word))).map(s => s.lease),
  )
  if (!acked.has("")) counts.lapsed += grants.filter(({ lease }) => !acked.has(lease)).length
  for (const { lease, outcome, firstCall, answers } of settlings) {
    if (answers.some(({ word }) => word === "!lease_lost")) counts.lateAcksRefused++
    const taken = answers.find(({ word }) => accepted(word))
    if (taken === undefined) continue
    const newer = grants.find(grant => grant.attempt > attemptOf(lease) && grant.granted < firstCall)
    if (newer !== undefined)
      wrong(
        "old lease",
        `the ack of ${lease} was accepted, sent ${firstCall - newer.granted} ms after ${newer.lease} was granted`,
      )
    if (outcome !== "done") continue
    const ranAt = lease === "" ? Math.min(...ran.values()) : (ran.get(lease) ?? Number.POSITIVE_INFINITY)
    if (!(ranAt <= firstCall)) wrong("not run", `it was acked as done under ${lease}, but no handler ran`)
    if (taken.word === "acknowledged" && cancellingAt < firstCall)
      wrong(
        "answered otherwise",
        `done under ${lease}, ${firstCall - cancellingAt} ms after the answer that it is being cancelled`,
      )
    const otherwise = answers.find(
      ({ word, at }) =>
        // An ack that names no lease may have arrived before the task was leased.
        !(lease === "" && at < taken.at) &&
        word !== taken.word &&
        !(word === "!task_not_found" && at - taken.at >= resultTtlMs),
    )
    if (otherwise !== undefined)
      wrong(
        "answered otherwise",
        `done under ${lease} was answered ${taken.word}, and another time ${otherwise.word}`,
      )
  }
}

function judgeListed(
  { listed, grants, settlings, redriveAt }: TaskRecord,
  batch: Batch,
  ended: string | undefined,
  { complete, losesOnlyReplies }: Ending,
  exists: boolean,
  wrong: Wrong,
): void {
  if (listed.length > 1)
    wrong("one state", `it is listed as ${listed.map(({ id, status }) => `${id} ${status}`).join(" and ")}`)
  const task = listed[0]
  if (task === undefined) {
    if (complete && exists) wrong("one state", "it is listed in no state")
    return
  }
  const { status, attempt, retries, crashes, releases, reason } = task
  if (ended !== undefined && status !== STATUS_OF[ended])
    wrong("one state", `it was answered as ${ended}, but is ${status}`)
  const spare = status === "dead" ? 1 : 0
  if (
    retries > batch.retries + (reason === "failed" ? spare : 0) ||
    crashes > batch.crashes + (reason === "crashed" || reason === "timed_out" ? spare : 0)
  )
    wrong(
      "over budget",
      `${retries} failures of ${batch.retries} allowed, ${crashes} crashes of ${batch.crashes} allowed; it is ${status}`,
    )
  if (reason === "expired" && batch.expiresMs === undefined)
    wrong("one state", "it expired, but has no expiry")
  // A retry of a dead task resets the counters but not the attempts.
  if (redriveAt < Number.POSITIVE_INFINITY) return
  const failed = new Set(
    settlings
      .filter(
        ({ outcome, answers }) =>
          outcome === "failed" && answers.some(({ word }) => accepted(word) && word !== "cancelled"),
      )
      .map(({ lease }) => lease),
  )
  if (failed.size > retries)
    wrong("counts", `${failed.size} failures were accepted, but it counts ${retries}`)
  const charged = retries + crashes + releases
  // Every attempt that a worker received is counted as failed, crashed or released, except one that succeeded or was
  // cancelled. The others are not counted if the broker knows of them.
  const received = new Set(grants.map(grant => grant.attempt)).size
  const most = status === "done" || status === "cancelled" ? charged + 1 : charged
  const least = status === "done" ? charged + 1 : charged
  const over = status === "done" || status === "dead" || status === "cancelled"
  const facts = `${attempt} attempts, ${received} received by workers; ${retries} failed, ${crashes} crashed and ${releases} were released; it is ${status}`
  if (over && (received > most || attempt < least)) wrong("counts", facts)
  if (losesOnlyReplies && least - releases > received) wrong("charged", facts)
}
