/** The model: what each command must do to the tasks of one queue, without Redis. */
import type { State } from "../../lib/wire/fields.ts"
import type { Reason } from "../../lib/wire/states.ts"
import { ModelGroups } from "./model-groups.ts"
import { ModelSchedules } from "./model-schedules.ts"

export const LATER_MS = 1_000_000_000
const MAX_RELEASES = 100

/** A submit. `id` "": the model check generates one. */
export interface SubmitRequest {
  id: string
  later: boolean
  type: string
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
  /** Further members for the worker, as JSON without braces. "": none. */
  members: string
  redact: boolean
  /** The task has a retention of its own. */
  hasTtl: boolean
  /** "": none. */
  group: string
}

/** What a submit with `replace` changes in the task that holds its unique key. */
const REPLACED = [
  "type",
  "payload",
  "priority",
  "maxRetries",
  "maxCrashes",
  "backoff",
  "limited",
  "expiring",
  "members",
  "hasTtl",
  "group",
] as const

export interface ModelTask extends SubmitRequest {
  state: State
  attempt: number
  lease: string
  /** All leases of the task, oldest first. */
  leases: string[]
  retries: number
  crashes: number
  releases: number
  checkpoint: string
  cancel: boolean
  reason?: Reason | undefined
  settled?: { lease: string; outcome: string; code: string; retries: number }
  result?: string
  /** Above 0: the timer of the task (lease, delay or retention) has expired; a higher number expired later. */
  past: number
  /** Above 0: the max_runtime of the attempt has expired. */
  overrun: number
  /** Above 0: no attempt may start any more. */
  expired: number
}

/** A settlement as the caller sends it. */
export interface Settlement {
  id: string
  lease: string
  outcome: Outcome
  retry: string
  /** The group of the task is held if the task is given back. */
  holds: boolean
  text: string
}
/** A change of a waiting task. `payload` "": keeps it. */
export interface ChangeRequest {
  payload: string
  priority: number
  when: "" | "now" | "later"
}
type Outcome = "done" | "failed" | "released"
const isWaiting = ({ state }: ModelTask) =>
  state === "queued" || state === "scheduled" || state === "retrying"
export const hasEnded = ({ state }: ModelTask) =>
  state === "done" || state === "dead" || state === "cancelled"

export class Model {
  readonly tasks = new Map<string, ModelTask>()
  /** By priority. May contain stale ids. */
  readonly ready = new Map<number, string[]>()
  readonly records = new Map<string, { print: string; id: string; code: string }>()
  readonly schedules = new ModelSchedules()
  paused = false
  readonly groups = new ModelGroups(this.ready)
  #time = 0
  /** By priority: how many tasks the current call has put at the front, where they keep their order. */
  readonly #returned = new Map<number, number>()

  /** A number higher than all before it. */
  nextTime = () => ++this.#time

  holder = (key: string) => [...this.tasks.values()].find(task => task.unique === key && !hasEnded(task))

  submit(all: SubmitRequest[]): [code: string, id: string][] {
    const answers = all.map(request => this.#submitOne(request))
    this.groups.commit()
    return answers
  }

  #submitOne(request: SubmitRequest): [code: string, id: string] {
    const { id, key, print } = request
    const stored = this.records.get(key)
    if (stored) return stored.print === print ? [`replay_${stored.code}`, stored.id] : ["conflict", id]
    if (this.tasks.has(id)) return ["exists", id]
    const holder = request.unique === "" ? undefined : this.holder(request.unique)
    if (holder) {
      if (request.replace) this.groups.commit()
      const code = request.replace && isWaiting(holder) ? "replaced" : "duplicate"
      if (key) this.records.set(key, { print, id: holder.id, code })
      if (code === "duplicate") return [code, holder.id]
      const { priority, later, group } = request
      const moves = holder.state === "queued" && (holder.priority !== priority || holder.group !== group)
      if (holder.group !== group) this.groups.leave({ ...holder })
      if (moves) this.withdraw(holder)
      for (const member of REPLACED) Object.assign(holder, { [member]: request[member] })
      Object.assign(holder, { checkpoint: "", expired: 0, redact: holder.redact || request.redact })
      if (moves) this.#makeReady(holder)
      if (holder.state === "scheduled" && later) holder.past = 0
      return [code, holder.id]
    }
    const task: ModelTask = {
      ...request,
      state: "scheduled",
      attempt: 0,
      lease: "",
      leases: [],
      checkpoint: "",
      cancel: false,
      retries: 0,
      crashes: 0,
      releases: 0,
      past: 0,
      overrun: 0,
      expired: 0,
    }
    this.tasks.set(id, task)
    if (!request.later) this.#makeReady(task)
    if (key) this.records.set(key, { print, id, code: task.state })
    return [task.state, id]
  }

