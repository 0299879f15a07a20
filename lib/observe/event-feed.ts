/**
 * Serves GET /events. One poll loop per broker reads the stream that lib/observe/event-writer.ts writes, for all
 * subscribers of this broker. It stops when there are none.
 *   1. For the first subscriber, LISTENING is set and published before the answer begins. So every event after the
 *      answer is written.
 *   2. A client that reconnects with its last event id reads from there, page by page, until it reaches the position of
 *      the poll loop; then it joins the others. Each subscriber has its own position and gets only later entries, so
 *      it receives nothing twice and misses nothing.
 *   3. If the stream does not reach back far enough, or Redis was unreachable, the subscriber gets `gap`.
 *      If Redis cannot be reached while it catches up, the answer ends, and the client reconnects with the same id.
 *   4. A client that does not read is disconnected, so that it delays no other. It can reconnect with its last id.
 */
import { Refused } from "../errors.ts"
import { EVENT_STREAM, LISTENING } from "../redis/keys.ts"
import type { Store } from "../redis/store.ts"
import { maySeeContents, type Sight } from "../task/sight.ts"
import { compareEventIds, type EventName, partsOfEventId } from "../wire/events.ts"
import { writeEvent } from "../wire/sse.ts"

interface EventFilter {
  /** The name of the token that listens. */
  token: string
  /** undefined means all queues. */
  queues: readonly string[] | undefined
  task: string | undefined
  events: readonly EventName[] | undefined
  sight: Sight
}

const MAX_SUBSCRIBERS = 200
/** One token has at most this many, so that others can listen as well. */
const MAX_SUBSCRIBERS_PER_TOKEN = 50
/** How much a subscriber may leave unread, in addition to the socket buffers. */
const MAX_UNREAD_BYTES = 262_144
/** How long LISTENING lives, and how often it is renewed. */
const LISTENING_MS = 80_000
const REFRESH_MS = 20_000
const POLL_MS = 100
const RETRY_POLL_MS = 500
const ENTRIES_PER_READ = 1_000
/**
 * Bun and proxies close silent connections. The heartbeat also carries the newest id, so that a client whose filter
 * matches little can still resume from an id that the stream holds.
 */
const HEARTBEAT_MS = 15_000
/** How long clients wait before they reconnect. It is random, so that they do not all reconnect at once. */
const retryMs = () => 500 + Math.floor(Math.random() * 1_500)

interface Entry {
  id: string
  event: EventName
  queue: string
  task: string
  /** The facts of the event as a JSON object. It begins with the time if the event is about a task. */
  data: string
}

export class EventFeed {
  readonly #subscribers = new Set<Subscriber>()
  #closed = false
  /** The id of the last entry that the poll loop has read. */
  #last = "0-0"
  #started: Promise<void> | undefined
  #timers: Timer[] = []
  #poll: Timer | undefined
  /** Redis was unreachable, so events may be missing. */
  #gap = false

  /** `onAnnounce` is called whenever this feed announces that it listens for at least so many ms. */
  constructor(
    private readonly store: Pick<Store, "command" | "publish">,
    private readonly onAnnounce: (ms: number) => void,
  ) {}

  get size(): number {
    return this.#subscribers.size
  }

