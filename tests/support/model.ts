import type { Reason, State } from "../../lib/wire/fields.ts"

export const LATER_MS = 1_000_000_000
const MAX_RELEASES = 100

/** What is asked with a submit. `id` "": a new one. */
export interface Asked {
  id: string
  later: boolean
  payload: string
  priority: number
  maxRetries: number
  maxCrashes: number
  backoff: "" | "fixed" | "exponential"
  limited: boolean
  expiring: boolean
  key: string
  print: string
  unique: string
  replace: boolean
}

export interface Known extends Asked {
  state: State
  attempt: number
  lease: string
  /** All leases it ever had, this life. */
  leases: string[]
  retries: number
  crashes: number
  releases: number
  checkpoint: string
  cancel: boolean
  reason?: Reason | undefined
  settled?: { lease: string; outcome: string; word: string; retries: number }
  result?: string
  /** The time of what is set for it (the lapse, the delay's end, the retention) has come; the order of coming. */
  past: number
  /** Its hard end has come. */
  overrun: number
  /** The time has come after which no attempt may start. */
  expired: number
}

/** What an attempt's end is told as. */
export interface Said {
  id: string
  lease: string
  outcome: Outcome
  retry: string
  text: string
}
type Outcome = "done" | "failed" | "released"
const waits = ({ state }: Known) => state === "queued" || state === "scheduled" || state === "retrying"
export const ended = ({ state }: Known) => state === "done" || state === "dead" || state === "cancelled"

export class Model {
  readonly tasks = new Map<string, Known>()
  /** By priority. Ids may linger here after their tasks have left. */
  readonly ready = new Map<number, string[]>()
  readonly records = new Map<string, { print: string; id: string; word: string }>()
  paused = false
  #time = 0
  /** How many the call under way has put at the front, by priority: they keep their order there. */
  readonly #returned = new Map<number, number>()

  /** A number that comes after all before it. */
  tick = () => ++this.#time

  holder = (key: string) => [...this.tasks.values()].find(task => task.unique === key && !ended(task))

  submit(asked: Asked): [word: string, id: string] {
    const { id, key, print } = asked
    const known = this.records.get(key)
    if (known) return known.print === print ? [`replay_${known.word}`, known.id] : ["conflict", id]
    if (this.tasks.has(id)) return ["exists", id]
    const holder = asked.unique === "" ? undefined : this.holder(asked.unique)
    if (holder) {
      const word = asked.replace && waits(holder) ? "replaced" : "duplicate"
      if (key) this.records.set(key, { print, id: holder.id, word })
      if (word === "duplicate") return [word, holder.id]
      holder.payload = asked.payload
      if (holder.state === "scheduled" && asked.later) holder.past = 0
      return [word, holder.id]
    }
    const task: Known = {
      ...{ ...asked, state: "scheduled", attempt: 0, lease: "", leases: [], checkpoint: "", cancel: false },
      ...{ retries: 0, crashes: 0, releases: 0, past: 0, overrun: 0, expired: 0 },
    }
    this.tasks.set(id, task)
    if (!asked.later) this.#makeReady(task)
    if (key) this.records.set(key, { print, id, word: task.state })
    return [task.state, id]
  }

  lease(tokens: string[]): Pick<Known, "id" | "lease" | "checkpoint" | "payload" | "retries">[] {
    this.#move()
    if (this.paused) return []
    const handed: Known[] = []
    for (const [priority, list] of [...this.ready].sort(([a], [b]) => b - a))
      while (list.length > 0 && handed.length < tokens.length) {
        const task = this.tasks.get(list.shift()!)
        if (task?.state !== "queued" || task.priority !== priority) continue
        const lease = `${++task.attempt}.${tokens[handed.length]}`
        task.leases.push(lease)
        handed.push(Object.assign(task, { state: "processing", lease, past: 0, overrun: 0 }))
      }
    return handed.map(({ id, lease, checkpoint, payload, retries }) => ({
      ...{ id, lease, checkpoint, payload, retries },
    }))
  }

  settle(all: Said[]): [word: string, retries: number][] {
    this.#returned.clear()
    return all.map(said => this.#settleOne(said))
  }

  #settleOne({ id, lease, outcome, retry, text }: Said): [word: string, retries: number] {
    const task = this.tasks.get(id)
    if (task === undefined) return ["unknown", 0]
    if (task.state !== "processing" || (lease !== "" && lease !== task.lease)) {
      const done = { lease: task.lease, outcome: "done", word: "acknowledged", retries: 0 }
      const before = task.state === "done" && outcome === "done" ? done : task.settled
      if (before && before.lease === (lease || task.lease) && before.outcome === outcome)
        return [before.word, before.retries]
      return [lease === "" ? "not_leased" : "lease_lost", 0]
    }
    const [word, retries] = this.#settle(task, outcome, retry)
    if (word === "acknowledged" && text !== "") task.result = text
    if (word !== "acknowledged") task.settled = { lease: task.lease, outcome, word, retries }
    return [word, retries]
  }

