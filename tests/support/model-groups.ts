/** The part of the model that is about groups: their lists, turns and slots. */
import type { ModelTask } from "./model.ts"

export interface GroupLimits {
  concurrency?: number
  order?: "strict"
  on_dead?: "block"
}

type Member = Pick<ModelTask, "id" | "group" | "priority">

export class ModelGroups {
  limits: GroupLimits = {}
  /** By entry, a priority and a group. May contain stale ids. */
  readonly lists = new Map<string, string[]>()
  readonly held = new Set<string>()
  readonly busy = new Map<string, Set<string>>()
  readonly paused = new Set<string>()
  /** Groups that a worker has asked to hold. */
  readonly asked = new Set<string>()
  /** What the current call has collected. */
  readonly #pushed = new Map<string, { head: string[]; tail: string[] }>()
  readonly #left: Member[] = []
  readonly #freed = new Set<string>()
  readonly #turns: string[] = []
  /** Groups of which the current call has leased a task. */
  readonly #leased = new Set<string>()
  /** Whether the time has come to look at all held turns. */
  isTime = false

  /** `line`: the ready lists by priority, in which the turns stand. */
  constructor(readonly line: Map<number, string[]>) {}

  get isStrict(): boolean {
    return this.limits.order === "strict"
  }

  get blocks(): boolean {
    return this.isStrict && this.limits.on_dead === "block"
  }

  push({ id, group, priority }: Member, front: boolean): void {
    const keepsSlot = this.#busy(group).has(id) && !this.#left.some(left => left.id === id)
    const atHead = front || keepsSlot
    const entry = `${priority}${group}`
    const pushed = this.#pushed.get(entry) ?? { head: [], tail: [] }
    this.#pushed.set(entry, pushed)
    ;(atHead ? pushed.head : pushed.tail).push(id)
    if (atHead) this.#freed.add(group)
  }

  enter({ id, group }: Member): void {
    if (group !== "") this.#busy(group).add(id)
  }

  leave(task: Member): void {
    if (task.group === "") return
    this.#left.push(task)
    this.#freed.add(task.group)
  }

  /** Lets every held turn be looked at again. */
  lookAgain(group: string): void {
    this.#freed.add(group)
  }

  /** Looks at the held turns whose time has come. */
  lookAtTimes(): void {
    if (this.isTime) for (const entry of [...this.held].sort()) this.#look(entry)
    this.isTime = false
  }

  #look(entry: string): void {
    if (!this.held.has(entry) || this.#room(entry) === 0) return
    this.held.delete(entry)
    this.#turns.push(entry)
  }

  /** The writes at the end of a call. */
  commit(): void {
    this.#leased.clear()
    for (const { id, group } of this.#left.splice(0)) this.#busy(group).delete(id)
    for (const [entry, { head, tail }] of this.#pushed) {
      const before = this.lists.get(entry) ?? []
      this.lists.set(entry, [...head, ...before, ...tail])
      if (before.length === 0 && !this.held.has(entry)) this.#turns.push(entry)
    }
    this.#pushed.clear()
    for (const group of this.#freed)
      for (let priority = 9; priority >= 0; priority--) this.#look(`${priority}${group}`)
    this.#freed.clear()
    for (const entry of this.#turns.splice(0)) this.#stand(entry)
  }

  /** Serves turns in rounds of one task each, `tasks` in total; each turn then goes back to the line or is held. */
  serve(
    turns: string[],
    priority: number,
    tasks: number,
    handOut: (id: string, group: string) => boolean,
  ): void {
    const entries = turns.map(group => `${priority}${group}`)
    const taken = entries.map((entry, i) => {
      const share = Math.floor(tasks / turns.length) + (i < tasks % turns.length ? 1 : 0)
      const room = this.#room(entry)
      const ids = this.lists.get(entry)?.splice(0, Math.min(share, room)) ?? []
      return ids
    })
    const leased = turns.map(() => 0)
    for (let round = 0; taken.some(ids => ids.length > round); round++)
      for (const [i, ids] of taken.entries())
        if (ids[round] !== undefined && handOut(ids[round]!, turns[i]!)) leased[i]!++
    const order = [...entries.keys()].sort((a, b) => leased[a]! - leased[b]! || a - b)
    for (const i of order) {
      const entry = entries[i]!
      if (leased[i]! > 0) this.#leased.add(turns[i]!)
      if (this.lists.get(entry)?.length === 0) this.lists.delete(entry)
      else if (this.#room(entry) > 0) this.#stand(entry)
      else this.held.add(entry)
    }
  }

  /** Removes all ids of a ready list, and those of the groups that stand in it. */
  purgeLine(priority: number): string[] {
    const line = this.line.get(priority)?.splice(0) ?? []
    return line.flatMap(id => (id.startsWith("=") ? this.#drain(`${priority}${id.slice(1)}`) : [id]))
  }

  purgeHeld(): string[] {
    const entries = [...this.held]
    this.held.clear()
    return entries.flatMap(entry => this.#drain(entry))
  }

  #drain(entry: string): string[] {
    const ids = this.lists.get(entry) ?? []
    this.lists.delete(entry)
    return ids
  }

  #busy(group: string): Set<string> {
    const ids = this.busy.get(group) ?? new Set()
    this.busy.set(group, ids)
    return ids
  }

  #stand(entry: string): void {
    const priority = Number(entry[0])
    const list = this.line.get(priority) ?? []
    this.line.set(priority, list)
    list.push(`=${entry.slice(1)}`)
  }

  #room(entry: string): number {
    const group = entry.slice(1)
    const busy = this.#busy(group)
    if (this.isStrict && this.#leased.has(group)) return 0
    if (this.paused.has(group) || this.asked.has(group)) return 0
    if (this.isStrict) return busy.size === 0 || busy.has(this.lists.get(entry)?.[0] ?? "") ? 1 : 0
    return Math.max(0, (this.limits.concurrency ?? Number.POSITIVE_INFINITY) - busy.size)
  }
}
