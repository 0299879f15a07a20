import { CODES } from "../../lib/wire/problem.ts"
import { TOKEN } from "../support/harness.ts"
import type { Answer } from "./connection.ts"
import { type Document, MARK } from "./document.ts"
import type { Asked } from "./requests.ts"

/** Traces of our inside: files, stacks, what Redis and its scripts say. */
const INSIDE =
  /\.ts\b|\.lua\b|node_modules|\\n\s+at |\(\/\w|ioredis|elysia|typebox|EVALSHA|WRONGTYPE|NOSCRIPT|user_script|tq:\{|\.sock\b/i
/** What Bun says by itself, with an empty body, to what is not HTTP as it knows it. */
const BUNS = new Set([400, 408, 413, 414, 431, 501, 505])
const CODE_WORDS: ReadonlySet<string> = new Set(CODES)

interface Item {
  code?: string
  error?: string
  task_id?: string
  status?: string | number
}

/** What an answer's JSON tells of tasks. */
export interface Told {
  body: unknown
  wrong: string | undefined
}

export function judge(document: Document, asked: Asked, answer: Answer): Told {
  const text = answer.body.toString("utf8")
  const told = (wrong?: string, body?: unknown): Told => ({ body, wrong })
  const { status } = answer
  if (text.includes(TOKEN) || [...answer.headers.values()].some(value => value.includes(TOKEN)))
    return told("It repeats the token")
  if (text === "") {
    if (status === 302 && answer.headers.get("location") === "/dashboard") return told()
    if (status === 204 || (status < 500 && asked.methods.includes("HEAD"))) return told()
    // Headers that are too large are refused by Bun itself, which then closes.
    return (asked.whole && status !== 431) || !BUNS.has(status) ? told(`${status} without a body`) : told()
  }
  if (status >= 500) return told(`It says ${status}`)
  if (status >= 400) {
    if (INSIDE.test(text)) return told("It shows our inside")
    if (status === 405 && !answer.headers.has("allow")) return told("405 without Allow")
    if (text.includes(MARK)) return told("It repeats what it was sent")
    if (answer.headers.get("content-type") !== "application/problem+json")
      return told("An error that is no problem+json")
  }
  if (!/^application\/(problem\+)?json$/.test(answer.headers.get("content-type") ?? "")) {
    // The page at /swagger and its parts.
    return status === 200 || status === 301 || status === 302 ? told() : told(`${status} that is not JSON`)
  }
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    return told("It is not JSON, though it says so")
  }
  if (status >= 400) {
    const { code = "", status: said } = body as Item
    if (!document.problem(body))
      return told(`It is no problem: ${JSON.stringify(document.problem.errors)}`, body)
    if (said !== status) return told("Its `status` is another", body)
    if (!CODE_WORDS.has(code)) return told(`Its code is none: ${code}`, body)
    if (code === "internal") return told("It says internal", body)
    const shown = asked.route?.codes.get(status)
    if (asked.route !== undefined && !shown?.has(code))
      return told(`The document has no ${status} ${code} there`, body)
    return told(undefined, body)
  }
  const fits = asked.route?.fits.get(status)
  if (asked.route !== undefined && fits === undefined)
    return told(`The document has no ${status} there`, body)
  if (fits?.(body) === false)
    return told(`It does not fit the document: ${JSON.stringify(fits.errors)}`, body)
  if (Array.isArray(body))
    for (const item of body as Item[])
      if (
        item.code !== undefined &&
        (!document.problem(item) || item.code === "internal" || INSIDE.test(item.error ?? ""))
      )
        return told("An item is no problem of ours", body)
  return told(undefined, body)
}

export const printable = (bytes: Buffer, limit = 2_000): string => {
  const text = JSON.stringify(bytes.toString("latin1", 0, limit).replaceAll(TOKEN, "$TOKEN"))
  return bytes.length > limit ? `${text} and ${bytes.length - limit} bytes more` : text
}