  #settle(task: Known, outcome: Outcome, retry: string): [word: string, retries: number] {
    if (task.cancel) return [this.#end(task, "cancelled"), 0]
    if (outcome === "done") {
      this.#end(task, "done")
      return ["acknowledged", 0]
    }
    if (outcome === "released") {
      task.releases++
      this.#again(task, task.releases > MAX_RELEASES ? "released" : undefined, false, true)
      return ["released", 0]
    }
    task.retries++
    const final = retry === "no" || task.retries > task.maxRetries
    const delayed = retry === "" ? task.backoff !== "" : Number(retry) > 0
    return [this.#again(task, final ? "failed" : undefined, delayed), task.retries]
  }

  extend(id: string, lease: string, checkpoint: string): [word: string] {
    const task = this.tasks.get(id)
    if (task === undefined) return ["unknown"]
    if (task.state !== "processing" || lease !== task.lease) return ["lease_lost"]
    task.past = task.overrun
    if (checkpoint !== "") task.checkpoint = checkpoint
    return [task.cancel ? "cancelled" : "ok"]
  }

  cancel(id: string): [word: string] {
    const task = this.tasks.get(id)
    if (task === undefined) return ["unknown"]
    if (task.state === "done" || task.state === "dead") return ["ended"]
    if (task.state === "cancelled") return ["cancelled"]
    if (task.state !== "processing") return [this.#end(task, "cancelled")]
    task.cancel = true
    return ["cancelling"]
  }

  retryDead(id: string): string {
    const task = this.tasks.get(id)
    if (task?.state !== "dead") return "not_dead"
    if (task.unique !== "" && this.holder(task.unique)) return "duplicate"
    Object.assign(task, {
      retries: 0,
      crashes: 0,
      releases: 0,
      expiring: false,
      expired: 0,
      reason: undefined,
    })
    this.#makeReady(task)
    return "requeued"
  }

  deleteDead(id: string): string {
    if (this.tasks.get(id)?.state !== "dead") return "not_dead"
    this.tasks.delete(id)
    return "deleted"
  }

  /** Of a place as lua/purge.lua names it. */
  purge(place: string): [looked: number, purged: number] {
    const list = this.ready.get(Number(place)) ?? []
    const there = (task: Known) =>
      task.state === "queued" ? task.priority === Number(place) : place === (waits(task) ? "due" : task.state)
    const gone = [...this.tasks.values()].filter(there)
    for (const { id } of gone) this.tasks.delete(id)
    return [/\d/.test(place) ? list.splice(0).length : gone.length, gone.length]
  }

  sweep(): void {
    const over = [...this.tasks.values()].filter(task => ended(task) && task.past > 0)
    this.#move()
    for (const { id } of over) this.tasks.delete(id)
  }

  /** What every sweep and every lease begins with: lapsed, expired, due, each in the order of time. */
  #move(): void {
    const by = (time: "past" | "expired", is: (task: Known) => boolean) =>
      [...this.tasks.values()].filter(task => task[time] > 0 && is(task)).sort((a, b) => a[time] - b[time])
    const lapsed = by("past", task => task.state === "processing")
    const expired = by("expired", waits)
    const due = by("past", task => task.state === "scheduled" || task.state === "retrying")
    for (const task of lapsed) {
      const reason = task.overrun > 0 ? "timed_out" : "crashed"
      if (task.cancel) this.#end(task, "cancelled")
      else this.#again(task, ++task.crashes > task.maxCrashes ? reason : undefined, task.backoff !== "")
    }
    for (const task of expired) this.#end(task, "dead", "expired")
    for (const task of due) if (waits(task)) this.#makeReady(task)
  }

  #makeReady(task: Known, front = false): void {
    Object.assign(task, { state: "queued", past: 0, overrun: 0 })
    const list = this.ready.get(task.priority) ?? []
    this.ready.set(task.priority, list)
    if (!front) list.push(task.id)
    else {
      const before = this.#returned.get(task.priority) ?? 0
      this.#returned.set(task.priority, before + 1)
      list.splice(before, 0, task.id)
    }
  }

  /** Another attempt, now or later, unless the budget is spent or it is too late. */
  #again(task: Known, spent: Reason | undefined, delayed: boolean, front = false): string {
    const reason = spent ?? (task.expired > 0 ? "expired" : undefined)
    if (reason) this.#end(task, "dead", reason)
    else if (delayed) Object.assign(task, { state: "retrying", past: 0, overrun: 0 })
    else this.#makeReady(task, front)
    return reason ? "moved_to_dlq" : "requeued"
  }

  #end(task: Known, state: "done" | "dead" | "cancelled", reason?: Reason): string {
    Object.assign(task, { state, reason, past: 0, overrun: 0 })
    return state
  }
}