  /** Removes a queued task from its list, of which the last one of a group stays. */
  withdraw({ id, priority, group }: Pick<ModelTask, "id" | "priority" | "group">): void {
    const list =
      (group === "" ? this.ready.get(priority) : this.groups.lists.get(`${priority}${group}`)) ?? []
    if (group === "" || list.length > 1) list.splice(list.lastIndexOf(id), list.includes(id) ? 1 : 0)
  }

  lease(
    tokens: string[],
  ): Pick<ModelTask, "id" | "lease" | "checkpoint" | "type" | "payload" | "members" | "retries">[] {
    this.#move()
    if (this.paused) return []
    const handed: ModelTask[] = []
    const handOut = (id: string, priority: number, group = ""): boolean => {
      const task = this.tasks.get(id)
      if (task?.state !== "queued" || task.priority !== priority || task.group !== group) return false
      const lease = `${++task.attempt}.${tokens[handed.length]}`
      task.leases.push(lease)
      this.groups.enter(task)
      handed.push(Object.assign(task, { state: "processing", lease, past: 0, overrun: 0 }))
      return true
    }
    for (const [priority, list] of [...this.ready].sort(([a], [b]) => b - a))
      while (list.length > 0 && handed.length < tokens.length) {
        const want = tokens.length - handed.length
        const popped = list.splice(0, want)
        for (const id of popped) if (!id.startsWith("=")) handOut(id, priority)
        const turns = popped.filter(id => id.startsWith("=")).map(turn => turn.slice(1))
        const count = popped.length < want ? tokens.length - handed.length : turns.length
        if (turns.length > 0)
          this.groups.serve(turns, priority, count, (id, group) => handOut(id, priority, group))
      }
    this.groups.commit()
    return handed.map(({ id, lease, checkpoint, type, payload, members, retries }) => ({
      id,
      lease,
      checkpoint,
      type,
      payload,
      members,
      retries,
    }))
  }

  settle(all: Settlement[]): [code: string, retries: number][] {
    this.#returned.clear()
    const answers = all.map(settlement => this.#settleOne(settlement))
    this.groups.commit()
    return answers
  }

  #settleOne({ id, lease, outcome, retry, holds, text }: Settlement): [code: string, retries: number] {
    const task = this.tasks.get(id)
    if (task === undefined) return ["unknown", 0]
    if (task.state !== "processing" || (lease !== "" && lease !== task.lease)) {
      const done = { lease: task.lease, outcome: "done", code: "acknowledged", retries: 0 }
      const before = task.state === "done" && outcome === "done" ? done : task.settled
      if (before && before.lease === (lease || task.lease) && before.outcome === outcome)
        return [before.code, before.retries]
      return [lease === "" ? "not_leased" : "lease_lost", 0]
    }
    if (holds && outcome !== "done" && !task.cancel && task.group !== "") this.groups.asked.add(task.group)
    const [code, retries] = this.#settle(task, outcome, retry)
    if (code === "acknowledged" && text !== "") task.result = text
    if (code !== "acknowledged") task.settled = { lease: task.lease, outcome, code, retries }
    return [code, retries]
  }

  #settle(task: ModelTask, outcome: Outcome, retry: string): [code: string, retries: number] {
    if (task.cancel) return [this.#end(task, "cancelled"), 0]
    if (outcome === "done") {
      this.#end(task, "done")
      return ["acknowledged", 0]
    }
    if (outcome === "released") {
      task.releases++
      this.#again(task, task.releases > MAX_RELEASES ? "released" : undefined, Number(retry) > 0, true)
      return ["released", 0]
    }
    task.retries++
    const final = retry === "no" || task.retries > task.maxRetries
    const delayed = retry === "" ? task.backoff !== "" : Number(retry) > 0
    return [this.#again(task, final ? "failed" : undefined, delayed), task.retries]
  }

  extend(id: string, lease: string, checkpoint: string): [code: string] {
    const task = this.tasks.get(id)
    if (task === undefined) return ["unknown"]
    if (task.state !== "processing" || lease !== task.lease) return ["lease_lost"]
    task.past = task.overrun
    if (checkpoint !== "") task.checkpoint = checkpoint
    return [task.cancel ? "cancelled" : "ok"]
  }

  cancel(id: string): [code: string] {
    const task = this.tasks.get(id)
    if (task === undefined) return ["unknown"]
    if (task.state === "done" || task.state === "dead") return ["ended"]
    if (task.state === "cancelled") return ["cancelled"]
    if (task.state !== "processing") {
      this.#end(task, "cancelled")
      this.groups.commit()
      return ["cancelled"]
    }
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
    this.groups.commit()
    return "requeued"
  }

  change(id: string, { payload, priority, when }: ChangeRequest): string {
    const task = this.tasks.get(id)
    if (task === undefined) return "unknown"
    if (!isWaiting(task)) return "not_waiting"
    if (when === "later" && task.expiring) return "expires"
    const isQueued = task.state === "queued"
    const moves = isQueued && priority !== task.priority
    if (payload !== "") Object.assign(task, { payload, checkpoint: "" })
    if (moves || (isQueued && when === "later")) this.withdraw(task)
    task.priority = priority
    if (when === "later") {
      if (isQueued) task.state = task.attempt > 0 ? "retrying" : "scheduled"
      task.past = 0
    } else if (moves || (!isQueued && when === "now")) this.#makeReady(task)
    this.groups.commit()
    return "changed"
  }

  deleteEnded(id: string, states: readonly string[]): string {
    const task = this.tasks.get(id)
    if (task === undefined) return "unknown"
    if (!states.includes(task.state)) return "kept"
    this.#delete(task)
    this.groups.commit()
    return "deleted"
  }

  /** `place`: as for lua/purge.lua. */
  purge(place: string): [looked: number, purged: number] {
    let ids: string[] | undefined
    if (/\d/.test(place)) ids = this.groups.purgeLine(Number(place))
    if (place === "held") ids = this.groups.purgeHeld()
    const there = (task: ModelTask) =>
      task.state === "queued" ? ids?.includes(task.id) : place === (isWaiting(task) ? "due" : task.state)
    const gone = [...this.tasks.values()].filter(there)
    for (const task of gone) this.#delete(task)
    this.groups.commit()
    return [ids?.length ?? gone.length, gone.length]
  }

  #delete(task: ModelTask): void {
    this.tasks.delete(task.id)
    if (task.state !== "done" && task.state !== "cancelled") this.groups.leave(task)
  }

