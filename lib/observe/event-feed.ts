/**
 * Events, read: those who listen at this broker. It reads the stream that lib/observe/event-writer.ts writes once for all of them,
 * by polling, and not at all where nobody listens.
 *   1. The first to come has LISTENING set and published before it is answered: what it does next is told.
 *   2. One who comes again with the id of its last event reads on from there by itself, page by page, until it has
 *      reached the place of all the others, and then hears with them. Each has its own place, and is told only of
 *      what comes after it: nothing twice, and nothing left out.
 *   3. Where the stream does not reach back that far, or Redis was away, it is told `gap`.
 *   4. Who does not read what it is sent is cut off, and waited for by nobody. It may come again with its last id.
 */
import { Refused } from "../errors.ts"
import { EVENT_STREAM, LISTENING } from "../redis/keys.ts"
import type { Command } from "../redis/replicated.ts"
import type { EventName } from "../wire/events.ts"
import { writeEvent } from "../wire/sse.ts"

export interface EventFilter {
  /** undefined: all. */
  queues: readonly string[] | undefined
  task: string | undefined
  events: readonly EventName[] | undefined
}

const MAX_SUBSCRIBERS = 200
/** What one may leave unread, beside what the system holds for it. */
const MAX_UNREAD_BYTES = 262_144
/** How long LISTENING lives, and how often it is set anew. */
const LISTENING_MS = 80_000
const REFRESH_MS = 20_000
const POLL_MS = 100
const RETRY_POLL_MS = 500
const ENTRIES_PER_READ = 1_000
/** Bun and proxies cut what is silent; and so one whose filter matches little still has an id that the stream holds. */
const HEARTBEAT_MS = 15_000
/** When clients come again: not all of a broker's at once. */
const retryMs = () => 500 + Math.floor(Math.random() * 1_500)

interface Entry {
  id: string
  event: EventName
  queue: string
  task: string
  /** JSON. */
  data: string
}

export class EventFeed {
  readonly #subscribers = new Set<Subscriber>()
  #closed = false
  #last = "0-0"
  #began: Promise<void> | undefined
  #timers: Timer[] = []
  #poll: Timer | undefined
  /** Redis was away: things may have been missed. */
  #gap = false

  /** `heard`: somebody listens, for so many ms at least. */
  constructor(
    private readonly command: (command: Command) => Promise<unknown>,
    private readonly heard: (ms: number) => void,
  ) {}

  get size(): number {
    return this.#subscribers.size
  }

