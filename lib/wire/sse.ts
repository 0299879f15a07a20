/** Server-sent events as text: https://html.spec.whatwg.org/multipage/server-sent-events.html */

/** Writes one event. `data` is JSON, which has no line ends; `id` and `event` must not have any either. */
export const writeEvent = (id: string | undefined, event: string, data: string): string =>
  `${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`

export interface ReadEvent {
  /** The newest id that the stream sent, with this event or before it. */
  id: string | undefined
  event: string
  /** Empty if the block has no data; then only `id` and `retryMs` are useful. */
  data: string
  /** How long to wait before the next connection. */
  retryMs: number | undefined
}

/**
 * Reads the blocks of a stream as they arrive, including blocks that hold only comments. Lines may end in LF, CRLF or CR. A block
 * without its closing empty line is dropped.
 */
export async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ReadEvent> {
  let id: string | undefined
  let text = ""
  for await (const part of withPlainLineEnds(body)) {
    text += part
    const blocks = text.split("\n\n")
    text = blocks.pop()!
    for (const block of blocks) {
      const read: ReadEvent = { id, event: "message", data: "", retryMs: undefined }
      const data: string[] = []
      for (const line of block.split("\n")) {
        const colon = line.indexOf(":")
        const name = colon < 0 ? line : line.slice(0, colon)
        const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1)
        if (name === "id" && !value.includes("\0")) id = value
        else if (name === "event") read.event = value
        else if (name === "data") data.push(value)
        else if (name === "retry" && /^\d+$/.test(value)) read.retryMs = Number(value)
      }
      yield { ...read, id, data: data.join("\n") }
    }
  }
}

/** The text of a stream with LF as its only line end. A CRLF may be split between two chunks. */
async function* withPlainLineEnds(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let endedInCr = false
  for await (const chunk of body) {
    const text = decoder.decode(chunk, { stream: true })
    if (text === "") continue
    yield (endedInCr && text.startsWith("\n") ? text.slice(1) : text).replace(/\r\n?/g, "\n")
    endedInCr = text.endsWith("\r")
  }
}
