/** The log: JSON lines, or on a terminal readable lines with colors. */
import { escapeInterpreted, paint, type Style, wantsColor, writeError } from "./terminal.ts"

export type Fields = Readonly<Record<string, unknown>>
export type Log = Record<"debug" | "info" | "warn" | "error", (message: string, fields?: Fields) => void>

const RANK: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3, silent: 4 }
const MAX_VALUE_LENGTH = 10_000
/** The most common fields come first, in this order. The others follow as given. */
const LEADING_FIELDS = ["task_id", "queue", "type", "attempt", "worker", "by", "request_id", "trace_id"]
const LINES_PER_SECOND = 10
const LEVEL_STYLES = { debug: "dim", info: "green", warn: "yellow", error: "red" } as const satisfies Record<
  keyof Log,
  Style
>
/** The value of the field `process` in each line; undefined omits the field. */
let processName: string | undefined

/** Adds this name to all later lines, for processes that share one terminal or one log. */
export function nameProcess(name: string): void {
  processName = name
}

/** The name given by `nameProcess`, if any. */
export const nameOfProcess = (): string | undefined => processName

/** All parameters but the level are for tests. lib/process/output.ts keeps writes from blocking. */
export function createLog(
  level: LogLevel,
  write: (line: string) => void = writeError,
  terminal: boolean = process.stderr.isTTY === true,
  colored: boolean = terminal && wantsColor(process.stderr),
): Log {
  const at =
    (name: keyof Log) =>
    (message: string, fields: Fields = {}) => {
      if (RANK[name] < RANK[level]) return
      const time = new Date().toISOString()
      const members = leadingFirst(fields)
      if (terminal) write(formatForTerminal(time.slice(11, 23), name, message, members, colored))
      else write(formatAsJson({ ...members, time, level: name, process: processName, message }))
    }
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") }
}

/**
 * Limits repeating messages to a number of lines per second, each. After that second one line reports how many were
 * omitted. Messages must be constant. Lines of the level `debug` are not limited.
 */
export function rateLimited(log: Log, linesPerSecond = LINES_PER_SECOND, secondMs = 1_000): Log {
  let counts = new Map<string, { level: keyof Log; message: string; count: number }>()
  const reportOmitted = () => {
    const previous = counts
    counts = new Map()
    for (const { level, message, count } of previous.values())
      if (count > linesPerSecond)
        log[level]("Log lines were omitted", { of: message, omitted: count - linesPerSecond })
  }
  const at = (level: keyof Log) => (message: string, fields?: Fields) => {
    if (counts.size === 0) setTimeout(reportOmitted, secondMs).unref()
    const key = `${level} ${message}`
    const kind = counts.get(key) ?? { level, message, count: 0 }
    counts.set(key, kind)
    if (++kind.count <= linesPerSecond) log[level](message, fields)
  }
  return { debug: log.debug, info: at("info"), warn: at("warn"), error: at("error") }
}

function leadingFirst(fields: Fields): Fields {
  const first = LEADING_FIELDS.filter(name => fields[name] !== undefined).map(name => [name, fields[name]])
  return { ...Object.fromEntries(first), ...fields }
}

function formatForTerminal(
  time: string,
  level: keyof Log,
  message: string,
  fields: Fields,
  colored: boolean,
): string {
  const styled = (style: Style, text: string) => (colored ? paint(style, text) : text)
  const facts = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => {
      const isPlain = typeof value === "string" && /^[\w./:@-]+$/.test(value)
      return `  ${styled("dim", `${name}=`)}${isPlain ? value : safeJson(value)}`
    })
  const prefix = processName === undefined ? "" : `${styled("cyan", `${processName}:`)} `
  const text = safeJson(message).slice(1, -1).replaceAll('\\"', '"')
  return `${styled("dim", time)} ${styled(LEVEL_STYLES[level], level.padEnd(5))} ${prefix}${styled("bold", text)}${facts.join("")}`
}

/** Formats each member separately, so that a value that cannot be formatted does not lose the others. */
function formatAsJson({ time, level, process, message, ...fields }: Fields): string {
  const members = Object.entries({ time, level, process, message, ...fields }).filter(
    ([, value]) => value !== undefined,
  )
  return `{${members.map(([name, value]) => `${safeJson(name)}:${safeJson(value)}`).join(",")}}`
}

/** Logging must not throw for any value. */
function safeJson(value: unknown): string {
  try {
    return escapeInterpreted(JSON.stringify(value, replaceValue) ?? "null")
  } catch (error) {
    return JSON.stringify(`(cannot be shown: ${error instanceof Error ? error.name : typeof error})`)
  }
}

function replaceValue(_name: string, value: unknown): unknown {
  if (value instanceof Error)
    return (value.stack ?? `${value.name}: ${value.message}`).slice(0, MAX_VALUE_LENGTH)
  if (typeof value === "bigint") return value.toString()
  if (typeof value === "string" && value.length > MAX_VALUE_LENGTH)
    return `${value.slice(0, MAX_VALUE_LENGTH)}…`
  return value
}

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const

export type LogLevel = (typeof LOG_LEVELS)[number]
