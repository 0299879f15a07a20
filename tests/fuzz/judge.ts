import { CODES } from "../../lib/wire/problem.ts"
import { TOKEN } from "../support/harness.ts"
import type { Answer } from "./connection.ts"
import { type Document, MARK } from "./document.ts"
import type { Asked } from "./requests.ts"

/** Traces of internals: file names, stack traces, messages of Redis and its scripts. */
const INSIDE =
  /\.ts\b|\.lua\b|node_modules|\\n\s+at |\(\/\w|ioredis|elysia|typebox|EVALSHA|WRONGTYPE|NOSCRIPT|user_script|tq:\{|\.sock\b/i
/** Statuses with which Bun itself answers invalid HTTP, with an empty body. */
const BUNS = new Set([400, 408, 413, 414, 431, 501, 505])
const CODE_WORDS: ReadonlySet<string> = new Set(CODES)

interface Item {
  code?: string
  error?: string
  task_id?: string
  status?: string | number
}

/** The parts of an answer that name tasks. */
export interface Told {
  body: unknown
  wrong: string | undefined
}

export function judge(document: Document, asked: Asked, answer: Answer): Told {
  const text = answer.body.toString("utf8")
  const verdict = (wrong?: string, body?: unknown): Told => ({ body, wrong })
  const { status } = answer
  if (text.includes(TOKEN) || [...answer.headers.values()].some(value => value.includes(TOKEN)))
    return verdict("It repeats the token")
  if (text === "") {
    if (status === 302 && /^\/?dashboard$/.test(answer.headers.get("location") ?? "")) return verdict()
    if (status === 204 || (status < 500 && asked.methods.includes("HEAD"))) return verdict()
    // Bun itself refuses headers that are too large, and closes the connection.
    return (asked.whole && status !== 431) || !BUNS.has(status)
      ? verdict(`${status} without a body`)
      : verdict()
  }
  if (status >= 500) return verdict(`It has status ${status}`)
  if (status >= 400) {
    if (INSIDE.test(text)) return verdict("It reveals internals")
    if (status === 405 && !answer.headers.has("allow")) return verdict("405 without Allow")
    if (text.includes(MARK)) return verdict("It repeats what it was sent")
    if (answer.headers.get("content-type") !== "application/problem+json")
      return verdict("An error that is not problem+json")
  }
  if (!/^application\/(problem\+)?json$/.test(answer.headers.get("content-type") ?? "")) {
    // The page at /swagger and its files.
    return status === 200 || status === 301 || status === 302
      ? verdict()
      : verdict(`${status} that is not JSON`)
  }
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    return verdict("It is not JSON, although its content type is")
  }
  if (status >= 400) {
    const { code = "", status: said } = body as Item
    if (!document.problem(body))
      return verdict(`It is not a valid problem: ${JSON.stringify(document.problem.errors)}`, body)
    if (said !== status) return verdict("Its `status` differs from the HTTP status", body)
    if (!CODE_WORDS.has(code)) return verdict(`Its code is unknown: ${code}`, body)
    if (code === "internal") return verdict("Its code is internal", body)
    const shown = asked.route?.codes.get(status)
    if (asked.route !== undefined && !shown?.has(code))
      return verdict(`The document does not list ${status} ${code} for this route`, body)
    return verdict(undefined, body)
  }
  const fits = asked.route?.fits.get(status)
  if (asked.route !== undefined && fits === undefined)
    return verdict(`The document does not list ${status} for this route`, body)
  if (fits?.(body) === false)
    return verdict(`It does not fit the document: ${JSON.stringify(fits.errors)}`, body)
  if (Array.isArray(body))
    for (const item of body as Item[])
      if (
        item.code !== undefined &&
        (!document.problem(item) || item.code === "internal" || INSIDE.test(item.error ?? ""))
      )
        return verdict("An item is not a valid problem", body)
  return verdict(undefined, body)
}

export const printable = (bytes: Buffer, limit = 2_000): string => {
  const text = JSON.stringify(bytes.toString("latin1", 0, limit).replaceAll(TOKEN, "$TOKEN"))
  return bytes.length > limit ? `${text} and ${bytes.length - limit} more bytes` : text
}
