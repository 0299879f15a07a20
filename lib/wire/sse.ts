/** Server-sent events as text: https://html.spec.whatwg.org/multipage/server-sent-events.html */

/** One event. `data` is JSON, which has no line ends; nor may the others have any. */
export const writeEvent = (id: string | undefined, event: string, data: string): string =>
  `${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`

export interface ReadEvent {
  /** The newest that was sent, with this event or before it. */
  id: string | undefined
  event: string
  /** "" where there was none: then only `id` and `retryMs` tell something. */
  data: string
  /** How long to wait before connecting anew. */
  retryMs: number | undefined
}

/** Reads a stream as one comes along. An event that is cut off is none. Each block is told, also one of comments alone. */
export async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ReadEvent> {
  const decoder = new TextDecoder()
  let text = ""
  let id: string | undefined
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true })
    const blocks = text.split("\n\n")
    text = blocks.pop()!
    for (const block of blocks) {
      const read: ReadEvent = { id, event: "message", data: "", retryMs: undefined }
      for (const line of block.split("\n")) {
        const colon = line.indexOf(":")
        const name = colon < 0 ? line : line.slice(0, colon)
        const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1)
        if (name === "id") id = value
        else if (name === "event") read.event = value
        else if (name === "data") read.data += value
        else if (name === "retry") read.retryMs = Number(value)
      }
      yield { ...read, id }
    }
  }
}
