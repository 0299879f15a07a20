/**
 * A minimal HTTP client for the bench, which shares the cores with what it measures: one request at a time per
 * connection, requests as prepared bytes, answers framed by Content-Length and not parsed.
 */
import type { Socket } from "bun"

export class Connection {
  #socket!: Socket
  #unsent: Uint8Array | undefined
  #ended: Error | undefined
  #text = ""
  /** Start and end of the answer's body in #text; NaN until the head has arrived. */
  #bodyAt = Number.NaN
  #endAt = Number.NaN
  #answered: { resolve: (body: string) => void; reject: (error: Error) => void } | undefined

  static async open(url: string): Promise<Connection> {
    const { hostname, port } = new URL(url)
    const connection = new Connection()
    connection.#socket = await Bun.connect({
      hostname,
      port: Number(port),
      socket: {
        data: (_, chunk) => connection.#read(chunk),
        drain: () => connection.#write(connection.#unsent),
        close: () => connection.#end(new Error(`${url} closed the connection`)),
        error: (_, error) => connection.#end(error),
      },
    })
    return connection
  }

  /** A broker closes connections that are idle for 40 s. */
  get isOpen(): boolean {
    return this.#ended === undefined
  }

  /** Sends a request and returns the body of the answer. Throws if the status is not 2xx. */
  send(request: Uint8Array): Promise<string> {
    if (this.#ended) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => {
      this.#answered = { resolve, reject }
      this.#write(request)
    })
  }

  close(): void {
    this.#socket.end()
  }

  #write(bytes: Uint8Array | undefined): void {
    if (bytes === undefined) return
    const written = this.#socket.write(bytes)
    this.#unsent = written < bytes.length ? bytes.subarray(Math.max(0, written)) : undefined
  }

  #read(chunk: Buffer): void {
    this.#text += chunk.toString("latin1")
    if (Number.isNaN(this.#endAt)) {
      const headEnd = this.#text.indexOf("\r\n\r\n")
      if (headEnd < 0) return
      this.#bodyAt = headEnd + 4
      const length = /^content-length: *(\d+)/im.exec(this.#text.slice(0, this.#bodyAt))?.[1] ?? "0"
      this.#endAt = this.#bodyAt + Number(length)
    }
    if (this.#text.length < this.#endAt) return
    const answer = this.#text
    const body = answer.slice(this.#bodyAt, this.#endAt)
    this.#text = ""
    this.#bodyAt = this.#endAt = Number.NaN
    const answered = this.#answered
    this.#answered = undefined
    if (answer.charCodeAt("HTTP/1.1 ".length) === 0x32) answered?.resolve(body)
    else answered?.reject(new Error(`answered ${answer.slice(0, 500)}`))
  }

  #end(error: Error): void {
    this.#ended = error
    this.#answered?.reject(error)
    this.#answered = undefined
  }
}

/** The bytes of a POST request with a JSON body. */
export function post(path: string, token: string, body: string): Uint8Array {
  return Buffer.from(
    `POST ${path} HTTP/1.1\r\nHost: bench\r\nX-API-Token: ${token}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}

export const get = (path: string, token: string): Uint8Array =>
  Buffer.from(`GET ${path} HTTP/1.1\r\nHost: bench\r\nX-API-Token: ${token}\r\n\r\n`)
