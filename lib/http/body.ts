/** Reads JSON bodies, with limits on one body and on all bodies together. */
import { Refused } from "../errors.ts"
import { isDeeperThan } from "../wire/json-text.ts"
import { PROBLEMS } from "../wire/problem.ts"

export interface Body extends Disposable {
  text: string
  value: unknown
}
/** `isOptional`: a body without any bytes is an empty object, whatever the headers say. */
export type ReadBody = (request: Request, isOptional?: boolean) => Promise<Body>

/** All bodies in memory together take at most this much, or four times the largest body that is allowed. */
const MAX_HELD_BYTES = 67_108_864
/** Bodies up to this size are read in one step, which is faster, and counted once they are in memory. */
const SMALL_BYTES = 32_768
const JSON_TYPE = /^application\/json *(;|$)/i

/**
 * A reader of JSON bodies. It checks the media type, the size, the memory that is left and the encoding, in that
 * order. The bytes of a body count as held from their arrival until the body is disposed of. So memory stays bounded
 * while Redis is slow, and a client that announces a large body but sends nothing takes no room from others.
 */
export function bodyReader(maxBytes: number): ReadBody {
  const maxHeldBytes = Math.max(MAX_HELD_BYTES, 4 * maxBytes)
  let held = 0

  return async (request, isOptional = false) => {
    if (isOptional && !hasBody(request)) return EMPTY
    // Only the bytes tell whether a chunked body is absent, so the type of an optional one is checked after reading.
    if (!isOptional) requireJson(request)
    const header = request.headers.get("content-length")
    // A header that is sent twice arrives as "2, 2".
    const length = header === null ? undefined : Number.parseInt(header, 10)
    let size = 0
    const hold = (bytes: number) => {
      if (size + bytes > maxBytes) throw new Refused("too_large", { detail: tooLarge(maxBytes) })
      if (held + bytes > maxHeldBytes) throw new Refused("overloaded", { detail: NO_ROOM })
      size += bytes
      held += bytes
    }
    const release = () => {
      held -= size
      size = 0
    }
    try {
      // If the length is announced, refuse the body before reading any of it.
      hold(length ?? 0)
      release()
      const isSmall = length !== undefined && length <= SMALL_BYTES
      const bytes = await (isSmall ? request.arrayBuffer() : readChunks(request, hold)).catch(refuseCutOff)
      if (size === 0) hold(bytes.byteLength)
      if (isOptional) {
        if (bytes.byteLength === 0) return EMPTY
        requireJson(request)
      }
      return { ...parse(bytes), [Symbol.dispose]: release }
    } catch (error) {
      release()
      throw error
    }
  }
}

/** Reads a body that may be absent: an empty object then. A body that is not JSON is refused. */
export const optionalBody =
  (read: ReadBody): ReadBody =>
  request =>
    read(request, true)

/** Reads a body on a route that had none in the original system: a body that is not JSON is ignored, as it was there. */
export const bodyIfJson =
  (read: ReadBody): ReadBody =>
  async request =>
    isJson(request) ? read(request, true) : EMPTY

const EMPTY: Body = { text: "{}", value: {}, [Symbol.dispose]() {} }

const isJson = ({ headers }: Request) => JSON_TYPE.test(headers.get("content-type") ?? "")
const hasBody = ({ headers }: Request) =>
  headers.has("transfer-encoding") || Number.parseInt(headers.get("content-length") ?? "0", 10) !== 0

function requireJson(request: Request): void {
  if (!isJson(request)) throw new Refused("unsupported_media_type")
  const encoding = request.headers.get("content-encoding")
  // Some clients write the name of the character set here by mistake.
  if (encoding === null || /^ *(identity|utf-?8)? *$/i.test(encoding)) return
  const name = /^[\w, -]{1,40}$/.test(encoding) ? encoding : "other than identity"
  throw new Refused("unsupported_media_type", {
    detail: `The broker does not accept a body with Content-Encoding ${name}. Send it uncompressed.`,
  })
}

const tooLarge = (maxBytes: number) =>
  `The body may have at most ${maxBytes} bytes. Store large data elsewhere and send a reference, or raise MAX_BODY_BYTES.`