  sweep(): void {
    const over = [...this.tasks.values()].filter(task => hasEnded(task) && task.past > 0)
    this.#move()
    for (const task of over) this.#delete(task)
    this.groups.commit()
    this.dropStale()
  }

  /** Drops ids at the heads of ready lists, and at those of the groups whose turn is there, that are not queued. */
  dropStale(): void {
    for (const [priority, list] of this.ready)
      while (list.length > 0) {
        const entry = `${priority}${list[0]!.slice(1)}`
        const ids = list[0]!.startsWith("=") ? (this.groups.lists.get(entry) ?? []) : undefined
        if (this.tasks.get((ids ?? list)[0] ?? "")?.state === "queued") break
        ids?.shift()
        if (ids?.length === 0) this.groups.lists.delete(entry)
        if (!ids?.length) list.shift()
      }
  }

  /** Runs the timers, as every sweep and lease does first: lapsed, expired, due, each in the order of time. */
  #move(): void {
    const by = (time: "past" | "expired", is: (task: ModelTask) => boolean) =>
      [...this.tasks.values()].filter(task => task[time] > 0 && is(task)).sort((a, b) => a[time] - b[time])
    const lapsed = by("past", task => task.state === "processing")
    const expired = by("expired", isWaiting)
    const due = by("past", task => task.state === "scheduled" || task.state === "retrying")
    for (const task of lapsed) {
      const reason = task.overrun > 0 ? "timed_out" : "crashed"
      if (task.cancel) this.#end(task, "cancelled")
      else this.#again(task, ++task.crashes > task.maxCrashes ? reason : undefined, task.backoff !== "")
    }
    this.groups.lookAtTimes()
    for (const task of expired) this.#end(task, "dead", "expired")
    for (const task of due) if (isWaiting(task)) this.#makeReady(task)
    this.groups.commit()
  }

  #makeReady(task: ModelTask, front = false): void {
    Object.assign(task, { state: "queued", past: 0, overrun: 0 })
    if (task.group !== "") {
      this.groups.push(task, front)
      return
    }
    const list = this.ready.get(task.priority) ?? []
    this.ready.set(task.priority, list)
    if (!front) list.push(task.id)
    else {
      const before = this.#returned.get(task.priority) ?? 0
      this.#returned.set(task.priority, before + 1)
      list.splice(before, 0, task.id)
    }
  }

  /** Starts another attempt now or later, unless the budget is spent or the task has expired. */
  #again(task: ModelTask, spent: Reason | undefined, delayed: boolean, front = false): string {
    const reason = spent ?? (task.expired > 0 ? "expired" : undefined)
    if (!reason && !this.groups.isStrict) this.groups.leave(task)
    if (reason) this.#end(task, "dead", reason)
    else if (delayed) Object.assign(task, { state: "retrying", past: 0, overrun: 0 })
    else this.#makeReady(task, front)
    return reason ? "moved_to_dlq" : "requeued"
  }

  #end(task: ModelTask, state: "done" | "dead" | "cancelled", reason?: Reason): string {
    Object.assign(task, { state, reason, past: 0, overrun: 0 })
    if (state !== "dead" || !this.groups.blocks) this.groups.leave(task)
    return state
  }
}
