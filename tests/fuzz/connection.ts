/** A minimal HTTP/1.1 client that sends raw bytes. fetch would correct or refuse most of what a hostile client sends. */

export interface Answer {
  status: number
  headers: Map<string, string>
  body: Buffer
}

/** The first answer in these bytes and its length; undefined if it is incomplete. */
function readAnswer(bytes: Buffer, method: string): { answer: Answer; size: number } | undefined {
  const end = bytes.indexOf("\r\n\r\n")
  if (end < 0) return undefined
  const [first, ...lines] = bytes.toString("latin1", 0, end).split("\r\n")
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(first!)?.[1])
  if (Number.isNaN(status)) throw new Error(`Not an HTTP answer: ${first}`)
  const headers = new Map(
    lines.map(line => {
      const colon = line.indexOf(":")
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    }),
  )
  const from = end + 4
  if (status < 200) {
    const final = readAnswer(bytes.subarray(from), method)
    return final && { answer: final.answer, size: from + final.size }
  }
  const length = headers.get("content-length")
  if (method === "HEAD" || status === 204 || length === undefined) {
    if (headers.get("transfer-encoding") === "chunked" && method !== "HEAD")
      return readChunks(bytes, from, { status, headers })
    return { answer: { status, headers, body: Buffer.alloc(0) }, size: from }
  }
  const size = from + Number(length)
  return size > bytes.length
    ? undefined
    : { answer: { status, headers, body: bytes.subarray(from, size) }, size }
}

function readChunks(bytes: Buffer, from: number, head: Omit<Answer, "body">) {
  const chunks: Buffer[] = []
  for (let at = from; ; ) {
    const line = bytes.indexOf("\r\n", at)
    if (line < 0) return undefined
    const length = Number.parseInt(bytes.toString("latin1", at, line), 16)
    at = line + 2 + length + 2
    if (at > bytes.length) return undefined
    if (length === 0) return { answer: { ...head, body: Buffer.concat(chunks) }, size: at }
    chunks.push(bytes.subarray(line + 2, line + 2 + length))
  }
}

/** A connection that is reopened after the broker has closed it. */
export class Connection {
  #socket: Bun.Socket | undefined
  /** The first `#size` bytes are received but not parsed. The buffer grows as needed. */
  #store: Buffer = Buffer.alloc(65_536)
  #size = 0
  #unsent: Buffer = Buffer.alloc(0)
  #change = () => {}

  constructor(private readonly port: number) {}

  /**
   * Sends these bytes and returns the answers: one per method, or fewer if the broker closes the connection or is silent
   * for `quietMs`.
   */
  async ask(bytes: Buffer, methods: readonly string[], quietMs: number): Promise<Answer[]> {
    if (this.#socket === undefined) await this.#open()
    this.#unsent = bytes
    this.#send()
    const answers: Answer[] = []
    for (;;) {
      const next = readAnswer(this.#store.subarray(0, this.#size), methods[answers.length] ?? "GET")
      if (next !== undefined) {
        answers.push({ ...next.answer, body: Buffer.from(next.answer.body) })
        this.#store.copyWithin(0, next.size, this.#size)
        this.#size -= next.size
        // Surplus answers are returned, too: the caller compares the number.
        if (answers.length >= methods.length && this.#size === 0) return answers
        continue
      }
      if (this.#socket === undefined) return answers
      const { promise, resolve } = Promise.withResolvers<boolean>()
      const timer = setTimeout(resolve, quietMs, false)
      this.#change = () => resolve(true)
      const changed = await promise
      clearTimeout(timer)
      if (!changed) return answers
    }
  }

  close(): void {
    this.#socket?.terminate()
    this.#socket = undefined
  }

  async #open() {
    this.#size = 0
    this.#socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: this.port,
      socket: {
        data: (socket, data) => {
          if (socket !== this.#socket) return
          this.#take(data)
          this.#change()
        },
        drain: () => this.#send(),
        close: socket => this.#closed(socket),
        error: socket => this.#closed(socket),
      },
    })
  }

  #take(data: Buffer) {
    if (this.#size + data.length > this.#store.length) {
      const larger = Buffer.alloc(2 * (this.#size + data.length))
      this.#store.copy(larger, 0, 0, this.#size)
      this.#store = larger
    }
    data.copy(this.#store, this.#size)
    this.#size += data.length
  }

  #closed(socket: Bun.Socket) {
    if (socket !== this.#socket) return
    this.#socket = undefined
    this.#change()
  }

  #send() {
    if (this.#unsent.length === 0 || this.#socket === undefined) return
    const written = this.#socket.write(this.#unsent)
    this.#unsent = this.#unsent.subarray(Math.max(0, written))
  }
}
