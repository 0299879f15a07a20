/**
 * A TCP proxy that simulates network faults. A link is between two processes: it listens on its own port, forwards all
 * bytes to its target, and injects faults on demand.
 *   dropReply   the next reply on each connection is discarded and the connection is cut: the command has run
 *   cutRequest  only the first half of the next request arrives, then the connection is cut
 *   cutReply    the same for a reply
 *   blackHole   no data passes and both sides stay connected; data sent in this time is never delivered
 *   late        no data passes and both sides stay connected; afterwards all data is delivered, including old commands
 *   slow        every chunk is delayed by this many ms, in order
 *   deafServer  the server's side is closed and the client's side stays open
 *   deafClient  the client's side is closed and the server's side stays open
 */
import type { Socket } from "bun"

export const LINK_FAULTS = [
  "dropReply",
  "cutRequest",
  "cutReply",
  "blackHole",
  "late",
  "slow",
  "deafServer",
  "deafClient",
] as const
export type LinkFault = (typeof LINK_FAULTS)[number]

export type Address = { unix: string } | { hostname: string; port: number }

/** One direction of a connection: the bytes from one socket to the other, in order. */
class Pipe {
  readonly #waiting: { bytes: Uint8Array; at: number }[] = []
  /** Set while no data may pass. */
  held = false
  delayMs = 0
  #ended = false
  #timer: Timer | undefined

  constructor(
    private readonly from: () => Socket<Pair> | undefined,
    private readonly to: () => Socket<Pair> | undefined,
  ) {}

  push(bytes: Uint8Array): void {
    const to = this.to()
    const alone = this.#waiting.length === 0 && this.delayMs === 0 && !this.held && to !== undefined
    const written = alone ? Math.max(0, to.write(bytes)) : 0
    if (written === bytes.length) return
    // Copied, because the socket reuses its buffer.
    this.#waiting.push({ bytes: bytes.slice(written), at: performance.now() + this.delayMs })
    if (!alone) this.flow()
    else this.from()?.pause()
  }

  /** Forwards as much as possible, and pauses the source while the other side does not accept more. */
  flow(): void {
    const to = this.to()
    if (this.held || to === undefined) return
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const wait = first.at - performance.now()
      if (wait > 0) {
        clearTimeout(this.#timer)
        this.#timer = setTimeout(() => this.flow(), Math.ceil(wait))
        return
      }
      const written = Math.max(0, to.write(first.bytes))
      if (written < first.bytes.length) {
        first.bytes = first.bytes.subarray(written)
        this.from()?.pause()
        return
      }
      this.#waiting.shift()
    }
    this.from()?.resume()
    if (this.#ended) to.end()
  }

  /** The source has ended: ends the other side once it has all data. */
  end(): void {
    this.#ended = true
    this.flow()
  }
}

type Trick = "dropReply" | "cutRequest" | "cutReply"

/** A connection from a client and the corresponding connection to the server. */
class Pair {
  client: Socket<Pair> | undefined
  server: Socket<Pair> | undefined
  readonly requests = new Pipe(
    () => this.client,
    () => this.server,
  )
  readonly replies = new Pipe(
    () => this.server,
    () => this.client,
  )
  trick: Trick | undefined
  /** Discards all bytes. */
  swallows = false
  over = false
  readonly #gone: () => void

  constructor(gone: (pair: Pair) => void) {
    this.#gone = () => gone(this)
  }

  fromClient(bytes: Uint8Array): void {
    if (this.swallows) return
    if (this.trick === "cutRequest") this.#cut(this.requests, bytes)
    else this.requests.push(bytes)
  }

  fromServer(bytes: Uint8Array): void {
    if (this.swallows) return
    if (this.trick === "dropReply") this.end()
    else if (this.trick === "cutReply") this.#cut(this.replies, bytes)
    else this.replies.push(bytes)
  }

  #cut(pipe: Pipe, bytes: Uint8Array): void {
    pipe.push(bytes.subarray(0, bytes.length >> 1))
    this.trick = undefined
    this.swallows = true
    setTimeout(() => this.end(), 2)
  }

  /** Ends both sides at once, as a TCP reset would. */
  end(): void {
    if (this.over) return
    this.over = true
    this.client?.terminate()
    this.server?.terminate()
    this.#gone()
  }

  closed(side: "client" | "server"): void {
    this[side] = undefined
    // A black hole hides the end of the connection.
    if (this.swallows || this.over) return
    const pipe = side === "client" ? this.requests : this.replies
    pipe.end()
    if (this.client === undefined && this.server === undefined) this.end()
  }
}

export class Link implements Disposable {
  readonly #pairs = new Set<Pair>()
  readonly #listener
  #mode: "blackHole" | "late" | "slow" | undefined
  #slowMs = 0
  /** The number of connections so far. */
  connections = 0

  constructor(
    readonly name: string,
    /** The target, which may change when its process is restarted. */
    public target: Address,
  ) {
    this.#listener = Bun.listen<Pair>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: socket => this.#open(socket),
        data: (socket, bytes) => socket.data.fromClient(bytes),
        drain: socket => socket.data.replies.flow(),
        close: socket => socket.data?.closed("client"),
        error: socket => socket.data?.closed("client"),
      },
    })
  }

  get port(): number {
    return this.#listener.port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Begins a fault. Its effect on existing connections depends on the kind. `ms` is the delay of `slow`. */
  break(fault: LinkFault, ms = 0): void {
    if (fault === "blackHole" || fault === "late" || fault === "slow") {
      this.#mode = fault
      this.#slowMs = ms
      for (const pair of this.#pairs) this.#apply(pair)
    } else if (fault === "deafServer" || fault === "deafClient") {
      for (const pair of this.#pairs) {
        pair.swallows = true
        if (fault === "deafServer") pair.server?.end()
        else pair.client?.end()
      }
    } else for (const pair of this.#pairs) pair.trick = fault
  }

  /** Ends all faults. Connections that have missed bytes are cut, as they would be eventually. */
  heal(): void {
    const mode = this.#mode
    this.#mode = undefined
    for (const pair of [...this.#pairs]) {
      pair.trick = undefined
      pair.requests.delayMs = pair.replies.delayMs = 0
      if (pair.swallows) pair.end()
      else if (mode === "late") {
        pair.requests.held = pair.replies.held = false
        pair.requests.flow()
        pair.replies.flow()
      }
    }
  }

  [Symbol.dispose]() {
    this.#listener.stop(true)
    for (const pair of [...this.#pairs]) pair.end()
  }

  #apply(pair: Pair): void {
    if (this.#mode === "blackHole") pair.swallows = true
    if (this.#mode === "late") pair.requests.held = pair.replies.held = true
    if (this.#mode === "slow") pair.requests.delayMs = pair.replies.delayMs = this.#slowMs
  }

  #open(client: Socket<Pair>): void {
    this.connections++
    const pair = new Pair(pair => this.#pairs.delete(pair))
    this.#pairs.add(pair)
    client.data = pair
    pair.client = client
    this.#apply(pair)
    const socket = {
      open(server: Socket<Pair>) {
        server.data = pair
        pair.server = server
        if (pair.over) server.terminate()
        else pair.requests.flow()
      },
      data: (_: Socket<Pair>, bytes: Uint8Array) => pair.fromServer(bytes),
      drain: () => pair.requests.flow(),
      close: () => pair.closed("server"),
      error: () => pair.closed("server"),
    }
    Bun.connect<Pair>({ ...this.target, data: pair, socket } as never).catch(() => pair.end())
  }
}