  /** What happens from now on, or has since `after`, as server-sent events until the client leaves, or `until`. */
  async listen(
    filter: EventFilter,
    after: string | undefined,
    signal: AbortSignal,
    until?: number,
  ): Promise<ReadableStream> {
    if (this.#closed) throw new Refused("overloaded", { detail: "This broker is about to end: ask another." })
    if (this.#subscribers.size >= MAX_SUBSCRIBERS)
      throw new Refused("overloaded", {
        detail: `${MAX_SUBSCRIBERS} listen to events at this broker already: ask another broker.`,
      })
    let over: Timer | undefined
    const listener = new Subscriber(filter, () => {
      clearTimeout(over)
      this.#leave(listener)
    })
    this.#subscribers.add(listener)
    try {
      this.#began ??= this.#begin()
      await this.#began
    } catch (error) {
      listener.end()
      throw error
    }
    signal.addEventListener("abort", () => listener.end())
    if (signal.aborted || this.#closed) listener.end()
    else if (until !== undefined) over = setTimeout(() => listener.end(), until - Date.now())
    listener.send(
      `retry: ${retryMs()}\n${writeEvent(after ?? this.#last, "listening", withTime(this.#last, "{}"))}`,
    )
    if (after === undefined) listener.join(this.#last)
    else void this.#catchUp(listener, after).catch(() => listener.disconnect())
    return listener.stream
  }

  /** Redis is there again, or another is. */
  onReconnect(): void {
    if (this.#subscribers.size === 0) return
    this.#gap = true
    void this.#announce().catch(() => {})
  }

  /** Ends all in order, for good. */
  close(): void {
    this.#closed = true
    for (const listener of this.#subscribers) listener.end()
  }

  async #begin(): Promise<void> {
    try {
      await this.#announce()
      this.#last = await this.#newest()
    } catch (error) {
      this.#began = undefined
      throw error
    }
    if (this.#subscribers.size === 0) return
    this.#timers = [
      setInterval(() => void this.#announce().catch(() => {}), REFRESH_MS),
      setInterval(() => this.#beat(), HEARTBEAT_MS),
    ]
    this.#pollIn(POLL_MS)
  }

  #leave(listener: Subscriber): void {
    this.#subscribers.delete(listener)
    if (this.#subscribers.size > 0) return
    for (const timer of this.#timers) clearInterval(timer)
    clearTimeout(this.#poll)
    this.#began = undefined
    this.#gap = false
  }

  /** All brokers write what happens from now on. */
  async #announce(): Promise<void> {
    if ((await this.command(["EXISTS", LISTENING])) === 0)
      await this.command([
        "XADD",
        EVENT_STREAM,
        "*",
        ...["event", "gap", "queue", "", "task", "", "data", "{}"],
      ])
    await this.command(["SET", LISTENING, "1", "PX", LISTENING_MS])
    await this.command(["PEXPIRE", EVENT_STREAM, LISTENING_MS * 2])
    this.heard(LISTENING_MS)
    await this.command(["PUBLISH", LISTENING, LISTENING_MS])
  }

  async #newest(): Promise<string> {
    const [newest] = (await this.command(["XREVRANGE", EVENT_STREAM, "+", "-", "COUNT", 1])) as RawEntry[]
    return newest?.[0] ?? "0-0"
  }

  async #after(id: string, count = ENTRIES_PER_READ): Promise<Entry[]> {
    const raw = await this.command(["XRANGE", EVENT_STREAM, `(${id}`, "+", "COUNT", count])
    return (raw as RawEntry[]).map(readEntry)
  }

  #pollIn(ms: number): void {
    clearTimeout(this.#poll)
    this.#poll = setTimeout(() => void this.#read(), ms)
  }

  async #read(): Promise<void> {
    const began = this.#began
    let next = POLL_MS
    try {
      if (this.#gap) {
        const newest = await this.#newest()
        this.#gap = false
        // Another Redis, with a clock behind: its ids would look like old ones.
        if (compare(newest, this.#last) < 0) this.#last = newest
        for (const listener of this.#subscribers) if (listener.isLive) listener.sendGap(this.#last)
      }
      const entries = await this.#after(this.#last)
      if (began !== this.#began) return
      if (entries.length > 0) this.#last = entries.at(-1)!.id
      for (const listener of this.#subscribers) if (listener.isLive) listener.deliver(entries)
      if (entries.length === ENTRIES_PER_READ) next = 0
    } catch {
      next = RETRY_POLL_MS
    }
    if (began === this.#began) this.#pollIn(next)
  }

  #beat(): void {
    for (const listener of this.#subscribers) listener.send(`:\nid: ${this.#last}\n\n`)
  }

  async #catchUp(listener: Subscriber, after: string): Promise<void> {
    const [first] = await this.#after("0-0", 1)
    const newest = await this.#newest()
    let place = after
    if (first === undefined || compare(after, first.id) < 0 || compare(after, newest) > 0) {
      if (compare(after, newest) > 0) place = newest
      // The first may say so itself.
      if (first?.event !== "gap" || place !== after) listener.sendGap(place)
    }
    listener.position = place
    // It hears with the others once it has read all that: else the next event would have it cut off.
    for (await listener.drained(); compare(place, this.#last) < 0; await listener.drained()) {
      if (listener.hasEnded) return
      const entries = await this.#after(place)
      if (entries.length === 0) break
      listener.deliver(entries)
      place = entries.at(-1)!.id
    }
    listener.join(place)
  }
}

class Subscriber {
  readonly stream: ReadableStream<Uint8Array>
  /** The id of what it was told last, or that was passed over. */
  position = "0-0"
  hasEnded = false
  /** It hears with the others. */
  isLive = false
  #controller!: ReadableStreamDefaultController<Uint8Array>
  #wanted = Promise.withResolvers<void>()
  readonly #queues: ReadonlySet<string> | undefined
  readonly #events: ReadonlySet<EventName> | undefined

  constructor(
    private readonly filter: EventFilter,
    private readonly left: () => void,
  ) {
    this.#queues = filter.queues && new Set(filter.queues)
    this.#events = filter.events && new Set<EventName>([...filter.events, "gap", "skipped"])
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: controller => {
          this.#controller = controller
        },
        pull: () => this.#wanted.resolve(),
        cancel: () => this.#leave(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: MAX_UNREAD_BYTES }),
    )
  }

  /** It has reached the others, or begins with them. */
  join(place: string): void {
    this.position = place
    this.isLive = true
  }

  /** Those that it asked for, of these and after its place. */
  deliver(entries: readonly Entry[]): void {
    let text = ""
    for (const entry of entries) {
      if (compare(entry.id, this.position) <= 0) continue
      this.position = entry.id
      const data = this.#dataOf(entry)
      if (data !== undefined) text += writeEvent(entry.id, entry.event, withTime(entry.id, data))
    }
    if (text !== "") this.send(text)
  }

  /** Something may be missing. It goes on from `place`. */
  sendGap(place: string): void {
    if (compare(place, this.position) < 0) this.position = place
    this.send(writeEvent(undefined, "gap", withTime(place, "{}")))
  }

  send(text: string): void {
    if (this.hasEnded) return
    if (this.#controller.desiredSize! > 0) this.#controller.enqueue(Buffer.from(text))
    else this.disconnect()
  }

  /** Resolves when it has read all it was sent so far. */
  async drained(): Promise<void> {
    while (!this.hasEnded && this.#controller.desiredSize! < MAX_UNREAD_BYTES) {
      this.#wanted = Promise.withResolvers()
      await this.#wanted.promise
    }
  }

  /** Ends in order. */
  end(): void {
    if (this.hasEnded) return
    this.#leave()
    this.#controller.close()
  }

  /** Drops what it has not read, and its connection. Without an error, which Bun would print. */
  disconnect(): void {
    if (this.hasEnded) return
    this.#leave()
    this.#controller.error(undefined)
  }

  #leave(): void {
    if (this.hasEnded) return
    this.hasEnded = true
    this.#wanted.resolve()
    this.left()
  }

  /** What it is told of this; undefined: nothing. */
  #dataOf({ event, queue, task, data }: Entry): string | undefined {
    if (event === "gap") return data
    if (this.#events?.has(event) === false) return undefined
    if (this.filter.task !== undefined && event !== "skipped")
      return task === this.filter.task ? data : undefined
    if (queue !== "" || this.#queues === undefined)
      return this.#queues?.has(queue) === false ? undefined : data
    return this.#ofQueues(data)
  }

  /** Numbers of many queues: only of its own. */
  #ofQueues(data: string): string | undefined {
    const { queues, ...rest } = JSON.parse(data) as { queues: Record<string, unknown>; others?: true }
    const own = Object.entries(queues).filter(([queue]) => this.#queues!.has(queue))
    if (own.length === 0 && !rest.others) return undefined
    return JSON.stringify({ ...rest, queues: Object.fromEntries(own) })
  }
}

/** Fields come as name and value, in the order in which they were written. */
type RawEntry = [id: string, fields: string[]]
const readEntry = ([id, fields]: RawEntry): Entry => ({
  ...{ id, event: fields[1] as EventName, queue: fields[3]!, task: fields[5]!, data: fields[7]! },
})

const partsOf = (id: string): [ms: number, count: number] => {
  const dash = id.indexOf("-")
  return dash < 0 ? [Number(id), 0] : [Number(id.slice(0, dash)), Number(id.slice(dash + 1))]
}
const compare = (a: string, b: string): number => {
  const [ms, count] = partsOf(a)
  const [otherMs, otherCount] = partsOf(b)
  return ms - otherMs || count - otherCount
}

/** Data with the time of its id, which is Redis' own. */
const withTime = (id: string, data: string): string =>
  `{"at":${partsOf(id)[0]}${data === "{}" ? "" : ","}${data.slice(1)}`
