/** What came of calls: counted for /metrics, told to those who listen, and logged where somebody should look. */

import { type Fields, type Log, rateLimited } from "../log.ts"
import type { Counters } from "../observe/counters.ts"
import type { EventWriter } from "../observe/event-writer.ts"
import { joinId, queueOf } from "../task/id.ts"
import { leaseAgeMs } from "../task/lease-token.ts"
import type { Leased, NewTask, Settled, Settlement, Task } from "../task/task.ts"
import type { EventName } from "../wire/events.ts"

const SUBMITS = { queued: "submitted", scheduled: "scheduled" } as const
const ENDS = {
  ...{ acknowledged: "done", requeued: "failed", moved_to_dlq: "failed" },
  ...{ released: "released", cancelled: "cancelled" },
} as const satisfies Record<Settled["code"], EventName>
/** Of an error, in a line of the log. */
const ERROR_CHARACTERS = 200

/** What a script made of an attempt's end, and when that was. `reason`: of what is dead now. */
interface End extends Pick<Settled, "code" | "retries"> {
  state: Task["state"]
  reason: string | undefined
  now: number
}

export class OutcomeRecorder {
  readonly #log: Log

  constructor(
    private readonly measures: Counters,
    private readonly events: EventWriter,
    log: Log,
  ) {
    this.#log = rateLimited(log)
  }

  submitted(id: string, code: keyof typeof SUBMITS, { queue, type }: NewTask): void {
    this.measures.forQueue(queue).submitted++
    // Asked first, here and below: most of a flood is not told, and then nothing is to be made for it.
    if (this.events.admits(SUBMITS[code], queue))
      this.events.publishTaskEvent(SUBMITS[code], queue, id, { type })
  }

  leased(queue: string, tasks: readonly Leased[]): void {
    const measures = this.measures.forQueue(queue)
    measures.leased += tasks.length
    for (const { attempt, waitedMs } of tasks) if (attempt === 1) measures.wait.observe(waitedMs / 1_000)
    if (!this.events.active) return
    for (const { id, type, worker, attempt } of tasks)
      if (this.events.admits("leased", queue))
        this.events.publishTaskEvent("leased", queue, id, {
          ...{ type: plain(type), attempt },
          ...(worker === "?" ? {} : { worker }),
        })
  }

  /** An attempt has ended as its worker said. A repeated ack is told twice. `asked`: what the log is to say of who asks. */
  settled(
    settlement: Settlement,
    { code, retries, state, reason, now }: End,
    asked: () => Fields = () => ({}),
  ): void {
    const { id, lease, text, outcome } = settlement
    const queue = queueOf(id)
    const died = code === "moved_to_dlq" || (code === "released" && state === "dead")
    this.#count(queue, code, lease, now)
    if (died) {
      this.measures.forQueue(queue).dead++
      this.#logDead(settlement, retries, reason, asked())
    }
    if (!this.events.active) return
    const attempt = () => (lease === undefined ? {} : { attempt: Number.parseInt(lease, 10) })
    if (this.events.admits(ENDS[code], queue))
      this.events.publishTaskEvent(ENDS[code], queue, id, {
        ...attempt(),
        ...(outcome === "failed" && text ? { error: text } : {}),
      })
    if (died) this.#tell("dead", queue, id, { ...attempt(), ...(reason === undefined ? {} : { reason }) })
  }

  /** What time did to tasks of a queue, as a lease or a sweep has found; `timeouts` as lua/lease.lua describes them. */
  recordTimeouts(queue: string, lapsed: number, died: number, timeouts: readonly string[] = []): void {
    const measures = this.measures.forQueue(queue)
    measures.lapsed += lapsed
    measures.dead += died
    for (const line of timeouts) {
      const [event, reason, attempt, worker, localId] = line.split(" ") as [EventName, ...string[]]
      const facts = {
        ...(event === "cancelled" ? {} : { reason }),
        attempt: Number(attempt),
        ...(worker === "?" ? {} : { worker }),
      }
      const id = joinId(queue, localId!)
      if (event === "lapsed") this.#log.warn("A lease has lapsed", { task_id: id, queue, ...facts })
      else if (event === "dead") this.#log.warn("A task is dead", { task_id: id, queue, ...facts })
      this.#tell(event, queue, id, facts)
    }
  }

  /** What is only told. */
  publish(event: EventName, id: string): void {
    this.#tell(event, queueOf(id), id)
  }

  #tell(
    event: EventName,
    queue: string,
    id: string,
    facts?: Parameters<EventWriter["publishTaskEvent"]>[3],
  ): void {
    if (this.events.admits(event, queue)) this.events.publishTaskEvent(event, queue, id, facts)
  }

  #count(queue: string, code: Settled["code"], lease: string | undefined, now: number): void {
    const measures = this.measures.forQueue(queue)
    if (code === "cancelled") return
    if (code === "released") {
      measures.released++
      return
    }
    if (code === "acknowledged") measures.done++
    else measures.failed++
    const ranMs = lease === undefined ? undefined : leaseAgeMs(lease, now)
    if (ranMs !== undefined) measures.run.observe(ranMs / 1_000)
  }

  #logDead({ id, text = "" }: Settlement, retries: number, reason: string | undefined, asked: Fields): void {
    // What is released has no text.
    const error = text.split("\n", 1)[0]!.slice(0, ERROR_CHARACTERS) || undefined
    const fields = { task_id: id, queue: queueOf(id), reason, error, retries }
    this.#log.warn("A task is dead", { ...fields, ...asked })
  }
}

/** A type out of its JSON text; of one that is spoilt the text: it must not keep others from their tasks. */
function plain(type: string): string {
  try {
    return JSON.parse(type)
  } catch {
    return type
  }
}
