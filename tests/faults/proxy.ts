/**
 * A TCP connection's worst days. A link stands between two processes: it listens on a port of its own, passes
 * every byte on to its target, and does on demand what networks do.
 *   dropReply   the next reply on each connection is thrown away and the connection cut: the command has run
 *   cutRequest  of the next request only the first half arrives, then the connection is cut
 *   cutReply    the same for a reply
 *   blackHole   nothing passes, nobody is told; what was sent meanwhile is never delivered
 *   late        nothing passes, nobody is told; afterwards all of it is delivered, as TCP does: ghosts of old commands
 *   slow        every piece takes so many ms longer, in order
 *   deafServer  the server's side is closed and the client is not told
 *   deafClient  the client's side is closed and the server is not told
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

/** One direction of a connection: what came from one socket and goes to the other, in order. */
class Pipe {
  readonly #waiting: { bytes: Uint8Array; at: number }[] = []
  /** Set while nothing is to pass. */
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
    // Copied: the socket uses its buffer again.
    this.#waiting.push({ bytes: bytes.slice(written), at: performance.now() + this.delayMs })
    if (!alone) this.flow()
    else this.from()?.pause()
  }

  /** Passes on what it can, and lets its source rest while the other side does not take it. */
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

  /** Nothing follows: the other side is told once it has all that came before. */
  end(): void {
    this.#ended = true
    this.flow()
  }
}

type Trick = "dropReply" | "cutRequest" | "cutReply"

/** A connection from a client, and the one to the server that was made for it. */
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
  /** Bytes are taken and go nowhere. */
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

  /** Ends both sides at once, as a reset would. */
  end(): void {
    if (this.over) return
    this.over = true
    this.client?.terminate()
    this.server?.terminate()
    this.#gone()
  }

  closed(side: "client" | "server"): void {
    this[side] = undefined
    // In a black hole nobody hears of it.
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
  /** Connections so far. */
  connections = 0

  constructor(
    readonly name: string,
    /** Where it leads; a process that starts anew may be elsewhere. */
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

  /** Begins a fault. What it does to a connection that exists depends on the kind; `ms` is how slow slow is. */
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

  /** All is well again; connections that have missed bytes are cut, as they would be some day. */
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