const NO_ROOM =
  "This broker holds as many request bodies as it can. Send the request again later, in smaller parts, or to another broker."
const CUT_OFF =
  "The connection ended before the body was complete. Send as many bytes as Content-Length announces."

/** Refuses invalid UTF-8, and skips a byte order mark at the start, which RFC 8259 allows. */
const UTF8 = new TextDecoder("utf-8", { fatal: true })

/**
 * JSON readers of some languages fail at 100 levels (Ruby) or 128 (serde), so a deeper payload would stop its workers. An
 * answer nests a payload at most two levels deeper than the body in which it was sent.
 */
const MAX_DEPTH = 96
const TOO_DEEP = `The body nests arrays and objects more than ${MAX_DEPTH} levels deep, which JSON readers of some languages refuse. Send such data as a string.`

function parse(bytes: ArrayBuffer | Buffer): Omit<Body, keyof Disposable> {
  let parsed: { text: string; value: unknown }
  try {
    const text = UTF8.decode(bytes)
    parsed = { text, value: JSON.parse(text) }
  } catch (error) {
    throw new Refused("bad_json", { detail: notJson(bytes, error) })
  }
  if (isDeeperThan(parsed.text, MAX_DEPTH)) throw new Refused("bad_request", { detail: TOO_DEEP })
  return parsed
}

/** What is wrong, followed by what would be right. */
function notJson({ byteLength }: ArrayBuffer | Buffer, error: unknown): string {
  let fault = "It is not UTF-8"
  if (byteLength === 0) fault = "It is empty"
  else if (error instanceof SyntaxError) fault = faultOf(error.message)
  return `${fault}. ${PROBLEMS.bad_json.advice}`
}

/** What the parser says, without the part of the body that some of its messages quote. */
const faultOf = (message: string): string =>
  message
    .replace(/^JSON Parse error: /, "")
    .replace(
      /^Unexpected identifier .*/s,
      "Unexpected word, such as NaN, None or a string without double quotes",
    )
    .replace(/^Unrecognized token .*/s, "Unexpected character")
    .replace(/^Invalid escape character .*|.* is not a valid unicode escape$/s, "Invalid escape in a string")
    .replace(/^Unable to parse.*/s, "Something follows the end of the value")

function refuseCutOff(error: unknown): never {
  throw error instanceof Refused ? error : new Refused("bad_json", { detail: CUT_OFF })
}

async function readChunks(request: Request, hold: (bytes: number) => void): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  // A body that is refused while it arrives is not cancelled, so that `dropRest` can read on.
  for await (const chunk of request.body?.values({ preventCancel: true }) ?? []) {
    hold(chunk.length)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** At most this much of a refused body is read and dropped, for at most this long, while bytes arrive this often. */
const MAX_DROPPED_BYTES = 67_108_864
const MAX_DROPPING_MS = 10_000
const MAX_PAUSE_MS = 500

/**
 * Reads and drops the rest of a body before its request is refused, if the client asked to close the connection. Bun
 * closes such a connection with the answer, and a client that is still sending would see a broken pipe instead. On any
 * other connection Bun itself drops the rest.
 */
export async function dropRest(request: Request): Promise<void> {
  const { headers } = request
  if (!/\bclose\b/i.test(headers.get("connection") ?? "") || headers.has("expect")) return
  const length = headers.get("content-length")
  // The sockets hold a small body, even if nobody reads it.
  if (length !== null && (Number(length) <= SMALL_BYTES || Number(length) > MAX_DROPPED_BYTES)) return
  if (request.body === null || request.body.locked) return
  const reader = request.body.getReader()
  const end = performance.now() + MAX_DROPPING_MS
  for (let dropped = 0; dropped <= MAX_DROPPED_BYTES && performance.now() < end; ) {
    const silence = Promise.withResolvers<undefined>()
    const timer = setTimeout(() => silence.resolve(undefined), MAX_PAUSE_MS)
    const part = await Promise.race([reader.read(), silence.promise]).catch(() => undefined)
    clearTimeout(timer)
    if (part === undefined || part.done) return
    dropped += part.value.length
  }
}