  /** Streams the events from now on, or those since the id `after`, until the client leaves or until the time `until`. */
  async listen(
    filter: EventFilter,
    after: string | undefined,
    signal: AbortSignal,
    until?: number,
  ): Promise<ReadableStream> {
    if (this.#closed)
      throw new Refused("overloaded", { detail: "This broker is shutting down: use another broker." })
    if (this.#subscribers.size >= MAX_SUBSCRIBERS)
      throw new Refused("overloaded", {
        detail: `This broker already has ${MAX_SUBSCRIBERS} event streams: use another broker.`,
      })
    const sameToken = [...this.#subscribers].filter(({ token }) => token === filter.token).length
    if (sameToken >= MAX_SUBSCRIBERS_PER_TOKEN)
      throw new Refused("overloaded", {
        detail: `The token ${filter.token} already has ${MAX_SUBSCRIBERS_PER_TOKEN} event streams at this broker, the most that one token may have: close one, use another token or another broker.`,
      })
    let endTimer: Timer | undefined
    const subscriber = new Subscriber(filter, () => {
      clearTimeout(endTimer)
      this.#remove(subscriber)
    })
    this.#subscribers.add(subscriber)
    try {
      this.#started ??= this.#start()
      await this.#started
    } catch (error) {
      subscriber.end()
      throw error
    }
    signal.addEventListener("abort", () => subscriber.end())
    if (signal.aborted || this.#closed) subscriber.end()
    else if (until !== undefined) endTimer = setTimeout(() => subscriber.end(), until - Date.now())
    subscriber.send(
      `retry: ${retryMs()}\n${writeEvent(after ?? this.#last, "listening", withTime(this.#last, "{}"))}`,
    )
    if (after === undefined) subscriber.join(this.#last)
    else void this.#catchUp(subscriber, after).catch(() => subscriber.end())
    return subscriber.stream
  }

  /** Called when Redis is reachable again. It may be another server after a failover. */
  onReconnect(): void {
    if (this.#subscribers.size === 0) return
    this.#gap = true
    void this.#announce().catch(() => {})
  }

  /** Ends all streams in order and accepts no more subscribers. */
  close(): void {
    this.#closed = true
    for (const subscriber of this.#subscribers) subscriber.end()
  }

  async #start(): Promise<void> {
    try {
      await this.#announce()
      this.#last = await this.#newest()
    } catch (error) {
      this.#started = undefined
      throw error
    }
    if (this.#subscribers.size === 0) return
    this.#timers = [
      setInterval(() => void this.#announce().catch(() => {}), REFRESH_MS),
      setInterval(() => this.#sendHeartbeat(), HEARTBEAT_MS),
    ]
    this.#pollIn(POLL_MS)
  }

  #remove(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber)
    if (this.#subscribers.size > 0) return
    for (const timer of this.#timers) clearInterval(timer)
    clearTimeout(this.#poll)
    this.#started = undefined
    this.#gap = false
  }

  /** Makes all brokers write events from now on. */
  async #announce(): Promise<void> {
    if ((await this.store.command(["EXISTS", LISTENING])) === 0)
      await this.store.command([
        "XADD",
        EVENT_STREAM,
        "*",
        ...["event", "gap", "queue", "", "task", "", "data", "{}"],
      ])
    await this.store.command(["SET", LISTENING, "1", "PX", LISTENING_MS])
    await this.store.command(["PEXPIRE", EVENT_STREAM, LISTENING_MS * 2])
    this.onAnnounce(LISTENING_MS)
    await this.store.publish(LISTENING, LISTENING_MS)
  }

  async #newest(): Promise<string> {
    const [newest] = (await this.store.command([
      "XREVRANGE",
      EVENT_STREAM,
      "+",
      "-",
      "COUNT",
      1,
    ])) as RawEntry[]
    return newest?.[0] ?? "0-0"
  }

  async #after(id: string, count = ENTRIES_PER_READ): Promise<Entry[]> {
    const raw = await this.store.command(["XRANGE", EVENT_STREAM, `(${id}`, "+", "COUNT", count])
    return (raw as RawEntry[]).map(readEntry)
  }

  #pollIn(ms: number): void {
    clearTimeout(this.#poll)
    this.#poll = setTimeout(() => void this.#read(), ms)
  }

  async #read(): Promise<void> {
    const started = this.#started
    let next = POLL_MS
    try {
      if (this.#gap) {
        const newest = await this.#newest()
        this.#gap = false
        // The clock of another Redis may be behind. Its ids would look like old ones.
        if (compareEventIds(newest, this.#last) < 0) this.#last = newest
        for (const subscriber of this.#subscribers) if (subscriber.isLive) subscriber.sendGap(this.#last)
      }
      const entries = await this.#after(this.#last)
      if (started !== this.#started) return
      if (entries.length > 0) this.#last = entries.at(-1)!.id
      for (const subscriber of this.#subscribers) if (subscriber.isLive) subscriber.deliver(entries)
      if (entries.length === ENTRIES_PER_READ) next = 0
    } catch {
      next = RETRY_POLL_MS
    }
    if (started === this.#started) this.#pollIn(next)
  }

  #sendHeartbeat(): void {
    for (const subscriber of this.#subscribers) subscriber.send(`:\nid: ${this.#last}\n\n`)
  }

  async #catchUp(subscriber: Subscriber, after: string): Promise<void> {
    const [first] = await this.#after("0-0", 1)
    const newest = await this.#newest()
    let position = after
    if (first === undefined || compareEventIds(after, first.id) < 0 || compareEventIds(after, newest) > 0) {
      if (compareEventIds(after, newest) > 0) position = newest
      // If the first entry is itself a gap, it will be delivered.
      if (first?.event !== "gap" || position !== after) subscriber.sendGap(position)
    }
    subscriber.position = position
    // It joins the others only after it has read the backlog. Otherwise the next event would disconnect it.
    for (await subscriber.drained(); compareEventIds(position, this.#last) < 0; await subscriber.drained()) {
      if (subscriber.hasEnded) return
      const entries = await this.#after(position)
      if (entries.length === 0) break
      subscriber.deliver(entries)
      position = entries.at(-1)!.id
    }
    subscriber.join(position)
  }
}

class Subscriber {
  readonly stream: ReadableStream<Uint8Array>
  /** The id of the last entry that was delivered or filtered out. */
  position = "0-0"
  hasEnded = false
  /** Whether it gets its entries from the poll loop; before that it catches up on its own. */
  isLive = false
  #controller!: ReadableStreamDefaultController<Uint8Array>
  #pulled = Promise.withResolvers<void>()
  readonly #queues: ReadonlySet<string> | undefined
  readonly #events: ReadonlySet<EventName> | undefined

  constructor(
    private readonly filter: EventFilter,
    private readonly onEnd: () => void,
  ) {
    this.#queues = filter.queues && new Set(filter.queues)
    this.#events = filter.events && new Set<EventName>([...filter.events, "gap", "skipped"])
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: controller => {
          this.#controller = controller
        },
        pull: () => this.#pulled.resolve(),
        cancel: () => this.#leave(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: MAX_UNREAD_BYTES }),
    )
  }

  get token(): string {
    return this.filter.token
  }

  /** Gets its entries from the poll loop from now on. */
  join(position: string): void {
    this.position = position
    this.isLive = true
  }

  /** Sends those of the entries that are after its position and match its filter. */
  deliver(entries: readonly Entry[]): void {
    let text = ""
    for (const entry of entries) {
      if (compareEventIds(entry.id, this.position) <= 0) continue
      this.position = entry.id
      const data = this.#dataOf(entry)
      if (data !== undefined) text += writeEvent(entry.id, entry.event, withTime(entry.id, this.#seen(data)))
    }
    if (text !== "") this.send(text)
  }

  /** Says that events may be missing, and continues from `position` if that is earlier than its own. */
  sendGap(position: string): void {
    if (compareEventIds(position, this.position) < 0) this.position = position
    this.send(writeEvent(undefined, "gap", withTime(position, "{}")))
  }

  send(text: string): void {
    if (this.hasEnded) return
    if (this.#controller.desiredSize! > 0) this.#controller.enqueue(Buffer.from(text))
    else this.disconnect()
  }

  /** Resolves when the client has read everything that was sent so far. */
  async drained(): Promise<void> {
    while (!this.hasEnded && this.#controller.desiredSize! < MAX_UNREAD_BYTES) {
      this.#pulled = Promise.withResolvers()
      await this.#pulled.promise
    }
  }

  /** Ends the stream in order. */
  end(): void {
    if (this.hasEnded) return
    this.#leave()
    this.#controller.close()
  }

  /** Drops the unread data and the connection. It passes no error, because Bun would print it. */
  disconnect(): void {
    if (this.hasEnded) return
    this.#leave()
    this.#controller.error(undefined)
  }

  #leave(): void {
    if (this.hasEnded) return
    this.hasEnded = true
    this.#pulled.resolve()
    this.onEnd()
  }

  /** The data of this entry that it may see; undefined if its filter does not match. */
  #dataOf({ event, queue, task, data }: Entry): string | undefined {
    if (event === "gap") return data
    if (this.#events?.has(event) === false) return undefined
    if (this.filter.task !== undefined && event !== "skipped")
      return task === this.filter.task ? data : undefined
    if (queue !== "" || this.#queues === undefined)
      return this.#queues?.has(queue) === false ? undefined : data
    return this.#ofQueues(data)
  }

  /** Errors of tasks with `redact` are not published at all. */
  #seen(data: string): string {
    return maySeeContents(this.filter.sight, false)
      ? data
      : JSON.stringify({ ...JSON.parse(data), error: undefined })
  }

  /** `counts` and `skipped` have numbers of many queues. Keeps only those that the filter names. */
  #ofQueues(data: string): string | undefined {
    const { queues, ...rest } = JSON.parse(data) as { queues: Record<string, unknown>; others?: true }
    const own = Object.entries(queues).filter(([queue]) => this.#queues!.has(queue))
    if (own.length === 0 && !rest.others) return undefined
    return JSON.stringify({ ...rest, queues: Object.fromEntries(own) })
  }
}

/** `fields` alternates names and values, in the order in which they were written. */
type RawEntry = [id: string, fields: string[]]
const readEntry = ([id, fields]: RawEntry): Entry => ({
  id,
  event: fields[1] as EventName,
  queue: fields[3]!,
  task: fields[5]!,
  data: fields[7]!,
})

/** Adds the time of the entry, which Redis set as part of its id, if the event has no time. */
const withTime = (id: string, data: string): string =>
  data.startsWith('{"at":')
    ? data
    : `{"at":${partsOfEventId(id)[0]}${data === "{}" ? "" : ","}${data.slice(1)}`
