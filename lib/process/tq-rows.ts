/** What the rows of commands have in common: lists, changes, requests with an idempotency key, and how tasks are shown. */
import { BrokerProblem, BrokerUnreachable, type SubmitOptions } from "../client.ts"
import { pause } from "../pause.ts"
import { formatAge, tableLines } from "./terminal-text.ts"
import { type Call, type Command, defined, type Members, UsageError } from "./tq-call.ts"

const DEFAULT_SHOWN = 1_000
const RETRY_MS = 1_000
const MAX_SHOWN_CHARACTERS = 2_000

type Row = Omit<Command, "run">

/** A command of one request. `say` makes the line that it prints. */
export const change = <T>({
  ask,
  say,
  ...row
}: Row & { ask: (call: Call) => Promise<T>; say: (answer: T, call: Call) => string }): Command => ({
  ...row,
  run: async call => ({ lines: [say(await ask(call), call)] }),
})

/** A command that prints one object, a line per member. */
export const show = ({ ask, ...row }: Row & { ask: (call: Call) => Promise<unknown> }): Command => ({
  ...row,
  async run(call) {
    await ask(call)
    return { lines: describe(call.answer()) }
  },
})

interface Page {
  limit: number
  cursor?: string
}

/** A command that prints a table, and with --json all rows as the list `name`, as the answers of the broker have it. */
export const list = <T>({
  name,
  page,
  pageSize = 1_000,
  columns,
  empty,
  options,
  ...row
}: Row & {
  name: string
  page: (call: Call, page: Page) => Promise<readonly [rows: readonly T[], next?: string | undefined]>
  /** How many rows a request may ask for. */
  pageSize?: number
  columns: Readonly<Record<string, (row: T) => string>>
  /** What is printed if there are no rows. */
  empty: string
}): Command => ({
  ...row,
  options: {
    ...options,
    limit: { value: "number", meaning: `at most this many (default ${DEFAULT_SHOWN})` },
  },
  async run(call) {
    const limit = call.integer("limit") ?? DEFAULT_SHOWN
    if (limit === 0) throw new UsageError("--limit takes a whole number of 1 or more, not 0")
    const rows: T[] = []
    const json: unknown[] = []
    let cursor: string | undefined
    do {
      const size = Math.min(pageSize, limit - rows.length)
      const [found, next] = await page(call, { limit: size, ...defined({ cursor }) })
      rows.push(...found)
      json.push(...(call.answer()[name] as unknown[]))
      cursor = next
    } while (cursor !== undefined && rows.length < limit)
    const lines = table(call, columns, rows.slice(0, limit), empty)
    if (cursor !== undefined) lines.push(`There are more: --limit ${10 * limit} shows them.`)
    return { lines, json: { [name]: json.slice(0, limit) } }
  },
})

/** A line per row below a title, or a sentence if there are none. */
export function table<T>(
  call: Call,
  columns: Readonly<Record<string, (row: T) => string>>,
  rows: readonly T[],
  empty: string,
): string[] {
  if (rows.length === 0) return [empty]
  const cells = rows.map(row => Object.values(columns).map(cell => cell(row)))
  return tableLines([Object.keys(columns), ...cells], call.columns)
}

export const REASON = {
  reason: { value: "text", meaning: "why, for people; `why` and the dashboard show it" },
} satisfies Command["options"]

export const reasonOf = (call: Call) => defined({ reason: call.text("reason") })

/** The options of a request that creates something. */
export const KEYED = {
  key: {
    value: "text",
    meaning: "an idempotency key: a repeated command with the same key creates nothing more",
  },
  "retry-for": {
    value: "time",
    meaning: "how long the request is repeated if there is no answer, which is safe (default 10s)",
  },
} satisfies Command["options"]

/** Repeats a request while there is no answer. All repeats have the same key or task id, so that it has its effect once. */
export async function sendWithKey<T>(call: Call, send: (options: SubmitOptions) => Promise<T>): Promise<T> {
  const key = call.text("key") ?? (call.text("id") === undefined ? crypto.randomUUID() : undefined)
  const options = { ...call.options, ...defined({ idempotencyKey: key }) }
  const end = performance.now() + (call.durationMs("retry-for") ?? 10_000)
  for (let isFirst = true; ; isFirst = false)
    try {
      return await send(options)
    } catch (error) {
      if (!isRetryable(error)) throw error
      const waitMs = Math.max(RETRY_MS, (error instanceof BrokerProblem && error.retryAfterMs) || 0)
      if (performance.now() + waitMs > end) throw error
      if (isFirst) call.warn(`${error.message}. Trying again`)
      await pause(waitMs, call.stop)
    }
}

export const isRetryable = (error: unknown): error is BrokerProblem | BrokerUnreachable =>
  error instanceof BrokerUnreachable || (error instanceof BrokerProblem && error.retryable)

/** `label  value` for each member. */
export function describe(members: Members): string[] {
  const labels = Object.keys(members).filter(name => members[name] !== undefined)
  const width = Math.max(0, ...labels.map(label => label.length))
  return labels.flatMap(label => {
    const [first = "", ...more] = showValue(label, members[label]).split("\n")
    return [`${label.padEnd(width)}  ${first}`, ...more.map(line => `${" ".repeat(width)}  ${line}`)]
  })
}

function showValue(label: string, value: unknown): string {
  const text =
    typeof value === "string" && label !== "payload" && label !== "result" ? value : JSON.stringify(value)
  if (label.endsWith("_at") && Number(text) > 0) return formatTime(Number(text))
  return text.length > MAX_SHOWN_CHARACTERS
    ? `${text.slice(0, MAX_SHOWN_CHARACTERS)}… (${text.length} characters; --json prints all)`
    : text
}

export const formatTime = (at: number) => new Date(at).toISOString()

/** How long ago, or "-". */
export const formatSince = (at: number | undefined) =>
  formatAge(at === undefined ? undefined : Date.now() - at)

export const firstLine = (text = "") => text.split("\n", 1)[0]!
